//! What a command said, as one text to compare: status, stdout, stderr.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::Sandbox;

/// Runs a command with `input` on stdin.
pub fn said(here: &Sandbox, args: &[&str], input: impl AsRef<[u8]>) -> String {
    let mut child = here
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_owned();
    // Its own thread: both pipes may fill up. It may also not read at all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let status = output.status.code();
    let status = status.map_or("none".to_owned(), |code| code.to_string());
    let folder = here.path().to_string_lossy().into_owned();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "[DIR]");
    format!(
        "status {status}\n--- stdout\n{}--- stderr\n{}",
        shown(&output.stdout),
        shown(&output.stderr)
    )
}

/// Puts several of them under headings.
pub fn titled<const N: usize>(all: [(&str, String); N]) -> String {
    let titled = all.map(|(name, said)| format!("== {name}\n{said}\n"));
    titled.concat()
}
