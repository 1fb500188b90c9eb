//! Several processes on one journal, and what `kill -9` leaves.
//!
//! The other processes are this test binary, started again with the name of a
//! child test and its orders in the environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use agentguard::clock::UnixMs;
use agentguard::ids::Seq;
use agentguard::store::conversation::{Head, extend};
use agentguard::store::{Error, Paths, Sqlite, Store};

use super::support::{Scratch, bodies, event, expected, new_run, run_id};

/// What tells the child tests that they are children.
const STATE: &str = "AGENTGUARD_TEST_STATE";
const RUN: &str = "AGENTGUARD_TEST_RUN";
/// How many events a writer keeps in flight.
const IN_FLIGHT: usize = 4;
/// What a child prints before its own words; libtest writes on the same line.
const SAYS: &str = "child> ";

struct Process {
    child: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a child test on the journal of `scratch`.
    fn start(name: &str, scratch: &Scratch, run: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("store::process::{name}"),
                "--ignored",
                "--nocapture",
            ])
            .env(STATE, scratch.paths().state())
            .env(RUN, run.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            orders,
            words,
        }
    }

    /// Returns the child's next word; `None` when it ended.
    fn word(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.words.read_line(&mut line).unwrap() > 0 {
            if let Some((_, word)) = line.trim_end().split_once(SAYS) {
                return Some(word.to_owned());
            }
            line.clear();
        }
        None
    }

    fn order(&mut self) {
        self.orders.write_all(b"go\n").unwrap();
    }

    /// Kills the child and returns all it said until then.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.word()).collect()
    }

    fn end(mut self) {
        let mut rest = String::new();
        self.words.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

fn say(word: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{word}").unwrap();
    out.flush().unwrap();
}

/// Waits for the parent.
fn await_order() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Returns the journal and the run of a child; `None` when nobody ordered one.
fn ordered() -> Option<(Sqlite, u64)> {
    let state = std::env::var_os(STATE)?;
    let run = std::env::var(RUN).ok()?.parse().ok()?;
    let store = Sqlite::open(Paths::new(state), Default::default()).unwrap();
    Some((store, run))
}

#[test]
#[ignore = "a child of the tests below"]
fn child_writes_until_killed() {
    let Some((store, run)) = ordered() else {
        return;
    };
    let run = run_id(run);
    let own = match store.own(&run, UnixMs(1)) {
        Err(Error::NoSuchRun { .. }) => store.create(new_run(1), event(0)).unwrap(),
        own => own.unwrap(),
    };
    let mut next = own.last_seq().0;
    let mut head = Head::EMPTY;
    let mut in_flight = std::collections::VecDeque::new();
    loop {
        let (longer, messages) =
            extend(head, &[format!("\"message {next} {}\"", "x".repeat(2000))]);
        head = longer;
        let mut draft = event(next);
        draft.messages = messages;
        in_flight.push_back((store.append(&own, draft), head));
        next += 1;
        if in_flight.len() == IN_FLIGHT {
            let (durable, head) = in_flight.pop_front().unwrap();
            say(format_args!("{} {head}", durable.wait().unwrap().seq));
        }
    }
}

/// Ten lives of one run, each killed after a different number of events.
#[test]
fn what_was_acknowledged_survives_kill_nine() {
    let scratch = Scratch::new();
    let mut acknowledged = 0;
    for life in 0..10 {
        let mut writer = Process::start("child_writes_until_killed", &scratch, 1);
        let mut words = Vec::new();
        for _ in 0..1 + life * 7 {
            words.push(writer.word().expect("the writer goes on until killed"));
        }
        words.extend(writer.kill());
        let store = scratch.open();
        let stored = bodies(&store, &run_id(1));
        assert_eq!(
            stored,
            expected(stored.len() as u64),
            "life {life}: not a prefix"
        );
        for word in &words {
            let (seq, head) = word
                .split_once(' ')
                .expect("the child's words are whole lines");
            acknowledged = acknowledged.max(seq.parse().unwrap());
            let head: Head = head.parse().unwrap();
            assert_eq!(store.conversation(&head).unwrap().len() as u64, head.len);
        }
        assert!(
            stored.len() >= acknowledged,
            "life {life}: {} of {acknowledged}",
            stored.len()
        );
        // In flight when it died: there or not, but no more than those.
        assert!(stored.len() <= acknowledged + IN_FLIGHT, "life {life}");
        assert_eq!(
            store.holder(&run_id(1)).unwrap(),
            None,
            "a dead holder holds nothing"
        );
    }
}

#[test]
#[ignore = "a child of the tests below"]
fn child_writes_a_hundred() {
    let Some((store, run)) = ordered() else {
        return;
    };
    let own = store.create(new_run(run), event(0)).unwrap();
    say("ready");
    await_order();
    for number in 1..100 {
        store.append(&own, event(number)).wait().unwrap();
    }
}

#[test]
fn several_processes_write_to_one_journal() {
    const PROCESSES: u64 = 4;
    let scratch = Scratch::new();
    // All open at once, while the journal does not exist yet.
    let mut writers: Vec<_> = (0..PROCESSES)
        .map(|run| Process::start("child_writes_a_hundred", &scratch, run))
        .collect();
    for writer in &mut writers {
        assert_eq!(writer.word().as_deref(), Some("ready"));
    }
    writers.iter_mut().for_each(Process::order);
    writers.into_iter().for_each(Process::end);
    let store = scratch.open();
    for run in 0..PROCESSES {
        assert_eq!(bodies(&store, &run_id(run)), expected(100));
    }
}

#[test]
#[ignore = "a child of the tests below"]
fn child_takes_the_run() {
    let Some((store, run)) = ordered() else {
        return;
    };
    say("ready");
    await_order();
    match store.own(&run_id(run), UnixMs(7)) {
        Ok(own) => {
            say(format_args!("got {}", own.epoch()));
            await_order();
        }
        Err(Error::Held { pid, since, .. }) => say(format_args!("held {pid:?} {since:?}")),
        Err(error) => say(error),
    }
}

#[test]
fn of_processes_that_race_for_a_run_one_gets_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    drop(store.create(new_run(1), event(0)).unwrap());
    let mut racers: Vec<_> = (0..4)
        .map(|_| Process::start("child_takes_the_run", &scratch, 1))
        .collect();
    for racer in &mut racers {
        assert_eq!(racer.word().as_deref(), Some("ready"));
    }
    racers.iter_mut().for_each(Process::order);
    let words: Vec<_> = racers
        .iter_mut()
        .map(|racer| racer.word().unwrap())
        .collect();
    let winner = words
        .iter()
        .position(|word| word == "got 2")
        .expect("one gets it");
    for (index, word) in words
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != winner)
    {
        // The text of the lock file may not be there in its first moment.
        assert!(word.starts_with("held "), "racer {index}: {word}");
    }
    let pid = racers[winner].child.id();
    let holder = store.holder(&run_id(1)).unwrap().unwrap();
    assert_eq!((holder.pid, holder.since), (Some(pid), Some(UnixMs(7))));
    // Killed, it holds nothing; the next owner needs no help.
    racers.remove(winner).kill();
    let next = store.own(&run_id(1), UnixMs(8)).unwrap();
    assert_eq!((next.epoch().0, next.last_seq()), (3, Seq(1)));
    racers.into_iter().for_each(Process::end);
}
