//! Ctrl-C and SIGTERM in a drill: the rehearsals under way are ended and their
//! folders removed, then it ends as interrupted.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit_code;

/// The exit code that says by what it was stopped; 0: by nothing.
static STOPPED: AtomicU8 = AtomicU8::new(0);

/// Listens, from here on, in a thread of its own.
pub fn listen() {
    let (ready, is_ready) = channel();
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(heard(ready));
        }
    });
    // Nothing may be begun that a signal would leave behind. Dropped where nobody can
    // listen: then a signal ends the drill as it ends any program.
    let _ = is_ready.recv();
}

/// - `ready`: is told once a signal is heard.
async fn heard(ready: Sender<()>) {
    let kinds = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = kinds else {
        return;
    };
    let _ = ready.send(());
    loop {
        let code = tokio::select! {
            _ = interrupt.recv() => exit_code::INTERRUPTED,
            _ = terminate.recv() => exit_code::TERMINATED,
        };
        // The first one counts.
        let _ = STOPPED.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Returns the exit code that says by what it was stopped, if it was.
pub fn stopped() -> Option<u8> {
    Some(STOPPED.load(Ordering::SeqCst)).filter(|code| *code != 0)
}
