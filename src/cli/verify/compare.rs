//! Is this event the one that was sent? A token proves only that somebody read it: a real attacker
//! may put one that he saw in a log into events of his own, and a whole line as well.
//!
//! A line is ours when it is what was sent, byte for byte, at most behind relays' headers
//! ([`super::relay`]). A document is ours when one of the fields that are known to hold raw text
//! ([`super::places`]) does so, or when every declared field of the recipe is there and holds what was
//! sent; and in both cases only if no field of the document contradicts what was sent. What cannot be
//! compared is not ours.

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::{ParseHints, get, parse};
use dwell_injectors::recipe::{Format, Recipe};
use jiff::Timestamp;
use serde_json::Value;

use super::places::{OF_SHIPPERS, PROGRAM, layers, raw_texts, search_hits};
use super::relay::{Line, Text, is_sent};
use crate::dispatch::story::Origin;
use crate::rehearsal::{FieldGap, Gap, field_gap};

/// Differences that are told, at most.
const MAX_TOLD: usize = 12;

/// One event as it was sent, and what the recipe's parser finds in it.
struct Sent {
    text: Text,
    fields: Value,
}

/// Splits a file into records: a JSON array's elements, a search answer's hits, one JSON document,
/// or lines.
pub(super) fn records(text: &str) -> Vec<String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) => items.iter().map(Value::to_string).collect(),
        Ok(document) => match search_hits(&document) {
            Some(hits) => hits.iter().map(Value::to_string).collect(),
            None => vec![text.trim().to_owned()],
        },
        Err(_) => {
            let lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
            lines.map(str::to_owned).collect()
        }
    }
}

/// Why a record is not what was sent; empty when it is.
pub(super) fn differences(record: &str, origin: &Origin, catalogue: &Catalogue) -> Vec<String> {
    if origin.bodies.is_empty() {
        return vec!["the ledger kept no body of it, so nothing can be compared".to_owned()];
    }
    let recipe = catalogue.get(&origin.plan.recipe).map(|entry| entry.recipe.as_ref());
    let sent = sent(origin, recipe);
    if sent.iter().any(|sent| is_sent(record, &sent.text)) {
        return Vec::new();
    }
    let Some(recipe) = recipe else {
        return vec![format!(
            "it is not what was sent, and recipe {} is not there to compare field by field",
            origin.plan.recipe
        )];
    };
    match serde_json::from_str::<Value>(record).ok().filter(Value::is_object) {
        Some(document) => fewest(&sent, |sent| document_differs(&document, sent, recipe)),
        None => line_differs(record, &sent, origin, recipe),
    }
}

/// Every event whose body was kept.
fn sent(origin: &Origin, recipe: Option<&Recipe>) -> Vec<Sent> {
    let app = origin.syslog_app();
    let events = origin.rendered().events.into_iter();
    events
        .map(|event| {
            let parsed = recipe.and_then(|r| fields_of(r, &event.body, event.time_ns, origin));
            let fields = parsed.unwrap_or(Value::Null);
            let line = recipe.filter(|r| r.format == Format::Syslog).and_then(|_| line_of(&fields));
            let tag = match &line {
                Some(_) => text_of(&fields, "process.name"),
                None => app.clone(),
            };
            Sent { text: Text { body: event.body, tag, line }, fields }
        })
        .collect()
}

fn fields_of(recipe: &Recipe, text: &str, near_ns: i64, origin: &Origin) -> Option<Value> {
    let facts = origin.facts();
    let zone = facts
        .get("time_zone")
        .or_else(|| recipe.needs.get("time_zone").map(|need| &need.default))
        .map_or("UTC", String::as_str);
    let hints = ParseHints { received_ns: near_ns, time_zone: zone };
    parse(recipe, text, hints).map(|parsed| parsed.fields)
}

fn line_of(fields: &Value) -> Option<Line> {
    Some(Line {
        host: text_of(fields, "host.name")?,
        pid: text_of(fields, "process.pid").unwrap_or_default(),
        message: text_of(fields, "message")?,
    })
}

fn text_of(fields: &Value, name: &str) -> Option<String> {
    get(fields, name).and_then(Value::as_str).map(str::to_owned)
}

/// Of a burst the event that resembles the record most is the one compared.
fn fewest(sent: &[Sent], differs: impl Fn(&Sent) -> Vec<String>) -> Vec<String> {
    let compared = sent.iter().map(differs).min_by_key(Vec::len).unwrap_or_default();
    let more = compared.len().saturating_sub(MAX_TOLD);
    let mut told: Vec<String> = compared.into_iter().take(MAX_TOLD).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

/// A line that is not what was sent differs, whatever its fields say; they say where.
fn line_differs(record: &str, sent: &[Sent], origin: &Origin, recipe: &Recipe) -> Vec<String> {
    let Some(fields) = fields_of(recipe, record, origin.submitted().wall_ns, origin) else {
        return vec!["it has not the shape of what was sent".to_owned()];
    };
    let told = fewest(sent, |sent| {
        let host = gap("host.name", sent, &fields, recipe).map(tell);
        let mut told: Vec<String> = host.into_iter().collect();
        told.extend(contradictions(&fields, sent, recipe));
        told.extend(lacks(&fields, sent, recipe));
        told
    });
    match told.is_empty() {
        true => vec!["its fields are as they were sent, its text is not".to_owned()],
        false => told,
    }
}

fn document_differs(document: &Value, sent: &Sent, recipe: &Recipe) -> Vec<String> {
    let layers = layers(document);
    let mut told: Vec<String> =
        layers.iter().flat_map(|layer| contradictions(layer, sent, recipe)).collect();
    if !layers.iter().any(|layer| holds(layer, &sent.text)) {
        let lacking = layers.iter().map(|layer| lacks(layer, sent, recipe));
        told.extend(lacking.min_by_key(Vec::len).unwrap_or_default());
    }
    told.sort();
    told.dedup();
    told
}

/// A raw text of the document is what was sent. A message alone is that only under its program.
fn holds(layer: &Value, sent: &Text) -> bool {
    raw_texts(layer).any(|(_, text)| {
        is_sent(text, sent) || (is_message(text, sent) && programs(layer).any(|_| true))
    })
}

fn is_message(text: &str, sent: &Text) -> bool {
    let text = text.trim_end_matches(['\r', '\n']);
    sent.line.as_ref().is_some_and(|line| line.message == text)
}

/// What the document calls its program; whether that is the one that was sent is told apart.
fn programs(layer: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    PROGRAM.iter().filter_map(|name| Some((*name, get(layer, name)?)))
}

/// What is there and differs from what was sent: declared fields, and of a JSON event all the others
/// that no shipper sets on its way.
fn contradictions(layer: &Value, sent: &Sent, recipe: &Recipe) -> Vec<String> {
    let declared = recipe.expected_fields();
    let time = recipe.time.as_ref().map(|time| time.field.as_str());
    let compared = |field: &str| {
        let shippers =
            OF_SHIPPERS.iter().any(|own| field == *own || field.starts_with(&format!("{own}.")));
        declared.contains(field) || (!shippers && Some(field) != time)
    };
    let mut told: Vec<String> = leaves(&sent.fields)
        .into_iter()
        .filter(|field| compared(field))
        .filter_map(|field| gap(&field, sent, layer, recipe))
        .filter(|gap| gap.gap == Gap::Different)
        .map(tell)
        .collect();
    if let (Some(_), Some(tag)) = (&sent.text.line, &sent.text.tag) {
        let tag = Value::from(tag.as_str());
        let others = programs(layer).filter_map(|(name, value)| field_gap(name, &tag, Some(value)));
        told.extend(others.filter(|gap| gap.gap == Gap::Different).map(tell));
    }
    told
}

/// Declared fields that are not as they were sent, and raw texts that are something else.
fn lacks(layer: &Value, sent: &Sent, recipe: &Recipe) -> Vec<String> {
    let fields = recipe.expected_fields();
    let mut told: Vec<String> =
        fields.iter().filter_map(|field| gap(field, sent, layer, recipe)).map(tell).collect();
    if recipe.format != Format::Json {
        let texts = raw_texts(layer)
            .filter(|(_, text)| !is_sent(text, &sent.text) && !is_message(text, &sent.text));
        told.extend(texts.map(|(name, _)| format!("`{name}` is not the text that was sent")));
    }
    told
}

/// What is wrong with one field that was sent.
fn gap(field: &str, sent: &Sent, layer: &Value, recipe: &Recipe) -> Option<FieldGap> {
    let expected = get(&sent.fields, field).filter(|value| !is_blank(value))?;
    let actual = get(layer, field);
    let gap = field_gap(field, expected, actual)?;
    let same = match (expected, actual) {
        // A parser may know more categories of a text line than the recipe names.
        (Value::Array(expected), Some(Value::Array(actual))) if recipe.format != Format::Json => {
            let held =
                |one| actual.iter().any(|other| field_gap(field, one, Some(other)).is_none());
            expected.iter().all(held)
        }
        (Value::String(expected), Some(Value::String(actual))) => same_instant(expected, actual),
        _ => false,
    };
    (!same).then_some(gap)
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn same_instant(a: &str, b: &str) -> bool {
    let instant = |text: &str| text.parse::<Timestamp>().ok();
    instant(a).is_some_and(|at| instant(b) == Some(at))
}

/// The dotted names of everything that an event holds.
fn leaves(value: &Value) -> Vec<String> {
    let Some(object) = value.as_object() else { return Vec::new() };
    let below = |(name, value): (&String, &Value)| match leaves(value) {
        none if none.is_empty() => vec![name.clone()],
        names => names.into_iter().map(|inner| format!("{name}.{inner}")).collect(),
    };
    object.iter().flat_map(below).collect()
}

fn tell(gap: FieldGap) -> String {
    match gap.actual {
        Some(actual) => format!("`{}` is {actual:?}, {:?} was sent", gap.field, gap.expected),
        None => format!("`{}` is missing, {:?} was sent", gap.field, gap.expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines_documents_elements_or_hits() {
        assert_eq!(records("a\n\nb\r\n").len(), 2);
        assert_eq!(records("{\n\"a\": 1\n}\n").len(), 1);
        assert_eq!(records("[{\"a\":1},{\"a\":2}]").len(), 2);
        assert_eq!(records("{\"a\":1}\n{\"a\":2}\n").len(), 2);
        assert!(records("\n").is_empty());
        let answer = r#"{"took":1,"hits":{"total":{"value":2},"hits":[{"_source":{}},{}]}}"#;
        assert_eq!(records(answer).len(), 2);
        let beside = r#"{"user":"root","hits":{"hits":[{"_source":{}},{}]}}"#;
        assert_eq!(records(beside).len(), 1, "nothing stands beside the hits unseen");
    }
}
