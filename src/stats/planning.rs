//! Planning: how many canaries a claim or a comparison needs, before any is sent.
//!
//! - A claim "share `q` within X with confidence c" is carried by n canaries of which m may fail if
//!   P(Bin(n, 1 - q) <= m) <= 1 - c: exact, whatever the distribution ([`canaries_needed`]).
//! - Two groups of equal size are told apart, for a ratio h of their hazards, by
//!   `4 (z(1 - a/2) + z(power))^2 / ln(h)^2` detections (Schoenfeld 1981, log-rank test). Detections,
//!   not canaries: what nobody sees tells nothing about speed.
//! - That B is behind A by more than a margin takes far more than that they differ ([`canaries_beyond`]).
//! - Canaries that one scheduled rule run catches together are one look at that rule: the number of
//!   distinct runs is the effective n ([`distinct_runs`]).
//!
//! Not promised: the Schoenfeld number is an approximation, good for ratios between a third and three.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

use super::bootstrap::Blocks;

/// No more canaries are counted with: about a million.
pub const MOST: u64 = 1 << 20;

/// Fewest canaries that carry "quantile `p` lies below X with this confidence" when at most `misses`
/// of them are late or missed. `None` beyond [`MOST`].
///
/// The smallest n with P(Bin(n, 1 - p) <= misses) <= 1 - confidence.
pub fn canaries_needed(p: f64, confidence: f64, misses: u64) -> Option<u64> {
    let carries =
        |n: u64| Binomial::new(1.0 - p, n).is_ok_and(|b| b.cdf(misses) <= 1.0 - confidence);
    if misses >= MOST || !carries(MOST) {
        return None;
    }
    // As many canaries as may be missed carry nothing.
    let (mut low, mut high) = (misses, MOST);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if carries(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// The most failures with which `n` canaries still carry the claim; `None` when they never do.
pub fn misses_allowed(q: f64, confidence: f64, n: u64) -> Option<u64> {
    let carries = |m: u64| canaries_needed(q, confidence, m).is_some_and(|needed| needed <= n);
    if n == 0 || !carries(0) {
        return None;
    }
    // canaries_needed rises with m, so the last m that carries is found by bisection.
    let (mut low, mut high) = (0, n);
    while low + 1 < high {
        let middle = u64::midpoint(low, high);
        if carries(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// Probability that the claim with (n, m) is carried when the share in time is truly `share`.
pub fn chance(n: u64, m: u64, share: f64) -> f64 {
    if share >= 1.0 {
        return 1.0;
    }
    Binomial::new(1.0 - share, n).map_or(f64::NAN, |b| b.cdf(m))
}

fn z(p: f64) -> f64 {
    Normal::new(0.0, 1.0).map_or(f64::NAN, |normal| normal.inverse_cdf(p))
}

/// Detections in both groups together that tell a hazard ratio from 1 with that power, two-sided at
/// level `alpha`. `None` for a ratio of 1 or one that is no positive number.
pub fn events_needed(ratio: f64, power: f64, alpha: f64) -> Option<u64> {
    let log = ratio.ln();
    if !log.is_finite() || log == 0.0 {
        return None;
    }
    let sum = z(1.0 - alpha / 2.0) + z(power);
    let events = 4.0 * sum * sum / (log * log);
    events.is_finite().then(|| events.ceil() as u64)
}

/// Power of the comparison with that many detections in both groups together.
pub fn power(events: u64, ratio: f64, alpha: f64) -> f64 {
    let shift = (events as f64).sqrt() * ratio.ln().abs() / 2.0;
    Normal::new(0.0, 1.0).map_or(f64::NAN, |normal| normal.cdf(shift - z(1.0 - alpha / 2.0)))
}

/// The smallest ratio above 1 that so many detections would show with that power, where a
/// difference counts from `critical` standard errors on (1.96 for the usual test).
pub fn detectable_ratio(events: u64, power: f64, critical: f64) -> Option<f64> {
    (events > 0).then(|| (2.0 * (critical + z(power)) / (events as f64).sqrt()).exp())
}

/// Canaries per group for that many detections in two groups of equal size, of which these shares
/// are ever detected. `None` when nobody is.
pub fn canaries_per_group(events: u64, shares: (f64, f64)) -> Option<u64> {
    let sum = shares.0 + shares.1;
    (sum > 0.0).then(|| (events as f64 / sum).ceil() as u64)
}

/// Canaries in each of two groups of equal size, all followed, with which the interval of their ratio of medians
/// lies beyond `margin` with that power, if it is truly `ratio` and times are exponential: what `dwell compare`
/// asks for before it calls anything slower. Where no more than half are ever detected, of the quantile that
/// it takes in the median's place. `None` where the ratio is not above the margin, or too few are detected.
///
/// The logarithm of a sample's quantile `p` has the error `sqrt(p (1 - p) / n) / (t f(t))`; of those detected,
/// a share `d` of all, times are exponential, so that `t f(t) = (d - p) ln(d / (d - p))`.
pub fn canaries_beyond(
    (ratio, margin): (f64, f64),
    (power, alpha): (f64, f64),
    detected: f64,
) -> Option<u64> {
    let p = [0.5, 0.25, 0.1].into_iter().find(|p| *p < detected)?;
    let beyond = (ratio / margin).ln();
    let slope = (detected - p) * (detected / (detected - p)).ln();
    let error = (p * (1.0 - p)).sqrt() / slope;
    let sum = z(1.0 - alpha / 2.0) + z(power);
    let n = 2.0 * (sum * error / beyond).powi(2);
    (beyond > 0.0 && n.is_finite()).then(|| n.ceil() as u64)
}

/// Number of different periods that the instants fall into, counted from the first of them, as a claim
/// counts its batches: when a rule runs within its period a plan cannot know.
pub fn distinct_runs(instants_ns: &[i64], period_ns: u64) -> u64 {
    Blocks::by_time(instants_ns, period_ns).len() as u64
}

/// Instants whose alert a suppression of that length would swallow: those that follow the last alert
/// which was let through by less. Instants in ascending order.
pub fn swallowed(instants_ns: &[i64], suppression_ns: u64) -> u64 {
    let mut through: Option<i64> = None;
    let mut lost = 0;
    for at in instants_ns {
        match through {
            Some(last) if at.saturating_sub(last).unsigned_abs() < suppression_ns => lost += 1,
            _ => through = Some(*at),
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schoenfeld_gives_the_published_numbers() {
        for (ratio, events) in [(1.2, 945), (1.5, 191), (2.0, 66), (3.0, 27)] {
            assert_eq!(events_needed(ratio, 0.8, 0.05), Some(events), "{ratio}");
            assert_eq!(events_needed(1.0 / ratio, 0.8, 0.05), Some(events), "1/{ratio}");
            assert!(power(events, ratio, 0.05) >= 0.8 && power(events - 2, ratio, 0.05) < 0.8);
        }
        for nonsense in [1.0, 0.0, -2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(events_needed(nonsense, 0.8, 0.05), None);
        }
    }

    #[test]
    fn the_planning_table_is_reproduced_whole() {
        let table: [(f64, f64, [u64; 6]); 10] = [
            (0.5, 0.95, [5, 8, 11, 13, 16, 18]),
            (0.9, 0.90, [22, 38, 52, 65, 78, 91]),
            (0.9, 0.95, [29, 46, 61, 76, 89, 103]),
            (0.9, 0.99, [44, 64, 81, 97, 113, 127]),
            (0.95, 0.95, [59, 93, 124, 153, 181, 208]),
            (0.95, 0.90, [45, 77, 105, 132, 158, 184]),
            (0.95, 0.99, [90, 130, 165, 198, 229, 259]),
            (0.99, 0.95, [299, 473, 628, 773, 913, 1049]),
            (0.99, 0.90, [230, 388, 531, 667, 798, 926]),
            (0.99, 0.99, [459, 662, 838, 1001, 1157, 1307]),
        ];
        for (q, confidence, row) in table {
            for (m, n) in (0u64..).zip(row) {
                assert_eq!(canaries_needed(q, confidence, m), Some(n), "{q} {confidence} {m}");
                assert_eq!(misses_allowed(q, confidence, n), Some(m), "{q} {confidence} {n}");
                let fewer = misses_allowed(q, confidence, n - 1);
                assert_eq!(fewer, m.checked_sub(1), "{q} {confidence} {n} - 1");
            }
        }
    }

    #[test]
    fn numbers_beyond_a_million_are_refused_and_smaller_ones_are_not() {
        for misses in [MOST, u64::MAX - 1, u64::MAX] {
            assert_eq!(canaries_needed(0.95, 0.95, misses), None);
        }
        // Two in three may be late, and more than half a million are.
        let n = canaries_needed(1.0 / 3.0, 0.95, 600_000).unwrap();
        assert!(n > 900_000 && chance(n, 600_000, 1.0 / 3.0) <= 0.05, "{n}");
        assert!(chance(n - 1, 600_000, 1.0 / 3.0) > 0.05);
    }

    #[test]
    fn the_chance_is_that_of_the_binomial() {
        assert!((chance(59, 0, 0.95) - 0.0484945252494231).abs() < 1e-12);
        assert!((chance(93, 1, 0.95) - 0.04997579524).abs() < 1e-10);
        assert_eq!(chance(59, 0, 1.0), 1.0);
    }

    #[test]
    fn runs_and_suppression_are_counted_on_the_instants() {
        let at = [0, 10, 299, 300, 900, 905, 1_000];
        assert_eq!(distinct_runs(&at, 300), 3);
        assert_eq!(distinct_runs(&at, 0), 7);
        assert_eq!(distinct_runs(&at.map(|at| at + 299), 300), 3, "whenever the first one leaves");
        // 0 passes; 10 and 299 are swallowed by it; 300 passes; 900 passes; the rest is swallowed.
        assert_eq!(swallowed(&at, 300), 4);
        assert_eq!(swallowed(&at, 0), 0);
        assert_eq!(canaries_per_group(66, (1.0, 0.65)), Some(40));
        assert_eq!(canaries_per_group(66, (0.0, 0.0)), None);
    }

    #[test]
    fn beyond_a_margin_it_takes_several_times_as_many() {
        // By hand: error 0.5 / (0.5 ln 2) = 1.4427; 2 (2.8016 · 1.4427 / ln 1.6)² = 147.9.
        for (ratio, n) in
            [(1.2, None), (1.25, None), (1.5, Some(983)), (2.0, Some(148)), (3.0, Some(43))]
        {
            assert_eq!(canaries_beyond((ratio, 1.25), (0.8, 0.05), 1.0), n, "{ratio}");
        }
        assert_eq!(canaries_beyond((2.0, 1.25), (0.8, 0.05), 0.8), Some(206));
        let few = canaries_beyond((2.0, 1.25), (0.8, 0.05), 0.4).unwrap();
        assert!(few > 206, "p25 of 40 % detected: {few}");
        assert_eq!(canaries_beyond((2.0, 1.25), (0.8, 0.05), 0.1), None);
    }

    proptest! {
        #[test]
        fn more_detections_see_smaller_changes(events in 1u64..10_000) {
            let ratio = detectable_ratio(events, 0.8, 1.96).unwrap();
            prop_assert!(ratio > detectable_ratio(events + 1, 0.8, 1.96).unwrap());
            let needed = events_needed(ratio, 0.8, 0.05).unwrap();
            prop_assert!(needed.abs_diff(events) <= 1, "{needed} {events}");
        }

        #[test]
        fn what_is_not_swallowed_stands_apart(
            mut at in proptest::collection::vec(0i64..100_000, 0..60), span in 1u64..5_000
        ) {
            at.sort_unstable();
            let passed = at.len() as u64 - swallowed(&at, span);
            prop_assert!(passed <= distinct_runs(&at, span) * 2);
            prop_assert!(at.is_empty() || passed >= 1);
        }
    }
}
