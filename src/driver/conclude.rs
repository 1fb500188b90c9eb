//! The end of a run whose agent is done: what `machine::conclude` asks for.
//!
//! Called after an attempt, and by a resume that finds a part of the end still to
//! be done; both look at the state only, so a part that a crash cut off is begun
//! anew. What a part starts carries the run's mark and goes with the supervisor.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::UnixMs;
use crate::drill::{Boundary, Side, fault};
use crate::driver::session::{Error, Session};
use crate::driver::staging;
use crate::driver::supervise::Ports;
use crate::driver::{launch, review, saga};
use crate::machine::event::{CheckEnd, CheckVerdict, StoppedBy, TimeLimit};
use crate::machine::{Event, Part, Phase, State};
use crate::process::{Mark, sweep_marked};
use crate::task::resolved::{Check, Look};
use crate::verify::{self, Site};

/// The longest sleep between two looks at the clock; the deadline counts
/// wall-clock time, which goes on while the machine sleeps and timers do not.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Sees the parts of the end through, until the run has ended or its agent has to
/// be started again. Does nothing where no part is due.
pub async fn conclude(session: &mut Session, ports: &mut Ports) -> Result<(), Error> {
    let mut due = session.state().part().cloned();
    while let Some(part) = due {
        match part {
            Part::Verifying { round } => verify(session, ports, round).await?,
            Part::Committing { is_started, .. } => {
                staging::commit(session, ports, is_started).await?;
            }
            Part::Returning => return Ok(()),
            Part::RollingBack { .. } => saga::roll_back(session, ports).await?,
        }
        due = match &session.state().phase {
            Phase::Concluding { part } => Some(part.clone()),
            _ => None,
        };
    }
    Ok(())
}

/// Makes the checks of a round.
async fn verify(session: &mut Session, ports: &mut Ports, round: u32) -> Result<(), Error> {
    session
        .feed_and_wait(Event::VerifyStarted { round })
        .await?;
    let task = session.task.clone();
    let checks: &[Check] = task.verify.as_ref().map_or(&[], |verify| &verify.checks);
    let output_dir = ports.folder.join("checks").join(round.to_string());
    // A round that was cut off left its output there.
    let _ = fs::remove_dir_all(&output_dir);
    let site = fs::create_dir_all(&output_dir)
        .map_err(|error| error.to_string())
        .and_then(|()| {
            launch::check_environment(&task, &ports.outside.environment)
                .map_err(|error| error.to_string())
        });
    let result = session.state().done.clone();
    let toolbox = Arc::clone(&ports.toolbox);
    let hide = |text: &str| toolbox.hide(text);
    let (env, broken) = match site {
        Ok(env) => (env, None),
        Err(why) => (vec![], Some(why)),
    };
    let site = Site {
        run: &session.run.clone(),
        launcher: &ports.outside.launcher.clone(),
        workspace: &task.agent.cwd,
        env,
        output_dir,
        grace_ms: task.agent.grace_ms,
        result: result.as_ref(),
        hide: &hide,
    };
    let mut ended = Vec::with_capacity(checks.len());
    let mut cut_by = None;
    for (index, check) in checks.iter().enumerate() {
        let made = match (&check.look, &broken) {
            (_, Some(why)) => Ok(unchecked(check, why)),
            (Look::Model(asked), None) => {
                review::check(session, ports, round, check, asked).await?
            }
            (_, None) => tokio::select! {
                biased;
                end = verify::check(&site, index + 1, check) => Ok(end),
                cut = cut(&mut ports.outside.stops, session) => Err(cut),
            },
        };
        match made {
            Ok(end) => ended.push(end),
            Err(cut) => {
                cut_by = Some(cut);
                break;
            }
        }
    }
    let event = match cut_by {
        None => Event::Verified {
            round,
            checks: ended,
        },
        Some(Cut::By(by)) => Event::StopRequested { by },
        Some(Cut::Deadline) => Event::TimeUp {
            limit: TimeLimit::Deadline,
        },
    };
    // Whatever a check that was cut off has started ends before the run does.
    sweep_marked(&Mark::run(session.run.clone()), 0).await;
    session.feed_and_wait(event).await?;
    fault(Boundary::Verified, Side::AfterRelease);
    Ok(())
}

/// Why a check is cut off.
pub(super) enum Cut {
    /// Somebody wants the run to stop.
    By(StoppedBy),
    /// The run's deadline passed.
    Deadline,
}

/// Waits until something cuts the checks off.
pub(super) async fn cut(stops: &mut mpsc::Receiver<StoppedBy>, session: &Session) -> Cut {
    let (state, clock) = (session.state(), &session.clock);
    tokio::select! {
        biased;
        by = stopped(stops) => Cut::By(by),
        () = deadline(state, || clock.now()) => Cut::Deadline,
    }
}

/// A check that was not made.
pub(super) fn unchecked(check: &Check, why: &str) -> CheckEnd {
    CheckEnd {
        name: check.name.clone(),
        verdict: CheckVerdict::Unchecked,
        why: why.to_owned(),
        findings: String::new(),
        took_ms: 0,
    }
}

/// Waits until somebody wants the run to stop.
pub(super) async fn stopped(stops: &mut mpsc::Receiver<StoppedBy>) -> StoppedBy {
    match stops.recv().await {
        Some(by) => by,
        None => std::future::pending().await,
    }
}

/// Waits for the run's deadline.
pub(super) async fn deadline(state: &State, now: impl Fn() -> UnixMs) {
    loop {
        match state.left_ms(now()) {
            Some(0) => return,
            Some(left_ms) => tokio::time::sleep(Duration::from_millis(left_ms).min(LOOK_MAX)).await,
            None => std::future::pending().await,
        }
    }
}
