//! A scripted model in this process: what reached it is counted where nothing of
//! the supervisor can change it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use agentguard::channel::gateway::script::{self, Model};
use serde_json::Value;

pub struct Upstream {
    address: SocketAddr,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Upstream {
    /// Starts a model that answers from `script`.
    pub fn start(script: &str) -> Self {
        let script = script::parse(script, "script").expect("a script");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let model = Model::open(script, None, None).await.expect("a port");
                sender.send(model.address()).expect("somebody waits");
                let _ = ended.await;
            });
        });
        Self {
            address: receiver.recv().expect("it listens"),
            _end: end,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What reached it.
    pub fn ledger(&self) -> Value {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = "GET /_script/ledger HTTP/1.1\r\nHost: model\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        serde_json::from_str(body).expect("JSON")
    }

    /// Requests that reached it.
    pub fn calls(&self) -> u64 {
        self.ledger()["calls"].as_u64().expect("a count")
    }
}
