//! Stage, change, commit on real files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::commit::{Checked, Done, Ready, carry_out, check, clean};
use super::moment::Moment;
use super::stage::{Asked, Made, Method, Stage, discard};
use super::{Error, Halt};

/// A folder with a target and a run's folder; gone when dropped.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = super::stage::remove_tree(&self.0);
    }
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agentguard-staging-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("run")).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn target(&self) -> PathBuf {
        self.0.join("app")
    }

    fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    fn asked(&self) -> Asked {
        Asked {
            target: self.target(),
            exclude: vec![],
            ours: vec![],
            method: None,
            run: "r-7f3ak2m9".into(),
            git: false,
        }
    }

    fn stage(&self) -> Stage {
        self.make(&self.asked()).unwrap().0
    }

    fn make(&self, asked: &Asked) -> super::Result<(Stage, Made)> {
        Stage::make(asked, &self.run(), &Halt::default(), &|_| {})
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Every path with its mode and content.
type Seen = BTreeMap<PathBuf, (u32, Vec<u8>)>;

fn look(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                folders.push(path.clone());
                b"folder".to_vec()
            } else if metadata.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let mode = if metadata.is_symlink() {
                0
            } else {
                metadata.mode() & 0o7777
            };
            seen.insert(path.strip_prefix(root).unwrap().to_owned(), (mode, content));
        }
    }
    seen
}

fn write(root: &Path, name: impl AsRef<Path>, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree with everything that may be in one.
fn fill(root: &Path) {
    write(root, "a.txt", "one\ntwo\nthree\n");
    write(root, "deep/er/b.txt", "b");
    write(root, "sp ace/new\nline", "c");
    write(root, OsStr::from_bytes(b"bytes-\xff\xfe"), "d");
    write(root, "run.sh", "#!/bin/sh\n");
    write(root, "empty.txt", "");
    write(root, "large.bin", &"0123456789abcdef".repeat(20_000));
    fs::create_dir_all(root.join("no/thing")).unwrap();
    symlink("a.txt", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("deep", root.join("to-folder")).unwrap();
    chmod(&root.join("run.sh"), 0o755);
    chmod(&root.join("a.txt"), 0o640);
    chmod(&root.join("no"), 0o750);
}

/// What an agent does to it.
fn work(stage: &Path) {
    write(stage, "a.txt", "one\n2\nthree\nfour\n");
    fs::remove_file(stage.join("deep/er/b.txt")).unwrap();
    fs::remove_dir(stage.join("deep/er")).unwrap();
    write(stage, "fresh/x/y.txt", "y");
    chmod(&stage.join("run.sh"), 0o700);
    fs::remove_file(stage.join("link")).unwrap();
    symlink("run.sh", stage.join("link")).unwrap();
    // A file becomes a folder, a folder a file, a link a file.
    fs::remove_file(stage.join("empty.txt")).unwrap();
    write(stage, "empty.txt/inside", "i");
    fs::remove_dir_all(stage.join("sp ace")).unwrap();
    write(stage, "sp ace", "was a folder");
    fs::remove_file(stage.join("dangling")).unwrap();
    write(stage, "dangling", "was a link");
    // In place, as an editor that keeps the inode does.
    use std::io::Write as _;
    let mut large = fs::File::options()
        .append(true)
        .open(stage.join("large.bin"))
        .unwrap();
    large.write_all(b"more").unwrap();
}

fn ready(stage: &Stage) -> Box<Ready> {
    match check(stage, &Halt::default()).unwrap() {
        Checked::Ready(ready) => ready,
        other => panic!("{other:?}"),
    }
}

fn methods(place: &Place) -> [Asked; 2] {
    [Method::Exchange, Method::Files].map(|method| Asked {
        method: Some(method),
        ..place.asked()
    })
}

#[test]
fn a_stage_is_the_same_tree_and_nothing_of_it_is_the_targets() {
    let place = Place::new();
    fill(&place.target());
    let (stage, made) = place.make(&place.asked()).unwrap();
    assert_eq!(look(&stage.tree), look(&place.target()));
    assert_eq!(made.files, 10);
    for (path, _) in look(&stage.tree) {
        let inode = |root: &Path| fs::symlink_metadata(root.join(&path)).unwrap().ino();
        let time = |root: &Path| {
            fs::symlink_metadata(root.join(&path))
                .unwrap()
                .modified()
                .unwrap()
        };
        assert_ne!(inode(&stage.tree), inode(&place.target()), "{path:?}");
        assert_eq!(time(&stage.tree), time(&place.target()), "{path:?}");
    }
    let before = look(&place.target());
    work(&stage.tree);
    assert_eq!(look(&place.target()), before);
    assert_eq!(fs::metadata(&stage.tree).unwrap().mode() & 0o777, 0o700);
    discard(&place.run()).unwrap();
    assert_eq!(place.names(), ["app", "run"]);
}

#[test]
fn the_whole_change_is_committed_by_both_ways() {
    for number in 0..2 {
        let place = Place::new();
        fill(&place.target());
        chmod(&place.target(), 0o751);
        let stage = place.make(&methods(&place)[number]).unwrap().0;
        work(&stage.tree);
        let want = look(&stage.tree);
        let ready = ready(&stage);
        assert_eq!(
            (ready.counts.added, ready.counts.deleted),
            (2, 2),
            "{ready:?}"
        );
        let done = carry_out(&stage, Some(&ready), &|_| {}).unwrap();
        assert_eq!(done, Done::Committed);
        assert_eq!(look(&place.target()), want);
        assert_eq!(fs::metadata(place.target()).unwrap().mode() & 0o777, 0o751);
        clean(&place.run()).unwrap();
        assert_eq!(place.names(), ["app", "run"]);
        assert_eq!(look(&place.target()), want);
        let (lines, patch) = super::diff::kept(&place.run().join("stage"))
            .unwrap()
            .unwrap();
        let patch = fs::read_to_string(patch).unwrap();
        assert!(patch.contains("-two\n+2\n three\n+four\n"), "{patch}");
        assert!(
            lines.iter().any(|line| line.lines == Some((2, 1))),
            "{lines:?}"
        );
    }
}

#[test]
fn what_others_changed_meanwhile_is_kept() {
    for number in 0..2 {
        let place = Place::new();
        fill(&place.target());
        let stage = place.make(&methods(&place)[number]).unwrap().0;
        work(&stage.tree);
        write(&place.target(), "theirs/new.txt", "new");
        write(&place.target(), "to-folder/too.txt", "through a link");
        fs::remove_file(place.target().join(OsStr::from_bytes(b"bytes-\xff\xfe"))).unwrap();
        chmod(&place.target().join("no"), 0o700);
        let ready = ready(&stage);
        carry_out(&stage, Some(&ready), &|_| {}).unwrap();
        let seen = look(&place.target());
        assert_eq!(seen[Path::new("theirs/new.txt")].1, b"new");
        assert_eq!(seen[Path::new("deep/too.txt")].1, b"through a link");
        assert_eq!(seen[Path::new("no")].0, 0o700);
        assert!(!seen.contains_key(Path::new(OsStr::from_bytes(b"bytes-\xff\xfe"))));
        assert_eq!(seen[Path::new("a.txt")].1, b"one\n2\nthree\nfour\n");
        assert!(!seen.contains_key(Path::new("deep/er")));
    }
}

#[test]
fn a_change_that_comes_at_the_last_moment_is_not_lost() {
    for number in 0..2 {
        let place = Place::new();
        fill(&place.target());
        let stage = place.make(&methods(&place)[number]).unwrap().0;
        work(&stage.tree);
        let looked = ready(&stage);
        // After the look, before the commit; same length, and then a new file.
        write(&place.target(), "a.txt", "ONE\ntwo\nthree\n");
        write(&place.target(), "late.txt", "late");
        let before = look(&place.target());
        assert_eq!(
            carry_out(&stage, Some(&looked), &|_| {}).unwrap(),
            Done::Again
        );
        assert_eq!(look(&place.target()), before);
        match check(&stage, &Halt::default()).unwrap() {
            Checked::Conflicts(paths) => assert_eq!(paths, [PathBuf::from("a.txt")]),
            other => panic!("{other:?}"),
        }
        assert_eq!(look(&place.target()), before);
        // The user takes theirs back.
        write(&place.target(), "a.txt", "one\ntwo\nthree\n");
        let looked = ready(&stage);
        assert_eq!(
            carry_out(&stage, Some(&looked), &|_| {}).unwrap(),
            Done::Committed
        );
        assert_eq!(look(&place.target())[Path::new("late.txt")].1, b"late");
    }
}

#[test]
fn killed_in_the_middle_it_is_finished_by_the_next() {
    for (number, at) in [
        (0, Moment::InPlace),
        (1, Moment::Half),
        (1, Moment::InPlace),
    ] {
        let place = Place::new();
        fill(&place.target());
        let stage = place.make(&methods(&place)[number]).unwrap().0;
        work(&stage.tree);
        let want = look(&stage.tree);
        let ready = ready(&stage);
        let killed = catch_unwind(AssertUnwindSafe(|| {
            carry_out(&stage, Some(&ready), &|moment| {
                assert_ne!(moment, at, "killed")
            })
        }));
        assert!(killed.is_err());
        let stage = Stage::find(&place.run()).unwrap().unwrap();
        assert_eq!(carry_out(&stage, None, &|_| {}).unwrap(), Done::Committed);
        assert_eq!(carry_out(&stage, None, &|_| {}).unwrap(), Done::Committed);
        clean(&place.run()).unwrap();
        assert_eq!(look(&place.target()), want, "{at:?}");
        assert_eq!(place.names(), ["app", "run"]);
    }
}

#[test]
fn a_run_that_is_removed_in_the_middle_takes_its_half_back() {
    let place = Place::new();
    fill(&place.target());
    let before = look(&place.target());
    let stage = place.make(&methods(&place)[1]).unwrap().0;
    work(&stage.tree);
    let ready = ready(&stage);
    let killed = catch_unwind(AssertUnwindSafe(|| {
        carry_out(&stage, Some(&ready), &|moment| {
            assert_ne!(moment, Moment::Half, "killed")
        })
    }));
    assert!(killed.is_err());
    assert_ne!(look(&place.target()), before);
    discard(&place.run()).unwrap();
    assert_eq!(look(&place.target()), before);
    assert_eq!(place.names(), ["app", "run"]);
}

#[test]
fn an_error_in_the_middle_takes_all_of_it_back() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.make(&methods(&place)[1]).unwrap().0;
    work(&stage.tree);
    let before = look(&place.target());
    let ready = ready(&stage);
    // A file that is to go has got another content: seen only when it is removed.
    let done = carry_out(&stage, Some(&ready), &|moment| {
        if moment == Moment::Half {
            write(&place.target(), "deep/er/b.txt", "late");
        }
    });
    assert_eq!(done.unwrap(), Done::Again);
    assert_eq!(look(&place.target())[Path::new("deep/er/b.txt")].1, b"late");
    write(&place.target(), "deep/er/b.txt", "b");
    assert_eq!(look(&place.target()), before);
    assert_eq!(
        stage.tree.parent().map(|it| it.join("app")),
        Some(place.target())
    );
}

#[test]
fn what_comes_late_into_a_folder_that_goes_keeps_the_folder() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.make(&methods(&place)[1]).unwrap().0;
    work(&stage.tree);
    let ready = ready(&stage);
    let done = carry_out(&stage, Some(&ready), &|moment| {
        if moment == Moment::Half {
            write(&place.target(), "deep/er/late.txt", "late");
        }
    });
    assert_eq!(done.unwrap(), Done::Committed);
    let seen = look(&place.target());
    assert_eq!(seen[Path::new("deep/er/late.txt")].1, b"late");
    assert!(!seen.contains_key(Path::new("deep/er/b.txt")));
}

#[test]
fn the_way_is_chosen_by_what_would_be_lost() {
    let reason = |prepare: &dyn Fn(&Path)| {
        let place = Place::new();
        fill(&place.target());
        prepare(&place.target());
        let mut asked = place.asked();
        asked.exclude = vec!["node_modules".into()];
        let stage = place.make(&asked).unwrap().0;
        (stage.method, stage.why)
    };
    assert_eq!(reason(&|_| {}), (Method::Exchange, None));
    let (method, why) = reason(&|target| write(target, "web/node_modules/x", "x"));
    assert_eq!(method, Method::Files);
    assert_eq!(
        why.unwrap(),
        "\"web/node_modules\" is not staged: it is excluded"
    );
    let (method, why) =
        reason(&|target| fs::hard_link(target.join("a.txt"), target.join("z")).unwrap());
    assert_eq!(method, Method::Files);
    assert!(why.unwrap().contains("hard link"));
    let (method, why) = reason(&|target| {
        drop(std::os::unix::net::UnixListener::bind(target.join("sock")).unwrap());
    });
    assert_eq!(method, Method::Files);
    assert!(why.unwrap().contains("socket"));
}

#[test]
fn what_is_left_out_stays_where_it_is() {
    let place = Place::new();
    fill(&place.target());
    write(&place.target(), "node_modules/dep/index.js", "x");
    let mut asked = place.asked();
    asked.exclude = vec!["node_modules".into()];
    let (stage, made) = place.make(&asked).unwrap();
    assert_eq!(
        made.left_out,
        [(PathBuf::from("node_modules"), "it is excluded")]
    );
    assert!(!stage.tree.join("node_modules").exists());
    write(&stage.tree, "node_modules/own.js", "of the agent");
    work(&stage.tree);
    let ready = ready(&stage);
    assert_eq!(ready.method, Method::Files);
    carry_out(&stage, Some(&ready), &|_| {}).unwrap();
    assert_eq!(
        look(&place.target())[Path::new("node_modules/dep/index.js")].1,
        b"x"
    );
    assert!(!place.target().join("node_modules/own.js").exists());
    assert!(place.target().join("fresh/x/y.txt").exists());

    asked.method = Some(Method::Exchange);
    let refused = place.make(&asked).unwrap_err();
    assert!(matches!(refused, Error::NoExchange(_)), "{refused}");
    assert_eq!(place.names(), ["app", "run"]);
}

#[test]
fn a_folder_that_was_not_there_appears_whole() {
    let place = Place::new();
    let stage = place.stage();
    write(&stage.tree, "out/result.txt", "r");
    let ready = ready(&stage);
    assert!(!place.target().exists());
    carry_out(&stage, Some(&ready), &|_| {}).unwrap();
    clean(&place.run()).unwrap();
    assert_eq!(look(&place.target())[Path::new("out/result.txt")].1, b"r");
    assert_eq!(place.names(), ["app", "run"]);
}

#[test]
fn a_folder_that_appeared_meanwhile_is_not_overwritten() {
    let place = Place::new();
    let stage = place.stage();
    write(&stage.tree, "mine.txt", "m");
    let looked = ready(&stage);
    write(&place.target(), "theirs.txt", "t");
    assert_eq!(
        carry_out(&stage, Some(&looked), &|_| {}).unwrap(),
        Done::Again
    );
    let looked = ready(&stage);
    assert_eq!(looked.method, Method::Files);
    assert_eq!(
        carry_out(&stage, Some(&looked), &|_| {}).unwrap(),
        Done::Committed
    );
    clean(&place.run()).unwrap();
    let names: Vec<_> = look(&place.target()).into_keys().collect();
    assert_eq!(
        names,
        [PathBuf::from("mine.txt"), PathBuf::from("theirs.txt")]
    );
}

#[test]
fn an_agent_that_changed_nothing_commits_nothing() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.stage();
    // Written again as it was.
    write(&stage.tree, "a.txt", "one\ntwo\nthree\n");
    assert!(matches!(
        check(&stage, &Halt::default()).unwrap(),
        Checked::Nothing
    ));
}

#[test]
fn a_write_of_the_same_length_is_seen_at_once() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.stage();
    write(&stage.tree, "a.txt", "ONE\ntwo\nthree\n");
    let before = fs::metadata(place.target().join("a.txt"))
        .unwrap()
        .modified()
        .unwrap();
    let file = fs::File::options()
        .write(true)
        .open(stage.tree.join("a.txt"))
        .unwrap();
    file.set_modified(before).unwrap();
    assert_eq!(ready(&stage).counts.changed, 1);
}

#[test]
fn what_an_agent_closed_can_still_be_removed() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.stage();
    chmod(&stage.tree.join("deep/er"), 0);
    chmod(&stage.tree.join("deep"), 0o500);
    discard(&place.run()).unwrap();
    assert_eq!(place.names(), ["app", "run"]);
}

#[test]
fn halted_it_leaves_nothing() {
    let place = Place::new();
    fill(&place.target());
    let halt = Halt::default();
    halt.halt();
    let halted = Stage::make(&place.asked(), &place.run(), &halt, &|_| {}).unwrap_err();
    assert!(matches!(halted, Error::Halted), "{halted}");
    assert_eq!(place.names(), ["app", "run"]);
    assert!(Stage::find(&place.run()).unwrap().is_none());
}

#[test]
fn a_file_is_no_folder() {
    let place = Place::new();
    fs::write(place.target(), "x").unwrap();
    let refused = place.make(&place.asked()).unwrap_err();
    assert!(matches!(refused, Error::NotFolder(_)), "{refused}");
}

#[test]
fn half_a_copy_is_no_change_of_the_agent() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.make(&methods(&place)[0]).unwrap().0;
    write(&stage.tree, "mine.txt", "m");
    write(&place.target(), "theirs.txt", "t");
    write(&place.target(), "deep/er/b.txt", "theirs");
    // As a crash leaves it that comes after one file and before the base is written.
    let base = fs::read(place.run().join("stage/base.jsonl")).unwrap();
    ready(&stage);
    fs::write(place.run().join("stage/base.jsonl"), base).unwrap();
    fs::remove_file(stage.tree.join("theirs.txt")).unwrap();
    let ready = ready(&stage);
    assert_eq!((ready.counts.added, ready.counts.changed), (1, 0));
    carry_out(&stage, Some(&ready), &|_| {}).unwrap();
    let seen = look(&place.target());
    assert_eq!(seen[Path::new("theirs.txt")].1, b"t");
    assert_eq!(seen[Path::new("deep/er/b.txt")].1, b"theirs");
    assert_eq!(seen[Path::new("mine.txt")].1, b"m");
}

#[test]
fn what_takes_anothers_place_is_shown_as_going_and_coming() {
    let place = Place::new();
    fill(&place.target());
    let stage = place.stage();
    work(&stage.tree);
    ready(&stage);
    let patch = fs::read_to_string(place.run().join("stage/changes.diff")).unwrap();
    for want in [
        "diff --git a/link b/link\ndeleted file mode 120000\n--- a/link\n+++ /dev/null\n",
        "diff --git a/link b/link\nnew file mode 120000\n--- /dev/null\n+++ b/link\n",
        "file run.sh: mode 0755 is now 0700\n",
        "deleted folder \"sp ace\"\n",
    ] {
        let want = want.replace("\"sp ace\"", "sp ace");
        assert!(patch.contains(&want), "{want}\n{patch}");
    }
}
