//! Where the time goes: what each step costs, and what would shorten it.
//!
//! Everything here is detected only and says so: a step that was never finished has no length. No
//! sentence holds foreign text; names of routes travel beside it and are escaped by the format.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{ReportModel, StagesFrom};
use super::words::{duration, percent};
use crate::dispatch::outcome::{Interval, RouteView};
use crate::ledger::Stage;
use crate::stats::stages::{self, Span};

/// Confidence of the limits.
const CONFIDENCE: f64 = 0.95;

/// From one stage to the next, detected only.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepReport {
    /// The earlier stage.
    pub from: String,
    /// The later stage.
    pub to: String,
    /// Canaries that were seen at both.
    pub n: u64,
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

/// The steps of a route, in stage order, from the completing event where it is a burst; a step of fewer than six canaries is left out.
pub(super) fn steps(view: &RouteView) -> Vec<StepReport> {
    let span = |i: Interval| Span { lower_ns: i.lower_ns, upper_ns: i.upper_ns };
    let mut by_step: BTreeMap<(Stage, Stage), Vec<Span>> = BTreeMap::new();
    for canary in &view.canaries {
        let mut last = (Stage::Sent, Span { lower_ns: 0, upper_ns: 0 });
        for time in &canary.stages {
            let Some(since) = time.since_completing else { continue };
            let here = span(since);
            by_step.entry((last.0, time.stage)).or_default().push(stages::between(last.1, here));
            last = (time.stage, here);
        }
    }
    let found: Vec<_> = by_step
        .into_iter()
        .filter_map(|(ends, spans)| Some((ends, stages::median(&spans, CONFIDENCE)?)))
        .collect();
    let sum: f64 = found.iter().map(|(_, step)| step.middle_ns() as f64).sum();
    found
        .into_iter()
        .map(|((from, to), step)| StepReport {
            from: from.name().to_owned(),
            to: to.name().to_owned(),
            n: step.n,
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
    format!(
        "{from} to {}: median {} (95 % limits {} to {}, n {}), {} of the steps' sum",
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
