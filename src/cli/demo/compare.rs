//! What was measured against what was planted. Pure: rows, assessment and truth in, checks out.
//!
//! The truth is the detector's own: when it made a record searchable and when an alert's bytes left.
//! From it and the receipts follows what the harness *should* have measured, canary by canary; what
//! it did measure is held against that. Nothing here asks the configuration what it hoped for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;
use serde::Serialize;
use statrs::distribution::{Binomial, DiscreteCDF};

use super::plan;
use crate::detector::TruthRow;
use crate::dispatch::outcome::{Assessment, CanaryView, Outcome, RouteView, Verdict};
use crate::ledger::{ExpectationPlan, Row, SightingRow, Stage};

/// An outcome may differ from the truth's where the true time lies so near to the deadline or the
/// cut that measuring alone decides: nanoseconds.
const NEAR_NS: i64 = 400_000_000;
/// Largest 99th percentile of measured minus true that a busy machine may show, nanoseconds.
const SLOWEST_NS: i64 = 250_000_000;

/// One planted thing and whether it was found again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Check {
    /// What was planted.
    pub planted: String,
    /// What was measured.
    pub measured: String,
    /// Whether they agree.
    pub agrees: bool,
}

fn check(planted: impl Into<String>, measured: impl Into<String>, agrees: bool) -> Check {
    Check { planted: planted.into(), measured: measured.into(), agrees }
}

/// Everything that is compared.
pub(super) struct Evidence<'a> {
    /// The ledger's rows of this run.
    pub rows: &'a [Row],
    /// The run, assessed.
    pub assessment: &'a Assessment,
    /// What the detector says really happened.
    pub truth: &'a [TruthRow],
    /// Finds our canaries in a text.
    pub tokens: &'a dyn Fn(&str) -> Vec<TokenId>,
    /// Explains a miss, in words.
    pub explain: &'a dyn Fn(TokenId) -> Vec<String>,
}

/// The truth, tied to canaries.
#[derive(Default)]
struct Tied<'a> {
    /// First instant at which a record of the canary could be found.
    searchable: HashMap<TokenId, Stamp>,
    documents: HashMap<&'a str, (TokenId, Stamp)>,
    lost: BTreeMap<&'a str, BTreeSet<TokenId>>,
    alerts: HashMap<&'a str, Created<'a>>,
    emitted: Vec<(&'a str, &'a str, Stamp)>,
}

struct Created<'a> {
    canary: TokenId,
    sigma: Option<&'a str>,
    title: &'a str,
    stamp: Stamp,
}

fn tie<'a>(evidence: &Evidence<'a>) -> Tied<'a> {
    let mut tied = Tied::default();
    for row in evidence.truth {
        match row {
            TruthRow::Searchable { document, stamp, text, .. } => {
                for canary in (evidence.tokens)(text) {
                    tied.documents.insert(document, (canary, *stamp));
                    tied.searchable.entry(canary).or_insert(*stamp);
                }
            }
            TruthRow::Lost { source, text, .. } => {
                tied.lost.entry(source).or_default().extend((evidence.tokens)(text));
            }
            TruthRow::Created { alert, sigma, title, document, stamp, .. } => {
                if let Some((canary, _)) = tied.documents.get(document.as_str()) {
                    let created =
                        Created { canary: *canary, sigma: sigma.as_deref(), title, stamp: *stamp };
                    tied.alerts.insert(alert, created);
                }
            }
            TruthRow::Emitted { alert, outlet, stamp, copy: false, .. } => {
                tied.emitted.push((alert, outlet, *stamp));
            }
            TruthRow::Emitted { .. } | TruthRow::Dropped { .. } => {}
        }
    }
    tied
}

/// All checks, in the order in which they are printed.
pub(super) fn compare(evidence: &Evidence<'_>) -> Vec<Check> {
    let tied = tie(evidence);
    let mut checks = Vec::new();
    for (watcher, outlet, kind) in plan::OUTLETS {
        checks.push(pushed(evidence, &tied, watcher, outlet, kind));
    }
    checks.push(polled(evidence, &tied));
    checks.push(outcomes(evidence, &tied));
    checks.extend(stopped_at_ingested(evidence));
    checks.push(lost(evidence, &tied));
    checks.push(slow(evidence, &tied));
    checks.push(burst(evidence));
    checks
}

fn sightings<'a>(
    evidence: &Evidence<'a>,
    watcher: &'a str,
) -> impl Iterator<Item = &'a SightingRow> {
    evidence.rows.iter().filter_map(move |row| match row {
        Row::Sighting(sighting) if sighting.watcher == watcher => Some(sighting),
        _ => None,
    })
}

/// Measured minus true for a watcher of emissions.
fn pushed(
    evidence: &Evidence<'_>,
    tied: &Tied<'_>,
    watcher: &str,
    outlet: &str,
    kind: &str,
) -> Check {
    let truth: HashMap<&str, Stamp> = tied
        .emitted
        .iter()
        .filter(|(_, o, _)| *o == outlet)
        .map(|(alert, _, stamp)| (*alert, *stamp))
        .collect();
    let mut errors: Vec<i64> = evidence
        .rows
        .iter()
        .filter_map(|row| match row {
            Row::Sighting(s) if s.watcher == watcher => {
                truth.get(s.native_id.as_str()).map(|stamp| s.observed.since(stamp).ns)
            }
            _ => None,
        })
        .collect();
    errors.sort_unstable();
    let planted = format!("{} alerts by {kind}, each stamped as it leaves", truth.len());
    let (Some(least), Some(p50), Some(p99)) =
        (errors.first(), quantile(&errors, 0.5), quantile(&errors, 0.99))
    else {
        return check(planted, "none was seen", false);
    };
    let text = format!(
        "{} seen; measured minus true: p50 {}, p99 {}, least {}",
        errors.len(),
        milliseconds(p50),
        milliseconds(p99),
        milliseconds(*least)
    );
    check(planted, text, errors.len() == truth.len() && *least >= 0 && p99 <= SLOWEST_NS)
}

/// A polled sighting is an interval that must hold the true instant.
fn polled(evidence: &Evidence<'_>, tied: &Tied<'_>) -> Check {
    let (mut all, mut inside) = (0_usize, 0_usize);
    for sighting in sightings(evidence, plan::SEARCH) {
        let Some((_, stamp)) = tied.documents.get(sighting.native_id.as_str()) else { continue };
        all += 1;
        let after = sighting.not_before.is_none_or(|from| stamp.since(&from).ns >= 0);
        inside += usize::from(after && sighting.observed.since(stamp).ns >= 0);
    }
    check(
        format!("{} records made searchable at known instants", tied.documents.len()),
        format!("{inside} of {all} polled intervals hold the true instant"),
        all == tied.documents.len() && all > 0 && inside == all,
    )
}

/// The outcome that the truth alone leads to, for one canary and expectation.
fn true_time(
    tied: &Tied<'_>,
    canary: &CanaryView,
    submitted: &Stamp,
    expectation: &ExpectationPlan,
    verdict: &Verdict,
) -> Option<i64> {
    if expectation.stage == Stage::Ingested {
        return tied.searchable.get(&canary.id).map(|stamp| stamp.since(submitted).ns);
    }
    let outlets: Vec<&str> = plan::OUTLETS
        .iter()
        .filter(|(watcher, ..)| expectation.watchers.iter().any(|w| w == watcher))
        .map(|(_, outlet, _)| *outlet)
        .collect();
    let wanted = |created: &Created<'_>| {
        let rules = &expectation.rules;
        rules.is_empty()
            || rules.iter().any(|r| r == created.title || Some(r.as_str()) == created.sigma)
    };
    tied.emitted
        .iter()
        .filter(|(_, outlet, _)| outlets.contains(outlet))
        .filter_map(|(alert, _, stamp)| Some((tied.alerts.get(alert)?, stamp)))
        .filter(|(created, _)| created.canary == canary.id && wanted(created))
        .map(|(created, stamp)| if verdict.by_created_time { &created.stamp } else { stamp })
        .map(|stamp| stamp.since(submitted).ns)
        .min()
}

/// Every outcome, against the one that follows from the truth.
fn outcomes(evidence: &Evidence<'_>, tied: &Tied<'_>) -> Check {
    let submitted: HashMap<TokenId, Stamp> = evidence
        .rows
        .iter()
        .filter_map(|row| match row {
            Row::Receipt(receipt) if receipt.event == 0 => {
                Some((receipt.canary, receipt.submitted_at))
            }
            _ => None,
        })
        .collect();
    let (mut all, mut same, mut near) = (0_usize, 0_usize, 0_usize);
    let mut first_wrong = None;
    for route in &evidence.assessment.routes {
        for canary in &route.canaries {
            let Some(begin) = submitted.get(&canary.id) else { continue };
            let until_cut = evidence.assessment.cut.saturating_sub(canary.submitted);
            for verdict in &canary.verdicts {
                let Some(expectation) = route.plan.expectations.get(verdict.expectation) else {
                    continue;
                };
                all += 1;
                let deadline = i64::try_from(expectation.deadline_ns).unwrap_or(i64::MAX);
                let time = true_time(tied, canary, begin, expectation, verdict);
                let should = match time {
                    Some(ns) if ns <= deadline => Outcome::Detected,
                    Some(ns) if ns <= until_cut => Outcome::Late,
                    _ => Outcome::Missed,
                };
                let close = time.is_some_and(|ns| {
                    (ns - deadline).abs() <= NEAR_NS || (ns - until_cut).abs() <= NEAR_NS
                });
                if verdict.outcome == should {
                    same += 1;
                } else if close {
                    near += 1;
                } else if first_wrong.is_none() {
                    first_wrong = Some(format!(
                        "; first difference: {} {} is {} and should be {}",
                        route.plan.name,
                        expectation.name,
                        verdict.outcome.name(),
                        should.name()
                    ));
                }
            }
        }
    }
    let near_text =
        if near > 0 { format!(", {near} within reach of a deadline") } else { String::new() };
    check(
        format!("{all} outcomes that follow from the detector's own stamps"),
        format!("{same} the same{near_text}{}", first_wrong.unwrap_or_default()),
        all > 0 && same + near == all,
    )
}

fn route<'a>(evidence: &Evidence<'a>, name: &str) -> Option<&'a RouteView> {
    evidence.assessment.routes.iter().find(|route| route.plan.name == name)
}

/// Canaries that reached the index and were missed at `detected`, of how many.
fn missed_at_ingested(route: &RouteView) -> (Vec<TokenId>, usize) {
    let at = route.plan.expectations.iter().position(|e| e.stage == Stage::Detected);
    let missed = route.canaries.iter().filter(|canary| {
        canary.last_stage == Stage::Ingested
            && at
                .and_then(|at| canary.verdicts.get(at))
                .is_some_and(|v| v.outcome == Outcome::Missed)
    });
    (missed.map(|canary| canary.id).collect(), route.canaries.len())
}

/// The silent rule and the parser's fault: missed at `ingested`, the second with its reason.
fn stopped_at_ingested(evidence: &Evidence<'_>) -> [Check; 2] {
    let (silent, all) = route(evidence, plan::SILENT).map(missed_at_ingested).unwrap_or_default();
    let first = check(
        format!("{}: a rule that evaluates nothing", plan::SILENT),
        format!("{} of {all} missed, last stage ingested", silent.len()),
        all > 0 && silent.len() == all,
    );
    let (name, field) = plan::FAULTY;
    let (faulty, all) = route(evidence, name).map(missed_at_ingested).unwrap_or_default();
    let quoted = format!("`{field}`");
    let reasons = faulty.first().map(|canary| (evidence.explain)(*canary)).unwrap_or_default();
    let told = reasons.iter().find(|reason| reason.contains(&quoted));
    let second = check(
        format!("{name}: a parser that loses {field}"),
        format!(
            "{} of {all} missed, last stage ingested; explained: {}",
            faulty.len(),
            told.map_or("no word about the field", String::as_str)
        ),
        all > 0 && faulty.len() == all && told.is_some(),
    );
    [first, second]
}

/// The supplier's losses: the same canaries, and as many as the planted share allows.
fn lost(evidence: &Evidence<'_>, tied: &Tied<'_>) -> Check {
    let (name, share) = plan::LOSSY;
    let planted = format!("{name}: a feed that loses {:.0} %", share * 100.0);
    let Some(route) = route(evidence, name) else { return check(planted, "no such route", false) };
    let truly = tied.lost.get(name).cloned().unwrap_or_default();
    let measured: BTreeSet<TokenId> = route
        .canaries
        .iter()
        .filter(|canary| canary.last_stage < Stage::Ingested)
        .map(|canary| canary.id)
        .collect();
    let n = route.canaries.len() as u64;
    let Ok(law) = Binomial::new(share, n) else { return check(planted, "no canaries", false) };
    let (low, high) = (law.inverse_cdf(0.0005), law.inverse_cdf(0.9995));
    let number = measured.len() as u64;
    check(
        planted,
        format!(
            "{number} of {n} never reached the index ({}); 99.9 % of such feeds lose {low} to {high}",
            if truly == measured { "the very ones that were lost" } else { "not the ones lost" },
        ),
        truly == measured && (low..=high).contains(&number),
    )
}

/// The slow route's median against the true one.
fn slow(evidence: &Evidence<'_>, tied: &Tied<'_>) -> Check {
    let planted = format!("{}: a slow queue before a rule every 2 s", plan::SLOW);
    let Some(route) = route(evidence, plan::SLOW) else {
        return check(planted, "no such route", false);
    };
    let mut measured: Vec<i64> = Vec::new();
    for verdict in route.canaries.iter().filter_map(|canary| canary.verdicts.first()) {
        measured.extend(verdict.ttd.map(|ttd| i64::try_from(ttd.upper_ns).unwrap_or(i64::MAX)));
    }
    let mut real: Vec<i64> = Vec::new();
    for canary in &route.canaries {
        let begin = evidence.rows.iter().find_map(|row| match row {
            Row::Receipt(r) if r.canary == canary.id && r.event == 0 => Some(r.submitted_at),
            _ => None,
        });
        if let (Some(begin), Some(expectation), Some(verdict)) =
            (begin, route.plan.expectations.first(), canary.verdicts.first())
            && verdict.ttd.is_some()
        {
            real.extend(true_time(tied, canary, &begin, expectation, verdict));
        }
    }
    measured.sort_unstable();
    real.sort_unstable();
    let (Some(ours), Some(theirs)) = (median(&measured), median(&real)) else {
        return check(planted, "nothing was detected", false);
    };
    check(
        planted,
        format!("median {} measured, {} true", milliseconds(ours), milliseconds(theirs)),
        (ours - theirs).abs() <= SLOWEST_NS,
    )
}

/// Bursts whose alert holds the group alone are tied to their canaries all the same.
fn burst(evidence: &Evidence<'_>) -> Check {
    let planted = format!("{}: alerts that hold two group-by fields", plan::BURST);
    let Some(route) = route(evidence, plan::BURST) else {
        return check(planted, "no such route", false);
    };
    let n = route.canaries.len();
    let tied = route
        .canaries
        .iter()
        .filter(|c| {
            c.verdicts
                .first()
                .is_some_and(|v| matches!(v.outcome, Outcome::Detected | Outcome::Late))
        })
        .count();
    check(planted, format!("{tied} of {n} bursts tied to their alert"), n > 0 && tied == n)
}

/// The value below which this share of a sorted sample lies.
fn quantile(sorted: &[i64], share: f64) -> Option<i64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The middle of a sorted sample, of an even number the mean of both: as the report's curve has it.
fn median(sorted: &[i64]) -> Option<i64> {
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(i64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
}

/// Nanoseconds for people.
pub(super) fn milliseconds(ns: i64) -> String {
    let ms = ns as f64 / 1e6;
    if ms.abs() < 1000.0 { format!("{ms:.2} ms") } else { format!("{:.2} s", ms / 1000.0) }
}

#[cfg(test)]
mod tests;
