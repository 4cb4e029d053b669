//! What a SIEM's document lacks of the fields that its event should have had.

use std::collections::BTreeMap;
use std::fmt;

use dwell_injectors::parse::{ParseHints, get, parse};
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::Rendered;
use serde::Serialize;
use serde_json::Value;

use super::explain::plain;

/// What is wrong with one field of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// The field is not there.
    Missing,
    /// It is there and holds nothing.
    Empty,
    /// It holds something else.
    Different,
}

/// One field of a document that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FieldGap {
    /// The field, dotted.
    pub field: String,
    /// What is wrong with it.
    pub gap: Gap,
    /// What a parser should have found.
    pub expected: String,
    /// What the document holds; foreign text.
    pub actual: Option<String>,
}

impl fmt::Display for FieldGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FieldGap { field, expected, .. } = self;
        match self.gap {
            Gap::Missing => write!(f, "ingested, but `{field}` is missing"),
            Gap::Empty => write!(f, "ingested, but `{field}` is empty"),
            Gap::Different => {
                let actual = self.actual.as_deref().unwrap_or_default();
                write!(f, "ingested, but `{field}` is {actual:?} instead of {expected:?}")
            }
        }
    }
}

/// Compares an indexed document with what the recipe's parser makes of the event that was sent. Of
/// a burst, the event that resembles the document most is the one compared. `None` when the parser reads
/// none of them: then nothing was compared.
pub fn missing_fields(
    recipe: &Recipe,
    rendered: &Rendered,
    facts: &BTreeMap<String, String>,
    document: &Value,
) -> Option<Vec<FieldGap>> {
    let zone = facts
        .get("time_zone")
        .or_else(|| recipe.needs.get("time_zone").map(|need| &need.default))
        .map_or("UTC", String::as_str);
    rendered
        .events
        .iter()
        .filter_map(|event| {
            let hints = ParseHints { received_ns: event.time_ns, time_zone: zone };
            parse(recipe, &event.body, hints)
        })
        .map(|parsed| compare(recipe, &parsed.fields, document))
        .min_by_key(Vec::len)
}

fn compare(recipe: &Recipe, sent: &Value, document: &Value) -> Vec<FieldGap> {
    let expected = |field: String| {
        let expected = get(sent, &field).filter(|value| !whole(value).is_empty())?;
        field_gap(&field, expected, get(document, &field))
    };
    recipe.expected_fields().into_iter().filter_map(expected).collect()
}

/// What is wrong with one field, if anything is.
pub fn field_gap(field: &str, expected: &Value, actual: Option<&Value>) -> Option<FieldGap> {
    let gap = match actual {
        None => Gap::Missing,
        Some(value) if is_empty(value) => Gap::Empty,
        Some(value) if !same(&whole(value), &whole(expected)) => Gap::Different,
        Some(_) => return None,
    };
    let (field, expected) = (field.to_owned(), plain(expected));
    Some(FieldGap { field, gap, expected, actual: actual.map(plain) })
}

/// A value as text, uncut: what differs behind the place where people stop reading differs too.
fn whole(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `["authentication"]` and `authentication` are the same to every index; so is letter case.
fn same(actual: &str, expected: &str) -> bool {
    let bare = |text: &str| text.trim_matches(['[', ']', '"']).to_lowercase();
    bare(actual) == bare(expected)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty() || text == "-",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use dwell_injectors::catalogue::Catalogue;
    use dwell_injectors::lint::GoldenToken;
    use dwell_injectors::parse::set;
    use serde_json::json;

    use super::*;
    use crate::rehearsal::parsed_events;

    fn told(change: impl Fn(&mut Value)) -> Vec<String> {
        let catalogue = Catalogue::embedded().unwrap();
        let recipe = &catalogue.get("fake-login/sshd-brute-force-success").unwrap().recipe;
        let facts = BTreeMap::new();
        let (rendered, events) = parsed_events(recipe, &GoldenToken, &facts).unwrap();
        // The last event of the burst as an index holds it.
        let mut document = events[6].event.clone();
        change(&mut document);
        let gaps = missing_fields(recipe, &rendered, &facts, &document).unwrap();
        gaps.iter().map(FieldGap::to_string).collect()
    }

    #[test]
    fn a_whole_document_has_no_gaps() {
        assert_eq!(told(|_| {}), [""; 0]);
        // Products write the same in other ways.
        let other = told(|document| {
            set(document, "event.category", json!("authentication"));
            set(document, "source.port", json!(37525));
        });
        assert_eq!(other, [""; 0]);
    }

    #[test]
    fn what_the_parser_cannot_read_was_not_compared() {
        let catalogue = Catalogue::embedded().unwrap();
        let recipe = &catalogue.get("fake-login/sshd-brute-force-success").unwrap().recipe;
        let facts = BTreeMap::new();
        let (mut rendered, events) = parsed_events(recipe, &GoldenToken, &facts).unwrap();
        rendered.events.iter_mut().for_each(|event| event.body = "another log".to_owned());
        assert_eq!(missing_fields(recipe, &rendered, &facts, &events[6].event), None);
    }

    #[test]
    fn gaps_are_named_one_by_one() {
        let empty = told(|document| set(document, "user.name", json!("")));
        assert_eq!(empty, ["ingested, but `user.name` is empty"]);
        let missing = told(|document| {
            document["user"] = json!({});
        });
        assert_eq!(missing, ["ingested, but `user.name` is missing"]);
        let other = told(|document| set(document, "source.ip", json!("198.51.100.9")));
        let text = "ingested, but `source.ip` is \"198.51.100.9\" instead of \"203.0.113.7\"";
        assert_eq!(other, [text]);
    }

    #[test]
    fn what_differs_behind_the_cut_of_a_message_differs() {
        let (sent, seen) = ("a".repeat(130), format!("{}; rm -rf", "a".repeat(130)));
        let gap = field_gap("url.original", &json!(sent), Some(&json!(seen))).unwrap();
        assert_eq!(gap.gap, Gap::Different);
        assert_eq!(gap.actual.unwrap().len(), 123, "what is told stays short");
    }
}
