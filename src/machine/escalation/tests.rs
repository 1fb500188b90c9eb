use std::collections::BTreeMap;

use super::*;
use crate::ids::AttemptNo;
use crate::machine::event::Exit;
use crate::machine::{Cause, Effect, Event, How, Outcome, Phase, Policy, Resume, advance, resume};
use crate::policy::budget::Limits;
use crate::policy::escalation::{Config, Terms};

const MINUTE: u64 = 60_000;

fn policy() -> Policy {
    let terms = Terms {
        deadline_ms: Some(MINUTE),
        default: None,
    };
    Policy {
        limits: Limits {
            deadline_ms: Some(10 * MINUTE),
            ..Limits::default()
        },
        escalation: Config {
            terms: BTreeMap::from([(Kind::Agent, terms)]),
            ..Config::default()
        },
        speaks: true,
        ..Policy::default()
    }
}

/// A run whose agent has just been started.
fn running(policy: &Policy) -> State {
    let created = Event::Created {
        name: "t".into(),
        input_hash: String::new(),
        seed: 7,
    };
    let started = Event::AttemptStarted {
        attempt: AttemptNo(1),
        cause: Cause::Fresh,
        note: None,
        how: How::Replay,
    };
    let (state, _) = advance(None, UnixMs(0), created, policy);
    advance(Some(state), UnixMs(0), started, policy).0
}

fn ask(question: &str, reversible: bool) -> Ask {
    Ask {
        key: question.into(),
        question: question.into(),
        reversible,
        ..Ask::default()
    }
}

fn asks(state: State, at: i64, request: u64, ask: Ask) -> (State, Vec<Effect>) {
    let (request, ask) = (Some(request), Box::new(ask));
    advance(
        Some(state),
        UnixMs(at),
        Event::Escalated {
            request,
            ask,
            played: None,
        },
        &policy(),
    )
}

fn rules(state: State, at: i64, option: &str) -> (State, Vec<Effect>) {
    let event = Event::Decided {
        escalation: state.questions[0].what.id.clone(),
        ruling: Ruling {
            option: option.into(),
            note: None,
            by: "anna".into(),
            at: UnixMs(at),
            source: Source::Answer,
        },
    };
    advance(Some(state), UnixMs(at), event, &policy())
}

/// The requests that are told a decision, and which.
fn told(effects: &[Effect]) -> Vec<(u64, String, bool)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Reply {
            request,
            answer: Answer::Ruled(told),
        } => Some((*request, told.ruling.option.clone(), told.is_recorded)),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_question_asked_twice_is_one_and_its_record_answers() {
    let (state, effects) = asks(running(&policy()), 10, 1, ask("May I?", true));
    assert!(effects.iter().any(|it| matches!(it, Effect::Escalate(_))));
    let (state, effects) = asks(state, 20, 2, ask("May I?", true));
    assert_eq!(effects, []);
    assert_eq!(state.questions.len(), 1);
    let (state, effects) = rules(state, 30, "no");
    let both = [(1, "no".to_owned(), false), (2, "no".to_owned(), false)];
    assert_eq!(told(&effects), both);
    let (state, effects) = asks(state, 40, 3, ask("May I?", true));
    assert_eq!(told(&effects), [(3, "no".to_owned(), true)]);
    let (after, effects) = rules(state.clone(), 50, "yes");
    assert!(
        matches!(effects[..], [Effect::Unexpected { .. }]),
        "{effects:?}"
    );
    assert_eq!(
        after.questions, state.questions,
        "a decided question never changes"
    );
}

#[test]
fn default_table() {
    let options = |ids: &[&str]| ids.iter().map(|id| Choice::new(id, id)).collect();
    #[rustfmt::skip]
    let rows: [(&str, Ask, &str, usize); 5] = [
        ("reversible proceeds", ask("q", true), "yes", 2),
        ("irreversible does nothing", ask("q", false), "no", 2),
        ("its own default counts", Ask { default: Some("no".into()), ..ask("q", true) }, "no", 2),
        ("a default that is no option does not", Ask { default: Some("x".into()), ..ask("q", true) }, "yes", 2),
        ("doing nothing is added where it is missing", Ask { options: options(&["a", "b"]), ..ask("q", false) }, "nothing", 3),
    ];
    for (name, ask, default, count) in rows {
        let (state, _) = asks(running(&policy()), 10, 1, ask);
        let what = &state.questions[0].what;
        assert_eq!(what.ask.default.as_deref(), Some(default), "row: {name}");
        assert_eq!(what.ask.options.len(), count, "row: {name}");
        assert_eq!(what.deadline, Some(UnixMs(10).plus(MINUTE)), "row: {name}");
    }
}

#[test]
fn time_that_is_waited_for_a_human_counts_for_no_deadline() {
    let (state, _) = asks(running(&policy()), 1_000, 1, ask("May I?", true));
    assert_eq!(state.left_ms(UnixMs(500_000)), Some(10 * MINUTE - 1_000));
    let (state, _) = rules(state, 501_000, "yes");
    assert_eq!(state.left_ms(UnixMs(502_000)), Some(10 * MINUTE - 2_000));
    assert_eq!(state.active_until(UnixMs(502_000)), 2_000);
}

#[test]
fn an_agent_that_works_meanwhile_is_not_waiting() {
    let (state, _) = asks(running(&policy()), 1_000, 1, ask("May I?", true));
    let turn = Event::TurnReported(crate::machine::event::Turn::default());
    let (state, _) = advance(Some(state), UnixMs(400_000), turn, &policy());
    let (state, _) = rules(state, 401_000, "yes");
    assert_eq!(state.left_ms(UnixMs(401_000)), Some(10 * MINUTE - 400_000));
}

#[test]
fn a_suspended_run_waits_and_then_goes_on_with_what_was_decided() {
    let policy = policy();
    let (state, _) = asks(running(&policy), 10, 1, ask("May I?", true));
    let (state, effects) = advance(Some(state), UnixMs(20), Event::Suspended, &policy);
    let stopping = Effect::Reply {
        request: 1,
        answer: Answer::Stopping {
            reason: state.outcome().map(Outcome::describe).unwrap_or_default(),
            exit_code: 25,
        },
    };
    assert!(effects.contains(&stopping), "{effects:?}");
    let exited = Event::AgentExited {
        exit: Exit::Code(25),
        tail: String::new(),
    };
    let (state, _) = advance(Some(state), UnixMs(30), exited, &policy);
    let swept = Event::Swept {
        asked: 0,
        killed: 0,
    };
    let (state, _) = advance(Some(state), UnixMs(40), swept, &policy);
    assert!(matches!(state.phase, Phase::Ended { .. }));
    let escalation = state.questions[0].what.id.clone();
    let waits = Resume::Wait { escalation };
    assert_eq!(resume(&state, UnixMs(50), &policy), waits);
    let (state, _) = rules(state, 60, "no");
    let Resume::Start { cause, note } = resume(&state, UnixMs(70), &policy) else {
        panic!("it can go on");
    };
    assert_eq!(cause, Cause::Verbatim);
    let note = note.unwrap_or_default();
    assert!(note.contains("May I?") && note.contains("`no`"), "{note}");
}
