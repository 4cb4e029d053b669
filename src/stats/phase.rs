//! Does a rule run on a schedule, and what does that cost? Found from times alone.
//!
//! A rule that runs every P answers at its own instants, whenever the canary came and however long
//! ingestion took: detection instants lie close together modulo P, although submissions do not. The
//! wait for the next run is P - (phase of submission), a sawtooth with slope -1, and P / 2 on average.
//!
//! With `u` and `v` the unit vectors of submission instant and time to detect modulo P, each centred,
//! `S = sum u v` is the part of the detection instants' concentration that chance pairing does not
//! explain. When pairs are exchangeable its mean is 0 and its variance `sum |u|^2 sum |v|^2 / (n - 1)`,
//! so `z = |S|^2 / variance` is at most chi-squared with one degree of freedom in the tail, however
//! lopsided `u` and `v` are: p-values are conservative. Holm's correction covers the periods tried.
//!
//! A rule of 5 minutes also marks every whole minute; the longest period that is marked about as
//! sharply as any other is the rule's. (Of 10 minutes it marks two phases, which cancel.)
//!
//! Not promised: anything about canaries that were never detected; a caller leaves them out and says
//! how many. A fixed schedule of submissions has one phase and can show nothing.

use std::f64::consts::TAU;

use statrs::function::erf::erfc;

use super::difference::holm;

/// Periods that rules commonly run at, nanoseconds: 1, 5, 10, 15, 30 and 60 minutes.
pub const COMMON_NS: [u64; 6] = [
    60_000_000_000,
    300_000_000_000,
    600_000_000_000,
    900_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
];

/// Fewest detections that are looked at.
pub const FEWEST: usize = 20;
/// Detection instants of a rule on a schedule are concentrated at least so far.
const CONCENTRATED: f64 = 0.5;
/// A longer period is preferred if its mark has at least this part of the sharpest one's strength.
const AS_SHARP: f64 = 0.8;
/// Submissions must span so many periods.
const SPANNED: u64 = 3;

/// One detection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Submission, wall nanoseconds: rules run by the wall clock.
    pub submitted_ns: i64,
    /// Time to detect.
    pub ttd_ns: u64,
    /// How coarse the looking is that this time comes from: the distance of polls. Not how wide its own
    /// interval is, which ends at submission: of alerts made at once, polls would then seem fine for
    /// exactly those canaries that were sent shortly before one. A time that is coarser than a quarter
    /// of a period does not count there, so that our own polling is never taken for a rule's schedule.
    pub coarse_ns: u64,
}

/// A rule's schedule.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// It runs every so often, nanoseconds.
    pub period_ns: u64,
    /// Its alerts appear so long after a whole period of wall time, nanoseconds.
    pub phase_ns: u64,
    /// Length of the mean of the unit vectors of the detection instants: 1 for one single phase.
    pub concentration: f64,
    /// p-value after Holm's correction over the periods tried.
    pub p: f64,
    /// Detections used.
    pub n: u64,
    /// Detections left out, because their times are too coarse for this period.
    pub too_coarse: u64,
}

impl Schedule {
    /// What the schedule costs: the mean wait for the next run.
    pub fn mean_wait_ns(&self) -> u64 {
        self.period_ns / 2
    }
}

/// The schedule that the detections betray at this level, if any.
pub fn find(timings: &[Timing], periods_ns: &[u64], level: f64) -> Option<Schedule> {
    let mut tried: Vec<Schedule> =
        periods_ns.iter().filter_map(|period| look(timings, *period)).collect();
    let together = holm(&tried.iter().map(|s| s.p).collect::<Vec<_>>());
    tried.iter_mut().zip(together).for_each(|(schedule, p)| schedule.p = p);
    tried.retain(|s| s.p < level && s.concentration >= CONCENTRATED);
    let sharpest = tried.iter().map(|s| s.concentration).fold(0.0, f64::max);
    tried.into_iter().filter(|s| s.concentration >= AS_SHARP * sharpest).max_by_key(|s| s.period_ns)
}

#[derive(Clone, Copy, Default)]
struct Vector {
    x: f64,
    y: f64,
}

impl Vector {
    fn at(ns: i128, period_ns: u64) -> Vector {
        let part = ns.rem_euclid(i128::from(period_ns)) as f64 / period_ns as f64;
        let (y, x) = (part * TAU).sin_cos();
        Vector { x, y }
    }

    fn square(self) -> f64 {
        self.x * self.x + self.y * self.y
    }
}

fn mean(vectors: &[Vector]) -> Vector {
    let n = vectors.len() as f64;
    let (x, y) = vectors.iter().fold((0.0, 0.0), |(x, y), v| (x + v.x, y + v.y));
    Vector { x: x / n, y: y / n }
}

fn centred(vectors: &[Vector]) -> Vec<Vector> {
    let middle = mean(vectors);
    vectors.iter().map(|v| Vector { x: v.x - middle.x, y: v.y - middle.y }).collect()
}

fn look(timings: &[Timing], period_ns: u64) -> Option<Schedule> {
    let used = || timings.iter().filter(|t| t.coarse_ns <= period_ns / 4);
    let first = used().map(|t| t.submitted_ns).min()?;
    let last = used().map(|t| t.submitted_ns).max()?;
    let n = used().count();
    if n < FEWEST || last.abs_diff(first) < period_ns.saturating_mul(SPANNED) {
        return None;
    }
    let vectors = |of: &dyn Fn(&Timing) -> i128| -> Vec<Vector> {
        used().map(|t| Vector::at(of(t), period_ns)).collect()
    };
    let ended = mean(&vectors(&|t| i128::from(t.submitted_ns) + i128::from(t.ttd_ns)));
    let u = centred(&vectors(&|t| i128::from(t.submitted_ns)));
    let v = centred(&vectors(&|t| i128::from(t.ttd_ns)));
    let squares = |vectors: &[Vector]| vectors.iter().map(|v| v.square()).sum::<f64>();
    let variance = squares(&u) * squares(&v) / (n as f64 - 1.0);
    // One phase of submission, or one time to detect, can show no schedule.
    if variance <= 1e-9 * n as f64 {
        return None;
    }
    let sum = u.iter().zip(&v).fold(Vector::default(), |sum, (a, b)| Vector {
        x: sum.x + a.x * b.x - a.y * b.y,
        y: sum.y + a.x * b.y + a.y * b.x,
    });
    let turn = ended.y.atan2(ended.x).rem_euclid(TAU) / TAU;
    Some(Schedule {
        period_ns,
        phase_ns: (turn * period_ns as f64) as u64 % period_ns,
        concentration: ended.square().sqrt(),
        p: erfc((sum.square() / variance / 2.0).sqrt()),
        n: n as u64,
        too_coarse: (timings.len() - n) as u64,
    })
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;
