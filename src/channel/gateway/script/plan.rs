//! Which answer a request gets, and which of its tools are called.
//!
//! Pure: it follows from the script and the request alone. The number of a turn
//! is one more than the turns of the model in the history; a call id of ours
//! says its number itself, which holds through histories that were compacted or
//! in which results stand between the calls of one turn.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::wire::request::{Asked, Expects, ToolKind};
use super::super::wire::{Api, Call, Role, Said};
use super::file::{Args, Otherwise, Script, Side, Tools, Turn, When};

/// Stands in every id of ours, before the number of the turn.
const MARK: &str = "_script_";

/// What a request gets.
#[derive(Debug)]
pub(super) enum Choice<'s> {
    /// The turn `number` of the conversation, which is the script's `place`.
    Turn {
        number: u64,
        place: usize,
        turn: &'s Turn,
    },
    /// An answer beside the conversation.
    Side { place: usize, side: &'s Side },
    /// A request for JSON of a schema alone, which no side of the script knows.
    Schema(Value),
    /// None, and why.
    Refused { number: u64, why: String },
}

/// Chooses.
pub(super) fn choose<'s>(script: &'s Script, asked: &Asked<'_>) -> Choice<'s> {
    let history = asked.history();
    let side = (0..).zip(&script.sides);
    if let Some((place, side)) = side
        .into_iter()
        .find(|(_, side)| holds(&side.when, asked, &history))
    {
        return Choice::Side { place, side };
    }
    let Some(number) = next_turn(script, asked.previous_response_id.as_deref(), &history) else {
        let why = "previous_response_id names no response of this model".to_owned();
        return Choice::Refused { number: 0, why };
    };
    let turns = &script.turns;
    let mut before = 0_u64;
    let found = turns.iter().position(|turn| {
        before = before.saturating_add(turn.repeat.0);
        number <= before
    });
    let place = match found {
        Some(place) => place,
        None if script.otherwise == Otherwise::RepeatLast => turns.len() - 1,
        None => {
            let why = format!("the script has {before} turns, and was asked for turn {number}");
            return Choice::Refused { number, why };
        }
    };
    let turn = &turns[place];
    if let (true, Expects::Schema(schema)) = (asked.tools.is_empty(), &asked.expects)
        && serde_json::from_str::<Map<String, Value>>(&turn.say).is_err()
    {
        return Choice::Schema(least(&tree(schema)));
    }
    if let Some(part) = &turn.expect
        && !last_results(&history).contains(part)
    {
        let why = format!("turn {number} expects {part:?} in the last tool results");
        return Choice::Refused { number, why };
    }
    Choice::Turn {
        number,
        place,
        turn,
    }
}

/// Reports whether all conditions hold.
fn holds(when: &When, asked: &Asked<'_>, history: &[Said]) -> bool {
    let model = asked.model.as_deref().unwrap_or_default().to_lowercase();
    let has = |part: &String| {
        let part = part.to_lowercase();
        let system = asked.system.map(RawValue::get).unwrap_or_default();
        let mut texts = history
            .iter()
            .map(|said| said.text.as_str())
            .chain([system]);
        texts.any(|text| text.to_lowercase().contains(&part))
    };
    let tools = match when.tools {
        None => true,
        Some(Tools::None) => asked.tools.is_empty(),
        Some(Tools::Some) => !asked.tools.is_empty(),
    };
    tools
        && when
            .model
            .as_ref()
            .is_none_or(|part| model.contains(&part.to_lowercase()))
        && when.contains.as_ref().is_none_or(has)
}

/// Returns the number of the turn that comes next, from 1; `None` behind a
/// response that is none of ours.
fn next_turn(script: &Script, previous: Option<&str>, history: &[Said]) -> Option<u64> {
    let mut turn = previous.map_or(Some(0), number_in)?;
    let mut is_open = previous.is_some();
    for said in history {
        match said.role {
            // An answer that said nothing was no turn; the model is asked again.
            Role::Assistant if says_nothing(said) => {}
            // Some agents begin with words that they put into the model's mouth.
            Role::Assistant if turn == 0 && !is_ours(script, said) => {}
            Role::Assistant => {
                let ids = said.calls.iter();
                match ids.filter_map(|call| number_in(&call.id)).max() {
                    Some(number) if number >= turn => turn = number,
                    _ if !is_open => turn += 1,
                    _ => {}
                }
                is_open = true;
            }
            Role::System | Role::Other => {}
            Role::User | Role::Tool => is_open = false,
        }
    }
    Some(turn + 1)
}

/// Reports whether the first words of a conversation are the script's: agents
/// may have cut them, or written something around them.
fn is_ours(script: &Script, said: &Said) -> bool {
    let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    let words = letters(&said.text);
    let known = |text: &str| {
        let text = letters(text);
        !text.is_empty() && (words.contains(&text) || text.contains(&words))
    };
    let first = script.turns.first();
    let texts = first.into_iter().flat_map(|turn| {
        let commands = turn.shell.list().iter();
        commands.chain([&turn.say])
    });
    !said.calls.is_empty() || texts.into_iter().any(|text| known(text))
}

fn says_nothing(said: &Said) -> bool {
    let is_empty = said.text.trim().is_empty() && said.refusal.is_empty();
    is_empty && said.calls.is_empty() && said.others == 0
}

/// Reads the number of a turn out of an id of ours.
fn number_in(id: &str) -> Option<u64> {
    let rest = &id[id.find(MARK)? + MARK.len()..];
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|number| *number < 1_000_000_000)
}

/// Makes an id of ours.
pub(super) fn id(prefix: &str, label: &str) -> String {
    format!("{prefix}{MARK}{label}")
}

/// Returns the texts of the results behind the model's last words.
fn last_results(history: &[Said]) -> String {
    let start = history
        .iter()
        .rposition(|said| said.role == Role::Assistant)
        .unwrap_or(0);
    let results = history[start..].iter().flat_map(|said| &said.results);
    let texts: Vec<&str> = results.map(|result| result.text.as_str()).collect();
    texts.join("\n")
}

/// Returns the text and the calls of a turn, fitted to the tools of a request.
pub(super) fn fit(
    script: &Script,
    turn: &Turn,
    number: u64,
    asked: &Asked<'_>,
    body: &[u8],
) -> (String, Vec<Call>) {
    let (mut text, mut fitted) = (turn.say.clone(), Vec::new());
    let tools = tools(asked, body);
    let is_program = String::from_utf8_lossy(body).contains("JavaScript");
    for command in turn.shell.list() {
        match shell(&tools, command, is_program).filter(|_| !script.shell_text) {
            Some(call) => fitted.push(call),
            None => {
                let gap = if text.is_empty() { "" } else { "\n\n" };
                text.push_str(&format!("{gap}```bash\n{}\n```", command.trim_end()));
            }
        }
    }
    for call in turn.call.iter().chain(&turn.calls) {
        let offered = find(&tools, &call.tool);
        fitted.push(Call {
            name: offered.map_or(&call.tool, |tool| &tool.name).clone(),
            arguments: match &call.args {
                Args::Object(fields) => Value::Object(fields.clone()).to_string(),
                Args::Text(text) => text.clone(),
            },
            is_free_text: offered.is_some_and(|tool| tool.kind == ToolKind::FreeText),
            ..Call::default()
        });
    }
    for (index, call) in fitted.iter_mut().enumerate() {
        let prefix = match asked.api {
            Api::Messages | Api::CountTokens => "toolu",
            Api::Chat | Api::Responses => "call",
            // It has no ids.
            Api::Gemini => continue,
        };
        call.id = id(prefix, &format!("{number}_{index}"));
    }
    (text, fitted)
}

/// A tool that a request offers.
struct Tool {
    name: String,
    kind: ToolKind,
    schema: Value,
}

/// Returns the tools of a request, also those in the namespaces that Codex has.
fn tools(asked: &Asked<'_>, body: &[u8]) -> Vec<Tool> {
    let plain = asked.tools.iter().map(|tool| Tool {
        name: tool.name.clone(),
        kind: tool.kind,
        schema: tool.schema.map(tree).unwrap_or_default(),
    });
    let mut tools: Vec<Tool> = plain.collect();
    if !String::from_utf8_lossy(body).contains("namespace") {
        return tools;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let list = |value: &Value, name: &str| -> Vec<Value> {
        let list = value.get(name).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let items = list(&body, "input");
    let spaces = items
        .iter()
        .chain([&body])
        .flat_map(|item| list(item, "tools"));
    let inner = spaces.flat_map(|space| list(&space, "tools"));
    tools.extend(inner.map(|tool| Tool {
        name: tool["name"].as_str().unwrap_or_default().to_owned(),
        kind: match tool["type"] == "custom" {
            true => ToolKind::FreeText,
            false => ToolKind::Function,
        },
        schema: tool["parameters"].clone(),
    }));
    tools
}

/// Finds a tool by its name, or by the end of it: agents put the name of its
/// server before the name of a tool (`mcp__notes__search`).
fn find<'t>(tools: &'t [Tool], name: &str) -> Option<&'t Tool> {
    let is_end = |tool: &&Tool| {
        let before = tool.name.strip_suffix(name).unwrap_or_default();
        before.ends_with(['_', '-', '.', '/', ':'])
    };
    let exact = tools.iter().find(|tool| tool.name == name);
    exact.or_else(|| tools.iter().find(is_end))
}

/// Words in the names of tools that run commands.
const SHELLS: &[&str] = &["bash", "shell", "exec", "terminal", "command", "run", "cmd"];
/// Properties that hold a command, the likeliest first.
const COMMANDS: &[&str] = &[
    "command",
    "cmd",
    "script",
    "commands",
    "shell_command",
    "code",
];

/// Returns the call, without its id, of the tool that runs shell commands.
///
/// - `is_program`: a free-text tool `exec` takes JavaScript that calls the real
///   tools: Codex with the models it knows.
fn shell(tools: &[Tool], command: &str, is_program: bool) -> Option<Call> {
    let rank = |tool: &Tool| {
        let name = tool.name.to_lowercase();
        let place = SHELLS.iter().position(|word| name.contains(word));
        place.unwrap_or(SHELLS.len())
    };
    let call = |tool: &Tool| {
        let is_named = rank(tool) < SHELLS.len();
        let arguments = match tool.kind {
            ToolKind::Function => arguments(&tool.schema, command)?.to_string(),
            ToolKind::FreeText if is_program && tool.name == "exec" => {
                let asked = json!({"cmd": command});
                format!("text(JSON.stringify(await tools.exec_command({asked})));")
            }
            ToolKind::FreeText if is_named => command.to_owned(),
            ToolKind::BuiltIn if tool.name == "bash" => json!({"command": command}).to_string(),
            _ => return None,
        };
        let call = Call {
            name: tool.name.clone(),
            arguments,
            is_free_text: tool.kind == ToolKind::FreeText,
            ..Call::default()
        };
        Some((rank(tool), call))
    };
    let best = tools.iter().filter_map(call).min_by_key(|(rank, _)| *rank);
    best.map(|(_, call)| call)
}

/// Returns arguments that run `command`, if the schema has a place for it.
fn arguments(schema: &Value, command: &str) -> Option<Value> {
    let properties = schema.get("properties")?.as_object()?;
    let fits = |name: &str| {
        let property = properties.get(name)?;
        // A list of verbs is no place for a command.
        if property.get("enum").is_some() {
            return None;
        }
        match kind(property) {
            "string" | "" => Some(json!(command)),
            "array" if name == "commands" => Some(json!([command])),
            "array" => Some(json!(["bash", "-lc", command])),
            _ => None,
        }
    };
    let (name, value) = COMMANDS
        .iter()
        .find_map(|name| Some((*name, fits(name)?)))?;
    let mut filled = least(schema);
    filled[name] = value;
    Some(filled)
}

fn tree(schema: &RawValue) -> Value {
    serde_json::from_str(schema.get()).unwrap_or_default()
}

/// Returns the type of a schema in lower case, as Gemini writes it in upper;
/// empty if there is none.
fn kind(schema: &Value) -> &'static str {
    let named = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().find(|kind| *kind != "null"),
        named => named,
    };
    let named = named.and_then(Value::as_str).unwrap_or_default();
    ["string", "array", "object", "integer", "number", "boolean"]
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(named))
        .unwrap_or_default()
}

/// Returns the least value that a schema allows, as far as it is plain.
fn least(schema: &Value) -> Value {
    least_below(schema, "", 0)
}

fn least_below(schema: &Value, name: &str, depth: usize) -> Value {
    let given = ["const", "default"].iter().find_map(|key| schema.get(*key));
    let listed = schema.get("enum").and_then(|list| list.get(0));
    let several = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key));
    if let Some(value) = given.or(listed) {
        return value.clone();
    }
    if let (Some(first), true) = (several.and_then(|list| list.get(0)), depth < 16) {
        return least_below(first, name, depth + 1);
    }
    let lowest = || schema.get("minimum").cloned().unwrap_or(json!(0));
    match kind(schema) {
        "object" if depth < 16 => {
            let required = schema.get("required").and_then(Value::as_array);
            let properties = schema.get("properties").unwrap_or(&Value::Null);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let field = |name: &str| {
                let below = properties.get(name).unwrap_or(&Value::Null);
                (name.to_owned(), least_below(below, name, depth + 1))
            };
            Value::Object(names.map(field).collect())
        }
        "object" => json!({}),
        "array" => json!([]),
        "integer" | "number" => lowest(),
        "boolean" => json!(false),
        // Folders are where the agent stands; other texts are for people.
        _ if ["dir", "path", "cwd"]
            .iter()
            .any(|part| name.contains(part)) =>
        {
            json!(".")
        }
        _ => json!("scripted"),
    }
}
