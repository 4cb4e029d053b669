//! Where the time goes: the step from one stage to the next, with the bounds that looking leaves.
//!
//! Both ends of a step are intervals since submission, so the step is one too: from
//! `max(0, lower(b) - upper(a))` to `upper(b) - lower(a)`. Its median is bracketed by the medians of
//! the lower and of the upper bounds; the confidence limits are order statistics (Wilks 1941), the
//! lower one of the lower bounds, the upper one of the upper bounds. Nothing is halved in silence.
//!
//! Detected only: a step that a canary never finished has no length. Medians of steps do not add up
//! to the median of the whole, so a share is of the sum of the medians, and called so.

use super::ranks::quantile_ranks;

/// Fewest canaries whose step is shown: with fewer the median has no 95 % limits.
pub const FEWEST: usize = 6;

/// One canary's step, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// At least so long.
    pub lower_ns: u64,
    /// At most so long.
    pub upper_ns: u64,
}

/// The step between two stages that were reached within these bounds since submission.
pub fn between(a: Span, b: Span) -> Span {
    Span {
        lower_ns: b.lower_ns.saturating_sub(a.upper_ns),
        upper_ns: b.upper_ns.saturating_sub(a.lower_ns),
    }
}

/// The median of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Canaries.
    pub n: u64,
    /// The median lies between this
    pub lower_ns: u64,
    /// and this, by what the looks allow.
    pub upper_ns: u64,
    /// Lower limit at the confidence asked for.
    pub limit_lower_ns: u64,
    /// Upper limit.
    pub limit_upper_ns: u64,
}

impl Step {
    /// The middle of the bracket, for shares and bars only.
    pub fn middle_ns(&self) -> u64 {
        u64::midpoint(self.lower_ns, self.upper_ns)
    }
}

/// The median of a step; `None` with fewer than [`FEWEST`] or without limits.
pub fn median(spans: &[Span], confidence: f64) -> Option<Step> {
    if spans.len() < FEWEST {
        return None;
    }
    let sorted = |of: fn(&Span) -> u64| {
        let mut times: Vec<u64> = spans.iter().map(of).collect();
        times.sort_unstable();
        times
    };
    let (lower, upper) = (sorted(|s| s.lower_ns), sorted(|s| s.upper_ns));
    let n = spans.len();
    let ranks = quantile_ranks(n as u64, 0.5, confidence);
    let at =
        |times: &[u64], rank: u64| times.get(usize::try_from(rank).ok()?.checked_sub(1)?).copied();
    let middle = |times: &[u64]| Some(u64::midpoint(*times.get((n - 1) / 2)?, *times.get(n / 2)?));
    Some(Step {
        n: n as u64,
        lower_ns: middle(&lower)?,
        upper_ns: middle(&upper)?,
        limit_lower_ns: at(&lower, ranks.lower?)?,
        limit_upper_ns: at(&upper, ranks.upper?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(ns: u64) -> Span {
        Span { lower_ns: ns, upper_ns: ns }
    }

    #[test]
    fn a_step_keeps_the_bounds_of_both_ends() {
        let (a, b) = (Span { lower_ns: 2, upper_ns: 5 }, Span { lower_ns: 8, upper_ns: 11 });
        assert_eq!(between(a, b), Span { lower_ns: 3, upper_ns: 9 });
        assert_eq!(between(b, a), Span { lower_ns: 0, upper_ns: 0 });
        assert_eq!(between(exact(4), exact(9)), exact(5));
    }

    #[test]
    fn the_median_of_a_hundred_has_ranks_40_and_61() {
        let spans: Vec<Span> = (1..=100).map(exact).collect();
        let step = median(&spans, 0.95).unwrap();
        assert_eq!((step.lower_ns, step.limit_lower_ns, step.limit_upper_ns), (50, 40, 61));
        assert_eq!(median(&spans[..5], 0.95), None);
    }

    #[test]
    fn the_truth_lies_within_the_bracket() {
        // True steps of 10 ns, seen by polls that are up to 6 ns coarse at either end.
        let spans: Vec<Span> = (0..60u64)
            .map(|i| {
                let (a, b) = (i % 5, 10 + i % 5);
                let seen = |ns: u64, coarse| Span {
                    lower_ns: ns.saturating_sub(coarse),
                    upper_ns: ns + 6 - coarse,
                };
                between(seen(a, i % 7), seen(b, i % 6))
            })
            .collect();
        let step = median(&spans, 0.95).unwrap();
        assert!(step.lower_ns <= 10 && 10 <= step.upper_ns, "{step:?}");
        assert!(step.limit_lower_ns <= step.lower_ns && step.upper_ns <= step.limit_upper_ns);
    }
}
