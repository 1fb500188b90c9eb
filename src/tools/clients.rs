//! The HTTP clients of a run: of its tools, and of its gateway.
//!
//! That of the tools is made when the first HTTP tool is called. What it does not do is
//! the point:
//!
//! - no retries and no redirects of its own ([`super::http`] follows some);
//! - no reuse of connections: a kept one may close just as we write to it, and
//!   a write would be in doubt for nothing;
//! - no compression and no cookies.
//!
//! Proxies come from the environment that tools inherit, as curl reads them:
//! `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in small letters or
//! capitals, small ones first. Loopback is always reached directly. Other
//! settings of the machine (desktop proxies, `.netrc`) are not read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy};

use super::home::Home;

/// Longest time for a connection, name lookup and TLS included, in milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;

/// Always reached without a proxy.
const DIRECT: &str = "localhost,127.0.0.0/8,::1";

/// Clients by the time a connection may take.
pub(super) struct Clients {
    made: Mutex<BTreeMap<u64, Client>>,
    proxies: Proxies,
}

/// The proxies of the environment.
#[derive(Default)]
struct Proxies {
    http: Option<String>,
    https: Option<String>,
    direct: String,
}

impl Clients {
    /// Reads the proxies; makes no client yet.
    pub(super) fn new(home: &Home) -> Self {
        Self {
            made: Mutex::default(),
            proxies: Proxies::read(|name| home.inherited(name).map(str::to_owned)),
        }
    }

    /// Returns a client for calls that may take `timeout_ms`.
    ///
    /// A connection gets nine tenths of that at most, so that the end of a
    /// call's time never comes while it is being made: a call that could not
    /// connect was never sent, and that must be known.
    ///
    /// Errors: a proxy that is none, in words without its address.
    pub(super) fn get(&self, timeout_ms: u64) -> Result<Client, String> {
        let connect_ms = (timeout_ms / 10 * 9).clamp(1, CONNECT_MS_MAX);
        // A map of finished clients: whole at any moment.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&connect_ms) {
            return Ok(client.clone());
        }
        let client = self.make(connect_ms)?;
        made.insert(connect_ms, client.clone());
        Ok(client)
    }

    fn make(&self, connect_ms: u64) -> Result<Client, String> {
        self.proxies.client(|builder| {
            builder
                .redirect(Policy::none())
                .referer(false)
                .retry(reqwest::retry::never())
                .pool_max_idle_per_host(0)
                .connect_timeout(Duration::from_millis(connect_ms))
                .user_agent(concat!("agentguard/", env!("CARGO_PKG_VERSION")))
        })
    }
}

/// Makes a client that goes by the proxies of an environment.
///
/// - `variable`: reads the environment;
/// - `settings`: what else the client is to do.
///
/// Errors: a proxy that is none, in words without its address.
pub fn client(
    variable: impl Fn(&str) -> Option<String>,
    settings: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, String> {
    Proxies::read(variable).client(settings)
}

/// Begins a client that speaks TLS by the one implementation that is linked in.
pub fn client_builder() -> ClientBuilder {
    // Only the first call installs it; that it is there already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

impl Proxies {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let known = |name: &str| variable(name).filter(|value| !value.is_empty());
        let read = |name: &str| known(name).or_else(|| known(&name.to_ascii_uppercase()));
        let all = read("all_proxy");
        let direct = match read("no_proxy") {
            Some(list) => format!("{DIRECT},{list}"),
            None => DIRECT.to_owned(),
        };
        Self {
            http: read("http_proxy").or_else(|| all.clone()),
            https: read("https_proxy").or(all),
            direct,
        }
    }

    fn client(&self, settings: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, String> {
        let builder = || self.add_to(settings(client_builder().no_proxy()));
        let client = builder()?.build();
        // A machine without any certificates of authorities can still call
        // plain HTTP; HTTPS then says that the certificate is not trusted.
        let client = match client {
            Ok(client) => Ok(client),
            Err(_) => builder()?.tls_certs_only([]).build(),
        };
        client.map_err(|error| format!("cannot make an HTTP client: {}", error.without_url()))
    }

    fn add_to(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        let of_http = self
            .http
            .as_ref()
            .map(|address| ("http_proxy", Proxy::http(address)));
        let of_https = self
            .https
            .as_ref()
            .map(|address| ("https_proxy", Proxy::https(address)));
        for (name, proxy) in [of_http, of_https].into_iter().flatten() {
            // An address may hold a password.
            let proxy =
                proxy.map_err(|_| format!("the proxy in `{name}` is not a valid address"))?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&self.direct)));
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_proxy_is_named_and_not_shown() {
        let proxies = Proxies {
            http: Some("http://user:fake-pass@ bad".into()),
            ..Proxies::default()
        };
        let error = proxies.add_to(client_builder()).err();
        assert_eq!(
            error.as_deref(),
            Some("the proxy in `http_proxy` is not a valid address")
        );
    }
}
