//! MCP servers and clients that are not ours, with the proxy between them, and agents
//! that get the task's tools from `agentguard mcp serve`.
//!
//! They come from npm and PyPI. `AGENTGUARD_AGENTS` says what is run, as in `agents`:
//! `cheap` is one server and one client, `all` is all of them; a name of a test's own
//! (`mcp`, `mcp-npm`, `mcp-agents`) runs that one. What cannot be had is SKIPPED.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::agents::install::{Package, install};
use crate::support::mcp_client::{Client, text};
use crate::support::model::Upstream;
use crate::support::{BINARY, Ran, Sandbox, finish};

const PYTHON: (&str, &str, Package) = (
    "mcp-python",
    "2.3.0",
    Package::Python(&["mcp==2.3.0", "mcp-server-time==2026.10.19"]),
);
const FASTMCP: (&str, &str, Package) = ("fastmcp", "4.1.2", Package::Python(&["fastmcp==4.1.2"]));
const FILES: (&str, &str, Package) = (
    "mcp-server-filesystem",
    "2026.8.31",
    Package::Npm("@modelcontextprotocol/server-filesystem"),
);
const EVERYTHING: (&str, &str, Package) = (
    "mcp-server-everything",
    "2026.8.31",
    Package::Npm("@modelcontextprotocol/server-everything"),
);
const INSPECTOR: (&str, &str, Package) = (
    "mcp-inspector",
    "2.12.0",
    Package::Npm("@modelcontextprotocol/inspector"),
);
const CLAUDE: (&str, &str, Package) = (
    "claude-code",
    "2.1.330",
    Package::Npm("@anthropic-ai/claude-code"),
);
const CODEX: (&str, &str, Package) = ("codex", "0.169.0", Package::Npm("@openai/codex"));

/// Tells whether a test is asked for; says so where it is not.
fn is_asked(name: &str, is_cheap: bool) -> bool {
    let wanted = std::env::var("AGENTGUARD_AGENTS").unwrap_or_default();
    let is_asked =
        wanted == "all" || wanted == "cheap" && is_cheap || wanted.split(',').any(|it| it == name);
    if !is_asked {
        say(&format!(
            "SKIPPED {name}: AGENTGUARD_AGENTS=all or {name} runs it"
        ));
    }
    is_asked
}

/// Returns the folder of a package's programs, unless it cannot be had.
fn programs(wanted: &(&str, &str, Package)) -> Option<PathBuf> {
    match install(wanted.0, wanted.1, &wanted.2) {
        Ok(folder) => Some(folder),
        Err(why) => {
            say(&format!("SKIPPED {}: it cannot be had: {why}", wanted.0));
            None
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "mcp: {text}");
}

const TASK: &str = r#"
name: others
agent: {command: [none]}
limits: {tool_calls: 50, deadline: 5m}
mcp:
  s:
    default: {effect: read}
    tools:
      get_current_time: {key: "time:{timezone}"}
      echo: {key: "echo:{message}"}
      write_file: {key: "write:{path}"}
"#;

/// The command line of the proxy before `server`, in a run of its own.
fn before(server: &Path) -> Vec<String> {
    let words = ["mcp", "proxy", "--task", "task.yaml", "--name", "s", "--"];
    let server = server.to_string_lossy().into_owned();
    let words = words.iter().map(|word| (*word).to_owned());
    [BINARY.to_owned()]
        .into_iter()
        .chain(words)
        .chain([server])
        .collect()
}

/// Runs a client of ours on an SDK that is not; returns its lines.
fn with_sdk(
    sandbox: &Sandbox,
    python: &Path,
    sdk: &str,
    tool: &str,
    args: &str,
    server: &[String],
) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mcp/sdk_client.py");
    let mut command = Command::new(python.join("python3"));
    command.arg(script).args([sdk, tool, args]).args(server);
    let ran = finish(surrounded(sandbox, &mut command));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

fn surrounded<'a>(sandbox: &Sandbox, command: &'a mut Command) -> &'a mut Command {
    command
        .current_dir(sandbox.path())
        .env("AGENTGUARD_STATE", sandbox.state())
        .env("HOME", sandbox.path().join("home"))
}

/// Two equal calls are one: the second is answered from the record.
fn assert_guarded(sandbox: &Sandbox, lines: &[String], tool: &str) {
    assert!(lines[0].split(' ').any(|name| name == tool), "{lines:?}");
    assert!(lines[1].starts_with("False "), "{lines:?}");
    assert_eq!(lines[1], lines[2], "{lines:?}");
    let report = sandbox.report();
    assert_eq!(report["status"], "done", "{report}");
    assert_eq!(report["tool_calls"], 1, "{report}");
}

#[test]
fn a_server_and_a_client_of_the_official_sdk() {
    if !is_asked("mcp", true) {
        return;
    }
    let Some(python) = programs(&PYTHON) else {
        return;
    };
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    let server = before(&python.join("mcp-server-time"));
    let args = r#"{"timezone": "Europe/Oslo"}"#;
    let lines = with_sdk(&sandbox, &python, "mcp", "get_current_time", args, &server);
    assert_guarded(&sandbox, &lines, "get_current_time");
}

#[test]
fn servers_and_clients_from_npm_and_fastmcp() {
    if !is_asked("mcp-npm", false) {
        return;
    }
    let found = (
        programs(&PYTHON),
        programs(&FASTMCP),
        programs(&EVERYTHING),
        programs(&FILES),
        programs(&INSPECTOR),
    );
    let (Some(python), Some(fastmcp), Some(everything), Some(files), Some(inspector)) = found
    else {
        return;
    };
    let server = before(&everything.join("mcp-server-everything"));
    for (sdk, python) in [("mcp", &python), ("fastmcp", &fastmcp)] {
        let sandbox = Sandbox::new();
        sandbox.write("task.yaml", TASK);
        let lines = with_sdk(
            &sandbox,
            python,
            sdk,
            "echo",
            r#"{"message": "m"}"#,
            &server,
        );
        assert_guarded(&sandbox, &lines, "echo");
    }
    // The filesystem server asks its client for roots, under an id that it uses too.
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    sandbox.write("shared/a.txt", "in the file");
    let mut words = before(&files.join("mcp-server-filesystem"));
    words.push(sandbox.path().join("shared").to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    let mut client = Client::start(surrounded(&sandbox, &mut command));
    client.initialize();
    let path = sandbox
        .path()
        .join("shared/a.txt")
        .to_string_lossy()
        .into_owned();
    let read = client.call("read_text_file", &json!({"path": path}));
    assert_eq!(text(&read), "in the file");
    let new = sandbox
        .path()
        .join("shared/b.txt")
        .to_string_lossy()
        .into_owned();
    for content in ["first", "second"] {
        client.call("write_file", &json!({"path": new, "content": content}));
    }
    assert_eq!(sandbox.read("shared/b.txt"), "first");
    assert_eq!(client.end(), 0);
    // The inspector, on its command line.
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    // It takes what stands behind two dashes for its own, and lets no variable of ours through.
    let state = sandbox.state();
    let state = state.display();
    let words: Vec<String> = server.iter().map(|word| format!("'{word}'")).collect();
    let script = sandbox.write(
        "server.sh",
        &format!("AGENTGUARD_STATE='{state}' exec {}\n", words.join(" ")),
    );
    let script = script.to_string_lossy().into_owned();
    let mut command = Command::new(inspector.join("mcp-inspector"));
    command.args(["--cli", "sh", &script, "--method", "tools/call"]);
    command.args(["--tool-name", "echo", "--tool-arg", "message=m"]);
    let ran = finish(surrounded(&sandbox, &mut command));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Echo: m"), "{ran:?}");
    assert_eq!(sandbox.report()["tool_calls"], 1);
}

/// The model calls a tool of the task that its agent has from `mcp serve`, twice, and
/// one of a server behind the proxy.
const SCRIPT: &str = r#"
usage: {input: 1000, output: 1}
price: {input: 3, output: 0.15}
turns:
  - call: {tool: mcp__agentguard__charge, args: {order: o17}}
  - expect: charged o17
    call: {tool: mcp__agentguard__charge, args: {order: o17}}
  - expect: charged o17
    call: {tool: mcp__notes__note, args: {text: n1}}
  - expect: noted n1
    say: Done.
"#;

/// Runs an agent whose model answers from `script`; returns what is left of it.
fn with_agent(
    name: &str,
    wanted: &(&str, &str, Package),
    command: &[&str],
    model: &str,
    script: &str,
) -> Option<Sandbox> {
    let folder = programs(wanted)?;
    let upstream = Upstream::start(script);
    let sandbox = Sandbox::new();
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mcp/server.py");
    let proxy = json!(["mcp", "proxy", "--name", "notes", "--", "python3", server]);
    sandbox.write(
        "work/servers.json",
        &json!({"mcpServers": {"notes": {"command": BINARY, "args": proxy}}}).to_string(),
    );
    let fill = |word: &str| {
        let word = word.replace("{binary}", BINARY);
        let word = word.replace("{proxy}", &proxy.to_string());
        word.replace("{work}", &sandbox.path().join("work").to_string_lossy())
    };
    let task = json!({
        "name": name,
        "agent": {"preset": name, "command": command.iter().map(|word| fill(word)).collect::<Vec<_>>(), "cwd": "work", "grace": "2s",
            // Else Claude Code keeps the tools of servers behind a search.
            "env": {"ENABLE_TOOL_SEARCH": "auto"}},
        "input": {"prompt": "Charge order o17, then note n1."},
        "limits": {"cost_usd": 90, "deadline": "150s", "tool_calls": 10},
        "prices": {model: {"input": 3, "output": 0.15}, "*": {"input": 3, "output": 0.15}},
        "tools": {"charge": {
            "description": "Charges an order.",
            "command": ["sh", "-c", "echo \"$0\" >> charges.txt; echo charged \"$0\"", "{order}"],
            "effect": "irreversible", "key": "charge:{order}",
            "input": {"properties": {"order": {"type": "string"}}, "required": ["order"]},
        }},
        "mcp": {"notes": {"tools": {"note": {"key": "note:{text}"}}}},
    });
    sandbox.write("task.yaml", &task.to_string());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&path)));
    let mut command = sandbox.command(&["run", "task.yaml"]);
    command
        .env("PATH", path.expect("it was split before"))
        .env("ANTHROPIC_BASE_URL", upstream.url())
        .env("OPENAI_BASE_URL", format!("{}/v1", upstream.url()))
        .env("ANTHROPIC_API_KEY", "the-real-key")
        .env("OPENAI_API_KEY", "the-real-key");
    let ran: Ran = finish(&mut command);
    let why = || format!("{ran:?}\n{}", sandbox.run(&["why", "latest"]).stdout);
    assert_eq!(ran.code, 0, "{}", why());
    Some(sandbox)
}

#[test]
fn claude_code_gets_the_tools_of_the_task() {
    if !is_asked("mcp-agents", false) {
        return;
    }
    #[rustfmt::skip]
    let command = ["claude", "-p", "{prompt}", "--dangerously-skip-permissions", "--output-format", "json",
        "--mcp-config={work}/servers.json"];
    let Some(sandbox) = with_agent("claude-code", &CLAUDE, &command, "claude-opus-5-5", SCRIPT)
    else {
        return;
    };
    assert_eq!(sandbox.read("work/charges.txt"), "o17\n");
    assert_eq!(sandbox.read("work/ledger.txt"), "note n1\n");
    // The call that was answered from the record is none; nor is one counted twice.
    let report: Value = sandbox.report();
    assert_eq!(report["tool_calls"], 2, "{report}");
    say("claude-code: charged once, noted once");
}

/// Its tools are in namespaces, which a scripted model does not know: that it connects
/// is what is shown.
#[test]
fn codex_reaches_a_server_behind_the_proxy() {
    if !is_asked("mcp-agents", false) {
        return;
    }
    #[rustfmt::skip]
    let command = ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json",
        "-m", "gpt-5-codex", "-c", "web_search=\"disabled\"",
        "-c", "mcp_servers.notes.command=\"{binary}\"", "-c", "mcp_servers.notes.args={proxy}",
        "-c", "mcp_servers.notes.env_vars=[\"AGENTGUARD_SOCKET\"]", "{prompt}"];
    let script =
        "usage: {input: 1000, output: 1}\nprice: {input: 3, output: 0.15}\nturns: [{say: Done.}]\n";
    let Some(sandbox) = with_agent("codex", &CODEX, &command, "gpt-5-codex", script) else {
        return;
    };
    assert!(sandbox.read("work/server.log").contains("tools/list"));
}
