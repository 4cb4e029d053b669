//! The distribution of the time to detect, with its intervals. [`super::sample`] says which estimate.
//!
//! Kaplan-Meier has log-log intervals; Turnbull's estimate has bootstrap intervals, which are approximate
//! and labelled so.
//!
//! Canaries submitted close together are caught by the same run of a rule and are not independent.
//! Beside the log-log interval stands one from blocks of submission time; where the two differ by more
//! than a fifth, both are printed ([`super::blocks`] says how long a block is). With fewer than ten
//! blocks there is none, and that is said. So is when the work would take too long: a report is bounded.

use super::blocks::{FEWEST, Length};
use super::expectation::{CONFIDENCE, QUANTILES, observation};
use super::model::*;
use super::sample::{Fit, SEED, Sample, edges};
use crate::dispatch::outcome::{CanaryView, Delivery, Outcome, Verdict};
use crate::stats::bootstrap::{
    Blocks, Statistic, affordable, affordable_turnbull, curve_intervals,
};
use crate::stats::intervals::Turnbull;
use crate::stats::planning::canaries_needed;
use crate::stats::survival::{Band, Curve, Observation, Quantile, Reach};

/// A canary with its verdict on one expectation.
pub(super) type Decided<'a> = (&'a CanaryView, &'a Verdict);

/// Two intervals differ when their widths do by more than this.
pub(super) const DIFFERENT: f64 = 0.2;
/// Why there is no interval by blocks.
const TOO_MANY: &str = "too many canaries for a report";

/// The numbers of one expectation.
pub(super) fn distribution(
    decided: &[Decided<'_>],
    deadline_ns: u64,
    (block, period): (Length, Option<u64>),
) -> TtdReport {
    let sample = Sample::new(decided, period);
    let Fit { upper: curve, turnbull: estimate, method, label } = sample.fit();
    let blocks = Blocks::by_time(&sample.submitted, block.ns);
    let followed_ns = sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0);
    let mut report = TtdReport {
        n: curve.subjects(),
        events: curve.events(),
        followed_ns,
        label,
        method,
        quantiles: QUANTILES.iter().map(|p| kaplan_meier(&curve, *p)).collect(),
        curve: points(&curve, CONFIDENCE),
        extremes: extremes(decided),
        mean: mean(&curve, followed_ns, deadline_ns),
        blocks: BlockReport::planned(block, blocks.len() as u32),
        last_detection_ns: curve.steps().last().map(|s| s.time_ns),
    };
    match estimate {
        Some(estimate) => turnbull(&mut report, &sample, &blocks, (&estimate, &curve)),
        None => by_blocks(&mut report, &sample, &blocks),
    }
    report
}

pub(super) fn needed(p: f64) -> u64 {
    canaries_needed(p, CONFIDENCE, 0).unwrap_or(u64::MAX)
}

fn kaplan_meier(curve: &Curve, p: f64) -> QuantileReport {
    let n = curve.subjects();
    QuantileReport {
        p,
        value: (n >= needed(p)).then(|| curve.quantile(p, Band::LogLog, CONFIDENCE)),
        needs_more: needed(p).saturating_sub(n),
        within: None,
        by_blocks: None,
        blocks_differ: false,
    }
}

impl BlockReport {
    fn planned(length: Length, number: u32) -> BlockReport {
        BlockReport {
            length_ns: length.ns,
            why: length.why,
            number,
            resamples: 0,
            not_computed: (number < FEWEST as u32).then(|| format!("fewer than {FEWEST} blocks")),
        }
    }
}

/// Adds the interval by blocks to each quantile that is shown.
fn by_blocks(report: &mut TtdReport, sample: &Sample, blocks: &Blocks) {
    if report.blocks.not_computed.is_some() || report.quantiles.iter().all(|q| q.value.is_none()) {
        return;
    }
    let Some(resamples) = affordable(sample.observations.len()) else {
        report.blocks.not_computed = Some(TOO_MANY.to_owned());
        return;
    };
    report.blocks.resamples = resamples;
    let asked: Vec<Statistic> = QUANTILES.iter().map(|p| Statistic::Quantile(*p)).collect();
    let plan = (resamples, SEED, CONFIDENCE);
    let found = curve_intervals(&sample.observations, blocks, plan, &asked);
    for (quantile, limits) in report.quantiles.iter_mut().zip(found) {
        let (Some(value), Some(limits)) = (quantile.value, limits) else { continue };
        let (lower, upper) = limits.reach();
        quantile.by_blocks = Some(BlockLimits { lower, upper });
        quantile.blocks_differ = differ((value.lower, value.upper), (lower, upper));
    }
}

/// True when one interval is wider than the other by more than a fifth, or reaches where it does not; of two
/// without an end, when one begins later by more than a fifth.
fn differ(a: (Reach, Reach), b: (Reach, Reach)) -> bool {
    let begins = |(lower, _): (Reach, Reach)| lower.ns().unwrap_or(0) as f64;
    let width = |limits: (Reach, Reach)| Some(limits.1.ns()? as f64 - begins(limits));
    let apart = |a: f64, b: f64| (a - b).abs() > DIFFERENT * a.max(b);
    match (width(a), width(b)) {
        (Some(a), Some(b)) => apart(a, b),
        (None, None) => apart(begins(a), begins(b)),
        _ => true,
    }
}

/// Replaces the upper ends, whose curve is given, by Turnbull's estimate.
fn turnbull(
    report: &mut TtdReport,
    sample: &Sample,
    blocks: &Blocks,
    (estimate, upper): (&Turnbull, &Curve),
) {
    let asked = QUANTILES.map(Statistic::Quantile);
    let plan = (affordable_turnbull(sample.intervals.len()), CONFIDENCE);
    let ranges = sample.ranges(upper, Some(blocks), plan, &asked);
    if !ranges.in_blocks && ranges.resamples == 0 {
        report.blocks.not_computed.get_or_insert_with(|| TOO_MANY.to_owned());
    }
    report.blocks.resamples = ranges.resamples;
    for (quantile, limits) in report.quantiles.iter_mut().zip(ranges.limits) {
        if quantile.needs_more == 0 {
            let (value, within) = in_cell(estimate, quantile.p, limits);
            quantile.value = Some(value);
            quantile.within = Some(within);
        }
    }
    report.curve = edges(estimate);
    // The mean of upper ends would be another estimate's number.
    report.mean = None;
}

/// A quantile of Turnbull's estimate: the right end of the cell that holds it, and the cell. Limits are in
/// nanoseconds, infinite where not reached.
pub(super) fn in_cell(estimate: &Turnbull, p: f64, limits: (f64, f64)) -> (Quantile, BlockLimits) {
    let (lower, upper) = estimate.quantile_bounds(p);
    let end = |ns: f64| match ns.is_finite() {
        true => Reach::At(ns.round().max(0.0) as u64),
        false => Reach::NotReached,
    };
    let value = Quantile { estimate: upper, lower: end(limits.0), upper: end(limits.1) };
    (value, BlockLimits { lower, upper })
}

/// The mean is said only with the time that it is restricted to: all unseen ones count as that. It is
/// not known where nobody was followed so far and somebody was not seen.
fn mean(curve: &Curve, followed_ns: u64, deadline_ns: u64) -> Option<MeanReport> {
    let known = followed_ns >= deadline_ns || curve.subjects() == curve.events();
    (known && curve.subjects() >= needed(0.5) && curve.events() > 0).then(|| {
        let (mean, se) = curve.restricted_mean(deadline_ns);
        MeanReport {
            up_to_ns: deadline_ns,
            mean_ns: mean.round().max(0.0) as u64,
            standard_error_ns: se.round().max(0.0) as u64,
        }
    })
}

/// Steps of a curve that a report holds; of a longer one it holds every k-th and both ends.
const STEPS: usize = 2_000;
/// Steps at either end that are never left out.
const ENDS: usize = 100;

pub(super) fn points(curve: &Curve, confidence: f64) -> Vec<CurvePoint> {
    let steps = curve.steps();
    let every = if steps.len() > STEPS { steps.len().div_ceil(STEPS - 2 * ENDS) } else { 1 };
    let kept =
        |at: usize| at.is_multiple_of(every) || at < ENDS || at.saturating_add(ENDS) >= steps.len();
    steps
        .iter()
        .enumerate()
        .filter(|(at, _)| kept(*at))
        .map(|(_, step)| {
            let band = step.band(Band::LogLog, confidence);
            CurvePoint {
                time_ns: step.time_ns,
                undetected: step.survival,
                lower: band.map(|b| b.0),
                upper: band.map(|b| b.1),
            }
        })
        .collect()
}

/// The median if all indeterminate canaries had been detected when blindness began, and if none;
/// refused with as few canaries as the median itself.
fn extremes(decided: &[Decided<'_>]) -> Option<ExtremesReport> {
    let blind = decided.iter().filter(|d| blind_since(d).is_some()).count() as u64;
    let never: Vec<Observation> = at_worst(decided).into_iter().map(|(_, o)| o).collect();
    if blind == 0 || (never.len() as u64) < needed(0.5) {
        return None;
    }
    let at_best = |d: &Decided<'_>| match blind_since(d) {
        Some(time_ns) => Some(Observation { time_ns, event: true }),
        None => observation(d.0, d.1),
    };
    let early: Vec<Observation> = decided.iter().filter_map(at_best).collect();
    let median =
        |all: &[Observation]| Curve::fit(all).quantile(0.5, Band::LogLog, CONFIDENCE).estimate.ns();
    let (early_ns, never_ns) = (median(&early), median(&never));
    Some(ExtremesReport { n: never.len() as u64, blind, early_ns, never_ns })
}

/// When nobody could see a canary any more, since submission: 0 where nobody ever followed it.
fn blind_since((canary, verdict): &Decided<'_>) -> Option<u64> {
    let lost = verdict.outcome == Outcome::Indeterminate && canary.delivery == Delivery::Proven;
    verdict.censored_at_ns.filter(|_| lost)
}

/// What an estimate rests on if no canary that nobody could see was ever detected, each beside its
/// submission: what a verdict must hold for.
pub(super) fn at_worst(decided: &[Decided<'_>]) -> Vec<(i64, Observation)> {
    let worst = |d: &Decided<'_>| match blind_since(d) {
        Some(_) => Some(Observation { time_ns: u64::MAX, event: false }),
        None => observation(d.0, d.1),
    };
    decided.iter().filter_map(|d| Some((d.0.submitted, worst(d)?))).collect()
}
