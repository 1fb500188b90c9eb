//! `agentguard replay`: a past run again, from its record, without touching the
//! world.

use crate::support::{Sandbox, wait_until};

const TASK: &str = r#"
name: mailing
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 1, deadline: 1m}
tools:
  mail:
    command: [sh, -c, "echo sent >> $MAILS; echo sent to $0", "{to}"]
    effect: irreversible
    key: "mail:{to}"
    env: {MAILS: "{env.MAILS}"}
  look:
    command: [sh, -c, "cat $WEATHER"]
    effect: read
    env: {WEATHER: "{env.WEATHER}"}
"#;

/// What it does with the weather depends on the weather.
const LOOP: &str = r#"
step=$(agentguard state --messages none --get step) || exit
while [ "$step" -lt 3 ]; do
    weather=$(agentguard tool look) || exit
    agentguard tool mail --arg to="p$step-$weather" >/dev/null || exit
    step=$((step + 1))
    agentguard turn --step $step --role assistant --content "step $step: $weather" --cost-usd 0.01 || exit
done
echo "was here" > trace.txt
agentguard turn --done --result sent || exit
"#;

struct Mailing(Sandbox);

impl Mailing {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("task.yaml", TASK);
        sandbox.write("loop.sh", LOOP);
        let mailing = Self(sandbox);
        mailing.weather("sun");
        mailing
    }

    fn weather(&self, weather: &str) {
        self.0.write("home/weather.txt", weather);
    }

    fn run(&self, args: &[&str]) -> crate::support::Ran {
        let mut command = self.0.command(args);
        command
            .env("MAILS", self.0.path().join("home/mails.txt"))
            .env("WEATHER", self.0.path().join("home/weather.txt"));
        crate::support::finish(&mut command)
    }

    fn mails(&self) -> usize {
        self.0.read("home/mails.txt").lines().count()
    }
}

#[test]
fn a_replay_does_what_the_run_did_and_touches_nothing() {
    let mailing = Mailing::new();
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(mailing.mails(), 3);
    // The world has changed since; the recording has not.
    mailing.weather("rain");
    std::fs::remove_file(mailing.0.path().join("trace.txt")).expect("the loop wrote it");
    let replayed = mailing.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(
        replayed.stderr.contains("the replay does what"),
        "{replayed:?}"
    );
    assert_eq!(mailing.mails(), 3);
    assert!(
        !mailing.0.path().join("trace.txt").exists(),
        "it worked in a copy"
    );
    let report = mailing.0.report();
    let name = report["task_id"].as_str().expect("a text");
    assert!(name.contains("(replay of r-"), "{report:#}");
}

#[test]
fn a_loop_that_does_something_else_is_caught_where_it_does() {
    let mailing = Mailing::new();
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let edited = LOOP.replace(r#"to="p$step-$weather""#, r#"to="q$((step / 2))-$weather""#);
    mailing.0.write("loop.sh", &edited);
    let replayed = mailing.run(&["replay", "latest", "--json"]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    let last = replayed.stdout.lines().last().expect("a line");
    let document: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(document["parts_at_step"], 1, "{document:#}");
    let text = |key: &str| document[key].as_str().expect("a text").to_owned();
    assert!(text("recorded").contains("p0-sun"), "{document:#}");
    assert!(text("replayed").contains("q0-sun"), "{document:#}");
    assert_eq!(mailing.mails(), 3);
}

#[test]
fn a_replay_begins_at_a_step_and_goes_live_at_another() {
    let mailing = Mailing::new();
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let id = mailing.0.report()["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let middle = mailing.run(&["replay", &id, "--from-step", "2"]);
    assert_eq!(middle.code, 0, "{middle:?}");
    assert_eq!(mailing.mails(), 3);
    mailing.weather("snow");
    let live = mailing.run(&["replay", &id, "--live-after", "2"]);
    assert_eq!(live.code, 1, "the weather is another: {live:?}");
    assert!(live.stderr.contains("in step 3"), "{live:?}");
    assert_eq!(mailing.mails(), 4, "the third mail was a real one");
    let late = mailing.run(&["replay", &id, "--from-step", "9"]);
    assert_eq!(late.code, 2, "{late:?}");
}

/// Three calls, each with the history of those before.
const CALLER: &str = r#"
messages='{"role":"user","content":"go"}'
for turn in 1 2 3; do
  curl -sS -f -o answer.json "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_API_KEY" \
    -H 'content-type: application/json' \
    -d "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":1000,\"messages\":[$messages]}" || exit 1
  messages="$messages,{\"role\":\"assistant\",\"content\":\"turn $turn\"},{\"role\":\"user\",\"content\":\"$(cat word.txt)\"}"
done
"#;

#[test]
fn an_agent_that_knows_nothing_of_it_is_replayed_for_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "
name: calling
agent: {command: [sh, caller.sh], protocol: gateway}
limits: {cost_usd: 1, deadline: 1m}
upstream: {script: model.yaml}
",
    );
    sandbox.write(
        "model.yaml",
        "turns: [{say: one}, {say: two}, {say: three}]\n",
    );
    sandbox.write("caller.sh", CALLER);
    sandbox.write("word.txt", "go on");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let id = sandbox.report()["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    // A model that answers otherwise is not asked.
    sandbox.write("model.yaml", "turns: [{say: other}]\n");
    let replayed = sandbox.run(&["replay", &id]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    let report = sandbox.report();
    assert_eq!(report["replayed"], 3, "{report:#}");
    assert_eq!(report["cost_usd"], "0.00", "{report:#}");
    // Another word, another request: nothing goes out for it.
    sandbox.write("word.txt", "stop");
    let parted = sandbox.run(&["replay", &id]);
    assert_eq!(parted.code, 1, "{parted:?}");
    assert!(parted.stderr.contains("in step 2"), "{parted:?}");
    assert_eq!(sandbox.report()["cost_usd"], "0.00");
}

#[test]
fn a_run_that_failed_is_replayed_to_its_failure() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "
name: failing
agent: {command: [sh, loop.sh], grace: 2s}
limits: {deadline: 1m}
tools:
  check: {command: [sh, -c, 'echo broken at $(date +%N) >&2; exit 1'], effect: read, retry: {attempts: 1}}
",
    );
    sandbox.write(
        "loop.sh",
        "agentguard tool check >answer.txt 2>&1\nagentguard turn --role assistant --content \"$(cat answer.txt)\" || exit\nexit 3\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(
        replayed.stderr.contains("exited with code 3"),
        "{replayed:?}"
    );
}

#[test]
fn a_replay_commits_nothing_to_the_staged_folder() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "
name: staged
agent: {command: [sh, loop.sh], cwd: app, grace: 2s}
limits: {deadline: 1m}
workspace: {stage: app}
",
    );
    sandbox.write("app/story.txt", "once");
    sandbox.write(
        "app/loop.sh",
        "echo upon a time >> story.txt\nagentguard turn --done --role assistant --content told\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = sandbox.read("app/story.txt");
    assert!(told.contains("upon"), "{told}");
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(sandbox.read("app/story.txt"), told);
}

/// Runs `task.yaml` until it asks a human, answers with `choice`, and waits for its end.
fn run_and_answer(sandbox: &Sandbox, choice: &str) -> crate::support::Ran {
    let child = sandbox.start(&["run", "task.yaml"]);
    let open = || -> Option<String> {
        let inbox = sandbox.run(&["inbox", "--json"]).stdout;
        let at = inbox.find("\"e-")?;
        inbox.get(at + 1..at + 11).map(str::to_owned)
    };
    wait_until(20, "a question", || open().is_some());
    let id = open().expect("it is there");
    let answered = sandbox.run(&["answer", &id, "--choose", choice]);
    assert_eq!(answered.code, 0, "{answered:?}");
    crate::support::ended(child)
}

#[test]
fn a_question_is_answered_from_the_recording_and_nobody_is_asked() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "name: asking\nagent: {command: [sh, loop.sh], grace: 2s}\nlimits: {deadline: 1m}\n",
    );
    sandbox.write(
        "loop.sh",
        r#"
agentguard turn --role assistant --content begun || exit
choice=$(agentguard escalate --question 'Which?' --option a=Ann --option b=Bo --default a) || exit
agentguard turn --role assistant --content "chose $choice" || exit
agentguard turn --done --result "$choice"
"#,
    );
    let ran = run_and_answer(&sandbox, "b");
    assert_eq!(ran.code, 0, "{ran:?}");
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(sandbox.report()["result"], "b");
    let inbox = sandbox.run(&["inbox", "--all", "--json"]).stdout;
    assert_eq!(inbox.matches("\"e-").count(), 1, "{inbox}");
    // What was never decided is not asked now.
    let asked = sandbox.run(&["run", "task.yaml", "--detach"]);
    assert_eq!(asked.code, 25, "{asked:?}");
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(
        replayed.stderr.contains("as far as it is recorded"),
        "{replayed:?}"
    );
    let inbox = sandbox.run(&["inbox", "--json"]).stdout;
    assert_eq!(inbox.matches("\"e-").count(), 1, "{inbox}");
}

#[test]
fn a_replay_is_not_gone_on_with() {
    let mailing = Mailing::new();
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    mailing.0.write("loop.sh", "exit 3\n");
    let replayed = mailing.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    assert!(!replayed.stderr.contains("resume"), "{replayed:?}");
    // The real tools would be called.
    mailing.0.write("loop.sh", LOOP);
    let resumed = mailing.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 2, "{resumed:?}");
    assert!(resumed.stderr.contains("is a replay of r-"), "{resumed:?}");
    assert_eq!(mailing.mails(), 3);
    let letters = mailing.run(&["dead-letters", "list", "--json"]).stdout;
    assert!(!letters.contains("replay of"), "{letters}");
}

#[test]
fn words_that_differ_are_shown() {
    let mailing = Mailing::new();
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let edited = LOOP.replace("\"step $step: $weather\"", "\"step $step, $weather\"");
    mailing.0.write("loop.sh", &edited);
    let replayed = mailing.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    let words = "in step 1: the recording says \"step 1: sun\", the replay says \"step 1, sun\"";
    assert!(replayed.stderr.contains(words), "{replayed:?}");
}

#[test]
fn the_same_steps_to_another_end_are_another_run() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "name: ending\nagent: {command: [sh, loop.sh], grace: 2s}\nlimits: {deadline: 1m}\n",
    );
    let turn = "agentguard turn --role assistant --content a";
    sandbox.write("loop.sh", &format!("{turn} --done\n"));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    sandbox.write("loop.sh", &format!("{turn}\nexit 3\n"));
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 1, "{replayed:?}");
    assert!(replayed.stderr.contains("in step 2"), "{replayed:?}");
    assert!(
        replayed.stderr.contains("exited with code 3"),
        "{replayed:?}"
    );
}

#[test]
fn a_run_that_was_cut_off_is_compared_as_far_as_it_is_recorded() {
    let mailing = Mailing::new();
    let slow = LOOP.replace(
        "    step=$((step",
        "    [ -e go ] || sleep 60\n    step=$((step",
    );
    let slow = slow.replace("sleep 60", "[ $step -lt 1 ] || sleep 60");
    mailing.0.write("loop.sh", &slow);
    mailing
        .0
        .write("task.yaml", &TASK.replace("deadline: 1m", "deadline: 2s"));
    let ran = mailing.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 21, "{ran:?}");
    let mails = mailing.mails();
    mailing.0.write("go", "");
    let replayed = mailing.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(
        replayed.stderr.contains("as far as it is recorded"),
        "{replayed:?}"
    );
    assert_eq!(mailing.mails(), mails);
    // What it did before the cut still counts.
    let other = slow.replace("p$step-$weather", "q$step-$weather");
    mailing.0.write("loop.sh", &other);
    let id = replayed.stderr.rsplit_once("does what ").expect("an id").1;
    let parted = mailing.run(&["replay", id.get(..10).expect("an id")]);
    assert_eq!(parted.code, 1, "{parted:?}");
    assert!(parted.stderr.contains("in step 1"), "{parted:?}");
}

#[test]
fn items_of_a_batch_are_told_as_they_were_then() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        r#"
name: batch
agent: {command: [sh, loop.sh], grace: 2s}
limits: {deadline: 1m}
tools:
  mail:
    command: [sh, -c, 'echo $0 >> mails; case $0 in p2) echo "HTTP 404 not found" >&2; exit 22;; esac; echo ok', "{to}"]
    effect: write
    key: "mail:{to}"
"#,
    );
    let item = |n: u8| format!("{{\"id\":\"i{n}\",\"args\":{{\"to\":\"p{n}\"}}}}\n");
    sandbox.write("items.jsonl", &(1..=3).map(item).collect::<String>());
    sandbox.write(
        "loop.sh",
        "agentguard batch mail items.jsonl --policy optional > ended.jsonl || exit\n\
         agentguard turn --done --role assistant --content \"$(cat ended.jsonl)\"\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mails = sandbox.read("mails");
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(sandbox.read("mails"), mails);
    let letters = sandbox.run(&["dead-letters", "list", "--json"]).stdout;
    assert_eq!(letters.matches("\"item\":\"i2\"").count(), 1, "{letters}");
}

/// Three calls of the model; behind each, a mail by a guarded tool.
fn calling_and_mailing(middle: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "
name: calling
agent: {command: [sh, caller.sh], protocol: gateway}
limits: {cost_usd: 1, deadline: 1m}
upstream: {script: model.yaml}
tools:
  mail: {command: [sh, -c, 'echo $0 >> mails', '{to}'], effect: write, key: 'mail:{to}'}
",
    );
    sandbox.write(
        "model.yaml",
        "turns: [{say: one}, {say: two}, {say: three}]\n",
    );
    sandbox.write("caller.sh", &CALLER.replace("done\n", middle));
    sandbox.write("word.txt", "go on");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    sandbox
}

#[test]
fn an_agent_that_begins_at_its_beginning_is_compared_from_a_step() {
    let sandbox =
        calling_and_mailing("agentguard tool mail --arg to=p$turn >/dev/null || exit 1\ndone\n");
    let id = sandbox.report()["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mails = sandbox.read("mails");
    let middle = sandbox.run(&["replay", &id, "--from-step", "2"]);
    assert_eq!(middle.code, 0, "{middle:?}");
    assert_eq!(sandbox.report()["replayed"], 3);
    assert_eq!(sandbox.read("mails"), mails);
}

#[test]
fn a_model_is_asked_again_behind_the_step_of_live_after() {
    let sandbox = calling_and_mailing("done\n");
    let id = sandbox.report()["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let live = sandbox.run(&["replay", &id, "--live-after", "2"]);
    assert_eq!(live.code, 0, "{live:?}");
    let report = sandbox.report();
    assert_eq!(report["replayed"], 2, "{report:#}");
    assert_ne!(report["cost_usd"], "0.00", "{report:#}");
}

#[test]
fn conversations_at_once_are_the_same_in_any_order() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "
name: several
agent: {command: [sh, several.sh], protocol: gateway}
limits: {cost_usd: 5, deadline: 1m}
upstream: {script: model.yaml}
tools:
  mail: {command: [sh, -c, 'echo $0 >> mails', '{to}'], effect: write, key: 'mail:{to}'}
",
    );
    sandbox.write("model.yaml", "turns: [{say: one}, {say: two}]\n");
    let one = CALLER
        .replace("answer.json", "answer-$1.json")
        .replace("\"content\":\"go\"", "\"content\":\"task $1\"")
        .replace("messages='{\"role\":\"user\",\"content\":\"task $1\"}'", "messages=\"{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"task $1\\\"}\"")
        .replace("1 2 3", "1 2")
        .replace("done\n", "[ \"$1\" = \"$(cat slow)\" ] && sleep 0.5\nagentguard tool mail --arg to=$1-$turn >/dev/null || exit 1\ndone\n");
    sandbox.write("one.sh", &one);
    sandbox.write("word.txt", "go on");
    sandbox.write("several.sh", "sh one.sh a & sh one.sh b & wait\n");
    sandbox.write("slow", "a");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // The other one is the slow one now.
    sandbox.write("slow", "b");
    let id = sandbox.report()["run_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let replayed = sandbox.run(&["replay", &id]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    let other = one.replace("to=$1-$turn", "to=$1-$turn-x");
    sandbox.write("one.sh", &other);
    let parted = sandbox.run(&["replay", &id]);
    assert_eq!(parted.code, 1, "{parted:?}");
    assert!(
        parted.stderr.contains("the recording calls mail {"),
        "{parted:?}"
    );
}
