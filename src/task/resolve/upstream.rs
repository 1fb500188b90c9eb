//! `upstream` and `fallbacks`.

use std::path::PathBuf;

use super::{Checker, Scope, agent};
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{Place, Upstream};
use crate::task::written::{self, Level, Provider, WireApi};

impl Checker<'_> {
    /// Resolves the chain; the first one is always there.
    pub(super) fn upstreams(&mut self) -> Option<Vec<Upstream>> {
        let top = KeyPath::root();
        let path = top.key("upstream");
        let first = match self.is_written(&path) {
            true => self
                .section(&path)
                .and_then(|it| self.upstream(&path, it, true)),
            false => Some(Upstream::default()),
        };
        let rest = self.list(&top.key("fallbacks"), |check, path, it| {
            check.upstream(path, it, false)
        });
        let mut chain = vec![first?];
        chain.extend(rest?);
        self.distinct_names(&chain)?;
        name_apart(&mut chain);
        Some(chain)
    }

    fn upstream(
        &mut self,
        path: &KeyPath,
        written: written::Upstream,
        is_first: bool,
    ) -> Option<Upstream> {
        let before = self.found.len();
        let places = ["script", "reply", "url", "provider"];
        let mut written_places = places
            .iter()
            .filter(|name| self.is_written(&path.key(name)));
        if let (Some(first), Some(second)) = (written_places.next(), written_places.next()) {
            self.refuse(
                &path.key(second),
                Part::Key,
                &format!("stands beside `{first}`"),
                Some("one of `provider`, `url`, `script` and `reply`"),
                Some(&format!("remove `{first}` or `{second}`")),
            );
        }
        if written.key.is_some() && written.url.is_none() {
            self.refuse(
                &path.key("key"),
                Part::Key,
                "stands without `url`",
                Some("a key beside the `url` it is for"),
                Some("a provider's key is taken from its environment variable"),
            );
        }
        if written.api == Some(WireApi::Gemini) && !is_first {
            self.refuse(
                &path.key("api"),
                Part::Value,
                "is an API that calls are not translated to",
                Some("`messages`, `chat` or `responses`"),
                Some("Gemini has an OpenAI-shaped address, too: use it with `api: chat`"),
            );
        }
        let other = ["script", "reply", "url", "provider", "model", "models"];
        if !is_first && !other.iter().any(|name| self.is_written(&path.key(name))) {
            self.refuse(
                path,
                Part::Value,
                "is the same as `upstream`",
                Some("another `model`, `provider`, `url`, `script` or `reply`"),
                None,
            );
        }
        let url = written
            .url
            .as_deref()
            .and_then(|text| self.url(&path.key("url"), text, Scope::VARIABLES_ONLY));
        let key = written
            .key
            .as_deref()
            .and_then(|text| self.template(&path.key("key"), text, Scope::VARIABLES_ONLY));
        (self.found.len() == before).then_some(())?;
        let place = match (written.script, written.reply, url, written.provider) {
            (Some(file), ..) => Place::Script(PathBuf::from(file)),
            (_, Some(text), ..) => Place::Reply(text),
            (_, _, Some(url), _) => Place::Url { url, key },
            (_, _, _, Some(provider)) => Place::Provider(provider),
            _ => Place::Asked,
        };
        let level = match (is_first, written.level, &place) {
            (true, ..) => Level::Primary,
            (_, Some(level), _) => level,
            (_, _, Place::Reply(_)) => Level::Fixed,
            (_, _, Place::Asked) => Level::Cheaper,
            (_, _, Place::Script(_)) => Level::SelfHosted,
            (_, _, Place::Url { .. }) if is_near(written.url.as_deref()) => Level::SelfHosted,
            (_, _, Place::Url { .. } | Place::Provider(_)) => Level::Other,
        };
        let api = written.api.or(match &place {
            Place::Provider(Provider::Anthropic) => Some(WireApi::Messages),
            Place::Provider(Provider::OpenAi) => Some(WireApi::Chat),
            Place::Provider(Provider::Google) => Some(WireApi::Gemini),
            _ => None,
        });
        let name = written.name.clone();
        let name = name
            .or_else(|| written.model.clone())
            .unwrap_or_else(|| match &place {
                Place::Asked if is_first => "primary".to_owned(),
                Place::Asked => "cheaper".to_owned(),
                Place::Provider(Provider::Anthropic) => "anthropic".to_owned(),
                Place::Provider(Provider::OpenAi) => "openai".to_owned(),
                Place::Provider(Provider::Google) => "google".to_owned(),
                Place::Url { .. } => host(written.url.as_deref()).to_owned(),
                Place::Script(_) => "script".to_owned(),
                Place::Reply(_) => "reply".to_owned(),
            });
        Some(Upstream {
            name,
            is_named: written.name.is_some(),
            place,
            api,
            model: written.model,
            models: written.models,
            level,
            lacks: written.lacks,
            context_tokens: written.context.map(|it| it.0),
            price: written.price.as_ref().map(agent::price),
        })
    }

    fn distinct_names(&mut self, chain: &[Upstream]) -> Option<()> {
        let named = |upstream: &&Upstream| upstream.is_named;
        for (place, upstream) in chain.iter().enumerate().filter(|(_, it)| it.is_named) {
            if chain[..place]
                .iter()
                .filter(named)
                .any(|it| it.name == upstream.name)
            {
                let path = KeyPath::root()
                    .key("fallbacks")
                    .index(place - 1)
                    .key("name");
                self.refuse(
                    &path,
                    Part::Value,
                    "is given twice",
                    Some("a name of its own"),
                    None,
                );
                return None;
            }
        }
        Some(())
    }
}

/// Gives links of the same name a number.
fn name_apart(chain: &mut [Upstream]) {
    for place in 1..chain.len() {
        let (before, rest) = chain.split_at_mut(place);
        let same = before.iter().filter(|it| {
            it.name == rest[0].name || it.name.starts_with(&format!("{}-", rest[0].name))
        });
        let same = same.count();
        if same > 0 {
            rest[0].name = format!("{}-{}", rest[0].name, same + 1);
        }
    }
}

fn host(url: Option<&str>) -> &str {
    let url = url.unwrap_or_default();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Whether an address is one of this machine or network.
fn is_near(url: Option<&str>) -> bool {
    let host = host(url);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_private = |name: &str| {
        let octets: Vec<u8> = name.split('.').filter_map(|it| it.parse().ok()).collect();
        matches!(
            octets[..],
            [127 | 10, _, _, _] | [192, 168, _, _] | [172, 16..=31, _, _]
        )
    };
    name == "localhost" || name.starts_with("[::1]") || name.ends_with(".local") || is_private(name)
}
