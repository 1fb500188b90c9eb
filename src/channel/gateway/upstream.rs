//! Where model calls go, and with which key.
//!
//! The keys and addresses are those of the supervisor's own environment, in the
//! variables that the providers' clients read.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::wire::{Api, Route};

/// The providers of a run.
pub struct Upstreams {
    anthropic: Upstream,
    openai: Upstream,
    google: Upstream,
}

/// One provider or server.
#[derive(Clone)]
pub(super) struct Upstream {
    /// Its address, without a slash at the end.
    pub base: String,
    /// The header that carries the key, and its value.
    pub key: Option<(HeaderName, HeaderValue)>,
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const AUTHORIZATION: HeaderName = hyper::header::AUTHORIZATION;

/// Headers that belong to one connection, or that we set ourselves.
const OURS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-goog-api-key",
];

impl Upstreams {
    /// Reads them from an environment.
    ///
    /// Errors: a sentence about an address that is none.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let base = |names: &[&str], default: &str| {
            let set = names.iter().find_map(|name| Some((name, variable(name)?)));
            let Some((name, base)) = set else {
                return Ok(default.to_owned());
            };
            let is_address = reqwest::Url::parse(&base)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_address {
                return Err(format!(
                    "{name} is `{base}`, expected an address such as `{default}`"
                ));
            }
            Ok(base.trim_end_matches('/').to_owned())
        };
        let key = |name: &str, header: HeaderName, prefix: &str| {
            let mut value = HeaderValue::from_str(&format!("{prefix}{}", variable(name)?)).ok()?;
            value.set_sensitive(true);
            Some((header, value))
        };
        Ok(Self {
            anthropic: Upstream {
                base: base(&["ANTHROPIC_BASE_URL"], "https://api.anthropic.com")?,
                key: key("ANTHROPIC_API_KEY", X_API_KEY, "")
                    .or_else(|| key("ANTHROPIC_AUTH_TOKEN", AUTHORIZATION, "Bearer ")),
            },
            openai: Upstream {
                base: base(
                    &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
                    "https://api.openai.com/v1",
                )?,
                key: key("OPENAI_API_KEY", AUTHORIZATION, "Bearer "),
            },
            google: Upstream {
                base: base(
                    &["GOOGLE_GEMINI_BASE_URL"],
                    "https://generativelanguage.googleapis.com",
                )?,
                key: key("GEMINI_API_KEY", X_GOOG_API_KEY, "")
                    .or_else(|| key("GOOGLE_API_KEY", X_GOOG_API_KEY, "")),
            },
        })
    }

    /// Returns the headers that carry a key, as they are sent.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let all = [&self.anthropic, &self.openai, &self.google].into_iter();
        all.filter_map(|it| it.key.as_ref()?.1.to_str().ok())
    }

    /// Returns the provider of an API.
    pub(super) fn of_api(&self, api: Api) -> &Upstream {
        match api {
            Api::Messages | Api::CountTokens => &self.anthropic,
            Api::Chat | Api::Responses => &self.openai,
            Api::Gemini => &self.google,
        }
    }

    /// Returns the provider that a request asks.
    pub(super) fn of(&self, route: &Route, headers: &HeaderMap, path: &str) -> &Upstream {
        match route {
            Route::Call { api, .. } => self.of_api(*api),
            // Lists of models and the like: the client shows whose it is.
            _ if headers.contains_key("anthropic-version") => &self.anthropic,
            _ if headers.contains_key(X_GOOG_API_KEY) || path.starts_with("/v1beta") => {
                &self.google
            }
            _ => &self.openai,
        }
    }
}

/// Returns the header that carries a key for `api`.
pub(super) fn bearer(api: Api, key: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match api {
        Api::Messages | Api::CountTokens => (X_API_KEY, key.to_owned()),
        Api::Chat | Api::Responses => (AUTHORIZATION, format!("Bearer {key}")),
        Api::Gemini => (X_GOOG_API_KEY, key.to_owned()),
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

impl Upstream {
    /// Returns the address that a request goes to.
    ///
    /// - `path`: as the agent asked for it, with its query.
    pub(super) fn address(&self, path: &str) -> String {
        let base = self.base.as_str();
        let rest = without_version(path);
        let version = path.strip_suffix(rest).unwrap_or_default();
        let is_versioned = without_version(base.rsplit_once('/').map_or("", |(_, last)| last))
            .is_empty()
            && base.matches('/').count() > 2;
        let rest = without_key(rest);
        match (is_versioned, version) {
            (true, _) => format!("{base}{rest}"),
            // Some clients take the version for a part of the address.
            (false, "") => format!("{base}/v1{rest}"),
            (false, version) => format!("{base}{version}{rest}"),
        }
    }

    /// Returns the headers that a request goes with.
    pub(super) fn headers(&self, headers: &HeaderMap) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (name, value) in headers {
            if !OURS.contains(&name.as_str()) {
                out.append(name.clone(), value.clone());
            }
        }
        let plain = HeaderValue::from_static("identity");
        out.insert(hyper::header::ACCEPT_ENCODING, plain);
        if let Some((name, value)) = &self.key {
            out.insert(name.clone(), value.clone());
        }
        out
    }
}

/// Cuts a version (`/v1`, `v1beta`) off the beginning.
fn without_version(path: &str) -> &str {
    let start = path.strip_prefix('/').unwrap_or(path);
    let end = start.find(['/', '?']).unwrap_or(start.len());
    let (first, rest) = start.split_at(end);
    let is_version = first
        .strip_prefix('v')
        .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    if is_version { rest } else { path }
}

/// Takes the key out of a query: it is our token.
fn without_key(path: &str) -> String {
    let Some((address, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.starts_with("key="))
        .collect();
    match kept.is_empty() {
        true => address.to_owned(),
        false => format!("{address}?{}", kept.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::api;
    use super::*;

    #[test]
    fn address_table() {
        #[rustfmt::skip]
        let rows = [
            ("Anthropic",                "", "/v1/messages?beta=true", "https://api.anthropic.com/v1/messages?beta=true"),
            ("a client without version", "", "/messages", "https://api.anthropic.com/v1/messages"),
            ("OpenAI",                   "", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
            ("Gemini, our token in it",  "", "/v1beta/models/g:streamGenerateContent?alt=sse&key=t", "https://generativelanguage.googleapis.com/v1beta/models/g:streamGenerateContent?alt=sse"),
            ("another address",          "http://localhost:9", "/v1/responses", "http://localhost:9/v1/responses"),
            ("with its version",         "http://localhost:9/api/v3/", "/v1/responses", "http://localhost:9/api/v3/responses"),
        ];
        for (name, base, path, want) in rows {
            let variable = |wanted: &str| (wanted == "OPENAI_BASE_URL").then(|| base.to_owned());
            let upstreams = Upstreams::from_variables(variable).unwrap();
            let route = api::route("POST", path, false);
            let address = upstreams.of(&route, &HeaderMap::new(), path).address(path);
            assert_eq!(address, want, "row: {name}");
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        let variable =
            |name: &str| (name == "OPENAI_BASE_URL").then(|| "127.0.0.1:8080".to_owned());
        let said = Upstreams::from_variables(variable).err().unwrap();
        assert!(
            said.contains("OPENAI_BASE_URL is `127.0.0.1:8080`"),
            "{said}"
        );
    }

    #[test]
    fn the_real_key_takes_the_place_of_the_token() {
        let upstreams = Upstreams::from_variables(|name| {
            (name == "ANTHROPIC_API_KEY").then(|| "sk-real".to_owned())
        })
        .unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-api-key", "token"),
            ("authorization", "Bearer token"),
            ("anthropic-beta", "b"),
            ("host", "127.0.0.1:1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let route = api::route("POST", "/v1/messages", false);
        let out = upstreams
            .of(&route, &headers, "/v1/messages")
            .headers(&headers);
        assert_eq!(out["x-api-key"], "sk-real");
        assert_eq!(out["anthropic-beta"], "b");
        assert!(!out.contains_key("authorization") && !out.contains_key("host"));
    }
}
