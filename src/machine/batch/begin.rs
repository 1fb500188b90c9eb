//! From the request to the calls that carry its items.

use serde_json::json;

use super::end::{conclude, end_item};
use super::items::{
    Batch, Item, ItemEnd, Members, Progress, Status, batch_note, failed, item_mut, judged, tool_of,
};
use crate::clock::UnixMs;
use crate::ids::{BatchNo, CallId};
use crate::machine::advance::unexpected;
use crate::machine::event::{BatchCall, BatchItem, Judged};
use crate::machine::tool::excerpt;
use crate::machine::turn::stopping;
use crate::machine::{Call, Effect, Outcome, Phase, Policy, Stage, State};
use crate::policy::breaker::{self, Admission};
use crate::policy::taxonomy::Class;

/// Several items were handed in.
pub(in crate::machine) fn called(
    state: &mut State,
    at: UnixMs,
    asked: BatchCall,
    policy: &Policy,
) -> Vec<Effect> {
    if asked.by_human {
        if !matches!(state.phase, Phase::Ended { .. }) {
            return unexpected(state, "a batch by hand");
        }
    } else {
        state.spoke = true;
        if let Some(stopping) = stopping(state, asked.request) {
            return stopping;
        }
    }
    let no = state.next_batch;
    state.next_batch = no.next();
    let batch = Batch {
        want: asked.want,
        fail_fast: asked.fail_fast,
        concurrency: asked.concurrency.max(1) as usize,
        size: asked.size.max(1) as usize,
        step: state.step,
        request: Some(asked.request),
        by_human: asked.by_human,
        is_asking: false,
        slices: 0,
        stop: None,
        items: Vec::with_capacity(asked.items.len()),
        tool: asked.tool,
    };
    let (total, tool) = (asked.items.len(), batch.tool.clone());
    let (mut ends, mut played) = (Vec::new(), 0);
    state.batches.insert(no, batch);
    for (place, mut item) in asked.items.into_iter().enumerate() {
        let approve = policy.tool(&tool).map(|tool| &tool.approve);
        if !asked.by_human
            && item.recorded.is_none()
            && item.played.is_none()
            && let Some(why) = approve.and_then(|approve| approve.asks(&item.args))
        {
            // A human is asked about one call at a time.
            let text = format!("Not done: {why}. Call `{tool}` for this item alone.");
            item.refused.get_or_insert(text);
        }
        let call = state.next_call;
        state.next_call = call.next();
        let (end, attempts) = known_end(state, &item, asked.by_human);
        played += usize::from(item.played.is_some());
        ends.extend(end.map(|end| (place, end)));
        let Some(batch) = state.batches.get_mut(&no) else {
            break;
        };
        batch.items.push(Item {
            id: item.id,
            args: item.args,
            identity: item.identity,
            key: item.key,
            call,
            same_as: item.same_as.filter(|earlier| *earlier < place),
            slice: 0,
            attempts,
            first_at: at,
            progress: Progress::Waiting,
        });
    }
    let mut effects = Vec::new();
    let recorded = ends.iter().filter(|(_, end)| end.from_record).count();
    if played > 0 {
        let mut note = batch_note(state, no, "play_back", "replay.recorded");
        note.why = "the items of the run that is played ended so".into();
        note.evidence = format!("{played} of {total} items");
        effects.push(Effect::Note(note));
    } else if recorded > 0 {
        let mut note = batch_note(state, no, "answer_from_record", "key.executed");
        note.why = "these items were done before; their recorded results answer".into();
        note.evidence = format!("{recorded} of {total} items");
        note.otherwise = "their effects would have happened twice".into();
        effects.push(Effect::Note(note));
    }
    for (place, end) in ends {
        // One that an earlier item stands for has ended with it.
        let is_new = item_mut(state, no, place).is_some_and(|it| it.progress == Progress::Waiting);
        if is_new {
            let ended = end_item(state, no, place, end).into_iter();
            // What is only played is on no list over all runs.
            effects.extend(ended.filter(|it| played == 0 || !matches!(it, Effect::Item(_))));
        }
    }
    effects.extend(go_on(state, at, no, policy));
    effects
}

/// Returns how an item ended before it was begun, if it did, and its tries.
fn known_end(state: &mut State, item: &BatchItem, by_human: bool) -> (Option<ItemEnd>, u32) {
    if let Some(played) = &item.played {
        return (Some(played.end.clone()), played.attempts);
    }
    if let Some(content) = &item.recorded {
        state.counters.from_record += 1;
        let why = "this key was executed before; its recorded result answers";
        let evidence = item.key.as_ref().map(|key| format!("key {key}"));
        let end = ItemEnd {
            status: Status::Succeeded,
            judged: judged(
                Class::Success,
                "key.executed",
                why,
                evidence.unwrap_or_default(),
            ),
            content: content.clone(),
            from_record: true,
            due: None,
        };
        return (Some(end), 0);
    }
    if let Some(text) = &item.refused {
        let why = "the item cannot be done as it stands";
        let end = ItemEnd {
            status: Status::Dead,
            judged: judged(Class::Semantic, "tool.refused", why, excerpt(text)),
            content: failed(text.clone()),
            from_record: false,
            due: None,
        };
        return (Some(end), 0);
    }
    let dead = item
        .key
        .as_ref()
        .and_then(|key| state.dead_in_step.get_mut(key));
    match dead.filter(|dead| dead.unclaimed && !by_human) {
        Some(dead) => {
            dead.unclaimed = false;
            let mut end = dead.end.clone();
            end.from_record = true;
            (Some(end), dead.attempts)
        }
        None => (None, 0),
    }
}

/// Asks for room for the items that wait, or answers when none is left.
pub(super) fn go_on(state: &mut State, at: UnixMs, no: BatchNo, policy: &Policy) -> Vec<Effect> {
    let out = calls_of(state, no);
    let Some(batch) = state.batches.get_mut(&no) else {
        return vec![];
    };
    let has_waiting = batch.waiting().next().is_some();
    if has_waiting && out < batch.concurrency && !batch.is_asking {
        batch.is_asking = true;
        return vec![Effect::Admit { batch: no }];
    }
    if has_waiting || out > 0 {
        return vec![];
    }
    conclude(state, at, no, policy)
}

fn calls_of(state: &State, no: BatchNo) -> usize {
    let of_it = |call: &&Call| call.batch.as_ref().is_some_and(|it| it.batch == no);
    state.calls.values().filter(of_it).count()
}

/// Items of the batch may be begun, if the breaker lets them.
pub(in crate::machine) fn due(
    state: &mut State,
    at: UnixMs,
    no: BatchNo,
    admission: &Admission,
    policy: &Policy,
) -> Vec<Effect> {
    let out = calls_of(state, no);
    let may = may_go_on(state, no);
    let Some(batch) = state.batches.get_mut(&no) else {
        // It ended while the breaker was asked.
        return vec![];
    };
    batch.is_asking = false;
    let room = match admission {
        Admission::Go => batch.concurrency.saturating_sub(out),
        Admission::Probe => 1,
        Admission::Refused { .. } => 0,
    };
    let not_begun = if !may {
        Some(judged(
            Class::Transient,
            "batch.run_ends",
            "the run is ending, so nothing more is begun",
            String::new(),
        ))
    } else if batch.fail_fast && !batch.is_reachable() {
        let evidence = format!(
            "{} of {} failed, {} wanted",
            batch.count(Status::Dead),
            batch.items.len(),
            batch.want
        );
        let why = "what is wanted of the batch cannot be reached any more";
        Some(judged(Class::Semantic, "batch.unreachable", why, evidence))
    } else if let Admission::Refused { last_error, .. } = admission {
        state.counters.refused_by_breaker += 1;
        let evidence = last_error.clone().unwrap_or_default();
        Some(judged(
            Class::Persistent,
            "breaker.open",
            "the tool's breaker is open",
            evidence,
        ))
    } else {
        None
    };
    let mut effects = Vec::new();
    if let Some(judged) = not_begun {
        let back_at = match admission {
            Admission::Refused { back_at, .. } => Some(*back_at),
            Admission::Go | Admission::Probe => None,
        };
        effects.extend(leave_waiting(state, no, &judged, back_at));
    } else {
        for _ in 0..room {
            match begin(state, at, no) {
                Some(begun) => effects.extend(begun),
                None => break,
            }
        }
    }
    let begun = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Execute { .. }));
    if *admission == Admission::Probe && !begun {
        let tool = tool_of(state, no);
        effects.push(Effect::Breaker {
            name: breaker::of_tool(&tool),
            outcome: breaker::Outcome::Released,
        });
    }
    effects.extend(go_on(state, at, no, policy));
    effects
}

/// Whether the batch may still begin calls and wait for tries.
pub(super) fn may_go_on(state: &State, no: BatchNo) -> bool {
    let by_human = state.batches.get(&no).is_some_and(|batch| batch.by_human);
    state.phase == Phase::Running || by_human
}

/// Ends all that was not begun; what was tried before its call was split may go later.
pub(super) fn leave_waiting(
    state: &mut State,
    no: BatchNo,
    why: &Judged,
    back_at: Option<UnixMs>,
) -> Vec<Effect> {
    let Some(batch) = state.batches.get(&no) else {
        return vec![];
    };
    let waiting: Vec<usize> = batch.waiting().collect();
    if waiting.is_empty() {
        return vec![];
    }
    let mut note = batch_note(state, no, "leave", &why.rule);
    note.class = Some(why.class);
    note.why.clone_from(&why.why);
    note.evidence = format!("{} items were not begun", waiting.len());
    let mut effects = vec![Effect::Note(note)];
    for place in waiting {
        let is_tried = item_mut(state, no, place).is_some_and(|item| item.attempts > 0);
        let (status, what) = match is_tried {
            true => (Status::Queued, "Not tried again"),
            false => (Status::NotAttempted, "Not attempted"),
        };
        let end = ItemEnd {
            status,
            judged: why.clone(),
            content: failed(format!("{what}: {}.", why.why)),
            from_record: false,
            due: back_at,
        };
        effects.extend(end_item(state, no, place, end));
    }
    effects
}

/// Begins one call with the next items that wait; `None` where there is none.
fn begin(state: &mut State, at: UnixMs, no: BatchNo) -> Option<Vec<Effect>> {
    let batch = state.batches.get(&no)?;
    let by_human = batch.by_human;
    let of = |place: &usize| {
        batch
            .items
            .get(*place)
            .map(|item| (item.slice, item.attempts))
    };
    let first = batch.waiting().next()?;
    let (slice, attempts) = of(&first)?;
    let together = batch
        .waiting()
        .filter(|place| of(place).is_some_and(|it| it.0 == slice));
    let waiting: Vec<usize> = together.take(batch.size).collect();
    let mut items = Vec::with_capacity(waiting.len());
    let mut effects = Vec::new();
    for place in waiting {
        let is_new = attempts == 0 && !by_human;
        let hit = state.spend.next_tool_call(&state.limits);
        if let Some(hit) = hit.filter(|_| is_new) {
            let rule = format!("limit.{}", hit.resource.key());
            let why = "a limit of the run is reached";
            let reason = judged(Class::CostPressure, &rule, why, hit.describe());
            if let Some(batch) = state.batches.get_mut(&no) {
                batch.stop = Some(Outcome::Budget { hit });
            }
            effects.extend(leave_waiting(state, no, &reason, None));
            break;
        }
        state.spend.tool_calls += u64::from(is_new);
        if let Some(item) = item_mut(state, no, place) {
            item.progress = Progress::Open;
        }
        items.push(place);
    }
    let attempt = attempts + 1;
    if let Some(call) = carry(state, at, no, items, attempt, Stage::Executing, 0) {
        state.counters.tries += 1;
        effects.push(Effect::Execute { call, attempt });
    }
    (!effects.is_empty()).then_some(effects)
}

/// Makes the call that carries these items; it has the number of the first one.
pub(super) fn carry(
    state: &mut State,
    at: UnixMs,
    no: BatchNo,
    items: Vec<usize>,
    attempt: u32,
    stage: Stage,
    waited_ms: u64,
) -> Option<CallId> {
    let batch = state.batches.get_mut(&no)?;
    for place in &items {
        batch.items.get_mut(*place)?.attempts = attempt;
    }
    let lead = batch.items.get(*items.first()?)?;
    let one = items.len() == 1;
    let args = if one {
        lead.args.clone()
    } else {
        let ids = items.iter().filter_map(|place| batch.items.get(*place));
        json!({"items": ids.map(|item| item.id.as_str()).collect::<Vec<_>>()})
    };
    let id = lead.call;
    let call = Call {
        tool: batch.tool.clone(),
        args,
        identity: lead.identity.clone(),
        key: lead.key.clone().filter(|_| one),
        step: batch.step,
        attempt,
        waited_ms,
        stage,
        requests: vec![],
        called_at: at,
        is_lent: false,
        batch: Some(Members { batch: no, items }),
    };
    state.calls.insert(id, call);
    Some(id)
}
