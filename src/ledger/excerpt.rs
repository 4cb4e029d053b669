//! An excerpt: all that the outcome of one canary rests on, without the other canaries' rows.
//!
//! It is read at one moment of the ledger, whatever is written meanwhile: the [`Standing`], the rows that
//! bear on every canary by an index of their own, and the canary's rows by theirs. Time grows with those
//! rows, memory with none of them: one is held at a time, of the canary's own all.
//!
//! Every row that is read is checked as [`Reader::rows`] checks it, and all of them are counted: one that is
//! missing is damage. Damage to rows of *other* canaries is not seen here.

use std::path::Path;

use dwell_injectors::token::TokenId;
use rusqlite::{Connection, Transaction};

use super::reader::{COLUMNS, Stored};
use super::{LedgerError, Reader, Row, Standing, schema};

/// See the module's text.
#[derive(Debug)]
pub struct Excerpt<'r> {
    reader: &'r Reader,
    /// Holds the moment; everything on the reader's connection is read at it.
    _moment: Transaction<'r>,
    standing: Standing,
}

impl Reader {
    /// One moment of the ledger for questions about single canaries; `None` where the file keeps no
    /// standing, so that all rows have to be read.
    pub fn excerpt(&self) -> Result<Option<Excerpt<'_>>, LedgerError> {
        let moment = self.connection().unchecked_transaction().map_err(|e| self.fail(&e))?;
        let Some(kept) = Standing::kept(&moment).map_err(|e| self.fail(&e))? else {
            return Ok(None);
        };
        let standing = caught_up(&moment, self.path(), kept)?;
        Ok(Some(Excerpt { reader: self, _moment: moment, standing }))
    }
}

impl Excerpt<'_> {
    /// What the rows say together.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Streams the rows that bear on every canary, in commit order, and then the canary's own.
    pub fn rows(&self, canary: TokenId, mut each: impl FnMut(Row)) -> Result<(), LedgerError> {
        let mut bearing = 0;
        let sql = format!(
            "SELECT {COLUMNS} FROM rows INDEXED BY bearing WHERE {} ORDER BY pos",
            schema::BEARING
        );
        stream(self.reader.connection(), self.reader.path(), &sql, [], |_, row| {
            bearing += 1;
            each(row);
        })?;
        if bearing != self.standing.bearing() {
            return Err(self.reader.damaged(format!(
                "{} rows that bear on every canary were written, {bearing} are left",
                self.standing.bearing()
            )));
        }
        self.reader.rows_of(canary)?.into_iter().for_each(|(_, row)| each(row));
        Ok(())
    }
}

/// A standing with the rows behind its position.
pub(super) fn caught_up(
    connection: &Connection,
    path: &Path,
    mut standing: Standing,
) -> Result<Standing, LedgerError> {
    let fail = |e: rusqlite::Error| LedgerError::sqlite(path, "read it", &e);
    let last: Option<u64> =
        connection.query_row("SELECT max(pos) FROM rows", [], |row| row.get(0)).map_err(fail)?;
    if last.unwrap_or(0) < standing.pos() {
        // It speaks of rows that are not there: it is not this ledger's.
        standing = Standing::default();
    }
    let sql = format!("SELECT {COLUMNS} FROM rows WHERE pos > ?1 ORDER BY pos");
    let after = [standing.pos()];
    stream(connection, path, &sql, after, |pos, row| standing.append(pos, &row))?;
    Ok(standing)
}

/// Streams the rows of a query, checked.
fn stream(
    connection: &Connection,
    path: &Path,
    sql: &str,
    values: impl rusqlite::Params,
    mut each: impl FnMut(u64, Row),
) -> Result<(), LedgerError> {
    let fail = |e: rusqlite::Error| LedgerError::sqlite(path, "read it", &e);
    let mut statement = connection.prepare_cached(sql).map_err(fail)?;
    let mut rows = statement.query(values).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let damaged = |reason: String| LedgerError::damaged(path, reason);
        let stored = Stored::read(row).map_err(|e| damaged(format!("a row: {e}")))?;
        let row = stored.decode().map_err(damaged)?;
        each(stored.meta.pos, row);
    }
    Ok(())
}
