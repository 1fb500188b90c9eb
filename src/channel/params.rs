//! Reads the parameters of a method and says precisely what is wrong.
//!
//! Null is the same as absent (Python's `None`). An unknown field is an error,
//! not ignored: a misspelt `usage` would let a run spend unseen.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::frame::{Error, Param};
use super::method::{
    Batch, BatchItem, Call, Escalate, ITEMS_MAX, LendEnd, LentEnd, NAMES, PROTOCOL, Report,
    ReservationNo, Reserve, Said, Seen, Start, State, Tool, Turn, Usage, Verbatim, Window,
};
use super::raw::{self, Fields};
use super::{money, suggest};
use crate::ids::{CallId, StepNo};

/// The largest token count or number one frame may carry.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// The longest id of an item, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The fields of each method, and of `usage`; the specification names them all.
pub(super) const FIELDS: [(&str, &[&str]); 12] = [
    ("start", &["client", "protocol", "messages"]),
    (
        "turn",
        &[
            "messages",
            "history",
            "usage",
            "step",
            "reservation",
            "error",
            "done",
            "result",
        ],
    ),
    (
        "reserve",
        &["model", "input_tokens", "max_tokens", "cost_usd"],
    ),
    ("tool", &["name", "args", "id"]),
    ("lend", &["name", "args", "id"]),
    (
        "lend_end",
        &["call", "attempt", "response", "lost", "unsent"],
    ),
    (
        "batch",
        &["tool", "items", "policy", "fail_fast", "concurrency"],
    ),
    ("item", &["id", "args"]),
    (
        "report",
        &["tool", "args", "result", "is_error", "exit_code", "status"],
    ),
    (
        "escalate",
        &[
            "question",
            "options",
            "default",
            "recommendation",
            "evidence",
            "decision",
            "kind",
            "reversible",
            "cost_usd",
            "confidence",
            "deadline_ms",
        ],
    ),
    ("state", &["messages"]),
    (
        "usage",
        &[
            "model",
            "input_tokens",
            "output_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "cost_usd",
        ],
    ),
];

/// What other protocols call some of the fields.
const ALIASES: [(&str, &str); 13] = [
    ("prompt_tokens", "input_tokens"),
    ("completion_tokens", "output_tokens"),
    ("cache_read_input_tokens", "cached_input_tokens"),
    ("cached_tokens", "cached_input_tokens"),
    ("cache_creation_input_tokens", "cache_write_tokens"),
    ("cost", "cost_usd"),
    ("max_output_tokens", "max_tokens"),
    ("arguments", "args"),
    ("input", "args"),
    ("name", "tool"),
    ("tool", "name"),
    ("content", "result"),
    ("output", "result"),
];

/// Returns the field that an unknown one was probably meant to be.
fn meant(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let alias = ALIASES
        .iter()
        .find(|(alias, field)| *alias == name && known.contains(field));
    alias
        .map(|(_, field)| *field)
        .or_else(|| suggest::nearest(name, known))
}

/// Reads the parameters of `method`; see [`Call::parse`].
pub(super) fn read(method: &str, params: Option<&RawValue>) -> Result<Call, Error> {
    let Some(known) = NAMES.iter().copied().find(|name| *name == method) else {
        let meant = suggest::nearest(method, &NAMES);
        return Err(Error::UnknownMethod {
            found: raw::excerpt(method),
            meant,
        });
    };
    let object = Object::open(known, "", known, params)?;
    Ok(match known {
        "start" => Call::Start(start(&object)?),
        "turn" => Call::Turn(Box::new(turn(&object)?)),
        "reserve" => Call::Reserve(reserve(&object)?),
        "tool" => Call::Tool(tool(&object)?),
        "batch" => Call::Batch(Box::new(batch(&object)?)),
        "lend" => Call::Lend(tool(&object)?),
        "lend_end" => Call::LendEnd(lend_end(&object)?),
        "report" => Call::Report(report(&object)?),
        "escalate" => Call::Escalate(Box::new(escalate(&object)?)),
        _ => Call::State(State {
            messages: object.window("messages")?,
        }),
    })
}

fn start(object: &Object<'_>) -> Result<Start, Box<Param>> {
    let protocol = object.count("protocol", 0)?.unwrap_or(PROTOCOL);
    if protocol != PROTOCOL {
        let expected = format!("{PROTOCOL}, the only version this build speaks");
        return Err(object.wrong("protocol", expected, protocol.to_string()));
    }
    Ok(Start {
        client: object.text("client")?,
        messages: object.window("messages")?,
    })
}

fn turn(object: &Object<'_>) -> Result<Turn, Box<Param>> {
    let said = match (object.objects("messages")?, object.objects("history")?) {
        (Some(_), Some(_)) => {
            let expected = "absent when messages is given: send the new messages or the whole list";
            return Err(object.wrong("history", expected.into(), "given too".into()));
        }
        (Some(new), None) => Said::New(new),
        (None, Some(all)) => Said::History(all),
        (None, None) => Said::Nothing,
    };
    Ok(Turn {
        said,
        usage: object
            .raw("usage")
            .map(|raw| usage(object.method, raw))
            .transpose()?,
        step: object.count("step", 1)?.map(StepNo),
        reservation: object.count("reservation", 0)?.map(ReservationNo),
        error: object.text("error")?,
        done: object.flag("done")?.unwrap_or(false),
        result: object.raw("result").map(Verbatim::from),
        wire: None,
    })
}

fn usage(method: &'static str, raw: &RawValue) -> Result<Usage, Box<Param>> {
    let object = Object::open(method, "usage.", "usage", Some(raw))?;
    Ok(Usage {
        model: object.text("model")?,
        input_tokens: object.count("input_tokens", 0)?,
        output_tokens: object.count("output_tokens", 0)?,
        cached_input_tokens: object.count("cached_input_tokens", 0)?,
        cache_write_tokens: object.count("cache_write_tokens", 0)?,
        cost_nano_usd: object.cost("cost_usd")?,
        seen: Seen::default(),
    })
}

fn reserve(object: &Object<'_>) -> Result<Reserve, Box<Param>> {
    let model = object.text("model")?;
    let required = |name, least: u64| {
        let expected = format!("a whole number from {least} to {COUNT_MAX}");
        let missing = || object.wrong(name, expected, "missing".into());
        object.count(name, least)?.ok_or_else(missing)
    };
    Ok(Reserve {
        model,
        input_tokens: required("input_tokens", 0)?,
        max_tokens: required("max_tokens", 1)?,
        cost_nano_usd: object.cost("cost_usd")?,
        ..Reserve::default()
    })
}

fn tool(object: &Object<'_>) -> Result<Tool, Box<Param>> {
    Ok(Tool {
        name: object.name("name")?,
        args: object.args()?,
        id: object.text("id")?,
    })
}

fn batch(object: &Object<'_>) -> Result<Batch, Box<Param>> {
    let expected = || format!("a list of 1 to {ITEMS_MAX} items, each {{\"id\", \"args\"}}");
    let Some(raw) = object.raw("items") else {
        return Err(object.wrong("items", expected(), "missing".into()));
    };
    let list: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| object.wrong_kind("items", &expected(), raw))?;
    if list.is_empty() || list.len() > ITEMS_MAX {
        let found = format!("a list of {}", list.len());
        return Err(object.wrong("items", expected(), found));
    }
    let items = list.iter().enumerate();
    let items = items.map(|(at, raw)| {
        // Where in the list something is wrong is part of the field's name.
        item(object.method, raw).map_err(|wrong| {
            let field = format!("items[{at}].{}", wrong.field);
            Box::new(Param { field, ..*wrong })
        })
    });
    Ok(Batch {
        tool: object.name("tool")?,
        items: items.collect::<Result<_, _>>()?,
        policy: object.policy("policy")?,
        fail_fast: object.flag("fail_fast")?.unwrap_or(false),
        concurrency: object
            .whole("concurrency", 1, 64)?
            .map(|calls| calls as u32),
    })
}

fn item(method: &'static str, raw: &RawValue) -> Result<BatchItem, Box<Param>> {
    let object = Object::open(method, "", "item", Some(raw))?;
    Ok(BatchItem {
        id: object.id("id")?,
        args: object.args()?,
    })
}

fn lend_end(object: &Object<'_>) -> Result<LendEnd, Box<Param>> {
    let required = |name| {
        let expected = format!("a whole number from 1 to {COUNT_MAX}");
        let missing = || object.wrong(name, expected, "missing".into());
        object.count(name, 1)?.ok_or_else(missing)
    };
    let (call, attempt) = (CallId(required("call")?), required("attempt")?);
    let response = object.raw("response").map(Verbatim::from);
    let ends = [
        response.map(LentEnd::Response),
        object.text("lost")?.map(LentEnd::Lost),
        object.text("unsent")?.map(LentEnd::Unsent),
    ];
    let mut ends = ends.into_iter().flatten();
    let (Some(end), None) = (ends.next(), ends.next()) else {
        let expected = "one of response, lost and unsent";
        return Err(object.wrong("response", expected.into(), "none or several".into()));
    };
    Ok(LendEnd {
        call,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        end,
    })
}

fn report(object: &Object<'_>) -> Result<Report, Box<Param>> {
    Ok(Report {
        ticket: None,
        wire_id: String::new(),
        tool: object.name("tool")?,
        args: object.args()?,
        result: object.raw("result").map(Verbatim::from),
        is_error: object.flag("is_error")?,
        exit_code: object
            .whole("exit_code", i64::from(i32::MIN), i64::from(i32::MAX))?
            .map(|code| code as i32),
        status: object.whole("status", 0, 999)?.map(|status| status as u16),
    })
}

/// Longest texts of a question, in bytes.
const QUESTION_BYTES_MAX: usize = 4 * 1024;
const EVIDENCE_BYTES_MAX: usize = 16 * 1024;
const OPTION_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 400;
/// Most options of a question.
const OPTIONS_MAX: usize = 20;
/// Longest time for an answer: 30 days.
const DEADLINE_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// What leads a loop to ask.
const KINDS: [&str; 3] = ["agent", "low_confidence", "uncovered"];

fn escalate(object: &Object<'_>) -> Result<Escalate, Box<Param>> {
    let expected = format!("a text of 1 to {QUESTION_BYTES_MAX} bytes");
    let question = object
        .short("question", QUESTION_BYTES_MAX)?
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| object.wrong("question", expected, "missing or empty".into()))?;
    let options = object.options("options")?;
    let default = object.short("default", OPTION_BYTES_MAX)?;
    if let Some(default) = &default {
        let known: Vec<&str> = match options.is_empty() {
            true => vec!["yes", "no"],
            false => options.iter().map(|(id, _)| id.as_str()).collect(),
        };
        if !known.contains(&default.as_str()) {
            let expected = format!("one of the options: {}", known.join(", "));
            return Err(object.wrong("default", expected, format!("`{}`", raw::excerpt(default))));
        }
    }
    let kind = object.short("kind", OPTION_BYTES_MAX)?;
    if let Some(kind) = kind.as_deref().filter(|kind| !KINDS.contains(kind)) {
        let expected = format!("one of {}", KINDS.join(", "));
        return Err(object.wrong("kind", expected, format!("`{}`", raw::excerpt(kind))));
    }
    let deadline_ms = object.count("deadline_ms", 1)?;
    if let Some(found) = deadline_ms.filter(|ms| *ms > DEADLINE_MS_MAX) {
        let expected = format!("a whole number from 1 to {DEADLINE_MS_MAX}, 30 days");
        return Err(object.wrong("deadline_ms", expected, found.to_string()));
    }
    Ok(Escalate {
        question,
        options,
        default,
        recommendation: object.short("recommendation", QUESTION_BYTES_MAX)?,
        evidence: object.short("evidence", EVIDENCE_BYTES_MAX)?,
        decision: object.short("decision", QUESTION_BYTES_MAX)?,
        kind,
        reversible: object.flag("reversible")?,
        cost_nano_usd: object.cost("cost_usd")?,
        confidence: object.fraction("confidence")?,
        deadline_ms,
    })
}

/// The parameters, or an object within them.
struct Object<'a> {
    method: &'static str,
    /// What stands before a field's name: nothing, or `usage.`.
    prefix: &'static str,
    fields: Fields<'a>,
}

impl<'a> Object<'a> {
    /// Opens an object and refuses fields it does not have.
    fn open(
        method: &'static str,
        prefix: &'static str,
        shape: &str,
        raw: Option<&'a RawValue>,
    ) -> Result<Self, Box<Param>> {
        let mut object = Self {
            method,
            prefix,
            fields: Fields::default(),
        };
        let Some(raw) = raw else { return Ok(object) };
        let whole = if prefix.is_empty() {
            "params"
        } else {
            prefix.trim_end_matches('.')
        };
        object.fields = serde_json::from_str(raw.get()).map_err(|_| {
            let wrong = object.wrong("", "an object".into(), raw::describe(raw.get()));
            Box::new(Param {
                field: whole.into(),
                ..*wrong
            })
        })?;
        let known = FIELDS
            .iter()
            .find(|(name, _)| *name == shape)
            .map_or(&[][..], |(_, known)| *known);
        object.check_names(known)?;
        Ok(object)
    }

    fn check_names(&self, known: &[&'static str]) -> Result<(), Box<Param>> {
        if let Some(name) = self.fields.unknown(known) {
            let meant = meant(name, known);
            let fix = meant.map(|meant| format!("did you mean `{}{meant}`?", self.prefix));
            let expected = format!("one of {}", known.join(", "));
            let wrong = self.wrong(&raw::excerpt(name), expected, "an unknown field".into());
            return Err(Box::new(Param {
                fix,
                meant,
                ..*wrong
            }));
        }
        if let Some(name) = self.fields.duplicate() {
            return Err(self.wrong(name, "the field once".into(), "given twice".into()));
        }
        Ok(())
    }

    fn wrong(&self, name: &str, expected: String, found: String) -> Box<Param> {
        let field = format!("{}{name}", self.prefix);
        let (fix, meant) = (None, None);
        Box::new(Param {
            method: self.method,
            field,
            expected,
            found,
            fix,
            meant,
        })
    }

    fn wrong_kind(&self, name: &str, expected: &str, raw: &RawValue) -> Box<Param> {
        self.wrong(name, expected.into(), raw::describe(raw.get()))
    }

    /// Returns a field that is there and not null.
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).filter(|raw| raw.get() != "null")
    }

    fn text(&self, name: &str) -> Result<Option<String>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = serde_json::from_str(raw.get());
        text.map(Some)
            .map_err(|_| self.wrong_kind(name, "a text", raw))
    }

    /// Returns a text of bounded length.
    fn short(&self, name: &str, bytes_max: usize) -> Result<Option<String>, Box<Param>> {
        let text = self.text(name)?;
        match &text {
            Some(long) if long.len() > bytes_max => {
                let expected = format!("a text of at most {bytes_max} bytes");
                Err(self.wrong(name, expected, format!("{} bytes", long.len())))
            }
            _ => Ok(text),
        }
    }

    /// Returns a number from 0 to 1.
    fn fraction(&self, name: &str) -> Result<Option<f64>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match raw.get().parse() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong_kind(name, "a number from 0 to 1", raw)),
        }
    }

    /// Returns options: each a text, or an object with `id` and `label`.
    fn options(&self, name: &str) -> Result<Vec<(String, String)>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(vec![]);
        };
        let expected = "a list of texts, or of objects with id and label";
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            return Err(self.wrong_kind(name, expected, raw));
        };
        if list.len() > OPTIONS_MAX {
            let expected = format!("at most {OPTIONS_MAX} options");
            return Err(self.wrong(name, expected, list.len().to_string()));
        }
        let mut options: Vec<(String, String)> = Vec::new();
        for (index, raw) in list.into_iter().enumerate() {
            let field = format!("{name}[{index}]");
            let wrong = || self.wrong_kind(&field, expected, raw);
            let (id, label) = match serde_json::from_str::<Value>(raw.get()) {
                Ok(Value::String(id)) => (id.clone(), id),
                Ok(Value::Object(mut both)) => {
                    let mut take = |key: &str| match both.remove(key) {
                        Some(Value::String(text)) => Some(text),
                        _ => None,
                    };
                    let id = take("id").ok_or_else(wrong)?;
                    let label = take("label").unwrap_or_else(|| id.clone());
                    if !both.is_empty() {
                        return Err(wrong());
                    }
                    (id, label)
                }
                _ => return Err(wrong()),
            };
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            if id.is_empty() || id.len() > OPTION_BYTES_MAX || !id.chars().all(is_word) {
                let expected = format!(
                    "a word of 1 to {OPTION_BYTES_MAX} letters, digits, `_`, `-`, `.`; put more into the label"
                );
                return Err(self.wrong(&field, expected, format!("`{}`", raw::excerpt(&id))));
            }
            if label.len() > LABEL_BYTES_MAX {
                let expected = format!("a label of at most {LABEL_BYTES_MAX} bytes");
                return Err(self.wrong(&field, expected, format!("{} bytes", label.len())));
            }
            if options.iter().any(|(known, _)| *known == id) {
                let expected = "each option once".to_owned();
                return Err(self.wrong(&field, expected, format!("`{id}` again")));
            }
            options.push((id, label));
        }
        Ok(options)
    }

    /// Returns a text that must be there and not empty.
    fn name(&self, name: &str) -> Result<String, Box<Param>> {
        let expected = "the name of a tool";
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.wrong(name, expected.into(), "empty".into())),
            None => Err(self.wrong(name, expected.into(), "missing".into())),
        }
    }

    /// Returns an item's id, a text or a whole number; it must be there.
    fn id(&self, name: &str) -> Result<String, Box<Param>> {
        let expected = format!("a text of 1 to {ID_BYTES_MAX} bytes, or a whole number");
        let Some(raw) = self.raw(name) else {
            return Err(self.wrong(name, expected, "missing".into()));
        };
        let number = || raw.get().parse::<i64>().ok().map(|id| id.to_string());
        match serde_json::from_str(raw.get()).ok().or_else(number) {
            Some(id) if (1..=ID_BYTES_MAX).contains(&String::len(&id)) => Ok(id),
            Some(id) if id.is_empty() => Err(self.wrong(name, expected, "empty".into())),
            _ => Err(self.wrong_kind(name, &expected, raw)),
        }
    }

    /// Returns what is wanted of a batch as text: a text, a count, or
    /// `{"at_least": …}` of one of them. What it means is not looked at.
    fn policy(&self, name: &str) -> Result<Option<String>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let wanted: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let least = match &wanted {
            Value::Object(fields) if fields.len() == 1 => fields.get("at_least"),
            other => Some(other),
        };
        match least {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(count)) => Ok(Some(count.to_string())),
            _ => {
                let expected = "a text, a count, or {\"at_least\": …} of one of them";
                Err(self.wrong_kind(name, expected, raw))
            }
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Box<Param>> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) => match raw.get() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(self.wrong_kind(name, "true or false", raw)),
            },
        }
    }

    fn count(&self, name: &str, least: u64) -> Result<Option<u64>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match raw.get().parse() {
            Ok(count) if (least..=COUNT_MAX).contains(&count) => Ok(Some(count)),
            _ => Err(self.wrong_kind(
                name,
                &format!("a whole number from {least} to {COUNT_MAX}"),
                raw,
            )),
        }
    }

    fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match raw.get().parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong_kind(name, &format!("a whole number from {least} to {most}"), raw)),
        }
    }

    /// Returns an amount of money in nano-USD, from a number or a text.
    fn cost(&self, name: &str) -> Result<Option<u64>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let number = match raw.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw.get()).unwrap_or_default(),
            _ => raw.get().to_owned(),
        };
        money::nano_usd(&number)
            .map(Some)
            .map_err(|_| self.wrong_kind(name, money::EXPECTED, raw))
    }

    /// Returns a list whose elements are all objects, each as it was written.
    fn objects(&self, name: &str) -> Result<Option<Vec<Verbatim>>, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            return Err(self.wrong_kind(name, "a list of messages", raw));
        };
        if let Some(index) = list.iter().position(|raw| !raw.get().starts_with('{')) {
            let field = format!("{name}[{index}]");
            return Err(self.wrong_kind(&field, "a message, which is an object", list[index]));
        }
        Ok(Some(list.into_iter().map(Verbatim::from).collect()))
    }

    fn args(&self) -> Result<Map<String, Value>, Box<Param>> {
        let Some(raw) = self.raw("args") else {
            return Ok(Map::new());
        };
        if let Some(number) = raw::integer_beyond_64_bits(raw.get()) {
            let expected = "without integers beyond 64 bits, which lose digits; send them as text";
            return Err(self.wrong(
                "args",
                expected.into(),
                format!("holding {}", raw::excerpt(number)),
            ));
        }
        let expected = "an object of the tool's arguments";
        serde_json::from_str(raw.get()).map_err(|error| match raw.get().starts_with('{') {
            true => self.wrong(
                "args",
                expected.into(),
                format!("unreadable ({})", raw::why(&error)),
            ),
            false => self.wrong_kind("args", expected, raw),
        })
    }

    fn window(&self, name: &str) -> Result<Window, Box<Param>> {
        let Some(raw) = self.raw(name) else {
            return Ok(Window::All);
        };
        let wrong = || self.wrong_kind(name, "\"all\", \"none\" or {\"last\": n}", raw);
        match raw.get() {
            "\"all\"" => Ok(Window::All),
            "\"none\"" => Ok(Window::None),
            json => {
                let fields: Fields<'_> = serde_json::from_str(json).map_err(|_| wrong())?;
                let last = fields.get("last").and_then(|raw| raw.get().parse().ok());
                match last {
                    Some(last) if fields.unknown(&["last"]).is_none() => Ok(Window::Last(last)),
                    _ => Err(wrong()),
                }
            }
        }
    }
}
