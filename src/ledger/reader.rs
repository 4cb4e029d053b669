//! Reading, beside a running writer or alone, with neither lock nor key.
//!
//! [`Reader::rows`] streams in *commit order* (`pos`): one global order over all writers, which is
//! what a report folds. Within one writer it is the order of `seq` too. Each call sees one moment of
//! the ledger, whatever is written meanwhile, and holds one row at a time.
//!
//! Every row is checked on its way: its CRC, that its writer's numbers have no gap, and that the
//! last one is where the head says. Damage is an error, never a smaller number. Malice needs the
//! key: [`super::audit`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use dwell_injectors::token::TokenId;
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::checksum;
use super::marks::was_recorded;
use super::{Head, LedgerError, Row, RunStarted, marks, schema, writer};
use crate::true_path::true_path;

/// Where a row stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowMeta {
    /// Position in commit order, ascending; not necessarily without gaps.
    pub pos: u64,
    /// Writer, number and MAC.
    pub head: Head,
}

/// A read-only view of a ledger.
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A row as it lies in the file.
pub(super) struct Stored {
    pub meta: RowMeta,
    pub kind: String,
    pub body: String,
    pub crc: u32,
}

pub(super) const COLUMNS: &str = "pos, writer, seq, kind, body, mac, crc";

impl Stored {
    pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
        let head = Head { writer: row.get(1)?, seq: row.get(2)?, mac: row.get(5)? };
        Ok(Stored {
            meta: RowMeta { pos: row.get(0)?, head },
            kind: row.get(3)?,
            body: row.get(4)?,
            crc: row.get(6)?,
        })
    }

    /// The row, or what is wrong with it.
    pub fn decode(&self) -> Result<Row, String> {
        let Head { writer, seq, .. } = self.meta.head;
        if checksum(&self.meta.head, &self.kind, &self.body) != self.crc {
            return Err(format!("row {seq} of writer {writer} is not what was written"));
        }
        Row::parse(&self.kind, &self.body)
            .map_err(|e| format!("row {seq} of writer {writer} does not parse: {e}"))
    }
}

impl Reader {
    /// Opens for reading. Works in a folder that cannot be written, too.
    pub fn open(path: &Path) -> Result<Reader, LedgerError> {
        let path = true_path(path);
        let committed = marks::read(&path).committed;
        let connection = schema::open_reader(&path).map_err(|error| match error {
            // Emptied, and not begun: its marks know of rows.
            LedgerError::Empty { .. } if committed > 0 => writer::lost_rows(&path, 0, committed),
            other => other,
        })?;
        let reader = Reader { connection, path };
        let found = reader.heads()?.iter().map(|head| head.seq).max().unwrap_or(0);
        if found < committed {
            return Err(writer::lost_rows(&reader.path, found, committed));
        }
        Ok(reader)
    }

    /// The same for a ledger that may not be there yet: `None` when nothing was ever recorded. One that
    /// was there and is gone is an error.
    pub fn open_if_any(path: &Path) -> Result<Option<Reader>, LedgerError> {
        if was_recorded(path) { Reader::open(path).map(Some) } else { Ok(None) }
    }

    /// Streams all rows in commit order, until `each` breaks.
    pub fn rows(
        &self,
        mut each: impl FnMut(&RowMeta, Row) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut whole = true;
        let heads = self.stream(|stored| {
            let Head { writer, seq, .. } = stored.meta.head;
            let before = last.insert(writer, seq).unwrap_or(0);
            if seq != before + 1 {
                return Err(self.damaged(format!(
                    "row {} of writer {writer} is missing",
                    before.saturating_add(1)
                )));
            }
            let row = stored.decode().map_err(|reason| self.damaged(reason))?;
            let flow = each(&stored.meta, row);
            whole = flow.is_continue();
            Ok(flow)
        })?;
        for head in heads.iter().filter(|_| whole) {
            let found = last.get(&head.writer).copied().unwrap_or(0);
            if found != head.seq {
                return Err(self.damaged(format!(
                    "writer {} ends with row {found}, its head says {}",
                    head.writer, head.seq
                )));
            }
        }
        Ok(())
    }

    /// Streams rows as they lie, unchecked; returns the heads of the same moment.
    pub(super) fn stream(
        &self,
        mut each: impl FnMut(Stored) -> Result<ControlFlow<()>, LedgerError>,
    ) -> Result<Vec<Head>, LedgerError> {
        let tx = self.connection.unchecked_transaction().map_err(|e| self.fail(&e))?;
        let heads = read_heads(&tx).map_err(|e| self.fail(&e))?;
        let sql = format!("SELECT {COLUMNS} FROM rows ORDER BY pos");
        let mut statement = tx.prepare_cached(&sql).map_err(|e| self.fail(&e))?;
        let mut rows = statement.query([]).map_err(|e| self.fail(&e))?;
        while let Some(row) = rows.next().map_err(|e| self.fail(&e))? {
            let stored = Stored::read(row).map_err(|e| self.damaged(format!("a row: {e}")))?;
            if each(stored)?.is_break() {
                break;
            }
        }
        Ok(heads)
    }

    /// One canary's rows in commit order: intent, receipts, sightings, withdrawal, verifications.
    pub fn rows_of(&self, canary: TokenId) -> Result<Vec<(RowMeta, Row)>, LedgerError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM rows WHERE pos IN
               (SELECT pos FROM stories WHERE epoch = ?1 AND serial = ?2) ORDER BY pos"
        );
        let values = params![canary.epoch.0, canary.serial];
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            statement.query_map(values, Stored::read)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        // Before the rows, so that one which is written meanwhile is not missed.
        let filed: Option<usize> =
            self.one("SELECT count(*) FROM stories WHERE epoch = ?1 AND serial = ?2", values)?;
        let found = read().map_err(|e| self.fail(&e))?;
        if found.len() < filed.unwrap_or(0) {
            let (written, left) = (filed.unwrap_or(0), found.len());
            let reason = format!("{written} rows of canary {canary} were written, {left} are left");
            return Err(self.damaged(reason));
        }
        found
            .into_iter()
            .map(|stored| {
                let row = stored.decode().map_err(|reason| self.damaged(reason))?;
                Ok((stored.meta, row))
            })
            .collect()
    }

    /// True when the ledger holds the canary's intent. A point look-up: nothing is loaded.
    pub fn knows(&self, canary: TokenId) -> Result<bool, LedgerError> {
        self.connection
            .prepare_cached("SELECT 1 FROM canaries WHERE epoch = ?1 AND serial = ?2")
            .and_then(|mut s| s.exists(params![canary.epoch.0, canary.serial]))
            .map_err(|e| self.fail(&e))
    }

    /// Run and index of the route of a canary, by a point look-up.
    pub fn route_of(&self, canary: TokenId) -> Result<Option<(u32, u32)>, LedgerError> {
        self.connection
            .prepare_cached("SELECT run, route FROM canaries WHERE epoch = ?1 AND serial = ?2")
            .and_then(|mut s| {
                let values = params![canary.epoch.0, canary.serial];
                s.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(|e| self.fail(&e))
    }

    /// The body of one of a canary's events, as rendered.
    pub fn body(&self, canary: TokenId, event: u32) -> Result<Option<String>, LedgerError> {
        self.one(
            "SELECT body FROM bodies WHERE epoch = ?1 AND serial = ?2 AND event = ?3",
            params![canary.epoch.0, canary.serial, event],
        )
    }

    /// How far a watcher has read, in its own words.
    pub fn cursor(&self, watcher: &str) -> Result<Option<String>, LedgerError> {
        self.one("SELECT position FROM cursors WHERE watcher = ?1", [watcher])
    }

    /// The end of each writer's chain.
    pub fn heads(&self) -> Result<Vec<Head>, LedgerError> {
        read_heads(&self.connection).map_err(|e| self.fail(&e))
    }

    /// Position of the last committed row; 0 while there is none.
    pub fn last_commit(&self) -> Result<u64, LedgerError> {
        Ok(self.one("SELECT max(pos) FROM rows", [])?.flatten().unwrap_or(0))
    }

    /// The runs, in order.
    pub fn runs(&self) -> Result<Vec<RunStarted>, LedgerError> {
        let sql =
            format!("SELECT {COLUMNS} FROM rows WHERE pos IN (SELECT pos FROM runs) ORDER BY pos");
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            statement.query_map([], Stored::read)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut runs = Vec::new();
        for stored in read().map_err(|e| self.fail(&e))? {
            match stored.decode().map_err(|reason| self.damaged(reason))? {
                Row::Run(run) => runs.push(*run),
                _ => return Err(self.damaged("the index of runs names another row".to_owned())),
            }
        }
        Ok(runs)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fail(&self, error: &rusqlite::Error) -> LedgerError {
        LedgerError::sqlite(&self.path, "read it", error)
    }

    pub(super) fn damaged(&self, reason: String) -> LedgerError {
        LedgerError::damaged(&self.path, reason)
    }

    fn one<T: rusqlite::types::FromSql>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<Option<T>, LedgerError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(values, |row| row.get(0)).optional())
            .map_err(|e| self.fail(&e))
    }
}

fn read_heads(connection: &Connection) -> rusqlite::Result<Vec<Head>> {
    let mut statement =
        connection.prepare_cached("SELECT writer, seq, mac FROM writers ORDER BY writer")?;
    statement
        .query_map([], |row| Ok(Head { writer: row.get(0)?, seq: row.get(1)?, mac: row.get(2)? }))?
        .collect()
}
