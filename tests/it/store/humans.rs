//! What every store promises about questions to humans and messages to them.

use agentguard::clock::UnixMs;
use agentguard::ids::EscalationId;
use agentguard::store::human::OnlyIf;
use agentguard::store::{
    Draft, Error, Letter, Memory, NewQuestion, Posted, QuestionChange, QuestionRuling, Store,
};

use super::contract::{House, OnDisk, on_every_store};
use super::support::{Scratch, event, new_run, run_id};

on_every_store! {
    of_many_that_decide_exactly_one_does
    an_answer_meets_the_deadline_in_either_order
    a_question_is_seen_first_by_one
    a_message_comes_with_its_event_and_stays_until_it_is_sent
}

fn question(number: u64, deadline: Option<i64>) -> Draft {
    let mut draft = event(1);
    draft.questions = vec![QuestionChange::Open(NewQuestion {
        id: EscalationId::from_bits(number),
        opened: UnixMs(10),
        deadline: deadline.map(UnixMs),
        body: format!("{{\"n\":{number}}}"),
    })];
    draft
}

fn ruling(by: &str, at: i64) -> QuestionRuling {
    QuestionRuling {
        option: format!("option of {by}"),
        note: None,
        by: by.into(),
        at: UnixMs(at),
        source: "answer".into(),
        token: None,
    }
}

fn of_many_that_decide_exactly_one_does(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    store.append(&own, question(7, None)).wait().unwrap();
    let id = EscalationId::from_bits(7);
    let handles: Vec<_> = (0..8).map(|_| house.store()).collect();
    let decided: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = handles
            .iter()
            .enumerate()
            .map(|(number, store)| {
                let (id, by) = (id.clone(), format!("h{number}"));
                scope.spawn(move || store.decide(&id, ruling(&by, 20), None).wait().unwrap())
            })
            .collect();
        tries.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(decided.iter().filter(|it| it.is_ours).count(), 1);
    let first = decided[0].row.ruling.clone();
    assert!(
        decided.iter().all(|it| it.row.ruling == first),
        "{decided:#?}"
    );
    // An event that closes it comes too late, too.
    let mut closing = event(2);
    closing.questions = vec![QuestionChange::Close {
        id: id.clone(),
        ruling: ruling("late", 30),
    }];
    store.append(&own, closing).wait().unwrap();
    let rows = house
        .store()
        .questions(Some(&run_id(1)), "e-", false)
        .unwrap();
    assert_eq!((rows.len(), &rows[0].ruling), (1, &first));
    assert!(store.questions(None, "", true).unwrap().is_empty());
    let unknown = EscalationId::from_bits(8);
    let missing = store.decide(&unknown, ruling("a", 1), None).wait();
    assert!(matches!(missing, Err(Error::NoSuchQuestion { .. })));
}

fn an_answer_meets_the_deadline_in_either_order(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let default = || Some(ruling("the deadline", 100));
    for (number, first, at, want) in [
        (1, "anna", 99, "anna"),
        (2, "anna", 100, "anna"),
        (3, "the deadline", 100, "the deadline"),
        (4, "anna", 101, "the deadline"),
    ] {
        store
            .append(&own, question(number, Some(100)))
            .wait()
            .unwrap();
        let id = EscalationId::from_bits(number);
        let decided = store
            .decide(&id, ruling(first, at), default())
            .wait()
            .unwrap();
        let stands = decided.row.ruling.unwrap();
        assert_eq!(stands.by, want, "row: {number}");
        assert_eq!(decided.is_ours, first == want, "row: {number}");
        let second = store
            .decide(&id, ruling("bo", 100), default())
            .wait()
            .unwrap();
        assert_eq!(
            (second.is_ours, second.row.ruling.unwrap()),
            (false, stands)
        );
    }
}

fn a_question_is_seen_first_by_one(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    store.append(&own, question(7, None)).wait().unwrap();
    let id = EscalationId::from_bits(7);
    for by in ["anna", "bo"] {
        let row = house
            .store()
            .acknowledge(&id, by, UnixMs(20))
            .wait()
            .unwrap();
        assert_eq!(row.seen, Some(("anna".into(), UnixMs(20))));
    }
}

fn letter(id: &str, only_if: Option<bool>) -> Letter {
    Letter {
        id: id.into(),
        due: UnixMs(10),
        body: "{}".into(),
        only_if: only_if.map(|wanted| -> OnlyIf { Box::new(move |_| wanted) }),
    }
}

fn a_message_comes_with_its_event_and_stays_until_it_is_sent(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut draft = event(1);
    draft.letters = vec![
        letter("a", None),
        letter("b", Some(true)),
        letter("c", Some(false)),
    ];
    store.append(&own, draft).wait().unwrap();
    let ids = |store: &dyn Store| -> Vec<String> {
        store
            .letters(Some(&run_id(1)))
            .unwrap()
            .into_iter()
            .map(|row| row.id)
            .collect()
    };
    assert_eq!(ids(&*house.store()), ["a", "b"]);
    let claim = |at| {
        house
            .store()
            .claim_letter("a", UnixMs(at), UnixMs(at + 50))
            .wait()
            .unwrap()
    };
    assert!(!claim(9), "it is not due");
    assert!(claim(10));
    assert!(!claim(59), "somebody has it");
    assert!(claim(60), "who had it is gone");
    let failed = Posted::Failed {
        error: "500".into(),
        again: Some(UnixMs(200)),
    };
    store.posted("a", failed).wait().unwrap();
    let row = store.letters(None).unwrap().remove(0);
    assert_eq!(
        (row.tries, row.due, row.error.as_deref()),
        (2, UnixMs(200), Some("500"))
    );
    store.posted("a", Posted::Sent).wait().unwrap();
    assert_eq!(ids(&*store), ["b"]);
    drop(own);
    store.remove(&run_id(1)).unwrap();
    assert!(store.letters(None).unwrap().is_empty());
    assert!(store.questions(None, "", false).unwrap().is_empty());
}
