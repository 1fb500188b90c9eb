//! Tries that are carried out by whoever asked for them.
//!
//! ```text
//! lend ──► event durable ──► "carry out try 1" ──► (the peer does) ──► lend_end ──► judged
//!                                   │                                     │
//!                                   └── peer gone, or too late ──► unknown ┘ again, or the answer
//! ```
//! The peer is the only one who knows what came of a try. When its connection ends,
//! or its time is over, nobody knows: for a write that is doubt, as for any tool.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::channel::Peer;
use crate::channel::frame::{self, Param};
use crate::channel::method::{LendEnd, LentEnd, Verbatim};
use crate::ids::CallId;
use crate::machine::event::RequestNo;
use crate::tools::GivenBack;

/// How much longer than the tool may take its end may be on its way.
const SLACK: Duration = Duration::from_secs(5);

/// How long an end that was sent before its sender went may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The tries that are out.
#[derive(Default)]
pub(super) struct Loans(HashMap<CallId, Loan>);

struct Loan {
    attempt: u32,
    back: oneshot::Sender<(RequestNo, GivenBack)>,
}

/// A try that came to its end.
pub(super) struct Returned {
    /// The request that told of it, if anybody did.
    pub(super) request: Option<RequestNo>,
    /// What came of it.
    pub(super) back: GivenBack,
    /// How long it was out, in milliseconds.
    pub(super) took_ms: u64,
}

impl Loans {
    /// Notes that a try is out; the future is its end.
    ///
    /// - `peer`: who carries it out; `None`: there was nobody left to tell.
    pub(super) fn lend(
        &mut self,
        call: CallId,
        attempt: u32,
        timeout_ms: u64,
        peer: Option<Peer>,
    ) -> impl Future<Output = Returned> + Send + 'static {
        let (sender, back) = oneshot::channel();
        let loan = Loan {
            attempt,
            back: sender,
        };
        self.0.insert(call, loan);
        let began = Instant::now();
        async move {
            let (request, back) = ended(back, timeout_ms, peer).await;
            Returned {
                request,
                back,
                took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            }
        }
    }

    /// Takes in what came of a try.
    ///
    /// Errors: no such try is out, or it was given up on.
    pub(super) fn end(&mut self, request: RequestNo, end: LendEnd) -> Result<(), frame::Error> {
        let wrong = |found: String| {
            Box::new(Param {
                method: "lend_end",
                field: "call".into(),
                expected: "a call that is lent, with its present attempt".into(),
                found,
                fix: None,
                meant: None,
            })
        };
        let LendEnd { call, attempt, end } = end;
        let loan = match self.0.remove(&call) {
            Some(loan) if loan.attempt == attempt => loan,
            Some(loan) => {
                let found = format!(
                    "attempt {attempt} of call {call}, which is at {}",
                    loan.attempt
                );
                self.0.insert(call, loan);
                return Err(wrong(found).into());
            }
            None => return Err(wrong(format!("{call}, which is not lent")).into()),
        };
        let back = match end {
            LentEnd::Response(response) => GivenBack::Response(read(&response)),
            LentEnd::Lost(why) => GivenBack::Lost { why },
            LentEnd::Unsent(why) => GivenBack::Unsent { why },
        };
        loan.back
            .send((request, back))
            .map_err(|_| wrong(format!("{call}, which took too long")).into())
    }

    /// Forgets a try that is over.
    pub(super) fn forget(&mut self, call: CallId) {
        self.0.remove(&call);
    }
}

async fn ended(
    mut back: oneshot::Receiver<(RequestNo, GivenBack)>,
    timeout_ms: u64,
    peer: Option<Peer>,
) -> (Option<RequestNo>, GivenBack) {
    let Some(peer) = peer else {
        let why = "Connection closed: whoever asked for the call has gone".to_owned();
        return (None, GivenBack::Unsent { why });
    };
    let patience = Duration::from_millis(timeout_ms).saturating_add(SLACK);
    let missing = tokio::select! {
        biased;
        told = &mut back => return match told {
            Ok((request, back)) => (Some(request), back),
            Err(_) => (None, gone()),
        },
        () = peer.gone() => gone(),
        () = sleep(patience) => GivenBack::Late { timeout_ms },
    };
    match timeout(LAST_WORDS, back).await {
        Ok(Ok((request, back))) => (Some(request), back),
        Ok(Err(_)) | Err(_) => (None, missing),
    }
}

fn gone() -> GivenBack {
    GivenBack::Lost {
        why: "Connection closed: whoever carried the call out has gone".to_owned(),
    }
}

/// Reads a response; what no tree can hold is told by its beginning.
fn read(response: &Verbatim) -> serde_json::Value {
    serde_json::from_str(response.get()).unwrap_or_else(|_| {
        let text: String = response.get().chars().take(1000).collect();
        serde_json::json!({"result": {"content": [{"type": "text", "text": text}]}})
    })
}
