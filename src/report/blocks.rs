//! How submission time is cut for the block bootstrap, and why that long.
//!
//! Canaries that one run of a scheduled rule catches together are one look at that rule. A block is
//! therefore at least one of the rule's periods long: what the configuration says (`rule_period`), or
//! what the detections betray, or 5 minutes, the commonest period, where neither is known. It is never
//! shorter than a poll period either, because one poll shows what one look of ours found together.
//!
//! A longer block is the safe side: it gives fewer blocks and wider intervals, or none.

use crate::ledger::{ExpectationPlan, Stage, WatcherPlan};
use crate::stats::phase::Schedule;

/// Shortest block: the commonest period of a scheduled rule.
pub(crate) const SHORTEST_NS: u64 = 300_000_000_000;
/// Fewer blocks than this give intervals that are too narrow.
pub(crate) const FEWEST: usize = 10;

/// A length with its reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Length {
    /// Nanoseconds.
    pub ns: u64,
    /// Why that long.
    pub why: String,
}

impl Default for Length {
    fn default() -> Length {
        Length { ns: SHORTEST_NS, why: "5 min, the commonest period of scheduled rules".to_owned() }
    }
}

impl Length {
    /// The longer of two; of equal ones this.
    pub(crate) fn or_longer(self, other: Length) -> Length {
        if other.ns > self.ns { other } else { self }
    }
}

/// The block of one expectation, from its watchers, its configuration and its detections.
pub(crate) fn length(
    plan: &ExpectationPlan,
    watchers: &[WatcherPlan],
    found: Option<&Schedule>,
) -> Length {
    let of = |ns: u64, why: &str| Length { ns, why: why.to_owned() };
    let polls = watchers.iter().filter(|w| plan.watchers.contains(&w.name));
    let poll = polls.map(|w| w.resolution_ns).max().unwrap_or(0);
    let mut length = Length::default().or_longer(of(poll, "the poll period"));
    if let Some(found) = found {
        let why = match found.is_exact() {
            true => "the schedule that the detections follow",
            false => "the longest schedule that the detections allow",
        };
        length = length.or_longer(of(found.longest_ns, why));
    }
    if let Some(period) = plan.rule_period_ns {
        length = length.or_longer(of(period, "the configured rule_period"));
    }
    length
}

/// How often the rule runs, nanoseconds, where the configuration or the detections say so.
pub(crate) fn period(plan: &ExpectationPlan, found: Option<&Schedule>) -> Option<u64> {
    let of_rule = plan.rule_period_ns.filter(|_| plan.stage >= Stage::Detected);
    of_rule.max(found.map(|found| found.longest_ns))
}

/// The batch of one expectation ([`super::batches`]): what the configuration says of its rule is taken
/// as it is, since what is configured stands beforehand. Before the rule there is none, and only a poll
/// shows canaries together.
pub(crate) fn batch(
    plan: &ExpectationPlan,
    watchers: &[WatcherPlan],
    found: Option<&Schedule>,
) -> Length {
    let polls = watchers.iter().filter(|w| plan.watchers.contains(&w.name) && w.kind == "poll");
    let poll = polls.map(|w| w.resolution_ns).max().unwrap_or(0);
    let poll = Length { ns: poll, why: "the poll period".to_owned() };
    match plan.rule_period_ns {
        Some(ns) => Length { ns, why: "the configured rule_period".to_owned() }.or_longer(poll),
        None if plan.stage < Stage::Detected => poll,
        None => length(plan, watchers, found),
    }
}
