//! The verdict in words: within what time the objective's share is reached, with which confidence.
//!
//! It is the upper confidence limit of the objective's quantile, in batches ([`super::batches`]), each as
//! late as its latest canary, and holds even if no canary that nobody could see was ever detected. Two
//! exact limits stand beside the estimate's band, which is too wide or undefined near its end: the last
//! detection, where so many batches carry it, and the deadline, where the share in time does.

use super::batches::{latest, split};
use super::blocks::Length;
use super::expectation::CONFIDENCE;
use super::hindrance;
use super::model::{Method, TtdReport};
use super::share::{Judged, counted};
use super::times::{Decided, at_worst};
use super::words::{batches, duration, duration_up, percent};
use crate::dispatch::outcome::{CanaryView, Delivery};
use crate::ledger::ExpectationPlan;
use crate::stats::planning::canaries_needed;
use crate::stats::proportion::{lower_limit, upper_limit};
use crate::stats::survival::{Band, Curve, Observation};

/// The quantile that is asked for where the objective wants all, or makes no claim.
const ALL: f64 = 0.95;

/// The upper confidence limit of the objective's quantile, or how many more are needed.
pub(super) fn in_words(
    plan: &ExpectationPlan,
    ttd: &TtdReport,
    judged: &Judged,
    decided: &[Decided<'_>],
    batch: &Length,
) -> String {
    let sample = Sample::new(decided, batch);
    let p = if plan.share < 1.0 { plan.share } else { ALL };
    let confidence = plan.confidence.unwrap_or(CONFIDENCE);
    let counted = counted(judged);
    let (wanted, sure, stage) = (percent(p), percent(confidence), plan.stage.name());
    let in_time = lower_limit(judged.failed.all, judged.failed.n, confidence) >= p;
    let deadline = in_time.then_some(plan.deadline_ns);
    let limit = [sample.limit(p, confidence), deadline].into_iter().flatten().min();
    let sure_not = upper_limit(judged.left_out.any, judged.left_out.n, confidence) < p;
    match limit {
        Some(ns) => {
            let polled = match ttd.method {
                Method::KaplanMeier => "",
                _ => ", by the upper ends of the polls",
            };
            let within = match deadline {
                // As it is written everywhere.
                Some(deadline) if ns == deadline => duration(ns),
                _ => duration_up(ns),
            };
            format!(
                "{counted}; with {sure} confidence at least {wanted} are {stage} within {within}{polled}"
            )
        }
        _ if sure_not => format!(
            "{counted}; with {sure} confidence fewer than {wanted} are {stage} within {}",
            duration(plan.deadline_ns)
        ),
        _ => {
            // More of the same help only where some of them could be followed.
            let hindered = hindrance::words(decided);
            let helps = ttd.n > 0 || (hindered.is_none() && unproven(decided) == 0);
            let more = sample.more(p, confidence).filter(|_| helps);
            let yet = if more.is_some() { " yet" } else { "" };
            let mut words = vec![format!(
                "{counted}; cannot say{yet} within what time {wanted} are {stage}{}",
                more.map_or(String::new(), |more| sample.wanted(more, stage))
            )];
            words.extend(sample.shared());
            words.extend(hindered);
            if ttd.n == 0 && unproven(decided) > 0 {
                words.push("no delivery is proven, so no time enters".to_owned());
            }
            words.join("; ")
        }
    }
}

/// Batches, each with what is known of its latest canary.
struct Sample<'a> {
    batches: Vec<Observation>,
    canaries: u64,
    batch: &'a Length,
}

impl Sample<'_> {
    fn new<'a>(decided: &[Decided<'_>], batch: &'a Length) -> Sample<'a> {
        let worst = at_worst(decided);
        let canaries = worst.len() as u64;
        let batches = split(worst, batch.ns).iter().map(|batch| latest(batch)).collect();
        Sample { batches, canaries, batch }
    }

    fn n(&self) -> u64 {
        self.batches.len() as u64
    }

    fn more(&self, p: f64, confidence: f64) -> Option<u64> {
        let misses = self.batches.iter().filter(|b| !b.event).count() as u64;
        canaries_needed(p, confidence, misses).map(|wanted| wanted.saturating_sub(self.n()))
    }

    fn limit(&self, p: f64, confidence: f64) -> Option<u64> {
        // A two-sided interval of twice the tail: its upper end is the one-sided limit.
        let two_sided = (2.0 * confidence - 1.0).max(0.0);
        let curve = Curve::fit(&self.batches);
        let band = || curve.quantile(p, Band::LogLog, two_sided).upper.ns();
        let needed = canaries_needed(p, confidence, 0).unwrap_or(u64::MAX);
        // All that was not detected is taken to lie beyond the last detection.
        let seen = self.batches.iter().filter(|b| b.event).map(|b| b.time_ns);
        let last = || seen.max().filter(|_| self.more(p, confidence) == Some(0));
        (self.n() >= needed).then(band).flatten().or_else(last)
    }

    fn unit(&self) -> (&'static str, &'static str) {
        if self.n() < self.canaries { ("batch", "batches") } else { ("canary", "canaries") }
    }

    /// What is promised only if it is true of all of them.
    fn wanted(&self, more: u64, stage: &str) -> String {
        match (more, self.unit()) {
            (1, (one, _)) => format!(", 1 more {one} needed, {stage} too"),
            (more, (_, many)) => {
                format!(", at least {more} more {many} needed, all of them {stage}")
            }
        }
    }

    /// Where canaries share batches, that is what keeps the verdict back.
    fn shared(&self) -> Option<String> {
        (self.n() < self.canaries).then(|| {
            format!(
                "{} canaries are {} of {} ({})",
                self.canaries,
                batches(self.n()),
                duration(self.batch.ns),
                self.batch.why
            )
        })
    }
}

/// Canaries that left and whose delivery no receipt proves: counted, and in no estimate of time.
fn unproven(decided: &[Decided<'_>]) -> u64 {
    let open = |c: &CanaryView| !matches!(c.delivery, Delivery::Proven | Delivery::Rejected);
    decided.iter().filter(|(c, _)| open(c)).count() as u64
}
