//! The start of an agent, with the channel that it speaks to us by.

use std::sync::Arc;
use std::time::Duration;

use super::Ports;
use crate::channel::gateway::Gateway;
use crate::channel::socket::Socket;
use crate::channel::{self, Answers, Arrival};
use crate::driver::session::Session;
use crate::driver::{gateway, launch, output};
use crate::ids::AttemptNo;
use crate::process::{Agent, Mark, Output, Stdio};
use crate::task::resolved::Protocol;

/// The channel to the loop, where there is one.
pub(super) struct Channel {
    arrivals: channel::Inbox,
    pub(super) answers: Answers,
    end: End,
    /// Dropping it ends it.
    pub(super) gateway: Option<Gateway>,
}

/// Where the frames come from; closed when the attempt is over.
enum End {
    Socket(Socket),
    Stdio(channel::stdio::Stdio),
}

impl Channel {
    /// Lets the last answers out, then closes.
    pub(super) async fn close(self) {
        const LAST_ANSWERS: Duration = Duration::from_millis(500);
        match self.end {
            End::Socket(socket) => socket.close(LAST_ANSWERS).await,
            End::Stdio(stdio) => stdio.close(LAST_ANSWERS).await,
        }
    }
}

/// Returns what comes next; waits for ever where there is no channel, or it is closed.
pub(super) async fn arrived(channel: Option<&mut Channel>) -> Arrival {
    match channel {
        Some(channel) => match channel.arrivals.recv().await {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Starts the agent, and opens its channel first.
///
/// Errors: what the agent's output is said to have ended with.
pub(super) async fn start(
    session: &Session,
    ports: &mut Ports,
    attempt: AttemptNo,
    log: &output::SharedLog,
    plan: &launch::Plan,
) -> Result<(Agent, Option<Channel>), String> {
    let task = Arc::clone(&session.task);
    let (hub, arrivals) = channel::open(channel::Limits::default());
    let socket = match task.agent.protocol {
        Protocol::Auto | Protocol::Socket | Protocol::Gateway => Some(
            Socket::bind(&hub, session.store.paths().state())
                .map_err(|error| format!("the agent's socket cannot be opened: {error}"))?,
        ),
        Protocol::Stdio | Protocol::None => None,
    };
    let gateway = match task.agent.protocol {
        Protocol::Auto | Protocol::Gateway => {
            Some(gateway::open(&hub, session, ports, plan).await?)
        }
        Protocol::Socket | Protocol::Stdio | Protocol::None => None,
    };
    let about = launch::About {
        run: &session.run,
        attempt,
        socket: socket.as_ref().map(Socket::path),
        gateway: gateway.as_ref().map(Gateway::access),
        plan,
        input: &ports.folder.join("input"),
        folder: &ports.folder,
    };
    let spec = launch::spec(&task, &about, &ports.outside.environment)
        .map_err(|error| error.to_string())?;
    let stdio = Stdio {
        stdout: match task.agent.has_our_stdio {
            true => Output::Inherit,
            false => Output::Piped,
        },
        stderr: Output::Piped,
    };
    let mark = Mark::run(session.run.clone());
    let mut agent = Agent::start(&ports.outside.launcher, &spec, &mark, stdio)
        .await
        .map_err(|error| error.to_string())?;
    let end = match (socket, agent.take_stdin()) {
        (Some(socket), _) => Some(End::Socket(socket)),
        (None, Some(stdin)) => agent.take_stdout().map(|stdout| {
            let (log, sink) = (Arc::clone(log), ports.outside.sink.clone());
            let stray = move |line: &[u8]| output::stray(&log, sink.as_ref(), line);
            End::Stdio(channel::stdio::Stdio::attach(
                &hub,
                stdout,
                stdin,
                Some(agent.pid()),
                stray,
            ))
        }),
        (None, None) => None,
    };
    let channel = end.map(|end| Channel {
        arrivals,
        answers: hub.answers(),
        end,
        gateway,
    });
    Ok((agent, channel))
}
