//! Where the time goes: what each step costs, and what would shorten it.
//!
//! Everything here is detected only and says so: a step that was never finished has no length. No
//! sentence holds foreign text; names of routes travel beside it and are escaped by the format.
//!
//! The steps of a route lie on one path, so that no time is in two of them: each goes from one stage to the
//! next, of canaries that were seen at every stage of the path up to there. Those that skipped one are left
//! out, and their number is said: a step over two stages would count the time of both again. A stage that
//! most of those seen beyond it skipped is itself left off the path.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{ReportModel, StagesFrom};
use super::words::{duration, percent};
use crate::dispatch::outcome::{CanaryView, Interval, RouteView, StageTime};
use crate::ledger::Stage;
use crate::stats::stages::{self, FEWEST, Span};

/// Confidence of the limits.
const CONFIDENCE: f64 = 0.95;

/// From one stage of the path to the next, detected only.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepReport {
    /// The earlier stage.
    pub from: String,
    /// The later stage.
    pub to: String,
    /// Canaries that were seen at every stage up to the later one.
    pub n: u64,
    /// Canaries that were seen at the later stage or beyond, and are left out because they were not seen at
    /// every stage before.
    pub left_out: u64,
    /// The median step is at least this, nanoseconds, by what looking allows.
    pub p50_lower_ns: u64,
    /// And at most this.
    pub p50_upper_ns: u64,
    /// Lower 95 % limit of the median (order statistics).
    pub limit_lower_ns: u64,
    /// Upper 95 % limit.
    pub limit_upper_ns: u64,
    /// Its part of the sum of the steps' medians.
    pub part: f64,
}

/// The times of one canary, by stage.
type Times = BTreeMap<Stage, Span>;

/// The stages that the steps of a route go through, in order: seen by as many canaries as a step needs, and
/// by at least half of those that were seen at a later one of them.
fn path(canaries: &[Times]) -> Vec<Stage> {
    let seen = |stage: Stage| canaries.iter().filter(move |times| times.contains_key(&stage));
    let stages: BTreeSet<Stage> = canaries.iter().flat_map(|times| times.keys().copied()).collect();
    let mut path: Vec<Stage> = Vec::new();
    for stage in stages.into_iter().rev().filter(|stage| seen(*stage).count() >= FEWEST) {
        let went_on = |times: &&Times| path.iter().any(|later| times.contains_key(later));
        let beyond = canaries.iter().filter(went_on).count();
        if 2 * seen(stage).filter(went_on).count() >= beyond {
            path.push(stage);
        }
    }
    path.reverse();
    path
}

/// The steps of a route's path, in stage order, from the completing event where it is a burst; a step of fewer than six canaries is left out.
pub(super) fn steps(view: &RouteView) -> Vec<StepReport> {
    let span = |i: Interval| Span { lower_ns: i.lower_ns, upper_ns: i.upper_ns };
    let times = |canary: &CanaryView| -> Times {
        let at = |time: &StageTime| Some((time.stage, span(time.since_completing?)));
        canary.stages.iter().filter_map(at).collect()
    };
    let canaries: Vec<Times> = view.canaries.iter().map(times).collect();
    let path = path(&canaries);
    let sent = (Stage::Sent, Span { lower_ns: 0, upper_ns: 0 });
    let mut went: Vec<(&Times, Span)> = canaries.iter().map(|times| (times, sent.1)).collect();
    let mut last = sent.0;
    let mut found = Vec::new();
    for (at, stage) in path.iter().enumerate() {
        let later = &path[at..];
        let reached = |times: &Times| later.iter().any(|stage| times.contains_key(stage));
        let all = canaries.iter().filter(|times| reached(times)).count();
        went.retain(|(times, _)| times.contains_key(stage));
        let steps = went.iter_mut().map(|(times, since)| {
            let here = times.get(stage).copied().unwrap_or(*since);
            stages::between(std::mem::replace(since, here), here)
        });
        let steps: Vec<Span> = steps.collect();
        if let Some(step) = stages::median(&steps, CONFIDENCE) {
            found.push(((last, *stage), step, (all - steps.len()) as u64));
        }
        last = *stage;
    }
    let sum: f64 = found.iter().map(|(_, step, _)| step.middle_ns() as f64).sum();
    found
        .into_iter()
        .map(|((from, to), step, left_out)| StepReport {
            from: from.name().to_owned(),
            to: to.name().to_owned(),
            n: step.n,
            left_out,
            p50_lower_ns: step.lower_ns,
            p50_upper_ns: step.upper_ns,
            limit_lower_ns: step.limit_lower_ns,
            limit_upper_ns: step.limit_upper_ns,
            part: if sum > 0.0 { step.middle_ns() as f64 / sum } else { 0.0 },
        })
        .collect()
}

/// What one could turn to make a step shorter.
fn knob(to: &str) -> &'static str {
    match to {
        "delivered" => "the way into the pipeline",
        "ingested" => "collection, batching and the index's refresh",
        "detected" => "the rule: how often it runs and how long it takes",
        "notified" => "notification: batching and polling of alerts",
        "acknowledged" => "people: who is on call, and how they are told",
        _ => "the handling of the case",
    }
}

/// `1.2 s`, or `1.2 s to 3 s` where looking leaves that much open.
fn bracket(lower_ns: u64, upper_ns: u64) -> String {
    let (low, high) = (duration(lower_ns), duration(upper_ns));
    if low == high { high } else { format!("{low} to {high}") }
}

fn step_words(step: &StepReport, burst: bool) -> String {
    let from = match step.from.as_str() {
        "sent" if burst => "completing event sent",
        from => from,
    };
    let left_out = match step.left_out {
        0 => String::new(),
        n => format!(", {n} left out that were not seen at every stage before"),
    };
    format!(
        "{from} to {}: median {} (95 % limits {} to {}, n {}{left_out}), {} of the steps' sum",
        step.to,
        bracket(step.p50_lower_ns, step.p50_upper_ns),
        duration(step.limit_lower_ns),
        duration(step.limit_upper_ns),
        step.n,
        percent(step.part)
    )
}

/// The longest step, named only where its limits leave no other.
fn longest(steps: &[StepReport]) -> String {
    let mut order: Vec<&StepReport> = steps.iter().collect();
    order.sort_by(|a, b| b.part.total_cmp(&a.part));
    let Some((first, others)) = order.split_first() else { return String::new() };
    let rivals: Vec<String> = others
        .iter()
        .filter(|step| step.limit_upper_ns >= first.limit_lower_ns)
        .map(|step| format!("{} to {}", step.from, step.to))
        .collect();
    let name = format!("{} to {}", first.from, first.to);
    match rivals.is_empty() {
        true => format!("longest is {name}: look at {}", knob(&first.to)),
        false => format!(
            "which step is longest stays open: the limits of {name} overlap those of {}",
            rivals.join(" and ")
        ),
    }
}

/// One sentence about where the time goes.
pub(super) struct Line<'a> {
    /// The route; foreign text.
    pub route: &'a str,
    /// The expectation, where the sentence is about one; foreign text.
    pub expectation: Option<&'a str>,
    /// The sentence.
    pub words: String,
}

/// All sentences, in the order of the routes. A single step is no decomposition and is not listed.
pub(super) fn lines(model: &ReportModel) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for route in &model.routes {
        let mut say = |expectation, words| {
            lines.push(Line { route: &route.name, expectation, words });
        };
        if route.anatomy.len() > 1 {
            let burst = route.stages_from == StagesFrom::CompletingEvent;
            route.anatomy.iter().for_each(|step| say(None, step_words(step, burst)));
            say(None, longest(&route.anatomy));
        }
        for e in &route.expectations {
            if let Some(schedule) = &e.schedule {
                say(Some(&e.name), schedule.words.clone());
            }
        }
    }
    lines
}
