//! From TOML text to a checked [`Recipe`]: every refusal names file, line, field and next step.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::{
    Attack, EventTemplate, Extract, FactKind, Format, Hours, LogSource, MAX_EVENTS, MAX_SOURCE,
    MAX_SPAN, Need, Recipe, SyslogTemplate, TimeField, TokenField,
};

/// Why a recipe was refused. Reads `file:line: field: problem; help`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct RecipeError {
    /// The file as given.
    pub file: String,
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// The field, where one is to blame.
    pub field: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// The nearest of `known` to `name`, if it is near enough to be a typing error.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecipe {
    id: String,
    title: String,
    attack: Attack,
    #[serde(default)]
    logsource: Vec<LogSource>,
    format: Format,
    token: TokenField,
    #[serde(default)]
    group_by: Vec<String>,
    benign_because: String,
    cleanup: String,
    sigma: Option<Vec<String>>,
    #[serde(default)]
    needs: BTreeMap<String, RawNeed>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    constants: Vec<String>,
    hours: Option<String>,
    syslog: Option<SyslogTemplate>,
    time: Option<TimeField>,
    event: Vec<RawEvent>,
    #[serde(default)]
    extract: Vec<RawExtract>,
    #[serde(default)]
    field_map: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNeed {
    kind: FactKind,
    default: String,
    about: String,
    #[serde(default)]
    one_of: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    name: String,
    #[serde(default = "zero")]
    offset: String,
    #[serde(default = "once")]
    repeat: u32,
    #[serde(default = "zero")]
    every: String,
    #[serde(default)]
    completing: bool,
    template: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExtract {
    regex: String,
    #[serde(default)]
    set: BTreeMap<String, serde_json::Value>,
}

fn zero() -> String {
    "0s".into()
}

fn once() -> u32 {
    1
}

/// Where a message points.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// An error at the first line whose key is `key` (the last part of a dotted field).
    fn error(
        &self,
        field: &str,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> RecipeError {
        let key = field.rsplit('.').next().unwrap_or(field);
        let line = self
            .text
            .lines()
            .position(|line| {
                let line = line.trim_start_matches([' ', '\t', '[']);
                let rest = line.strip_prefix(key).map(str::trim_start);
                rest.is_some_and(|rest| rest.starts_with(['=', ']', '.']))
            })
            .map(|index| index + 1);
        RecipeError {
            file: self.file.into(),
            line,
            field: Some(field.into()),
            problem: problem.into(),
            help: help.into(),
        }
    }
}

/// Parses and checks. See [`Recipe::parse`].
pub(super) fn parse(file: &str, text: &str) -> Result<Recipe, RecipeError> {
    let source = Source { file, text };
    if text.len() > MAX_SOURCE {
        return Err(RecipeError {
            file: file.into(),
            line: None,
            field: None,
            problem: format!("{} bytes, more than {MAX_SOURCE}", text.len()),
            help: "split it into several recipes".into(),
        });
    }
    let raw: RawRecipe = toml::from_str(text).map_err(|error| toml_error(&source, &error))?;
    let (family, name) = check_id(&source, &raw.id)?;
    check_words(&source, &raw)?;
    let sigma = raw.sigma.clone().unwrap_or_else(|| vec![format!("{name}.sigma.yml")]);
    check_format(&source, &raw)?;
    let needs = check_needs(&source, raw.format, &raw.needs)?;
    let events = check_events(&source, &raw.event)?;
    let hours = raw.hours.as_deref().map(|text| parse_hours(&source, text)).transpose()?;
    let extract =
        raw.extract.iter().map(|raw| compile(&source, raw)).collect::<Result<Vec<_>, _>>()?;
    let recipe = Recipe {
        id: raw.id,
        title: raw.title,
        family,
        attack: raw.attack,
        logsource: raw.logsource,
        format: raw.format,
        token: raw.token,
        group_by: raw.group_by,
        benign_because: raw.benign_because,
        cleanup: raw.cleanup,
        sigma,
        needs,
        fields: raw.fields,
        constants: raw.constants,
        hours,
        syslog: raw.syslog,
        time: raw.time,
        events,
        extract,
        field_map: raw.field_map,
    };
    check_templates(&source, &recipe)?;
    Ok(recipe)
}

fn toml_error(source: &Source<'_>, error: &toml::de::Error) -> RecipeError {
    let message = error.message().trim().replace('\n', " ");
    let line = error.span().map(|span| {
        let before = source.text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    });
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown");
    let field = quoted.next().map(str::to_owned);
    let help = match (&field, unknown) {
        (Some(name), true) => match suggest(name, quoted) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "remove it".into(),
        },
        _ => "see an embedded recipe with `dwell recipes show ID --source`".into(),
    };
    RecipeError { file: source.file.into(), line, field, problem: message, help }
}

fn check_id(source: &Source<'_>, id: &str) -> Result<(String, String), RecipeError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match id.split_once('/') {
        Some((family, name)) if plain(family) && plain(name) => Ok((family.into(), name.into())),
        _ => Err(source.error(
            "id",
            format!("`{id}` is no recipe id"),
            "write `family/name` in lower-case letters, digits and hyphens",
        )),
    }
}

fn check_words(source: &Source<'_>, raw: &RawRecipe) -> Result<(), RecipeError> {
    for (field, text) in
        [("title", &raw.title), ("benign_because", &raw.benign_because), ("cleanup", &raw.cleanup)]
    {
        if text.trim().is_empty() {
            return Err(source.error(field, "is empty", "say it in one sentence"));
        }
    }
    if raw.attack.techniques.is_empty() {
        return Err(source.error("attack.techniques", "is empty", "name at least one technique"));
    }
    for id in &raw.attack.techniques {
        if !is_technique(id) {
            return Err(source.error(
                "attack.techniques",
                format!("`{id}` is no technique id"),
                "write it like T1110 or T1110.001",
            ));
        }
    }
    let is_empty = |source: &LogSource| {
        [&source.category, &source.product, &source.service].into_iter().all(Option::is_none)
    };
    if raw.logsource.iter().any(is_empty) {
        return Err(source.error("logsource", "names nothing", "name at least its product"));
    }
    if raw.attack.version.is_empty() {
        return Err(source.error("attack.version", "is empty", "name the version of ATT&CK"));
    }
    Ok(())
}

fn is_technique(id: &str) -> bool {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = id.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((main, sub)) => digits(main, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

fn check_format(source: &Source<'_>, raw: &RawRecipe) -> Result<(), RecipeError> {
    let syslog = raw.format == Format::Syslog;
    if syslog != raw.syslog.is_some() {
        return Err(source.error(
            "format",
            format!("`[syslog]` and format `{}` do not go together", raw.format.name()),
            "`[syslog]` belongs to format `syslog`, and only there",
        ));
    }
    if let Some(header) = &raw.syslog {
        if header.facility > 23 {
            return Err(source.error("syslog.facility", "above 23", "authpriv is 10"));
        }
        if header.severity > 7 {
            return Err(source.error("syslog.severity", "above 7", "info is 6"));
        }
    }
    if syslog == raw.time.is_some() {
        return Err(source.error(
            "time",
            format!("does not go with format `{}`", raw.format.name()),
            "a syslog header holds the time; every other format needs `[time]`",
        ));
    }
    if (raw.format == Format::Json) != raw.extract.is_empty() {
        return Err(source.error(
            "extract",
            format!("does not go with format `{}`", raw.format.name()),
            "a JSON event is its own fields; a text line needs at least one `[[extract]]`",
        ));
    }
    Ok(())
}

fn check_needs(
    source: &Source<'_>,
    format: Format,
    raw: &BTreeMap<String, RawNeed>,
) -> Result<BTreeMap<String, Need>, RecipeError> {
    let mut needs = BTreeMap::new();
    for (name, need) in raw {
        let field = format!("needs.{name}");
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !plain || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(source.error(
                &field,
                "is no name for a fact",
                "use lower-case letters, digits and underscores, a letter first",
            ));
        }
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(source.error(&field, "is taken by the renderer", "choose another name"));
        }
        if !need.one_of.is_empty() && !need.one_of.contains(&need.default) {
            return Err(source.error(&field, "default is not in one_of", "add it there"));
        }
        needs.insert(
            name.clone(),
            Need {
                kind: need.kind,
                default: need.default.clone(),
                about: need.about.clone(),
                one_of: need.one_of.clone(),
            },
        );
    }
    needs.entry("time_zone".into()).or_insert_with(|| Need {
        kind: FactKind::Zone,
        default: "UTC".into(),
        about: "time zone of the host that writes the log".into(),
        one_of: Vec::new(),
    });
    if format == Format::Syslog {
        needs.entry("syslog_time".into()).or_insert_with(|| Need {
            kind: FactKind::Text,
            default: "rfc3164".into(),
            about: "how the host's log file writes times".into(),
            one_of: vec!["rfc3164".into(), "iso".into()],
        });
    }
    Ok(needs)
}

/// Names that the renderer provides.
pub(super) const RESERVED_NAMES: &[&str] = &["token", "time", "n", "nth", "count"];

fn check_events(source: &Source<'_>, raw: &[RawEvent]) -> Result<Vec<EventTemplate>, RecipeError> {
    let mut events: Vec<EventTemplate> = Vec::with_capacity(raw.len());
    for event in raw {
        let offset = duration(source, "event.offset", &event.offset)?;
        let every = duration(source, "event.every", &event.every)?;
        if event.repeat == 0 {
            return Err(source.error("event.repeat", "is 0", "write 1 or remove the event"));
        }
        let end = offset + every * event.repeat.saturating_sub(1).min(MAX_EVENTS as u32);
        let before = events.last().map(|e| e.offset + e.every * (e.repeat - 1));
        if before.is_some_and(|before| offset < before) {
            return Err(source.error(
                "event.offset",
                format!("event `{}` is due before the one above it ends", event.name),
                "write events in the order of their offsets",
            ));
        }
        let total = events.iter().map(|e| e.repeat as usize).sum::<usize>() + event.repeat as usize;
        if total > MAX_EVENTS || end > MAX_SPAN {
            return Err(source.error(
                "event.repeat",
                format!("{total} events over {end:?}"),
                format!("at most {MAX_EVENTS} events within {MAX_SPAN:?} make one canary"),
            ));
        }
        events.push(EventTemplate {
            name: event.name.clone(),
            offset,
            repeat: event.repeat,
            every,
            completing: event.completing,
            template: event.template.clone(),
        });
    }
    match events.as_mut_slice() {
        [] => return Err(source.error("event", "is missing", "write at least one `[[event]]`")),
        [only] => only.completing = true,
        _ => {}
    }
    match events.iter().filter(|event| event.completing).count() {
        1 => Ok(events),
        n => Err(source.error(
            "event.completing",
            format!("{n} events are marked as completing"),
            "mark the one event with which the rule's condition is met",
        )),
    }
}

fn duration(source: &Source<'_>, field: &str, text: &str) -> Result<Duration, RecipeError> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    parsed.and_then(|d| Duration::try_from(d).ok()).filter(|d| *d <= MAX_SPAN).ok_or_else(|| {
        source.error(
            field,
            format!("`{text}` is no duration from 0s to {MAX_SPAN:?}"),
            "write it like `500ms`, `2s` or `1m`",
        )
    })
}

fn parse_hours(source: &Source<'_>, text: &str) -> Result<Hours, RecipeError> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    text.split_once('-')
        .and_then(|(from, to)| Some(Hours { from_minute: minute(from)?, to_minute: minute(to)? }))
        .filter(|hours| hours.from_minute != hours.to_minute)
        .ok_or_else(|| {
            source.error("hours", format!("`{text}` is no span"), "write it like `22:00-06:00`")
        })
}

fn compile(source: &Source<'_>, raw: &RawExtract) -> Result<Extract, RecipeError> {
    let regex: Regex =
        RegexBuilder::new(&raw.regex).size_limit(1 << 20).build().map_err(|error| {
            source.error(
                "extract.regex",
                error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
                "name groups like `(?P<user.name>\\S+)`",
            )
        })?;
    if regex.capture_names().flatten().next().is_none() && raw.set.is_empty() {
        return Err(source.error(
            "extract.regex",
            "finds no field",
            "name groups like `(?P<user.name>\\S+)`",
        ));
    }
    Ok(Extract { regex, set: raw.set.clone() })
}

fn check_templates(source: &Source<'_>, recipe: &Recipe) -> Result<(), RecipeError> {
    let mut templates: Vec<(String, &str)> = recipe
        .events
        .iter()
        .map(|event| (format!("event `{}`.template", event.name), event.template.as_str()))
        .collect();
    if let Some(header) = &recipe.syslog {
        templates.push(("syslog.host".into(), &header.host));
        templates.push(("syslog.app".into(), &header.app));
        templates.push(("syslog.pid".into(), &header.pid));
    }
    for (field, text) in templates {
        let names = crate::render::names(text)
            .map_err(|reason| source.error(&field, reason, "see the minijinja template syntax"))?;
        for name in names {
            let known = || recipe.needs.keys().map(String::as_str).chain(NAMES.iter().copied());
            if !known().any(|k| k == name) {
                let help = match suggest(&name, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare it as `[needs.{name}]`"),
                };
                return Err(source.error(&field, format!("`{name}` is not declared"), help));
            }
        }
    }
    Ok(())
}

/// What a template may use beside facts.
const NAMES: &[&str] =
    &["token", "time", "n", "nth", "count", "vary", "vary_uuid", "vary_hex", "range"];
