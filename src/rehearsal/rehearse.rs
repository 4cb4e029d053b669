//! The rehearsal itself: recipes rendered, parsed as a SIEM would, and shown to rules.

use std::collections::{BTreeMap, BTreeSet};

use dwell_injectors::catalogue::Entry;
use dwell_injectors::lint::{GOLDEN_SEED, GoldenToken, sample_time_ns};
use dwell_injectors::parse::{ParseHints, parse};
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::{RenderError, RenderInput, Rendered, TokenText, render};
use serde::Serialize;

use super::correlation::{CorrelationStory, explain_correlation};
use super::explain::{RuleStory, explain_document};
use super::refuse::RefusedRule;
use super::rules::{RuleError, RuleMatch, RuleSet, Timed};
use super::sources::OtherRule;
use super::view::FieldMap;

/// Why a recipe could not be rehearsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearseError {
    /// It does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The rules do not go together.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// Its own parser does not read its event.
    #[error(
        "recipe {recipe}: no pattern of `extract` matches event {event}; run `dwell recipes lint`"
    )]
    Unparsed {
        /// The recipe's id.
        recipe: String,
        /// The event's index.
        event: u32,
    },
}

/// What one recipe set off.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RehearsedRecipe {
    /// The recipe's id.
    pub recipe: String,
    /// Rules that fired, each once.
    pub fired: Vec<RuleMatch>,
    /// Rules that matched and raise no alert of their own: they feed a correlation.
    pub feeding: Vec<RuleMatch>,
    /// Single-event rules that matched no event, explained on the completing event.
    pub silent: Vec<RuleStory>,
    /// Correlations that did not fire, explained.
    pub silent_correlations: Vec<CorrelationStory>,
}

/// What a rule set made of some recipes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Rehearsal {
    /// Recipe by recipe.
    pub recipes: Vec<RehearsedRecipe>,
    /// Rules that matched at least one recipe's events.
    pub exercised: usize,
    /// Rules about a log that one of the recipes writes.
    pub rules: usize,
    /// Rules about other logs: silence says nothing about them.
    pub other_log_source: Vec<OtherRule>,
    /// Rules that could not.
    pub refused: Vec<RefusedRule>,
}

/// Renders a recipe for any token and gives its events as a parser would, in the order of time.
pub fn parsed_events(
    recipe: &Recipe,
    token: &dyn TokenText,
    facts: &BTreeMap<String, String>,
) -> Result<(Rendered, Vec<Timed>), RehearseError> {
    let rendered = render_in_hours(recipe, token, facts)?;
    let zone = facts.get("time_zone").map_or("UTC", String::as_str);
    let mut events = Vec::with_capacity(rendered.events.len());
    for event in &rendered.events {
        let hints = ParseHints { received_ns: event.time_ns, time_zone: zone };
        let parsed = parse(recipe, &event.body, hints).ok_or_else(|| RehearseError::Unparsed {
            recipe: recipe.id.clone(),
            event: event.index,
        })?;
        let time_ns = parsed.time_ns.unwrap_or(event.time_ns);
        events.push(Timed { event: parsed.fields, time_ns });
    }
    Ok((rendered, events))
}

/// Renders at the first minute after the golden instant at which the recipe makes sense.
fn render_in_hours(
    recipe: &Recipe,
    token: &dyn TokenText,
    facts: &BTreeMap<String, String>,
) -> Result<Rendered, RenderError> {
    let time_ns = sample_time_ns(recipe, facts);
    render(recipe, &RenderInput { token, facts, time_ns, seed: GOLDEN_SEED, key: None })
}

/// Shows the events of each recipe to the rules about its log; correlations start afresh for each
/// recipe. Facts that a recipe does not know are ignored. `map` is used by rules of all recipes.
pub fn rehearse(
    entries: &[&Entry],
    rules: RuleSet,
    map: FieldMap,
    facts: &BTreeMap<String, String>,
) -> Result<Rehearsal, RehearseError> {
    let rules = rules.with_field_map(map);
    let mut about = vec![false; rules.len()];
    let mut exercised = BTreeSet::new();
    let mut recipes = Vec::with_capacity(entries.len());
    for entry in entries {
        let (mut rules, marked) = rules.about(&entry.recipe.logsource)?;
        about.iter_mut().zip(marked).for_each(|(about, marked)| *about |= marked);
        recipes.push(rehearse_one(entry, &mut rules, facts, &mut exercised)?);
    }
    Ok(Rehearsal {
        recipes,
        exercised: exercised.len(),
        rules: about.iter().filter(|about| **about).count(),
        other_log_source: rules.others(&about),
        refused: rules.refused().to_vec(),
    })
}

fn rehearse_one(
    entry: &Entry,
    rules: &mut RuleSet,
    facts: &BTreeMap<String, String>,
    exercised: &mut BTreeSet<String>,
) -> Result<RehearsedRecipe, RehearseError> {
    let (rendered, events) = parsed_events(&entry.recipe, &GoldenToken, facts)?;
    let all = rules.evaluate_sequence(&events);
    let correlations = explain_correlation(rules, &events, &all);
    let mut fired: Vec<RuleMatch> = Vec::new();
    for found in all.into_iter().map(|fired| fired.rule) {
        exercised.insert(found.id.clone().unwrap_or_else(|| found.title.clone()));
        if !fired.iter().any(|f| f.id == found.id && f.title == found.title) {
            fired.push(found);
        }
    }
    let completing = events.get(rendered.completing).or(events.last());
    let silent = completing.map(|timed| explain_document(rules, &timed.event));
    let matched = |story: &RuleStory| {
        fired.iter().any(|found| found.id == story.id && found.title == story.title)
    };
    let silent = silent.unwrap_or_default().into_iter();
    let silent = silent.filter(|story| !matched(story) && !story.matched).collect();
    let (fired, feeding) =
        fired.into_iter().partition(|found| found.correlation || !rules.feeds(found));
    Ok(RehearsedRecipe {
        recipe: entry.recipe.id.clone(),
        fired,
        feeding,
        silent,
        silent_correlations: correlations.into_iter().filter(|story| !story.matched).collect(),
    })
}
