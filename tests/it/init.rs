//! `agentguard init`

use agentguard::task::init::KINDS;
use snapbox::{assert_data_eq, str};

use crate::cli_support::{said, titled};
use crate::support::Sandbox;

#[test]
fn the_kinds_are_listed() {
    assert_data_eq!(
        said(&Sandbox::new(), &["init", "--list"], ""),
        str![[r#"
status 0
--- stdout
shell                  a loop in plain shell
python                 your own loop in Python
openai-sdk             a loop on the openai package
anthropic-sdk          a loop on the anthropic package
stdio                  a loop in any language, over stdin and stdout
gateway                an agent that knows nothing of agentguard
wrap                   any program as it is
--agent claude-code    Claude Code
--agent codex          Codex CLI
--agent gemini-cli     Gemini CLI
--agent opencode       opencode
--agent aider          aider
--agent mini-swe-agent mini-swe-agent
--agent qwen-code      Qwen Code
--agent pi             pi
--agent continue       Continue (cn)
--agent gptme          gptme
--agent openhands      OpenHands CLI
--agent vibe           Mistral Vibe
--agent llm            llm
--agent cline          Cline CLI
--- stderr

"#]]
    );
}

#[test]
fn every_kind_is_printed_and_passes_the_check() {
    let here = Sandbox::new();
    for kind in KINDS {
        let output = here.command(&["init", kind.name]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), kind.text);
        let checked = said(&here, &["check", "-"], kind.text);
        assert!(
            checked.starts_with("status 0\n"),
            "{}: {checked}",
            kind.name
        );
    }
}

#[test]
fn a_file_that_is_there_is_kept_unless_forced() {
    let here = Sandbox::new();
    let shown = titled([
        (
            "a new file",
            said(&here, &["init", "wrap", "-o", "task.yaml"], ""),
        ),
        (
            "again",
            said(&here, &["init", "shell", "-o", "task.yaml"], ""),
        ),
        (
            "no such folder",
            said(&here, &["init", "wrap", "-o", "no/task.yaml"], ""),
        ),
        ("no such kind", said(&here, &["init", "openai_sdk"], "")),
    ]);
    assert_data_eq!(
        shown,
        str![[r#"
== a new file
status 0
--- stdout
--- stderr
wrote task.yaml; next: agentguard check task.yaml

== again
status 2
--- stdout
--- stderr
error: `task.yaml` is there already; it was not changed
hint: give --force to overwrite it, or another file to -o

== no such folder
status 2
--- stdout
--- stderr
error: cannot write `no/task.yaml`
  because: No such file or directory (os error 2)

== no such kind
status 2
--- stdout
--- stderr
error: invalid value 'openai_sdk' for '[KIND]'
  [possible values: shell, python, openai-sdk, anthropic-sdk, stdio, gateway, wrap]

  tip: a similar value exists: 'openai-sdk'

For more information, try '--help'.


"#]]
    );
    assert_eq!(here.read("task.yaml"), kind("wrap"));
    said(&here, &["init", "shell", "-o", "task.yaml", "--force"], "");
    assert_eq!(here.read("task.yaml"), kind("shell"));
}

fn kind(name: &str) -> &'static str {
    KINDS.iter().find(|kind| kind.name == name).unwrap().text
}

#[test]
fn the_shell_template_runs_as_it_is() {
    let sandbox = Sandbox::new();
    let template = sandbox.run(&["init", "shell"]);
    sandbox.write("task.yaml", &template.stdout);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = sandbox.run(&["show", "latest", "--conversation"]).stdout;
    assert!(said.contains("task.yaml"), "{said}");
}
