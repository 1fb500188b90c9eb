//! Who answers when the first model does not, from end to end: the tree row by row,
//! the way back, a budget that is nearly used up, breakers, parking, and an agent's
//! own session.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chain::{KEY, PLAIN, STREAM, TWO_TURNS, actions, again, argv, run, run_with, task};
use crate::support::http_server::{Reply, Server};
use crate::support::model::Upstream;
use crate::support::{Ran, Sandbox, finish, wait_until};

const SONNET: &str = "claude-sonnet-4-5";
const HAIKU: &str = "claude-haiku-4-5";
const GPT: &str = "gpt-5-mini";
const QWEN: &str = "qwen3";

/// One link of each level behind the first.
fn chain_of(upstream: &Upstream) -> String {
    let url = upstream.url();
    format!(
        "fallbacks:\n  - {{model: {HAIKU}}}\n  \
         - {{url: '{url}/v1', api: chat, key: k, model: {GPT}, level: other}}\n  \
         - {{url: '{url}/v1/', api: chat, key: k, model: {QWEN}, level: self_hosted, price: {{input: 0, output: 0}}}}\n"
    )
}

/// The models that were asked, and those of them that answered.
fn asked(upstream: &Upstream) -> (Vec<String>, Vec<String>) {
    let ledger = upstream.ledger();
    let requests = ledger["requests"].as_array().expect("requests").clone();
    let model = |it: &Value| it["model"].as_str().expect("a model").to_owned();
    let is_answered = |it: &&Value| it["outcome"] == "answered";
    (
        requests.iter().map(model).collect(),
        requests.iter().filter(is_answered).map(model).collect(),
    )
}

/// What a row of the tree has to lead to.
struct Row {
    signal: &'static str,
    seen: &'static str,
    /// What the first turn meets.
    faults: &'static str,
    /// Who is asked for it, in this order.
    asked: &'static [&'static str],
    exit_code: i32,
}

#[test]
fn the_tree_holds_row_by_row() {
    const DONE: i32 = 0;
    #[rustfmt::skip]
    let rows = [
        Row { signal: "short_limit", seen: "is waited for", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 429, retry_after: 1s}", asked: &[SONNET, SONNET] },
        Row { signal: "short_limit", seen: "that does not end takes the cheaper model", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 429, retry_after: 1s, times: forever}", asked: &[SONNET, SONNET, HAIKU] },
        Row { signal: "hard_limit", seen: "without a Retry-After takes the cheaper model at once", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 429, times: forever}", asked: &[SONNET, HAIKU] },
        Row { signal: "hard_limit", seen: "with a long one too", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 429, retry_after: 90s}", asked: &[SONNET, HAIKU] },
        Row { signal: "quota", seen: "takes another provider", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 402, times: forever}", asked: &[SONNET, GPT] },
        Row { signal: "quota", seen: "is known by its words, whatever its status", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 429, type: rate_limit_error, message: 'You exceeded your current quota, please check your plan and billing details', times: forever}", asked: &[SONNET, GPT] },
        Row { signal: "credentials", seen: "take another provider", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 401, times: forever}", asked: &[SONNET, GPT] },
        Row { signal: "credentials", seen: "are also rights", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 403, times: forever}", asked: &[SONNET, GPT] },
        Row { signal: "no_model", seen: "takes the next one", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 404, message: 'model: claude-sonnet-4-5', times: forever}", asked: &[SONNET, HAIKU] },
        Row { signal: "overload", seen: "is tried again, then takes another model", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 529, times: forever}", asked: &[SONNET, SONNET, HAIKU] },
        Row { signal: "server_error", seen: "is tried again", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 500}", asked: &[SONNET, SONNET] },
        Row { signal: "server_error", seen: "that stays takes another provider", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, reset: true, times: forever}", asked: &[SONNET, SONNET, GPT] },
        Row { signal: "outage", seen: "of the other provider too takes our own model", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, status: 500, times: forever}\n  - {model: gpt-5-mini, status: 502, times: forever}",
              asked: &[SONNET, SONNET, GPT, GPT, QWEN] },
        Row { signal: "unfit", seen: "is asked for once more, then of another", exit_code: DONE,
              faults: "{model: claude-sonnet-4-5, empty: true, times: forever}", asked: &[SONNET, SONNET, GPT] },
        Row { signal: "request", seen: "is told", exit_code: 1,
              faults: "{model: claude-sonnet-4-5, status: 400, times: forever}", asked: &[SONNET] },
    ];
    let tree = Sandbox::new().run(&["chain"]).stdout;
    for row in rows {
        for how in [PLAIN, STREAM] {
            let name = format!("{} {}", row.signal, row.seen);
            assert!(tree.contains(row.signal), "{name}: {tree}");
            let script = format!("turns:\n  - say: done\nfaults:\n  - {}\n", row.faults);
            let upstream = Upstream::start(&script);
            let rest = format!(
                "retry: {{base: 1ms, attempts: 2}}\nlimits: {{cost_usd: 1}}\n{}",
                chain_of(&upstream)
            );
            let (sandbox, ran) = run(&upstream, how, &rest);
            let why = actions(&sandbox);
            assert_eq!(ran.code, row.exit_code, "{name}: {ran:?}\n{why}");
            assert_eq!(asked(&upstream).0, row.asked, "{name}: {why}");
            assert!(
                why.contains(&format!("degrade.{}", row.signal)),
                "{name}: {why}"
            );
            let link = sandbox.report()["degraded"]["link"].clone();
            let last = row.asked.last().filter(|last| **last != SONNET);
            assert_eq!(link.as_str(), last.copied(), "{name}: {why}");
        }
    }
}

/// The rows that only show behind first words, or in what a model says.
#[test]
fn a_refusal_and_a_cut_are_told() {
    let refused = Upstream::start("turns:\n  - {say: I cannot help with that., stop: refusal}\n");
    let cut = Upstream::start("turns:\n  - {say: a long answer, faults: [{cut: 4}]}\n");
    for (upstream, signal, code, words) in [
        (refused, "delivered.refused", 0, "I cannot help with that."),
        (cut, "degrade.cut", 23, "200 null"),
    ] {
        let (sandbox, ran) = run(&upstream, STREAM, &chain_of(&upstream));
        let why = actions(&sandbox);
        assert_eq!(ran.code, code, "{signal}: {ran:?}\n{why}");
        assert_eq!(asked(&upstream).0, [SONNET], "{signal}: {why}");
        assert!(why.contains(signal), "{signal}: {why}");
        assert!(ran.stdout.contains(words), "{signal}: {}", ran.stdout);
    }
}

/// An upstream that keeps no time: its point in time is a wait by our clock.
#[test]
fn a_retry_after_that_is_a_date_is_waited_for() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let soon = jiff::fmt::rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC));
    let head = vec![("Retry-After", soon.expect("a date"))];
    let busy = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}});
    let answer = json!({
        "id": "m", "type": "message", "role": "assistant", "model": SONNET, "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "done"}], "usage": {"input_tokens": 9, "output_tokens": 9},
    });
    let upstream = Server::start(vec![
        Reply::Answer(429, head, busy.to_string().into_bytes()),
        Reply::json(200, &answer.to_string()),
    ]);
    let sandbox = Sandbox::new();
    task(&sandbox, PLAIN, "retry: {base: 1ms}\n");
    let mut run = sandbox.command(&["run", "task.yaml"]);
    run.env("ANTHROPIC_BASE_URL", upstream.url(""))
        .env("ANTHROPIC_API_KEY", KEY);
    let ran = finish(&mut run);
    let why = actions(&sandbox);
    assert_eq!(
        (ran.code, upstream.received().len()),
        (0, 2),
        "{ran:?}\n{why}"
    );
    // A hint of some seconds, not a limit of unknown length.
    assert!(why.contains("degrade.short_limit"), "{why}");
}

/// Turns that take `pause` each.
fn turns(count: u32, pause: &str) -> String {
    let turn = |nth| format!("  - {{say: 'Step {nth}.', shell: 'sleep {pause}; echo {nth}'}}\n");
    let turns: String = (1..count).map(turn).collect();
    format!("price: {{input: 3, output: 15}}\nturns:\n{turns}  - say: done\n")
}

#[test]
fn the_first_model_is_asked_again_when_its_rest_is_over() {
    let script = turns(5, "0.7");
    let upstream = Upstream::start(&format!(
        "{script}faults:\n  - {{turn: 1, model: {SONNET}, status: 429, times: 1}}\n"
    ));
    let rest = format!(
        "breaker: {{cool_down: 1s, cool_down_max: 4s}}\n{}",
        chain_of(&upstream)
    );
    let (sandbox, ran) = run(&upstream, PLAIN, &rest);
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    let (_, answered) = asked(&upstream);
    let rested = answered.iter().take_while(|it| *it == HAIKU).count();
    assert!((1..=3).contains(&rested), "{answered:?}\n{why}");
    let recovered = answered[rested..].iter().all(|it| it == SONNET);
    assert!(recovered && answered.len() == 5, "{answered:?}\n{why}");
    for rule in ["degrade.cheaper", "degrade.recovered"] {
        assert_eq!(why.matches(rule).count(), 1, "{rule}: {why}");
    }
    assert!(ran.stderr.contains("recover"), "it is shown: {ran:?}");
    assert_eq!(sandbox.report()["degraded"], Value::Null);
}

/// A rest belongs to the run: whoever goes on after a crash keeps it, and the run
/// recovers all the same.
#[test]
fn a_rest_outlives_a_crash() {
    let script = turns(3, "0");
    let upstream = Upstream::start(&format!(
        "{script}faults:\n  - {{turn: 1, model: {SONNET}, status: 429, times: 1}}\n"
    ));
    let rest = format!(
        "breaker: {{cool_down: 3s, cool_down_max: 3s}}\n{}",
        chain_of(&upstream)
    );
    let fault = [("AGENTGUARD_FAULT", "turn_reported.after_release:2")];
    let (sandbox, ran) = run_with(&upstream, PLAIN, &rest, &fault);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    let went_on = [("AGENTGUARD_FAULT", "turn_reported.after_release:1")];
    let ran = again(&sandbox, &upstream, &["resume", "latest"], &went_on);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    assert_eq!(asked(&upstream).1, [HAIKU, HAIKU], "{}", actions(&sandbox));
    std::thread::sleep(Duration::from_secs(3));
    let ran = again(&sandbox, &upstream, &["resume", "latest"], &[]);
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    assert_eq!(asked(&upstream).1, [HAIKU, HAIKU, SONNET], "{why}");
    assert!(why.contains("degrade.recovered"), "{why}");
}

#[test]
fn past_the_soft_threshold_cheaper_models_answer() {
    // A turn is 0.0045 USD, and 0.0015 of the cheaper model: the threshold is passed
    // with the sixth.
    let upstream = Upstream::start(&turns(12, "0"));
    let rest = format!(
        "limits: {{cost_usd: 0.05, soft: 50%}}\nloops: {{enabled: false}}\n{}",
        chain_of(&upstream)
    );
    let (sandbox, ran) = run(&upstream, PLAIN, &rest);
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    let (_, answered) = asked(&upstream);
    let dear = answered.iter().take_while(|it| *it == SONNET).count();
    assert_eq!((dear, answered.len()), (6, 12), "{answered:?}\n{why}");
    assert!(
        answered[dear..].iter().all(|it| it == HAIKU),
        "{answered:?}"
    );
    for rule in ["limit.cost_usd.soft", "degrade.cheaper"] {
        assert_eq!(why.matches(rule).count(), 1, "{rule}: {why}");
    }
    let report = sandbox.report();
    assert_eq!(report["degraded"]["link"], json!(HAIKU), "{report}");
    assert!(
        report["degraded"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("budget")),
        "{report}"
    );
}

#[test]
fn a_raised_cap_brings_the_first_model_back() {
    let upstream = Upstream::start(&turns(12, "0"));
    let rest = format!(
        "limits: {{cost_usd: 0.0305, soft: 50%}}\nloops: {{enabled: false}}\nfallbacks: [{{model: {HAIKU}}}]\n"
    );
    let fault = [("AGENTGUARD_FAULT", "turn_reported.after_release:6")];
    let (sandbox, ran) = run_with(&upstream, PLAIN, &rest, &fault);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    assert_eq!(asked(&upstream).1.last().map(String::as_str), Some(HAIKU));
    let raise = ["resume", "latest", "--raise", "cost_usd=1"];
    let ran = again(&sandbox, &upstream, &raise, &[]);
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    assert_eq!(
        asked(&upstream).1.last().map(String::as_str),
        Some(SONNET),
        "{why}"
    );
    assert_eq!(sandbox.report()["degraded"], Value::Null, "{why}");
}

/// Every run of a state folder sees the same breakers.
fn run_in(sandbox: &Sandbox, upstream: &Upstream, rest: &str) -> Ran {
    task(sandbox, PLAIN, rest);
    again(sandbox, upstream, &["run", "task.yaml"], &[])
}

fn breakers(sandbox: &Sandbox) -> Value {
    let ran = sandbox.run(&["breakers", "--json"]);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn a_models_breaker_opens_for_all_runs_and_spares_its_neighbours() {
    let upstream = Upstream::start(&format!(
        "turns:\n  - say: done\nfaults:\n  - {{model: {SONNET}, status: 529, times: forever}}\n"
    ));
    let sandbox = Sandbox::new();
    let rest = "retry: {attempts: 1}\nbreaker: {cool_down: 5m}\n";
    for nth in 1..=3 {
        let ran = run_in(&sandbox, &upstream, rest);
        assert_eq!(ran.code, 23, "failure {nth}: {ran:?}");
    }
    // Nobody is asked, and everybody is told what is down.
    let ran = run_in(&sandbox, &upstream, rest);
    assert_eq!((ran.code, upstream.calls()), (23, 3), "{ran:?}");
    assert!(ran.stdout.contains("502"), "{}", ran.stdout);
    let says = |words| ran.stderr.contains(words);
    assert!(says(SONNET) && says("unavailable"), "{ran:?}");
    let listed = breakers(&sandbox);
    let count = listed["breakers"].as_array().map(Vec::len);
    assert_eq!(count, Some(1), "{listed}");
    assert!(listed.to_string().contains("open"), "{listed}");
    // Another model of the same server is well.
    let other = format!("{rest}upstream: {{model: {HAIKU}}}\n");
    assert_eq!(run_in(&sandbox, &upstream, &other).code, 0);
    // Who has a fallback goes on at once, without asking the one that is down.
    let calls = upstream.calls();
    let both = format!("{rest}fallbacks: [{{model: {HAIKU}}}]\n");
    let ran = run_in(&sandbox, &upstream, &both);
    assert_eq!((ran.code, upstream.calls()), (0, calls + 1), "{ran:?}");
    let reset = sandbox.run(&["breakers", "reset", "--all"]);
    assert_eq!(reset.code, 0, "{reset:?}");
    assert_eq!(run_in(&sandbox, &upstream, rest).code, 23);
    assert_eq!(upstream.calls(), calls + 2, "it is asked again");
}

#[test]
fn a_half_open_breaker_lets_one_probe_through() {
    let upstream = Upstream::start(&format!(
        "turns:\n  - say: done\nfaults:\n  - {{model: {SONNET}, status: 529, times: 2}}\n  \
         - {{model: {SONNET}, slow: 8s}}\n"
    ));
    let sandbox = Sandbox::new();
    let rest = "retry: {attempts: 1}\nbreaker: {failures: 1, cool_down: 1s, cool_down_max: 1s}\n";
    assert_eq!(run_in(&sandbox, &upstream, rest).code, 23, "it opens");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(run_in(&sandbox, &upstream, rest).code, 23);
    assert_eq!(upstream.calls(), 2, "the probe failed");
    std::thread::sleep(Duration::from_millis(1_100));
    // The next probe takes long; whoever comes meanwhile is not let through.
    let codes: Vec<i32> = std::thread::scope(|runs| {
        let run = || again(&sandbox, &upstream, &["run", "task.yaml"], &[]).code;
        let runs: Vec<_> = (0..4).map(|_| runs.spawn(run)).collect();
        runs.into_iter()
            .map(|run| run.join().expect("it ran"))
            .collect()
    });
    let done = codes.iter().filter(|code| **code == 0).count();
    assert_eq!((done, upstream.calls()), (1, 3), "{codes:?}");
    // It closed the breaker.
    assert_eq!(run_in(&sandbox, &upstream, rest).code, 0);
}

/// The agent's client says that it waits for two seconds, the model for four.
const PATIENT_FOR_2_S: (&str, &str) = ("HEADER", "x-stainless-read-timeout: 2");
const BUSY_FOR_4_S: &str = "faults:\n  - {turn: 2, status: 429, retry_after: 4s, times: 1}\n";

#[test]
fn a_wait_beyond_the_clients_patience_parks_the_run() {
    let upstream = Upstream::start(&format!("{TWO_TURNS}{BUSY_FOR_4_S}"));
    let (sandbox, ran) = run_with(
        &upstream,
        PLAIN,
        "limits: {cost_usd: 1}",
        &[PATIENT_FOR_2_S],
    );
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    assert!(ran.stderr.contains("park"), "{ran:?}");
    assert_eq!(why.matches(": park").count(), 1, "{why}");
    // The first answer came from the journal, for nothing.
    let report = sandbox.report();
    assert_eq!(
        (upstream.calls(), &report["replayed"]),
        (3, &json!(1)),
        "{why}"
    );
    assert_eq!(report["completed_steps"], json!(2), "{why}");
}

/// Starts a run, and waits until it is parked.
fn parked(sandbox: &Sandbox, upstream: &Upstream) -> Child {
    let supervisor = sandbox
        .command(&["run", "task.yaml"])
        .env("ANTHROPIC_BASE_URL", upstream.url())
        .env("ANTHROPIC_API_KEY", KEY)
        .env(PATIENT_FOR_2_S.0, PATIENT_FOR_2_S.1)
        .spawn()
        .expect("the binary starts");
    wait_until(30, "it to be parked", || {
        sandbox
            .run(&["why", "latest"])
            .stdout
            .contains("parked until")
    });
    supervisor
}

#[test]
fn a_parked_run_outlives_a_kill() {
    let upstream = Upstream::start(&format!("{TWO_TURNS}{BUSY_FOR_4_S}"));
    let sandbox = Sandbox::new();
    task(&sandbox, PLAIN, "limits: {cost_usd: 1}");
    let mut supervisor = parked(&sandbox, &upstream);
    supervisor.kill().expect("it runs");
    supervisor.wait().expect("it ends");
    let ran = again(
        &sandbox,
        &upstream,
        &["resume", "latest"],
        &[PATIENT_FOR_2_S],
    );
    let why = actions(&sandbox);
    assert_eq!(ran.code, 0, "{ran:?}\n{why}");
    let report = sandbox.report();
    assert_eq!(
        (upstream.calls(), &report["replayed"]),
        (3, &json!(1)),
        "{why}"
    );
    assert_eq!(report["completed_steps"], json!(2), "{why}");
}

#[test]
fn a_parked_run_is_stopped_with_and_without_its_process() {
    // It would be parked for a minute.
    let busy = BUSY_FOR_4_S.replace("4s", "60s");
    for is_killed in [false, true] {
        let upstream = Upstream::start(&format!("{TWO_TURNS}{busy}"));
        let sandbox = Sandbox::new();
        task(&sandbox, PLAIN, "limits: {cost_usd: 1}");
        let mut supervisor = parked(&sandbox, &upstream);
        let calls = upstream.calls();
        let stop = || {
            let stopped = sandbox.run(&["stop", "latest"]);
            assert_eq!(stopped.code, 0, "{stopped:?}");
        };
        if is_killed {
            supervisor.kill().expect("it runs");
            supervisor.wait().expect("it ends");
            stop();
        } else {
            stop();
            let ended = supervisor.wait().expect("it ends");
            assert_eq!(ended.code(), Some(143));
        }
        let report = sandbox.report();
        let status = (&report["status"], &report["exit_code"]);
        assert_eq!(status, (&json!("interrupted"), &json!(143)), "{report:#}");
        assert_eq!(upstream.calls(), calls, "nothing more was asked");
    }
}

/// A program that takes Claude Code's command line, and keeps its sessions where
/// Claude Code does.
fn install_claude(sandbox: &Sandbox) {
    let words = argv();
    let words: Vec<&str> = words
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let script = format!(
        "#!/bin/sh\n\
         echo \"$@\" >> {log}\n\
         id=\n\
         for word; do case $last in --session-id|--resume) id=$word;; esac; last=$word; done\n\
         SESSION=$CLAUDE_CONFIG_DIR/$id.json exec {argv}\n",
        log = sandbox.path().join("lines").display(),
        argv = words.join(" "),
    );
    let program = sandbox.write("bin/claude", &script);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program, mode).expect("it is ours");
}

#[test]
fn an_agent_with_sessions_takes_up_its_own() {
    for fault in ["tool_reported.after_save:2", "reserved.after_release:3"] {
        let upstream = Upstream::start(&turns(4, "0"));
        let sandbox = Sandbox::new();
        install_claude(&sandbox);
        sandbox.write(
            "task.yaml",
            "agent: {command: [claude, -p, 'Count to four'], env: {TURNS: '60'}}\nlimits: {cost_usd: 1}\n",
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", sandbox.path().join("bin").display());
        let mut variables = vec![("PATH", path.as_str()), ("AGENTGUARD_FAULT", fault)];
        let ran = again(&sandbox, &upstream, &["run", "task.yaml"], &variables);
        assert_eq!(ran.code, 128 + 9, "{fault}: {ran:?}");
        variables.pop();
        let ran = again(&sandbox, &upstream, &["resume", "latest"], &variables);
        let why = actions(&sandbox);
        assert_eq!(ran.code, 0, "{fault}: {ran:?}\n{why}");
        assert!(
            ran.stderr.contains("in its own session"),
            "{fault}: {ran:?}"
        );
        let lines = sandbox.read("lines");
        let lines: Vec<&str> = lines.lines().collect();
        let session = lines[0]
            .split("--session-id ")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        let session = session.unwrap_or_else(|| panic!("{lines:?}"));
        assert!(
            lines[1].contains(&format!("--resume {session} Go on where you stopped.")),
            "{lines:?}"
        );
        assert!(!lines[1].contains("Count to four"), "{lines:?}");
        // No answer that came was asked for again, and none of them was replayed.
        let report = sandbox.report();
        assert_eq!(report["completed_steps"], json!(4), "{fault}: {why}");
        assert_eq!(report["replayed"], json!(0), "{fault}: {report}");
        let calls = upstream.calls();
        assert!((4..=5).contains(&calls), "{fault}: {calls} calls\n{why}");
    }
}

/// Gemini CLI stops itself when its model asks for the same call again and again, and
/// exits with 0: that is no success.
#[test]
fn an_agent_that_gives_up_in_a_circle_is_not_done() {
    let circle = "turns:\n  - {say: Again., shell: echo same, repeat: forever}\n";
    #[rustfmt::skip]
    let rows = [
        ("the same call, left undone",     "4", circle, "", 22),
        ("where nobody looks for loops",   "4", circle, "loops: {enabled: false}\n", 1),
        ("asked for twice only",           "2", circle, "", 0),
        ("a call of its own at the end",   "4", "turns:\n  - {shell: echo 1}\n  - {shell: echo 2}\n  - {shell: echo 3}\n  - {shell: finish}\n", "", 0),
    ];
    for (name, most, script, rest, code) in rows {
        let upstream = Upstream::start(script);
        let sandbox = Sandbox::new();
        sandbox.write(
            "task.yaml",
            &format!(
                "agent: {{command: {}, protocol: gateway, env: {{TURNS: '{most}'}}}}\n{rest}",
                argv()
            ),
        );
        let ran = again(&sandbox, &upstream, &["run", "task.yaml"], &[]);
        let why = actions(&sandbox);
        assert_eq!(ran.code, code, "{name}: {ran:?}\n{why}");
        assert_eq!(why.contains("exit.gave_up"), code != 0, "{name}: {why}");
    }
}
