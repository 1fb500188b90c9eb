//! From the end of a call that carries items to the next try, or to the end of each.

use super::begin::{carry, go_on, leave_waiting, may_go_on};
use super::end::end_item;
use super::items::{ItemEnd, Members, Progress, Status, batch_note, failed, judged};
use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId};
use crate::machine::advance::unexpected;
use crate::machine::event::{Content, Delivery, ItemAnswer, Judged, Settlement, ToolEnd};
use crate::machine::tool::breaker_effect;
use crate::machine::{
    About, Answer, Call, Effect, Phase, Policy, Risk, Settle, Stage, State, Verdict, saga,
};
use crate::policy::breaker::{self, Admission};
use crate::policy::retry;
use crate::policy::taxonomy::Class;

/// One try of a call that carries items ended.
pub(in crate::machine) fn ended(
    state: &mut State,
    at: UnixMs,
    end: ToolEnd,
    call: Call,
    members: &Members,
    policy: &Policy,
) -> Vec<Effect> {
    let no = members.batch;
    state.calls.remove(&end.call);
    let risk = policy.risk(&call.tool);
    let settle = settle_of(&call.tool, policy);
    let may_split = members.items.len() > 1 && may_go_on(state, no);
    let mut again = Vec::new();
    let mut halves = Vec::new();
    let mut effects = Vec::new();
    let mut has_success = false;
    for place in &members.items {
        let answer = answer_for(&end, *place);
        let class = answer.judged.class;
        let happened = matches!(class, Class::Success | Class::Partial);
        let unknown = answer.delivery == Delivery::Unknown && risk != Risk::Read && !happened;
        has_success |= happened;
        if unknown && settle != Settle::NativeKey {
            let probe = settle == Settle::Probe && may_go_on(state, no);
            effects.extend(doubt(state, at, no, *place, &answer.judged, probe));
        } else if may_split && blames_input(class) && is_told_together(&end, *place) {
            halves.push(answer);
        } else if unknown || class.is_retryable() {
            again.push(answer);
        } else {
            if happened {
                done(state, at, no, *place, &answer.content, policy);
            }
            effects.extend(end_item(state, no, *place, end_of(answer, at)));
        }
    }
    if !halves.is_empty() {
        effects.extend(split(state, no, halves));
    }
    let retried = try_again(state, at, &Try::of(&end, &call), no, again, policy);
    let is_tried_again = retried.iter().any(|it| matches!(it, Effect::Wait { .. }));
    effects.push(match (has_success, is_tried_again) {
        (true, _) => breaker_effect(&call.tool, Class::Success, ""),
        (false, true) => Effect::Breaker {
            name: breaker::of_tool(&call.tool),
            outcome: breaker::Outcome::TryFailed,
        },
        (false, false) => breaker_effect(&call.tool, end.judged.class, &end.content.text),
    });
    effects.extend(retried);
    // The same write was asked for by itself meanwhile.
    for request in call.requests {
        let answer = Answer::Tool {
            call: end.call,
            content: end.content.clone(),
            class: end.judged.class,
            verdict: Verdict::Go,
        };
        effects.push(Effect::Reply { request, answer });
    }
    effects.extend(go_on(state, at, no, policy));
    effects
}

/// Returns what the answer says about an item.
fn answer_for(end: &ToolEnd, place: usize) -> ItemAnswer {
    let own = end.items.iter().find(|answer| answer.item == place);
    own.cloned().unwrap_or_else(|| ItemAnswer {
        item: place,
        judged: end.judged.clone(),
        delivery: end.delivery,
        content: end.content.clone(),
    })
}

/// Whether the answer says the same of this item as of the whole call.
fn is_told_together(end: &ToolEnd, place: usize) -> bool {
    let own = end.items.iter().find(|answer| answer.item == place);
    own.is_none_or(|answer| answer.delivery == Delivery::Unknown)
}

/// Whether one bad item would make a whole call fail so.
fn blames_input(class: Class) -> bool {
    matches!(class, Class::Semantic | Class::Quality)
}

/// Puts items back to be tried again, those that failed together in two parts: so a bad
/// one ends by itself. A part of one item is judged by its own answer.
fn split(state: &mut State, no: BatchNo, failed: Vec<ItemAnswer>) -> Vec<Effect> {
    let Some(why) = failed.first().map(|answer| answer.judged.clone()) else {
        return vec![];
    };
    let Some(batch) = state.batches.get_mut(&no) else {
        return vec![];
    };
    let middle = failed.len().div_ceil(2);
    for (at, answer) in failed.iter().enumerate() {
        let slice = batch.slices + if at < middle { 1 } else { 2 };
        if let Some(item) = batch.items.get_mut(answer.item) {
            item.slice = slice;
            item.progress = Progress::Waiting;
        }
    }
    batch.slices += 2;
    let mut note = batch_note(state, no, "split", &why.rule);
    note.class = Some(why.class);
    note.why = match failed.len() {
        1 => "it is tried again by itself".into(),
        _ => "they failed together, and the answer does not say which of them is at fault".into(),
    };
    note.evidence = format!("{} items: {}", failed.len(), why.evidence);
    note.otherwise = "one bad item would have failed all of them".into();
    vec![Effect::Note(note)]
}

/// Returns how an item ends that is not tried again.
fn end_of(answer: ItemAnswer, at: UnixMs) -> ItemEnd {
    let due = answer.judged.retry_after_ms.map(|wait| at.plus(wait));
    let status = match answer.judged.class {
        Class::Success | Class::Partial => Status::Succeeded,
        // It says itself when it goes again.
        Class::CostPressure if due.is_some() => Status::Queued,
        _ => Status::Dead,
    };
    ItemEnd {
        status,
        judged: answer.judged,
        content: answer.content,
        from_record: false,
        due: due.filter(|_| status == Status::Queued),
    }
}

/// A try that ended, as far as the next one depends on it.
struct Try<'a> {
    tool: &'a str,
    attempt: u32,
    waited_ms: u64,
    draw: u32,
    /// It was one item of a call that took many: it waits its turn again.
    is_of_many: bool,
    /// Its items, where nothing is known but how all of them did together.
    together: Vec<usize>,
}

impl<'a> Try<'a> {
    fn of(end: &ToolEnd, call: &'a Call) -> Self {
        Self {
            tool: &call.tool,
            attempt: end.attempt,
            waited_ms: call.waited_ms,
            draw: end.draw,
            is_of_many: false,
            together: match &call.batch {
                Some(members) if members.items.len() > 1 => {
                    let told = |place: &&usize| is_told_together(end, **place);
                    members.items.iter().filter(told).copied().collect()
                }
                _ => vec![],
            },
        }
    }
}

/// Queues the slice that is worth repeating, or ends it where no try is left.
fn try_again(
    state: &mut State,
    at: UnixMs,
    last: &Try<'_>,
    no: BatchNo,
    again: Vec<ItemAnswer>,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(first) = again.first().map(|answer| answer.judged.clone()) else {
        return vec![];
    };
    let hint_ms = again.iter().filter_map(|it| it.judged.retry_after_ms).max();
    let config = policy.tool(last.tool).map(|tool| &tool.retry);
    // Each item has its tries to itself, whatever others of the run used up.
    let own = retry::Budget {
        run: u32::MAX,
        tool: u32::MAX,
    };
    let decision = config.filter(|_| may_go_on(state, no)).map(|config| {
        let left_ms = state.left_ms(at).filter(|_| state.phase == Phase::Running);
        let failure = retry::Failure {
            tool: last.tool,
            attempt: last.attempt,
            waited_ms: last.waited_ms,
            hint_ms,
            left_ms,
            unit: f64::from(last.draw) / (f64::from(u32::MAX) + 1.0),
        };
        retry::decide(config, &own, &state.retries, &failure)
    });
    let gave_up = match decision {
        Some(retry::Decision::Retry { delay_ms }) => {
            if last.is_of_many {
                return split(state, no, again);
            }
            let attempt = last.attempt + 1;
            let count = again.len();
            let items = again.into_iter().map(|answer| answer.item).collect();
            let Some(call) = carry(state, at, no, items, attempt, Stage::Waiting, delay_ms) else {
                return vec![];
            };
            state.counters.retries += 1;
            state.counters.tries += 1;
            state.counters.retry_wait_ms += delay_ms;
            state.last_error = Some(first.evidence.clone());
            let mut note = batch_note(state, no, "retry", &first.rule);
            note.about = About::Call {
                call,
                tool: last.tool.to_owned(),
            };
            note.class = Some(first.class);
            note.why = first.why;
            note.evidence = match count {
                1 => format!("try {}: {}", last.attempt, first.evidence),
                _ => format!("try {}, {count} items: {}", last.attempt, first.evidence),
            };
            note.otherwise = "these items would have failed of something that passes".into();
            return vec![
                Effect::Note(note),
                Effect::Wait {
                    call,
                    attempt,
                    delay_ms,
                },
            ];
        }
        Some(retry::Decision::GiveUp { reason }) => Some(reason),
        None => None,
    };
    let mut effects = Vec::new();
    let (halves, again) = match gave_up {
        Some(retry::GaveUp::Attempts) => again.into_iter().partition(|answer| {
            answer.delivery != Delivery::NeverSent && last.together.contains(&answer.item)
        }),
        _ => (vec![], again),
    };
    effects.extend(split(state, no, halves));
    for answer in again {
        if answer.delivery == Delivery::Unknown && policy.risk(last.tool) != Risk::Read {
            effects.extend(doubt(state, at, no, answer.item, &answer.judged, false));
            continue;
        }
        let mut judged = answer.judged;
        let (status, due) = match gave_up {
            None => {
                judged.why = format!("{}; the run is ending", judged.why);
                (Status::Queued, None)
            }
            Some(reason @ retry::GaveUp::TooLong) => {
                judged.why = format!("{}; {}", judged.why, reason.as_clause());
                (Status::Queued, hint_ms.map(|wait| at.plus(wait)))
            }
            Some(reason) => {
                // What kept failing below is a lasting failure above.
                judged.class = Class::Persistent;
                judged.why = format!("{}; {}", judged.why, reason.as_clause());
                (Status::Dead, None)
            }
        };
        let end = ItemEnd {
            status,
            judged,
            content: Content {
                is_error: true,
                ..answer.content
            },
            from_record: false,
            due,
        };
        effects.extend(end_item(state, no, answer.item, end));
    }
    effects
}

/// The wait of a call that carries items is over, and it is not let out.
pub(in crate::machine) fn not_let_out(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    members: &Members,
    admission: &Admission,
    policy: &Policy,
) -> Vec<Effect> {
    state.calls.remove(&id);
    let (rule, why, due) = match admission {
        Admission::Refused { back_at, .. } => {
            ("breaker.open", "the tool's breaker is open", Some(*back_at))
        }
        Admission::Go | Admission::Probe => ("batch.run_ends", "the run is ending", None),
    };
    let mut effects = Vec::new();
    for place in &members.items {
        let end = ItemEnd {
            status: Status::Queued,
            judged: judged(Class::Transient, rule, why, String::new()),
            content: failed(format!("Not tried again: {why}.")),
            from_record: false,
            due,
        };
        effects.extend(end_item(state, members.batch, *place, end));
    }
    effects.extend(go_on(state, at, members.batch, policy));
    effects
}

/// The effect on an item is in doubt: it leaves its call and is settled by itself.
fn doubt(
    state: &mut State,
    at: UnixMs,
    no: BatchNo,
    place: usize,
    why: &Judged,
    probe: bool,
) -> Vec<Effect> {
    let Some((id, call)) = single(state, at, no, place) else {
        return vec![];
    };
    let tool = call.tool.clone();
    let mut note = batch_note(state, no, "probe", &why.rule);
    note.about = About::Call { call: id, tool };
    note.class = Some(why.class);
    note.why.clone_from(&why.why);
    note.evidence.clone_from(&why.evidence);
    note.otherwise = "the write would have been repeated blindly".into();
    if probe {
        state.calls.insert(id, call);
        return vec![Effect::Note(note), Effect::Probe { call: id }];
    }
    state.in_doubt.insert(id, call);
    let end = ItemEnd {
        status: Status::InDoubt,
        judged: why.clone(),
        content: failed("It may or may not have been done; a human has to look.".into()),
        from_record: false,
        due: None,
    };
    end_item(state, no, place, end)
}

/// Returns an item as a call of its own, and its number.
fn single(state: &State, at: UnixMs, no: BatchNo, place: usize) -> Option<(CallId, Call)> {
    let batch = state.batches.get(&no)?;
    let item = batch.items.get(place)?;
    let call = Call {
        tool: batch.tool.clone(),
        args: item.args.clone(),
        identity: item.identity.clone(),
        key: item.key.clone(),
        step: batch.step,
        attempt: item.attempts,
        waited_ms: 0,
        stage: Stage::Probing,
        requests: vec![],
        called_at: at,
        is_lent: false,
        batch: Some(Members {
            batch: no,
            items: vec![place],
        }),
    };
    Some((item.call, call))
}

/// An item was done: it can be taken back from here on.
fn done(
    state: &mut State,
    at: UnixMs,
    no: BatchNo,
    place: usize,
    content: &Content,
    policy: &Policy,
) {
    if let Some((id, call)) = single(state, at, no, place) {
        saga::happened(state, id, &call, content, policy);
    }
}

/// An item that was in doubt was settled, live by its probe or before a resume.
///
/// The call is out of `state.in_doubt` and in `state.calls`.
pub(in crate::machine) fn settled(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    members: &Members,
    settlement: Settlement,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(call) = state.calls.remove(&id) else {
        return unexpected(state, "the settlement of an item that is not in doubt");
    };
    let no = members.batch;
    let is_open = |state: &State| {
        state
            .batches
            .get(&no)
            .is_some_and(|it| it.request.is_some())
    };
    let Some(place) = members.items.first().copied() else {
        return unexpected(state, "the settlement of no item");
    };
    let mut effects = match settlement {
        Settlement::Happened { content } => {
            done(state, at, no, place, &content, policy);
            let why = "it had happened; its result is recorded";
            let end = ItemEnd {
                status: Status::Succeeded,
                judged: judged(Class::Success, "write.settled", why, String::new()),
                content,
                from_record: false,
                due: None,
            };
            end_item(state, no, place, end)
        }
        Settlement::NotHappened => {
            let why = "it did not answer, and it had not happened";
            let judged = judged(Class::Transient, "write.settled", why, String::new());
            let last = Try {
                tool: &call.tool,
                attempt: call.attempt,
                waited_ms: call.waited_ms,
                draw: u32::MAX / 2,
                is_of_many: state.batches.get(&no).is_some_and(|batch| batch.size > 1),
                together: vec![],
            };
            let answer = ItemAnswer {
                item: place,
                judged,
                delivery: Delivery::Answered,
                content: failed("It failed and had no effect.".into()),
            };
            if is_open(state) {
                try_again(state, at, &last, no, vec![answer], policy)
            } else {
                let end = ItemEnd {
                    status: Status::Queued,
                    ..end_of(answer, at)
                };
                end_item(state, no, place, end)
            }
        }
        Settlement::Unknown { why } => {
            let rule = "write.in_doubt";
            let judged = judged(Class::Unrecoverable, rule, &why, why.clone());
            doubt(state, at, no, place, &judged, false)
        }
    };
    if is_open(state) {
        effects.extend(go_on(state, at, no, policy));
    } else if state
        .batches
        .get(&no)
        .is_some_and(|it| it.count(Status::InDoubt) == 0)
    {
        state.batches.remove(&no);
    }
    effects
}

/// Gives up what a dead attempt had under way: what executed is in doubt, the rest
/// was not done.
pub(in crate::machine) fn abandon(state: &mut State, at: UnixMs, policy: &Policy) -> Vec<Effect> {
    let mut effects = Vec::new();
    let cut = judged(
        Class::Transient,
        "batch.cut",
        "the attempt ended before it was done",
        String::new(),
    );
    let carrying = state.calls.iter().filter_map(|(id, call)| {
        let members = call.batch.clone()?;
        let unsure = matches!(call.stage, Stage::Executing | Stage::Probing);
        Some((
            *id,
            members,
            unsure && policy.risk(&call.tool) != Risk::Read,
        ))
    });
    for (id, members, unsure) in carrying.collect::<Vec<_>>() {
        state.calls.remove(&id);
        for place in members.items {
            effects.extend(if unsure {
                doubt(state, at, members.batch, place, &cut, false)
            } else {
                let end = ItemEnd {
                    status: Status::Queued,
                    judged: cut.clone(),
                    content: failed(format!("Not done: {}.", cut.why)),
                    from_record: false,
                    due: None,
                };
                end_item(state, members.batch, place, end)
            });
        }
    }
    for no in state.batches.keys().copied().collect::<Vec<_>>() {
        effects.extend(leave_waiting(state, no, &cut, None));
        if let Some(batch) = state.batches.get_mut(&no) {
            batch.request = None;
        }
    }
    state
        .batches
        .retain(|_, batch| batch.count(Status::InDoubt) > 0);
    for dead in state.dead_in_step.values_mut() {
        dead.unclaimed = true;
    }
    effects
}

fn settle_of(tool: &str, policy: &Policy) -> Settle {
    policy
        .tools
        .get(tool)
        .map_or(Settle::Human, |tool| tool.settle)
}
