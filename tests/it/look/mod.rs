//! The commands that look at runs: `runs`, `show`, `why`, `logs`, `stop`,
//! `settle`, `breakers`, `rm`, `gc`.

use std::io::Read;
use std::time::{Duration, Instant};

use agentguard::clock::UnixMs;
use agentguard::store::sqlite::Options;
use agentguard::store::{BreakerEdit, Change, Paths, Sqlite, Store};

mod support;

use support::{Sandbox, check, wait_until};

/// An agent that takes two turns and reports a tool in between.
const TWO_TURNS: &str = r#"
    echo working
    agentguard turn --role user --content "count the files" --role assistant --content "I look." --cost-usd 0.01 --input-tokens 10 --output-tokens 5
    agentguard report ls --arg dir=. --exit-code 0 --result "a b"
    agentguard turn --role assistant --content "Two." --cost-usd 0.02 --done --result "2 files"
    echo finished
"#;

const LIMITS: &str = "limits: {cost_usd: 1.00, steps: 10, deadline: 10m}\n";

/// A write that nothing but a human can settle.
const CHARGE: &str = "tools:\n  charge:\n    command: [\"true\"]\n    effect: write\n    \
                      input: {type: object}\n";

/// A run that was killed right before its write was carried out.
fn in_doubt(name: &str) -> Sandbox {
    let mut sandbox = Sandbox::new(name);
    sandbox.task(
        r#"
        [ "$(agentguard state --get step)" != 0 ] || agentguard turn --role assistant --content "charging" --cost-usd 0.01
        agentguard tool charge --arg order=7 > answer.txt
        agentguard turn --role assistant --content "charged" --done
        "#,
        &format!("{LIMITS}{CHARGE}"),
    );
    sandbox.set("AGENTGUARD_FAULT", "tool_called.after_save");
    let killed = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(killed.code(), -1, "{killed:#?}");
    sandbox.unset("AGENTGUARD_FAULT");
    sandbox
}

#[test]
fn looking_where_nothing_is_leaves_no_trace() {
    let sandbox = Sandbox::new("look-nothing");
    #[rustfmt::skip]
    let rows: [(&[&str], &str); 9] = [
        (&["runs"], "--- stderr\nagentguard: no runs\n--- exit 0\n"),
        (&["runs", "--json"], "{\"v\":1,\"runs\":[],\"more\":false}\n--- exit 0\n"),
        (&["show", "latest"],
         "--- stderr\nerror: there is no run `latest`\nhint: list the runs with `agentguard runs`\n--- exit 2\n"),
        (&["why", "r-7f3a"],
         "--- stderr\nerror: there is no run `r-7f3a`\nhint: list the runs with `agentguard runs`\n--- exit 2\n"),
        (&["breakers"], "--- stderr\nagentguard: no breaker was ever touched\n--- exit 0\n"),
        (&["breakers", "--json"], "{\"v\":1,\"breakers\":[]}\n--- exit 0\n"),
        (&["breakers", "reset", "--all"], "--- stderr\nagentguard: no breaker to reset\n--- exit 0\n"),
        (&["breakers", "reset", "mail"],
         "--- stderr\nerror: there is no breaker `mail`\nhint: none was ever touched, so all are closed\n--- exit 2\n"),
        (&["gc"], "--- stderr\nagentguard: there is no journal, so nothing to remove\n--- exit 0\n"),
    ];
    for (args, want) in rows {
        check(&args.join(" "), &sandbox.run(args), want);
    }
    assert!(!sandbox.state().exists());
}

#[test]
fn a_run_that_is_done() {
    let sandbox = Sandbox::new("look-done");
    sandbox.task(TWO_TURNS, LIMITS);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code(), 0);
    check(
        "runs",
        &sandbox.run(&["runs"]),
        "
RUN  TASK  STATUS  STEP  COST  STARTED  TOOK  LAST ERROR
[RUN]  task  done (unverified)  2  0.03 USD  [AGO]  [SPAN]
--- exit 0
",
    );
    check(
        "show",
        &sandbox.run(&["show", "latest"]),
        "
run  [RUN]
task  task
status  done (unverified)
outcome  done (unverified)
exit code  0
started  [TIME] ([AGO])
ended  [TIME] (took [SPAN])
last checkpoint  [TIME]
steps  2 done, 8 left
tokens  15
cost  0.03 USD
tool calls  1
retries  0
classes  success 1
result  2 files
input hash  [HASH]
output hash  [HASH]

limits
  cost_usd  3 %  0.03 USD of 1.00 USD
  steps  20 %  2 of 10
  deadline  0 %  [SPAN] of 10m

attempts
  1  [TIME]  fresh, steps 0 to 2, [SPAN], done (unverified)

tool calls
  CALL  STEP  TOOL  STANDS  CLASS  TRIES  TOOK  ARGUMENTS
  1  1  ls  reported  success  1  {\"dir\":\".\"}

timeline
  +[SPAN]  run of task `task` created
  +[SPAN]  attempt 1 starts
  +[SPAN]  the agent is process [PID]
  +[SPAN]  step 1: 2 messages, 15 tokens, 0.01 USD
  +[SPAN]  call 1 ls {\"dir\":\".\"}, by the loop itself: success (exit 0)
  +[SPAN]  step 2: 1 message, 0 tokens, 0.02 USD, done
  +[SPAN]  the agent exited with code 0
  +[SPAN]  ended: done (unverified) (0 processes asked to end, 0 killed)
--- exit 0
",
    );
    check(
        "show --conversation",
        &sandbox.run(&["show", "latest", "--conversation"]),
        "  1 user: count the files\n  2 assistant: I look.\n  3 assistant: Two.\n--- exit 0\n",
    );
    check(
        "why STEP",
        &sandbox.run(&["why", "latest", "0"]),
        "
+[SPAN]  step 0  the run: start  [TIME]
  rule  resume.cause
  because  the run begins
--- exit 0
",
    );
    check(
        "why --call",
        &sandbox.run(&["why", "latest", "--call", "1"]),
        "--- stderr\nagentguard: none of run [RUN] (3 decisions in all)\n--- exit 0\n",
    );
    check(
        "logs",
        &sandbox.run(&["logs", "latest"]),
        "working\nsuccess\nfinished\n--- exit 0\n",
    );
    check(
        "logs --lines",
        &sandbox.run(&["logs", "latest", "-f", "-n", "1"]),
        "finished\n--- exit 0\n",
    );
    check(
        "stop",
        &sandbox.run(&["stop", "latest"]),
        "--- stderr\nagentguard: run [RUN] is not alive: done (unverified), after step 2, 0.03 USD\n--- exit 0\n",
    );
    check(
        "settle",
        &sandbox.run(&["settle", "latest", "--happened"]),
        "--- stderr\nerror: run [RUN] has no call in doubt\n--- exit 2\n",
    );
}

#[test]
fn json_has_a_version_and_the_fields_of_a_report() {
    let sandbox = Sandbox::new("look-json");
    sandbox.task(TWO_TURNS, LIMITS);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code(), 0);
    let listing = sandbox.run(&["runs", "--json"]).json();
    let shown = sandbox
        .run(&["show", "latest", "--json", "--conversation"])
        .json();
    assert_eq!((&listing["v"], &shown["v"]), (&1.into(), &1.into()));
    for key in [
        "run_id",
        "task_id",
        "start_time",
        "end_time",
        "status",
        "input_hash",
        "output_hash",
        "tokens_used",
        "cost_usd",
        "error_class",
        "completed_steps",
        "pending_steps",
        "retry_count",
        "last_error",
        "last_checkpoint",
    ] {
        let listed = &listing["runs"][0];
        assert!(listed.get(key).is_some(), "{key} in {listed}");
        assert_eq!(listed[key], shown[key], "{key}");
    }
    assert_eq!(shown["conversation"][2]["content"], "Two.");
    assert_eq!(shown["tools"][0]["args"]["dir"], ".");
    assert_eq!(shown["timeline"][0]["event"], "created");
    let why = sandbox.run(&["why", "latest", "--json"]).json();
    assert_eq!(why["decisions"][0]["rule"], "resume.cause");
}

#[test]
fn a_run_is_found_by_id_by_its_beginning_or_as_the_latest() {
    let sandbox = Sandbox::new("look-selectors");
    sandbox.task(TWO_TURNS, LIMITS);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code(), 0);
    let id = sandbox.latest();
    for asked in [&id, "latest", &id[2..], &id[..6], &id[2..6]] {
        assert_eq!(sandbox.run(&["why", asked]).code(), 0, "row: {asked}");
    }
    for asked in ["", "r-", "zzzz~", "../../etc", "\u{1b}[2J"] {
        let output = sandbox.run(&["why", asked]);
        assert_eq!(output.code(), 2, "row: {asked:?} {output:#?}");
    }
}

#[test]
fn what_an_agent_says_cannot_act_on_the_terminal() {
    let sandbox = Sandbox::new("look-hostile");
    sandbox.task(
        r#"
        esc=$(printf '\033]0;owned\007\033[2J')
        agentguard turn --role assistant --content "say $esc"
        agentguard report "tool$esc" --arg "x=$esc" --exit-code 1 --result "$esc"
        agentguard turn --role assistant --error "model $esc"
        exit 3
        "#,
        "name: \"evil\\u001b[2J\\u202e\"\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    if ran.code() == 2 {
        // A name with control characters is refused at the door: better still.
        sandbox.task(
            r#"
            esc=$(printf '\033]0;owned\007\033[2J')
            agentguard turn --role assistant --content "say $esc"
            agentguard report "tool$esc" --arg "x=$esc" --exit-code 1 --result "$esc"
            agentguard turn --role assistant --error "model $esc"
            exit 3
            "#,
            "",
        );
        sandbox.run(&["run", "task.yaml"]);
    }
    for args in [
        &["runs"][..],
        &["show", "latest"],
        &["show", "latest", "--conversation"],
        &["why", "latest"],
        &["stop", "latest"],
        &["runs", "--json"],
        &["show", "latest", "--json", "--conversation"],
    ] {
        let output = sandbox.run(args);
        let printed = format!("{}{}", output.stdout, output.stderr);
        let acts = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
        assert!(
            args.contains(&"--json") || !printed.contains(acts),
            "row: {args:?} {printed:?}"
        );
        assert!(!printed.contains('\x1b'), "row: {args:?} {printed:?}");
        assert_eq!(output.code(), 0, "row: {args:?}");
    }
}

#[test]
fn a_killed_run_is_crashed_and_its_open_write_is_in_doubt() {
    let sandbox = in_doubt("look-doubt");
    check(
        "runs",
        &sandbox.run(&["runs", "--status", "crashed"]),
        "
RUN  TASK  STATUS  STEP  COST  STARTED  TOOK  LAST ERROR
[RUN]  task  crashed  1  0.01 USD  [AGO]  [SPAN]
--- exit 0
",
    );
    check(
        "runs of another status",
        &sandbox.run(&["runs", "--status", "running"]),
        "--- stderr\nagentguard: no runs\n--- exit 0\n",
    );
    check(
        "show --tools",
        &sandbox.run(&["show", "latest", "--tools"]),
        "

tool calls
  CALL  STEP  TOOL  STANDS  CLASS  TRIES  TOOK  ARGUMENTS
  1  1  charge  in doubt  1  {\"order\":\"7\"}
--- stderr
agentguard: run [RUN] has crashed: its supervisor is gone. What was under way is settled when it goes on: agentguard resume [RUN]
--- exit 0
"
        .trim_start_matches('\n'),
    );
    check(
        "settle lists",
        &sandbox.run(&["settle", "latest"]),
        "
CALL  TOOL  STEP  ASKED  KEY  ARGUMENTS
1  charge  1  [TIME]  [RUN]/1/charge/1  {\"order\":\"7\"}
--- stderr
agentguard: look whether it happened, then: agentguard settle [RUN] CALL --happened (or --not-happened)
--- exit 26
",
    );
    check(
        "settle another",
        &sandbox.run(&["settle", "latest", "9", "--not-happened"]),
        "
--- stderr
error: call 9 of run [RUN] is not in doubt
hint: in doubt: 1 (charge {\"order\":\"7\"})
--- exit 2
",
    );
    check(
        "rm",
        &sandbox.run(&["rm", "latest"]),
        "
--- stderr
error: run [RUN] is not removed: call 1 of `charge` in doubt
hint: settle it: agentguard settle [RUN]
hint: or remove it with --force; the same action may then be done a second time
--- exit 2
",
    );
    check(
        "bad JSON",
        &sandbox.run(&["settle", "latest", "--happened", "--result-json", "{"]),
        "
--- stderr
error: --result-json is not JSON
  because: EOF while parsing an object at line 1 column 1
--- exit 2
",
    );
}

#[test]
fn a_call_that_happened_is_answered_from_what_the_human_said() {
    let sandbox = in_doubt("look-happened");
    check(
        "settle",
        &sandbox.run(&["settle", "latest", "--happened", "--result", "receipt 4711"]),
        "
--- stderr
agentguard: call 1 of `charge` is recorded as happened; it will not be made again
agentguard: to go on: agentguard resume [RUN]
--- exit 0
",
    );
    assert_eq!(sandbox.run(&["settle", "latest"]).code(), 0);
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code(), 0, "{resumed:#?}");
    assert_eq!(sandbox.read("answer.txt"), "receipt 4711\n");
    let shown = sandbox.run(&["show", "latest", "--json"]).json();
    assert_eq!(shown["tools"][0]["stands"], "answered", "{shown}");
    assert_eq!(shown["tools"][0]["gave"], "receipt 4711");
    assert_eq!(shown["tools"][1]["stands"], "from_record");
    assert_eq!(shown["in_doubt"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_call_that_did_not_happen_frees_its_key() {
    let sandbox = in_doubt("look-not-happened");
    let settled = sandbox.run(&["settle", "latest", "1", "--not-happened"]);
    check(
        "settle",
        &settled,
        "
--- stderr
agentguard: call 1 of `charge` is recorded as not happened; it may be made again
agentguard: to go on: agentguard resume [RUN]
--- exit 0
",
    );
    let shown = sandbox.run(&["show", "latest", "--json"]).json();
    assert_eq!(shown["tools"][0]["stands"], "not_happened");
    // No key is claimed any more, so nothing keeps the run.
    assert_eq!(sandbox.run(&["rm", "latest"]).code(), 0);
}

#[test]
fn a_live_run_shows_its_process_and_stops_when_asked() {
    let sandbox = Sandbox::new("look-stop");
    sandbox.task("echo ready\ntouch ready\nsleep 600", LIMITS);
    let supervisor = sandbox.spawn(&["run", "task.yaml"]);
    wait_until("the agent runs", || sandbox.work().join("ready").exists());
    let listing = sandbox
        .run(&["runs", "--json", "--status", "running"])
        .json();
    assert_eq!(listing["runs"][0]["pid"], supervisor.pid());
    let held = sandbox.run(&["rm", "latest"]);
    check(
        "rm",
        &held,
        "
--- stderr
error: run [RUN] is held by process [PID] since [TIME]
hint: wait for process [PID], or stop it with `agentguard stop [RUN]`
--- exit 2
",
    );
    assert_eq!(sandbox.run(&["settle", "latest"]).code(), 2);
    let mut follower = sandbox.spawn(&["logs", "latest", "--follow"]);
    let mut first = [0; 6];
    let mut log = follower.stdout();
    log.read_exact(&mut first).expect("the log is followed");
    assert_eq!(&first, b"ready\n");
    check(
        "stop",
        &sandbox.run(&["stop", "latest"]),
        "--- stderr\nagentguard: run [RUN]: stopped by the user, after step 0, 0.00 USD\n--- exit 0\n",
    );
    assert_eq!(supervisor.finish().code(), 143);
    assert_eq!(follower.finish().code(), 0, "a follower ends with its run");
    check(
        "stop again",
        &sandbox.run(&["stop", "latest"]),
        "--- stderr\nagentguard: run [RUN] is not alive: stopped by the user, after step 0, 0.00 USD\n--- exit 0\n",
    );
}

#[test]
fn a_second_stop_hurries() {
    let sandbox = Sandbox::new("look-hurry");
    sandbox.write(
        "task.yaml",
        "agent:\n  command: [sh, -c, \"trap '' TERM; touch ready; while :; do sleep 1; done\"]\n  grace: 5m\n",
    );
    let supervisor = sandbox.spawn(&["run", "task.yaml"]);
    wait_until("the agent runs", || sandbox.work().join("ready").exists());
    let began = Instant::now();
    check(
        "stop",
        &sandbox.run(&["stop", "latest", "--no-wait"]),
        "--- stderr\nagentguard: run [RUN] is asked to stop (process [PID])\n--- exit 0\n",
    );
    // One that comes before the first is taken in counts as the first.
    wait_until("it is killed", || {
        let again = sandbox.run(&["stop", "latest", "--no-wait"]);
        again.stderr.contains("is not alive")
    });
    assert_eq!(supervisor.finish().code(), 143);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn breakers_are_listed_and_reset() {
    let sandbox = Sandbox::new("look-breakers");
    {
        let store = Sqlite::open(Paths::new(sandbox.state()), Options::default()).expect("opens");
        for (name, state) in [
            (
                "tool:mail",
                r#"{"state":{"state":"open","since":0,"until":1},"failures":0,"cycle":1,"trips":2,"recent":[],"last_error":"HTTP 503\u001b[2J"}"#,
            ),
            ("tool:odd", "not JSON"),
        ] {
            let edit = BreakerEdit::new(name, UnixMs(0), |_| Change::Put(state.into()));
            store.edit_breaker(edit).wait().expect("is stored");
        }
    }
    check(
        "breakers",
        &sandbox.run(&["breakers"]),
        "
BREAKER  STATE  SINCE  BACK  TRIPS  FAILURES  LAST ERROR
tool:mail  open  [TIME]  with the next call  2  0  HTTP 503\\x1b[2J
tool:odd  unreadable  0  0
--- exit 0
",
    );
    check(
        "reset another",
        &sandbox.run(&["breakers", "reset", "post"]),
        "
--- stderr
error: there is no breaker `post`
hint: the breakers are: tool:mail, tool:odd
--- exit 2
",
    );
    check(
        "reset one by its short name",
        &sandbox.run(&["breakers", "reset", "mail"]),
        "reset tool:mail (was open)\n--- exit 0\n",
    );
    check(
        "reset all",
        &sandbox.run(&["breakers", "reset", "--all"]),
        "reset tool:odd (was unreadable)\n--- exit 0\n",
    );
    assert_eq!(sandbox.run(&["breakers", "reset"]).code(), 2);
}

#[test]
fn old_runs_go_and_those_in_doubt_stay() {
    let mut sandbox = in_doubt("look-gc");
    let doubtful = sandbox.latest();
    // Its end is written, its doubt is not settled.
    assert_eq!(sandbox.run(&["resume", &doubtful]).code(), 26);
    sandbox.set("NO_COLOR", "1");
    sandbox.task(TWO_TURNS, LIMITS);
    for _ in 0..2 {
        assert_eq!(sandbox.run(&["run", "task.yaml"]).code(), 0);
    }
    check(
        "nothing is old enough",
        &sandbox.run(&["gc", "--older-than", "1d"]),
        "--- stderr\nagentguard: removed 0 runs, 0 files, 0 messages\n--- exit 0\n",
    );
    let stays = "agentguard: run [RUN] stays: a call is in doubt (agentguard settle [RUN])";
    check(
        "a dry run",
        &sandbox.run(&["gc", "--keep", "1", "--dry-run"]),
        &format!(
            "would remove [RUN]\n--- stderr\n{stays}\nagentguard: 1 run would go\n--- exit 0\n"
        ),
    );
    let gone = sandbox.run(&["gc", "--keep", "1"]);
    assert!(gone.masked().contains(stays), "{gone:#?}");
    assert!(gone.stdout.starts_with("removed r-"), "{gone:#?}");
    let left = sandbox.run(&["runs", "--json"]).json();
    assert_eq!(left["runs"].as_array().map(Vec::len), Some(2));
    let forced = sandbox.run(&["rm", &doubtful, "latest", "latest", "--force"]);
    assert_eq!(forced.code(), 0, "{forced:#?}");
    check(
        "runs",
        &sandbox.run(&["runs"]),
        "--- stderr\nagentguard: no runs\n--- exit 0\n",
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new("look-pipe");
    sandbox.task("yes 'a long line of output' | head -n 20000", LIMITS);
    sandbox.run(&["run", "task.yaml"]);
    for args in [
        &["runs"][..],
        &["show", "latest"],
        &["why", "latest"],
        &["logs", "latest"],
        &["runs", "--json"],
    ] {
        let mut running = sandbox.spawn(args);
        drop(running.stdout());
        let output = running.finish();
        assert_eq!(
            (output.code(), output.stderr.as_str()),
            (0, ""),
            "row: {args:?}"
        );
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new("look-help");
    for command in [
        "runs", "show", "why", "logs", "stop", "settle", "breakers", "rm", "gc",
    ] {
        let output = sandbox.run(&[command, "--help"]);
        assert_eq!(output.code(), 0, "row: {command}");
        assert!(output.stdout.contains("Examples:\n"), "row: {command}");
    }
}

#[test]
fn a_state_folder_that_cannot_be_looked_into_is_not_an_empty_one() {
    let mut sandbox = Sandbox::new("look-unusable");
    sandbox.write("a-file", "");
    let file = sandbox.work().join("a-file");
    sandbox.set("AGENTGUARD_STATE", &file.to_string_lossy());
    for command in [&["runs"][..], &["show", "latest"], &["breakers"], &["gc"]] {
        let said = sandbox.run(command);
        assert_eq!(said.code(), 70, "{command:?}: {}", said.masked());
    }
}
