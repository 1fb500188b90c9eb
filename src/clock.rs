//! Time, handed in.
//!
//! The pure rooms get instants as plain numbers; whoever does IO asks a
//! [`Clock`]. Tests and the drill hand in one that they move themselves.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Returns the instant `delay_ms` milliseconds later; saturates.
    #[must_use]
    pub fn plus(self, delay_ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(delay_ms))
    }

    /// Returns the milliseconds from `earlier` to this instant, 0 when the
    /// clock went backwards in between.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Returns the present instant.
    fn now(&self) -> UnixMs;

    /// Names the time since the machine was started: another name says that it went
    /// down in between. `None` where nobody tells.
    fn boot(&self) -> Option<String> {
        None
    }
}

/// The machine's clock: wall-clock time at the start of the process, and from
/// there the time since boot.
///
/// It never jumps while the process lives, whatever is done to the wall clock,
/// and it goes on while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    began_at: UnixMs,
    began_boot_ms: u64,
}

impl SystemClock {
    /// Starts from what the wall clock says now.
    pub fn start() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let began_at = UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self {
            began_at,
            began_boot_ms: boot_ms(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        self.began_at
            .plus(boot_ms().saturating_sub(self.began_boot_ms))
    }

    /// Linux tells.
    fn boot(&self) -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    }
}

/// Returns the milliseconds since the machine was booted, sleep included where
/// the kernel counts it.
fn boot_ms() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000)
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Makes a clock that stands at `start`.
    pub fn at(start: UnixMs) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock forward by `delay_ms` milliseconds.
    pub fn advance(&self, delay_ms: i64) {
        self.0.fetch_add(delay_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}
