//! Whole files: text in, task or rendered problems out.

use serde_json::json;

use super::resolved::{Action, InheritEnv, Launch, Prompt, Target};
use super::*;

const FULL: &str = include_str!("tests/full.yaml");

#[test]
fn a_full_file_resolves() {
    let task = load(FULL, "dir/nightly.task.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(task.name, "nightly-report");
    assert_eq!(task.agent.grace_ms, 10_000);
    assert_eq!(
        task.agent.inherit_env,
        InheritEnv::Only(vec!["PATH".into(), "LC_*".into()])
    );
    assert_eq!(task.limits.cost_nanousd, Some(2_500_000_000));
    assert_eq!(task.limits.tokens, Some(500_000));
    assert_eq!(task.limits.deadline_ms, Some(1_800_000));
    assert_eq!(task.limits.soft_percent, 80);
    assert_eq!(task.prices["gpt-x"].cached_input_nanousd, 300_000_000);
    assert_eq!(task.prices["gpt-x"].cache_write_nanousd, 3_000_000_000);
    let charge = &task.tools["charge"];
    let Action::Command { argv, .. } = &charge.action else {
        panic!("{charge:?}")
    };
    let args = json!({"user_id": "u 1", "order_id": "o1", "amount": 10.0});
    let words: Vec<String> = argv
        .iter()
        .map(|word| {
            word.render(template::Place::Word, &args, &|_| None)
                .unwrap()
        })
        .collect();
    assert_eq!(words, ["./charge.sh", "u 1", "--amount", "10.0"]);
    assert_eq!(
        charge.key.as_ref().unwrap().render_key(&args).unwrap(),
        "charge:u 1:o1:10"
    );
    assert_eq!((charge.retry.attempts, charge.retry.budget), (3, 20));
    assert_eq!(task.tools["look"].retry.attempts, 5);
    assert_eq!(task.tools["look"].breaker, None);
    assert_eq!(task.tools["mail"].retry.attempts, 1);
    assert!(!task.tools["look"].loop_traits.mutates && charge.loop_traits.mutates);
    assert_eq!(task.rules[0].when.statuses, [(500, 599), (429, 429)]);
    assert_eq!(task.rules[1].when.equals, Some(Value::Null));
    assert_eq!(task.rules[0].retry_after_ms, Some(10_000));
    assert!(matches!(&task.notify[1].target, Target::Webhook { .. }));
}

#[test]
fn a_resolved_task_survives_the_journal() {
    let task = load(FULL, "nightly.yaml").unwrap();
    let stored = serde_json::to_string(&task).unwrap();
    assert_eq!(serde_json::from_str::<Resolved>(&stored).unwrap(), task);
}

#[test]
fn debug_keeps_secrets_to_itself() {
    let text = "agent: {command: [a], env: {TOKEN: hunter2}}\nnotify: [{webhook: \"https://example.com/hunter2\"}]\n";
    let shown = format!("{:?}", load(text, "t.yaml").unwrap());
    assert!(
        shown.contains("TOKEN") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn relative_paths_are_joined_to_the_folder_of_the_file() {
    let text = "agent: {script: x, cwd: work}\ninput: {prompt_file: p.md, files: [\"data/*.csv\", /abs]}\n";
    let task = load(text, "t.yaml")
        .unwrap()
        .anchored(std::path::Path::new("/home/u"));
    assert_eq!(task.agent.cwd, std::path::Path::new("/home/u/work"));
    assert_eq!(task.input.prompt, Some(Prompt::File("/home/u/p.md".into())));
    assert_eq!(task.input.files, ["/home/u/data/*.csv", "/abs"]);
    let Launch::Script { interpreter, .. } = task.agent.launch else {
        panic!()
    };
    assert_eq!(interpreter, ["sh"]);
}

#[test]
fn a_section_that_is_missing_means_what_an_empty_one_means() {
    let limits = |text: &str| load(text, "task.yaml").unwrap().limits;
    let missing = limits("agent: {command: [a]}\n");
    assert_eq!(missing, limits("agent: {command: [a]}\nlimits: {}\n"));
    assert!(missing.model_call_timeout_ms > 0 && missing.soft_percent > 0);
}

#[test]
fn the_name_comes_from_the_file() {
    for (file, want) in [
        ("a/b.yaml", "b"),
        ("x.task.yml", "x"),
        (".yaml", "task"),
        ("", "task"),
    ] {
        assert_eq!(
            load("agent: {command: [a]}\n", file).unwrap().name,
            want,
            "row: {file}"
        );
    }
}

/// Returns `line:column message` and `; hint` of each problem.
fn problems(text: &str) -> Vec<String> {
    let Err(Problems(problems)) = load(text, "t.yaml") else {
        return Vec::new();
    };
    let shown = problems.iter().map(|it| {
        let hint = it
            .fix
            .as_deref()
            .map_or(String::new(), |fix| format!("; {fix}"));
        format!("{}:{} {}{hint}", it.place.line, it.place.column, it.message)
    });
    shown.collect()
}

/// Compares every row before it fails, so that a changed wording shows whole.
fn assert_rows(rows: &[(&str, String, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .map(|(name, text, want)| (name, want, problems(text)))
        .filter(|(_, want, got)| *got != [**want])
        .map(|(name, want, got)| {
            format!(
                "row: {name}\nwant: {want}\n got: {}\n",
                got.join("\n      ")
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ONE_AGENT: &str = "agent: {command: [a]}\n";

#[test]
fn good_files_table() {
    #[rustfmt::skip]
    let rows = [
        ("the least file", ""),
        ("version 1", "version: 1\n"),
        ("breakers off", "breaker: false\n"),
        ("breakers on", "breaker: true\n"),
        ("one exit code", "rules: [{id: a, when: {exit_code: 75}, class: transient}]\n"),
        ("several", "rules: [{id: a, when: {exit_code: [75, 1]}, class: transient}]\n"),
        ("`on` is no boolean here", "notify: [{on: [done], command: [n]}]\n"),
        ("a whole number as an amount", "limits: {cost_usd: 3}\n"),
        ("a schema without properties takes any argument", "tools: {t: {command: [a, \"{x}\"], input: {type: object}}}\n"),
        ("no schema takes any argument", "tools: {t: {command: [a, \"{x}\"]}}\n"),
        ("an open schema takes any argument", "tools: {t: {command: [a, \"{x}\"], input: {properties: {y: {}}, additionalProperties: true}}}\n"),
        ("a body of JSON", "tools: {t: {http: {method: POST, url: \"https://a.test\", body: {template: {a: \"{x}\", b: [1, null]}}}}}\n"),
        ("null is data in params", "input: {params: {a: null}}\n"),
        ("a free price", "prices: {local: {input: 0, output: 0}}\n"),
        ("a URL from a variable", "notify: [{webhook: \"{env.HOOK}\"}]\n"),
        ("braces in an environment", "tools: {t: {command: [a], env: {J: \"{{}}\"}}}\n"),
    ];
    for (name, text) in rows {
        assert_eq!(
            problems(&format!("{ONE_AGENT}{text}")),
            [""; 0],
            "row: {name}"
        );
    }
}

#[test]
fn bad_files_table() {
    #[rustfmt::skip]
    let rows = [
        // The shape.
        ("an unknown key", "limit: {steps: 1}\n", "2:1 limit is not a known key; did you mean `limits`?"),
        ("a key of another section", "deadline: 30m\n", "2:1 deadline is not a known key; did you mean `limits.deadline`?"),
        ("a misspelt key", "limits: {cost_us: 1}\n", "2:10 limits.cost_us is not a known key; did you mean `cost_usd`?"),
        ("a key that nobody knows", "limits: {colour: red}\n", "2:10 limits.colour is not a known key; known keys: cost_usd, deadline, deadline_counts, idle, model_call_timeout, soft, steps, tokens, tool_calls"),
        ("a future version", "version: 2\n", "2:10 version is 2, expected `1`"),
        ("a name with blanks", "name: my task\n", "2:7 name is \"my task\", expected 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-`"),
        ("an empty section", "limits:\n", "2:1 limits has no value, expected a mapping (lines of `key: value`); write a value, or remove the key"),
        ("an empty limit", "limits:\n  cost_usd:\n", "3:3 limits.cost_usd has no value, expected an amount in USD such as `2.50`; write a value, or remove the key"),
        ("a text for a section", "limits: none\n", "2:9 limits is \"none\", expected a mapping (lines of `key: value`)"),
        ("a mapping for a list", "rules: {id: a}\n", "2:1 rules is a mapping, expected a list; begin each entry with `- `"),
        ("yes is a text", "loops: {steer: yes}\n", "2:16 loops.steer is \"yes\", expected `true` or `false`; write `true`"),
        ("a repeated key", "name: a\nname: b\n", "3:1 name is there twice, expected each key once; keep one of the two"),
        // Units.
        ("a negative amount", "limits: {cost_usd: -3}\n", "2:20 limits.cost_usd is -3, expected an amount above 0"),
        ("no amount at all", "limits: {cost_usd: 0}\n", "2:20 limits.cost_usd is 0, expected an amount above 0"),
        ("a bare duration", "limits: {deadline: 30}\n", "2:20 limits.deadline is 30, expected a duration such as `500ms`, `30s` or `1h30m`; write `30s` for seconds, or `30m` for minutes"),
        ("a word for a duration", "limits: {deadline: soon}\n", "2:20 limits.deadline is \"soon\", expected a duration such as `500ms`, `30s` or `1h30m`"),
        ("a deadline of nothing", "limits: {deadline: 0s}\n", "2:20 limits.deadline is \"0s\", expected a duration above 0"),
        ("half a step", "limits: {steps: 1.5}\n", "2:17 limits.steps is 1.5, expected a whole number"),
        ("a bare percentage", "limits: {soft: 0.8}\n", "2:16 limits.soft is 0.8, expected a whole percentage such as `80%`; write `80%`"),
        ("a percentage of nothing", "limits: {soft: 0%}\n", "2:16 limits.soft is \"0%\", expected a percentage from `1%` to `100%`"),
        ("a list for a count", "limits: {steps: [1]}\n", "2:10 limits.steps is a list, expected a count such as `40`, `500k` or `1.5M`"),
        ("a negative price", "prices: {m: {input: -1, output: 2}}\n", "2:21 prices.m.input is -1, expected an amount of 0 or more"),
        ("a price without output", "prices: {m: {input: 1}}\n", "2:10 prices.m has no `output`, expected an amount in USD such as `2.50`; add `output:`"),
        // Choices.
        ("an unknown word", "limits: {deadline_counts: walls}\n", "2:27 limits.deadline_counts is \"walls\", expected `wall` or `active`; did you mean `wall`?"),
        ("an unknown effect", "tools: {t: {command: [a], effect: delete}}\n", "2:35 tools.t.effect is \"delete\", expected `read`, `write` or `irreversible`"),
        ("a breaker that is a word", "breaker: off\n", "2:10 breaker is \"off\", expected `false`, `true` or a mapping such as `{failures: 3}`"),
        ("a mistake inside a choice", "breaker: {failure: 3}\n", "2:11 breaker.failure is not a known key; did you mean `failures`?"),
        ("an exit code out of range", "rules: [{id: a, when: {exit_code: 300}, class: transient}]\n", "2:35 rules[0].when.exit_code is 300, expected an exit code from 0 to 255, or a list of them"),
        ("a status that is none", "rules: [{id: a, when: {status: 9xx}, class: transient}]\n", "2:32 rules[0].when.status is \"9xx\", expected a status such as `429` or `5xx`, or a list of them"),
        ("a bad status in a list", "rules: [{id: a, when: {status: [5xx, 999]}, class: transient}]\n", "2:38 rules[0].when.status[1] is 999, expected a status such as `429` or `5xx`"),
        ("a body that is a word", "tools: {t: {http: {url: \"https://a.test\", method: POST, body: xml}}}\n", "2:63 tools.t.http.body is \"xml\", expected `json`, `none` or `{template: ...}`"),
        ("too many attempts", "retry: {attempts: 100}\n", "2:19 retry.attempts is 100, expected a whole number from 1 to 20"),
        // Lists of words.
        ("a command as one text", "tools: {t: {command: wc -l x}}\n", "2:22 tools.t.command is \"wc -l x\", expected a list of texts such as `[sh, -c, \"...\"]`; write `[sh, -c, \"wc -l x\"]`, or one item for each word"),
        ("a number as a word", "tools: {t: {command: [sleep, 5]}}\n", "2:30 tools.t.command[1] is 5, expected a text; put it in quotes: `\"5\"`"),
        ("a placeholder without quotes", "tools: {t: {command: [a, {b}]}}\n", "2:27 tools.t.command[1] is a mapping, expected a text; put placeholders in quotes: `\"{b}\"`"),
        ("an empty command", "tools: {t: {command: []}}\n", "2:13 tools.t.command is an empty list, expected a list of texts such as `[sh, -c, \"...\"]`"),
        ("a program without a name", "tools: {t: {command: [\"\"]}}\n", "2:23 tools.t.command[0] is an empty text, expected a program; write the program first: `[program, argument]`"),
        ("a number in an environment", "tools: {t: {command: [a], env: {PORT: 8080}}}\n", "2:39 tools.t.env.PORT is a number, expected a text; put it in quotes"),
        // One of two.
        ("neither command nor http", "tools: {t: {timeout: 1s}}\n", "2:9 tools.t has neither `command` nor `http`; add `command:` or `http:`"),
        ("both", "tools: {t: {command: [a], http: {url: \"https://a.test\"}}}\n", "2:27 tools.t.http stands beside `command`, expected either `command` or `http`; remove `command` or `http`"),
        ("two prompts", "input: {prompt: a, prompt_file: b}\n", "2:20 input.prompt_file stands beside `prompt`, expected either `prompt` or `prompt_file`; remove `prompt` or `prompt_file`"),
        ("nobody to notify", "notify: [{on: [failed]}]\n", "2:11 notify[0] has neither `command` nor `webhook`; add `command:` or `webhook:`"),
        ("a format for a command", "notify: [{command: [a], format: slack}]\n", "2:25 notify[0].format stands beside `command`, expected it beside `webhook` only; remove `format`; a command gets JSON on its stdin"),
        ("stdin for HTTP", "tools: {t: {http: {url: \"https://a.test\"}, stdin: none}}\n", "2:44 tools.t.stdin stands beside `http`, expected it beside `command` only; use `http.body`"),
        ("a header key for a command", "tools: {t: {command: [a], native_key: {header: K}}}\n", "2:40 tools.t.native_key.header stands beside `command`, expected `env`; write `env: IDEMPOTENCY_KEY`"),
        ("a body for GET", "tools: {t: {http: {url: \"https://a.test\", body: json}}}\n", "2:43 tools.t.http.body stands beside a method without a body, expected `none`; write `method: POST`, or remove `body`"),
        ("a key for a read", "tools: {t: {command: [a], effect: read, key: \"{x}\"}}\n", "2:41 tools.t.key stands beside `effect: read`, whose calls may be repeated at will; remove `key`, or write `effect: write`"),
        ("a probe for a read", "tools: {t: {command: [a], effect: read, probe: {command: [b]}}}\n", "2:41 tools.t.probe stands beside `effect: read`, whose calls may be repeated at will; remove `probe`, or write `effect: write`"),
        // Templates.
        ("an open brace", "tools: {t: {command: [a, \"{x\"]}}\n", "2:26 tools.t.command[1] has a `{` without its `}`; close it with `}`, or write `{{` for a brace"),
        ("an unknown argument", "tools: {t: {command: [a, \"{usr}\"], input: {properties: {user: {}}}}}\n", "2:26 tools.t.command[1] names the argument `usr`, which `input` does not have, expected one of `user`; did you mean `user`?"),
        ("an unknown argument in a key", "tools: {t: {command: [a], key: \"{order}\", input: {properties: {user: {}}}}}\n", "2:32 tools.t.key names the argument `order`, which `input` does not have, expected one of `user`; add `order` to `input`, or write `{{` and `}}` for braces"),
        ("a variable on a command line", "tools: {t: {command: [a, \"{env.KEY}\"]}}\n", "2:26 tools.t.command[1] uses `{env.KEY}`, which would show the value in `ps` or the journal, expected `{env.NAME}` only in `env`, `url`, `headers`, `body` and `webhook`; pass it in `env:`, where the program reads it itself"),
        ("a key without placeholders", "tools: {t: {command: [a], key: charge}}\n", "2:32 tools.t.key is the same for every call, expected at least one placeholder; name the arguments that make the call what it is: `charge:{order_id}`"),
        ("an argument where there are none", "notify: [{webhook: \"https://a.test/{x}\"}]\n", "2:20 notify[0].webhook uses `{x}`, and there are no arguments here, expected only `{env.NAME}`; write `{{` and `}}` for braces"),
        ("an argument as a host", "tools: {t: {http: {url: \"https://{host}/x\"}}}\n", "2:25 tools.t.http.url is no URL to call, expected an `http://` or `https://` URL whose host is no argument"),
        ("another scheme", "tools: {t: {http: {url: \"file:///etc/passwd\"}}}\n", "2:25 tools.t.http.url is no URL to call, expected an `http://` or `https://` URL whose host is no argument"),
        ("an argument that loops ignore", "tools: {t: {command: [a], ignore: [nonse], input: {properties: {nonce: {}}}}}\n", "2:36 tools.t.ignore[0] names the argument `nonse`, which `input` does not have, expected one of `nonce`; did you mean `nonce`?"),
        // Schemas, patterns, names.
        ("a schema of no object", "tools: {t: {command: [a], input: {type: string}}}\n", "2:41 tools.t.input.type does not describe named arguments, expected `object`; write `type: object` and put the arguments under `properties`"),
        ("a schema from elsewhere", "tools: {t: {command: [a], input: {$ref: \"https://example.com/x.json\"}}}\n", "2:27 tools.t.input is no valid JSON Schema: Resource 'https://example.com/x.json' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch https://example.com/x.json; put the schema it refers to under `$defs`, nothing is fetched"),
        ("a schema with a slip", "tools: {t: {command: [a], output: {properties: {a: {type: text}}}}}\n", "2:53 tools.t.output.properties.a.type is no valid JSON Schema: \"text\" is not valid under any of the schemas listed in the 'anyOf' keyword"),
        ("a schema with a broken pattern", "tools: {t: {command: [a], output: {pattern: '(x'}}}\n", "2:36 tools.t.output.pattern is no valid JSON Schema: \"(x\" is not a \"regex\""),
        ("a tool name that models refuse", "tools: {\"my tool\": {command: [a]}}\n", "2:9 tools.\"my tool\" is no name that models take for a tool, expected 1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`, `.`"),
        ("a header name with a blank", "tools: {t: {http: {url: \"https://a.test\", headers: {\"X Y\": z}}}}\n", "2:53 tools.t.http.headers.\"X Y\" is no name of a header, expected a name such as `X-Request-Id`"),
        ("a variable with an equals sign", "tools: {t: {command: [a], env: {\"A=B\": z}}}\n", "2:33 tools.t.env.\"A=B\" is no name of a variable, expected a name without `=`"),
        ("a broken pattern", "rules: [{id: a, when: {pattern: \"(x\"}, class: semantic}]\n", "2:33 rules[0].when.pattern is no regular expression: unclosed group; escape special characters with `\\`, in single quotes"),
        ("an empty condition", "rules: [{id: a, when: {}, class: semantic}]\n", "2:17 rules[0].when is empty and would match every result; write what the results have in common, such as `status: 5xx`"),
        ("a value without its pointer", "rules: [{id: a, when: {equals: x}, class: semantic}]\n", "2:24 rules[0].when.equals has no `pointer` that leads to a value; add `pointer: /path/to/value`"),
        ("a pointer without its slash", "rules: [{id: a, when: {pointer: error}, class: semantic}]\n", "2:33 rules[0].when.pointer is \"error\", expected a JSON pointer such as `/error/code`"),
        ("a wait for a class without retry", "rules: [{id: a, when: {status: 4xx}, class: semantic, retry_after: 1s}]\n", "2:55 rules[0].retry_after stands beside a class that is never retried, expected it beside `transient` or `cost_pressure` only; remove `retry_after`, or write `class: transient`"),
        ("two rules with one id", "rules: [{id: a, when: {status: 4xx}, class: semantic}, {id: a, when: {status: 5xx}, class: transient}]\n", "2:61 rules[1].id is also the id of rules[0], expected an id of its own"),
        ("waits that shrink", "retry: {base: 1m, cap: 30s}\n", "2:15 retry.base makes `base` 1m and `cap` 30s, expected `cap` to be at least `base`; write `cap: 1m`"),
        ("a cool-down beyond its most", "breaker: {cool_down: 10m}\n", "2:22 breaker.cool_down makes `cool_down` 10m and `cool_down_max` 5m, expected `cool_down_max` to be at least `cool_down`; write `cool_down_max: 10m`"),
        ("a loop of two calls", "loops: {thresholds: {same_result: 2}}\n", "2:35 loops.thresholds.same_result is 2, expected a count of 3 or more; so few are no loop yet; `enabled: false` switches all of it off"),
        ("a window of one", "loops: {window: 1}\n", "2:17 loops.window is 1, expected a count from 8 to 1024"),
    ];
    assert_rows(&rows.map(|(name, text, want)| (name, format!("{ONE_AGENT}{text}"), want)));
}

#[test]
fn bad_agents_table() {
    #[rustfmt::skip]
    let rows = [
        ("nothing", "", "1:1 it is empty, expected at least an `agent:` section; write a first one with `agentguard init`"),
        ("only a comment", "# hi\n", "1:1 it is empty, expected at least an `agent:` section; write a first one with `agentguard init`"),
        ("a text", "hello\n", "1:1 it is \"hello\", expected at least an `agent:` section; write a first one with `agentguard init`"),
        ("a list", "- a\n", "1:3 it is a list, expected at least an `agent:` section; write a first one with `agentguard init`"),
        ("no agent", "name: a\n", "1:1 it has no `agent`, expected a mapping (lines of `key: value`); add `agent:`"),
        ("an agent without a program", "agent: {cwd: x}\n", "1:1 agent has neither `command` nor `script`; add `command:` or `script:`"),
        ("two programs", "agent: {command: [a], script: b}\n", "1:23 agent.script stands beside `command`, expected either `command` or `script`; remove `command` or `script`"),
        ("an interpreter for nothing", "agent: {command: [a], interpreter: [sh]}\n", "1:23 agent.interpreter stands beside `command`, expected it beside `script` only; remove `interpreter`, or write the program first in `command`"),
        ("an empty script", "agent: {script: \" \"}\n", "1:17 agent.script is empty, expected a script"),
        ("an unknown protocol", "agent: {command: [a], protocol: sockets}\n", "1:33 agent.protocol is \"sockets\", expected `auto`, `socket`, `stdio`, `gateway` or `none`; did you mean `socket`?"),
        ("a misspelt preset", "agent: {preset: claude-cod}\ninput: {prompt: p}\n", "1:17 agent.preset is \"claude-cod\", expected `claude-code`, `codex`, `gemini-cli`, `opencode`, `aider`, `mini-swe-agent`, `qwen-code`, `pi`, `continue`, `gptme`, `openhands`, `vibe`, `llm` or `cline`; did you mean `claude-code`?"),
        ("a preset with nothing to do", "agent: {preset: codex}\n", "1:17 agent.preset has nothing to do, expected a text under `input.prompt`, or a `command` that has one; add `input: {prompt: …}`"),
        ("a preset beside a script", "agent: {preset: codex, script: s}\ninput: {prompt: p}\n", "1:9 agent.preset stands beside `script`, expected it alone, or beside `command`; remove `script`"),
        ("a preset that speaks", "agent: {preset: codex, protocol: stdio}\ninput: {prompt: p}\n", "1:34 agent.protocol does not go with `preset`: such an agent is seen by its model calls, expected `gateway`, or nothing; remove `protocol`"),
        ("a word for inherit_env", "agent: {command: [a], inherit_env: all}\n", "1:36 agent.inherit_env is \"all\", expected `true`, `false` or a list of names"),
        ("a number among names", "agent: {command: [a], inherit_env: [1]}\n", "1:37 agent.inherit_env[0] is 1, expected a text; put it in quotes: `\"1\"`"),
    ];
    assert_rows(&rows.map(|(name, text, want)| (name, text.to_owned(), want)));
}

#[test]
fn bad_upstreams_table() {
    #[rustfmt::skip]
    let rows = [
        ("two places", "upstream: {script: a, url: 'http://h'}", "2:23 upstream.url stands beside `script`, expected one of `provider`, `url`, `script` and `reply`; remove `script` or `url`"),
        ("a key for nobody", "upstream: {key: k}", "2:12 upstream.key stands without `url`, expected a key beside the `url` it is for; a provider's key is taken from its environment variable"),
        ("the same again", "fallbacks: [{}]", "2:1 fallbacks[0] is the same as `upstream`, expected another `model`, `provider`, `url`, `script` or `reply`"),
        ("no address", "fallbacks: [{url: localhost}]", "2:19 fallbacks[0].url is no URL to call, expected an `http://` or `https://` URL whose host is no argument"),
        ("a misspelt provider", "fallbacks: [{provider: antropic}]", "2:24 fallbacks[0].provider is \"antropic\", expected `anthropic`, `openai` or `google`; did you mean `anthropic`?"),
        ("one name twice", "fallbacks: [{name: a, model: m}, {name: a, model: n}]", "2:41 fallbacks[1].name is given twice, expected a name of its own"),
        ("an API that is not translated to", "fallbacks: [{url: 'http://h', api: gemini}]", "2:36 fallbacks[0].api is an API that calls are not translated to, expected `messages`, `chat` or `responses`; Gemini has an OpenAI-shaped address, too: use it with `api: chat`"),
        ("a script that is a list", "upstream: {script: [a]}", "2:12 upstream.script is a list, expected a text that is not empty"),
    ];
    assert_rows(&rows.map(|(name, text, want)| (name, format!("{ONE_AGENT}{text}\n"), want)));
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let rows = [
        (
            "every section",
            include_str!("tests/problems.yaml"),
            include_str!("tests/problems.txt"),
        ),
        (
            "flow style",
            include_str!("tests/flow.yaml"),
            include_str!("tests/flow.txt"),
        ),
        (
            "a syntax error",
            include_str!("tests/syntax.yaml"),
            include_str!("tests/syntax.txt"),
        ),
        (
            "below the syntax",
            include_str!("tests/keys.yaml"),
            include_str!("tests/keys.txt"),
        ),
    ];
    for (name, text, want) in rows {
        let shown = |text: &str| load(text, "nightly.yaml").unwrap_err().to_string();
        assert_eq!(shown(text), want, "row: {name}\n{}", shown(text));
        assert_eq!(
            shown(&text.replace('\n', "\r\n")),
            want,
            "row: {name}, with CRLF"
        );
        assert_eq!(
            shown(&format!("\u{feff}{text}")),
            want,
            "row: {name}, with a BOM"
        );
    }
}

#[test]
fn the_published_schema_accepts_what_we_accept() {
    let plain = jsonschema::validator_for(schema::task()).unwrap();
    let kinds = init::KINDS.iter().map(|kind| kind.text);
    for text in kinds.chain([
        FULL,
        "agent: {command: [a]}\nlimits: {deadline: 1h 30m, cost_usd: $1.50, tokens: 1_000}\n",
    ]) {
        assert!(load(text, "t.yaml").is_ok(), "{text}");
        let errors: Vec<_> = plain
            .iter_errors(&parse::read(text).value)
            .map(|it| it.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn problems_have_a_stable_json_form() {
    let problems = load("agent: {command: [a]}\nlimits: {steps: x}\n", "t.yaml").unwrap_err();
    assert_eq!(
        serde_json::to_value(&problems).unwrap(),
        json!([{
            "file": "t.yaml", "line": 2, "column": 17, "key": "limits.steps",
            "message": "limits.steps is \"x\", expected a count such as `40`, `500k` or `1.5M`",
            "expected": "a count such as `40`, `500k` or `1.5M`", "found": "\"x\"",
        }])
    );
}

#[test]
fn secrets_are_not_repeated_in_problems() {
    let text = "agent: {command: [a], env: {TOKEN: \"hunter2{\", PIN: 4711}}\n";
    let shown = format!("{:?}", load(text, "t.yaml").unwrap_err());
    assert!(
        !shown.contains("hunter2") && !shown.contains("4711"),
        "{shown}"
    );
}

#[test]
fn bytes_that_are_no_text_are_one_problem() {
    let problems = load_bytes(b"agent:\n  script: \xff\n", "t.yaml").unwrap_err();
    let want =
        "error: task file `t.yaml`: it is not UTF-8 text, expected UTF-8\n --> t.yaml:2:11\n";
    assert!(problems.to_string().starts_with(want), "{problems}");
}

#[test]
fn a_file_full_of_mistakes_is_told_within_bounds() {
    let keys: String = (0..2000).map(|it| format!("k{it}: x\n")).collect();
    let Problems(problems) = load(&keys, "t.yaml").unwrap_err();
    assert_eq!(problems.len(), parse::PROBLEMS_MAX);
    assert!(
        Problems(problems)
            .to_string()
            .ends_with("\n... and 100 more\n")
    );
    let tools: String = (0..2000).map(|it| format!("t{it}: {{x: 1}}, ")).collect();
    let Problems(problems) = load(&format!("tools: {{{tools}}}"), "t.yaml").unwrap_err();
    assert!(
        problems.len() <= 2 * parse::PROBLEMS_MAX,
        "{}",
        problems.len()
    );
}

#[test]
fn every_section_of_the_schema_is_read() {
    let mut known = [
        "version",
        "name",
        "agent",
        "input",
        "limits",
        "prices",
        "upstream",
        "fallbacks",
        "tools",
        "mcp",
        "rules",
        "loops",
        "retry",
        "breaker",
        "verify",
        "rollback",
        "workspace",
        "escalation",
        "notify",
    ];
    known.sort_unstable();
    assert_eq!(validate::sections(), known);
}

mod never_panics {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// The schema as an editor sees it, without our own keywords.
    static PLAIN: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::validator_for(schema::task()).unwrap());

    /// Words of task files, so that garbage gets past the first checks.
    fn word() -> impl Strategy<Value = String> {
        let words = [
            "agent",
            "command",
            "script",
            "tools",
            "t",
            "limits",
            "rules",
            "when",
            "status",
            "http",
            "url",
            "input",
            "type",
            "object",
            "properties",
            "key",
            "\"{a}\"",
            "\"{env.A}\"",
            "5xx",
            "30s",
            "-3",
            "1.5M",
            "80%",
            "true",
            "null",
            "[]",
            "{}",
            "\"\"",
            "retry",
            "base",
            "loops",
            "notify",
            "on",
            "webhook",
            "https://a.test",
            "breaker",
            "$ref",
            "\"#\"",
            "pattern",
            "'('",
        ];
        prop_oneof![
            3 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
            1 => "[a-z]{1,3}",
        ]
    }

    fn yaml() -> impl Strategy<Value = String> {
        let flow = word().prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|it| format!("[{}]", it.join(", "))),
                prop::collection::vec((word(), inner), 0..4).prop_map(|it| {
                    let entries: Vec<_> = it
                        .into_iter()
                        .map(|(key, value)| format!("{key}: {value}"))
                        .collect();
                    format!("{{{}}}", entries.join(", "))
                }),
            ]
        });
        let section = prop::sample::select(vec![
            "agent", "input", "limits", "prices", "tools", "rules", "loops", "retry", "breaker",
            "notify",
        ]);
        prop::collection::vec((section, flow), 0..5).prop_map(|it| {
            it.into_iter()
                .map(|(key, value)| format!("{key}: {value}\n"))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn on_garbage(text in "(?s).{0,300}") {
            let _ = check(&text, "t.yaml");
        }

        #[test]
        fn on_what_looks_like_a_task(text in yaml()) {
            let (resolved, problems, _) = check(&text, "t.yaml");
            prop_assert_eq!(resolved.is_none(), !problems.is_empty());
            prop_assert!(resolved.is_none() || PLAIN.is_valid(&parse::read(&text).value));
            for problem in problems {
                prop_assert!(!problem.message.contains("cannot be read"), "{}", problem.message);
                let _ = problem.render(Colour::Always);
            }
        }
    }
}
