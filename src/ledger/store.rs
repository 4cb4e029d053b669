//! The store: what the ledger asks of the database beneath it.
//!
//! SQLite is the only one today ([`super::sqlite`]); a shared server comes as a second implementation
//! that passes the same contract tests (`contract` below). What any store must hold:
//!
//! 1. Between `begin` and `commit` everything is visible to this store and to nobody else;
//!    `commit` returns only when all of it is durable; `rollback` leaves no trace of it.
//! 2. Rows are keyed (writer, sequence), never altered, never removed, and chained.
//! 3. The indexes (canaries, hand-overs, sightings, serials, runs) and the standing say exactly what the
//!    rows say: `append` keeps them in the same transaction.

use dwell_injectors::token::{Epoch, TokenId};

use super::{Head, Intent, LedgerError, Row, RunStarted, Standing};

/// A canary with events that have no receipt.
#[derive(Clone, PartialEq, Debug)]
pub struct Unfinished {
    /// Its intent.
    pub intent: Intent,
    /// Events without a receipt, ascending.
    pub missing: Vec<u32>,
}

/// A run that has no `Ended` row.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenRun {
    /// Its row.
    pub started: Box<RunStarted>,
    /// Slots that have an intent or a withdrawal: (route, first slot, number), ordered.
    pub taken: Vec<(u32, u32, u32)>,
}

/// A database that can hold a ledger. See the module's text for the contract.
pub trait Store: Send {
    /// Opens a transaction.
    fn begin(&mut self) -> Result<(), LedgerError>;
    /// Makes it durable.
    fn commit(&mut self) -> Result<(), LedgerError>;
    /// Forgets it.
    fn rollback(&mut self);
    /// Appends a row to the writer's chain and to the indexes.
    fn append(&mut self, row: &Row) -> Result<(), LedgerError>;
    /// True when this ledger holds the canary's intent.
    fn knows(&self, canary: TokenId) -> Result<bool, LedgerError>;
    /// True when that watcher has recorded that sighting of that canary.
    fn has_sighting(
        &self,
        watcher: &str,
        native_id: &str,
        canary: TokenId,
    ) -> Result<bool, LedgerError>;
    /// The canary's intent.
    fn planned(&self, canary: TokenId) -> Result<Option<Intent>, LedgerError>;
    /// The row of a run.
    fn run_row(&self, run: u32) -> Result<Option<Box<RunStarted>>, LedgerError>;
    /// True while an event of the canary has no receipt.
    fn under_way(&self, canary: TokenId) -> Result<bool, LedgerError>;
    /// Remembers how far a watcher has read.
    fn set_cursor(&mut self, watcher: &str, position: &str) -> Result<(), LedgerError>;
    /// Keeps an event's body.
    fn put_body(&mut self, canary: TokenId, event: u32, body: &str) -> Result<(), LedgerError>;
    /// The bodies that were kept of a canary's events, in the order of the events.
    fn bodies(&self, canary: TokenId) -> Result<Vec<String>, LedgerError>;
    /// Reserves `number` serials of an epoch that follow each other, 0 behind the last; returns the
    /// first. `fresh` is where an epoch begins of which this ledger has none. A range that holds the
    /// serial of a canary is refused, and so is more than half an epoch.
    fn reserve(&mut self, epoch: Epoch, number: u32, fresh: u32) -> Result<u32, LedgerError>;
    /// The end of this writer's chain, as of the open transaction.
    fn head(&self) -> Head;
    /// What the rows say together, as of the open transaction.
    fn standing(&self) -> Standing;
    /// Canaries whose receipts are not complete.
    fn unfinished(&self) -> Result<Vec<Unfinished>, LedgerError>;
    /// Runs without an end that recovery has not settled yet.
    fn open_runs(&self) -> Result<Vec<OpenRun>, LedgerError>;
    /// Notes that recovery has settled a run.
    fn settle_run(&mut self, run: u32) -> Result<(), LedgerError>;
}
