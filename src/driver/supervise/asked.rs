//! What the loop asks for, and what it is answered at once.

use std::sync::Arc;

use super::Attempt;
use crate::channel::method::{self, Call, Window};
use crate::channel::{Incoming, frame};
use crate::driver::session::Error;
use crate::driver::{batch, facts, gateway, judge, translate};
use crate::ids::CallId;
use crate::machine::event::{self, RequestNo};
use crate::machine::{Answer, Event, Next, Phase};
use crate::money::NanoUsd;
use crate::policy::escalation::Kind;
use crate::task::resolved::Protocol;

/// Most questions of one run; an agent that asks more is not to be answered.
const QUESTIONS_MAX: usize = 500;

impl Attempt<'_> {
    /// The loop asked for something.
    pub(super) async fn asked(&mut self, incoming: Incoming) -> Result<(), Error> {
        self.timer.heard();
        let request = incoming.request.0;
        // What came of a try is taken to the very end.
        let changes = !matches!(
            incoming.call,
            Call::Start(_) | Call::State(_) | Call::LendEnd(_)
        );
        if let Some(outcome) = self.session.state().outcome().filter(|_| changes) {
            // Nothing is taken any more; there is nothing to write down.
            let (reason, exit_code) = (outcome.describe(), outcome.exit_code());
            self.catch_up().await?;
            return self.refuse(request, frame::Error::Stopping { reason, exit_code });
        }
        let task = Arc::clone(&self.session.task);
        match incoming.call {
            Call::Start(start) => {
                self.windows.insert(request, start.messages);
                self.session.feed(Event::Greeted { request })
            }
            Call::Replayed(replayed) => {
                self.conversations.replayed(&replayed.caller);
                self.session.feed(Event::Replayed {
                    request,
                    cost: NanoUsd(replayed.cost_nano_usd),
                })
            }
            Call::Place(caller) => {
                let placed = self.conversations.place(*caller);
                self.send(request, Ok(method::Answer::Placed(placed)));
                Ok(())
            }
            Call::State(asked) => {
                self.catch_up().await?;
                self.brief(request, asked.messages);
                Ok(())
            }
            Call::Turn(said) => self.turn(request, said).await,
            Call::Reserve(asked) if !asked.offers.is_empty() && self.counts_itself() => {
                self.untold += 1;
                let answer = method::Answer::Reserve(method::ReserveAnswer::Pass);
                self.send(request, Ok(answer));
                Ok(())
            }
            Call::Reserve(asked) => self.reserve(request, asked).await,
            Call::Escalate(asked) => {
                if self.session.state().questions.len() >= QUESTIONS_MAX {
                    return self.refuse(request, too_many());
                }
                let ask = Box::new(translate::ask(*asked));
                let state = self.session.state();
                let recorded = self.ports.playback.as_ref().filter(|it| !it.is_live(state));
                let played = match recorded.map(|it| it.decision(&ask.key)).transpose() {
                    Ok(played) => played,
                    Err(error) => return self.refuse(request, error),
                };
                self.session.feed(Event::Escalated {
                    request: Some(request),
                    ask,
                    played,
                })
            }
            Call::Tool(asked) => self.tool(request, asked, facts::By::Us).await,
            Call::Lend(asked) => self.tool(request, asked, facts::By::Asker).await,
            Call::LendEnd(end) => match self.work.lend_end(request, end) {
                Ok(()) => Ok(()),
                Err(error) => self.refuse(request, error),
            },
            Call::Batch(asked) => {
                let scene = facts::Scene {
                    store: self.session.store.as_ref(),
                    run: &self.session.run,
                    task: &task,
                    toolbox: &self.ports.toolbox,
                    state: self.session.state(),
                };
                let gathered = batch::gather(&scene, request, *asked, false)?;
                let playback = self.ports.playback.as_mut();
                let recorded = playback.filter(|it| !it.is_live(scene.state));
                match gathered {
                    Ok(mut call) => {
                        if let Some(playback) = recorded {
                            batch::play_back(&mut call, &mut playback.answers);
                        }
                        self.session.feed(Event::BatchCalled(call))
                    }
                    Err(error) => self.refuse(request, error),
                }
            }
            Call::Report(report)
                if report.ticket.is_some()
                    && (self.speaks_itself() || self.is_guarded(&report)) =>
            {
                let answer = method::Answer::Report(method::ReportAnswer {
                    call: CallId(0),
                    class: String::new(),
                    verdict: method::Verdict::Go,
                });
                self.send(request, Ok(answer));
                Ok(())
            }
            Call::Report(report) => {
                let place = report.ticket.and_then(|ticket| self.place(ticket));
                let conversation = place.map(|place| place.conversation);
                let rules = &self.ports.rules;
                let report = judge::reported(self.session, rules, request, report, conversation);
                self.session.feed(Event::ToolReported(report))
            }
        }
    }

    /// A model call came back.
    async fn turn(&mut self, request: RequestNo, mut said: Box<method::Turn>) -> Result<(), Error> {
        if said.wire.is_none() {
            self.untold = 0;
        }
        let task = Arc::clone(&self.session.task);
        let mut wire = said.wire.as_mut();
        let mut reply = wire.as_mut().and_then(|wire| wire.reply.take());
        let seen = wire.and_then(|wire| wire.exchange.take());
        let state = self.session.state();
        if said
            .step
            .is_some_and(|step| step == state.step && step.0 > 0)
        {
            // Asked again because the answer was lost; nothing changes.
            self.catch_up().await?;
            match self.is_turn_held() {
                true => self.said_again.push(request),
                false => self.repeat_turn(request),
            }
            return Ok(());
        }
        let exchange = seen.map(|seen| {
            let (exchange, error) =
                judge::exchange(self.session, &self.ports.rules, request, *seen);
            if error.is_some() {
                // What was unfit is neither conversation nor record.
                (said.said, reply) = (method::Said::Nothing, None);
                said.error = error;
            }
            exchange
        });
        let wire = said.wire.clone();
        let ticket = wire.as_ref().and_then(|wire| wire.ticket);
        let base = ticket.and_then(|ticket| self.conversations.base(ticket));
        let is_new = matches!(said.said, method::Said::New(_));
        match translate::turn(request, *said, &task, self.session.state(), base) {
            Ok((mut turn, mut beside)) => {
                if let (Some(ticket), Some(wire), true) = (ticket, wire, is_new) {
                    self.conversations.moved(ticket, &beside.messages, wire);
                }
                turn.exchange = exchange;
                let kept = reply.map(gateway::kept).unzip();
                (turn.reply, beside.reply) = kept;
                self.session.feed_with(Event::TurnReported(turn), beside)
            }
            Err(error) => self.refuse(request, error),
        }
    }

    async fn tool(
        &mut self,
        request: RequestNo,
        asked: method::Tool,
        by: facts::By,
    ) -> Result<(), Error> {
        let now = self.session.clock.now();
        let scene = facts::Scene {
            store: self.session.store.as_ref(),
            run: &self.session.run,
            task: &self.session.task,
            toolbox: &self.ports.toolbox,
            state: self.session.state(),
        };
        let recorded = self.ports.playback.as_mut();
        let call = match recorded.filter(|it| !it.is_live(scene.state)) {
            Some(it) => facts::play_back(&scene, request, asked, by, &mut it.answers),
            None => facts::gather(&scene, now, request, asked, by).await?,
        };
        self.session.feed(Event::ToolCalled(call))
    }

    /// Whether a call that the gateway saw the end of has come to us as well, through
    /// MCP: by the model's id of it, or as one of the tools that we serve.
    fn is_guarded(&self, report: &method::Report) -> bool {
        let is_served = |name: &str| name.starts_with("mcp__agentguard__");
        self.session.state().guarded.contains(&report.wire_id) || is_served(&report.tool)
    }

    /// Returns the conversation of a model call.
    pub(super) fn place(&self, ticket: u64) -> Option<event::Place> {
        self.conversations.of_call(ticket, self.session.state())
    }

    /// Whether the loop tells of its turns and tools itself.
    pub(super) fn speaks_itself(&self) -> bool {
        let state = self.session.state();
        state.greeted && !state.on_wire && self.session.task.agent.protocol == Protocol::Auto
    }

    /// Whether a human has to say first whether the loop may go on.
    pub(super) fn is_turn_held(&self) -> bool {
        let state = self.session.state();
        let mut open = state.open_questions();
        let holds = |kind| matches!(kind, Kind::Cost | Kind::Loop);
        state.phase == Phase::Running && open.any(|it| holds(it.what.ask.kind))
    }

    pub(super) fn repeat_turn(&self, request: RequestNo) {
        let state = self.session.state();
        let verdict = match (&state.phase, state.outcome()) {
            (Phase::Running, _) | (_, None) => crate::machine::Verdict::Go,
            (_, Some(outcome)) => crate::machine::Verdict::stop(outcome),
        };
        let answer = Answer::Turn {
            step: state.step,
            verdict,
            warnings: vec![],
            next: Next::Take,
        };
        self.reply(request, answer);
    }

    pub(super) fn brief(&mut self, request: RequestNo, window: Window) {
        let session = &*self.session;
        let briefing = translate::briefing(
            &session.run,
            &session.task,
            session.state(),
            session.store.as_ref(),
            session.clock.now(),
            &self.ports.standing,
            window,
        );
        let answer = match briefing {
            Ok(briefing) => Ok(method::Answer::Briefing(Box::new(briefing))),
            Err(error) => Err(frame::Error::Internal {
                what: error.to_string(),
            }),
        };
        self.send(request, answer);
    }
}

fn too_many() -> frame::Error {
    let what = format!("{QUESTIONS_MAX} questions were asked in this run; no more are taken");
    frame::Error::Internal { what }
}
