//! Writes arguments in one canonical form.
//!
//! The form is a text in which every value carries its kind and length, so two
//! different arguments never write the same text. Keys decide how a value is
//! read ([`Role`]); depth and length are bounded.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::growth::{self, Growth};
use super::meaning::Call;
use super::print::Kind;
use super::{program, shell, spelling};

/// Nesting that is looked into; deeper values count as one.
const DEPTH_MAX: usize = 48;
/// Bytes of argument text kept for sketches and echoes.
const WORDS_BYTES_MAX: usize = 2048;
/// Texts that are searched for a repeated piece.
const GROWTH_TEXTS_MAX: usize = 4;
/// Bytes of the picture of the arguments.
const SHOWN_BYTES_MAX: usize = 160;

/// What a key says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Made anew for each call: dropped.
    Volatile,
    /// How often the caller has tried: dropped.
    Attempt,
    /// The caller's clock: dropped unless the call changes something.
    Clock,
    /// The model's own reasons: dropped.
    Cosmetic,
    /// Reasons beside a command, content elsewhere.
    Describing,
    /// Cleaned lexically.
    Path,
    /// A shell command.
    Command,
    /// Program text.
    Code,
    /// SQL.
    Sql,
    /// Words to look up.
    Query,
    /// An address.
    Url,
    /// Where in a longer answer the call stands.
    Position,
    /// Everything else, above all file content.
    Verbatim,
}

/// The canonical text, and what was noticed on the way.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The canonical text.
    pub text: String,
    /// Some argument is a position.
    pub positions: bool,
    /// Some argument is a query.
    pub query: bool,
    /// Texts of the arguments, one a line, cut.
    pub words: String,
    /// The piece that stands most often at an end of a text.
    pub growth: Option<Growth>,
    /// A clock was left out.
    pub clock_dropped: bool,
    /// `key=value` pairs for a person, cut.
    pub shown: String,
}

/// Returns the walk over `args`; with `skip_positions` they are left out.
pub(super) fn walk(call: &Call, args: &Value, skip_positions: bool) -> Walk {
    let mut walker = Walker {
        call,
        skip_positions,
        walk: Walk::default(),
        texts: 0,
    };
    match args {
        Value::String(text) => {
            let role = if call.shell.is_some() {
                Role::Command
            } else {
                Role::Code
            };
            walker.string(text, role);
        }
        args => walker.value(args, Role::Verbatim, 0, false),
    }
    walker.walk
}

struct Walker<'a> {
    call: &'a Call<'a>,
    skip_positions: bool,
    walk: Walk,
    texts: usize,
}

impl Walker<'_> {
    fn value(&mut self, value: &Value, role: Role, depth: usize, in_array: bool) {
        if depth > DEPTH_MAX {
            self.walk.text.push('~');
            return;
        }
        match value {
            Value::Null => self.walk.text.push('n'),
            Value::Bool(flag) => self.walk.text.push(if *flag { 't' } else { 'f' }),
            Value::Number(number) => {
                self.walk.text.push('#');
                number_text(&mut self.walk.text, number);
            }
            Value::String(text) => self.string(text, role),
            Value::Array(items) if role == Role::Command && items.iter().all(Value::is_string) => {
                let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                self.string(&shell::join(&words), Role::Command);
            }
            Value::Array(items) => {
                self.walk.text.push('[');
                for item in items {
                    self.value(item, role, depth + 1, true);
                }
                self.walk.text.push(']');
            }
            Value::Object(map) => self.object(map, depth, in_array),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, depth: usize, in_array: bool) {
        use std::fmt::Write as _;
        let mut fields: Vec<(&String, &Value, Role)> = map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, value, role_of(key)))
            .collect();
        fields.sort_unstable_by_key(|(key, ..)| *key);
        // Rows of data and deep structures are content: nothing is dropped there.
        if !in_array && depth <= 1 {
            let beside_command = fields
                .iter()
                .any(|(.., role)| matches!(role, Role::Command | Role::Code))
                || self.call.shell.is_some();
            let call = self.call;
            let keeps = |key: &str, value: &Value, role: Role| match role {
                Role::Volatile => {
                    call.is_about(key) || value.as_i64().is_some_and(|number| number < 1_000_000)
                }
                Role::Attempt | Role::Cosmetic => false,
                Role::Clock => call.kind == Kind::Write,
                Role::Describing => !beside_command,
                _ => true,
            };
            // What remains must still say something: a lone trace id is the question.
            if fields
                .iter()
                .any(|(key, value, role)| keeps(key, value, *role))
            {
                self.walk.clock_dropped |= fields
                    .iter()
                    .any(|(key, value, role)| *role == Role::Clock && !keeps(key, value, *role));
                fields.retain(|(key, value, role)| keeps(key, value, *role));
            }
        }
        self.walk.text.push('{');
        for (key, value, role) in fields {
            if role == Role::Position && !matches!(value, Value::Object(_)) {
                self.walk.positions = true;
                if self.skip_positions {
                    continue;
                }
            }
            self.walk.query |=
                matches!(role, Role::Query | Role::Sql) || self.call.searches_by(key);
            self.show(key, value);
            let _ = write!(self.walk.text, "{}:{key}=", key.len());
            self.value(value, role, depth + 1, in_array);
            self.walk.text.push(',');
        }
        self.walk.text.push('}');
    }

    fn string(&mut self, text: &str, role: Role) {
        use std::fmt::Write as _;
        let spelled = match role {
            Role::Path => spelling::path(text),
            Role::Url => self.url(text),
            Role::Sql => spelling::sql(text),
            Role::Query => spelling::query(text),
            Role::Command => match &self.call.shell {
                _ if self.call.is_program => program::normal(text),
                Some(_) => spelling::command(text),
                None => spelling::words(text),
            },
            Role::Code if self.call.shell.is_some() && !self.call.is_program => {
                spelling::command(text)
            }
            Role::Code if self.call.is_program => program::normal(text),
            Role::Code => spelling::code(text),
            _ => Cow::Borrowed(text),
        };
        let _ = write!(self.walk.text, "\"{}:", spelled.len());
        self.walk.text.push_str(&spelled);
        if self.walk.words.len() < WORDS_BYTES_MAX {
            self.walk
                .words
                .extend(spelled.chars().take(WORDS_BYTES_MAX / 2));
            self.walk.words.push('\n');
        }
        if self.texts < GROWTH_TEXTS_MAX {
            self.texts += 1;
            let growth = growth::of(&spelled);
            if growth.map(|growth| growth.times) > self.walk.growth.map(|growth| growth.times) {
                self.walk.growth = growth;
            }
        }
    }

    fn url<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let url = spelling::url(text);
        match spelling::url_without_position(&url) {
            Some(base) => {
                self.walk.positions = true;
                if self.skip_positions {
                    Cow::Owned(base)
                } else {
                    url
                }
            }
            None => url,
        }
    }

    fn show(&mut self, key: &str, value: &Value) {
        let shown = &mut self.walk.shown;
        if shown.len() >= SHOWN_BYTES_MAX {
            return;
        }
        if !shown.is_empty() {
            shown.push_str(", ");
        }
        match value {
            Value::String(text) => {
                shown.push_str(key);
                shown.push('=');
                shown.extend(text.chars().take(80));
            }
            Value::Array(_) | Value::Object(_) => {
                shown.push_str(key);
                shown.push_str("=…");
            }
            value => {
                shown.push_str(key);
                shown.push('=');
                shown.push_str(&value.to_string());
            }
        }
    }
}

/// Writes a number so that `10`, `10.0` and `-0` against `0` look alike.
fn number_text(out: &mut String, number: &serde_json::Number) {
    use std::fmt::Write as _;
    let whole = |float: f64| float.fract() == 0.0 && float.abs() < 9.0e15;
    let _ = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(int), ..) => write!(out, "{int}"),
        (_, Some(int), _) => write!(out, "{int}"),
        (.., Some(float)) if whole(float) => write!(out, "{}", float as i64),
        (.., Some(float)) => write!(out, "{float:e}"),
        _ => write!(out, "{number}"),
    };
}

/// Returns the role of a key; `requestId`, `request_id` and `request-id` are one.
fn role_of(key: &str) -> Role {
    let mut buffer = [0u8; 24];
    let mut len = 0;
    for byte in key.bytes().filter(u8::is_ascii_alphanumeric) {
        if len == buffer.len() {
            return Role::Verbatim;
        }
        buffer[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    match &buffer[..len] {
        b"" if key == "_" => Role::Volatile,
        b"nonce" | b"requestid" | b"xrequestid" | b"reqid" | b"traceid" | b"traceparent"
        | b"spanid" | b"correlationid" | b"callid" | b"toolcallid" | b"tooluseid"
        | b"invocationid" | b"cachebuster" | b"cachebust" | b"idempotencykey"
        | b"clientrequestid" | b"progresstoken" | b"meta" => Role::Volatile,
        b"attempt" | b"attemptnumber" | b"retrycount" | b"trynumber" => Role::Attempt,
        b"timestamp" | b"ts" | b"now" | b"currenttime" | b"clienttime" | b"requesttime"
        | b"sentat" | b"requestedat" | b"timestampms" => Role::Clock,
        b"rationale" | b"explanation" | b"reasoning" | b"justification" | b"thought"
        | b"thoughts" | b"thinking" | b"innerthoughts" | b"toolexplanation" | b"why"
        | b"requestheartbeat" => Role::Cosmetic,
        b"description" | b"reason" | b"purpose" | b"summary" | b"intent" => Role::Describing,
        b"path" | b"filepath" | b"file" | b"filename" | b"dir" | b"directory" | b"cwd"
        | b"workdir" | b"workingdirectory" | b"targetfile" | b"notebookpath" | b"root"
        | b"folder" | b"paths" | b"files" | b"absolutepath" | b"relativepath" => Role::Path,
        b"command" | b"cmd" | b"script" | b"commands" | b"shellcommand" | b"bash"
        | b"commandline" => Role::Command,
        b"code" | b"source" | b"program" | b"javascript" | b"python" | b"js" => Role::Code,
        b"sql" | b"statement" | b"sqlquery" => Role::Sql,
        b"query" | b"q" | b"search" | b"searchquery" | b"searchterm" | b"searchterms"
        | b"keyword" | b"keywords" | b"pattern" | b"regex" | b"question" | b"term" | b"terms"
        | b"glob" | b"topic" | b"jql" | b"queries" | b"searchtext" | b"includepattern" => {
            Role::Query
        }
        b"url" | b"uri" | b"href" | b"link" => Role::Url,
        b"page" | b"pagenumber" | b"pageno" | b"offset" | b"skip" | b"start" | b"startline"
        | b"endline" | b"startindex" | b"cursor" | b"pagetoken" | b"nexttoken"
        | b"nextpagetoken" | b"after" | b"limit" | b"index" | b"line" | b"lines" | b"viewrange"
        | b"perpage" | b"pagesize" | b"topk" | b"maxresults" | b"numresults" | b"headlimit"
        | b"timeout" | b"timeoutms" | b"depth" | b"tail" | b"count" | b"size" | b"k" | b"n" => {
            Role::Position
        }
        _ => Role::Verbatim,
    }
}
