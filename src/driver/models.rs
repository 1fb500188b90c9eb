//! Who is asked: the links of the chain, their rests, breakers and prices, put
//! together for one model call.

use crate::channel::method::{Offer, Reserve};
use crate::driver::facts::admit_to;
use crate::driver::policy::provider;
use crate::driver::session::{Error, Session};
use crate::driver::translate;
use crate::policy::breaker::{Admission, of_model};
use crate::policy::budget::Resource;
use crate::policy::degrade;

/// Who answers a call.
pub(super) enum Choice {
    /// The loop asks for itself; there is nothing to choose.
    None,
    /// This link.
    Ask {
        /// Its place in the chain.
        link: usize,
        /// The model.
        model: String,
    },
    /// Nobody: every link that could is broken.
    Down {
        /// Which, since when, until when.
        why: String,
    },
}

/// Chooses who answers a call: the first link that does not rest, fits into the
/// budget and is let through by its breaker.
///
/// Errors: the store's.
pub(super) async fn choose(session: &Session, asked: &Reserve) -> Result<Choice, Error> {
    if asked.offers.is_empty() {
        return Ok(Choice::None);
    }
    let (task, state, now) = (&session.task, session.state(), session.clock.now());
    // Past the soft threshold cheaper models come first.
    let is_pressed = state.warned.contains(&Resource::CostUsd);
    let rests = |place| state.models.rests(place, now);
    let order = degrade::order(&session.policy.models.chain, is_pressed, rests);
    let offers: Vec<_> = order
        .iter()
        .filter_map(|place| asked.offers.iter().find(|offer| offer.link == *place))
        .collect();
    let fits = |offer: &Offer| {
        let mut bid = Reserve {
            model: Some(offer.model.clone()),
            ..asked.clone()
        };
        bid.terms.link = Some(offer.link);
        let spend = state.spend.without_reserved();
        translate::worst_case(&bid, task, state, &spend)
            .is_ok_and(|(worst, _)| spend.next_call(&state.limits, &worst).is_none())
    };
    // Where nothing fits, the first one's worst case says by how much.
    let first_fitting = offers.iter().position(|offer| fits(offer));
    let mut down = None;
    for offer in offers.iter().skip(first_fitting.unwrap_or(0)) {
        if offers.len() > 1 && first_fitting.is_some() && !fits(offer) {
            continue;
        }
        let name = of_model(&provider(&task.upstreams[offer.link]), &offer.model);
        let admission = match task.model_breaker {
            Some(_) => {
                let probe_ms = task.limits.model_call_timeout_ms;
                admit_to(session.store.as_ref(), &name, probe_ms, now).await?
            }
            None => Admission::Go,
        };
        match admission {
            Admission::Go | Admission::Probe => {
                return Ok(Choice::Ask {
                    link: offer.link,
                    model: offer.model.clone(),
                });
            }
            Admission::Refused {
                back_at,
                last_error,
            } => {
                let model = &offer.model;
                down.get_or_insert(crate::machine::unavailable_text(
                    model,
                    back_at,
                    last_error.as_deref(),
                ));
            }
        }
    }
    Ok(match (down, offers.first()) {
        (None, Some(offer)) => Choice::Ask {
            link: offer.link,
            model: offer.model.clone(),
        },
        (Some(why), _) => Choice::Down { why },
        (None, None) => Choice::Down {
            why: "no upstream can take this call: it needs what they lack".to_owned(),
        },
    })
}
