//! The ledger: append-only, durable, and the only source of every number.

mod row;

pub use row::*;

use dwell_injectors::token::TokenId;

/// What is committed together: all of it or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Facts, in order. Sightings do not belong here.
    pub rows: Vec<Row>,
    /// Sightings to classify: the first of its `(watcher, native id, canary)` becomes a
    /// [`Row::Sighting`], a repeat a `Duplicate` stray, one of a canary that this ledger does not
    /// hold an `Unknown` stray.
    pub sightings: Vec<SightingRow>,
    /// Watcher name and the position that it has read to.
    pub cursor: Option<(String, String)>,
    /// Bodies of events, kept beside the rows for `verify --event` and `explain`; the rows hold
    /// their digests.
    pub bodies: Vec<(TokenId, u32, String)>,
}

/// Why the ledger refused. Stub: the owner of this module writes the real one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store failed.
    #[error("ledger {path}: {reason}")]
    Store {
        /// The ledger's file.
        path: String,
        /// What happened, and the next step.
        reason: String,
    },
}

/// A handle on the one writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {}

impl Ledger {
    /// Hands a batch to the writer thread; blocks only while its bounded queue is full.
    pub fn append(&self, _batch: Batch) -> Ticket {
        Ticket {}
    }

    /// Notes in the page cache, without waiting for any disk, that the first byte of this canary is
    /// about to leave. Survives `kill -9`: on recovery an intent without this mark is `Withdrawn`.
    pub fn mark_departure(&self, _canary: TokenId) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Committed rows, in order, from now on; bounded, the writer waits for slow subscribers.
    pub fn subscribe(&self) -> crossbeam_channel::Receiver<std::sync::Arc<Vec<Row>>> {
        crossbeam_channel::bounded(1).1
    }
}

/// The promise of a commit.
#[derive(Debug)]
pub struct Ticket {}

impl Ticket {
    /// Blocks until the batch is durable; returns the rows as written (sightings classified).
    pub fn wait(self) -> Result<Vec<Row>, LedgerError> {
        Ok(Vec::new())
    }

    /// The same for asynchronous callers.
    pub async fn done(self) -> Result<Vec<Row>, LedgerError> {
        Ok(Vec::new())
    }
}
