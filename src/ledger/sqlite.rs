//! The store on SQLite: one connection, owned by the writer's thread.

use std::path::{Path, PathBuf};

use dwell_injectors::token::{Epoch, SERIAL_BITS, TokenId, following};
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::checksum;
use super::store::{OpenRun, Store, Unfinished};
use super::{Head, Intent, LedgerError, Row, RunStarted, Standing, excerpt, schema};

/// Every row of an SQLite ledger belongs to one chain: there is one writer at a time.
const WRITER: u32 = 1;

/// The store. See [`Store`].
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    key: [u8; 32],
    head: Head,
    /// The head at the last commit, to fall back to.
    durable: Head,
    standing: Standing,
    /// The standing at the last commit.
    durable_standing: Standing,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens or makes the file. The caller holds the lock.
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<SqliteStore, LedgerError> {
        let connection = schema::open_writer(path)?;
        let head = read_head(&connection, WRITER)
            .map_err(|e| LedgerError::sqlite(path, "read its head", &e))?
            .unwrap_or_else(|| Head::empty(WRITER));
        let mut store = SqliteStore {
            connection,
            path: path.to_owned(),
            key: *key,
            head,
            durable: head,
            standing: Standing::default(),
            durable_standing: Standing::default(),
        };
        store.check_tail()?;
        let kept = Standing::kept(&store.connection).map_err(|e| store.fail("read it", &e))?;
        let standing = excerpt::caught_up(&store.connection, path, kept.unwrap_or_default())?;
        (store.durable_standing, store.standing) = (standing.clone(), standing);
        Ok(store)
    }

    /// The last row must bear out the head, under this key: a wrong key would fork the chain.
    fn check_tail(&self) -> Result<(), LedgerError> {
        let last = self
            .connection
            .query_row(
                "SELECT seq, kind, body, mac,
                   coalesce((SELECT mac FROM rows p WHERE p.writer = r.writer AND p.seq = r.seq - 1), zeroblob(32))
                 FROM rows r WHERE writer = ?1 ORDER BY seq DESC LIMIT 1",
                [WRITER],
                |row| {
                    Ok((
                        row.get::<_, u64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, [u8; 32]>(3)?,
                        row.get::<_, [u8; 32]>(4)?,
                    ))
                },
            )
            .optional()
            .map_err(|e| self.fail("read its last row", &e))?;
        let Some((seq, kind, body, mac, before)) = last else {
            return match self.head.seq {
                0 => Ok(()),
                seq => Err(LedgerError::damaged(&self.path, format!("row {seq} is missing"))),
            };
        };
        if seq != self.head.seq || mac != self.head.mac {
            let reason = format!("it ends with row {seq}, its head says {}", self.head.seq);
            return Err(LedgerError::damaged(&self.path, reason));
        }
        let before = Head { writer: WRITER, seq: seq.saturating_sub(1), mac: before };
        if before.next(&self.key, &kind, &body) != self.head {
            return Err(LedgerError::damaged(
                &self.path,
                format!(
                    "row {seq} does not bear the mark of this key (or the key file is another ledger's)"
                ),
            ));
        }
        Ok(())
    }

    /// Moves what the log holds into the database file, so that a clean close leaves one file.
    pub fn tidy(&mut self) {
        // Best effort: the log is as good as the file.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    fn fail(&self, doing: &str, error: &rusqlite::Error) -> LedgerError {
        LedgerError::sqlite(&self.path, doing, error)
    }

    fn run<P: rusqlite::Params>(
        &self,
        doing: &str,
        sql: &str,
        values: P,
    ) -> Result<(), LedgerError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(drop)
            .map_err(|e| self.fail(doing, &e))
    }

    fn exists<P: rusqlite::Params>(&self, sql: &str, values: P) -> Result<bool, LedgerError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.exists(values))
            .map_err(|e| self.fail("look it up", &e))
    }

    /// Keeps the derived tables in step with one row.
    fn index(&self, pos: i64, row: &Row) -> Result<(), LedgerError> {
        let doing = "index a row";
        if let Some(canary) = row.canary() {
            self.run(
                doing,
                "INSERT INTO stories VALUES (?1, ?2, ?3)",
                params![canary.epoch.0, canary.serial, pos],
            )?;
        }
        match row {
            Row::Intent(intent) => self.index_intent(pos, intent),
            Row::Receipt(receipt) => self.run(
                doing,
                "DELETE FROM handovers WHERE epoch = ?1 AND serial = ?2 AND event = ?3",
                params![receipt.canary.epoch.0, receipt.canary.serial, receipt.event],
            ),
            Row::Withdrawn(w) => {
                if let Some(canary) = w.canary {
                    self.run(
                        doing,
                        "DELETE FROM handovers WHERE epoch = ?1 AND serial = ?2",
                        params![canary.epoch.0, canary.serial],
                    )?;
                }
                self.run(
                    doing,
                    "INSERT INTO withdrawals VALUES (?1, ?2, ?3, ?4)",
                    params![w.run, w.route, w.slot_from, w.slots],
                )
            }
            Row::Sighting(s) => self.run(
                doing,
                "INSERT OR IGNORE INTO sightings VALUES (?1, ?2, ?3, ?4)",
                params![s.watcher, s.native_id, s.canary.epoch.0, s.canary.serial],
            ),
            Row::Run(run) => {
                self.run(doing, "INSERT INTO runs VALUES (?1, ?2, 0, 0)", params![run.run, pos])
            }
            Row::Ended(ended) => {
                self.run(doing, "UPDATE runs SET ended = 1 WHERE run = ?1", [ended.run])
            }
            _ => Ok(()),
        }
    }

    fn index_intent(&self, pos: i64, intent: &Intent) -> Result<(), LedgerError> {
        let (epoch, serial) = (intent.canary.epoch.0, intent.canary.serial);
        self.run(
            "index an intent",
            "INSERT INTO canaries VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![epoch, serial, pos, intent.run, intent.route, intent.slot],
        )?;
        for event in 0..intent.digests.len() {
            self.run(
                "index an intent",
                "INSERT INTO handovers VALUES (?1, ?2, ?3)",
                params![epoch, serial, event as u64],
            )?;
        }
        self.run(
            "index an intent",
            // The later of the two on the circle of 2^28: a reservation is ahead by less than half of it.
            "INSERT INTO serials VALUES (?1, ?2) ON CONFLICT (epoch) DO UPDATE SET next =
             CASE WHEN ((?2 - next) & 268435455) < 134217728 THEN ?2 ELSE next END",
            params![epoch, following(serial, 1)],
        )
    }

    fn row_at(&self, pos: i64) -> Result<Row, LedgerError> {
        let body: String = self
            .connection
            .prepare_cached("SELECT body FROM rows WHERE pos = ?1")
            .and_then(|mut statement| statement.query_row([pos], |row| row.get(0)))
            .map_err(|e| self.fail("read a row", &e))?;
        serde_json::from_str(&body).map_err(|e| {
            LedgerError::damaged(
                &self.path,
                format!("the row at position {pos} does not parse: {e}"),
            )
        })
    }

    /// The row at the position that a query yields.
    fn row_where<P: rusqlite::Params>(
        &self,
        sql: &str,
        values: P,
    ) -> Result<Option<Row>, LedgerError> {
        let pos: Option<i64> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(values, |row| row.get(0)).optional())
            .map_err(|e| self.fail("find a row", &e))?;
        pos.map(|pos| self.row_at(pos)).transpose()
    }

    /// Everything that a query yields; only for results that are bounded by what is under way.
    fn all<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let read_all = || {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map(values, read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        read_all().map_err(|e| self.fail("read what is under way", &e))
    }

    /// Empties the derived tables and fills them from the rows. Reserved but unused serials are
    /// forgotten, which is harmless: nothing that bore them has left.
    pub fn rebuild(&mut self) -> Result<(), LedgerError> {
        self.begin()?;
        for table in schema::DERIVED_TABLES {
            self.run("rebuild its indexes", &format!("DELETE FROM {table}"), [])?;
        }
        self.standing = Standing::default();
        let mut after = 0;
        loop {
            let page: Vec<i64> = self.all(
                "SELECT pos FROM rows WHERE pos > ?1 ORDER BY pos LIMIT 4096",
                [after],
                |row| row.get(0),
            )?;
            let Some(last) = page.last().copied() else { break };
            for pos in page {
                let row = self.row_at(pos)?;
                self.index(pos, &row)?;
                self.standing.append(pos.unsigned_abs(), &row);
            }
            after = last;
        }
        self.commit()
    }
}

pub(super) fn read_head(connection: &Connection, writer: u32) -> rusqlite::Result<Option<Head>> {
    connection
        .query_row("SELECT seq, mac FROM writers WHERE writer = ?1", [writer], |row| {
            Ok(Head { writer, seq: row.get(0)?, mac: row.get(1)? })
        })
        .optional()
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<(), LedgerError> {
        self.run("begin a transaction", "BEGIN IMMEDIATE", [])
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        self.run(
            "write its head",
            "INSERT OR REPLACE INTO writers VALUES (?1, ?2, ?3)",
            params![self.head.writer, self.head.seq, self.head.mac],
        )?;
        self.standing.keep(&self.connection).map_err(|e| self.fail("write where it stands", &e))?;
        self.run("commit", "COMMIT", [])?;
        self.durable = self.head;
        self.durable_standing = self.standing.clone();
        Ok(())
    }

    fn rollback(&mut self) {
        // After some failures SQLite has rolled back by itself.
        let _ = self.connection.execute_batch("ROLLBACK");
        self.head = self.durable;
        self.standing = self.durable_standing.clone();
    }

    fn append(&mut self, row: &Row) -> Result<(), LedgerError> {
        let body = serde_json::to_string(row).map_err(|e| {
            LedgerError::store(&self.path, format!("a row does not serialise: {e}"))
        })?;
        let kind = row.kind();
        let head = self.head.next(&self.key, kind, &body);
        self.run(
            "append a row",
            "INSERT INTO rows (writer, seq, kind, body, mac, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![head.writer, head.seq, kind, body, head.mac, checksum(&head, kind, &body)],
        )?;
        self.head = head;
        let pos = self.connection.last_insert_rowid();
        self.index(pos, row)?;
        self.standing.append(pos.unsigned_abs(), row);
        Ok(())
    }

    fn knows(&self, canary: TokenId) -> Result<bool, LedgerError> {
        self.exists(
            "SELECT 1 FROM canaries WHERE epoch = ?1 AND serial = ?2",
            params![canary.epoch.0, canary.serial],
        )
    }

    fn has_sighting(
        &self,
        watcher: &str,
        native_id: &str,
        canary: TokenId,
    ) -> Result<bool, LedgerError> {
        self.exists(
            "SELECT 1 FROM sightings WHERE watcher = ?1 AND native_id = ?2 AND epoch = ?3 AND serial = ?4",
            params![watcher, native_id, canary.epoch.0, canary.serial],
        )
    }

    fn planned(&self, canary: TokenId) -> Result<Option<Intent>, LedgerError> {
        let sql = "SELECT pos FROM canaries WHERE epoch = ?1 AND serial = ?2";
        let row = self.row_where(sql, params![canary.epoch.0, canary.serial])?;
        Ok(row.and_then(|row| if let Row::Intent(intent) = row { Some(intent) } else { None }))
    }

    fn run_row(&self, run: u32) -> Result<Option<Box<RunStarted>>, LedgerError> {
        let row = self.row_where("SELECT pos FROM runs WHERE run = ?1", [run])?;
        Ok(row.and_then(|row| if let Row::Run(run) = row { Some(run) } else { None }))
    }

    fn under_way(&self, canary: TokenId) -> Result<bool, LedgerError> {
        self.exists(
            "SELECT 1 FROM handovers WHERE epoch = ?1 AND serial = ?2",
            params![canary.epoch.0, canary.serial],
        )
    }

    fn set_cursor(&mut self, watcher: &str, position: &str) -> Result<(), LedgerError> {
        self.run(
            "keep a cursor",
            "INSERT OR REPLACE INTO cursors VALUES (?1, ?2)",
            [watcher, position],
        )
    }

    fn put_body(&mut self, canary: TokenId, event: u32, body: &str) -> Result<(), LedgerError> {
        self.run(
            "keep an event's body",
            "INSERT INTO bodies VALUES (?1, ?2, ?3, ?4)",
            params![canary.epoch.0, canary.serial, event, body],
        )
    }

    fn bodies(&self, canary: TokenId) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT body FROM bodies WHERE epoch = ?1 AND serial = ?2 ORDER BY event";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                let key = params![canary.epoch.0, canary.serial];
                statement.query_map(key, |row| row.get(0))?.collect()
            })
            .map_err(|e| self.fail("read what was sent", &e))
    }

    fn reserve(&mut self, epoch: Epoch, number: u32, fresh: u32) -> Result<u32, LedgerError> {
        let next: Option<u32> = self
            .connection
            .prepare_cached("SELECT next FROM serials WHERE epoch = ?1")
            .and_then(|mut statement| statement.query_row([epoch.0], |row| row.get(0)).optional())
            .map_err(|e| self.fail("reserve serials", &e))?;
        let first = following(next.unwrap_or(fresh), 0);
        let (size, end) = (1u64 << SERIAL_BITS, u64::from(first) + u64::from(number));
        let mut taken = u64::from(number) > size / 2;
        for (from, to) in [(u64::from(first), end.min(size)), (0, end.saturating_sub(size))] {
            taken |= self.exists(
                "SELECT 1 FROM canaries WHERE epoch = ?1 AND serial >= ?2 AND serial < ?3",
                params![epoch.0, from, to],
            )?;
        }
        if taken {
            return Err(LedgerError::store(
                &self.path,
                format!("epoch {} has too few serials left; run `dwell key rotate`", epoch.0),
            ));
        }
        self.run(
            "reserve serials",
            "INSERT OR REPLACE INTO serials VALUES (?1, ?2)",
            params![epoch.0, following(first, number)],
        )?;
        Ok(first)
    }

    fn head(&self) -> Head {
        self.head
    }

    fn standing(&self) -> Standing {
        self.standing.clone()
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let events = self.all(
            "SELECT c.pos, h.event FROM handovers h JOIN canaries c USING (epoch, serial)
             ORDER BY c.pos, h.event",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?)),
        )?;
        let mut found: Vec<(i64, Unfinished)> = Vec::new();
        for (pos, event) in events {
            match found.last_mut() {
                Some((last, unfinished)) if *last == pos => unfinished.missing.push(event),
                _ => {
                    let Row::Intent(intent) = self.row_at(pos)? else {
                        let reason = format!("the row at position {pos} should be an intent");
                        return Err(LedgerError::damaged(&self.path, reason));
                    };
                    found.push((pos, Unfinished { intent, missing: vec![event] }));
                }
            }
        }
        Ok(found.into_iter().map(|(_, unfinished)| unfinished).collect())
    }

    fn open_runs(&self) -> Result<Vec<OpenRun>, LedgerError> {
        let sql = "SELECT pos FROM runs WHERE ended = 0 AND settled = 0 ORDER BY run";
        let mut runs = Vec::new();
        for pos in self.all(sql, [], |row| row.get::<_, i64>(0))? {
            let Row::Run(started) = self.row_at(pos)? else {
                let reason = format!("the row at position {pos} should begin a run");
                return Err(LedgerError::damaged(&self.path, reason));
            };
            let taken = self.all(
                "SELECT route, slot, 1 FROM canaries WHERE run = ?1
                 UNION SELECT route, slot, slots FROM withdrawals WHERE run = ?1
                 ORDER BY 1, 2",
                [started.run],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )?;
            runs.push(OpenRun { started, taken });
        }
        Ok(runs)
    }

    fn settle_run(&mut self, run: u32) -> Result<(), LedgerError> {
        self.run("settle a run", "UPDATE runs SET settled = 1 WHERE run = ?1", [run])
    }
}
