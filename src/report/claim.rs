//! Claims: "p95 below 1 h with 95 % confidence" is said only of an n and an m that stood beforehand.
//!
//! Whoever looks at the result first and then chooses how many canaries count, or how many misses
//! are allowed, can claim anything. So n (canaries judged) and m (of them late, missed or undecided)
//! come from the ledger, from one of two places:
//!
//! - a [`crate::ledger::ClaimRow`], written by `dwell plan --record` before the campaign's first
//!   canary: judged on the first n by submission, whatever comes after;
//! - else the one run of the campaign: its row, written before any canary, says how many are planned,
//!   and m is the largest number that so many carry. Only what the schedule withdraws by itself (caps,
//!   quiet hours, `min_gap`) makes n smaller. It is judged when the last of them is.
//!
//! A run that is stopped keeps its n: whoever stops while it looks good has not sent what the claim
//! is about, and it stays undecided. So it does after a kill switch and a crash.
//!
//! A campaign that grew by further runs, a route by which these meant different things, or a record after
//! the fact, fixes nothing: the claim is refused, and the objective is at best undecided. That an objective
//! is *missed* needs no plan.
//!
//! Each claim is carried only at its worse end: undecided canaries count as misses, and those whose
//! delivery is proven must carry it alone. And it must be carried by batches ([`super::batches`]), each
//! of which is in time only if all its canaries are: sixty canaries that one run of the rule caught are
//! one look at it. A rejection by a fault of ours is no failure of anybody's detection; it leaves open
//! what would have been.

use std::collections::BTreeSet;

use super::batches::Count;
use super::blocks::Length;
use super::build::rfc3339;
use super::model::ClaimReport;
use super::share::known;
use super::words::{duration, percent};
use crate::dispatch::outcome::{CanaryView, FixedClaim, Outcome, RouteView, Verdict};
use crate::ledger::ExpectationPlan;
use crate::schedule::is_beforehand;
use crate::stats::planning::{canaries_needed, misses_allowed};

/// What was fixed.
struct Terms {
    fixed: &'static str,
    fixed_at: Option<String>,
    n: u64,
    m: u64,
    quantile: f64,
    confidence: f64,
    /// Why nothing is said at all.
    refused: Option<String>,
}

/// What became of the canaries that count.
#[derive(Default)]
struct Tally {
    judged: u64,
    proven: u64,
    /// Proven, and not in time.
    not_in_time: u64,
    open: u64,
    /// Batches of them, all in time or not.
    batches: Count,
}

/// Judges the claim on one expectation; `None` where none is made.
pub(super) fn judge(
    view: &RouteView,
    index: usize,
    plan: &ExpectationPlan,
    (cut, batch): (i64, &Length),
) -> Option<ClaimReport> {
    let latest = cut.saturating_sub_unsigned(plan.deadline_ns);
    let eligible: Vec<(&CanaryView, &Verdict)> = view
        .canaries
        .iter()
        .filter(|c| c.submitted <= latest)
        .filter_map(|c| Some((c, c.verdicts.get(index)?)))
        .collect();
    let recorded = view.claims.iter().rfind(|c| c.row.expectation == plan.name && c.beforehand);
    let afterwards = view.claims.iter().rfind(|c| c.row.expectation == plan.name);
    let terms = match (recorded.or(afterwards), plan.confidence) {
        (Some(claim), _) => of_record(claim, view, plan),
        (None, Some(confidence)) => of_run(view, plan, confidence),
        (None, None) => return None,
    };
    let first = usize::try_from(terms.n).unwrap_or(usize::MAX);
    let tally = tally(&eligible[..first.min(eligible.len())], batch.ns);
    Some(report(&terms, &tally, plan, (&unsent(view, terms.n), batch)))
}

/// Canaries of these n that were not sent, and why, where a stop or a crash withdrew them.
#[derive(Default)]
struct Unsent {
    number: u64,
    words: String,
}

fn unsent(view: &RouteView, n: u64) -> Unsent {
    let sent = view.canaries.len() as u64;
    let stops = || view.withdrawn.iter().filter(|w| !is_beforehand(&w.reason));
    let number = stops().map(|w| u64::from(w.slots)).sum::<u64>().min(n.saturating_sub(sent));
    if number == 0 {
        return Unsent::default();
    }
    let reasons: BTreeSet<&str> = stops().map(|w| w.reason.as_str()).collect();
    let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
    Unsent { number, words: format!(", stopped at {sent} of {n} planned ({reasons})") }
}

fn of_record(claim: &FixedClaim, view: &RouteView, plan: &ExpectationPlan) -> Terms {
    let row = &claim.row;
    let refused = if !claim.beforehand {
        Some("recorded after the campaign's first canary".to_owned())
    } else if row.within_ns != plan.deadline_ns {
        Some(format!(
            "it was fixed for {}, the deadline is {}",
            duration(row.within_ns),
            duration(plan.deadline_ns)
        ))
    } else if view.is_apart() {
        Some("what is expected of the route was changed between its runs".to_owned())
    } else if plan.confidence.is_some_and(|c| row.confidence < c || row.quantile < plan.share) {
        Some("what was fixed is weaker than the objective".to_owned())
    } else {
        None
    };
    Terms {
        fixed: if claim.beforehand { "recorded" } else { "not" },
        fixed_at: Some(rfc3339(row.at.wall_ns)),
        n: row.n,
        m: row.misses,
        quantile: row.quantile,
        confidence: row.confidence,
        refused,
    }
}

fn of_run(view: &RouteView, plan: &ExpectationPlan, confidence: f64) -> Terms {
    let scheduled = view.withdrawn.iter().filter(|w| is_beforehand(&w.reason));
    let n = view.planned.saturating_sub(scheduled.map(|w| u64::from(w.slots)).sum());
    let more = match view.runs_in_all {
        0 | 1 => None,
        runs => Some(format!(
            "n and m were not fixed before its {runs} runs; fix them with `dwell plan --record`"
        )),
    };
    let m = misses_allowed(plan.share, confidence, n);
    let too_few = m.is_none().then(|| match canaries_needed(plan.share, confidence, 0) {
        Some(needed) => format!("{n} canaries cannot carry it, {needed} are needed"),
        None => "no number of canaries carries it".to_owned(),
    });
    Terms {
        fixed: if more.is_none() { "run" } else { "not" },
        fixed_at: None,
        n,
        m: m.unwrap_or(0),
        quantile: plan.share,
        confidence,
        refused: more.or(too_few),
    }
}

fn tally(first: &[(&CanaryView, &Verdict)], batch_ns: u64) -> Tally {
    let in_time = |verdict: &Verdict| verdict.outcome == Outcome::Detected;
    let mut tally = Tally {
        batches: Count::of(first.iter().map(|(c, v)| (c.submitted, in_time(v))), batch_ns),
        ..Tally::default()
    };
    for (canary, verdict) in first {
        let sure = known(canary, verdict) && !verdict.rejected_by_us();
        tally.judged += 1;
        tally.proven += u64::from(sure);
        tally.not_in_time += u64::from(sure && !in_time(verdict));
        tally.open += u64::from(!sure && !in_time(verdict));
    }
    tally
}

/// How many batches it takes where so many are not all in time.
fn batches_needed(terms: &Terms, tally: &Tally) -> u64 {
    let failed = tally.batches.n - tally.batches.all;
    canaries_needed(terms.quantile, terms.confidence, failed).unwrap_or(u64::MAX)
}

fn state(terms: &Terms, tally: &Tally) -> &'static str {
    let alone = || {
        tally.proven == tally.judged
            || canaries_needed(terms.quantile, terms.confidence, tally.not_in_time)
                .is_some_and(|needed| needed <= tally.proven)
    };
    let all = tally.judged >= terms.n && tally.not_in_time + tally.open <= terms.m;
    if terms.refused.is_some() {
        "refused"
    } else if tally.not_in_time > terms.m {
        "not carried"
    } else if all && alone() && batches_needed(terms, tally) <= tally.batches.n {
        "carried"
    } else {
        "undecided"
    }
}

fn report(
    terms: &Terms,
    tally: &Tally,
    plan: &ExpectationPlan,
    (unsent, batch): (&Unsent, &Length),
) -> ClaimReport {
    let state = state(terms, tally);
    let about = format!(
        "{} within {} with {} confidence",
        percent(terms.quantile),
        duration(plan.deadline_ns),
        percent(terms.confidence)
    );
    let words = match &terms.refused {
        Some(why) => format!("claim of {about} refused: {why}"),
        None => in_words(terms, tally, &format!("{about} {state}{}", unsent.words), (state, batch)),
    };
    ClaimReport {
        fixed: terms.fixed.to_owned(),
        fixed_at: terms.fixed_at.clone(),
        n: terms.n,
        m: terms.m,
        quantile: terms.quantile,
        within_ns: plan.deadline_ns,
        confidence: terms.confidence,
        never_sent: unsent.number,
        judged: tally.judged,
        not_in_time: tally.not_in_time,
        open: tally.open,
        batches: tally.batches.n,
        batches_in_time: tally.batches.all,
        batch_ns: batch.ns,
        state: state.to_owned(),
        words,
    }
}

fn in_words(
    terms: &Terms,
    tally: &Tally,
    outcome: &str,
    (state, batch): (&str, &Length),
) -> String {
    let fixed = match (terms.fixed, &terms.fixed_at) {
        ("recorded", Some(at)) => format!("fixed {at}"),
        _ => "fixed by the run's plan".to_owned(),
    };
    let mut words = format!(
        "planned n {}, m {} ({fixed}): claim of {outcome}; {} judged, {} not in time, {} open",
        terms.n, terms.m, tally.judged, tally.not_in_time, tally.open
    );
    if tally.batches.n < tally.judged && state == "undecided" {
        words.push_str(&format!(
            ", in {} batches of {} ({}), {} of them not all in time; it takes {}",
            tally.batches.n,
            duration(batch.ns),
            batch.why,
            tally.batches.n - tally.batches.all,
            batches_needed(terms, tally)
        ));
    }
    words
}

/// The objective's state and words with the claim's weight. Only an objective with a confidence is a
/// claim; a recorded claim beside another objective is printed and changes nothing.
pub(super) fn applied(
    (state, words): (&'static str, String),
    plan: &ExpectationPlan,
    claim: Option<&ClaimReport>,
) -> (&'static str, String) {
    let Some(claim) = claim else { return (state, words) };
    let words = format!("{words}; {}", claim.words);
    if plan.confidence.is_none() || state == "missed" {
        return (state, words);
    }
    let enough = claim.judged >= u64::from(plan.min_n).max(1);
    match claim.state.as_str() {
        "carried" if enough => ("met", words),
        _ => ("undecided", words),
    }
}
