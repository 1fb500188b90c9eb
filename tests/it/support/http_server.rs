//! An HTTP server on loopback that does as it is told, well or badly.
//!
//! One thread, one connection at a time, one reply per connection, in order.
//! What it received is there to be looked at as soon as it was read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does with one connection.
pub enum Reply {
    /// Answers with a status, headers and a body of the right length.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Sends exactly these bytes and closes.
    Raw(Vec<u8>),
    /// Sends exactly these bytes, and nothing more until the server is dropped.
    RawThenSilence(Vec<u8>),
    /// Sends exactly these bytes and resets the connection.
    RawThenReset(Vec<u8>),
    /// Answers with 200 and a body of that many bytes.
    Flood(u64),
    /// Waits, then does that.
    Late(Duration, Box<Reply>),
}

impl Reply {
    pub fn json(status: u16, body: &str) -> Self {
        Self::Answer(
            status,
            vec![("Content-Type", "application/json".into())],
            body.into(),
        )
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Such as `GET /orders/7 HTTP/1.1`.
    pub line: String,
    /// The rest of the head, as it came.
    pub head: String,
    pub body: String,
}

impl Received {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// Connections that are kept open.
    _kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    pub fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (seen, held) = (Arc::clone(&received), Arc::clone(&kept));
        thread::spawn(move || {
            for reply in replies {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                serve(stream, reply, &seen, &held);
            }
        });
        Self {
            address,
            received,
            _kept: kept,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    reply: Reply,
    seen: &Mutex<Vec<Received>>,
    kept: &Mutex<Vec<TcpStream>>,
) {
    let Some(received) = read(&mut stream) else {
        return;
    };
    seen.lock().unwrap().push(received);
    answer(stream, reply, kept);
}

fn answer(mut stream: TcpStream, reply: Reply, kept: &Mutex<Vec<TcpStream>>) {
    // The other side may hang up on us: that is what some tests are about.
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut head = format!(
                "HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let _ = stream.write_all(format!("{head}\r\n").as_bytes());
            let _ = stream.write_all(&body);
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
        }
        Reply::RawThenSilence(bytes) => {
            let _ = stream.write_all(&bytes);
            kept.lock().unwrap().push(stream);
        }
        Reply::RawThenReset(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        }
        Reply::Late(wait, reply) => {
            thread::sleep(wait);
            answer(stream, *reply, kept);
        }
        Reply::Flood(bytes) => {
            let _ = stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes(),
            );
            let chunk = vec![b'x'; 1 << 16];
            let mut left = bytes;
            while left > 0 {
                let length = usize::try_from(left).unwrap().min(chunk.len());
                if stream.write_all(&chunk[..length]).is_err() {
                    return;
                }
                left -= length as u64;
            }
        }
    }
}

/// Reads one request; `None` when it is none.
fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut byte = [0; 1];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (line, head) = text.split_once("\r\n")?;
    let mut received = Received {
        line: line.into(),
        head: head.into(),
        body: String::new(),
    };
    let length: usize = received
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    received.body = String::from_utf8_lossy(&body).into_owned();
    Some(received)
}
