//! What is planted: lines, each a detector process with its own outlets and watchers, and scenarios,
//! each a route on one line. Data alone; `cli::calibrate` turns it into configurations.

use crate::detector::{Delay, Span};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// Time from one look of a polling watcher to the next.
pub const POLL_MS: u64 = 250;
/// Deadline of every expectation but those of polls on the faulty line.
pub const DEADLINE_MS: u64 = 6_000;
/// Deadline of polled expectations while the search fails: shorter than the outage, so that
/// intervals straddle it.
pub const FAULTY_POLL_DEADLINE_MS: u64 = 2_000;
/// How long the outage lasts.
pub const OUTAGE_MS: u64 = 3_000;
/// Canaries of one interval whose coverage is counted.
pub const BATCH: usize = 20;

/// A detector process with a file outlet, a webhook outlet and a search API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Line {
    /// Nothing is wrong with it.
    Plain,
    /// Its outlets send half of the alerts twice.
    Doubled,
    /// Its clock is five minutes ahead.
    Skewed,
    /// Its rules and its search stop for a while.
    Faulty,
}

impl Line {
    /// All of them.
    pub const ALL: [Line; 4] = [Line::Plain, Line::Doubled, Line::Skewed, Line::Faulty];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Line::Plain => "plain",
            Line::Doubled => "doubled",
            Line::Skewed => "skewed",
            Line::Faulty => "faulty",
        }
    }

    /// Name of its watcher of a kind; an outlet has the name of the watcher that it feeds.
    pub fn watcher(self, kind: &str) -> String {
        format!("{kind}-{}", self.name())
    }

    /// Probability that an alert leaves twice.
    pub fn duplicates(self) -> f64 {
        if self == Line::Doubled { 0.5 } else { 0.0 }
    }

    /// How far its clock is ahead.
    pub fn ahead_ms(self) -> i64 {
        if self == Line::Skewed { 300_000 } else { 0 }
    }
}

/// One route.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scenario {
    /// Its name: the route's, the source's and the rule's.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// Where it runs.
    pub line: Line,
    /// From the record to its being searchable.
    pub delay: Delay,
    /// Share of records that never arrive.
    pub loss: f64,
    /// Period of the rule, milliseconds.
    pub every_ms: u64,
    /// How far back the rule looks, milliseconds.
    pub lookback_ms: u64,
    /// Canaries, as a share of a full scenario's.
    pub part: f64,
    /// Quantiles whose intervals are held against the planted law.
    pub quantiles: &'static [f64],
}

const fn fixed(ms: u64) -> Delay {
    Delay::Fixed { by: Span::from_ns(ms * MS) }
}

/// Part of the scenarios whose intervals are counted: the more batches, the narrower what chance allows.
const COUNTED: f64 = 2.0;
const SLOW: Delay = Delay::Lognormal { median: Span::from_ns(600 * MS), sigma: 0.5 };

const BASE: Scenario = Scenario {
    name: "at-once",
    shows: "no delay",
    line: Line::Plain,
    delay: fixed(0),
    loss: 0.0,
    every_ms: 200,
    lookback_ms: 10_000,
    part: 1.0,
    quantiles: &[],
};

/// All scenarios.
pub const SCENARIOS: [Scenario; 10] = [
    BASE,
    Scenario { name: "one-second", shows: "one second of delay", delay: fixed(1_000), ..BASE },
    Scenario {
        name: "loss-0",
        shows: "lognormal delay, nothing lost",
        delay: SLOW,
        quantiles: &[0.5],
        part: COUNTED,
        ..BASE
    },
    Scenario {
        name: "loss-10",
        shows: "lognormal delay, 10 % lost",
        delay: SLOW,
        loss: 0.1,
        quantiles: &[0.5],
        part: COUNTED,
        ..BASE
    },
    Scenario {
        name: "loss-50",
        shows: "lognormal delay, 50 % lost",
        delay: SLOW,
        loss: 0.5,
        quantiles: &[0.25, 0.5],
        part: COUNTED,
        ..BASE
    },
    Scenario {
        name: "phase-locked",
        shows: "a rule that runs every 2 s",
        every_ms: 2_000,
        quantiles: &[0.5],
        part: COUNTED,
        ..BASE
    },
    Scenario {
        name: "duplicates",
        shows: "half of the alerts leave twice",
        line: Line::Doubled,
        part: 0.5,
        ..BASE
    },
    Scenario {
        name: "skew",
        shows: "the product's clock is 5 min ahead",
        line: Line::Skewed,
        part: 0.5,
        ..BASE
    },
    Scenario {
        name: "caught-up",
        shows: "an outage that the rule looks back over",
        line: Line::Faulty,
        part: 0.5,
        ..BASE
    },
    Scenario {
        name: "overslept",
        shows: "an outage longer than the rule looks back",
        line: Line::Faulty,
        lookback_ms: 500,
        part: 0.5,
        ..BASE
    },
];

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// About 20 s.
    Quick,
    /// About a minute.
    Default,
    /// About five minutes.
    Long,
}

impl Length {
    /// As it is spelled.
    pub fn name(self) -> &'static str {
        match self {
            Length::Quick => "quick",
            Length::Default => "default",
            Length::Long => "long",
        }
    }

    /// Seconds in which canaries are injected.
    pub fn window_s(self) -> u64 {
        match self {
            Length::Quick => 9,
            Length::Default => 55,
            Length::Long => 270,
        }
    }

    /// Canaries of a full scenario.
    pub fn count(self) -> u32 {
        match self {
            Length::Quick => 40,
            Length::Default => 220,
            Length::Long => 1_100,
        }
    }

    /// When the outage begins, after the detector's start.
    pub fn outage_ms(self) -> u64 {
        // A campaign begins one to two seconds after the detectors.
        self.window_s() * 400 + 1_500
    }
}

impl Scenario {
    /// Canaries of this scenario.
    pub fn count(&self, length: Length) -> u32 {
        (f64::from(length.count()) * self.part) as u32
    }

    /// The planted quantile of the time to detect over *all* canaries, lost ones included,
    /// nanoseconds: ingest delay plus a uniform wait for the rule. `None`: never reached.
    pub fn planted_ns(&self, p: f64) -> Option<u64> {
        let seen = 1.0 - self.loss;
        // At p = seen the quantile is approached and never reached.
        if p >= seen - 1e-9 {
            return None;
        }
        let (mut low, mut high) = (0.0_f64, 3.6e12_f64);
        for _ in 0..80 {
            let middle = f64::midpoint(low, high);
            if seen * self.detected_by(middle) < p { low = middle } else { high = middle }
        }
        Some(high as u64)
    }

    /// P(delay + wait <= t), the wait uniform over one period: Simpson's rule.
    fn detected_by(&self, ns: f64) -> f64 {
        const PARTS: usize = 200;
        let every = (self.every_ms * MS) as f64;
        if let Delay::Fixed { by } = self.delay {
            return ((ns - by.ns() as f64) / every).clamp(0.0, 1.0);
        }
        let sum: f64 = (0..=PARTS)
            .map(|i| {
                let weight = match i {
                    0 | PARTS => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * below(&self.delay, ns - every * i as f64 / PARTS as f64)
            })
            .sum();
        sum / (3.0 * PARTS as f64)
    }
}

/// Distribution function of a delay.
fn below(delay: &Delay, ns: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    if ns <= 0.0 {
        return 0.0;
    }
    match delay {
        Delay::Fixed { by } => f64::from(u8::from(ns >= by.ns() as f64)),
        Delay::Uniform { from, to } => {
            let wide = (to.ns().saturating_sub(from.ns())).max(1) as f64;
            ((ns - from.ns() as f64) / wide).clamp(0.0, 1.0)
        }
        Delay::Lognormal { median, sigma } => {
            let z = (ns / median.ns() as f64).ln() / sigma;
            Normal::new(0.0, 1.0).map_or(f64::NAN, |normal| normal.cdf(z))
        }
        Delay::Exponential { mean } => 1.0 - (-ns / mean.ns() as f64).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::Draws;

    #[test]
    fn planted_quantiles_are_those_of_a_simulation() {
        for scenario in SCENARIOS.iter().filter(|s| !s.quantiles.is_empty()) {
            let mut draws = Draws::new(11, scenario.name);
            let mut times: Vec<f64> = (0..200_000)
                .map(|_| match draws.chance(scenario.loss) {
                    true => f64::INFINITY,
                    false => {
                        draws.delay(&scenario.delay) as f64
                            + draws.unit() * (scenario.every_ms * MS) as f64
                    }
                })
                .collect();
            times.sort_by(f64::total_cmp);
            for p in scenario.quantiles {
                let simulated = times[(p * times.len() as f64) as usize];
                match scenario.planted_ns(*p) {
                    Some(ns) => assert!(
                        (ns as f64 / simulated - 1.0).abs() < 0.01,
                        "{} p{p}: {ns} against {simulated}",
                        scenario.name
                    ),
                    None => assert_eq!((scenario.loss, *p), (0.5, 0.5)),
                }
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
