//! Who is asked: the links of the chain, their rests, breakers and prices, put
//! together for one model call.

use crate::channel::frame;
use crate::channel::method::{Offer, Reserve};
use crate::driver::facts::{admit_to, read_breaker};
use crate::driver::session::{Error, Session};
use crate::driver::translate;
use crate::machine::unavailable_text;
use crate::policy::breaker::{self, Admission, Breaker, of_model};
use crate::policy::budget::{Resource, Usage};
use crate::policy::degrade;

/// Who answers a call.
pub(super) enum Choice {
    /// This link, with what is held back for it.
    Ask(Box<Bid>),
    /// Nobody: every link that could is broken.
    Down {
        /// Which, since when, until when.
        why: String,
    },
}

/// A call as it would go to one link.
pub(super) struct Bid {
    /// The place of the link; `None` where the loop asks for itself.
    pub link: Option<usize>,
    /// The breaker of its model.
    breaker: Option<String>,
    /// That breaker lets everything through.
    is_closed: bool,
    /// What is to be held back.
    pub reserve: Reserve,
    /// Its worst case with nothing else under way, and the output tokens in it.
    pub alone: Result<(Usage, u64), frame::Error>,
    /// It is no model.
    is_free: bool,
}

/// Chooses who answers a call: the first link that fits into the budget and whose
/// breaker lets calls through; those that rest come last.
///
/// Takes nothing yet: see [`admit`].
///
/// Errors: the store's.
pub(super) fn choose(session: &Session, mut asked: Reserve) -> Result<Choice, Error> {
    let offers = std::mem::take(&mut asked.offers);
    let (task, state, now) = (&session.task, session.state(), session.clock.now());
    let spend = state.spend.without_reserved();
    let alone = |reserve: &Reserve| translate::worst_case(reserve, task, state, &spend);
    if offers.is_empty() {
        return Ok(Choice::Ask(Box::new(Bid {
            link: None,
            breaker: None,
            is_closed: true,
            alone: alone(&asked),
            reserve: asked,
            is_free: false,
        })));
    }
    // Past the soft threshold cheaper models come first.
    let is_pressed = state
        .spend
        .past_soft(&state.limits)
        .contains(&Resource::CostUsd);
    let offer = |place: usize| offers.iter().find(|offer| offer.link == place);
    let rests = |place| {
        let model = offer(place).map(|offer| offer.model.as_str());
        state.models.rests(place, model, now).map(|until| until.0)
    };
    let places: Vec<usize> = offers.iter().map(|offer| offer.link).collect();
    let mut order = degrade::order(&session.policy.models.chain, &places, is_pressed, rests);
    if let Some(first) = asked.prefer {
        order.sort_by_key(|place| *place != first);
    }
    let bids = order.iter().filter_map(|place| offer(*place));
    let bids = bids.map(|offer| bid(&asked, offer, alone));
    let limits = state.call_limits();
    let fits = |bid: &Bid| {
        let alone = bid.alone.as_ref();
        alone.is_ok_and(|(worst, _)| spend.next_call(&limits, worst).is_none())
    };
    let breakers = match task.model_breaker {
        Some(_) => session.store.breakers()?,
        None => vec![],
    };
    let mut down = None;
    let mut unfit = None;
    for mut bid in bids {
        let name = bid.breaker.as_deref().unwrap_or_default();
        let row = breakers.iter().find(|row| row.name == name);
        let breaker = row.and_then(|row| read_breaker(&row.state));
        let is_closed = |it: &Breaker| it.state == breaker::State::Closed;
        bid.is_closed = breaker.as_ref().is_none_or(is_closed);
        if let Some((breaker, back_at)) = breaker.and_then(|it| it.refuses(now).map(|at| (it, at)))
        {
            let model = bid.reserve.model.as_deref().unwrap_or("the model");
            down.get_or_insert(unavailable_text(
                model,
                back_at,
                breaker.last_error.as_deref(),
            ));
        } else if bid.is_free && unfit.is_some() {
            // A fixed text is for models that are not there, not for a budget that is
            // used up.
        } else if fits(&bid) {
            return Ok(Choice::Ask(Box::new(bid)));
        } else {
            // Where nothing fits, the first one's worst case says by how much.
            unfit.get_or_insert(bid);
        }
    }
    Ok(match (unfit, down) {
        (Some(bid), _) => Choice::Ask(Box::new(bid)),
        (None, Some(why)) => Choice::Down { why },
        (None, None) => Choice::Down {
            why: "no upstream can take this call".to_owned(),
        },
    })
}

/// Asks the breaker of the model that was chosen, right before its call goes out;
/// takes the probe if it is to be had. Returns why the call must not go out.
///
/// Errors: the store's.
pub(super) async fn admit(session: &Session, bid: &Bid) -> Result<Option<String>, Error> {
    let (Some(name), true) = (&bid.breaker, session.task.model_breaker.is_some()) else {
        return Ok(None);
    };
    if bid.is_closed {
        // Asking would wait for the disk, and change nothing.
        return Ok(None);
    }
    let probe_ms = session.task.limits.model_call_timeout_ms;
    let now = session.clock.now();
    let admission = admit_to(session.store.as_ref(), name, probe_ms, now).await?;
    Ok(match admission {
        Admission::Go | Admission::Probe => None,
        Admission::Refused {
            back_at,
            last_error,
        } => {
            let model = bid.reserve.model.as_deref().unwrap_or("the model");
            Some(unavailable_text(model, back_at, last_error.as_deref()))
        }
    })
}

fn bid(
    asked: &Reserve,
    offer: &Offer,
    alone: impl Fn(&Reserve) -> Result<(Usage, u64), frame::Error>,
) -> Bid {
    let mut reserve = Reserve {
        model: Some(offer.model.clone()),
        input_tokens: offer.input_tokens,
        long_cache: offer.long_cache.clone(),
        unbounded: offer.unbounded.clone(),
        ..asked.clone()
    };
    if !offer.takes_terms {
        reserve.terms = Default::default();
    }
    reserve.terms.link = Some(offer.link);
    if offer.is_free {
        (reserve.cost_nano_usd, reserve.input_tokens) = (Some(0), 0);
    }
    Bid {
        link: Some(offer.link),
        breaker: (!offer.is_free).then(|| of_model(&offer.host, &offer.model)),
        is_closed: false,
        alone: alone(&reserve),
        reserve,
        is_free: offer.is_free,
    }
}
