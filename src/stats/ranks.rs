//! Exact ranks: which ordered values bound a quantile, whatever the distribution (Wilks 1941).
//!
//! Of `n` independent values the number at or below the quantile `p` is binomial. With `X` the values
//! in order, the interval from the `l`-th to the `u`-th covers it with probability
//! `P(l <= Bin(n, p) < u)`. Without censoring only, or where every censoring lies beyond the claim.
//!
//! Each tail is at most half of what the confidence leaves: `l` is the largest rank with
//! `P(Bin <= l - 1) <= tail`, `u` the smallest with `P(Bin >= u) <= tail`. A rank that the sample
//! does not have is absent: the limit is not reached.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Ranks from 1, and the probability that the interval covers the quantile.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Ranks {
    /// Rank of the lower limit; absent where even the smallest value is too high.
    pub lower: Option<u64>,
    /// Rank of the upper limit; absent where even the largest value is too low.
    pub upper: Option<u64>,
    /// Exact coverage, at least the confidence asked for.
    pub coverage: f64,
}

/// Two-sided ranks for quantile `p` of `n` values.
pub fn quantile_ranks(n: u64, p: f64, confidence: f64) -> Ranks {
    let none = Ranks { lower: None, upper: None, coverage: 1.0 };
    let Ok(binomial) = Binomial::new(p, n) else { return none };
    let tail = (1.0 - confidence) / 2.0;
    let at_most = |k: u64| binomial.cdf(k);
    let more_than = |k: u64| binomial.sf(k);
    // The first k at which P(Bin <= k) exceeds the tail: every smaller rank is a limit.
    let lower = first(n, |k| at_most(k) > tail);
    // The smallest rank u with P(Bin > u - 1) within the tail.
    let upper = first(n, |k| more_than(k) <= tail) + 1;
    let lower = (lower >= 1).then_some(lower);
    let upper = (upper <= n).then_some(upper);
    let below = lower.map_or(0.0, |l| at_most(l - 1));
    let above = upper.map_or(0.0, |u| more_than(u - 1));
    Ranks { lower, upper, coverage: 1.0 - below - above }
}

/// The smallest of 0..=n with the property, which holds for all above it too.
fn first(n: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = u64::midpoint(low, high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_equal_the_exact_binomial_ones() {
        for (p, n, lower, upper, coverage) in [
            (0.5, 20, Some(6), Some(15), 0.9586),
            (0.5, 100, Some(40), Some(61), 0.9648),
            (0.5, 1000, Some(469), Some(532), 0.9537),
            (0.95, 100, Some(90), Some(100), 0.9826),
            (0.95, 200, Some(184), Some(197), 0.9672),
            (0.95, 1000, Some(936), Some(964), 0.9581),
            (0.99, 500, Some(490), Some(500), 0.9802),
            (0.99, 1000, Some(983), Some(997), 0.9761),
        ] {
            let found = quantile_ranks(n, p, 0.95);
            assert_eq!((found.lower, found.upper), (lower, upper), "p {p} n {n}");
            assert!((found.coverage - coverage).abs() < 5e-5, "p {p} n {n}: {}", found.coverage);
        }
        let none = quantile_ranks(59, 0.95, 0.95);
        assert_eq!(
            (none.lower, none.upper),
            (Some(52), None),
            "two-sided, 59 reach no upper limit"
        );
    }

    #[test]
    fn too_few_values_have_no_limit_and_nothing_panics() {
        for n in [0, 1, 2, 5] {
            let ranks = quantile_ranks(n, 0.5, 0.95);
            assert_eq!((ranks.lower, ranks.upper), (None, None), "n {n}");
            assert!((ranks.coverage - 1.0).abs() < 1e-12);
        }
        let six = quantile_ranks(6, 0.5, 0.95);
        assert_eq!((six.lower, six.upper), (Some(1), Some(6)), "2 · 2^-6 is 3 %");
        for p in [f64::NAN, -1.0, 2.0, 0.0, 1.0] {
            quantile_ranks(10, p, 0.95);
        }
    }
}
