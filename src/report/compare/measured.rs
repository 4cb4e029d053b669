//! The times of one side, or of a stretch of a trend, in numbers: the same that the report shows.
//!
//! A side's estimate is chosen by the rule of the report ([`crate::report::sample`]), from its canaries
//! alone and never by what it is compared with. Turnbull's estimate has no formula for an error: its
//! median and its mean carry bootstrap limits, and the range in which the polls leave them.

use super::model::{Range, Times};
use crate::report::model::Method;
use crate::report::sample::{Fit, Sample, how};
use crate::report::times::{in_cell, needed};
use crate::stats::bootstrap::{Blocks, Statistic};
use crate::stats::intervals::Turnbull;
use crate::stats::survival::{Band, Curve};

/// Where the limits come from.
pub(super) struct Plan<'a> {
    /// Blocks of submission time; each canary is taken as independent without.
    pub blocks: Option<&'a Blocks>,
    /// Resamples, where that many are worth it.
    pub resamples: Option<u32>,
    /// Of every interval.
    pub confidence: f64,
}

/// The numbers; the mean up to that time, if it is known so far.
pub(super) fn times(sample: &Sample, fit: &Fit, until: Option<u64>, plan: &Plan<'_>) -> Times {
    match &fit.turnbull {
        Some(estimate) => by_turnbull(sample, (fit, estimate), until, plan),
        None => by_curve(fit, until, plan.confidence),
    }
}

/// The rule of the report: not with too few for a median, nor without a detection, whose mean would be the
/// time that it is restricted to, with an error of nothing.
fn carries_a_mean(curve: &Curve) -> bool {
    curve.subjects() >= needed(0.5) && curve.events() > 0
}

fn by_curve(fit: &Fit, until: Option<u64>, confidence: f64) -> Times {
    let curve = &fit.upper;
    let mean = until.filter(|_| carries_a_mean(curve)).map(|until| curve.restricted_mean(until));
    let median = || curve.quantile(0.5, Band::LogLog, confidence);
    Times {
        n: curve.subjects(),
        events: curve.events(),
        method: fit.method,
        label: fit.label.clone(),
        median: (curve.subjects() >= needed(0.5)).then(median),
        median_within: None,
        mean_ns: mean.map(|m| m.0),
        mean_se_ns: mean.map(|m| m.1),
        mean_within_ns: None,
        mean_interval_ns: None,
        limits: "log-log, each canary taken as independent".to_owned(),
    }
}

fn by_turnbull(
    sample: &Sample,
    (fit, estimate): (&Fit, &Turnbull),
    until: Option<u64>,
    plan: &Plan<'_>,
) -> Times {
    let carried = carries_a_mean(&fit.upper);
    let mean = until.filter(|_| carried).map(Statistic::RestrictedMean);
    let asked: Vec<Statistic> = [Statistic::Quantile(0.5)].into_iter().chain(mean).collect();
    let drawn = (plan.resamples, plan.confidence);
    let ranges = sample.ranges(&fit.upper, plan.blocks, drawn, &asked);
    let enough = estimate.observations() >= needed(0.5);
    let median = ranges.limits.first().filter(|_| enough).map(|l| in_cell(estimate, 0.5, *l));
    let within = mean.map(|mean| mean.ends(estimate));
    Times {
        n: fit.upper.subjects(),
        events: fit.upper.events(),
        method: Method::Turnbull,
        label: fit.label.clone(),
        median: median.map(|m| m.0),
        median_within: median.map(|m| m.1),
        mean_ns: within.map(|w| w.1),
        mean_se_ns: None,
        mean_within_ns: within.map(Range::of),
        mean_interval_ns: mean.and(ranges.limits.get(1)).copied().map(Range::of),
        limits: how(ranges.resamples, ranges.in_blocks).to_owned(),
    }
}
