//! Two shares, and several tests at once.
//!
//! - [`newcombe`]: interval for a difference of two independent shares from their Wilson intervals
//!   (Newcombe 1998, method 10). It stays within [-1, 1] and covers well for small n, where the usual
//!   formula does not.
//! - [`fisher`]: two-sided exact test of two shares (Fisher 1935): all tables with the same margins
//!   that are no likelier than the one seen.
//! - [`holm`]: p values that hold together (Holm 1979).

use statrs::function::factorial::ln_binomial;

use super::proportion::wilson;

/// A difference of shares with its interval.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// Second share minus first.
    pub estimate: f64,
    /// Lower limit.
    pub lower: f64,
    /// Upper limit.
    pub upper: f64,
}

/// `second - first`, each x of n. `None` where either has nobody. Where so many subjects count as one
/// ([`super::together`]; 1: each counts) the shares stay, and the interval is as wide as that of fewer.
pub fn newcombe(
    first: (u64, u64),
    second: (u64, u64),
    together: f64,
    confidence: f64,
) -> Option<Difference> {
    if first.1 == 0 || second.1 == 0 || first.0 > first.1 || second.0 > second.1 {
        return None;
    }
    let share = |(x, n): (u64, u64)| x as f64 / n as f64;
    let (p, q) = (share(first), share(second));
    let wilson = |share: f64, n: u64| wilson(share, n as f64 / together.max(1.0), confidence);
    let (a, b) = (wilson(p, first.1), wilson(q, second.1));
    let estimate = q - p;
    Some(Difference {
        estimate,
        lower: estimate - (q - b.lower).hypot(a.upper - p),
        upper: estimate + (b.upper - q).hypot(p - a.lower),
    })
}

/// Two-sided p of equal shares; 1 where either has nobody.
pub fn fisher(first: (u64, u64), second: (u64, u64)) -> f64 {
    let ((x, n), (y, m)) = (first, second);
    if x > n || y > m {
        return f64::NAN;
    }
    let successes = x + y;
    let weight = |k: u64| ln_binomial(n, k) + ln_binomial(m, successes - k);
    let (low, high) = (successes.saturating_sub(m), n.min(successes));
    let seen = weight(x);
    // Relative to the likeliest table, so that nothing underflows.
    let top = (low..=high).map(weight).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut extreme) = (0.0, 0.0);
    for k in low..=high {
        let likelihood = (weight(k) - top).exp();
        total += likelihood;
        if weight(k) <= seen + 1e-7 {
            extreme += likelihood;
        }
    }
    if total > 0.0 { (extreme / total).min(1.0) } else { 1.0 }
}

/// As many subjects as count where so many count as one, at least one, with the nearest share.
pub fn thinned((x, n): (u64, u64), together: f64) -> (u64, u64) {
    if n == 0 || together <= 1.0 {
        return (x, n);
    }
    let fewer = (n as f64 / together).round().max(1.0);
    ((x as f64 / n as f64 * fewer).round() as u64, fewer as u64)
}

/// Adjusted p values in the order given: any below a level holds beside all the others.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max(p[index] * (p.len() - rank) as f64).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newcombe_equals_the_published_examples() {
        // Newcombe 1998, table II, method 10; the published difference is first minus second.
        for (first, second, lower, upper) in [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((10, 10), (0, 10), 0.6075, 1.0),
        ] {
            let found = newcombe(second, first, 1.0, 0.95).unwrap();
            assert!((found.lower - lower).abs() < 6e-5, "{first:?} {second:?}: {found:?}");
            assert!((found.upper - upper).abs() < 6e-5, "{first:?} {second:?}: {found:?}");
        }
        assert_eq!(newcombe((0, 0), (1, 2), 1.0, 0.95), None);
    }

    #[test]
    fn subjects_that_come_together_are_fewer() {
        let (first, second) = ((40, 200), (60, 200));
        let alone = newcombe((10, 50), (15, 50), 1.0, 0.95).unwrap();
        assert_eq!(newcombe(first, second, 4.0, 0.95), Some(alone));
        assert_eq!((thinned(first, 4.0), thinned(second, 4.0)), ((10, 50), (15, 50)));
        assert_eq!((thinned(first, 1.0), thinned((0, 0), 9.0)), (first, (0, 0)));
        assert_eq!(thinned((3, 3), 1e9), (1, 1));
    }

    #[test]
    fn fisher_equals_r() {
        // R: fisher.test(matrix(c(3,1,1,3),2)) 0.4857143; (c(1,11,9,3)) 0.002759456; (c(10,0,0,10)).
        for (first, second, p) in [
            ((3, 4), (1, 4), 0.485_714_285_7),
            ((1, 10), (11, 14), 0.002_759_456_2),
            ((10, 10), (0, 10), 1.082_508_8e-5),
            ((0, 0), (5, 9), 1.0),
        ] {
            assert!((fisher(first, second) - p).abs() < 1e-9, "{}", fisher(first, second));
        }
    }

    #[test]
    fn holm_steps_down() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, golden) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - golden).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_difference_and_turns_with_it(
            (x, n) in (1u64..200).prop_flat_map(|n| (0..=n, Just(n))),
            (y, m) in (1u64..200).prop_flat_map(|n| (0..=n, Just(n)))
        ) {
            let there = newcombe((x, n), (y, m), 1.0, 0.95).unwrap();
            let back = newcombe((y, m), (x, n), 1.0, 0.95).unwrap();
            prop_assert!(there.lower <= there.estimate + 1e-12);
            prop_assert!(there.estimate <= there.upper + 1e-12);
            prop_assert!((there.lower + back.upper).abs() < 1e-12);
            prop_assert!(there.lower >= -1.0 - 1e-12 && there.upper <= 1.0 + 1e-12);
            let p = fisher((x, n), (y, m));
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!((p - fisher((y, m), (x, n))).abs() < 1e-6);
        }
    }
}
