//! The harness's own floor in the report: how late a sighting is by itself, as `dwell calibrate` found
//! it and the run copied it into the ledger. Where the floor of a watcher exceeds 1 % of the smallest
//! quantile shown, the expectation is *floor-limited*: the harness is part of what was measured.
//!
//! Only from the ledger, so that the same ledger and cut give the same report. A polled time carries
//! its coarseness as an interval and has no floor here.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{ExpectationReport, RouteReport};
use super::words::duration;
use crate::dispatch::outcome::Assessment;
use crate::ledger::{CalibrationFact, FloorFact};

/// Share of a quantile above which the floor limits it.
const SHARE: f64 = 0.01;

/// What a report says about the harness itself.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct FloorReport {
    /// When the calibration was made, RFC 3339; `null` where the latest run had none.
    pub measured_at: Option<String>,
    /// Measured minus true by kind of watcher.
    pub kinds: Vec<KindFloor>,
    /// SHA-256 of the calibration, hex.
    pub digest: Option<String>,
    /// The same in words, and what it does not carry.
    pub words: Vec<String>,
    /// Expectations whose times the floor limits, in words.
    pub limited: Vec<String>,
}

/// The floor of one kind.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KindFloor {
    /// `webhook`, `file`, `kafka`.
    pub kind: String,
    /// Sightings.
    pub n: u64,
    /// Median, nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile, nanoseconds.
    pub p99_ns: u64,
    /// Upper 95 % limit of it; `null` where so few cannot bound it.
    pub p99_upper_ns: Option<u64>,
    /// Largest, nanoseconds.
    pub max_ns: u64,
}

fn whole(ns: i64) -> u64 {
    ns.max(0).unsigned_abs()
}

fn kind(fact: &FloorFact) -> KindFloor {
    KindFloor {
        kind: fact.kind.clone(),
        n: fact.n,
        p50_ns: whole(fact.p50_ns),
        p99_ns: whole(fact.p99_ns),
        p99_upper_ns: fact.p99_upper_ns.map(whole),
        max_ns: whole(fact.max_ns),
    }
}

/// Builds it from the latest run's calibration.
pub(super) fn report(assessment: &Assessment, routes: &[RouteReport]) -> FloorReport {
    let Some(fact) = assessment.runs.last().and_then(|run| run.calibration.as_deref()) else {
        let words = "Harness floor: not calibrated when the latest run began; `dwell calibrate` \
                     measures it.";
        return FloorReport { words: vec![words.to_owned()], ..FloorReport::default() };
    };
    let kinds: Vec<KindFloor> = fact.floors.iter().map(kind).collect();
    let of: BTreeMap<&str, &str> =
        assessment.watchers.iter().map(|w| (w.name.as_str(), w.kind.as_str())).collect();
    let mut words = words(fact, &kinds);
    words.extend(uncalibrated(routes, &kinds, &of));
    let limited = routes
        .iter()
        .flat_map(|route| route.expectations.iter().map(move |e| (route, e)))
        .filter_map(|(route, e)| limits(route, e, &kinds, &of))
        .collect();
    FloorReport {
        measured_at: Some(fact.measured_at.clone()),
        words,
        kinds,
        digest: Some(fact.digest.clone()),
        limited,
    }
}

fn words(fact: &CalibrationFact, kinds: &[KindFloor]) -> Vec<String> {
    let parts: Vec<String> = kinds
        .iter()
        .map(|k| {
            let end = k.p99_upper_ns.map_or("open".to_owned(), duration);
            let (p50, p99) = (duration(k.p50_ns), duration(k.p99_ns));
            format!("{} p50 {p50}, p99 {p99} (95 % limit {end}, n {})", k.kind, k.n)
        })
        .collect();
    let date = fact.measured_at.get(..10).unwrap_or(&fact.measured_at);
    let mut words = vec![format!("Harness floor (this machine, {date}): {}.", parts.join("; "))];
    if !fact.met {
        words.push("The calibration did not meet all of its aims: see `dwell calibrate`.".into());
    }
    words.extend(fact.notes.iter().map(|note| format!("Of the calibration: {note}.")));
    words
}

/// Kinds that are asked here and were not calibrated: nothing says whether their floor limits a time.
fn uncalibrated(
    routes: &[RouteReport],
    kinds: &[KindFloor],
    of: &BTreeMap<&str, &str>,
) -> Option<String> {
    let asked = routes.iter().flat_map(|r| &r.expectations).flat_map(|e| &e.watchers);
    let missing: BTreeSet<&str> = asked
        .filter_map(|watcher| of.get(watcher.as_str()).copied())
        .filter(|kind| *kind != "poll" && !kinds.iter().any(|k| k.kind == *kind))
        .collect();
    let list: Vec<&str> = missing.iter().copied().collect();
    let how =
        if missing.contains("kafka") { "; `dwell calibrate --kafka BROKERS` does" } else { "" };
    (!list.is_empty()).then(|| {
        format!("The calibration did not measure these watchers' floor: {}{how}.", list.join(", "))
    })
}

/// The smallest quantile shown against the worst floor of the watchers asked.
fn limits(
    route: &RouteReport,
    e: &ExpectationReport,
    kinds: &[KindFloor],
    of: &BTreeMap<&str, &str>,
) -> Option<String> {
    let shown = e.ttd.quantiles.iter().filter_map(|q| q.value?.estimate.ns()).min()?;
    let asked = e.watchers.iter().filter_map(|w| of.get(w.as_str()));
    let worst = asked
        .filter_map(|kind| kinds.iter().find(|k| k.kind == **kind))
        .max_by_key(|k| k.p99_upper_ns.unwrap_or(k.max_ns))?;
    let floor = worst.p99_upper_ns.unwrap_or(worst.max_ns);
    (floor as f64 > SHARE * shown as f64).then(|| {
        format!(
            "{} / {}: floor-limited: {} of the {} floor exceed 1 % of the smallest quantile shown ({})",
            route.name,
            e.name,
            duration(floor),
            worst.kind,
            duration(shown)
        )
    })
}
