//! The links of the chain: where a call goes, with which key, and in whose words.

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};

use super::call::Request;
use super::upstream::{Upstream, Upstreams, bearer};
use super::wire::request::Expects;
use super::wire::{Api, Asked, Framing, Patch, Route, api, patch, translate};

/// A link of the chain, as the gateway asks it.
pub struct Link {
    /// Its name, for people.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What its server is called among breakers, where that is not its host.
    pub server: Option<&'static str>,
    /// The API it speaks; `None`: the one that is asked.
    pub api: Option<Api>,
    /// Asked instead of the model that the agent names.
    pub model: Option<String>,
    /// Asked instead, by the model that the agent names.
    pub models: std::collections::BTreeMap<String, String>,
    /// What it cannot do.
    pub lacks: Lacks,
    /// Tokens of input it takes at most.
    pub context_tokens: Option<u64>,
    /// Tokens of input that it counts for a call whatever its bytes are, at most.
    pub counts: u64,
}

/// Where a link is.
pub enum Place {
    /// The provider that the agent asks.
    Asked,
    /// The provider of this API.
    Provider(Api),
    /// A server.
    Server {
        /// Its address, without a slash at the end.
        base: String,
        /// Its key.
        key: Option<String>,
    },
    /// A fixed text.
    Reply(String),
}

/// What a model cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// Call tools.
    pub tools: bool,
    /// Look at images.
    pub images: bool,
    /// Answer as JSON of a schema.
    pub json: bool,
}

/// A call as it goes to one link.
pub(super) enum Prepared {
    /// To a server.
    Sent {
        /// Its address.
        url: String,
        /// With these headers.
        headers: HeaderMap,
        /// And this body.
        body: Bytes,
        /// The API it speaks.
        api: Api,
    },
    /// To nobody: this text answers.
    Fixed(String),
}

/// What is changed of a request on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// Limit of the output, in tokens.
    pub max_output: Option<u64>,
    /// What may be set aside for thinking, in tokens.
    pub thinking: Option<u64>,
    /// A text for the model.
    pub steer: Option<String>,
}

/// Why a call cannot go to a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// The link cannot do what the call needs, or not in its words.
    #[error("`{link}` cannot take this call: {why}")]
    Link {
        /// Which.
        link: String,
        /// What is missing.
        why: String,
    },
    /// There is no place for the text; it has to wait.
    #[error("the model is to continue its own words")]
    NoPlace,
    /// The request cannot be changed.
    #[error(transparent)]
    Body(patch::PatchError),
}

impl Link {
    /// Returns the model it is asked for where the agent names `asked`.
    pub(super) fn model_for<'a>(&'a self, asked: &'a str) -> &'a str {
        let listed = self.models.get(asked).or(self.model.as_ref());
        listed.map_or(asked, String::as_str)
    }

    /// The key of its server, if it has one of its own.
    pub(super) fn key(&self) -> Option<&str> {
        match &self.place {
            Place::Server { key, .. } => key.as_deref(),
            Place::Asked | Place::Provider(_) | Place::Reply(_) => None,
        }
    }

    /// Whose server it is: links of one host share breakers with all runs.
    pub(super) fn host(&self, upstreams: &Upstreams, asked: Api) -> String {
        if let Some(server) = self.server {
            return server.to_owned();
        }
        let base = match &self.place {
            Place::Reply(_) => return "reply".to_owned(),
            Place::Asked => &upstreams.of_api(asked).base,
            Place::Provider(api) => &upstreams.of_api(*api).base,
            Place::Server { base, .. } => base,
        };
        let rest = base
            .split_once("://")
            .map_or(base.as_str(), |(_, rest)| rest);
        let server = rest.split(['/', '?']).next().unwrap_or(rest);
        // A name and a password before it are nobody's to read.
        let (_, server) = server.rsplit_once('@').unwrap_or(("", server));
        server.to_owned()
    }

    /// Whether it speaks another API than `asked`.
    fn translates(&self, asked: Api) -> Option<Api> {
        self.api.filter(|own| *own != asked)
    }

    /// Returns what a call needs that the link does not have.
    pub(super) fn lack(&self, asked: &Asked<'_>) -> Option<&'static str> {
        let has_images = || asked.messages.iter().any(|raw| has_image(raw));
        if self.lacks.tools && !asked.tools.is_empty() {
            return Some("it offers tools");
        }
        if self.lacks.json && !matches!(asked.expects, Expects::Text) {
            return Some("it asks for JSON");
        }
        (self.lacks.images && has_images()).then_some("it has images")
    }

    /// Prepares a call.
    pub(super) fn prepare(
        &self,
        upstreams: &Upstreams,
        request: &Request,
        asked: &Asked<'_>,
        named: &str,
        framing: Framing,
        change: &Change,
    ) -> Result<Prepared, Unfit> {
        let unfit = |why: &str| Unfit::Link {
            link: self.name.clone(),
            why: why.to_owned(),
        };
        if let Place::Reply(text) = &self.place {
            return Ok(Prepared::Fixed(text.clone()));
        }
        let model = self.model_for(named);
        let body = patched(
            asked,
            &request.body,
            framing,
            change,
            (model != named).then_some(model),
        )?;
        let Some(to) = self.translates(asked.api) else {
            let path = match (asked.api, model == named) {
                (Api::Gemini, false) => api::gemini_path(&request.path, model)
                    .ok_or_else(|| unfit("its model has no place in the address"))?,
                _ => request.path.clone(),
            };
            let upstream = self.upstream(upstreams, &request.route, request, asked.api);
            return Ok(Prepared::Sent {
                url: upstream.address(&path),
                headers: upstream.headers(&request.headers),
                body,
                api: asked.api,
            });
        };
        if matches!(asked.api, Api::Gemini) || matches!(to, Api::Gemini) {
            return Err(unfit("calls of Gemini's API are not translated"));
        }
        let body = translate::request(asked.api, to, &body, model)
            .map_err(|error| unfit(&error.to_string()))?;
        let path = match to {
            Api::Messages | Api::CountTokens | Api::Gemini => "/v1/messages",
            Api::Chat => "/v1/chat/completions",
            Api::Responses => "/v1/responses",
        };
        let route = Route::Call {
            api: to,
            model: None,
            framing: None,
        };
        let upstream = self.upstream(upstreams, &route, request, to);
        Ok(Prepared::Sent {
            url: upstream.address(path),
            headers: upstream.headers(&foreign(request, to)),
            body: body.into(),
            api: to,
        })
    }

    /// Returns the server or provider that a request goes to.
    ///
    /// - `api`: whose header carries the key of a server.
    pub(super) fn upstream<'a>(
        &self,
        upstreams: &'a Upstreams,
        route: &Route,
        request: &Request,
        api: Api,
    ) -> std::borrow::Cow<'a, Upstream> {
        use std::borrow::Cow;
        match &self.place {
            Place::Asked | Place::Reply(_) => {
                Cow::Borrowed(upstreams.of(route, &request.headers, &request.path))
            }
            Place::Provider(api) => Cow::Borrowed(upstreams.of_api(*api)),
            Place::Server { base, key } => Cow::Owned(Upstream {
                base: base.clone(),
                key: key.as_deref().and_then(|key| bearer(api, key)),
            }),
        }
    }
}

/// Headers of a call in another API's words: the agent's own belong to its API.
fn foreign(request: &Request, to: Api) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(agent) = request.headers.get(USER_AGENT) {
        headers.insert(USER_AGENT, agent.clone());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if to == Api::Messages {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    headers
}

/// Changes what money, the chain and the steer need, and nothing else.
fn patched(
    asked: &Asked<'_>,
    body: &Bytes,
    framing: Framing,
    change: &Change,
    model: Option<&str>,
) -> Result<Bytes, Unfit> {
    let patch = Patch {
        max_output: change.max_output,
        thinking: change.thinking,
        include_usage: asked.api == Api::Chat && framing == Framing::Events && !asked.asks_usage,
        steer: change.steer.clone(),
        model: model
            .filter(|_| asked.api != Api::Gemini)
            .map(str::to_owned),
    };
    match patch::apply(asked.api, body, &patch) {
        Ok(std::borrow::Cow::Borrowed(_)) => Ok(body.clone()),
        Ok(std::borrow::Cow::Owned(body)) => Ok(body.into()),
        Err(patch::PatchError::NoPlace { .. }) => Err(Unfit::NoPlace),
        Err(error) => Err(Unfit::Body(error)),
    }
}

/// Whether a message holds an image, in any API's words.
fn has_image(message: &str) -> bool {
    ["\"image\"", "\"image_url\"", "\"input_image\"", "\"image/"]
        .iter()
        .any(|mark| message.contains(mark))
}
