//! Just enough HTTP/1.1 over one connection, for both of its ends.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection, and what was read ahead on it.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    /// Takes a connection.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let ahead = Vec::with_capacity(16 * 1024);
        Self { stream, ahead }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one request or answer; `None` where the connection ended before it.
    ///
    /// - `seen`: is given the body as far as it has come, each time more has.
    pub async fn message(
        &mut self,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<Option<(String, Vec<u8>)>> {
        let head_bytes = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.ahead[..head_bytes]).to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("content-length:").map(|it| it.trim().parse::<usize>().unwrap());
        let is_chunked = field("transfer-encoding:").is_some_and(|it| it.trim() == "chunked");
        loop {
            let body = &self.ahead[head_bytes..];
            seen(body);
            let is_whole = match length {
                Some(length) => body.len() >= length,
                None => !is_chunked || body.ends_with(b"0\r\n\r\n"),
            };
            if is_whole {
                let body = body[..length.unwrap_or(body.len())].to_vec();
                self.ahead.drain(..head_bytes + body.len());
                return Ok(Some((head, body)));
            }
            if self.more().await? == 0 {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
        }
    }

    async fn more(&mut self) -> Result<usize> {
        self.ahead.reserve(64 * 1024);
        self.stream.read_buf(&mut self.ahead).await
    }
}

/// Returns where `what` begins in `bytes`.
pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
