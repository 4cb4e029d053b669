//! Parsing: an event's text -> the fields that a SIEM's parser would make of it, by recipe.
//!
//! The reference detector reads with it, lint checks that the token's field is found, and
//! `rehearse` gives its result to the rules. Fields come out nested (`{"user":{"name":..}}`), with
//! `@timestamp` as RFC 3339 and, for text formats, `message` beside what was extracted.
//!
//! Not promised: that it is any product's own parser. It is what such a parser has to find.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use regex::Regex;
use serde_json::{Map, Value};

use crate::recipe::{Format, Recipe, TimeFormat};

/// What a reader knows besides the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseHints<'a> {
    /// About now, nanoseconds since the Unix epoch: an RFC 3164 header holds no year.
    pub received_ns: i64,
    /// Time zone of the host that wrote the line.
    pub time_zone: &'a str,
}

/// An event as fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// The fields, nested.
    pub fields: Value,
    /// The event's own time, nanoseconds since the Unix epoch, where it was found.
    pub time_ns: Option<i64>,
}

static SYSLOG: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:<\d{1,3}>(?:1 )?)?",
        r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) ",
        r"(?P<host>\S+) (?P<app>[^\s\[:]+)(?:\[(?P<pid>[^\]]*)\])?: ?(?P<message>.*)$",
    ))
    .ok()
});

/// Reads one event; `None` when the text is not of this recipe (wrong shape, no pattern matches).
pub fn parse(recipe: &Recipe, body: &str, hints: ParseHints<'_>) -> Option<Parsed> {
    let mut parsed = match recipe.format {
        Format::Json => {
            let fields: Value = serde_json::from_str(body).ok()?;
            fields.is_object().then_some(Parsed { fields, time_ns: None })?
        }
        Format::Syslog => syslog(recipe, body, hints)?,
        Format::AccessLog | Format::Audit => {
            let mut fields = Value::Object(Map::new());
            set(&mut fields, "message", Value::from(body));
            extract(recipe, body, &mut fields)?;
            Parsed { fields, time_ns: None }
        }
    };
    if let Some(time) = &recipe.time {
        let found = get(&parsed.fields, &time.field).cloned();
        parsed.time_ns = found.and_then(|value| instant(&value, time.format));
    }
    if let Some(ns) = parsed.time_ns
        && get(&parsed.fields, "@timestamp").is_none_or(|value| !value.is_string())
        && let Ok(at) = Timestamp::from_nanosecond(i128::from(ns))
    {
        let text = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        set(&mut parsed.fields, "@timestamp", Value::from(text));
    }
    Some(parsed)
}

fn syslog(recipe: &Recipe, body: &str, hints: ParseHints<'_>) -> Option<Parsed> {
    let found = SYSLOG.as_ref()?.captures(body)?;
    let mut fields = Value::Object(Map::new());
    for (group, field) in [
        ("host", "host.name"),
        ("app", "process.name"),
        ("pid", "process.pid"),
        ("message", "message"),
    ] {
        if let Some(text) = found.name(group) {
            set(&mut fields, field, Value::from(text.as_str()));
        }
    }
    extract(recipe, found.name("message")?.as_str(), &mut fields)?;
    Some(Parsed { fields, time_ns: syslog_time(found.name("time")?.as_str(), hints) })
}

/// Applies the first pattern that matches.
fn extract(recipe: &Recipe, text: &str, fields: &mut Value) -> Option<()> {
    let (extract, found) = recipe
        .extract
        .iter()
        .find_map(|extract| extract.regex.captures(text).map(|found| (extract, found)))?;
    for (field, value) in &extract.set {
        set(fields, field, value.clone());
    }
    for name in extract.regex.capture_names().flatten() {
        if let Some(value) = found.name(name) {
            set(fields, name, Value::from(value.as_str()));
        }
    }
    Some(())
}

fn syslog_time(text: &str, hints: ParseHints<'_>) -> Option<i64> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return nanos(text.parse::<Timestamp>().ok()?);
    }
    let zone = TimeZone::get(hints.time_zone).ok()?;
    let near = Timestamp::from_nanosecond(i128::from(hints.received_ns)).ok()?;
    let year = near.to_zoned_datetime(zone.clone()).year();
    let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // No year is written: the one that brings the line nearest to when it was read is meant.
    [year - 1, year, year + 1]
        .into_iter()
        .filter_map(|year| DateTime::strptime("%Y %b %d %H:%M:%S", format!("{year} {spaced}")).ok())
        .filter_map(|civil| zone.to_ambiguous_zoned_datetime(civil).compatible().ok())
        .filter_map(|at: ZonedDateTime| nanos(at.timestamp()))
        .min_by_key(|ns| ns.abs_diff(hints.received_ns))
}

fn instant(value: &Value, format: TimeFormat) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match format {
        TimeFormat::Iso => nanos(text.parse::<Timestamp>().ok()?),
        TimeFormat::EpochMs => text.parse::<i64>().ok()?.checked_mul(1_000_000),
        TimeFormat::Epoch => {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text.as_str(), "0"));
            let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
            let whole = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
            whole.checked_add(fraction.parse::<i64>().ok()?)
        }
        TimeFormat::Clf => {
            let at = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", &text).ok()?;
            nanos(at.to_timestamp().ok()?)
        }
    }
}

fn nanos(at: Timestamp) -> Option<i64> {
    i64::try_from(at.as_nanosecond()).ok()
}

/// A field by its dotted name, whether the document nests it or writes the dotted name as one key.
pub fn get<'a>(document: &'a Value, field: &str) -> Option<&'a Value> {
    let object = document.as_object()?;
    if let Some(value) = object.get(field) {
        return Some(value);
    }
    // Every split is tried, because products mix both ways: `{"winlog":{"event_data.Foo":..}}`.
    field
        .match_indices('.')
        .find_map(|(at, _)| object.get(&field[..at]).and_then(|inner| get(inner, &field[at + 1..])))
}

/// Sets a field by its dotted name, nesting objects; a value in the way is replaced.
pub fn set(document: &mut Value, field: &str, value: Value) {
    let mut here = document;
    let mut parts = field.split('.').peekable();
    while let Some(part) = parts.next() {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(object) = here else { return };
        if parts.peek().is_none() {
            object.insert(part.to_owned(), value);
            return;
        }
        here = object.entry(part.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_found_nested_flat_and_mixed() {
        for document in [
            json!({"a": {"b": {"c": 1}}}),
            json!({"a.b.c": 1}),
            json!({"a": {"b.c": 1}}),
            json!({"a.b": {"c": 1}}),
        ] {
            assert_eq!(get(&document, "a.b.c"), Some(&json!(1)), "{document}");
        }
        assert_eq!(get(&json!({"a": {"b": 1}}), "a.b.c"), None);
    }

    #[test]
    fn a_header_without_a_year_belongs_to_the_nearest_one() {
        let new_year = "2027-01-01T00:00:05Z".parse::<Timestamp>().unwrap();
        let hints = ParseHints { received_ns: nanos(new_year).unwrap(), time_zone: "UTC" };
        let ns = syslog_time("Dec 31 23:59:58", hints).unwrap();
        let expected = "2026-12-31T23:59:58Z".parse::<Timestamp>().unwrap();
        assert_eq!(ns, nanos(expected).unwrap());
        let padded = syslog_time("Jan  1 00:00:04", hints).unwrap();
        assert_eq!(padded, nanos(new_year).unwrap() - 1_000_000_000);
    }

    #[test]
    fn times_are_read_in_every_format() {
        let expected = "2026-11-24T09:05:01.250Z".parse::<Timestamp>().unwrap();
        let expected = nanos(expected).unwrap();
        for (value, format) in [
            (json!("2026-11-24T09:05:01.250Z"), TimeFormat::Iso),
            (json!(1795511101250_i64), TimeFormat::EpochMs),
            (json!("1795511101.25"), TimeFormat::Epoch),
        ] {
            assert_eq!(instant(&value, format), Some(expected), "{value}");
        }
        let clf = instant(&json!("24/Nov/2026:10:05:01 +0100"), TimeFormat::Clf);
        assert_eq!(clf, Some(expected - 250_000_000));
    }
}
