//! Turnbull's estimate of a distribution from intervals (Turnbull 1976): what polling leaves.
//!
//! A poll says "not before the last look, not after this one": the time lies in `(lower, upper]`. A
//! canary that nobody saw is `(lower, ∞)`. The estimate puts probability only on *innermost*
//! intervals, cells in which no other interval begins or ends; where inside a cell the probability
//! lies, the data do not say, so a quantile is an interval itself and the curve has two edges.
//!
//! # How it is found
//!
//! Every observation covers a contiguous run of cells, so with prefix sums one step costs
//! O(observations + cells). Steps of the EM algorithm, which is sure and slow, alternate with steps of
//! the iterative convex minorant (Groeneboom and Wellner 1992; in alternation Wellner and Zhan 1997),
//! which are fast; a step of the latter is shortened until the likelihood does not fall. It ends when
//! the Kuhn-Tucker conditions hold: with `d_j` the mean over observations of `1 / P(observation)`
//! summed where it covers cell j, the optimum has `max d_j = 1`, and `n (max d_j - 1)` bounds what the
//! log-likelihood still lacks. [`Turnbull::converged`] tells whether that was reached in the bounded
//! number of steps.
//!
//! # Conventions
//!
//! Ends are whole nanoseconds, and intervals are open on the left as polling makes them: `(0, 2]` and
//! `(2, 4]` do not touch. (lifelines takes them as closed and differs; R's `interval2` agrees.) An
//! observation with `lower_ns == upper_ns` is that exact time; with exact and right-censored data
//! alone this is the Kaplan-Meier estimate. Intervals with `lower > upper` are the caller's mistake
//! and are taken as exactly `upper`.

use super::survival::Reach;

mod solve;
#[cfg(test)]
mod tests;

/// Where a time lies: after `lower_ns`, and at or before `upper_ns`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Not yet at this time; equal to `upper_ns` for a time known exactly.
    pub lower_ns: u64,
    /// By this time; `None` when it was never seen.
    pub upper_ns: Option<u64>,
}

impl Interval {
    /// The first and the last whole nanosecond that it holds; the last is `u64::MAX` for never.
    fn ends(self) -> (u64, u64) {
        let last = self.upper_ns.unwrap_or(u64::MAX);
        (self.lower_ns.saturating_add(1).min(last), last)
    }
}

/// The estimate.
#[derive(Clone, PartialEq, Debug)]
pub struct Turnbull {
    masses: Vec<(Interval, f64)>,
    log_likelihood: f64,
    observations: u64,
    converged: bool,
    steps: u32,
}

impl Turnbull {
    /// Fits the estimate; with no observation it holds no mass.
    pub fn fit(observations: &[Interval]) -> Turnbull {
        Turnbull::with(observations, solve::EXACT)
    }

    /// The same as near as a resample needs it.
    pub(super) fn fit_roughly(observations: &[Interval]) -> Turnbull {
        Turnbull::with(observations, solve::ROUGH)
    }

    fn with(observations: &[Interval], effort: solve::Effort) -> Turnbull {
        let problem = Prepared::new(observations);
        problem.estimate(&problem.solve(effort))
    }

    /// The cells that carry probability, ascending, and how much.
    pub fn masses(&self) -> &[(Interval, f64)] {
        &self.masses
    }

    /// Sum over observations of the logarithm of their probability.
    pub fn log_likelihood(&self) -> f64 {
        self.log_likelihood
    }

    /// Number of observations.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// True when the optimum was reached within the bound on steps.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Steps taken.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Quantile `p` at the right end of its cell: by this time at the latest.
    pub fn quantile(&self, p: f64) -> Reach {
        self.quantile_bounds(p).1
    }

    /// Both ends of the cell in which quantile `p` lies.
    pub fn quantile_bounds(&self, p: f64) -> (Reach, Reach) {
        let mut sum = 0.0;
        for (cell, mass) in &self.masses {
            sum += mass;
            if sum >= p - ROUNDING {
                let upper = cell.upper_ns.map_or(Reach::NotReached, Reach::At);
                return (Reach::At(cell.lower_ns), upper);
            }
        }
        (Reach::NotReached, Reach::NotReached)
    }

    /// The share not yet detected at a time: at least, at most. They differ inside a cell.
    pub fn undetected_at(&self, time_ns: u64) -> (f64, f64) {
        let (mut surely, mut perhaps) = (0.0, 0.0);
        for (cell, mass) in &self.masses {
            let (first, last) = cell.ends();
            surely += if first > time_ns { *mass } else { 0.0 };
            perhaps += if last > time_ns { *mass } else { 0.0 };
        }
        (f64::min(surely, 1.0), f64::min(perhaps, 1.0))
    }

    /// Mean time up to `tau`, in nanoseconds: at least, at most.
    pub fn restricted_mean_bounds(&self, tau_ns: u64) -> (f64, f64) {
        let cut = |ns: u64| ns.min(tau_ns) as f64;
        self.masses.iter().fold((0.0, 0.0), |(low, high), (cell, mass)| {
            let upper = cell.upper_ns.unwrap_or(u64::MAX);
            (low + mass * cut(cell.lower_ns), high + mass * cut(upper))
        })
    }
}

/// Sums of probabilities miss a round number by this little.
const ROUNDING: f64 = 1e-9;

/// One kind of observation: which cells it covers, and how often it occurs.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Group {
    from: usize,
    /// One behind the last.
    to: usize,
    weight: f64,
}

/// The cells and the observations on them.
#[derive(Clone, Debug)]
struct Prepared {
    cells: Vec<Interval>,
    groups: Vec<Group>,
}

impl Prepared {
    fn new(observations: &[Interval]) -> Prepared {
        // Alike observations become one at once: polls of one schedule leave few different ones.
        let mut ends: Vec<(u64, u64)> = observations.iter().map(|o| o.ends()).collect();
        ends.sort_unstable();
        let alike: Vec<(u64, u64, usize)> = ends
            .chunk_by(|a, b| a == b)
            .filter_map(|alike| alike.first().map(|(first, last)| (*first, *last, alike.len())))
            .collect();
        let firsts: Vec<u64> = alike.iter().map(|a| a.0).collect();
        let mut lasts: Vec<u64> = alike.iter().map(|a| a.1).collect();
        lasts.sort_unstable();
        let innermost = innermost(&firsts, &lasts);
        Prepared { cells: cells(observations, &innermost), groups: groups(&alike, &innermost) }
    }

    fn solve(&self, effort: solve::Effort) -> solve::Solution {
        solve::solve(&self.groups, self.cells.len(), effort)
    }

    fn estimate(&self, solution: &solve::Solution) -> Turnbull {
        let masses = self.cells.iter().zip(&solution.masses);
        Turnbull {
            masses: masses.filter(|(_, m)| **m > 0.0).map(|(c, m)| (*c, *m)).collect(),
            log_likelihood: solve::log_likelihood(&self.groups, &solution.masses),
            observations: self.groups.iter().map(|g| g.weight).sum::<f64>() as u64,
            converged: solution.converged,
            steps: solution.steps,
        }
    }
}

/// What covers the same cells is one group. `alike` is ascending.
fn groups(alike: &[(u64, u64, usize)], innermost: &[(u64, u64)]) -> Vec<Group> {
    let mut covered: Vec<(usize, usize, usize)> = alike
        .iter()
        .map(|(first, last, number)| {
            let from = innermost.partition_point(|cell| cell.0 < *first);
            let to = innermost.partition_point(|cell| cell.1 <= *last);
            (from, to, *number)
        })
        .collect();
    covered.sort_unstable();
    covered
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .filter_map(|same| {
            let (from, to, _) = *same.first()?;
            let number: usize = same.iter().map(|s| s.2).sum();
            Some(Group { from, to, weight: number as f64 })
        })
        .collect()
}

/// Innermost intervals as first and last nanosecond: an end with a beginning before it and no other
/// end between. Both lists are ascending and may repeat.
fn innermost(firsts: &[u64], lasts: &[u64]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let (mut begun, mut taken) = (0, 0);
    for last in lasts {
        while firsts.get(begun).is_some_and(|first| first <= last) {
            begun += 1;
        }
        if begun > taken
            && let Some(first) = firsts.get(begun - 1)
        {
            found.push((*first, *last));
            taken = begun;
        }
    }
    found
}

/// The cells as intervals; a cell of one nanosecond that was observed exactly is that time.
fn cells(observations: &[Interval], innermost: &[(u64, u64)]) -> Vec<Interval> {
    let mut exact: Vec<u64> =
        observations.iter().filter_map(|o| o.upper_ns.filter(|u| o.lower_ns >= *u)).collect();
    exact.sort_unstable();
    innermost
        .iter()
        .map(|(first, last)| {
            let point = first == last && exact.binary_search(last).is_ok();
            Interval {
                lower_ns: if point { *last } else { first.saturating_sub(1) },
                upper_ns: (*last != u64::MAX).then_some(*last),
            }
        })
        .collect()
}

#[cfg(test)]
pub(in crate::stats) fn tests_polled(n: u64) -> Vec<Interval> {
    tests::polled(n, 60_000_000_000, 100_000_000_000)
}
