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
//! Every divisor of a rule's period is marked as well: a rule of 2 hours marks whole hours and minutes. So
//! the shortest period that is marked about as sharply as any other is only a divisor of the rule's. By it
//! the runs are numbered, and the period divides whatever divides the numbers of those that found
//! something: [`Schedule::longest_ns`]. In a campaign that meets every run that is the period itself. In
//! one that is short, or always at the same time of the day, the period may be a part of it, but hardly
//! shorter than times to detect are apart: [`Schedule::period_ns`] is the shortest that fits both.
//!
//! A wait that is uniform over P spreads times to detect, whatever else they hold: no quarter of P holds
//! much more than a quarter of them. A period that the times contradict so is not named.
//!
//! Not promised: anything about canaries that were never detected; a caller leaves them out and says
//! how many. A fixed schedule of submissions has one phase and can show nothing.

use std::f64::consts::TAU;

use statrs::function::erf::erfc;

use super::difference::holm;

const MINUTE_NS: u64 = 60_000_000_000;
/// Periods that begin anew at midnight, in minutes: every whole number of them that divides a day.
const DIVISORS_MIN: [u64; 36] = [
    1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24, 30, 32, 36, 40, 45, 48, 60, 72, 80, 90, 96,
    120, 144, 160, 180, 240, 288, 360, 480, 720, 1_440,
];
/// No longer period is looked for.
pub const LONGEST_NS: u64 = 7 * 1_440 * MINUTE_NS;

/// A rule's period is looked for up to so many times what it is a multiple of: a week of minutes.
const MOST_TIMES: u64 = LONGEST_NS / MINUTE_NS;

/// Fewest detections that are looked at.
pub const FEWEST: usize = 20;
/// Detection instants of a rule on a schedule scatter at most this part of what submissions do.
const CLOSER: f64 = 0.5;
/// A mark that has at least this part of the sharpest one's strength is as sharp.
const AS_SHARP: f64 = 0.8;
/// Runs lie in one class modulo a number where this share of what they found does;
const SURELY: f64 = 0.9;
/// and perhaps where this share does. A single run with so much shows no schedule.
const PERHAPS: f64 = 0.75;
/// Submissions that are more concentrated than this do not meet all phases of a period, so that nobody
/// can tell whether it is the rule's.
const ALL_PHASES: f64 = 0.5;
/// More than this share of the times in a quarter of a period contradicts it.
const IN_A_QUARTER: f64 = 0.6;
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
    /// It runs every so often, nanoseconds: the shortest period that the detections allow
    pub period_ns: u64,
    /// and the longest, up to a week; the same where they allow only one.
    pub longest_ns: u64,
    /// Its alerts appear so long after a whole period of wall time, nanoseconds.
    pub phase_ns: u64,
    /// Length of the mean of the unit vectors of the detection instants: 1 for one single phase.
    pub concentration: f64,
    /// p-value after Holm's correction over the periods tried.
    pub p: f64,
    /// Detections used.
    pub n: u64,
    /// Detections left out, because their times are too coarse.
    pub too_coarse: u64,
    /// Mean time to detect of those used, nanoseconds.
    pub mean_ns: u64,
}

impl Schedule {
    /// True where the detections allow one period only.
    pub fn is_exact(&self) -> bool {
        self.longest_ns == self.period_ns
    }

    /// What the schedule costs: the mean wait for the next run, half its period, but no more than the
    /// detections take on average. Where longer periods are allowed, at least that.
    pub fn mean_wait_ns(&self) -> u64 {
        (self.period_ns / 2).min(self.mean_ns)
    }
}

/// The schedule that the detections betray at this level, if any. Tried are the whole minutes that
/// divide a day, and what the caller states: where the detections allow that, it is the period.
pub fn find(timings: &[Timing], stated_ns: Option<u64>, level: f64) -> Option<Schedule> {
    let mut periods: Vec<u64> = DIVISORS_MIN.iter().map(|m| m * MINUTE_NS).collect();
    periods.extend(stated_ns.filter(|stated| *stated > 0 && !periods.contains(stated)));
    let mut tried: Vec<Schedule> =
        periods.iter().filter_map(|period| look(timings, *period)).collect();
    let together = holm(&tried.iter().map(|s| s.p).collect::<Vec<_>>());
    tried.iter_mut().zip(together).for_each(|(schedule, p)| schedule.p = p);
    tried.retain(|s| s.p < level);
    let sharpest = tried.iter().map(|s| s.concentration).fold(0.0, f64::max);
    let divisor = tried
        .into_iter()
        .filter(|s| s.concentration >= AS_SHARP * sharpest)
        .min_by_key(|s| s.period_ns)?;
    climb(timings, divisor, stated_ns)
}

/// From a divisor of the rule's period to the period, as far as the detections lead.
fn climb(timings: &[Timing], divisor: Schedule, stated_ns: Option<u64>) -> Option<Schedule> {
    let unit = divisor.period_ns;
    let runs = runs(timings, &divisor);
    if in_one(runs.iter().copied()).1 >= PERHAPS {
        return None;
    }
    let most = (LONGEST_NS / unit).min(MOST_TIMES);
    let surely = common_divisor(&runs, 1, most, SURELY);
    let perhaps = common_divisor(&runs, surely, most, PERHAPS);
    let mut times: Vec<u64> = used(timings, unit).map(|t| t.ttd_ns).collect();
    times.sort_unstable();
    let at = |hundredth: usize| times.get((times.len() - 1) * hundredth / 100).copied();
    let apart = at(95)? - at(5)?;
    let shortest = (1..=surely)
        .filter(|n| surely.is_multiple_of(*n) && !contradicted(&times, unit * n))
        .find(|n| unit * n >= apart || *n == surely)
        .unwrap_or(1);
    let stated = stated_ns
        .filter(|stated| stated.is_multiple_of(unit))
        .map(|stated| stated / unit)
        .filter(|stated| *stated >= shortest && perhaps.is_multiple_of(*stated));
    let (shortest, longest) = stated.map_or((shortest, perhaps), |stated| (stated, stated));
    let class = in_one(runs.iter().map(|run| run.rem_euclid(shortest as i64))).0.unsigned_abs();
    Some(Schedule {
        period_ns: unit * shortest,
        longest_ns: unit * longest,
        phase_ns: (class * unit + divisor.phase_ns) % (unit * shortest),
        ..divisor
    })
}

/// Numbers of the runs that found something, one for each detection.
fn runs(timings: &[Timing], schedule: &Schedule) -> Vec<i64> {
    let period = i128::from(schedule.period_ns);
    let since = |t: &Timing| ended(t) - i128::from(schedule.phase_ns);
    used(timings, schedule.period_ns)
        .map(|t| (since(t) + period / 2).div_euclid(period) as i64)
        .collect()
}

/// The largest multiple of `known`, not above `most`, modulo which that share of the runs is in one class.
fn common_divisor(runs: &[i64], known: u64, most: u64, share: f64) -> u64 {
    let is_prime = |n: u64| (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    // Runs that differ by less than a number are in different classes modulo it.
    let apart = runs.iter().max().zip(runs.iter().min()).map_or(0, |(last, first)| last - first);
    let most = most.min(apart.unsigned_abs());
    // Most numbers are ruled out by a look at a few runs.
    let few: Vec<i64> = runs.iter().step_by(runs.len().div_ceil(FEWEST).max(1)).copied().collect();
    let one_class = |modulus: u64| {
        let modulo = |runs: &[i64]| in_one(runs.iter().map(|run| run.rem_euclid(modulus as i64)));
        modulo(&few).1 >= share - 0.25 && modulo(runs).1 >= share
    };
    let mut common = known;
    for prime in (2..=most / known).filter(|n| is_prime(*n)) {
        while common * prime <= most && one_class(common * prime) {
            common *= prime;
        }
    }
    common
}

/// The commonest of these numbers, and its share.
fn in_one(numbers: impl Iterator<Item = i64>) -> (i64, f64) {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    let largest = numbers.chunk_by(i64::eq).max_by_key(|same| same.len()).unwrap_or_default();
    let share = largest.len() as f64 / numbers.len().max(1) as f64;
    (largest.first().copied().unwrap_or(0), share)
}

/// True where times, in ascending order, lie closer together than waits for runs so far apart can.
fn contradicted(times: &[u64], period_ns: u64) -> bool {
    let held = |(at, from): (usize, &u64)| {
        times.partition_point(|time| *time <= from.saturating_add(period_ns / 4)) - at
    };
    let most = times.iter().enumerate().map(held).max().unwrap_or(0);
    most as f64 > IN_A_QUARTER * times.len() as f64
}

/// The detections that are not too coarse for a period.
fn used(timings: &[Timing], period_ns: u64) -> impl Iterator<Item = &Timing> {
    timings.iter().filter(move |t| t.coarse_ns <= period_ns / 4)
}

fn ended(timing: &Timing) -> i128 {
    i128::from(timing.submitted_ns) + i128::from(timing.ttd_ns)
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

    fn length(self) -> f64 {
        self.square().sqrt()
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
    let used = || used(timings, period_ns);
    let first = used().map(|t| t.submitted_ns).min()?;
    let last = used().map(|t| t.submitted_ns).max()?;
    let n = used().count();
    if n < FEWEST || last.abs_diff(first) < period_ns.saturating_mul(SPANNED) {
        return None;
    }
    let vectors = |of: &dyn Fn(&Timing) -> i128| -> Vec<Vector> {
        used().map(|t| Vector::at(of(t), period_ns)).collect()
    };
    let submitted = vectors(&|t| i128::from(t.submitted_ns));
    let found = mean(&vectors(&ended));
    let (concentration, of_submissions) = (found.length(), mean(&submitted).length());
    if of_submissions > ALL_PHASES || 1.0 - concentration > CLOSER * (1.0 - of_submissions) {
        return None;
    }
    let u = centred(&submitted);
    let v = centred(&vectors(&|t| i128::from(t.ttd_ns)));
    let squares = |vectors: &[Vector]| vectors.iter().map(|v| v.square()).sum::<f64>();
    let variance = squares(&u) * squares(&v) / (n as f64 - 1.0);
    // One phase of submission, or one time to detect, can show no schedule.
    if variance <= 1e-9 * n as f64 {
        return None;
    }
    let mut times: Vec<u64> = used().map(|t| t.ttd_ns).collect();
    times.sort_unstable();
    if contradicted(&times, period_ns) {
        return None;
    }
    let sum = u.iter().zip(&v).fold(Vector::default(), |sum, (a, b)| Vector {
        x: sum.x + a.x * b.x - a.y * b.y,
        y: sum.y + a.x * b.y + a.y * b.x,
    });
    let turn = found.y.atan2(found.x).rem_euclid(TAU) / TAU;
    Some(Schedule {
        period_ns,
        longest_ns: period_ns,
        phase_ns: (turn * period_ns as f64) as u64 % period_ns,
        concentration,
        p: erfc((sum.square() / variance / 2.0).sqrt()),
        n: n as u64,
        too_coarse: (timings.len() - n) as u64,
        mean_ns: (times.iter().map(|t| u128::from(*t)).sum::<u128>() / n as u128) as u64,
    })
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;
