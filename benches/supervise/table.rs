//! Figures, and the table they end in.

use std::process::ExitCode;
use std::time::Duration;

/// What was measured, in the order it is printed.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    what: &'static str,
    bar: Bar,
    measured: f64,
}

/// What a figure must be.
#[derive(Clone, Copy)]
enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// It holds nothing up.
    None,
}

impl Table {
    /// Adds a figure that must not be above `bar`.
    pub fn row(&mut self, what: &'static str, measured: f64, bar: f64) {
        self.add(what, measured, Bar::AtMost(bar));
    }

    /// Adds a figure that must not be below `bar`.
    #[allow(dead_code, reason = "not every benchmark has one")]
    pub fn row_at_least(&mut self, what: &'static str, measured: f64, bar: f64) {
        self.add(what, measured, Bar::AtLeast(bar));
    }

    /// Adds a figure without a bar.
    pub fn note(&mut self, what: &'static str, measured: f64) {
        self.add(what, measured, Bar::None);
    }

    fn add(&mut self, what: &'static str, measured: f64, bar: Bar) {
        self.0.push(Row {
            what,
            bar,
            measured,
        });
    }

    /// Prints all of it; the exit code says whether a bar was missed.
    pub fn print(&self) -> ExitCode {
        println!("\n| what | bar | measured | ok |\n|---|---|---|---|");
        let mut missed = false;
        for Row {
            what,
            bar,
            measured,
        } in &self.0
        {
            let (bar, holds) = match *bar {
                Bar::AtMost(bar) => (format!("≤ {bar:.1}"), Some(*measured <= bar)),
                Bar::AtLeast(bar) => (format!("≥ {bar:.0}"), Some(*measured >= bar)),
                Bar::None => (String::new(), None),
            };
            missed |= holds == Some(false);
            let word = match holds {
                Some(true) => "pass",
                Some(false) => "MISSED",
                None => "",
            };
            println!("| {what} | {bar} | {measured:.2} | {word} |");
        }
        ExitCode::from(u8::from(missed))
    }
}

/// Returns the time below which the share `at` of `times` lies.
pub fn quantile(times: &[Duration], at: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[((times.len() - 1) as f64 * at) as usize]
}

/// Returns how many times the floor ours is.
pub fn ratio(ours: Duration, floor: Duration) -> f64 {
    ours.as_secs_f64() / floor.as_secs_f64()
}

/// Returns milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns microseconds.
#[allow(dead_code, reason = "not every benchmark counts in them")]
pub fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
