//! What every watcher does with what it reads: find tokens, name records, keep coverage, commit.
//!
//! Invariants:
//!
//! - Bytes are scanned before anything is parsed; a message without a token of ours is parsed only
//!   until the watcher is proven.
//! - Rows, sightings and cursor of one commit travel in one batch, in order. The thread that reads
//!   never waits for a disk: it hands batches over, and a second thread waits for their commits.
//! - The cursor holds, beside the position, the end of the last complete look and the blind span
//!   that is open, so that a restart can close what it finds open. One that starts anew reads nothing of
//!   what lies before: there the span ends, unrecovered, and what the start meets is a span of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::committer::Committer;
use super::{WatchContext, WatchError};
use crate::dialects::{Dialect, Parts, Reading, excerpt};
use crate::ledger::{
    Batch, Blind, Grade, Look, Proven, Row, SightingRow, Stage, Stray, StrayClass, Ticket,
};
use crate::matching::MAX_ECHO;
use crate::report::escape::terminal;

/// Sightings and rows after which a batch is handed over early.
const BATCH: usize = 512;

/// Distance of look rows while something happened lately, so that outcomes are decided soon.
const BRISK: Duration = Duration::from_secs(1);
/// Distance of look rows otherwise: below the ten seconds of the contract.
const CALM: Duration = Duration::from_secs(8);
/// How long after its start or its last sighting a watcher stays brisk.
const LATELY: Duration = Duration::from_secs(600);

/// A cursor as the ledger keeps it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The watcher's own position.
    pub position: Value,
    /// End of the last complete look.
    pub looked: Option<Stamp>,
    /// Before it, nothing came that lies behind the position; marks of older versions do not say.
    #[serde(default)]
    pub since: Option<Stamp>,
    /// The blind span that was open.
    pub blind: Option<Blind>,
}

impl Mark {
    /// The lower bound of what lies behind the position. Without any, it may have been there always.
    pub fn since(&self, now: Stamp) -> Stamp {
        self.since.or(self.looked).unwrap_or(Stamp { wall_ns: 0, boot_ns: 0, ..now })
    }
}

/// What was in a record.
pub(super) struct Taken {
    /// Number of sightings.
    pub sighted: usize,
    /// True where a token was in it, ours or forged.
    pub held: bool,
}

/// Collects what a watcher reads until it is committed.
pub(super) struct Intake {
    pub context: WatchContext,
    pub dialect: Arc<Dialect>,
    batch: Batch,
    strays: BTreeMap<StrayClass, Stray>,
    proven: bool,
    records: u64,
    looked: Option<Stamp>,
    since: Option<Stamp>,
    last_row: Option<Stamp>,
    busy: Stamp,
    blind: Option<Blind>,
    committer: Committer,
}

impl Intake {
    /// Starts collecting; the mark is what the last run left, and `None` where nothing of it matters.
    pub fn open(
        context: WatchContext,
        dialect: Arc<Dialect>,
    ) -> Result<(Intake, Option<Mark>), WatchError> {
        let committer = Committer::start(&context.name)?;
        let mark = context.cursor.as_deref().and_then(|text| {
            // A cursor that is not ours (another watcher had this name) starts anew.
            serde_json::from_str::<Mark>(text).ok()
        });
        let blind = mark.as_ref().and_then(|m| m.blind.clone());
        let mark = mark.filter(|_| !context.anew);
        let mut intake = Intake {
            busy: context.clock.now(),
            looked: mark.as_ref().and_then(|m| m.looked),
            since: mark.as_ref().and_then(|m| m.since),
            context,
            dialect,
            batch: Batch::default(),
            strays: BTreeMap::new(),
            proven: false,
            records: 0,
            last_row: None,
            blind,
            committer,
        };
        if intake.context.anew {
            intake.see(intake.now(), false);
        }
        Ok((intake, mark))
    }

    /// Now, on the context's clock.
    pub fn now(&self) -> Stamp {
        self.context.clock.now()
    }

    /// True when the watcher should commit and return.
    pub fn stopping(&self) -> bool {
        self.context.stop.load(Ordering::Relaxed)
    }

    /// Says that the starting position is taken.
    pub fn ready(&self) {
        self.context.ready.store(true, Ordering::Release);
    }

    /// Takes one message (a line, a Kafka record, a body). Returns the number of its sightings.
    pub fn message(&mut self, bytes: &[u8], observed: Stamp, not_before: Option<Stamp>) -> usize {
        let ids = self.tokens(bytes, observed);
        if ids.is_empty() && self.proven {
            self.records += 1;
            return 0;
        }
        let parts = match self.dialect.parts(bytes) {
            Ok(parts) => parts,
            Err(_) => {
                self.records += 1;
                return self.whole(bytes, &ids, observed, not_before);
            }
        };
        let mut left = ids;
        let mut sighted = 0;
        match parts {
            Parts::Text(lines) => {
                for range in lines {
                    let line = &bytes[range];
                    let ids = self.quiet_tokens(line);
                    let reading = self.dialect.read_text(line);
                    sighted += self.reading(reading, &ids, (line, observed), not_before);
                    left.retain(|id| !ids.contains(id));
                }
            }
            Parts::Json(values) => {
                for value in values {
                    let text = value.to_string();
                    let ids = self.quiet_tokens(text.as_bytes());
                    let reading = self.dialect.read_value(&value);
                    let record = (text.as_bytes(), observed);
                    sighted += self.reading(reading, &ids, record, not_before);
                    left.retain(|id| !ids.contains(id));
                }
            }
        }
        // A token beside the records (a common label of a group) belongs to the message as a whole.
        sighted + self.whole(bytes, &left, observed, not_before)
    }

    /// Takes one record that has already been parsed. Forgeries in one that is `known` were counted before.
    pub fn value(
        &mut self,
        value: &Value,
        (observed, known): (Stamp, bool),
        not_before: Option<Stamp>,
    ) -> Taken {
        let text = value.to_string();
        let (ids, forged) = self.found(text.as_bytes());
        if forged > 0 && !known {
            self.stray(StrayClass::Forged, forged, text.as_bytes(), observed);
        }
        let held = forged > 0 || !ids.is_empty();
        if ids.is_empty() && self.proven {
            self.records += 1;
            return Taken { sighted: 0, held };
        }
        let reading = self.dialect.read_value(value);
        let sighted = self.reading(reading, &ids, (text.as_bytes(), observed), not_before);
        Taken { sighted, held }
    }

    /// Tokens in what a transport carries beside a record (key, headers): of the record's own alert.
    #[cfg(feature = "kafka")]
    pub fn beside(
        &mut self,
        carried: &[&[u8]],
        record: &[u8],
        observed: Stamp,
        not_before: Option<Stamp>,
    ) -> usize {
        let mut ids: Vec<TokenId> = Vec::new();
        for bytes in carried {
            let more = self.tokens(bytes, observed);
            ids.extend(more.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        }
        if ids.is_empty() {
            return 0;
        }
        let inside = self.quiet_tokens(record);
        ids.retain(|id| !inside.contains(id));
        let reading =
            Reading { recognised: false, token_proves: false, ..self.dialect.read(record) };
        self.records = self.records.saturating_sub(1);
        self.reading(reading, &ids, (record, observed), not_before)
    }

    fn whole(
        &mut self,
        bytes: &[u8],
        ids: &[TokenId],
        observed: Stamp,
        not_before: Option<Stamp>,
    ) -> usize {
        if ids.is_empty() {
            return 0;
        }
        let reading = Reading {
            recognised: false,
            token_proves: false,
            counts: true,
            ..self.dialect.read(bytes)
        };
        self.records = self.records.saturating_sub(1);
        self.reading(reading, ids, (bytes, observed), not_before)
    }

    fn reading(
        &mut self,
        reading: Reading,
        ids: &[TokenId],
        (record, observed): (&[u8], Stamp),
        not_before: Option<Stamp>,
    ) -> usize {
        self.records += 1;
        let real = reading.recognised || (reading.token_proves && !ids.is_empty());
        if real && !self.proven {
            self.proven = true;
            self.batch.rows.push(Row::Proven(Proven {
                watcher: self.context.name.clone(),
                at: observed,
                config_digest: self.context.config_digest.clone(),
            }));
        }
        if !reading.counts {
            return 0;
        }
        for id in ids {
            self.busy = observed;
            // An event of ours holds one token; the ledger remembers what was sent.
            if ids.len() == 1 && self.context.stage >= Stage::Detected && record.len() <= MAX_ECHO {
                self.batch.records.insert(self.batch.sightings.len(), record.to_vec());
            }
            self.batch.sightings.push(SightingRow {
                canary: *id,
                watcher: self.context.name.clone(),
                stage: self.context.stage,
                observed,
                not_before,
                native_id: reading.native_id.clone(),
                rule: reading.rule.clone(),
                rule_names: reading.rule_names.clone(),
                event_time_ns: reading.event_time_ns,
                created_time_ns: reading.created_time_ns,
                grade: Grade::Exact,
                retrospective: false,
                excerpt: reading.excerpt.clone(),
            });
        }
        ids.len()
    }

    /// Our tokens in the bytes; forged ones are counted.
    fn tokens(&mut self, bytes: &[u8], observed: Stamp) -> Vec<TokenId> {
        let (ids, forged) = self.found(bytes);
        if forged > 0 {
            self.stray(StrayClass::Forged, forged, bytes, observed);
        }
        ids
    }

    fn quiet_tokens(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.found(bytes).0
    }

    /// Our tokens in the bytes, and how many forged ones there are.
    fn found(&self, bytes: &[u8]) -> (Vec<TokenId>, u64) {
        let mut ids = Vec::new();
        let mut forged = 0;
        self.context.scanner.scan(bytes, &mut |hit| match hit.id {
            Some(id) if !ids.contains(&id) => ids.push(id),
            Some(_) => {}
            None => forged += 1,
        });
        (ids, forged)
    }

    fn stray(&mut self, class: StrayClass, count: u64, bytes: &[u8], at: Stamp) {
        let watcher = self.context.name.clone();
        let entry = self.strays.entry(class).or_insert_with(|| Stray {
            watcher,
            class,
            at,
            count: 0,
            excerpt: excerpt(bytes, 256),
        });
        entry.count += count;
        entry.at = at;
    }

    /// True when a look row is due.
    pub fn look_due(&self, now: &Stamp) -> bool {
        let every = if now.since(&self.busy).ns < ns(LATELY) { BRISK } else { CALM };
        self.last_row.is_none_or(|last| now.since(&last).ns >= ns(every))
    }

    /// Records a complete look. `unbroken`: nothing between the last complete look and this one can
    /// have been lost. Closes an open blind span, recovered or not.
    pub fn look(&mut self, from: Stamp, to: Stamp, unbroken: bool, position: &Value) {
        self.see(to, unbroken);
        self.look_row(from, to, true, unbroken, position);
        self.looked = Some(to);
    }

    fn look_row(&mut self, from: Stamp, to: Stamp, complete: bool, unbroken: bool, at: &Value) {
        let records = std::mem::take(&mut self.records);
        self.last_row = Some(to);
        self.batch.rows.push(Row::Look(Look {
            watcher: self.context.name.clone(),
            from,
            to,
            complete,
            unbroken,
            position: at.to_string(),
            records,
        }));
    }

    /// End of the last complete look, also of the run before.
    pub fn looked(&self) -> Option<Stamp> {
        self.looked
    }

    /// Notes a complete look that gets no row of its own.
    pub fn note_look(&mut self, to: Stamp) {
        self.looked = Some(to);
    }

    /// Notes that nothing came before that instant which lies behind the position.
    pub fn note_since(&mut self, since: Stamp) {
        self.since = Some(since);
    }

    /// True while a blind span is open.
    pub fn is_blind(&self) -> bool {
        self.blind.is_some()
    }

    /// Opens a blind span, unless one is open.
    pub fn blind(&mut self, from: Stamp, reason: impl Into<String>, ours: bool) {
        let reason = reason.into();
        self.context.blind_reason.set(&reason);
        if self.blind.is_some() {
            return;
        }
        let shown = terminal(&reason);
        tracing::warn!(watcher = %self.context.name, ours, reason = %shown, "cannot see");
        let blind = Blind {
            watcher: self.context.name.clone(),
            from,
            to: None,
            reason,
            ours,
            recovered: false,
        };
        self.batch.rows.push(Row::Blind(blind.clone()));
        self.blind = Some(blind);
    }

    /// Says more exactly why the open span is one: its closing row has these words.
    pub fn retell(&mut self, reason: String) {
        if let Some(blind) = &mut self.blind {
            self.context.blind_reason.set(&reason);
            blind.reason = reason;
        }
    }

    /// Closes the open blind span, if any.
    pub fn see(&mut self, to: Stamp, recovered: bool) {
        self.context.blind_reason.clear();
        if let Some(blind) = self.blind.take() {
            self.batch.rows.push(Row::Blind(Blind { to: Some(to), recovered, ..blind }));
        }
    }

    /// Records a span that is already over and that nothing can make good.
    pub fn lost(&mut self, from: Stamp, to: Stamp, reason: impl Into<String>, ours: bool) {
        self.batch.rows.push(Row::Blind(Blind {
            watcher: self.context.name.clone(),
            from,
            to: Some(to),
            reason: reason.into(),
            ours,
            recovered: false,
        }));
    }

    /// True when the batch should be handed over now.
    pub fn full(&self) -> bool {
        self.batch.sightings.len() + self.batch.rows.len() >= BATCH
    }

    /// True when something waits to be committed.
    pub fn pending(&self) -> bool {
        !self.batch.rows.is_empty() || !self.batch.sightings.is_empty() || !self.strays.is_empty()
    }

    /// Hands over what was collected, with the position that it reaches to. Does not wait for the
    /// disk; fails when an earlier commit failed.
    pub fn commit(&mut self, position: &Value) -> Result<(), WatchError> {
        let ticket = self.hand_over(position);
        self.committer.follow(&self.context.name, ticket)
    }

    /// The same, for callers that wait for the commit themselves.
    pub fn hand_over(&mut self, position: &Value) -> Ticket {
        let mut batch = std::mem::take(&mut self.batch);
        batch.rows.extend(std::mem::take(&mut self.strays).into_values().map(Row::Stray));
        let mark = Mark {
            position: position.clone(),
            looked: self.looked,
            since: self.since,
            blind: self.blind.clone(),
        };
        let text = serde_json::to_string(&mark).unwrap_or_default();
        batch.cursor = Some((self.context.name.clone(), text));
        self.context.ledger.append(batch)
    }

    /// Fails when an earlier commit failed.
    pub fn healthy(&self) -> Result<(), WatchError> {
        self.committer.healthy(&self.context.name)
    }

    /// Commits what is left and waits for it.
    pub fn close(mut self, position: &Value) -> Result<(), WatchError> {
        self.commit(position)?;
        self.committer.finish(&self.context.name)
    }
}

/// Nanoseconds of a short span.
pub(super) fn ns(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
