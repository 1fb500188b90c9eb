//! The commands of a loop, inside a run and outside of one: status, stdout and
//! stderr of each, as one text.

use crate::support::{Sandbox, finish, masked};

const TASK: &str = "name: inside
agent: {command: [sh, loop.sh]}
limits: {cost_usd: 1, steps: 10}
tools:
  look:
    command: [echo, \"seen {what}\"]
    effect: read
    input: {type: object, properties: {what: {type: string}}, required: [what]}
";

/// Says what a command printed, line by line, and its status.
const SAY: &str = r#"
say() {
  echo "\$ $*"
  agentguard "$@" > out 2> err
  echo "status $?"
  sed 's/^/  /' out
  sed 's/^/! /' err
}
exec > said.txt
"#;

#[test]
fn what_a_loop_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", TASK);
    let script = r#"
say state --messages none
say state --get limits.cost_usd.left
say state --get note
say turn --role user --content hello --cost-usd 0.25
say state --messages 1 --get messages.0.content
say tool look --arg what=this
say tool look --arg wat=this
say tool lok --arg what=this
say tool look --arg what=that --json
say report bash --arg command=ls --exit-code 2 --result "ls: cannot access 'x': No such file or directory"
say turn --cost-usd=-1
say turn --role nobody --content hello
say turn --done --result fine
"#;
    sandbox.write("loop.sh", &format!("{SAY}{script}"));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = masked(&sandbox, &sandbox.read("said.txt"));
    snapbox::assert_data_eq!(
        said,
        snapbox::str![[r#"
$ state --messages none
status 0
  {"protocol":1,"run_id":"[RUN]","attempt":1,"step":0,"cause":"fresh","messages":[],"input":{"params":{}},"tools":[{"name":"look","description":"","input_schema":{"properties":{"what":{"type":"string"}},"required":["what"],"type":"object"},"effect":"read","available":true}],"limits":{"cost_usd":{"limit":1,"used":0,"left":1},"steps":{"limit":10,"used":0,"left":10}},"unfinished":[]}
$ state --get limits.cost_usd.left
status 0
  1
$ state --get note
status 0
$ turn --role user --content hello --cost-usd 0.25
status 0
$ state --messages 1 --get messages.0.content
status 0
  hello
$ tool look --arg what=this
status 0
  seen this
$ tool look --arg wat=this
status 1
  The tool `look` was not called, because its arguments do not fit:
  - `what` is missing, expected a string
  Correct them and call it again.
$ tool lok --arg what=this
status 1
  There is no tool `lok`. The tools are: look.
$ tool look --arg what=that --json
status 0
  {"call":4,"content":"seen that/n","is_error":false,"class":"success","output_path":"[DIR]/state/runs/[RUN]/calls/4.1.stdout","verdict":"go"}
$ report bash --arg command=ls --exit-code 2 --result ls: cannot access 'x': No such file or directory
status 0
  semantic
$ turn --cost-usd=-1
status 2
! error: `turn`: usage.cost_usd is "-1", expected an amount in US dollars from 0 to 1000000, such as 0.0123
$ turn --role nobody --content hello
status 0
$ turn --done --result fine
status 0

"#]]
    );
}

#[test]
fn outside_of_a_run_they_say_so() {
    let sandbox = Sandbox::new();
    for command in [
        &["turn", "--done"][..],
        &["tool", "look"],
        &["report", "bash"],
        &["state"],
    ] {
        let ran = finish(&mut sandbox.command(command));
        assert_eq!(ran.code, 2, "{command:?}: {ran:?}");
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            (
                "",
                "error: not inside a run: AGENTGUARD_SOCKET is not set\n\
                 hint: start the loop with `agentguard run TASK`; it sets the variable\n"
            ),
            "{command:?}"
        );
    }
}
