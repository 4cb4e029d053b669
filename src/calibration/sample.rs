//! Quantiles with exact order-statistic intervals, and the mean with a bootstrap interval.
//!
//! The interval of a quantile is a pair of values of the sample: ranks `l < u` such that
//! `P(l <= Bin(n, p) < u) >= 95 %`, each tail holding at most 2.5 %. It holds for any distribution of
//! independent values. Where a tail cannot be that small, the end is `None`: so few values bound
//! nothing there.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::model::Estimate;

/// Each tail of a 95 % interval.
const TAIL: f64 = 0.025;
/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;
/// Largest sample that is resampled whole; a longer one has an interval too narrow to matter.
const MOST: usize = 20_000;

/// The value below or at which a share `p` of a sorted sample lies, with its interval.
pub fn quantile(sorted: &[i64], p: f64) -> Option<Estimate> {
    let n = sorted.len();
    let rank = (p * n as f64).ceil().max(1.0) as usize;
    let value_ns = *sorted.get(rank - 1)?;
    let law = Binomial::new(p, n as u64).ok()?;
    // Rank l (from 1) lies above the quantile only if fewer than l values lie below it.
    let lower = (1..=n as u64).take_while(|l| law.cdf(l - 1) <= TAIL).last();
    let upper = (1..=n as u64).find(|u| 1.0 - law.cdf(u - 1) <= TAIL);
    let at = |rank: Option<u64>| rank.and_then(|r| sorted.get(r as usize - 1).copied());
    Some(Estimate { value_ns, lower_ns: at(lower), upper_ns: at(upper) })
}

/// The mean with a percentile-bootstrap interval; `None` for an empty sample. The same sample and
/// seed give the same interval.
pub fn mean(sample: &[i64], seed: u64) -> Option<Estimate> {
    let average = |sum: i128, n: usize| (sum / n.max(1) as i128) as i64;
    let total: i128 = sample.iter().map(|v| i128::from(*v)).sum();
    let n = sample.len();
    if n == 0 {
        return None;
    }
    let value_ns = average(total, n);
    if n < 2 {
        return Some(Estimate { value_ns, lower_ns: None, upper_ns: None });
    }
    let mut draws = ChaCha20Rng::seed_from_u64(seed);
    let of = &sample[..n.min(MOST)];
    let mut means: Vec<i64> = (0..RESAMPLES)
        .map(|_| {
            let pick = |draws: &mut ChaCha20Rng| {
                ((u128::from(draws.next_u64()) * of.len() as u128) >> 64) as usize
            };
            let sum: i128 = (0..of.len()).map(|_| i128::from(of[pick(&mut draws)])).sum();
            average(sum, of.len())
        })
        .collect();
    means.sort_unstable();
    let at = |share: f64| means.get((share * RESAMPLES as f64) as usize).copied();
    Some(Estimate { value_ns, lower_ns: at(TAIL), upper_ns: at(1.0 - TAIL) })
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
        assert_eq!(fewest_by_chance(0, 0.93), 0);
    }
}
