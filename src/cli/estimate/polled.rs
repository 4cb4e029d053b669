//! Intervals: Turnbull's estimate, and what a bootstrap over the rows says of it.
//!
//! A quantile and a restricted mean are ranges already, because nothing is known within a cell. Their
//! limits run from the lower limit of the lower end to the upper limit of the upper one, are percentile
//! limits and approximate. They come from a fixed seed, so that the same file gives the same numbers.

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{QUANTILES, carries_a_mean, needs_more};
use super::data::Data;
use super::ticks::Ticks;
use crate::stats::bootstrap::{
    self, Blocks, MOST_RESAMPLED, Statistic, affordable_turnbull, turnbull_intervals,
};
use crate::stats::intervals::{Interval, Turnbull};

/// Seed of the resamples.
const SEED: u64 = 1;

/// Turnbull's estimate: probability per interval, open below and closed above.
#[derive(Serialize, JsonSchema)]
pub(super) struct Polled {
    pub(super) log_likelihood: f64,
    /// False where the optimum was not reached in so many steps: the numbers are near it only.
    pub(super) converged: bool,
    pub(super) steps: u32,
    pub(super) masses: Vec<Mass>,
    pub(super) quantiles: Vec<Cell>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restricted_mean: Option<Means>,
    /// `null` where there are no limits: `no_limits` says why.
    pub(super) bootstrap: Option<Bootstrap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_limits: Option<String>,
}

/// Where the limits come from: rows drawn with replacement. They are approximate.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Bootstrap {
    pub(super) seed: u64,
    pub(super) resamples: u32,
}

/// One interval with probability.
#[derive(Serialize, JsonSchema)]
pub(super) struct Mass {
    pub(super) lower_ns: u64,
    pub(super) lower: f64,
    pub(super) upper_ns: Option<u64>,
    pub(super) upper: Option<f64>,
    pub(super) mass: f64,
}

/// Where a quantile lies: no single time is known.
#[derive(Serialize, JsonSchema)]
pub(super) struct Cell {
    pub(super) p: f64,
    pub(super) shown: bool,
    pub(super) needs_more: u64,
    pub(super) after_ns: Option<u64>,
    pub(super) after: Option<f64>,
    pub(super) by_ns: Option<u64>,
    pub(super) by: Option<f64>,
    pub(super) limits: Option<Limits>,
}

/// The restricted mean if every time lay at its cell's lower end, and at its upper one.
#[derive(Serialize, JsonSchema)]
pub(super) struct Means {
    pub(super) tau_ns: u64,
    pub(super) tau: f64,
    pub(super) at_least_ns: f64,
    pub(super) at_least: f64,
    pub(super) at_most_ns: f64,
    pub(super) at_most: f64,
    pub(super) limits: Option<Limits>,
    /// False with too few rows for a median, and without any event: the text refuses it.
    pub(super) shown: bool,
    pub(super) needs_more: u64,
}

/// From a lower limit to an upper one; `null` is not reached.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Limits {
    pub(super) lower_ns: Option<f64>,
    pub(super) lower: Option<f64>,
    pub(super) upper_ns: Option<f64>,
    pub(super) upper: Option<f64>,
}

impl Limits {
    fn new((low, high): &(bootstrap::Limits, bootstrap::Limits), ticks: Ticks) -> Limits {
        let end = |time: f64| Some(time).filter(|time| time.is_finite());
        let (lower, upper) = (end(low.lower), end(high.upper));
        let ns = |end: Option<f64>| end.map(|time| ticks.part_ns(time));
        let unit = |end: Option<f64>| end.map(|time| ticks.in_unit(time));
        Limits { lower_ns: ns(lower), lower: unit(lower), upper_ns: ns(upper), upper: unit(upper) }
    }
}

/// Everything about one group.
pub(super) fn estimate(intervals: &[Interval], confidence: f64, data: &Data) -> Polled {
    let (n, ticks) = (intervals.len() as u64, data.ticks);
    let fit = Turnbull::fit(intervals);
    let mean = data.tau.map(Statistic::RestrictedMean);
    let asked: Vec<Statistic> =
        QUANTILES.map(Statistic::Quantile).into_iter().chain(mean).collect();
    let blocks = Blocks::single(intervals.len());
    let found = affordable_turnbull(intervals.len())
        .and_then(|some| turnbull_intervals(intervals, &blocks, (some, SEED, confidence), &asked));
    let of = |index: usize| Some(Limits::new(found.as_ref()?.get(index)?, ticks));
    let mass = |(interval, mass): &(Interval, f64)| Mass {
        lower_ns: ticks.ns(interval.lower_ns),
        lower: ticks.in_unit(interval.lower_ns as f64),
        upper_ns: interval.upper_ns.map(|time| ticks.ns(time)),
        upper: interval.upper_ns.map(|time| ticks.in_unit(time as f64)),
        mass: *mass,
    };
    let cells = QUANTILES.iter().enumerate().map(|(at, p)| cell(&fit, *p, of(at), (n, ticks)));
    let seen = intervals.iter().filter(|i| i.upper_ns.is_some()).count() as u64;
    let mean = |tau: u64| means(&fit, tau, of(QUANTILES.len()), ((n, seen), ticks));
    let resamples = found.iter().flatten().map(|(low, _)| low.used).max();
    Polled {
        log_likelihood: fit.log_likelihood(),
        converged: fit.converged(),
        steps: fit.steps(),
        masses: fit.masses().iter().map(mass).collect(),
        quantiles: cells.collect(),
        restricted_mean: data.tau.map(mean),
        bootstrap: resamples.map(|resamples| Bootstrap { seed: SEED, resamples }),
        no_limits: resamples.is_none().then(|| match n {
            0..2 => "one row: there is nothing to resample".to_owned(),
            _ => format!(
                "{n} rows in a group are too many for a bootstrap here (at most {MOST_RESAMPLED}): no \
                 limits are shown"
            ),
        }),
    }
}

fn cell(fit: &Turnbull, p: f64, limits: Option<Limits>, (n, ticks): (u64, Ticks)) -> Cell {
    let (after, by) = fit.quantile_bounds(p);
    let needs_more = needs_more(p, n);
    Cell {
        p,
        shown: needs_more == 0,
        needs_more,
        after_ns: after.ns().map(|time| ticks.ns(time)),
        after: after.ns().map(|time| ticks.in_unit(time as f64)),
        by_ns: by.ns().map(|time| ticks.ns(time)),
        by: by.ns().map(|time| ticks.in_unit(time as f64)),
        limits,
    }
}

fn means(
    fit: &Turnbull,
    tau: u64,
    limits: Option<Limits>,
    ((n, seen), ticks): ((u64, u64), Ticks),
) -> Means {
    let (at_least, at_most) = fit.restricted_mean_bounds(tau);
    Means {
        tau_ns: ticks.ns(tau),
        tau: ticks.in_unit(tau as f64),
        at_least_ns: ticks.part_ns(at_least),
        at_least: ticks.in_unit(at_least),
        at_most_ns: ticks.part_ns(at_most),
        at_most: ticks.in_unit(at_most),
        limits,
        shown: carries_a_mean(n, seen),
        needs_more: needs_more(0.5, n),
    }
}

/// What a reader has to know of one group.
pub(super) fn notes(polled: &Polled) -> Vec<String> {
    let mut notes: Vec<String> = polled.no_limits.iter().cloned().collect();
    if !polled.converged {
        notes.push(format!(
            "Turnbull's estimate was not reached in {} steps: the numbers are near it only",
            polled.steps
        ));
    }
    notes
}
