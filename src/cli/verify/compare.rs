//! Is this event the one that was sent? A token proves only that somebody read it: a real attacker
//! may put one that he saw in a log into events of his own, and a whole line as well.
//!
//! A line is ours when it is what was sent, byte for byte, at most behind relays' headers
//! ([`super::relay`]). A document is ours when one of the fields that are known to hold raw text
//! ([`super::places`]) does so, or when every declared field of the recipe is there and holds what was
//! sent; and in both cases only if no field of the document contradicts what was sent: what was sent empty
//! and holds something now does, and so does a key that stands twice. Pipelines add fields of their own:
//! those are named, because nobody of ours answers for them. What cannot be compared is not ours: neither
//! is what the recipe cannot read any more, nor a document beside a recipe that has changed since.

use std::collections::BTreeSet;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::{ParseHints, get, parse};
use dwell_injectors::recipe::{Format, Recipe};
use jiff::Timestamp;
use serde_json::Value;

use super::places::{OF_SHIPPERS, PROGRAM, is_wrapper, layers, raw_texts, search_hits};
use super::relay::{Line, Text, is_sent};
use super::twice::{in_words, twice};
use crate::dispatch::story::{Origin, RECIPE_CHANGED};
use crate::rehearsal::{FieldGap, Gap, field_gap};

/// Differences that are told, at most.
const MAX_TOLD: usize = 12;

/// One event as it was sent, and what the recipe's parser finds in it.
struct Sent {
    text: Text,
    /// `None` where it finds nothing that could be compared.
    fields: Option<Value>,
}

/// A recipe, and the fields that it declares.
struct Declared<'a> {
    recipe: &'a Recipe,
    fields: BTreeSet<String>,
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

/// What a comparison found.
#[derive(Default)]
pub(super) struct Compared {
    /// Why a record is not what was sent; empty when it is.
    pub(super) differences: Vec<String>,
    /// What else it holds, by the names of its fields.
    pub(super) more: Vec<String>,
}

/// Compares a record with what was sent.
pub(super) fn compare(record: &str, origin: &Origin, catalogue: &Catalogue) -> Compared {
    let differences = differences(record, origin, catalogue);
    let document = serde_json::from_str::<Value>(record).ok().filter(Value::is_object);
    let (Some(document), true) = (document, differences.is_empty()) else {
        return Compared { differences, more: Vec::new() };
    };
    let entry = catalogue.get(&origin.plan.recipe);
    let declared = entry
        .map(|entry| Declared { recipe: &entry.recipe, fields: entry.recipe.expected_fields() });
    let sent = sent(origin, declared.as_ref());
    if sent.iter().any(|sent| is_sent(record, &sent.text)) {
        return Compared::default();
    }
    let layers = layers(document);
    let beside = sent.iter().filter_map(|sent| Some(more(&layers, sent, sent.fields.as_ref()?)));
    Compared { differences, more: beside.min_by_key(Vec::len).unwrap_or_default() }
}

/// The fields of a document, of what it wraps and of what its raw text holds that were not sent.
fn more(layers: &[Value], sent: &Sent, fields: &Value) -> Vec<String> {
    let raw = |layer: &Value, name: &str| {
        raw_texts(layer).any(|(field, text)| field == name && holds_text(text, &sent.text))
    };
    let mut names: Vec<String> = Vec::new();
    for layer in layers {
        let layered = layer.as_object().into_iter().flatten();
        let own = layered.filter(|(name, value)| !(is_wrapper(name) && value.is_object()));
        for (name, value) in own {
            let mut below = leaves(value);
            match below.is_empty() {
                true => below.push(name.clone()),
                false => below.iter_mut().for_each(|inner| *inner = format!("{name}.{inner}")),
            }
            below.retain(|leaf| {
                let there = get(layer, leaf).is_some_and(holds_something);
                there && get(fields, leaf).is_none() && !raw(layer, leaf)
            });
            names.extend(below);
        }
    }
    names.sort();
    names.dedup();
    names
}

/// A raw text that is what was sent, as it is or as a document with more in it, which is a layer itself.
fn holds_text(text: &str, sent: &Text) -> bool {
    is_sent(text, sent)
        || is_message(text, sent)
        || serde_json::from_str::<Value>(text).is_ok_and(|inner| inner.is_object())
}

/// Why a record is not what was sent; empty when it is.
fn differences(record: &str, origin: &Origin, catalogue: &Catalogue) -> Vec<String> {
    if origin.bodies.is_empty() {
        return vec!["the ledger kept no body of it, so nothing can be compared".to_owned()];
    }
    let entry = catalogue.get(&origin.plan.recipe);
    let declared = entry
        .map(|entry| Declared { recipe: &entry.recipe, fields: entry.recipe.expected_fields() });
    let sent = sent(origin, declared.as_ref());
    if sent.iter().any(|sent| is_sent(record, &sent.text)) {
        return Vec::new();
    }
    let (Some(entry), Some(declared)) = (entry, declared) else {
        return vec![format!(
            "it is not what was sent, and recipe {} is not there to compare field by field",
            origin.plan.recipe
        )];
    };
    let document = serde_json::from_str::<Value>(record).ok().filter(Value::is_object);
    let mut told = match (document, twice(record)) {
        (Some(_), Some(key)) => vec![in_words(&key)],
        (Some(document), None) => {
            let layers = layers(document);
            fewest(&sent, declared.recipe, |sent, fields| {
                document_differs(&layers, sent, fields, &declared)
            })
        }
        (None, _) => line_differs(record, &sent, origin, &declared),
    };
    if origin.recipe_changed(entry) {
        told.push(RECIPE_CHANGED.to_owned());
    }
    told
}

/// Every event whose body was kept.
fn sent(origin: &Origin, declared: Option<&Declared<'_>>) -> Vec<Sent> {
    let app = origin.syslog_app();
    let events = origin.rendered().events.into_iter();
    events
        .map(|event| {
            let near_ns = event.time_ns;
            let parsed = declared.and_then(|d| fields_of(d.recipe, &event.body, near_ns, origin));
            let syslog = declared.is_some_and(|d| d.recipe.format == Format::Syslog);
            let line = parsed.as_ref().filter(|_| syslog).and_then(line_of);
            let tag = match (&line, &parsed) {
                (Some(_), Some(fields)) => text_of(fields, "process.name"),
                _ => app.clone(),
            };
            let fields = parsed.filter(|fields| {
                let found = |field| get(fields, field).is_some_and(|value| !is_blank(value));
                declared.is_some_and(|d| d.fields.iter().any(|field| found(field)))
            });
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

/// Of a burst the event that resembles the record most is the one compared. An event that cannot be read
/// resembles nothing.
fn fewest(
    sent: &[Sent],
    recipe: &Recipe,
    differs: impl Fn(&Sent, &Value) -> Vec<String>,
) -> Vec<String> {
    let compared = sent.iter().filter_map(|sent| Some(differs(sent, sent.fields.as_ref()?)));
    let Some(compared) = compared.min_by_key(Vec::len) else {
        return vec![format!(
            "what was sent cannot be read with recipe {} as it is now; compare with the recipe of that \
             run",
            recipe.id
        )];
    };
    let more = compared.len().saturating_sub(MAX_TOLD);
    let mut told: Vec<String> = compared.into_iter().take(MAX_TOLD).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

/// A line that is not what was sent differs, whatever its fields say; they say where.
fn line_differs(
    record: &str,
    sent: &[Sent],
    origin: &Origin,
    declared: &Declared<'_>,
) -> Vec<String> {
    let recipe = declared.recipe;
    let Some(found) = fields_of(recipe, record, origin.submitted().wall_ns, origin) else {
        return vec!["it has not the shape of what was sent".to_owned()];
    };
    let told = fewest(sent, recipe, |sent, fields| {
        let host = gap("host.name", fields, &found, recipe).map(tell);
        let mut told: Vec<String> = host.into_iter().collect();
        told.extend(contradictions(&found, sent, fields, declared));
        told.extend(lacks(&found, sent, fields, declared));
        told
    });
    match told.is_empty() {
        true => vec!["its fields are as they were sent, its text is not".to_owned()],
        false => told,
    }
}

/// `fields` are those of the event that was sent.
fn document_differs(
    layers: &[Value],
    sent: &Sent,
    fields: &Value,
    declared: &Declared<'_>,
) -> Vec<String> {
    let differs = |layer| contradictions(layer, sent, fields, declared);
    let mut told: Vec<String> = layers.iter().flat_map(differs).collect();
    // What a raw text holds as JSON is a layer too, and there a key may stand twice as well.
    let texts = layers.iter().flat_map(raw_texts).filter(|(_, text)| !is_sent(text, &sent.text));
    told.extend(texts.filter_map(|(_, text)| twice(text)).map(|key| in_words(&key)));
    if !layers.iter().any(|layer| holds(layer, &sent.text)) {
        let lacking = layers.iter().map(|layer| lacks(layer, sent, fields, declared));
        told.extend(lacking.min_by_key(Vec::len).unwrap_or_default());
    }
    told.sort();
    told.dedup();
    told
}

/// A raw text of the document is what was sent. A message alone is that only under its program.
fn holds(layer: &Value, sent: &Text) -> bool {
    raw_texts(layer).any(|(_, text)| {
        is_sent(text, sent) || (is_message(text, sent) && programs(layer).next().is_some())
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
fn contradictions(
    layer: &Value,
    sent: &Sent,
    fields: &Value,
    declared: &Declared<'_>,
) -> Vec<String> {
    let recipe = declared.recipe;
    let time = recipe.time.as_ref().map(|time| time.field.as_str());
    let compared = |field: &str| {
        let shippers =
            OF_SHIPPERS.iter().any(|own| field == *own || field.starts_with(&format!("{own}.")));
        declared.fields.contains(field) || (!shippers && Some(field) != time)
    };
    let mut told: Vec<String> = leaves(fields)
        .into_iter()
        .filter(|field| compared(field))
        .filter_map(|field| gap(&field, fields, layer, recipe))
        .filter(|gap| gap.gap == Gap::Different)
        .map(tell)
        .collect();
    told.extend(
        filled(layer, fields).into_iter().filter(|(field, _)| compared(field)).map(
            |(field, value)| format!("`{field}` is {:?}, and was sent empty", value.to_string()),
        ),
    );
    if let (Some(_), Some(tag)) = (&sent.text.line, &sent.text.tag) {
        let tag = Value::from(tag.as_str());
        let others = programs(layer).filter_map(|(name, value)| field_gap(name, &tag, Some(value)));
        told.extend(others.filter(|gap| gap.gap == Gap::Different).map(tell));
    }
    told
}

/// Declared fields that are not as they were sent, and raw texts that are something else.
fn lacks(layer: &Value, sent: &Sent, fields: &Value, declared: &Declared<'_>) -> Vec<String> {
    let recipe = declared.recipe;
    let gaps = declared.fields.iter().filter_map(|field| gap(field, fields, layer, recipe));
    let mut told: Vec<String> = gaps.map(tell).collect();
    if recipe.format != Format::Json {
        let texts = raw_texts(layer)
            .filter(|(_, text)| !is_sent(text, &sent.text) && !is_message(text, &sent.text));
        told.extend(texts.map(|(name, _)| format!("`{name}` is not the text that was sent")));
    }
    told
}

/// What is wrong with one field that was sent.
fn gap(field: &str, sent: &Value, layer: &Value, recipe: &Recipe) -> Option<FieldGap> {
    let expected = get(sent, field).filter(|value| !is_blank(value))?;
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

/// True when there is anything but emptiness in it.
fn holds_something(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_something),
        Value::Object(fields) => fields.values().any(holds_something),
        other => !is_blank(other),
    }
}

/// Fields that were sent empty and hold something in the record. An index drops what is empty; nothing on
/// the way fills it.
fn filled<'l>(layer: &'l Value, fields: &Value) -> Vec<(String, &'l Value)> {
    let empty = leaves(fields).into_iter().filter(|field| get(fields, field).is_some_and(is_blank));
    empty
        .filter_map(|field| {
            let value = get(layer, &field).filter(|value| holds_something(value))?;
            Some((field, value))
        })
        .collect()
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
