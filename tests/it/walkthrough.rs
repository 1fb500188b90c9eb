//! The walkthrough of the README: a hundred invoices on a bad day. One approval, one
//! crash, one failed check; ninety-five mails once each, five dead letters.

use std::collections::BTreeSet;

use agentguard::drill::point::VARIABLE;

use crate::batch::invoices;
use crate::support::Sandbox;

fn month_end() -> Sandbox {
    invoices(&["month-end.yaml", "month-end.sh"])
}

#[test]
fn a_hundred_invoices_on_a_bad_day() {
    let sandbox = month_end();
    // Nothing goes out before a human says so.
    let asked = sandbox.run(&["run", "--detach", "month-end.yaml"]);
    assert_eq!(asked.code, 25, "{asked:?}");
    assert_eq!(sandbox.read("outbox.txt"), "");
    let inbox = sandbox.run(&["inbox", "--json"]);
    let id = inbox.stdout.split('"').find(|word| word.starts_with("e-"));
    let id = id.unwrap_or_else(|| panic!("{inbox:?}")).to_owned();
    let answered = sandbox.run(&["answer", &id, "--choose", "mail"]);
    assert_eq!(answered.code, 0, "{answered:?}");
    // Killed in the middle of the hundred.
    let point = (VARIABLE, "tool_ended.after_save:40");
    let killed = sandbox.run_with(point, &["resume", "latest"]);
    assert_eq!(killed.code, 128 + 9, "{killed:?}");
    let before = sandbox.read("outbox.txt").lines().count();
    assert!(0 < before && before < 95, "{before} mails");
    // The first report does not pass its check; the second does.
    let done = sandbox.run(&["resume", "latest"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("I was told to look again"), "{done:?}");
    assert!(done.stderr.contains("done, verified"), "{done:?}");
    assert_eq!(sandbox.read("report.txt"), "95 of 100 invoices mailed\n");
    // Counted where the mails arrive.
    let outbox = sandbox.read("outbox.txt");
    let mailed: Vec<&str> = outbox.lines().collect();
    let once: BTreeSet<&str> = mailed.iter().copied().collect();
    assert_eq!((mailed.len(), once.len()), (95, 95));
    let dead = sandbox.run(&["dead-letters", "list"]);
    for item in [
        "2026-0017",
        "2026-0034",
        "2026-0051",
        "2026-0068",
        "2026-0085",
    ] {
        assert!(dead.stdout.contains(item), "{item}: {dead:?}");
    }
    let reasons = sandbox.run(&["failed"]);
    assert!(reasons.stdout.contains("words.semantic"), "{reasons:?}");
}
