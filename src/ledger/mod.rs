//! The ledger: append-only, durable, and the only source of every number.
//!
//! ```text
//! dwell.db         SQLite, write-ahead log: `rows`, and what is derived from them: indexes, a standing
//! dwell.db.lock    held by the one writer; its process id
//! dwell.db.marks   which canaries may have left; how many rows are durable
//! ```
//!
//! A row of `rows` is `(pos, writer, seq, kind, body, mac, crc)`: `pos` is the commit order over all
//! writers, `(writer, seq)` the row's key, `body` one JSON object ([`Row`]), `mac` the link of a keyed
//! chain ([`Head`]), `crc` finds damage without the key. Rows are never altered or removed: the file
//! itself refuses it. The format has a number; a newer one is refused, and so is what no dwell wrote.
//!
//! Invariants:
//!
//! - What [`Ticket::wait`] or [`Ticket::done`] has confirmed is on disk (`synchronous = FULL`).
//! - One writer at a time, by a lock that the kernel releases; readers lock nothing.
//! - After a failed write nothing is accepted any more: it stops rather than lies.
//! - At open, everything that a crash left undecided is decided (`recovery`).
//! - Reading checks every row; rows that were committed and are gone are an error. Who asks about one
//!   canary reads an [`Excerpt`], which checks and counts what it reads; other canaries' rows it does not.
//!
//! Not promised: that a malicious *owner* of the key did not rewrite the ledger, or that rows cut off
//! at the end together with the marks are missed. Print the head (every report does) and compare with
//! `dwell ledger verify --expect`.

mod audit;
mod axis;
mod chain;
mod error;
mod excerpt;
mod filing;
mod known;
mod lock;
mod marks;
mod reader;
mod recovery;
mod row;
mod schema;
mod sqlite;
mod stage;
mod standing;
mod started;
mod store;
mod strays;
#[cfg(test)]
mod tests;
mod ticket;
mod writer;

pub use audit::{Audit, audit};
pub use axis::{Axis, AxisNs};
pub use chain::Head;
pub use error::LedgerError;
pub use excerpt::Excerpt;
pub use lock::Lock;
pub use marks::was_recorded;
pub use reader::{Reader, RowMeta};
pub use row::*;
pub use schema::FORMAT;
pub use sqlite::SqliteStore;
pub use stage::Stage;
pub use standing::Standing;
pub use started::*;
pub use store::{OpenRun, Store, Unfinished};
pub use ticket::Ticket;
pub use writer::{Ledger, Opening};

use std::collections::BTreeMap;

use dwell_injectors::token::TokenId;

/// What is committed together: all of it or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Facts, in order. Sightings do not belong here.
    pub rows: Vec<Row>,
    /// Sightings to classify: the first of its `(watcher, native id, canary)` becomes a
    /// [`Row::Sighting`], a repeat a `Duplicate` stray, one of a canary that this ledger does not
    /// hold an `Unknown` stray, one whose record is what was sent itself an `Echoed` one.
    pub sightings: Vec<SightingRow>,
    /// The whole records that sightings of alerts were read from, by the index of the sighting. They
    /// are compared and not kept.
    pub records: BTreeMap<usize, Vec<u8>>,
    /// Watcher name and the position that it has read to.
    pub cursor: Option<(String, String)>,
    /// Bodies of events, kept beside the rows for `verify --event` and `explain`; the rows hold
    /// their digests.
    pub bodies: Vec<(TokenId, u32, String)>,
}
