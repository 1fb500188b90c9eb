//! A stage that is a worktree of the user's git repository: real git, real kills.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use agentguard::drill::point::VARIABLE;

use crate::support::Sandbox;

const TASK: &str = "name: tree\n\
    agent: {command: [sh, ../agent.sh], cwd: app, protocol: none, grace: 1s}\n\
    workspace: {stage: app, git: true}\n";

/// Changes, adds and deletes, in files that git knows and in some that it ignores.
const AGENT: &str = "
set -e
git status --short > ../status.txt
git log -1 --format=%s >> ../status.txt
ls -A > ../listed.txt
echo two >> a.txt
rm fresh.txt
mkdir -p deep && echo n > deep/file
echo noise > own.log
[ ! -e ../fail ] || { git commit -qam wip; exit 3; }
";

/// Makes a repository with a commit, and work on top of it; `None` without git.
fn sandbox(task: &str) -> Option<Sandbox> {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox.write("agent.sh", AGENT);
    sandbox.write("app/a.txt", "one\n");
    sandbox.write("app/src/main.c", "m\n");
    sandbox.write("app/.gitignore", "node_modules/\n*.log\n");
    sandbox.write("app/node_modules/dep.js", "d\n");
    if Command::new("git").arg("--version").output().is_err() {
        println!("skipped: there is no git");
        return None;
    }
    git(&sandbox, &["init", "-q", "-b", "trunk"]);
    git(&sandbox, &["config", "user.email", "a@example.org"]);
    git(&sandbox, &["config", "user.name", "a"]);
    git(&sandbox, &["add", "-A"]);
    git(&sandbox, &["commit", "-q", "-m", "first"]);
    sandbox.write("app/src/main.c", "m\ndirty\n");
    sandbox.write("app/fresh.txt", "f\n");
    sandbox.write("app/old.log", "theirs\n");
    Some(sandbox)
}

fn git(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(words).current_dir(app(sandbox));
    command.env("HOME", sandbox.path().join("home"));
    let output = command.output().expect("git starts");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn app(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("app")
}

/// What a run that changed nothing must leave as it is.
fn repository(sandbox: &Sandbox) -> [String; 4] {
    [
        git(sandbox, &["status", "--short", "--ignored"]),
        git(sandbox, &["worktree", "list"]),
        git(sandbox, &["for-each-ref"]),
        git(sandbox, &["rev-parse", "HEAD"]),
    ]
}

fn assert_committed(sandbox: &Sandbox) {
    let status = git(sandbox, &["status", "--short"]);
    assert_eq!(status, " M a.txt\n M src/main.c\n?? deep/\n");
    assert_eq!(sandbox.read("app/a.txt"), "one\ntwo\n");
    assert_eq!(sandbox.read("app/old.log"), "theirs\n");
    assert!(!app(sandbox).join("own.log").exists());
    assert_eq!(git(sandbox, &["worktree", "list"]).lines().count(), 1);
    assert!(!app(sandbox).join(".git/worktrees").exists());
}

#[test]
fn the_agent_has_what_git_sees_and_its_files_come_back_uncommitted() {
    let Some(sandbox) = sandbox(TASK) else { return };
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        sandbox.read("status.txt"),
        " M src/main.c\n?? fresh.txt\nfirst\n"
    );
    assert_eq!(
        sandbox.read("listed.txt"),
        ".git\n.gitignore\na.txt\nfresh.txt\nsrc\n"
    );
    assert_committed(&sandbox);
    assert_eq!(git(&sandbox, &["branch", "--show-current"]), "trunk\n");
    let why = sandbox.run(&["why", "latest"]);
    assert!(why.stdout.contains("it is a worktree of git"), "{why:?}");
    let names = sandbox.run(&["diff", "latest", "--name-only"]).stdout;
    assert_eq!(names, "a.txt\ndeep\ndeep/file\nfresh.txt\n");
}

#[test]
fn a_run_that_fails_leaves_nothing_in_the_repository_once_its_copy_is_removed() {
    let Some(sandbox) = sandbox(TASK) else { return };
    sandbox.write("fail", "");
    let before = repository(&sandbox);
    for remove in [&["gc", "--stages-older-than", "0s"][..], &["rm", "latest"]] {
        assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 1);
        assert_eq!(git(&sandbox, &["worktree", "list"]).lines().count(), 2);
        let removed = sandbox.run(remove);
        assert_eq!(removed.code, 0, "{removed:?}");
        assert_eq!(repository(&sandbox), before, "{remove:?}");
        assert!(!app(&sandbox).join(".git/worktrees").exists());
    }
    // The agent's commit is nobody's any more.
    let lost = git(&sandbox, &["fsck", "--unreachable", "--no-reflogs"]);
    assert!(lost.contains("unreachable commit"), "{lost}");
}

#[test]
fn killed_while_it_is_made_or_committed_it_is_finished_by_a_resume() {
    for point in [
        "stage.made",
        "stage.filled",
        "staged.before_save",
        "agent_spawned.after_save",
        "commit_started.after_save",
        "commit.half",
        "commit.in_place",
        "committed.before_save",
        "committed.after_save",
    ] {
        let Some(sandbox) = sandbox(TASK) else { return };
        let killed = sandbox.run_with((VARIABLE, point), &["run", "task.yaml"]);
        assert_eq!(killed.code, 128 + 9, "{point}: {killed:?}");
        // What the agent had done before it was killed with its supervisor.
        sandbox.write(
            "agent.sh",
            &AGENT
                .replace("rm fresh", "rm -f fresh")
                .replace("echo two >>", "git show HEAD:a.txt > a.txt; echo two >>"),
        );
        let resumed = sandbox.run(&["resume", "latest"]);
        assert_eq!(resumed.code, 0, "{point}: {resumed:?}");
        assert_committed(&sandbox);
    }
}

#[test]
fn half_a_worktree_is_removed_with_its_run() {
    // As a `git worktree add` that was killed leaves it, and as one that was not.
    for is_half in [true, false] {
        let Some(sandbox) = sandbox(TASK) else { return };
        let before = repository(&sandbox);
        let killed = sandbox.run_with((VARIABLE, "stage.made"), &["run", "task.yaml"]);
        assert_eq!(killed.code, 128 + 9, "{killed:?}");
        if is_half {
            let records = fs::read_dir(app(&sandbox).join(".git/worktrees")).expect("a folder");
            let record = records
                .last()
                .expect("a worktree")
                .expect("an entry")
                .path();
            fs::remove_file(record.join("gitdir")).expect("it is there");
            fs::write(record.join("locked"), "initializing").expect("a file");
        }
        assert_eq!(sandbox.run(&["rm", "latest"]).code, 0);
        assert_eq!(repository(&sandbox), before);
        assert!(!app(&sandbox).join(".git/worktrees").exists());
    }
}

#[test]
fn a_program_that_git_ignores_is_found_from_the_copy() {
    let task = "agent: {command: [node_modules/agent, a.txt], protocol: none}\n\
                workspace: {stage: ., git: true}\n";
    let Some(sandbox) = sandbox(task) else { return };
    sandbox.write("app/task.yaml", task);
    let program = sandbox.write("app/node_modules/agent", "#!/bin/sh\necho two >> \"$1\"\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(program, mode).expect("a mode");
    let ran = sandbox.run(&["run", "app/task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("app/a.txt"), "one\ntwo\n");
}

#[test]
fn what_others_changed_or_git_ignored_there_is_a_conflict() {
    let Some(sandbox) = sandbox(TASK) else { return };
    for script in [
        // In the folder itself, behind the agent's back.
        "echo mine > a.txt; echo theirs > \"$FOLDER/a.txt\"",
        // A file that is ignored there and not in the copy.
        "echo > .gitignore; echo mine > old.log",
    ] {
        sandbox.write(
            "agent.sh",
            &format!("FOLDER='{}'\n{script}\n", app(&sandbox).display()),
        );
        let ran = sandbox.run(&["run", "task.yaml"]);
        assert_eq!(ran.code, 28, "{script}: {ran:?}");
        assert_eq!(sandbox.read("app/old.log"), "theirs\n");
    }
    assert_eq!(sandbox.read("app/a.txt"), "theirs\n");
}

#[test]
fn what_cannot_be_a_worktree_is_said_before_there_is_a_run() {
    let Some(sandbox) = sandbox(TASK) else { return };
    sandbox.write("plain/a.txt", "");
    fs::create_dir(sandbox.path().join("bin")).expect("a folder");
    let nowhere = sandbox.path().join("bin").to_string_lossy().into_owned();
    #[rustfmt::skip]
    let rows = [
        ("no repository", "{stage: plain, git: true}", None, "wants a git repository"),
        ("not its top", "{stage: app/src, git: true}", None, "wants the top of a git repository"),
        ("not there", "{stage: new, git: true}", None, "it is not there"),
        ("no git", "{stage: app, git: true}", Some(nowhere.as_str()), "`git` is not found"),
        ("no stage", "{git: true}", None, "stands without `stage`"),
        ("as a whole", "{stage: app, git: true, commit: exchange}", None, "cannot be `exchange`"),
    ];
    for (name, workspace, path, want) in rows {
        let task = format!("agent: {{command: ['true']}}\nworkspace: {workspace}\n");
        sandbox.write("task.yaml", &task);
        let ran = match path {
            Some(path) => sandbox.run_with(("PATH", path), &["run", "task.yaml"]),
            None => sandbox.run(&["run", "task.yaml"]),
        };
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        assert!(ran.stderr.contains(want), "{name}: {ran:?}");
        assert!(sandbox.run(&["runs"]).stdout.is_empty(), "{name}");
    }
}
