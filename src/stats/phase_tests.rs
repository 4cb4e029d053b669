//! Simulated rules: found where they are, and nothing found where nothing is.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

const S: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * S;

struct Draws(ChaCha20Rng);

impl Draws {
    fn below(&mut self, ns: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(ns)) >> 64) as u64
    }
}

/// n canaries at random within twelve hours, answered after `delay`, at the rule's next run.
fn sample(seed: u64, n: u64, period: Option<u64>, ingest: u64) -> Vec<Timing> {
    let mut draws = Draws(ChaCha20Rng::seed_from_u64(seed));
    (0..n)
        .map(|_| {
            let sent = draws.below(12 * 60 * MINUTE);
            let arrived = sent + 5 * S + draws.below(ingest);
            let run = period.map_or(arrived, |p| arrived.next_multiple_of(p));
            let seen = run + 7 * S + draws.below(2 * S);
            Timing { submitted_ns: sent as i64, ttd_ns: seen - sent, coarse_ns: 0 }
        })
        .collect()
}

#[test]
fn thirty_canaries_show_each_common_period_through_noisy_ingestion() {
    for period in [1, 5, 10, 15, 30, 60].map(|m| m * MINUTE) {
        for ingest in [10 * S, 90 * S] {
            let found: Vec<_> = (0..50)
                .map(|seed| find(&sample(seed, 30, Some(period), ingest), None, 0.01))
                .collect();
            let right = found.iter().flatten().filter(|s| s.period_ns == period).count();
            assert!(right >= 48, "period {period} ingest {ingest}: {right} of 50");
            let one = found.iter().flatten().find(|s| s.period_ns == period).unwrap();
            assert!(one.phase_ns.abs_diff(8 * S) < 2 * S, "{one:?}");
            assert_eq!(one.mean_wait_ns(), period / 2);
        }
    }
}

#[test]
fn a_rule_without_a_schedule_is_rarely_accused() {
    for (n, ingest) in [(20, 60 * S), (30, 20 * MINUTE), (200, 5 * MINUTE)] {
        let accused = (0..1_000)
            .filter(|seed| find(&sample(9_000 + seed, n, None, ingest), None, 0.05).is_some())
            .count();
        assert!(accused <= 50, "n {n}, ingest {ingest}: {accused} of 1000 at level 0.05");
    }
}

#[test]
fn our_own_polling_and_a_fixed_schedule_show_nothing() {
    // Alerts at once, each seen by the next poll: the polls' own schedule, in every phase.
    let mut polled = sample(1, 200, Some(MINUTE), S);
    polled.iter_mut().for_each(|t| t.coarse_ns = MINUTE);
    assert_eq!(find(&polled, None, 0.01), None);
    // What is seen without polls is exact.
    let seen_by_polls = |period: u64| {
        let mut polled = sample(1, 200, Some(period), S);
        polled.iter_mut().skip(30).for_each(|t| {
            let seen = (t.submitted_ns as u64 + t.ttd_ns).next_multiple_of(MINUTE);
            *t = Timing { ttd_ns: seen - t.submitted_ns as u64, coarse_ns: MINUTE, ..*t };
        });
        let found = find(&polled, None, 0.01).unwrap();
        (found.period_ns, found.n, found.too_coarse)
    };
    assert_eq!(seen_by_polls(5 * MINUTE), (5 * MINUTE, 30, 170));
    assert_eq!(seen_by_polls(2 * MINUTE), (2 * MINUTE, 30, 170));
    let fixed: Vec<Timing> = (0..100)
        .map(|i| Timing {
            submitted_ns: i * 300 * S as i64,
            ttd_ns: 12 * S + i as u64,
            coarse_ns: 0,
        })
        .collect();
    assert_eq!(find(&fixed, None, 0.01), None);
    assert_eq!(find(&[], None, 0.01), None);
}

#[test]
fn a_period_of_the_callers_own_is_found() {
    let mut fast = sample(3, 60, None, S);
    for t in &mut fast {
        let seen = t.submitted_ns as u64 + t.ttd_ns;
        t.ttd_ns = seen.next_multiple_of(90 * S) - t.submitted_ns as u64;
    }
    assert_eq!(find(&fast, Some(90 * S), 0.01).unwrap().period_ns, 90 * S);
}

/// Canaries at random within so many minutes, by the rule's next run: period, longest, mean wait.
fn found(seed: u64, n: u64, within: u64, period: u64, ingest: u64) -> Option<(u64, u64, u64)> {
    let mut draws = Draws(ChaCha20Rng::seed_from_u64(seed));
    let timings: Vec<Timing> = (0..n)
        .map(|_| {
            let sent = draws.below(within * MINUTE);
            let seen = (sent + draws.below(ingest)).next_multiple_of(period * MINUTE) + 7 * S;
            let seen = seen + draws.below(2 * S);
            Timing { submitted_ns: sent as i64, ttd_ns: seen - sent, coarse_ns: 0 }
        })
        .collect();
    let found = find(&timings, None, 0.01)?;
    Some((found.period_ns / MINUTE, found.longest_ns / MINUTE, found.mean_wait_ns()))
}

#[test]
fn a_period_is_never_named_by_its_divisor() {
    for period in [1, 2, 3, 4, 7, 11, 13, 14, 20, 25, 45, 60, 90, 120, 240, 420, 720, 1_440] {
        for ingest in [S, 90 * S] {
            for seed in 0..20 {
                let (named, longest, wait) =
                    found(seed, 100, (period * 20).max(600), period, ingest).unwrap();
                assert_eq!((named, longest), (period, period), "{period} min, seed {seed}");
                assert!(wait <= period * MINUTE / 2);
            }
        }
    }
}

#[test]
fn a_campaign_too_short_to_tell_leaves_the_longer_periods_open() {
    for (period, within) in [(1_440, 2_880), (120, 300), (60, 150), (720, 1_440), (60, 70)] {
        for seed in 0..20 {
            let Some((named, longest, wait)) = found(seed, 60, within, period, S) else { continue };
            assert!(
                named <= period && period <= longest,
                "{named} to {longest}: {period}, seed {seed}"
            );
            assert!(wait <= named * MINUTE / 2);
        }
    }
}

#[test]
fn all_found_at_one_instant_are_no_schedule() {
    let mut draws = Draws(ChaCha20Rng::seed_from_u64(2));
    let at_once: Vec<Timing> = (0..60)
        .map(|_| {
            let sent = draws.below(50 * MINUTE);
            Timing { submitted_ns: sent as i64, ttd_ns: 55 * MINUTE - sent, coarse_ns: 0 }
        })
        .collect();
    assert_eq!(find(&at_once, None, 0.01), None);
}

#[test]
fn campaigns_at_one_time_of_the_day_do_not_make_a_daily_rule_of_an_hourly_one() {
    // Forty minutes from nine o'clock on, on ten days: the rule runs every hour.
    let mut draws = Draws(ChaCha20Rng::seed_from_u64(5));
    let timings: Vec<Timing> = (0..100)
        .map(|i| {
            let sent = (i % 10 * 24 + 9) * 60 * MINUTE + draws.below(40 * MINUTE);
            let seen = sent.next_multiple_of(60 * MINUTE) + 7 * S + draws.below(2 * S);
            Timing { submitted_ns: sent as i64, ttd_ns: seen - sent, coarse_ns: 0 }
        })
        .collect();
    let found = find(&timings, None, 0.01).unwrap();
    assert_eq!((found.period_ns, found.longest_ns), (40 * MINUTE, 24 * 60 * MINUTE));
    // Somebody who knows its period says so.
    let stated = find(&timings, Some(60 * MINUTE), 0.01).unwrap();
    assert_eq!((stated.period_ns, stated.longest_ns), (60 * MINUTE, 60 * MINUTE));
    assert_eq!((stated.mean_wait_ns(), stated.phase_ns / (10 * S)), (30 * MINUTE, 0));
    assert_eq!(find(&timings, Some(7 * MINUTE), 0.01), Some(found));
}

#[test]
fn a_price_is_never_above_what_the_detections_show() {
    // By chance each is sent shortly before the rule runs; and a schedule that times contradict.
    let mut draws = Draws(ChaCha20Rng::seed_from_u64(7));
    let mut timings = |period: u64, before: u64| -> Vec<Timing> {
        (0..60)
            .map(|i| {
                let wait = draws.below(before);
                let sent = (i + 1) * period * MINUTE - wait;
                Timing { submitted_ns: sent as i64, ttd_ns: wait + 2 * S, coarse_ns: 0 }
            })
            .collect()
    };
    for (period, before) in [(15, 2 * MINUTE), (60, 20 * MINUTE), (5, 2 * MINUTE), (5, 4 * MINUTE)]
    {
        let timings = timings(period, before);
        if let Some(found) = find(&timings, None, 0.01) {
            assert!(found.mean_wait_ns() <= found.mean_ns, "{found:?}");
            assert!(found.mean_ns > found.period_ns / 4, "{found:?}");
        }
    }
}
