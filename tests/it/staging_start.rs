//! Where an agent with a staged folder starts, and what it finds from there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use agentguard::drill::point::VARIABLE;

use crate::staging::{Seen, app, chmod, leftovers, look};
use crate::support::{Ran, Sandbox, finish};

/// The task names no `cwd`; what it runs lies beside its file.
const TASK: &str = "agent: {command: [sh, agent.sh], protocol: none, grace: 1s}\n\
    workspace: {stage: app}\n";

/// Works by relative paths, and says where.
const AGENT: &str =
    "pwd > \"$OUT\"\necho two > a.txt\nmkdir -p app\necho x > app/x\n[ ! -e \"$OUT.fail\" ]\n";

fn sandbox(task: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("app/a.txt", "one\n");
    write_task(&sandbox, task);
    sandbox.write("agent.sh", AGENT);
    sandbox
}

fn write_task(sandbox: &Sandbox, task: &str) {
    let out = format!("env: {{OUT: '{}'}}, ", sandbox.path().join("out").display());
    sandbox.write(
        "task.yaml",
        &task.replacen("agent: {", &format!("agent: {{{out}"), 1),
    );
}

/// Where the agent was.
fn place(sandbox: &Sandbox) -> String {
    sandbox.read("out").trim().to_owned()
}

#[track_caller]
fn assert_done(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    assert!(!ran.stderr.contains("was edited"), "{ran:?}");
}

fn wanted() -> Seen {
    let sandbox = sandbox(TASK);
    assert_done(&sandbox.run(&["run", "task.yaml"]));
    look(&app(&sandbox))
}

#[test]
fn it_starts_in_the_copy_and_relative_paths_change_the_copy_alone() {
    let sandbox = sandbox(TASK);
    sandbox.write("out.fail", "");
    let before = look(&app(&sandbox));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(look(&app(&sandbox)), before);
    let stage = sandbox.path().join(&leftovers(&sandbox)[0]);
    assert_eq!(place(&sandbox), stage.to_string_lossy());
    let names = sandbox.run(&["diff", "latest", "--name-only"]).stdout;
    assert_eq!(names, "a.txt\napp\napp/x\n");

    fs::remove_file(sandbox.path().join("out.fail")).expect("it was there");
    // Not even one that turns up where the agent works is taken for the one beside.
    fs::write(stage.join("agent.sh"), "exit 9\n").expect("a file");
    assert_done(&sandbox.run(&["resume", "latest"]));
    assert_eq!(sandbox.read("app/a.txt"), "two\n");
    assert_eq!(sandbox.read("app/app/x"), "x\n");
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
}

#[test]
fn killed_at_any_point_it_goes_on_in_the_copy() {
    let want = wanted();
    for point in [
        "created.after_save",
        "stage.made",
        "stage.filled",
        "staged.after_save",
        "agent_spawned.after_save",
        "commit_started.after_save",
        "commit.in_place",
        "committed.after_save",
    ] {
        let sandbox = sandbox(TASK);
        let before = look(&app(&sandbox));
        let killed = sandbox.run_with((VARIABLE, point), &["run", "task.yaml"]);
        assert_eq!(killed.code, 128 + 9, "{point}: {killed:?}");
        let seen = look(&app(&sandbox));
        assert!(seen == before || seen == want, "{point}: {seen:?}");
        // From elsewhere: the folder of whoever resumes says nothing.
        let home = sandbox.path().join("home");
        let resumed = finish(sandbox.command(&["resume", "latest"]).current_dir(home));
        assert_done(&resumed);
        assert_eq!(look(&app(&sandbox)), want, "{point}");
        assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn words_that_are_paths_beside_the_task_file_are_found_from_the_copy() {
    #[rustfmt::skip]
    let rows = [
        // (row, command, which program and what it is given; `[DIR]` is the task file's folder)
        ("a program beside", "['./pro gram', x]", "beside x"),
        ("a file beside", "['./pro gram', data.txt]", "beside [DIR]/data.txt"),
        ("one that the copy has too", "['./pro gram', both.txt]", "beside both.txt"),
        ("a path into the copy", "[app/inner, app/a.txt]", "inner ./a.txt"),
        ("one that is not copied", "[app/skip/tool]", "tool"),
        ("a folder with a slash", "['./pro gram', ./folder]", "beside [DIR]/folder"),
        ("a word that is a folder's name", "['./pro gram', folder]", "beside folder"),
        ("from above the copy", "['../pro gram', ../data.txt]", "beside ../data.txt"),
        ("an option", "['./pro gram', --in=data.txt]", "beside --in=data.txt"),
        ("a new line", "['./pro gram', \"new\\nline\"]", "beside [DIR]/new\nline"),
        ("a name of a program", "[sh, '-c', 'echo sh $0 > \"$OUT\"', sh]", "sh sh"),
    ];
    for (name, command, want) in rows {
        let sandbox = sandbox("");
        write_task(
            &sandbox,
            &format!(
                "agent: {{command: {command}, protocol: none}}\n\
                 workspace: {{stage: app, exclude: [skip]}}\n"
            ),
        );
        for (says, program) in [
            ("beside", "pro gram"),
            ("inner", "app/inner"),
            ("tool", "app/skip/tool"),
        ] {
            let path = sandbox.write(
                program,
                &format!("#!/bin/sh\necho {says} \"$@\" > \"$OUT\"\n"),
            );
            chmod(&path, 0o755);
        }
        for file in [
            "data.txt",
            "both.txt",
            "app/both.txt",
            "folder/f",
            "new\nline",
        ] {
            sandbox.write(file, "");
        }
        let ran = sandbox.run(&["run", "task.yaml"]);
        assert_eq!(ran.code, 0, "row: {name}: {ran:?}");
        let want = want.replace("[DIR]", &sandbox.path().to_string_lossy());
        assert_eq!(place(&sandbox), want, "row: {name}");
    }
}

#[test]
fn tools_and_checks_do_as_the_agent() {
    let task = "agent: {command: [sh, agent.sh]}\n\
        workspace: {stage: app}\n\
        tools: {book: {command: [sh, tool.sh, '{n}'], effect: write, key: '{n}',\n\
        \x20 undo: {command: [sh, undo.sh], idempotent: true}}}\n\
        verify: [{name: one, command: [sh, check.sh]}, {name: two, file: booked.txt}]\n";
    let sandbox = sandbox(task);
    sandbox.write(
        "agent.sh",
        "agentguard tool book --arg n=7 && agentguard turn --done",
    );
    sandbox.write("tool.sh", "echo \"$1\" > booked.txt; basename \"$PWD\"");
    sandbox.write("undo.sh", "rm booked.txt");
    sandbox.write(
        "check.sh",
        "test -e booked.txt && test \"$PWD\" = \"${AGENTGUARD_WORKSPACE:-$PWD}\"",
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(sandbox.read("app/booked.txt"), "7\n");
    assert!(!sandbox.path().join("booked.txt").exists());
    // The checks alone, in the folder as it is.
    let verified = sandbox.run(&["verify", "task.yaml"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    // What is committed is taken back in the folder itself.
    let undone = sandbox.run(&["rollback", "latest", "--yes"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    assert!(!app(&sandbox).join("booked.txt").exists());
}

#[test]
fn replay_and_drill_work_in_copies_of_the_folder() {
    let task = "agent: {command: [sh, agent.sh]}\nworkspace: {stage: app}\n";
    let sandbox = sandbox(task);
    sandbox.write(
        "agent.sh",
        "echo again >> a.txt && agentguard turn --role assistant --content told --done",
    );
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    let then = look(&app(&sandbox));
    let replayed = sandbox.run(&["replay", "latest"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    let drilled = sandbox.run(&["drill", "task.yaml", "--fault", "crash"]);
    assert_eq!(drilled.code, 0, "{drilled:?}");
    assert!(drilled.stdout.contains("crash.staged"), "{drilled:?}");
    assert_eq!(look(&app(&sandbox)), then);
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_not_there_yet_is_entered_all_the_same() {
    let sandbox = sandbox(&TASK.replace("app", "new"));
    // Not by its real path.
    symlink(sandbox.path(), sandbox.path().join("home/link")).expect("a link");
    assert_done(&sandbox.run(&["run", "home/link/task.yaml"]));
    assert!(place(&sandbox).contains("/.new.agentguard-r-"));
    assert_eq!(sandbox.read("new/a.txt"), "two\n");
}

#[test]
fn a_named_folder_stays_what_it_is() {
    let beside = TASK.replace("protocol", "cwd: ., protocol");
    let sandbox = sandbox(&beside);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("is not in the staged folder"),
        "{ran:?}"
    );
    assert_eq!(place(&sandbox), sandbox.path().to_string_lossy());
    let checked = sandbox.run(&["check", "task.yaml"]);
    assert!(checked.stdout.contains("R702"), "{checked:?}");

    // Inside, `agent.sh` is that of the folder.
    let inside = TASK.replace("protocol", "cwd: app, protocol");
    write_task(&sandbox, &inside);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    fs::rename(
        sandbox.path().join("agent.sh"),
        app(&sandbox).join("agent.sh"),
    )
    .expect("a file");
    assert_done(&sandbox.run(&["run", "task.yaml"]));
    for cwd in ["app/..", "./app/.", "app"] {
        write_task(
            &sandbox,
            &TASK.replace("protocol", &format!("cwd: {cwd}, protocol")),
        );
        let checked = sandbox.run(&["check", "task.yaml"]);
        assert_eq!(
            checked.stdout.contains("R702"),
            cwd == "app/..",
            "{cwd}: {checked:?}"
        );
    }
}

#[test]
fn git_in_the_copy_is_not_led_to_the_repository_of_a_hook() {
    let git = |folder: &Path, words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]);
        command.arg("-C").arg(folder).args(words).output()
    };
    let copies = "agent: {command: [sh, agent.sh]}\nworkspace: {stage: app}\n";
    for more in ["", ", git: true"] {
        let sandbox = sandbox(&copies.replace("stage: app", &format!("stage: app{more}")));
        let folder = app(&sandbox);
        if git(&folder, &["init", "-q"]).is_err() {
            println!("skipped: there is no git");
            return;
        }
        for words in [&["add", "-A"][..], &["commit", "-qm", "first"]] {
            assert!(git(&folder, words).is_ok_and(|it| it.status.success()));
        }
        let asks = "env | grep -E '^GIT_(DIR|WORK_TREE|INDEX_FILE)=' >> \"$OUT\"\n";
        sandbox.write(
            "agent.sh",
            &format!(
                "{asks}echo two > a.txt\ngit add a.txt && git -c user.name=a -c user.email=a@b \
                 commit -qm wip || exit 4\nexit 3\n"
            ),
        );
        let state = || {
            let asked = [&["status", "--short"][..], &["log", "--oneline"]];
            asked.map(|words| git(&folder, words).expect("git starts").stdout)
        };
        let before = state();
        for args in [["run", "task.yaml"], ["resume", "latest"]] {
            let ran = finish(
                sandbox
                    .command(&args)
                    .env("GIT_DIR", folder.join(".git"))
                    .env("GIT_WORK_TREE", &folder)
                    .env("GIT_INDEX_FILE", folder.join(".git/index")),
            );
            // The commit is made anew by the resume, in the same copy: nothing to commit.
            assert!(matches!(ran.code, 1), "{more} {args:?}: {ran:?}");
        }
        assert_eq!(place(&sandbox), "", "{more}");
        assert_eq!(state(), before, "{more}");
    }
}
