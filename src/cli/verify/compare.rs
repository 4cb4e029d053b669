//! Is this event the one that was sent? A token proves only that somebody read it: a real attacker
//! may put one that he saw in a log into events of his own.
//!
//! A record matches when it is what was sent, byte for byte (behind a relay's header, or as a text
//! field of a document), or when every field that the recipe's parser finds in what was sent holds
//! the same in the record. A field that is missing counts as different: what cannot be compared is
//! not ours.

use std::collections::BTreeMap;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::{ParseHints, parse};
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::Rendered;
use serde_json::Value;

use crate::dispatch::story::Origin;
use crate::rehearsal::missing_fields;

/// What a relay may put in front of a line, bytes.
const MAX_HEADER: usize = 256;
/// Differences that are told, at most.
const MAX_TOLD: usize = 12;

/// Splits a file into records: a JSON array's elements, one JSON document, or lines.
pub(super) fn records(text: &str) -> Vec<String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) => items.iter().map(Value::to_string).collect(),
        Ok(_) => vec![text.trim().to_owned()],
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
    if origin.bodies.values().any(|body| is_body(record, body)) {
        return Vec::new();
    }
    let document = serde_json::from_str::<Value>(record).ok().filter(Value::is_object);
    if let Some(document) = &document
        && origin.bodies.values().any(|body| holds(document, body))
    {
        return Vec::new();
    }
    let Some(entry) = catalogue.get(&origin.plan.recipe) else {
        return vec![format!(
            "it is not what was sent, and recipe {} is not there to compare field by field",
            origin.plan.recipe
        )];
    };
    by_field(record, document, origin, &entry.recipe)
}

/// The same text, or the same behind what a relay put in front of it.
fn is_body(record: &str, body: &str) -> bool {
    record.strip_suffix(body).is_some_and(|header| {
        header.is_empty() || (header.len() <= MAX_HEADER && header.ends_with([' ', '>', ':']))
    })
}

/// A text field of the document is what was sent, or the document itself is.
fn holds(document: &Value, body: &str) -> bool {
    match document {
        Value::String(text) => is_body(text.trim_end(), body),
        Value::Array(items) => items.iter().any(|item| holds(item, body)),
        Value::Object(fields) => fields.values().any(|field| holds(field, body)),
        _ => false,
    }
}

fn by_field(
    record: &str,
    document: Option<Value>,
    origin: &Origin,
    recipe: &Recipe,
) -> Vec<String> {
    let facts = origin.facts();
    let rendered = origin.rendered();
    let documents = match document {
        Some(document) => layers(document),
        None => match read_line(record, origin, recipe, &facts) {
            Some(fields) => vec![fields],
            None => return vec!["it has not the shape of what was sent".to_owned()],
        },
    };
    let compared = documents
        .iter()
        .map(|document| different(recipe, &rendered, &facts, document))
        .min_by_key(Vec::len)
        .unwrap_or_default();
    let more = compared.len().saturating_sub(MAX_TOLD);
    let mut told: Vec<String> = compared.into_iter().take(MAX_TOLD).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

/// A document, and what search answers wrap into `_source` or the like.
fn layers(document: Value) -> Vec<Value> {
    let inner: Vec<Value> = ["_source", "document", "result", "data"]
        .iter()
        .filter_map(|name| document.get(name).filter(|value| value.is_object()).cloned())
        .collect();
    let mut all = vec![document];
    all.extend(inner);
    all
}

fn read_line(
    record: &str,
    origin: &Origin,
    recipe: &Recipe,
    facts: &BTreeMap<String, String>,
) -> Option<Value> {
    let zone = facts.get("time_zone").map_or("UTC", String::as_str);
    let hints = ParseHints { received_ns: origin.submitted().wall_ns, time_zone: zone };
    parse(recipe, record, hints).map(|parsed| parsed.fields)
}

fn different(
    recipe: &Recipe,
    rendered: &Rendered,
    facts: &BTreeMap<String, String>,
    document: &Value,
) -> Vec<String> {
    missing_fields(recipe, rendered, facts, document)
        .into_iter()
        .map(|gap| match gap.actual {
            Some(actual) => {
                format!("`{}` is {actual:?}, {:?} was sent", gap.field, gap.expected)
            }
            None => format!("`{}` is missing, {:?} was sent", gap.field, gap.expected),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_may_add_a_header_and_nothing_else() {
        let body = "sshd[7]: Failed password for x";
        assert!(is_body(body, body));
        assert!(is_body(&format!("<38>Nov 24 10:00:00 web01 {body}"), body));
        assert!(!is_body(&format!("{body} and more"), body));
        assert!(!is_body(&format!("x{body}"), body));
        assert!(!is_body(&format!("{} {body}", "y".repeat(300)), body));
    }

    #[test]
    fn records_are_lines_documents_or_elements() {
        assert_eq!(records("a\n\nb\r\n").len(), 2);
        assert_eq!(records("{\n\"a\": 1\n}\n").len(), 1);
        assert_eq!(records("[{\"a\":1},{\"a\":2}]").len(), 2);
        assert_eq!(records("{\"a\":1}\n{\"a\":2}\n").len(), 2);
        assert!(records("\n").is_empty());
    }
}
