//! Waits for commits on a thread of its own, so that the thread that reads and stamps does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use super::WatchError;
use crate::ledger::{LedgerError, Ticket};

/// Commits under way at once, before the reading thread waits.
const UNDER_WAY: usize = 64;

/// The waiting thread.
pub(super) struct Committer {
    tickets: Option<Sender<Ticket>>,
    failure: Arc<Mutex<Option<LedgerError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub fn start(watcher: &str) -> Result<Committer, WatchError> {
        let (tickets, inbox) = bounded::<Ticket>(UNDER_WAY);
        let failure = Arc::new(Mutex::new(None));
        let seen = failure.clone();
        let thread = std::thread::Builder::new()
            .name("commits".to_owned())
            .spawn(move || {
                for ticket in inbox {
                    if let Err(error) = ticket.wait() {
                        seen.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            })
            .map_err(|e| WatchError::Environment {
                watcher: watcher.to_owned(),
                reason: format!("cannot start a thread: {e}; raise the limit of processes"),
            })?;
        Ok(Committer { tickets: Some(tickets), failure, thread: Some(thread) })
    }

    /// Follows one more commit; fails when an earlier one failed.
    pub fn follow(&self, watcher: &str, ticket: Ticket) -> Result<(), WatchError> {
        self.healthy(watcher)?;
        if let Some(tickets) = &self.tickets {
            // The receiver lives as long as the sender: it ends only when the sender is dropped.
            let _ = tickets.send(ticket);
        }
        Ok(())
    }

    /// Fails when a commit failed.
    pub fn healthy(&self, watcher: &str) -> Result<(), WatchError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(source) => Err(WatchError::Ledger { watcher: watcher.to_owned(), source }),
            None => Ok(()),
        }
    }

    /// Waits for all commits.
    pub fn finish(mut self, watcher: &str) -> Result<(), WatchError> {
        self.join();
        self.healthy(watcher)
    }

    fn join(&mut self) {
        self.tickets.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.join();
    }
}
