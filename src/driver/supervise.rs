//! One attempt: from the start of the agent to the end of its last process.
//!
//! ```text
//! Running ──asked to end──► Leaving ──grace──► Ending ──gone──► Draining ──► over
//!    └────────────────── agent exits by itself ────────────────────┘
//! ```
//! - *Leaving*: the loop was told in an answer and may leave by itself;
//! - *Ending*: the agent and all beneath it are asked, then killed;
//! - *Draining*: tool executions that still run get the grace period to finish,
//!   so that what they did is recorded and not in doubt.

mod asked;
mod reserve;
mod start;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::channel::method::Window;
use crate::channel::{self, Arrival, Notice, frame, method};
use crate::drill::{Boundary, Side, fault};
use crate::driver::conversations::Conversations;
use crate::driver::launch::{self, Environment};
use crate::driver::output::{self, Log, Sink, Stream};
use crate::driver::replay::Playback;
use crate::driver::session::{Error, Released, Session};
use crate::driver::timer::Timer;
use crate::driver::translate::{self, Standing};
use crate::driver::work::{Came, Work};
use crate::driver::{gateway, human, judge};
use crate::ids::AttemptNo;
use crate::machine::event::{self, RequestNo, StoppedBy};
use crate::machine::{Answer, Effect, Event, Next, Phase};
use crate::policy::taxonomy::custom;
use crate::process::{Agent, Exit, Launcher, Mark, Swept, sweep_marked};
use crate::tools::Toolbox;
use start::{Channel, arrived, start};

/// What the process that supervises lends to an attempt.
pub struct Outside {
    /// Starts processes.
    pub launcher: Launcher,
    /// The supervisor's environment.
    pub environment: Environment,
    /// Where the agent's output goes besides the log.
    pub sink: Option<Sink>,
    /// Ctrl-C and the like.
    pub stops: mpsc::Receiver<StoppedBy>,
    /// Whether nobody waits here for humans: a run that asks ends for now.
    pub is_detached: bool,
}

/// What an attempt needs besides the run itself.
pub struct Ports {
    /// From the process around it.
    pub outside: Outside,
    /// Runs guarded tools.
    pub toolbox: Arc<Toolbox>,
    /// The user's own classification rules.
    pub rules: Vec<custom::Rule>,
    /// The folder of the run.
    pub folder: PathBuf,
    /// What stays the same within the attempt.
    pub standing: Standing,
    /// What a replay plays from; `None`: this is no replay.
    pub playback: Option<Playback>,
}

/// How far the end of the attempt is.
enum Stage {
    Running,
    Leaving {
        until: Instant,
    },
    Ending {
        swept: Pin<Box<dyn Future<Output = (Agent, Swept)>>>,
    },
    Draining {
        until: Instant,
    },
}

/// Starts the agent and sees the attempt through, until nothing of it runs any
/// more. How it ended is in the session's state. Returns the ports for the next one.
///
/// Errors: the journal's. Then the agent and all beneath it are ended too.
pub async fn attempt(
    session: &mut Session,
    mut ports: Ports,
    attempt: AttemptNo,
) -> Result<Ports, Error> {
    let (cause, note) = (ports.standing.cause, ports.standing.note.clone());
    let task = Arc::clone(&session.task);
    let plan = launch::plan(&task, session.state(), attempt, &ports);
    session
        .feed_and_wait(Event::AttemptStarted {
            attempt,
            cause,
            note,
            how: plan.how,
        })
        .await?;
    let log = match Log::open(&ports.folder.join("agent.log"), output::LOG_BYTES_MAX) {
        Ok(log) => Arc::new(Mutex::new(log)),
        Err(error) => {
            let error = format!("the agent's log cannot be opened: {error}");
            never_ran(session, Event::Broke { error }).await?;
            return Ok(ports);
        }
    };
    let started = start(session, &mut ports, attempt, &log, &plan).await;
    let (agent, channel) = match started {
        Ok(started) => started,
        Err(tail) => {
            // As a shell reports a program that cannot be started.
            let exit = event::Exit::Code(127);
            never_ran(session, Event::AgentExited { exit, tail }).await?;
            return Ok(ports);
        }
    };
    let mark = Mark::run(session.run.clone());
    let ended = Attempt::new(session, ports, agent, channel, log)
        .run()
        .await;
    if ended.is_err() {
        sweep_marked(&mark, 0).await;
    }
    ended
}

/// Ends an attempt whose agent does not run.
async fn never_ran(session: &mut Session, event: Event) -> Result<(), Error> {
    session.feed_and_wait(event).await?;
    let swept = Event::Swept {
        asked: 0,
        killed: 0,
    };
    session.feed_and_wait(swept).await?;
    Ok(())
}

/// An attempt under way.
struct Attempt<'a> {
    session: &'a mut Session,
    ports: Ports,
    channel: Option<Channel>,
    /// `None` while [`Stage::Ending`] has it.
    agent: Option<Agent>,
    exited: bool,
    swept: Swept,
    stage: Stage,
    timer: Timer,
    log: output::SharedLog,
    heard: mpsc::Receiver<()>,
    pumps: JoinSet<()>,
    work: Work,
    /// How much of the conversation each briefing asked for.
    windows: HashMap<RequestNo, Window>,
    /// Model calls that wait until others have shown what they cost.
    parked: VecDeque<(RequestNo, method::Reserve)>,
    /// Turns that were said again while a human is asked whether to go on.
    said_again: Vec<RequestNo>,
    /// Which model call belongs to which conversation.
    conversations: Conversations,
    /// Model calls that passed since the loop last told what its calls used.
    untold: u32,
    /// When to look next for what humans did.
    humans_at: Instant,
    /// Whether nothing of the attempt runs any more.
    is_over: bool,
}

impl<'a> Attempt<'a> {
    fn new(
        session: &'a mut Session,
        ports: Ports,
        mut agent: Agent,
        channel: Option<Channel>,
        log: output::SharedLog,
    ) -> Self {
        let (told, heard) = mpsc::channel(1);
        let mut pumps = JoinSet::new();
        if let Some(out) = agent.take_stdout() {
            let pump = output::pump(
                out,
                Stream::Out,
                log.clone(),
                ports.outside.sink.clone(),
                told.clone(),
            );
            pumps.spawn(pump);
        }
        if let Some(err) = agent.take_stderr() {
            pumps.spawn(output::pump(
                err,
                Stream::Err,
                log.clone(),
                ports.outside.sink.clone(),
                told,
            ));
        }
        let conversations = match &channel {
            Some(channel) if channel.gateway.is_some() => gateway::conversations(session),
            _ => Conversations::default(),
        };
        let limits = &session.task.limits;
        let timer = Timer::new(limits.idle_ms, limits.model_call_timeout_ms);
        let work = Work::new(Arc::clone(&ports.toolbox));
        Self {
            session,
            ports,
            channel,
            agent: Some(agent),
            exited: false,
            swept: Swept::default(),
            stage: Stage::Running,
            timer,
            log,
            heard,
            pumps,
            work,
            windows: HashMap::new(),
            parked: VecDeque::new(),
            said_again: Vec::new(),
            conversations,
            untold: 0,
            humans_at: Instant::now(),
            is_over: false,
        }
    }

    async fn run(mut self) -> Result<Ports, Error> {
        let pid = self.agent.as_ref().map_or(0, Agent::pid);
        self.session.feed(Event::AgentSpawned {
            pid: pid.unsigned_abs(),
            boot: self.session.clock.boot(),
        })?;
        while !self.is_over {
            self.step().await?;
        }
        self.session.tick();
        Ok(self.ports)
    }

    /// Waits for the next thing to happen and deals with it.
    async fn step(&mut self) -> Result<(), Error> {
        let now = self.session.clock.now();
        let mut look = self
            .timer
            .next_look(self.session.state(), now)
            .min(self.stage_end());
        if human::is_asking(self.session) {
            look = look.min(self.humans_at);
        }
        tokio::select! {
            biased;
            released = self.session.durable() => self.release(released?).await,
            Some(by) = self.ports.outside.stops.recv() => self.stop(by).await,
            (agent, swept) = ending(&mut self.stage) => {
                self.agent = Some(agent);
                self.swept = swept;
                self.gone().await
            }
            exit = exited(self.agent.as_ref(), self.exited) => self.agent_exited(exit).await,
            Some(came) = self.work.next() => match came {
                Ok(came) => self.came(came).await,
                Err(error) if error.is_cancelled() => Ok(()),
                Err(error) => self.session.feed(Event::Broke { error: error.to_string() }),
            },
            Some(()) = self.heard.recv() => {
                self.timer.heard();
                Ok(())
            }
            arrival = arrived(self.channel.as_mut()) => match arrival {
                Arrival::Request(incoming) => self.asked(incoming).await,
                Arrival::Notice(notice) => {
                    noticed(&notice);
                    Ok(())
                }
            },
            () = tokio::time::sleep_until(look) => self.look().await,
        }
    }

    fn stage_end(&self) -> Instant {
        match &self.stage {
            Stage::Leaving { until } | Stage::Draining { until } => *until,
            Stage::Running | Stage::Ending { .. } => Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Time passed.
    async fn look(&mut self) -> Result<(), Error> {
        self.session.tick();
        let now = self.session.clock.now();
        match &self.stage {
            Stage::Leaving { until } if Instant::now() >= *until => {
                self.end_agent();
                return Ok(());
            }
            Stage::Draining { until } if Instant::now() >= *until => {
                self.work.abort_all();
                return self.over().await;
            }
            _ => {}
        }
        if Instant::now() >= self.humans_at {
            self.humans_at = Instant::now() + human::LOOK;
            human::take_in(self.session).await?;
        }
        match self.timer.passed(self.session.state(), now) {
            Some(limit) => self.session.feed(Event::TimeUp { limit }),
            None => Ok(()),
        }
    }

    /// Somebody wants the run to stop; the second time, at once.
    async fn stop(&mut self, by: StoppedBy) -> Result<(), Error> {
        if self.session.state().phase == Phase::Running {
            return self.session.feed(Event::StopRequested { by });
        }
        self.work.abort_all();
        sweep_marked(&Mark::run(self.session.run.clone()), 0).await;
        Ok(())
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.session.task.agent.grace_ms)
    }

    fn end_agent(&mut self) {
        let grace_ms = self.session.task.agent.grace_ms;
        if let Some(mut agent) = self.agent.take() {
            self.stage = Stage::Ending {
                swept: Box::pin(async move {
                    let swept = agent.end(grace_ms).await;
                    (agent, swept)
                }),
            };
        }
    }

    async fn agent_exited(&mut self, exit: Exit) -> Result<(), Error> {
        self.exited = true;
        // What it printed last is the reason of its failure.
        self.drain_output().await;
        let tail = self.ports.toolbox.hide(&output::tail(&self.log));
        self.session.feed(Event::AgentExited {
            exit: exit_event(exit),
            tail,
        })?;
        self.end_agent();
        Ok(())
    }

    /// Reads what is left in the pipes; what escaped may hold them open.
    async fn drain_output(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(500), async {
            while self.pumps.join_next().await.is_some() {}
        })
        .await;
    }

    /// The agent and all beneath it are gone.
    async fn gone(&mut self) -> Result<(), Error> {
        if !self.exited {
            self.exited = true;
            let exit = match &self.agent {
                Some(agent) => agent.exited().await,
                None => Exit::Lost,
            };
            self.drain_output().await;
            let tail = self.ports.toolbox.hide(&output::tail(&self.log));
            self.session.feed(Event::AgentExited {
                exit: exit_event(exit),
                tail,
            })?;
        }
        self.stage = Stage::Draining {
            until: Instant::now() + self.grace(),
        };
        self.maybe_over().await
    }

    /// Whether nothing is under way any more.
    async fn maybe_over(&mut self) -> Result<(), Error> {
        let draining = matches!(self.stage, Stage::Draining { .. });
        if draining && self.work.is_empty() && !self.session.is_settling() {
            return self.over().await;
        }
        Ok(())
    }

    async fn over(&mut self) -> Result<(), Error> {
        self.work.shutdown().await;
        if let Some(channel) = self.channel.take() {
            channel.close().await;
        }
        let rest = sweep_marked(&Mark::run(self.session.run.clone()), 0).await;
        for survivor in self.swept.survivors.iter().chain(&rest.survivors) {
            tracing::error!(
                pid = survivor.pid,
                name = survivor.name,
                "a process cannot be ended"
            );
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let swept = Event::Swept {
            asked: count(self.swept.asked + rest.asked),
            killed: count(self.swept.killed + rest.killed),
        };
        self.session.feed_and_wait(swept).await?;
        self.is_over = true;
        fault(Boundary::Swept, Side::AfterRelease);
        Ok(())
    }

    /// Work that was begun came back.
    async fn came(&mut self, came: Came) -> Result<(), Error> {
        self.work
            .came(self.session, &self.ports.rules, came)
            .await?;
        self.maybe_over().await
    }

    fn refuse(&self, request: RequestNo, error: frame::Error) -> Result<(), Error> {
        self.send(request, Err(error));
        Ok(())
    }

    /// Waits until all that was fed is durable, and carries it out.
    ///
    /// An answer that has no event of its own would otherwise tell of turns that
    /// a crash can still take back, and look for messages not stored yet.
    async fn catch_up(&mut self) -> Result<(), Error> {
        while self.session.is_settling() {
            let released = self.session.durable().await?;
            // Boxed, since releasing an earlier greeting comes back here.
            Box::pin(self.release(released)).await?;
        }
        Ok(())
    }

    fn send(&self, request: RequestNo, answer: Result<method::Answer, frame::Error>) {
        if let Some(channel) = &self.channel {
            channel.answers.send(channel::RequestNo(request), answer);
        }
    }

    fn reply(&self, request: RequestNo, answer: Answer) {
        let now = self.session.clock.now();
        self.send(
            request,
            translate::answer(answer, self.session.state(), now),
        );
    }

    /// Carries out what a durable event lets out.
    async fn release(&mut self, released: Released) -> Result<(), Error> {
        let Released {
            boundary,
            effects,
            committed,
            event,
        } = released;
        let is_settled = matches!(event, Event::TurnReported(_));
        for effect in effects {
            let begun = self.work.begin(self.session, effect, &committed);
            let Some(effect) = begun.await? else {
                continue;
            };
            match effect {
                Effect::Reply {
                    request,
                    answer: Answer::Standing,
                } => {
                    let window = self.windows.remove(&request).unwrap_or_default();
                    self.catch_up().await?;
                    self.brief(request, window);
                }
                Effect::Reply { request, answer } => {
                    if let Answer::Turn {
                        next: Next::Again { delay_ms, .. },
                        ..
                    } = &answer
                    {
                        // It is we who make the agent wait.
                        self.timer.busy_for(Duration::from_millis(*delay_ms));
                    }
                    self.reply(request, answer);
                }
                Effect::Lend {
                    request,
                    call,
                    attempt,
                } => {
                    let lost = &committed.lost;
                    let asker = Some(request);
                    match judge::lost_keys(self.session, call, attempt, asker, lost)? {
                        Some(ended) => self.session.feed(Event::ToolEnded(ended))?,
                        None => {
                            let answers = self.channel.as_ref().map(|it| &it.answers);
                            self.work
                                .lend(self.session, answers, request, call, attempt);
                        }
                    }
                }
                Effect::EndAgent { told: true } if matches!(self.stage, Stage::Running) => {
                    self.stage = Stage::Leaving {
                        until: Instant::now() + self.grace(),
                    };
                }
                Effect::EndAgent { .. } => {
                    if matches!(self.stage, Stage::Running | Stage::Leaving { .. }) {
                        self.end_agent();
                    }
                }
                Effect::Finish { .. } => self.is_over = true,
                Effect::Unexpected { what } => tracing::error!(what, "impossible event"),
                Effect::Note(_)
                | Effect::Record { .. }
                | Effect::Free { .. }
                | Effect::Unrecord { .. }
                | Effect::Breaker { .. }
                | Effect::Escalate(_)
                | Effect::Close { .. }
                | Effect::Item(_)
                | Effect::Admit { .. }
                | Effect::Execute { .. }
                | Effect::Probe { .. }
                | Effect::Wait { .. } => {}
            }
        }
        fault(boundary, Side::AfterRelease);
        if !self.is_turn_held() {
            for request in std::mem::take(&mut self.said_again) {
                self.repeat_turn(request);
            }
        }
        let state = self.session.state();
        let is_running = state.phase == Phase::Running;
        if is_running && self.ports.outside.is_detached && state.waits_for().is_some() {
            self.session.feed(Event::Suspended)?;
        }
        if is_settled || !is_running {
            self.unpark().await?;
        }
        self.maybe_over().await
    }
}

async fn ending(stage: &mut Stage) -> (Agent, Swept) {
    match stage {
        Stage::Ending { swept } => swept.await,
        Stage::Running | Stage::Leaving { .. } | Stage::Draining { .. } => {
            std::future::pending().await
        }
    }
}

async fn exited(agent: Option<&Agent>, already: bool) -> Exit {
    match agent {
        Some(agent) if !already => agent.exited().await,
        _ => std::future::pending().await,
    }
}

fn noticed(notice: &Notice) {
    tracing::debug!(?notice, "channel");
}

fn exit_event(exit: Exit) -> event::Exit {
    match exit {
        Exit::Code(code) => event::Exit::Code(code),
        Exit::Signal(signal) => event::Exit::Signal(signal),
        Exit::Lost => event::Exit::Lost,
    }
}
