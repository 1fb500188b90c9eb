//! What being supervised costs: whole processes, against a floor measured in
//! the same run.
//!
//! The floor is the least that could do the same: a bare fork and exec of the
//! same agent, a bare scan of the same bytes, a thread that commits a frame and
//! answers it. Ours and the floor take turns, so that a slow moment of the
//! machine meets both. The agent is this same binary, started with `--agent`.
//!
//! `cargo bench --bench supervise`; with `-- --turns 300` for a quick look.
//! Exits with 1 when a bar is missed. Folders are made in TMPDIR, which should
//! be on the disk that counts, and removed at the end. Linux only: memory is
//! read from `/proc`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark talks and may fail"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentguard::policy::loops::{Config, Detector, ErrorKind, Print, ToolTraits};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use link::{Link, MESSAGES};
use place::Place;
use table::{Table, ms, quantile, ratio, us};

#[path = "supervise/floor.rs"]
mod floor;
#[path = "supervise/link.rs"]
mod link;
#[path = "supervise/place.rs"]
mod place;
#[path = "supervise/table.rs"]
mod table;

/// Starts compared with bare ones.
const STARTS: usize = 40;
/// Turns after which the memory of a run is read.
const SHORT_TURNS: usize = 50;
/// Resumes compared with bare scans.
const RESUMES: usize = 9;
/// Late turns compared with early ones.
const PAIRS: usize = 200;
/// Tool calls the loop detector is timed over.
const CALLS: usize = 4000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == place::AGENT {
        return place::agent(&arguments.next().unwrap_or_default());
    }
    let turns = std::env::args()
        .skip_while(|argument| argument != "--turns")
        .nth(1)
        .map_or(3000, |turns| turns.parse().expect("--turns takes a number"));
    let mut table = Table::default();
    start(&mut table);
    long_run(turns, &mut table);
    detector(&mut table);
    table.print()
}

/// From the start of `agentguard run` to the first instruction of its agent.
fn start(table: &mut Table) {
    let place = Place::new("start", "note");
    let first = place.start(&["run", "task.yaml"]).until_agent();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for pair in 0..STARTS {
        let mut start_ours = || ours.push(place.start(&["run", "task.yaml"]).until_agent());
        let mut start_bare = || bare.push(place.bare_agent());
        if pair % 2 == 0 {
            start_ours();
            start_bare();
        } else {
            start_bare();
            start_ours();
        }
    }
    let [ours_p50, bare_p50] = [&ours, &bare].map(|times| quantile(times, 0.5));
    println!("start to agent, p50: {ours_p50:?} against {bare_p50:?} bare fork and exec");
    let [ours_p95, bare_p95] = [&ours, &bare].map(|times| quantile(times, 0.95));
    println!(
        "start to agent, p95: {ours_p95:?} against {bare_p95:?}; with a new journal {first:?}"
    );
    table.row("start to agent spawned, p50, ms", ms(ours_p50), 20.0);
}

/// All that needs a run with many turns: memory, late turns, resume.
fn long_run(turns: usize, table: &mut Table) {
    let place = Place::new("long", "hold");
    let mut run = place.start(&["run", "task.yaml"]);
    let mut link = Link::to(&run.agent().socket);
    for _ in 0..SHORT_TURNS {
        link.turn();
    }
    let short = run.memory();
    println!("memory after {SHORT_TURNS} turns: {short}");
    table.row(
        "supervisor after 50 turns, resident, MB",
        short.resident_mb,
        20.0,
    );
    table.row("supervisor after 50 turns, peak, MB", short.peak_mb, 20.0);

    let began = Instant::now();
    let more = turns.saturating_sub(SHORT_TURNS);
    link.make_longer(more);
    println!("{more} more turns, many at once, in {:?}", began.elapsed());
    let long = run.memory();
    println!("memory after {} turns: {long}", link.turns);
    table.note("supervisor of the long run, peak, MB", long.peak_mb);
    late_turns(&mut link, table);
    run.pull_the_plug();
    place.tell("ask");
    resume(&place, link.turns, table);
}

/// Turns of a run that has grown, against turns of one that begins, against a
/// thread that commits and answers.
fn late_turns(late: &mut Link, table: &mut Table) {
    let place = Place::new("young", "hold");
    let mut run = place.start(&["run", "task.yaml"]);
    let mut early = Link::to(&run.agent().socket);
    let mut bare = Link::bare(&place.root.join("floor.db"));
    let after = late.turns;
    for _ in 0..10 {
        early.turn();
        bare.turn();
    }
    let links = [late, &mut early, &mut bare];
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..PAIRS {
        for turn in 0..3 {
            let which = (turn + round) % 3;
            times[which].push(links[which].turn());
        }
    }
    for (at, name) in [(0.5, "p50"), (0.99, "p99")] {
        let [late, early, bare] = times.each_ref().map(|times| quantile(times, at));
        println!(
            "a report and a turn over the socket, {name}: {late:?} after {after} turns, {early:?} \
             after 10, {bare:?} bare echo and commit"
        );
    }
    let [late, early, bare] = times.each_ref().map(|times| quantile(times, 0.5));
    table.row("late turn / early turn, p50", ratio(late, early), 1.2);
    table.note("late turn / bare echo and commit, p50", ratio(late, bare));
    run.pull_the_plug();
}

/// From the start of `agentguard resume` to the first byte of its agent, after
/// the supervisor was killed.
fn resume(place: &Place, turns: usize, table: &mut Table) {
    let floor = floor::bare_journal(&place.root.join("floor.db"));
    let (mut byte, mut began, mut whole, mut bare) = (vec![], vec![], vec![], vec![]);
    floor.execute_batch("BEGIN").unwrap();
    for turn in 0..turns {
        let row = link::reported(turn) + &link::said(turn);
        let mut insert = floor
            .prepare_cached("INSERT INTO t (body) VALUES (?1)")
            .unwrap();
        insert.execute([row]).unwrap();
    }
    floor.execute_batch("COMMIT").unwrap();
    for _ in 0..RESUMES {
        let mut run = place.start(&["resume", "latest"]);
        let agent = run.agent();
        byte.push(agent.heard);
        began.push(agent.began);
        let (at, messages) = run.conversation();
        assert_eq!(messages, turns * MESSAGES);
        whole.push(at);
        run.pull_the_plug();

        let start = Instant::now();
        let mut scan = floor.prepare("SELECT body FROM t ORDER BY id").unwrap();
        let rows = scan.query_map([], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(rows.map(Result::unwrap).count(), turns);
        bare.push(start.elapsed() + place.bare_agent());
    }
    let [byte_p50, began, whole, bare] =
        [&byte, &began, &whole, &bare].map(|times| quantile(times, 0.5));
    println!(
        "resume of {turns} turns, p50: the agent runs after {began:?}, its first byte is out after \
         {byte_p50:?}, it has its conversation after {whole:?}; against {bare:?} bare scan, fork and exec"
    );
    println!("the slowest of {RESUMES}: {:?}", quantile(&byte, 1.0));
    table.row(
        "resume to the agent's first byte, p50, ms",
        ms(byte_p50),
        100.0,
    );
    table.note("resume until it has its conversation, p50, ms", ms(whole));
}

/// One call through the loop detector, whose window is full.
fn detector(table: &mut Table) {
    let traits = ToolTraits::default();
    let calls: Vec<_> = (0..CALLS).map(|number| call(number, 2048)).collect();
    let mut detector = Detector::new(Config::default());
    let (mut print, mut observe, mut hash) = (vec![], vec![], vec![]);
    for (number, (tool, args, result)) in calls.iter().enumerate() {
        let start = Instant::now();
        let made = Print::of(tool, args, result, false, ErrorKind::None, &traits);
        let printed = start.elapsed();
        black_box(detector.observe(made, None, None));
        let observed = start.elapsed() - printed;
        let start = Instant::now();
        black_box(Sha256::digest(result.as_str().unwrap_or_default()));
        if number >= 64 {
            print.push(printed);
            observe.push(observed);
            hash.push(start.elapsed());
        }
    }
    let sum: Vec<_> = print
        .iter()
        .zip(&observe)
        .map(|(print, observe)| *print + *observe)
        .collect();
    let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len() as u32;
    println!(
        "a call of 2 KB in the loop detector, mean: print {:?}, observe {:?}, against {:?} for SHA-256 of \
         the result; together p50 {:?}, p99 {:?}",
        mean(&print),
        mean(&observe),
        mean(&hash),
        quantile(&sum, 0.5),
        quantile(&sum, 0.99)
    );
    table.row(
        "loop detector per call, window 64, mean, us",
        us(mean(&observe)),
        20.0,
    );
    table.note("with the print of a 2 KB result, mean, us", us(mean(&sum)));
    let (tool, args, result) = call(1, 64 * 1024);
    let start = Instant::now();
    black_box(Print::of(
        &tool,
        &args,
        &result,
        false,
        ErrorKind::None,
        &traits,
    ));
    table.note("print of a 64 KB result, us", us(start.elapsed()));
}

/// A call as agents make them: a command, a search, a page, an edit, a record.
fn call(number: usize, bytes: usize) -> (String, Value, Value) {
    let line = format!(
        "src/room_{number}/file_{}.rs:{}: let value = {number};",
        number % 7,
        number % 400
    );
    let text = format!("{line}\n").repeat(bytes / line.len());
    let path = format!("src/room_{number}.rs");
    match number % 5 {
        0 => (
            "bash".into(),
            json!({"command": format!("cd src && rg -n 'value_{number}' room_{number}")}),
            json!(text),
        ),
        1 => (
            "grep".into(),
            json!({"pattern": format!("value_{number}"), "path": "src"}),
            json!(text),
        ),
        2 => (
            "read".into(),
            json!({"path": path, "offset": number}),
            json!(text),
        ),
        3 => (
            "edit".into(),
            json!({"path": path, "old_string": format!("value {number}"), "new_string": format!("amount {number}")}),
            json!(format!("edited {path}")),
        ),
        _ => (
            "fetch".into(),
            json!({"url": format!("https://example.com/items/{number}")}),
            json!(json!({"id": number, "at": "2026-11-22T08:00:00Z", "lines": text}).to_string()),
        ),
    }
}
