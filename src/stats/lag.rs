//! Is the second sample behind the first anywhere in time? For "no worse", one ratio is not enough: a median does
//! not see what happens after it, a restricted mean hardly sees the few that are ever detected, and a log-rank
//! test sums up to nothing where those come late but do come.
//!
//! It does not take that test's place ([`super::logrank`]), which sums over all times and finds a constant
//! ratio best: a comparison calls slower what either of them holds for, and "no worse" only what this
//! one does not.
//!
//! Two tests of the largest lead of the first sample, both one-sided; the smaller p counts, twice:
//!
//! - of shares: the largest difference of the Kaplan-Meier curves, with the one-sided limit of Smirnov,
//!   `exp(-2 D² nm / (n + m))`. It sees where the bulk of the times lies;
//! - of events: the largest value on the way of the log-rank sum, over its final error, with the limit of
//!   Rényi's test, `2 (1 - Phi(z))` (Gill 1980; Fleming, O'Fallon, O'Brien and Harrington 1980). It sees few
//!   events among many that never come.
//!
//! From each the lead at the end is taken off, if there is one: who never comes at all is a matter of shares,
//! which have a margin of their own. Only the time is looked at until which nine of ten on each side were
//! followed. Both limits are those of independent subjects.

use statrs::distribution::{ContinuousCDF, Normal};

use super::ordered::{Ordered, Walk};
use super::survival::{Curve, Observation};

/// The larger this share of censored ones, the less is the curve one of the whole sample.
const CENSORED: f64 = 0.1;

/// The largest lead of the first sample.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Lag {
    /// Largest difference of the shares detected, first less second, beyond that at the end.
    pub share: f64,
    /// How probable so large a lead is if there is none: of two one-sided tests, of shares and of events
    /// (Smirnov, Renyi), Bonferroni.
    pub p: f64,
}

/// `None` where a side has nobody, or no event is seen while both are followed.
pub fn lag(first: &[Observation], second: &[Observation]) -> Option<Lag> {
    let until = followed(first)?.min(followed(second)?);
    let cut = |side: &[Observation]| -> Vec<Observation> {
        side.iter()
            .map(|o| match o.time_ns > until {
                true => Observation { time_ns: until, event: false },
                false => *o,
            })
            .collect()
    };
    let (first, second) = (cut(first), cut(second));
    let (share, p_shares) = by_shares(&first, &second);
    let p_events = by_events(&first, &second)?;
    Some(Lag { share, p: (2.0 * p_shares.min(p_events)).min(1.0) })
}

/// The time until which few were censored; without end where few are at all.
fn followed(side: &[Observation]) -> Option<u64> {
    let mut censored: Vec<u64> = side.iter().filter(|o| !o.event).map(|o| o.time_ns).collect();
    censored.sort_unstable();
    let spared = (side.len() as f64 * CENSORED) as usize;
    (!side.is_empty()).then(|| censored.get(spared).copied().unwrap_or(u64::MAX))
}

fn by_shares(first: &[Observation], second: &[Observation]) -> (f64, f64) {
    let (a, b) = (Curve::fit(first), Curve::fit(second));
    let undetected = |curve: &Curve, time: u64| curve.at(time).map_or(1.0, |step| step.survival);
    let lead = |time: u64| undetected(&b, time) - undetected(&a, time);
    let largest = a.steps().iter().map(|step| lead(step.time_ns)).fold(0.0, f64::max);
    let share = (largest - lead(u64::MAX).max(0.0)).max(0.0);
    let (n, m) = (first.len() as f64, second.len() as f64);
    (share, (-2.0 * share * share * n * m / (n + m)).exp())
}

fn by_events(first: &[Observation], second: &[Observation]) -> Option<f64> {
    let ordered = [Ordered::of(first), Ordered::of(second)];
    let [mut a, mut b] = [ordered[0].walk(), ordered[1].walk()];
    let (mut lead, mut largest, mut variance) = (0.0, 0.0f64, 0.0);
    while let Some(time_ns) = [&a, &b].into_iter().filter_map(Walk::next_event).min() {
        let ((n, d), (m, e)) = (a.take(time_ns), b.take(time_ns));
        let (at_risk, events) = ((n + m) as f64, (d + e) as f64);
        let expected = m as f64 * events / at_risk;
        lead += expected - e as f64;
        largest = largest.max(lead);
        if at_risk > 1.0 {
            variance += expected * (at_risk - events) / (at_risk - 1.0) * n as f64 / at_risk;
        }
    }
    let z = (largest - lead.max(0.0)).max(0.0) / variance.sqrt();
    let normal = Normal::new(0.0, 1.0).ok().filter(|_| variance > 0.0)?;
    Some((2.0 * normal.sf(z)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(times: &[(usize, u64)], never: usize) -> Vec<Observation> {
        let seen =
            |(n, time_ns): &(usize, u64)| vec![Observation { time_ns: *time_ns, event: true }; *n];
        let mut all: Vec<Observation> = times.iter().flat_map(seen).collect();
        all.extend(vec![Observation { time_ns: 1_000, event: false }; never]);
        all
    }

    #[test]
    fn the_largest_lead_by_hand() {
        // Half of ten are seen, at 1 and at 9: D = 1/2, exp(-2 · 1/4 · 5); and on the way 2.5 of a variance
        // 5 · 15 / 19 · 1/4 + 5 · 10 · 10 · 5 / (15² · 14).
        let found = lag(&side(&[(5, 1)], 5), &side(&[(5, 9)], 5)).unwrap();
        assert_eq!(found.share, 0.5);
        let variance: f64 = 75.0 / 76.0 + 2_500.0 / 3_150.0;
        let lead = 2.5 + 10.0 / 3.0 - 5.0;
        let z = (2.5 - lead) / variance.sqrt();
        let events = 2.0 * Normal::new(0.0, 1.0).unwrap().sf(z);
        let shares = (-2.5f64).exp();
        assert!((found.p - 2.0 * shares.min(events)).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn late_is_seen_in_the_bulk_in_the_tail_and_among_few() {
        let p = |a: &[(usize, u64)], b: &[(usize, u64)], never| {
            lag(&side(a, never), &side(b, never)).unwrap().p
        };
        assert!(p(&[(100, 5)], &[(100, 280)], 150) < 1e-6);
        assert!(p(&[(60, 2), (40, 3)], &[(60, 2), (40, 9)], 0) < 1e-6, "after the median");
        assert!(p(&[(30, 1)], &[(30, 9)], 400) < 0.01, "few events among many");
        // The other way round there is no lead, and who does not come at all is none.
        assert_eq!(p(&[(100, 280)], &[(100, 5)], 150), 1.0);
        let fewer = lag(&side(&[(60, 5)], 40), &side(&[(40, 5)], 60)).unwrap();
        assert_eq!((fewer.share, fewer.p), (0.0, 1.0));
        assert_eq!(lag(&[], &side(&[(9, 1)], 0)), None);
        assert_eq!(lag(&side(&[], 5), &side(&[], 5)), None, "no event");
    }

    #[test]
    fn alike_are_seldom_behind() {
        let mut state = 3u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut sample = || -> Vec<Observation> {
            (0..150)
                .map(|_| {
                    let time_ns = (-60.0 * (1.0 - uniform()).ln() * 1e3) as u64;
                    let event = uniform() < 0.7;
                    Observation { time_ns: if event { time_ns } else { 3_000_000 }, event }
                })
                .collect()
        };
        let alarms = (0..400).filter(|_| lag(&sample(), &sample()).unwrap().p <= 0.05).count();
        assert!(alarms <= 24, "{alarms} of 400");
    }
}
