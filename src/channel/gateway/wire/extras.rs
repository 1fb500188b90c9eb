//! What a request asks for that its bytes do not show: what makes it dearer, or
//! larger than it is written.
//!
//! Four kinds: terms that change the price ([`terms`]); what takes tokens of its own,
//! such as pictures, whose size on the screen counts; parts whose content lies elsewhere or is
//! packed, so that only the model's window bounds them; and what cannot be bounded
//! at all, such as tools that the provider runs, each of which asks the model again.
//!
//! Where an API takes what it is asked for from is a table here; what stands in
//! places that are free text (arguments of calls, results as text) is not looked at.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::value::RawValue;

use super::api::Api;
use super::json::{self, Fields, List};
use super::request::{Asked, Offered, ToolKind};
use crate::channel::method::Terms;

/// What a request asks for besides text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// The field that has caches written for longer than minutes, if one does.
    pub long_cache: Option<String>,
    /// Tokens that do not come from text in it: of pictures, and of what the API
    /// writes for the tools.
    pub hidden_tokens: u64,
    /// Bytes of pictures, which are no text.
    pub image_bytes: u64,
    /// A part whose size only the model's window bounds.
    pub unbounded: Option<String>,
    /// What nobody can bound.
    pub uncounted: Option<Uncounted>,
}

/// Something that costs what cannot be held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncounted {
    /// The field, with what it asks for.
    pub field: String,
    /// Why, and what to do; goes behind the field.
    pub why: &'static str,
}

const RUN_THERE: &str = "is run by the provider, which may ask the model again any number of \
     times, at a fee: turn it off in the agent, or take the limits on cost_usd and tokens out";
const ONE_MODEL: &str = "lets another model answer, at its own price: name one model";
const NOT_TEXT: &str = "is sound or film, which is dearer than text: send its text";
const ANSWER_NOT_TEXT: &str = "asks for more than text, which is dearer: ask for text";
const MORE_OUTPUT: &str = "is billed as output beyond the limit of tokens: take it out";
const MORE_TURNS: &str = "has the history summed up in a call of its own, beyond the limit of \
     tokens: let the agent do it";
const HIDDEN: &str = "may hold tools that the provider runs: send what it holds";

/// Fields of the body that nobody can bound, where they say anything.
const FIELDS: &[(&str, &str)] = &[
    ("audio", ANSWER_NOT_TEXT),
    ("fallbacks", ONE_MODEL),
    ("mcp_servers", RUN_THERE),
    ("models", ONE_MODEL),
    ("plugins", RUN_THERE),
    ("prediction", MORE_OUTPUT),
    ("web_search_options", RUN_THERE),
];

/// Types of tools that the agent itself runs, besides functions.
const RUN_HERE: &[&str] = &[
    "",
    "apply_patch",
    "computer",
    "computer_use_preview",
    "custom",
    "function",
    "local_shell",
    "namespace",
];

/// Beginnings of Anthropic's, which end with a date.
const RUN_HERE_DATED: &[&str] = &["bash_", "computer_", "memory_", "text_editor_"];

/// Gemini's tools that the agent runs.
const GEMINI_RUN_HERE: &[&str] = &[
    "computerUse",
    "computer_use",
    "functionDeclarations",
    "function_declarations",
];

/// Tokens that an API writes itself so that tools can be called; Anthropic's most are
/// 530 for any, and 1,234 for a tool that is named by its type alone.
const TOOLS_TOKENS: u64 = 1_000;
const BUILT_IN_TOKENS: u64 = 2_000;

/// Types of blocks.
const IMAGES: &[&str] = &["computer_screenshot", "image", "image_url", "input_image"];
const ELSEWHERE: &[&str] = &["container_upload", "file", "input_file", "item_reference"];
const SOUND_OR_FILM: &[&str] = &["audio", "input_audio", "input_video", "video", "video_url"];

/// Lifetimes of caches that are priced as usual.
const USUAL_CACHES: &[&str] = &["5m", "30m", "in_memory", "in-memory"];

/// Any of the words above, in quotes; or a letter in disguise.
static WORTH_A_LOOK: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = [IMAGES, ELSEWHERE, SOUND_OR_FILM].concat().join("|");
    let rest = "document|ttl|inlineData|inline_data|fileData|file_data|additional_tools";
    let words = format!(r#""(?:{kinds}|{rest})"|\\u00"#);
    Regex::new(&words).expect("words are a pattern")
});

/// Returns what a request asks for that changes its price; `flex` is left out, since
/// servers that do not know it bill as usual.
pub fn terms(asked: &Asked<'_>) -> Terms {
    let word = |names: &[&str]| names.iter().find_map(|name| asked.fields.text(name));
    let tier = word(&["service_tier", "serviceTier"]);
    Terms {
        service_tier: tier.filter(|tier| !tier.eq_ignore_ascii_case("flex")),
        speed: word(&["speed"]),
        region: word(&["inference_geo"]),
        link: None,
    }
}

/// Whether a message may ask for something besides text.
pub fn is_worth_a_look(api: Api, message: &str) -> bool {
    WORTH_A_LOOK.is_match(message) || is_bare_reference(api, message)
}

/// Returns the places of all messages that are worth a look.
pub fn notable(asked: &Asked<'_>) -> Vec<usize> {
    let messages = asked.messages.iter().enumerate();
    let notable = messages.filter(|(_, raw)| is_worth_a_look(asked.api, raw));
    notable.map(|(place, _)| place).collect()
}

/// Reads what a request asks for besides text.
///
/// - `places`: of the messages that are worth a look;
/// - `seen`: so many messages were answered before: what they hold is known.
pub fn read(asked: &Asked<'_>, model: &str, places: &[usize], seen: usize) -> Extras {
    let built_in = |tool: &&Offered<'_>| tool.kind == ToolKind::BuiltIn;
    let built_in = asked.tools.iter().filter(built_in).count() as u64;
    let for_tools = match asked.tools.is_empty() {
        true => 0,
        false => TOOLS_TOKENS + BUILT_IN_TOKENS * built_in,
    };
    let mut found = Extras {
        uncounted: uncounted(asked, model, places),
        hidden_tokens: for_tools,
        ..Extras::default()
    };
    let mut walk = Walk {
        api: asked.api,
        per_image: image_tokens(asked.api, model),
        is_new: true,
        found: &mut found,
    };
    for name in ["cachedContent", "cached_content", "conversation"] {
        if asked.fields.get(name).is_some() {
            walk.elsewhere(name);
        }
    }
    if let Some(word) = asked.fields.text("prompt_cache_retention") {
        walk.keeps("prompt_cache_retention", &word);
    }
    walk.caches(&asked.fields);
    let system = asked.fields.all("system");
    let tools = asked.fields.all("tools");
    for raw in system.chain(tools).chain(asked.system) {
        if WORTH_A_LOOK.is_match(raw.get()) {
            walk.value(raw);
        }
    }
    for (place, raw) in at(asked, places) {
        walk.is_new = place >= seen;
        walk.value(raw);
    }
    found
}

/// The messages at these places.
fn at<'a>(asked: &Asked<'a>, places: &[usize]) -> impl Iterator<Item = (usize, &'a RawValue)> {
    places.iter().filter_map(|place| {
        let raw = serde_json::from_str(asked.messages.get(*place)?).ok()?;
        Some((*place, raw))
    })
}

/// The most tokens that a picture takes, generously: Anthropic 4,784 (its largest
/// models); OpenAI 10,000 patches at 1.2, but 48,169 for one old model; Gemini
/// tiles of 258 for the longest shapes.
fn image_tokens(api: Api, model: &str) -> u64 {
    match api {
        Api::Messages | Api::CountTokens => 5_000,
        Api::Chat | Api::Responses if model.contains("4o-mini") => 50_000,
        Api::Chat | Api::Responses => 12_000,
        Api::Gemini => 10_000,
    }
}

/// Finds what nobody can bound.
fn uncounted(asked: &Asked<'_>, model: &str, places: &[usize]) -> Option<Uncounted> {
    let of = |field: &str, why| {
        Some(Uncounted {
            field: format!("`{field}`"),
            why,
        })
    };
    // An empty object may turn something on.
    let says = |raw: &RawValue| !matches!(raw.get(), "null" | "false" | "[]" | "\"\"");
    for (name, why) in FIELDS {
        if asked.fields.all(name).any(says) {
            return of(name, why);
        }
    }
    if asked.api == Api::Responses && asked.fields.all("prompt").any(says) {
        return of("prompt", HIDDEN);
    }
    if model.ends_with(":online") || model.contains("-search-") {
        return of(&format!("model: {model}"), RUN_THERE);
    }
    if let Some(kind) = tools(asked, places).find_map(|tool| run_there(asked.api, tool)) {
        return of(&format!("tools: {kind}"), RUN_THERE);
    }
    for raw in asked.fields.all("context_management") {
        // An object with edits (Anthropic), or the list of them.
        let inner = Fields::open(raw.get()).and_then(|fields| fields.get("edits"));
        for edit in json::items(Some(inner.unwrap_or(raw))) {
            let kind = Fields::open(edit.get()).and_then(|edit| edit.text("type"));
            if kind.is_some_and(|kind| kind.starts_with("compact")) {
                return of("context_management: compact", MORE_TURNS);
            }
        }
    }
    let generation = ["generationConfig", "generation_config"];
    let generation = generation.iter().find_map(|name| asked.fields.get(name));
    let generation = generation
        .and_then(|raw| Fields::open(raw.get()))
        .unwrap_or_default();
    let modalities = ["responseModalities", "response_modalities"];
    let wanted = asked.fields.all("modalities");
    let wanted = wanted.chain(modalities.iter().flat_map(|name| generation.all(name)));
    let mut words = wanted.flat_map(|raw| json::items(Some(raw)));
    let is_text = |raw: &RawValue| raw.get().eq_ignore_ascii_case("\"text\"");
    if words.any(|raw| !is_text(raw)) {
        return of("modalities", ANSWER_NOT_TEXT);
    }
    None
}

/// Every tool offered, as written.
fn tools<'a>(asked: &Asked<'a>, places: &[usize]) -> impl Iterator<Item = &'a RawValue> {
    let lists = asked.fields.all("tools").collect::<Vec<_>>();
    let messages = at(asked, places).map(|(_, raw)| raw.get());
    let added = messages.filter(|raw| raw.contains("additional_tools"));
    let added = added.filter_map(|raw| Fields::open(raw)?.get("tools"));
    let lists = lists.into_iter().chain(added.collect::<Vec<_>>());
    lists.flat_map(|raw| json::items(Some(raw)))
}

/// Returns what a tool is called if the provider runs it.
fn run_there(api: Api, tool: &RawValue) -> Option<String> {
    let fields = Fields::open(tool.get())?;
    if api == Api::Gemini {
        let mut names = fields.names().filter(|name| fields.get(name).is_some());
        let there = names.find(|name| !GEMINI_RUN_HERE.contains(name));
        return there.map(str::to_owned);
    }
    let inner = |name| fields.get(name).and_then(|raw| Fields::open(raw.get()));
    let is_here = |kind: &str| match kind {
        "shell" => {
            inner("environment").is_none_or(|it| it.text("type").as_deref() == Some("local"))
        }
        "tool_search" => fields.text("execution").as_deref() == Some("client"),
        kind => {
            let is_dated = RUN_HERE_DATED.iter().any(|name| kind.starts_with(name));
            RUN_HERE.contains(&kind) || is_dated
        }
    };
    let kinds = fields.all("type").map(|raw| json::text(raw.get()));
    let mut kinds = kinds.map(Option::unwrap_or_default);
    let nested = || {
        let tools = json::items(fields.get("tools")).into_iter();
        tools
            .filter(|tool| tool.get() != "null")
            .find_map(|tool| run_there(api, tool))
    };
    kinds.find(|kind| !is_here(kind)).or_else(nested)
}

/// Looks through the blocks of messages.
struct Walk<'f> {
    api: Api,
    per_image: u64,
    /// The message was not answered before.
    is_new: bool,
    found: &'f mut Extras,
}

impl Walk<'_> {
    fn value(&mut self, raw: &RawValue) {
        match raw.get().as_bytes().first() {
            Some(b'[') => match List::open(raw.get()) {
                Some(list) if !list.is_cut => list.items.iter().for_each(|raw| self.value(raw)),
                _ => self.elsewhere("a list that cannot be read"),
            },
            Some(b'{') => match Fields::open(raw.get()) {
                Some(fields) => self.block(raw, &fields),
                None => self.elsewhere("an object that cannot be read"),
            },
            _ => {}
        }
    }

    fn block(&mut self, raw: &RawValue, fields: &Fields<'_>) {
        self.caches(fields);
        // What an address holds today may be more than what it held before.
        let was_new = self.is_new;
        let is_remote = raw.get().contains("http");
        let kinds = fields.all("type").filter_map(|raw| json::text(raw.get()));
        for kind in kinds {
            let has = |kinds: &[&str]| kinds.contains(&kind.as_str());
            if has(IMAGES) {
                if self.is_new && is_only_an_image(fields) {
                    self.found.image_bytes += raw.get().len() as u64;
                }
                self.is_new |= is_remote;
                self.image();
            } else if has(ELSEWHERE) {
                self.is_new |= is_remote;
                self.elsewhere(&kind);
            } else if has(SOUND_OR_FILM) {
                self.not_text(&kind);
            } else if kind == "document" {
                self.is_new |= is_remote;
                self.document(fields);
            }
            self.is_new = was_new;
        }
        if is_bare_reference(self.api, raw.get()) {
            self.elsewhere("item_reference");
        }
        for name in ["inlineData", "inline_data", "fileData", "file_data"] {
            for data in fields.all(name).filter_map(|raw| Fields::open(raw.get())) {
                self.is_new |= name.starts_with("file");
                self.gemini(name, &data, was_new);
                self.is_new = was_new;
            }
        }
        for name in [
            "content",
            "output",
            "parts",
            "functionResponse",
            "function_response",
        ] {
            fields.all(name).for_each(|raw| self.value(raw));
        }
    }

    fn document(&mut self, fields: &Fields<'_>) {
        for source in fields.all("source") {
            let source = Fields::open(source.get()).unwrap_or_default();
            match source.text("type").as_deref() {
                Some("text") => {}
                Some("content") => source.all("content").for_each(|raw| self.value(raw)),
                // Pages are packed: no number of bytes bounds them.
                _ => self.elsewhere("document"),
            }
        }
    }

    /// - `was_new`: its bytes were not counted before.
    fn gemini(&mut self, name: &str, data: &Fields<'_>, was_new: bool) {
        let kind = ["mimeType", "mime_type"]
            .iter()
            .find_map(|name| data.text(name));
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        match kind.split('/').next().unwrap_or_default() {
            "image" => {
                let bytes = data.get("data").filter(|_| was_new);
                self.found.image_bytes += bytes.map_or(0, |data| data.get().len() as u64);
                self.image();
            }
            "audio" | "video" => self.not_text(&kind),
            "text" if name.starts_with("inline") => {}
            _ => self.elsewhere(name),
        }
    }

    /// Reads how long caches live that an object asks for.
    fn caches(&mut self, fields: &Fields<'_>) {
        for name in ["cache_control", "prompt_cache_options"] {
            for control in fields.all(name).filter_map(|raw| Fields::open(raw.get())) {
                for ttl in control.all("ttl") {
                    let word = json::text(ttl.get()).unwrap_or_else(|| ttl.get().to_owned());
                    self.keeps(&format!("{name}.ttl"), &word);
                }
            }
        }
    }

    fn keeps(&mut self, field: &str, word: &str) {
        if !USUAL_CACHES.contains(&word) {
            self.found
                .long_cache
                .get_or_insert_with(|| field.to_owned());
        }
    }

    fn image(&mut self) {
        if self.is_new {
            let tokens = &mut self.found.hidden_tokens;
            *tokens = tokens.saturating_add(self.per_image);
        }
    }

    fn elsewhere(&mut self, what: &str) {
        if self.is_new {
            self.found.unbounded.get_or_insert_with(|| what.to_owned());
        }
    }

    fn not_text(&mut self, what: &str) {
        // Dearer in every call that carries it.
        let field = format!("`{what}`");
        let why = NOT_TEXT;
        self.found.uncounted.get_or_insert(Uncounted { field, why });
    }
}

/// An item of Responses may be named by its id alone.
fn is_bare_reference(api: Api, text: &str) -> bool {
    api == Api::Responses
        && text.starts_with('{')
        && !text.contains("\"type\"")
        && !text.contains("\"role\"")
}

/// Reports whether nothing of a block can be taken for text.
fn is_only_an_image(fields: &Fields<'_>) -> bool {
    let has = |name: &&str| fields.all(name).next().is_some();
    fields.all("type").count() == 1 && !["content", "output", "parts", "text"].iter().any(has)
}

#[cfg(test)]
mod tests;
