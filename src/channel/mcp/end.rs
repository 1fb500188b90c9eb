//! A server's process, and how a session of the proxy ends.
//!
//! ```text
//! client ends ─► calls finish (5 s) ─► server's stdin closes ─► it ends (5 s) ─► SIGTERM ─► SIGKILL
//! server ends ─► open requests are answered with an error ─► so does the proxy, alike
//! ```

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Error;
use super::link::Link;
use super::proxy::Relay;
use super::wires::{Reader, Writer};

/// How long calls that are under way may take when the client has gone.
const CALLS_GRACE: Duration = Duration::from_secs(5);
/// How long answers may take when the server has gone: calls may still be retried.
const ANSWERS_GRACE: Duration = Duration::from_secs(10);
/// How long a server may take to end.
const SERVER_GRACE: Duration = Duration::from_secs(5);

/// Stands between a client and the server that `argv` starts, until one of them ends
/// or `stopped` comes. Returns the exit code.
///
/// Errors: the server does not start.
pub async fn relay(
    link: Link,
    name: &str,
    argv: &[OsString],
    client: (
        impl AsyncRead + Unpin,
        impl AsyncWrite + Unpin + Send + 'static,
    ),
    stopped: impl Future<Output = ()>,
) -> Result<u8, Error> {
    let (program, args) = argv
        .split_first()
        .map_or((None, argv), |(first, rest)| (Some(first), rest));
    let program = program.cloned().unwrap_or_default();
    let mut child = Command::new(&program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        let source = std::io::ErrorKind::BrokenPipe.into();
        let program = program.to_string_lossy().into_owned();
        return Err(Error::Start { program, source });
    };
    let (to_client, client_writing) = Writer::new(client.1);
    let (to_server, server_writing) = Writer::new(stdin);
    let client_writing = tokio::spawn(client_writing);
    tokio::spawn(server_writing);
    let relay = Relay::new(link, name, to_client, to_server);
    let server_side = tokio::spawn({
        let (relay, mut lines) = (Arc::clone(&relay), Reader::new(stdout));
        async move {
            while let Some(line) = lines.next().await {
                relay.heard_server(line).await;
            }
        }
    });
    let mut lines = Reader::new(client.0);
    let client_side = async {
        while let Some(line) = lines.next().await {
            relay.heard_client(line).await;
        }
    };
    tokio::pin!(server_side);
    let is_servers_end = tokio::select! {
        _ = &mut server_side => true,
        () = client_side => false,
        () = stopped => false,
    };
    if is_servers_end {
        relay.server_gone().await;
        let _ = timeout(ANSWERS_GRACE, relay.idle()).await;
    } else {
        let _ = timeout(CALLS_GRACE, relay.idle()).await;
    }
    relay.close_server();
    let status = end(&mut child).await;
    if !is_servers_end {
        // What it said last.
        let _ = timeout(SERVER_GRACE, &mut server_side).await;
    }
    drop(relay);
    // The client may have gone, or hold its end open without reading.
    let _ = timeout(CALLS_GRACE, client_writing).await;
    Ok(match status {
        Some(status) if is_servers_end => exit_code(status),
        _ => 0,
    })
}

/// Waits for the end of a process that was told of it; then asks, then kills.
async fn end(child: &mut Child) -> Option<ExitStatus> {
    if let Ok(ended) = timeout(SERVER_GRACE, child.wait()).await {
        return ended.ok();
    }
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if let Ok(ended) = timeout(SERVER_GRACE, child.wait()).await {
        return ended.ok();
    }
    let _ = child.start_kill();
    child.wait().await.ok()
}

/// Returns the code as a shell would.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
