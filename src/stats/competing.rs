//! Cumulative incidence with competing ends (Aalen and Johansen 1978).
//!
//! A canary can end in ways that make its detection impossible: another rule alerts and the case is
//! closed, the token is withdrawn from the field, the pipeline drops it. Taking such ends for
//! censorings and printing 1 - S would overstate how often detection comes. Instead, with `d_k` ends
//! of cause `k` and `d` of any cause among `n` at risk:
//!
//! ```text
//! F_k(t) = sum S(t_i-) d_k / n           S(t) = prod (1 - d / n)        sum over k of F_k = 1 - S
//! ```
//!
//! The standard error is the infinitesimal jackknife's, which is also what R prints: with
//! `g = d / (n (n - d))`, `F = F_k(t) - F_k(t_i)`,
//!
//! ```text
//! V = sum F² g + sum S(t_i-)² d_k (n - d_k) / n³ - 2 sum F S(t_i-) d_k / n²
//! ```
//!
//! Causes are numbers from 1; 0 is a censoring. An end and a censoring at the same time: the end is
//! first.

use std::collections::BTreeMap;

use super::z_two_sided;

/// One subject: how long it was observed and how it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Nanoseconds.
    pub time_ns: u64,
    /// The cause, from 1; 0 for a censoring.
    pub cause: u32,
}

/// The incidence of one cause after one time at which it happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct IncidenceStep {
    /// The time, nanoseconds.
    pub time_ns: u64,
    /// Share that has ended of this cause.
    pub incidence: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl IncidenceStep {
    /// Pointwise interval on the scale of ln(-ln F), which keeps it between 0 and 1:
    /// `F^exp(±z se / (F ln F))`; `None` where F is 0 or, but for rounding, 1.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        let f = self.incidence;
        (f > 0.0 && f < 1.0 - 1e-12).then(|| {
            let theta = z_two_sided(confidence) * self.standard_error / (f * f.ln());
            // ln F is negative, so the larger exponent belongs to the lower limit.
            (f.powf((-theta).exp()), f.powf(theta.exp()))
        })
    }
}

/// Cumulative incidence per cause.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Incidence {
    causes: BTreeMap<u32, Vec<IncidenceStep>>,
    subjects: u64,
}

/// Sums from which a cause's incidence and variance follow at any time.
#[derive(Default)]
struct Running {
    incidence: f64,
    /// Sums of g, F g and F² g, with F the incidence after each time.
    spread: [f64; 3],
    own: f64,
    /// Sums of S d_k / n² and F S d_k / n².
    cross: [f64; 2],
}

impl Running {
    fn add(&mut self, before: f64, n: f64, all: f64, own: f64) {
        self.incidence += before * own / n;
        let f = self.incidence;
        // Where everybody ends the curve stops, and so do both sums.
        let g = if n > all { all / (n * (n - all)) } else { 0.0 };
        for (sum, factor) in self.spread.iter_mut().zip([1.0, f, f * f]) {
            *sum += factor * g;
        }
        self.own += before * before * own * (n - own) / (n * n * n);
        for (sum, factor) in self.cross.iter_mut().zip([1.0, f]) {
            *sum += factor * before * own / (n * n);
        }
    }

    fn variance(&self) -> f64 {
        let f = self.incidence;
        let spread = f * f * self.spread[0] - 2.0 * f * self.spread[1] + self.spread[2];
        spread + self.own - 2.0 * (f * self.cross[0] - self.cross[1])
    }
}

impl Incidence {
    /// Fits all causes: O(n log n).
    pub fn fit(endings: &[Ending]) -> Incidence {
        let mut sorted = endings.to_vec();
        sorted.sort_unstable_by_key(|e| e.time_ns);
        let mut running: BTreeMap<u32, Running> = BTreeMap::new();
        for ending in sorted.iter().filter(|e| e.cause > 0) {
            running.entry(ending.cause).or_default();
        }
        let mut result = Incidence { causes: BTreeMap::new(), subjects: sorted.len() as u64 };
        let (mut at_risk, mut survival) = (sorted.len(), 1.0);
        for group in sorted.chunk_by(|a, b| a.time_ns == b.time_ns) {
            let all = group.iter().filter(|e| e.cause > 0).count();
            if all > 0 {
                let (n, d) = (at_risk as f64, all as f64);
                for (cause, sums) in &mut running {
                    let own = group.iter().filter(|e| e.cause == *cause).count();
                    sums.add(survival, n, d, own as f64);
                    if own > 0 {
                        let time_ns = group.first().map_or(0, |e| e.time_ns);
                        result.push(*cause, time_ns, sums);
                    }
                }
                survival *= (n - d) / n;
            }
            at_risk -= group.len();
        }
        result
    }

    fn push(&mut self, cause: u32, time_ns: u64, sums: &Running) {
        let standard_error = sums.variance().max(0.0).sqrt();
        let step = IncidenceStep { time_ns, incidence: sums.incidence, standard_error };
        self.causes.entry(cause).or_default().push(step);
    }

    /// Number of subjects.
    pub fn subjects(&self) -> u64 {
        self.subjects
    }

    /// The causes that happened, ascending.
    pub fn causes(&self) -> impl Iterator<Item = u32> + '_ {
        self.causes.keys().copied()
    }

    /// Share that has ended of this cause by a time; 0 for a cause that never happened.
    pub fn at(&self, cause: u32, time_ns: u64) -> f64 {
        self.step(cause, time_ns).map_or(0.0, |s| s.incidence)
    }

    /// The step in force at a time; `None` before the cause first happened.
    pub fn step(&self, cause: u32, time_ns: u64) -> Option<&IncidenceStep> {
        let steps = self.steps(cause);
        steps.get(steps.partition_point(|s| s.time_ns <= time_ns).checked_sub(1)?)
    }

    /// One step per distinct time at which the cause happened, ascending. Between them neither the
    /// incidence nor its standard error changes.
    pub fn steps(&self, cause: u32) -> &[IncidenceStep] {
        self.causes.get(&cause).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
#[path = "competing_tests.rs"]
mod tests;
