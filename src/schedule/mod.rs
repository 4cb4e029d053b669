//! The schedule: when to inject, and when not to.
//!
//! [`plan`] is pure: the same seed, route and settings give the same instants on any machine and
//! with any version of this program (P10). Each slot's draw comes from a ChaCha20 stream of its own,
//! keyed by seed, route and slot, so adding a route or a slot moves no other instant.
//!
//! # Why randomised
//!
//! A rule that runs every five minutes looks like a rule of any speed to a canary that is sent every
//! five minutes: the fixed schedule measures one phase. Stratified arrivals (one uniform instant in
//! each of n equal slots) see the average phase with less variance than a Poisson process.
//!
//! # Invariants
//!
//! - Instants are ascending and inside the window, except where `min_gap` pushes one out: then it is
//!   dropped from the plan's tail and the caller withdraws it.
//! - What the schedule withdraws stands before any result does: [`is_beforehand`] tells such reasons
//!   from a stop or a crash, after which nobody may count what is left as what was planned.
//! - An instant that was missed is sent late and its lateness kept; it is never re-timed.
//! - Caps are finite and count canaries of earlier runs in the same ledger too. So does `min_gap`: a rule's
//!   suppression does not end with a run, and the canary after a probe would look missed.

mod authorised;
mod caps;
pub mod kill;
mod outlook;
mod quiet;

pub use authorised::Authorised;
pub use caps::{CapRefusal, Caps};
pub use kill::{KillSwitch, Stop};
pub use outlook::{Limits, MOST_RUNS, Outlook, Unreached, outlook, shortest};
pub use quiet::{QuietPlan, QuietZoneError};

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::config::checked::Arrivals;

/// Why a slot is withdrawn: quiet hours.
pub const QUIET_HOURS: &str = "quiet hours";
/// The cap per hour.
pub const CAP_PER_HOUR: &str = "cap per hour";
/// The cap per day.
pub const CAP_PER_DAY: &str = "cap per day";
/// `min_gap` pushed it out of the window.
pub const MIN_GAP: &str = "no room in the window beside min_gap";
/// The kill switch is there, or cannot be looked at (the cause follows): a stop, and nothing that the
/// schedule fixed beforehand.
pub const KILL_SWITCH: &str = "kill switch";
/// The authorisation does not hold at its instants.
pub const OUTSIDE_AUTHORISATION: &str = "outside the authorisation";
/// The recipe makes sense at other hours only; details follow in the same reason.
pub const OUTSIDE_HOURS: &str = "outside the recipe's hours";

/// True when a withdrawal's reason is the schedule's own: it follows from the configuration, the seed
/// and the start, and nothing that a canary showed can have moved it.
pub fn is_beforehand(reason: &str) -> bool {
    [QUIET_HOURS, CAP_PER_HOUR, CAP_PER_DAY, MIN_GAP, OUTSIDE_AUTHORISATION].contains(&reason)
        || reason.starts_with(OUTSIDE_HOURS)
}

/// One planned canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Slot within the route, from 0.
    pub slot: u32,
    /// Nanoseconds after the window's start.
    pub offset_ns: u64,
}

/// What a route asks of the schedule.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The route's name: part of the key of every draw.
    pub route: &'a str,
    /// Number of canaries.
    pub count: u32,
    /// Length of the window.
    pub window: Duration,
    /// How instants are drawn.
    pub arrivals: Arrivals,
    /// Least distance between two canaries of this route.
    pub min_gap: Duration,
    /// Nanoseconds after the window's start before which the last canary of an earlier run is too near.
    pub not_before_ns: u64,
}

/// The instants of one route, ascending.
pub fn plan(seed: u64, demand: &Demand<'_>) -> Vec<Arrival> {
    let window = u64::try_from(demand.window.as_nanos()).unwrap_or(u64::MAX);
    let count = u64::from(demand.count.max(1));
    let mut offsets: Vec<u64> = (0..demand.count)
        .map(|slot| {
            let begin = scale(window, u64::from(slot), count);
            let end = scale(window, u64::from(slot) + 1, count);
            match demand.arrivals {
                Arrivals::Stratified => begin + draw(seed, demand.route, slot, end - begin),
                Arrivals::Poisson => draw(seed, demand.route, slot, window),
                Arrivals::Fixed => begin + (end - begin) / 2,
            }
        })
        .collect();
    offsets.sort_unstable();
    let gap = u64::try_from(demand.min_gap.as_nanos()).unwrap_or(u64::MAX);
    let mut earliest = demand.not_before_ns;
    offsets
        .into_iter()
        .zip(0u32..)
        .map(|(offset, slot)| {
            let offset_ns = offset.max(earliest);
            earliest = offset_ns.saturating_add(gap);
            Arrival { slot, offset_ns }
        })
        .take_while(|arrival| arrival.offset_ns < window || window == 0)
        .collect()
}

/// `window * part / whole` without overflow.
fn scale(window: u64, part: u64, whole: u64) -> u64 {
    (u128::from(window) * u128::from(part) / u128::from(whole)) as u64
}

/// A uniform number below `span` from the stream of (seed, route, slot).
///
/// Multiply-shift on 64 bits: its bias is below 2^-20 for windows of a year, and unlike a library's
/// `gen_range` it cannot change with a version.
fn draw(seed: u64, route: &str, slot: u32, span: u64) -> u64 {
    let mut key = Sha256::new();
    key.update(b"schedule/1");
    key.update(seed.to_le_bytes());
    key.update((route.len() as u64).to_le_bytes());
    key.update(route.as_bytes());
    key.update(slot.to_le_bytes());
    let mut stream = ChaCha20Rng::from_seed(key.finalize().into());
    ((u128::from(stream.next_u64()) * u128::from(span)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(arrivals: Arrivals) -> Demand<'static> {
        Demand {
            route: "ssh",
            count: 100,
            window: Duration::from_secs(1000),
            arrivals,
            min_gap: Duration::ZERO,
            not_before_ns: 0,
        }
    }

    #[test]
    fn stratified_puts_one_in_each_slot() {
        let plan = plan(7, &demand(Arrivals::Stratified));
        assert_eq!(plan.len(), 100);
        for (index, arrival) in plan.iter().enumerate() {
            assert_eq!(arrival.offset_ns / 10_000_000_000, index as u64);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_for_ever() {
        let first: Vec<u64> =
            plan(42, &demand(Arrivals::Stratified)).iter().take(3).map(|a| a.offset_ns).collect();
        assert_eq!(
            first,
            plan(42, &demand(Arrivals::Stratified))[..3]
                .iter()
                .map(|a| a.offset_ns)
                .collect::<Vec<_>>()
        );
        assert_ne!(
            first,
            plan(43, &demand(Arrivals::Stratified))[..3]
                .iter()
                .map(|a| a.offset_ns)
                .collect::<Vec<_>>()
        );
        // Pinned: a change here breaks the promise that a recorded seed can be replayed.
        insta::assert_debug_snapshot!(first);
    }

    #[test]
    fn other_routes_and_counts_do_not_move_a_poisson_draw() {
        let short = Demand { count: 50, ..demand(Arrivals::Poisson) };
        let long = plan(1, &demand(Arrivals::Poisson));
        for arrival in plan(1, &short) {
            assert!(long.iter().any(|a| a.offset_ns == arrival.offset_ns));
        }
    }

    #[test]
    fn phases_of_a_periodic_rule_are_seen_evenly() {
        let many = Demand {
            count: 2000,
            window: Duration::from_secs(600_000),
            ..demand(Arrivals::Stratified)
        };
        let mean = plan(3, &many)
            .iter()
            .map(|a| (a.offset_ns % 300_000_000_000) as f64 / 1e9)
            .sum::<f64>()
            / 2000.0;
        assert!((mean - 150.0).abs() < 8.0, "mean phase {mean}");
        let fixed = Demand { arrivals: Arrivals::Fixed, ..many };
        let phases: std::collections::BTreeSet<u64> =
            plan(3, &fixed).iter().map(|a| a.offset_ns % 300_000_000_000).collect();
        assert_eq!(phases.len(), 1, "a fixed schedule measures one phase");
    }

    #[test]
    fn min_gap_is_kept_and_what_does_not_fit_is_left_out() {
        let tight = Demand { min_gap: Duration::from_secs(15), ..demand(Arrivals::Stratified) };
        let plan = plan(7, &tight);
        assert!(plan.len() < 100 && plan.len() >= 60);
        assert!(plan.windows(2).all(|w| w[1].offset_ns - w[0].offset_ns >= 15_000_000_000));
        assert!(plan.iter().all(|a| a.offset_ns < 1_000_000_000_000));
    }

    #[test]
    fn an_earlier_run_s_last_canary_keeps_its_distance() {
        let free = plan(7, &demand(Arrivals::Stratified));
        let after = Demand { not_before_ns: 95_000_000_000, ..demand(Arrivals::Stratified) };
        let after = plan(7, &after);
        assert!(after[..9].iter().all(|a| a.offset_ns == 95_000_000_000), "{after:?}");
        assert_eq!(after[10..], free[10..], "later ones stay where they are");
        let never = Demand { not_before_ns: u64::MAX, ..demand(Arrivals::Stratified) };
        assert!(plan(7, &never).is_empty());
    }
}
