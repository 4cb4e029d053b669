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
    for period in COMMON_NS {
        for ingest in [10 * S, 90 * S] {
            let found: Vec<_> = (0..50)
                .map(|seed| find(&sample(seed, 30, Some(period), ingest), &COMMON_NS, 0.01))
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
            .filter(|seed| find(&sample(9_000 + seed, n, None, ingest), &COMMON_NS, 0.05).is_some())
            .count();
        assert!(accused <= 50, "n {n}, ingest {ingest}: {accused} of 1000 at level 0.05");
    }
}

#[test]
fn our_own_polling_and_a_fixed_schedule_show_nothing() {
    // Alerts at once, each seen by the next poll: the polls' own schedule, in every phase.
    let mut polled = sample(1, 200, Some(MINUTE), S);
    polled.iter_mut().for_each(|t| t.coarse_ns = MINUTE);
    assert_eq!(find(&polled, &COMMON_NS, 0.01), None);
    // A rule that is slower than the polls shows all the same; what is seen without polls is exact.
    let mut polled = sample(1, 200, Some(5 * MINUTE), S);
    polled.iter_mut().skip(20).for_each(|t| {
        let seen = (t.submitted_ns as u64 + t.ttd_ns).next_multiple_of(MINUTE);
        *t = Timing { ttd_ns: seen - t.submitted_ns as u64, coarse_ns: MINUTE, ..*t };
    });
    let found = find(&polled, &COMMON_NS, 0.01).unwrap();
    assert_eq!((found.period_ns, found.n, found.too_coarse), (5 * MINUTE, 200, 0));
    let found = find(&polled, &COMMON_NS[..1], 0.01).unwrap();
    assert_eq!((found.period_ns, found.n, found.too_coarse), (MINUTE, 20, 180));
    let fixed: Vec<Timing> = (0..100)
        .map(|i| Timing {
            submitted_ns: i * 300 * S as i64,
            ttd_ns: 12 * S + i as u64,
            coarse_ns: 0,
        })
        .collect();
    assert_eq!(find(&fixed, &COMMON_NS, 0.01), None);
    assert_eq!(find(&[], &COMMON_NS, 0.01), None);
}

#[test]
fn a_period_of_the_callers_own_is_found() {
    let mut fast = sample(3, 60, None, S);
    for t in &mut fast {
        let seen = t.submitted_ns as u64 + t.ttd_ns;
        t.ttd_ns = seen.next_multiple_of(90 * S) - t.submitted_ns as u64;
    }
    assert_eq!(find(&fast, &[45 * S, 90 * S, 180 * S], 0.01).unwrap().period_ns, 90 * S);
}
