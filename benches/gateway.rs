//! What the gateway adds to a model call: whole processes on the loopback,
//! against floors measured in the same run.
//!
//! ```text
//! load ─► stub                     direct
//! load ─► relay ─► stub            the floor: HTTP both ways, and nothing else
//! load ─► agentguard ─► stub       a real run; its agent is the load
//! ```
//! The other floor is a bare durable SQLite commit of what a turn brings. All
//! take turns cell by cell, so that a slow moment of the machine meets each of
//! them; of several rounds the best counts, since a shared machine only ever
//! slows things down. Money is limited, so that every call is held back and
//! settled, and every conversation grows, so that every call is a turn.
//!
//! `cargo bench --bench gateway`; `-- --rounds 1 --seconds 1` for a quick look.
//! Exits with 1 when a bar is missed. Folders are made in TMPDIR, which should
//! be on the disk that counts, and removed at the end. Linux only: memory is
//! read from `/proc`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark talks and may fail"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use load::{Cell, Seen};
use place::{Place, Target};
use table::{Table, ms, quantile};

#[path = "supervise/floor.rs"]
mod floor;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/place.rs"]
mod place;
#[path = "gateway/servers.rs"]
mod servers;
#[path = "supervise/table.rs"]
mod table;
#[path = "gateway/wire.rs"]
mod wire;

/// What is asked, of each target in turn.
#[rustfmt::skip]
const CELLS: &[(&str, Cell)] = &[
    ("100 B, 1 in flight",   Cell { at_once: 1,  history_bytes: 0,          is_stream: false }),
    ("256 KiB, 1 in flight", Cell { at_once: 1,  history_bytes: 256 * 1024, is_stream: false }),
    ("stream, 1 in flight",  Cell { at_once: 1,  history_bytes: 0,          is_stream: true }),
    ("100 B, 16 in flight",  Cell { at_once: 16, history_bytes: 0,          is_stream: false }),
    ("stream, 16 in flight", Cell { at_once: 16, history_bytes: 0,          is_stream: true }),
    ("100 B, 64 in flight",  Cell { at_once: 64, history_bytes: 0,          is_stream: false }),
];
const PLAIN: usize = 0;
const BIG: usize = 1;
const STREAM: usize = 2;
const MANY: usize = 5;

/// Targets, by their place among the results.
const DIRECT: usize = 0;
const RELAY: usize = 1;
const OURS: usize = 2;

/// Commits of the other floor, in each round.
const COMMITS: usize = 200;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let second = arguments.next().unwrap_or_default();
    match first.as_str() {
        place::LOAD => return load::agent(&second),
        place::STUB => return servers::stub(),
        place::RELAY => return servers::relay(&second),
        _ => {}
    }
    let number = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1).map_or(default, |number| {
            number.parse().expect("a number behind the option")
        })
    };
    let rounds = number("--rounds", 5);
    let time = Duration::from_secs(number("--seconds", 2));
    measure(rounds, time).print()
}

/// Runs all cells; the table says how ours compare.
fn measure(rounds: u64, time: Duration) -> Table {
    let place = Place::new();
    let mut targets = [
        Target::direct(&place),
        Target::relay(&place),
        Target::agentguard(&place),
    ];
    let resting = targets[OURS].memory();
    let mut best: Vec<[Seen; 3]> = CELLS.iter().map(|_| Default::default()).collect();
    let mut commit = Duration::MAX;
    let journal = floor::bare_journal(&place.root.join("floor.db"));
    for round in 0..rounds {
        commit = commit.min(commits(&journal));
        for (cell, best) in CELLS.iter().zip(&mut best) {
            for turn in 0..targets.len() {
                let which = (turn + round as usize) % targets.len();
                let seen = targets[which].run(&cell.1, time);
                best[which].keep_better(seen);
            }
        }
    }
    let busy = targets[OURS].memory();
    println!("durable commit of a turn's bytes, p50: {commit:?}; {rounds} rounds, the best counts");
    print_cells(&best);
    println!("supervisor before the first call: {resting}; behind the last: {busy}");

    let mut table = Table::default();
    let added =
        |cell: usize, to: usize| ms(best[cell][OURS].end(0.5)) - ms(best[cell][to].end(0.5));
    let name = "added to relay and one commit at 100 B, p50, ms";
    table.row(name, added(PLAIN, RELAY) - ms(commit), 0.2);
    let name = "added to relay and one commit at 256 KiB, p50, ms";
    table.row(name, added(BIG, RELAY) - ms(commit), 1.0);
    let [ours, direct] = [OURS, DIRECT].map(|which| ms(best[STREAM][which].first(0.5)));
    table.row(
        "added to the first delta of a stream, p50, ms",
        ours - direct,
        1.0,
    );
    let per_second = best[MANY][OURS].per_second();
    table.row_at_least("requests a second at 64 in flight", per_second, 5_000.0);
    table.row("supervisor at its peak, resident, MB", busy.peak_mb, 30.0);
    table.note(
        "added to a direct call at 100 B, p50, ms",
        added(PLAIN, DIRECT),
    );
    table.note(
        "requests a second at 64 in flight / those of the relay",
        per_second / best[MANY][RELAY].per_second(),
    );
    table
}

/// Commits what a turn brings, one by one; returns what one takes.
fn commits(journal: &rusqlite::Connection) -> Duration {
    let mut insert = journal.prepare("INSERT INTO t (body) VALUES (?1)").unwrap();
    let times: Vec<Duration> = (0..COMMITS)
        .map(|number| {
            let row = load::turn_text(number);
            let start = Instant::now();
            insert.execute([row]).unwrap();
            start.elapsed()
        })
        .collect();
    quantile(&times, 0.5)
}

fn print_cells(best: &[[Seen; 3]]) {
    println!(
        "\n| what | of | requests/s | p50, ms | p99, ms | first delta, p50, ms | p50 / relay |"
    );
    println!("|---|---|---|---|---|---|---|");
    for ((name, cell), best) in CELLS.iter().zip(best) {
        for (seen, target) in best.iter().zip(["direct", "relay", "agentguard"]) {
            let first = match cell.is_stream {
                true => format!("{:.2}", ms(seen.first(0.5))),
                false => String::new(),
            };
            println!(
                "| {name} | {target} | {:.0} | {:.2} | {:.2} | {first} | {:.1} |",
                seen.per_second(),
                ms(seen.end(0.5)),
                ms(seen.end(0.99)),
                table::ratio(seen.end(0.5), best[RELAY].end(0.5)),
            );
        }
    }
    println!();
}
