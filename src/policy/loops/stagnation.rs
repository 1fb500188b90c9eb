//! The arguments move, the result stays: rephrased searches, pages past the end.
//!
//! Only calls that read. "Ok" for different items is bulk work, and so is the
//! same short answer for different ids; what counts is the same answer to
//! different *questions* or *positions*, or one long answer for everything.

use super::config::Config;
use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::{Kind, Print, Talk};
use super::window::Window;

/// Earlier questions a question is compared with.
const CLOSE_MAX: usize = 6;

/// Returns the sighting of a tool that answers the same to moving arguments.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    let print = &newest.print;
    let reads = print.kind == Kind::Read || print.query && print.kind == Kind::Run;
    if newest.waiting
        || newest.is_error()
        || newest.is_transport()
        || !reads
        || print.talk == Talk::Ack
    {
        return None;
    }
    let (mut near, mut free) = (Vec::new(), Vec::new());
    let mut close: Vec<&Print> = vec![print];
    let (mut near_first, mut free_first) = (newest.no, newest.no);
    for entry in window
        .newest_first()
        .filter(|entry| entry.print.family == print.family)
    {
        if entry.is_transport() {
            continue;
        }
        if entry.print.masked != print.masked || entry.is_error() {
            break;
        }
        // Near to one of the nearest few: wording drifts from call to call.
        if close
            .iter()
            .rev()
            .take(CLOSE_MAX)
            .any(|close| is_near(&entry.print, close))
            && note(&mut near, entry.print.call)
        {
            near_first = entry.no;
            close.push(&entry.print);
        }
        // Questions that differ in a number only are one question here.
        let question = if entry.print.query {
            entry.print.template
        } else {
            entry.print.call
        };
        if note(&mut free, question) {
            free_first = entry.no;
        }
        // More would only be counted.
        if near.len() >= config.stagnation_near as usize
            || free.len() >= config.stagnation_free as usize
        {
            break;
        }
    }
    let asks = print.query || print.talk == Talk::Long;
    let (near, free) = (near.len() as u32, if asks { free.len() as u32 } else { 0 });
    let by_near = near * config.stagnation_free >= free * config.stagnation_near;
    let (count, first, stop) = match by_near {
        true => (near, near_first, config.stagnation_near),
        false => (free, free_first, config.stagnation_free),
    };
    let about = Digest::join(&[print.family, print.masked]);
    Sighting::counted(
        Rung::Stagnation,
        Identity::new(About::Answer, about),
        first,
        count,
        stop,
    )
}

/// Near is: the same but for a position, or a question in similar words. The
/// same words about another number are another item.
fn is_near(one: &Print, other: &Print) -> bool {
    let asks =
        one.query && other.query && (one.template != other.template || one.call == other.call);
    !one.base.is_none() && one.base == other.base || asks && one.sketch.is_near(&other.sketch)
}

/// Adds a digest that is not there yet; returns whether it was added.
fn note(seen: &mut Vec<Digest>, digest: Digest) -> bool {
    let new = !seen.contains(&digest);
    if new {
        seen.push(digest);
    }
    new
}
