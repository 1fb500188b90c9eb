//! An argument that grows by a piece of itself: `ls`, `ls && ls`, `ls && ls && ls`.
//!
//! A print keeps the repeated piece and how often it stands at the end (or the
//! start, as in `Re: Re: Re:`) of the longest argument. The rung counts calls
//! in which the same piece stands more often each time.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::window::Window;

/// Bytes looked at, from each end.
const TEXT_BYTES_MAX: usize = 1024;

/// A piece repeated at one end of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The piece; the same for every rotation of it.
    pub unit: Digest,
    /// How often it stands there; at least 2.
    pub times: u32,
}

/// Returns the repeated piece of `text`, if it is more than a few letters.
pub(super) fn of(text: &str) -> Option<Growth> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 {
        return None;
    }
    let tail: Vec<u8> = bytes.iter().rev().take(TEXT_BYTES_MAX).copied().collect();
    let head: Vec<u8> = bytes.iter().take(TEXT_BYTES_MAX).copied().collect();
    repeated_prefix(&tail).or_else(|| repeated_prefix(&head))
}

/// Returns the piece that fills the longest stretch at the start of `bytes`.
fn repeated_prefix(bytes: &[u8]) -> Option<Growth> {
    let z = z_function(bytes);
    let (mut best, mut best_period) = (0, 0);
    for (period, matched) in z
        .iter()
        .copied()
        .enumerate()
        .take(bytes.len() / 2 + 1)
        .skip(1)
    {
        let covered = matched + period;
        // Nearly the same stretch with a shorter piece wins.
        if matched >= period && covered > best + best_period {
            (best, best_period) = (covered, period);
        }
    }
    let unit = bytes.get(..best_period)?;
    let says_something = unit
        .iter()
        .filter(|b| b.is_ascii_alphabetic() || **b >= 0x80)
        .count()
        >= 2
        || unit == b"\\";
    (best >= 6 && best_period > 0 && says_something).then(|| Growth {
        unit: rotation_free(unit),
        times: best.div_ceil(best_period) as u32,
    })
}

/// Returns, for each position, how many bytes match the start of `bytes`.
///
/// Source: Gusfield, *Algorithms on Strings, Trees, and Sequences*, 1997, 1.3.
fn z_function(bytes: &[u8]) -> Vec<usize> {
    let mut z = vec![0; bytes.len()];
    let (mut left, mut right) = (0, 0);
    for i in 1..bytes.len() {
        if i < right {
            z[i] = z[i - left].min(right - i);
        }
        while i + z[i] < bytes.len() && bytes[z[i]] == bytes[i + z[i]] {
            z[i] += 1;
        }
        if i + z[i] > right {
            (left, right) = (i, i + z[i]);
        }
    }
    z
}

/// Returns a digest that is equal for `ab` and `ba`: where the text ends inside
/// the piece must not matter.
fn rotation_free(unit: &[u8]) -> Digest {
    let mut sum = 0u64;
    let len = unit.len();
    for i in 0..len {
        sum = sum.wrapping_add(Digest::of(&[unit[i], unit[(i + 1) % len]]).0);
    }
    Digest::join(&[Digest(sum), Digest(len as u64)])
}

/// Returns the sighting of an argument that grew once more with the newest call.
pub(super) fn look(window: &Window, stop: u32) -> Option<Sighting> {
    let newest = window.newest()?;
    let mut last = newest.print.growth?;
    let mut first = newest.no;
    let mut count = 1;
    let mut bare = 0;
    for entry in window.before_newest() {
        if entry.print.family != newest.print.family {
            continue;
        }
        match entry.print.growth {
            Some(older) if bare == 0 && older.unit == last.unit && older.times < last.times => {
                (count, first, last) = (count + 1, entry.no, older);
            }
            // The first calls held the piece once or twice, too little to see.
            None if bare + 1 < last.times.min(3) => {
                (count, first, bare) = (count + 1, entry.no, bare + 1);
            }
            _ => break,
        }
    }
    if count < bare + 2 {
        return None;
    }
    Sighting::counted(
        Rung::Growth,
        Identity::new(About::Piece, last.unit),
        first,
        count,
        stop,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_table() {
        #[rustfmt::skip]
        let rows = [
            ("a repeated command is seen", "ls -la && ls -la && ls -la", Some(3)),
            ("a repeated tail after another start is seen", "cd /srv && src/src/src/src", Some(4)),
            ("a repeated start is seen", "Re: Re: Re: Re: lunch on friday", Some(4)),
            ("plain text has none", "please look at the failing test", None),
            ("a line of dashes is not a piece of text", "------------------------", None),
            ("a big number is none", "10000000000000", None),
        ];
        for (name, text, want) in rows {
            assert_eq!(of(text).map(|g| g.times), want, "row: {name}");
        }
    }

    #[test]
    fn the_piece_is_the_same_however_often_it_stands() {
        let units: Vec<_> = (3..9)
            .map(|n| of(&["fix it"].repeat(n).join(" ")).unwrap().unit)
            .collect();
        assert!(units.windows(2).all(|w| w[0] == w[1]));
    }
}
