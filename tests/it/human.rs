//! Questions to humans: the real binary asks, other real processes answer, and
//! whatever is killed in between, each question is asked once, decided once, and
//! what it lets happen happens at most once.

use std::process::Child;

use serde_json::Value;

use crate::support::{BINARY, Ran, Sandbox, ended, finish, wait_until};

/// A tool that leaves a line for every effect, and waits for an approval.
const TASK: &str = r#"
name: human
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 50, steps: 30, deadline: 10m, idle: 1m}
tools:
  pay:
    command: [sh, -c, 'echo "$0" >> ledger.txt; echo "paid $0"', "{to}"]
    effect: irreversible
    key: "pay:{to}"
    approve: {above_usd: 50, amount: usd}
"#;

const PAY: &str = "
agentguard tool pay --arg to=u1 --arg-json usd=100 > got.txt; echo $? > code.txt
agentguard turn --done --result \"$(cat got.txt)\" || exit
";

fn sandbox(task: &str, script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox.write("loop.sh", script);
    sandbox
}

/// Waits until something is asked, and returns its number.
fn asked(sandbox: &Sandbox) -> String {
    let mut id = None;
    wait_until(20, "a question", || {
        id = sandbox.questions(&[]).first().map(|it| text(it, "id"));
        id.is_some()
    });
    id.expect("it was just seen")
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn events(sandbox: &Sandbox, kind: &str) -> usize {
    let ran = sandbox.run(&["show", "latest", "--timeline", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.matches(&format!("\"event\":\"{kind}\"")).count()
}

#[test]
fn an_approved_call_is_made_and_its_result_comes_back() {
    let sandbox = sandbox(TASK, PAY);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox);
    assert_eq!(
        sandbox.read("ledger.txt"),
        "",
        "nothing happens before the answer"
    );
    let question = sandbox.questions(&[]).remove(0);
    assert_eq!(question["kind"], "approval");
    assert_eq!(question["default"], "decline", "it cannot be taken back");
    assert_eq!(question["reversible"], false);
    assert_eq!(question["cost_usd"], "100.00");
    assert!(question["deadline"].as_i64() > question["opened_at"].as_i64());
    let ran = sandbox.run(&["answer", &id, "--choose", "approve", "--by", "anna"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("is alive and sees it at once"),
        "{ran:?}"
    );
    let ran = ended(run);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    assert_eq!(sandbox.read("got.txt"), "paid u1\n");
    let why = sandbox.run(&["why", "latest"]).stdout;
    assert!(why.contains("anna chose `approve`"), "{why}");
    assert!(sandbox.questions(&[]).is_empty());
}

#[test]
fn a_declined_call_is_not_made_and_the_model_hears_why() {
    let twice = PAY.replace(
        "agentguard turn",
        "agentguard tool pay --arg to=u1 --arg-json usd=100 > again.txt\nagentguard turn",
    );
    let sandbox = sandbox(TASK, &twice);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox);
    let note = "not before Monday";
    let ran = sandbox.run(&[
        "answer", &id, "--choose", "decline", "--note", note, "--by", "anna",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = ended(run);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "");
    assert_eq!(sandbox.read("code.txt"), "1\n");
    let got = sandbox.read("got.txt");
    assert!(got.contains("Declined by anna: not before Monday"), "{got}");
    assert_eq!(
        sandbox.read("again.txt"),
        got,
        "asked again, it is the record"
    );
    assert_eq!(sandbox.questions(&["--all"]).len(), 1, "asked once");
}

#[test]
fn small_sums_need_no_approval() {
    let sandbox = sandbox(TASK, &PAY.replace("usd=100", "usd=50"));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    assert!(sandbox.questions(&["--all"]).is_empty());
}

#[test]
fn the_second_answer_is_refused_and_told_who_was_first() {
    let sandbox = sandbox(TASK, PAY);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox);
    let seen = sandbox.run(&["answer", &id, "--ack", "--by", "bo"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    let seen = sandbox.run(&["answer", &id, "--ack", "--by", "cy"]);
    assert!(seen.stderr.contains("bo has seen it already"), "{seen:?}");
    let wrong = sandbox.run(&["answer", &id, "--choose", "aprove"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(
        wrong.stderr.contains("did you mean `approve`?"),
        "{wrong:?}"
    );
    let none = sandbox.run(&["answer", &id]);
    assert_eq!(none.code, 2, "{none:?}");
    assert!(none.stderr.contains("--choose"), "{none:?}");
    // Many at once: one gets it, the others are told.
    let children: Vec<Child> = (0..6)
        .map(|number| {
            let (by, option) = (format!("h{number}"), ["approve", "decline"][number % 2]);
            sandbox.start(&["answer", &id, "--choose", option, "--by", &by])
        })
        .collect();
    let ran: Vec<Ran> = children.into_iter().map(ended).collect();
    assert_eq!(
        ran.iter().filter(|ran| ran.code == 0).count(),
        1,
        "{ran:#?}"
    );
    let ruling = sandbox.questions(&["--all"]).remove(0)["ruling"].clone();
    let told = format!(
        "decided already: `{}`, by {}",
        text(&ruling, "option"),
        text(&ruling, "by")
    );
    for late in ran.iter().filter(|ran| ran.code != 0) {
        assert_eq!(late.code, 2, "{late:?}");
        assert!(late.stderr.contains(&told), "{told}: {late:?}");
    }
    assert_eq!(ended(run).code, 0);
    let paid = text(&ruling, "option") == "approve";
    assert_eq!(
        sandbox.read("ledger.txt").lines().count(),
        usize::from(paid)
    );
    assert_eq!(events(&sandbox, "decided"), 1);
    assert_eq!(events(&sandbox, "acknowledged"), 1);
}

#[test]
fn when_nobody_answers_the_default_stands() {
    let task = format!("{TASK}escalation: {{types: {{approval: {{deadline: 400ms}}}}}}\n");
    let sandbox = sandbox(&task, PAY);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "");
    let got = sandbox.read("got.txt");
    assert!(
        got.contains("the deadline passed without an answer"),
        "{got}"
    );
    let late = sandbox.questions(&["--all"]).remove(0);
    let ran = sandbox.run(&["answer", &text(&late, "id"), "--choose", "approve"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("too late"), "{ran:?}");
}

const ASK: &str = "
choice=$(agentguard escalate --question 'Which Lee?' -o u17='Ann Lee' -o u92='Bo Lee' \
    --recommend u17 --confidence 0.4 --kind low_confidence --evidence 'two match' 2>note.txt) || exit
agentguard turn --done --result \"$choice\" || exit
";

#[test]
fn the_agent_asks_and_gets_the_option() {
    let sandbox = sandbox(TASK, ASK);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox);
    let page = sandbox.run(&["inbox", "show", &id]);
    assert!(
        page.stdout.contains("Which Lee?") && page.stdout.contains("u92: Bo Lee"),
        "{page:?}"
    );
    let list = sandbox.run(&["inbox"]);
    assert!(list.stdout.contains(&id), "{list:?}");
    let ran = sandbox.run(&[
        "answer",
        &id[..6],
        "-c",
        "u92",
        "-n",
        "the one in Oslo",
        "--by",
        "bo",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ended(run).code, 0);
    assert_eq!(sandbox.report()["result"], "u92");
    assert!(sandbox.read("note.txt").contains("bo: the one in Oslo"));
}

#[test]
fn an_agent_cannot_answer_itself() {
    let script = "
        agentguard escalate --question 'May I?' --deadline 1s > chosen.txt &
        until agentguard inbox | grep -q 'May I'; do sleep 0.05; done
        agentguard answer \"$(agentguard inbox | grep -o 'e-[0-9a-z]*')\" --choose yes 2> refused.txt
        echo $? > code.txt; wait
        agentguard turn --done --result \"$(cat chosen.txt)\" || exit
    ";
    let sandbox = sandbox(TASK, script);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("code.txt"), "2\n");
    let refused = sandbox.read("refused.txt");
    assert!(
        refused.contains("cannot answer its own questions"),
        "{refused}"
    );
}

#[test]
fn a_detached_run_is_suspended_and_goes_on_with_the_answer() {
    for wait in [false, true] {
        let sandbox = sandbox(TASK, PAY);
        let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
        assert_eq!(ran.code, 25, "{ran:?}");
        assert!(ran.stderr.contains("agentguard answer e-"), "{ran:?}");
        assert_eq!(sandbox.report()["status"], "waiting");
        let refused = sandbox.run(&["resume", "latest"]);
        assert_eq!(refused.code, 25, "{refused:?}");
        assert!(refused.stderr.contains("waits for a human"), "{refused:?}");
        let id = asked(&sandbox);
        let waiting = wait.then(|| sandbox.start(&["wait", "latest"]));
        let ran = sandbox.run(&["answer", &id, "--choose", "approve"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = match waiting {
            Some(waiting) => ended(waiting),
            None => {
                assert!(ran.stderr.contains("agentguard resume r-"), "{ran:?}");
                sandbox.run(&["resume", "latest"])
            }
        };
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(sandbox.read("ledger.txt"), "u1\n", "made once");
        assert_eq!(sandbox.questions(&["--all"]).len(), 1, "asked once");
    }
}

#[test]
fn in_ci_a_run_does_not_wait() {
    let sandbox = sandbox(TASK, PAY);
    let ran = sandbox.run_with(("CI", "true"), &["run", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
}

#[test]
fn a_wait_goes_on_when_the_deadline_passes() {
    let task = format!("{TASK}escalation: {{types: {{approval: {{deadline: 1s}}}}}}\n");
    let sandbox = sandbox(&task, PAY);
    let ran = sandbox.run(&["run", "--detach", "task.yaml"]);
    assert_eq!(ran.code, 25, "{ran:?}");
    let ran = sandbox.run(&["wait", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "");
    assert!(sandbox.read("got.txt").contains("the deadline passed"));
}

#[test]
fn waiting_for_a_human_counts_for_no_limit() {
    let task = TASK.replace("deadline: 10m, idle: 1m", "deadline: 2s, idle: 500ms");
    let sandbox = sandbox(&task, ASK);
    let run = sandbox.start(&["run", "task.yaml"]);
    let id = asked(&sandbox);
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let ran = sandbox.run(&["answer", &id, "--choose", "u17"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = ended(run);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// The same call with the same result until the detector stops it.
const CIRCLE: &str = "
for turn in 1 2 3 4 5 6 7 8 9 10 11 12; do
    agentguard report look --arg at=x --result same --json >> told.txt || exit
    agentguard turn --role assistant --content \"$turn\" || exit
done
agentguard turn --done --result out || exit
";

#[test]
fn a_loop_waits_for_a_human_who_lets_it_go_on_or_ends_it() {
    let task = format!("{TASK}loops: {{on_stop: pause, steer: false}}\n");
    for (option, code) in [("continue", 0), ("stop", 22)] {
        let sandbox = sandbox(&task, CIRCLE);
        let run = sandbox.start(&["run", "task.yaml"]);
        let id = asked(&sandbox);
        assert_eq!(sandbox.questions(&[])[0]["kind"], "loop");
        let ran = sandbox.run(&[
            "answer", &id, "--choose", option, "--note", "read it", "--by", "bo",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let second = wait_for_second(&sandbox, &id);
        let ran = ended(run);
        let told = sandbox.read("told.txt");
        match option {
            "continue" => assert!(told.contains("bo: read it"), "{told}"),
            _ => assert_eq!(second, None),
        }
        assert_eq!(ran.code, code, "{option}: {ran:?}");
    }
}

/// Lets a later question of the same kind go on too.
fn wait_for_second(sandbox: &Sandbox, first: &str) -> Option<String> {
    for _ in 0..40 {
        let open = sandbox.questions(&[]);
        let next = open.iter().map(|it| text(it, "id")).find(|id| id != first);
        if let Some(next) = next {
            let ran = sandbox.run(&["answer", &next, "--choose", "continue"]);
            assert_eq!(ran.code, 0, "{ran:?}");
            return Some(next);
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    None
}

#[test]
fn more_money_is_asked_for_before_it_is_spent() {
    let script = "
        for turn in 1 2 3 4 5; do
            id=$(agentguard turn --role assistant --content \"$turn\" --cost-usd 2 --json) || exit
            echo \"$turn\" >> turns.txt
        done
        agentguard turn --done --result out || exit
    ";
    let task = format!("{TASK}escalation: {{cost_usd: 5}}\n");
    for (option, code, turns) in [("continue", 0, 5), ("stop", 20, 2)] {
        let sandbox = sandbox(&task, script);
        let run = sandbox.start(&["run", "task.yaml"]);
        let id = asked(&sandbox);
        assert_eq!(sandbox.questions(&[])[0]["kind"], "cost");
        let ran = sandbox.run(&["answer", &id, "--choose", option]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = ended(run);
        assert_eq!(ran.code, code, "{option}: {ran:?}");
        assert_eq!(sandbox.read("turns.txt").lines().count(), turns, "{option}");
    }
}

#[test]
fn a_call_in_doubt_is_in_the_inbox_and_its_answer_settles_it() {
    let task = TASK.replace("approve: {above_usd: 50, amount: usd}", "timeout: 5s");
    for (option, lines) in [("happened", 1), ("not_happened", 2)] {
        let sandbox = sandbox(&task, PAY);
        let point = ("AGENTGUARD_FAULT", "tool_ended.before_save");
        let ran = sandbox.run_with(point, &["run", "task.yaml"]);
        assert_eq!(ran.code, 128 + 9, "{ran:?}");
        let ran = sandbox.run(&["resume", "latest"]);
        assert_eq!(ran.code, 26, "{ran:?}");
        let id = asked(&sandbox);
        assert_eq!(sandbox.questions(&[])[0]["kind"], "in_doubt");
        let ran = sandbox.run(&["answer", &id, "--choose", option, "--note", "receipt 4711"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = sandbox.run(&["resume", "latest"]);
        assert_eq!(ran.code, 0, "{option}: {ran:?}");
        assert_eq!(
            sandbox.read("ledger.txt").lines().count(),
            lines,
            "{option}"
        );
        assert!(sandbox.questions(&[]).is_empty());
    }
    // `settle` closes the question too.
    let sandbox = sandbox_in_doubt(&task);
    let ran = sandbox.run(&["settle", "latest", "--happened"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.questions(&[]).is_empty());
}

fn sandbox_in_doubt(task: &str) -> Sandbox {
    let sandbox = sandbox(task, PAY);
    let point = ("AGENTGUARD_FAULT", "tool_ended.before_save");
    sandbox.run_with(point, &["run", "task.yaml"]);
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 26);
    sandbox
}

#[test]
fn an_answer_that_comes_early_is_kept() {
    let sandbox = sandbox(TASK, PAY);
    let point = ("AGENTGUARD_FAULT", "tool_called.after_save");
    let ran = sandbox.run_with(point, &["run", "task.yaml"]);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    let id = asked(&sandbox);
    let ran = sandbox.run(&["answer", &id, "--choose", "approve"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "u1\n");
    assert_eq!(sandbox.questions(&["--all"]).len(), 1, "asked once");
}

#[test]
fn items_of_a_batch_that_need_an_approval_are_not_done_in_it() {
    let script = "
        agentguard batch pay items.jsonl > ended.jsonl
        agentguard turn --done --result out || exit
    ";
    let sandbox = sandbox(TASK, script);
    let items = [("a", 10), ("b", 100)].map(|(id, usd)| {
        format!("{{\"id\":\"{id}\",\"args\":{{\"to\":\"{id}\",\"usd\":{usd}}}}}\n")
    });
    sandbox.write("items.jsonl", &items.concat());
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("ledger.txt"), "a\n");
    let ended = sandbox.read("ended.jsonl");
    assert!(ended.contains("above 50.00 USD"), "{ended}");
    assert!(sandbox.questions(&["--all"]).is_empty());
}

#[test]
fn outside_a_run_nothing_can_be_asked() {
    let ran = finish(
        std::process::Command::new(BINARY)
            .args(["escalate", "--question", "x"])
            .env_clear(),
    );
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("not inside a run"), "{ran:?}");
}
