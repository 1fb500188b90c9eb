//! `upstream` and `fallbacks` as written: where model calls go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Price;
use crate::task::units::Count;

/// A model that calls of the gateway go to. Without `url`, `script` and `reply`
/// it is the provider that the agent asks, with the address and key of the
/// supervisor's environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Its name in the journal. Default: its model, else its provider or host.
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// A provider, with its usual address and key variable.
    pub provider: Option<Provider>,
    /// The address of any other server, with its version (`/v1`) where it has
    /// one. May hold `{env.NAME}`.
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// The API that the server speaks. Default: the provider's; for a `url`, the
    /// one the agent speaks.
    pub api: Option<WireApi>,
    /// The key for `url`; may hold `{env.NAME}`.
    pub key: Option<String>,
    /// Asked instead of the model that the agent names.
    #[schemars(length(min = 1))]
    pub model: Option<String>,
    /// Asked instead, by the model that the agent names; goes before `model`.
    pub models: BTreeMap<String, String>,
    /// A file that answers in the place of a model: offline, free of charge.
    #[schemars(length(min = 1))]
    pub script: Option<String>,
    /// A fixed text that answers when nobody else does.
    #[schemars(length(min = 1))]
    pub reply: Option<String>,
    /// What it is to the first one. Default: what its other keys say.
    pub level: Option<Level>,
    /// What it cannot do; calls that need it pass it by.
    pub lacks: Vec<Feature>,
    /// Tokens of input it takes at most; longer calls pass it by.
    #[schemars(extend("x-positive" = "count"))]
    pub context: Option<Count>,
    /// Its price, whatever `prices` says.
    pub price: Option<Price>,
}

/// A provider of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Anthropic; `ANTHROPIC_BASE_URL`, `ANTHROPIC_API_KEY`.
    Anthropic,
    /// OpenAI; `OPENAI_BASE_URL`, `OPENAI_API_KEY`.
    #[serde(rename = "openai")]
    OpenAi,
    /// Google; `GOOGLE_GEMINI_BASE_URL`, `GEMINI_API_KEY`.
    Google,
}

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireApi {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions, and everything compatible.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent`.
    Gemini,
}

/// What a model is to the one that the agent asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The one that was asked for.
    Primary,
    /// A cheaper or smaller one of the same provider.
    Cheaper,
    /// One of another provider.
    Other,
    /// One that you run yourself.
    SelfHosted,
    /// No model: a fixed text.
    Fixed,
}

/// Something that not every model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Calls tools.
    Tools,
    /// Looks at images.
    Images,
    /// Answers as JSON of a schema.
    Json,
}
