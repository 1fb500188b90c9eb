//! The other ends: a stand-in for a provider, and the bare relay.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::wire::{Wire, find};

/// Deltas of a stream.
const DELTAS: usize = 20;

/// Runs a server on this thread until the process is ended; says its port first.
fn serve<F: Future<Output = ()> + 'static>(each: impl Fn(TcpStream) -> F) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(each(stream));
        }
    })
}

/// Answers every request as Anthropic's Messages would, at once and each time with
/// other words.
pub fn stub() -> ExitCode {
    let answers = Arc::new(AtomicU64::new(0));
    serve(move |stream| {
        let answers = Arc::clone(&answers);
        async move {
            let mut wire = Wire::new(stream);
            while let Ok(Some((_, body))) = wire.message(|_| {}).await {
                let number = answers.fetch_add(1, Ordering::Relaxed);
                let head = &body[..body.len().min(200)];
                let sent = match find(head, b"\"stream\":true") {
                    Some(_) => stream_of(&mut wire, number).await,
                    None => wire.send(answer(number).as_bytes()).await,
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    })
}

fn answer(number: u64) -> String {
    let body = format!(
        r#"{{"id":"msg_{number}","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{{"type":"text","text":"Answer {number}: the file has been read, and its next part is due."}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":40,"cache_creation_input_tokens":0,"cache_read_input_tokens":20,"output_tokens":24,"service_tier":"standard"}}}}"#
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_{number}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn stream_of(wire: &mut Wire, number: u64) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = |data: String| {
        let kind = data.split('"').nth(3).unwrap_or_default();
        let event = format!("event: {kind}\ndata: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len())
    };
    let start = event(format!(
        r#"{{"type":"message_start","message":{{"id":"msg_{number}","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":40,"cache_creation_input_tokens":0,"cache_read_input_tokens":20,"output_tokens":1}}}}}}"#
    ));
    wire.send((head.to_owned() + &start).as_bytes()).await?;
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    wire.send(event(block.to_owned()).as_bytes()).await?;
    for delta in 0..DELTAS {
        let text = match delta {
            0 => format!("Answer {number}: "),
            _ => format!("part {delta} "),
        };
        let delta = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        );
        wire.send(event(delta).as_bytes()).await?;
    }
    let end = [
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":64}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    for data in end {
        wire.send(event(data.to_owned()).as_bytes()).await?;
    }
    wire.send(b"0\r\n\r\n").await
}

/// Passes requests and answers on, with a connection of its own for each that it
/// is given.
pub fn relay(upstream: &str) -> ExitCode {
    let upstream: Arc<str> = upstream.into();
    serve(move |stream| {
        let upstream = Arc::clone(&upstream);
        async move {
            stream.set_nodelay(true).unwrap();
            let out = TcpStream::connect(upstream.as_ref()).await.unwrap();
            out.set_nodelay(true).unwrap();
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(out))
                .await
                .unwrap();
            tokio::spawn(connection);
            let sender = Arc::new(Mutex::new(sender));
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let sender = Arc::clone(&sender);
                async move {
                    let mut sender = sender.lock().await;
                    sender.ready().await.unwrap();
                    let answer = sender.send_request(request).await.unwrap();
                    Ok::<Response<Incoming>, Infallible>(answer)
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
}
