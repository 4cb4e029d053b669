//! Kaplan-Meier, with Greenwood's variance (Kaplan and Meier 1958; Greenwood 1926).
//!
//! At distinct event times `t_i` with `d_i` events among `n_i` at risk (a censoring at `t_i` is still
//! at risk):
//!
//! ```text
//! S(t)  = prod (1 - d_i / n_i)                V = sum d_i / (n_i (n_i - d_i))      se = S sqrt(V)
//! plain   S ± z se, cut to [0, 1]
//! log     S exp(±z sqrt(V)), cut to [0, 1]
//! log-log S^exp(±z sqrt(V) / ln S)            undefined where S is 0 or 1
//! ```
//!
//! Conventions, where the common programs differ: the default band is log-log; on a stretch where S
//! equals 1 - p exactly the quantile is the middle of the stretch, as R has it (`lifelines` takes its
//! left end); where that stretch is the curve's last and has no right end, its left end, as R's
//! `print` has it (R's `quantile` goes half way to the last censoring there); a limit that the band
//! never reaches is *not reached*, never the last time seen; where S is 0 there is no band, as in R.
//! A band may turn back (few subjects, high confidence: 99 % log-log of ten); a limit is then the first
//! time at which it is at or below the target, as R's `print` has it, while R's `quantile` sorts the
//! band by height and names a later time: the first is never the narrower interval's lower end.

use super::ordered::Ordered;
use super::z_two_sided;

/// One subject: how long it was observed, and whether the event came then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Nanoseconds.
    pub time_ns: u64,
    /// True for an event, false for a censoring.
    pub event: bool,
}

/// Which pointwise band.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Band {
    /// Greenwood on S itself.
    Plain,
    /// On ln S: R's default.
    Log,
    /// On ln(-ln S): the default here, because it covers best at high quantiles.
    LogLog,
}

/// The curve after one distinct time at which an event happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// The time, nanoseconds.
    pub time_ns: u64,
    /// Subjects at risk just before it.
    pub at_risk: u64,
    /// Events at it.
    pub events: u64,
    /// Share not yet detected after it.
    pub survival: f64,
    /// Greenwood's sum up to it; infinite where the curve has reached 0.
    pub greenwood: f64,
}

impl Step {
    /// Standard error of the survival; `NaN` where the curve has reached 0.
    pub fn standard_error(&self) -> f64 {
        self.survival * self.greenwood.sqrt()
    }

    /// The band at this step; `None` where it is undefined.
    pub fn band(&self, band: Band, confidence: f64) -> Option<(f64, f64)> {
        self.band_at(band, z_two_sided(confidence))
    }

    fn band_at(&self, band: Band, z: f64) -> Option<(f64, f64)> {
        let s = self.survival;
        if s <= 0.0 || !self.greenwood.is_finite() {
            return None;
        }
        let root = self.greenwood.sqrt();
        let (low, high) = match band {
            Band::Plain => (s - z * s * root, s + z * s * root),
            Band::Log => (s * (-z * root).exp(), s * (z * root).exp()),
            Band::LogLog if s >= 1.0 => return None,
            Band::LogLog => {
                let theta = z * root / s.ln();
                // ln S is negative, so the larger exponent belongs to the lower limit.
                (s.powf((-theta).exp()), s.powf(theta.exp()))
            }
        };
        Some((low.clamp(0.0, 1.0), high.clamp(0.0, 1.0)))
    }
}

/// A limit in time, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Reached at this time, nanoseconds.
    At(u64),
    /// Not reached by the data.
    NotReached,
}

impl Reach {
    /// The time, if there is one.
    pub fn ns(self) -> Option<u64> {
        match self {
            Reach::At(ns) => Some(ns),
            Reach::NotReached => None,
        }
    }
}

/// A quantile of the time with its interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Quantile {
    /// The estimate.
    pub estimate: Reach,
    /// Lower confidence limit.
    pub lower: Reach,
    /// Upper confidence limit.
    pub upper: Reach,
}

/// A Kaplan-Meier curve.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    steps: Vec<Step>,
    subjects: u64,
    events: u64,
}

impl Curve {
    /// Fits the curve: O(n log n).
    pub fn fit(observations: &[Observation]) -> Curve {
        let ordered = Ordered::of(observations);
        let mut walk = ordered.walk();
        let (mut survival, mut greenwood) = (1.0, 0.0);
        // One a distinct event time; growing would copy long curves several times.
        let mut steps = Vec::with_capacity(ordered.events());
        while let Some(time_ns) = walk.next_event() {
            let (at_risk, events) = walk.take(time_ns);
            let (n, d) = (at_risk as f64, events as f64);
            survival *= (n - d) / n;
            greenwood += d / (n * (n - d));
            steps.push(Step { time_ns, at_risk, events, survival, greenwood });
        }
        Curve { steps, subjects: ordered.len() as u64, events: ordered.events() as u64 }
    }

    /// Number of subjects.
    pub fn subjects(&self) -> u64 {
        self.subjects
    }

    /// Number of events.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// One step per distinct event time, ascending.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step in force at a time; `None` before the first event.
    pub fn at(&self, time_ns: u64) -> Option<&Step> {
        let after = self.steps.partition_point(|s| s.time_ns <= time_ns);
        self.steps.get(after.checked_sub(1)?)
    }

    /// Quantile `p` (0.5 = median) without an interval, which costs far more: for resamples.
    pub fn estimate(&self, p: f64) -> Reach {
        self.crossing(1.0 - p, |s| Some(s.survival))
    }

    /// Quantile `p` with a Brookmeyer-Crowley interval: the band, inverted.
    pub fn quantile(&self, p: f64, band: Band, confidence: f64) -> Quantile {
        let (target, z) = (1.0 - p, z_two_sided(confidence));
        Quantile {
            estimate: self.estimate(p),
            lower: self.crossing(target, |s| s.band_at(band, z).map(|b| b.0)),
            upper: self.crossing(target, |s| s.band_at(band, z).map(|b| b.1)),
        }
    }

    /// Smallest time at which `height` is at or below the target; the middle of the stretch where it
    /// equals the target exactly.
    fn crossing(&self, target: f64, height: impl Fn(&Step) -> Option<f64>) -> Reach {
        // Products of fractions miss 0.5 by a few ulps. R's allowance: the root of the machine's epsilon.
        const FUZZ: f64 = 1.490_116_119_384_765_6e-8;
        for (index, step) in self.steps.iter().enumerate() {
            let Some(height) = height(step) else { continue };
            if height > target + FUZZ {
                continue;
            }
            return match self.steps.get(index + 1) {
                Some(next) if (height - target).abs() <= FUZZ => {
                    Reach::At(step.time_ns + (next.time_ns - step.time_ns) / 2)
                }
                _ => Reach::At(step.time_ns),
            };
        }
        Reach::NotReached
    }

    /// Mean time up to `tau`, in nanoseconds, with its standard error (Greenwood plug-in).
    pub fn restricted_mean(&self, tau_ns: u64) -> (f64, f64) {
        let (mut area, mut from, mut height) = (0.0, 0u64, 1.0);
        let mut parts = Vec::new();
        for step in self.steps.iter().take_while(|s| s.time_ns < tau_ns) {
            area += height * (step.time_ns - from) as f64;
            (from, height) = (step.time_ns, step.survival);
            parts.push((step, area));
        }
        area += height * tau_ns.saturating_sub(from) as f64;
        let variance: f64 = parts
            .iter()
            .filter(|(step, _)| step.at_risk > step.events)
            .map(|(step, before)| {
                let (n, d) = (step.at_risk as f64, step.events as f64);
                (area - before).powi(2) * d / (n * (n - d))
            })
            .sum();
        (area, variance.sqrt())
    }
}

#[cfg(test)]
#[path = "survival_tests.rs"]
mod tests;
