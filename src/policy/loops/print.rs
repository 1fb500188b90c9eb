//! The compact record of one finished call: all the detector ever sees.
//!
//! A print stays below about 600 bytes of JSON whatever the call was, so the
//! journal stores one per call and the detector never needs contents again.
//! Excerpts come from the call and its result as they were: whoever stores a
//! print redacts secrets from call and result first.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::ToolTraits;
use super::digest::Digest;
use super::echo;
use super::edit::{self, Touch};
use super::fingerprint::Fingerprint;
use super::growth::Growth;
use super::mask;
use super::meaning;
use super::sketch::Sketch;
use super::talk;
use super::trouble::{self, ErrorKind};

/// Longest tool name kept, in bytes.
const TOOL_BYTES_MAX: usize = 48;
/// Longest picture of the call kept, in bytes of JSON.
const SHOWN_BYTES_MAX: usize = 80;
/// Longest picture of the result kept, in bytes of JSON.
const EXCERPT_BYTES_MAX: usize = 160;

/// What a call is for, as far as loops care.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Notes, plans, todo lists: the model talks to itself.
    Note,
    /// A sign of life sent at intervals.
    KeepAlive,
    /// Passes time and nothing else.
    Wait,
    /// Asks for a state that others change.
    Poll,
    /// Reads only.
    Read,
    /// Moves something that does not last: a page, a cursor, a form.
    Act,
    /// Changes something that lasts.
    Write,
    /// Could be anything (a program, an unknown tool); does not count as a change.
    #[default]
    Run,
}

/// How the call ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer.
    #[default]
    Ok,
    /// An error the same call will meet again.
    Error,
    /// An infrastructure error: the retry budget's business.
    Transport,
}

/// How much the answer says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Talk {
    /// Only "ok", "done", "valid": equal for different work.
    Ack,
    /// Nothing found, an empty list, an empty text.
    Empty,
    /// Something to read.
    #[default]
    Content,
    /// So much that two pieces of work hardly share it by chance.
    Long,
}

/// One finished call, compact. Plain data: compare, clone, store as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// The tool's name, cut.
    pub tool: String,
    /// What the call is for.
    pub kind: Kind,
    /// How it ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outcome: Outcome,
    /// How much the answer says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub talk: Talk,
    /// Tool and normalised arguments.
    pub call: Digest,
    /// The same without positions (page, offset); none where there are none.
    #[serde(default, skip_serializing_if = "Digest::is_none")]
    pub base: Digest,
    /// The tool, and for shells the program.
    pub family: Digest,
    /// The result as it is.
    pub raw: Digest,
    /// The result without volatile bytes.
    pub masked: Digest,
    /// The error without what it echoes of the arguments; none without error.
    #[serde(default, skip_serializing_if = "Digest::is_none")]
    pub error: Digest,
    /// The call looks something up by words of the model's choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub query: bool,
    /// A clock among the arguments does not count for the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clocked: bool,
    /// The words of a query without its numbers.
    #[serde(default, skip_serializing_if = "Digest::is_none")]
    pub template: Digest,
    /// The arguments of a query in a form that shows near-duplicates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sketch: Sketch,
    /// A piece repeated at an end of an argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// Files the call edits, with what it does to each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<Touch>,
    /// The task file exempts the tool.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exempt: bool,
    /// The arguments as a person would recognise them, cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shown: String,
    /// The beginning of the result, cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
}

impl Print {
    /// Returns the print of one finished call.
    ///
    /// - `args`: as parsed; malformed arguments as one string.
    /// - `result`: whole, before anything truncates it; null where there is none.
    /// - `error_kind`: what the classifier found. [`ErrorKind::None`] leaves
    ///   the question to the words of the result.
    ///
    /// Errors: none; any input has a print. Time is linear in the input.
    pub fn of(
        tool: &str,
        args: &Value,
        result: &Value,
        is_error: bool,
        error_kind: ErrorKind,
        traits: &ToolTraits,
    ) -> Self {
        let call = meaning::Call::read(tool, args, traits);
        let print = Fingerprint::of(&call, traits);
        let text = mask::text_of(result);
        let trouble = trouble::judge(&call, result, &text, is_error, error_kind);
        let talk = talk::talk(result, &text);
        let kind = meaning::kind_with_result(&call, result, &text, trouble, traits);
        let seen = mask::digests(result, meaning::creates(&call, kind));
        let failed = trouble != Outcome::Ok;
        Self {
            tool: cut(tool, TOOL_BYTES_MAX),
            kind,
            outcome: trouble,
            talk,
            call: print.call,
            base: if print.base.is_none() && print.query && print.turns_pages() {
                print.template()
            } else {
                print.base
            },
            family: call.family,
            raw: seen.raw,
            masked: seen.masked,
            error: if failed {
                echo::error_without_echo(&text, &print.words)
            } else {
                Digest::default()
            },
            query: print.query,
            sketch: if print.query {
                Sketch::of(&print.words)
            } else {
                Sketch::default()
            },
            template: if print.query {
                print.template()
            } else {
                Digest::default()
            },
            growth: print.growth,
            clocked: print.clock_dropped,
            touches: if kind == Kind::Write {
                edit::touches(&call)
            } else {
                Vec::new()
            },
            exempt: traits.exempt,
            shown: cut(&print.shown, SHOWN_BYTES_MAX),
            excerpt: cut(&text, EXCERPT_BYTES_MAX),
        }
    }

    /// Returns the call as a person reads it: `Bash(pytest -q)`.
    pub fn picture(&self) -> String {
        format!("{}({})", self.tool, self.shown)
    }

    /// Returns call and masked result as one value.
    pub(super) fn pair(&self) -> (Digest, Digest) {
        (self.call, self.masked)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Returns the beginning of `text` on one line, spaces collapsed, control
/// characters dropped, at most `bytes_max` bytes once written as JSON.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    let (mut bytes, mut space) = (0, false);
    for c in text.chars().take(bytes_max * 8) {
        if c.is_whitespace() || c.is_control() {
            space = !out.is_empty();
            continue;
        }
        let cost = usize::from(space) + c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        if bytes + cost > bytes_max - 3 {
            out.push('…');
            break;
        }
        if space {
            out.push(' ');
            space = false;
        }
        out.push(c);
        bytes += cost;
    }
    out
}
