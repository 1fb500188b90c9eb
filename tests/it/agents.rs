//! Agents and SDKs that are not ours, each on a small task of its own kind: read a
//! test, write the file that it wants, run it. They come from npm and PyPI, and know
//! nothing of us; their model is scripted, in this process, and its ledger says what
//! was really asked and billed.
//!
//! Where an agent cannot be had its test says SKIPPED, with the reason, on the real
//! stderr, and passes. `AGENTGUARD_AGENTS` says what is run: nothing or `cheap` (the
//! SDKs whole, some of Claude Code and Codex), `all`, `none`, or names with commas
//! between. `AGENTGUARD_AGENTS=all AGENTGUARD_BLESS=1` writes the tables of
//! the README and `docs/agents.md`. `AGENTGUARD_SEED` says at which turns a run is killed.
//!
//! To read: `rows` below, then `roster` (the agents), `stage` (one run).

pub mod install;
mod roster;
mod stage;
mod table;

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};

use roster::{AGENTS, Agent, Fan, OnCut};
use stage::{Costs, Stage, fixture};

#[test]
fn the_anthropic_sdk() {
    test("anthropic-sdk");
}

#[test]
fn the_openai_sdk() {
    test("openai-sdk");
}

#[test]
fn claude_code() {
    test("claude-code");
}

#[test]
fn codex() {
    test("codex");
}

#[test]
fn gemini_cli() {
    test("gemini-cli");
}

#[test]
fn opencode() {
    test("opencode");
}

#[test]
fn mini_swe_agent() {
    test("mini-swe-agent");
}

#[test]
fn aider() {
    test("aider");
}

#[test]
fn every_agent_has_a_line_of_its_version_in_the_table() {
    for agent in AGENTS {
        assert!(
            table::is_of_this_version(agent),
            "{}: run it with AGENTGUARD_BLESS=1",
            agent.name
        );
    }
}

/// What is looked at; a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing goes wrong.
    Plain,
    /// 429 with `Retry-After`.
    Busy,
    /// A burst of 529.
    Overload,
    /// The connection is reset in the middle of an answer.
    Cut,
    /// The cap is hit at turn 4, with eight calls in flight where it does that.
    Cap,
    /// The model wants the same command for ever.
    Loop,
    /// `kill -9` of everything at a random turn, then `resume`.
    Kill,
}

/// What is known not to work: agent, behaviour, reason.
const KNOWN: &[(&str, Behaviour, &str)] = &[];

/// What a row says in the table; an error is why it is not applicable.
type Row = fn(&'static Agent, &Path) -> Result<String, &'static str>;

const ROWS: &[(Behaviour, Row)] = &[
    (Behaviour::Plain, plain),
    (Behaviour::Busy, busy),
    (Behaviour::Overload, overload),
    (Behaviour::Cut, cut),
    (Behaviour::Cap, cap),
    (Behaviour::Loop, circle),
    (Behaviour::Kill, kill),
];

/// One agent at a time: they are large.
static ONE: Mutex<()> = Mutex::new(());

fn test(name: &str) {
    let agent = AGENTS.iter().find(|agent| agent.name == name);
    let agent = agent.expect("an agent of the roster");
    let wanted = std::env::var("AGENTGUARD_AGENTS").unwrap_or_default();
    let is_whole = wanted == "all" || wanted.split(',').any(|it| it == name);
    let chosen: &[Behaviour] = match wanted.as_str() {
        "cheap" => agent.cheap,
        _ => &[],
    };
    let is_chosen = |behaviour: &Behaviour| is_whole || chosen.contains(behaviour);
    if !ROWS.iter().any(|(behaviour, _)| is_chosen(behaviour)) {
        return say(&format!(
            "SKIPPED {name}: AGENTGUARD_AGENTS=cheap or all runs it"
        ));
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    let programs = match install::install(name, agent.version, &agent.package) {
        Ok(programs) => programs,
        Err(why) => return say(&format!("SKIPPED {name}: it cannot be had: {why}")),
    };
    say(&format!(
        "{name} {}: there after {:.1} s",
        agent.version,
        began.elapsed().as_secs_f32()
    ));
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for (behaviour, row) in ROWS.iter().filter(|(behaviour, _)| is_chosen(behaviour)) {
        let began = Instant::now();
        let known = KNOWN.iter().find(|it| it.0 == name && it.1 == *behaviour);
        let came = catch_unwind(AssertUnwindSafe(|| row(agent, &programs)));
        let result = match (came, known) {
            (Ok(Ok(result)), None) => result,
            (Ok(Ok(result)), Some(_)) => {
                say(&format!(
                    "{name}, {behaviour:?}: known not to work, and worked"
                ));
                result
            }
            (Ok(Err(why)), _) => format!("n/a: {why}"),
            (Err(_), Some((_, _, why))) => format!("known: {why}"),
            (Err(_), None) => {
                failed.push(*behaviour);
                "FAILED".to_owned()
            }
        };
        let took_s = began.elapsed().as_secs_f32();
        say(&format!("{name}, {behaviour:?}: {result} ({took_s:.1} s)"));
        results.push((*behaviour, result));
    }
    assert!(failed.is_empty(), "{name}: {failed:?} failed, see above");
    if is_whole && std::env::var_os("AGENTGUARD_BLESS").is_some() {
        table::write(agent, &results);
    }
}

/// Says it where a passing test is heard, too: the print macros are captured.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "agents: {text}");
}

/// A stage for the small repair, with these keys of the script.
fn repair(agent: &'static Agent, script: &str, programs: &Path, rest: &str) -> Stage {
    let script = fs::read_to_string(fixture(script)).expect("a fixture");
    let costs = Costs {
        input_tokens: 1000,
        rest: rest.to_owned(),
    };
    Stage::new(agent, programs, &script, &costs, 90.0, None)
}

fn plain(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    let stage = repair(agent, agent.repair, programs, "");
    assert_eq!(stage.finish(&["run", "task.yaml"]), 0, "{}", stage.told());
    assert!(stage.is_repaired(), "{}", stage.told());
    let ledger = stage.ledger();
    assert_eq!(
        ledger.calls() - ledger.sides(),
        agent.calls,
        "{}",
        stage.told()
    );
    assert_eq!(ledger.sides(), agent.sides, "{}", stage.told());
    assert_eq!(
        stage.cost(),
        ledger.cost(),
        "to the nano-dollar: {}",
        stage.told()
    );
    Ok(format!("{} calls", ledger.calls()))
}

/// What passes by itself is tried again by us: so many calls more, none of them
/// billed, and the agent's client does not notice.
fn unseen(agent: &'static Agent, programs: &Path, fault: &str, times: u64) -> String {
    let turn = agent.fault_turn;
    let faults = format!("faults: [{{turn: {turn}, {fault}, times: {times}}}]");
    let stage = repair(agent, agent.repair, programs, &faults);
    assert_eq!(stage.finish(&["run", "task.yaml"]), 0, "{}", stage.told());
    assert!(stage.is_repaired(), "{}", stage.told());
    let ledger = stage.ledger();
    let whole = agent.calls + agent.sides;
    assert_eq!(ledger.faults(), times, "{}", stage.told());
    assert_eq!(
        ledger.calls(),
        whole + times,
        "no client multiplies our tries: {}",
        stage.told()
    );
    assert_eq!(ledger.tried_again_by_the_client(), 0, "{}", stage.told());
    assert_eq!(
        stage.cost(),
        ledger.cost(),
        "a failure is free: {}",
        stage.told()
    );
    format!("unseen; {whole} + {times} calls")
}

fn busy(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    Ok(unseen(agent, programs, "status: 429, retry_after: 1s", 2))
}

fn overload(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    Ok(unseen(agent, programs, "status: 529", 4))
}

fn cut(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    let turn = agent.fault_turn;
    let faults = format!("pace: 2ms\nfaults: [{{turn: {turn}, cut: 4, times: 1}}]");
    let script = match agent.on_cut {
        OnCut::GivesUp => agent.repair_again,
        OnCut::Unseen | OnCut::AsksAgain => agent.repair,
    };
    let stage = repair(agent, script, programs, &faults);
    let whole = agent.calls + agent.sides;
    let code = stage.finish(&["run", "task.yaml"]);
    let told = match agent.on_cut {
        OnCut::Unseen | OnCut::AsksAgain => {
            assert_eq!(code, 0, "{}", stage.told());
            match agent.on_cut {
                OnCut::Unseen => "unseen",
                _ => "it asks again",
            }
        }
        OnCut::GivesUp => {
            assert_eq!(code, 23, "a fragment is no answer: {}", stage.told());
            assert_eq!(stage.finish(&["resume", "latest"]), 0, "{}", stage.told());
            "exit 23; resumed"
        }
    };
    assert!(stage.is_repaired(), "{}", stage.told());
    let ledger = stage.ledger();
    assert_eq!(ledger.faults(), 1, "{}", stage.told());
    if agent.on_cut != OnCut::GivesUp {
        assert_eq!(ledger.calls(), whole + 1, "{}", stage.told());
    }
    assert!(
        stage.cost() >= ledger.cost(),
        "what broke off is not free: {}",
        stage.told()
    );
    Ok(format!("{told}; {} calls", ledger.calls()))
}

/// Calls at once, where the agent can.
const FAN: u64 = 8;

fn cap(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    let (mut script, mut fan, mut alone) = (
        fs::read_to_string(fixture(agent.spend)).expect("a fixture"),
        None,
        "",
    );
    // Three turns fit, and a part of what is asked at the fourth.
    let mut calls_max = 3.9;
    match agent.fan {
        Fan::No => alone = ", one at a time",
        Fan::Flag => {
            fan = Some((4, FAN));
            calls_max = 7.0;
        }
        Fan::Tool(name, args) => {
            script = fan_out(name, args, agent.spend_tokens);
            calls_max = 7.0;
        }
    }
    let costs = Costs {
        input_tokens: agent.spend_tokens,
        rest: "pace: 20ms".to_owned(),
    };
    let call_usd = agent.spend_tokens as f64 * 3e-6;
    let limit_usd = (call_usd * calls_max * 1e6).round() / 1e6;
    let stage = Stage::new(agent, programs, &script, &costs, limit_usd, fan);
    let code = stage.finish(&["run", "task.yaml"]);
    let ledger = stage.ledger();
    assert_eq!(code, 20, "{}", stage.told());
    let limit = (limit_usd * 1e9).round() as u64;
    assert!(
        ledger.cost() <= limit,
        "{} of {limit}: {}",
        ledger.cost(),
        stage.told()
    );
    assert!(
        stage.cost() >= ledger.cost(),
        "nothing is forgotten: {}",
        stage.told()
    );
    assert!(ledger.latest_turn() >= 3, "{}", stage.told());
    let usd = ledger.cost() as f64 / 1e9;
    Ok(format!("exit 20; {usd:.4} of {limit_usd:.4} USD{alone}"))
}

/// Three turns, then one that asks as many others at once.
fn fan_out(tool: &str, args: &str, tokens: u64) -> String {
    let call = |number: u64| {
        let args = args.replace("NUMBER", &number.to_string());
        format!("      - {{tool: {tool}, args: {args}}}\n")
    };
    let calls: String = (1..=FAN).map(call).collect();
    format!(
        "turns:\n  - {{say: I note the first thing., shell: echo first}}\n  \
         - {{say: I note the second thing., shell: echo second}}\n  \
         - say: I ask the others.\n    calls:\n{calls}  - say: Done.\nsides:\n  \
         - {{when: {{contains: This is opinion}}, say: Yes., usage: {{input: {tokens}, output: 1}}}}\n  \
         - {{when: {{tools: none}}, say: Title, usage: {{input: 100, output: 1}}}}\n"
    )
}

fn circle(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    if !agent.has_tools {
        return Err("calls no tools");
    }
    let script = fs::read_to_string(fixture("circle.yaml")).expect("a fixture");
    let costs = Costs {
        input_tokens: 1000,
        rest: String::new(),
    };
    let stage = Stage::new(agent, programs, &script, &costs, 90.0, None);
    assert_eq!(stage.finish(&["run", "task.yaml"]), 22, "{}", stage.told());
    let calls = stage.ledger().calls();
    assert!(calls <= 12, "{}", stage.told());
    Ok(format!("exit 22; {calls} calls"))
}

fn kill(agent: &'static Agent, programs: &Path) -> Result<String, &'static str> {
    let seed = std::env::var("AGENTGUARD_SEED").map_or(7, |text| text.parse().expect("a number"));
    // Its own for each agent, whichever others are run.
    let place = AGENTS
        .iter()
        .position(|it| it.name == agent.name)
        .unwrap_or(0) as u64;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed + 1000 * place);
    // A run may end before it can be killed.
    for _ in 0..5 {
        let turn = random.random_range(1..=agent.calls);
        let wait = Duration::from_millis(random.random_range(0..=250));
        let moment = format!("seed {seed}, turn {turn}, {} ms later", wait.as_millis());
        let stage = repair(agent, agent.repair_again, programs, "pace: 25ms");
        let mut supervisor = stage.start(&["run", "task.yaml"]);
        let until = Instant::now() + Duration::from_secs(90);
        while stage.ledger().latest_turn() < turn {
            assert!(
                Instant::now() < until,
                "turn {turn} never comes: {}",
                stage.told()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(wait);
        if !stage.kill_everything(&mut supervisor) {
            continue;
        }
        let before = stage.ledger();
        let code = stage.finish(&["resume", "latest"]);
        assert_eq!(code, 0, "{moment}: {}", stage.told());
        assert!(stage.is_repaired(), "{moment}: {}", stage.told());
        let (ledger, last) = (stage.ledger(), before.latest_turn());
        for (billed, times) in ledger.billed() {
            // The one that was under way may be lost.
            let most = if billed == last { 2 } else { 1 };
            assert!(
                times <= most,
                "{moment}: turn {billed} was billed {times} times: {}",
                stage.told()
            );
        }
        assert!(stage.cost() >= ledger.cost(), "{moment}: {}", stage.told());
        return Ok(format!("at turn {last}; resumed; {} calls", ledger.calls()));
    }
    panic!("five runs ended before they could be killed");
}
