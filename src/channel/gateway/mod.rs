//! The gateway: a loopback HTTP server that an agent takes for its model's API.
//!
//! ```text
//!  agent ──► server ──► call ──► upstream
//!                        │ reserve, report, turn
//!                        ▼
//!                       hub ──► driver
//! ```
//!
//! An agent that knows nothing of us is started with our address and a token of
//! this run in the place of its provider's address and key. Each model call is
//! held back as money before it goes out (`reserve`), and is a turn when it has
//! come back (`turn`): the end of the answer leaves only after that turn is
//! durable. Tool results found in a request are told of (`report`), so that
//! loops are seen; a steer is added behind the last message of the next request.
//! Bytes pass unchanged otherwise.
//!
//! To read: [`server`] (who may ask), [`call`] (one model call), [`chain`] and
//! [`upstream`] (where it goes), [`stream`] and [`line`] (the way back), [`memory`],
//! [`known`], [`history`], [`quick`] and [`volatile`] (what earlier calls tell about the next),
//! [`script`] (a model that answers from a file), and [`wire`] (the formats, pure).
//!
//! After a crash the agent is started again and asks the same again: answers
//! that were durable come from the record, free of charge, until its requests
//! differ.
//!
//! Not here: whether a call is tried again, and of whom (`machine::model`).

mod body;
mod call;
pub mod chain;
mod history;
mod known;
mod line;
mod memory;
mod quick;
pub mod script;
mod secret;
mod server;
mod stream;
pub mod upstream;
pub mod volatile;
pub mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::heard::Speaker;
use super::hub::Hub;
use crate::ids::{ConversationNo, Seq};
use memory::Memory;
use secret::Secrets;
use upstream::Upstreams;
use volatile::Volatile;
use wire::said::Said;
use wire::{Api, Digest};

/// What the gateway of a run needs.
pub struct Settings {
    /// Where calls go.
    pub upstreams: Upstreams,
    /// The links of the chain; never empty.
    pub chain: Vec<chain::Link>,
    /// The client they go out by.
    pub client: reqwest::Client,
    /// How long a whole answer may take.
    pub patience: Duration,
    /// Longest silence within a stream.
    pub idle: Duration,
    /// Whether money is limited: then a call without a limit of its output gets
    /// one.
    pub is_capped: bool,
    /// Answers of earlier attempts, given again to the same requests, free of
    /// charge.
    pub recorded: Vec<Recorded>,
    /// Reads their bytes.
    pub reply: Replies,
    /// What differs between requests that are the same.
    pub volatile: Volatile,
    /// What the model is told with its first call.
    pub note: Option<String>,
    /// Scripted models that links go to; they end with the gateway.
    pub models: Vec<script::Model>,
}

/// Reads the bytes of an answer by the event that tells of it; `None` where they are
/// lost.
pub type Replies = Box<dyn Fn(Seq) -> Option<Vec<u8>> + Send + Sync>;

/// An answer of an earlier attempt.
pub struct Recorded {
    /// What identifies its request.
    pub request: String,
    /// The event that tells of it.
    pub event: Seq,
    /// Its content type.
    pub content_type: String,
    /// What it cost, in nano-USD.
    pub cost_nano_usd: u64,
    /// The conversation that it is of, where this attempt goes on with the same ones.
    pub conversation: Option<ConversationNo>,
}

/// The gateway of one attempt. Dropping it ends it, and every call under way.
pub struct Gateway {
    address: SocketAddr,
    token: String,
    server: JoinHandle<()>,
}

/// Returns what a stored message means, as messages of calls are compared, and who
/// speaks.
///
/// - `api`: the name of the one that it is written for.
pub fn read_message(api: &str, body: &str, volatile: &Volatile) -> (Option<Digest>, Speaker) {
    let Some(api) = Api::by_name(api) else {
        return (None, Speaker::Other);
    };
    let said = Said::of_item(api, body);
    let meaning = history::meaning(api, body, &said, volatile);
    (meaning, history::speaker(&said))
}

/// How an agent gets in.
#[derive(Clone, Default)]
pub struct Access {
    /// The address, without a slash at its end.
    pub base: String,
    /// The key of this attempt.
    pub token: String,
}

/// What all calls of a run share.
struct Shared {
    hub: Hub,
    settings: Settings,
    token: String,
    /// The keys that upstreams may repeat.
    secrets: Secrets,
    /// The names under which we may be asked, against rebinding.
    hosts: [String; 2],
    memory: Mutex<Memory>,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// Listens on a free port of the loopback.
    ///
    /// Errors: the system's.
    pub async fn open(hub: &Hub, mut settings: Settings) -> std::io::Result<Self> {
        let memory = Memory::new(std::mem::take(&mut settings.recorded), settings.note.take());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let bits: [u64; 2] = [rand::rng().next_u64(), rand::rng().next_u64()];
        let token = format!("agentguard-{:016x}{:016x}", bits[0], bits[1]);
        let port = address.port();
        let of_links = settings.chain.iter().filter_map(chain::Link::key);
        let secrets = Secrets::new(settings.upstreams.keys().chain(of_links));
        let shared = Arc::new(Shared {
            hub: hub.clone(),
            secrets,
            settings,
            token: token.clone(),
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            memory: Mutex::new(memory),
        });
        Ok(Self {
            address,
            token,
            server: tokio::spawn(server::serve(listener, shared)),
        })
    }

    /// Returns how an agent gets in.
    pub fn access(&self) -> Access {
        Access {
            base: format!("http://{}", self.address),
            token: self.token.clone(),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}
