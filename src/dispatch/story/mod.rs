//! The whole story of one canary: planned, sent, seen, decided, and where it stopped.
//!
//! [`tell`] reads the canary's own rows by point look-ups and takes the outcomes from a [`Fold`], because
//! whether a watcher was blind is not written in a canary's rows. [`fold`] makes one from what the
//! outcome of one canary rests on; a fold over the whole ledger gives the same story. For a canary that
//! was last seen `ingested` the stored document is compared with what was sent, and the recipe's rules
//! are rehearsed on it ([`Indexed`]).
//!
//! Invariants: the same ledger, cut and recipes give the same story; no clock is read here. Times
//! are relative to the submission of the first event.
//!
//! Not promised: that the recipe's rules are those which the SIEM runs.

mod indexed;
mod origin;
#[cfg(test)]
mod tests;

pub use indexed::{DocumentGap, Indexed};
pub use origin::{Origin, RECIPE_CHANGED};

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::token::{Carrier, KeyRing, TokenId};
use serde::Serialize;

use super::outcome::{
    Assessment, AxisNs, CanaryView, Delivery, Fold, Outcome, RouteView, StageTime, Verdict,
};
use crate::ledger::{
    EventResult, ExpectationPlan, LedgerError, Reader, RoutePlan, Row, Stage, StrayClass,
};
use crate::report;

/// What a story is told from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The ledger.
    pub reader: &'a Reader,
    /// Its rows, or those up to a cut: all of them, or those that [`fold`] takes.
    pub fold: &'a Fold,
    /// The recipes as they are now.
    pub catalogue: &'a Catalogue,
    /// The keys; without them no token is shown.
    pub keys: Option<&'a KeyRing>,
}

/// One event of a canary and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SentEvent {
    /// Its index.
    pub event: u32,
    /// Submission after that of the first event, nanoseconds.
    pub since_submission_ns: i64,
    /// Submission, RFC 3339.
    pub at: String,
    /// How late against its plan, nanoseconds.
    pub late_ns: i64,
    /// True for the event with which the rule's condition is met.
    pub completing: bool,
    /// What is known; may hold foreign text.
    pub result: EventResult,
}

/// One sighting of a canary.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Seen {
    /// The stage that it proves.
    pub stage: Stage,
    /// Who saw it.
    pub watcher: String,
    /// After submission of the first event, nanoseconds.
    pub since_submission_ns: i64,
    /// When, RFC 3339.
    pub at: String,
    /// The last complete look that did not show it, after submission, nanoseconds.
    pub not_before_ns: Option<i64>,
    /// The rule; foreign text.
    pub rule: Option<String>,
    /// The product's id of the record; foreign text.
    pub native_id: String,
    /// The alert's own creation time, RFC 3339.
    pub created: Option<String>,
    /// Found in an archive: no point in time.
    pub retrospective: bool,
}

/// What became of one expectation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Decided {
    /// Its name.
    pub expectation: String,
    /// The stage to be reached.
    pub stage: Stage,
    /// Rules that satisfy it; empty means any.
    pub rules: Vec<String>,
    /// The objective's time, nanoseconds.
    pub deadline_ns: u64,
    /// When waiting ends, nanoseconds after submission.
    pub horizon_ns: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words; may hold foreign text.
    pub why: String,
}

/// See the module's text.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Story {
    /// Which canary: `epoch.serial`.
    pub canary: String,
    /// Its token, where the keys are at hand.
    pub token: Option<String>,
    /// Its campaign.
    pub campaign: String,
    /// Its run.
    pub run: u32,
    /// Its route.
    pub route: String,
    /// Its recipe.
    pub recipe: String,
    /// Who owns the route.
    pub owner: String,
    /// Where it went.
    pub target: String,
    /// Slot within the route.
    pub slot: u32,
    /// The planned instant, RFC 3339.
    pub intended: String,
    /// Why it never left, if it did not.
    pub withdrawn: Option<String>,
    /// Number of events that it consists of.
    pub events: usize,
    /// What became of each.
    pub sent: Vec<SentEvent>,
    /// What is known about delivery without any sighting; `None` where it never left.
    pub delivery: Option<Delivery>,
    /// Every sighting, in the order of time.
    pub seen: Vec<Seen>,
    /// First time at each stage.
    pub stages: Vec<StageTime>,
    /// The latest stage that it provably reached.
    pub last_stage: Option<Stage>,
    /// Outcomes, one per expectation, at the cut.
    pub outcomes: Vec<Decided>,
    /// The cut, RFC 3339.
    pub cut: String,
    /// Who asked about it, and what was answered: RFC 3339 and answer.
    pub verified: Vec<(String, String)>,
    /// The comparison with what was indexed, where that was its last stage.
    pub indexed: Option<Indexed>,
    /// Where it stopped and why, in words; may hold foreign text.
    pub conclusion: Vec<String>,
}

/// Folds what the outcome of one canary rests on, and of the others nothing. At a cut before the last
/// row all rows are read, though no other canary is kept.
pub fn fold(
    reader: &Reader,
    canary: TokenId,
    as_of_ns: Option<AxisNs>,
) -> Result<Fold, LedgerError> {
    if let Some(excerpt) = reader.excerpt()?
        && let Some(mut fold) = Fold::standing_at(excerpt.standing(), as_of_ns, canary)
    {
        excerpt.rows(canary, |row| fold.apply(&row))?;
        return Ok(fold);
    }
    let mut fold = Fold::of_one(as_of_ns, canary);
    reader.rows(|_, row| {
        fold.apply(&row);
        ControlFlow::Continue(())
    })?;
    Ok(fold)
}

/// Tells a canary's story; `None` when the ledger does not hold it.
pub fn tell(sources: &Sources<'_>, canary: TokenId) -> Result<Option<Story>, LedgerError> {
    let known = |row: &Row| row.stamp().is_none_or(|stamp| sources.fold.holds(stamp));
    let Some(origin) = Origin::find(sources.reader, canary, known)? else { return Ok(None) };
    let assessment = sources.fold.assess(Some(&origin.run.campaign));
    let found = assessment.as_ref().and_then(|whole| view_of(whole, canary));
    let view = found.map(|(_, view)| view);
    let last_stage = view.map(|view| view.last_stage);
    let indexed = (last_stage == Some(Stage::Ingested))
        .then(|| indexed::look(&origin, sources.catalogue, sources.keys));
    let token = sources.keys.and_then(|keys| keys.text_of(canary, Carrier::Text));
    let mut story = Story {
        canary: canary.to_string(),
        token,
        campaign: origin.run.campaign.clone(),
        run: origin.run.run,
        route: origin.plan.name.clone(),
        recipe: origin.plan.recipe.clone(),
        owner: origin.plan.owner.clone(),
        target: origin.plan.target.clone(),
        slot: origin.intent.slot,
        intended: origin.intent.intended.timestamp().to_string(),
        withdrawn: origin.withdrawn.clone(),
        events: origin.intent.digests.len(),
        sent: sent(&origin),
        delivery: view.map(|view| view.delivery),
        seen: seen(&origin),
        stages: view.map(|view| view.stages.clone()).unwrap_or_default(),
        last_stage,
        outcomes: found
            .map(|(route, view)| decided(view, &route.plan, &origin.plan))
            .unwrap_or_default(),
        cut: wall(sources.fold.cut()),
        verified: origin
            .verified
            .iter()
            .map(|(at, answer)| (at.timestamp().to_string(), answer.clone()))
            .collect(),
        indexed,
        conclusion: Vec::new(),
    };
    story.conclusion = conclusion(&story, &origin);
    story.conclusion.extend(assessment.as_ref().and_then(echoes));
    Ok(Some(story))
}

fn view_of(assessment: &Assessment, canary: TokenId) -> Option<(&RouteView, &CanaryView)> {
    let mut all =
        assessment.routes.iter().flat_map(|r| r.canaries.iter().map(move |view| (r, view)));
    all.find(|(_, view)| view.id == canary)
}

fn wall(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_string()
}

fn sent(origin: &Origin) -> Vec<SentEvent> {
    let start = origin.submitted();
    origin
        .receipts
        .iter()
        .map(|receipt| SentEvent {
            event: receipt.event,
            since_submission_ns: receipt.submitted_at.since(&start).ns,
            at: receipt.submitted_at.timestamp().to_string(),
            late_ns: receipt.late_ns,
            completing: receipt.event == origin.intent.completing,
            result: receipt.result.clone(),
        })
        .collect()
}

fn seen(origin: &Origin) -> Vec<Seen> {
    let start = origin.submitted();
    let mut all: Vec<Seen> = origin
        .sightings
        .iter()
        .map(|sighting| Seen {
            stage: sighting.stage,
            watcher: sighting.watcher.clone(),
            since_submission_ns: sighting.observed.since(&start).ns,
            at: sighting.observed.timestamp().to_string(),
            not_before_ns: sighting.not_before.map(|stamp| stamp.since(&start).ns),
            rule: sighting.rule.clone(),
            native_id: sighting.native_id.clone(),
            created: sighting.created_time_ns.map(wall),
            retrospective: sighting.retrospective,
        })
        .collect();
    all.sort_by_key(|seen| (seen.since_submission_ns, seen.stage));
    all
}

/// In the order of the canary's own run, found by name in the view that holds it: which other runs share
/// that view is no part of its story.
fn decided(view: &CanaryView, route: &RoutePlan, own: &RoutePlan) -> Vec<Decided> {
    let told = |(index, plan): (usize, &ExpectationPlan)| {
        let at = route.expectations.iter().position(|e| e.name == plan.name)?;
        let verdict = Verdict { expectation: index, ..view.verdicts.get(at)?.clone() };
        Some(Decided {
            expectation: plan.name.clone(),
            stage: plan.stage,
            rules: plan.rules.clone(),
            deadline_ns: plan.deadline_ns,
            horizon_ns: plan.horizon_ns,
            why: report::reason(&verdict),
            verdict,
        })
    };
    own.expectations.iter().enumerate().filter_map(told).collect()
}

/// Copies of what was sent are counted by watcher and kept with no canary.
fn echoes(assessment: &Assessment) -> Option<String> {
    let count = |classes: &BTreeMap<StrayClass, u64>| classes.get(&StrayClass::Echoed).copied();
    let all: Vec<String> = assessment
        .strays
        .iter()
        .filter_map(|(watcher, classes)| Some(format!("{} at {watcher}", count(classes)?)))
        .collect();
    (!all.is_empty()).then(|| {
        format!(
            "records that are what was sent itself were refused as detections, of this canary or \
             others: {}",
            all.join(", ")
        )
    })
}

/// Where it stopped, as far as anybody can know.
fn conclusion(story: &Story, origin: &Origin) -> Vec<String> {
    if let Some(reason) = &story.withdrawn {
        return vec![format!("never handed over: {reason}")];
    }
    if let Some(indexed) = &story.indexed {
        return indexed.words.clone();
    }
    let mut words = Vec::new();
    match story.last_stage {
        None if story.sent.is_empty() => words.push("not handed over yet".to_owned()),
        None | Some(Stage::Sent) => words.push(
            match story.delivery {
                Some(Delivery::Rejected) => "rejected for certain at hand-over: it entered nothing",
                Some(Delivery::InFlight) => "handed over; what became of that is not known yet",
                _ => "sent, and nothing proves that it arrived",
            }
            .to_owned(),
        ),
        Some(Stage::Delivered) => words.push(not_indexed(story, origin)),
        Some(stage) => words.push(format!("reached `{}`", stage.name())),
    }
    let archived = story.seen.iter().filter(|seen| seen.retrospective).count();
    if archived > 0 {
        words.push(format!("found {archived} times in archives by `dwell scan`, when is unknown"));
    }
    words
}

/// Delivered and seen nowhere: what that says depends on who would have seen it, and whether they could.
fn not_indexed(story: &Story, origin: &Origin) -> String {
    let searched = story.outcomes.iter().find(|decided| decided.stage == Stage::Ingested);
    let of = |outcome| {
        let so = |decided: &&Decided| decided.verdict.outcome == outcome;
        searched.or(story.outcomes.first()).filter(so)
    };
    if of(Outcome::Pending).is_some() {
        return "delivered, and nothing more is decided yet".to_owned();
    }
    if let Some(open) = of(Outcome::Indeterminate) {
        return format!("delivered; how far it came nobody can say: {}", open.why);
    }
    let eyes: Vec<&str> = origin
        .run
        .watchers
        .iter()
        .filter(|watcher| watcher.stage == Stage::Ingested)
        .map(|watcher| watcher.name.as_str())
        .collect();
    if eyes.is_empty() {
        return "delivered, and no alert since; no watcher looks at `ingested`, so nobody can say \
                whether it became searchable: add one"
            .to_owned();
    }
    format!(
        "delivered, but never seen searchable by {}: it was lost on the way to the index, or a \
         parser dropped the field that carries its token",
        eyes.join(", ")
    )
}
