//! Replays: sightings of a token of ours that what we sent cannot explain.
//!
//! A sighting is a replay when it lies outside its canary's time (before the submission of the first
//! event, surely after the last horizon: not what may have come before it and was read later), when its canary
//! was withdrawn and so never left, or when a watcher that reads events (stage `ingested` or before) saw
//! more different events than were handed over. It stays a row of the ledger and changes no outcome; it is
//! counted as a stray of its watcher.
//!
//! Events are told apart by their own time, and by the product's id only where the record holds no
//! time: a pipeline that delivers one event twice gives it two ids and one time, and is no attacker.
//! Two events of one burst within the clock's resolution then count as one, so that the count may
//! be too low and is never too high. Alerts are not counted: any number of rules may fire.
//!
//! Not promised: that other *fields* than those sent are noticed here. Products rename, cut and
//! normalise fields, so a difference in an alert proves nothing; `verify --event` and `explain` compare.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::AxisNs;
use super::canary::{Canary, HandedResult, Seen};
use super::decide::Case;
use super::sight::by_sight;
use crate::ledger::{RoutePlan, SightingRow, Stage};

/// What was seen of one canary and is none of ours, by watcher.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replays {
    /// Outside its time, or of a canary that never left.
    pub outside: BTreeMap<u32, u64>,
    /// More events than were sent.
    pub excess: BTreeMap<u32, u64>,
}

impl Replays {
    pub(super) fn total(counts: &BTreeMap<u32, u64>) -> u32 {
        u32::try_from(counts.values().sum::<u64>()).unwrap_or(u32::MAX)
    }
}

/// When a canary can be seen at all: submission to the last horizon of its route.
pub(super) fn time_of(plan: &RoutePlan, submitted: AxisNs) -> std::ops::RangeInclusive<AxisNs> {
    let horizon = plan.expectations.iter().map(|e| e.horizon_ns).max();
    submitted..=horizon.map_or(AxisNs::MAX, |ns| submitted.saturating_add_unsigned(ns))
}

/// True for a sighting that may lie in its canary's time. One that was read late may have come in it.
fn may_be_ours(case: &Case<'_>, submitted: AxisNs, seen: &Seen) -> bool {
    let time = time_of(case.plan, submitted);
    let earliest = || submitted.saturating_add_unsigned(by_sight(case, submitted, seen).lower_ns);
    time.contains(&seen.observed) || (seen.observed > *time.end() && earliest() <= *time.end())
}

/// Finds the replays of one canary.
pub(super) fn replays(case: &Case<'_>, submitted: AxisNs) -> Replays {
    let canary = case.canary;
    let mut found = Replays::default();
    let mut events: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for seen in canary.seen.iter().filter(|s| !s.retrospective) {
        if canary.withdrawn || !may_be_ours(case, submitted, seen) {
            *found.outside.entry(seen.watcher).or_insert(0) += 1;
        } else if seen.stage <= Stage::Ingested {
            events.entry(seen.watcher).or_default().insert(seen.event);
        }
    }
    let sent = sent(canary);
    for (watcher, events) in events {
        let excess = (events.len() as u64).saturating_sub(sent);
        if excess > 0 {
            found.excess.insert(watcher, excess);
        }
    }
    found
}

/// Events that may have left. Before the first receipt all of them may.
fn sent(canary: &Canary) -> u64 {
    if canary.handed.is_empty() {
        return u64::from(canary.events);
    }
    let left = |r: &HandedResult| !matches!(r, HandedResult::NotSent);
    canary.handed.iter().filter(|h| left(&h.result)).count() as u64
}

/// The sightings that lie in their canary's time, or may.
pub(super) fn live<'a>(case: &Case<'a>, submitted: AxisNs) -> Vec<&'a Seen> {
    let seen = case.canary.seen.iter().filter(|s| !s.retrospective);
    seen.filter(|s| may_be_ours(case, submitted, s)).collect()
}

/// What tells one event from another: its own time, else the product's id.
pub(super) fn event_key(row: &SightingRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    match row.event_time_ns {
        Some(time) => time.hash(&mut hasher),
        None => row.native_id.hash(&mut hasher),
    }
    hasher.finish()
}
