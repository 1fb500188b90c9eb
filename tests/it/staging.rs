//! A staged folder: nothing appears in it before the work is done, then all of it
//! does; whatever happens meanwhile. Real processes, real files, real kills.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agentguard::drill::point::{Between, Boundary, Point, Side, VARIABLE};

use crate::support::tmpfs::Tmpfs;
use crate::support::{Ran, Sandbox, finish, wait_until};

/// A task whose agent is `agent.sh`, in the staged folder `app`.
pub fn task(more: &str, workspace: &str) -> String {
    format!(
        "name: staged\nagent: {{command: [sh, ../agent.sh], cwd: app, protocol: none, grace: 1s}}\n\
         workspace: {{stage: app{workspace}}}\n{more}"
    )
}

/// Changes, adds, deletes, links; says where it was.
const AGENT: &str = r#"
set -e
pwd > ../where.txt
printf '%s\n' "$AGENTGUARD_WORKSPACE" >> ../where.txt
echo two > a.txt
rm -r old
mkdir -p fresh/deep && echo new > fresh/deep/file.txt
chmod 700 run.sh
ln -sf run.sh link
echo x > 'sp ace'
[ ! -e ../fail ] || { echo "told to fail" >&2; exit 3; }
"#;

pub fn sandbox(task: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", task);
    sandbox.write("agent.sh", AGENT);
    sandbox.write("app/a.txt", "one\n");
    sandbox.write("app/old/gone.txt", "o\n");
    sandbox.write("app/run.sh", "#!/bin/sh\n");
    sandbox.write("app/new\nline", "n\n");
    sandbox.write("app/keep/b.txt", "b\n");
    fs::write(app(&sandbox).join(OsStr::from_bytes(b"raw-\xff")), "r").expect("a file");
    symlink("a.txt", app(&sandbox).join("link")).expect("a link");
    chmod(&app(&sandbox).join("run.sh"), 0o755);
    sandbox
}

pub fn app(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("app")
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// Every path with its mode and content.
pub type Seen = BTreeMap<PathBuf, (u32, Vec<u8>)>;

pub fn look(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let mut mode = metadata.mode() & 0o7777;
            let content = if metadata.is_dir() {
                folders.push(path.clone());
                b"folder".to_vec()
            } else if metadata.is_symlink() {
                mode = 0;
                let to = fs::read_link(&path).expect("a link");
                to.as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).expect("a file")
            };
            let inside = path.strip_prefix(root).expect("it is below");
            seen.insert(inside.to_owned(), (mode, content));
        }
    }
    seen
}

/// The names beside the staged folder that are not the test's.
pub fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    let names = fs::read_dir(sandbox.path()).expect("a folder");
    let names = names.map(|it| {
        it.expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|name| name.contains(".agentguard-")).collect()
}

/// What the target is after a run that nobody disturbed.
fn wanted() -> Seen {
    let sandbox = sandbox(&task("", ""));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    look(&app(&sandbox))
}

#[test]
fn the_change_appears_when_the_work_is_done() {
    let sandbox = sandbox(&task(
        "verify: [{name: made, script: 'test -e fresh/deep/file.txt && pwd > ../checked.txt'}]\n",
        "",
    ));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let committed = "files: 2 added, 3 changed, 1 deleted";
    assert!(ran.stderr.contains(committed), "{ran:?}");

    let seen = look(&app(&sandbox));
    assert_eq!(seen[Path::new("a.txt")].1, b"two\n");
    assert_eq!(seen[Path::new("run.sh")].0, 0o700);
    assert_eq!(seen[Path::new("link")].1, b"run.sh");
    assert_eq!(seen[Path::new("new\nline")].1, b"n\n");
    assert!(!seen.contains_key(Path::new("old")));
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());

    // Agent and checks were in the copy.
    let places = sandbox.read("where.txt");
    let places: Vec<_> = places.lines().collect();
    assert_eq!(places[0], places[1]);
    assert!(places[0].contains("/.app.agentguard-r-"), "{places:?}");
    assert_eq!(sandbox.read("checked.txt").trim(), places[0]);

    let report = sandbox.report();
    assert_eq!(report["workspace"]["committed"]["added"], 2, "{report}");
    assert_eq!(report["verified"], true);
    let show = sandbox.run(&["show", "latest"]);
    assert!(show.stdout.contains(committed), "{show:?}");
    let why = sandbox.run(&["why", "latest"]);
    assert!(why.stdout.contains("commit.exchange"), "{why:?}");

    let diff = sandbox.run(&["diff"]);
    assert!(diff.stdout.contains("-one\n+two\n"), "{diff:?}");
    assert!(
        diff.stdout.contains("file run.sh: mode 0755 is now 0700\n"),
        "{diff:?}"
    );
    let names = sandbox.run(&["diff", "latest", "--name-only"]);
    assert!(names.stdout.contains("fresh/deep/file.txt\n"), "{names:?}");
    let stat = sandbox.run(&["diff", "latest", "--stat"]);
    assert!(
        stat.stdout.contains("modified  +1 -1         a.txt\n"),
        "{stat:?}"
    );
    let json = sandbox.run(&["diff", "latest", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(
        (&json["state"], &json["added"]),
        (&"committed".into(), &2.into())
    );
}

#[test]
fn the_diff_is_one_that_git_can_apply() {
    let before = sandbox(&task("", ""));
    let after = sandbox(&task("", ""));
    assert_eq!(after.run(&["run", "task.yaml"]).code, 0);
    let patch = after.run(&["diff"]).stdout;
    before.write("change.patch", &patch);
    let applied = std::process::Command::new("git")
        .args(["apply", "--unsafe-paths", "../change.patch"])
        .current_dir(app(&before))
        .output();
    let Ok(applied) = applied else {
        println!("skipped: there is no git");
        return;
    };
    assert!(applied.status.success(), "{applied:?}\n{patch}");
    let content = |seen: Seen| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = seen
            .into_iter()
            .filter(|(_, (_, content))| content != b"folder");
        files.map(|(path, (_, content))| (path, content)).collect()
    };
    assert_eq!(content(look(&app(&before))), content(look(&app(&after))));
}

#[test]
fn a_run_that_fails_leaves_no_trace_and_goes_on_where_it_was() {
    let sandbox = sandbox(&task("", ""));
    sandbox.write("fail", "");
    let before = look(&app(&sandbox));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(look(&app(&sandbox)), before);
    let stage = leftovers(&sandbox);
    assert_eq!(stage.len(), 1);
    let diff = sandbox.run(&["diff", "latest"]);
    assert!(diff.stdout.contains("-one\n+two\n"), "{diff:?}");

    // Only in the stage: the agent finds it again.
    sandbox.write(&format!("{}/of-before.txt", stage[0]), "kept");
    fs::create_dir(sandbox.path().join(&stage[0]).join("old")).expect("a folder");
    fs::remove_file(sandbox.path().join("fail")).expect("it was there");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(sandbox.read("app/of-before.txt"), "kept");
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
}

#[test]
fn work_that_the_checks_reject_stays_out() {
    let checks = "verify: {rounds: 0, checks: [{name: no, command: ['false']}]}\n";
    let sandbox = sandbox(&task(checks, ""));
    let before = look(&app(&sandbox));
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 24, "{ran:?}");
    assert_eq!(look(&app(&sandbox)), before);
}

#[test]
fn stages_are_removed_with_their_runs_or_alone() {
    let sandbox = sandbox(&task("", ""));
    sandbox.write("fail", "");
    let before = look(&app(&sandbox));
    for remove in [
        &["rm", "latest"][..],
        &["gc", "--older-than", "0s"],
        &["gc", "--stages-older-than", "0s"],
    ] {
        assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 1);
        assert_eq!(leftovers(&sandbox).len(), 1, "{remove:?}");
        let removed = sandbox.run(remove);
        assert_eq!(removed.code, 0, "{removed:?}");
        assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{remove:?}");
    }
    // A run killed while it was staging or working.
    for point in ["staged.before_save", "agent_spawned.after_save"] {
        let killed = sandbox.run_with((VARIABLE, point), &["run", "task.yaml"]);
        assert_eq!(killed.code, 128 + 9, "{killed:?}");
        assert_eq!(leftovers(&sandbox).len(), 1, "{point}");
        assert_eq!(sandbox.run(&["rm", "latest"]).code, 0);
        assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{point}");
    }
    assert_eq!(look(&app(&sandbox)), before);
}

/// An agent that does its work, then waits for the test.
const WAITING: &str = r#"
echo two > a.txt
echo m > mine.txt
touch ../is-ready
while [ ! -e ../go-on ]; do sleep 0.02; done
"#;

/// Runs the task; `meanwhile` is done while the agent waits.
fn with_others(sandbox: &Sandbox, meanwhile: impl FnOnce()) -> Ran {
    sandbox.write("agent.sh", WAITING);
    let mut command = sandbox.command(&["run", "task.yaml"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the binary starts");
    wait_until(60, "the agent", || sandbox.path().join("is-ready").exists());
    meanwhile();
    sandbox.write("go-on", "");
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn what_others_add_meanwhile_is_kept() {
    for way in ["exchange", "files"] {
        let sandbox = sandbox(&task("", &format!(", commit: {way}")));
        let ran = with_others(&sandbox, || {
            sandbox.write("app/theirs/new.txt", "t");
            fs::remove_file(app(&sandbox).join("keep/b.txt")).expect("it was there");
        });
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(sandbox.read("app/theirs/new.txt"), "t", "{way}");
        assert_eq!(sandbox.read("app/mine.txt"), "m\n", "{way}");
        assert!(!app(&sandbox).join("keep/b.txt").exists(), "{way}");
    }
}

#[test]
fn a_path_that_others_changed_too_is_a_conflict_and_nothing_is_written() {
    let sandbox = sandbox(&task("", ""));
    let ran = with_others(&sandbox, || drop(sandbox.write("app/a.txt", "theirs\n")));
    assert_eq!(ran.code, 28, "{ran:?}");
    assert!(
        ran.stderr.contains("changed by others meanwhile: a.txt"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("agentguard diff"), "{ran:?}");
    assert_eq!(sandbox.read("app/a.txt"), "theirs\n");
    assert!(!app(&sandbox).join("mine.txt").exists());
    assert_eq!(sandbox.report()["status"], "conflict");

    // Still there: refused again, without the agent.
    fs::remove_file(sandbox.path().join("is-ready")).expect("it was there");
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 28);
    // Resolved: the agent's side is taken.
    sandbox.write("app/a.txt", "one\n");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(sandbox.read("app/a.txt"), "two\n");
    assert!(
        !sandbox.path().join("is-ready").exists(),
        "the agent was started again"
    );
}

#[test]
fn somebody_in_the_folder_keeps_it_from_being_exchanged() {
    let sandbox = sandbox(&task("", ""));
    let inode = fs::metadata(app(&sandbox)).expect("a folder").ino();
    let mut command = sandbox.command(&["run", "../task.yaml"]);
    let ran = finish(command.current_dir(app(&sandbox)));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("has its working folder in it"),
        "{ran:?}"
    );
    assert_eq!(fs::metadata(app(&sandbox)).expect("a folder").ino(), inode);
    assert_eq!(look(&app(&sandbox)), wanted());
}

#[test]
fn killed_at_every_fault_point_the_folder_is_the_old_or_the_new_one() {
    let want = wanted();
    let boundaries = [
        Boundary::Staged,
        Boundary::CommitStarted,
        Boundary::Committed,
    ];
    let saves = boundaries
        .iter()
        .flat_map(|boundary| Side::ALL.map(|side| Point(*boundary, side).to_string()));
    let points = saves.chain(Between::ALL.map(|moment| moment.as_str().to_owned()));
    let mut killed = 0;
    for point in points {
        for way in ["exchange", "files"] {
            if (way, point.as_str()) == ("exchange", Between::CommitHalf.as_str()) {
                // There is no half of one system call.
                continue;
            }
            let sandbox = sandbox(&task("", &format!(", commit: {way}")));
            let before = look(&app(&sandbox));
            let first = sandbox.run_with((VARIABLE, &point), &["run", "task.yaml"]);
            assert_eq!(first.code, 128 + 9, "{point} {way}: {first:?}");
            killed += 1;
            let seen = look(&app(&sandbox));
            // Half of it is seen only where there is no exchange, until it is resumed.
            let is_half = point == Between::CommitHalf.as_str();
            assert!(
                is_half || seen == before || seen == want,
                "{point} {way}: {seen:?}"
            );
            let resumed = sandbox.run(&["resume", "latest"]);
            assert_eq!(resumed.code, 0, "{point} {way}: {resumed:?}");
            assert_eq!(look(&app(&sandbox)), want, "{point} {way}");
            assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{point} {way}");
            assert_eq!(sandbox.report()["status"], "done", "{point} {way}");
        }
    }
    assert!(killed >= 20, "only {killed} points were reached");
}

#[test]
fn killed_in_the_resume_of_a_commit_it_still_ends_right() {
    let want = wanted();
    for (way, then) in [
        ("exchange", "committed.before_save"),
        ("files", "commit.in_place"),
        ("files", "committed.after_save"),
    ] {
        let first = if way == "files" {
            "commit.half"
        } else {
            "commit.in_place"
        };
        let sandbox = sandbox(&task("", &format!(", commit: {way}")));
        assert_eq!(
            sandbox
                .run_with((VARIABLE, first), &["run", "task.yaml"])
                .code,
            128 + 9
        );
        let second = sandbox.run_with((VARIABLE, then), &["resume", "latest"]);
        assert_eq!(second.code, 128 + 9, "{way}: {second:?}");
        assert_eq!(sandbox.run(&["resume", "latest"]).code, 0);
        assert_eq!(look(&app(&sandbox)), want, "{way}");
        assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{way}");
    }
}

/// Ten thousand files, killed with the folders exchanged and nobody told.
#[test]
fn a_tree_of_ten_thousand_files() {
    let sandbox = sandbox(&task("", ""));
    for number in 0..10_000 {
        let folder = app(&sandbox).join(format!("many/{:02}", number % 100));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(
            folder.join(format!("{number}.txt")),
            format!("file {number}\n"),
        )
        .expect("a file");
    }
    sandbox.write(
        "agent.sh",
        "rm -r many/07; for it in many/*; do echo new > $it/0.txt; done\n",
    );
    let before = look(&app(&sandbox));
    let killed = sandbox.run_with(
        (VARIABLE, "commit_started.after_save"),
        &["run", "task.yaml"],
    );
    assert_eq!(killed.code, 128 + 9, "{killed:?}");
    assert_eq!(look(&app(&sandbox)), before);
    let killed = sandbox.run_with((VARIABLE, "commit.in_place"), &["resume", "latest"]);
    assert_eq!(killed.code, 128 + 9, "{killed:?}");
    let after = look(&app(&sandbox));
    assert_eq!(sandbox.run(&["resume", "latest"]).code, 0);
    assert_eq!(look(&app(&sandbox)), after);
    assert!(!after.contains_key(Path::new("many/07")));
    assert_eq!(after[Path::new("many/08/0.txt")].1, b"new\n");
    assert_eq!(after.len(), before.len() - 101 + 98, "one was there before");
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
}

#[test]
fn a_full_disk_leaves_the_folder_as_it_was() {
    let sandbox = sandbox(&task("", ""));
    let disk = sandbox.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let Some(mounted) = Tmpfs::mount(&disk, "size=4m") else {
        return;
    };
    let app = disk.join("app");
    fs::create_dir(&app).expect("a folder");
    fs::write(app.join("big.bin"), vec![7; 2_500_000]).expect("a file");
    sandbox.write(
        "task.yaml",
        "agent: {command: [sh, agent.sh], protocol: none}\nworkspace: {stage: disk/app}\n",
    );
    sandbox.write(
        "agent.sh",
        "cd \"$AGENTGUARD_WORKSPACE\" && echo small > small.txt\n",
    );
    let before = look(&app);

    // No room for the copy.
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(ran.stderr.contains("not enough room to stage"), "{ran:?}");
    assert_eq!(look(&app), before);
    assert_eq!(fs::read_dir(&disk).expect("a folder").count(), 1);
    mounted.remount("size=16m");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(
        fs::read(app.join("small.txt")).expect("it is there"),
        b"small\n"
    );

    // Room for the copy, none for what others added in the meantime.
    sandbox.write(
        "agent.sh",
        "cd \"$AGENTGUARD_WORKSPACE\" && echo more > more.txt
         head -c 8000000 /dev/zero > \"$TARGET/theirs.bin\"\n",
    );
    sandbox.write(
        "task.yaml",
        &format!(
            "agent: {{command: [sh, agent.sh], protocol: none, env: {{TARGET: '{}'}}}}\n\
             workspace: {{stage: disk/app, commit: exchange}}\n",
            app.display()
        ),
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(ran.stderr.contains("the disk is full"), "{ran:?}");
    assert!(!app.join("more.txt").exists());
    assert_eq!(
        fs::metadata(app.join("theirs.bin"))
            .expect("it is there")
            .len(),
        8_000_000
    );
    mounted.remount("size=64m");
    sandbox.write("agent.sh", "touch was-started-again\n");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(
        fs::read(app.join("more.txt")).expect("it is there"),
        b"more\n"
    );
    assert_eq!(
        fs::metadata(app.join("theirs.bin"))
            .expect("it is there")
            .len(),
        8_000_000
    );
    assert!(!sandbox.path().join("was-started-again").exists());
}

#[test]
fn a_mount_point_is_committed_file_by_file() {
    let sandbox = sandbox(&task("", ""));
    let content = look(&app(&sandbox));
    let disk = sandbox.path().join("mounted");
    fs::create_dir(&disk).expect("a folder");
    let Some(_mounted) = Tmpfs::mount(&disk, "size=16m") else {
        return;
    };
    for (path, (mode, text)) in &content {
        let place = disk.join(path);
        match text.as_slice() {
            b"folder" => fs::create_dir(&place).expect("a folder"),
            text if *mode == 0 => symlink(OsStr::from_bytes(text), &place).expect("a link"),
            text => fs::write(&place, text).expect("a file"),
        }
    }
    chmod(&disk.join("run.sh"), 0o755);
    // The stage is in the run's folder: nothing of the target's is beside it.
    let task = task("", "").replace("app", "mounted");
    let agent = sandbox.path().join("agent.sh");
    sandbox.write(
        "task.yaml",
        &task.replace("../agent.sh", &agent.to_string_lossy()),
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("it is a mount point"), "{ran:?}");
    let files = |seen: Seen| -> BTreeMap<PathBuf, Vec<u8>> {
        seen.into_iter()
            .map(|(path, (_, content))| (path, content))
            .collect()
    };
    assert_eq!(files(look(&disk)), files(wanted()));
}

#[test]
fn a_folder_that_cannot_be_staged_is_told_before_there_is_a_run() {
    let sandbox = sandbox("");
    for (name, workspace, want) in [
        ("a file", "{stage: agent.sh}", "agent.sh is not a folder"),
        ("nothing above it", "{stage: no/such/folder}", "cannot find"),
        (
            "the root",
            "{stage: /}",
            "it is the root of the file system",
        ),
        (
            "a pattern",
            "{stage: app, exclude: ['a**b']}",
            "is no pattern",
        ),
        (
            "a setting alone",
            "{commit: files}",
            "stands without `stage`",
        ),
    ] {
        let task = format!("agent: {{command: ['true']}}\nworkspace: {workspace}\n");
        sandbox.write("task.yaml", &task);
        let ran = sandbox.run(&["run", "task.yaml"]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        assert!(ran.stderr.contains(want), "{name}: {ran:?}");
        assert!(sandbox.run(&["runs"]).stdout.is_empty(), "{name}");
    }
}

#[test]
fn a_folder_that_something_else_replaced_is_a_conflict() {
    let sandbox = sandbox(&task("", ""));
    let aside = sandbox.path().join("aside");
    let ran = with_others(&sandbox, || {
        fs::rename(app(&sandbox), &aside).expect("it is there");
        symlink("aside", app(&sandbox)).expect("a link");
    });
    assert_eq!(ran.code, 28, "{ran:?}");
    assert!(!aside.join("mine.txt").exists());
    fs::remove_file(app(&sandbox)).expect("a link");
    fs::rename(&aside, app(&sandbox)).expect("it is there");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(sandbox.read("app/mine.txt"), "m\n");
}

#[test]
fn a_folder_that_the_agent_removed_keeps_what_was_left_out_of_the_copy() {
    let sandbox = sandbox(&task("", ", exclude: [node_modules]"));
    sandbox.write("app/old/node_modules/dep.js", "d");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!app(&sandbox).join("old/gone.txt").exists());
    assert_eq!(sandbox.read("app/old/node_modules/dep.js"), "d");
}

#[test]
fn work_whose_copy_is_gone_is_done_again() {
    let sandbox = sandbox(&task("", ""));
    // By the agent itself, and by whoever clears away the copy of a conflict.
    sandbox.write("agent.sh", "rm -r \"$AGENTGUARD_WORKSPACE\"\n");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("is gone, with what the agent did"),
        "{ran:?}"
    );
    let ran = with_others(&sandbox, || drop(sandbox.write("app/a.txt", "theirs\n")));
    assert_eq!(ran.code, 28, "{ran:?}");
    assert_eq!(sandbox.run(&["gc", "--stages-older-than", "0s"]).code, 0);
    let json = sandbox.run(&["diff", "latest", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["state"], "removed", "{json}");
    assert_eq!(json["target"], app(&sandbox).to_string_lossy().as_ref());
    let show = sandbox.run(&["show", "latest"]);
    assert!(
        show.stdout.contains("not committed, its copy is gone"),
        "{show:?}"
    );

    assert_eq!(sandbox.run(&["resume", "latest"]).code, 1);
    let why = sandbox.run(&["why", "latest"]);
    assert!(why.stdout.contains("commit.gone"), "{why:?}");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(sandbox.read("app/a.txt"), "two\n");
    let json = sandbox.run(&["diff", "latest", "--json"]).stdout;
    assert!(json.contains("\"state\":\"committed\""), "{json}");
}

/// Makes a folder that takes a while to be copied.
fn with_much(sandbox: &Sandbox) {
    let file = fs::File::create(app(sandbox).join("large.bin")).expect("a file");
    file.set_len(3 << 30).expect("room for a hole");
}

#[test]
fn staging_is_cut_off_by_a_signal_and_by_the_deadline() {
    let sandbox = sandbox(&task("limits: {deadline: 300ms}\n", ""));
    with_much(&sandbox);
    let before = app(&sandbox).join("large.bin");
    let late = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(late.code, 21, "{late:?}");
    assert!(!late.stderr.contains(" staged: "), "{late:?}");
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    assert_eq!(sandbox.report()["status"], "deadline");

    sandbox.write("task.yaml", &task("", ""));
    let mut child = sandbox
        .command(&["run", "task.yaml"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_until(60, "the copy", || !leftovers(&sandbox).is_empty());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    assert_eq!(sandbox.report()["status"], "interrupted");
    fs::remove_file(before).expect("it is there");
    let resumed = sandbox.run(&["resume", "latest"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(look(&app(&sandbox)), wanted());
}

#[test]
fn the_agent_its_tools_and_checks_find_the_copy_in_pwd() {
    let says = "python3, -c, \"import os; print(os.getcwd(), os.environ['PWD'], file=open(os.environ['OUT'], 'a'))\"";
    let sandbox = sandbox("");
    let out = sandbox.path().join("out");
    sandbox.write(
        "task.yaml",
        &format!(
            "agent: {{command: [sh, -c, 'agentguard tool where && agentguard turn --done'], cwd: app, env: {{OUT: '{out}'}}}}\n\
             workspace: {{stage: app}}\n\
             tools: {{where: {{command: [{says}], env: {{OUT: '{out}'}}, effect: read}}}}\n\
             verify: [{{name: where, command: [{says}]}}]\n",
            out = out.display(),
        ),
    );
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let out = sandbox.read("out");
    assert_eq!(out.lines().count(), 2, "{out}");
    for line in out.lines() {
        let (cwd, pwd) = line.split_once(' ').expect("two paths");
        assert_eq!(cwd, pwd);
        assert!(cwd.contains("/.app.agentguard-r-"), "{line}");
    }
}

#[test]
fn a_diff_shows_a_run_that_is_alive_and_a_change_of_modes_alone() {
    let sandbox = sandbox(&task("", ""));
    sandbox.write("app/mode.sh", "m\n");
    let ran = with_others(&sandbox, || {
        let diff = sandbox.run(&["diff", "latest"]);
        assert!(diff.stdout.contains("-one\n+two\n"), "{diff:?}");
        let json = sandbox.run(&["diff", "latest", "--json"]).stdout;
        assert!(json.contains("\"state\":\"staged\""), "{json}");
        // As the agent might.
        chmod(
            &sandbox.path().join(&leftovers(&sandbox)[0]).join("mode.sh"),
            0o755,
        );
        let stat = sandbox.run(&["diff", "latest", "--stat"]).stdout;
        assert!(stat.contains("mode                    mode.sh\n"), "{stat}");
    });
    assert_eq!(ran.code, 0, "{ran:?}");
    let diff = sandbox.run(&["diff", "latest"]);
    let modes = "diff --git a/mode.sh b/mode.sh\nold mode 100644\nnew mode 100755\n";
    assert!(diff.stdout.contains(modes), "{diff:?}");
    let mode = fs::metadata(app(&sandbox).join("mode.sh")).expect("it is there");
    assert_eq!(mode.mode() & 0o777, 0o755);
}

#[test]
fn a_copy_in_the_runs_folder_is_removed_by_gc() {
    let sandbox = sandbox(&task("", ""));
    let disk = sandbox.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let Some(_mounted) = Tmpfs::mount(&disk, "size=4m") else {
        return;
    };
    sandbox.write("disk/a.txt", "one\n");
    sandbox.write("agent.sh", "echo two > a.txt; exit 3\n");
    let task = task("", "").replace("app", "disk");
    sandbox.write("task.yaml", &task);
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 1);
    let stage = PathBuf::from(
        sandbox.report()["workspace"]["stage"]
            .as_str()
            .expect("a path"),
    );
    assert!(stage.starts_with(sandbox.state()) && stage.join("a.txt").exists());
    assert_eq!(sandbox.run(&["gc", "--stages-older-than", "0s"]).code, 0);
    assert!(!stage.exists());
    assert_eq!(sandbox.read("disk/a.txt"), "one\n");
}
