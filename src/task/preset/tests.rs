use super::*;

const VALUES: Values<'_> = Values {
    base: "http://127.0.0.1:4711",
    token: "agentguard-00",
    home: "/run/home",
    session: "5e55",
    prompt: GO_ON,
    model: "some/model",
    is_capped: false,
    has_tools: false,
    socket: "/run/s",
    program: "/bin/agentguard",
};

fn words(line: &str) -> Vec<String> {
    line.split('|').map(str::to_owned).collect()
}

fn templates(preset: &'static Preset) -> Vec<&'static str> {
    let pairs = [preset.env, preset.private, preset.files]
        .into_iter()
        .flatten();
    let args = preset.args.iter().chain(preset.capped).chain(preset.tools);
    let args = args.chain(&preset.session.choose);
    let resume = preset
        .resume
        .iter()
        .flat_map(|resume| [resume.by_id, resume.last]);
    pairs
        .flat_map(|(name, value)| [*name, *value])
        .chain(args.flat_map(|insert| insert.words.iter().copied()))
        .chain(resume.flatten().copied())
        .chain(preset.command.iter().copied())
        .collect()
}

/// What looks like a word to fill in: `{letters}`, and no JSON.
fn placeholders(template: &str) -> Vec<&str> {
    let starts = template
        .match_indices('{')
        .map(|(start, _)| &template[start + 1..]);
    let names = starts.filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    let is_word = |name: &&str| {
        !name.is_empty()
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    names.filter(is_word).collect()
}

#[test]
fn every_preset_is_whole() {
    for preset in PRESETS {
        let name = preset.name;
        assert!(
            preset.command.contains(&"{prompt}"),
            "{name}: a command with the prompt"
        );
        assert!(
            !preset.apis.is_empty() && !preset.tried.is_empty(),
            "{name}"
        );
        let has_model = templates(preset)
            .iter()
            .any(|template| template.contains("{model}"));
        assert_eq!(
            has_model,
            !preset.model.is_empty(),
            "{name}: a model where one is named"
        );
        for template in templates(preset) {
            for word in placeholders(template) {
                assert!(
                    VALUES.value(word).is_some(),
                    "{name}: {{{word}}} in {template}"
                );
            }
        }
        for (file, _) in preset.files {
            assert!(
                !file.starts_with('/') && !file.contains(".."),
                "{name}: {file}"
            );
        }
        let told = templates(preset)
            .iter()
            .any(|template| template.contains("{token}"));
        assert!(told, "{name}: the token gets in");
        let set = preset
            .env
            .iter()
            .chain(preset.private)
            .map(|(name, _)| *name);
        let unset: Vec<_> = set.filter(|name| preset.unset.contains(name)).collect();
        assert!(unset.is_empty(), "{name}: {unset:?} set and unset");
        if let Some(resume) = &preset.resume {
            assert!(resume.by_id.contains(&"{session}"), "{name}");
            assert!(!resume.last.contains(&"{session}"), "{name}");
            for words in [resume.by_id, resume.last] {
                assert!(words.contains(&"{prompt}"), "{name}");
            }
        } else {
            assert_eq!(
                preset.restart,
                Restart::Replay,
                "{name}: nothing else is there"
            );
        }
    }
}

#[test]
fn names_are_unique() {
    let all: Vec<_> = names().collect();
    for (index, name) in all.iter().enumerate() {
        assert_eq!(by_name(name).map(|preset| preset.name), Some(*name));
        assert!(!all[..index].contains(name), "{name} twice");
    }
    let programs: Vec<_> = PRESETS.iter().flat_map(|preset| preset.programs).collect();
    for (index, program) in programs.iter().enumerate() {
        assert!(!programs[..index].contains(program), "{program} twice");
    }
    assert!(by_name("no-such-agent").is_none());
}

#[test]
fn own_commands_are_recognised_and_resumed() {
    for preset in PRESETS {
        let argv = preset.default_command(&VALUES);
        let found = of_command(&argv).map(|(preset, at)| (preset.name, at));
        assert_eq!(found, Some((preset.name, 0)));
        let resumed = preset.resume(&argv, 0, &VALUES, true);
        assert_eq!(
            resumed.is_some(),
            preset.resume.is_some(),
            "{}",
            preset.name
        );
        assert_eq!(preset.leads_past(&argv, 0), None, "{}", preset.name);
    }
}

#[test]
fn of_command_table() {
    #[rustfmt::skip]
    let rows = [
        ("a bare name", "claude|-p|x", Some(("claude-code", 0))),
        ("a path", "/home/me/.local/bin/codex|exec|x", Some(("codex", 0))),
        ("an install of its own", "/home/me/.claude/local/claude|-p|x", Some(("claude-code", 0))),
        ("a package folder's program", "./node_modules/.bin/pi|-p|x", Some(("pi", 0))),
        ("a short name that is the user's own", "./pi|1000", None),
        ("a short name in a folder of programs", "/usr/bin/pi|x", Some(("pi", 0))),
        ("another program", "bash|-c|claude -p x", None),
        ("a name that only begins alike", "claude-wrapper|x", None),
        ("npx", "npx|-y|@openai/codex@0.169.0|exec|x", Some(("codex", 2))),
        ("npx with a package", "npx|-p|@openai/codex|--|codex|exec", Some(("codex", 4))),
        ("npx with a joined package", "npx|--package=cline|cline|x", Some(("cline", 2))),
        ("npm exec", "npm|exec|--|@google/gemini-cli|-p|x", Some(("gemini-cli", 3))),
        ("npm otherwise", "npm|install|opencode-ai", None),
        ("pnpm dlx", "pnpm|dlx|opencode-ai@latest|run|x", Some(("opencode", 2))),
        ("bunx", "bunx|@qwen-code/qwen-code|-p|x", Some(("qwen-code", 1))),
        ("uvx", "uvx|aider-chat[browser]==0.86.2|--message|x", Some(("aider", 1))),
        ("uvx from a package", "uvx|--from|mini-swe-agent|mini|-t|x", Some(("mini-swe-agent", 3))),
        ("uv tool run", "uv|tool|run|gptme|x", Some(("gptme", 3))),
        ("uv run", "uv|run|--with|mcp|mini|-t|x", Some(("mini-swe-agent", 4))),
        ("uv otherwise", "uv|pip|install|gptme", None),
        ("pipx run", "pipx|run|--spec|llm==0.36|llm|x", Some(("llm", 4))),
        ("python -m", "python3.12|-m|aider|--message|x", Some(("aider", 2))),
        ("a script of Python", "python3|/opt/venv/bin/vibe|-p|x", Some(("vibe", 1))),
        ("a program of Python", "python3|agent.py", None),
        ("code in Python's argument", "python3|-c|import aider|claude", None),
        ("a script of Node", "node|/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js|-p|x", Some(("claude-code", 1))),
        ("another script of Node", "node|--import|tsx|agent.ts", None),
        ("several starters", "env|A=1|nice|-n|5|timeout|60s|npx|cline|x", Some(("cline", 8))),
        ("a starter of nothing", "timeout|60", None),
        ("no word", "", None),
    ];
    for (name, line, want) in rows {
        let found = of_command(&words(line)).map(|(preset, at)| (preset.name, at));
        assert_eq!(found, want, "row: {name}");
    }
    assert!(of_command(&[]).is_none());
}

#[test]
fn start_table() {
    #[rustfmt::skip]
    let rows = [
        ("words go behind the program",
         "npx|@google/gemini-cli|-p|x", "npx|@google/gemini-cli|--session-id|5e55|-p|x"),
        ("a session of the user's stays",
         "gemini|-p|x|--session-id=7", "gemini|-p|x|--session-id=7"),
        ("an agent that needs none",
         "opencode|run|x", "opencode|run|x"),
        ("flags that the user gave stay alone",
         "qwen|--auth-type=openai|-c|-p|x", "qwen|--auth-type=openai|-c|-p|x"),
    ];
    for (name, line, want) in rows {
        let argv = words(line);
        let (preset, at) = of_command(&argv).expect(name);
        assert_eq!(preset.start(&argv, at, &VALUES), words(want), "row: {name}");
    }
    let argv = words("codex|exec|x");
    let (preset, at) = of_command(&argv).expect("codex");
    let searches_not = "web_search=\"disabled\"".to_owned();
    let capped = Values {
        is_capped: true,
        ..VALUES
    };
    assert!(preset.start(&argv, at, &capped).contains(&searches_not));
    assert!(!preset.start(&argv, at, &VALUES).contains(&searches_not));
    let server = "mcp_servers.agentguard.command=\"/bin/agentguard\"".to_owned();
    let served = Values {
        has_tools: true,
        ..VALUES
    };
    assert!(preset.start(&argv, at, &served).contains(&server));
    assert!(!preset.start(&argv, at, &VALUES).contains(&server));
}

#[test]
fn resume_table() {
    #[rustfmt::skip]
    let rows = [
        ("by its id", true,
         "opencode|run|-m|a/b|do it", Some("opencode|run|-m|a/b|--session|5e55|Go on where you stopped.")),
        ("the newest", false,
         "opencode|run|do it|--format=json", Some("opencode|run|--continue|Go on where you stopped.|--format=json")),
        ("a text behind a flag", true,
         "vibe|-p|do it|--trust", Some("vibe|-p|Go on where you stopped.|--resume|5e55|--trust")),
        ("a text joined to its flag", true,
         "gemini|--prompt=do it|-y", Some("gemini|--prompt|Go on where you stopped.|--resume|5e55|-y")),
        ("a subcommand behind other flags", true,
         "gptme|-n|-m|x/y|do it", Some("gptme|-n|-m|x/y|--name|5e55|--resume|Go on where you stopped.")),
        ("a list of values is no text", true,
         "opencode|run|do it|-f|a.txt|b.txt", Some("opencode|run|--session|5e55|Go on where you stopped.|-f|a.txt|b.txt")),
        ("a text behind two dashes", true,
         "opencode|run|--|-do it", None),
        ("several texts are not guessed at", true, "gptme|review|main.py", None),
        ("no text", true, "opencode|run|-m|a/b", None),
        ("a flag without its text", true, "vibe|--trust|-p", None),
        ("a session of the user's", true, "vibe|--continue|-p|x", None),
        ("an agent that cannot", true, "aider|--message|x", None),
    ];
    for (name, is_known, line, want) in rows {
        let argv = words(line);
        let (preset, at) = of_command(&argv).expect(name);
        let resumed = preset.resume(&argv, at, &VALUES, is_known);
        assert_eq!(resumed, want.map(words), "row: {name}");
    }
}

#[test]
fn fill_table() {
    #[rustfmt::skip]
    let rows = [
        ("every word", "{base} {v1} {token}", "http://127.0.0.1:4711 http://127.0.0.1:4711/v1 agentguard-00"),
        ("JSON stays", r#"{"a": {"b": "{token}"}, "c": {}}"#, r#"{"a": {"b": "agentguard-00"}, "c": {}}"#),
        ("an unknown word stays", "{nobody}", "{nobody}"),
        ("an open brace stays", "a {", "a {"),
        ("braces in braces", "{{token}}", "{agentguard-00}"),
    ];
    for (name, template, want) in rows {
        assert_eq!(VALUES.fill(template), want, "row: {name}");
    }
    let odd = Values {
        prompt: "{token}",
        ..VALUES
    };
    assert_eq!(
        odd.fill("{prompt}"),
        "{token}",
        "what is filled in is not looked at again"
    );
}

#[test]
fn flags_that_lead_past_are_seen() {
    #[rustfmt::skip]
    let rows = [
        ("a flag", "claude|-p|x|--settings|{}", Some("--settings")),
        ("a joined flag", "aider|--env-file=.env|--message|x", Some("--env-file")),
        ("a short flag", "cline|-k|key|x", Some("-k")),
        ("none", "claude|-p|--settings-like", None),
    ];
    for (name, line, want) in rows {
        let argv = words(line);
        let (preset, at) = of_command(&argv).expect(name);
        assert_eq!(preset.leads_past(&argv, at), want, "row: {name}");
    }
}
