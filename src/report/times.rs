//! The distribution of the time to detect: which estimate is used, and with which intervals.
//!
//! - Times that our own clock stamped as they came: Kaplan-Meier, log-log intervals.
//! - Polled times whose intervals are at most 5 % of the median wide: Kaplan-Meier on the upper ends,
//!   labelled an upper bound. That errs on the safe side of an objective.
//! - Coarser polled times: Turnbull's estimate on the intervals themselves, with bootstrap intervals,
//!   which are approximate and labelled so. Of more canaries than a report can resample, from the
//!   lower limit on the lower ends to the upper limit on the upper ends. Never the middle of an interval.
//!
//! A polled time that the alert's own creation time decides (see `dispatch::outcome`) has the narrow
//! interval of that, and the label says how many have.
//!
//! Canaries submitted close together are caught by the same run of a rule and are not independent.
//! Beside the log-log interval stands one from blocks of submission time; where the two differ by more
//! than a fifth, both are printed ([`super::blocks`] says how long a block is). With fewer than ten
//! blocks there is none, and that is said. So is when the work would take too long: a report is bounded.

use super::blocks::{FEWEST, Length};
use super::expectation::{CONFIDENCE, QUANTILES, observation};
use super::model::*;
use crate::dispatch::outcome::{CanaryView, Dated, Delivery, Outcome, Verdict};
use crate::stats::bootstrap::{
    Blocks, MOST_RESAMPLED, Statistic, affordable, curve_intervals, turnbull_intervals,
};
use crate::stats::intervals::{Interval, Turnbull};
use crate::stats::planning::canaries_needed;
use crate::stats::survival::{Band, Curve, Observation, Quantile, Reach};

/// A canary with its verdict on one expectation.
pub(super) type Decided<'a> = (&'a CanaryView, &'a Verdict);

/// Polling is told apart from push where its intervals are wider than this share of the median.
const COARSE: f64 = 0.05;
/// Two intervals differ when their widths do by more than this.
const DIFFERENT: f64 = 0.2;
/// Why there is no interval by blocks.
const TOO_MANY: &str = "too many canaries for a report";
/// Fixed, so that the same rows give the same report.
const SEED: u64 = 1;
/// Largest number of observations for which coarse polled times are estimated by Turnbull.
const TURNBULL_MOST: usize = 50_000;

/// What enters: one line per canary of proven delivery.
struct Sample {
    observations: Vec<Observation>,
    intervals: Vec<Interval>,
    submitted: Vec<i64>,
    widths: Vec<u64>,
    /// Times that are the records' own.
    dated: usize,
}

impl Sample {
    fn new(decided: &[Decided<'_>]) -> Sample {
        let mut sample = Sample {
            observations: Vec::new(),
            intervals: Vec::new(),
            submitted: Vec::new(),
            widths: Vec::new(),
            dated: 0,
        };
        for (canary, verdict) in decided {
            let Some(observation) = observation(canary, verdict) else { continue };
            let interval = match verdict.ttd {
                Some(ttd) => Interval { lower_ns: ttd.lower_ns, upper_ns: Some(ttd.upper_ns) },
                None => Interval { lower_ns: observation.time_ns, upper_ns: None },
            };
            if let (Some(ttd), true) = (verdict.ttd, verdict.polled) {
                sample.widths.push(ttd.upper_ns - ttd.lower_ns);
            }
            sample.dated += usize::from(verdict.polled && verdict.dated == Dated::ByRecord);
            sample.observations.push(observation);
            sample.intervals.push(interval);
            sample.submitted.push(canary.submitted);
        }
        sample
    }

    /// Whose times these are, where a poll found them.
    fn polled(&self) -> String {
        match (self.dated, self.widths.len()) {
            (0, _) => "polled".to_owned(),
            (dated, polled) => format!("polled, {dated} of {polled} by the alert's own time"),
        }
    }

    /// Median width of the polled intervals.
    fn width(&self) -> Option<u64> {
        let mut widths = self.widths.clone();
        widths.sort_unstable();
        widths.get(widths.len() / 2).copied()
    }

    /// The median time of all, or of the detected ones where fewer than half are.
    fn median(&self, curve: &Curve) -> u64 {
        let all = curve.quantile(0.5, Band::LogLog, CONFIDENCE).estimate.ns();
        let detected = || curve.steps().get(curve.steps().len() / 2).map_or(0, |s| s.time_ns);
        all.unwrap_or_else(detected)
    }
}

/// The numbers of one expectation.
pub(super) fn distribution(decided: &[Decided<'_>], deadline_ns: u64, block: Length) -> TtdReport {
    let sample = Sample::new(decided);
    let curve = Curve::fit(&sample.observations);
    let width = sample.width();
    let coarse = width.is_some_and(|w| w as f64 > COARSE * sample.median(&curve) as f64);
    let blocks = Blocks::by_time(&sample.submitted, block.ns);
    let followed_ns = sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0);
    let mut report = TtdReport {
        n: curve.subjects(),
        events: curve.events(),
        followed_ns,
        label: match width {
            Some(_) => format!("upper bound on the time to detect ({})", sample.polled()),
            None => "time to detect".to_owned(),
        },
        method: match width {
            Some(_) => Method::KaplanMeierUpperEnds,
            None => Method::KaplanMeier,
        },
        quantiles: QUANTILES.iter().map(|p| kaplan_meier(&curve, *p)).collect(),
        curve: points(&curve, CONFIDENCE),
        extremes: extremes(decided),
        mean: mean(&curve, followed_ns, deadline_ns),
        blocks: BlockReport::planned(block, blocks.len() as u32),
        last_detection_ns: curve.steps().last().map(|s| s.time_ns),
    };
    match coarse {
        true if sample.intervals.len() <= TURNBULL_MOST => {
            turnbull(&mut report, &sample, &blocks, &curve)
        }
        true => {
            report.label.push_str("; too many canaries for Turnbull's estimate in a report");
            by_blocks(&mut report, &sample, &blocks);
        }
        false => by_blocks(&mut report, &sample, &blocks),
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

/// True when one interval is wider than the other by more than a fifth, or reaches where it does not.
fn differ(a: (Reach, Reach), b: (Reach, Reach)) -> bool {
    let width =
        |(lower, upper): (Reach, Reach)| Some(upper.ns()? as f64 - lower.ns().unwrap_or(0) as f64);
    match (width(a), width(b)) {
        (Some(a), Some(b)) => (a - b).abs() > DIFFERENT * a.max(b),
        (None, None) => false,
        _ => true,
    }
}

/// Replaces the upper ends, whose curve is given, by Turnbull's estimate.
fn turnbull(report: &mut TtdReport, sample: &Sample, blocks: &Blocks, upper: &Curve) {
    let estimate = Turnbull::fit(&sample.intervals);
    let resampled = match estimate.converged() {
        true => bootstrapped(report, sample, blocks),
        false => Some((0, Vec::new())),
    };
    let (used, limits) = resampled.unwrap_or_else(|| {
        report.blocks.not_computed.get_or_insert_with(|| TOO_MANY.to_owned());
        (0, outer(report, sample, upper))
    });
    if limits.iter().all(Option::is_none) {
        report.label.push_str("; Turnbull's estimate was not reached");
        return by_blocks(report, sample, blocks);
    }
    report.method = Method::Turnbull;
    report.label = format!("time to detect ({}, Turnbull)", sample.polled());
    report.blocks.resamples = used;
    for (quantile, limits) in report.quantiles.iter_mut().zip(limits) {
        if let Some(limits) = limits {
            in_cell(quantile, &estimate, limits);
        }
    }
    report.curve = edges(&estimate);
    // The mean of upper ends would be another estimate's number.
    report.mean = None;
}

/// Limits per quantile: lower, upper.
type Pairs = Vec<Option<(Reach, Reach)>>;

/// From the lower limit of a cell's left end to the upper limit of its right end, and by how many
/// resamples; `None` when a report cannot carry enough of them.
fn bootstrapped(report: &TtdReport, sample: &Sample, blocks: &Blocks) -> Option<(u32, Pairs)> {
    if sample.intervals.len() as u64 > MOST_RESAMPLED {
        return None;
    }
    let single = Blocks::single(sample.intervals.len());
    let drawn = match report.blocks.not_computed {
        None => blocks,
        Some(_) => &single,
    };
    let asked: Vec<(f64, bool)> =
        report.quantiles.iter().flat_map(|q| [(q.p, true), (q.p, false)]).collect();
    let limits = turnbull_intervals(&sample.intervals, drawn, (SEED, CONFIDENCE), &asked);
    let used = limits.iter().flatten().map(|l| l.used).max().unwrap_or(0);
    let pairs = limits.chunks(2).map(|pair| match pair {
        [Some(left), Some(right)] => Some((left.reach().0, right.reach().1)),
        _ => None,
    });
    Some((used, pairs.collect()))
}

/// Whatever the polls left open, the time lies between the ends: so do the limits on it lie between
/// those on the lower ends and those on the upper ends.
fn outer(report: &TtdReport, sample: &Sample, upper: &Curve) -> Pairs {
    let lower: Vec<Observation> = sample
        .intervals
        .iter()
        .map(|i| Observation { time_ns: i.lower_ns, event: i.upper_ns.is_some() })
        .collect();
    let lower = Curve::fit(&lower);
    let limits = |curve: &Curve, p| curve.quantile(p, Band::LogLog, CONFIDENCE);
    let pair = |q: &QuantileReport| (limits(&lower, q.p).lower, limits(upper, q.p).upper);
    report.quantiles.iter().map(|q| Some(pair(q))).collect()
}

/// A quantile is the cell that holds it.
fn in_cell(quantile: &mut QuantileReport, estimate: &Turnbull, limits: (Reach, Reach)) {
    let (lower, upper) = estimate.quantile_bounds(quantile.p);
    if quantile.needs_more == 0 {
        quantile.value = Some(Quantile { estimate: upper, lower: limits.0, upper: limits.1 });
        quantile.within = Some(BlockLimits { lower, upper });
    }
}

/// Both edges of Turnbull's curve: inside a cell the data do not say where it falls.
fn edges(estimate: &Turnbull) -> Vec<CurvePoint> {
    let mut points = Vec::new();
    let mut before = 1.0f64;
    for (cell, mass) in estimate.masses() {
        let Some(upper_ns) = cell.upper_ns else { continue };
        let after = (before - mass).max(0.0);
        let point = |time_ns, undetected| CurvePoint {
            time_ns,
            undetected,
            lower: Some(after),
            upper: Some(undetected),
        };
        // A logarithmic axis has no place for submission itself.
        if cell.lower_ns < upper_ns && cell.lower_ns > 0 {
            points.push(point(cell.lower_ns, before));
        }
        points.push(point(upper_ns, after));
        before = after;
    }
    points
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
