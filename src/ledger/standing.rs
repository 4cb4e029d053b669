//! The standing: what the rows say together that bears on every canary, kept beside them.
//!
//! The outcome of one canary rests on its own rows, on those that bear on all ([`Row::bears_on_all`]:
//! runs, looks, blind spans), and on three things that any row may move: the axis on which boots lie, the
//! last instant, and when each watcher last delivered a sighting. Whoever asks about one canary of a
//! million would have to read all rows for these three. So the writer keeps them as of its last row, one
//! small record that is committed with the rows.
//!
//! Invariants:
//!
//! - A standing is a function of the rows up to its position. The fold over a whole ledger takes the same
//!   steps with the same code, so that both say the same.
//! - Rows behind its position (of a writer that kept none) are added when it is read.
//! - One that is not there or is damaged costs time, never truth: everything is read instead. `dwell ledger
//!   verify` holds it against the rows.
//!
//! Not promised: that a standing withstands malice. It has a checksum and no MAC; the audit finds it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::axis::{Axis, AxisNs};
use super::known::Known;
use super::{Grade, Row};

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Position of the last row in it.
    pos: u64,
    /// Number of rows that bear on every canary.
    bearing: u64,
    axis: Axis,
    last: AxisNs,
    known: Known,
    /// Per watcher the last instant at which it delivered a sighting of ours.
    heard: BTreeMap<String, AxisNs>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            pos: 0,
            bearing: 0,
            axis: Axis::default(),
            last: AxisNs::MIN,
            known: Known::default(),
            heard: BTreeMap::new(),
        }
    }
}

impl Standing {
    /// Where a row lies on the axis: at its instant, or at the last one if it has none.
    pub fn date(&mut self, row: &Row) -> AxisNs {
        row.stamp().map_or(self.last, |stamp| self.axis.place(stamp))
    }

    /// When the next row, which lies there, became known. Asked once a row, in commit order.
    pub fn known(&mut self, row: &Row, at: AxisNs) -> AxisNs {
        self.known.row(row.stamp(), at)
    }

    /// Takes a row that lies there. Taking it again changes nothing.
    pub fn take(&mut self, row: &Row, at: AxisNs) {
        self.last = self.last.max(at);
        match row {
            Row::Look(look) => {
                self.axis.place(&look.from);
            }
            Row::Blind(blind) => {
                self.axis.place(&blind.from);
                blind.to.iter().for_each(|to| {
                    self.axis.place(to);
                });
            }
            // Nothing but the token ties an alert to a canary.
            Row::Sighting(sighting) if sighting.grade == Grade::Exact => {
                sighting.not_before.iter().for_each(|stamp| {
                    self.axis.place(stamp);
                });
                if sighting.retrospective {
                    return;
                }
                match self.heard.get_mut(&sighting.watcher) {
                    Some(last) => *last = at.max(*last),
                    None => drop(self.heard.insert(sighting.watcher.clone(), at)),
                }
            }
            _ => {}
        }
    }

    /// Takes the next row of the ledger.
    pub(super) fn append(&mut self, pos: u64, row: &Row) {
        let at = self.date(row);
        self.known(row, at);
        self.take(row, at);
        self.pos = pos;
        self.bearing += u64::from(row.bears_on_all());
    }

    /// Position of the last row in it; 0 for none.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    /// Number of rows in it that bear on every canary.
    pub(super) fn bearing(&self) -> u64 {
        self.bearing
    }

    /// Where the boots lie.
    pub fn axis(&self) -> &Axis {
        &self.axis
    }

    /// When the last row became known: the first cut that holds all.
    pub fn last(&self) -> AxisNs {
        self.known.last().map_or(self.last, |known| known.max(self.last))
    }

    /// When a watcher last delivered a sighting of ours.
    pub fn heard(&self, watcher: &str) -> Option<AxisNs> {
        self.heard.get(watcher).copied()
    }

    /// What the file keeps; `None` where that is nothing, or not what was written.
    pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Option<Standing>> {
        // Files of older programs have no such table.
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'standing'";
        if !connection.prepare_cached(sql)?.exists([])? {
            return Ok(None);
        }
        let kept: Option<(String, u32)> = connection
            .prepare_cached("SELECT body, crc FROM standing")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(kept.and_then(|(body, crc)| {
            let sound = crc32fast::hash(body.as_bytes()) == crc;
            sound.then(|| serde_json::from_str(&body).ok()).flatten()
        }))
    }

    /// Keeps it in the file.
    pub(super) fn keep(&self, connection: &Connection) -> rusqlite::Result<()> {
        let body = serde_json::to_string(self)
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        connection
            .prepare_cached("INSERT OR REPLACE INTO standing VALUES (1, ?1, ?2)")?
            .execute(params![body, crc32fast::hash(body.as_bytes())])
            .map(drop)
    }
}
