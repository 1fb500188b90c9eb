//! What the run has to offer: its guarded tools, and a few of our own.
//!
//! Pure: from the supervisor's `state` to a list of MCP tools, and from a call of one
//! to what the supervisor is asked.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::with_field;
use super::told;
use crate::channel::method::Verbatim;

/// Where the run stands, as a tool.
pub(super) const STATE: &str = "agentguard_state";

/// Several items for one guarded tool.
pub(super) const BATCH: &str = "agentguard_batch";

/// A question to a human.
pub(super) const ESCALATE: &str = "agentguard_escalate";

/// What can be called at this moment.
#[derive(Debug, Deserialize)]
pub(super) struct Offer {
    run_id: String,
    attempt: u64,
    step: u64,
    #[serde(default)]
    note: Option<String>,
    tools: Vec<Tool>,
    limits: Box<RawValue>,
}

/// A guarded tool of the task.
#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    description: String,
    input_schema: Value,
    #[serde(default)]
    output_schema: Option<Value>,
    effect: String,
    available: bool,
    #[serde(default)]
    unavailable: Option<String>,
    #[serde(default)]
    back_at: Option<Timestamp>,
}

/// What a call becomes.
#[derive(Debug)]
pub(super) enum Request {
    /// Ask the supervisor.
    Ask {
        method: &'static str,
        params: Verbatim,
        /// The tool says what its JSON looks like.
        has_schema: bool,
    },
    /// It is told by what is known already.
    State,
}

impl Offer {
    /// Reads the answer to `state`.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// Returns the result of `tools/list`.
    pub(super) fn list(&self, is_modern: bool) -> String {
        let batch = (!self.tools.is_empty()).then(|| self.batch());
        let own = batch.into_iter().chain([escalate(), state()]);
        let tools: Vec<Value> = self.tools.iter().map(Tool::shown).chain(own).collect();
        let list = match is_modern {
            true => json!({"tools": tools, "cacheScope": "private", "ttlMs": 0}),
            false => json!({"tools": tools}),
        };
        list.to_string()
    }

    /// Returns whether each tool is available, in their order.
    pub(super) fn available(&self) -> Vec<bool> {
        self.tools.iter().map(|tool| tool.available).collect()
    }

    /// Returns whether every tool is.
    pub(super) fn is_available(&self) -> bool {
        self.tools.iter().all(|tool| tool.available)
    }

    /// Returns how long until the first tool that is down is expected back.
    pub(super) fn back_in(&self, now: Timestamp) -> Option<Duration> {
        let back = self.tools.iter().filter_map(|tool| tool.back_at).min()?;
        let wait = Duration::try_from(back.duration_since(now)).unwrap_or_default();
        // A little later, so that it is back by then.
        Some(wait + Duration::from_millis(100))
    }

    /// Turns a call into what the supervisor is asked.
    ///
    /// - `args`: an object, as JSON.
    /// - `id`: the loop's own id of the call.
    ///
    /// Errors: there is no such tool.
    pub(super) fn request(
        &self,
        name: &str,
        args: &str,
        id: Option<&str>,
    ) -> Result<Request, String> {
        let ask = |method| {
            let params = Verbatim::from_text(args).map_err(|error| error.to_string())?;
            Ok(Request::Ask {
                method,
                params,
                has_schema: false,
            })
        };
        match name {
            STATE => return Ok(Request::State),
            BATCH => return ask("batch"),
            ESCALATE => return ask("escalate"),
            _ => {}
        }
        let Some(tool) = self.tools.iter().find(|tool| tool.name == name) else {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
            let name: String = name.chars().take(80).collect();
            let known = names.join(", ");
            return Err(format!(
                "Unknown tool: {name}. The tools are: {known}, {BATCH}, {ESCALATE}, {STATE}"
            ));
        };
        let mut params = json!({"name": name});
        if let Some(id) = id {
            params["id"] = id.into();
        }
        let params = Verbatim::from_text(&with_field(&params.to_string(), "args", args));
        Ok(Request::Ask {
            method: "tool",
            params: params.map_err(|error| error.to_string())?,
            has_schema: tool.output_schema().is_some(),
        })
    }

    /// Returns [`BATCH`] as MCP shows it.
    fn batch(&self) -> Value {
        let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
        json!({
            "name": BATCH,
            "description": "Hands several items to one tool: each is done once by its id, with its own \
                            tries. Says for each whether it succeeded, is to be tried again later, or \
                            failed for good, and why.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "tool": {"type": "string", "enum": names},
                    "items": {"type": "array", "minItems": 1, "items": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string", "description": "What makes it this item, such as an invoice's number."},
                            "args": {"type": "object", "description": "The tool's arguments for it."},
                        },
                        "required": ["id", "args"],
                    }},
                    "policy": {"type": "string", "description": "What has to succeed: `required` (all, the default), `optional`, or a share such as `90%`."},
                },
                "required": ["tool", "items"],
            },
        })
    }

    /// Returns the result of [`STATE`].
    pub(super) fn state(&self, is_modern: bool) -> String {
        let tools = self.tools.iter().map(|tool| {
            json!({"name": tool.name, "available": tool.available, "unavailable": tool.unavailable})
        });
        let state = json!({
            "run_id": self.run_id, "attempt": self.attempt, "step": self.step,
            "note": self.note, "tools": tools.collect::<Vec<_>>(),
        });
        let text = with_field(&state.to_string(), "limits", self.limits.get());
        let result = json!({"content": [{"type": "text", "text": text}], "isError": false});
        told::in_era(result.to_string(), is_modern)
    }
}

impl Tool {
    /// Returns the tool as MCP shows it; one that is down says so first.
    fn shown(&self) -> Value {
        let description = match self.unavailable.as_deref().filter(|_| !self.available) {
            Some(why) => format!("[{why}] {}", self.description),
            None => self.description.clone(),
        };
        let mut shown = json!({
            "name": self.name,
            "description": description.trim_end(),
            "inputSchema": object_schema(&self.input_schema),
            "annotations": {
                "readOnlyHint": self.effect == "read",
                "destructiveHint": self.effect == "irreversible",
            },
        });
        if let Some(schema) = self.output_schema() {
            shown["outputSchema"] = schema.clone();
        }
        shown
    }

    /// Returns the schema of its JSON, where it is one of an object; MCP knows no other.
    fn output_schema(&self) -> Option<&Value> {
        let schema = self.output_schema.as_ref()?;
        (schema.get("type")? == "object").then_some(schema)
    }
}

/// Returns [`ESCALATE`] as MCP shows it.
fn escalate() -> Value {
    json!({
        "name": ESCALATE,
        "description": "Asks a human and waits for the decision. For what you may not or cannot decide \
                        yourself: something that cannot be taken back, a case nobody foresaw, doubt.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "question": {"type": "string"},
                "options": {"type": "array", "items": {"type": "string"}, "description": "One word each; `yes` and `no` where left out."},
                "recommendation": {"type": "string", "description": "What you would do."},
                "evidence": {"type": "string", "description": "What a human should see first."},
                "reversible": {"type": "boolean", "description": "Whether what follows can be taken back."},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            },
            "required": ["question"],
        },
    })
}

/// Returns [`STATE`] as MCP shows it.
fn state() -> Value {
    json!({
        "name": STATE,
        "description": "Says where this supervised run stands: its step, what is left of its \
                        budget and time, and which tools are available now.",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": true},
    })
}

/// MCP wants the type of the arguments to be said.
fn object_schema(schema: &Value) -> Value {
    let mut schema = schema.clone();
    match schema.as_object_mut() {
        Some(fields) => {
            fields.insert("type".to_owned(), "object".into());
            schema
        }
        None => json!({"type": "object"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        let json = r#"{"protocol":1,"run_id":"r-00000001","attempt":1,"step":2,"cause":"fresh","messages":[],
            "limits":{"cost_usd":{"limit":1.5,"used":0.000000001,"left":1.499999999}},"unfinished":[],
            "tools":[
              {"name":"look","description":"Looks.","input_schema":{"properties":{}},"effect":"read","available":true,
               "output_schema":{"type":"object"}},
              {"name":"mail","description":"Mails.","input_schema":{"type":"object"},"effect":"irreversible",
               "available":false,"unavailable":"`mail` is unavailable.","back_at":"2026-01-01T00:00:10Z"}]}"#;
        Offer::read(json).unwrap()
    }

    #[test]
    fn tools_are_listed_with_what_is_known_of_them() {
        let list: Value = serde_json::from_str(&offer().list(true)).unwrap();
        let names: Vec<&str> = list["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["look", "mail", BATCH, ESCALATE, STATE]);
        assert_eq!(list["tools"][0]["inputSchema"]["type"], "object");
        assert_eq!(list["tools"][0]["annotations"]["readOnlyHint"], true);
        assert!(list["tools"][0]["outputSchema"].is_object());
        assert_eq!(
            list["tools"][1]["description"],
            "[`mail` is unavailable.] Mails."
        );
        assert_eq!(list["tools"][1]["annotations"]["destructiveHint"], true);
        assert_eq!(list["ttlMs"], 0);
    }

    #[test]
    fn calls_become_requests() {
        let request = offer()
            .request("look", r#"{"n":1.50}"#, Some("toolu_1"))
            .unwrap();
        let Request::Ask {
            method,
            params,
            has_schema,
        } = request
        else {
            panic!("a request")
        };
        assert_eq!((method, has_schema), ("tool", true));
        let params: Value = serde_json::from_str(params.get()).unwrap();
        assert_eq!(
            params,
            json!({"name": "look", "args": {"n": 1.5}, "id": "toolu_1"})
        );
        assert!(matches!(
            offer().request(STATE, "{}", None),
            Ok(Request::State)
        ));
        let why = offer().request("lok", "{}", None).unwrap_err();
        assert_eq!(
            why,
            "Unknown tool: lok. The tools are: look, mail, agentguard_batch, agentguard_escalate, agentguard_state"
        );
    }

    #[test]
    fn the_state_keeps_every_digit_of_money() {
        let result: Value = serde_json::from_str(&offer().state(false)).unwrap();
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("1.499999999"), "{text}");
        assert!(!text.contains("messages"));
    }

    #[test]
    fn a_tool_that_is_down_is_looked_at_again() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let wait = offer().back_in(at("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(wait.as_millis(), 10_100);
        assert_eq!(
            offer()
                .back_in(at("2026-01-01T01:00:00Z"))
                .unwrap()
                .as_millis(),
            100
        );
    }
}
