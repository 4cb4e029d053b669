//! The log-rank test and its weighted forms, over any number of groups, stratified (Mantel 1966;
//! Gehan 1965; Tarone and Ware 1977; Harrington and Fleming 1982).
//!
//! At each distinct event time of a stratum, with `d` events among `n` at risk, `n_j` of them in
//! group `j`, and a weight `w`:
//!
//! ```text
//! U_j  += w (d_j - n_j d / n)
//! V_jk += w² d (n - d) / (n - 1) · n_j / n · ([j = k] - n_k / n)
//! chi2  = U' V⁻¹ U   without the first group, on (groups - 1) degrees of freedom
//! ```
//!
//! Conventions, where the common programs differ: the Fleming-Harrington weight is the Kaplan-Meier
//! estimate of the pooled stratum *just before* the time, as R's `rho` has it (the "peto" weight of
//! `lifelines` uses another estimate and is another test). A group that is never at risk when an
//! event happens takes no part, as in R; where one group alone is left to take part nothing was compared,
//! and there is no test (R's `survdiff` prints 0 with p = 1 where that is so, and fails where all events
//! come at one time). The p value is the upper tail itself and not one minus the
//! lower one, so that it does not end at 1e-16.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::ordered::{Ordered, Walk};
use super::survival::Observation;

/// What an early difference counts against a late one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Weight {
    /// 1: all times alike.
    LogRank,
    /// Number at risk: early differences count more.
    Gehan,
    /// Square root of the number at risk.
    TaroneWare,
    /// Pooled survival just before the time, to the power `rho`.
    FlemingHarrington {
        /// 0 is the log-rank test; 1 is R's `rho = 1`.
        rho: f64,
    },
}

impl Weight {
    fn at(self, at_risk: f64, survival_before: f64) -> f64 {
        match self {
            Weight::LogRank => 1.0,
            Weight::Gehan => at_risk,
            Weight::TaroneWare => at_risk.sqrt(),
            Weight::FlemingHarrington { rho } => survival_before.powf(rho),
        }
    }
}

/// The test's result. Sums are weighted and over all strata.
#[derive(Clone, PartialEq, Debug)]
pub struct LogRank {
    /// The statistic.
    pub chi2: f64,
    /// Degrees of freedom: groups that took part, less one.
    pub df: u32,
    /// Probability of a statistic at least as large if the groups were alike.
    pub p: f64,
    /// Events per group.
    pub observed: Vec<f64>,
    /// Events per group that would be expected if the groups were alike.
    pub expected: Vec<f64>,
    /// Variance of observed less expected in group 0.
    pub variance: f64,
}

/// Compares groups: stratum, then group, then observations. Strata may list fewer groups than others.
///
/// `None` where there is nothing to compare: fewer than two groups at risk when an event happened, or
/// no variance.
pub fn logrank(strata: &[Vec<Vec<Observation>>], weight: Weight) -> Option<LogRank> {
    let groups = strata.iter().map(Vec::len).max()?;
    let mut sums = Sums::new(groups);
    for stratum in strata {
        sums.add(stratum, weight);
    }
    sums.test()
}

struct Sums {
    observed: Vec<f64>,
    expected: Vec<f64>,
    /// Row after row.
    covariance: Vec<f64>,
}

impl Sums {
    fn new(groups: usize) -> Sums {
        Sums {
            observed: vec![0.0; groups],
            expected: vec![0.0; groups],
            covariance: vec![0.0; groups * groups],
        }
    }

    fn add(&mut self, stratum: &[Vec<Observation>], weight: Weight) {
        let ordered: Vec<Ordered> = stratum.iter().map(|group| Ordered::of(group)).collect();
        let mut walks: Vec<Walk<'_>> = ordered.iter().map(Ordered::walk).collect();
        let mut survival = 1.0;
        let mut counts = vec![(0.0, 0.0); walks.len()];
        while let Some(time_ns) = walks.iter().filter_map(Walk::next_event).min() {
            let (mut n, mut d) = (0.0, 0.0);
            for (walk, count) in walks.iter_mut().zip(&mut counts) {
                let (at_risk, events) = walk.take(time_ns);
                *count = (at_risk as f64, events as f64);
                n += count.0;
                d += count.1;
            }
            self.step(&counts, n, d, weight.at(n, survival));
            survival *= (n - d) / n;
        }
    }

    fn step(&mut self, counts: &[(f64, f64)], n: f64, d: f64, weight: f64) {
        let groups = self.observed.len();
        let spread = if n > 1.0 { weight * weight * d * (n - d) / (n - 1.0) } else { 0.0 };
        for (j, (at_risk, events)) in counts.iter().enumerate() {
            self.observed[j] += weight * events;
            self.expected[j] += weight * at_risk * d / n;
            let share = at_risk / n;
            for (k, (other, _)) in counts.iter().enumerate() {
                let same = if j == k { 1.0 } else { 0.0 };
                self.covariance[j * groups + k] += spread * share * (same - other / n);
            }
        }
    }

    fn test(self) -> Option<LogRank> {
        let groups = self.observed.len();
        let took_part: Vec<usize> = (0..groups).filter(|j| self.expected[*j] > 0.0).collect();
        let (_, free) = took_part.split_first()?;
        if free.is_empty() {
            return None;
        }
        let difference: Vec<f64> =
            free.iter().map(|j| self.observed[*j] - self.expected[*j]).collect();
        let matrix: Vec<Vec<f64>> = free
            .iter()
            .map(|j| free.iter().map(|k| self.covariance[j * groups + k]).collect())
            .collect();
        let solved = solve(matrix, difference.clone())?;
        let chi2: f64 = solved.iter().zip(&difference).map(|(a, b)| a * b).sum();
        let df = free.len() as u32;
        let p = ChiSquared::new(f64::from(df)).ok()?.sf(chi2.max(0.0));
        let variance = self.covariance[0];
        Some(LogRank { chi2, df, p, observed: self.observed, expected: self.expected, variance })
    }
}

/// Solves `matrix · x = right` by elimination with row pivots; `None` if it is singular.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    let largest = (0..size).map(|i| matrix[i][i].abs()).fold(0.0, f64::max);
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        if matrix[pivot][column].abs() <= largest * 1e-12 {
            return None;
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..size {
            let factor = matrix[row][column] / matrix[column][column];
            let (above, below) = matrix.split_at_mut(row);
            for (to, from) in below[0].iter_mut().zip(&above[column]).skip(column) {
                *to -= factor * from;
            }
            right[row] -= factor * right[column];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|k| matrix[row][k] * right[k]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    Some(right)
}

#[cfg(test)]
#[path = "logrank_tests.rs"]
mod tests;
