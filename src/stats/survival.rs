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
//! equals 1 - p exactly the quantile is the middle of the stretch, as R has it; a limit that the band
//! never reaches is *not reached*, never the last time seen.

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
        let (s, z) = (self.survival, z_two_sided(confidence));
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
        let mut sorted: Vec<Observation> = observations.to_vec();
        sorted.sort_unstable_by_key(|o| o.time_ns);
        let mut at_risk = sorted.len() as u64;
        let (mut survival, mut greenwood, mut total) = (1.0, 0.0, 0);
        let mut steps = Vec::new();
        for group in sorted.chunk_by(|a, b| a.time_ns == b.time_ns) {
            let events = group.iter().filter(|o| o.event).count() as u64;
            if events > 0 {
                let (n, d) = (at_risk as f64, events as f64);
                survival *= (n - d) / n;
                greenwood += d / (n * (n - d));
                let time_ns = group.first().map_or(0, |o| o.time_ns);
                steps.push(Step { time_ns, at_risk, events, survival, greenwood });
                total += events;
            }
            at_risk -= group.len() as u64;
        }
        Curve { steps, subjects: sorted.len() as u64, events: total }
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

    /// Quantile `p` (0.5 = median) with a Brookmeyer-Crowley interval: the band, inverted.
    pub fn quantile(&self, p: f64, band: Band, confidence: f64) -> Quantile {
        let target = 1.0 - p;
        Quantile {
            estimate: self.crossing(target, |s| Some(s.survival)),
            lower: self.crossing(target, |s| s.band(band, confidence).map(|b| b.0)),
            upper: self.crossing(target, |s| s.band(band, confidence).map(|b| b.1)),
        }
    }

    /// Smallest time at which `height` is at or below the target; the middle of the stretch where it
    /// equals the target exactly.
    fn crossing(&self, target: f64, height: impl Fn(&Step) -> Option<f64>) -> Reach {
        // Products of fractions miss 0.5 by an ulp or two; R allows for the same.
        const FUZZ: f64 = 1e-12;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: f64 = 1e9;

    /// Rows of a CSV under tests/data/survival as (row, value of a named column).
    fn table(
        name: &str,
        time: &str,
        event: (&str, &str),
        keep: Option<(&str, &str)>,
    ) -> Vec<Observation> {
        let path = format!("{}/tests/data/survival/{name}.csv", env!("CARGO_MANIFEST_DIR"));
        let mut reader = csv::Reader::from_path(path).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let column = |name: &str| header.iter().position(|h| h == name).unwrap();
        reader
            .records()
            .map(Result::unwrap)
            .filter(|r| keep.is_none_or(|(name, value)| &r[column(name)] == value))
            .map(|r| Observation {
                time_ns: (r[column(time)].parse::<f64>().unwrap() * UNIT) as u64,
                event: &r[column(event.0)] == event.1,
            })
            .collect()
    }

    fn aml(group: &str) -> Curve {
        Curve::fit(&table("aml", "time", ("status", "1"), Some(("x", group))))
    }

    fn close(actual: f64, golden: f64) {
        assert!((actual - golden).abs() <= 1e-9 * golden.abs().max(1.0), "{actual}, not {golden}");
    }

    fn reach(days: f64) -> Reach {
        if days.is_nan() { Reach::NotReached } else { Reach::At((days * UNIT) as u64) }
    }

    fn quantile(estimate: f64, lower: f64, upper: f64) -> Quantile {
        Quantile { estimate: reach(estimate), lower: reach(lower), upper: reach(upper) }
    }

    #[test]
    fn aml_steps_errors_and_log_log_band_equal_r() {
        let curve = aml("Maintained");
        let golden = [
            (9., 11, 0.9090909091, 0.0866784172, 0.5080802058, 0.9866738227),
            (13., 10, 0.8181818182, 0.1162912998, 0.4474286147, 0.9511622286),
            (18., 8, 0.7159090909, 0.1396649706, 0.3501903859, 0.8990239742),
            (23., 7, 0.6136363636, 0.1526323310, 0.2657520400, 0.8352992433),
            (31., 5, 0.4909090909, 0.1641932672, 0.1673309098, 0.7533997904),
            (34., 4, 0.3681818182, 0.1626688858, 0.0928295749, 0.6570408324),
            (48., 2, 0.1840909091, 0.1534927457, 0.0117384801, 0.5250148427),
        ];
        assert_eq!(curve.steps().len(), golden.len());
        for (step, (t, n, s, se, low, high)) in curve.steps().iter().zip(golden) {
            assert_eq!((step.time_ns, step.at_risk), ((t * UNIT) as u64, n));
            close(step.survival, s);
            close(step.standard_error(), se);
            let band = step.band(Band::LogLog, 0.95).unwrap();
            close(band.0, low);
            close(band.1, high);
        }
        let ends_at_zero = aml("Nonmaintained");
        assert_eq!(ends_at_zero.steps().last().unwrap().band(Band::LogLog, 0.95), None, "R: NA");
    }

    #[test]
    fn quantile_intervals_are_brookmeyer_crowley_as_r_prints_them() {
        let na = f64::NAN;
        for (group, p, band, golden) in [
            ("Maintained", 0.5, Band::LogLog, quantile(31., 13., na)),
            ("Maintained", 0.5, Band::Plain, quantile(31., 18., 48.)),
            ("Maintained", 0.5, Band::Log, quantile(31., 18., na)),
            ("Maintained", 0.25, Band::LogLog, quantile(18., 9., 34.)),
            ("Maintained", 0.75, Band::LogLog, quantile(48., 31., na)),
            ("Maintained", 0.9, Band::LogLog, quantile(na, 34., na)),
            ("Nonmaintained", 0.5, Band::LogLog, quantile(23., 5., 33.)),
            ("Nonmaintained", 0.5, Band::Plain, quantile(23., 8., 33.)),
            ("Nonmaintained", 0.5, Band::Log, quantile(23., 8., na)),
            ("Nonmaintained", 0.75, Band::LogLog, quantile(33., 23., na)),
            ("Nonmaintained", 0.95, Band::LogLog, quantile(45., 33., na)),
        ] {
            assert_eq!(aml(group).quantile(p, band, 0.95), golden, "{group} {p} {band:?}");
        }
    }

    #[test]
    fn lung_quantiles_and_restricted_mean_equal_r() {
        let curve = Curve::fit(&table("lung", "time", ("status", "2"), None));
        assert_eq!((curve.subjects(), curve.events()), (228, 165));
        let step = curve.at((365.0 * UNIT) as u64).unwrap();
        assert!((step.survival - 0.40924162).abs() < 1e-8);
        assert_eq!(curve.quantile(0.5, Band::LogLog, 0.95), quantile(310., 284., 361.));
        assert_eq!(curve.quantile(0.5, Band::Log, 0.95).upper, reach(363.));
        assert_eq!(curve.quantile(0.9, Band::LogLog, 0.95), quantile(735., 687., f64::NAN));
        let (mean, se) = curve.restricted_mean((365.0 * UNIT) as u64);
        close(mean / UNIT, 263.221866482);
        close(se / UNIT, 7.798859086);
    }

    #[test]
    fn a_flat_stretch_at_one_half_gives_its_middle_as_r_does_and_lifelines_does_not() {
        let rows = table("veteran", "time", ("status", "1"), Some(("trt", "2")));
        let median = Curve::fit(&rows).quantile(0.5, Band::LogLog, 0.95);
        assert_eq!(median, quantile(52.5, 43., 90.));
    }

    #[test]
    fn nothing_one_and_all_censored_are_no_numbers() {
        let one = |event| [Observation { time_ns: 5, event }];
        for data in [&[][..], &one(false)] {
            let median = Curve::fit(data).quantile(0.5, Band::LogLog, 0.95);
            assert_eq!(median.estimate, Reach::NotReached);
        }
        let median = Curve::fit(&one(true)).quantile(0.5, Band::LogLog, 0.95);
        assert_eq!((median.estimate, median.upper), (Reach::At(5), Reach::NotReached));
    }

    fn make(rows: &[(u64, bool)]) -> Vec<Observation> {
        rows.iter().map(|(t, e)| Observation { time_ns: *t, event: *e }).collect()
    }

    proptest! {
        #[test]
        fn without_censoring_it_is_the_empirical_distribution(
            times in proptest::collection::vec(0u64..50, 1..80)
        ) {
            let rows: Vec<(u64, bool)> = times.iter().map(|t| (*t, true)).collect();
            let curve = Curve::fit(&make(&rows));
            for t in 0..50 {
                let beyond = times.iter().filter(|x| **x > t).count() as f64 / times.len() as f64;
                let found = curve.at(t).map_or(1.0, |s| s.survival);
                prop_assert!((found - beyond).abs() < 1e-12);
            }
        }

        #[test]
        fn order_does_not_matter_and_the_band_holds_the_estimate(
            mut rows in proptest::collection::vec((0u64..50, any::<bool>()), 0..80)
        ) {
            let before = Curve::fit(&make(&rows));
            for step in before.steps() {
                for band in [Band::Plain, Band::Log, Band::LogLog] {
                    if let Some((low, high)) = step.band(band, 0.95) {
                        prop_assert!(low <= step.survival + 1e-12 && step.survival <= high + 1e-12);
                    }
                }
            }
            rows.reverse();
            prop_assert_eq!(before, Curve::fit(&make(&rows)));
        }
    }
}
