//! What the journal costs, as ratios against a floor measured in the same run.
//!
//! The floor is a bare SQLite commit: one row with the same bytes, one insert,
//! the same pragmas, no thread, nothing else. It and the journal take turns
//! pair by pair, so that a slow moment of the disk meets both.
//!
//! `cargo bench --bench journal`; with `-- --turns 300` for a quick look. Exits
//! with 1 when a bar is missed. The folder is made in TMPDIR, which should be on
//! the disk that counts, and removed at the end.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark talks and may fail"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentguard::clock::UnixMs;
use agentguard::ids::{RunId, Seq};
use agentguard::store::conversation::{Head, extend};
use agentguard::store::sqlite::{FILE_PRAGMAS, Options, PRAGMAS};
use agentguard::store::{Draft, NewRun, Ownership, Paths, Sqlite, Store};
use rusqlite::Connection;

/// Messages per turn and bytes per message, as in design.md §8.
const MESSAGES: usize = 2;
const MESSAGE_BYTES: usize = 2048;
/// How many turns late and early ones are compared by.
const PAIRS: usize = 200;

fn main() -> ExitCode {
    let turns = std::env::args()
        .skip_while(|argument| argument != "--turns")
        .nth(1)
        .map_or(3000, |turns| turns.parse().expect("--turns takes a number"));
    let folder = Folder::new();
    let mut table = Table::default();
    turn_by_turn(&folder, turns, &mut table);
    many_at_once(&folder, &mut table);
    reading_back(&folder, turns, &mut table);
    table.print()
}

/// One turn at a time, against the floor.
fn turn_by_turn(folder: &Folder, turns: usize, table: &mut Table) {
    let store = folder.open("serial");
    let floor = bare(&folder.path.join("floor.db"));
    let own = create(&store, 0);
    let mut run = Growing::new(&store, &own);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let bodies = messages(turn);
        let mut commit_ours = || ours.push(run.turn());
        let mut commit_bare = || {
            let row = event(turn).body + &bodies.concat();
            bare.push(timed(|| {
                let mut insert = floor
                    .prepare_cached("INSERT INTO t (body) VALUES (?1)")
                    .unwrap();
                insert.execute([&row]).unwrap();
            }));
        };
        if turn % 2 == 0 {
            commit_ours();
            commit_bare();
        } else {
            commit_bare();
            commit_ours();
        }
    }
    let [ours_p50, bare_p50] = [&ours, &bare].map(|times| quantile(times, 0.5));
    println!("one turn, p50: {ours_p50:?} against {bare_p50:?} bare");
    let [ours_p99, bare_p99] = [&ours, &bare].map(|times| quantile(times, 0.99));
    println!("one turn, p99: {ours_p99:?} against {bare_p99:?} bare");
    table.row(
        "durable turn / bare commit, p50",
        ratio(ours_p50, bare_p50),
        1.5,
    );
    let [ours_sum, bare_sum] = [&ours, &bare].map(|times| times.iter().sum::<Duration>());
    table.row(
        "durable turn / bare commit, mean with checkpoints",
        ratio(ours_sum, bare_sum),
        1.5,
    );

    let open = size_of(&folder.path.join("serial"));
    grown_against_young(folder, &mut run, table);
    drop((own, store));
    let closed = size_of(&folder.path.join("serial"));
    let of_messages =
        |bytes: u64, turns: usize| bytes as f64 / (turns * MESSAGES * MESSAGE_BYTES) as f64;
    table.row(
        "bytes on disk / bytes of messages, run alive",
        of_messages(open, turns),
        1.5,
    );
    table.row(
        "bytes on disk / bytes of messages, closed",
        of_messages(closed, turns + PAIRS),
        1.5,
    );
}

/// Turns of a run that has grown, against turns of one that begins.
fn grown_against_young(folder: &Folder, grown: &mut Growing<'_>, table: &mut Table) {
    let store = folder.open("young");
    let own = create(&store, 0);
    let mut young = Growing::new(&store, &own);
    for _ in 0..10 {
        let _ = young.turn();
    }
    let (mut late, mut early) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        if pair % 2 == 0 {
            late.push(grown.turn());
            early.push(young.turn());
        } else {
            early.push(young.turn());
            late.push(grown.turn());
        }
    }
    let [late, early] = [&late, &early].map(|times| quantile(times, 0.5));
    println!(
        "after {} turns: {late:?} against {early:?} after 10",
        grown.turns - PAIRS
    );
    table.row("late turn / early turn, p50", ratio(late, early), 1.2);
}

/// Sixty-four runs that each wait for their own commit.
fn many_at_once(folder: &Folder, table: &mut Table) {
    const RUNS: usize = 64;
    const EACH: usize = 200;
    let store = folder.open("many");
    let owns: Vec<_> = (0..RUNS).map(|run| create(&store, run as u64)).collect();
    let took = timed(|| {
        std::thread::scope(|threads| {
            for own in &owns {
                threads.spawn(|| {
                    for number in 0..EACH {
                        store.append(own, event(number)).wait().unwrap();
                    }
                });
            }
        });
    });
    let per_second = (RUNS * EACH) as f64 / took.as_secs_f64();
    println!("64 in flight: {per_second:.0} durable events/s");
    table.row(
        "5000 per second / durable events per second, 64 in flight",
        5000.0 / per_second,
        1.0,
    );
}

/// What a resume reads, against a bare scan of the same bytes.
fn reading_back(folder: &Folder, turns: usize, table: &mut Table) {
    const TIMES: usize = 7;
    let store = folder.open("serial");
    let floor = Connection::open(folder.path.join("floor.db")).unwrap();
    let run = RunId::from_bits(0);
    let mut head = Head::EMPTY;
    for turn in 0..turns {
        head = extend(head, &messages(turn)).0;
    }
    let own = timed(|| drop(store.own(&run, UnixMs(1)).unwrap()));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        ours.push(timed(|| {
            assert!(store.events(&run, Seq(1)).unwrap().len() > turns);
            let messages = store.conversation(&head).unwrap();
            assert_eq!(messages.len(), turns * MESSAGES);
        }));
        bare.push(timed(|| {
            let mut scan = floor.prepare("SELECT body FROM t ORDER BY id").unwrap();
            let rows = scan.query_map([], |row| row.get(0)).unwrap();
            let rows: Vec<String> = rows.map(Result::unwrap).collect();
            assert_eq!(rows.len(), turns);
        }));
    }
    let [ours, bare] = [&ours, &bare].map(|times| quantile(times, 0.5));
    println!("a resume: own {own:?}, read {ours:?} against {bare:?} bare");
    table.row("read a run back / bare scan, p50", ratio(ours, bare), 2.0);
}

/// A run that gets a turn at a time.
struct Growing<'a> {
    store: &'a Sqlite,
    own: &'a Ownership,
    head: Head,
    turns: usize,
}

impl<'a> Growing<'a> {
    fn new(store: &'a Sqlite, own: &'a Ownership) -> Self {
        Self {
            store,
            own,
            head: Head::EMPTY,
            turns: 0,
        }
    }

    /// Commits one turn; returns how long it took, hashing included.
    fn turn(&mut self) -> Duration {
        let bodies = messages(self.turns);
        let took = timed(|| {
            let (head, messages) = extend(self.head, &bodies);
            self.head = head;
            let mut draft = event(self.turns);
            draft.messages = messages;
            self.store.append(self.own, draft).wait().unwrap();
        });
        self.turns += 1;
        took
    }
}

fn bare(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    for (name, value, _) in FILE_PRAGMAS.into_iter().chain(PRAGMAS) {
        conn.pragma_update(None, name, value).unwrap();
    }
    // Without a writer that checkpoints, SQLite's own rule does it.
    conn.pragma_update(None, "wal_autocheckpoint", 1000)
        .unwrap();
    conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT")
        .unwrap();
    conn
}

fn create(store: &Sqlite, run: u64) -> Ownership {
    let new = NewRun {
        run: RunId::from_bits(run),
        task: "bench".into(),
        at: UnixMs(0),
        input_hash: String::new(),
        body: "{}".into(),
    };
    store.create(new, event(0)).unwrap()
}

fn event(number: usize) -> Draft {
    let body =
        format!(r#"{{"turn":{number},"usage":{{"input":12345,"output":678}},"step":{number}}}"#);
    Draft::new("turn", UnixMs(number as i64), body)
}

fn messages(turn: usize) -> Vec<String> {
    let message = |role: &&str| {
        let mut body = format!(r#"{{"role":"{role}","content":"turn {turn} "#);
        let filling =
            (body.len()..MESSAGE_BYTES - 2).map(|at| (b'a' + ((at * 7 + turn) % 26) as u8) as char);
        body.extend(filling);
        body.push_str("\"}");
        body
    };
    ["assistant", "tool"].iter().map(message).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn quantile(times: &[Duration], at: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[((times.len() - 1) as f64 * at) as usize]
}

fn ratio(ours: Duration, floor: Duration) -> f64 {
    ours.as_secs_f64() / floor.as_secs_f64()
}

/// Bytes of all files of a journal.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| entry.unwrap().metadata().unwrap());
    files
        .filter(|file| file.is_file())
        .map(|file| file.len())
        .sum()
}

struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let name = format!("agentguard-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self { path }
    }

    fn open(&self, name: &str) -> Sqlite {
        Sqlite::open(Paths::new(self.path.join(name)), Options::default()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[derive(Default)]
struct Table(Vec<(&'static str, f64, f64)>);

impl Table {
    fn row(&mut self, what: &'static str, ratio: f64, bar: f64) {
        self.0.push((what, ratio, bar));
    }

    fn print(&self) -> ExitCode {
        println!("\n| what | ratio | bar | |\n|---|---|---|---|");
        for (what, ratio, bar) in &self.0 {
            let word = if ratio <= bar { "pass" } else { "MISSED" };
            println!("| {what} | {ratio:.2} | {bar:.1} | {word} |");
        }
        let missed = self.0.iter().any(|(_, ratio, bar)| ratio > bar);
        ExitCode::from(u8::from(missed))
    }
}
