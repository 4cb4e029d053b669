//! Waiting for a commit, on any thread, blocking or not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::oneshot;

use super::{LedgerError, Row};

/// The promise of a commit.
#[derive(Debug)]
pub struct Ticket {
    pub(super) answer: Result<Promise, LedgerError>,
}

/// The answer to come, and what to say if the writer ends without one.
pub(super) type Promise = (oneshot::Receiver<Result<Vec<Row>, LedgerError>>, LedgerError);

impl Ticket {
    /// Blocks until the batch is durable; returns the rows as written (sightings classified).
    pub fn wait(self) -> Result<Vec<Row>, LedgerError> {
        let (answer, ended) = self.answer?;
        block_on(answer).unwrap_or(Err(ended))
    }

    /// The same for asynchronous callers.
    pub async fn done(self) -> Result<Vec<Row>, LedgerError> {
        let (answer, ended) = self.answer?;
        answer.await.unwrap_or(Err(ended))
    }
}

/// Waits for an answer on any thread: the channel's own blocking call panics on a runtime's.
pub(super) fn block_on<T>(
    mut answer: oneshot::Receiver<T>,
) -> Result<T, oneshot::error::RecvError> {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut answer).poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
