//! `agentguard run` and `resume` from the outside: how runs end, and what the
//! user is told.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, Sandbox, finish, masked, wait_until};

/// A task around a shell script.
fn task(script: &str, rest: &str) -> String {
    let script: String = script.lines().map(|line| format!("    {line}\n")).collect();
    format!("name: t\nagent:\n  grace: 1s\n  script: |\n{script}{rest}\n")
}

fn sandbox(script: &str, rest: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", &task(script, rest));
    sandbox
}

const TURNS: &str = "for i in 1 2 3 4 5 6 7 8; do
  agentguard turn --role assistant --content \"turn $i\" --cost-usd 0.30 --input-tokens 100 || exit
done
agentguard turn --done";

#[test]
fn runs_end_with_the_code_of_their_outcome() {
    let echo = "\ntools:\n  look: {command: [echo, same], effect: read}";
    #[rustfmt::skip]
    let rows = [
        ("done", "agentguard turn --done", "", 0, "done (unverified)"),
        ("done over its limit is still done", "agentguard turn --cost-usd 9 --done", "limits: {cost_usd: 1}", 0, "done"),
        ("done, and a last word after it", "agentguard turn --done; agentguard turn --role user --content bye", "", 0, "done"),
        ("killed at work that goes on after done", "agentguard turn --done; agentguard turn; kill -9 $$", "", 1, "was killed by signal 9"),
        ("the agent's own failure", "agentguard turn; echo went wrong >&2; exit 3", "", 1, "exited with code 3: went wrong"),
        ("exit 0 without a word", "true", "", 1, "without a word"),
        ("exit 0 without saying done", "agentguard turn", "", 1, "without saying that it was done"),
        ("exit 0 after a failed model call", "agentguard turn; agentguard turn --error 'HTTP 529'", "", 1, "after a failed model call: HTTP 529"),
        ("killed", "agentguard turn; kill -9 $$", "", 1, "was killed by signal 9"),
        ("the cost cap, before the turn that would pass it", TURNS, "limits: {cost_usd: 1}", 20, "cost_usd: 0.90 USD of 1.00 USD used"),
        ("the token cap", TURNS, "limits: {tokens: 250}", 20, "tokens: 200 of 250 used"),
        ("the step limit", TURNS, "limits: {steps: 4}", 20, "steps: 4 of 4 used"),
        ("the tool-call limit", "for i in 1 2 3; do agentguard tool look --arg i=$i || exit; done", &format!("limits: {{tool_calls: 2}}{echo}"), 20, "tool_calls: 2 of 2 used"),
        ("the deadline", "agentguard turn; sleep 60", "limits: {deadline: 1s}", 21, "the deadline passed"),
        ("idle", "agentguard turn; sleep 60", "limits: {idle: 1s}", 21, "idle for too long"),
        ("a loop", "while :; do agentguard tool look >/dev/null || exit; done", echo, 22, "in a row"),
        ("a tool that is down", "agentguard tool gone || exit 1", "tools:\n  gone: {command: [./no-such-program], effect: read}", 23, "`gone` is unavailable"),
        ("a write that did not answer", "agentguard tool slow || exit 1", "tools:\n  slow: {command: [sleep, '30'], effect: write, timeout: 300ms}", 26, "may or may not have happened"),
    ];
    for (name, script, rest, code, says) in rows {
        let ran = sandbox(script, rest).run(&["run", "task.yaml"]);
        assert_eq!(ran.code, code, "row: {name}: {ran:?}");
        assert!(ran.stderr.contains(says), "row: {name}: {ran:?}");
    }
}

#[test]
fn an_agent_that_cannot_speak_is_believed_by_its_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.write("ok.yaml", "agent: {command: ['true'], protocol: none}");
    sandbox.write("bad.yaml", "agent: {command: ['false'], protocol: none}");
    assert_eq!(sandbox.run(&["run", "ok.yaml"]).code, 0);
    assert_eq!(sandbox.run(&["run", "bad.yaml"]).code, 1);
}

#[test]
fn what_cannot_be_started_is_said_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("empty.yaml", "");
    sandbox.write(
        "typo.yaml",
        "agent: {comand: [sh]}\nlimits: {cost_usd: -3}\n",
    );
    sandbox.write(
        "nofile.yaml",
        "agent: {command: [sh]}\ninput: {files: [nothing/*.csv]}\n",
    );
    #[rustfmt::skip]
    let rows = [
        ("no such file", "none.yaml", "cannot read task file `none.yaml`"),
        ("a folder", "home", "cannot read task file `home`"),
        ("an empty file", "empty.yaml", "empty.yaml"),
        ("all problems at once, the first", "typo.yaml", "comand"),
        ("all problems at once, the second", "typo.yaml", "limits.cost_usd"),
        ("a pattern without a file", "nofile.yaml", "matches no file"),
    ];
    for (name, file, says) in rows {
        let ran = sandbox.run(&["run", file]);
        assert_eq!(ran.code, 2, "row: {name}: {ran:?}");
        assert!(ran.stderr.contains(says), "row: {name}: {ran:?}");
    }
    assert_eq!(sandbox.run(&["runs"]).stdout.matches("r-").count(), 0);
    let program = self::sandbox("", "");
    program.write("task.yaml", "agent: {command: [./no-such-agent]}");
    let ran = program.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no-such-agent"), "{ran:?}");
}

#[test]
fn a_cap_that_was_raised_lets_the_run_go_on_where_it_stopped() {
    let script = "step=$(agentguard state --messages none --get step)
while [ $step -lt 5 ]; do
  step=$((step + 1)); echo did $step >> did.txt
  agentguard turn --step $step --cost-usd 0.40 || exit
done
agentguard turn --done";
    let sandbox = sandbox(script, "limits: {cost_usd: 1}");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 20);
    let again = sandbox.run(&["resume", "latest"]);
    assert_eq!(again.code, 20, "the same cap refuses at once: {again:?}");
    assert!(again.stderr.contains("--raise cost_usd"), "{again:?}");
    let lower = sandbox.run(&["resume", "latest", "--raise", "cost_usd=0.5"]);
    assert_eq!(lower.code, 2, "{lower:?}");
    let raised = sandbox.run(&["resume", "latest", "--raise", "cost_usd=+4"]);
    assert_eq!(raised.code, 0, "{raised:?}");
    assert_eq!(
        sandbox.read("did.txt").lines().count(),
        5,
        "no step was done twice"
    );
    assert_eq!(sandbox.report()["cost_usd"], "2.00");
    let done = sandbox.run(&["resume", "latest"]);
    assert_eq!(done.code, 0, "a run that is done stays done: {done:?}");
}

#[test]
fn an_earlier_checkpoint_can_be_gone_back_to() {
    let script = "agentguard state --get messages | tr ',' '\\n' | grep -c content > seen.txt
step=$(agentguard state --messages none --get step)
while [ $step -lt 4 ]; do
  step=$((step + 1)); agentguard turn --role assistant --content \"$step\" || exit
done
agentguard turn --done";
    let sandbox = sandbox(script, "");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("seen.txt").trim(), "0");
    let missing = sandbox.run(&["resume", "latest", "--from-step", "9"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(
        missing.stderr.contains("its steps are 0 to 5"),
        "{missing:?}"
    );
    let back = sandbox.run(&["resume", "latest", "--from-step", "2"]);
    assert_eq!(back.code, 0, "{back:?}");
    assert_eq!(
        sandbox.read("seen.txt").trim(),
        "2",
        "the conversation as it was then"
    );
}

#[test]
fn a_failure_of_the_agent_itself_is_told_to_the_next_attempt() {
    let script = "agentguard state --messages none --get note > note.txt
[ -e once ] && { agentguard turn --done; exit; }
touch once; echo 'no plan left' >&2; exit 4";
    let sandbox = sandbox(script, "");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 1);
    assert_eq!(
        sandbox.read("note.txt"),
        "",
        "the first attempt has no note"
    );
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 0);
    let note = sandbox.read("note.txt");
    assert!(note.contains("exited with code 4: no plan left"), "{note}");
    assert!(note.contains("another approach"), "{note}");
}

#[test]
fn a_write_in_doubt_is_settled_by_a_human_and_not_repeated() {
    let script = "agentguard tool pay --arg order=o1 > answer.txt || exit 1
agentguard turn --done";
    let tools = "tools:
  pay: {command: [sh, pay.sh], effect: irreversible, key: 'pay:{order}', timeout: 1s}";
    let sandbox = sandbox(script, tools);
    sandbox.write("pay.sh", "echo paid >> ledger.txt; sleep 30");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 26);
    let refused = sandbox.run(&["resume", "latest"]);
    assert_eq!(refused.code, 26, "{refused:?}");
    assert!(refused.stderr.contains("agentguard settle"), "{refused:?}");
    let settled = sandbox.run(&["settle", "latest", "--happened", "--result", "receipt 7"]);
    assert_eq!(settled.code, 0, "{settled:?}");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(sandbox.read("ledger.txt"), "paid\n");
    assert_eq!(sandbox.read("answer.txt"), "receipt 7\n");
}

#[test]
fn retries_stay_hidden_and_the_conclusion_reaches_the_model() {
    let script = "agentguard tool flaky > flaky.txt || exit 1
agentguard tool dead > dead.txt; echo $? >> dead.txt
agentguard turn --done";
    let tools = "retry: {base: 10ms, cap: 20ms}
tools:
  flaky: {command: [sh, flaky.sh], effect: read}
  dead: {command: [sh, dead.sh], effect: read, retry: {attempts: 3}}";
    let sandbox = sandbox(script, tools);
    let refused = "echo 'connect: Connection refused' >&2; exit 7";
    sandbox.write(
        "flaky.sh",
        &format!(
            "[ -e t2 ] && {{ echo found; exit; }}; [ -e t1 ] && touch t2; touch t1; {refused}"
        ),
    );
    sandbox.write("dead.sh", &format!("echo x >> tries.txt; {refused}"));
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("flaky.txt"), "found\n");
    let dead = sandbox.read("dead.txt");
    assert!(
        dead.contains("not working at the moment") && dead.ends_with("1\n"),
        "{dead}"
    );
    assert_eq!(sandbox.read("tries.txt").lines().count(), 3);
    let report = sandbox.report();
    assert_eq!(report["retry_count"], 4);
    assert_eq!(report["retried_to_success"], 1);
}

#[test]
fn an_open_breaker_is_shared_by_runs_and_spares_its_neighbours() {
    let script = "for i in 1 2 3 4 5; do agentguard tool down --arg i=$i > last.txt; done
agentguard tool up > up.txt || exit 1
agentguard state --messages none --get tools > tools.txt
agentguard turn --done";
    let tools = "retry: {base: 5ms, cap: 10ms}
tools:
  down: {command: [sh, down.sh, '{i}'], effect: read, retry: {attempts: 1}}
  up: {command: [echo, fine], effect: read}";
    let sandbox = sandbox(script, tools);
    sandbox.write(
        "down.sh",
        "echo x >> tries.txt; echo \"HTTP 503 Service Unavailable, req $1\" >&2; exit 22",
    );
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(
        sandbox.read("tries.txt").lines().count(),
        3,
        "open after three calls"
    );
    assert!(sandbox.read("last.txt").contains("`down` is unavailable"));
    assert_eq!(sandbox.read("up.txt"), "fine\n");
    assert!(sandbox.read("tools.txt").contains("\"available\":false"));
    // The next run meets it open.
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("tries.txt").lines().count(), 3);
    assert_eq!(sandbox.run(&["breakers", "reset", "--all"]).code, 0);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("tries.txt").lines().count(), 6);
}

#[test]
fn the_same_key_is_answered_from_the_record() {
    let script = "agentguard tool pay --arg order=o1 > a.txt
agentguard tool pay --arg order=' o1 ' > b.txt
agentguard tool pay --arg order=o2 > c.txt
agentguard turn --done";
    let tools = "tools:\n  pay: {command: [sh, pay.sh, '{order}'], effect: write, key: '{order}'}";
    let sandbox = sandbox(script, tools);
    sandbox.write(
        "pay.sh",
        "echo \"$1\" >> ledger.txt; echo \"receipt $(wc -l < ledger.txt)\"",
    );
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("ledger.txt").lines().count(), 2);
    assert_eq!(sandbox.read("a.txt"), sandbox.read("b.txt"));
    assert_ne!(sandbox.read("a.txt"), sandbox.read("c.txt"));
}

#[test]
fn own_rules_come_first() {
    let script = "agentguard tool odd > odd.txt || exit 1
agentguard turn --done";
    let rest = "retry: {base: 10ms, cap: 20ms}
tools:
  odd: {command: [sh, odd.sh], effect: read}
rules:
  - {id: busy, when: {tool: 'odd*', exit_code: 75}, class: transient, why: busy at full hours}";
    let sandbox = sandbox(script, rest);
    sandbox.write(
        "odd.sh",
        "[ -e t ] && { echo fine; exit; }; touch t; exit 75",
    );
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    assert_eq!(sandbox.read("odd.txt"), "fine\n");
    assert!(sandbox.run(&["why", "latest"]).stdout.contains("busy"));
}

#[test]
fn nothing_of_a_run_outlives_it() {
    let script = "setsid sleep 4711 &
(setsid sh -c 'trap \"\" TERM; sleep 4712; sleep 4712' &) 
env -i setsid sleep 4713 &
agentguard turn --done";
    let ran = sandbox(script, "").run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for number in ["4711", "4712", "4713"] {
        assert!(
            !is_running(&["sleep", number]),
            "sleep {number} is still there"
        );
    }
}

fn is_running(argv: &[&str]) -> bool {
    let wanted: Vec<u8> = argv
        .iter()
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect();
    let entries = std::fs::read_dir("/proc").expect("Linux");
    entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line == wanted)
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed_after_its_grace() {
    let script = "trap '' TERM; agentguard turn; while :; do sleep 1; done";
    let ran = sandbox(script, "limits: {deadline: 1s}").run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 21, "{ran:?}");
}

#[test]
fn signals_end_a_run_in_order_and_it_can_go_on() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let script = "[ -e again ] && { agentguard turn --done; exit; }
agentguard turn; touch again ready; sleep 600";
        let sandbox = sandbox(script, "");
        let mut child = sandbox
            .command(&["run", "task.yaml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        wait_until(20, "the agent", || sandbox.path().join("ready").exists());
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a child of ours");
        assert_eq!(child.wait().expect("a child").code(), Some(code));
        assert_eq!(sandbox.report()["status"], "interrupted");
        assert_eq!(sandbox.run(&["resume", "latest"]).code, 0);
    }
}

#[test]
fn a_flood_of_output_passes_and_its_end_is_in_the_log() {
    let script = "head -c 300000000 /dev/zero | tr '\\0' 'x'; echo; echo the end
agentguard turn --done";
    let sandbox = sandbox(script, "");
    let mut command = sandbox.command(&["run", "task.yaml"]);
    let ran = command
        .stdout(Stdio::null())
        .status()
        .expect("the binary starts");
    assert_eq!(ran.code(), Some(0));
    let log = sandbox.run(&["logs", "latest", "--lines", "1"]);
    assert_eq!(log.stdout, "the end\n");
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    let sandbox = sandbox(
        "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; agentguard turn --done; touch finished",
        "",
    );
    let binary = crate::support::BINARY;
    let mut shell = std::process::Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{binary} run task.yaml 2>&1 | head -n 1"));
    let template = sandbox.command(&[]);
    shell.current_dir(sandbox.path()).env_clear();
    for (name, value) in template.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    finish(&mut shell);
    wait_until(20, "the agent to finish", || {
        sandbox.path().join("finished").exists()
    });
    wait_until(20, "the run to end", || {
        sandbox.report()["status"] == "done"
    });
}

#[test]
fn a_run_that_is_done_is_told_to_programs_when_it_is_resumed() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", "agent: {command: ['true'], protocol: none}\n");
    assert_eq!(sandbox.run(&["run", "--json", "task.yaml"]).code, 0);
    let ran = sandbox.run(&["resume", "--json", "latest"]);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    assert_eq!(told["result"]["status"], "done", "{ran:?}");
    assert_eq!(told["result"]["exit_code"], ran.code, "{ran:?}");
}

#[test]
fn json_events_are_one_object_a_line_with_the_report_last() {
    let sandbox = sandbox(
        "echo noise; agentguard turn --cost-usd 0.5; agentguard turn --done --result ok",
        "limits: {cost_usd: 2}",
    );
    let ran = sandbox.run(&["run", "--json", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(lines.iter().all(|line| line["v"] == 1));
    let kinds: Vec<_> = lines
        .iter()
        .filter_map(|line| line["event"]["event"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "attempt_started",
            "agent_spawned",
            "turn_reported",
            "turn_reported",
            "agent_exited",
            "swept"
        ]
    );
    let result = &lines.last().expect("lines")["result"];
    assert_eq!(result["status"], "done");
    assert_eq!(result["cost_usd"], "0.50");
    assert_eq!(result["result"], "ok");
}

#[test]
fn a_ci_gets_its_summary_and_annotations() {
    let sandbox = sandbox("exit 5", "");
    let summary = sandbox.path().join("summary.md");
    let mut command = sandbox.command(&["run", "task.yaml"]);
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary);
    let ran = finish(&mut command);
    assert!(
        ran.stderr.contains("::error title=agentguard::run r-"),
        "{ran:?}"
    );
    assert!(
        sandbox
            .read("summary.md")
            .contains("| outcome | the agent failed"),
        "{ran:?}"
    );
}

#[test]
fn stdio_is_the_same_protocol() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {command: [sh, loop.sh], protocol: stdio}\ninput: {prompt: hello}\n",
    );
    sandbox.write("loop.sh", r#"
echo '{"jsonrpc":"2.0","id":1,"method":"start"}'; read start
echo 'not a frame'; read error
echo '{"jsonrpc":"2.0","id":2,"method":"turn","params":{"messages":[{"role":"assistant","content":"hi"}]}}'; read turn
echo '{"jsonrpc":"2.0","id":3,"method":"turn","params":{"done":true}}'; read done
printf '%s\n%s\n%s\n%s\n' "$start" "$error" "$turn" "$done" > answers.txt
"#);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let answers = sandbox.read("answers.txt");
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines[0].contains("\"prompt\":\"hello\""), "{answers}");
    assert!(lines[1].contains("-32700"), "{answers}");
    assert!(lines[2].contains("\"step\":1"), "{answers}");
    assert!(lines[3].contains("\"step\":2"), "{answers}");
}

#[test]
fn a_task_file_that_was_edited_is_said_and_not_taken() {
    let sandbox = sandbox("echo first >> said.txt; exit 3", "");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 1);
    let same = sandbox.run(&["resume", "latest"]);
    assert!(
        same.code == 1 && !same.stderr.contains("edited"),
        "{same:?}"
    );
    sandbox.write("task.yaml", &task("echo second >> said.txt; exit 3", ""));
    let edited = sandbox.run(&["resume", "latest"]);
    assert!(
        edited.code == 1 && edited.stderr.contains("task.yaml was edited"),
        "{edited:?}"
    );
    assert_eq!(sandbox.read("said.txt"), "first\nfirst\nfirst\n");
}

#[test]
fn calls_of_a_step_that_crashes_cut_short_are_no_loop() {
    let script = "agentguard tool look > /dev/null || exit
echo once more >> attempts.txt
[ $(wc -l < attempts.txt) -gt 6 ] || kill -9 $$
agentguard turn --done";
    let sandbox = sandbox(
        script,
        "tools:\n  look: {command: [echo, same], effect: read}",
    );
    let mut ran = sandbox.run(&["run", "task.yaml"]);
    for _ in 0..6 {
        assert_eq!(ran.code, 1, "{ran:?}");
        ran = sandbox.run(&["resume", "latest"]);
    }
    assert_eq!(ran.code, 0, "{ran:?}");
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert!(!why.contains("loop."), "{why}");
}

#[test]
fn reasons_hide_the_values_of_secrets() {
    let sandbox = sandbox("echo \"refused: $SERVICE_TOKEN\" >&2; exit 3", "");
    let ran = sandbox.run_with(("SERVICE_TOKEN", "hunter2-hunter2"), &["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let why = sandbox.run(&["why", "latest"]).stdout + &sandbox.run(&["show", "latest"]).stdout;
    assert!(
        why.contains("refused: ***") && !why.contains("hunter2"),
        "{why}"
    );
}

#[test]
fn no_answer_runs_ahead_of_the_disk() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {command: [sh, loop.sh], protocol: stdio}\n",
    );
    // All frames of a round are sent before the first answer is read.
    sandbox.write("loop.sh", r#"
for i in 1 2 3 4 5 6 7 8 9 10; do
  turn='{"jsonrpc":"2.0","id":"turn","method":"turn","params":{"step":'$i',"messages":[{"role":"user","content":"'$i'"}]}}'
  again='{"jsonrpc":"2.0","id":"again","method":"turn","params":{"step":'$i'}}'
  state='{"jsonrpc":"2.0","id":"state","method":"state","params":{"messages":"all"}}'
  start='{"jsonrpc":"2.0","id":"start","method":"start","params":{"messages":"all"}}'
  printf '%s\n' "$turn" "$again" "$state" "$start"
  for answer in 1 2 3 4; do IFS= read -r line; printf '%s\n' "$line" >> answers.txt; done
done
echo '{"jsonrpc":"2.0","id":3,"method":"turn","params":{"done":true}}'; read done
"#);
    let ran = sandbox.run(&["run", "task.yaml"]);
    let answers = sandbox.read("answers.txt");
    assert_eq!(ran.code, 0, "{ran:?} {answers}");
    let answers: Vec<serde_json::Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("a frame"))
        .collect();
    assert_eq!(answers.len(), 40);
    for (round, four) in answers.chunks(4).enumerate() {
        let ids: Vec<_> = four.iter().map(|answer| &answer["id"]).collect();
        assert_eq!(ids, ["turn", "again", "state", "start"], "round {round}");
        for answer in four {
            assert!(answer["error"].is_null(), "round {round}: {answer}");
        }
        let step = serde_json::json!(round + 1);
        assert_eq!(four[1]["result"]["step"], step, "{}", four[1]);
        let state = &four[2]["result"];
        assert_eq!(
            (&state["step"], state["messages"].as_array().map(Vec::len)),
            (&step, Some(round + 1)),
            "{state}"
        );
    }
}

#[test]
fn twenty_runs_share_one_journal() {
    let sandbox = sandbox(
        "for i in 1 2 3; do agentguard tool add --arg n=$i >/dev/null || exit 1; agentguard turn || exit; done; agentguard turn --done",
        "tools:\n  add: {command: [sh, add.sh, '{n}'], effect: write, key: '{n}'}",
    );
    sandbox.write("add.sh", "echo \"$AGENTGUARD_RUN_ID $1\" >> ledger.txt");
    let children: Vec<_> = (0..20)
        .map(|_| {
            let mut command = sandbox.command(&["run", "task.yaml"]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary starts")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("a child of ours");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let ledger = sandbox.read("ledger.txt");
    let mut lines: Vec<&str> = ledger.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(
        (ledger.lines().count(), lines.len()),
        (60, 60),
        "each effect once"
    );
}

#[test]
fn a_journal_that_cannot_be_used_is_said_and_left_alone() {
    let sandbox = sandbox("agentguard turn --done", "");
    std::fs::create_dir_all(sandbox.state()).expect("a folder");
    sandbox.write(
        "state/journal.db",
        "this is not a database, it is somebody's diary",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(
        ran.stderr.contains("journal.db") && ran.stderr.contains("hint"),
        "{ran:?}"
    );
    assert!(
        sandbox.read("state/journal.db").contains("diary"),
        "it was not touched"
    );
}

#[test]
fn the_user_is_told_in_so_many_words() {
    let sandbox = sandbox(
        "agentguard turn --cost-usd 0.6; agentguard turn --cost-usd 0.6",
        "limits: {cost_usd: 1}",
    );
    let Ran {
        code,
        stdout,
        stderr,
    } = sandbox.run(&["run", "task.yaml"]);
    assert_eq!((code, stdout.as_str()), (20, ""));
    assert_eq!(
        masked(&sandbox, &stderr),
        "\
agentguard: run [RUN] started (t)
agentguard: step 1: 0.60 USD of 1.00 USD
agentguard: stop a hard limit is checked before the step that would pass it (cost_usd: 0.60 USD of 1.00 USD used, the next step may take 0.60 USD) [limit.cost_usd]
agentguard: stop: budget reached: cost_usd: 0.60 USD of 1.00 USD used, the next step may take 0.60 USD
error: the run is stopping (budget reached: cost_usd: 0.60 USD of 1.00 USD used, the next step may take 0.60 USD) and takes nothing more; end the loop
agentguard: budget reached: cost_usd: 0.60 USD of 1.00 USD used, the next step may take 0.60 USD; run [RUN], [TOOK]
agentguard: to go on: agentguard resume [RUN] --raise cost_usd=+1.00
"
    );
}

#[test]
fn items_in_doubt_are_settled_all_at_once() {
    let sandbox = Sandbox::new();
    let item = |n: u8| format!("{{\"id\":\"i{n}\",\"args\":{{\"to\":\"p{n}\"}}}}\n");
    sandbox.write("items.jsonl", &(1..=3).map(item).collect::<String>());
    sandbox.write(
        "task.yaml",
        r#"
name: doubtful
agent: {command: [sh, loop.sh], grace: 1s}
limits: {deadline: 1m}
tools:
  mail:
    command: [sh, -c, 'echo $0 >> mails; [ -e fast ] || sleep 60', "{to}"]
    effect: irreversible
    key: "mail:{to}"
    timeout: 300ms
    retry: {attempts: 1}
"#,
    );
    sandbox.write(
        "loop.sh",
        "agentguard batch mail items.jsonl > ended.jsonl || exit\n\
         agentguard turn --done --role assistant --content done\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 26, "{ran:?}");
    let one = sandbox.run(&["settle", "latest", "--happened"]);
    assert_eq!(one.code, 2, "{one:?}");
    assert!(
        one.stderr.contains("3 calls in doubt; say which, or --all"),
        "{one:?}"
    );
    let bare = sandbox.run(&["settle", "latest", "--all"]);
    assert_eq!(bare.code, 26, "it only lists: {bare:?}");
    let all = sandbox.run(&["settle", "latest", "--all", "--happened"]);
    assert_eq!(all.code, 0, "{all:?}");
    assert_eq!(
        all.stderr.matches("recorded as happened").count(),
        3,
        "{all:?}"
    );
    assert!(
        all.stderr.contains("to go on: agentguard resume"),
        "{all:?}"
    );
    let none = sandbox.run(&["settle", "latest", "--all", "--happened"]);
    assert_eq!(none.code, 2, "{none:?}");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(
        sandbox.read("mails").lines().count(),
        3,
        "none was made again"
    );
}
