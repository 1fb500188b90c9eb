//! The real binary, killed at every fault point and at random moments, and
//! resumed until it is done: the same files, the same side effects, the same
//! spend as the run that nobody disturbed.

use std::collections::BTreeMap;

use agentguard::drill::point::{Boundary, Point, Side, VARIABLE};
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, Sandbox, wait_until};

/// An agent of six steps whose tools leave a line in a ledger for every effect.
///
/// - `keyed` has a natural key and a probe;
/// - `native` has no key of its own: the supervisor makes one, and the tool
///   honours it;
/// - `flaky` fails below on its first try of each item, and is retried.
const TASK: &str = r#"
name: crash
agent: {command: [sh, loop.sh], grace: 2s}
limits: {cost_usd: 5, steps: 30, tool_calls: 200, deadline: 10m}
tools:
  keyed:
    command: [sh, tool.sh, keyed, "{item}"]
    effect: irreversible
    key: "keyed:{item}"
    probe: {command: [sh, probe.sh, keyed, "{item}"]}
  native:
    command: [sh, tool.sh, native, "{item}"]
    effect: write
    native_key: {env: TOOL_KEY}
    retry: {base: 10ms, cap: 20ms, attempts: 3}
  flaky:
    command: [sh, flaky.sh, "{item}"]
    effect: read
    retry: {base: 10ms, cap: 20ms, attempts: 4}
"#;

const LOOP: &str = r#"
step=$(agentguard state --messages none --get step) || exit
while [ "$step" -lt 6 ]; do
    agentguard tool keyed --arg item=k$step >/dev/null || exit
    agentguard tool native --arg item=n$step >/dev/null || exit
    [ $((step % 3)) -ne 1 ] || agentguard tool flaky --arg item=f$step >/dev/null || exit
    agentguard report look --arg item=r$step --exit-code 0 --result "seen $step" >/dev/null || exit
    step=$((step + 1))
    agentguard turn --step $step --role assistant --content "step $step" \
        --input-tokens 10 --cost-usd 0.01 || exit
done
agentguard turn --done --result "six steps" || exit
"#;

/// One line a lasting effect. With a native key the tool itself remembers.
const TOOL: &str = r#"
if [ -n "${TOOL_KEY:-}" ] && grep -q "^$TOOL_KEY " keys.txt 2>/dev/null; then
    echo "done $1 $2"; exit 0
fi
[ -z "${TOOL_KEY:-}" ] || echo "$TOOL_KEY $2" >> keys.txt
echo "$1 $2" >> ledger.txt
echo "done $1 $2"
"#;

const PROBE: &str = r#"[ -e ledger.txt ] && grep -q "^$1 $2\$" ledger.txt && echo "done $1 $2""#;

const FLAKY: &str = r#"
if mkdir "tried-$1" 2>/dev/null; then
    echo "connect: Connection refused" >&2; exit 7
fi
echo "found $1"
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (name, text) in [
        ("task.yaml", TASK),
        ("loop.sh", LOOP),
        ("tool.sh", TOOL),
        ("probe.sh", PROBE),
        ("flaky.sh", FLAKY),
    ] {
        sandbox.write(name, text);
    }
    sandbox
}

/// What must be the same however often the run was cut.
#[derive(Debug, PartialEq, Eq)]
struct Result {
    ledger: BTreeMap<String, usize>,
    steps: u64,
    cost: String,
    status: String,
    messages: Vec<String>,
}

fn result(sandbox: &Sandbox) -> Result {
    let mut ledger = BTreeMap::new();
    for line in sandbox.read("ledger.txt").lines() {
        *ledger.entry(line.to_owned()).or_default() += 1;
    }
    let report = sandbox.report();
    let conversation = sandbox.run(&["show", "latest", "--conversation"]);
    assert_eq!(conversation.code, 0, "{conversation:?}");
    Result {
        ledger,
        steps: report["completed_steps"].as_u64().expect("a number"),
        cost: report["cost_usd"].as_str().expect("a text").to_owned(),
        status: report["status"].as_str().expect("a text").to_owned(),
        messages: conversation.stdout.lines().map(str::to_owned).collect(),
    }
}

fn uncut() -> Result {
    let sandbox = sandbox();
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = result(&sandbox);
    assert_eq!(result.ledger.len(), 12, "{result:?}");
    assert!(
        result.ledger.values().all(|times| *times == 1),
        "{result:?}"
    );
    result
}

/// Resumes until the run is done.
fn resume_until_done(sandbox: &Sandbox, first: Ran) -> usize {
    let mut last = first;
    for attempt in 0..30 {
        if last.code == 0 {
            return attempt;
        }
        last = sandbox.run(&["resume", "latest"]);
    }
    panic!("30 resumes did not finish it: {last:?}");
}

/// The boundaries that this run comes by. `settled` is met in the test after
/// this one; the rest (limits, stops, branches) in the simulation.
const MET: [Boundary; 10] = [
    Boundary::Created,
    Boundary::AttemptStarted,
    Boundary::AgentSpawned,
    Boundary::TurnReported,
    Boundary::ToolCalled,
    Boundary::ToolEnded,
    Boundary::RetryDue,
    Boundary::ToolReported,
    Boundary::AgentExited,
    Boundary::Swept,
];

const RECURRING: [Boundary; 3] = [
    Boundary::TurnReported,
    Boundary::ToolCalled,
    Boundary::ToolEnded,
];

#[test]
fn killed_at_every_fault_point_a_run_ends_as_if_nothing_had_happened() {
    let want = uncut();
    let mut reached = 0;
    for boundary in MET {
        for side in Side::ALL {
            // The second time there is something behind it to lose.
            let passes: &[u32] = if RECURRING.contains(&boundary) {
                &[1, 2]
            } else {
                &[1]
            };
            for pass in passes {
                let point = format!("{}:{pass}", Point(boundary, side));
                let sandbox = sandbox();
                let first = sandbox.run_with((VARIABLE, &point), &["run", "task.yaml"]);
                if first.code != 128 + 9 {
                    // What is fed and waited for releases nothing by itself.
                    assert_eq!(
                        (side, first.code),
                        (Side::AfterRelease, 0),
                        "{point}: {first:?}"
                    );
                    continue;
                }
                reached += 1;
                if point == "created.before_save:1" {
                    // The run never was; nothing is left of it to resume.
                    assert_eq!(sandbox.run(&["resume", "latest"]).code, 2, "{point}");
                    continue;
                }
                resume_until_done(&sandbox, first);
                assert_eq!(result(&sandbox), want, "killed at {point}");
            }
        }
    }
    println!("killed at {reached} points");
    assert!(reached >= 34, "only {reached} points were reached");
}

#[test]
fn killed_in_the_resume_itself_a_run_still_ends_right() {
    let want = uncut();
    for point in [
        "agent_exited.after_save",
        "swept.before_save",
        "swept.after_save",
        "settled.after_save",
        "attempt_started.after_save",
    ] {
        let sandbox = sandbox();
        // Leaves a call in doubt: its intent is stored and its tool has run.
        let first = sandbox.run_with(
            (VARIABLE, "tool_ended.before_save:2"),
            &["run", "task.yaml"],
        );
        assert_eq!(first.code, 128 + 9, "{first:?}");
        let second = sandbox.run_with((VARIABLE, point), &["resume", "latest"]);
        assert!(
            second.code == 128 + 9 || second.code == 0,
            "{point}: {second:?}"
        );
        resume_until_done(&sandbox, second);
        assert_eq!(result(&sandbox), want, "killed at {point} of the resume");
    }
}

/// `AGENTGUARD_KILLS` says how many times at least something is killed.
#[test]
fn killed_at_random_moments_a_run_ends_as_if_nothing_had_happened() {
    let want = uncut();
    let wanted: usize =
        std::env::var("AGENTGUARD_KILLS").map_or(25, |text| text.parse().expect("a number"));
    let seed: u64 =
        std::env::var("AGENTGUARD_SEED").map_or(7, |text| text.parse().expect("a number"));
    println!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut kills = 0;
    while kills < wanted {
        let sandbox = sandbox();
        let mut args = vec!["run", "task.yaml"];
        for turn in 0.. {
            assert!(turn < 200, "seed {seed}: the run does not come to its end");
            let mut supervisor = sandbox
                .command(&args)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("the binary starts");
            // A moment that is a matter of chance, not a wait for anything; later
            // ones come later, so that a slow machine gets on too.
            let latest = 500 + 25 * turn;
            let moment = std::time::Duration::from_millis(random.random_range(5..latest));
            std::thread::park_timeout(moment);
            let what = random.random_range(0..3);
            if supervisor.try_wait().expect("a child of ours").is_none() {
                let agent = agent_of(&sandbox);
                if what != 0 {
                    kills += 1;
                    supervisor.kill().expect("a child of ours");
                }
                if what != 1
                    && let Some(agent) = agent
                {
                    kills += usize::from(what == 0);
                    let _ = kill_process(agent, Signal::KILL);
                }
            }
            let code = supervisor.wait().expect("a child of ours").code();
            if code == Some(0) {
                break;
            }
            let listed = sandbox.run(&["runs", "--json"]);
            args = if listed.stdout.contains("r-") {
                vec!["resume", "latest"]
            } else {
                vec!["run", "task.yaml"]
            };
        }
        assert_eq!(result(&sandbox), want, "seed {seed}, after {kills} kills");
    }
    println!("{kills} kills");
}

/// Finds the agent by what it runs and where.
fn agent_of(sandbox: &Sandbox) -> Option<Pid> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let folder = std::fs::read_link(entry.path().join("cwd")).ok()?;
        (line == b"sh\0loop.sh\0" && folder == sandbox.path()).then(|| Pid::from_raw(pid))?
    })
}

#[test]
fn a_run_that_is_alive_is_not_taken_over() {
    let sandbox = sandbox();
    sandbox.write(
        "loop.sh",
        "agentguard state --messages none >/dev/null; touch started; sleep 600",
    );
    let mut holder = sandbox
        .command(&["run", "task.yaml"])
        .spawn()
        .expect("the binary starts");
    wait_until(20, "the agent to start", || {
        sandbox.path().join("started").exists()
    });
    let refused = sandbox.run(&["resume", "latest"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains(&format!("process {}", holder.id())),
        "{refused:?}"
    );
    holder.kill().expect("a child of ours");
    holder.wait().expect("a child of ours");
}
