//! A tool that is an HTTP request.
//!
//! # Delivery
//!
//! | what happened | delivery | status for the taxonomy |
//! |---|---|---|
//! | no name, refused, no TLS, no connection in time | never sent | 0 |
//! | connected, then reset, closed or out of time without an answer | unknown | 0 |
//! | an answer | answered | its own |
//! | an answer below 400, cut before its end | unknown | 0 |
//! | 502, 504, 520 to 524: a gateway speaks, and does not know either | unknown | its own |
//!
//! # Secrets
//!
//! URLs in errors and observations have the names of variables, not their
//! values, and no user and password; header values that we send show nowhere.

use std::error::Error as _;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url};
use tokio::time::timeout;

use crate::machine::event::Delivery;
use crate::task::resolved::{self, Action, Body, NativeKey, Tool};
use crate::task::template::{Place, RenderError, render_json};

use super::answer::{Head, answered, no_answer};
use super::clients::Clients;
use super::download::Download;
use super::home::Home;
use super::redirect::{Redirect, redirected};
use super::toolbox::Outcome;
use super::{Error, Job};

/// Checks the names of a tool's headers.
pub(super) fn check_headers(name: &str, tool: &Tool) -> Result<(), Error> {
    let Action::Http { headers, .. } = &tool.action else {
        return Ok(());
    };
    let native = tool.native_key.iter().filter_map(|native| match native {
        NativeKey::Header(header) => Some(header),
        NativeKey::Env(_) | NativeKey::Argument(_) | NativeKey::Meta(_) => None,
    });
    for header in headers.0.keys().chain(native) {
        if HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(Error::HeaderName {
                tool: name.to_owned(),
                name: header.clone(),
            });
        }
    }
    Ok(())
}

/// Sends a request once.
pub(super) async fn run(
    home: &Home,
    clients: &Clients,
    tool: &Tool,
    job: &Job,
    keep_bytes: usize,
) -> Outcome {
    let started = Instant::now();
    let shown = Shown::of(tool, job);
    let mut outcome = match prepared(home, clients, tool, job) {
        Ok((client, request)) => {
            let mut exchange = Exchange::new(Download::new(home.file(job, "body"), keep_bytes));
            let time = Duration::from_millis(tool.timeout_ms);
            let ended = timeout(time, exchange.run(&client, request)).await;
            let cut = match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Cut::by(&error)),
                Err(_) => Some(Cut::by_time(tool.timeout_ms)),
            };
            concluded(home, exchange, cut, &shown).await
        }
        Err(why) => no_answer(
            home,
            &format!("the request cannot be sent: {why}"),
            Delivery::NeverSent,
            &shown,
        ),
    };
    outcome.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome
}

/// The request as it may be seen by anybody.
pub(super) struct Shown {
    pub(super) method: &'static str,
    pub(super) url: String,
}

impl Shown {
    /// Renders with the names of variables in the place of their values.
    fn of(tool: &Tool, job: &Job) -> Self {
        let Action::Http { method, url, .. } = &tool.action else {
            return Self {
                method: "",
                url: String::new(),
            };
        };
        let names = |name: &str| Some(format!("{{env.{name}}}"));
        let rendered = url.render(Place::Url, &job.args, &names);
        let mut url = rendered.unwrap_or_else(|_| url.as_str().to_owned());
        // `https://user:password@host/`: the last `@` before the path ends it.
        if let Some(start) = url.find("://").map(|at| at + 3) {
            let end = url[start..]
                .find(['/', '?', '#'])
                .map_or(url.len(), |at| start + at);
            if let Some(at) = url[start..end].rfind('@') {
                url.replace_range(start..=start + at, "");
            }
        }
        Self {
            method: name_of(*method),
            url,
        }
    }
}

fn name_of(method: resolved::Method) -> &'static str {
    match method {
        resolved::Method::Get => "GET",
        resolved::Method::Head => "HEAD",
        resolved::Method::Post => "POST",
        resolved::Method::Put => "PUT",
        resolved::Method::Patch => "PATCH",
        resolved::Method::Delete => "DELETE",
    }
}

/// A request, ready to be sent.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

fn prepared(
    home: &Home,
    clients: &Clients,
    tool: &Tool,
    job: &Job,
) -> Result<(Client, Request), String> {
    let Action::Http {
        method,
        url,
        headers,
        body,
    } = &tool.action
    else {
        return Err("the tool is no HTTP request".to_owned());
    };
    let lookup = |name: &str| home.variable(name);
    let words = |error: RenderError| error.to_string();
    let url = url.render(Place::Url, &job.args, &lookup).map_err(words)?;
    let url = Url::parse(&url).map_err(|error| format!("the URL is not valid: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the URL has the scheme `{}`, expected http or https",
            url.scheme()
        ));
    }
    let mut sent = HeaderMap::new();
    for (name, value) in &headers.0 {
        let value = value
            .render(Place::Header, &job.args, &lookup)
            .map_err(words)?;
        set(&mut sent, name, &value)?;
    }
    if let (Some(NativeKey::Header(name)), Some(key)) = (&tool.native_key, &job.key) {
        set(&mut sent, name, &key.0)?;
    }
    let (kind, body) = match body {
        Body::Empty => ("", None),
        Body::Arguments => ("application/json", Some(job.args.to_string())),
        Body::Json(shape) => {
            let rendered = render_json(shape, &job.args, &lookup).map_err(words)?;
            ("application/json", Some(rendered.to_string()))
        }
        Body::Text(template) => {
            let rendered = template
                .render(Place::Body, &job.args, &lookup)
                .map_err(words)?;
            ("text/plain; charset=utf-8", Some(rendered))
        }
    };
    if body.is_some() && !sent.contains_key(CONTENT_TYPE) {
        sent.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let method = Method::from_bytes(name_of(*method).as_bytes()).unwrap_or_default();
    let request = Request {
        method,
        url,
        headers: sent,
        body: body.map(String::into_bytes),
    };
    Ok((clients.get(tool.timeout_ms)?, request))
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{name}` cannot be the name of a header"))?;
    // The value stays out of the message: it may be a key.
    let mut value = HeaderValue::from_bytes(value.trim().as_bytes())
        .map_err(|_| format!("the value of the header `{name}` cannot be sent"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// How far a request has come; survives the end of its time.
struct Exchange {
    /// Redirects that were followed.
    hops: u32,
    /// The host that is talked to.
    host: String,
    head: Option<Head>,
    download: Download,
}

impl Exchange {
    fn new(download: Download) -> Self {
        Self {
            hops: 0,
            host: String::new(),
            head: None,
            download,
        }
    }

    async fn run(&mut self, client: &Client, mut request: Request) -> reqwest::Result<()> {
        let (mut response, not_followed) = loop {
            self.host = host_of(&request.url);
            let response = send(client, request.clone()).await?;
            match redirected(
                &request,
                response.status().as_u16(),
                response.headers(),
                self.hops,
            ) {
                Redirect::Follow(next) => {
                    self.hops += 1;
                    request = *next;
                }
                Redirect::None => break (response, None),
                Redirect::Refused(why) => break (response, Some(why)),
            }
        };
        let headers = response.headers().clone();
        self.head = Some(Head {
            status: response.status(),
            headers,
            not_followed,
        });
        self.download.read(&mut response).await
    }
}

async fn send(client: &Client, request: Request) -> reqwest::Result<Response> {
    let mut builder = client
        .request(request.method, request.url)
        .headers(request.headers);
    if let Some(body) = request.body {
        builder = builder.body(body);
    }
    builder.send().await
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Why an exchange did not come to its end.
struct Cut {
    words: String,
    /// Whether there was no connection yet.
    before_sending: bool,
}

impl Cut {
    fn by(error: &reqwest::Error) -> Self {
        let before_sending = error.is_connect() || error.is_builder();
        let mut words = chain(error);
        if before_sending && error.is_timeout() {
            words = "connection timed out".to_owned();
        }
        Self {
            words,
            before_sending,
        }
    }

    fn by_time(timeout_ms: u64) -> Self {
        Self {
            words: format!("request timed out after {timeout_ms} ms"),
            before_sending: false,
        }
    }
}

/// Returns the causes of an error, outermost first. The error itself is left
/// out where it has causes: it says "error sending request" and has the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        let is_new = words.last().is_none_or(|last| !last.contains(&text));
        if is_new && !text.starts_with("client error (") {
            words.push(text);
        }
        source = cause.source();
    }
    match words.is_empty() {
        // Kinds such as `builder error`; the URL is shown elsewhere.
        true => error
            .to_string()
            .split(" for url (")
            .next()
            .unwrap_or_default()
            .to_owned(),
        false => words.join(": "),
    }
}

async fn concluded(home: &Home, exchange: Exchange, cut: Option<Cut>, shown: &Shown) -> Outcome {
    let Exchange {
        hops,
        host,
        head,
        download,
    } = exchange;
    let body = download.finish().await;
    let Some(head) = head else {
        let cut = cut.unwrap_or_else(|| Cut {
            words: "no answer".to_owned(),
            before_sending: false,
        });
        // After a redirect the first request was sent, whatever became of the second.
        let (what, delivery) = match cut.before_sending && hops == 0 {
            true => ("cannot connect to", Delivery::NeverSent),
            false => ("no answer from", Delivery::Unknown),
        };
        return no_answer(
            home,
            &format!("{what} {host}: {}", cut.words),
            delivery,
            shown,
        );
    };
    let status = head.status.as_u16();
    match cut {
        Some(cut) if status < 400 => {
            let words = format!(
                "the answer of {host} (HTTP {status}) was cut after {} bytes: {}",
                body.bytes_total, cut.words
            );
            no_answer(home, &words, Delivery::Unknown, shown)
        }
        _ => answered(home, &head, body, cut.is_none(), shown),
    }
}
