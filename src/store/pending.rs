//! An answer that comes when a write is durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tokio::sync::oneshot;

use super::{Error, Result};

/// A write under way. Await it, or [`wait`](Self::wait) for it.
///
/// Dropping it does not take the write back.
#[must_use = "the write is not durable before this answers"]
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Makes a pending answer and the end that gives it.
    pub(super) fn new() -> (oneshot::Sender<Result<T>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Makes an answer that is there already.
    pub(super) fn ready(answer: Result<T>) -> Self {
        let (sender, pending) = Self::new();
        // The receiver lives in `pending`, so this cannot fail.
        let _ = sender.send(answer);
        pending
    }

    /// Blocks this thread until the answer is there.
    ///
    /// Works inside an async runtime too, where it stalls the runtime's thread.
    pub fn wait(mut self) -> Result<T> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    /// Returns the answer if it is there, without waiting.
    pub fn try_get(&mut self) -> Option<Result<T>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(Error::Closed)),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

/// Wakes a thread that is parked in [`Pending::wait`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_blocks_until_another_thread_answers() {
        let (sender, pending) = Pending::new();
        let answering = std::thread::spawn(move || sender.send(Ok(7)));
        assert_eq!(pending.wait().unwrap(), 7);
        answering.join().unwrap().unwrap();
    }

    #[test]
    fn a_writer_that_died_answers_closed() {
        let (sender, pending) = Pending::<()>::new();
        drop(sender);
        assert!(matches!(pending.wait(), Err(Error::Closed)));
    }
}
