//! Model calls that ask whether they may go out.

use super::Attempt;
use crate::channel::{frame, method};
use crate::driver::models;
use crate::driver::replay::Playback;
use crate::driver::session::{Beside, Error};
use crate::machine::Event;
use crate::machine::event::RequestNo;
use crate::policy::budget::Spend;

/// Model calls of a loop that speaks to us which pass before it tells what they
/// used; more are counted by the gateway.
const UNTOLD_MAX: u32 = 3;

impl Attempt<'_> {
    /// Holds the worst case of a model call back. One that does not fit only
    /// because others are under way waits until they have shown what they cost.
    pub(super) async fn reserve(
        &mut self,
        request: RequestNo,
        asked: method::Reserve,
    ) -> Result<(), Error> {
        if !self.parked.is_empty() {
            // Whoever came first goes first.
            self.parked.push_back((request, asked));
            return Ok(());
        }
        match self.try_reserve(request, asked).await? {
            None => Ok(()),
            Some(waits) => {
                self.parked.push_back((request, waits));
                Ok(())
            }
        }
    }

    /// Returns what was asked if it has to wait.
    async fn try_reserve(
        &mut self,
        request: RequestNo,
        asked: method::Reserve,
    ) -> Result<Option<method::Reserve>, Error> {
        let unavailable = |why: String| {
            let exit_code = crate::exit_code::UNAVAILABLE;
            let reason = why;
            frame::Error::Stopping { reason, exit_code }
        };
        let state = self.session.state();
        let played = self.ports.playback.as_ref().filter(|it| !it.is_live(state));
        if let Some(why) = played.map(Playback::refusal) {
            self.refuse_call(request, unavailable(why)).await?;
            return Ok(None);
        }
        let bid = match models::choose(self.session, asked.clone())? {
            models::Choice::Ask(bid) => bid,
            models::Choice::Down { why } => {
                self.refuse_call(request, unavailable(why)).await?;
                return Ok(None);
            }
        };
        let (worst, max_tokens) = match &bid.alone {
            Ok(alone) => alone.clone(),
            Err(error) if bid.link.is_none() => {
                self.refuse(request, error.clone())?;
                return Ok(None);
            }
            Err(error) => {
                self.refuse_call(request, error.clone()).await?;
                return Ok(None);
            }
        };
        let state = self.session.state();
        let fits = |spend: &Spend| spend.next_call(&state.limits, &worst).is_none();
        if !fits(&state.spend) && fits(&state.spend.without_reserved()) {
            return Ok(Some(asked));
        }
        if let Some(why) = models::admit(self.session, &bid).await? {
            self.refuse_call(request, unavailable(why)).await?;
            return Ok(None);
        }
        let state = self.session.state();
        let beside = Beside {
            may_lag: state.boot.is_some() && state.spend.covers(&worst),
            ..Beside::default()
        };
        let event = Event::Reserved {
            request,
            worst,
            max_tokens,
            link: bid.link,
            unasked: asked.unasked,
            place: asked.ticket.and_then(|ticket| self.place(ticket)),
        };
        self.session.feed_with(event, beside)?;
        Ok(None)
    }

    /// Refuses a call of an agent that knows nothing of us; that it ends well
    /// proves nothing then.
    async fn refuse_call(&mut self, request: RequestNo, error: frame::Error) -> Result<(), Error> {
        let exit_code = match &error {
            frame::Error::Stopping { exit_code, .. } => *exit_code,
            _ => crate::exit_code::AGENT_FAILED,
        };
        let why = error.to_string();
        self.session.feed(Event::CallRefused { why, exit_code })?;
        self.catch_up().await?;
        self.refuse(request, error)
    }

    /// Asks again for the calls that wait, in their order.
    pub(super) async fn unpark(&mut self) -> Result<(), Error> {
        while let Some((request, asked)) = self.parked.pop_front() {
            if let Some(outcome) = self.session.state().outcome() {
                let (reason, exit_code) = (outcome.describe(), outcome.exit_code());
                self.refuse(request, frame::Error::Stopping { reason, exit_code })?;
            } else if let Some(waits) = Box::pin(self.try_reserve(request, asked)).await? {
                self.parked.push_front((request, waits));
                break;
            }
        }
        Ok(())
    }

    /// Whether it counts its model calls itself, too. Where money is limited it has
    /// to show so, by telling what its calls used: else the gateway counts.
    pub(super) fn counts_itself(&self) -> bool {
        let state = self.session.state();
        let is_capped = state.limits.cost.is_some() || state.limits.tokens.is_some();
        let has_shown = state.counts_itself || self.untold < UNTOLD_MAX;
        self.speaks_itself() && (has_shown || !is_capped)
    }
}
