//! How long it takes until so many canaries have left, under the window, caps, distances, quiet hours
//! and the authorisation's end as they are configured. Nothing is sent: the schedule is drawn and walked through.

use std::time::Duration;

use super::{Authorised, Caps, Demand, QuietPlan, plan};

/// Runs walked through at most: beyond that the answer is that it takes more of them.
pub const MOST_RUNS: u32 = 10_000;
/// Step with which the earliest permitted instant is looked for.
const STEP_NS: i64 = 60_000_000_000;
/// The search for the shortest time ends after ten years.
const LONGEST_NS: i64 = 10 * 365 * 86_400_000_000_000;

/// What a route may do.
#[derive(Clone, Debug)]
pub struct Limits<'a> {
    /// The schedule of one run.
    pub demand: Demand<'a>,
    /// Most canaries in any hour.
    pub per_hour: u32,
    /// Most canaries in any day.
    pub per_day: u32,
    /// Hours without injection.
    pub quiet: &'a QuietPlan,
    /// When injecting is allowed.
    pub authorised: Authorised,
    /// Seed of the first run; run k adds k.
    pub seed: u64,
    /// When the first run begins, wall nanoseconds.
    pub begins_ns: i64,
}

/// Runs, one after the other, until n canaries have left.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// When each leaves, wall nanoseconds, ascending; no more than n.
    pub instants_ns: Vec<i64>,
    /// Runs that it takes.
    pub runs: u32,
    /// From the first run's begin to the n-th canary.
    pub takes: Duration,
    /// Planned in these runs and withheld: by quiet hours.
    pub quiet: u64,
    /// Withheld by a cap, or left out because the distance pushed it beyond the window.
    pub crowded: u64,
}

/// Why nobody says when the n-th canary has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreached {
    /// The limits let nothing through.
    Never,
    /// The authorisation ends before.
    Authorisation,
    /// Later than is looked: after [`MOST_RUNS`] runs, or ten years.
    Later,
}

/// Walks run after run until the n-th has left.
pub fn outlook(limits: &Limits<'_>, n: u64) -> Result<Outlook, Unreached> {
    let window = i64::try_from(limits.demand.window.as_nanos()).map_err(|_| Unreached::Later)?;
    let mut caps = Caps::new(limits.per_hour, limits.per_day, []);
    let mut found =
        Outlook { instants_ns: Vec::new(), runs: 0, takes: Duration::ZERO, quiet: 0, crowded: 0 };
    let mut idle = 0;
    while (found.instants_ns.len() as u64) < n {
        let begins = window.checked_mul(i64::from(found.runs));
        let begin = begins.and_then(|since| limits.begins_ns.checked_add(since));
        let begin = begin.ok_or(Unreached::Later)?;
        let before = found.instants_ns.len();
        let gap = i64::try_from(limits.demand.min_gap.as_nanos()).unwrap_or(i64::MAX);
        let next = found.instants_ns.last().map_or(begin, |last| last.saturating_add(gap));
        let not_before_ns = next.saturating_sub(begin).max(0).unsigned_abs();
        let demand = Demand { not_before_ns, ..limits.demand.clone() };
        let arrivals = plan(limits.seed.wrapping_add(u64::from(found.runs)), &demand);
        found.crowded += u64::from(limits.demand.count) - arrivals.len() as u64;
        for arrival in arrivals {
            if found.instants_ns.len() as u64 == n {
                break;
            }
            let at = begin.saturating_add_unsigned(arrival.offset_ns);
            if limits.authorised.is_over(at) {
                return Err(Unreached::Authorisation);
            }
            if limits.quiet.is_quiet(at) {
                found.quiet += 1;
            } else if caps.admit(at).is_err() {
                found.crowded += 1;
            } else {
                found.instants_ns.push(at);
            }
        }
        found.runs += 1;
        idle = if found.instants_ns.len() == before { idle + 1 } else { 0 };
        // A run in quiet hours may let nothing through; a month of them means that none will.
        let silent = i64::from(idle) * window.max(STEP_NS) > 31 * 1440 * STEP_NS;
        if idle > 1 && silent {
            return Err(Unreached::Never);
        }
        if found.runs >= MOST_RUNS && (found.instants_ns.len() as u64) < n {
            return Err(Unreached::Later);
        }
    }
    let last = found.instants_ns.last().copied().unwrap_or(limits.begins_ns);
    found.takes = Duration::from_nanos((last - limits.begins_ns).unsigned_abs());
    Ok(found)
}

/// The shortest time in which the caps, the distance, the quiet hours and the authorisation let n
/// canaries out, whatever the window.
pub fn shortest(limits: &Limits<'_>, n: u64) -> Result<Duration, Unreached> {
    let later = Unreached::Later;
    let gap = i64::try_from(limits.demand.min_gap.as_nanos()).map_err(|_| later)?;
    let mut caps = Caps::new(limits.per_hour, limits.per_day, []);
    let mut at = limits.begins_ns;
    let mut last = at;
    for _ in 0..n {
        while !limits.authorised.covers(at, at)
            || limits.quiet.is_quiet(at)
            || caps.admit(at).is_err()
        {
            at = at.checked_add(STEP_NS).ok_or(later)?;
            if limits.authorised.is_over(at) {
                return Err(Unreached::Authorisation);
            }
            if at - limits.begins_ns > LONGEST_NS {
                return Err(later);
            }
        }
        last = at;
        at = at.checked_add(gap).ok_or(later)?;
    }
    Ok(Duration::from_nanos((last - limits.begins_ns).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::{Arrivals, QuietHours};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn limits(quiet: &QuietPlan, count: u32, per_hour: u32, per_day: u32) -> Limits<'_> {
        Limits {
            demand: Demand {
                route: "ssh",
                count,
                window: HOUR,
                arrivals: Arrivals::Stratified,
                min_gap: Duration::ZERO,
                not_before_ns: 0,
            },
            per_hour,
            per_day,
            quiet,
            authorised: Authorised::new(None),
            seed: 1,
            begins_ns: 0,
        }
    }

    #[test]
    fn runs_follow_each_other_until_there_are_enough() {
        let quiet = QuietPlan::new(&[], "UTC").unwrap();
        let found = outlook(&limits(&quiet, 4, 10, 1_000), 59).unwrap();
        assert_eq!((found.runs, found.instants_ns.len(), found.crowded), (15, 59, 0));
        assert!(found.takes > 14 * HOUR && found.takes < 15 * HOUR, "{:?}", found.takes);
        assert!(found.instants_ns.is_sorted());
    }

    #[test]
    fn what_takes_more_runs_than_are_walked_through_is_not_never() {
        let quiet = QuietPlan::new(&[], "UTC").unwrap();
        let one = limits(&quiet, 1, 10, 1_000);
        let most = u64::from(MOST_RUNS);
        assert_eq!(outlook(&one, most).unwrap().runs, MOST_RUNS);
        assert_eq!(outlook(&one, most + 1).err(), Some(Unreached::Later));
    }

    #[test]
    fn the_daily_cap_decides_how_long_it_takes() {
        let quiet = QuietPlan::new(&[], "UTC").unwrap();
        let capped = limits(&quiet, 4, 4, 24);
        let found = outlook(&capped, 59).unwrap();
        // 24 in the first six hours of each day, then nothing until the day is over.
        assert!(found.takes > 48 * HOUR && found.takes < 52 * HOUR, "{:?}", found.takes);
        assert!(found.crowded > 0);
        let shortest = shortest(&capped, 59).unwrap();
        assert!(shortest <= found.takes && shortest >= 48 * HOUR, "{shortest:?}");
    }

    #[test]
    fn the_distance_reaches_into_the_next_run() {
        let quiet = QuietPlan::new(&[], "UTC").unwrap();
        let mut limits = limits(&quiet, 4, 10, 1_000);
        limits.demand.min_gap = Duration::from_secs(900);
        let found = outlook(&limits, 40).unwrap();
        let gaps = found.instants_ns.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.min().unwrap() >= 900_000_000_000, "{:?}", found.instants_ns);
    }

    #[test]
    fn quiet_hours_withhold_and_a_day_of_them_lets_nothing_out() {
        let night = QuietHours { from_minute: 0, to_minute: 12 * 60 };
        let quiet = QuietPlan::new(&[night], "UTC").unwrap();
        let found = outlook(&limits(&quiet, 4, 10, 1_000), 20).unwrap();
        assert_eq!(found.quiet, 48, "twelve runs of four");
        assert!(found.takes > 16 * HOUR);
        let always = QuietHours { from_minute: 0, to_minute: 24 * 60 };
        let quiet = QuietPlan::new(&[always], "UTC").unwrap();
        assert_eq!(outlook(&limits(&quiet, 4, 10, 1_000), 1).err(), Some(Unreached::Never));
        assert_eq!(shortest(&limits(&quiet, 4, 10, 1_000), 1), Err(Unreached::Later));
    }
}
