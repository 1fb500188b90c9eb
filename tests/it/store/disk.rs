//! Disks that are full or read-only, and files that are damaged, foreign,
//! newer, older or locked: a clear error, and nothing that was stored is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agentguard::clock::UnixMs;
use agentguard::ids::CallId;
use agentguard::store::conversation::{Head, extend};
use agentguard::store::sqlite::{APPLICATION_ID, Options, SCHEMA};
use agentguard::store::{
    Draft, Error, GcRules, KeyChange, KeyResult, KeyState, RetryAsk, Sqlite, Store,
};
use rusqlite::Connection;

use crate::support::tmpfs::Tmpfs;

use super::support::{Scratch, bodies, event, expected, key_use, new_run, run_id};

/// A small disk with a journal's folder on it; `None` where none can be mounted.
fn disk(options: &str) -> Option<(Scratch, Tmpfs)> {
    let scratch = Scratch::new();
    Tmpfs::mount(scratch.path(), options).map(|disk| (scratch, disk))
}

fn big_event(number: u64) -> Draft {
    let (_, messages) = extend(
        Head::EMPTY,
        &[format!("\"{number} {}\"", "x".repeat(50_000))],
    );
    let mut draft = event(number);
    draft.messages = messages;
    draft
}

#[test]
fn a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room() {
    let Some((scratch, disk)) = disk("size=4m") else {
        return;
    };
    let store = scratch.open();
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut stored = 1;
    let error = loop {
        match store.append(&own, big_event(stored)).wait() {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "4 MiB hold no thousand events of 50 KB");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("agentguard gc"));
    assert!(matches!(
        store.append(&own, event(9)).wait(),
        Err(Error::Broken { .. })
    ));
    assert_eq!(bodies(&store, &run_id(1)), expected(stored));
    let refused = store.create(new_run(2), big_event(0));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    drop((own, store));
    // Opened again on the full disk, and then with room.
    disk.remount("size=16m");
    let store = scratch.open();
    assert_eq!(bodies(&store, &run_id(1)), expected(stored));
    let own = store.own(&run_id(1), UnixMs(5)).unwrap();
    store.append(&own, big_event(stored)).wait().unwrap();
    assert_eq!(bodies(&store, &run_id(1)), expected(stored + 1));
}

#[test]
fn a_full_disk_from_the_start_is_a_clear_error() {
    let Some((scratch, _disk)) = disk("size=64k") else {
        return;
    };
    match Sqlite::open(scratch.paths(), Options::default()).err() {
        Some(Error::Full { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_only_folder_is_a_clear_error_and_keeps_what_is_there() {
    let Some((scratch, disk)) = disk("size=8m") else {
        return;
    };
    let store = scratch.open();
    drop(store.create(new_run(1), event(0)).unwrap());
    drop(store);
    disk.remount("ro");
    match Sqlite::open(scratch.paths(), Options::default()).err() {
        Some(error @ Error::ReadOnly { .. }) => {
            assert!(error.hint().unwrap().contains("AGENTGUARD_STATE"));
        }
        other => panic!("{other:?}"),
    }
    disk.remount("rw");
    assert_eq!(bodies(&scratch.open(), &run_id(1)), expected(1));
}

#[test]
fn a_disk_that_turns_read_only_fails_the_write_and_not_the_read() {
    let Some((scratch, _disk)) = disk("size=8m") else {
        return;
    };
    let store = scratch.open();
    let own = store.create(new_run(1), event(0)).unwrap();
    // A disk with errors is remounted by the kernel like this; a file that is
    // open for writing forbids it, so the folder is what a new run meets.
    fs::write(store.paths().runs().join("r-00000002"), "a file in the way").unwrap();
    let refused = store.create(new_run(2), event(0));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    store.append(&own, event(1)).wait().unwrap();
    assert_eq!(bodies(&store, &run_id(1)), expected(2));
}

/// Makes a journal with one run and returns its file.
fn journal(scratch: &Scratch) -> PathBuf {
    let store = scratch.open();
    let own = store.create(new_run(1), event(0)).unwrap();
    for number in 1..40 {
        store.append(&own, big_event(number)).wait().unwrap();
    }
    scratch.paths().database()
}

/// Opens what lies at `path` and asserts that the file is not changed by it.
fn refuse(scratch: &Scratch, path: &Path) -> Error {
    let before = fs::read(path).unwrap();
    let error = Sqlite::open(scratch.paths(), Options::default())
        .err()
        .expect("refused");
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    let journals =
        ["journal.db-wal", "journal.db-journal"].map(|name| scratch.paths().state().join(name));
    assert!(
        journals.iter().all(|path| !path.exists()),
        "left a log behind"
    );
    error
}

#[test]
fn a_newer_schema_is_refused_and_left_untouched() {
    let scratch = Scratch::new();
    let path = journal(&scratch);
    let newer = Connection::open(&path).unwrap();
    newer
        .pragma_update(None, "user_version", SCHEMA + 1)
        .unwrap();
    newer.close().unwrap();
    let error = refuse(&scratch, &path);
    let text = format!(
        "{} has schema {}, this build knows up to {SCHEMA}",
        path.display(),
        SCHEMA + 1
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.hint().unwrap(),
        "upgrade agentguard; the file was not changed"
    );
}

#[test]
fn a_newer_schema_that_is_still_in_the_log_is_refused() {
    let scratch = Scratch::new();
    let path = journal(&scratch);
    // Still open, so that the log is not written back.
    let newer = Connection::open(&path).unwrap();
    newer
        .pragma_update(None, "user_version", SCHEMA + 1)
        .unwrap();
    let refused = Sqlite::open(scratch.paths(), Options::default()).err();
    assert!(
        matches!(refused, Some(Error::SchemaTooNew { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_untouched() {
    let garbage = b"these are not the bytes you are looking for ".repeat(100);
    for (name, bytes) in [("garbage", &garbage[..]), ("a few bytes", b"SQLite")] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.paths().state()).unwrap();
        fs::write(scratch.paths().database(), bytes).unwrap();
        let error = refuse(&scratch, &scratch.paths().database());
        assert!(
            matches!(error, Error::NotAJournal { .. }),
            "row: {name}: {error:?}"
        );
    }
    let scratch = Scratch::new();
    fs::create_dir(scratch.paths().state()).unwrap();
    let other = Connection::open(scratch.paths().database()).unwrap();
    other
        .execute_batch("CREATE TABLE bookmarks (url TEXT)")
        .unwrap();
    other.close().unwrap();
    let error = refuse(&scratch, &scratch.paths().database());
    assert!(
        error
            .to_string()
            .ends_with("it is the SQLite database of another program")
    );
}

#[test]
fn an_empty_file_becomes_a_journal() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.paths().state()).unwrap();
    fs::write(scratch.paths().database(), "").unwrap();
    drop(scratch.open().create(new_run(1), event(0)).unwrap());
}

#[test]
fn a_damaged_journal_is_a_clear_error() {
    // The header stays; the pages behind it are lost.
    let scratch = Scratch::new();
    let path = journal(&scratch);
    let mut bytes = fs::read(&path).unwrap();
    bytes[16_384..].fill(0xee);
    fs::write(&path, &bytes).unwrap();
    let read = Sqlite::open(scratch.paths(), Options::default())
        .and_then(|store| store.find("latest").map(drop));
    match read {
        Err(error @ Error::Corrupt { .. }) => {
            assert!(error.hint().unwrap().contains(".recover"));
        }
        other => panic!("{other:?}"),
    }
    assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
}

#[test]
fn a_journal_cut_short_is_a_clear_error() {
    let scratch = Scratch::new();
    let path = journal(&scratch);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let read = Sqlite::open(scratch.paths(), Options::default()).and_then(|store| {
        let events = store.events(&run_id(1), agentguard::ids::Seq(1))?;
        let (head, _) = extend(Head::EMPTY, &[format!("\"39 {}\"", "x".repeat(50_000))]);
        store.conversation(&head)?;
        Ok(events.len())
    });
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_journal_locked_by_another_is_waited_for_and_then_given_up() {
    let scratch = Scratch::new();
    let options = Options {
        wait_ms: 50,
        ..Options::default()
    };
    let store = Sqlite::open(scratch.paths(), options).unwrap();
    let own = store.create(new_run(1), event(0)).unwrap();
    let shell = Connection::open(scratch.paths().database()).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    match store.append(&own, event(1)).wait() {
        // A run under way waits six times as long.
        Err(Error::Busy { waited_ms: 300, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(bodies(&store, &run_id(1)), expected(1), "readers go on");
    shell.execute_batch("ROLLBACK").unwrap();
    drop(own);
    let own = store.own(&run_id(1), UnixMs(1)).unwrap();
    store.append(&own, event(1)).wait().unwrap();
}

#[test]
fn what_is_too_large_is_refused_and_the_run_goes_on() {
    let scratch = Scratch::new();
    let options = Options {
        text_bytes_max: 1000,
        ..Options::default()
    };
    let store = Sqlite::open(scratch.paths(), options).unwrap();
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut large_result = event(1);
    large_result.keys = vec![KeyChange::Execute {
        key_use: key_use("k", 7),
        verdict: "success".into(),
        result: KeyResult::Inline("x".repeat(65 * 1024)),
    }];
    let rows = [
        (
            "message 1 has 50004 bytes, the journal takes up to 1000",
            big_event(1),
        ),
        (
            "event `t` has 1001 bytes, the journal takes up to 1000",
            Draft::new("t", UnixMs(1), "x".repeat(1001)),
        ),
        (
            "inline result of call 7 has 66560 bytes, the journal takes up to 65536",
            large_result,
        ),
    ];
    for (want, draft) in rows {
        assert_eq!(
            store.append(&own, draft).wait().unwrap_err().to_string(),
            want
        );
    }
    store.append(&own, event(1)).wait().unwrap();
    assert_eq!(bodies(&store, &run_id(1)), expected(2));
}

#[test]
fn all_that_is_made_is_private() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let _own = store.create(new_run(1), event(0)).unwrap();
    let large = store
        .paths()
        .keep_result(&run_id(1), CallId(1), "x".repeat(70_000))
        .unwrap();
    assert!(matches!(large, KeyResult::File(_)));
    let mut folders = vec![scratch.paths().state().to_owned()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => assert_eq!(mode(&path), 0o600, "{}", path.display()),
            }
        }
    }
}

#[test]
fn a_large_result_lives_as_long_as_its_key() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let own = store.create(new_run(1), event(0)).unwrap();
    let paths = store.paths();
    let keep = |call| {
        let text = format!("{call}{}", "x".repeat(70_000));
        paths.keep_result(&run_id(1), CallId(call), text).unwrap()
    };
    let (named, stray) = (keep(1), keep(2));
    let mut draft = event(1);
    draft.keys = vec![KeyChange::Execute {
        key_use: key_use("k", 1),
        verdict: "success".into(),
        result: named,
    }];
    store.append(&own, draft).wait().unwrap();
    assert_eq!(
        store.gc(&GcRules::default()).unwrap().files,
        0,
        "the run is alive and may name it yet"
    );
    drop(own);
    assert_eq!(store.gc(&GcRules::default()).unwrap().files, 1);
    assert!(paths.read_result(&stray).is_err());
    store.remove(&run_id(1)).unwrap();
    assert!(!paths.run(&run_id(1)).exists());
    let row = store.key(&key_use("k", 1).key).unwrap().unwrap();
    let KeyState::Executed { result, .. } = row.state else {
        panic!("{row:?}")
    };
    assert_eq!(paths.read_result(&result).unwrap().len(), 70_001);
}

#[test]
fn gc_removes_the_folder_of_a_run_that_never_came_to_be() {
    let scratch = Scratch::new();
    let store = scratch.open();
    drop(store.create(new_run(1), event(0)).unwrap());
    let (half_born, kept) = (store.paths().run(&run_id(2)), store.paths().run(&run_id(1)));
    fs::create_dir(&half_born).unwrap();
    fs::write(half_born.join("lock"), "").unwrap();
    store.gc(&GcRules::default()).unwrap();
    assert!(!half_born.exists() && kept.exists());
}

#[test]
fn gc_gives_the_space_back() {
    let scratch = Scratch::new();
    let path = journal(&scratch);
    let before = fs::metadata(&path).unwrap().len();
    scratch.open().remove(&run_id(1)).unwrap();
    let after = fs::metadata(&path).unwrap().len();
    assert!(after * 4 < before, "{after} of {before} bytes are left");
}

#[test]
fn events_cannot_be_changed_or_removed_by_hand() {
    let scratch = Scratch::new();
    let shell = Connection::open(journal(&scratch)).unwrap();
    for sql in [
        "UPDATE events SET body = '{}' WHERE seq = 1",
        "DELETE FROM events WHERE seq = 1",
    ] {
        let error = shell.execute(sql, []).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the journal is append-only",
            "row: {sql}"
        );
    }
}

/// Writes the fixture anew when AGENTGUARD_WRITE_FIXTURES is set. A schema that
/// was released keeps its file for good.
#[test]
fn databases_of_every_schema_still_open() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schema");
    if std::env::var_os("AGENTGUARD_WRITE_FIXTURES").is_some() {
        write_fixture(&fixtures.join(format!("v{SCHEMA}.db")));
    }
    for schema in 1..=SCHEMA {
        let scratch = Scratch::new();
        fs::create_dir(scratch.paths().state()).unwrap();
        let name = format!("v{schema}.db");
        fs::copy(fixtures.join(&name), scratch.paths().database()).unwrap();
        let store = scratch.open();
        assert_eq!(bodies(&store, &run_id(1)), expected(3), "{name}");
        let (head, _) = extend(Head::EMPTY, &["\"hello\"", "\"world\""]);
        assert_eq!(
            store.conversation(&head).unwrap(),
            ["\"hello\"", "\"world\""],
            "{name}"
        );
        assert_eq!(store.claims(&run_id(1)).unwrap().len(), 1, "{name}");
        assert_eq!(store.breakers().unwrap().len(), 1, "{name}");
        let own = store.own(&run_id(1), UnixMs(9)).unwrap();
        store.append(&own, event(3)).wait().unwrap();
        let header = fs::read(scratch.paths().database()).unwrap();
        assert_eq!(header[68..72], APPLICATION_ID.to_be_bytes(), "{name}");
    }
}

fn write_fixture(path: &Path) {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (_, messages) = extend(Head::EMPTY, &["\"hello\"", "\"world\""]);
    let own = store.create(new_run(1), event(0)).unwrap();
    let mut turn = event(1);
    turn.messages = messages;
    turn.notes = vec![r#"{"rule":"http-503"}"#.into()];
    turn.keys = vec![KeyChange::Claim(key_use("charge:7", 1))];
    store.append(&own, turn).wait().unwrap();
    let mut moved = event(2);
    moved.breakers = vec![agentguard::store::BreakerEdit::new(
        "tool:weather",
        UnixMs(2),
        |_| agentguard::store::Change::Put(r#"{"state":"open"}"#.into()),
    )];
    store.append(&own, moved).wait().unwrap();
    let ask = RetryAsk {
        tool: "weather".into(),
        call: CallId(1),
        due: UnixMs(5),
    };
    let _ = store.enqueue(&own, ask).wait().unwrap();
    drop((own, store));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(scratch.paths().database(), path).unwrap();
}
