//! Turnbull's estimate against exact masses, against Kaplan-Meier, and against its neighbours.

use proptest::prelude::*;

use super::*;
use crate::stats::survival::{Curve, Observation};

const S: u64 = 1_000_000_000;

fn rows(seconds: &[(u64, Option<u64>)]) -> Vec<Interval> {
    let scale = |(lower, upper): &(u64, Option<u64>)| Interval {
        lower_ns: lower * S,
        upper_ns: upper.map(|u| u * S),
    };
    seconds.iter().map(scale).collect()
}

fn golden() -> Vec<Interval> {
    rows(&[
        (0, Some(2)),
        (0, Some(3)),
        (2, Some(4)),
        (3, Some(5)),
        (3, None),
        (5, Some(8)),
        (6, Some(8)),
        (7, Some(10)),
        (8, None),
        (10, None),
    ])
}

#[test]
fn half_open_intervals_give_the_rational_masses_where_lifelines_takes_them_as_closed() {
    let estimate = Turnbull::fit(&golden());
    assert!(estimate.converged(), "{} steps", estimate.steps());
    let wanted = [
        ((0, Some(2)), 1.0 / 5.0),
        ((3, Some(4)), 8.0 / 35.0),
        ((7, Some(8)), 12.0 / 35.0),
        ((10, None), 8.0 / 35.0),
    ];
    let masses: Vec<_> = estimate.masses().iter().filter(|(_, m)| *m > 1e-8).collect();
    assert_eq!(masses.len(), wanted.len(), "{masses:?}");
    for ((cell, mass), (ends, golden)) in masses.into_iter().zip(wanted) {
        assert_eq!(*cell, rows(&[ends])[0]);
        assert!((mass - golden).abs() < 1e-8, "{cell:?}: {mass}, not {golden}");
    }
    let log_likelihood = estimate.log_likelihood();
    assert!((log_likelihood - -12.556969690525058).abs() < 1e-9, "{log_likelihood}");
}

#[test]
fn a_quantile_is_the_cell_that_holds_it() {
    let estimate = Turnbull::fit(&golden());
    let at = |s: u64| Reach::At(s * S);
    assert_eq!(estimate.quantile_bounds(0.1), (at(0), at(2)));
    assert_eq!(estimate.quantile_bounds(0.2), (at(0), at(2)), "1/5 is reached in the first cell");
    assert_eq!(estimate.quantile_bounds(0.5), (at(7), at(8)));
    assert_eq!(estimate.quantile(0.5), at(8));
    assert_eq!(estimate.quantile_bounds(0.9), (at(10), Reach::NotReached));
    let (low, high) = estimate.undetected_at(3 * S + S / 2);
    assert!((low - 4.0 / 7.0).abs() < 1e-8 && (high - 0.8).abs() < 1e-8, "{low} {high}");
    let (low, high) = estimate.undetected_at(5 * S);
    assert!((low - high).abs() < 1e-12 && (low - 4.0 / 7.0).abs() < 1e-8);
}

#[test]
fn the_restricted_mean_is_the_area_under_both_edges_of_the_rational_masses() {
    let estimate = Turnbull::fit(&golden());
    // At left ends (0 · 7 + 3 · 8 + 7 · 12 + 10 · 8) / 35, at right ends (2 · 7 + 4 · 8 + 8 · 12 + 10 · 8) / 35.
    let (low, high) = estimate.restricted_mean_bounds(10 * S);
    let seconds = [low, high].map(|ns| ns / S as f64);
    assert!((seconds[0] - 188.0 / 35.0).abs() < 1e-7, "{seconds:?}");
    assert!((seconds[1] - 222.0 / 35.0).abs() < 1e-7, "{seconds:?}");
    // A limit within the cell (3, 4]: its right end counts as the limit.
    let (low, high) = estimate.restricted_mean_bounds(7 * S / 2);
    assert!((low / S as f64 - (24.0 + 3.5 * 20.0) / 35.0).abs() < 1e-7, "{low}");
    assert!((high / S as f64 - (14.0 + 3.5 * 28.0) / 35.0).abs() < 1e-7, "{high}");
}

#[test]
fn nothing_one_and_only_unseen_ones_are_no_numbers() {
    assert_eq!(Turnbull::fit(&[]).quantile(0.5), Reach::NotReached);
    let unseen = Turnbull::fit(&rows(&[(3, None), (5, None)]));
    assert_eq!(unseen.quantile(0.5), Reach::NotReached);
    assert_eq!(unseen.undetected_at(4 * S), (1.0, 1.0));
    let one = Turnbull::fit(&rows(&[(3, Some(4))]));
    assert_eq!(one.quantile_bounds(0.99), (Reach::At(3 * S), Reach::At(4 * S)));
    assert!(one.converged());
    let odd = [
        Interval { lower_ns: 9, upper_ns: Some(3) },
        Interval { lower_ns: u64::MAX, upper_ns: None },
    ];
    assert!(Turnbull::fit(&odd).converged(), "ends in the wrong order are no panic");
}

/// Interval-censored times as polling with a random phase leaves them, from a small generator.
pub(in crate::stats) fn polled(n: u64, every: u64, spread: u64) -> Vec<Interval> {
    let mut state = 88_172_645_463_325_252u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    (0..n)
        .map(|_| {
            let (truth, phase) = (draw(spread) + draw(spread), draw(every));
            let missed = draw(10) == 0;
            let polls = (truth + every - phase) / every;
            let upper = polls * every + phase;
            Interval { lower_ns: upper.saturating_sub(every), upper_ns: (!missed).then_some(upper) }
        })
        .collect()
}

#[test]
fn ten_thousand_distinct_intervals_converge() {
    let estimate = Turnbull::fit(&polled(10_000, 60 * S, 100 * S));
    assert!(estimate.converged(), "{} steps", estimate.steps());
    // Triangular on 0..200 s with a tenth never seen: the median of all lies a little above 100 s.
    let median = estimate.quantile(0.5).ns().unwrap() / S;
    assert!((100..115).contains(&median), "{median}");
}

fn any_interval() -> impl Strategy<Value = Interval> {
    (0u64..30, 0u64..12, any::<bool>()).prop_map(|(lower, width, seen)| Interval {
        lower_ns: lower,
        upper_ns: seen.then_some(lower + width),
    })
}

proptest! {
    #[test]
    fn exact_times_and_right_censored_ones_are_kaplan_meier(
        data in proptest::collection::vec((1u64..40, any::<bool>()), 1..60)
    ) {
        let intervals: Vec<Interval> = data
            .iter()
            .map(|(t, seen)| Interval { lower_ns: *t, upper_ns: seen.then_some(*t) })
            .collect();
        let observations: Vec<Observation> =
            data.iter().map(|(t, seen)| Observation { time_ns: *t, event: *seen }).collect();
        let (turnbull, curve) = (Turnbull::fit(&intervals), Curve::fit(&observations));
        prop_assert!(turnbull.converged());
        for step in curve.steps() {
            let (low, high) = turnbull.undetected_at(step.time_ns);
            prop_assert!((low - step.survival).abs() < 1e-7 && (high - low).abs() < 1e-12);
        }
    }

    #[test]
    fn masses_add_up_and_every_observation_stays_possible(
        mut data in proptest::collection::vec(any_interval(), 1..50)
    ) {
        let estimate = Turnbull::fit(&data);
        prop_assert!(estimate.converged(), "{} steps", estimate.steps());
        let sum: f64 = estimate.masses().iter().map(|(_, m)| m).sum();
        prop_assert!((sum - 1.0).abs() < 1e-9);
        prop_assert!(estimate.log_likelihood().is_finite());
        let mut before = (1.0, 1.0);
        for t in 0..50 {
            let now = estimate.undetected_at(t);
            prop_assert!(now.0 <= now.1 + 1e-12 && now.0 <= before.0 && now.1 <= before.1);
            before = now;
        }
        for p in [0.1, 0.5, 0.9] {
            let (lower, upper) = estimate.quantile_bounds(p);
            prop_assert!(lower.ns().unwrap_or(u64::MAX) <= upper.ns().unwrap_or(u64::MAX));
        }
        data.reverse();
        prop_assert_eq!(estimate, Turnbull::fit(&data));
    }

    #[test]
    fn no_neighbouring_distribution_is_likelier(
        data in proptest::collection::vec(any_interval(), 2..25),
        from in 0usize..20,
        to in 0usize..20,
    ) {
        let prepared = Prepared::new(&data);
        let solution = prepared.solve(solve::EXACT);
        let best = solve::log_likelihood(&prepared.groups, &solution.masses);
        let cells = solution.masses.len();
        let mut moved = solution.masses.clone();
        let (from, to) = (from % cells, to % cells);
        let step = moved[from].min(0.01);
        moved[from] -= step;
        moved[to] += step;
        let other = solve::log_likelihood(&prepared.groups, &moved);
        prop_assert!(other <= best + 1e-7, "{other} is above {best}");
    }
}
