//! The process that stands in for a guarded tool: a hidden command.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::drill::stand_in;
use crate::tools::command::KEY_VARIABLE;

/// Most bytes of arguments that are read.
const ARGS_BYTES_MAX: u64 = 1 << 20;

/// Plays a tool, or its probe; the words are those that a rehearsal wrote into
/// the task: `[--probe] FOLDER TOOL`.
pub fn main() -> ExitCode {
    let words = std::env::args_os().skip(2);
    let words: Vec<String> = words.map(|it| it.to_string_lossy().into_owned()).collect();
    let key = std::env::var(KEY_VARIABLE).ok();
    let played = match words.as_slice() {
        [flag, folder, tool] if flag == "--probe" => {
            stand_in::probe(Path::new(folder), tool, key.as_deref()).map(
                |happened| match happened {
                    Some(out) => stand_in::Act {
                        out,
                        ..stand_in::Act::default()
                    },
                    None => stand_in::Act {
                        code: 1,
                        ..stand_in::Act::default()
                    },
                },
            )
        }
        [folder, tool] => {
            let mut text = String::new();
            let read = std::io::stdin()
                .take(ARGS_BYTES_MAX)
                .read_to_string(&mut text);
            let args = read.map(|_| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            args.and_then(|args| stand_in::play(Path::new(folder), tool, key, args))
        }
        _ => Err(std::io::Error::other("expected [--probe] FOLDER TOOL")),
    };
    let act = match played {
        Ok(act) => act,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "agentguard drill: {error}");
            return ExitCode::from(70);
        }
    };
    let _ = std::io::stdout().write_all(act.out.as_bytes());
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(act.err.as_bytes());
    std::thread::sleep(act.stays);
    ExitCode::from(act.code)
}
