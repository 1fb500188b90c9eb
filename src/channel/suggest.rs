//! "Did you mean": the known word nearest to an unknown one.

/// Returns the word of `known` that `found` was probably meant to be.
///
/// At most a third of the letters may differ (a swap of neighbours counts as
/// one), so that a foreign word suggests nothing.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    if found.len() > 40 {
        return None;
    }
    let found = found.to_lowercase().replace('-', "_");
    let distance = |word: &&str| distance(&found, word);
    let nearest = known.iter().copied().min_by_key(distance)?;
    let allowed = nearest.chars().count().max(3) / 3;
    let prefix = found.len() >= 3 && nearest.starts_with(&found);
    (prefix || distance(&nearest) <= allowed).then_some(nearest)
}

/// Returns the edits (insert, remove, replace, swap neighbours) between two words.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let same = left[i - 1] == right[j - 1];
            let mut best = rows[i - 1][j - 1] + usize::from(!same);
            best = best.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_table() {
        let known = ["messages", "history", "usage", "step", "done"];
        #[rustfmt::skip]
        let rows = [
            ("a missing letter",    "mesages",  Some("messages")),
            ("swapped neighbours",  "setp",     Some("step")),
            ("a singular",          "message",  Some("messages")),
            ("capitals",            "Usage",    Some("usage")),
            ("a beginning",         "hist",     Some("history")),
            ("a foreign word",      "payload",  None),
            ("nothing",             "",         None),
        ];
        for (name, found, want) in rows {
            assert_eq!(nearest(found, &known), want, "row: {name}");
        }
    }
}
