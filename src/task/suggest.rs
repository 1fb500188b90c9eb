//! "Did you mean": the nearest of the names that exist.

/// Returns the name nearest to `word`, if one is near enough to be meant.
///
/// Distance is that of Damerau and Levenshtein (optimal string alignment),
/// case ignored; at most a third of the word may differ, and one letter always.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let folded = |text: &str| -> Vec<char> {
        text.chars()
            .take(40)
            .flat_map(char::to_lowercase)
            .map(|c| if c == '-' { '_' } else { c })
            .collect()
    };
    let word = folded(word);
    let most = (word.len() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(&word, &folded(name)), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let differs = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + differs);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_table() {
        let names = ["command", "cwd", "deadline", "cost_usd", "env"];
        #[rustfmt::skip]
        let rows = [
            ("a missing letter", "comand", Some("command")),
            ("two swapped letters", "deadlnie", Some("deadline")),
            ("another case", "Deadline", Some("deadline")),
            ("a dash for an underscore", "cost-usd", Some("cost_usd")),
            ("one letter of three", "cmd", Some("cwd")),
            ("something else", "workers", None),
            ("nothing", "", None),
        ];
        for (name, word, want) in rows {
            assert_eq!(nearest(word, names), want, "row: {name}");
        }
    }
}
