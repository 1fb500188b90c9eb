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
//! A session is named by us where the agent lets us choose: every start that takes
//! up no session needs a fresh UUID, since agents refuse one that is there already.
//!
//! Not here: writing the files, starting the agent, and reading its output for its
//! session id (`driver`).
//!
//! Templates know these words: `{base}` (`http://127.0.0.1:PORT`), `{v1}` (the
//! same with `/v1`), `{token}`, `{home}`, `{session}` (a fresh UUID where the
//! agent lets us choose it, else the learnt id), `{prompt}`, `{model}`, `{program}`
//! (this binary) and `{socket}` (of the line protocol).
//!
//! Versions that each row was tried with stand in `tried`.

/// What a resumed agent is told; every one of them wants a text.
pub const GO_ON: &str = "Go on where you stopped.";

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
    /// Variables that move its settings and sessions to `{home}`.
    pub private: Pairs,
    /// Whether it still comes to the gateway without `private`, whatever the user's
    /// own settings say; then they may be left out for who wants them used.
    pub allows_own: bool,
    /// Variables that the agent must not see, neither the user's nor those that
    /// the gateway sets for everybody.
    pub unset: Words,
    /// Files that are written before every start, below `{home}`.
    pub files: Pairs,
    /// Words put right behind the program.
    pub args: &'static [Insert],
    /// Words put there too where money is limited: they turn off tools that the
    /// provider runs at a fee, since the gateway refuses calls that offer them.
    pub capped: &'static [Insert],
    /// Words put there too where the task has tools: they name `agentguard mcp serve`
    /// as a server of the agent's. Empty: it is not known how.
    pub tools: &'static [Insert],
    /// The command line without a terminal; it has `{prompt}`.
    pub command: Words,
    /// The model of `command`, where the agent has to be told one.
    pub model: &'static str,
    /// Where the text of the task stands in a command line of the user's.
    pub prompt: Prompt,
    /// Flags and words of the user's by which calls may go past the gateway, since
    /// they replace ours.
    pub past: Words,
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
    /// The one word that is neither a flag, nor a value of a flag, nor the
    /// subcommand. Flags of neither list take one value.
    Word {
        /// Flags without a value.
        switches: Words,
        /// Flags that take all words up to the next flag.
        greedy: Words,
        /// The names of the subcommand that stands before it.
        verb: Words,
    },
}

/// How a session is named.
#[derive(Debug)]
pub struct Session {
    /// Words that give it an id of our choice.
    pub choose: Option<Insert>,
    /// The request header that tells it; the first call's, since sub-agents may
    /// have sessions of their own.
    pub header: Option<&'static str>,
    /// The field that tells it in the first JSON object on stdout that has it,
    /// where the command line asks for JSON.
    pub field: Option<&'static str>,
}

/// How a session is taken up again. The words stand in the place of the text of
/// the task, and have `{prompt}`.
#[derive(Debug)]
pub struct Resume {
    /// By its id.
    pub by_id: Words,
    /// The newest one of `{home}`, which is the run's own.
    pub last: Words,
    /// Flags and words of a command line that takes up a session by itself.
    pub unless: Words,
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
/// Regular expressions for each text of a request, the preset's own first, then
/// these in their order. For the answers of an earlier attempt only, not for loops:
/// a tool's output is a text too, and one that differs by a time differs. The
/// folders of the run are no patterns: whoever compares knows them.
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

/// Keys of a request whose values mean nothing to a model and differ between equal
/// starts; ids of calls are the model's own, and equal when its answer is.
pub const VOLATILE_KEYS: Words = &[
    "client_metadata",
    "create_time",
    "id",
    "internal_chat_message_metadata_passthrough",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "turn_id",
    "user",
];

/// Held back as long as was tried, and not given up.
const NEVER: Hold = Hold {
    silent_ms: None,
    comments_ms: None,
    events_ms: None,
};

/// Every preset; the first is the most used.
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
            // For a command line that asks for it: root is refused `--dangerously-skip-permissions` otherwise.
            ("IS_SANDBOX", "1"),
        ],
        private: &[("CLAUDE_CONFIG_DIR", "{home}")],
        allows_own: true,
        unset: &[
            // Set inside of a session, where it refuses to start another.
            "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_SSE_PORT",
            "CLAUDE_CODE_USE_MANTLE", "CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
            "ANTHROPIC_UNIX_SOCKET", "ANTHROPIC_PROFILE", "ANTHROPIC_API_HOST",
        ],
        // Settings of a project can name another address; these here go before them.
        files: &[
            ("agentguard.json", r#"{"env": {"ANTHROPIC_BASE_URL": "{base}", "ANTHROPIC_API_KEY": "{token}"}}"#),
            ("agentguard-mcp.json", r#"{"mcpServers": {"agentguard": {"command": "{program}", "args": ["mcp", "serve"], "env": {"AGENTGUARD_SOCKET": "{socket}"}}}}"#),
        ],
        args: &[Insert { words: &["--settings", "{home}/agentguard.json"], unless: &[] }],
        capped: &[Insert { words: &["--disallowedTools=WebSearch"], unless: &[] }],
        tools: &[
            Insert { words: &["--mcp-config={home}/agentguard-mcp.json"], unless: &[] },
            Insert { words: &["--allowedTools=mcp__agentguard"], unless: &["--dangerously-skip-permissions"] },
        ],
        command: &["claude", "-p", "{prompt}", "--dangerously-skip-permissions", "--output-format", "json"],
        model: "",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "--dangerously-skip-permissions", "--allow-dangerously-skip-permissions",
                "--verbose", "--bare", "--strict-mcp-config", "--include-partial-messages", "--safe-mode", "--restricted",
                "--no-chrome", "--chrome", "--disable-slash-commands", "--exclude-dynamic-system-prompt-sections",
                "--include-hook-events", "--forward-subagent-text", "--fork-session", "--ide", "--brief",
                "-c", "--continue", "--replay-user-messages"],
            greedy: &["--add-dir", "--allowedTools", "--allowed-tools", "--disallowedTools", "--disallowed-tools",
                "--betas", "--file", "--mcp-config", "--tools"],
            verb: &[],
        },
        past: &["--settings"],
        session: Session {
            choose: Some(Insert {
                words: &["--session-id", "{session}"],
                unless: &["--session-id", "-r", "--resume", "-c", "--continue", "--no-session-persistence"],
            }),
            header: Some("x-claude-code-session-id"),
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: &["--resume", "{session}", "{prompt}"],
            last: &["--continue", "{prompt}"],
            unless: &["-r", "--resume", "-c", "--continue", "--from-pr"],
        }),
        restart: Restart::Native,
        lies: &[],
        // 2.1.197; 2.1.330 waits.
        hold: Hold { silent_ms: Some(300_000), comments_ms: Some(300_000), events_ms: None },
        volatile: &[
            (r"(?s)Current branch: .*?Recent commits:\n([0-9a-f]{7,40} [^\n]*\n?)*", "GIT"),
            // They move from message to message.
            (r"(?s)<system-reminder>.*?</system-reminder>(\\n)*", ""),
        ],
    },
    Preset {
        name: "codex",
        title: "Codex CLI",
        tried: "0.169.0",
        programs: &["codex", "@openai/codex"],
        apis: &[Api::Responses],
        env: &[("OPENAI_API_KEY", "{token}"), ("CODEX_API_KEY", "{token}")],
        private: &[("CODEX_HOME", "{home}")],
        allows_own: true,
        unset: &["CODEX_ACCESS_TOKEN", "OPENAI_BASE_URL"],
        files: &[],
        // There is no variable for the address. The user's own `-c` come later, and win.
        args: &[Insert {
            words: &[
                "-c", "openai_base_url=\"{v1}\"",
                "-c", "model_provider=\"openai\"",
                "-c", "analytics.enabled=false",
                "-c", "check_for_update_on_startup=false",
            ],
            unless: &[],
        }],
        capped: &[Insert { words: &["-c", "web_search=\"disabled\""], unless: &[] }],
        // It gives its servers a few variables only.
        tools: &[Insert {
            words: &[
                "-c", "mcp_servers.agentguard.command=\"{program}\"",
                "-c", "mcp_servers.agentguard.args=[\"mcp\", \"serve\"]",
                "-c", "mcp_servers.agentguard.env.AGENTGUARD_SOCKET=\"{socket}\"",
                "-c", "mcp_servers.agentguard.tool_timeout_sec=86400",
            ],
            unless: &[],
        }],
        command: &["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json", "{prompt}"],
        model: "",
        prompt: Prompt::Word {
            switches: &["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--full-auto",
                "--approve-for-me", "--oss", "--ephemeral", "--ignore-user-config", "--ignore-rules", "--strict-config",
                "--worktree", "--dangerously-bypass-hook-trust", "--trust", "--yolo"],
            greedy: &["-i", "--image"],
            verb: &["exec", "e"],
        },
        past: &["--oss", "--local-provider", "-p", "--profile"],
        session: Session { choose: None, header: Some("session-id"), field: Some("thread_id") },
        resume: Some(Resume {
            by_id: &["resume", "{session}", "{prompt}"],
            last: &["resume", "--last", "{prompt}"],
            unless: &["resume", "fork", "review"],
        }),
        restart: Restart::Native,
        lies: &[],
        hold: Hold { silent_ms: None, comments_ms: Some(300_000), events_ms: None },
        volatile: &[
            (r#""chunk_id":"[0-9a-f]+","wall_time_seconds":[0-9.e-]+"#, "CHUNK"),
            (r"Chunk ID: [0-9a-f]+", "CHUNK"),
            (r"Wall time:? [0-9.]+ seconds", "WALL"),
        ],
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
        allows_own: false,
        unset: &["GOOGLE_API_KEY", "GOOGLE_GENAI_USE_GCA", "GEMINI_CLI_USE_COMPUTE_ADC", "CODE_ASSIST_ENDPOINT", "GEMINI_SANDBOX"],
        files: &[(".gemini/settings.json", concat!(
            r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}, "#,
            r#""general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false}, "#,
            r#""privacy": {"usageStatisticsEnabled": false}, "telemetry": {"enabled": false}}"#,
        ))],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["gemini", "-p", "{prompt}", "--yolo", "-m", "{model}", "--output-format", "json"],
        model: "gemini-2.5-flash",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        past: &[],
        session: Session {
            choose: Some(Insert { words: &["--session-id", "{session}"], unless: &["--session-id", "--session-file", "-r", "--resume"] }),
            header: None,
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: &["{prompt}", "--resume", "{session}"],
            last: &["{prompt}", "--resume", "latest"],
            unless: &["-r", "--resume", "--session-file"],
        }),
        restart: Restart::Native,
        lies: &[Lie::Cut],
        hold: Hold { silent_ms: Some(60_000), comments_ms: Some(0), events_ms: Some(60_000) },
        volatile: &[
            (r"(?s)Showing up to \d+ items.*?(</session_context>|\z)", "FOLDER"),
            (r"Process Group PGID: \d+", "GROUP"),
            (r"_1\d{12}_\d+", "_ID"),
        ],
    },
    Preset {
        name: "opencode",
        title: "opencode",
        tried: "1.18.33",
        programs: &["opencode", "opencode-ai"],
        apis: &[Api::Messages, Api::Responses, Api::Gemini, Api::Chat],
        env: &[
            ("OPENCODE_CONFIG_CONTENT", concat!(
                // Others would be asked past the gateway, some of them without a key.
                r#"{"autoupdate": false, "share": "disabled", "enabled_providers": ["anthropic", "openai", "google"], "provider": {"#,
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
        allows_own: true,
        unset: &["OPENCODE_API_KEY", "OPENCODE_SERVER_PASSWORD", "OPENCODE", "OPENCODE_PID"],
        files: &[],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["opencode", "run", "--model", "{model}", "--auto", "--format", "json", "{prompt}"],
        model: "anthropic/claude-sonnet-4-5",
        prompt: Prompt::Word {
            switches: &["--auto", "--thinking", "--print-logs", "--pure", "--share", "-c", "--continue", "--fork",
                "-i", "--interactive"],
            greedy: &["-f", "--file"],
            verb: &["run"],
        },
        past: &["--attach"],
        session: Session { choose: None, header: Some("x-session-id"), field: Some("sessionID") },
        resume: Some(Resume {
            by_id: &["--session", "{session}", "{prompt}"],
            last: &["--continue", "{prompt}"],
            unless: &["-s", "--session", "-c", "--continue"],
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
        allows_own: true,
        unset: &["OPENROUTER_API_BASE", "AIDER_API_KEY", "AIDER_SET_ENV"],
        // A `.env` of the project is read over the environment; this one is read last.
        files: &[("agentguard.env", concat!(
            "OPENAI_API_BASE={v1}\nOPENAI_BASE_URL={v1}\nOPENAI_API_KEY={token}\n",
            "ANTHROPIC_BASE_URL={base}\nANTHROPIC_API_BASE={base}\nANTHROPIC_API_KEY={token}\n",
            "AIDER_OPENAI_API_BASE={v1}\nAIDER_OPENAI_API_KEY={token}\nAIDER_ANTHROPIC_API_KEY={token}\n",
        ))],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["aider", "--model", "{model}", "--yes-always", "--no-pretty", "--message", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-m", "--message", "--msg"]),
        past: &["--openai-api-base", "--openai-api-key", "--anthropic-api-key", "--api-key", "--set-env", "--env-file"],
        session: Session { choose: None, header: None, field: None },
        resume: None,
        // Its requests show its own edits, so that a replay ends at the first one.
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
        allows_own: true,
        unset: &["MSWEA_MODEL_API_KEY"],
        files: &[],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["mini", "-m", "{model}", "-y", "--exit-immediately", "-t", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-t", "--task"]),
        past: &["--model-class"],
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
        allows_own: true,
        unset: &["QWEN_RUNTIME_DIR", "QWEN_SANDBOX", "GEMINI_SANDBOX"],
        files: &[("settings.json", concat!(
            r#"{"security": {"auth": {"selectedType": "openai"}}, "general": {"enableAutoUpdate": false}, "#,
            r#""privacy": {"usageStatisticsEnabled": false}, "telemetry": {"enabled": false}}"#,
        ))],
        args: &[Insert { words: &["--auth-type", "openai"], unless: &["--auth-type"] }],
        capped: &[],
        tools: &[],
        command: &["qwen", "-p", "{prompt}", "--yolo", "-m", "{model}", "--output-format", "json"],
        model: "qwen3-coder-plus",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        past: &["--openai-base-url", "--openai-api-key"],
        session: Session {
            choose: Some(Insert { words: &["--session-id", "{session}"], unless: &["--session-id", "-c", "--continue", "-r", "--resume"] }),
            header: None,
            field: Some("session_id"),
        },
        resume: Some(Resume {
            by_id: &["{prompt}", "--resume", "{session}"],
            last: &["{prompt}", "--continue"],
            unless: &["-c", "--continue", "-r", "--resume"],
        }),
        // Its session is written a little late: a tool whose result was just sent
        // may be run again.
        restart: Restart::Native,
        lies: &[Lie::Refused, Lie::Failed, Lie::Cut],
        hold: Hold { silent_ms: Some(120_000), comments_ms: None, events_ms: None },
        volatile: &[(r"(?s)Showing up to \d+ items.*\z", "FOLDER"), (r"Process Group PGID: \d+", "GROUP")],
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
        allows_own: false,
        unset: &["ANTHROPIC_OAUTH_TOKEN", "PI_CODING_AGENT"],
        files: &[("models.json", concat!(
            r#"{"providers": {"anthropic": {"baseUrl": "{base}"}, "#,
            r#""openai": {"baseUrl": "{v1}"}, "google": {"baseUrl": "{base}/v1beta"}}}"#,
        ))],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["pi", "-p", "--mode", "json", "--model", "{model}", "{prompt}"],
        model: "anthropic/claude-sonnet-4-5",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "-c", "--continue", "-r", "--resume", "--no-session", "-nt", "--no-tools",
                "-nbt", "--no-builtin-tools", "-ne", "--no-extensions", "-ns", "--no-skills", "-np",
                "--no-prompt-templates", "--no-themes", "-nc", "--no-context-files", "--verbose", "--offline"],
            greedy: &[],
            verb: &[],
        },
        past: &["--api-key"],
        session: Session { choose: None, header: None, field: Some("id") },
        resume: Some(Resume {
            by_id: &["--session", "{session}", "{prompt}"],
            last: &["--continue", "{prompt}"],
            unless: &["-c", "--continue", "-r", "--resume", "--session", "--fork", "--no-session"],
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
        allows_own: true,
        unset: &["CONTINUE_API_KEY", "CONTINUE_API_BASE"],
        files: &[("agentguard.yaml", concat!(
            "name: agentguard\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: {model}\n    provider: openai\n",
            "    model: {model}\n    apiBase: {v1}\n    apiKey: {token}\n    roles: [chat]\n",
        ))],
        args: &[Insert { words: &["--config", "{home}/agentguard.yaml"], unless: &[] }],
        capped: &[],
        tools: &[],
        command: &["cn", "-p", "--auto", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["-p", "--print", "--auto", "--readonly", "--silent", "--verbose", "--resume", "--beta-status-tool", "--beta-subagent-tool"],
            greedy: &[],
            verb: &[],
        },
        past: &["--config", "--model", "--agent"],
        session: Session { choose: None, header: None, field: None },
        // A session is saved at its end only.
        resume: None,
        restart: Restart::Replay,
        lies: &[],
        hold: NEVER,
        volatile: &[(r#"(?s)<context name="gitStatus">.*?</context>"#, "GIT")],
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
        allows_own: true,
        unset: &["LLM_PROXY_URL", "LLM_PROXY_API_KEY", "GPTME_LLM_PROXY_URL", "GPTME_OPENAI_BASE_URL", "GPTME_OPENAI_API_KEY", "GPTME_ANTHROPIC_API_KEY"],
        files: &[],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["gptme", "-n", "-m", "{model}", "--tool-format", "tool", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Word {
            switches: &["-n", "--non-interactive", "-y", "--no-confirm", "-r", "--resume", "-v", "--verbose", "--stream",
                "--no-stream", "--show-hidden", "--no-workspace", "--prune-tool-output", "--no-prune-tool-output", "--profile"],
            greedy: &[],
            verb: &[],
        },
        past: &[],
        session: Session {
            choose: Some(Insert { words: &["--name", "{session}"], unless: &["--name", "-r", "--resume"] }),
            header: None,
            field: None,
        },
        resume: Some(Resume {
            by_id: &["--name", "{session}", "--resume", "{prompt}"],
            last: &["--resume", "{prompt}"],
            unless: &["-r", "--resume"],
        }),
        restart: Restart::Native,
        lies: &[],
        hold: NEVER,
        volatile: &[(r"(?s)## Git Status\n.*?(<budget|\z)", "GIT")],
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
        allows_own: true,
        unset: &["OPENHANDS_CLOUD_URL"],
        files: &[],
        args: &[Insert { words: &["--override-with-envs"], unless: &["--override-with-envs"] }],
        capped: &[],
        tools: &[],
        command: &["openhands", "--headless", "--json", "--always-approve", "-t", "{prompt}"],
        model: "openai/gpt-4o",
        prompt: Prompt::Flag(&["-t", "--task"]),
        past: &["cloud"],
        session: Session { choose: None, header: None, field: Some("conversation_id") },
        resume: Some(Resume {
            by_id: &["{prompt}", "--resume", "{session}"],
            last: &["{prompt}", "--resume", "--last"],
            unless: &["--resume"],
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
        allows_own: true,
        unset: &["MISTRAL_API_KEY", "VIBE_CWD"],
        files: &[],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["vibe", "-p", "{prompt}", "--auto-approve", "--trust", "--output", "json"],
        model: "gpt-4o",
        prompt: Prompt::Flag(&["-p", "--prompt"]),
        past: &[],
        session: Session { choose: None, header: Some("x-affinity"), field: None },
        resume: Some(Resume {
            by_id: &["{prompt}", "--resume", "{session}"],
            last: &["{prompt}", "--continue"],
            unless: &["-c", "--continue", "--resume"],
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
        allows_own: true,
        unset: &[],
        files: &[],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["llm", "-m", "{model}", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["-c", "--continue", "-n", "--no-log", "--no-stream", "--async", "-x", "--extract", "-u", "--usage"],
            greedy: &[],
            verb: &["prompt"],
        },
        past: &["--key"],
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
        allows_own: false,
        unset: &["CLINE_API_KEY", "CLINE_API_BASE_URL", "CLINE_DATA_DIR", "CLINE_PROVIDER_SETTINGS_PATH"],
        files: &[("data/settings/providers.json", concat!(
            r#"{"version": 1, "lastUsedProvider": "openai-compatible", "modes": {}, "providers": {"openai-compatible": {"#,
            r#""settings": {"provider": "openai-compatible", "apiKey": "{token}", "model": "{model}", "baseUrl": "{v1}"}, "#,
            r#""updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}}}"#,
        ))],
        args: &[],
        capped: &[],
        tools: &[],
        command: &["cline", "--json", "--auto-approve", "true", "{prompt}"],
        model: "gpt-4o",
        prompt: Prompt::Word {
            switches: &["--json", "-p", "--plan", "-v", "--verbose", "-z", "--zen", "--worktree"],
            greedy: &[],
            verb: &[],
        },
        past: &["-k", "--key", "-P", "--provider", "--config", "--data-dir"],
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
    /// Whether money is limited.
    pub is_capped: bool,
    /// Whether it is given the tools of the task.
    pub has_tools: bool,
    /// The socket of the run.
    pub socket: &'a str,
    /// This program.
    pub program: &'a str,
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
            "socket" => self.socket,
            "program" => self.program,
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
        let inserts = self.inserts(values).chain(&self.session.choose);
        insert(argv, program, inserts, values)
    }

    /// Returns the command line that takes up a session again: by its id where
    /// `is_known`, else the newest one of `{home}`.
    ///
    /// The text of the task gives way to `values.prompt`. `None` where the agent
    /// cannot do it, where `argv` does so by itself, or where that text is not found.
    pub fn resume(
        &self,
        argv: &[String],
        program: usize,
        values: &Values<'_>,
        is_known: bool,
    ) -> Option<Vec<String>> {
        let resume = self.resume.as_ref()?;
        let behind = argv.get(program + 1..)?;
        if resume.unless.iter().any(|flag| has(behind, flag)) {
            return None;
        }
        let words = if is_known { resume.by_id } else { resume.last };
        let text = find_text(&self.prompt, behind)?;
        let mut resumed: Vec<String> = argv[..=program].to_vec();
        resumed.extend_from_slice(&behind[..text.at]);
        // Joined by `=`: the flag stays, and the text becomes a word of its own.
        resumed.extend(text.flag);
        resumed.extend(words.iter().map(|word| values.fill(word)));
        resumed.extend_from_slice(&behind[text.at + 1..]);
        Some(insert(&resumed, program, self.inserts(values), values))
    }

    fn inserts(&self, values: &Values<'_>) -> impl Iterator<Item = &Insert> + use<'_> {
        let capped = values.is_capped.then_some(self.capped);
        let tools = values.has_tools.then_some(self.tools);
        let more = [capped, tools].into_iter().flatten().flatten();
        self.args.iter().chain(more)
    }

    /// Returns the first of the user's flags that may lead past the gateway.
    pub fn leads_past(&self, argv: &[String], program: usize) -> Option<&'static str> {
        let behind = argv.get(program + 1..)?;
        self.past.iter().copied().find(|flag| has(behind, flag))
    }
}

/// Where the text of the task stands: the word `at`, which is `flag=TEXT` where
/// there is a `flag`.
struct Text {
    at: usize,
    flag: Option<String>,
}

fn find_text(prompt: &Prompt, words: &[String]) -> Option<Text> {
    match prompt {
        Prompt::Flag(flags) => words.iter().enumerate().find_map(|(index, word)| {
            if flags.contains(&word.as_str()) {
                let at = index + 1;
                return (at < words.len()).then_some(Text { at, flag: None });
            }
            let (flag, _) = word.split_once('=')?;
            let flag = flags.contains(&flag).then(|| flag.to_owned())?;
            Some(Text {
                at: index,
                flag: Some(flag),
            })
        }),
        Prompt::Word {
            switches,
            greedy,
            verb,
        } => {
            let mut plain = plain_words(words, switches, greedy).into_iter().peekable();
            plain.next_if(|index| verb.contains(&words[*index].as_str()));
            let at = plain.next()?;
            // Several may be one text, or a text and its files; and behind two
            // dashes our flags would be text.
            let is_sure = plain.next().is_none() && !words[..at].iter().any(|word| word == "--");
            is_sure.then_some(Text { at, flag: None })
        }
    }
}

/// Returns the indices of the words that are neither flags nor values of flags.
fn plain_words(words: &[String], switches: Words, greedy: Words) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut is_value, mut is_greedy, mut is_over) = (false, false, false);
    for (index, word) in words.iter().map(String::as_str).enumerate() {
        if !is_over && word.starts_with('-') && word.len() > 1 {
            is_over = word == "--";
            is_greedy = greedy.contains(&word);
            is_value = !is_over && !is_greedy && !word.contains('=') && !switches.contains(&word);
        } else if is_value {
            is_value = false;
        } else if is_over || !is_greedy {
            found.push(index);
        }
    }
    found
}

/// Tells whether a flag stands in a command line, alone or as `flag=value`.
fn has(words: &[String], flag: &str) -> bool {
    words.iter().any(|word| {
        let rest = word.strip_prefix(flag);
        rest.is_some_and(|rest| {
            rest.is_empty() || (flag.starts_with("--") && rest.starts_with('='))
        })
    })
}

fn insert<'a>(
    argv: &[String],
    program: usize,
    inserts: impl IntoIterator<Item = &'a Insert>,
    values: &Values<'_>,
) -> Vec<String> {
    let (before, behind) = argv.split_at((program + 1).min(argv.len()));
    let added = inserts
        .into_iter()
        .filter(|insert| !insert.unless.iter().any(|flag| has(behind, flag)))
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
/// `uvx`, `pipx run`, `python -m`, `node SCRIPT` and the like), not into shells and
/// containers.
pub fn of_command(argv: &[String]) -> Option<(&'static Preset, usize)> {
    let mut at = 0;
    loop {
        let word = argv.get(at)?;
        if let Some(preset) = by_program(word) {
            return Some((preset, at));
        }
        // Each starter is left behind, so that this ends.
        let starter = STARTERS
            .iter()
            .find(|starter| starter.is_called(file_name(word)))?;
        at = starter.behind(argv, at)?;
    }
}

/// A program that starts the one named behind it.
struct Starter {
    /// What it is called.
    names: Words,
    /// The words one of which has to follow, as in `pipx run`; empty: none.
    verbs: &'static [Words],
    /// Its flags that take a value.
    valued: Words,
    /// What else may stand before the program.
    also: Also,
}

/// What else may stand before a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Nothing,
    /// `NAME=value`, any number of them.
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
    Starter { names: &["stdbuf"], verbs: &[], valued: &["-i", "-o", "-e"], also: Also::Nothing },
    Starter { names: &["nohup", "setsid", "time"], verbs: &[], valued: &[], also: Also::Nothing },
    Starter { names: &["npx", "bunx", "pnpx"], verbs: &[], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["npm"], verbs: &[&["exec"], &["x"]], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["pnpm", "yarn"], verbs: &[&["dlx"], &["exec"]], valued: &["--package"], also: Also::Nothing },
    Starter { names: &["bun"], verbs: &[&["x"], &["run"]], valued: &[], also: Also::Nothing },
    Starter { names: &["uvx"], verbs: &[], valued: UV_VALUED, also: Also::Nothing },
    Starter { names: &["uv"], verbs: &[&["run"], &["tool", "run"]], valued: UV_VALUED, also: Also::Nothing },
    Starter { names: &["pipx"], verbs: &[&["run"]], valued: &["--spec", "--python", "--pip-args"], also: Also::Nothing },
    Starter { names: &["python"], verbs: &[], valued: &["-X", "-W"], also: Also::Nothing },
    Starter { names: &["node"], verbs: &[], valued: &["-r", "--require", "--import", "-C"], also: Also::Nothing },
];

const UV_VALUED: Words = &[
    "--from",
    "--with",
    "-w",
    "-p",
    "--python",
    "--project",
    "--directory",
    "--index-url",
];

impl Starter {
    fn is_called(&self, name: &str) -> bool {
        // `python3.12` is `python`.
        let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        self.names.contains(&name) || (plain == "python" && self.names.contains(&plain))
    }

    /// Returns the index of the word that names what it starts.
    fn behind(&self, argv: &[String], at: usize) -> Option<usize> {
        let mut next = at + 1;
        if !self.verbs.is_empty() {
            let rest = argv.get(next..)?;
            let is_next = |verb: &&Words| {
                verb.len() <= rest.len() && verb.iter().zip(rest).all(|(want, word)| want == word)
            };
            next += self.verbs.iter().find(is_next)?.len();
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
        let mut presets = PRESETS.iter();
        presets.find(|preset| preset.programs.contains(&name))
    };
    let inside = word.rsplit_once("node_modules/").map(|(_, inside)| inside);
    let package = inside.unwrap_or(word);
    if let Some(scoped) = package.strip_prefix('@') {
        let mut parts = scoped.split('/');
        let (scope, name) = (parts.next()?, parts.next()?);
        return find(&format!("@{scope}/{}", without_version(name)));
    }
    if let Some(inside) = inside.filter(|inside| !inside.starts_with(".bin/")) {
        return find(inside.split('/').next()?);
    }
    let (folder, name) = word.rsplit_once('/').unwrap_or(("bin", word));
    let name = without_version(name);
    // Short names are other programs too: `./pi` is one of the user's.
    let is_installed = matches!(file_name(folder), "bin" | ".bin");
    find(name).filter(|_| is_installed || name.len() > SHORT)
}

/// A name of so many letters tells an agent only where programs are installed.
const SHORT: usize = 4;

/// Cuts `@1.2.3`, `==1.2.3`, `[extra]` from the name of a package.
fn without_version(name: &str) -> &str {
    let mut parts = name.split(['@', '=', '[', '>', '<', '~']);
    parts.next().unwrap_or(name)
}

fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
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
}
