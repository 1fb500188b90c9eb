//! `agentguard logs`

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use super::error::{Failure, Kind};
use super::look::{self, tail::Tail};
use super::{Global, Result};
use crate::exit_code;
use crate::observe::plain::Screen;

/// Print what the agent printed
///
/// Both its streams, interleaved, of all attempts; of a flood the end. A
/// terminal gets text and colours only: other control characters are shown, not
/// obeyed (--raw passes them on). A pipe gets the bytes as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LogsArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Go on until the run is not alive any more
    #[arg(long, short)]
    follow: bool,

    /// Only the last lines, so many
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<u64>,

    /// Pass everything on to a terminal
    #[arg(long)]
    raw: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard logs latest | less
  agentguard logs latest -f --lines 20";

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Prints the log.
pub fn main(global: &Global, args: LogsArgs) -> Result {
    let (store, record) = look::find(global, &args.run)?;
    let run = &record.new.run;
    let path = store.paths().run(run).join("agent.log");
    let failed = |error: std::io::Error| {
        Failure::from_error(Kind::Environment, &error)
            .within(format!("the log of run {run} cannot be read"))
    };
    let mut tail = Tail::open(&path, args.lines).map_err(failed)?;
    let screen = std::io::stdout().is_terminal() && !args.raw;
    let mut printer = Printer {
        screen: screen.then(Screen::default),
    };
    loop {
        // Whether it lives is asked first: what it wrote before it died is read
        // after.
        let alive = args.follow && store.holder(run)?.is_some();
        let mut problem = None;
        tail.read(&mut |chunk| match printer.print(chunk) {
            Ok(()) => true,
            Err(error) => {
                problem = Some(error);
                false
            }
        })
        .map_err(failed)?;
        if let Some(error) = problem {
            look::written(Err(error))?;
            return Ok(exit_code::DONE);
        }
        if tail.take_gap() {
            look::say("the log was set aside faster than it was read; some output is missing");
        }
        if !alive {
            break;
        }
        if !wait() {
            return Ok(exit_code::DONE);
        }
    }
    look::written(printer.finish())?;
    Ok(exit_code::DONE)
}

/// Writes to stdout, made fit for a terminal where it is one.
struct Printer {
    screen: Option<Screen>,
}

impl Printer {
    fn print(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match &mut self.screen {
            Some(screen) => out.write_all(screen.push(chunk).as_bytes())?,
            None => out.write_all(chunk)?,
        }
        out.flush()
    }

    fn finish(&mut self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if let Some(screen) = &mut self.screen {
            out.write_all(screen.finish().as_bytes())?;
        }
        out.flush()
    }
}

/// Waits a moment; returns whether anyone still reads our stdout.
fn wait() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let out = std::io::stdout();
    // No event is asked for: what comes anyway is the loss of the reader.
    let mut watched = [PollFd::new(&out, PollFlags::empty())];
    let timeout = Timespec::try_from(LOOK_EVERY).ok();
    match poll(&mut watched, timeout.as_ref()) {
        Ok(0) => true,
        Ok(_) => {
            let lost = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            let gone = watched[0].revents().intersects(lost);
            if !gone {
                std::thread::sleep(LOOK_EVERY);
            }
            !gone
        }
        Err(_) => {
            std::thread::sleep(LOOK_EVERY);
            true
        }
    }
}
