//! Checks a spec and finds its program, so that a mistake in a task file gets
//! a message of its own instead of the kernel's "No such file or directory".
//!
//! The answer may be stale by the time of the start; whatever the kernel then
//! says is translated by [`explain`].

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Spec;
use super::error::{Error, NO_PERMISSION};

/// Looked at for nearly equal names; a `PATH` has some thousand.
const NAMES_MAX: usize = 20_000;

/// Checks what the kernel would refuse, and returns the file to execute.
pub(super) fn program(spec: &Spec) -> Result<PathBuf, Error> {
    let program = match spec.argv.first() {
        Some(program) if !program.is_empty() => program,
        _ => return Err(Error::EmptyCommand),
    };
    check_bytes(spec)?;
    check_folder(&spec.cwd)?;
    let path = if program.as_bytes().contains(&b'/') {
        by_path(program, &spec.cwd)?
    } else {
        by_name(program, spec)?
    };
    check_interpreter(&path)?;
    Ok(path)
}

/// Translates what the kernel said when it refused to start `path`.
pub(super) fn explain(spec: &Spec, path: &Path, errno: Errno) -> Error {
    let program = shown(spec.argv.first().map_or(OsStr::new(""), |program| program));
    let path = path.to_owned();
    match errno {
        Errno::TOOBIG => Error::TooLong {
            program,
            bytes: bytes(spec),
        },
        Errno::NOEXEC => Error::NotExecutable {
            path,
            reason: "it is neither a script nor a program for this machine",
        },
        Errno::ACCESS | Errno::PERM => Error::NotExecutable {
            path,
            reason: "the system refuses, perhaps its file system is mounted noexec",
        },
        // The file is there, so what is missing is what it needs to start.
        Errno::NOENT if path.exists() => Error::BadInterpreter {
            path,
            interpreter: "(the loader of the binary)".into(),
        },
        errno => Error::Start {
            program,
            source: errno.into(),
        },
    }
}

fn check_bytes(spec: &Spec) -> Result<(), Error> {
    let nul = |text: &OsStr| text.as_bytes().contains(&0);
    if let Some(index) = spec.argv.iter().position(|argument| nul(argument)) {
        return Err(Error::NulByte {
            what: format!("argument {index} of the command"),
        });
    }
    if nul(spec.cwd.as_os_str()) {
        return Err(Error::NulByte {
            what: "the working folder".into(),
        });
    }
    for (name, value) in &spec.env {
        if name.is_empty() || nul(name) || name.as_bytes().contains(&b'=') {
            return Err(Error::VariableName { name: shown(name) });
        }
        if nul(value) {
            return Err(Error::NulByte {
                what: format!("the variable {}", shown(name)),
            });
        }
    }
    Ok(())
}

fn check_folder(folder: &Path) -> Result<(), Error> {
    let refuse = |reason| Error::NoFolder {
        path: folder.to_owned(),
        reason,
    };
    match folder.metadata() {
        Ok(metadata) if !metadata.is_dir() => Err(refuse("it is not a folder")),
        Ok(_) => access(folder, Access::EXEC_OK).map_err(|_| refuse("it may not be entered")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(refuse("it does not exist")),
        Err(_) => Err(refuse("it cannot be reached")),
    }
}

fn by_path(program: &OsStr, cwd: &Path) -> Result<PathBuf, Error> {
    let path = cwd.join(program);
    match refusal(&path) {
        None => Ok(path),
        Some(Refusal::Missing) => {
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            let name = path.file_name().unwrap_or_default();
            let prefix = &program.as_bytes()[..program.len() - name.len().min(program.len())];
            let near = near_names(name, std::iter::once(folder));
            let near = near
                .iter()
                .map(|near| format!("{}{near}", String::from_utf8_lossy(prefix)));
            Err(Error::NotFound {
                program: shown(program),
                searched: None,
                near: near.collect(),
            })
        }
        Some(Refusal::Because(reason)) => Err(Error::NotExecutable { path, reason }),
    }
}

fn by_name(program: &OsStr, spec: &Spec) -> Result<PathBuf, Error> {
    let path = spec.variable("PATH").cloned().unwrap_or_default();
    // An empty entry is the working folder, as for any shell.
    let folders = || {
        path.as_bytes()
            .split(|byte| *byte == b':')
            .map(OsStr::from_bytes)
    };
    let folders = || folders().map(|folder| spec.cwd.join(folder));
    let mut refused = None;
    for folder in folders() {
        let path = folder.join(program);
        match refusal(&path) {
            None => return Ok(path),
            Some(Refusal::Missing) => {}
            Some(Refusal::Because(reason)) => {
                refused.get_or_insert(Error::NotExecutable { path, reason });
            }
        }
    }
    Err(refused.unwrap_or_else(|| Error::NotFound {
        program: shown(program),
        searched: Some(shown(&path)),
        near: near_names(program, folders()),
    }))
}

/// Why a file cannot be the program.
enum Refusal {
    Missing,
    Because(&'static str),
}

fn refusal(path: &Path) -> Option<Refusal> {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(Refusal::Because("one of its folders may not be entered"))
        }
        Err(_) => Some(Refusal::Missing),
        Ok(metadata) if metadata.is_dir() => Some(Refusal::Because("it is a folder")),
        Ok(metadata) if !metadata.is_file() => Some(Refusal::Because("it is not a regular file")),
        Ok(_) if access(path, Access::EXEC_OK).is_err() => Some(Refusal::Because(NO_PERMISSION)),
        Ok(_) => None,
    }
}

/// Reads the `#!` line, if there is one, and looks whether its program exists.
fn check_interpreter(path: &Path) -> Result<(), Error> {
    // The kernel reads 256 bytes of a script. A program that may be executed
    // and not be read is none of our business.
    let mut start = Vec::new();
    let opened = File::open(path);
    if opened
        .and_then(|file| file.take(256).read_to_end(&mut start))
        .is_err()
    {
        return Ok(());
    }
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(());
    };
    let line = line
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii_start();
    let interpreter = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .next()
        .unwrap_or_default();
    if interpreter.starts_with(b"/") && !Path::new(OsStr::from_bytes(interpreter)).exists() {
        return Err(Error::BadInterpreter {
            path: path.to_owned(),
            interpreter: String::from_utf8_lossy(interpreter)
                .escape_debug()
                .collect(),
        });
    }
    Ok(())
}

/// Returns up to three executables of `folders` whose names are nearly `wanted`.
fn near_names(wanted: &OsStr, folders: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let wanted = wanted.to_string_lossy();
    let distance_max = if wanted.chars().count() < 5 { 1 } else { 2 };
    let entries = folders
        .filter_map(|folder| folder.read_dir().ok())
        .flatten()
        .flatten();
    let mut near: Vec<(usize, String)> = entries
        .take(NAMES_MAX)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let distance = distance(&wanted, &name, distance_max)?;
            refusal(&entry.path()).is_none().then_some((distance, name))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Returns how many letters must be added, removed, changed or swapped with
/// their neighbour to make one word of the other; `None` above `max`.
///
/// Source: "optimal string alignment", the restricted Damerau-Levenshtein distance.
fn distance(left: &str, right: &str, max: usize) -> Option<usize> {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > max || left.len() > 64 {
        return None;
    }
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + changed);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    let found = rows[left.len()][right.len()];
    (found <= max).then_some(found)
}

fn bytes(spec: &Spec) -> usize {
    let arguments: usize = spec.argv.iter().map(|argument| argument.len() + 1).sum();
    arguments
        + spec
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum::<usize>()
}

fn shown(text: &OsStr) -> String {
    OsString::from_vec(text.as_bytes().to_vec())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn near_names_are_one_slip_away() {
        #[rustfmt::skip]
        let rows = [
            ("the same", "git", "git", Some(0)),
            ("two letters swapped", "gti", "git", Some(1)),
            ("one too many", "pythonn", "python", Some(1)),
            ("one changed, one missing", "pytesd3", "pytest", Some(2)),
            ("another word", "cargo", "rustc", None),
            ("nothing", "", "ab", Some(2)),
        ];
        for (name, left, right, want) in rows {
            assert_eq!(distance(left, right, 2), want, "row: {name}");
        }
    }

    #[test]
    fn what_cannot_start_says_why_and_what_to_do() {
        let folder = std::env::temp_dir().join(format!("agentguard-find-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("frobnicate", "#!/bin/sh\n", 0o755);
        write("plain", "text", 0o644);
        write("odd", "#!/no/such/interpreter -x\n", 0o755);
        write("windows", "#!/bin/sh\r\n", 0o755);
        let shown = folder.display();
        let spec = |program: &str| Spec::new([program], &folder).env("PATH", &folder);
        #[rustfmt::skip]
        let rows = [
            ("no program", Spec::new([""], &folder), "the command is empty, expected a program and its arguments".into(), None),
            ("a slip in the name", spec("frobncate"),
             format!("cannot find the program `frobncate` in PATH ({shown})"), Some("did you mean `frobnicate`?".into())),
            ("a slip in the path", spec("./frobincate"),
             "cannot find the program `./frobincate`".into(), Some("did you mean `./frobnicate`?".into())),
            ("no PATH at all", Spec::new(["sh"], &folder),
             "cannot find the program `sh`, and PATH is empty".into(),
             Some("install `sh`, write its full path, or set PATH in the task file's environment".into())),
            ("not executable", spec("plain"),
             format!("cannot execute {shown}/plain: it has no permission to be executed"),
             Some(format!("run `chmod +x {shown}/plain`"))),
            ("a folder", spec("/"), "cannot execute /: it is a folder".into(), None),
            ("no such interpreter", spec("odd"),
             format!("cannot execute {shown}/odd: its interpreter /no/such/interpreter is missing"),
             Some("install /no/such/interpreter, or correct the first line of the file".into())),
            ("a script with line ends of another system", spec("./windows"),
             format!("cannot execute {shown}/./windows: its interpreter /bin/sh\\r is missing"),
             Some("install /bin/sh\\r, or correct the first line of the file".into())),
            ("no folder", Spec::new(["sh"], "/no/such"), "cannot start in /no/such: it does not exist".into(),
             Some("create the folder, or correct `cwd`".into())),
            ("a file as folder", Spec::new(["sh"], folder.join("plain")),
             format!("cannot start in {shown}/plain: it is not a folder"), Some("create the folder, or correct `cwd`".into())),
            ("a NUL byte", Spec::new(["sh", "a\0b"], &folder), "argument 1 of the command contains a NUL byte".into(), None),
            ("an impossible variable", spec("sh").env("A=B", "c"),
             "`A=B` cannot be the name of an environment variable".into(), None),
        ];
        for (name, spec, text, hint) in rows {
            let error = program(&spec).expect_err(name);
            assert_eq!(
                (error.to_string(), error.hint()),
                (text, hint),
                "row: {name}"
            );
        }
        assert_eq!(
            program(&spec("frobnicate")).unwrap(),
            folder.join("frobnicate")
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
