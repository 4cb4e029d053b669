//! The decision: one canary, one expectation, one cut to one verdict. The table of legal moves is
//! design's life of a canary; each branch here is one of its rows.

use dwell_injectors::receipt::Strength;

use super::canary::{Canary, Handed, HandedResult, Seen};
use super::dated::Creation;
use super::fold::Fold;
use super::replays::{self, Replays};
use super::sight::{by_sight, is_caught_up, patience_ns};
use super::{
    AxisNs, CanaryView, Dated, Delivery, Interval, Name, Outcome, Reason, StageTime, Verdict,
};
use crate::ledger::{ExpectationPlan, RoutePlan, RunStarted, Stage, WatcherPlan};

/// Everything that a decision rests on.
pub(super) struct Case<'a> {
    pub fold: &'a Fold,
    pub canary: &'a Canary,
    pub run: &'a RunStarted,
    pub plan: &'a RoutePlan,
    pub cut: AxisNs,
}

/// One canary, decided.
pub(super) fn view(case: &Case<'_>) -> CanaryView {
    let canary = case.canary;
    let first = canary.first();
    let submitted_stamp = canary.submitted();
    let submitted = case.fold.axis().of(&submitted_stamp);
    let completing_after_ns = completing_after(case, submitted);
    let delivery = delivery(canary, case.plan.proof, first.is_some());
    let times = Times { submitted, completing_after_ns };
    let live = replays::live(case, submitted);
    let replayed = replays::replays(case, submitted);
    let verdicts: Vec<Verdict> = case
        .plan
        .expectations
        .iter()
        .enumerate()
        .map(|(index, expectation)| {
            let ctx = Ctx { case, times: &times, delivery, live: &live, expectation, index };
            ctx.verdict()
        })
        .collect();
    let stages = stage_times(case, &times, &live);
    let last_seen = live.iter().map(|s| s.observed).max().unwrap_or(submitted);
    CanaryView {
        id: canary.id,
        run: canary.run,
        slot: canary.slot,
        intended: case.fold.axis().of(&canary.intended),
        submitted,
        submitted_wall_ns: submitted_stamp.wall_ns,
        late_ns: first.map(|h| h.late_ns),
        completing_after_ns,
        delivery,
        receipt_contradicted: delivery == Delivery::Rejected && !live.is_empty(),
        last_stage: last_stage(delivery, &live),
        stages,
        verdicts,
        across_reboot: live.iter().any(|s| s.observed_stamp.boot != submitted_stamp.boot),
        clock_stepped: case.fold.stepped_between(submitted, last_seen),
        retrospective: canary.seen.iter().filter(|s| s.retrospective).count() as u32,
        outside: Replays::total(&replayed.outside),
        excess: Replays::total(&replayed.excess),
    }
}

/// From the submission of the first event to that of the completing one; `None` where it was not sent, or
/// nobody knows when.
fn completing_after(case: &Case<'_>, submitted: AxisNs) -> Option<u64> {
    let canary = case.canary;
    if canary.completing == 0 {
        return Some(0);
    }
    let sent =
        |h: &&Handed| h.event == canary.completing && !matches!(h.result, HandedResult::NotSent);
    let handed = canary.handed.iter().find(sent)?;
    let after = case.fold.axis().of(&handed.submitted).saturating_sub(submitted);
    // What a crash left open was written down with the canary's planned instant: when it left is not known.
    let known = after > 0 || !matches!(handed.result, HandedResult::Unknown);
    known.then_some(after.max(0) as u64)
}

/// What the receipts alone prove.
fn delivery(canary: &Canary, proof: Strength, handed_over: bool) -> Delivery {
    if !handed_over {
        return Delivery::InFlight;
    }
    let results = || canary.handed.iter().map(|h: &Handed| &h.result);
    let accepted = results().filter(|r| matches!(r, HandedResult::Accepted(_))).count() as u32;
    let refused =
        results().any(|r| matches!(r, HandedResult::Rejected(..) | HandedResult::NotSent));
    if results().any(|r| matches!(r, HandedResult::Unknown)) {
        Delivery::Unknown
    } else if refused && accepted == 0 {
        Delivery::Rejected
    } else if refused {
        Delivery::Partial
    } else if accepted < canary.events {
        Delivery::InFlight
    } else if results().all(|r| matches!(r, HandedResult::Accepted(s) if *s >= proof)) {
        Delivery::Proven
    } else {
        Delivery::Weak
    }
}

/// Any sighting proves its stage, whatever it satisfies.
fn last_stage(delivery: Delivery, live: &[&Seen]) -> Stage {
    let receipt = match delivery {
        Delivery::Proven => Stage::Delivered,
        _ => Stage::Sent,
    };
    live.iter().map(|s| s.stage).max().map_or(receipt, |seen| seen.max(receipt))
}

pub(super) struct Times {
    pub submitted: AxisNs,
    completing_after_ns: Option<u64>,
}

impl Times {
    /// The same time from the submission of the completing event. There is none where that was not
    /// sent, or where the sighting came before it: nothing is clipped to zero in silence.
    fn since_completing(&self, since: Interval) -> Option<Interval> {
        let after = self.completing_after_ns?;
        Some(Interval {
            upper_ns: since.upper_ns.checked_sub(after)?,
            lower_ns: since.lower_ns.saturating_sub(after),
        })
    }
}

/// Time since submission as an interval: by what the record says of itself where that is believed
/// ([`super::dated`]), else by our own looks.
fn dated(case: &Case<'_>, times: &Times, seen: &Seen) -> (Interval, Dated) {
    let own = by_sight(case, times.submitted, seen);
    let plan = watcher(case.run, case.fold.names.name(seen.watcher));
    // What is pushed arrives as it is made; a poll alone leaves a gap to be dated.
    let creation = Creation::of(case, times, seen, plan.filter(|plan| plan.kind == "poll"));
    match creation.map(|creation| creation.dates(own.upper_ns)) {
        Some(Some(interval)) => (interval, Dated::ByRecord),
        Some(None) => (own, Dated::Contradicted),
        None => (own, Dated::BySight),
    }
}

fn interval(case: &Case<'_>, times: &Times, seen: &Seen) -> Interval {
    dated(case, times, seen).0
}

/// True for a sighting that bears on an expectation: it came before the horizon, or may have come in time.
/// What is read late, after a crash or an outage, may have come long before. Where it surely came after the
/// deadline and perhaps after the horizon, the canary stays missed: it was not in time, and that is certain.
fn bears(expectation: &ExpectationPlan, since: Interval) -> bool {
    since.upper_ns <= expectation.horizon_ns || since.lower_ns <= expectation.deadline_ns
}

pub(super) fn watcher<'a>(run: &'a RunStarted, name: &str) -> Option<&'a WatcherPlan> {
    run.watchers.iter().find(|w| w.name == name)
}

/// First time at each stage, by sightings that count there.
fn stage_times(case: &Case<'_>, times: &Times, live: &[&Seen]) -> Vec<StageTime> {
    let mut stages: Vec<StageTime> = Vec::new();
    for stage in [
        Stage::Delivered,
        Stage::Ingested,
        Stage::Detected,
        Stage::Notified,
        Stage::Acknowledged,
        Stage::Closed,
    ] {
        let mut seen: Vec<&Seen> = live
            .iter()
            .filter(|s| s.stage == stage && expected_at(case, times, s))
            .copied()
            .collect();
        seen.sort_by_key(|s| s.observed);
        if let Some(first) = seen.first() {
            let plan = watcher(case.run, case.fold.names.name(first.watcher));
            let since_submission = interval(case, times, first);
            stages.push(StageTime {
                stage,
                since_submission,
                since_completing: completing(case.canary, &seen)
                    .and_then(|s| times.since_completing(interval(case, times, s))),
                polled: plan.is_some_and(|w| w.kind == "poll")
                    || is_caught_up(plan, since_submission),
                watcher: case.fold.names.shared(first.watcher),
            });
        }
    }
    stages
}

/// True for a sighting that satisfies an expectation at its own stage. Where the route expects nothing
/// there, any event counts, and any alert of a rule that is waited for elsewhere.
fn expected_at(case: &Case<'_>, times: &Times, seen: &Seen) -> bool {
    let all = &case.plan.expectations;
    if all.iter().any(|e| e.stage == seen.stage) {
        return all.iter().any(|e| {
            e.stage == seen.stage
                && listed(case, e, seen)
                && names(case, e, seen)
                && bears(e, interval(case, times, seen))
        });
    }
    let mut alerts = all.iter().filter(|e| e.stage >= Stage::Detected).peekable();
    seen.stage < Stage::Detected || alerts.peek().is_none() || alerts.any(|e| names(case, e, seen))
}

/// Of sightings in order of time the first after which the rule's condition is met: of alerts the
/// first, of a burst's events the one with which a watcher had seen as many as complete it.
fn completing<'a>(canary: &Canary, seen: &[&'a Seen]) -> Option<&'a Seen> {
    let first = seen.first()?;
    if first.stage > Stage::Ingested {
        return Some(first);
    }
    let mut events: Vec<(u32, u64)> = Vec::new();
    seen.iter().copied().find(|s| {
        if !events.contains(&(s.watcher, s.event)) {
            events.push((s.watcher, s.event));
        }
        events.iter().filter(|(watcher, _)| *watcher == s.watcher).count()
            > canary.completing as usize
    })
}

/// True when the expectation lists the sighting's watcher.
fn listed(case: &Case<'_>, expectation: &ExpectationPlan, seen: &Seen) -> bool {
    let name = case.fold.names.name(seen.watcher);
    expectation.watchers.iter().any(|w| w == name)
}

/// True when the sighting's rule is one that the expectation names, or it names none.
fn names(case: &Case<'_>, expectation: &ExpectationPlan, seen: &Seen) -> bool {
    expectation.rules.is_empty()
        || expectation
            .rules
            .iter()
            .filter_map(|r| case.fold.names.find(r))
            .any(|wanted| seen.rule == Some(wanted) || seen.rule_names.contains(&wanted))
}

struct Ctx<'a> {
    case: &'a Case<'a>,
    times: &'a Times,
    delivery: Delivery,
    live: &'a [&'a Seen],
    expectation: &'a ExpectationPlan,
    index: usize,
}

impl Ctx<'_> {
    fn verdict(&self) -> Verdict {
        let other = self.by_other_rule();
        let mut verdict = Verdict {
            expectation: self.index,
            outcome: Outcome::Pending,
            reason: None,
            ttd: None,
            ttd_completing: None,
            watcher: None,
            rule: None,
            by_created_time: false,
            dated: Dated::BySight,
            other_rule: other.map(|seen| match seen.rule {
                Some(rule) => self.case.fold.names.shared(rule),
                None => Name::from("unnamed rule"),
            }),
            other_rule_ns: other.map(|seen| interval(self.case, self.times, seen).upper_ns),
            censored_at_ns: None,
            polled: false,
            caught_up: false,
        };
        match self.deciding() {
            Some(seen) => self.seen(seen, &mut verdict),
            None => self.unseen(&mut verdict),
        }
        verdict
    }

    fn names(&self, seen: &Seen) -> bool {
        names(self.case, self.expectation, seen)
    }

    /// A listed watcher at the stage or beyond; any watcher strictly beyond it, since a later stage
    /// bounds every earlier one from above.
    fn counts(&self, seen: &Seen) -> bool {
        seen.stage > self.expectation.stage
            || (seen.stage == self.expectation.stage && listed(self.case, self.expectation, seen))
    }

    fn deciding(&self) -> Option<&Seen> {
        self.satisfying()
            .filter(|s| bears(self.expectation, self.bounds(s).0))
            .min_by_key(|s| (interval(self.case, self.times, s).upper_ns, s.observed))
    }

    fn satisfying(&self) -> impl Iterator<Item = &Seen> {
        self.live.iter().copied().filter(|s| self.counts(s) && self.names(s))
    }

    fn by_other_rule(&self) -> Option<&Seen> {
        let other = self.live.iter().filter(|s| self.counts(s) && !self.names(s));
        other.min_by_key(|s| s.observed).copied()
    }

    fn seen(&self, seen: &Seen, verdict: &mut Verdict) {
        let (ttd, by) = self.bounds(seen);
        let name = self.case.fold.names.name(seen.watcher);
        let plan = watcher(self.case.run, name);
        let deadline = self.expectation.deadline_ns;
        verdict.outcome = if ttd.upper_ns <= deadline {
            Outcome::Detected
        } else if ttd.lower_ns > deadline {
            Outcome::Late
        } else {
            verdict.reason = Some(Reason::Straddles);
            Outcome::Indeterminate
        };
        let sighted = by_sight(self.case, self.times.submitted, seen);
        verdict.by_created_time = sighted.upper_ns > deadline
            && (verdict.outcome == Outcome::Detected || self.created_in_time(seen, plan));
        if verdict.by_created_time {
            verdict.outcome = Outcome::Detected;
            verdict.reason = None;
        }
        verdict.ttd = Some(ttd);
        verdict.dated = by;
        verdict.ttd_completing = self.since_completing(ttd);
        verdict.watcher = Some(self.case.fold.names.shared(seen.watcher));
        verdict.rule = seen.rule.map(|r| self.case.fold.names.shared(r));
        verdict.polled = plan.is_some_and(|w| w.kind == "poll");
        let own = seen.stage == self.expectation.stage;
        verdict.caught_up = own && is_caught_up(plan, ttd);
    }

    /// An alert tells when the condition was met. Of a burst's events the first says nothing about the
    /// completing one: there the sighting counts with which as many were seen as complete it.
    fn since_completing(&self, ttd: Interval) -> Option<Interval> {
        if self.expectation.stage > Stage::Ingested || self.case.canary.completing == 0 {
            return self.times.since_completing(ttd);
        }
        let mut seen: Vec<&Seen> = self.own().collect();
        seen.sort_by_key(|s| s.observed);
        let seen = completing(self.case.canary, &seen)?;
        self.times.since_completing(interval(self.case, self.times, seen))
    }

    /// Sightings of listed watchers at the expectation's own stage that satisfy it.
    fn own(&self) -> impl Iterator<Item = &Seen> {
        self.live.iter().copied().filter(|seen| {
            seen.stage == self.expectation.stage
                && listed(self.case, self.expectation, seen)
                && self.names(seen)
        })
    }

    /// Time since submission to the expectation's stage, as a sighting at it or beyond bounds it.
    fn bounds(&self, seen: &Seen) -> (Interval, Dated) {
        let (mut since, mut by) = dated(self.case, self.times, seen);
        if seen.stage > self.expectation.stage {
            let (lower_ns, own) = self.own_lower();
            since.lower_ns = lower_ns.min(since.upper_ns);
            by = own;
        }
        (since, by)
    }

    /// A later stage bounds this one from above alone. From below only a listed watcher's own sighting
    /// does, however late it came; without one the submission is all that is known.
    fn own_lower(&self) -> (u64, Dated) {
        let first = self.own().min_by_key(|s| s.observed);
        first.map_or((0, Dated::BySight), |seen| {
            let (interval, by) = dated(self.case, self.times, seen);
            (interval.lower_ns, by)
        })
    }

    /// Only where the configuration bounds the clocks and the dialect dates the stage.
    fn created_in_time(&self, seen: &Seen, plan: Option<&WatcherPlan>) -> bool {
        Creation::of(self.case, self.times, seen, plan)
            .is_some_and(|creation| creation.in_time(self.expectation.deadline_ns))
    }

    fn unseen(&self, verdict: &mut Verdict) {
        let submitted = self.times.submitted;
        let deadline = submitted.saturating_add_unsigned(self.expectation.deadline_ns);
        let (cut, seen_somewhere) = (self.case.cut, !self.live.is_empty());
        let delivery = match self.delivery {
            // Any sighting at any stage proves delivery.
            _ if seen_somewhere => Delivery::Proven,
            other => other,
        };
        if self.delivery == Delivery::Proven {
            verdict.censored_at_ns = Some(self.censored_at());
        }
        if delivery == Delivery::Rejected {
            verdict.outcome = Outcome::Undelivered;
            verdict.reason = Some(self.rejection());
        } else if cut <= deadline {
            verdict.reason = Some(Reason::Waiting);
        } else if delivery != Delivery::Proven {
            verdict.outcome = Outcome::Indeterminate;
            verdict.reason = Some(Reason::DeliveryUnproven);
        } else {
            let (outcome, reason) = self.silence(deadline);
            verdict.outcome = outcome;
            verdict.reason = Some(reason);
        }
    }

    fn rejection(&self) -> Reason {
        let told = self.case.canary.handed.iter().find_map(|h| match &h.result {
            HandedResult::Rejected(reason, ours) => Some((reason.clone(), *ours)),
            _ => None,
        });
        let (detail, ours) = told.unwrap_or_else(|| (Name::from(""), false));
        Reason::Rejected { detail, ours }
    }

    /// The deadline has passed and nothing was seen: missed, or could nobody have seen it?
    fn silence(&self, deadline: AxisNs) -> (Outcome, Reason) {
        let case = self.case;
        let mut waiting = false;
        for name in &self.expectation.watchers {
            if !case.fold.is_proven(name, &case.run.config_digest) {
                return (
                    Outcome::Indeterminate,
                    Reason::NeverProven { watcher: self.case.fold.names.shared_of(name) },
                );
            }
            let coverage = case.fold.coverage.get(name);
            let covered = coverage.is_some_and(|c| c.covers(self.times.submitted, deadline));
            let looked = coverage.is_some_and(|c| c.looked_after(deadline));
            if covered && looked {
                continue;
            }
            let last = coverage.and_then(|c| c.last_end()).unwrap_or(self.times.submitted);
            let first_gap =
                coverage.map_or(self.times.submitted, |c| c.first_uncovered(self.times.submitted));
            let patience = patience_ns(watcher(case.run, name));
            let still_looking = first_gap >= last.min(deadline)
                && case.cut.saturating_sub(last.max(deadline)) <= patience;
            if still_looking {
                waiting = true;
                continue;
            }
            return (Outcome::Indeterminate, self.blind_reason(name, first_gap));
        }
        if waiting {
            return (Outcome::Pending, Reason::Waiting);
        }
        let horizon = self.times.submitted.saturating_add_unsigned(self.expectation.horizon_ns);
        let reason = Reason::Overdue {
            horizon_passed: case.cut >= horizon,
            silence_unproven: self.silence_unproven(deadline),
        };
        (Outcome::Missed, reason)
    }

    fn blind_reason(&self, name: &str, gap: AxisNs) -> Reason {
        let patience = patience_ns(watcher(self.case.run, name));
        let span = self.case.fold.coverage.get(name).and_then(|c| c.why_uncovered(gap, patience));
        let (ours, detail) = match span {
            Some(span) => (span.ours, span.reason.clone()),
            None => (true, Name::from("no look covers the time up to the deadline")),
        };
        Reason::Blind { watcher: self.case.fold.names.shared_of(name), ours, detail }
    }

    /// Seen by push alone, and none of these senders delivered anything after the deadline.
    fn silence_unproven(&self, deadline: AxisNs) -> bool {
        self.expectation.watchers.iter().all(|name| {
            let push = watcher(self.case.run, name).is_some_and(|w| w.push);
            let heard = self.case.fold.standing.heard(name);
            let spoke_since = heard.is_some_and(|last| last > deadline);
            push && !spoke_since
        })
    }

    /// min(horizon, cut, first uncovered instant of any required watcher), since submission. What a
    /// watcher did not see that never proved that it can was followed by nobody. Of what was read after
    /// the horizon nobody knows that it had not come before.
    fn censored_at(&self) -> u64 {
        let submitted = self.times.submitted;
        let earliest = |s: &Seen| self.bounds(s).0.lower_ns;
        let not_yet = self.satisfying().map(earliest).min().unwrap_or(u64::MAX);
        let horizon = not_yet.min(self.expectation.horizon_ns);
        let mut end = self.case.cut.min(submitted.saturating_add_unsigned(horizon));
        for name in &self.expectation.watchers {
            if !self.case.fold.is_proven(name, &self.case.run.config_digest) {
                return 0;
            }
            let uncovered = match self.case.fold.coverage.get(name) {
                Some(coverage) => coverage.first_uncovered(submitted),
                None => submitted,
            };
            end = end.min(uncovered);
        }
        end.saturating_sub(submitted).max(0) as u64
    }
}
