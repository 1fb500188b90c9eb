//! A journal in memory, for tests and simulation.
//!
//! It keeps every promise of [`Store`] about order, ownership and refusal, and
//! lets a test choose when writes become durable, which of them fail, and when
//! the machine dies: [`Memory::hold_writes`], [`Memory::release`],
//! [`Memory::fail_next`], [`Memory::crash`].
//!
//! Not here: files. Runs have no folder and no lock file, `paths` names places
//! that are never made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMs;
use crate::ids::{Epoch, EscalationId, IdempotencyKey, RunId, Seq};

use super::breaker::{BreakerEdit, BreakerRow, Change};
use super::conversation::{Head, Message};
use super::human::{
    Decided, LetterRow, Posted, QuestionChange, QuestionRow, QuestionRuling, ruled,
};
use super::items::{self, ItemEdit, ItemFilter, ItemNo, StoredItem};
use super::key::{self, KeyChange, KeyRow, KeyState};
use super::own::{Holder, Ownership};
use super::record::{
    self, Collected, Committed, Draft, Filter, GcRules, NewRun, RunRecord, Stored,
};
use super::retry_queue::{self, Place, RetryAsk, Ticket, Turn};
use super::{Error, Paths, Pending, Result, Store};

/// A journal that lives as long as its last clone.
///
/// Clones share one journal, as two processes share one database.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Journal>>,
    paths: Paths,
}

/// A write on its way.
type Write = Box<dyn FnOnce(&mut Journal) + Send>;

#[derive(Default)]
struct Journal {
    runs: BTreeMap<RunId, Run>,
    created: u64,
    messages: BTreeMap<Head, Message>,
    keys: BTreeMap<IdempotencyKey, KeyRow>,
    breakers: BTreeMap<String, BreakerRow>,
    /// By run, tool and the item's own id.
    items: BTreeMap<(RunId, String, String), StoredItem>,
    last_item: i64,
    queue: BTreeMap<Ticket, Waiting>,
    last_ticket: i64,
    turns: u64,
    served: BTreeMap<(String, RunId), u64>,
    questions: Vec<QuestionRow>,
    letters: Vec<LetterRow>,
    /// Writes that are not durable yet; `None` where each is at once.
    held: Option<VecDeque<Write>>,
    fail_next: VecDeque<Error>,
}

struct Run {
    record: RunRecord,
    created: u64,
    events: Vec<Stored>,
    replies: BTreeMap<Seq, Vec<u8>>,
    heads: BTreeSet<Head>,
    held_since: Option<UnixMs>,
}

struct Waiting {
    run: RunId,
    epoch: Epoch,
    ask: RetryAsk,
    granted: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Paths::new("/nonexistent/agentguard"))
    }
}

impl Memory {
    /// Makes an empty journal in which each write is durable at once.
    pub fn new(paths: Paths) -> Self {
        Self {
            shared: Arc::default(),
            paths,
        }
    }

    /// From now on writes wait for [`release`](Self::release), except `create`,
    /// `own`, `remove` and `gc`, which release all before them.
    pub fn hold_writes(&self) {
        self.journal().held.get_or_insert_default();
    }

    /// Makes the next `count` held writes durable, in order; returns how many
    /// are still held.
    pub fn release(&self, count: usize) -> usize {
        let mut journal = self.journal();
        for _ in 0..count {
            let Some(write) = journal.held.as_mut().and_then(VecDeque::pop_front) else {
                break;
            };
            write(&mut journal);
        }
        journal.held.as_ref().map_or(0, VecDeque::len)
    }

    /// Lets the next append fail with `error`; several queue up.
    pub fn fail_next(&self, error: Error) {
        self.journal().fail_next.push_back(error);
    }

    /// Loses what is not durable, and every ownership with it.
    pub fn crash(&self) {
        let lost = {
            let mut journal = self.journal();
            for run in journal.runs.values_mut() {
                run.held_since = None;
            }
            journal.held.as_mut().map(std::mem::take)
        };
        // Dropped without the lock: a lost write may own what wants it.
        drop(lost);
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a write, or carries it out at once.
    fn submit<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Journal) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (sender, pending) = Pending::new();
        let write: Write = Box::new(move |journal| {
            // Nobody may be waiting any more; the write counts all the same.
            let _ = sender.send(write(journal));
        });
        let mut journal = self.journal();
        match &mut journal.held {
            Some(held) => held.push_back(write),
            None => write(&mut journal),
        }
        pending
    }

    /// Carries a write out after all that are held.
    fn submit_now<T>(&self, write: impl FnOnce(&mut Journal) -> Result<T>) -> Result<T> {
        self.release(usize::MAX);
        write(&mut self.journal())
    }

    fn ownership(&self, run: &RunId, epoch: Epoch, last: Seq) -> Ownership {
        let hold = Hold {
            shared: Arc::clone(&self.shared),
            run: run.clone(),
            epoch,
        };
        Ownership::new(run.clone(), 0, epoch, last, Box::new(hold))
    }
}

/// Releases the run when its ownership is dropped.
struct Hold {
    shared: Arc<Mutex<Journal>>,
    run: RunId,
    epoch: Epoch,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut journal = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = journal.runs.get_mut(&self.run)
            && run.record.epoch == self.epoch
        {
            run.held_since = None;
        }
    }
}

impl Store for Memory {
    fn create(&self, new: NewRun, first: Draft) -> Result<Ownership> {
        let (run, at) = (new.run.clone(), new.at);
        self.submit_now(|journal| {
            if journal.runs.contains_key(&run) {
                return Err(Error::RunExists { run: run.clone() });
            }
            journal.check(&first)?;
            journal.created += 1;
            let created = journal.created;
            journal.runs.insert(
                run.clone(),
                Run {
                    record: RunRecord {
                        last_at: new.at,
                        is_dropped: false,
                        new,
                        summary: Default::default(),
                        epoch: Epoch(1),
                        last_seq: Seq(0),
                    },
                    created,
                    events: Vec::new(),
                    replies: BTreeMap::new(),
                    heads: BTreeSet::new(),
                    held_since: Some(at),
                },
            );
            journal.append(&run, Epoch(1), Seq(1), first).map(drop)
        })?;
        Ok(self.ownership(&run, Epoch(1), Seq(1)))
    }

    fn own(&self, run: &RunId, at: UnixMs) -> Result<Ownership> {
        let (epoch, last) = self.submit_now(|journal| {
            let stored = journal.run(run)?;
            stored.refuse_held()?;
            stored.held_since = Some(at);
            stored.record.epoch = stored.record.epoch.next();
            Ok((stored.record.epoch, stored.record.last_seq))
        })?;
        Ok(self.ownership(run, epoch, last))
    }

    fn append(&self, own: &Ownership, draft: Draft) -> Pending<Committed> {
        let mut last = own.last();
        *last = last.next();
        let (run, epoch, seq) = (own.run().clone(), own.epoch(), *last);
        self.submit(move |journal| match journal.fail_next.pop_front() {
            Some(error) => Err(error),
            None => journal.append(&run, epoch, seq, draft),
        })
    }

    fn events(&self, run: &RunId, from: Seq) -> Result<Vec<Stored>> {
        let journal = self.journal();
        let events = journal.runs.get(run).map(|run| run.events.iter());
        Ok(events
            .into_iter()
            .flatten()
            .filter(|event| event.seq >= from)
            .cloned()
            .collect())
    }

    fn conversation(&self, head: &Head) -> Result<Vec<String>> {
        let journal = self.journal();
        let mut bodies = Vec::new();
        let mut tip = *head;
        while tip != Head::EMPTY {
            let message = journal
                .messages
                .get(&tip)
                .ok_or(Error::MissingMessage { hash: tip.hash })?;
            bodies.push(message.body.clone());
            tip = message.parent;
        }
        bodies.reverse();
        Ok(bodies)
    }

    fn reply(&self, run: &RunId, event: Seq) -> Result<Option<Vec<u8>>> {
        let journal = self.journal();
        let run = journal.runs.get(run);
        Ok(run.and_then(|run| run.replies.get(&event).cloned()))
    }

    fn runs(&self, filter: &Filter) -> Result<Vec<RunRecord>> {
        let journal = self.journal();
        let mut runs: Vec<_> = journal
            .runs
            .values()
            .filter(|run| record::passes(filter, &run.record))
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.created));
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        let latest = runs.into_iter().take(limit);
        Ok(latest.map(|run| run.record.clone()).collect())
    }

    fn find(&self, asked: &str) -> Result<RunRecord> {
        let runs = self.runs(&Filter::default())?;
        record::find(asked, runs)
    }

    fn holder(&self, run: &RunId) -> Result<Option<Holder>> {
        let journal = self.journal();
        let since = journal.runs.get(run).and_then(|run| run.held_since);
        Ok(since.map(|since| Holder {
            pid: Some(std::process::id()),
            since: Some(since),
            host: None,
        }))
    }

    fn key(&self, key: &IdempotencyKey) -> Result<Option<KeyRow>> {
        Ok(self.journal().keys.get(key).cloned())
    }

    fn claims(&self, run: &RunId) -> Result<Vec<KeyRow>> {
        let journal = self.journal();
        let claimed = |row: &&KeyRow| row.run == *run && row.state == KeyState::Claimed;
        let mut rows: Vec<_> = journal.keys.values().filter(claimed).cloned().collect();
        rows.sort_by_key(|row| row.key_use.call);
        Ok(rows)
    }

    fn forget_key(&self, key: &IdempotencyKey) -> Pending<bool> {
        let key = key.clone();
        self.submit(move |journal| Ok(journal.keys.remove(&key).is_some()))
    }

    fn breakers(&self) -> Result<Vec<BreakerRow>> {
        Ok(self.journal().breakers.values().cloned().collect())
    }

    fn edit_breaker(&self, edit: BreakerEdit) -> Pending<Option<String>> {
        self.submit(move |journal| Ok(journal.edit(edit)))
    }

    fn items(&self, filter: &ItemFilter) -> Result<Vec<StoredItem>> {
        let journal = self.journal();
        let listed = journal.items.values();
        let mut found: Vec<_> = listed
            .filter(|item| items::passes(filter, item))
            .cloned()
            .collect();
        found.sort_by_key(|item| std::cmp::Reverse((item.last_at, item.no)));
        Ok(found)
    }

    fn drop_items(&self, items: &[ItemNo]) -> Pending<u64> {
        let dropped = items.to_vec();
        self.submit(move |journal| {
            let mut count = 0;
            for item in journal.items.values_mut() {
                if dropped.contains(&item.no) && !item.is_dropped {
                    item.is_dropped = true;
                    count += 1;
                }
            }
            Ok(count)
        })
    }

    fn drop_run(&self, run: &RunId) -> Pending<bool> {
        let run = run.clone();
        self.submit(move |journal| {
            let found = journal.runs.get_mut(&run);
            Ok(found.map(|run| run.record.is_dropped = true).is_some())
        })
    }

    fn enqueue(&self, own: &Ownership, ask: RetryAsk) -> Pending<Ticket> {
        let (run, epoch) = (own.run().clone(), own.epoch());
        self.submit(move |journal| {
            journal.last_ticket += 1;
            let ticket = Ticket(journal.last_ticket);
            let waiting = Waiting {
                run,
                epoch,
                ask,
                granted: false,
            };
            journal.queue.insert(ticket, waiting);
            Ok(ticket)
        })
    }

    fn take_turn(&self, own: &Ownership, ticket: Ticket, at: UnixMs, slots: u32) -> Pending<Turn> {
        let run = own.run().clone();
        self.submit(move |journal| journal.take_turn(&run, ticket, at, slots))
    }

    fn leave(&self, own: &Ownership, ticket: Ticket) -> Pending<()> {
        let run = own.run().clone();
        self.submit(move |journal| {
            journal
                .queue
                .retain(|place, waiting| *place != ticket || waiting.run != run);
            Ok(())
        })
    }

    fn questions(
        &self,
        run: Option<&RunId>,
        start: &str,
        open_only: bool,
    ) -> Result<Vec<QuestionRow>> {
        let journal = self.journal();
        let passes = |row: &&QuestionRow| {
            run.is_none_or(|run| row.run == *run)
                && row.question.id.as_str().starts_with(start)
                && !(open_only && row.ruling.is_some())
        };
        Ok(journal.questions.iter().filter(passes).cloned().collect())
    }

    fn decide(
        &self,
        id: &EscalationId,
        ruling: QuestionRuling,
        late: Option<QuestionRuling>,
    ) -> Pending<Decided> {
        let id = id.clone();
        self.submit(move |journal| {
            let row = journal.question(&id)?;
            let written = ruled(row, &ruling, late.as_ref());
            let is_ours = written.as_ref() == Some(&ruling);
            if written.is_some() {
                row.ruling = written;
            }
            let row = row.clone();
            Ok(Decided { row, is_ours })
        })
    }

    fn acknowledge(&self, id: &EscalationId, by: &str, at: UnixMs) -> Pending<QuestionRow> {
        let (id, by) = (id.clone(), by.to_owned());
        self.submit(move |journal| {
            let row = journal.question(&id)?;
            row.seen.get_or_insert((by, at));
            Ok(row.clone())
        })
    }

    fn letters(&self, run: Option<&RunId>) -> Result<Vec<LetterRow>> {
        let journal = self.journal();
        let passes = |row: &&LetterRow| run.is_none_or(|run| row.run == *run);
        Ok(journal.letters.iter().filter(passes).cloned().collect())
    }

    fn claim_letter(&self, id: &str, at: UnixMs, until: UnixMs) -> Pending<bool> {
        let id = id.to_owned();
        self.submit(move |journal| {
            let mut letters = journal.letters.iter_mut();
            let Some(row) = letters.find(|row| row.id == id && row.due <= at) else {
                return Ok(false);
            };
            row.due = until;
            row.tries += 1;
            Ok(true)
        })
    }

    fn posted(&self, id: &str, posted: Posted) -> Pending<()> {
        let id = id.to_owned();
        self.submit(move |journal| {
            match posted {
                Posted::Sent | Posted::Failed { again: None, .. } => {
                    journal.letters.retain(|row| row.id != id);
                }
                Posted::Failed {
                    error,
                    again: Some(again),
                } => {
                    for row in journal.letters.iter_mut().filter(|row| row.id == id) {
                        (row.due, row.error) = (again, Some(error.clone()));
                    }
                }
            }
            Ok(())
        })
    }

    fn remove(&self, run: &RunId) -> Result<Collected> {
        self.submit_now(|journal| {
            journal.run(run)?.refuse_held()?;
            Ok(journal.collect(vec![run.clone()], None))
        })
    }

    fn gc(&self, rules: &GcRules) -> Result<Collected> {
        self.submit_now(|journal| {
            let mut ended: Vec<_> = journal
                .runs
                .values()
                .filter(|run| run.held_since.is_none())
                .filter_map(|run| Some((run.record.summary.ended?, run)))
                .collect();
            ended.sort_by_key(|(ended, run)| std::cmp::Reverse((*ended, run.created)));
            let doomed = ended
                .iter()
                .enumerate()
                .filter(|(newer, (ended, _))| record::is_doomed(rules, *newer, *ended))
                .map(|(_, (_, run))| run.record.new.run.clone())
                .collect();
            Ok(journal.collect(doomed, rules.keys_before))
        })
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }
}

impl Run {
    fn refuse_held(&self) -> Result<()> {
        match self.held_since {
            None => Ok(()),
            Some(since) => Err(Error::Held {
                run: self.record.new.run.clone(),
                pid: Some(std::process::id()),
                since: Some(since),
                host: None,
            }),
        }
    }
}

impl Journal {
    fn run(&mut self, run: &RunId) -> Result<&mut Run> {
        self.runs.get_mut(run).ok_or_else(|| Error::NoSuchRun {
            asked: run.to_string(),
        })
    }

    /// Refuses a draft whose messages hang in the air.
    fn check(&self, draft: &Draft) -> Result<()> {
        let mut new = BTreeSet::from([Head::EMPTY]);
        let known =
            |new: &BTreeSet<Head>, head| new.contains(head) || self.messages.contains_key(head);
        for message in &draft.messages {
            if !known(&new, &message.parent) {
                let hash = message.parent.hash;
                return Err(Error::MissingMessage { hash });
            }
            new.insert(message.head);
        }
        match draft.tip() {
            Some(tip) if !known(&new, &tip) => Err(Error::MissingMessage { hash: tip.hash }),
            _ => Ok(()),
        }
    }

    /// Stores one event with all it brings along, or refuses before the first
    /// change.
    fn append(&mut self, run: &RunId, epoch: Epoch, seq: Seq, draft: Draft) -> Result<Committed> {
        let stored = self.run(run)?;
        if stored.record.epoch != epoch {
            return Err(Error::Superseded {
                run: run.clone(),
                seq,
            });
        }
        if stored.record.last_seq.next() != seq {
            return Err(Error::Broken {
                run: run.clone(),
                seq,
            });
        }
        self.check(&draft)?;
        let tip = draft.tip();
        let lost = self.change_keys(run, &draft.keys, draft.at);
        let breakers = draft
            .breakers
            .into_iter()
            .map(|edit| self.edit(edit))
            .collect();
        for item in draft.items {
            self.put_item(run, item, draft.at)?;
        }
        for message in draft.messages {
            self.messages.entry(message.head).or_insert(message);
        }
        let stored = self.run(run)?;
        stored.heads.extend(tip.filter(|tip| *tip != Head::EMPTY));
        stored.record.last_seq = seq;
        stored.record.last_at = draft.at;
        if let Some(summary) = draft.summary {
            stored.record.summary = summary;
            stored.record.is_dropped = false;
        }
        stored.replies.extend(draft.reply.map(|reply| (seq, reply)));
        stored.events.push(Stored {
            seq,
            epoch,
            at: draft.at,
            kind: draft.kind,
            body: draft.body,
            notes: draft.notes,
        });
        let committed = Committed {
            seq,
            lost,
            breakers,
        };
        for change in draft.questions {
            self.change_question(run, change);
        }
        for letter in draft.letters {
            if letter.only_if.is_none_or(|wanted| wanted(&committed))
                && !self.letters.iter().any(|row| row.id == letter.id)
            {
                self.letters.push(LetterRow {
                    id: letter.id,
                    run: run.clone(),
                    posted: draft.at,
                    due: letter.due,
                    tries: 0,
                    error: None,
                    body: letter.body,
                });
            }
        }
        Ok(committed)
    }

    fn question(&mut self, id: &EscalationId) -> Result<&mut QuestionRow> {
        let mut rows = self.questions.iter_mut();
        rows.find(|row| row.question.id == *id)
            .ok_or_else(|| Error::NoSuchQuestion {
                asked: id.to_string(),
            })
    }

    fn change_question(&mut self, run: &RunId, change: QuestionChange) {
        match change {
            QuestionChange::Open(question) => self.questions.push(QuestionRow {
                run: run.clone(),
                question,
                seen: None,
                ruling: None,
            }),
            QuestionChange::Close { id, ruling } => {
                if let Ok(row) = self.question(&id) {
                    row.ruling.get_or_insert(ruling);
                }
            }
        }
    }

    fn put_item(&mut self, run: &RunId, edit: ItemEdit, at: UnixMs) -> Result<()> {
        let task = self.run(run)?.record.new.task.clone();
        let place = (run.clone(), edit.tool.clone(), edit.item.clone());
        let present = self.items.get(&place);
        let no = present.map_or(ItemNo(self.last_item + 1), |item| item.no);
        let kept = present.map(|item| (item.at.args.clone(), item.at.first_at));
        self.last_item = self.last_item.max(no.0);
        let (args, first_at) = kept.unwrap_or((Some(String::new()), edit.first_at));
        let stored = StoredItem {
            no,
            run: run.clone(),
            task,
            at: ItemEdit {
                args: edit.args.clone().or(args),
                first_at,
                ..edit
            },
            last_at: at,
            is_dropped: false,
        };
        self.items.insert(place, stored);
        Ok(())
    }

    /// Changes keys; returns those that someone else holds.
    fn change_keys(&mut self, run: &RunId, changes: &[KeyChange], at: UnixMs) -> Vec<KeyRow> {
        let mut lost = Vec::new();
        for change in changes {
            let present = self.keys.get(change.key());
            match key::next(present, run, change, at) {
                key::Next::Same => {}
                key::Next::Put(row) => {
                    self.keys.insert(change.key().clone(), row);
                }
                key::Next::Remove => {
                    self.keys.remove(change.key());
                }
                key::Next::Lost => lost.extend(present.cloned()),
            }
        }
        lost
    }

    fn edit(&mut self, edit: BreakerEdit) -> Option<String> {
        let present = self.breakers.get(&edit.name).map(|row| row.state.clone());
        match (edit.decide)(present.as_deref()) {
            Change::Keep => present,
            Change::Put(state) => {
                let row = BreakerRow {
                    name: edit.name.clone(),
                    state: state.clone(),
                    at: edit.at,
                };
                self.breakers.insert(edit.name, row);
                Some(state)
            }
            Change::Remove => {
                self.breakers.remove(&edit.name);
                None
            }
        }
    }

    fn take_turn(&mut self, run: &RunId, ticket: Ticket, at: UnixMs, slots: u32) -> Result<Turn> {
        let runs = &self.runs;
        self.queue.retain(|_, waiting| {
            let run = runs.get(&waiting.run);
            run.is_some_and(|run| run.held_since.is_some() && run.record.epoch == waiting.epoch)
        });
        let none = Error::NoSuchTicket { ticket: ticket.0 };
        let tool = match self.queue.get(&ticket) {
            Some(waiting) if waiting.run == *run => waiting.ask.tool.clone(),
            _ => return Err(none),
        };
        let places: Vec<_> = self
            .queue
            .iter()
            .filter(|(_, waiting)| waiting.ask.tool == tool)
            .map(|(ticket, waiting)| Place {
                ticket: *ticket,
                due: waiting.ask.due,
                granted: waiting.granted,
                served: self
                    .served
                    .get(&(tool.clone(), waiting.run.clone()))
                    .copied()
                    .unwrap_or(0),
            })
            .collect();
        let turn = retry_queue::place(&places, ticket, at, slots).ok_or(none)?;
        if let Some(waiting) = self.queue.get_mut(&ticket)
            && turn == Turn::Granted
            && !waiting.granted
        {
            waiting.granted = true;
            self.turns += 1;
            self.served.insert((tool, run.clone()), self.turns);
        }
        Ok(turn)
    }

    /// Removes runs, old keys, and messages that no run needs any more.
    fn collect(&mut self, doomed: Vec<RunId>, keys_before: Option<UnixMs>) -> Collected {
        for run in &doomed {
            self.runs.remove(run);
            self.items.retain(|(of, _, _), _| of != run);
            self.queue.retain(|_, waiting| waiting.run != *run);
            self.served.retain(|(_, served), _| served != run);
            self.questions.retain(|row| row.run != *run);
            self.letters.retain(|row| row.run != *run);
        }
        let keys = self.keys.len();
        self.keys.retain(|_, row| {
            row.state == KeyState::Claimed || keys_before.is_none_or(|before| row.at >= before)
        });
        let mut needed = BTreeSet::new();
        for head in self.runs.values().flat_map(|run| &run.heads) {
            let mut tip = *head;
            while tip != Head::EMPTY && needed.insert(tip) {
                tip = self
                    .messages
                    .get(&tip)
                    .map_or(Head::EMPTY, |message| message.parent);
            }
        }
        let messages = self.messages.len();
        self.messages.retain(|head, _| needed.contains(head));
        Collected {
            runs: doomed,
            messages: (messages - self.messages.len()) as u64,
            keys: (keys - self.keys.len()) as u64,
            files: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of_three(memory: &Memory) -> (Ownership, [Pending<Committed>; 3]) {
        let new = NewRun {
            run: RunId::from_bits(1),
            task: String::new(),
            at: UnixMs(0),
            input_hash: String::new(),
            body: String::new(),
        };
        let event = || Draft::new("turn", UnixMs(1), "{}");
        let own = memory.create(new, event()).unwrap();
        memory.hold_writes();
        let pending = [(); 3].map(|()| memory.append(&own, event()));
        (own, pending)
    }

    fn stored(memory: &Memory) -> usize {
        memory.events(&RunId::from_bits(1), Seq(1)).unwrap().len()
    }

    #[test]
    fn held_writes_become_durable_in_order_when_released() {
        let memory = Memory::default();
        let (_own, [mut first, mut second, _]) = run_of_three(&memory);
        assert!(first.try_get().is_none());
        assert_eq!(stored(&memory), 1);
        assert_eq!(memory.release(1), 2);
        assert_eq!(first.try_get().unwrap().unwrap().seq, Seq(2));
        assert!(second.try_get().is_none());
    }

    #[test]
    fn a_crash_loses_what_was_held_and_frees_the_run() {
        let memory = Memory::default();
        let (own, [first, second, _]) = run_of_three(&memory);
        memory.release(1);
        memory.crash();
        assert!(first.wait().is_ok());
        assert!(matches!(second.wait(), Err(Error::Closed)));
        let next = memory.own(own.run(), UnixMs(2)).unwrap();
        assert_eq!((next.epoch(), next.last_seq()), (Epoch(2), Seq(2)));
        drop(own);
        assert!(memory.holder(next.run()).unwrap().is_some());
    }

    #[test]
    fn a_failed_write_breaks_the_order_after_it() {
        let memory = Memory::default();
        memory.fail_next(Error::Closed);
        let (_own, [first, second, third]) = run_of_three(&memory);
        memory.release(3);
        assert!(matches!(first.wait(), Err(Error::Closed)));
        for late in [second, third] {
            assert!(matches!(late.wait(), Err(Error::Broken { .. })));
        }
        assert_eq!(stored(&memory), 1);
    }
}
