//! Tells people: a command or a webhook for what the task file names.
//!
//! A notification leaves after its event is durable, each in a task of its own
//! with a time limit; a dead webhook delays nothing and fails nothing. What
//! could not be sent is logged.
//!
//! Not here yet: an outbox that sends again after a crash.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::driver::launch::Environment;
use crate::machine::Outcome;
use crate::observe::{Moment, Observer, Report};
use crate::task::resolved::{Notify, Occasion, Target, WebhookFormat};
use crate::task::template::Place;

/// How long one notification may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notifications on their way.
pub type OnTheirWay = Arc<Mutex<JoinSet<()>>>;

/// Sends what the task file asks for.
pub struct Notifier {
    rules: Vec<Notify>,
    environment: Environment,
    sending: OnTheirWay,
}

impl Notifier {
    /// Makes one; `None` where nobody wants to be told.
    pub fn new(rules: &[Notify], environment: &Environment) -> Option<Self> {
        (!rules.is_empty()).then(|| Self {
            rules: rules.to_vec(),
            environment: environment.clone(),
            sending: OnTheirWay::default(),
        })
    }

    /// Returns what is on its way, to be waited for at the end.
    pub fn on_their_way(&self) -> OnTheirWay {
        Arc::clone(&self.sending)
    }

    fn tell(&self, occasion: Occasion, text: &str, body: &Value) {
        for rule in self.rules.iter().filter(|rule| rule.on.contains(&occasion)) {
            let (target, text, body) = (rule.target.clone(), text.to_owned(), body.clone());
            let environment = self.environment.clone();
            let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
            sending.spawn(async move {
                let sent = tokio::time::timeout(PATIENCE, send(target, &environment, &text, &body));
                match sent.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(?occasion, error, "a notification failed"),
                    Err(_) => tracing::warn!(?occasion, "a notification took too long"),
                }
            });
        }
    }
}

impl Observer for Notifier {
    fn on(&mut self, moment: &Moment<'_>) {
        let run = moment.run;
        let report = || json!(Report::of(run, moment.state));
        for note in moment.notes {
            if note.rule.starts_with("limit.") && note.rule.ends_with(".soft") {
                let text = format!("run {run}: {}", note.evidence);
                self.tell(
                    Occasion::Soft,
                    &text,
                    &body(Occasion::Soft, &text, report()),
                );
            }
        }
        for breaker in moment.opened {
            let text = format!("run {run}: the breaker of `{breaker}` opened");
            self.tell(
                Occasion::Breaker,
                &text,
                &body(Occasion::Breaker, &text, report()),
            );
        }
        if let Some(outcome) = moment.ended {
            let occasion = occasion(outcome);
            let text = format!("run {run} ({}): {}", moment.state.name, outcome.describe());
            self.tell(occasion, &text, &body(occasion, &text, report()));
        }
    }
}

/// Waits until everything was sent or given up.
pub async fn finish(sending: &OnTheirWay) {
    let mut all = std::mem::take(&mut *sending.lock().unwrap_or_else(PoisonError::into_inner));
    while all.join_next().await.is_some() {}
}

fn occasion(outcome: &Outcome) -> Occasion {
    match outcome {
        Outcome::Done { .. } => Occasion::Done,
        Outcome::Failed { .. } | Outcome::Crashed { .. } | Outcome::Broke { .. } => {
            Occasion::Failed
        }
        Outcome::Rejected { .. } => Occasion::Rejected,
        Outcome::Conflict { .. } => Occasion::Conflict,
        Outcome::Budget { .. } => Occasion::Budget,
        Outcome::TimeUp { .. } => Occasion::Deadline,
        Outcome::Loop { .. } => Occasion::Loop,
        Outcome::Unavailable { .. } | Outcome::Parked { .. } => Occasion::Unavailable,
        Outcome::InDoubt { .. } => Occasion::InDoubt,
        Outcome::Stopped { .. } => Occasion::Interrupted,
    }
}

fn body(occasion: Occasion, text: &str, report: Value) -> Value {
    json!({"v": 1, "occasion": occasion, "text": text, "report": report})
}

async fn send(
    target: Target,
    environment: &Environment,
    text: &str,
    body: &Value,
) -> Result<(), String> {
    match target {
        Target::Command(argv) => run(&argv, body).await,
        Target::Webhook { url, format } => {
            let url = url
                .render(Place::Body, &Value::Null, &|name| {
                    environment.variable(name)
                })
                .map_err(|error| error.to_string())?;
            let body = match format {
                WebhookFormat::Json => body.clone(),
                WebhookFormat::Slack => json!({"text": text}),
            };
            post(&url, &body).await
        }
    }
}

async fn run(argv: &[String], body: &Value) -> Result<(), String> {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let mut child = tokio::process::Command::new(program)
        .args(args)
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

async fn post(url: &str, body: &Value) -> Result<(), String> {
    // The URL is a secret; errors are told without it.
    let client = crate::tools::client_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| error.without_url().to_string())?;
    let answer = client
        .post(url)
        .header("content-type", "application/json")
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
