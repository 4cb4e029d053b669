//! Parsers: a record's text -> the fields of a document. Data, not code: the embedded ones are in
//! `parsers.toml`, a configuration may add its own.
//!
//! A record that no parser of its source knows is indexed all the same, with its text alone, as
//! products do: it can be found, and no rule fires on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dwell_injectors::parse::{get, set};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

static EMBEDDED: &str = include_str!("parsers.toml");

/// The header of a syslog line as host log files hold it.
const HEADER: &str = concat!(
    r"^(?:<\d+>1? ?)?(?P<when>[A-Z][a-z]{2} [ 0-9]\d \d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}T[^ ]+) ",
    r"(?P<host>[^ ]+) (?P<app>[^ :\[]+)(?:\[(?P<pid>\d+)\])?: (?P<text>.*)$",
);

/// A parser as configured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParserSettings {
    /// Its name.
    pub name: String,
    /// How a record is framed.
    pub frame: Frame,
    /// Patterns, tried in order; none for JSON.
    #[serde(default, rename = "pattern", skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<Pattern>,
    /// Where the record's own time stands; a syslog header holds its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeAt>,
}

/// How a record is framed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Frame {
    /// A syslog line; patterns read its message.
    Syslog {
        /// Program tags that it is for.
        apps: Vec<String>,
    },
    /// A line; patterns read the whole.
    Text {},
    /// A JSON object.
    Json {
        /// Fields without which it is not for this parser.
        needs: Vec<String>,
    },
}

/// One pattern.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its named groups are field names.
    pub regex: String,
    /// Fields that it sets besides.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
}

/// Where a record's own time stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeAt {
    /// The field.
    pub field: String,
    /// How it is written.
    pub format: Written,
}

/// How a time is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// RFC 3339.
    Iso,
    /// Seconds since the Unix epoch with a fraction.
    Epoch,
    /// Milliseconds since the Unix epoch.
    EpochMs,
    /// As web servers write it.
    Clf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedded {
    parser: Vec<ParserSettings>,
}

/// A record as fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Fields {
    /// The document.
    pub document: Value,
    /// The record's own time, nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Name of the parser that knew it.
    pub parser: Option<String>,
}

/// Every known parser, compiled.
#[derive(Clone, Debug)]
pub struct ParserSet {
    parsers: Vec<Arc<Parser>>,
    header: Regex,
}

#[derive(Debug)]
struct Parser {
    name: String,
    frame: Frame,
    patterns: Vec<(Regex, BTreeMap<String, Value>)>,
    time: Option<TimeAt>,
}

/// What the reader of a record knows besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Parsers to try.
    pub parsers: &'a [String],
    /// When it was read, wall nanoseconds.
    pub read_ns: i64,
    /// Time zone of lines that name none.
    pub zone: &'a TimeZone,
    /// Fields that get lost.
    pub drop_fields: &'a [String],
}

impl ParserSet {
    /// The embedded parsers and these.
    pub fn new(own: &[ParserSettings]) -> Result<ParserSet, String> {
        let embedded: Embedded =
            toml::from_str(EMBEDDED).map_err(|e| format!("embedded parsers: {e}"))?;
        let header = Regex::new(HEADER).map_err(|e| e.to_string())?;
        let mut set = ParserSet { parsers: Vec::new(), header };
        for settings in embedded.parser.iter().chain(own) {
            if set.knows(&settings.name) {
                return Err(format!("parser: the name {:?} is used twice", settings.name));
            }
            set.parsers.push(Arc::new(compile(settings)?));
        }
        Ok(set)
    }

    /// True for a known name.
    pub fn knows(&self, name: &str) -> bool {
        self.parsers.iter().any(|parser| parser.name == name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parsers.iter().map(|parser| parser.name.as_str())
    }

    /// Makes a document of a record.
    pub fn read(&self, text: &str, reading: Reading<'_>) -> Fields {
        let known = reading
            .parsers
            .iter()
            .filter_map(|name| self.parsers.iter().find(|parser| parser.name == *name))
            .find_map(|parser| Some((parser, self.apply(parser, text, reading)?)));
        let (parser, mut document, time_ns) = match known {
            Some((parser, (document, time_ns))) => (Some(parser.name.clone()), document, time_ns),
            None => {
                let mut document = Value::Object(Map::new());
                set(&mut document, "message", Value::from(text));
                set(&mut document, "tags", Value::from(vec!["_not_parsed"]));
                (None, document, None)
            }
        };
        let time_ns = time_ns.unwrap_or(reading.read_ns);
        // Milliseconds, as most products keep event times.
        let at = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        let shown = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        set(&mut document, "@timestamp", Value::from(shown));
        for field in reading.drop_fields {
            remove(&mut document, field);
        }
        Fields { document, time_ns, parser }
    }

    fn apply(
        &self,
        parser: &Parser,
        text: &str,
        reading: Reading<'_>,
    ) -> Option<(Value, Option<i64>)> {
        let mut document = Value::Object(Map::new());
        let mut time_ns = None;
        match &parser.frame {
            Frame::Json { needs } => {
                document = serde_json::from_str(text).ok()?;
                if !document.is_object() || needs.iter().any(|n| get(&document, n).is_none()) {
                    return None;
                }
            }
            Frame::Text {} => {
                set(&mut document, "message", Value::from(text));
                parser.extract(text, &mut document)?;
            }
            Frame::Syslog { apps } => {
                let header = self.header.captures(text)?;
                if !apps.iter().any(|app| *app == header["app"]) {
                    return None;
                }
                time_ns = syslog_time(&header["when"], reading);
                set(&mut document, "host.name", Value::from(&header["host"]));
                set(&mut document, "process.name", Value::from(&header["app"]));
                if let Some(pid) = header.name("pid") {
                    set(&mut document, "process.pid", Value::from(pid.as_str()));
                }
                set(&mut document, "message", Value::from(&header["text"]));
                parser.extract(&header["text"], &mut document)?;
            }
        }
        if let Some(at) = &parser.time {
            time_ns = get(&document, &at.field).and_then(|value| instant(value, at.format));
        }
        Some((document, time_ns))
    }
}

impl Parser {
    fn extract(&self, text: &str, document: &mut Value) -> Option<()> {
        let (found, constants) = self.patterns.iter().find_map(|(regex, constants)| {
            Some((regex.captures(text).map(|c| (regex, c))?, constants))
        })?;
        let (regex, captures) = found;
        for (field, value) in constants {
            set(document, field, value.clone());
        }
        for field in regex.capture_names().flatten() {
            if let Some(value) = captures.name(field) {
                set(document, field, Value::from(value.as_str()));
            }
        }
        Some(())
    }
}

fn compile(settings: &ParserSettings) -> Result<Parser, String> {
    let at = format!("parser {}", settings.name);
    let json = matches!(settings.frame, Frame::Json { .. });
    if json != settings.patterns.is_empty() {
        let text = if json { "JSON needs no pattern" } else { "name at least one pattern" };
        return Err(format!("{at}: {text}"));
    }
    let patterns = settings
        .patterns
        .iter()
        .map(|pattern| {
            let regex = Regex::new(&pattern.regex).map_err(|e| format!("{at}: regex: {e}"))?;
            Ok((regex, pattern.set.clone()))
        })
        .collect::<Result<_, String>>()?;
    Ok(Parser {
        name: settings.name.clone(),
        frame: settings.frame.clone(),
        patterns,
        time: settings.time.clone(),
    })
}

/// Removes a field, whether nested or written as one dotted key.
fn remove(document: &mut Value, field: &str) {
    let Value::Object(object) = document else { return };
    if object.remove(field).is_some() {
        return;
    }
    for (at, _) in field.match_indices('.') {
        if let Some(inner) = object.get_mut(&field[..at]) {
            remove(inner, &field[at + 1..]);
        }
    }
}

fn nanos(at: Timestamp) -> Option<i64> {
    i64::try_from(at.as_nanosecond()).ok()
}

fn syslog_time(text: &str, reading: Reading<'_>) -> Option<i64> {
    if text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return nanos(text.parse::<Timestamp>().ok()?);
    }
    // No year is written: the line is at most a day ahead of its reader, else it is last year's.
    let now = Timestamp::from_nanosecond(i128::from(reading.read_ns)).ok()?;
    let year = now.to_zoned_datetime(reading.zone.clone()).year();
    let squeezed = text.replace("  ", " ");
    let of = |year: i16| {
        let civil = DateTime::strptime("%Y %b %d %H:%M:%S", format!("{year} {squeezed}")).ok()?;
        nanos(reading.zone.to_ambiguous_zoned_datetime(civil).compatible().ok()?.timestamp())
    };
    let tomorrow = reading.read_ns.saturating_add(86_400_000_000_000);
    [year.saturating_add(1), year, year - 1].into_iter().filter_map(of).find(|at| *at <= tomorrow)
}

fn instant(value: &Value, written: Written) -> Option<i64> {
    match (written, value) {
        (Written::Iso, Value::String(text)) => nanos(text.parse::<Timestamp>().ok()?),
        (Written::EpochMs, Value::Number(ms)) => ms.as_i64()?.checked_mul(1_000_000),
        (Written::Epoch, Value::String(text)) => {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
            let padded = format!("{fraction:0<9}");
            let fraction: i64 = padded.get(..9)?.parse().ok()?;
            seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
        }
        (Written::Clf, Value::String(text)) => {
            let parsed = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
            nanos(parsed.to_timestamp().ok()?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::catalogue::Catalogue;
    use dwell_injectors::parse::{ParseHints, parse};

    /// 2026-11-24, near the golden files' instants.
    const READ_NS: i64 = 1_795_000_000_000_000_000;

    fn read(set: &ParserSet, text: &str, drop_fields: &[String]) -> Fields {
        let parsers: Vec<String> = set.names().map(str::to_owned).collect();
        let reading =
            Reading { parsers: &parsers, read_ns: READ_NS, zone: &TimeZone::UTC, drop_fields };
        set.read(text, reading)
    }

    #[test]
    fn every_embedded_recipe_is_read_with_all_its_fields() {
        let set = ParserSet::new(&[]).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let mut seen = 0;
        for entry in catalogue.iter() {
            let recipe = &entry.recipe;
            let golden = entry.golden.as_deref().expect("every recipe has a golden file");
            for line in golden.lines().filter(|line| !line.is_empty()) {
                let fields = read(&set, line, &[]);
                assert!(
                    fields.parser.is_some(),
                    "{}: no parser knows {line}; write it into parsers.toml",
                    recipe.id
                );
                let hints = ParseHints { received_ns: READ_NS, time_zone: "UTC" };
                let declared = parse(recipe, line, hints).expect("the recipe reads its own event");
                for field in recipe.expected_fields() {
                    let expected = get(&declared.fields, &field);
                    if field != "@timestamp" {
                        let found = get(&fields.document, &field);
                        assert_eq!(found, expected, "{}: {field} of {line}", recipe.id);
                    }
                }
                assert_eq!(Some(fields.time_ns), declared.time_ns, "{}: time", recipe.id);
                seen += 1;
            }
        }
        assert!(seen >= 14, "{seen} events");
    }

    #[test]
    fn the_planted_fault_loses_exactly_its_field() {
        let set = ParserSet::new(&[]).unwrap();
        let line = "Nov 24 03:05:09 web01 sshd[7]: Failed password for invalid user jo from 203.0.113.7 port 4 ssh2";
        let whole = read(&set, line, &[]);
        assert_eq!(get(&whole.document, "user.name"), Some(&Value::from("jo")));
        let faulty = read(&set, line, &["user.name".into()]);
        assert_eq!(get(&faulty.document, "user.name"), None);
        assert_eq!(get(&faulty.document, "source.ip"), get(&whole.document, "source.ip"));
        assert_eq!(get(&faulty.document, "message"), get(&whole.document, "message"));
    }

    #[test]
    fn what_nobody_knows_is_indexed_with_its_text() {
        let set = ParserSet::new(&[]).unwrap();
        let fields = read(&set, "hello", &[]);
        assert_eq!(fields.parser, None);
        assert_eq!(fields.document["message"], "hello");
        assert_eq!(fields.time_ns, READ_NS);
    }
}
