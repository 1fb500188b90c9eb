//! Ready-made settings for agents that know nothing of us.
//!
//! A [`Preset`] says how one agent is driven without a terminal, how the address
//! and the token of the gateway get into it (variables, arguments, files in a
//! folder of the run), where its session id comes from, and by which words it
//! takes a session up again. The agent of a task is found by its name
//! ([`by_name`]) or by its command line ([`of_command`]).
//!
//! Nothing here touches the user's own settings of an agent: every preset moves
//! the agent's folder to `{home}`, a folder of the run that lasts over attempts
//! (`private`).
//!
//! Not here: writing the files, starting the agent, and which lines of its output
//! hold its session id (`driver`).
//!
//! Templates know these words: `{base}` (`http://127.0.0.1:PORT`), `{v1}` (the
//! same with `/v1`), `{token}`, `{home}`, `{session}` (a fresh UUID where the
//! agent lets us choose it, else the learnt id), `{prompt}`, `{model}`.
//!
//! Versions that each row was tried with stand in `tried`.

/// What a resumed agent is told; every one of them wants a text.
pub const GO_ON: &str = "Go on where you stopped.";

/// Words of a template that are filled in.
const PLACEHOLDERS: &[&str] = &["base", "v1", "token", "home", "session", "prompt", "model"];

/// A list of words.
pub type Words = &'static [&'static str];

/// A list of names with templates.
pub type Pairs = &'static [(&'static str, &'static str)];

/// How one agent is driven.
#[derive(Debug)]
pub struct Preset {
    /// The name in a task file.
    pub name: &'static str,
    /// The agent's own name.
    pub title: &'static str,
    /// The version that the row was tried with.
    pub tried: &'static str,
    /// What the program may be called: file names, npm packages, Python modules.
    pub programs: Words,
    /// The APIs that it may speak, the usual one first.
    pub apis: &'static [Api],
    /// Variables that are set.
    pub env: Pairs,
    /// Variables that move its settings and sessions to `{home}`; whoever wants the
    /// agent to use the user's own leaves these out.
    pub private: Pairs,
    /// Variables that must not pass from the user's environment, beside the keys
    /// and addresses of providers.
    pub unset: Words,
    /// Files that are written before every start, below `{home}`.
    pub files: Pairs,
    /// Words put right behind the program.
    pub args: &'static [Insert],
    /// The command line without a terminal; it has `{prompt}`.
    pub command: Words,
    /// The model of `command`, where the agent has to be told one.
    pub model: &'static str,
    /// Where the text of the task stands in a command line of the user's.
    pub prompt: Prompt,
    /// How its session is named.
    pub session: Session,
    /// How a session is taken up again, where that works after a crash.
    pub resume: Option<Resume>,
    /// How it is started again after a crash, unless the task file says.
    pub restart: Restart,
    /// Failures after which it exits with 0.
    pub lies: &'static [Lie],
    /// How long an answer may be held back.
    pub hold: Hold,
    /// What differs between two starts that are the same, as patterns and what
    /// stands for them; beside [`VOLATILE`].
    pub volatile: Pairs,
}

/// A format of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Google Gemini.
    Gemini,
}

/// Words put into a command line.
#[derive(Debug)]
pub struct Insert {
    /// The words, as templates.
    pub words: Words,
    /// Left out where one of these stands in the command line already.
    pub unless: Words,
}

/// Where the text of the task stands.
#[derive(Debug)]
pub enum Prompt {
    /// Behind one of these flags (or joined to it by `=`).
    Flag(Words),
    /// The last word that is no flag and no value of a flag. `switches` are the
    /// flags that take no value; `skip` counts the words that are subcommands.
    Word {
        /// Flags without a value.
        switches: Words,
        /// Subcommands that stand before it.
        skip: Words,
    },
}

/// How a session is named.
#[derive(Debug)]
pub struct Session {
    /// Words that give it an id of our choice.
    pub choose: Option<Insert>,
    /// The request header that tells it.
    pub header: Option<&'static str>,
    /// The field of a JSON line on stdout that tells it.
    pub field: Option<&'static str>,
}

/// How a session is taken up again. The words stand in the place of the text of
/// the task, and have `{prompt}`.
#[derive(Debug)]
pub struct Resume {
    /// By its id.
    pub by_id: Option<Words>,
    /// The newest one of the folder, which is the run's own.
    pub last: Option<Words>,
}

/// How an agent is started again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// By its own command for it.
    Native,
    /// From its beginning, with the recorded answers.
    Replay,
}

/// A failure after which an agent exits with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The last call was refused (400, 401, 403).
    Refused,
    /// The last call failed after all tries (429, 5xx, connection lost).
    Failed,
    /// The last answer was cut short, and was taken for whole.
    Cut,
}

/// How long an answer may be held back, in milliseconds; `None`: longer than the
/// 330 s that were tried.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Without a byte.
    pub silent_ms: Option<u64>,
    /// After the head, with comments in the stream; `Some(0)`: they do harm.
    pub comments_ms: Option<u64>,
    /// After the head, with events that say nothing.
    pub events_ms: Option<u64>,
}

/// What differs between two equal starts of most agents, and what stands for it.
///
/// Regular expressions for the text of a request, in this order. The folder of
/// the run and of the attempt are no patterns: whoever compares knows them.
pub const VOLATILE: Pairs = &[
    // A point in time, with or without its fraction and zone.
    (
        r"\b20\d\d-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d(:[0-6]\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?",
        "TIME",
    ),
    // A day.
    (r"\b20\d\d-[01]\d-[0-3]\d\b", "DAY"),
    (
        r"(Sun|Mon|Tue|Wed|Thu|Fri|Sat)[a-z]*,? ([A-Z][a-z]{2,8}) \d{1,2},? 20\d\d( [0-2]\d:[0-5]\d:[0-6]\d)?",
        "DAY",
    ),
    (
        r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
        "UUID",
    ),
    // Our own address, told to the model by agents that show their settings.
    (r"\b(127\.0\.0\.1|localhost):\d{4,5}\b", "GATEWAY"),
];

const NEVER: Hold = Hold {
    silent_ms: None,
    comments_ms: None,
    events_ms: None,
};

/// Every preset, by name.
#[rustfmt::skip]
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "claude-code",
        title: "Claude Code",
        tried: "2.1.330",
        programs: &["claude", "@anthropic-ai/claude-code"],
        apis: &[Api::Messages],
        env: &[
            ("ANTHROPIC_BASE_URL", "{base}"),
            ("ANTHROPIC_API_KEY", "{token}"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            // Root is refused `--dangerously-skip-permissions` otherwise.
            ("IS_SANDBOX", "1"),
        ],
        private: &[("CLAUDE_CONFIG_DIR", "{home}")],
        unset: &[
            // Set inside of a session, where it refuses to start another.
            "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_SSE_PORT",
            "CLAUDE_CODE_USE_MANTLE", "CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
            "ANTHROPIC_UNIX_SOCKET", "ANTHROPIC_PROFILE", "ANTHROPIC_API_HOST",
        ],
        // Settings of a project can name another address; these here go before them.
        files: &[("agentguard.json", r#"{"env": {"ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_API_KEY": "{token}"}}"#)],
        args: &[Insert { words: &["--settings", "{home}/agentguard.json"], unless: &[] }],
        command: &["claude", "-p", "{prompt}", "--dangerously-skip-permissions", "--output-format", "json"],
        model: "",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "--dangerously-skip-permissions", "--allow-dangerously-skip-permissions",
                "--verbose", "--bare", "--strict-mcp-config", "--include-partial-messages", "--safe-mode", "--restricted",
                "--no-chrome", "--chrome", "--disable-slash-commands", "--exclude-dynamic-system-prompt-sections",
                "--include-hook-events", "--forward-subagent-text", "--fork-session", "--ide", "--brief",
                "-c", "--continue", "--replay-user-messages"],
            skip: &[],
        },
        session: Session {
            choose: Some(Insert {
                words: &["--session-id", "{session}"],
                unless: &["--session-id", "-r", "--resume", "-c", "--continue", "--no-session-persistence"],
            }),
            header: Some("x-claude-code-session-id"),
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: Some(&["--resume", "{session}", "{prompt}"]),
            last: Some(&["--continue", "{prompt}"]),
        }),
        restart: Restart::Native,
        lies: &[],
        hold: Hold { silent_ms: Some(300_000), comments_ms: Some(300_000), events_ms: None },
        volatile: &[],
    },
    Preset {
        name: "codex",
        title: "Codex CLI",
        tried: "0.169.0",
        programs: &["codex", "@openai/codex"],
        apis: &[Api::Responses],
        env: &[("OPENAI_API_KEY", "{token}"), ("CODEX_API_KEY", "{token}")],
        private: &[("CODEX_HOME", "{home}")],
        unset: &["CODEX_ACCESS_TOKEN", "OPENAI_BASE_URL"],
        files: &[],
        // There is no variable for the address.
        args: &[Insert {
            words: &[
                "-c", "openai_base_url=\"{v1}\"",
                "-c", "model_provider=\"openai\"",
                "-c", "analytics.enabled=false",
                "-c", "check_for_update_on_startup=false",
            ],
            unless: &[],
        }],
        command: &["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", "{prompt}"],
        model: "",
        prompt: Prompt::Word {
            switches: &["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--full-auto",
                "--approve-for-me", "--oss", "--ephemeral", "--ignore-user-config", "--ignore-rules", "--strict-config",
                "--worktree", "--dangerously-bypass-hook-trust", "--trust", "--yolo"],
            skip: &["exec", "e"],
        },
        session: Session { choose: None, header: Some("session-id"), field: Some("thread_id") },
        resume: Some(Resume {
            by_id: Some(&["resume", "{session}", "{prompt}"]),
            last: Some(&["resume", "--last", "{prompt}"]),
        }),
        restart: Restart::Native,
        lies: &[],
        hold: Hold { silent_ms: None, comments_ms: Some(300_000), events_ms: None },
        volatile: &[],
    },
    Preset {
        name: "gemini-cli",
        title: "Gemini CLI",
        tried: "0.61.0",
        programs: &["gemini", "@google/gemini-cli"],
        apis: &[Api::Gemini],
        env: &[
            ("GOOGLE_GEMINI_BASE_URL", "{base}"),
            ("GEMINI_API_KEY", "{token}"),
            ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
        ],
        private: &[("GEMINI_CLI_HOME", "{home}")],
        unset: &["GOOGLE_GENAI_USE_GCA", "GOOGLE_CLOUD_PROJECT", "GEMINI_CLI_USE_COMPUTE_ADC", "CODE_ASSIST_ENDPOINT", "GEMINI_SANDBOX"],
        files: &[(".gemini/settings.json", concat!(
            r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}, "#,
            r#""general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false}, "#,
            r#""privacy": {"usageStatisticsEnabled": false}, "telemetry": {"enabled": false}}"#,
        ))],
        args: &[],
        command: &["gemini", "-p", "{prompt}", "--yolo", "-m", "{model}", "--output-format", "json"],
        model: "gemini-2.5-flash",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        session: Session {
            choose: Some(Insert { words: &["--session-id", "{session}"], unless: &["--session-id", "--session-file", "-r", "--resume"] }),
            header: None,
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: Some(&["{prompt}", "--resume", "{session}"]),
            last: Some(&["{prompt}", "--resume", "latest"]),
        }),
        restart: Restart::Native,
        lies: &[Lie::Cut],
        hold: Hold { silent_ms: Some(60_000), comments_ms: Some(0), events_ms: Some(60_000) },
        volatile: &[],
    },
    Preset {
        name: "opencode",
        title: "opencode",
        tried: "1.18.33",
        programs: &["opencode", "opencode-ai"],
        apis: &[Api::Messages, Api::Responses, Api::Gemini, Api::Chat],
        env: &[
            ("OPENCODE_CONFIG_CONTENT", concat!(
                r#"{"autoupdate": false, "share": "disabled", "provider": {"#,
                r#""anthropic": {"options": {"baseURL": "{v1}", "apiKey": "{token}"}}, "#,
                r#""openai": {"options": {"baseURL": "{v1}", "apiKey": "{token}"}}, "#,
                r#""google": {"options": {"baseURL": "{base}/v1beta", "apiKey": "{token}"}}}}"#,
            )),
            ("ANTHROPIC_API_KEY", "{token}"),
            ("OPENAI_API_KEY", "{token}"),
            ("GOOGLE_GENERATIVE_AI_API_KEY", "{token}"),
            ("OPENCODE_AUTH_CONTENT", "{}"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_SHARE", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ],
        private: &[("OPENCODE_DB", "{home}/opencode.db")],
        unset: &["OPENCODE_API_KEY", "OPENCODE_SERVER_PASSWORD", "OPENCODE", "OPENCODE_PID"],
        files: &[],
        args: &[],
        command: &["opencode", "run", "--model", "{model}", "--auto", "--format", "json", "{prompt}"],
        model: "anthropic/claude-sonnet-4-5",
        prompt: Prompt::Word {
            switches: &["--auto", "--thinking", "--print-logs", "--pure", "--share", "-c", "--continue", "--fork",
                "-i", "--interactive"],
            skip: &["run"],
        },
        session: Session { choose: None, header: Some("x-session-id"), field: Some("sessionID") },
        resume: Some(Resume {
            by_id: Some(&["--session", "{session}", "{prompt}"]),
            last: Some(&["--continue", "{prompt}"]),
        }),
        restart: Restart::Native,
        lies: &[],
        hold: Hold { silent_ms: Some(300_000), comments_ms: None, events_ms: None },
        volatile: &[],
    },
    Preset {
        name: "aider",
        title: "aider",
        tried: "0.86.2",
        programs: &["aider", "aider-chat"],
        apis: &[Api::Chat, Api::Messages],
        env: &[
            ("OPENAI_API_BASE", "{v1}"),
            ("OPENAI_BASE_URL", "{v1}"),
            ("OPENAI_API_KEY", "{token}"),
            ("ANTHROPIC_BASE_URL", "{base}"),
            ("ANTHROPIC_API_BASE", "{base}"),
            ("ANTHROPIC_API_KEY", "{token}"),
            // These go before `.aider.conf.yml`.
            ("AIDER_OPENAI_API_BASE", "{v1}"),
            ("AIDER_OPENAI_API_KEY", "{token}"),
            ("AIDER_ANTHROPIC_API_KEY", "{token}"),
            ("AIDER_ENV_FILE", "{home}/agentguard.env"),
            ("AIDER_ANALYTICS", "false"),
            ("AIDER_CHECK_UPDATE", "false"),
            ("AIDER_SHOW_RELEASE_NOTES", "false"),
            ("AIDER_SHOW_MODEL_WARNINGS", "false"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ],
        private: &[
            ("AIDER_CHAT_HISTORY_FILE", "{home}/chat.md"),
            ("AIDER_INPUT_HISTORY_FILE", "{home}/input"),
        ],
        unset: &["OPENROUTER_API_BASE", "AIDER_API_KEY", "AIDER_SET_ENV"],
        // A `.env` of the project is read over the environment; this one is read last.
        files: &[("agentguard.env", concat!(
            "OPENAI_API_BASE={v1}\nOPENAI_BASE_URL={v1}\nOPENAI_API_KEY={token}\n",
            "ANTHROPIC_BASE_URL={base}\nANTHROPIC_API_BASE={base}\nANTHROPIC_API_KEY={token}\n",
            "AIDER_OPENAI_API_BASE={v1}\nAIDER_OPENAI_API_KEY={token}\nAIDER_ANTHROPIC_API_KEY={token}\n",
        ))],
        args: &[],
        command: &["aider", "--model", "{model}", "--yes-always", "--no-pretty", "--message", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-m", "--message", "--msg"]),
        session: Session { choose: None, header: None, field: None },
        resume: None,
        restart: Restart::Replay,
        lies: &[Lie::Refused, Lie::Failed, Lie::Cut],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "mini-swe-agent",
        title: "mini-swe-agent",
        tried: "2.4.6",
        programs: &["mini", "mini-swe-agent", "minisweagent"],
        apis: &[Api::Chat, Api::Messages],
        env: &[
            ("OPENAI_BASE_URL", "{v1}"),
            ("OPENAI_API_BASE", "{v1}"),
            ("OPENAI_API_KEY", "{token}"),
            ("ANTHROPIC_BASE_URL", "{base}"),
            ("ANTHROPIC_API_BASE", "{base}"),
            ("ANTHROPIC_API_KEY", "{token}"),
            ("MSWEA_CONFIGURED", "true"),
            ("MSWEA_COST_TRACKING", "ignore_errors"),
            ("MSWEA_SILENT_STARTUP", "1"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ],
        private: &[("MSWEA_GLOBAL_CONFIG_DIR", "{home}")],
        unset: &["MSWEA_MODEL_API_KEY"],
        files: &[],
        args: &[],
        command: &["mini", "-m", "{model}", "-y", "--exit-immediately", "-t", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-t", "--task"]),
        session: Session { choose: None, header: None, field: None },
        resume: None,
        restart: Restart::Replay,
        lies: &[],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "qwen-code",
        title: "Qwen Code",
        tried: "0.15.10",
        programs: &["qwen", "@qwen-code/qwen-code"],
        apis: &[Api::Chat],
        env: &[("OPENAI_BASE_URL", "{v1}"), ("OPENAI_API_KEY", "{token}")],
        private: &[("QWEN_HOME", "{home}")],
        unset: &["OPENAI_MODEL", "QWEN_MODEL", "QWEN_RUNTIME_DIR", "QWEN_SANDBOX", "GEMINI_SANDBOX"],
        files: &[("settings.json", concat!(
            r#"{"security": {"auth": {"selectedType": "openai"}}, "general": {"enableAutoUpdate": false}, "#,
            r#""privacy": {"usageStatisticsEnabled": false}, "telemetry": {"enabled": false}}"#,
        ))],
        args: &[Insert { words: &["--auth-type", "openai"], unless: &["--auth-type"] }],
        command: &["qwen", "-p", "{prompt}", "--yolo", "-m", "{model}", "--output-format", "json"],
        model: "qwen3-coder-plus",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        session: Session {
            choose: Some(Insert { words: &["--session-id", "{session}"], unless: &["--session-id", "-c", "--continue", "-r", "--resume"] }),
            header: None,
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: Some(&["{prompt}", "--resume", "{session}"]),
            last: Some(&["{prompt}", "--continue"]),
        }),
        restart: Restart::Native,
        lies: &[Lie::Refused, Lie::Failed, Lie::Cut],
        hold: Hold { silent_ms: Some(120_000), comments_ms: None, events_ms: None },
        volatile: &[],
    },
    Preset {
        name: "pi",
        title: "pi",
        tried: "0.73.1",
        programs: &["pi", "@mariozechner/pi-coding-agent"],
        apis: &[Api::Messages, Api::Responses, Api::Gemini, Api::Chat],
        env: &[
            ("ANTHROPIC_API_KEY", "{token}"),
            ("OPENAI_API_KEY", "{token}"),
            ("GEMINI_API_KEY", "{token}"),
            ("PI_OFFLINE", "1"),
            ("PI_TELEMETRY", "0"),
        ],
        private: &[("PI_CODING_AGENT_DIR", "{home}")],
        unset: &["ANTHROPIC_OAUTH_TOKEN", "PI_CODING_AGENT"],
        files: &[("models.json", concat!(
            r#"{"providers": {"anthropic": {"baseUrl": "{base}"}, "#,
            r#""openai": {"baseUrl": "{v1}"}, "google": {"baseUrl": "{base}/v1beta"}}}"#,
        ))],
        args: &[],
        command: &["pi", "-p", "--mode", "json", "--model", "{model}", "{prompt}"],
        model: "anthropic/claude-sonnet-4-5",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "-c", "--continue", "-r", "--resume", "--no-session", "-nt", "--no-tools",
                "-nbt", "--no-builtin-tools", "-ne", "--no-extensions", "-ns", "--no-skills", "-np",
                "--no-prompt-templates", "--no-themes", "-nc", "--no-context-files", "--verbose", "--offline"],
            skip: &[],
        },
        session: Session { choose: None, header: None, field: Some("id") },
        resume: Some(Resume {
            by_id: Some(&["--session", "{session}", "{prompt}"]),
            last: Some(&["--continue", "{prompt}"]),
        }),
        restart: Restart::Native,
        lies: &[Lie::Refused, Lie::Failed, Lie::Cut],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "continue",
        title: "Continue (cn)",
        tried: "1.5.47",
        programs: &["cn", "@continuedev/cli"],
        apis: &[Api::Chat],
        env: &[("CONTINUE_METRICS_ENABLED", "0"), ("CONTINUE_CLI_ENABLE_TELEMETRY", "0"), ("CONTINUE_CLI_AUTO_UPDATED", "true")],
        private: &[("CONTINUE_GLOBAL_DIR", "{home}")],
        unset: &["CONTINUE_API_KEY", "CONTINUE_API_BASE"],
        files: &[("agentguard.yaml", concat!(
            "name: agentguard\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: {model}\n    provider: openai\n",
            "    model: {model}\n    apiBase: {v1}\n    apiKey: {token}\n    roles: [chat]\n",
        ))],
        args: &[Insert { words: &["--config", "{home}/agentguard.yaml"], unless: &["--config"] }],
        command: &["cn", "-p", "--auto", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "--auto", "--readonly", "--silent", "--verbose", "--resume", "--beta-status-tool", "--beta-subagent-tool"],
            skip: &[],
        },
        session: Session { choose: None, header: None, field: None },
        // A session is saved at its end only.
        resume: None,
        restart: Restart::Replay,
        lies: &[],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "gptme",
        title: "gptme",
        tried: "0.35.1",
        programs: &["gptme"],
        apis: &[Api::Chat, Api::Messages],
        env: &[
            ("OPENAI_BASE_URL", "{v1}"),
            ("OPENAI_API_KEY", "{token}"),
            ("ANTHROPIC_BASE_URL", "{base}"),
            ("ANTHROPIC_API_KEY", "{token}"),
            ("GPTME_TELEMETRY_ENABLED", "false"),
        ],
        private: &[("GPTME_LOGS_HOME", "{home}/logs")],
        unset: &["LLM_PROXY_URL", "LLM_PROXY_API_KEY", "GPTME_LLM_PROXY_URL", "GPTME_OPENAI_BASE_URL", "GPTME_OPENAI_API_KEY", "GPTME_ANTHROPIC_API_KEY"],
        files: &[],
        args: &[],
        command: &["gptme", "-n", "-m", "{model}", "--tool-format", "tool", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Word {
            switches: &["-n", "--non-interactive", "-y", "--no-confirm", "-r", "--resume", "-v", "--verbose", "--stream",
                "--no-stream", "--show-hidden", "--no-workspace", "--prune-tool-output", "--no-prune-tool-output", "--profile"],
            skip: &[],
        },
        session: Session {
            choose: Some(Insert { words: &["--name", "{session}"], unless: &["--name", "-r", "--resume"] }),
            header: None,
            field: None,
        },
        resume: Some(Resume {
            by_id: Some(&["--name", "{session}", "--resume", "{prompt}"]),
            last: Some(&["--resume", "{prompt}"]),
        }),
        restart: Restart::Native,
        lies: &[],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "openhands",
        title: "OpenHands CLI",
        tried: "1.16.0",
        programs: &["openhands", "openhands_cli"],
        apis: &[Api::Chat],
        env: &[
            ("LLM_BASE_URL", "{v1}"),
            ("LLM_API_KEY", "{token}"),
            ("LLM_MODEL", "{model}"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("OPENHANDS_SUPPRESS_BANNER", "1"),
        ],
        private: &[
            ("OPENHANDS_PERSISTENCE_DIR", "{home}"),
            ("OPENHANDS_CONVERSATIONS_DIR", "{home}/conversations"),
            // Its shell is one for people.
            ("HISTFILE", "{home}/history"),
        ],
        unset: &["OPENHANDS_CLOUD_URL"],
        files: &[],
        args: &[Insert { words: &["--override-with-envs"], unless: &["--override-with-envs"] }],
        command: &["openhands", "--headless", "--json", "--always-approve", "-t", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-t", "--task"]),
        session: Session { choose: None, header: None, field: Some("conversation_id") },
        resume: Some(Resume {
            by_id: Some(&["{prompt}", "--resume", "{session}"]),
            last: Some(&["{prompt}", "--resume", "--last"]),
        }),
        restart: Restart::Native,
        lies: &[Lie::Refused, Lie::Failed],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "vibe",
        title: "Mistral Vibe",
        tried: "3.0.2",
        programs: &["vibe", "mistral-vibe"],
        apis: &[Api::Chat],
        // Variables go before the settings of a project.
        env: &[
            ("OPENAI_API_KEY", "{token}"),
            ("VIBE_ACTIVE_MODEL", "agentguard"),
            ("VIBE_PROVIDERS", concat!(
                r#"[{"name": "agentguard", "api_base": "{v1}", "api_key_env_var": "OPENAI_API_KEY", "#,
                r#""api_style": "openai", "backend": "generic"}]"#,
            )),
            ("VIBE_MODELS", r#"[{"name": "{model}", "provider": "agentguard", "alias": "agentguard"}]"#),
            ("VIBE_ENABLE_TELEMETRY", "false"),
            ("VIBE_ENABLE_UPDATE_CHECKS", "false"),
            ("VIBE_ENABLE_AUTO_UPDATE", "false"),
        ],
        private: &[("VIBE_HOME", "{home}")],
        unset: &["MISTRAL_API_KEY", "VIBE_CWD"],
        files: &[],
        args: &[],
        command: &["vibe", "-p", "{prompt}", "--auto-approve", "--trust", "--output", "json"],
        model: "gpt-4o",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        session: Session { choose: None, header: Some("x-affinity"), field: None },
        resume: Some(Resume {
            by_id: Some(&["{prompt}", "--resume", "{session}"]),
            last: Some(&["{prompt}", "--continue"]),
        }),
        restart: Restart::Native,
        lies: &[],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "llm",
        title: "llm",
        tried: "0.36",
        programs: &["llm"],
        apis: &[Api::Chat, Api::Messages],
        env: &[
            ("OPENAI_BASE_URL", "{v1}"),
            ("OPENAI_API_KEY", "{token}"),
            ("ANTHROPIC_BASE_URL", "{base}"),
            ("ANTHROPIC_API_KEY", "{token}"),
        ],
        private: &[("LLM_USER_PATH", "{home}")],
        unset: &[],
        files: &[],
        args: &[],
        command: &["llm", "-m", "{model}", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["-c", "--continue", "-n", "--no-log", "--no-stream", "--async", "-x", "--extract", "-u", "--usage"],
            skip: &["prompt"],
        },
        session: Session { choose: None, header: None, field: None },
        resume: None,
        restart: Restart::Replay,
        lies: &[Lie::Cut],
        hold: NEVER,
        volatile: &[],
    },
    Preset {
        name: "cline",
        title: "Cline CLI",
        tried: "3.0.65",
        programs: &["cline"],
        apis: &[Api::Chat],
        env: &[("CLINE_NO_INTERACTIVE", "1")],
        private: &[("CLINE_DIR", "{home}")],
        unset: &["CLINE_API_KEY", "CLINE_API_BASE_URL", "CLINE_DATA_DIR", "CLINE_PROVIDER_SETTINGS_PATH"],
        files: &[("data/settings/providers.json", concat!(
            r#"{"version": 1, "lastUsedProvider": "openai-compatible", "modes": {}, "providers": {"openai-compatible": {"#,
            r#""settings": {"provider": "openai-compatible", "apiKey": "{token}", "model": "{model}", "baseUrl": "{v1}"}, "#,
            r#""updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}}}"#,
        ))],
        args: &[],
        command: &["cline", "--json", "--auto-approve", "true", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["--json", "-p", "--plan", "-v", "--verbose", "-z", "--zen", "--worktree"],
            skip: &[],
        },
        session: Session { choose: None, header: None, field: Some("sessionId") },
        // `--id` refuses to work without a terminal.
        resume: None,
        restart: Restart::Replay,
        lies: &[],
        hold: Hold { silent_ms: Some(300_000), comments_ms: None, events_ms: None },
        volatile: &[],
    },
];

/// What is filled into templates.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The address, without a slash at its end.
    pub base: &'a str,
    /// The key of the run.
    pub token: &'a str,
    /// The agent's folder of the run.
    pub home: &'a str,
    /// The session: a UUID of ours, or the one learnt.
    pub session: &'a str,
    /// The text for the agent.
    pub prompt: &'a str,
    /// The model.
    pub model: &'a str,
}

impl Values<'_> {
    /// Returns `template` with its words filled in, in one pass: what is filled
    /// in is not looked at again. Other braces stay.
    pub fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let value = rest
                .find('}')
                .and_then(|end| Some((end, self.value(&rest[1..end])?)));
            match value {
                Some((end, value)) => {
                    filled.push_str(&value);
                    rest = &rest[end + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<String> {
        let value = match name {
            "base" => self.base,
            "v1" => return Some(format!("{}/v1", self.base)),
            "token" => self.token,
            "home" => self.home,
            "session" => self.session,
            "prompt" => self.prompt,
            "model" => self.model,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

impl Preset {
    /// Returns its own command line.
    pub fn default_command(&self, values: &Values<'_>) -> Vec<String> {
        self.command.iter().map(|word| values.fill(word)).collect()
    }

    /// Returns the command line of a first start: `argv` with the words that the
    /// agent needs behind its program, the word at `program`.
    pub fn start(&self, argv: &[String], program: usize, values: &Values<'_>) -> Vec<String> {
        let inserts = self.args.iter().chain(&self.session.choose);
        insert(argv, program, inserts, values)
    }

    /// Returns the command line that takes up a session again: by its id where
    /// `is_known`, else the newest one of `{home}`.
    ///
    /// The text of the task gives way to `values.prompt`. `None` where the agent
    /// cannot do it, or where that text is not found in `argv`.
    pub fn resume(
        &self,
        argv: &[String],
        program: usize,
        values: &Values<'_>,
        is_known: bool,
    ) -> Option<Vec<String>> {
        let resume = self.resume.as_ref()?;
        let words = if is_known { resume.by_id } else { resume.last }?;
        let text = self.text(argv, program)?;
        let mut resumed: Vec<String> = argv[..text.at].to_vec();
        // Joined by `=`: the flag stays, the text becomes a word of its own.
        resumed.extend(text.flag);
        resumed.extend(words.iter().map(|word| values.fill(word)));
        resumed.extend_from_slice(&argv[text.at + 1..]);
        Some(insert(&resumed, program, self.args, values))
    }

    /// Returns where the text of the task stands in `argv`.
    fn text(&self, argv: &[String], program: usize) -> Option<Text> {
        let behind = program + 1;
        let words = argv.get(behind..)?;
        match &self.prompt {
            Prompt::Flag(flags) => {
                for (index, word) in words.iter().enumerate() {
                    if flags.contains(&word.as_str()) && index + 1 < words.len() {
                        return Some(Text {
                            at: behind + index + 1,
                            flag: None,
                        });
                    }
                    let joined = word.split_once('=').map(|(flag, _)| flag);
                    if let Some(flag) = joined.filter(|flag| flags.contains(flag)) {
                        return Some(Text {
                            at: behind + index,
                            flag: Some(flag.to_owned()),
                        });
                    }
                }
                None
            }
            Prompt::Word { switches, skip } => {
                let takes_value = |word: &str| {
                    word.starts_with('-') && !word.contains('=') && !switches.contains(&word)
                };
                let is_text = |index: usize| {
                    let word = words[index].as_str();
                    let before = index.checked_sub(1).map(|before| words[before].as_str());
                    !word.starts_with('-')
                        && before.is_none_or(|before| before == "--" || !takes_value(before))
                };
                let mut found = (0..words.len()).filter(|index| is_text(*index)).peekable();
                if found
                    .peek()
                    .is_some_and(|index| skip.contains(&words[*index].as_str()))
                {
                    found.next();
                }
                found.last().map(|index| Text {
                    at: behind + index,
                    flag: None,
                })
            }
        }
    }
}

/// Where the text of the task stands: the word `at`, which is `flag=TEXT` where
/// there is a `flag`.
struct Text {
    at: usize,
    flag: Option<String>,
}

fn insert<'a>(
    argv: &[String],
    program: usize,
    inserts: impl IntoIterator<Item = &'a Insert>,
    values: &Values<'_>,
) -> Vec<String> {
    let (before, behind) = argv.split_at((program + 1).min(argv.len()));
    let has = |flag: &str| {
        behind.iter().any(|word| {
            word.strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    let added = inserts
        .into_iter()
        .filter(|insert| !insert.unless.iter().any(|flag| has(flag)))
        .flat_map(|insert| insert.words.iter().map(|word| values.fill(word)));
    before
        .iter()
        .cloned()
        .chain(added)
        .chain(behind.iter().cloned())
        .collect()
}

/// Returns the preset called `name`.
pub fn by_name(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Returns every name, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// Finds the agent that a command line starts, and the index of the word that
/// names its program: words for the agent go behind it.
///
/// Looks through what starts other programs (`env`, `nice`, `timeout`, `npx`,
/// `uvx`, `pipx run`, `python -m`, `node SCRIPT` and the like), not into shells.
pub fn of_command(argv: &[String]) -> Option<(&'static Preset, usize)> {
    let mut at = 0;
    // Every round passes one word at least.
    loop {
        let word = argv.get(at)?;
        if let Some(preset) = by_program(word) {
            return Some((preset, at));
        }
        let name = file_name(word);
        let starter = STARTERS.iter().find(|starter| starter.is_called(name))?;
        at = starter.behind(argv, at)?;
    }
}

/// A program that starts the one named behind it.
struct Starter {
    /// What it is called.
    names: Words,
    /// Words one of which has to follow, as in `pipx run`; empty: none.
    verbs: Words,
    /// Its flags that take a value.
    valued: Words,
    /// What else may stand before the program.
    also: Also,
}

/// What else may stand before a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Nothing,
    /// `NAME=value`.
    Variables,
    /// One word, as the seconds of `timeout`.
    OneWord,
}

#[rustfmt::skip]
const STARTERS: &[Starter] = &[
    Starter { names: &["env"], verbs: &[], valued: &["-u", "--unset", "-C", "--chdir"], also: Also::Variables },
    Starter { names: &["nice"], verbs: &[], valued: &["-n", "--adjustment"], also: Also::Nothing },
    Starter { names: &["ionice"], verbs: &[], valued: &["-c", "-n", "--class", "--classdata"], also: Also::Nothing },
    Starter { names: &["timeout"], verbs: &[], valued: &["-k", "-s", "--kill-after", "--signal"], also: Also::OneWord },
    Starter { names: &["nohup", "setsid", "time", "exec", "command"], verbs: &[], valued: &[], also: Also::Nothing },
    Starter { names: &["stdbuf"], verbs: &[], valued: &["-i", "-o", "-e"], also: Also::Nothing },
    Starter { names: &["npx", "bunx", "pnpx"], verbs: &[], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["npm"], verbs: &["exec", "x"], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["pnpm", "yarn"], verbs: &["dlx", "exec"], valued: &["--package"], also: Also::Nothing },
    Starter { names: &["bun"], verbs: &["x", "run"], valued: &[], also: Also::Nothing },
    Starter { names: &["uvx"], verbs: &[], valued: &["--from", "--with", "-w", "-p", "--python", "--index-url"], also: Also::Nothing },
    Starter { names: &["uv"], verbs: &["run", "tool"], valued: &["--from", "--with", "-w", "-p", "--python", "--project", "--directory"], also: Also::Nothing },
    Starter { names: &["run"], verbs: &[], valued: &["--from", "--with", "-w", "-p", "--python"], also: Also::Nothing },
    Starter { names: &["pipx"], verbs: &["run"], valued: &["--spec", "--python", "--pip-args"], also: Also::Nothing },
    Starter { names: &["python", "python3", "pypy3"], verbs: &[], valued: &["-X", "-W"], also: Also::Nothing },
    Starter { names: &["node", "nodejs"], verbs: &[], valued: &["-r", "--require", "--import", "-C"], also: Also::Nothing },
];

impl Starter {
    fn is_called(&self, name: &str) -> bool {
        // `python3.12` is `python3`.
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        self.names.contains(&name) || (plain == "python" && self.names.contains(&plain))
    }

    /// Returns the index of the word that names what it starts.
    fn behind(&self, argv: &[String], at: usize) -> Option<usize> {
        let mut next = at + 1;
        if !self.verbs.is_empty() {
            self.verbs
                .contains(&argv.get(next)?.as_str())
                .then_some(())?;
            next += 1;
        }
        let mut words_left = usize::from(self.also == Also::OneWord);
        loop {
            let word = argv.get(next)?.as_str();
            if self.valued.contains(&word) {
                next += 2;
            } else if word.starts_with('-') || (self.also == Also::Variables && word.contains('='))
            {
                next += 1;
            } else if words_left > 0 {
                words_left -= 1;
                next += 1;
            } else {
                return Some(next);
            }
        }
    }
}

/// Finds a preset by the word that names a program: a name, a path, a package
/// with or without its version, a script inside of a package.
fn by_program(word: &str) -> Option<&'static Preset> {
    let find = |name: &str| {
        PRESETS
            .iter()
            .find(|preset| preset.programs.contains(&name))
    };
    let package = word
        .rsplit_once("node_modules/")
        .map_or(word, |(_, inside)| inside);
    let package = package.strip_prefix(".bin/").unwrap_or(package);
    let package = match package.strip_prefix('@') {
        Some(scoped) => {
            let mut parts = scoped.splitn(3, '/');
            let (scope, name) = (parts.next()?, parts.next()?);
            return find(&format!("@{scope}/{}", without_version(name)));
        }
        None if package.len() < word.len() => package.split('/').next()?,
        None => file_name(word),
    };
    find(without_version(package))
}

/// Cuts `@1.2.3`, `==1.2.3`, `[extra]` and the ending of a script.
fn without_version(name: &str) -> &str {
    let name = name
        .split(['@', '=', '[', '>', '<', '~'])
        .next()
        .unwrap_or(name);
    name.strip_suffix(".exe").unwrap_or(name)
}

fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}
