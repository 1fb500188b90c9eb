//! The body of an HTTP answer: to disk as it comes, bounded in memory.
//!
//! When the disk is full it goes on reading: the other side is not at fault.

use std::path::PathBuf;

use reqwest::Response;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::process::excerpt::Excerpt;

/// Longest body that is read, in bytes.
pub(super) const BODY_BYTES_MAX: u64 = 64 << 20;

/// A body that is being read. The file is made with the first byte.
pub(super) struct Download {
    path: PathBuf,
    file: Option<File>,
    disk_is_broken: bool,
    excerpt: Excerpt,
    is_too_long: bool,
}

/// A body that was read, to its end or as far as it came.
pub(super) struct Downloaded {
    /// As text, perhaps with a middle left out. Bytes that are no UTF-8 stand
    /// as U+FFFD.
    pub(super) text: String,
    /// All that was read.
    pub(super) bytes_total: u64,
    /// Whether `text` leaves something out.
    pub(super) truncated: bool,
    /// Whether it goes on after [`BODY_BYTES_MAX`] bytes; that was not read.
    pub(super) is_too_long: bool,
    /// Whether all of it is UTF-8.
    pub(super) is_utf8: bool,
    /// The file with what was read; `None` when that is nothing, or the file
    /// is incomplete.
    pub(super) path: Option<PathBuf>,
}

impl Download {
    /// Makes one that has read nothing.
    pub(super) fn new(path: PathBuf, keep_bytes: usize) -> Self {
        Self {
            path,
            file: None,
            disk_is_broken: false,
            excerpt: Excerpt::new(keep_bytes),
            is_too_long: false,
        }
    }

    /// Reads until the end, or until it is too long. May be dropped: what was
    /// read by then is kept.
    ///
    /// Errors: the connection's.
    pub(super) async fn read(&mut self, response: &mut Response) -> reqwest::Result<()> {
        while let Some(chunk) = response.chunk().await? {
            let room = BODY_BYTES_MAX - self.excerpt.bytes_total();
            let length = usize::try_from(room).unwrap_or(usize::MAX).min(chunk.len());
            self.excerpt.push(&chunk[..length]);
            self.write(&chunk[..length]).await;
            if length < chunk.len() {
                self.is_too_long = true;
                break;
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.disk_is_broken {
            return;
        }
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            self.file = options.open(&self.path).await.ok();
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes).await.is_ok(),
            None => false,
        };
        self.disk_is_broken = !written;
    }

    /// Returns what was read.
    pub(super) async fn finish(mut self) -> Downloaded {
        let is_complete = match &mut self.file {
            Some(file) => file.flush().await.is_ok() && !self.disk_is_broken,
            None => false,
        };
        Downloaded {
            bytes_total: self.excerpt.bytes_total(),
            truncated: self.excerpt.is_truncated(),
            is_too_long: self.is_too_long,
            is_utf8: self.excerpt.is_utf8(),
            text: self.excerpt.into_text(),
            path: is_complete.then_some(self.path),
        }
    }
}
