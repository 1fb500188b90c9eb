//! A log that is read while it is written, and set aside when it is full.
//!
//! ```text
//! agent.log.1   the former file, if there is one     (older)
//! agent.log     the present one; becomes agent.log.1 (newer)
//! ```
//! A file is known by its inode, so a name that moved on is noticed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// The rest of a log.
pub struct Tail {
    path: PathBuf,
    /// What is still to be read, oldest first; the last one may grow.
    files: Vec<File>,
    gap: bool,
}

impl Tail {
    /// Opens the log at `path`, which need not be there yet.
    ///
    /// - `lines`: how many lines before its end to begin; all without.
    pub fn open(path: &Path, lines: Option<u64>) -> io::Result<Self> {
        let mut files = Vec::new();
        files.extend(open(&aside(path))?);
        if let Some(present) = open(path)? {
            // Set aside between the two: then it is one file, not two.
            let twice = match files.last() {
                Some(former) => same(former, &present)?,
                None => false,
            };
            if !twice {
                files.push(present);
            }
        }
        if let Some(lines) = lines {
            skip_to_last(&mut files, lines)?;
        }
        Ok(Self {
            path: path.to_owned(),
            files,
            gap: false,
        })
    }

    /// Reads to the present end; stops early when `take` returns `false`.
    pub fn read(&mut self, take: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
        loop {
            while let Some(file) = self.files.first_mut() {
                if !drain(file, take)? {
                    return Ok(());
                }
                if self.files.len() == 1 {
                    break;
                }
                self.files.remove(0);
            }
            if !self.catch_up()? {
                return Ok(());
            }
        }
    }

    /// Returns whether output was lost since this was asked last.
    pub fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.gap)
    }

    /// Finds the files that came after ours; returns whether there are any.
    fn catch_up(&mut self) -> io::Result<bool> {
        let Some(present) = open(&self.path)? else {
            return Ok(false);
        };
        let Some(ours) = self.files.pop() else {
            self.files.push(present);
            return Ok(true);
        };
        if same(&ours, &present)? {
            self.files.push(ours);
            return Ok(false);
        }
        match open(&aside(&self.path))? {
            // It was set aside; its end may have come after we read it.
            Some(former) if same(&ours, &former)? => self.files.push(ours),
            // Another one came and went in between, or more.
            Some(former) => {
                self.gap = true;
                self.files.extend([ours, former]);
            }
            None => self.files.push(ours),
        }
        self.files.push(present);
        Ok(true)
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".1");
    aside.into()
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Reads to the end; returns whether `take` wants more.
fn drain(file: &mut File, take: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(read) if !take(&chunk[..read]) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Leaves `files` so that only the last `lines` lines are still to be read. A
/// last line without its end counts.
fn skip_to_last(files: &mut Vec<File>, lines: u64) -> io::Result<()> {
    let mut left = lines;
    let mut at_end = true;
    for place in (0..files.len()).rev() {
        let start = line_start(&mut files[place], &mut left, &mut at_end)?;
        files[place].seek(SeekFrom::Start(start.unwrap_or(0)))?;
        if start.is_some() {
            files.drain(..place);
            return Ok(());
        }
    }
    Ok(())
}

/// Returns where the last `left` lines of a file begin; `None` when all of it
/// is wanted, with `left` counted down.
///
/// - `at_end`: whether nothing was seen yet of what follows this file.
fn line_start(file: &mut File, left: &mut u64, at_end: &mut bool) -> io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK_BYTES];
    while end > 0 {
        let size = (CHUNK_BYTES as u64).min(end);
        let begin = end - size;
        let bytes = &mut chunk[..usize::try_from(size).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(bytes)?;
        for (place, byte) in bytes.iter().enumerate().rev() {
            let ends_all = std::mem::replace(at_end, false);
            if *byte == b'\n' && !ends_all {
                *left = left.saturating_sub(1);
            }
            if *left == 0 {
                return Ok(Some(begin + place as u64 + 1));
            }
        }
        end = begin;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("agentguard-tail-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("agent.log")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(tail: &mut Tail) -> String {
        let mut all = Vec::new();
        tail.read(&mut |chunk| {
            all.extend_from_slice(chunk);
            true
        })
        .unwrap();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn last_lines_table() {
        type Row = (
            &'static str,
            Option<&'static str>,
            &'static str,
            Option<u64>,
            &'static str,
        );
        #[rustfmt::skip]
        let rows: [Row; 9] = [
            ("all of both", Some("a\nb\n"), "c\n", None, "a\nb\nc\n"),
            ("the last line", None, "a\nb\n", Some(1), "b\n"),
            ("a last line without its end counts", None, "a\nb", Some(1), "b"),
            ("no line", None, "a\nb\n", Some(0), ""),
            ("more than there are", None, "a\nb\n", Some(9), "a\nb\n"),
            ("into the file before", Some("a\nb\n"), "c\nd\n", Some(3), "b\nc\nd\n"),
            ("a line that spans both", Some("a\nb"), "c\nd\n", Some(2), "bc\nd\n"),
            ("just the present file", Some("a\n"), "b\nc\n", Some(2), "b\nc\n"),
            ("an empty log", None, "", Some(3), ""),
        ];
        for (number, (name, former, present, lines, want)) in rows.into_iter().enumerate() {
            let folder = Folder::new(&format!("last-{number}"));
            if let Some(former) = former {
                fs::write(aside(&folder.log()), former).unwrap();
            }
            fs::write(folder.log(), present).unwrap();
            let mut tail = Tail::open(&folder.log(), lines).unwrap();
            assert_eq!(read(&mut tail), want, "row: {name}");
        }
    }

    #[test]
    fn a_log_that_is_set_aside_is_followed_to_its_end() {
        let folder = Folder::new("aside");
        let log = folder.log();
        let mut tail = Tail::open(&log, None).unwrap();
        assert_eq!(read(&mut tail), "", "not there yet");
        fs::write(&log, "1\n").unwrap();
        assert_eq!(read(&mut tail), "1\n");
        let mut writer = fs::OpenOptions::new().append(true).open(&log).unwrap();
        io::Write::write_all(&mut writer, b"2\n").unwrap();
        fs::rename(&log, aside(&log)).unwrap();
        fs::write(&log, "3\n").unwrap();
        assert_eq!(read(&mut tail), "2\n3\n");
        assert!(!tail.take_gap());
    }

    #[test]
    fn a_flood_that_outruns_the_reader_is_told() {
        let folder = Folder::new("flood");
        let log = folder.log();
        fs::write(&log, "1\n").unwrap();
        let mut tail = Tail::open(&log, None).unwrap();
        assert_eq!(read(&mut tail), "1\n");
        for text in ["2\n", "3\n"] {
            fs::rename(&log, aside(&log)).unwrap();
            fs::write(&log, text).unwrap();
        }
        assert_eq!(read(&mut tail), "2\n3\n");
        assert!(tail.take_gap());
    }
}
