//! Columns of text.

use crate::observe::plain;

/// The blanks between two columns.
const GAP: &str = "  ";

/// Returns `rows` below `heads`, each column as wide as its widest cell.
///
/// Cells are made plain and put on one line. The last column may be long; it is
/// cut so that a row fits into `width` characters.
pub fn table(heads: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads)
        .chain(rows.iter().cloned())
        .map(|row: Vec<String>| row.iter().map(|cell| plain::line(cell)).collect())
        .collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        text.push_str(&row(line, &widths, width));
        text.push('\n');
    }
    text
}

fn row(cells: &[String], widths: &[usize], width: Option<usize>) -> String {
    let last = widths.len().saturating_sub(1);
    let mut text = String::new();
    let mut used = 0;
    for (cell, column_width) in cells.iter().take(last).zip(widths) {
        text.push_str(&format!("{cell:<column_width$}{GAP}"));
        used += column_width + GAP.len();
    }
    if let Some(cell) = cells.get(last) {
        // A terminal too narrow for the others still gets the beginning.
        let room = width.map_or(usize::MAX / 4, |width| width.saturating_sub(used).max(12));
        text.push_str(&plain::excerpt(cell, room));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_is_cut() {
        let rows = [
            vec!["a".into(), "1".into(), "short".into()],
            vec!["bcd".into(), "22".into(), "long enough to be cut".into()],
            vec!["\x1b[2J".into(), String::new(), String::new()],
        ];
        let shown = table(&["NAME", "N", "TEXT"], &rows, Some(26));
        assert_eq!(
            shown,
            "NAME     N   TEXT\n\
             a        1   short\n\
             bcd      22  long enough…\n\
             \\x1b[2J\n"
        );
    }
}
