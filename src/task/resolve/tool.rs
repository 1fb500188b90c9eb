//! `tools`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Arguments, Checker, Scope, texts_in};
use crate::task::locate::{KeyPath, Part, Segment};
use crate::task::resolved::{
    Action, Approve, BatchConfig, Body, BreakerConfig, Effect, LoopTraits, Method, NativeKey,
    Probe, Tool, Undo,
};
use crate::task::schema;
use crate::task::template::Template;
use crate::task::written::{self, BodyWord};

impl Checker<'_> {
    pub(super) fn tool(
        &mut self,
        path: &KeyPath,
        mut tool: written::Tool,
        retry: &written::Retry,
        breaker: Option<&BreakerConfig>,
    ) -> Option<Tool> {
        let before = self.found.len();
        self.tool_name(path);
        let (command, http) = (tool.command.take(), tool.http.take());
        let (stdin, env) = (tool.stdin, std::mem::take(&mut tool.env));
        let native = tool.native_key.take();
        let input = schema_of(tool.input.as_ref());
        let names = argument_names(input.as_ref());
        let arguments = names.as_deref().map_or(Arguments::Any, Arguments::Named);
        self.one_of(path, "command", "http");
        let is_http = self.is_written(&path.key("http"));
        self.only_with_command(path, is_http);
        // A call with many items has one argument: them.
        let sent = match tool.batch.size {
            Some(_) => Arguments::Named(&["items"]),
            None => arguments,
        };
        let action = match (command, http) {
            (Some(words), None) => self.command(path, &words, stdin, env, sent),
            (None, Some(http)) => self.http(&path.key("http"), http, sent),
            _ => None,
        };
        let native = native.and_then(|it| self.native_key(&path.key("native_key"), it, is_http));
        let guarded = self.guarded(path, tool, retry, breaker);
        (self.found.len() == before).then_some(())?;
        Some(Tool {
            action: action?,
            native_key: native,
            ..guarded?
        })
    }

    /// Resolves how the calls of a tool are guarded, whoever runs it; as it stands
    /// there is nothing to run.
    pub(super) fn guarded(
        &mut self,
        path: &KeyPath,
        tool: written::Tool,
        retry: &written::Retry,
        breaker: Option<&BreakerConfig>,
    ) -> Option<Tool> {
        let before = self.found.len();
        let input = schema_of(tool.input.as_ref());
        let output = schema_of(tool.output.as_ref());
        self.schema(&path.key("input"), input.as_ref());
        self.schema(&path.key("output"), output.as_ref());
        let names = argument_names(input.as_ref());
        let arguments = names.as_deref().map_or(Arguments::Any, Arguments::Named);
        let plain = Scope {
            arguments,
            variables: false,
        };
        let key = tool
            .key
            .as_ref()
            .and_then(|text| self.key(&path.key("key"), text, plain));
        let probe = tool
            .probe
            .and_then(|it| self.probe(&path.key("probe"), &it, plain));
        let undo = tool
            .undo
            .map(|it| self.undo(&path.key("undo"), it, names.as_deref(), retry));
        if tool.effect == Effect::Read {
            self.not_for_reads(path);
        }
        self.named(
            &path.key("identity"),
            tool.identity.as_deref().unwrap_or_default(),
            arguments,
        );
        self.named(&path.key("ignore"), &tool.ignore, arguments);
        if let Some(both) = tool
            .identity
            .iter()
            .flatten()
            .find(|it| tool.ignore.contains(it))
        {
            let what = format!("has `{both}`, which `identity` has too");
            self.refuse(
                &path.key("ignore"),
                Part::Key,
                &what,
                Some("an argument in one of the two"),
                None,
            );
        }
        let approve = self.approve(&path.key("approve"), tool.approve, arguments);
        let retry = self.tool_retry(&path.key("retry"), &tool.retry, retry, tool.effect);
        let breaker = match tool.breaker {
            Some(setting) => self.breaker(&path.key("breaker"), setting),
            None => Some(breaker.cloned()),
        };
        (self.found.len() == before).then_some(())?;
        Some(Tool {
            description: tool.description.unwrap_or_default(),
            action: Action::Lent,
            input,
            output,
            timeout_ms: tool.timeout.0,
            effect: tool.effect,
            key,
            key_scope: tool.key_scope,
            native_key: None,
            probe,
            undo: undo.flatten(),
            approve: approve?,
            retry: retry?,
            breaker: breaker?,
            batch: BatchConfig {
                concurrency: tool
                    .batch
                    .concurrency
                    .unwrap_or(BatchConfig::default().concurrency),
                size: tool.batch.size,
                atomic: tool.batch.atomic,
            },
            loop_traits: LoopTraits {
                poll: tool.poll,
                mutates: tool.mutates.unwrap_or(tool.effect != Effect::Read),
                identity: tool.identity,
                ignore: tool.ignore,
                exempt: tool.exempt,
            },
        })
    }

    fn tool_name(&mut self, path: &KeyPath) {
        let Some(Segment::Key(name)) = path.segments().last() else {
            return;
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
            let expected = "1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`, `.`";
            self.refuse(
                path,
                Part::Key,
                "is no name that models take for a tool",
                Some(expected),
                None,
            );
        }
    }

    /// Checks the JSON Schema of arguments or results.
    fn schema(&mut self, path: &KeyPath, schema: Option<&Value>) {
        let Some(schema) = schema else { return };
        if path.segments().last() == Some(&Segment::Key("input".to_owned())) {
            let of_objects = schema.get("type").is_none_or(|name| name == "object");
            if !of_objects {
                let fix = Some("write `type: object` and put the arguments under `properties`");
                self.refuse(
                    &path.key("type"),
                    Part::Value,
                    "does not describe named arguments",
                    Some("`object`"),
                    fix,
                );
                return;
            }
        }
        self.compiles(path, schema);
    }

    /// Checks that a JSON Schema compiles and needs nothing from elsewhere.
    pub(super) fn compiles(&mut self, path: &KeyPath, schema: &Value) {
        if let Err(error) = schema::compile(schema) {
            let message: String = error.to_string().chars().take(200).collect();
            let mut at = path.clone();
            let inner = KeyPath::from_pointer(error.instance_path().as_str(), schema);
            for segment in inner.segments() {
                at = at.with(segment.clone());
            }
            let elsewhere = matches!(
                error.kind(),
                jsonschema::error::ValidationErrorKind::Referencing(_)
            );
            let fix = elsewhere
                .then_some("put the schema it refers to under `$defs`, nothing is fetched");
            let what = format!("is no valid JSON Schema: {message}");
            self.refuse(&at, Part::Key, &what, None, fix);
        }
    }

    fn only_with_command(&mut self, path: &KeyPath, http: bool) {
        for key in ["stdin", "env"] {
            let at = path.key(key);
            if http && self.is_written(&at) {
                let fix = if key == "env" {
                    "use `http.headers`"
                } else {
                    "use `http.body`"
                };
                self.refuse(
                    &at,
                    Part::Key,
                    "stands beside `http`",
                    Some("it beside `command` only"),
                    Some(fix),
                );
            }
        }
    }

    fn command(
        &mut self,
        path: &KeyPath,
        words: &[String],
        stdin: Option<written::Stdin>,
        env: BTreeMap<String, String>,
        arguments: Arguments<'_>,
    ) -> Option<Action> {
        let argv = self.words(
            &path.key("command"),
            words,
            Scope {
                arguments,
                variables: false,
            },
        );
        let env = self.pairs(
            &path.key("env"),
            env,
            Scope {
                arguments,
                variables: true,
            },
        );
        Some(Action::Command {
            argv: argv?,
            stdin: stdin.unwrap_or_default(),
            env: env?,
        })
    }

    fn http(
        &mut self,
        path: &KeyPath,
        http: written::Http,
        arguments: Arguments<'_>,
    ) -> Option<Action> {
        let scope = Scope {
            arguments,
            variables: true,
        };
        let url = self.url(&path.key("url"), &http.url, scope);
        for name in http.headers.keys() {
            self.header_name(&path.key("headers").key(name), name);
        }
        let headers = self.pairs(&path.key("headers"), http.headers, scope);
        let bodiless = matches!(http.method, Method::Get | Method::Head);
        let body = match http.body {
            None if bodiless => Some(Body::Empty),
            None | Some(written::Body::Word(BodyWord::Json)) => Some(Body::Arguments),
            Some(written::Body::Word(BodyWord::None)) => Some(Body::Empty),
            Some(written::Body::Made { template }) => {
                self.body(&path.key("body").key("template"), template, scope)
            }
        };
        let sure = !self.is_bad(&path.key("method")) && !self.is_bad(&path.key("body"));
        if sure && bodiless && !matches!(body, Some(Body::Empty)) {
            let fix = Some("write `method: POST`, or remove `body`");
            self.refuse(
                &path.key("body"),
                Part::Key,
                "stands beside a method without a body",
                Some("`none`"),
                fix,
            );
        }
        Some(Action::Http {
            method: http.method,
            url: url?,
            headers: headers?,
            body: body?,
        })
    }

    fn body(&mut self, path: &KeyPath, template: Value, scope: Scope<'_>) -> Option<Body> {
        if let Value::String(text) = &template {
            return self.template(path, text, scope).map(Body::Text);
        }
        let mut texts = Vec::new();
        texts_in(path, &template, &mut |at, text| {
            texts.push((at.clone(), text.to_owned()))
        });
        let sound = texts
            .iter()
            .filter(|(at, text)| self.template(at, text, scope).is_some())
            .count();
        (sound == texts.len()).then_some(Body::Json(template))
    }

    fn header_name(&mut self, path: &KeyPath, name: &str) {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            self.refuse(
                path,
                Part::Key,
                "is no name of a header",
                Some("a name such as `X-Request-Id`"),
                None,
            );
        }
    }

    fn key(&mut self, path: &KeyPath, text: &str, scope: Scope<'_>) -> Option<Template> {
        let template = self.template(path, text, scope)?;
        if template.is_literal() {
            let fix = Some("name the arguments that make the call what it is: `charge:{order_id}`");
            self.refuse(
                path,
                Part::Value,
                "is the same for every call",
                Some("at least one placeholder"),
                fix,
            );
            return None;
        }
        Some(template)
    }

    fn native_key(
        &mut self,
        path: &KeyPath,
        key: written::NativeKey,
        http: bool,
    ) -> Option<NativeKey> {
        self.one_of(path, "env", "header");
        match (key.env, key.header, http) {
            (Some(name), None, false) => {
                self.variable_names(path, &[&name]);
                Some(NativeKey::Env(name))
            }
            (None, Some(name), true) => {
                self.header_name(&path.key("header"), &name);
                Some(NativeKey::Header(name))
            }
            (Some(_), None, true) => {
                let fix = Some("write `header: Idempotency-Key`");
                self.refuse(
                    &path.key("env"),
                    Part::Key,
                    "stands beside `http`",
                    Some("`header`"),
                    fix,
                );
                None
            }
            (None, Some(_), false) => {
                let fix = Some("write `env: IDEMPOTENCY_KEY`");
                self.refuse(
                    &path.key("header"),
                    Part::Key,
                    "stands beside `command`",
                    Some("`env`"),
                    fix,
                );
                None
            }
            _ => None,
        }
    }

    fn probe(&mut self, path: &KeyPath, probe: &written::Probe, scope: Scope<'_>) -> Option<Probe> {
        let argv = self.words(&path.key("command"), &probe.command, scope)?;
        Some(Probe {
            argv,
            timeout_ms: probe.timeout.0,
        })
    }

    /// - `names`: the arguments of the call; `None` if it takes any.
    fn undo(
        &mut self,
        path: &KeyPath,
        undo: written::Undo,
        names: Option<&[&str]>,
        retry: &written::Retry,
    ) -> Option<Undo> {
        let names: Option<Vec<&str>> =
            names.map(|names| names.iter().copied().chain(["result"]).collect());
        let arguments = names.as_deref().map_or(Arguments::Any, Arguments::Named);
        self.one_of(path, "command", "http");
        let is_http = self.is_written(&path.key("http"));
        self.only_with_command(path, is_http);
        let action = match (undo.command, undo.http) {
            (Some(words), None) => {
                let stdin = Some(written::Stdin::Json);
                self.command(path, &words, stdin, undo.env, arguments)
            }
            (None, Some(http)) => self.http(&path.key("http"), http, arguments),
            _ => None,
        };
        let native_key = undo
            .native_key
            .and_then(|it| self.native_key(&path.key("native_key"), it, is_http));
        let effect = match undo.idempotent || native_key.is_some() {
            true => Effect::Read,
            false => Effect::Write,
        };
        let retry = self.tool_retry(&path.key("retry"), &undo.retry, retry, effect);
        let tool = Tool {
            description: String::new(),
            action: action?,
            input: None,
            output: None,
            timeout_ms: undo.timeout.0,
            effect: Effect::Write,
            key: None,
            key_scope: written::KeyScope::Run,
            native_key,
            probe: None,
            undo: None,
            approve: Approve::Never,
            retry: retry?,
            breaker: None,
            batch: BatchConfig::default(),
            loop_traits: LoopTraits {
                poll: false,
                mutates: true,
                identity: None,
                ignore: vec![],
                exempt: true,
            },
        };
        Some(Undo {
            tool: Box::new(tool),
            is_idempotent: undo.idempotent,
        })
    }

    fn not_for_reads(&mut self, path: &KeyPath) {
        for key in ["key", "key_scope", "native_key", "probe", "undo"] {
            let at = path.key(key);
            if self.is_written(&at) {
                let fix = format!("remove `{key}`, or write `effect: write`");
                self.refuse(
                    &at,
                    Part::Key,
                    "stands beside `effect: read`, whose calls may be repeated at will",
                    None,
                    Some(&fix),
                );
            }
        }
    }

    /// Checks that the arguments named in a list exist.
    fn named(&mut self, path: &KeyPath, listed: &[String], arguments: Arguments<'_>) {
        let Arguments::Named(names) = arguments else {
            return;
        };
        for (index, name) in listed.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                self.unknown_argument(&path.index(index), name, names);
            }
        }
    }
}

/// Returns a schema as it was written.
fn schema_of(written: Option<&BTreeMap<String, Value>>) -> Option<Value> {
    written.map(|schema| Value::Object(schema.clone().into_iter().collect()))
}

/// Returns the arguments of a JSON Schema; `None` if it takes any.
fn argument_names(schema: Option<&Value>) -> Option<Vec<&str>> {
    let schema = schema?.as_object()?;
    let open = |key: &str| schema.get(key).is_some_and(|it| it != &Value::Bool(false));
    let composed = [
        "patternProperties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "dependentSchemas",
    ];
    if open("additionalProperties") || composed.iter().any(|key| schema.contains_key(*key)) {
        return None;
    }
    let properties: &Map<String, Value> = schema.get("properties")?.as_object()?;
    Some(properties.keys().map(String::as_str).collect())
}
