//! Quantiles with exact order-statistic intervals, and the mean with a bootstrap interval.
//!
//! The interval of a quantile is a pair of values of the sample ([`quantile_ranks`]), so it holds for
//! any distribution of independent values. Where a tail cannot be small enough, the end is `None`: so
//! few values bound nothing there.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::model::Estimate;
use crate::stats::bootstrap::{Blocks, RESAMPLES, percentile_interval};
use crate::stats::ranks::quantile_ranks;

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Largest sample that is resampled whole; a longer one has an interval too narrow to matter.
const MOST: usize = 20_000;

/// The value below or at which a share `p` of a sorted sample lies, with its interval.
pub fn quantile(sorted: &[i64], p: f64) -> Option<Estimate> {
    let n = sorted.len();
    let rank = (p * n as f64).ceil().max(1.0) as usize;
    let value_ns = *sorted.get(rank - 1)?;
    let ranks = quantile_ranks(n as u64, p, CONFIDENCE);
    let at = |rank: Option<u64>| rank.and_then(|r| sorted.get(r as usize - 1).copied());
    Some(Estimate { value_ns, lower_ns: at(ranks.lower), upper_ns: at(ranks.upper) })
}

/// The mean with a percentile-bootstrap interval; `None` for an empty sample. The same sample and
/// seed give the same interval.
pub fn mean(sample: &[i64], seed: u64) -> Option<Estimate> {
    let total: i128 = sample.iter().map(|v| i128::from(*v)).sum();
    let value_ns = total.checked_div(sample.len() as i128)? as i64;
    let of = &sample[..sample.len().min(MOST)];
    let single = Blocks::single(of.len());
    let limits = percentile_interval(&single, RESAMPLES, seed, CONFIDENCE, |drawn| {
        let sum: i128 = drawn.iter().map(|index| i128::from(of[*index])).sum();
        Some(sum as f64 / drawn.len() as f64)
    });
    let whole = |end: f64| end.round() as i64;
    Some(Estimate {
        value_ns,
        lower_ns: limits.map(|l| whole(l.lower)),
        upper_ns: limits.map(|l| whole(l.upper)),
    })
}

/// The smallest number of successes among `n` that chance gives more often than once in a thousand.
pub fn fewest_by_chance(n: u64, share: f64) -> u64 {
    match Binomial::new(share, n) {
        Ok(law) => (0..=n).find(|x| law.cdf(*x) > 0.001).unwrap_or(n),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn ranks_are_those_of_the_binomial_tables() {
        // n = 20, median: ranks 6 and 15 (coverage 0.9586), as every table of the sign test has.
        let sorted: Vec<i64> = (1..=20).collect();
        let median = quantile(&sorted, 0.5).unwrap();
        assert_eq!((median.value_ns, median.lower_ns, median.upper_ns), (10, Some(6), Some(15)));
        // The upper end of p99 needs 0.99^n <= 0.025: 368 values, not 367.
        let upper = |n: i64| quantile(&(1..=n).collect::<Vec<_>>(), 0.99).unwrap().upper_ns;
        assert_eq!((upper(367), upper(368)), (None, Some(368)));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(
            quantile(&[7], 0.5),
            Some(Estimate { value_ns: 7, lower_ns: None, upper_ns: None })
        );
    }

    #[test]
    fn order_statistic_intervals_cover_at_least_as_often_as_they_say() {
        let mut draws = ChaCha20Rng::seed_from_u64(3);
        let runs = 2000;
        let covered = (0..runs)
            .filter(|_| {
                let mut sample: Vec<i64> =
                    (0..60).map(|_| (draws.next_u64() >> 32) as i64).collect();
                sample.sort_unstable();
                let found = quantile(&sample, 0.5).unwrap();
                (found.lower_ns.unwrap()..=found.upper_ns.unwrap()).contains(&(1 << 31))
            })
            .count();
        assert!((1880..=1960).contains(&covered), "{covered} of {runs}");
    }

    #[test]
    fn the_mean_of_a_sample_lies_in_its_interval_and_does_not_change() {
        let sample: Vec<i64> = (0..100).map(|n| n * n).collect();
        let found = mean(&sample, 5).unwrap();
        assert_eq!(found.value_ns, 3283);
        assert!(found.lower_ns.unwrap() < 3283 && 3283 < found.upper_ns.unwrap());
        // Standard error 295: about 3283 +- 578.
        assert!((2600..2850).contains(&found.lower_ns.unwrap()), "{found:?}");
        assert_eq!(mean(&sample, 5), mean(&sample, 5));
        assert_eq!(mean(&[], 5), None);
        assert_eq!(mean(&[4], 5).unwrap().lower_ns, None);
    }

    #[test]
    fn chance_has_its_limits() {
        assert_eq!(fewest_by_chance(30, 0.93), 23);
        assert_eq!([22, 110].map(|n| fewest_by_chance(n, 0.95)), [17, 96], "of the usual length");
        assert_eq!(fewest_by_chance(0, 0.93), 0);
    }
}
