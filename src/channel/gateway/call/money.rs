//! What a call may cost: held back before it goes out, settled when it came back.

use hyper::header::HeaderMap;
use tokio::sync::OwnedMutexGuard;

use super::super::Shared;
use super::super::chain::Place;
use super::super::history::History;
use super::super::line::Line;
use super::super::memory::Around;
use super::super::wire::extras::{self, Extras, Uncounted};
use super::super::wire::{Api, Asked, Usage, Why, reply};
use super::told::{clipped, learn};
use super::{Asking, Came, Let, Open, Tries, stopped, why_stopped};
use crate::channel::frame::Error;
use crate::channel::method::{
    self, Call, End, Exchange, Next, Offer, Reserve, ReserveAnswer, Turn, Verdict, Wire,
};

/// Fewest tokens that Messages takes as set aside for thinking.
pub(super) const THINKING_LEAST: u64 = 1_024;

/// Output that a call without a limit is given where money is limited, in tokens.
/// What is not limited cannot be held back; more than this, models in use refuse.
fn output_tokens(api: Api) -> u64 {
    match api {
        Api::Gemini => 8_192,
        Api::Messages | Api::CountTokens | Api::Chat | Api::Responses => 16_384,
    }
}

/// Held by a call that shows how a model counts.
pub(super) struct Proving {
    model: String,
    _held: OwnedMutexGuard<()>,
}

impl Asking<'_> {
    /// Waits where it is not known yet how the model counts that is likely to be asked:
    /// the bytes of a request bound what it holds, not what a server adds to it. So the
    /// first call of a model goes out alone; what it showed counts for the others.
    ///
    /// - `proving`: what the call holds meanwhile.
    pub(super) async fn prove(
        &self,
        line: &mut Line,
        tries: &Tries,
        proving: &mut Option<Proving>,
    ) {
        let offers = self.offers.as_deref().unwrap_or_default();
        let can = |offer: &&Offer| !tries.out().contains(&offer.link);
        let next = match tries.prefer {
            Some(link) => offers.iter().find(|offer| offer.link == link),
            None => offers.iter().find(can),
        };
        let Some(offer) = next.filter(|offer| self.is_unproven(offer)) else {
            *proving = None;
            return;
        };
        if proving.as_ref().is_some_and(|it| it.model == offer.model) {
            return;
        }
        // Who waits for one model must not hold up another.
        *proving = None;
        let lock = self.shared.memory().proving(&offer.model);
        let held = self.held(line, lock.lock_owned()).await;
        *proving = self.is_unproven(offer).then(|| Proving {
            model: offer.model.clone(),
            _held: held,
        });
    }

    /// Whether a call may go out that was let out, as far as it is known, or is shown by
    /// this call alone, how its model counts.
    pub(super) fn is_proven(&self, open: &Open, proving: &mut Option<Proving>) -> bool {
        if !open.is_unproven {
            *proving = None;
            return true;
        }
        if proving.as_ref().is_some_and(|it| it.model == open.model) {
            return true;
        }
        *proving = None;
        let lock = self.shared.memory().proving(&open.model);
        let Ok(held) = lock.try_lock_owned() else {
            return false;
        };
        let is_unknown = self.shared.memory().beyond(&open.model).is_none();
        *proving = is_unknown.then(|| Proving {
            model: open.model.clone(),
            _held: held,
        });
        is_unknown
    }

    /// Whether it is not known how the model of an offer counts, and has to be.
    fn is_unproven(&self, offer: &Offer) -> bool {
        self.shared.settings.is_capped
            && offer.is_first
            && !offer.is_free
            && self.shared.memory().beyond(&offer.model).is_none()
    }

    /// Holds the worst case of the call back, and learns who is asked.
    pub(super) async fn reserve(
        &self,
        line: &mut Line,
        tries: &Tries,
    ) -> Result<Let, (Why, String)> {
        let chain = &self.shared.settings.chain;
        let offers = match &self.offers {
            Ok(offers) => offers,
            Err(refusal) => return Err(refusal.clone()),
        };
        let can = |offer: &&Offer| !tries.unfit.contains(&offer.link);
        let mut left: Vec<Offer> = offers.iter().filter(can).cloned().collect();
        let unproven = left.iter().filter(|offer| self.is_unproven(offer));
        let unproven: Vec<usize> = unproven.map(|offer| offer.link).collect();
        for offer in left.iter_mut().filter(|offer| offer.is_first) {
            let beyond = self.shared.memory().beyond(&offer.model).unwrap_or(0);
            offer.input_tokens = offer.input_tokens.saturating_add(beyond);
        }
        // Who was left is asked again when nobody else can take it.
        if left.iter().any(|offer| !tries.left.contains(&offer.link)) {
            left.retain(|offer| !tries.left.contains(&offer.link));
        }
        let fits = |offer: &Offer| {
            let most = chain.get(offer.link).and_then(|link| link.context_tokens);
            most.is_none_or(|most| offer.input_tokens <= most)
        };
        // The bound is a high one: who may be too small is asked when nobody is left.
        if left.iter().any(fits) {
            left.retain(fits);
        }
        if left.is_empty() {
            return Err(match (tries.why_unfit.as_str(), tries.of_link.is_empty()) {
                ("", _) => (Why::Unreachable, "every upstream was asked".to_owned()),
                (why, false) => (Why::Unreachable, why.to_owned()),
                // Whoever asks the same again hears the same.
                (why, true) => (Why::BadRequest, why.to_owned()),
            });
        }
        let first = left[0].clone();
        let choices = self.asked.choices.max(1);
        let output = self
            .asked
            .max_output
            .unwrap_or_else(|| output_tokens(self.api()));
        let worst = Reserve {
            model: Some(self.model.clone()),
            input_tokens: first.input_tokens,
            max_tokens: output.saturating_mul(choices).max(1),
            cost_nano_usd: None,
            // The API refuses less than what is set aside for thinking, and that less
            // than its least.
            least_tokens: self
                .asked
                .thinking
                .map_or(0, |thinking| thinking.min(THINKING_LEAST).saturating_mul(2)),
            offers: left,
            prefer: tries.prefer,
            unasked: self.shared.memory().goes_live(&self.placed),
            terms: self.terms.clone(),
            long_cache: first.long_cache,
            unbounded: first.unbounded,
            ticket: Some(self.placed.ticket),
        };
        match self
            .held(line, self.shared.hub.ask(Call::Reserve(worst)))
            .await
        {
            Ok(method::Answer::Reserve(ReserveAnswer::Go {
                reservation,
                max_tokens,
                steer,
                link,
                is_quiet,
            })) => {
                let mut memory = self.shared.memory();
                if let Some(steer) = steer {
                    memory.steer(self.placed.conversation, steer);
                }
                let model = chain
                    .get(link)
                    .map_or(self.model.as_str(), |it| it.model_for(&self.model));
                let open = Open {
                    reservation,
                    link,
                    model: model.to_owned(),
                    max_tokens: max_tokens / choices,
                    is_unproven: unproven.contains(&link),
                    steer: memory.take_steer(&self.placed),
                };
                Ok(match is_quiet {
                    true => Let::Through(Some(open)),
                    false => Let::Out(open),
                })
            }
            Ok(method::Answer::Reserve(ReserveAnswer::Pass)) => Ok(Let::Through(None)),
            Ok(method::Answer::Reserve(ReserveAnswer::Stop {
                reason, exit_code, ..
            })) => Err((why_stopped(exit_code), reason)),
            Ok(_) => Err((Why::Unreachable, "the supervisor gave no answer".to_owned())),
            Err(error) => Err(stopped(&error)),
        }
    }

    /// Settles a try, and hears what becomes of it.
    pub(super) async fn settle(
        &self,
        open: Open,
        came: &Came,
        tries: &Tries,
    ) -> Result<Next, Error> {
        let is_answer = came.is_answer();
        let reply = came.reply.clone().unwrap_or_default();
        if is_answer {
            let mut memory = self.shared.memory();
            learn(&mut memory, &reply, &self.history, &open.model, self.around);
            let offers = self.offers.as_deref().unwrap_or_default();
            if let Some(offer) = offers.iter().find(|it| it.link == open.link && it.is_first) {
                let usage = reply.usage.as_ref().filter(|_| reply.is_usage_final);
                let input = usage.map(|usage| usage.tokens().saturating_sub(usage.output));
                memory.counted(&offer.model, offer.input_tokens, input);
            }
        }
        let turn = Turn {
            said: match is_answer {
                true => self.said(&reply),
                false => method::Said::Nothing,
            },
            wire: Some(Wire {
                is_in_doubt: !self.is_known(came),
                is_quiet: false,
                reply: is_answer.then(|| self.kept(came)).flatten(),
                exchange: Some(Box::new(self.exchange(&open, came, &reply, tries))),
                ..self.answered(&reply)
            }),
            ..self.settled(&open, came)
        };
        self.commit(turn).await
    }

    /// What settles a reservation.
    pub(super) fn settled(&self, open: &Open, came: &Came) -> Turn {
        let usage = came.reply.as_ref().and_then(|reply| reply.usage.clone());
        let model = came.reply.as_ref().and_then(|reply| reply.model.as_deref());
        let model = model.unwrap_or(&open.model);
        Turn {
            usage: Some(self.used(&usage.unwrap_or_default(), model, &open.model, open.link)),
            reservation: Some(open.reservation),
            ..Turn::default()
        }
    }

    /// Whether it is known for certain what a try used.
    pub(super) fn is_known(&self, came: &Came) -> bool {
        let Some(reply) = &came.reply else {
            return !came.is_in_doubt;
        };
        // An overload instead of the first word: the model did nothing.
        let is_overload = |fault: &reply::Fault| matches!(fault.status, Some(429 | 503 | 529));
        let is_turned_away = came.end == End::Unseen
            && reply.usage.is_none()
            && reply.text.is_empty()
            && reply.calls.is_empty()
            && reply.error.as_ref().is_some_and(is_overload);
        is_turned_away || reply.is_usage_final && reply.usage.is_some()
    }

    /// Takes an answer that is unfit for what it is.
    pub(super) async fn accept(&self, came: &mut Came) -> Result<(), Error> {
        let reply = came.reply.clone().unwrap_or_default();
        let turn = Turn {
            said: self.said(&reply),
            wire: Some(Wire {
                reply: self.kept(came),
                ..self.answered(&reply)
            }),
            ..Turn::default()
        };
        self.commit(turn).await.map(drop)
    }

    /// Settles a reservation whose call was not sent.
    pub(super) async fn unsent(&self, mut open: Open, why: &str, tries: &Tries) {
        if let Some(steer) = open.steer.take() {
            self.steer_later(steer);
        }
        let turn = Turn {
            usage: Some(self.used(&Usage::default(), &open.model, &open.model, open.link)),
            reservation: Some(open.reservation),
            error: Some(clipped(&format!("the call was not sent: {why}"))),
            wire: Some(Wire {
                exchange: Some(Box::new(Exchange {
                    link: open.link,
                    host: self.host_of(open.link),
                    model: open.model,
                    out: tries.out(),
                    broke: Some(why.to_owned()),
                    end: End::Unsent,
                    ..Exchange::default()
                })),
                ticket: Some(self.placed.ticket),
                ..Wire::default()
            }),
            ..Turn::default()
        };
        // There is no answer that would have to wait for it.
        let _ = self.commit(turn).await;
    }

    /// Our protocol's counts of an API's.
    ///
    /// - `model`: that used them;
    /// - `named`: that was asked;
    /// - `link`: of the chain.
    pub(super) fn used(
        &self,
        usage: &Usage,
        model: &str,
        named: &str,
        link: usize,
    ) -> method::Usage {
        let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let terms = method::Terms {
            // Anthropic's is paid for beforehand, and no dearer a token.
            service_tier: match self.api() {
                Api::Messages | Api::CountTokens => self.terms.service_tier.clone(),
                _ => said_or_asked(&usage.service_tier, &self.terms.service_tier),
            },
            speed: said_or_asked(&usage.speed, &self.terms.speed),
            region: said_or_asked(&usage.region, &self.terms.region),
            link: Some(link),
        };
        let others = usage.others.iter().map(|(model, usage)| {
            let mut other = self.used(usage, model, named, link);
            // What was asked for is another one.
            other.seen.asked_model = None;
            other
        });
        method::Usage {
            model: Some(model.to_owned()),
            input_tokens: Some(usage.input),
            output_tokens: Some(usage.output),
            cached_input_tokens: Some(usage.cache_read),
            cache_write_tokens: Some(written),
            cost_nano_usd: None,
            seen: method::Seen {
                asked_model: Some(named.to_owned()),
                hour_write_tokens: usage.cache_write_1h,
                web_searches: usage.web_searches,
                terms,
                others: others.collect(),
            },
        }
    }

    /// Makes the turn durable.
    ///
    /// Errors: the run is ending and takes it no more; what was held back then
    /// counts as spent, and the answer must not leave.
    pub(super) async fn commit(&self, turn: Turn) -> Result<Next, Error> {
        match self.shared.hub.ask(Call::Turn(Box::new(turn))).await? {
            method::Answer::Turn(told) => {
                match told.verdict {
                    Verdict::Steer { text, .. } => self.steer_later(text),
                    Verdict::Stop {
                        reason, exit_code, ..
                    } if told.next != Next::Take => {
                        return Err(Error::Stopping { reason, exit_code });
                    }
                    Verdict::Go | Verdict::Stop { .. } => {}
                }
                Ok(told.next)
            }
            _ => Ok(Next::Take),
        }
    }

    /// Whose server a link is.
    pub(super) fn host_of(&self, link: usize) -> String {
        let offers = self.offers.as_deref().unwrap_or_default();
        let offer = offers.iter().find(|offer| offer.link == link);
        offer.map(|offer| offer.host.clone()).unwrap_or_default()
    }
}

/// Who can take a call, and what it costs there at most.
///
/// Errors: why nobody can.
pub(super) fn offers(
    shared: &Shared,
    asked: &Asked<'_>,
    named: &str,
    history: &History,
    around: Around,
) -> Result<Vec<Offer>, (Why, String)> {
    let settings = &shared.settings;
    let (mut offers, mut why) = (Vec::new(), None);
    for (place, link) in settings.chain.iter().enumerate() {
        let model = link.model_for(named);
        let is_free = matches!(link.place, Place::Reply(_));
        let seen = shared.memory().beginning(history, model);
        let extras = match settings.is_capped && !is_free {
            true => extras::read(asked, model, history.notable(), seen.messages),
            false => Extras::default(),
        };
        if let Some(lack) = link.lack(asked) {
            let lack = format!("`{}` cannot take this call: {lack}", link.name);
            why.get_or_insert((Why::BadRequest, lack));
            continue;
        }
        if let Some(Uncounted { field, why: reason }) = &extras.uncounted {
            why.get_or_insert((Why::Unpriced, format!("{field} {reason}")));
            continue;
        }
        let former = asked.previous_response_id.as_deref();
        let carried = former.map(|former| shared.memory().carried(former));
        let own = seen
            .input_bound(asked, around, extras.image_bytes)
            .saturating_add(extras.hidden_tokens)
            .max(link.counts);
        // An earlier answer that this run has not seen holds a window at most.
        let hidden = (carried == Some(None)).then(|| "previous_response_id".to_owned());
        offers.push(Offer {
            link: place,
            model: model.to_owned(),
            host: link.host(&settings.upstreams, asked.api),
            input_tokens: own.saturating_add(carried.flatten().unwrap_or(0)),
            long_cache: extras.long_cache,
            unbounded: extras.unbounded.or(hidden.filter(|_| settings.is_capped)),
            takes_terms: link.api.is_none_or(|api| api == asked.api),
            is_free,
            is_first: seen.messages == 0,
        });
    }
    match (offers.iter().all(|offer| offer.is_free), why) {
        (true, Some(why)) => Err(why),
        _ => Ok(offers),
    }
}

/// What the request asks for that changes its price.
pub(super) fn terms(asked: &Asked<'_>, headers: &HeaderMap) -> method::Terms {
    // One platform of Google's takes the tier from a header.
    let header = headers.get("x-vertex-ai-llm-shared-request-type");
    let header = header.and_then(|value| value.to_str().ok());
    let header = header.filter(|word| !word.eq_ignore_ascii_case("flex"));
    let mut terms = extras::terms(asked);
    terms.service_tier = terms.service_tier.or(header.map(str::to_owned));
    terms
}

/// What an answer says, else what was asked for.
fn said_or_asked(said: &Option<String>, asked: &Option<String>) -> Option<String> {
    said.as_ref().or(asked.as_ref()).cloned()
}
