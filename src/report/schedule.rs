//! What schedules do to the numbers: the rule's, as the detections betray it, and our own.
//!
//! Polls have a schedule too, and must not be taken for the rule's. How coarse a time is follows from
//! how its watcher looks, whatever is left of the interval after submission: the poll period, or the
//! median of the intervals where polls were further apart than was asked for. A time that the record
//! itself tells is as coarse as the bound on the clocks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::TtdReport;
use super::times::Decided;
use super::words::duration;
use crate::dispatch::outcome::{Assessment, Dated, Interval, Outcome, Verdict};
use crate::ledger::{ExpectationPlan, WatcherPlan};
use crate::stats::phase::{self, Schedule, Timing};

/// A schedule is named only at this level, after Holm's correction over the periods tried.
const LEVEL: f64 = 0.01;
/// Detections looked at; of more than these an evenly spread part.
const MOST: usize = 5_000;
/// What a report says of arrivals at a fixed spacing.
pub(super) const FIXED: &str = "Arrivals were fixed: they measure one phase of a scheduled rule, and the times may be far off in either direction; `stratified` measures all phases.";

/// A rule's schedule and its price.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScheduleReport {
    /// The rule runs every so often, nanoseconds: the shortest period that the detections allow
    pub period_ns: u64,
    /// and the longest, up to a week; the same where they allow only one, or the configured one.
    pub longest_ns: u64,
    /// What the configuration says (`rule_period`), nanoseconds, whether the detections allow it or not.
    pub configured_ns: Option<u64>,
    /// Its alerts appear so long after a whole period of wall time, nanoseconds.
    pub phase_ns: u64,
    /// Mean wait for its next run: half of `period_ns`, or where that is less, the mean of the detections or
    /// the median beside it, nanoseconds. Where longer periods are allowed, at least that.
    pub mean_wait_ns: u64,
    /// The median time to detect beside which that stands, nanoseconds.
    pub p50_ns: u64,
    /// Detections used.
    pub n: u64,
    /// Canaries without a detection, left out of the search.
    pub left_out: u64,
    /// Detections left out, because polls were too far apart to tell.
    pub too_coarse: u64,
    /// p-value after Holm's correction over the whole minutes that divide a day and the configured period.
    pub p: f64,
    /// The same in words.
    pub words: String,
}

/// How coarse times are, by watcher: those that we saw, and those that records tell.
struct Coarseness<'a> {
    watchers: &'a [WatcherPlan],
    typical: BTreeMap<&'a str, u64>,
}

impl<'a> Coarseness<'a> {
    fn new(decided: &[Decided<'a>], watchers: &'a [WatcherPlan]) -> Coarseness<'a> {
        let mut widths: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (_, verdict) in decided.iter().filter(|(_, v)| v.dated != Dated::ByRecord) {
            if let (Some(ttd), Some(name)) = (verdict.ttd, &verdict.watcher) {
                widths.entry(name).or_default().push(ttd.width_ns());
            }
        }
        let typical = widths.into_iter().map(|(name, mut widths)| {
            widths.sort_unstable();
            (name, widths.get(widths.len() / 2).copied().unwrap_or(0))
        });
        Coarseness { watchers, typical: typical.collect() }
    }

    fn of(&self, verdict: &Verdict, ttd: Interval) -> u64 {
        let name = verdict.watcher.as_deref().unwrap_or_default();
        let plan = self.watchers.iter().find(|w| w.name == name);
        let looking = match verdict.dated {
            Dated::ByRecord => plan.and_then(|w| w.max_offset_ns).unwrap_or(0).saturating_mul(2),
            Dated::BySight | Dated::Contradicted => {
                let typical = self.typical.get(name).copied().unwrap_or(0);
                plan.map_or(0, |w| w.resolution_ns).max(typical)
            }
        };
        looking.max(ttd.width_ns())
    }
}

/// The schedule that the detections of one expectation betray. The configured period is preferred where
/// they allow it.
pub(super) fn find(
    decided: &[Decided<'_>],
    plan: &ExpectationPlan,
    watchers: &[WatcherPlan],
) -> Option<Schedule> {
    let coarse = Coarseness::new(decided, watchers);
    let seen: Vec<Timing> = decided
        .iter()
        .filter_map(|(c, v)| {
            let ttd = v.ttd?;
            let coarse_ns = coarse.of(v, ttd);
            Some(Timing { submitted_ns: c.submitted_wall_ns, ttd_ns: ttd.upper_ns, coarse_ns })
        })
        .collect();
    let part: Vec<Timing> =
        seen.iter().step_by(seen.len().div_ceil(MOST).max(1)).copied().collect();
    phase::find(&part, plan.rule_period_ns, LEVEL)
}

/// What it costs, beside the median.
pub(super) fn report(
    found: &Schedule,
    decided: &[Decided<'_>],
    plan: &ExpectationPlan,
    ttd: &TtdReport,
) -> Option<ScheduleReport> {
    let p50_ns = ttd.quantiles.first()?.value?.estimate.ns()?;
    let undetected = |v: &Verdict| v.ttd.is_none() && v.outcome != Outcome::Undelivered;
    let left_out = decided.iter().filter(|(_, v)| undetected(v)).count() as u64;
    let mut report = ScheduleReport {
        period_ns: found.period_ns,
        longest_ns: found.longest_ns,
        configured_ns: plan.rule_period_ns,
        phase_ns: found.phase_ns,
        mean_wait_ns: found.mean_wait_ns().min(p50_ns),
        p50_ns,
        n: found.n,
        left_out,
        too_coarse: found.too_coarse,
        p: found.p,
        words: String::new(),
    };
    report.words = words(&report);
    Some(report)
}

fn words(report: &ScheduleReport) -> String {
    let minute = 60_000_000_000;
    let p = match report.p < 0.001 {
        true => "p < 0.001".to_owned(),
        false => format!("p = {:.3}", report.p),
    };
    let exact = report.longest_ns == report.period_ns;
    let period = duration(report.period_ns);
    let schedule = match (report.configured_ns == Some(report.period_ns), exact) {
        (true, true) => format!("the configured rule_period of {period}"),
        (_, true) => format!("a schedule of {period}"),
        _ => format!("a schedule of {period} or longer, up to {}", duration(report.longest_ns)),
    };
    let coarse = match report.too_coarse {
        0 => String::new(),
        n => format!(", {n} left out that were found by polls too far apart to tell"),
    };
    // What the detections themselves bound is no least of anything.
    let at_least = match exact || report.mean_wait_ns < report.period_ns / 2 {
        true => "",
        false => "at least ",
    };
    let mut words = format!(
        "detections follow {schedule} ({p}, n {}, {} not detected left out{coarse}): on average {at_least}{} \
         of the median {} are the wait for its next run",
        report.n,
        report.left_out,
        duration(report.mean_wait_ns),
        duration(report.p50_ns)
    );
    let saved = report.mean_wait_ns.saturating_sub(minute / 2);
    if report.period_ns > minute && saved > 0 {
        let about = if at_least.is_empty() { "about " } else { at_least };
        words.push_str(&format!("; run every minute, it would fall by {about}{}", duration(saved)));
    }
    match report.configured_ns {
        Some(ns) if ns != report.period_ns || !exact => words.push_str(&format!(
            "; the configured rule_period of {} does not fit them",
            duration(ns)
        )),
        _ => (),
    }
    words
}

/// True when any run of the campaign had fixed arrivals.
pub(super) fn fixed(assessment: &Assessment) -> bool {
    assessment.runs.iter().any(|run| run.arrivals == "fixed")
}
