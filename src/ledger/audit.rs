//! The audit: recomputes every writer's chain with the key and holds the indexes against the rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::params;
use sha2::{Digest, Sha256};

use super::{Head, LedgerError, Reader, Row, Standing};

/// What an audit found.
#[derive(Clone, PartialEq, Debug)]
pub struct Audit {
    /// Rows that were read and found good.
    pub rows: u64,
    /// Canaries among them.
    pub canaries: u64,
    /// The end of each chain, as recomputed.
    pub heads: Vec<Head>,
    /// What is wrong first, with the row's place; `None` when all is whole.
    pub fault: Option<String>,
    /// Whether the expected head lies on its chain; `None` when none was asked for.
    pub expected: Option<bool>,
}

impl Audit {
    /// True when nothing is wrong and the expected head, if any, was found.
    pub fn whole(&self) -> bool {
        self.fault.is_none() && self.expected != Some(false)
    }
}

/// Reads the whole ledger. An error means that it could not be read at all.
pub fn audit(path: &Path, key: &[u8; 32], expect: Option<Head>) -> Result<Audit, LedgerError> {
    let mut audit = Audit {
        rows: 0,
        canaries: 0,
        heads: Vec::new(),
        fault: None,
        expected: expect.map(|head| head.seq == 0),
    };
    let reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(LedgerError::Damaged { reason, .. }) => {
            audit.fault = Some(reason);
            return Ok(audit);
        }
        Err(error) => return Err(error),
    };
    match read(&reader, key, expect, &mut audit) {
        Ok(()) => {}
        Err(LedgerError::Damaged { reason, .. }) => {
            audit.fault.get_or_insert(reason);
        }
        Err(error) => return Err(error),
    }
    Ok(audit)
}

fn read(
    reader: &Reader,
    key: &[u8; 32],
    expect: Option<Head>,
    audit: &mut Audit,
) -> Result<(), LedgerError> {
    let mut chains: BTreeMap<u32, Head> = BTreeMap::new();
    let mut fault = None;
    let (mut kept, mut standing) = (None, Standing::default());
    let stated = reader.stream(|stored| {
        if audit.rows == 0 {
            kept = Standing::kept(reader.connection()).map_err(|e| reader.fail(&e))?;
        }
        let found = stored.meta.head;
        let chain = chains.entry(found.writer).or_insert_with(|| Head::empty(found.writer));
        let next = chain.next(key, &stored.kind, &stored.body);
        fault = if found.seq != next.seq {
            Some(format!("row {} of writer {} is missing", next.seq, found.writer))
        } else if found.mac != next.mac {
            Some(format!(
                "row {} of writer {} (position {}) breaks the chain: it was altered, or the key is another ledger's",
                found.seq, found.writer, stored.meta.pos
            ))
        } else {
            match stored.decode() {
                Err(reason) => Some(reason),
                Ok(row) if row.kind() != stored.kind => {
                    Some(format!("row {} is filed as `{}`", found.seq, stored.kind))
                }
                Ok(row) => {
                    audit.canaries += u64::from(matches!(row, Row::Intent(_)));
                    if kept.as_ref().is_some_and(|kept: &Standing| stored.meta.pos <= kept.pos()) {
                        standing.append(stored.meta.pos, &row);
                    }
                    indexed(reader, stored.meta.pos, &row)?
                }
            }
        };
        if fault.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        *chain = next;
        audit.rows += 1;
        if expect == Some(next) {
            audit.expected = Some(true);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    audit.heads = chains.into_values().collect();
    audit.fault = fault;
    if audit.fault.is_none() {
        audit.fault = ends(&stated, &audit.heads);
    }
    if audit.fault.is_none() && kept.is_some_and(|kept| kept != standing) {
        audit.fault = Some("the standing kept beside the rows is not what they say".to_owned());
    }
    if audit.fault.is_none() {
        audit.fault = pages(reader, audit.canaries)?;
    }
    Ok(())
}

fn ends(stated: &[Head], found: &[Head]) -> Option<String> {
    let stated: Vec<&Head> = stated.iter().filter(|head| head.seq > 0).collect();
    let missing = stated.iter().find(|head| !found.contains(head));
    missing.map(|head| format!("writer {} does not end with its head {head}", head.writer))
}

/// Holds the indexes against one row.
fn indexed(reader: &Reader, pos: u64, row: &Row) -> Result<Option<String>, LedgerError> {
    let (sql, missing) = match row {
        Row::Intent(_) => (
            "SELECT 1 FROM canaries WHERE epoch = ?1 AND serial = ?2 AND pos = ?3",
            "the index of canaries",
        ),
        Row::Sighting(_) | Row::Receipt(_) => (
            "SELECT 1 FROM stories WHERE epoch = ?1 AND serial = ?2 AND pos = ?3",
            "the index of stories",
        ),
        _ => return Ok(None),
    };
    let Some(canary) = row.canary() else { return Ok(None) };
    let there = reader
        .connection()
        .prepare_cached(sql)
        .and_then(|mut s| s.exists(params![canary.epoch.0, canary.serial, pos]))
        .map_err(|e| reader.fail(&e))?;
    if !there {
        return Ok(Some(format!("{missing} does not hold the row at position {pos}")));
    }
    if let Row::Intent(intent) = row {
        for (event, digest) in (0u32..).zip(&intent.digests) {
            if let Some(body) = reader.body(canary, event)? {
                let found = Sha256::digest(body.as_bytes());
                if !data_encoding::HEXLOWER.encode(&found).starts_with(digest.as_str()) {
                    return Ok(Some(format!(
                        "the kept body of canary {canary}, event {event}, is not what was recorded"
                    )));
                }
            }
        }
    }
    Ok(None)
}

/// SQLite's own check of its pages, and the size of the index of canaries.
fn pages(reader: &Reader, canaries: u64) -> Result<Option<String>, LedgerError> {
    let verdict: String = reader
        .connection()
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|e| reader.fail(&e))?;
    if verdict != "ok" {
        return Ok(Some(format!("SQLite finds: {verdict}")));
    }
    let indexed: u64 = reader
        .connection()
        .query_row("SELECT count(*) FROM canaries", [], |row| row.get(0))
        .map_err(|e| reader.fail(&e))?;
    Ok((indexed != canaries)
        .then(|| format!("{canaries} canaries were recorded, {indexed} are indexed")))
}
