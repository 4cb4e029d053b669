//! Blocks are drawn whole, intervals are as wide as they must be, and counting equals refitting.

use proptest::prelude::*;

use super::*;
use crate::stats::survival::{Band, Curve};

fn median(observations: &[Observation]) -> impl FnMut(&[usize]) -> Option<f64> {
    move |drawn| {
        let resample: Vec<Observation> = drawn.iter().map(|index| observations[*index]).collect();
        let curve = Curve::fit(&resample);
        // The first crossing, without the middle of a flat stretch.
        let step = curve.steps().iter().find(|s| s.survival <= 0.5 + 1e-12);
        Some(step.map_or(f64::INFINITY, |s| s.time_ns as f64))
    }
}

/// Exponential times, none censored, and the i-th submission at second i.
fn exponential(n: usize, draws: &mut Draws) -> Vec<Observation> {
    (0..n)
        .map(|_| {
            let unit = (draws.stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            Observation { time_ns: (-(1.0 - unit).ln() * 1e9) as u64, event: true }
        })
        .collect()
}

#[test]
fn clustered_canaries_get_a_wider_interval() {
    let mut draws = Draws::new(7);
    let seeds = exponential(30, &mut draws);
    // Thirty runs of a rule catch ten canaries each, all after the same time.
    let clustered: Vec<Observation> = seeds.iter().flat_map(|o| [*o; 10]).collect();
    let submitted: Vec<i64> = (0..300).map(|i| i * 30_000_000_000).collect();
    let blocks = Blocks::by_time(&submitted, 300_000_000_000);
    assert_eq!(blocks.len(), 30);
    let width = |blocks: &Blocks| {
        let plan = (1_000, 1, 0.95);
        let found = curve_intervals(&clustered, blocks, plan, &[Statistic::Quantile(0.5)]);
        let limits = found[0].unwrap();
        limits.upper - limits.lower
    };
    let (honest, naive) = (width(&blocks), width(&Blocks::single(300)));
    assert!(honest > 2.0 * naive, "{honest} {naive}");
}

#[test]
fn coverage_of_the_median_is_near_what_it_says() {
    let mut draws = Draws::new(11);
    let truth = std::f64::consts::LN_2 * 1e9;
    let trials = 400;
    let covered = (0..trials)
        .filter(|trial| {
            let data = exponential(80, &mut draws);
            let plan = (300, *trial, 0.95);
            let blocks = Blocks::single(80);
            let limits = curve_intervals(&data, &blocks, plan, &[Statistic::Quantile(0.5)])[0];
            limits.is_some_and(|l| l.lower <= truth && truth <= l.upper)
        })
        .count();
    let share = covered as f64 / trials as f64;
    assert!((0.91..=0.985).contains(&share), "{share}");
}

#[test]
fn refused_and_unreached_statistics_are_told() {
    let blocks = Blocks::single(10);
    let even = |drawn: &[usize]| (drawn.first()? % 2 == 0).then_some(1.0);
    let limits = percentile_interval(&blocks, 100, 3, 0.95, even).unwrap();
    assert_eq!(limits.used + limits.refused, 100);
    assert!(limits.refused > 20, "{limits:?}");
    assert_eq!(percentile_interval(&blocks, 100, 3, 0.95, |_| None), None);
    assert_eq!(percentile_interval(&Blocks::single(1), 100, 3, 0.95, |_| Some(1.0)), None);
    let never = [Observation { time_ns: 5, event: false }; 4];
    let found =
        curve_intervals(&never, &Blocks::single(4), (100, 1, 0.95), &[Statistic::Quantile(0.5)]);
    assert_eq!(found[0].unwrap().reach(), (Reach::NotReached, Reach::NotReached));
}

#[test]
fn the_restricted_mean_agrees_with_greenwood_where_canaries_are_independent() {
    let data = exponential(400, &mut Draws::new(5));
    let tau = 2_000_000_000;
    let (mean, se) = Curve::fit(&data).restricted_mean(tau);
    let found = curve_intervals(
        &data,
        &Blocks::single(400),
        (1_000, 9, 0.95),
        &[Statistic::RestrictedMean(tau)],
    );
    let limits = found[0].unwrap();
    let ratio = (limits.upper - limits.lower) / (2.0 * 1.96 * se);
    assert!(limits.lower < mean && mean < limits.upper && (0.85..1.15).contains(&ratio), "{ratio}");
}

#[test]
fn a_polled_median_is_covered_by_its_bootstrap() {
    let data = crate::stats::intervals::tests_polled(300);
    let blocks = Blocks::single(300);
    let found = turnbull_intervals(&data, &blocks, (1_000, 1, 0.95), &[Statistic::Quantile(0.5)]);
    let (left, right) = found.unwrap()[0];
    assert!(left.lower < 107e9 && 107e9 < right.upper, "{left:?} {right:?}");
    assert!(left.lower <= right.lower && left.upper <= right.upper);
    assert!(right.upper - left.lower < 60e9, "{left:?} {right:?}");
    assert_eq!(affordable(100_000_000), None, "too much work is refused, not begun");
}

#[test]
fn a_common_instant_of_all_intervals_is_not_taken_for_certainty() {
    // Truth spread over 0 to 1 s, polled every 2 s: all intervals share a narrow stretch, on which the
    // estimate stands alone. Resamples without the narrowest ones know less.
    let intervals: Vec<Interval> =
        (0..40u64).map(|i| Interval { lower_ns: i * 20, upper_ns: Some(900 + i * 20) }).collect();
    let blocks = Blocks::single(40);
    let found =
        turnbull_intervals(&intervals, &blocks, (1_000, 1, 0.95), &[Statistic::Quantile(0.5)]);
    let (left, right) = found.unwrap()[0];
    assert!(left.lower < 780.0 && right.upper > 900.0, "{left:?} {right:?}");
}

proptest! {
    #[test]
    fn blocks_cover_each_index_once(
        submitted in proptest::collection::vec(any::<i64>(), 0..60),
        length in any::<u64>(),
    ) {
        let blocks = Blocks::by_time(&submitted, length);
        let mut all: Vec<usize> = blocks.members().iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..submitted.len()).collect::<Vec<_>>());
        for block in blocks.members() {
            let times: Vec<i64> = block.iter().map(|i| submitted[*i]).collect();
            let spread = times.iter().max().unwrap().abs_diff(*times.iter().min().unwrap());
            prop_assert!(spread < length.max(1));
        }
    }

    #[test]
    fn counting_gives_what_refitting_gives(
        data in proptest::collection::vec((1u64..30, any::<bool>()), 2..40),
        seed in any::<u64>(),
    ) {
        let observations: Vec<Observation> =
            data.iter().map(|(t, e)| Observation { time_ns: *t, event: *e }).collect();
        let blocks = Blocks::single(data.len());
        let fast = curve_intervals(&observations, &blocks, (50, seed, 0.9), &[Statistic::Quantile(0.5)]);
        let slow = percentile_interval(&blocks, 50, seed, 0.9, median(&observations));
        let ranks = by_ranks(&Curve::fit(&observations), Statistic::Quantile(0.5), &blocks, 0.9);
        prop_assert_eq!(fast[0], slow.map(|slow| slow.not_within(ranks)));
    }

    #[test]
    fn one_seed_gives_one_interval_around_the_estimate(
        times in proptest::collection::vec(1u64..1_000, 20..60),
        seed in any::<u64>(),
    ) {
        let observations: Vec<Observation> =
            times.iter().map(|t| Observation { time_ns: *t, event: true }).collect();
        let blocks = Blocks::single(times.len());
        let run = || curve_intervals(&observations, &blocks, (400, seed, 0.95), &[Statistic::Quantile(0.5)])[0];
        let limits = run().unwrap();
        prop_assert_eq!(Some(limits), run());
        let estimate = Curve::fit(&observations).quantile(0.5, Band::LogLog, 0.95).estimate;
        let estimate = estimate.ns().unwrap() as f64;
        prop_assert!(limits.lower <= estimate && estimate <= limits.upper.max(limits.lower) + 500.0);
    }
}

/// Percentiles alone would hold p90 of thirty in 82 % and p95 of sixteen clusters in 60 % of samples.
#[test]
fn high_quantiles_are_held_as_often_as_it_is_said() {
    let mut draws = Draws::new(12);
    for (n, each, p) in [(30usize, 1usize, 0.9), (16, 6, 0.95), (59, 1, 0.95), (93, 1, 0.95)] {
        let truth = -(1.0f64 - p).ln() * 1e9;
        let held = |polled: bool, draws: &mut Draws, trial: u64| {
            let seeds = exponential(n, draws);
            let data: Vec<Observation> = seeds.iter().flat_map(|o| vec![*o; each]).collect();
            let submitted: Vec<i64> = (0..data.len()).map(|i| (i / each) as i64 * 10).collect();
            let blocks = Blocks::by_time(&submitted, 10);
            let (plan, asked) = ((200, trial, 0.95), [Statistic::Quantile(p)]);
            let limits = match polled {
                false => {
                    curve_intervals(&data, &blocks, plan, &asked)[0].map(|l| (l.lower, l.upper))
                }
                true => {
                    // Looked for each at moments of its own.
                    let interval = |o: &Observation| {
                        let phase = draws.stream.next_u64() % 500_000_000;
                        let upper = (o.time_ns + phase).div_ceil(500_000_000) * 500_000_000 - phase;
                        Interval {
                            lower_ns: upper.saturating_sub(500_000_000),
                            upper_ns: Some(upper),
                        }
                    };
                    let data: Vec<Interval> = data.iter().map(interval).collect();
                    let found = turnbull_intervals(&data, &blocks, plan, &asked).unwrap();
                    Some((found[0].0.lower, found[0].1.upper))
                }
            };
            limits.is_some_and(|(lower, upper)| lower <= truth && truth <= upper)
        };
        for polled in [false, true] {
            let (trials, least) = if polled { (40, 0.85) } else { (150, 0.92) };
            let held = (0..trials).filter(|trial| held(polled, &mut draws, *trial)).count();
            let share = held as f64 / trials as f64;
            assert!(share >= least, "{n} x {each}, p{p}, polled {polled}: {share}");
        }
    }
}
