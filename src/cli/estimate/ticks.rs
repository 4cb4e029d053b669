//! What a time is counted in. The estimators count whole ticks, so that ties are exact; elsewhere a tick is a
//! nanosecond. Anybody's durations may be fractions of one, or so short that rounding to it shows in the
//! ninth digit: here a tick is a nanosecond or the finest power of ten of it, down to 1e-21 s, in which
//! the longest time still fits.

use super::columns::Unit;
use crate::stats::competing::Ending;
use crate::stats::intervals::Interval;
use crate::stats::survival::Observation;

/// Finest tick: nanoseconds over 10 to this.
const FINEST: u32 = 12;

/// The tick of one input, and the unit in which it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    per_ns: u64,
    unit: Unit,
}

impl Ticks {
    /// The finest in which the largest time is a whole number with a sign to spare, as sums need it.
    pub(super) fn finest(largest_ns: f64, unit: Unit) -> Ticks {
        let fits = |per_ns: &u64| largest_ns * (*per_ns as f64) < i64::MAX as f64;
        let powers = (0..=FINEST).rev().map(|digits| 10u64.pow(digits));
        Ticks { per_ns: powers.clone().find(fits).unwrap_or(1), unit }
    }

    /// The nearest whole number of ticks.
    pub(super) fn of(self, ns: f64) -> u64 {
        (ns * self.per_ns as f64).round() as u64
    }

    /// In whole nanoseconds, rounded.
    pub(super) fn ns(self, ticks: u64) -> u64 {
        (ticks + self.per_ns / 2) / self.per_ns
    }

    /// In nanoseconds and their fractions.
    pub(super) fn part_ns(self, ticks: f64) -> f64 {
        ticks / self.per_ns as f64
    }

    /// In the unit asked for.
    pub(super) fn in_unit(self, ticks: f64) -> f64 {
        ticks / (self.unit.ns() * self.per_ns as f64)
    }

    /// Length of a tick, nanoseconds.
    pub(super) fn length_ns(self) -> f64 {
        1.0 / self.per_ns as f64
    }
}

/// The rows of one group as they were read, in nanoseconds and their fractions.
#[derive(Debug)]
pub(super) enum Raw {
    Times(Vec<(f64, bool)>),
    Intervals(Vec<(f64, Option<f64>)>),
    Endings(Vec<(f64, u32)>),
}

/// The observations of one group, in ticks.
#[derive(Debug)]
pub(super) enum Sample {
    Times(Vec<Observation>),
    Intervals(Vec<Interval>),
    Endings(Vec<Ending>),
}

impl Raw {
    pub(super) fn largest_ns(&self) -> f64 {
        match self {
            Raw::Times(rows) => rows.iter().fold(0.0, |most, row| row.0.max(most)),
            Raw::Intervals(rows) => {
                rows.iter().fold(0.0, |most, row| row.1.unwrap_or(row.0).max(most))
            }
            Raw::Endings(rows) => rows.iter().fold(0.0, |most, row| row.0.max(most)),
        }
    }

    pub(super) fn counted(self, ticks: Ticks) -> Sample {
        let of = |ns: f64| ticks.of(ns);
        match self {
            Raw::Times(rows) => {
                let one = |(time, event)| Observation { time_ns: of(time), event };
                Sample::Times(rows.into_iter().map(one).collect())
            }
            Raw::Intervals(rows) => {
                let one = |(lower, upper): (f64, Option<f64>)| Interval {
                    lower_ns: of(lower),
                    upper_ns: upper.map(of),
                };
                Sample::Intervals(rows.into_iter().map(one).collect())
            }
            Raw::Endings(rows) => {
                let one = |(time, cause)| Ending { time_ns: of(time), cause };
                Sample::Endings(rows.into_iter().map(one).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_as_fine_as_the_longest_time_allows_and_never_coarser_than_a_nanosecond() {
        for (largest_ns, per_ns) in [
            (9.2e18, 1),
            (1e18, 1),
            (9e17, 10),
            (1e11, 10_000_000),
            (1e5, 10u64.pow(12)),
            (0.0, 10u64.pow(12)),
        ] {
            let ticks = Ticks::finest(largest_ns, Unit::S);
            assert_eq!(ticks.per_ns, per_ns, "{largest_ns}");
            assert!(ticks.of(largest_ns) <= i64::MAX as u64);
        }
    }

    #[test]
    fn a_time_comes_back_as_it_was_written() {
        for seconds in [0.3, 1e-7, 12.000_000_000_3, 99.999_999_999_999_9] {
            let ticks = Ticks::finest(100e9, Unit::S);
            let back = ticks.in_unit(ticks.of(seconds * 1e9) as f64);
            assert!((back / seconds - 1.0).abs() <= 2.0 * f64::EPSILON, "{back}, not {seconds}");
        }
        let ticks = Ticks::finest(1e17, Unit::Ns);
        assert_eq!([14, 15, 16].map(|ns| ticks.ns(ns)), [1, 2, 2], "ten to the nanosecond");
        let whole = Ticks::finest(9e18, Unit::Ns);
        assert_eq!(whole.ns(7), 7);
    }
}
