//! Staged folders whose modes keep their own user out, and names at their limits.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use agentguard::drill::point::VARIABLE;

use crate::staging::{app, chmod, leftovers, look, sandbox, task};
use crate::support::{BINARY, Ran, Sandbox, finish};

/// Runs the binary as a user whom modes bind: root is bound by none.
fn as_nobody(sandbox: &Sandbox, fault: &str, args: &[&str]) -> Ran {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return sandbox.run_with((VARIABLE, fault), args);
    }
    let own = sandbox.path().join("agentguard");
    if !own.exists() {
        fs::copy(BINARY, &own).expect("a copy that nobody may start");
        let all = std::process::Command::new("chown")
            .args(["-hR", &format!("{NOBODY}:{NOBODY}")])
            .arg(sandbox.path())
            .status();
        assert!(all.expect("chown starts").success());
    }
    let mut command = std::process::Command::new(own);
    finish(
        command
            .args(args)
            .current_dir(sandbox.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", sandbox.path().join("home"))
            .env("AGENTGUARD_STATE", sandbox.state())
            .env(VARIABLE, fault)
            .stdin(Stdio::null())
            .uid(NOBODY)
            .gid(NOBODY),
    )
}

#[test]
fn folders_that_keep_their_own_user_out_are_opened_for_the_commit_only() {
    let agent = "set -e\nchmod 755 . inner gone\necho two > inner/b.txt; echo n > inner/new.txt; rm -r gone\n\
                 mkdir made; echo m > made/m.txt; chmod 555 made inner; chmod 500 .\n";
    let mut seen = Vec::new();
    for (way, points) in [
        ("exchange", &["", "commit.in_place"][..]),
        ("files", &["", "commit.half", "commit.in_place"]),
    ] {
        for point in points {
            let sandbox = sandbox(&task("", &format!(", commit: {way}")));
            sandbox.write("agent.sh", agent);
            sandbox.write("app/inner/b.txt", "one\n");
            sandbox.write("app/gone/c.txt", "c\n");
            for folder in ["inner", "gone", ""] {
                chmod(&app(&sandbox).join(folder), 0o555);
            }
            let mut ran = as_nobody(&sandbox, point, &["run", "task.yaml"]);
            if !point.is_empty() {
                assert_eq!(ran.code, 128 + 9, "{way} {point}: {ran:?}");
                ran = as_nobody(&sandbox, "", &["resume", "latest"]);
            }
            assert_eq!(ran.code, 0, "{way} {point}: {ran:?}");
            let after = look(&app(&sandbox));
            assert_eq!(after[Path::new("inner")].0, 0o555, "{way} {point:?}");
            assert_eq!(after[Path::new("inner/new.txt")].1, b"n\n");
            assert!(!after.contains_key(Path::new("gone")));
            let top = fs::metadata(app(&sandbox)).expect("a folder").mode();
            seen.push((after, top & 0o7777));
            chmod(&app(&sandbox), 0o755);
            assert_eq!(leftovers(&sandbox), Vec::<String>::new());
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[test]
fn what_the_agent_closed_to_everybody_is_shown_removed_and_committed() {
    let agent = "mkdir -p shut/deep; echo s > shut/deep/s; chmod 0 shut/deep shut\n\
                 echo f > f; chmod 0 f; [ ! -e ../fail ]\n";
    for way in ["exchange", "files"] {
        let sandbox = sandbox(&task("", &format!(", commit: {way}")));
        sandbox.write("agent.sh", agent);
        sandbox.write("fail", "");
        for remove in [&["rm", "latest"][..], &["gc", "--stages-older-than", "0s"]] {
            let ran = as_nobody(&sandbox, "", &["run", "task.yaml"]);
            assert_eq!(ran.code, 1, "{way}: {ran:?}");
            let diff = as_nobody(&sandbox, "", &["diff", "latest", "--name-only"]);
            assert_eq!(diff.stdout, "f\nshut\nshut/deep\nshut/deep/s\n", "{way}");
            assert_eq!(as_nobody(&sandbox, "", remove).code, 0, "{way}");
            assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{way}");
        }
        fs::remove_file(sandbox.path().join("fail")).expect("it was there");
        let ran = as_nobody(&sandbox, "", &["run", "task.yaml"]);
        assert_eq!(ran.code, 0, "{way}: {ran:?}");
        let after = look(&app(&sandbox));
        assert_eq!(after[Path::new("shut/deep/s")].1, b"s\n", "{way}");
        assert_eq!(after[Path::new("shut")].0, 0o700, "{way}");
        assert_eq!(after[Path::new("f")].0, 0o400, "{way}");
    }
}

#[test]
fn a_very_long_name_is_staged_in_the_runs_folder() {
    let name = "n".repeat(250);
    let sandbox = sandbox(&task("", "").replace("app", &name));
    sandbox.write(&format!("{name}/a.txt"), "one\n");
    sandbox.write("agent.sh", "echo two > a.txt\n");
    let agent = sandbox.path().join("agent.sh");
    let task = sandbox
        .read("task.yaml")
        .replace("../agent.sh", &agent.to_string_lossy());
    sandbox.write("task.yaml", &task);
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("its name is very long"), "{ran:?}");
    assert_eq!(sandbox.read(&format!("{name}/a.txt")), "two\n");
}
