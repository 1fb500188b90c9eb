//! What of a folder is staged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// The part of a name that marks a stage beside its target: `.NAME.agentguard-RUN`.
pub const MARK: &str = ".agentguard-";

/// `*` stops at `/`, and dots are letters like others.
const HOW: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What is left out: not in the stage, and untouched in the target.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    patterns: Vec<(Pattern, bool)>,
    /// Whole paths, such as the state folder's.
    paths: Vec<PathBuf>,
    /// Where only some paths are looked at: these.
    only: Option<BTreeSet<PathBuf>>,
}

impl Rules {
    /// Takes the patterns of a task, which are checked, and absolute paths.
    ///
    /// A pattern without `/` means a name at any depth, one with `/` a path from
    /// the top of the folder. What lies below a match is left out with it.
    pub fn new(patterns: &[String], paths: Vec<PathBuf>) -> Self {
        let patterns = patterns
            .iter()
            .filter_map(|text| {
                let text = text.trim_end_matches('/');
                let is_path = text.contains('/');
                let pattern = Pattern::new(text.trim_start_matches('/')).ok()?;
                Some((pattern, is_path))
            })
            .collect();
        Self {
            patterns,
            paths,
            only: None,
        }
    }

    /// Returns the same rules for a folder of which only `paths` are looked at; the
    /// folders above them must be among them.
    pub(super) fn within(&self, paths: BTreeSet<PathBuf>) -> Self {
        Self {
            only: Some(paths),
            ..self.clone()
        }
    }

    /// Returns whether `path`, relative to the folder, is looked at.
    pub(super) fn looks_at(&self, path: &Path) -> bool {
        self.only.as_ref().is_none_or(|paths| paths.contains(path))
    }

    /// Returns whether `path`, relative to the folder at `root`, is left out.
    pub fn leave_out(&self, root: &Path, path: &Path) -> bool {
        let Some(name) = path.file_name() else {
            return false;
        };
        let name_text = name.to_string_lossy();
        if name_text.starts_with('.') && name_text.contains(MARK) {
            return true;
        }
        if self.paths.iter().any(|known| *known == root.join(path)) {
            return true;
        }
        self.patterns.iter().any(|(pattern, is_path)| {
            if *is_path {
                pattern.matches_path_with(path, HOW)
            } else {
                pattern.matches_with(&name_text, HOW)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_out_table() {
        #[rustfmt::skip]
        let rows = [
            ("a name, at the top", "node_modules", "node_modules", true),
            ("a name, further down", "node_modules", "web/node_modules", true),
            ("not a part of a name", "node_modules", "node_modules2", false),
            ("a closing slash says nothing more", "target/", "target", true),
            ("a path is from the top", "web/dist", "web/dist", true),
            ("and only from there", "web/dist", "a/web/dist", false),
            ("a leading slash pins a name to the top", "/dist", "web/dist", false),
            ("which it then matches", "/dist", "dist", true),
            ("a star", "*.log", "a/b.log", true),
            ("a star stops at a slash", "a/*.log", "a/b/c.log", false),
            ("two do not", "a/**/*.log", "a/b/c.log", true),
            ("stages of other runs", "x", "deep/.app.agentguard-r-7f3ak2m9", true),
            ("a file that only speaks of them", "x", "my.agentguard-notes", false),
        ];
        for (name, pattern, path, want) in rows {
            let rules = Rules::new(&[pattern.to_owned()], vec![]);
            assert_eq!(
                rules.leave_out(Path::new("/t"), Path::new(path)),
                want,
                "row: {name}"
            );
        }
    }

    #[test]
    fn a_whole_path_is_left_out() {
        let rules = Rules::new(&[], vec!["/t/state".into()]);
        assert!(rules.leave_out(Path::new("/t"), Path::new("state")));
        assert!(!rules.leave_out(Path::new("/t"), Path::new("a/state")));
    }
}
