//! Sends what waits in the outbox: at least once, each with its id.
//!
//! ```text
//! event + rows, one transaction ─► claim ─► send ─► row goes
//!                                    ▲        └─ failed: due again, full jitter
//!                                    └─ a sender that dies lets its claim run out
//! ```
//! The process that holds a run sends what the run has to say, and what an earlier
//! one left; `agentguard notify --flush` does it for all runs. A slow, wrong or dead
//! receiver delays nobody: each message is sent in a task of its own with a time
//! limit, and is given up after a day.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::{Clock, UnixMs};
use crate::drill::{Boundary, Side, fault};
use crate::human::letter::{Letter, body};
use crate::ids::RunId;
use crate::policy::retry::{self, Strategy};
use crate::store::{self, LetterRow, Posted, Store};
use crate::task::resolved::Target;
use crate::task::template::Place;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a claim lasts beyond that.
const SLACK_MS: u64 = 5_000;
/// How often is looked for new messages.
const LOOK: Duration = Duration::from_millis(100);
/// How the waits between tries grow.
const AGAIN: retry::Config = retry::Config {
    strategy: Strategy::FullJitter,
    base_ms: 1_000,
    cap_ms: 300_000,
    attempts: u32::MAX,
};
/// When a message is given up: after a day.
const LIFE_MS: u64 = 24 * 3_600_000;
/// Messages on their way at once.
const AT_ONCE_MAX: usize = 8;

/// Where variables of URLs come from.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What sending needs.
#[derive(Clone)]
pub struct Post {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Reads the environment.
    pub variables: Variables,
    /// Whose messages; `None`: everybody's.
    pub run: Option<RunId>,
}

/// A sender at work. Dropping it stops it; what is not sent stays.
pub struct Sending {
    closing: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Sending {
    /// Starts to send, in a task of its own.
    pub fn start(post: Post) -> Self {
        let closing = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closing);
        let task = tokio::spawn(async move { post.send_all(&told).await });
        Self { closing, task }
    }

    /// Lets every message have its first try, then stops.
    pub async fn finish(mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(PATIENCE + LOOK, &mut self.task).await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Post {
    async fn send_all(self, closing: &AtomicBool) {
        let mut under_way = JoinSet::new();
        let mut ids = BTreeSet::new();
        loop {
            let is_closing = closing.load(Ordering::Relaxed);
            let rows = match self.store.letters(self.run.as_ref()) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
                    Vec::new()
                }
            };
            let now = self.clock.now();
            let mut fresh = rows.iter().filter(|row| row.tries == 0).count();
            for row in rows {
                let is_due = row.due <= now && !(is_closing && row.tries > 0);
                if is_due && under_way.len() < AT_ONCE_MAX && ids.insert(row.id.clone()) {
                    fresh -= usize::from(row.tries == 0);
                    let post = self.clone();
                    under_way.spawn(async move {
                        let id = row.id.clone();
                        if let Err(error) = post.send_one(row).await {
                            tracing::warn!(%error, "the outbox cannot be written");
                        }
                        id
                    });
                }
            }
            if is_closing && under_way.is_empty() && fresh == 0 {
                return;
            }
            tokio::select! {
                Some(Ok(id)) = under_way.join_next() => {
                    ids.remove(&id);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Tries every message once, due or not; returns how many were sent, and how many
    /// were not.
    pub async fn flush(&self) -> store::Result<(usize, usize)> {
        let mut tries = JoinSet::new();
        for row in self.store.letters(self.run.as_ref())? {
            let post = self.clone();
            tries.spawn(async move { post.send_one(row).await });
        }
        let (mut sent, mut failed) = (0, 0);
        while let Some(came) = tries.join_next().await {
            match came {
                Ok(Ok(true)) => sent += 1,
                Ok(Ok(false)) | Err(_) => failed += 1,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok((sent, failed))
    }

    /// Claims a message and tries it; tells whether it arrived.
    async fn send_one(&self, row: LetterRow) -> store::Result<bool> {
        let now = self.clock.now();
        let until = now.plus(millis(PATIENCE) + SLACK_MS);
        if !self
            .store
            .claim_letter(&row.id, now.max(row.due), until)
            .await?
        {
            return Ok(false);
        }
        fault(Boundary::LetterSent, Side::BeforeSave);
        let sent = match tokio::time::timeout(PATIENCE, self.deliver(&row)).await {
            Ok(sent) => sent,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        fault(Boundary::LetterSent, Side::AfterSave);
        let is_sent = sent.is_ok();
        let posted = match sent {
            Ok(()) => Posted::Sent,
            Err(error) => {
                tracing::warn!(id = row.id, error, "a notification failed");
                self.failed(&row, error)
            }
        };
        self.store.posted(&row.id, posted).await?;
        fault(Boundary::LetterSent, Side::AfterRelease);
        Ok(is_sent)
    }

    fn failed(&self, row: &LetterRow, error: String) -> Posted {
        let now = self.clock.now();
        let delay_ms = retry::delay_ms(&AGAIN, row.tries + 1, 0, rand::random::<f64>());
        let is_over = now.since(row.posted) >= LIFE_MS;
        let again: Option<UnixMs> = (!is_over).then(|| now.plus(delay_ms));
        Posted::Failed { error, again }
    }

    async fn deliver(&self, row: &LetterRow) -> Result<(), String> {
        let letter: Letter =
            serde_json::from_str(&row.body).map_err(|error| format!("cannot be read: {error}"))?;
        match &letter.to {
            Target::Command(argv) => {
                run(argv, &row.id, &body(&letter.message, Default::default())).await
            }
            Target::Webhook { url, format } => {
                let url = url
                    .render(Place::Body, &Value::Null, &|name| (self.variables)(name))
                    .map_err(|error| error.to_string())?;
                post(&url, &row.id, &body(&letter.message, *format)).await
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

async fn run(argv: &[String], id: &str, body: &Value) -> Result<(), String> {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .env("AGENTGUARD_NOTIFICATION_ID", id)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not want to know is fine.
        let _ = stdin.write_all(body.to_string().as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {status}"))
    }
}

async fn post(url: &str, id: &str, body: &Value) -> Result<(), String> {
    // The URL is a secret; errors are told without it.
    let client = crate::tools::client_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.without_url().to_string())?;
    let answer = client
        .post(url)
        .header("content-type", "application/json")
        .header("idempotency-key", id)
        .body(body.to_string())
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("HTTP {}", answer.status()))
    }
}
