//! The pure machine in a simulated world, with a crash between any two steps.
//!
//! A seeded world plays the agent, the tools, the disk and the power cord. The
//! agent asks, tools take effect (in a table outside of us), the disk keeps what
//! was appended, and now and then everything stops: before an event is stored,
//! after it is stored and before anything was let out, or in the middle of what
//! is let out. Then the journal is replayed and the run goes on.
//!
//! Held at every event and at the end:
//! - replay equals live;
//! - no effect of a tool before its event is durable (by construction: the world
//!   carries out effects of stored events only, as the driver does);
//! - each write takes effect at most once, and exactly once in a run that is done; an
//!   item of a batch too, whatever call carried it;
//! - spend, reservations included, never passes the cap where the agent reserves,
//!   and passes it by one turn at most where it only reports;
//! - each undo takes effect at most once, the last write first;
//! - a run that is done was verified if it is to be, in as many rounds as it may have;
//! - a staged folder is the old one until its change is in place, changes once, and is
//!   the new one when the run is done;
//! - a decided question never changes, whatever comes in the same millisecond, and
//!   what needs an approval takes effect with one only;
//! - every run ends.
//!
//! `AGENTGUARD_SEED=123 cargo test simulation` plays one seed again;
//! `AGENTGUARD_SIM_RUNS=10000` says how many are played.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::simulation_humans::Humans;
use agentguard::clock::UnixMs;
use agentguard::ids::{CallId, EscalationId, IdempotencyKey, RunId, Seq};
use agentguard::machine::batch::{self, Members, Progress};
use agentguard::machine::event::{
    BatchCall, BatchItem, CheckAnswer, CheckEnd, CheckVerdict, CommitMethod, Content, Delivery,
    Exchange, Exit, FileCounts, ItemAnswer, Judged, Refusal, SettledBy, Settlement, StoppedBy,
    ToolCall, ToolEnd, Turn, UndoEnd,
};
use agentguard::machine::{
    Answer, Call, Effect, Entry, Event, NextUndo, Outcome, Part, Phase, Policy, Resume, Risk,
    Settle, State, Status, ToolPolicy, Undo, UndoPolicy, Verdict, advance, replay, resume,
};
use agentguard::money::NanoUsd;
use agentguard::policy::batch::Want;
use agentguard::policy::breaker::Admission;
use agentguard::policy::budget::{Limits, Usage};
use agentguard::policy::escalation::{self, Approve, Kind, Terms};
use agentguard::policy::loops::{self, ErrorKind, Print, ToolTraits};
use agentguard::policy::retry;
use agentguard::policy::taxonomy::Class;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// In an unoptimised build a run costs twenty times as much.
const RUNS: u64 = if cfg!(debug_assertions) {
    2_000
} else {
    10_000
};
/// What the copy is called.
const COPY: &str = "copy";
const EVENTS_MAX: usize = 2_000;
/// The last one is carried out by the agent, as an MCP proxy does; no batch has it.
const TOOLS: [&str; 5] = ["look", "charge", "mail", "ship", "post"];

#[test]
fn simulated_runs_hold_their_promises() {
    let runs = std::env::var("AGENTGUARD_SIM_RUNS").map_or(RUNS, |text| {
        text.parse().expect("AGENTGUARD_SIM_RUNS is a number")
    });
    let seeds = match std::env::var("AGENTGUARD_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("AGENTGUARD_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..runs,
    };
    let mut ends = BTreeMap::<&str, u64>::new();
    let mut crashes = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        let outcome = world.play();
        crashes += world.crashes;
        *ends.entry(outcome.status().as_str()).or_default() += 1;
    }
    println!("simulation: {crashes} crashes; runs ended {ends:?}");
    if std::env::var("AGENTGUARD_SEED").is_err() {
        // A simulation in which nothing happens proves nothing.
        assert!(crashes > runs, "hardly anything crashed");
        assert!(
            ends.get("done").is_some_and(|done| *done > runs / 4),
            "hardly any run was done"
        );
        assert!(ends.contains_key("budget"), "no run met its cap");
        assert!(ends.contains_key("rejected"), "no run was rejected");
    }
}

/// Everything around the machine.
struct World {
    seed: u64,
    random: ChaCha8Rng,
    policy: Policy,
    run: RunId,
    now: UnixMs,
    /// What the disk has.
    journal: Vec<Entry>,
    keys: BTreeMap<IdempotencyKey, Content>,
    /// What happened outside: times a write took effect, by what it was for.
    effects: BTreeMap<String, u32>,
    /// Calls whose undo took effect outside.
    undone: BTreeSet<CallId>,
    /// Whether the user has asked for a rollback.
    rolls_back: bool,
    /// What is alive.
    state: Option<State>,
    inbox: VecDeque<Event>,
    agent: Agent,
    /// Who is asked, and what they said: durable.
    humans: Humans,
    crashes: u64,
    crash_percent: u32,
    /// Whether the staged folder is the new one.
    is_in_place: bool,
    /// Whether the agent has the worst case of each model call held back.
    reserves: bool,
}

/// The most that a turn costs.
const TURN_NANO_MAX: u64 = 5_000_000;

/// The agent: does `steps` turns of a few calls each, then says done.
#[derive(Default)]
struct Agent {
    alive: bool,
    steps: u64,
    /// Calls left in the present turn, and whether one is under way.
    plan: VecDeque<String>,
    /// Items of the present step that it has a result for.
    has: BTreeSet<String>,
    /// The item it waits for.
    asked: Option<String>,
    waiting: bool,
    reservation: Option<u64>,
    next_request: u64,
    /// It waits for a batch.
    in_batch: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let cap = random
            .random_bool(0.3)
            .then(|| NanoUsd(random.random_range(1..60) * 1_000_000));
        let tool = |risk, settle, attempts| ToolPolicy {
            undo: (risk == Risk::Write).then(|| UndoPolicy {
                retry: retry::Config {
                    strategy: retry::Strategy::FullJitter,
                    base_ms: 100,
                    cap_ms: 1_000,
                    attempts: 3,
                },
                is_repeatable: settle == Settle::NativeKey,
            }),
            risk,
            retry: retry::Config {
                strategy: retry::Strategy::FullJitter,
                base_ms: 100,
                cap_ms: 1_000,
                attempts,
            },
            settle,
            approve: Approve::Never,
            traits: ToolTraits::default(),
        };
        let takes_key = seed % 2 == 1;
        let post = match takes_key {
            true => Settle::CallAgain,
            false => Settle::Human,
        };
        let policy = Policy {
            limits: Limits {
                cost: cap,
                steps: Some(12),
                soft_percent: 80,
                ..Limits::default()
            },
            tools: BTreeMap::from([
                (TOOLS[0].to_owned(), tool(Risk::Read, Settle::Human, 4)),
                (TOOLS[1].to_owned(), tool(Risk::Write, Settle::NativeKey, 3)),
                (
                    TOOLS[2].to_owned(),
                    tool(Risk::Irreversible, Settle::Probe, 2),
                ),
                (TOOLS[3].to_owned(), tool(Risk::Write, Settle::Human, 2)),
                (TOOLS[4].to_owned(), tool(Risk::Write, post, 3)),
            ]),
            models: agentguard::machine::ModelPolicy::default(),
            retry_budget: retry::Budget::default(),
            loops: Some(loops::Config::default()),
            escalation: escalation::Config {
                terms: BTreeMap::from([(
                    Kind::Approval,
                    Terms {
                        deadline_ms: Some(1_000),
                        default: None,
                    },
                )]),
                ..escalation::Config::default()
            },
            speaks: true,
            rollback_on: match random.random_bool(0.5) {
                true => BTreeSet::from([Status::Rejected, Status::Failed, Status::Budget]),
                false => BTreeSet::new(),
            },
            verify_tries: random.random_bool(0.4).then(|| random.random_range(0..3)),
            stages: random.random_bool(0.4),
        };
        let mut policy = policy;
        if random.random_bool(0.4)
            && let Some(mail) = policy.tools.get_mut("mail")
        {
            mail.approve = Approve::Always;
        }
        let steps = random.random_range(1..8);
        let crash_percent = random.random_range(0..12);
        let reserves = random.random_bool(0.5);
        Self {
            seed,
            random,
            policy,
            run: RunId::from_bits(seed),
            humans: Humans::new(seed, &RunId::from_bits(seed)),
            now: UnixMs(1_000_000),
            journal: Vec::new(),
            keys: BTreeMap::new(),
            effects: BTreeMap::new(),
            undone: BTreeSet::new(),
            rolls_back: false,
            state: None,
            inbox: VecDeque::new(),
            agent: Agent {
                steps,
                ..Agent::default()
            },
            crashes: 0,
            crash_percent,
            is_in_place: false,
            reserves,
        }
    }

    /// Plays the run to its end, over any number of crashes.
    fn play(&mut self) -> Outcome {
        self.feed(Event::Created {
            name: "sim".into(),
            input_hash: String::new(),
            seed: self.seed,
        });
        loop {
            assert!(
                self.journal.len() < EVENTS_MAX,
                "seed {}: the run does not end",
                self.seed
            );
            let state = replay(self.journal.clone(), &self.policy);
            if self.state.is_some() {
                assert_eq!(
                    self.state, state,
                    "seed {}: replay differs from live",
                    self.seed
                );
            }
            self.state = state;
            if self.state.is_none() {
                // The first event was lost with its process: the run never was.
                self.feed(Event::Created {
                    name: "sim".into(),
                    input_hash: String::new(),
                    seed: self.seed,
                });
                continue;
            }
            match resume(self.live(), self.now, &self.policy) {
                Resume::Close => {
                    if self.live().phase == Phase::Running {
                        self.feed(Event::AgentExited {
                            exit: Exit::Lost,
                            tail: String::new(),
                        });
                    }
                    if self.state.is_some() {
                        self.feed(Event::Swept {
                            asked: 0,
                            killed: 0,
                        });
                    }
                }
                Resume::Settle { calls } => {
                    for (call, settle) in calls {
                        if self.state.is_some() {
                            self.settle_dead(call, settle);
                        }
                    }
                }
                Resume::Conclude => self.conclude(),
                Resume::Nothing if !self.rolls_back && self.random.random_bool(0.3) => {
                    self.ended();
                    self.rolls_back = true;
                    self.feed(Event::RollbackStarted);
                }
                Resume::Nothing => return self.ended(),
                Resume::Wait { escalation } => self.is_decided(&escalation),
                Resume::Start { .. } if self.rolls_back => {
                    self.check_undone();
                    self.check_effects(false);
                    return self.ended();
                }
                Resume::Refuse { outcome } => {
                    self.check_effects(false);
                    return outcome;
                }
                Resume::Start { .. } if self.is_rejected() => {
                    self.check_effects(false);
                    return self.ended();
                }
                Resume::Start { cause, note } => {
                    let attempt = self.live().attempt.next();
                    self.agent = Agent {
                        alive: true,
                        steps: self.agent.steps,
                        ..Agent::default()
                    };
                    self.feed(Event::AttemptStarted {
                        attempt,
                        cause,
                        note,
                        how: agentguard::machine::How::Replay,
                    });
                    self.attempt();
                    self.conclude();
                    let over = match self.state.as_ref().and_then(State::outcome) {
                        Some(
                            Outcome::Loop { .. }
                            | Outcome::Failed { .. }
                            | Outcome::Rejected { .. },
                        ) => true,
                        _ => self.live_attempts() > 300,
                    };
                    if over && self.state.is_some() {
                        self.check_effects(false);
                        return self
                            .live()
                            .outcome()
                            .cloned()
                            .expect("the attempt has ended");
                    }
                }
            }
        }
    }

    fn is_rejected(&self) -> bool {
        matches!(self.live().outcome(), Some(Outcome::Rejected { .. }))
    }

    /// Rounds of checks that failed, in all attempts.
    fn rounds_failed(&self) -> u32 {
        let failed = |entry: &&Entry| match &entry.event {
            Event::Verified { checks, .. } => checks
                .iter()
                .any(|check| check.verdict == CheckVerdict::Failed),
            _ => false,
        };
        let count = self.journal.iter().filter(failed).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn copies_lost(&self) -> u32 {
        let is_lost = |entry: &&Entry| {
            let refusal = Refusal::Gone {
                stage: COPY.to_owned(),
            };
            entry.event == Event::CommitRefused { refusal }
        };
        let count = self.journal.iter().filter(is_lost).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn live(&self) -> &State {
        self.state
            .as_ref()
            .expect("nothing has crashed since it was made")
    }

    fn live_attempts(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.attempt.0)
    }

    fn ended(&mut self) -> Outcome {
        let outcome = self.live().outcome().cloned().expect("the run has ended");
        let done = matches!(outcome, Outcome::Done { .. });
        let verified = matches!(outcome, Outcome::Done { verified: true });
        let checks = self.policy.verify_tries.is_some();
        assert!(
            !done || verified == checks,
            "seed {}: {outcome:?}",
            self.seed
        );
        let is_new = done && self.policy.stages;
        // A rollback takes calls back; what was committed before stays in place.
        if !self.rolls_back {
            assert_eq!(self.is_in_place, is_new, "seed {}: {outcome:?}", self.seed);
        }
        let rounds = self.rounds_failed();
        let tries = self.policy.verify_tries.unwrap_or_default();
        // Work that was lost with its copy is done, and checked, anew.
        let works = 1 + self.copies_lost();
        assert!(
            rounds <= works * (tries + 1),
            "seed {}: {rounds} rounds",
            self.seed
        );
        self.check_effects(done);
        outcome
    }

    /// One attempt, until it ends or everything stops.
    fn attempt(&mut self) {
        while self.state.is_some() {
            assert!(
                self.journal.len() < EVENTS_MAX,
                "seed {}: no end",
                self.seed
            );
            if let Some(event) = self.inbox.pop_front() {
                self.now = self.now.plus(self.random.random_range(1..50));
                self.feed(event);
                continue;
            }
            match self.live().phase {
                Phase::Running if self.agent.alive => self.agent_acts(),
                Phase::Running => {
                    self.feed(Event::AgentExited {
                        exit: Exit::Code(0),
                        tail: String::new(),
                    });
                }
                Phase::Ending { .. } => {
                    self.agent.alive = false;
                    self.feed(Event::Swept {
                        asked: 1,
                        killed: 0,
                    });
                }
                Phase::Concluding { .. } | Phase::Ended { .. } | Phase::Created => return,
            }
        }
    }

    /// A check asks a model, as far as the money goes; its answer may never come.
    fn check_asks_a_model(&mut self) {
        let Some(reservation) = self.state.as_ref().map(|state| state.next_reservation) else {
            return;
        };
        let usage = |cost| Usage {
            tokens: 10,
            cost: NanoUsd(cost),
        };
        self.feed(Event::CheckReserved {
            request: 1,
            check: "c".into(),
            worst: usage(TURN_NANO_MAX),
            max_tokens: 10,
            link: 0,
        });
        let is_held = |state: &State| state.spend.reserved.contains_key(&reservation);
        let is_heard = self.random.random_range(0..4) > 0;
        if self.state.as_ref().is_some_and(is_held) && is_heard {
            let cost = self.random.random_range(0..=TURN_NANO_MAX);
            self.feed(Event::CheckAnswered(Box::new(CheckAnswer {
                request: 2,
                check: "c".into(),
                usage: usage(cost),
                reservation: Some(reservation),
                model: None,
                error: None,
                exchange: Exchange {
                    link: 0,
                    breaker: String::new(),
                    attempt: 1,
                    waited_ms: 0,
                    status: 200,
                    judged: judged(Class::Success, ""),
                    end: Default::default(),
                    out: vec![],
                    model: String::new(),
                    hold_ms: None,
                    asks: Default::default(),
                    draw: 0,
                },
            })));
        }
    }

    /// The end of a run that is done: its checks pass, fail, cannot be made, or are
    /// cut off by a stop.
    fn conclude(&mut self) {
        let due = |state: &State| state.part().cloned();
        while let Some(part) = self.state.as_ref().and_then(due) {
            let round = match part {
                Part::Verifying { round } => round,
                Part::Committing { is_started, .. } => return self.commit(is_started),
                Part::Returning => return,
                Part::RollingBack { .. } => {
                    self.undo_next();
                    continue;
                }
            };
            self.feed(Event::VerifyStarted { round });
            if self.random.random_range(0..3) == 0 {
                self.check_asks_a_model();
            }
            let verdict = match self.random.random_range(0..10) {
                0..5 => CheckVerdict::Passed,
                5..8 => CheckVerdict::Failed,
                8 => CheckVerdict::Unchecked,
                _ => {
                    let by = StoppedBy::Interrupt;
                    if self.state.is_some() {
                        self.feed(Event::StopRequested { by });
                    }
                    continue;
                }
            };
            if self.state.is_none() {
                return;
            }
            let check = CheckEnd {
                name: "c".into(),
                verdict,
                why: String::new(),
                findings: String::new(),
                took_ms: 1,
            };
            let checks = vec![check];
            self.feed(Event::Verified { round, checks });
        }
    }

    /// The next thing of a rollback.
    fn undo_next(&mut self) {
        match self.live().saga.next() {
            NextUndo::Run { call, attempt, due } => {
                self.now = self.now.max(due);
                self.feed(Event::UndoStarted { call, attempt });
                if self.state.is_some() {
                    self.undo(call);
                }
            }
            NextUndo::CutOff { call, .. } => {
                let ended = undo_end(call, Class::Transient, Delivery::Unknown);
                self.feed(Event::UndoEnded(ended));
            }
            NextUndo::InDoubt { call } => {
                let undone = self.undone.contains(&call);
                self.feed(Event::UndoSettled { call, undone });
            }
            NextUndo::Nothing => self.feed(Event::RolledBack),
        }
    }

    /// An undo runs: it may work, fail before its effect, or go silent before or
    /// after it.
    fn undo(&mut self, call: CallId) {
        let saga = &self.live().saga;
        let place = saga.entries.iter().position(|it| it.call == call);
        let place = place.expect("it was just admitted");
        let later = &saga.entries[place + 1..];
        let is_open =
            |undo: &Undo| !matches!(undo, Undo::Undone | Undo::Missing | Undo::Failed { .. });
        assert!(
            !later.iter().any(|it| is_open(&it.undo)),
            "seed {}: call {call} is undone before a later one",
            self.seed
        );
        let entry = &saga.entries[place];
        let what = format!("{}:{}", entry.tool, item(&entry.args));
        let is_native = self.policy.tools[&entry.tool].settle == Settle::NativeKey;
        let (class, delivery) = match self.random.random_range(0..8) {
            0 => (Class::Transient, Delivery::NeverSent),
            1 | 2 => (Class::Transient, Delivery::Unknown),
            3 => (Class::Semantic, Delivery::Answered),
            _ => (Class::Success, Delivery::Answered),
        };
        let silent = delivery == Delivery::Unknown && self.random.random_bool(0.5);
        if class == Class::Success || silent {
            let is_first = self.undone.insert(call);
            assert!(
                is_first || is_native,
                "seed {}: call {call} is undone twice",
                self.seed
            );
            if is_first {
                assert!(self.effects.remove(&what).is_some(), "seed {}", self.seed);
            }
        }
        if self.crashes_now() {
            return self.crash();
        }
        self.feed(Event::UndoEnded(undo_end(call, class, delivery)));
    }

    /// After a rollback nothing is left that could be undone.
    fn check_undone(&self) {
        for entry in &self.live().saga.entries {
            let outside = self.undone.contains(&entry.call);
            let fine = match entry.undo {
                Undo::Undone => outside,
                Undo::Missing | Undo::Failed { .. } => true,
                _ => false,
            };
            assert!(fine, "seed {}: {entry:?}", self.seed);
        }
    }

    /// The last part: the change comes in, or collides, or is cut off in between.
    fn commit(&mut self, is_started: bool) {
        let counts = FileCounts {
            changed: 1,
            ..FileCounts::default()
        };
        if !is_started {
            assert!(!self.is_in_place, "seed {}: in place too early", self.seed);
            match self.random.random_range(0..10) {
                0 => {
                    let (paths, count) = (vec!["a".into()], 1);
                    let refusal = Refusal::Conflict { paths, count };
                    return self.feed(Event::CommitRefused { refusal });
                }
                1 => {
                    let by = StoppedBy::Interrupt;
                    return self.feed(Event::StopRequested { by });
                }
                // Somebody removed the copy: the work has to be done again.
                2 => {
                    let stage = COPY.to_owned();
                    let refusal = Refusal::Gone { stage };
                    self.feed(Event::CommitRefused { refusal });
                    assert!(self.state.is_none() || self.live().done.is_none());
                    return;
                }
                _ => self.feed(Event::CommitStarted {
                    method: CommitMethod::Exchange,
                    why: None,
                    counts,
                    hash: String::new(),
                }),
            }
            if self.state.is_none() {
                return;
            }
        }
        self.is_in_place = true;
        self.feed(Event::Committed { counts });
    }

    /// The agent does its next thing.
    fn agent_acts(&mut self) {
        if self.agent.waiting && self.live().waits_for().is_some() {
            return self.humans_act();
        }
        if self.agent.waiting {
            assert!(
                !self.agent.in_batch,
                "seed {}: nothing happens to a batch any more",
                self.seed
            );
            // Its request was not answered: it is told so by a stop that is on
            // its way, and leaves.
            self.agent.alive = false;
            return;
        }
        self.agent.next_request += 1;
        let request = self.agent.next_request;
        let step = self.live().step.0;
        if self.reserves && self.agent.reservation.is_none() {
            let worst = Usage {
                tokens: 100,
                cost: NanoUsd(TURN_NANO_MAX),
            };
            self.agent.waiting = true;
            self.feed(Event::Reserved {
                request,
                worst,
                max_tokens: 50,
                link: None,
                place: None,
                unasked: None,
            });
            return;
        }
        if let Some(call) = self.batch(request, step) {
            self.agent.waiting = true;
            self.agent.in_batch = true;
            return self.feed(Event::BatchCalled(call));
        }
        if self.agent.plan.is_empty() {
            // The same step always wants the same calls: an agent that goes on
            // from its conversation. What failed it may try again or leave.
            let missing: Vec<_> = wanted(step)
                .into_iter()
                .chain(self.items_alone(step))
                .filter(|what| !self.agent.has.contains(what))
                .collect();
            let last = step + 1 >= self.agent.steps;
            if missing.is_empty() || (!last && self.random.random_bool(0.2)) {
                return self.report_turn(request, last);
            }
            self.agent.plan.extend(missing);
        }
        if let Some(what) = self.agent.plan.pop_front() {
            self.agent.waiting = true;
            let (tool, item) = what.split_once(':').expect("tool:item");
            let call = self.facts(request, tool, item);
            self.agent.asked = Some(what);
            self.feed(Event::ToolCalled(call));
        }
    }

    /// The items of this step's batch that a human is asked about, one at a time.
    fn items_alone(&self, step: u64) -> Vec<String> {
        match wanted_items(step) {
            Some((tool, items)) if self.policy.tools[tool].approve != Approve::Never => {
                let named = items.into_iter().map(|item| format!("{tool}:{item}"));
                named.collect()
            }
            _ => vec![],
        }
    }

    /// Somebody answers, or nobody waits for it here.
    fn humans_act(&mut self) {
        let question = self.live().waits_for().expect("something is asked");
        let id = question.what.id.clone();
        if self.random.random_bool(0.3) {
            return self.feed(Event::Suspended);
        }
        self.is_decided(&id);
    }

    /// The decision is durable before the run hears of it, and may be heard of after
    /// a crash only.
    fn is_decided(&mut self, id: &EscalationId) {
        let what = self.live().question(id).expect("it was asked").what.clone();
        let ruling = self.humans.decide(&what, &mut self.random);
        if self.crashes_now() {
            return self.crash();
        }
        self.now = self.now.max(ruling.at);
        let escalation = id.clone();
        self.feed(Event::Decided { escalation, ruling });
    }

    /// The batch of this step: the items that the agent has no result for. Sometimes it
    /// goes on without them, unless the step is its last.
    fn batch(&mut self, request: u64, step: u64) -> Option<BatchCall> {
        let (tool, items) = wanted_items(step)?;
        if self.policy.tools[tool].approve != Approve::Never {
            return None;
        }
        let name = |item: &String| format!("{tool}:{item}");
        let missing: Vec<_> = items
            .into_iter()
            .filter(|item| !self.agent.has.contains(&name(item)))
            .collect();
        let last = step + 1 >= self.agent.steps;
        if missing.is_empty() || (!last && self.random.random_bool(0.2)) {
            return None;
        }
        let item = |id: &String| {
            let key = IdempotencyKey(format!("{}/{tool}/batch:{id}", self.run));
            BatchItem {
                id: id.clone(),
                args: serde_json::json!({ "item": id }),
                identity: format!("{tool}:{id}"),
                recorded: self.keys.get(&key).cloned(),
                key: (self.policy.risk(tool) != Risk::Read).then_some(key),
                refused: None,
                same_as: None,
                played: None,
            }
        };
        let items = missing.iter().map(item).collect();
        Some(BatchCall {
            request,
            tool: tool.to_owned(),
            items,
            concurrency: self.random.random_range(1..4),
            size: self.random.random_range(1..4),
            want: Want::Required,
            fail_fast: self.random.random_bool(0.1),
            by_human: false,
        })
    }

    fn report_turn(&mut self, request: u64, done: bool) {
        self.agent.waiting = true;
        let reservation = self.agent.reservation.take();
        let cost = NanoUsd(self.random.random_range(0..=5) * TURN_NANO_MAX / 5);
        self.feed(Event::TurnReported(Turn {
            request,
            usage: Usage { tokens: 10, cost },
            reservation,
            done,
            ..Turn::default()
        }));
    }

    /// What the driver finds out about a call.
    fn facts(&self, request: u64, tool: &str, item: &str) -> ToolCall {
        let args = serde_json::json!({ "item": item });
        let identity = format!("{tool}:{item}");
        let mut asked = ToolCall {
            request,
            tool: tool.to_owned(),
            identity,
            key: None,
            recorded: None,
            recorded_class: None,
            resembles: None,
            admission: Admission::Go,
            is_lent: tool == TOOLS[4],
            loop_id: None,
            refused: None,
            args,
        };
        if self.policy.risk(tool) == Risk::Read {
            return asked;
        }
        // `mail` declares a key, the others get one made.
        let key = if tool == "mail" {
            IdempotencyKey(format!("{}/mail/{item}", self.run))
        } else {
            let made = self.live().made_key(&self.run, tool, &asked.identity);
            asked.resembles = made.resembles;
            made.key
        };
        asked.recorded = self.keys.get(&key).cloned();
        if asked.recorded.is_some() {
            asked.resembles = None;
        }
        asked.key = Some(key);
        asked
    }

    /// Stores the event, then carries out what it lets out; may stop anywhere.
    fn feed(&mut self, event: Event) {
        if self.crashes_now() {
            return self.crash();
        }
        let entry = Entry {
            seq: Seq(self.journal.len() as u64 + 1),
            at: self.now,
            event,
        };
        self.journal.push(entry.clone());
        let before = self.state.take();
        let (state, effects) = advance(before, entry.at, entry.event, &self.policy);
        if let Some(cap) = state.limits.cost {
            let spent = state
                .spend
                .of(agentguard::policy::budget::Resource::CostUsd);
            // An agent that only reports is stopped by what its turns cost before.
            let slack = if self.reserves { 0 } else { TURN_NANO_MAX };
            assert!(
                spent <= cap.0 + slack,
                "seed {}: {spent} of {} spent",
                self.seed,
                cap.0
            );
        }
        self.humans.take_in(&effects);
        self.humans.check(&state);
        self.state = Some(state);
        // What is stored beside the event is in the same transaction.
        for effect in &effects {
            if let Effect::Unrecord { key, .. } = effect {
                assert!(self.keys.remove(key).is_some(), "seed {}", self.seed);
            }
            if let Effect::Record { key, content, .. } = effect {
                let twice = self.keys.insert(key.clone(), content.clone());
                assert_eq!(twice, None, "seed {}: {key} recorded twice", self.seed);
            }
        }
        for effect in effects {
            if self.crashes_now() {
                return self.crash();
            }
            self.carry_out(effect);
            if self.state.is_none() {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Execute { call, attempt } => self.execute(call, attempt, None),
            Effect::Lend { call, attempt, .. } => {
                // Now and then whoever carries it out is never heard of again.
                self.agent.next_request += 1;
                let request = self.agent.next_request;
                let is_told = self.random.random_bool(0.95);
                self.execute(call, attempt, Some(request).filter(|_| is_told));
            }
            Effect::Probe { call } => {
                let settlement = self.truth(call);
                self.inbox.push_back(Event::Settled {
                    call,
                    settlement,
                    by: SettledBy::Probe,
                });
            }
            Effect::Wait { call, attempt, .. } => {
                self.inbox.push_back(Event::RetryDue {
                    call,
                    attempt,
                    admission: Admission::Go,
                });
            }
            Effect::Reply { answer, .. } => self.answered(&answer),
            Effect::Unexpected { what } => panic!("seed {}: {what}", self.seed),
            Effect::EndAgent { .. } => self.agent.alive = false,
            Effect::Note(_)
            | Effect::Record { .. }
            | Effect::Free { .. }
            | Effect::Unrecord { .. }
            | Effect::Breaker { .. }
            | Effect::Item(_)
            | Effect::Escalate(_)
            | Effect::Close { .. }
            | Effect::Finish { .. } => {}
            Effect::Admit { batch } => {
                let admission = match self.random.random_range(0..30) {
                    0 => Admission::Refused {
                        back_at: self.now.plus(1_000),
                        last_error: None,
                    },
                    1 => Admission::Probe,
                    _ => Admission::Go,
                };
                self.inbox.push_back(Event::BatchDue { batch, admission });
            }
        }
    }

    fn answered(&mut self, answer: &Answer) {
        self.agent.waiting = false;
        self.agent.in_batch = false;
        match answer {
            Answer::Batch(answer) => {
                for item in &answer.items {
                    if let Progress::Ended(end) = &item.progress
                        && end.status == batch::Status::Succeeded
                    {
                        let what = format!("{}:{}", answer.tool, item.id);
                        self.agent.has.insert(what);
                    }
                }
                if let Verdict::Stop { .. } = answer.verdict {
                    self.agent.alive = false;
                }
            }
            Answer::Reserved { reservation, .. } => self.agent.reservation = Some(*reservation),
            Answer::Turn {
                verdict: Verdict::Stop { .. },
                ..
            }
            | Answer::Tool {
                verdict: Verdict::Stop { .. },
                ..
            }
            | Answer::Stopping { .. } => self.agent.alive = false,
            Answer::Turn { .. } => {
                self.agent.has.clear();
                if self
                    .state
                    .as_ref()
                    .is_some_and(|state| state.done.is_some())
                {
                    self.agent.alive = false;
                }
            }
            Answer::Tool {
                class: Class::Success,
                ..
            } => {
                self.agent.has.extend(self.agent.asked.take());
            }
            // Anything else it may try again: a failure, or the question whether
            // this is what was done before the crash (it is another item).
            _ => {}
        }
    }

    /// A tool runs: it may work, fail before its effect, or go silent before or
    /// after it.
    ///
    /// - `teller`: the request that tells of it, where the agent carries it out.
    fn execute(&mut self, call: CallId, attempt: u32, teller: Option<u64>) {
        let open = self
            .live()
            .calls
            .get(&call)
            .cloned()
            .expect("it was just admitted");
        if let Some(members) = &open.batch {
            return self.execute_items(call, attempt, &open, members);
        }
        let what = format!("{}:{}", open.tool, item(&open.args));
        let fate = self.random.random_range(0..10);
        let (class, delivery) = match fate {
            0 => (Class::Transient, Delivery::NeverSent),
            1 => (Class::Transient, Delivery::Unknown),
            2 => (Class::Semantic, Delivery::Answered),
            _ if open.is_lent && teller.is_none() => (Class::Transient, Delivery::Unknown),
            _ => (Class::Success, Delivery::Answered),
        };
        let silent_after_effect = delivery == Delivery::Unknown && self.random.random_bool(0.5);
        if class == Class::Success || silent_after_effect {
            self.take_effect(&open.tool, &what);
        }
        if self.crashes_now() {
            return self.crash();
        }
        let content = Content {
            text: format!("{class:?} of {what}"),
            is_error: class != Class::Success,
            ..Content::default()
        };
        let kind = match class {
            Class::Success => ErrorKind::None,
            Class::Semantic => ErrorKind::Semantic,
            _ => ErrorKind::Transport,
        };
        let text = content.text.clone().into();
        let traits = ToolTraits::default();
        self.inbox.push_back(Event::ToolEnded(ToolEnd {
            call,
            attempt,
            request: teller,
            judged: judged(class, &what),
            delivery,
            print: Print::of(
                &open.tool,
                &open.args,
                &text,
                content.is_error,
                kind,
                &traits,
            ),
            content,
            took_ms: 5,
            draw: self.random.random(),
            items: vec![],
        }));
    }

    /// A tool runs that takes several items: each has a fate of its own, unless the
    /// whole call goes wrong. Some answers do not mention an item.
    fn execute_items(&mut self, call: CallId, attempt: u32, open: &Call, members: &Members) {
        let batch = self.live().batches[&members.batch].clone();
        // The call as a whole: cut off, never begun, refused, or answered.
        let whole = match self.random.random_range(0..20) {
            0 => Some((Class::Transient, Delivery::Unknown)),
            1 => Some((Class::Transient, Delivery::NeverSent)),
            2 => Some((Class::Semantic, Delivery::Answered)),
            _ => None,
        };
        let is_cut_off = matches!(whole, Some((_, Delivery::Unknown)));
        let is_done = whole.is_none() || is_cut_off;
        let reached = members.items.iter().filter(|_| is_done);
        let mut items = Vec::new();
        for place in reached {
            let what = format!("{}:{}", open.tool, batch.items[*place].id);
            let (class, delivery) = match self.random.random_range(0..12) {
                0 => (Class::Transient, Delivery::Answered),
                1 => (Class::Transient, Delivery::Unknown),
                2 => (Class::Semantic, Delivery::Answered),
                _ if is_cut_off => (Class::Transient, Delivery::Unknown),
                _ => (Class::Success, Delivery::Answered),
            };
            let unseen = delivery == Delivery::Unknown && self.random.random_bool(0.5);
            if class == Class::Success || unseen {
                self.take_effect(&open.tool, &what);
            }
            items.push(ItemAnswer {
                item: *place,
                judged: judged(class, &what),
                delivery,
                content: Content {
                    text: format!("{class:?} of {what}"),
                    is_error: class != Class::Success,
                    ..Content::default()
                },
            });
            if self.crashes_now() {
                return self.crash();
            }
        }
        let nothing = serde_json::Value::Null;
        let traits = ToolTraits::default();
        let (class, delivery) = whole.unwrap_or((Class::Partial, Delivery::Answered));
        self.inbox.push_back(Event::ToolEnded(ToolEnd {
            call,
            attempt,
            request: None,
            judged: judged(class, &open.tool),
            delivery,
            print: Print::of(
                &open.tool,
                &open.args,
                &nothing,
                false,
                ErrorKind::None,
                &traits,
            ),
            content: Content::default(),
            took_ms: 5,
            draw: self.random.random(),
            // What did not answer says nothing about its items.
            items: if whole.is_some() { vec![] } else { items },
        }));
    }

    /// The outside: a tool with a native key ignores what it did before.
    fn take_effect(&mut self, tool: &str, what: &str) {
        if self.policy.tools[tool].approve == Approve::Always {
            let (_, item) = what.split_once(':').expect("tool:item");
            let args = serde_json::json!({ "item": item }).to_string();
            assert!(
                self.humans.has_approved(&args),
                "seed {}: {what} was not approved",
                self.seed
            );
        }
        let native = self.policy.tools[tool].settle.is_native();
        let times = self.effects.entry(what.to_owned()).or_default();
        *times = if native { 1 } else { *times + 1 };
        let reads = self.policy.risk(tool) == Risk::Read;
        assert!(
            reads || *times == 1,
            "seed {}: {what} took effect {times} times",
            self.seed
        );
    }

    /// Whether an in-doubt call had happened: the outside knows.
    fn truth(&self, call: CallId) -> Settlement {
        let state = self.live();
        let open = state.calls.get(&call).or_else(|| state.in_doubt.get(&call));
        let open = open.expect("it is in doubt");
        let what = format!("{}:{}", open.tool, item(&open.args));
        if self.effects.contains_key(&what) {
            let content = Content {
                text: format!("Success of {what}"),
                ..Content::default()
            };
            Settlement::Happened { content }
        } else {
            Settlement::NotHappened
        }
    }

    /// Settles a call of a dead attempt, as the resume does.
    fn settle_dead(&mut self, call: CallId, settle: Settle) {
        let (settlement, by) = match settle {
            Settle::NativeKey => {
                // Carried out once more under its own key.
                let open = self.live().in_doubt[&call].clone();
                let what = format!("{}:{}", open.tool, item(&open.args));
                self.take_effect(&open.tool, &what);
                if self.crashes_now() {
                    return self.crash();
                }
                (self.truth(call), SettledBy::NativeKey)
            }
            Settle::Probe => (self.truth(call), SettledBy::Probe),
            Settle::CallAgain | Settle::Human => (self.truth(call), SettledBy::Human),
        };
        self.feed(Event::Settled {
            call,
            settlement,
            by,
        });
    }

    fn crashes_now(&mut self) -> bool {
        self.random.random_range(0..100) < self.crash_percent
    }

    /// Everything that is not on the disk is gone.
    fn crash(&mut self) {
        self.crashes += 1;
        self.state = None;
        self.inbox.clear();
        self.agent.alive = false;
        // Even a world of crashes lets a run end.
        if self.journal.len() > EVENTS_MAX / 4 {
            self.crash_percent = 0;
        }
    }

    /// No write took effect twice; if the run is done, none is missing.
    fn check_effects(&self, done: bool) {
        let writes: BTreeSet<&str> = TOOLS[1..].iter().copied().collect();
        for (what, times) in &self.effects {
            let tool = what.split(':').next().unwrap_or_default();
            assert!(
                !writes.contains(tool) || *times == 1,
                "seed {}: {what} × {times}",
                self.seed
            );
        }
        // Work that was not accepted, or lost with its copy, is gone on with at a later
        // step; what was taken back before then is not asked for again.
        let is_behind = self.live().step.0 > self.agent.steps;
        let is_taken_back = is_behind && !self.undone.is_empty();
        if done && !is_taken_back {
            let last = self.agent.steps - 1;
            let items = wanted_items(last).into_iter();
            let items = items.flat_map(|(tool, items)| {
                items.into_iter().map(move |item| format!("{tool}:{item}"))
            });
            for what in wanted(last).into_iter().chain(items) {
                assert!(
                    self.effects.contains_key(&what),
                    "seed {}: {what} is missing",
                    self.seed
                );
            }
        }
    }
}

fn undo_end(call: CallId, class: Class, delivery: Delivery) -> UndoEnd {
    UndoEnd {
        call,
        judged: Judged {
            class,
            retry_after_ms: None,
            rule: "sim".into(),
            why: "so the world wants".into(),
            evidence: String::new(),
        },
        delivery,
        took_ms: 1,
        draw: 7,
    }
}

/// What the last step wants to have happened.
fn wanted(step: u64) -> Vec<String> {
    (0..step % 3 + 1)
        .map(|number| format!("{}:{step}-{number}", TOOLS[((step + number) % 5) as usize]))
        .collect()
}

/// The items that every second step wants to have done, and their tool.
fn wanted_items(step: u64) -> Option<(&'static str, Vec<String>)> {
    let tool = TOOLS[(step / 2 % 4) as usize];
    let items = (0..step % 5 + 2).map(|number| format!("b{step}-{number}"));
    (step % 2 == 1).then(|| (tool, items.collect()))
}

fn judged(class: Class, evidence: &str) -> Judged {
    Judged {
        class,
        retry_after_ms: None,
        rule: "sim".into(),
        why: "so the world wants".into(),
        evidence: evidence.to_owned(),
    }
}

fn item(args: &serde_json::Value) -> &str {
    args["item"].as_str().unwrap_or_default()
}
