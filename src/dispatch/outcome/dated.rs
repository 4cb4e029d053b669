//! What a record says of its own creation, and when that is believed.
//!
//! A poll only tells that a record appeared between two looks. Where the configuration bounds the
//! difference of the clocks, the poll's dialect says that its `created_time` is when the record reached
//! the watcher's stage, and neither is contradicted by our own looks, that time decides instead, as an
//! interval: widened on both sides by the bound, by how finely the stamp is told, and by how far a clock
//! that is being corrected can drift between the creation and our sighting. Where our wall clock was seen
//! to step in that time, nothing can be said, and our own looks stand.
//!
//! Two contradictions are told, never used: created after we had seen it, and created before the canary
//! was submitted. Then the clocks are further apart than the configuration says, or the record is not
//! about this canary. A creation before a look that lacked the record is none: a product may take a while
//! to make its alert searchable.
//!
//! Not promised: that the bound holds. It is the operator's word, and every report that rests on it says so.

use super::Interval;
use super::canary::Seen;
use super::decide::{Case, Times};
use crate::ledger::WatcherPlan;

/// Creation since submission, earliest and latest, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Creation {
    earliest: i64,
    latest: i64,
}

impl Creation {
    /// `None` where the record says nothing, its dialect does not say that this dates the stage, nobody
    /// bounds the clocks, or ours was seen to step.
    pub(super) fn of(
        case: &Case<'_>,
        times: &Times,
        seen: &Seen,
        plan: Option<&WatcherPlan>,
    ) -> Option<Creation> {
        let plan = plan.filter(|plan| plan.dates_stage)?;
        let (created, bound) = (seen.created_wall_ns?, plan.max_offset_ns?);
        let on_axis = case.fold.axis().wall_to_axis(created, &seen.observed_stamp);
        let since = on_axis.saturating_sub(times.submitted);
        let drift = on_axis.abs_diff(seen.observed) / SLEW;
        let slack = bound.saturating_add(told_to(created)).saturating_add(drift);
        let earliest = on_axis.saturating_sub_unsigned(slack);
        let stepped = case.fold.stepped_between(earliest, seen.observed);
        (!stepped).then(|| Creation {
            earliest: since.saturating_sub_unsigned(slack),
            latest: since.saturating_add_unsigned(slack),
        })
    }

    /// The interval to go by; `None` where our own sighting, `upper_ns` after submission, contradicts it.
    pub(super) fn dates(self, upper_ns: u64) -> Option<Interval> {
        let upper = i64::try_from(upper_ns).unwrap_or(i64::MAX);
        (self.latest >= 0 && self.earliest <= upper).then(|| Interval {
            lower_ns: self.earliest.max(0) as u64,
            upper_ns: self.latest.min(upper) as u64,
        })
    }

    /// Surely after submission and surely within the deadline.
    pub(super) fn in_time(self, deadline_ns: u64) -> bool {
        let deadline = i64::try_from(deadline_ns).unwrap_or(i64::MAX);
        self.earliest >= 0 && self.latest <= deadline
    }
}

/// A clock is slewed by at most 500 parts in a million, one in so many (adjtimex, Linux).
const SLEW: u64 = 2_000;

/// How finely a stamp is told: one that is a whole number of seconds may be any time within a second of
/// it, whether the product cuts or rounds, and so on for milliseconds and microseconds.
fn told_to(wall_ns: i64) -> u64 {
    let step = [1_000_000_000, 1_000_000, 1_000].into_iter().find(|step| wall_ns % step == 0);
    step.map_or(0, i64::unsigned_abs)
}
