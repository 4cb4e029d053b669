//! Shares with intervals.
//!
//! Wilson 1927 for showing: near its nominal coverage on average, shorter than the exact interval.
//! Clopper and Pearson 1934: the limits are quantiles of beta distributions, and the coverage is
//! guaranteed, which is why every claim rests on them.

use statrs::distribution::{Beta, ContinuousCDF};

use super::z_two_sided;

/// An interval for a share, both ends between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct ShareInterval {
    /// Lower confidence limit.
    pub lower: f64,
    /// Upper confidence limit.
    pub upper: f64,
}

/// Two-sided Clopper-Pearson interval for `x` of `n`; the whole of `[0, 1]` for `n = 0`.
pub fn clopper_pearson(x: u64, n: u64, confidence: f64) -> ShareInterval {
    let half = (1.0 - confidence) / 2.0;
    ShareInterval { lower: exact_lower(x, n, half), upper: exact_upper(x, n, half) }
}

/// Two-sided Wilson score interval of a share among `n`, which need not be whole: as many as count. The
/// whole of `[0, 1]` for `n = 0`.
pub fn wilson(share: f64, n: f64, confidence: f64) -> ShareInterval {
    if n <= 0.0 {
        return ShareInterval { lower: 0.0, upper: 1.0 };
    }
    let z = z_two_sided(confidence);
    let squared = z * z;
    let middle = share + squared / (2.0 * n);
    let half = z * (share * (1.0 - share) / n + squared / (4.0 * n * n)).max(0.0).sqrt();
    let scale = 1.0 + squared / n;
    ShareInterval {
        // At the ends the difference is 0 or 1 but for rounding.
        lower: if share <= 0.0 { 0.0 } else { ((middle - half) / scale).max(0.0) },
        upper: if share >= 1.0 { 1.0 } else { ((middle + half) / scale).min(1.0) },
    }
}

/// One-sided lower limit: with this confidence the share is at least this.
pub fn lower_limit(x: u64, n: u64, confidence: f64) -> f64 {
    exact_lower(x, n, 1.0 - confidence)
}

/// One-sided upper limit: with this confidence the share is at most this.
pub fn upper_limit(x: u64, n: u64, confidence: f64) -> f64 {
    exact_upper(x, n, 1.0 - confidence)
}

fn exact_lower(x: u64, n: u64, tail: f64) -> f64 {
    if x == 0 || n == 0 {
        return 0.0;
    }
    beta_quantile(tail, x as f64, n.saturating_sub(x) as f64 + 1.0).unwrap_or(0.0)
}

fn exact_upper(x: u64, n: u64, tail: f64) -> f64 {
    if x >= n {
        return 1.0;
    }
    beta_quantile(1.0 - tail, x as f64 + 1.0, (n - x) as f64).unwrap_or(1.0)
}

/// Quantile of a beta distribution by bisection on its distribution function: it does not depend on
/// how well a library inverts it.
fn beta_quantile(p: f64, a: f64, b: f64) -> Option<f64> {
    let beta = Beta::new(a, b).ok()?;
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if beta.cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, golden: f64) {
        assert!((actual - golden).abs() < 1e-10, "{actual} is not {golden}");
    }

    #[test]
    fn wilson_and_clopper_pearson_equal_statsmodels_to_ten_digits() {
        for (x, n, wilson_limits, low, high, one_sided) in [
            (0, 10, (0.0, 0.2775327999), 0.0, 0.3084971078, 0.2588655509),
            (0, 59, (0.0, 0.0611293705), 0.0, 0.0606089010, 0.0495076099),
            (0, 100, (0.0, 0.0369934982), 0.0, 0.0362166926, 0.0295130496),
            (0, 300, (0.0, 0.0126429712), 0.0, 0.0122209747, 0.0099360819),
            (1, 93, (0.0019006420, 0.0584191724), 0.0002721974, 0.0584581645, 0.0499939784),
            (3, 20, (0.0523687459, 0.3604188647), 0.0320709372, 0.3789268265, 0.3436638043),
            (5, 100, (0.0215436792, 0.1117504692), 0.0164318792, 0.1128349111, 0.1022533776),
            (57, 59, (0.8845642925, 0.9906540909), 0.8828515361, 0.9958680670, 0.9939436104),
            (95, 100, (0.8882495308, 0.9784563208), 0.8871650889, 0.9835681208, 0.9800944363),
        ] {
            let shown = wilson(x as f64 / n as f64, n as f64, 0.95);
            let exact = clopper_pearson(x, n, 0.95);
            close(shown.lower, wilson_limits.0);
            close(shown.upper, wilson_limits.1);
            close(exact.lower, low);
            close(exact.upper, high);
            close(upper_limit(x, n, 0.95), one_sided);
        }
        assert_eq!(wilson(0.0, 0.0, 0.95), ShareInterval { lower: 0.0, upper: 1.0 });
        assert_eq!(wilson(1.0, 7.0, 0.95).upper, 1.0);
        assert_eq!(clopper_pearson(0, 0, 0.95), ShareInterval { lower: 0.0, upper: 1.0 });
        close(lower_limit(59, 59, 0.95), 1.0 - 0.0495076099);
    }
}
