//! How much slower: ratios and differences of two sides, by block bootstrap.
//!
//! Both sides are resampled on their own; replicate k of one is paired with replicate k of the other. A
//! resample is estimated as its side is: by Kaplan-Meier, or by Turnbull. Where the polls leave a range,
//! the estimate is that of the right ends, which both sides show, and the limits run from the lower limit
//! of the smallest ratio that the ranges allow to the upper limit of the largest. How often was polled makes
//! them wider and does not shift them.
//!
//! Where A did not reach its median, the highest of two lower quantiles that it did reach is compared too: a
//! restricted mean is then mostly of those that were never detected, and hardly moves.
//!
//! Of more canaries than Turnbull's estimate can be resampled for, and where it is not chance where in its
//! interval a time lies ([`crate::report::sample`]), the ends themselves are: the lower ends
//! bound a time from below and the upper ends from above. So are the ends of finely polled times beside
//! a side that was polled otherwise. Those limits are wider, and a comparison says what was drawn.

use super::build::{SEED, Series};
use super::model::{Drawn, Effect, QuantileRatio, Range};
use crate::report::blocks::FEWEST;
use crate::report::model::Method;
use crate::report::words::duration;
use crate::stats::bootstrap::{
    Blocks, Statistic, affordable, affordable_turnbull, for_each_resample, for_each_turnbull,
};
use crate::stats::survival::{Curve, Observation};

/// The effects on one route and expectation.
pub(super) struct Effects {
    pub difference: Option<Effect>,
    pub mean_ratio: Option<Effect>,
    pub median_ratio: Effect,
    pub quantile_ratio: Option<QuantileRatio>,
    pub resamples: u32,
    pub drawn: (Drawn, Drawn),
}

/// How sure, and beside how many other routes.
#[derive(Clone, Copy)]
pub(super) struct Sureness {
    pub confidence: f64,
    pub routes: usize,
}

/// Median, the lower quantile that was asked for (both infinite where not reached) and restricted mean,
/// nanoseconds, each at both ends.
#[derive(Clone, Copy)]
struct Both {
    median: (f64, f64),
    quantile: (f64, f64),
    mean: (f64, f64),
}

/// What is estimated: the lower quantile, and up to where the mean.
#[derive(Clone, Copy)]
struct Asked {
    p: f64,
    until: u64,
}

/// Quantiles that stand in for a median which A did not reach, the best first.
const LOWER: [f64; 2] = [0.25, 0.1];

/// The highest quantile below the median that A reached; `None` where it reached the median, or none.
fn lower_quantile(a: &Series<'_>) -> Option<f64> {
    let reached = |p: f64| match &a.fit.turnbull {
        Some(estimate) => estimate.quantile_bounds(p).1.ns().is_some(),
        None => a.fit.upper.estimate(p).ns().is_some(),
    };
    if reached(0.5) { None } else { LOWER.into_iter().find(|p| reached(*p)) }
}

/// Ratios and differences, or why there are none.
pub(super) fn effects(
    (a, b): (&Series<'_>, &Series<'_>),
    blocks: &(Blocks, Blocks),
    (until, apart): (u64, bool),
    sure: Sureness,
) -> Result<Effects, String> {
    if blocks.0.len().min(blocks.1.len()) < FEWEST {
        return Err(format!(
            "{FEWEST} on each side are needed, by sending over a longer time; `--block` states a length"
        ));
    }
    let (drawn, resamples) = plan(a, b, apart);
    let Some(resamples) = resamples else {
        return Err(
            "too many canaries to be resampled in a comparison; choose a shorter time".into()
        );
    };
    let lower = lower_quantile(a);
    let asked = Asked { p: lower.unwrap_or(0.5), until };
    let left = draw(a, &blocks.0, drawn.0, (resamples, SEED), asked);
    let right = draw(b, &blocks.1, drawn.1, (resamples, SEED + 1), asked);
    let sides = (estimate(a, drawn.0, asked), estimate(b, drawn.1, asked));
    let effect = |pick: fn(&Both) -> (f64, f64), of: fn(f64, f64) -> f64| {
        let replicates = left.iter().map(pick).zip(right.iter().map(pick));
        limits(of, (pick(&sides.0), pick(&sides.1)), replicates, sure)
    };
    // The mean of a side that saw nothing is the time that it is restricted to, without any spread: an
    // interval of that would be as narrow as nothing is.
    let means = until > 0 && [a, b].iter().all(|side| side.fit.upper.events() > 0);
    Ok(Effects {
        difference: means.then(|| effect(|both| both.mean, |new, old| new - old)),
        mean_ratio: means.then(|| effect(|both| both.mean, |new, old| new / old)),
        median_ratio: effect(|both| both.median, |new, old| new / old),
        quantile_ratio: lower.map(|p| QuantileRatio {
            p,
            ratio: effect(|both| both.quantile, |new, old| new / old),
        }),
        resamples,
        drawn,
    })
}

/// What is drawn of each side, and how often; never when that were too much work.
fn plan(a: &Series<'_>, b: &Series<'_>, apart: bool) -> ((Drawn, Drawn), Option<u32>) {
    let sides = [a, b];
    let any = sides.iter().any(|s| s.fit.turnbull.is_some());
    let of = |side: &Series<'_>| match side.fit.method {
        Method::Turnbull
            if side.sample.lies_by_chance(&side.fit.upper)
                && affordable_turnbull(side.n()).is_some() =>
        {
            Drawn::Turnbull
        }
        Method::Turnbull => Drawn::BothEnds,
        Method::KaplanMeierUpperEnds if any || apart => Drawn::BothEnds,
        Method::KaplanMeierUpperEnds => Drawn::UpperEnds,
        Method::KaplanMeier => Drawn::Times,
    };
    let drawn = (of(a), of(b));
    if !any && !apart {
        return (drawn, affordable(a.n() + b.n()));
    }
    let most = |side: &Series<'_>, drawn| match drawn {
        Drawn::Turnbull => affordable_turnbull(side.n()),
        Drawn::BothEnds => affordable(2 * side.n()),
        Drawn::UpperEnds | Drawn::Times => affordable(side.n()),
    };
    (drawn, most(a, drawn.0).zip(most(b, drawn.1)).map(|(a, b)| a.min(b)))
}

/// Median, lower quantile and mean of one curve.
fn of_curve(observations: &[Observation], asked: Asked) -> [f64; 3] {
    let curve = Curve::fit(observations);
    let at = |p: f64| curve.estimate(p).ns().map_or(f64::INFINITY, |ns| ns as f64);
    [at(0.5), at(asked.p), curve.restricted_mean(asked.until).0]
}

fn between(lower: [f64; 3], upper: [f64; 3]) -> Both {
    let [median, quantile, mean] = [0, 1, 2].map(|of| (lower[of], upper[of]));
    Both { median, quantile, mean }
}

fn of_turnbull(estimate: &crate::stats::intervals::Turnbull, asked: Asked) -> Both {
    Both {
        median: Statistic::Quantile(0.5).ends(estimate),
        quantile: Statistic::Quantile(asked.p).ends(estimate),
        mean: Statistic::RestrictedMean(asked.until).ends(estimate),
    }
}

/// What a side itself says.
fn estimate(side: &Series<'_>, drawn: Drawn, asked: Asked) -> Both {
    if let Some(estimate) = &side.fit.turnbull {
        return of_turnbull(estimate, asked);
    }
    let upper = of_curve(&side.sample.observations, asked);
    match drawn {
        Drawn::BothEnds => between(of_curve(&side.sample.lower_ends(), asked), upper),
        _ => between(upper, upper),
    }
}

fn draw(
    side: &Series<'_>,
    blocks: &Blocks,
    drawn: Drawn,
    (resamples, seed): (u32, u64),
    asked: Asked,
) -> Vec<Both> {
    let mut replicates = Vec::with_capacity(resamples as usize);
    let sample = &side.sample;
    if drawn == Drawn::Turnbull {
        for_each_turnbull(&sample.intervals, blocks, (resamples, seed), |estimate| {
            replicates.push(of_turnbull(estimate, asked));
        });
        return replicates;
    }
    let lower = (drawn == Drawn::BothEnds).then(|| sample.lower_ends());
    let mut picked = Vec::new();
    for_each_resample(blocks, resamples, seed, |indices| {
        let mut of = |observations: &[Observation]| {
            picked.clear();
            picked.extend(indices.iter().map(|i| observations[*i]));
            of_curve(&picked, asked)
        };
        let upper = of(&sample.observations);
        let lower = lower.as_ref().map_or(upper, |lower| of(lower));
        replicates.push(between(lower, upper));
    });
    replicates
}

/// Percentile limits; what is not finite is no number that could be shown. Each side is a pair of ends.
fn limits(
    of: fn(f64, f64) -> f64,
    (old, new): ((f64, f64), (f64, f64)),
    replicates: impl Iterator<Item = ((f64, f64), (f64, f64))>,
    sure: Sureness,
) -> Effect {
    let (mut low, mut high): (Vec<f64>, Vec<f64>) =
        replicates.map(|(old, new)| (of(new.0, old.1), of(new.1, old.0))).unzip();
    for drawn in [&mut low, &mut high] {
        // Neither median reached: nothing is known about their ratio in that resample.
        drawn.retain(|v| !v.is_nan());
        drawn.sort_by(f64::total_cmp);
    }
    let at = |drawn: &[f64], p: f64| {
        let rank = (p * drawn.len() as f64).ceil() as usize;
        drawn.get(rank.clamp(1, drawn.len().max(1)) - 1).copied()
    };
    let tail = (1.0 - sure.confidence) / 2.0;
    let shown = |v: f64| v.is_finite().then_some(v);
    let lower = |tail: f64| at(&low, tail);
    let beside = tail / sure.routes.max(1) as f64;
    let beyond = |limit: Option<f64>| limit == Some(f64::INFINITY);
    let ranges = old.0 < old.1 || new.0 < new.1;
    Effect {
        estimate: shown(of(new.1, old.1)),
        within: ranges.then(|| Range::of((of(new.0, old.1), of(new.1, old.0)))),
        lower: lower(tail).and_then(shown),
        lower_not_reached: beyond(lower(tail)),
        lower_beside: lower(beside).and_then(shown),
        lower_beside_not_reached: beyond(lower(beside)),
        upper: at(&high, 1.0 - tail).and_then(shown),
    }
}

impl Drawn {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Drawn::Times => "times",
            Drawn::UpperEnds => "upper ends",
            Drawn::Turnbull => "intervals (Turnbull)",
            Drawn::BothEnds => "lower and upper ends",
        }
    }
}

/// How closely the times of both sides are known, in words.
pub(super) fn polls((a, b): (u64, u64)) -> String {
    format!("times of A are known {} and of B {}", closely(a), closely(b))
}

/// How closely times are known.
pub(super) fn closely(ns: u64) -> String {
    match ns {
        0 => "exactly".to_owned(),
        ns => format!("within {}", duration(ns)),
    }
}
