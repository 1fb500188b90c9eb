//! Which redirects of an HTTP tool are followed.
//!
//! Pure.
//!
//! At most five, and only where they mean no harm: reads go anywhere on the
//! same site and to `https` elsewhere, there without the tool's headers (a key
//! in a header is for one site) and never to an address in numbers or this
//! machine. A write is repeated on the same site only, after 307 and 308; 303
//! is read with GET. The rest is given to the model as it is: a POST that
//! silently becomes a GET would look like a success. For the taxonomy such an
//! answer has the status 0 and an error that says so.

use std::net::IpAddr;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, Url};

use super::http::Request;

/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 5;

/// What to do about an answer that may be a redirect.
pub(super) enum Redirect {
    /// It is none.
    None,
    /// This request follows.
    Follow(Box<Request>),
    /// Where it leads, and why it must not be followed.
    Refused(String),
}

/// Decides about the answer to `request`.
///
/// - `hops`: redirects that were followed before.
pub(super) fn redirected(
    request: &Request,
    status: u16,
    headers: &HeaderMap,
    hops: u32,
) -> Redirect {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(location) = location.filter(|_| matches!(status, 301..=303 | 307 | 308)) else {
        return Redirect::None;
    };
    let refused = |why: &str| {
        let location: String = location.chars().take(200).collect();
        Redirect::Refused(format!(
            "redirects to {location}, which was not followed: {why}"
        ))
    };
    if hops >= REDIRECTS_MAX {
        return refused("there were too many redirects before it");
    }
    match next(request, status, location) {
        Ok(next) => Redirect::Follow(Box::new(next)),
        Err(why) => refused(why),
    }
}

/// Returns the request that follows a redirect.
///
/// Errors: why it must not be followed.
fn next(request: &Request, status: u16, location: &str) -> Result<Request, &'static str> {
    let url = request.url.join(location).map_err(|_| "it is no address")?;
    let same_site = is_same_site(&request.url, &url);
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    if !same_site && url.scheme() != "https" {
        return Err("it leads to another site without https");
    }
    if !same_site && is_bare_host(&url) {
        return Err("it leads to an address in numbers or to this machine");
    }
    if !reads && status != 303 && !same_site {
        return Err("a write is not repeated at another site");
    }
    if !reads && matches!(status, 301 | 302) {
        return Err("a write would become a GET; correct the URL in the task file");
    }
    let mut next = Request {
        url,
        ..request.clone()
    };
    if !same_site {
        let accept = next.headers.remove(ACCEPT);
        next.headers.clear();
        next.headers.extend(accept.map(|accept| (ACCEPT, accept)));
    }
    if status == 303 && !reads {
        next.method = Method::GET;
        next.body = None;
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LENGTH);
    }
    Ok(next)
}

/// Whether host, scheme and port are the same; `http` may become `https`.
fn is_same_site(from: &Url, to: &Url) -> bool {
    let becomes_https = from.scheme() == "http"
        && to.scheme() == "https"
        && from.port().is_none()
        && to.port().is_none();
    from.host_str() == to.host_str() && (from.origin() == to.origin() || becomes_https)
}

fn is_bare_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn request(method: Method, url: &str) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("not-a-real-key"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/csv"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Request {
            method,
            url: Url::parse(url).unwrap(),
            headers,
            body: Some(b"{}".to_vec()),
        }
    }

    #[test]
    fn redirects_table() {
        let (get, post) = (Method::GET, Method::POST);
        let other = "it leads to another site without https";
        let bare = "it leads to an address in numbers or to this machine";
        #[rustfmt::skip]
        let rows = [
            ("a read on the same site", &get, "http://a.test/1", 302, "/2", "GET http://a.test/2 with key"),
            ("a read on the same port", &get, "http://a.test:81/1", 301, "http://a.test:81/2", "GET http://a.test:81/2 with key"),
            ("http becomes https", &get, "http://a.test/1", 301, "https://a.test/1", "GET https://a.test/1 with key"),
            ("another site gets no key", &get, "https://a.test/1", 302, "https://files.test/1", "GET https://files.test/1"),
            ("another port is another site", &get, "http://a.test/1", 302, "http://a.test:81/", other),
            ("https never becomes http", &get, "https://a.test/1", 302, "http://a.test/1", other),
            ("a read of the machine's own data", &get, "https://a.test/1", 302, "https://169.254.169.254/latest", bare),
            ("of this machine", &get, "https://a.test/1", 302, "https://localhost/", bare),
            ("of this machine by number", &get, "https://a.test/1", 302, "https://[::1]/", bare),
            ("another scheme", &get, "https://a.test/1", 302, "file:///etc/passwd", other),
            ("a write is repeated on the same site", &post, "https://a.test/1", 307, "/2", "POST https://a.test/2 with key and body"),
            ("a write is repeated nowhere else", &post, "https://a.test/1", 308, "https://b.test/", "a write is not repeated at another site"),
            ("a write does not become a read", &post, "https://a.test/1", 302, "/2", "a write would become a GET; correct the URL in the task file"),
            ("a write whose result is elsewhere", &post, "https://a.test/1", 303, "/2", "GET https://a.test/2 with key"),
            ("no address", &get, "https://a.test/1", 302, "https://", "it is no address"),
        ];
        for (name, method, url, status, location, want) in rows {
            let mut sent = request(method.clone(), url);
            if *method == Method::GET {
                sent.body = None;
            }
            let got = match next(&sent, status, location) {
                Ok(next) => {
                    let key = if next.headers.contains_key("x-api-key") {
                        " with key"
                    } else {
                        ""
                    };
                    let body = if next.body.is_some() { " and body" } else { "" };
                    assert_eq!(next.headers[ACCEPT], "text/csv", "row: {name}");
                    format!("{} {}{key}{body}", next.method, next.url)
                }
                Err(why) => why.to_owned(),
            };
            assert_eq!(got, want, "row: {name}");
        }
    }
}
