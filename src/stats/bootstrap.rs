//! Block bootstrap over submission time (Efron 1979; blocks: Carlstein 1986).
//!
//! Canaries that one scheduled run of a rule catches together are not independent: the formulas that
//! count each of them promise too narrow an interval. So whole *blocks* of submission time, at least
//! one period of the rule long, are drawn with replacement, and the statistic is computed anew. Blocks
//! are cut over submission and not over detection, because a missed canary has no detection.
//!
//! Intervals are percentile intervals and approximate; with fewer than about ten blocks they are too
//! narrow, which is why [`Limits::blocks`] is told. No resample holds a time beyond the largest one seen, so
//! that percentiles alone promise far too much of a high quantile: an interval of a quantile is therefore
//! never narrower than as many independent observations as there are blocks would carry, by exact ranks
//! ([`super::ranks`]); where even their largest is no limit, none is reached. With one block there is
//! nothing to draw, and no interval. A resample whose statistic does not exist is counted as refused, never
//! replaced.
//!
//! Draws come from a ChaCha20 stream of the seed: the same input gives the same interval with any
//! version of this program.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::intervals::{Interval, Turnbull};
use super::ranks::quantile_ranks;
use super::survival::{Curve, Observation, Reach};

#[cfg(test)]
mod tests;

/// Resamples unless the work would be too much.
pub const RESAMPLES: u32 = 1_000;
/// Fewer resamples than this carry no 95 % interval.
const FEWEST: u32 = 200;
/// Most elementary steps for one interval: well under a second in a release build.
const WORK: u64 = 20_000_000;

/// How many resamples of so much work each are worth it; `None` when too few would be.
pub fn affordable(work_each: usize) -> Option<u32> {
    let most = WORK / (work_each.max(1) as u64);
    let resamples = u32::try_from(most).unwrap_or(u32::MAX).min(RESAMPLES);
    (resamples >= FEWEST).then_some(resamples)
}

/// Observations in groups that are drawn together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocks {
    members: Vec<Vec<usize>>,
}

impl Blocks {
    /// Cuts submission time into windows of that length, from the earliest submission on; a window
    /// without observation is no block. A length of 0 gives each instant its own.
    pub fn by_time(submitted: &[i64], block_ns: u64) -> Blocks {
        let first = submitted.iter().copied().min().unwrap_or(0);
        let window = |at: i64| at.abs_diff(first) / block_ns.max(1);
        let mut order: Vec<(u64, usize)> =
            submitted.iter().enumerate().map(|(index, at)| (window(*at), index)).collect();
        order.sort_unstable();
        let members = order
            .chunk_by(|a, b| a.0 == b.0)
            .map(|block| block.iter().map(|(_, index)| *index).collect())
            .collect();
        Blocks { members }
    }

    /// Each observation its own block: they are taken to be independent.
    pub fn single(n: usize) -> Blocks {
        Blocks { members: (0..n).map(|index| vec![index]).collect() }
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The observations of each block, by their index.
    pub fn members(&self) -> &[Vec<usize>] {
        &self.members
    }
}

/// A percentile interval; an end of infinity was not reached.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Limits {
    /// Lower limit.
    pub lower: f64,
    /// Upper limit.
    pub upper: f64,
    /// Resamples that gave a value.
    pub used: u32,
    /// Resamples whose statistic does not exist.
    pub refused: u32,
    /// Blocks that were drawn from.
    pub blocks: u32,
}

impl Limits {
    /// The same, and no narrower than these.
    fn not_within(self, wide: Option<(f64, f64)>) -> Limits {
        match wide {
            Some((lower, upper)) => {
                Limits { lower: self.lower.min(lower), upper: self.upper.max(upper), ..self }
            }
            None => self,
        }
    }

    /// Both ends as times.
    pub fn reach(&self) -> (Reach, Reach) {
        let end = |value: f64| match value.is_finite() {
            true => Reach::At(value.round().max(0.0) as u64),
            false => Reach::NotReached,
        };
        (end(self.lower), end(self.upper))
    }
}

/// Percentile interval of any statistic of the drawn observations' indices.
///
/// `None` with fewer than two blocks, without resamples, or when every one was refused.
pub fn percentile_interval<F: FnMut(&[usize]) -> Option<f64>>(
    blocks: &Blocks,
    resamples: u32,
    seed: u64,
    confidence: f64,
    mut statistic: F,
) -> Option<Limits> {
    let mut tally = Tally::new(blocks, confidence)?;
    for_each_resample(blocks, resamples, seed, |drawn| tally.add(statistic(drawn)));
    tally.limits()
}

/// Draws so many resamples and hands over each one's indices; for statistics of several samples.
pub fn for_each_resample(
    blocks: &Blocks,
    resamples: u32,
    seed: u64,
    mut take: impl FnMut(&[usize]),
) {
    let mut draws = Draws::new(seed);
    let mut drawn = Vec::new();
    for _ in 0..resamples {
        drawn.clear();
        for _ in 0..blocks.len() {
            drawn.extend_from_slice(draws.block(blocks));
        }
        take(&drawn);
    }
}

/// What to compute of a Kaplan-Meier curve or of Turnbull's estimate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Statistic {
    /// Time by which this share is detected; infinite where it is not reached.
    Quantile(f64),
    /// Mean time up to that time, nanoseconds.
    RestrictedMean(u64),
}

impl Statistic {
    /// Both ends of what Turnbull's estimate says, nanoseconds: within a cell nothing is known.
    pub fn ends(self, estimate: &Turnbull) -> (f64, f64) {
        match self {
            Statistic::RestrictedMean(tau_ns) => estimate.restricted_mean_bounds(tau_ns),
            Statistic::Quantile(p) => {
                let (lower, upper) = estimate.quantile_bounds(p);
                (time(lower), time(upper))
            }
        }
    }
}

/// Percentile intervals of several statistics of a Kaplan-Meier curve, from the same resamples.
///
/// Times are sorted once; a resample only counts, so that a thousand of ten thousand observations
/// take well under a second. One entry per statistic, in order, as [`percentile_interval`] has it.
pub fn curve_intervals(
    observations: &[Observation],
    blocks: &Blocks,
    (resamples, seed, confidence): (u32, u64, f64),
    statistics: &[Statistic],
) -> Vec<Option<Limits>> {
    let Some(tally) = Tally::new(blocks, confidence) else { return vec![None; statistics.len()] };
    let mut tallies = vec![tally; statistics.len()];
    let ranked = Ranked::new(observations, blocks);
    let mut draws = Draws::new(seed);
    let mut counts = vec![(0u32, 0u32); ranked.times.len()];
    for _ in 0..resamples {
        counts.fill((0, 0));
        for _ in 0..ranked.blocks.len() {
            let block = ranked.blocks.get(draws.below(ranked.blocks.len()));
            for entry in block.into_iter().flatten() {
                if let Some(count) = counts.get_mut((entry >> 1) as usize) {
                    count.0 += entry & 1;
                    count.1 += 1;
                }
            }
        }
        for (tally, statistic) in tallies.iter_mut().zip(statistics) {
            tally.add(ranked.statistic(&counts, *statistic));
        }
    }
    let curve = Curve::fit(observations);
    let ends = |statistic: &Statistic| by_ranks(&curve, *statistic, blocks, confidence);
    let widened = |(tally, statistic): (Tally, &Statistic)| {
        tally.limits().map(|limits| limits.not_within(ends(statistic)))
    };
    tallies.into_iter().zip(statistics).map(widened).collect()
}

/// What the ranks of as many independent observations as there are blocks say of a quantile.
fn by_ranks(
    curve: &Curve,
    statistic: Statistic,
    blocks: &Blocks,
    confidence: f64,
) -> Option<(f64, f64)> {
    let ends = Carried::of(statistic, blocks, confidence)?;
    let at = |p: f64| time(curve.estimate(p));
    // Where not even the smallest is a lower limit, the resamples' own stays.
    Some((ends.lower.map_or(f64::INFINITY, at), ends.upper.map_or(f64::INFINITY, at)))
}

/// Shares of the observations at which as many independent ones as there are blocks bound a quantile; absent
/// where they do not.
struct Carried {
    lower: Option<f64>,
    upper: Option<f64>,
}

impl Carried {
    fn of(statistic: Statistic, blocks: &Blocks, confidence: f64) -> Option<Carried> {
        let Statistic::Quantile(p) = statistic else { return None };
        let n = blocks.len() as u64;
        let ranks = quantile_ranks(n, p, confidence);
        let share = |rank: u64| rank as f64 / n as f64;
        Some(Carried { lower: ranks.lower.map(share), upper: ranks.upper.map(share) })
    }
}

fn time(end: Reach) -> f64 {
    end.ns().map_or(f64::INFINITY, |ns| ns as f64)
}

/// Elementary steps that a resample of Turnbull's estimate takes for each observation: sorting and about a
/// dozen steps of the fit, which touch each twice.
const TURNBULL_WORK: u64 = 24;
/// More observations than this carry no bootstrap of Turnbull's estimate: it would take too long.
pub const MOST_RESAMPLED: u64 = WORK / (TURNBULL_WORK * FEWEST as u64);

/// How many resamples of Turnbull's estimate of so many observations are worth it.
pub fn affordable_turnbull(observations: usize) -> Option<u32> {
    affordable(observations.saturating_mul(TURNBULL_WORK as usize))
}

/// Draws so many resamples and hands over Turnbull's estimate of each, as near as its noise allows.
///
/// Each resample has its own innermost cells: those of all observations are narrower, and would promise
/// too much.
pub fn for_each_turnbull(
    observations: &[Interval],
    blocks: &Blocks,
    (resamples, seed): (u32, u64),
    mut take: impl FnMut(&Turnbull),
) {
    let mut drawn = Vec::new();
    for_each_resample(blocks, resamples, seed, |indices| {
        drawn.clear();
        drawn.extend(indices.iter().filter_map(|index| observations.get(*index)).copied());
        take(&Turnbull::fit_roughly(&drawn));
    });
}

/// Percentile intervals of what is asked of Turnbull's estimate, from the same resamples: one of the
/// lower end of what it says ([`Statistic::ends`]), and one of the upper end. `None` with fewer than two
/// blocks; [`affordable_turnbull`] says how many resamples are worth it.
pub fn turnbull_intervals(
    observations: &[Interval],
    blocks: &Blocks,
    (resamples, seed, confidence): (u32, u64, f64),
    asked: &[Statistic],
) -> Option<Vec<(Limits, Limits)>> {
    let tally = Tally::new(blocks, confidence)?;
    let mut tallies = vec![(tally.clone(), tally); asked.len()];
    for_each_turnbull(observations, blocks, (resamples, seed), |estimate| {
        for ((low, high), asked) in tallies.iter_mut().zip(asked) {
            let (lower, upper) = asked.ends(estimate);
            low.add(Some(lower));
            high.add(Some(upper));
        }
    });
    let whole = Turnbull::fit(observations);
    let by_ranks = |statistic: &Statistic| {
        let ends = Carried::of(*statistic, blocks, confidence)?;
        let at = |p: Option<f64>| match p {
            Some(p) => Statistic::Quantile(p).ends(&whole),
            None => (f64::INFINITY, f64::INFINITY),
        };
        Some((at(ends.lower), at(ends.upper)))
    };
    let widened = |((low, high), statistic): ((Tally, Tally), &Statistic)| {
        let (low, high) = (low.limits()?, high.limits()?);
        let Some((lower, upper)) = by_ranks(statistic) else { return Some((low, high)) };
        Some((low.not_within(Some((lower.0, upper.0))), high.not_within(Some((lower.1, upper.1)))))
    };
    tallies.into_iter().zip(asked).map(widened).collect()
}

/// Observations by rank of their time, per block: twice the rank, plus one for an event.
struct Ranked {
    times: Vec<u64>,
    blocks: Vec<Vec<u32>>,
}

impl Ranked {
    fn new(observations: &[Observation], blocks: &Blocks) -> Ranked {
        let mut times: Vec<u64> = observations.iter().map(|o| o.time_ns).collect();
        times.sort_unstable();
        times.dedup();
        let rank = |o: &Observation| {
            let rank = times.partition_point(|t| *t < o.time_ns) as u32;
            (rank << 1) | u32::from(o.event)
        };
        let ranked = |block: &Vec<usize>| {
            block.iter().filter_map(|index| observations.get(*index)).map(rank).collect()
        };
        let blocks = blocks.members.iter().map(ranked).collect();
        Ranked { times, blocks }
    }

    /// `counts`: events and subjects per distinct time.
    fn statistic(&self, counts: &[(u32, u32)], statistic: Statistic) -> Option<f64> {
        let mut at_risk: u64 = counts.iter().map(|c| u64::from(c.1)).sum();
        if at_risk == 0 {
            return None;
        }
        let (target, tau) = match statistic {
            Statistic::Quantile(p) => (1.0 - p + 1e-12, u64::MAX),
            Statistic::RestrictedMean(tau) => (-1.0, tau),
        };
        let (mut survival, mut area, mut from) = (1.0, 0.0, 0u64);
        for (time, (events, subjects)) in self.times.iter().zip(counts) {
            if *time >= tau {
                break;
            }
            if *events > 0 {
                area += survival * (time - from) as f64;
                from = *time;
                survival *= (at_risk - u64::from(*events)) as f64 / at_risk as f64;
                if survival <= target {
                    return Some(*time as f64);
                }
            }
            at_risk -= u64::from(*subjects);
        }
        Some(match statistic {
            Statistic::Quantile(_) => f64::INFINITY,
            Statistic::RestrictedMean(_) => area + survival * tau.saturating_sub(from) as f64,
        })
    }
}

/// Values of one statistic over the resamples.
#[derive(Clone)]
struct Tally {
    values: Vec<f64>,
    refused: u32,
    blocks: u32,
    confidence: f64,
}

impl Tally {
    fn new(blocks: &Blocks, confidence: f64) -> Option<Tally> {
        let number = u32::try_from(blocks.len()).ok().filter(|number| *number >= 2)?;
        Some(Tally { values: Vec::new(), refused: 0, blocks: number, confidence })
    }

    fn add(&mut self, value: Option<f64>) {
        match value.filter(|value| !value.is_nan()) {
            Some(value) => self.values.push(value),
            None => self.refused += 1,
        }
    }

    /// Order statistics at the tails' ranks, outwards.
    fn limits(mut self) -> Option<Limits> {
        self.values.sort_unstable_by(f64::total_cmp);
        let last = self.values.len().checked_sub(1)?;
        let tail = (1.0 - self.confidence) / 2.0 * last as f64;
        let low = (tail.floor() as usize).min(last);
        Some(Limits {
            lower: *self.values.get(low)?,
            upper: *self.values.get(last - low)?,
            used: self.values.len() as u32,
            refused: self.refused,
            blocks: self.blocks,
        })
    }
}

/// The stream that blocks are drawn from.
struct Draws {
    stream: ChaCha20Rng,
}

impl Draws {
    fn new(seed: u64) -> Draws {
        let mut key = *b"dwell block bootstrap\0\0\0\0\0\0\0\0\0\0\0";
        for (slot, byte) in key.iter_mut().rev().zip(seed.to_le_bytes()) {
            *slot = byte;
        }
        Draws { stream: ChaCha20Rng::from_seed(key) }
    }

    /// A whole number below `n`, by multiply-shift: its bias is below n / 2^64.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.stream.next_u64()) * n as u128) >> 64) as usize
    }

    fn block<'a>(&mut self, blocks: &'a Blocks) -> &'a [usize] {
        let drawn = self.below(blocks.len());
        blocks.members.get(drawn).map_or(&[], Vec::as_slice)
    }
}
