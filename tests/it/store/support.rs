//! Runs, drafts and folders for the store's tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agentguard::clock::UnixMs;
use agentguard::ids::{CallId, IdempotencyKey, RunId, Seq, StepNo};
use agentguard::store::sqlite::Options;
use agentguard::store::{Draft, KeyUse, NewRun, Paths, Sqlite, Store};

/// A folder that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "agentguard-store-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn paths(&self) -> Paths {
        Paths::new(self.0.join("state"))
    }

    pub fn open(&self) -> Sqlite {
        Sqlite::open(self.paths(), Options::default()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn run_id(number: u64) -> RunId {
    RunId::from_bits(number)
}

pub fn new_run(number: u64) -> NewRun {
    NewRun {
        run: run_id(number),
        task: "nightly".into(),
        at: UnixMs(1_000 + number as i64),
        input_hash: "sha256:00".into(),
        body: "{}".into(),
    }
}

pub fn event(number: u64) -> Draft {
    Draft::new(
        "turn",
        UnixMs(number as i64),
        format!(r#"{{"n":{number}}}"#),
    )
}

/// The bodies of a run's events.
pub fn bodies(store: &dyn Store, run: &RunId) -> Vec<String> {
    let events = store.events(run, Seq(1)).unwrap();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq, Seq(index as u64 + 1), "a gap in {run}");
    }
    events.into_iter().map(|event| event.body).collect()
}

/// What [`event`] wrote, from 0 on.
pub fn expected(count: u64) -> Vec<String> {
    (0..count).map(|number| event(number).body).collect()
}

pub fn key_use(key: &str, call: u64) -> KeyUse {
    KeyUse {
        key: IdempotencyKey(key.into()),
        call: CallId(call),
        step: StepNo(1),
        tool: "charge".into(),
        args_hash: "a1".into(),
    }
}
