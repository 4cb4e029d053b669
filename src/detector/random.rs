//! Delays and chances, drawn from ChaCha streams: the same seed and name give the same draws with
//! any version of this program.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settings::Span;

/// A stream of draws.
#[derive(Debug)]
pub struct Draws {
    stream: ChaCha20Rng,
}

impl Draws {
    /// The stream of this seed and name.
    pub fn new(seed: u64, name: &str) -> Draws {
        let mut key = Sha256::new();
        key.update(b"reference detector\0");
        key.update(seed.to_le_bytes());
        key.update(name.as_bytes());
        Draws { stream: ChaCha20Rng::from_seed(key.finalize().into()) }
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a double holds.
        (self.stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability. Always takes one draw, so that settings do not shift the stream.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A delay in nanoseconds. Always takes two draws.
    pub fn delay(&mut self, delay: &Delay) -> u64 {
        // (0, 1]: the logarithm below must stay finite.
        let first = 1.0 - self.unit();
        let second = self.unit();
        let ns = match delay {
            Delay::Fixed { by } => by.ns() as f64,
            Delay::Uniform { from, to } => {
                let (from, to) = (from.ns() as f64, to.ns() as f64);
                from + (to - from) * second
            }
            Delay::Lognormal { median, sigma } => {
                let normal = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
                median.ns() as f64 * (sigma * normal).exp()
            }
            Delay::Exponential { mean } => mean.ns() as f64 * -first.ln(),
        };
        // Saturates: a float beyond the range becomes the largest or the smallest number.
        ns as u64
    }
}

/// How long something takes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// The delay.
        by: Span,
    },
    /// Uniform between two bounds.
    Uniform {
        /// Least.
        from: Span,
        /// Most.
        to: Span,
    },
    /// Lognormal: a long tail, as ingestion queues have.
    Lognormal {
        /// Half take less.
        median: Span,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: Span,
    },
}

impl Default for Delay {
    fn default() -> Delay {
        Delay::Fixed { by: Span::ZERO }
    }
}

impl Delay {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        match self {
            Delay::Uniform { from, to } if from > to => {
                Some(format!("from {from} lies above to {to}; swap them"))
            }
            Delay::Lognormal { sigma, .. } if !(0.0..=5.0).contains(sigma) => {
                Some(format!("sigma {sigma} is not between 0 and 5"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Span {
        Span::from_ns(ms * 1_000_000)
    }

    fn sample(delay: &Delay) -> Vec<f64> {
        let mut draws = Draws::new(7, "sample");
        let mut all: Vec<f64> = (0..20_000).map(|_| draws.delay(delay) as f64 / 1e6).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Largest distance between the sample and the distribution (Kolmogorov); for n = 20,000 the
    /// 99.9 % critical value is 1.95 / sqrt(n) = 0.0138.
    fn distance(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
        let n = sample.len() as f64;
        sample
            .iter()
            .enumerate()
            .map(|(i, x)| (cdf(*x) - i as f64 / n).abs().max((cdf(*x) - (i + 1) as f64 / n).abs()))
            .fold(0.0, f64::max)
    }

    #[test]
    fn delays_have_the_distribution_that_was_set() {
        use statrs::distribution::{ContinuousCDF, Exp, LogNormal, Uniform};
        let uniform = sample(&Delay::Uniform { from: ms(10), to: ms(50) });
        let law = Uniform::new(10.0, 50.0).unwrap();
        assert!(distance(&uniform, |x| law.cdf(x)) < 0.0138);
        let lognormal = sample(&Delay::Lognormal { median: ms(30), sigma: 0.8 });
        let law = LogNormal::new(30.0_f64.ln(), 0.8).unwrap();
        assert!(distance(&lognormal, |x| law.cdf(x)) < 0.0138);
        // The test can fail: a slightly wrong law is told apart.
        let wrong = LogNormal::new(32.0_f64.ln(), 0.8).unwrap();
        assert!(distance(&lognormal, |x| wrong.cdf(x)) > 0.0138);
        let exponential = sample(&Delay::Exponential { mean: ms(20) });
        let law = Exp::new(1.0 / 20.0).unwrap();
        assert!(distance(&exponential, |x| law.cdf(x)) < 0.0138);
        assert!(sample(&Delay::Fixed { by: ms(5) }).iter().all(|x| *x == 5.0));
    }

    #[test]
    fn a_stream_belongs_to_its_seed_and_name() {
        let draw = |seed, name| Draws::new(seed, name).stream.next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }
}
