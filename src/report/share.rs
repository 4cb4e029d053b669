//! The share in time, and what it says of the objective.

use super::batches::Count;
use super::blocks::Length;
use super::expectation::CONFIDENCE;
use super::model::{BatchShareReport, Share, ShareReport};
use super::times::{DIFFERENT, Decided};
use super::words::{batches, duration, percent, percent_up};
use crate::dispatch::outcome::{CanaryView, Delivery, Outcome, Verdict};
use crate::ledger::ExpectationPlan;
use crate::stats::proportion::{ShareInterval, clopper_pearson, lower_limit, upper_limit};

/// The share as it is printed, and in how many batches it is so, at either end.
pub(super) struct Judged {
    pub share: ShareReport,
    /// Indeterminate and unproven ones left out.
    pub left_out: Count,
    /// The same, counted as failed.
    pub failed: Count,
}

impl Judged {
    /// The denominator is chosen without looking at any outcome.
    pub(super) fn of(
        decided: &[Decided<'_>],
        plan: &ExpectationPlan,
        cut: i64,
        batch_ns: u64,
    ) -> Judged {
        let latest = cut.saturating_sub_unsigned(plan.deadline_ns);
        let (by_us, eligible): (Vec<_>, Vec<_>) = decided
            .iter()
            .filter(|(c, _)| c.submitted <= latest)
            .partition(|(_, v)| v.rejected_by_us());
        let in_time = |v: &Verdict| v.outcome == Outcome::Detected;
        let make = |x: usize, n: usize| Share {
            x: x as u64,
            n: n as u64,
            interval: clopper_pearson(x as u64, n as u64, CONFIDENCE),
        };
        let sure: Vec<_> = eligible.iter().copied().filter(|(c, v)| known(c, v)).collect();
        let timed = |(c, v): &Decided<'_>| (c.submitted, in_time(v));
        let share = ShareReport {
            eligible: eligible.len() as u64,
            rejected_by_us: by_us.len() as u64,
            left_out: make(sure.iter().filter(|(_, v)| in_time(v)).count(), sure.len()),
            counted_as_failed: make(
                eligible.iter().filter(|(_, v)| in_time(v)).count(),
                eligible.len(),
            ),
        };
        Judged {
            share,
            left_out: Count::of(sure.iter().map(timed), batch_ns),
            failed: Count::of(eligible.iter().map(timed), batch_ns),
        }
    }

    /// The share as batches tell it, where canaries share them.
    pub(super) fn by_batches(&self, batch: &Length) -> Option<BatchShareReport> {
        let (failed, left_out) = (self.failed, self.left_out);
        let limits = |x, n| clopper_pearson(x, n, CONFIDENCE);
        let interval = ShareInterval {
            lower: limits(failed.all, failed.n).lower,
            upper: limits(left_out.any, left_out.n).upper,
        };
        let single = (self.share.counted_as_failed.interval, self.share.left_out.interval);
        let widths = (single.1.upper - single.0.lower, interval.upper - interval.lower);
        (failed.n < self.share.eligible).then(|| BatchShareReport {
            batches: failed.n,
            batch_ns: batch.ns,
            why: batch.why.clone(),
            interval,
            differs: widths.1 > (1.0 + DIFFERENT) * widths.0,
        })
    }

    /// Its state, and the objective in words.
    pub(super) fn objective(&self, plan: &ExpectationPlan) -> (&'static str, String) {
        let claim = match plan.confidence {
            Some(confidence) => format!(" with {} confidence", percent(confidence)),
            None => String::new(),
        };
        let words = format!(
            "{} within {}{claim}, at least {} {}",
            percent(plan.share),
            duration(plan.deadline_ns),
            plan.min_n,
            if plan.min_n == 1 { "canary" } else { "canaries" }
        );
        if self.share.eligible < u64::from(plan.min_n).max(1) {
            return ("undecided", words);
        }
        // With a confidence the limit must meet the share, counted in batches; without one the point does.
        // Which end is worse is asked of what decides: with few canaries left, a better share can carry a
        // weaker claim.
        let ends =
            [(&self.share.left_out, self.left_out), (&self.share.counted_as_failed, self.failed)];
        let at_least = |(share, count): &(&Share, Count)| match plan.confidence {
            Some(confidence) => lower_limit(count.all, count.n, confidence),
            None => share.point().unwrap_or(0.0),
        };
        let at_most = |(share, count): &(&Share, Count)| match plan.confidence {
            Some(confidence) => upper_limit(count.any, count.n, confidence),
            None => share.point().unwrap_or(1.0),
        };
        // An end without canaries says nothing: it stands in the way of "missed", not of "met".
        let state = if ends.iter().all(|end| end.0.n == 0 || at_least(end) >= plan.share) {
            "met"
        } else if ends.iter().all(|end| at_most(end) < plan.share) {
            "missed"
        } else {
            "undecided"
        };
        (state, words)
    }
}

/// Delivered or rejected for certain, and decided: such a canary is no gap in a share.
pub(super) fn known(canary: &CanaryView, verdict: &Verdict) -> bool {
    matches!(canary.delivery, Delivery::Proven | Delivery::Rejected)
        && !matches!(verdict.outcome, Outcome::Indeterminate | Outcome::Pending)
}

/// Why nothing is in the denominator.
pub(super) fn none_judged(share: &ShareReport) -> String {
    match share.rejected_by_us {
        0 => "none old enough to be judged".to_owned(),
        n => format!("none to be judged, {n} rejected at hand-over by a fault of ours"),
    }
}

/// `57 of 60 in time, 1 not, 2 undecided`.
pub(super) fn counted(judged: &Judged) -> String {
    let share = &judged.share;
    if share.eligible == 0 {
        return none_judged(share);
    }
    let surely_not = share.left_out.n - share.left_out.x;
    let open = share.eligible - share.counted_as_failed.x - surely_not;
    let mut words = format!("{} of {} in time", share.counted_as_failed.x, share.eligible);
    if surely_not > 0 {
        words.push_str(&format!(", {surely_not} not"));
    }
    if open > 0 {
        words.push_str(&format!(", {open} undecided"));
    }
    if surely_not == 0 && open == 0 {
        // "All of them" is a statement about these; about the next ones it bounds only this.
        let n = judged.failed.n;
        let most = percent_up(upper_limit(0, n, CONFIDENCE));
        let together = match n < share.eligible {
            true => format!(", {}", batches(n)),
            false => String::new(),
        };
        words.push_str(&format!(
            ", so at most {most} are not (95 % confidence, one-sided{together})"
        ));
    }
    if share.rejected_by_us > 0 {
        words.push_str(&format!(", {} left out by a fault of ours", share.rejected_by_us));
    }
    words
}
