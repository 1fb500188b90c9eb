//! Which API a request speaks to, from its method and path.
//!
//! The caller has cut off its own prefix (`/run/ID`). A version (`/v1`,
//! `/v1beta`) may stand before the rest or not: clients disagree about whose
//! part of the address it is.

/// A wire format that the gateway understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Anthropic Messages.
    Messages,
    /// Anthropic token counting; costs nothing and has a rate limit of its own.
    CountTokens,
    /// OpenAI Chat Completions, and everything compatible.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent`, also through Vertex.
    Gemini,
}

impl Api {
    /// Returns its name, as the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Gemini => "gemini",
        }
    }

    /// Finds the API of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        let all = [Self::Messages, Self::Chat, Self::Responses, Self::Gemini];
        all.into_iter().find(|api| api.name() == name)
    }
}

/// How a reply is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One JSON value.
    Whole,
    /// Server-sent events.
    Events,
    /// One JSON list whose elements arrive one by one (Gemini without `alt=sse`).
    List,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A model is asked.
    Call {
        /// The wire format.
        api: Api,
        /// The model, where the path names it (Gemini).
        model: Option<String>,
        /// The framing, where the path says it (Gemini); else the body does.
        framing: Option<Framing>,
    },
    /// Costs nothing: lists of models, stored responses, token counts.
    Free,
    /// A WebSocket upgrade; [`super::refuse::upgrade`] sends Codex to HTTP.
    Upgrade,
    /// A client looks whether anybody is there; any 200 will do.
    Probe,
    /// Everything else: embeddings, files, batches, paths with `..`. It may
    /// cost money, so policy decides.
    Unknown,
}

/// Returns the route of a request.
///
/// - `path`: after the run's prefix, with its query.
/// - `is_upgrade`: the head asks for a WebSocket.
pub fn route(method: &str, path: &str, is_upgrade: bool) -> Route {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_dotted = segments.iter().any(|part| matches!(*part, "." | ".."));
    // Escapes are read differently by whoever comes next: `%2e%2e` is `..` to some.
    if is_dotted || path.contains(['\\', '%']) {
        return Route::Unknown;
    }
    if is_upgrade {
        return Route::Upgrade;
    }
    let rest = match segments.split_first() {
        Some((first, rest)) if is_version(first) => rest,
        _ => &segments,
    };
    let call = |api| Route::Call {
        api,
        model: None,
        framing: None,
    };
    match (method, rest) {
        ("HEAD" | "GET", [] | ["api", "hello"]) => Route::Probe,
        ("POST", ["messages"]) => call(Api::Messages),
        ("POST", ["messages", "count_tokens"]) => call(Api::CountTokens),
        ("POST", ["chat", "completions"]) => call(Api::Chat),
        ("POST", ["responses"]) => call(Api::Responses),
        ("POST", ["responses", "input_tokens"] | ["responses", _, "cancel"]) => Route::Free,
        ("GET" | "DELETE", ["responses", _, ..]) => Route::Free,
        ("GET" | "HEAD", ["models", ..]) => Route::Free,
        ("POST", [.., "models" | "tunedModels", last]) => gemini(last, query),
        _ => Route::Unknown,
    }
}

fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads `MODEL:verb`.
fn gemini(last: &str, query: &str) -> Route {
    let Some((model, verb)) = last.rsplit_once(':') else {
        return Route::Unknown;
    };
    let is_events = query.split('&').any(|pair| pair == "alt=sse");
    let framing = match verb {
        "generateContent" => Framing::Whole,
        "streamGenerateContent" if is_events => Framing::Events,
        "streamGenerateContent" => Framing::List,
        "countTokens" => return Route::Free,
        _ => return Route::Unknown,
    };
    if model.is_empty() || model.contains('%') {
        return Route::Unknown;
    }
    Route::Call {
        api: Api::Gemini,
        model: Some(model.to_owned()),
        framing: Some(framing),
    }
}

/// Returns a Gemini path that asks `model` instead; `None` if it names none, or
/// `model` is not fit for a path.
pub fn gemini_path(path: &str, model: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    let (address, query) = match path.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (path, None),
    };
    let (parent, last) = address.rsplit_once('/')?;
    let (_, verb) = last.rsplit_once(':')?;
    if model.is_empty() || !model.bytes().all(is_plain) {
        return None;
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{parent}/{model}:{verb}{query}"))
}

/// Returns the field of a chat that limits its output. OpenAI's later models refuse the
/// old one; most other servers know no other, and leave the new one out of account.
pub fn chat_limit(model: &str) -> &'static str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let is_numbered = |name: &str| name.starts_with(|digit: char| digit.is_ascii_digit());
    let is_open_ais = ["gpt-", "chatgpt-", "codex-", "computer-use-"]
        .iter()
        .any(|start| name.starts_with(start))
        || name.strip_prefix('o').is_some_and(is_numbered);
    match is_open_ais && !name.starts_with("gpt-oss") {
        true => "max_completion_tokens",
        false => "max_tokens",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gemini(model: &str, framing: Framing) -> Route {
        Route::Call {
            api: Api::Gemini,
            model: Some(model.to_owned()),
            framing: Some(framing),
        }
    }

    #[test]
    fn route_table() {
        let call = |api| Route::Call {
            api,
            model: None,
            framing: None,
        };
        #[rustfmt::skip]
        let rows = [
            ("Claude Code",                  "POST", "/v1/messages?beta=true", call(Api::Messages)),
            ("the AI SDK leaves out /v1",    "POST", "/messages", call(Api::Messages)),
            ("a count is no message",        "POST", "/v1/messages/count_tokens?beta=true", call(Api::CountTokens)),
            ("batches are billed elsewhere", "POST", "/v1/messages/batches", Route::Unknown),
            ("chat",                         "POST", "/v1/chat/completions", call(Api::Chat)),
            ("a doubled slash",              "POST", "/v1//chat/completions", call(Api::Chat)),
            ("a dot segment is not trusted", "POST", "/v1/x/../chat/completions", Route::Unknown),
            ("nor one in disguise",          "GET",  "/v1/models/%2e%2e/files", Route::Unknown),
            ("responses",                    "POST", "/v1/responses", call(Api::Responses)),
            ("a stored response is free",    "GET",  "/v1/responses/resp_1", Route::Free),
            ("compaction is billed",         "POST", "/v1/responses/compact", Route::Unknown),
            ("models are free",              "GET",  "/v1/models?limit=5", Route::Free),
            ("Gemini, plain",                "POST", "/v1beta/models/gemini-2.5-pro:generateContent", gemini("gemini-2.5-pro", Framing::Whole)),
            ("Gemini, events",               "POST", "/v1beta/models/g:streamGenerateContent?alt=sse&key=x", gemini("g", Framing::Events)),
            ("Gemini, a list",               "POST", "/v1beta/models/g:streamGenerateContent", gemini("g", Framing::List)),
            ("Vertex",                       "POST", "/v1/projects/p/locations/l/publishers/google/models/g:generateContent", gemini("g", Framing::Whole)),
            ("Gemini counts for free",       "POST", "/v1beta/models/g:countTokens", Route::Free),
            ("embeddings",                   "POST", "/v1/embeddings", Route::Unknown),
            ("Claude Code 2.1.197 looks",    "HEAD", "/", Route::Probe),
            ("Claude Code 2.1.330 looks",    "HEAD", "/api/hello", Route::Probe),
            ("the wrong method",             "GET",  "/v1/messages", Route::Unknown),
        ];
        for (name, method, path, want) in rows {
            assert_eq!(route(method, path, false), want, "row: {name}");
        }
        assert_eq!(route("GET", "/v1/responses", true), Route::Upgrade);
    }

    #[test]
    fn only_open_ais_models_have_a_new_limit() {
        let new = [
            "gpt-5-mini",
            "o3",
            "openai/gpt-4o",
            "ft:gpt-4o:me::x",
            "codex-mini-latest",
        ];
        for model in new {
            assert_eq!(chat_limit(model), "max_completion_tokens", "{model}");
        }
        for model in [
            "qwen3-coder:30b",
            "gpt-oss:20b",
            "openai/gpt-oss-120b",
            "olmo",
            "m",
            "",
        ] {
            assert_eq!(chat_limit(model), "max_tokens", "{model}");
        }
    }

    #[test]
    fn a_gemini_path_takes_another_model() {
        let path = "/v1beta/models/a:streamGenerateContent?alt=sse";
        let want = "/v1beta/models/b-2.5:streamGenerateContent?alt=sse";
        assert_eq!(gemini_path(path, "b-2.5").as_deref(), Some(want));
        assert_eq!(gemini_path(path, "../b"), None);
        assert_eq!(gemini_path("/v1/messages", "b"), None);
    }
}
