//! Locks on paths: who holds one, who waits, and what becomes of it with its holder.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{BINARY, Sandbox, wait_until};

fn sandbox(task: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox
}

#[test]
fn a_lock_keeps_others_away_until_its_holder_is_gone() {
    let sandbox = sandbox("agent: {command: ['true'], protocol: none}\n");
    let held = "echo $$ > holder; touch is-ready; exec sleep 60";
    let mut holder = sandbox
        .command(&["lock", "shared/db", "--", "sh", "-c", held])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the lock", || sandbox.path().join("is-ready").exists());

    let listed = sandbox.run(&["locks"]);
    assert!(listed.stdout.contains("shared/db"), "{listed:?}");
    assert!(
        listed.stdout.contains(&format!("process {}", holder.id())),
        "{listed:?}"
    );
    let busy = sandbox.run(&["lock", "--wait", "0s", "shared", "--", "true"]);
    assert_eq!(busy.code, 23, "{busy:?}");
    assert!(busy.stderr.contains("is locked by process"), "{busy:?}");
    assert_eq!(
        sandbox
            .run(&["lock", "--wait", "0s", "other", "--", "true"])
            .code,
        0
    );

    sandbox.write(
        "locked.yaml",
        "agent: {command: ['true'], protocol: none}\nworkspace: {lock: [shared/db], lock_wait: 100ms}\n",
    );
    let refused = sandbox.run(&["run", "locked.yaml"]);
    assert_eq!(refused.code, 23, "{refused:?}");
    assert!(
        refused.stderr.contains("is locked by process"),
        "{refused:?}"
    );
    assert_eq!(
        sandbox.run(&["resume", "latest"]).code,
        2,
        "there is no run"
    );

    holder.kill().expect("it runs");
    holder.wait().expect("it ended");
    let ran = sandbox.run(&["run", "locked.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        sandbox.run(&["locks", "--json"]).stdout,
        "{\"v\":1,\"locks\":[]}\n"
    );
    // What the lock's command left behind is not ours to end; this test is tidy.
    let pid = sandbox.read("holder");
    let _ = std::process::Command::new("kill").arg(pid.trim()).status();
}

#[test]
fn a_lock_is_passed_on_and_gives_the_exit_code() {
    let sandbox = sandbox("agent: {command: ['true'], protocol: none}\n");
    let mut first = sandbox
        .command(&[
            "lock",
            "x",
            "--",
            "sh",
            "-c",
            "touch is-ready; sleep 1; touch is-over",
        ])
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the lock", || sandbox.path().join("is-ready").exists());
    let second = sandbox.run(&["lock", "x", "--", "sh", "-c", "test -e is-over && exit 5"]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(first.wait().expect("it ends").success());
    assert_eq!(
        sandbox.run(&["lock", "x", "--", "no-such-program"]).code,
        127
    );
}

#[test]
fn what_the_agent_runs_is_within_the_locks_of_its_run() {
    let sandbox = sandbox(
        "agent: {command: [agentguard, lock, --wait, 0s, app/a.txt, --, touch, it-ran], protocol: none}\n\
         workspace: {lock: [app]}\n",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sandbox.path().join("it-ran").exists());
}

#[test]
fn a_holder_that_is_asked_to_end_ends_its_command_first() {
    let sandbox = sandbox("");
    let held =
        "trap 'echo asked > asked; exit 4' TERM; touch is-ready; while :; do sleep 0.05; done";
    let mut holder = sandbox
        .command(&["lock", "x", "--", "sh", "-c", held])
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the lock", || sandbox.path().join("is-ready").exists());
    kill_process(Pid::from_child(&holder), Signal::TERM).expect("it runs");
    assert_eq!(holder.wait().expect("it ends").code(), Some(4));
    assert_eq!(sandbox.read("asked"), "asked\n");
}

#[test]
fn a_holder_that_is_killed_takes_its_command_with_it() {
    let sandbox = sandbox("");
    let mut holder = sandbox
        .command(&[
            "lock",
            "x",
            "--",
            "sh",
            "-c",
            "echo $$ > holder; exec sleep 60",
        ])
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the lock", || sandbox.read("holder").ends_with('\n'));
    holder.kill().expect("it runs");
    holder.wait().expect("it ended");
    let pid: i32 = sandbox.read("holder").trim().parse().expect("a number");
    let pid = Pid::from_raw(pid).expect("a process");
    let is_gone = || rustix::process::test_kill_process(pid).is_err();
    wait_until(60, "the end of the command", is_gone);
    assert_eq!(
        sandbox
            .run(&["lock", "--wait", "0s", "x", "--", "true"])
            .code,
        0
    );
}

#[test]
fn what_a_command_runs_is_within_its_lock_and_others_are_told_to_wait() {
    let sandbox = sandbox("");
    let inner = format!(
        "{BINARY} lock --wait 0s x/part -- sh -c '{BINARY} lock --wait 0s x -- echo inside'"
    );
    let ran = sandbox.run(&["lock", "x", "--", "sh", "-c", &inner]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "inside\n"), "{ran:?}");
    // Beside each other they are not.
    let both = format!(
        "{BINARY} lock x -- sh -c 'touch first; sleep 1; rm first' & \
         while [ ! -e first ]; do sleep 0.02; done; \
         {BINARY} lock x -- sh -c 'test ! -e first && echo after'; wait"
    );
    let ran = sandbox.run(&["lock", "x", "--", "sh", "-c", &both]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "after\n"), "{ran:?}");
    assert!(ran.stderr.contains("waiting: "), "{ran:?}");
}

#[test]
fn a_run_says_for_whom_it_waits() {
    let sandbox = sandbox(
        "agent: {command: ['true'], protocol: none}\nworkspace: {lock: [x], lock_wait: 20s}\n",
    );
    let mut holder = sandbox
        .command(&["lock", "x", "--", "sh", "-c", "touch is-ready; sleep 1"])
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the lock", || sandbox.path().join("is-ready").exists());
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("waiting: ") && ran.stderr.contains("is locked by"),
        "{ran:?}"
    );
    assert!(holder.wait().expect("it ends").success());
}
