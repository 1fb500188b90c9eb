//! The humans of the simulated world, behind the real table of questions: what
//! they decide survives a crash, and an answer and the deadline may come in the
//! same millisecond, in either order.

use std::collections::BTreeMap;

use agentguard::clock::UnixMs;
use agentguard::human::inbox::{self, Entry};
use agentguard::ids::{EscalationId, RunId};
use agentguard::machine::escalation::{APPROVE, DECLINE};
use agentguard::machine::escalation::{Escalation, Ruling, Source};
use agentguard::machine::{Effect, State};
use agentguard::store::{Draft, Memory, NewRun, Ownership, QuestionChange, Store};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

pub struct Humans {
    seed: u64,
    store: Memory,
    own: Ownership,
    /// The first decision of each question that was ever seen in a state.
    seen: BTreeMap<EscalationId, Ruling>,
}

impl Humans {
    pub fn new(seed: u64, run: &RunId) -> Self {
        let store = Memory::default();
        let new = NewRun {
            run: run.clone(),
            task: "sim".into(),
            at: UnixMs(0),
            input_hash: String::new(),
            body: "{}".into(),
        };
        let first = Draft::new("created", UnixMs(0), "{}");
        let own = store.create(new, first).expect("a new run");
        Self {
            seed,
            store,
            own,
            seen: BTreeMap::new(),
        }
    }

    /// Stores what an event asks, in the event's transaction.
    pub fn take_in(&self, effects: &[Effect]) {
        for effect in effects {
            let change = match effect {
                Effect::Escalate(what) => {
                    let again = self
                        .rows()
                        .into_iter()
                        .find(|row| row.what.ask.key == what.ask.key);
                    assert_eq!(again, None, "seed {}: asked twice", self.seed);
                    inbox::opened(what).expect("a question is JSON")
                }
                Effect::Close { escalation, ruling } => QuestionChange::Close {
                    id: escalation.clone(),
                    ruling: inbox::stored(ruling, None),
                },
                _ => continue,
            };
            let mut draft = Draft::new("event", UnixMs(0), "{}");
            draft.questions.push(change);
            self.store
                .append(&self.own, draft)
                .wait()
                .expect("memory takes it");
        }
    }

    /// Somebody answers, and the deadline passes, in the same millisecond. Returns
    /// what stands: what was decided first, perhaps long ago.
    pub fn decide(&self, what: &Escalation, random: &mut ChaCha8Rng) -> Ruling {
        let deadline = what.by_deadline();
        let at = deadline.as_ref().map_or(what.opened_at, |late| late.at);
        let answer = |option: &str| Ruling {
            option: option.into(),
            note: None,
            by: "anna".into(),
            at,
            source: Source::Answer,
        };
        let option = if random.random_bool(0.8) {
            APPROVE
        } else {
            DECLINE
        };
        let mut tries = vec![answer(option)];
        if let Some(deadline) = deadline {
            let place = usize::from(random.random_bool(0.7));
            tries.insert(place, deadline);
        }
        // Too late, and told so.
        let late = Ruling {
            at: at.plus(1),
            ..answer(APPROVE)
        };
        tries.push(late);
        let mut first = None;
        for ruling in tries {
            let late = what.by_deadline().map(|late| inbox::stored(&late, None));
            let row = inbox::stored(&ruling, None);
            let decided = self
                .store
                .decide(&what.id, row, late)
                .wait()
                .expect("it was asked");
            let stands = Entry::read(decided.row)
                .expect("our own")
                .ruling
                .expect("it is decided");
            assert!(!decided.is_ours || first.is_none(), "seed {}", self.seed);
            assert_eq!(
                first.get_or_insert(stands.clone()),
                &stands,
                "seed {}",
                self.seed
            );
        }
        first.expect("somebody tried")
    }

    /// A decided question never changes, and what a state says is what the table says.
    pub fn check(&mut self, state: &State) {
        let rows = self.rows();
        for question in &state.questions {
            let Some(ruling) = &question.ruling else {
                continue;
            };
            let id = &question.what.id;
            let first = self
                .seen
                .entry(id.clone())
                .or_insert_with(|| ruling.clone());
            assert_eq!(first, ruling, "seed {}: {id} has changed", self.seed);
            if matches!(ruling.source, Source::Withdrawn | Source::Settled) {
                // An answer that was written down, and not yet heard of, stays there.
                continue;
            }
            let row = rows.iter().find(|row| row.what.id == *id);
            let row = row.expect("a question of the state is in the table");
            let stored = row.ruling.as_ref().expect("what a state knows is durable");
            assert_eq!(stored, ruling, "seed {}: {id} differs", self.seed);
        }
    }

    /// Whether the call with these arguments was approved.
    pub fn has_approved(&self, args: &str) -> bool {
        let asked = |row: &Entry| row.what.ask.evidence.contains(args);
        let rows = self.rows().into_iter().filter(asked);
        rows.filter_map(|row| row.ruling)
            .any(|ruling| ruling.option == APPROVE)
    }

    fn rows(&self) -> Vec<Entry> {
        let rows = self
            .store
            .questions(None, "", false)
            .expect("memory can be read");
        rows.into_iter()
            .map(|row| Entry::read(row).expect("our own"))
            .collect()
    }
}
