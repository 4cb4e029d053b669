//! What a SIEM indexed of a canary, beside what was sent, and what the recipe's rules make of it.

use std::collections::BTreeMap;

use dwell_injectors::catalogue::{Catalogue, Entry};
use dwell_injectors::render::{RenderInput, Rendered, render};
use dwell_injectors::token::KeyRing;
use serde::Serialize;
use serde_json::Value;

use super::{Origin, RECIPE_CHANGED};
use crate::ledger::Stage;
use crate::rehearsal::{
    CorrelationStory, FieldGap, RuleSet, RuleStory, Timed, explain_correlation, explain_document,
    explain_text, missing_fields,
};

/// Documents that are looked at, at most.
const MAX_DOCUMENTS: usize = 64;
/// Reasons that one sentence holds, at most.
const MAX_REASONS: usize = 6;

/// A gap and in how many documents it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DocumentGap {
    /// The gap.
    #[serde(flatten)]
    pub gap: FieldGap,
    /// Documents that have it.
    pub documents: usize,
}

/// What was found in the index.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Indexed {
    /// Documents that could be read.
    pub documents: usize,
    /// Documents of which the ledger holds no readable JSON (too long, or a text line).
    pub unreadable: usize,
    /// True when the recipe is not the one that the run used.
    pub recipe_changed: bool,
    /// True when what was sent could be read and compared with a document.
    pub compared: bool,
    /// Fields that are not as they were sent.
    pub gaps: Vec<DocumentGap>,
    /// The recipe's single-event rules on the documents.
    pub rules: Vec<RuleStory>,
    /// The recipe's correlations on the documents.
    pub correlations: Vec<CorrelationStory>,
    /// All of it in words; may hold foreign text.
    pub words: Vec<String>,
}

/// Compares and rehearses.
pub(super) fn look(origin: &Origin, catalogue: &Catalogue, keys: Option<&KeyRing>) -> Indexed {
    let mut found = Indexed::default();
    let documents = documents(origin, &mut found);
    let Some(entry) = catalogue.get(&origin.plan.recipe) else {
        let recipe = &origin.plan.recipe;
        found
            .words
            .push(format!("ingested; recipe {recipe} is not there, so nothing can be compared"));
        return found;
    };
    found.recipe_changed = origin.recipe_changed(entry);
    if let Some(rendered) = what_was_sent(origin, entry, keys) {
        gaps(origin, entry, &rendered, &documents, &mut found);
    }
    if !documents.is_empty() {
        rehearse(entry, &documents, &mut found);
    }
    found.words = words(&found, origin);
    found
}

/// The stored documents, in the order of their events, without what is no JSON object.
fn documents(origin: &Origin, found: &mut Indexed) -> Vec<Timed> {
    let mut documents: Vec<Timed> = Vec::new();
    let ingested = |s: &&crate::ledger::SightingRow| s.stage == Stage::Ingested && !s.retrospective;
    for sighting in origin.sightings.iter().filter(ingested).take(MAX_DOCUMENTS) {
        match serde_json::from_str::<Value>(&sighting.excerpt).ok().filter(Value::is_object) {
            // Two watchers may have seen the same document.
            Some(event) if documents.iter().any(|known| known.event == event) => {}
            Some(event) => {
                let time_ns = sighting.event_time_ns.unwrap_or(sighting.observed.wall_ns);
                documents.push(Timed { event, time_ns });
            }
            None => found.unreadable += 1,
        }
    }
    documents.sort_by_key(|timed| timed.time_ns);
    found.documents = documents.len();
    documents
}

/// The stored bodies; where none were kept, the events rendered anew.
fn what_was_sent(origin: &Origin, entry: &Entry, keys: Option<&KeyRing>) -> Option<Rendered> {
    if !origin.bodies.is_empty() {
        return Some(origin.rendered());
    }
    let canary = origin.intent.canary;
    let token = keys?.mint(canary.epoch, canary.serial).ok()?;
    let facts = origin.facts();
    let time_ns = origin.intent.intended.wall_ns;
    let input =
        RenderInput { token: &token, facts: &facts, time_ns, seed: origin.run.seed, key: None };
    render(&entry.recipe, &input).ok()
}

fn gaps(
    origin: &Origin,
    entry: &Entry,
    rendered: &Rendered,
    documents: &[Timed],
    found: &mut Indexed,
) {
    let facts = origin.facts();
    let mut counted: BTreeMap<String, DocumentGap> = BTreeMap::new();
    for document in documents {
        let gaps = missing_fields(&entry.recipe, rendered, &facts, &document.event);
        found.compared |= gaps.is_some();
        for gap in gaps.unwrap_or_default() {
            let key = format!("{} {:?}", gap.field, gap.gap);
            let known = counted.entry(key).or_insert(DocumentGap { gap, documents: 0 });
            known.documents += 1;
        }
    }
    found.gaps = counted.into_values().collect();
}

/// Shows the documents to the recipe's own rules. Rules that cannot be evaluated are in its lint.
fn rehearse(entry: &Entry, documents: &[Timed], found: &mut Indexed) {
    for (_, text) in &entry.sigma {
        for document in documents {
            let told = explain_text(text, &entry.recipe.field_map, &document.event);
            for story in told.unwrap_or_default() {
                keep_best(&mut found.rules, story);
            }
        }
    }
    let Ok(set) = RuleSet::from_texts(&entry.sigma) else { return };
    let mut set = set.with_field_map(entry.recipe.field_map.clone());
    if !set.correlates() {
        return;
    }
    let fired = set.evaluate_sequence(documents);
    found.correlations = explain_correlation(&set, documents, &fired);
    // Which rules feed a correlation is known only to the whole set.
    for document in documents {
        for story in explain_document(&set, &document.event) {
            if let Some(known) = same(&mut found.rules, &story) {
                known.feeds_correlation = story.feeds_correlation;
            }
        }
    }
}

fn same<'a>(rules: &'a mut [RuleStory], story: &RuleStory) -> Option<&'a mut RuleStory> {
    rules.iter_mut().find(|known| known.id == story.id && known.title == story.title)
}

/// Of a rule on several documents what came nearest to a match.
fn keep_best(rules: &mut Vec<RuleStory>, story: RuleStory) {
    match same(rules, &story) {
        Some(known) => {
            let better = story.matched || story.reasons.len() < known.reasons.len();
            if !known.matched && better {
                *known = story;
            }
        }
        None => rules.push(story),
    }
}

fn words(found: &Indexed, origin: &Origin) -> Vec<String> {
    let mut words = Vec::new();
    if found.documents == 0 {
        words.push(
            "ingested, but the ledger holds no JSON of the stored document: it is no document, or \
             too long"
                .to_owned(),
        );
        return words;
    }
    for DocumentGap { gap, documents } in &found.gaps {
        words.push(match found.documents {
            1 => gap.to_string(),
            all => format!("{gap} (in {documents} of {all} documents)"),
        });
    }
    if !found.compared {
        words.push(format!(
            "ingested; what was sent cannot be read with recipe {} as it is now, so no field was compared",
            origin.plan.recipe
        ));
    } else if found.gaps.is_empty() {
        words.push("ingested, and every field of the recipe is as it was sent".to_owned());
    }
    let events = origin.intent.digests.len();
    if found.documents < events && found.unreadable == 0 {
        words.push(format!("only {} of its {events} events were seen indexed", found.documents));
    }
    for rule in found.rules.iter().filter(|rule| !rule.matched) {
        let reasons = rule.reasons.iter().map(|reason| reason.text.as_str());
        words.push(unmatched(&rule.title, reasons));
    }
    for rule in found.correlations.iter().filter(|rule| !rule.matched) {
        words.push(unmatched(&rule.title, rule.reasons.iter().map(String::as_str)));
    }
    let alone = found.rules.iter().filter(|rule| !rule.feeds_correlation);
    let firing = alone
        .filter(|rule| rule.matched)
        .map(|rule| &rule.title)
        .chain(found.correlations.iter().filter(|rule| rule.matched).map(|rule| &rule.title));
    for title in firing {
        words.push(format!(
            "rule \"{title}\" matches what was indexed: the SIEM has it switched off, looks \
             elsewhere or too early, or suppressed the alert"
        ));
    }
    if found.recipe_changed {
        words.push(RECIPE_CHANGED.to_owned());
    }
    words
}

fn unmatched<'a>(title: &str, reasons: impl Iterator<Item = &'a str>) -> String {
    let reasons: Vec<&str> = reasons.take(MAX_REASONS).collect();
    format!("rule \"{title}\" does not match what was indexed: {}", reasons.join("; "))
}
