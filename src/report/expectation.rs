//! One expectation's numbers: distribution, share, objective, verdict.

use super::model::*;
use super::times::{Decided, at_worst, distribution};
use super::words::{duration, percent, percent_up};
use super::{blocks, claim, competing, hindrance, notes, schedule};
use crate::dispatch::outcome::{
    CanaryView, Dated, Delivery, Interval, Outcome, Reason, RouteView, Verdict,
};
use crate::ledger::{ExpectationPlan, Stage, WatcherPlan};
use crate::stats::planning::canaries_needed;
use crate::stats::proportion::{clopper_pearson, lower_limit, upper_limit};
use crate::stats::survival::{Band, Curve, Observation};

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
    let share = share(&decided, plan, cut);
    let found = schedule::find(&decided);
    let block = blocks::length(plan, watchers, found.as_ref());
    let ttd = distribution(&decided, plan.deadline_ns, block.clone());
    let claim = claim::judge(view, index, plan, cut);
    let judged = objective(plan, &share, &decided);
    let (objective, objective_words) = claim::applied(judged, plan, claim.as_ref());
    let verdict = in_words(plan, &ttd, &share, &decided);
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
        completing: completing(&decided, plan, &block),
        schedule: found.and_then(|found| schedule::report(&found, &decided, &ttd)),
        ttd,
        share,
        claim,
        objective: objective.to_owned(),
        objective_words,
        verdict,
        notes: Vec::new(),
    };
    report.notes = notes::of(&report);
    report
}

/// Canaries that left and whose delivery no receipt proves: counted, and in no estimate of time.
fn unproven(decided: &[Decided<'_>]) -> u64 {
    let open = |c: &CanaryView| !matches!(c.delivery, Delivery::Proven | Delivery::Rejected);
    decided.iter().filter(|(c, _)| open(c)).count() as u64
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
    block: &blocks::Length,
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
    let ttd = distribution(&shifted, plan.deadline_ns, block.clone());
    let p50 = ttd.quantiles.into_iter().next()?;
    Some(CompletingReport { n: ttd.n, events: ttd.events, before, left_out, label: ttd.label, p50 })
}

/// The denominator is chosen without looking at any outcome.
fn share(decided: &[Decided<'_>], plan: &ExpectationPlan, cut: i64) -> ShareReport {
    let latest = cut.saturating_sub_unsigned(plan.deadline_ns);
    // What our own fault kept from being delivered says nothing about anybody's detection.
    let ours = |v: &Verdict| matches!(v.reason, Some(Reason::Rejected { ours: true, .. }));
    let (by_us, eligible): (Vec<_>, Vec<_>) =
        decided.iter().filter(|(c, _)| c.submitted <= latest).partition(|(_, v)| ours(v));
    let known = |c: &CanaryView, v: &Verdict| {
        let sure = matches!(c.delivery, Delivery::Proven | Delivery::Rejected);
        sure && !matches!(v.outcome, Outcome::Indeterminate | Outcome::Pending)
    };
    let in_time = |v: &Verdict| v.outcome == Outcome::Detected;
    let make = |x: usize, n: usize| Share {
        x: x as u64,
        n: n as u64,
        interval: clopper_pearson(x as u64, n as u64, CONFIDENCE),
    };
    let sure: Vec<_> = eligible.iter().filter(|(c, v)| known(c, v)).collect();
    ShareReport {
        eligible: eligible.len() as u64,
        rejected_by_us: by_us.len() as u64,
        left_out: make(sure.iter().filter(|(_, v)| in_time(v)).count(), sure.len()),
        counted_as_failed: make(
            eligible.iter().filter(|(_, v)| in_time(v)).count(),
            eligible.len(),
        ),
    }
}

fn objective(
    plan: &ExpectationPlan,
    share: &ShareReport,
    decided: &[Decided<'_>],
) -> (&'static str, String) {
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
    if share.eligible < u64::from(plan.min_n).max(1) || decided.is_empty() {
        return ("undecided", words);
    }
    // With a confidence the limit must meet the share, without one the point does. Which end is worse
    // is asked of what decides: with few canaries left, a better share can carry a weaker claim.
    let ends = [&share.left_out, &share.counted_as_failed];
    let at_least = |s: &Share| match plan.confidence {
        Some(confidence) => lower_limit(s.x, s.n, confidence),
        None => s.point().unwrap_or(0.0),
    };
    let at_most = |s: &Share| match plan.confidence {
        Some(confidence) => upper_limit(s.x, s.n, confidence),
        None => s.point().unwrap_or(1.0),
    };
    // An end without canaries says nothing: it stands in the way of "missed", not of "met".
    let state = if ends.iter().all(|end| end.n == 0 || at_least(end) >= plan.share) {
        "met"
    } else if ends.iter().all(|end| at_most(end) < plan.share) {
        "missed"
    } else {
        "undecided"
    };
    (state, words)
}

/// Why nothing is in the denominator.
pub(super) fn none_judged(share: &ShareReport) -> String {
    match share.rejected_by_us {
        0 => "none old enough to be judged".to_owned(),
        n => format!("none to be judged, {n} rejected at hand-over by a fault of ours"),
    }
}

/// `57 of 60 in time, 1 not, 2 undecided`.
fn counted(share: &ShareReport) -> String {
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
        let most = percent_up(upper_limit(0, share.eligible, CONFIDENCE));
        words.push_str(&format!(", so at most {most} are not (95 % confidence, one-sided)"));
    }
    if share.rejected_by_us > 0 {
        words.push_str(&format!(", {} left out by a fault of ours", share.rejected_by_us));
    }
    words
}

/// The upper confidence limit of the objective's quantile, or how many more are needed.
fn in_words(
    plan: &ExpectationPlan,
    ttd: &TtdReport,
    share: &ShareReport,
    decided: &[Decided<'_>],
) -> String {
    let observations: Vec<Observation> =
        decided.iter().filter_map(|(c, v)| observation(c, v)).collect();
    // The claim must hold even if nothing of what nobody could see was ever detected.
    let observations = at_worst(decided, &observations);
    let n = observations.len() as u64;
    let misses = n - observations.iter().filter(|o| o.event).count() as u64;
    let p = plan.share.min(0.95);
    // A two-sided interval of twice the tail: its upper end is the one-sided 95 % limit.
    let limit = Curve::fit(&observations).quantile(p, Band::LogLog, 2.0 * CONFIDENCE - 1.0).upper;
    let counted = counted(share);
    let needed = canaries_needed(p, CONFIDENCE, 0).unwrap_or(u64::MAX);
    let more = canaries_needed(p, CONFIDENCE, misses).map(|wanted| wanted.saturating_sub(n));
    // Near its end the band is too wide to be inverted, or undefined. With enough canaries the last
    // detection is an exact limit of its own: all that was not detected is taken to lie beyond it.
    let last = ttd.last_detection_ns.filter(|_| more == Some(0));
    let limit = limit.ns().filter(|_| n >= needed).or(last);
    let sure_not = upper_limit(share.left_out.x, share.left_out.n, CONFIDENCE) < p;
    let (wanted, stage) = (percent(p), plan.stage.name());
    match limit {
        Some(ns) => format!(
            "{counted}; with 95 % confidence at least {wanted} are {stage} within {}",
            duration(ns)
        ),
        _ if sure_not => format!(
            "{counted}; with 95 % confidence fewer than {wanted} are {stage} within {}",
            duration(plan.deadline_ns)
        ),
        _ => {
            let hindered = hindrance::words(decided);
            // More of the same help only where some of them could be followed.
            let more = more.filter(|_| ttd.n > 0 || (hindered.is_none() && unproven(decided) == 0));
            let mut words = format!("{counted}; cannot say");
            words.push_str(if more.is_some() { " yet" } else { "" });
            words.push_str(&format!(" within what time {wanted} are {stage}"));
            if let Some(more) = more {
                let canaries = if more == 1 { "canary" } else { "canaries" };
                words.push_str(&format!(", {more} more {canaries} needed"));
            }
            if let Some(hindered) = hindered {
                words.push_str(&format!("; {hindered}"));
            }
            if ttd.n == 0 && unproven(decided) > 0 {
                words.push_str("; no delivery is proven, so no time enters");
            }
            words
        }
    }
}
