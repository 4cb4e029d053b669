//! One expectation's numbers: distribution, share, objective, verdict.

use super::model::*;
use super::share::Judged;
use super::times::{Decided, distribution};
use super::{blocks, claim, competing, notes, schedule, verdict};
use crate::dispatch::outcome::{CanaryView, Dated, Delivery, Interval, RouteView, Verdict};
use crate::ledger::{ExpectationPlan, Stage, WatcherPlan};
use crate::stats::survival::Observation;

/// Confidence of every interval that a report shows.
pub(super) const CONFIDENCE: f64 = 0.95;
/// Quantiles that a report shows.
pub(super) const QUANTILES: [f64; 3] = [0.5, 0.9, 0.95];

/// Everything about one expectation of one route.
pub(super) fn report(
    view: &RouteView,
    index: usize,
    plan: &ExpectationPlan,
    (cut, watchers): (i64, &[WatcherPlan]),
) -> ExpectationReport {
    let decided: Vec<Decided<'_>> =
        view.canaries.iter().filter_map(|c| Some((c, c.verdicts.get(index)?))).collect();
    let count = |test: &dyn Fn(&CanaryView, &Verdict) -> bool| {
        decided.iter().filter(|(c, v)| test(c, v)).count() as u64
    };
    let found = schedule::find(&decided, plan, watchers);
    let block = blocks::length(plan, watchers, found.as_ref());
    let batch = blocks::batch(plan, watchers, found.as_ref());
    let judged = Judged::of(&decided, plan, cut, batch.ns);
    let period = blocks::period(plan, found.as_ref());
    let ttd = distribution(&decided, plan.deadline_ns, (block.clone(), period));
    let claim = claim::judge(view, index, plan, (cut, &batch));
    let (objective, objective_words) = claim::applied(judged.objective(plan), plan, claim.as_ref());
    let verdict = verdict::in_words(plan, &ttd, &judged, &decided, &batch);
    let outcomes =
        view.counts(index).into_iter().map(|(outcome, n)| (outcome.name().to_owned(), n)).collect();
    let mut report = ExpectationReport {
        name: plan.name.clone(),
        stage: plan.stage.name().to_owned(),
        watchers: plan.watchers.clone(),
        rules: plan.rules.clone(),
        deadline_ns: plan.deadline_ns,
        horizon_ns: plan.horizon_ns,
        outcomes,
        by_other_rule: count(&|_, v| v.other_rule.is_some()),
        competing: competing::ends(&decided, plan.deadline_ns),
        by_created_time: count(&|_, v| v.by_created_time),
        dated: dated(plan, watchers, &decided),
        across_reboot: count(&|c, v| v.ttd.is_some() && c.across_reboot),
        clock_stepped: count(&|c, v| v.ttd.is_some() && c.clock_stepped),
        completing: completing(&decided, plan, (&block, period)),
        schedule: found.and_then(|found| schedule::report(&found, &decided, plan, &ttd)),
        ttd,
        share_by_batches: judged.by_batches(&batch),
        share: judged.share,
        claim,
        objective: objective.to_owned(),
        objective_words,
        verdict,
        notes: Vec::new(),
    };
    report.notes = notes::of(&report);
    report
}

/// How many times rest on the records' own creation times; `None` where none may.
fn dated(
    plan: &ExpectationPlan,
    watchers: &[WatcherPlan],
    decided: &[Decided<'_>],
) -> Option<DatedReport> {
    let listed = watchers.iter().filter(|w| w.dates_stage && plan.watchers.contains(&w.name));
    let bound_ns = listed.filter_map(|w| w.max_offset_ns).max()?;
    let seen = || decided.iter().filter(|(_, v)| v.ttd.is_some());
    let by = |dated: Dated| seen().filter(|(_, v)| v.dated == dated).count() as u64;
    Some(DatedReport {
        of: seen().count() as u64,
        by_record: by(Dated::ByRecord),
        contradicted: by(Dated::Contradicted),
        bound_ns,
    })
}

/// The survival observation of one canary, if it may enter.
pub(crate) fn observation(canary: &CanaryView, verdict: &Verdict) -> Option<Observation> {
    if canary.delivery != Delivery::Proven {
        return None;
    }
    match (verdict.ttd, verdict.censored_at_ns) {
        (Some(ttd), _) => Some(Observation { time_ns: ttd.upper_ns, event: true }),
        // Nobody followed it, not even for a moment.
        (None, None | Some(0)) => None,
        (None, Some(time_ns)) => Some(Observation { time_ns, event: false }),
    }
}

/// The median from the completing event, estimated like the time from the first one.
fn completing(
    decided: &[Decided<'_>],
    plan: &ExpectationPlan,
    (block, period): (&blocks::Length, Option<u64>),
) -> Option<CompletingReport> {
    if decided.iter().all(|(c, _)| c.completing_after_ns == Some(0)) {
        return None;
    }
    let (mut before, mut left_out) = (0, 0);
    let mut shifted: Vec<(&CanaryView, Verdict)> = Vec::with_capacity(decided.len());
    for (canary, verdict) in decided {
        if observation(canary, verdict).is_none() {
            continue;
        }
        let mut verdict = (*verdict).clone();
        let seen = verdict.ttd.take();
        verdict.ttd = verdict.ttd_completing;
        verdict.censored_at_ns = canary
            .completing_after_ns
            .and_then(|after| Some(verdict.censored_at_ns?.saturating_sub(after)));
        if seen.is_some() && verdict.ttd.is_none() {
            // What enters was delivered whole, its completing event too.
            if plan.stage > Stage::Ingested {
                before += 1;
                verdict.ttd = Some(Interval { lower_ns: 0, upper_ns: 0 });
            } else {
                left_out += 1;
            }
        }
        shifted.push((canary, verdict));
    }
    let shifted: Vec<Decided<'_>> = shifted.iter().map(|(c, v)| (*c, v)).collect();
    let ttd = distribution(&shifted, plan.deadline_ns, (block.clone(), period));
    let p50 = ttd.quantiles.into_iter().next()?;
    Some(CompletingReport { n: ttd.n, events: ttd.events, before, left_out, label: ttd.label, p50 })
}
