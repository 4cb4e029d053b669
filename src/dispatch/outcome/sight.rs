//! When a sighting's record came, by our own looks alone.
//!
//! Our clock says when we saw it: that is the upper end. The lower end is what the watcher knew when it
//! wrote the row, else its resolution. A watcher that is told does not know when a sender first tried:
//! in a span in which nobody listened it may have tried in vain, and the rows say where those spans are.
//!
//! Not promised: that a sender tries at once, or tries again.

use super::canary::Seen;
use super::decide::{Case, watcher};
use super::{AxisNs, Interval};
use crate::ledger::WatcherPlan;

/// How long after its last look a watcher is still taken to be at work, where the plan does not say:
/// this, or its period and half of that.
const LOOK_PATIENCE_NS: u64 = 15_000_000_000;

/// An interval as wide as this part of its upper end is more than unsharp.
const MATTERS: u64 = 20;

/// Time since submission as an interval.
pub(super) fn by_sight(case: &Case<'_>, submitted: AxisNs, seen: &Seen) -> Interval {
    let since = |at: AxisNs| at.saturating_sub(submitted).max(0) as u64;
    let upper = since(seen.observed);
    let name = case.fold.names.name(seen.watcher);
    let plan = watcher(case.run, name);
    let lower = match seen.not_before {
        Some(not_before) => since(not_before),
        // The first look of all says nothing about the time before it.
        None if plan.is_some_and(|w| w.kind == "poll") => 0,
        None => upper.saturating_sub(plan.map_or(0, |w| w.resolution_ns)),
    };
    let unheard = plan
        .filter(|w| w.push)
        .and_then(|_| case.fold.coverage.get(name)?.first_unheard(submitted, seen.observed));
    let lower = unheard.map_or(lower, |at| lower.min(since(at)));
    Interval { lower_ns: lower.min(upper), upper_ns: upper }
}

/// True where a time was found late: its interval is wider than the watcher's resolution, and so wide
/// that it matters, and no poll period is the reason.
pub(super) fn is_caught_up(plan: Option<&WatcherPlan>, interval: Interval) -> bool {
    let width = interval.width_ns();
    let matters = width > interval.upper_ns / MATTERS;
    matters && plan.is_some_and(|w| w.kind != "poll" && width > w.resolution_ns)
}

/// How long after its last look, or after the deadline, a watcher's next one is waited for.
pub(in crate::dispatch) fn patience_ns(plan: Option<&WatcherPlan>) -> i64 {
    let of = |w: &WatcherPlan| {
        w.patience_ns.unwrap_or_else(|| w.resolution_ns.saturating_add(w.resolution_ns / 2))
    };
    i64::try_from(plan.map_or(0, of).max(LOOK_PATIENCE_NS)).unwrap_or(i64::MAX)
}
