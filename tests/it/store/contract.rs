//! What every store promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agentguard::clock::UnixMs;
use agentguard::ids::{CallId, Epoch, RunId, Seq};
use agentguard::store::conversation::{Head, extend, replace};
use agentguard::store::{
    BreakerEdit, Change, Draft, Error, Filter, GcRules, KeyChange, KeyResult, KeyState, Memory,
    RetryAsk, Store, Summary, Turn, breaker,
};

use super::support::{Scratch, bodies, event, expected, key_use, new_run, run_id};

/// One journal and how to reach it.
pub(super) trait House {
    /// Another handle to the same journal, as another process has.
    fn store(&self) -> Arc<dyn Store>;
    /// Takes the run's lock away from under its owner.
    fn steal(&self, run: &RunId);
}

pub(super) struct OnDisk(pub(super) Scratch);

impl House for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.0.open())
    }

    fn steal(&self, run: &RunId) {
        std::fs::remove_file(self.0.paths().lock(run)).unwrap();
    }
}

impl House for Memory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn steal(&self, _: &RunId) {
        self.crash();
    }
}

macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(&super::OnDisk(super::Scratch::new())); })*
        }
        mod memory {
            $(#[test] fn $name() { super::$name(&super::Memory::default()); })*
        }
    };
}

pub(super) use on_every_store;

on_every_store! {
    events_come_back_in_order_and_byte_for_byte
    what_may_lag_keeps_its_place
    a_reply_is_kept_with_its_event
    a_pending_answer_is_a_future
    a_run_is_created_once
    a_run_has_one_owner_at_a_time
    an_ownership_ends_when_it_is_dropped
    a_late_write_of_a_former_owner_is_refused
    messages_are_stored_once_and_shared
    a_rewritten_history_keeps_the_former_one_readable
    a_message_without_parent_is_refused_with_its_event_and_all_after_it
    of_two_that_claim_a_key_one_gets_it
    a_key_belongs_to_its_event
    a_call_in_doubt_is_taken_over_once
    of_many_that_ask_for_the_probe_exactly_one_gets_it
    a_breaker_is_moved_with_its_event
    the_run_served_least_recently_retries_first
    the_turn_of_a_dead_owner_passes_on
    runs_are_found_and_filtered
    a_live_run_is_not_removed
    removing_a_run_keeps_what_others_share_and_its_executed_keys
    gc_removes_by_its_rules_and_nothing_else
    twenty_runs_at_once_through_two_handles
}

fn events_come_back_in_order_and_byte_for_byte(house: &dyn House) {
    let store = house.store();
    let strange = "{\"text\": \"zero \\u0000, caf\u{e9}, \u{1f4a5}\\n\" ,\"n\":1.0}";
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut noted = Draft::new("decided", UnixMs(7), strange);
    noted.notes = vec![r#"{"rule":"http-429"}"#.into(), "not even JSON".into()];
    let in_flight = [
        store.append(&own, noted),
        store.append(&own, event(2)),
        store.append(&own, event(3)),
    ];
    assert_eq!(own.last_seq(), Seq(4));
    for (pending, want) in in_flight.into_iter().zip(2..) {
        assert_eq!(pending.wait().unwrap().seq, Seq(want));
    }
    let events = house.store().events(&run_id(1), Seq(2)).unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].body, strange);
    assert_eq!(events[0].kind, "decided");
    assert_eq!(events[0].at, UnixMs(7));
    assert_eq!(events[0].epoch, Epoch(1));
    assert_eq!(events[0].notes, [r#"{"rule":"http-429"}"#, "not even JSON"]);
    assert!(events[1].notes.is_empty());
    assert!(store.events(&run_id(9), Seq(1)).unwrap().is_empty());
}

fn what_may_lag_keeps_its_place(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let drafts = (1..40).map(|number| Draft {
        may_lag: number % 3 != 0,
        ..event(number)
    });
    let in_flight: Vec<_> = drafts.map(|draft| store.append(&own, draft)).collect();
    for (pending, want) in in_flight.into_iter().zip(2..) {
        assert_eq!(pending.wait().unwrap().seq, Seq(want));
    }
    assert_eq!(bodies(&*store, &run_id(1)), expected(40));
}

fn a_reply_is_kept_with_its_event(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let bytes = b"data: {}\n\n\xff\x00".to_vec();
    let turn = Draft {
        reply: Some(bytes.clone()),
        ..event(1)
    };
    store.append(&own, turn).wait().unwrap();
    assert_eq!(store.reply(&run_id(1), Seq(2)).unwrap(), Some(bytes));
    assert_eq!(store.reply(&run_id(1), Seq(1)).unwrap(), None);
    drop(own);
    store.remove(&run_id(1)).unwrap();
    assert_eq!(store.reply(&run_id(1), Seq(2)).unwrap(), None);
}

fn a_pending_answer_is_a_future(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let two = store.append(&own, event(1));
        let three = store.append(&own, event(2));
        assert_eq!(three.await.unwrap().seq, Seq(3));
        // Waiting with the thread works inside a runtime too.
        assert_eq!(two.wait().unwrap().seq, Seq(2));
    });
}

fn a_run_is_created_once(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    assert_eq!((own.epoch(), own.last_seq()), (Epoch(1), Seq(1)));
    let again = house.store().create(new_run(1), event(5));
    assert!(matches!(again, Err(Error::RunExists { run }) if run == run_id(1)));
    drop(own);
    assert!(store.create(new_run(1), event(5)).is_err());
    assert_eq!(bodies(&*store, &run_id(1)), expected(1));
}

fn a_run_has_one_owner_at_a_time(house: &dyn House) {
    let store = house.store();
    let at = new_run(1).at;
    let own = store.create(new_run(1), event(0)).unwrap();
    for other in [
        store.own(&run_id(1), UnixMs(9)),
        house.store().own(&run_id(1), UnixMs(9)),
    ] {
        match other {
            Err(Error::Held {
                run,
                pid,
                since,
                host,
            }) => {
                assert_eq!((run, since, host), (run_id(1), Some(at), None));
                assert_eq!(pid, Some(std::process::id()));
            }
            other => panic!("not held: {other:?}"),
        }
    }
    let holder = house.store().holder(&run_id(1)).unwrap().unwrap();
    assert_eq!(
        (holder.pid, holder.since),
        (Some(std::process::id()), Some(at))
    );
    drop(own);
    assert_eq!(store.holder(&run_id(1)).unwrap(), None);
    assert!(matches!(
        store.own(&run_id(2), at),
        Err(Error::NoSuchRun { .. })
    ));
}

fn an_ownership_ends_when_it_is_dropped(house: &dyn House) {
    let store = house.store();
    let first = store.create(new_run(1), event(0)).unwrap();
    let unanswered = store.append(&first, event(1));
    drop((first, unanswered));
    let second = store.own(&run_id(1), UnixMs(9)).unwrap();
    assert_eq!((second.epoch(), second.last_seq()), (Epoch(2), Seq(2)));
    store.append(&second, event(2)).wait().unwrap();
    assert_eq!(bodies(&*store, &run_id(1)), expected(3));
    let epochs: Vec<_> = store
        .events(&run_id(1), Seq(1))
        .unwrap()
        .iter()
        .map(|event| event.epoch.0)
        .collect();
    assert_eq!(epochs, [1, 1, 2]);
}

fn a_late_write_of_a_former_owner_is_refused(house: &dyn House) {
    let (store, other) = (house.store(), house.store());
    let former = store.create(new_run(1), event(0)).unwrap();
    house.steal(&run_id(1));
    let present = other.own(&run_id(1), UnixMs(9)).unwrap();
    let mut late = event(66);
    late.keys = vec![KeyChange::Claim(key_use("charge:7", 1))];
    assert!(matches!(
        store.append(&former, late).wait(),
        Err(Error::Superseded { seq: Seq(2), .. })
    ));
    other.append(&present, event(1)).wait().unwrap();
    assert!(store.append(&former, event(67)).wait().is_err());
    assert_eq!(bodies(&*store, &run_id(1)), expected(2));
    assert_eq!(store.key(&key_use("charge:7", 1).key).unwrap(), None);
    // The former owner's end does not end the present one's.
    drop(former);
    assert!(matches!(
        store.own(&run_id(1), UnixMs(9)),
        Err(Error::Held { .. })
    ));
}

/// An event with messages.
fn turn(number: u64, messages: Vec<agentguard::store::Message>) -> Draft {
    let mut draft = event(number);
    draft.messages = messages;
    draft
}

fn messages_are_stored_once_and_shared(house: &dyn House) {
    let store = house.store();
    let (head, messages) = extend(Head::EMPTY, &["\"system\"", "\"user\""]);
    let own = store.create(new_run(1), turn(0, messages.clone())).unwrap();
    let (left, new) = extend(head, &["\"left\""]);
    store.append(&own, turn(1, new)).wait().unwrap();
    // A sub-agent of another run starts from the same two and sends all.
    let other = store.create(new_run(2), turn(0, messages)).unwrap();
    let whole = replace(head, &["\"system\"", "\"user\"", "\"right\""]);
    assert_eq!((whole.kept, whole.rewritten), (2, false));
    let right = whole.head;
    store
        .append(&other, turn(1, whole.messages))
        .wait()
        .unwrap();
    let texts = |head| store.conversation(&head).unwrap();
    assert_eq!(texts(left), ["\"system\"", "\"user\"", "\"left\""]);
    assert_eq!(texts(right), ["\"system\"", "\"user\"", "\"right\""]);
    assert!(texts(Head::EMPTY).is_empty());
    // Four in all: two are shared.
    drop((own, other));
    let gone = [1, 2].map(|run| store.remove(&run_id(run)).unwrap().messages);
    assert_eq!(gone, [1, 3]);
    assert!(matches!(
        store.conversation(&left),
        Err(Error::MissingMessage { .. })
    ));
}

fn a_rewritten_history_keeps_the_former_one_readable(house: &dyn House) {
    let store = house.store();
    let (long, messages) = extend(Head::EMPTY, &["1", "2", "3", "4"]);
    let own = store.create(new_run(1), turn(0, messages)).unwrap();
    let compacted = replace(long, &["1", "\"summary\""]);
    assert!(compacted.rewritten);
    store
        .append(&own, turn(1, compacted.messages))
        .wait()
        .unwrap();
    let rewound = replace(compacted.head, &["1"]);
    let mut draft = event(2);
    draft.head = Some(rewound.head);
    store.append(&own, draft).wait().unwrap();
    assert_eq!(store.conversation(&long).unwrap(), ["1", "2", "3", "4"]);
    assert_eq!(
        store.conversation(&compacted.head).unwrap(),
        ["1", "\"summary\""]
    );
    assert_eq!(store.conversation(&rewound.head).unwrap(), ["1"]);
    drop(own);
    assert_eq!(store.remove(&run_id(1)).unwrap().messages, 5);
}

fn a_message_without_parent_is_refused_with_its_event_and_all_after_it(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let (nowhere, _) = extend(Head::EMPTY, &["never stored"]);
    let (_, orphans) = extend(nowhere, &["\"orphan\""]);
    let mut orphaned = turn(1, orphans);
    orphaned.keys = vec![KeyChange::Claim(key_use("charge:7", 1))];
    orphaned.breakers = vec![BreakerEdit::new("tool:a", UnixMs(1), |_| {
        Change::Put("1".into())
    })];
    let (refused, after) = (store.append(&own, orphaned), store.append(&own, event(2)));
    assert!(matches!(refused.wait(), Err(Error::MissingMessage { hash }) if hash == nowhere.hash));
    assert!(matches!(
        after.wait(),
        Err(Error::Broken { seq: Seq(3), .. })
    ));
    assert_eq!(bodies(&*store, &run_id(1)), expected(1));
    assert_eq!(store.key(&key_use("charge:7", 1).key).unwrap(), None);
    assert!(store.breakers().unwrap().is_empty());
    // What is stored can be gone on from.
    drop(own);
    let own = store.own(&run_id(1), UnixMs(9)).unwrap();
    assert_eq!(store.append(&own, event(1)).wait().unwrap().seq, Seq(2));
}

fn with_key(number: u64, change: KeyChange) -> Draft {
    let mut draft = event(number);
    draft.keys = vec![change];
    draft
}

fn executed(key: &str, call: u64, text: &str) -> KeyChange {
    KeyChange::Execute {
        key_use: key_use(key, call),
        verdict: "success".into(),
        result: KeyResult::Inline(text.into()),
    }
}

fn of_two_that_claim_a_key_one_gets_it(house: &dyn House) {
    let stores = [house.store(), house.store()];
    let owns: Vec<_> = (0..2)
        .map(|run| stores[run].create(new_run(run as u64), event(0)).unwrap())
        .collect();
    let claims: Vec<_> = (0..2)
        .map(|run| {
            stores[run].append(
                &owns[run],
                with_key(1, KeyChange::Claim(key_use("charge:7", 4))),
            )
        })
        .collect();
    let lost: Vec<_> = claims
        .into_iter()
        .map(|claim| claim.wait().unwrap().lost)
        .collect();
    let winner = usize::from(lost[0].len() == 1);
    assert!(lost[winner].is_empty());
    assert_eq!(lost[1 - winner][0].run, run_id(winner as u64));
    assert_eq!(lost[1 - winner][0].state, KeyState::Claimed);
    // The event of the one that lost is stored all the same.
    assert_eq!(bodies(&*stores[0], &run_id(1 - winner as u64)), expected(2));
    stores[winner]
        .append(&owns[winner], with_key(2, executed("charge:7", 4, "paid")))
        .wait()
        .unwrap();
    let repeat = with_key(2, KeyChange::Claim(key_use("charge:7", 5)));
    let lost = stores[1 - winner]
        .append(&owns[1 - winner], repeat)
        .wait()
        .unwrap()
        .lost;
    let recorded = KeyState::Executed {
        verdict: "success".into(),
        result: KeyResult::Inline("paid".into()),
    };
    assert_eq!(lost[0].state, recorded);
}

fn a_key_belongs_to_its_event(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    for (number, key) in [(1, "a"), (2, "b"), (3, "c")] {
        let claim = with_key(number, KeyChange::Claim(key_use(key, number)));
        store.append(&own, claim).wait().unwrap();
    }
    store
        .append(&own, with_key(4, executed("a", 1, "{}")))
        .wait()
        .unwrap();
    let free = KeyChange::Free {
        key: key_use("c", 3).key,
        call: CallId(3),
    };
    store.append(&own, with_key(5, free)).wait().unwrap();
    let doubtful = store.claims(&run_id(1)).unwrap();
    assert_eq!(doubtful.len(), 1);
    assert_eq!(doubtful[0].key_use, key_use("b", 2));
    assert_eq!(doubtful[0].at, UnixMs(2));
    assert!(store.forget_key(&key_use("b", 2).key).wait().unwrap());
    assert!(!store.forget_key(&key_use("b", 2).key).wait().unwrap());
    assert!(store.claims(&run_id(1)).unwrap().is_empty());
}

fn a_call_in_doubt_is_taken_over_once(house: &dyn House) {
    let store = house.store();
    let dead = store.create(new_run(1), event(0)).unwrap();
    let claim = with_key(1, KeyChange::Claim(key_use("charge:7", 4)));
    store.append(&dead, claim).wait().unwrap();
    drop(dead);
    let take_over = |run: u64| {
        let own = store.create(new_run(run), event(0)).unwrap();
        let change = KeyChange::TakeOver {
            key_use: key_use("charge:7", 1),
            from_run: run_id(1),
            from_call: CallId(4),
        };
        store.append(&own, with_key(1, change)).wait().unwrap().lost
    };
    assert!(take_over(2).is_empty());
    assert_eq!(take_over(3)[0].run, run_id(2));
}

/// The breaker as a toy: it opens its probe to whoever asks first.
fn ask_for_probe(state: Option<&str>) -> (Change, bool) {
    match state {
        Some("half-open") => (Change::Put("probing".into()), true),
        _ => (Change::Keep, false),
    }
}

fn of_many_that_ask_for_the_probe_exactly_one_gets_it(house: &dyn House) {
    let opener = house.store();
    let edit = BreakerEdit::new("tool:weather", UnixMs(1), |state| {
        assert_eq!(state, None);
        Change::Put("half-open".into())
    });
    let after = opener.edit_breaker(edit).wait().unwrap();
    assert_eq!(after.as_deref(), Some("half-open"));
    let probes = AtomicU32::new(0);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let store = Arc::clone(&opener);
                for _ in 0..5 {
                    let got =
                        breaker::decide_now(&*store, "tool:weather", UnixMs(2), ask_for_probe);
                    probes.fetch_add(u32::from(got.unwrap()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(probes.into_inner(), 1);
    let rows = house.store().breakers().unwrap();
    assert_eq!(
        (rows[0].name.as_str(), rows[0].state.as_str()),
        ("tool:weather", "probing")
    );
    assert_eq!(rows[0].at, UnixMs(2));
    let reset = BreakerEdit::new("tool:weather", UnixMs(3), |_| Change::Remove);
    assert_eq!(opener.edit_breaker(reset).wait().unwrap(), None);
    assert!(opener.breakers().unwrap().is_empty());
}

fn a_breaker_is_moved_with_its_event(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut draft = event(1);
    draft.breakers = ["tool:a", "tool:b"]
        .map(|name| BreakerEdit::new(name, UnixMs(1), |_| Change::Put("closed".into())))
        .into();
    draft
        .breakers
        .push(BreakerEdit::new("tool:a", UnixMs(1), |state| {
            Change::Put(format!("{}, one failure", state.unwrap_or("none")))
        }));
    let committed = store.append(&own, draft).wait().unwrap();
    let states: Vec<_> = committed
        .breakers
        .iter()
        .map(|state| state.as_deref().unwrap())
        .collect();
    assert_eq!(states, ["closed", "closed", "closed, one failure"]);
}

fn the_run_served_least_recently_retries_first(house: &dyn House) {
    let store = house.store();
    let owns: Vec<_> = (0..2)
        .map(|run| store.create(new_run(run), event(0)).unwrap())
        .collect();
    let ask = |call, due| RetryAsk {
        tool: "weather".into(),
        call: CallId(call),
        due: UnixMs(due),
    };
    // The first run queues three retries before the second queues one.
    let greedy: Vec<_> = (1..4)
        .map(|call| store.enqueue(&owns[0], ask(call, 10)).wait().unwrap())
        .collect();
    let modest = store.enqueue(&owns[1], ask(1, 11)).wait().unwrap();
    let turn = |run: usize, ticket| {
        store
            .take_turn(&owns[run], ticket, UnixMs(20), 1)
            .wait()
            .unwrap()
    };
    assert_eq!(
        store
            .take_turn(&owns[0], greedy[0], UnixMs(9), 1)
            .wait()
            .unwrap(),
        Turn::Wait {
            ahead: 0,
            due: UnixMs(10)
        }
    );
    assert_eq!(turn(0, greedy[0]), Turn::Granted);
    assert_eq!(
        turn(1, modest),
        Turn::Wait {
            ahead: 1,
            due: UnixMs(11)
        }
    );
    store.leave(&owns[0], greedy[0]).wait().unwrap();
    assert_eq!(
        turn(0, greedy[1]),
        Turn::Wait {
            ahead: 1,
            due: UnixMs(10)
        }
    );
    assert_eq!(turn(1, modest), Turn::Granted);
    store.leave(&owns[1], modest).wait().unwrap();
    assert_eq!(turn(0, greedy[1]), Turn::Granted);
    // A ticket is its run's alone, and gone once it left.
    for (run, ticket) in [(1, greedy[2]), (0, greedy[0])] {
        let answer = store.take_turn(&owns[run], ticket, UnixMs(20), 9).wait();
        assert!(matches!(answer, Err(Error::NoSuchTicket { .. })));
    }
}

fn the_turn_of_a_dead_owner_passes_on(house: &dyn House) {
    let store = house.store();
    let mut owns: Vec<_> = (0..3)
        .map(|run| Some(store.create(new_run(run), event(0)).unwrap()))
        .collect();
    let enqueue = |own: &Option<_>| {
        let ask = RetryAsk {
            tool: "weather".into(),
            call: CallId(1),
            due: UnixMs(1),
        };
        store.enqueue(own.as_ref().unwrap(), ask).wait().unwrap()
    };
    let tickets: Vec<_> = owns.iter().map(enqueue).collect();
    let turn = |own: &Option<_>, ticket| {
        store
            .take_turn(own.as_ref().unwrap(), ticket, UnixMs(2), 1)
            .wait()
            .unwrap()
    };
    assert_eq!(turn(&owns[0], tickets[0]), Turn::Granted);
    assert_eq!(
        turn(&owns[2], tickets[2]),
        Turn::Wait {
            ahead: 2,
            due: UnixMs(1)
        }
    );
    // One dies with the turn, the next in line is taken over by a new owner.
    owns[0] = None;
    owns[1] = None;
    owns[1] = Some(store.own(&run_id(1), UnixMs(2)).unwrap());
    assert_eq!(turn(&owns[2], tickets[2]), Turn::Granted);
}

fn runs_are_found_and_filtered(house: &dyn House) {
    let store = house.store();
    assert!(matches!(store.find("latest"), Err(Error::NoSuchRun { .. })));
    for (number, task, status) in [
        (0x10, "a", "done"),
        (0x11, "b", "failed"),
        (0x40_0000_0000, "a", "done"),
    ] {
        let mut new = new_run(number);
        new.task = task.into();
        let own = store.create(new, event(0)).unwrap();
        let mut end = event(1);
        end.summary = Some(Summary {
            status: status.into(),
            exit_code: Some(20),
            ended: Some(UnixMs(99)),
            body: r#"{"cost":1}"#.into(),
        });
        store.append(&own, end).wait().unwrap();
    }
    let latest = store.find("latest").unwrap();
    assert_eq!(latest.new.run, run_id(0x40_0000_0000));
    assert_eq!(
        (latest.epoch, latest.last_seq, latest.last_at),
        (Epoch(1), Seq(2), UnixMs(1))
    );
    assert_eq!(
        (latest.summary.exit_code, latest.summary.ended),
        (Some(20), Some(UnixMs(99)))
    );
    assert_eq!(latest.summary.body, r#"{"cost":1}"#);
    let whole = run_id(0x11).to_string();
    for (asked, want) in [
        (&*whole, 0x11),
        ("8", 0x40_0000_0000),
        ("r-8", 0x40_0000_0000),
    ] {
        assert_eq!(
            store.find(asked).unwrap().new.run,
            run_id(want),
            "row: {asked}"
        );
    }
    match store.find("r-0000") {
        Err(Error::Ambiguous { matches, .. }) => assert_eq!(matches, [run_id(0x11), run_id(0x10)]),
        other => panic!("not ambiguous: {other:?}"),
    }
    for nothing in ["", "r-", "r-zzz", "'; --", "latest ", "%", "*"] {
        match store.find(nothing) {
            Err(Error::NoSuchRun { asked }) => assert_eq!(asked, nothing),
            other => panic!("row: {nothing}: {other:?}"),
        }
    }
    let listed = |filter: Filter| {
        let runs = store.runs(&filter).unwrap();
        runs.into_iter()
            .map(|record| record.new.run)
            .collect::<Vec<_>>()
    };
    let of = |numbers: &[u64]| {
        numbers
            .iter()
            .map(|number| run_id(*number))
            .collect::<Vec<_>>()
    };
    let all = Filter::default();
    assert_eq!(listed(all.clone()), of(&[0x40_0000_0000, 0x11, 0x10]));
    assert_eq!(
        listed(Filter {
            limit: Some(2),
            ..all.clone()
        }),
        of(&[0x40_0000_0000, 0x11])
    );
    assert_eq!(
        listed(Filter {
            task: Some("a".into()),
            ..all.clone()
        }),
        of(&[0x40_0000_0000, 0x10])
    );
    assert_eq!(
        listed(Filter {
            statuses: vec!["failed".into(), "x".into()],
            ..all.clone()
        }),
        of(&[0x11])
    );
    assert_eq!(
        listed(Filter {
            since: Some(UnixMs(1_000 + 0x11)),
            ..all
        }),
        of(&[0x40_0000_0000, 0x11])
    );
}

fn a_live_run_is_not_removed(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), ended(0, 5)).unwrap();
    assert!(matches!(
        house.store().remove(&run_id(1)),
        Err(Error::Held { .. })
    ));
    let rules = GcRules {
        keep: Some(0),
        ..GcRules::default()
    };
    assert!(house.store().gc(&rules).unwrap().runs.is_empty());
    store.append(&own, event(1)).wait().unwrap();
    assert_eq!(bodies(&*store, &run_id(1)), expected(2));
    assert!(matches!(
        store.remove(&run_id(2)),
        Err(Error::NoSuchRun { .. })
    ));
}

fn ended(number: u64, at: i64) -> Draft {
    let mut draft = event(number);
    draft.summary = Some(Summary {
        status: "done".into(),
        exit_code: Some(0),
        ended: Some(UnixMs(at)),
        body: String::new(),
    });
    draft
}

fn removing_a_run_keeps_what_others_share_and_its_executed_keys(house: &dyn House) {
    let store = house.store();
    let (head, messages) = extend(Head::EMPTY, &["\"shared\"", "\"own\""]);
    let mut draft = turn(0, messages.clone());
    draft.keys = vec![
        executed("charge:7", 1, "paid"),
        KeyChange::Claim(key_use("charge:8", 2)),
    ];
    let going = store.create(new_run(1), draft).unwrap();
    let staying = store
        .create(new_run(2), turn(0, messages[..1].to_vec()))
        .unwrap();
    drop(going);
    let collected = store.remove(&run_id(1)).unwrap();
    assert_eq!((collected.runs, collected.messages), (vec![run_id(1)], 1));
    assert!(store.events(&run_id(1), Seq(1)).unwrap().is_empty());
    assert!(matches!(
        store.own(&run_id(1), UnixMs(9)),
        Err(Error::NoSuchRun { .. })
    ));
    assert!(store.conversation(&head).is_err());
    assert_eq!(
        store.conversation(&messages[0].head).unwrap(),
        ["\"shared\""]
    );
    for key in ["charge:7", "charge:8"] {
        assert!(store.key(&key_use(key, 1).key).unwrap().is_some());
    }
    // The id may come back; the former run's number does not.
    let again = store.create(new_run(1), event(0)).unwrap();
    assert_eq!(bodies(&*store, &run_id(1)), expected(1));
    drop((staying, again));
}

fn gc_removes_by_its_rules_and_nothing_else(house: &dyn House) {
    let store = house.store();
    for run in 1..=4 {
        let (_, messages) = extend(Head::EMPTY, &[format!("\"{run}\"")]);
        let mut draft = ended(0, run * 10);
        draft.messages = messages;
        draft.keys = vec![
            executed(&format!("k{run}"), 1, "{}"),
            KeyChange::Claim(key_use(&format!("c{run}"), 2)),
        ];
        draft.at = UnixMs(run * 10);
        drop(store.create(new_run(run as u64), draft).unwrap());
    }
    drop(store.create(new_run(5), event(0)).unwrap());
    let nothing = store.gc(&GcRules::default()).unwrap();
    assert_eq!(nothing, Default::default());
    let old = store
        .gc(&GcRules {
            ended_before: Some(UnixMs(15)),
            ..GcRules::default()
        })
        .unwrap();
    assert_eq!((old.runs, old.messages, old.keys), (vec![run_id(1)], 1, 0));
    let kept = store
        .gc(&GcRules {
            keep: Some(1),
            keys_before: Some(UnixMs(25)),
            ..GcRules::default()
        })
        .unwrap();
    assert_eq!(
        (kept.runs, kept.messages, kept.keys),
        (vec![run_id(3), run_id(2)], 2, 2)
    );
    let left: Vec<_> = store
        .runs(&Filter::default())
        .unwrap()
        .into_iter()
        .map(|record| record.new.run)
        .collect();
    assert_eq!(left, [run_id(5), run_id(4)]);
    assert!(
        store.key(&key_use("c1", 2).key).unwrap().is_some(),
        "a call in doubt is not forgotten"
    );
    assert!(store.key(&key_use("k3", 1).key).unwrap().is_some());
}

fn twenty_runs_at_once_through_two_handles(house: &dyn House) {
    const RUNS: u64 = 20;
    const EVENTS: u64 = 30;
    let stores = [house.store(), house.store()];
    std::thread::scope(|threads| {
        for run in 0..RUNS {
            let store = &stores[run as usize % 2];
            threads.spawn(move || {
                let own = store.create(new_run(run), event(0)).unwrap();
                let mut head = Head::EMPTY;
                let mut last = None;
                for number in 1..EVENTS {
                    let (next, messages) = extend(head, &[format!("\"{}\"", number / 2)]);
                    head = next;
                    // Several in flight; only the last is waited for.
                    last = Some(store.append(&own, turn(number, messages)));
                }
                assert_eq!(last.unwrap().wait().unwrap().seq, Seq(EVENTS));
                assert_eq!(store.conversation(&head).unwrap().len() as u64, EVENTS - 1);
            });
        }
    });
    let fresh = house.store();
    for run in 0..RUNS {
        assert_eq!(bodies(&*fresh, &run_id(run)), expected(EVENTS));
    }
}
