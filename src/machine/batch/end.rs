//! How items and batches end.

use serde_json::{Value, json};

use super::items::{
    BatchAnswer, DeadItem, Item, ItemEnd, ItemRow, Progress, Status, batch_note, count,
};
use crate::clock::UnixMs;
use crate::ids::{BatchNo, StepNo};
use crate::machine::advance::run_note;
use crate::machine::escalation::{self, Held};
use crate::machine::tool::{error_kind, excerpt, look};
use crate::machine::{About, Answer, Decision, Effect, Outcome, Phase, Policy, State, Verdict};
use crate::policy::loops::{ErrorKind, Finding, Print, ToolTraits};
use crate::policy::taxonomy::Class;

/// An item ended: its key, its row, its decision, and those it stands for.
pub(super) fn end_item(state: &mut State, no: BatchNo, place: usize, end: ItemEnd) -> Vec<Effect> {
    let Some(batch) = state.batches.get_mut(&no) else {
        return vec![];
    };
    let (tool, step, by_human) = (batch.tool.clone(), batch.step, batch.by_human);
    let Some(item) = batch.items.get_mut(place) else {
        return vec![];
    };
    item.progress = Progress::Ended(Box::new(end.clone()));
    let item = item.clone();
    let followers: Vec<usize> = batch
        .items
        .iter()
        .enumerate()
        .filter(|(_, other)| other.same_as == Some(place) && other.progress == Progress::Waiting)
        .map(|(place, _)| place)
        .collect();
    let mut effects = Vec::new();
    if let Some(note) = end_note(state, &tool, &item, &end) {
        effects.push(Effect::Note(note));
    }
    effects.extend(key_effect(&item, &end, &tool, step));
    if let Some(status) = listed_as(&end, by_human) {
        effects.push(Effect::Item(Box::new(ItemRow {
            batch: no,
            tool: tool.clone(),
            id: item.id.clone(),
            call: item.call,
            args: item.args.clone(),
            status,
            judged: end.judged.clone(),
            attempts: item.attempts,
            due: end.due,
            first_at: item.first_at,
        })));
    }
    if end.status != Status::NotAttempted {
        let class = end.judged.class;
        *state.counters.classes.entry(class).or_default() += 1;
        state.counters.retried_to_success +=
            u64::from(end.status == Status::Succeeded && item.attempts > 1);
        if end.status != Status::Succeeded {
            let line = excerpt(&end.judged.evidence);
            state.last_error = Some(format!("{tool} `{}`: {line}", item.id));
        }
    }
    if let (Status::Dead, Some(key), false) = (end.status, &item.key, end.from_record) {
        let dead = DeadItem {
            end: end.clone(),
            attempts: item.attempts,
            unclaimed: false,
        };
        state.dead_in_step.insert(key.clone(), dead);
    }
    for follower in followers {
        let mut end = end.clone();
        end.from_record = end.status == Status::Succeeded;
        effects.extend(end_item(state, no, follower, end));
    }
    effects
}

/// Returns where the lists over all runs have an item from here on; `None`: where they
/// had it. A dead letter that a human retries stays one until it is done.
fn listed_as(end: &ItemEnd, by_human: bool) -> Option<Status> {
    match end.status {
        status if !by_human => (!end.from_record).then_some(status),
        Status::NotAttempted => None,
        Status::Queued => Some(Status::Dead),
        status => Some(status),
    }
}

/// What was done is recorded, what was claimed for nothing is free again.
fn key_effect(item: &Item, end: &ItemEnd, tool: &str, step: StepNo) -> Option<Effect> {
    let key = item.key.clone()?;
    if item.attempts == 0 || end.from_record {
        return None;
    }
    match end.status {
        Status::Succeeded => Some(Effect::Record {
            call: item.call,
            key,
            step,
            tool: tool.to_owned(),
            identity: item.identity.clone(),
            class: end.judged.class,
            content: end.content.clone(),
        }),
        Status::InDoubt => None,
        Status::Queued | Status::Dead | Status::NotAttempted => Some(Effect::Free {
            call: item.call,
            key,
        }),
    }
}

/// The decision about an item that did not succeed.
fn end_note(state: &State, tool: &str, item: &Item, end: &ItemEnd) -> Option<Decision> {
    let action = match end.status {
        Status::Queued => "queue",
        Status::Dead => "dead_letter",
        Status::InDoubt => "leave_in_doubt",
        Status::Succeeded | Status::NotAttempted => return None,
    };
    let mut note = run_note(state, action, &end.judged.rule, &end.judged.why);
    note.about = About::Call {
        call: item.call,
        tool: tool.to_owned(),
    };
    note.class = Some(end.judged.class);
    note.evidence = format!("item `{}`: {}", excerpt(&item.id), end.judged.evidence);
    Some(note)
}

/// All items ended: the loop hears of it.
pub(super) fn conclude(state: &mut State, at: UnixMs, no: BatchNo, policy: &Policy) -> Vec<Effect> {
    let Some(batch) = state.batches.get_mut(&no) else {
        return vec![];
    };
    let Some(request) = batch.request.take() else {
        return vec![];
    };
    let items = batch.items.clone();
    let (tool, want, by_human, stop) = (
        batch.tool.clone(),
        batch.want,
        batch.by_human,
        batch.stop.take(),
    );
    let met = want.is_met(count(&items, Status::Succeeded), items.len());
    let rule = if met { "batch.met" } else { "batch.not_met" };
    let mut note = batch_note(state, no, "conclude", rule);
    note.why = format!("{want} was wanted of {} items", items.len());
    note.evidence = counts_text(&items);
    let mut effects = vec![Effect::Note(note)];
    let in_doubt = items.iter().find(
        |item| matches!(&item.progress, Progress::Ended(end) if end.status == Status::InDoubt),
    );
    let doubt = in_doubt.map(|item| Outcome::InDoubt {
        call: item.call,
        tool: tool.clone(),
    });
    if doubt.is_none() {
        state.batches.remove(&no);
    }
    let is_live = !by_human && state.phase == Phase::Running;
    let (noted, looped) = if is_live {
        look_for_loop(state, at, &tool, &items, met, policy)
    } else {
        (vec![], None)
    };
    effects.extend(noted);
    let mut outcome = doubt.or(stop).filter(|_| is_live);
    let asks = looped
        .as_ref()
        .filter(|_| outcome.is_none() && policy.escalation.on_loop);
    let ask = asks.map(|it| escalation::about_loop(state, &it.why, &it.identity));
    if ask.is_none() {
        outcome = outcome.or(looped.map(|finding| Outcome::Loop { why: finding.why }));
    }
    let verdict = outcome.as_ref().map_or(Verdict::Go, Verdict::stop);
    let answer = Answer::Batch(Box::new(BatchAnswer {
        batch: no,
        tool,
        want,
        met,
        items,
        verdict,
    }));
    if let Some(ask) = ask {
        // The items are done; whether the loop goes on is a human's to say.
        let held = vec![Held::Reply { request, answer }];
        let held = escalation::hold(state, at, ask, held, state.on_wire, policy);
        effects.extend(held);
        return effects;
    }
    effects.push(Effect::Reply { request, answer });
    if let Some(outcome) = outcome {
        let mut note = run_note(state, "stop", "batch.stop", &outcome.describe());
        note.otherwise = "the run would have gone on past it".into();
        effects.push(Effect::Note(note));
        state.last_error = Some(outcome.describe());
        state.phase = Phase::Ending { outcome };
        effects.push(Effect::EndAgent { told: true });
    }
    effects
}

/// A batch is one call to the loop detector: its ids and how they ended.
fn look_for_loop(
    state: &mut State,
    at: UnixMs,
    tool: &str,
    items: &[Item],
    met: bool,
    policy: &Policy,
) -> (Vec<Effect>, Option<Finding>) {
    let unknown = ToolTraits::default();
    let traits = policy.tool(tool).map_or(&unknown, |it| &it.traits);
    let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
    let args: Vec<&Value> = items.iter().map(|item| &item.args).collect();
    let result = Value::from(counts_text(items));
    let print = Print::of(
        tool,
        &json!({"batch": ids, "args": args}),
        &result,
        !met,
        if met {
            ErrorKind::None
        } else {
            error_kind(Class::Semantic)
        },
        traits,
    );
    look(state, at, print, policy)
}

/// Says how many items ended how.
fn counts_text(items: &[Item]) -> String {
    let counted = Status::ALL.iter().filter_map(|status| {
        let count = count(items, *status);
        (count > 0).then(|| format!("{count} {}", status.as_str().replace('_', " ")))
    });
    let text = counted.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        "no items".into()
    } else {
        text
    }
}
