//! Whether something that arrived is fit for use.
//!
//! Each gate answers with evidence when the delivery fails it. Gates look at
//! structure first (stop reasons, tool names, schemas) and at words only for
//! refusals and requests for approval in a model's own reply, where no provider marks them,
//! and for a human step in the short answer of a tool that changes something.

mod human;
mod reply;
mod shape;
mod tools;

pub(super) use human::asks_human;
pub(super) use reply::{degenerate, empty, refused, truncated};
pub(super) use shape::{breaks_schema, not_json};
pub(super) use tools::{bad_arguments, call_as_text, unknown_tool};

#[cfg(test)]
mod tests {
    use super::super::llm::{Call, Reply};
    use super::super::observation::Observation;
    use super::super::outcome::Delivery;
    use super::*;
    use serde_json::{Value, json};

    fn observed(context: Value) -> Observation {
        Observation::from_value(
            json!({"kind": "llm", "tool": "model", "context": context, "result": {}}),
        )
    }

    fn said(text: &str) -> Delivery {
        Delivery {
            reply: Some(Reply {
                text: text.to_owned(),
                stop: "stop".to_owned(),
                ..Reply::default()
            }),
            ..Delivery::default()
        }
    }

    #[test]
    fn refusal_table() {
        #[rustfmt::skip]
        let rows = [
            ("plain", "I'm sorry, but I can't help with that.", json!({}), true),
            ("as an AI", "As an AI language model, I cannot provide medical advice.", json!({}), true),
            ("German", "Es tut mir leid, dabei kann ich nicht helfen.", json!({}), true),
            ("Chinese", "抱歉，我无法协助完成这个请求。", json!({}), true),
            ("a finding is no refusal", "I can't find any bug in this function.", json!({}), false),
            ("a diagnosis is no refusal", "The server can't help with that request type; use POST.", json!({}), false),
            ("a translation may contain one", "Je suis désolé, je ne peux pas vous aider.", json!({"task": "Translate to French: sorry, I can't help"}), false),
        ];
        for (name, text, context, want) in rows {
            assert_eq!(
                refused(&observed(context), &said(text)).is_some(),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn asking_table() {
        #[rustfmt::skip]
        let rows = [
            ("approval", "I need your approval before I drop the table.", true),
            ("a fact", "Could you tell me your customer number so that I can continue?", true),
            ("a stop", "I can't proceed without the signed contract.", true),
            ("a question", "This will delete 4,000 rows. Shall I proceed?", true),
            ("French", "J'ai besoin de votre approbation avant de continuer.", true),
            ("an offer is no question of approval", "Done. Would you like me to also add tests?", false),
            ("a report", "The approval was given yesterday and the change is live.", false),
        ];
        for (name, text, want) in rows {
            assert_eq!(
                asks_human(&observed(json!({})), &said(text)).is_some(),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn arguments_are_held_against_the_offer() {
        let offered = json!({"tools_offered": [{"name": "f", "input_schema": {"type": "object", "required": ["a"]}}]});
        let calling = |name: &str, arguments: Value| Delivery {
            reply: Some(Reply {
                calls: vec![Call {
                    name: name.to_owned(),
                    arguments,
                }],
                ..Reply::default()
            }),
            ..Delivery::default()
        };
        let observation = observed(offered);
        assert!(unknown_tool(&observation, &calling("g", json!({}))).is_some());
        assert!(unknown_tool(&observation, &calling("f", json!({}))).is_none());
        assert!(bad_arguments(&observation, &calling("f", json!({}))).is_some());
        assert!(bad_arguments(&observation, &calling("f", json!("{\"a\":"))).is_some());
        assert!(bad_arguments(&observation, &calling("f", json!("{\"a\": 1}"))).is_none());
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_is_no_gate() {
        let observation = observed(json!({"schema": {"type": 7}}));
        assert_eq!(breaks_schema(&observation, &said("{}")), None);
    }

    #[test]
    fn endless_repetition_is_found() {
        assert!(degenerate(&said(&"the ".repeat(500))).is_some());
        assert!(degenerate(&said("a short answer")).is_none());
    }
}
