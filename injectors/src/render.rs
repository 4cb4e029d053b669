//! Rendering: recipe + token + facts + intended time -> the exact events. Pure.
//!
//! Invariants:
//!
//! - the same input gives the same bytes: what varies (ports, process ids, uuids) comes from a
//!   ChaCha stream keyed by seed, token and a name;
//! - a body is one record: no control character survives, JSON values are escaped by the renderer
//!   and the result is parsed again before it is handed out;
//! - templates end: fuel is limited, and a body has at most [`MAX_BODY`] bytes;
//! - an undefined name is an error, never an empty text.
//!
//! Templates see every fact of the recipe by its name and besides: `token`; `time` (the event's
//! own time); `n` (repetition of this event template, from 0); `nth` (event of the canary, from 0);
//! `count` (events of the canary); `vary(name, low, high)`, `vary_uuid(name)`, `vary_hex(name,
//! digits)`; and filters for `time`: `rfc3164`, `iso`, `iso_s`, `iso_us`, `iso_7`, `local_iso`,
//! `clf`, `epoch`, `epoch_ms`.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use sha2::{Digest, Sha256};

use crate::injector::{Event, SyslogHeader};
use crate::recipe::{EventTemplate, Format, MAX_BODY, Recipe, SyslogTemplate};
use crate::token::{Carrier, TokenId};

mod escape;
mod filters;

/// Instructions that one template may take.
const FUEL: u64 = 100_000;

/// What rendering asks of a token.
pub trait TokenText {
    /// Which canary it stands for.
    fn id(&self) -> TokenId;
    /// Its text in the form that a carrier allows.
    fn text(&self, carrier: Carrier) -> String;
}

/// All that a rendering depends on.
#[derive(Clone, Copy)]
pub struct RenderInput<'a> {
    /// The token.
    pub token: &'a dyn TokenText,
    /// Facts of the route; those of the recipe's `needs` that are missing take their defaults, names
    /// that the recipe does not know are ignored.
    pub facts: &'a BTreeMap<String, String>,
    /// When the first event is meant to happen, nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// Seed of what varies.
    pub seed: u64,
    /// Template of a transport's key; `None` sends none.
    pub key: Option<&'a str>,
}

/// A rendered canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendered {
    /// Its events, in the order of their offsets.
    pub events: Vec<Event>,
    /// Index of the completing event.
    pub completing: usize,
    /// The token's text as it stands in the events.
    pub token: String,
}

/// Why a recipe could not be rendered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A template failed.
    #[error("recipe {recipe}, {place}: {reason}")]
    Template {
        /// The recipe's id.
        recipe: String,
        /// Which template: `event failed, line 3`.
        place: String,
        /// What happened.
        reason: String,
    },
    /// A fact cannot be used.
    #[error("recipe {recipe}: fact `{fact}`: {reason}")]
    Fact {
        /// The recipe's id.
        recipe: String,
        /// The fact's name.
        fact: String,
        /// What is wrong, and the next step.
        reason: String,
    },
    /// The result would not be one valid record.
    #[error("recipe {recipe}, event {event}: {reason}")]
    Record {
        /// The recipe's id.
        recipe: String,
        /// The event's name.
        event: String,
        /// What is wrong.
        reason: String,
    },
    /// The recipe makes sense at other hours only.
    #[error("recipe {recipe} is meant for {hours} ({zone}), not for {at}")]
    OutsideHours {
        /// The recipe's id.
        recipe: String,
        /// The allowed span.
        hours: String,
        /// The route's time zone.
        zone: String,
        /// The time of day that was asked for.
        at: String,
    },
}

/// Whether a canary could be rendered at that time at all: [`RenderError::OutsideHours`] where the
/// recipe is meant for other hours.
///
/// # Errors
///
/// What [`render`] says of the recipe's hours; other facts are not looked at.
pub fn permitted(
    recipe: &Recipe,
    facts: &BTreeMap<String, String>,
    time_ns: i64,
) -> Result<(), RenderError> {
    check_hours(recipe, zone(recipe, facts), time_ns)
}

/// Renders one canary.
pub fn render(recipe: &Recipe, input: &RenderInput<'_>) -> Result<Rendered, RenderError> {
    let job = Job::new(recipe, input)?;
    let mut events = Vec::with_capacity(recipe.event_count());
    let mut completing = 0;
    for template in &recipe.events {
        for n in 0..template.repeat {
            let event = job.event(template, n, events.len() as u32)?;
            if event.completing {
                completing = events.len();
            }
            events.push(event);
        }
    }
    Ok(Rendered { events, completing, token: job.token })
}

/// The names that a template uses, or why it does not compile.
pub(crate) fn names(template: &str) -> Result<Vec<String>, String> {
    let compiled = ENVIRONMENT.template_from_str(template).map_err(|error| describe(&error))?;
    let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
    names.sort();
    Ok(names)
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| match name {
        "json" => AutoEscape::Custom("json".into()),
        "access-log" => AutoEscape::Custom("access-log".into()),
        "audit" => AutoEscape::Custom("audit".into()),
        _ => AutoEscape::Custom("line".into()),
    });
    environment.set_formatter(escape::format);
    // A template must not be able to switch escaping off.
    environment.remove_filter("safe");
    filters::install(&mut environment);
    environment
});

/// The time zone of the host that seems to write.
fn zone<'a>(recipe: &'a Recipe, facts: &'a BTreeMap<String, String>) -> &'a str {
    let need = recipe.needs.get("time_zone");
    need.map_or("UTC", |need| facts.get("time_zone").unwrap_or(&need.default))
}

fn check_hours(recipe: &Recipe, zone: &str, time_ns: i64) -> Result<(), RenderError> {
    let Some(hours) = recipe.hours else { return Ok(()) };
    let at = filters::zoned(time_ns, zone).map_err(|reason| RenderError::Fact {
        recipe: recipe.id.clone(),
        fact: "time_zone".into(),
        reason,
    })?;
    let minute = u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs());
    if hours.holds(minute) {
        return Ok(());
    }
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    Err(RenderError::OutsideHours {
        recipe: recipe.id.clone(),
        hours: format!("{}-{}", clock(hours.from_minute), clock(hours.to_minute)),
        zone: zone.to_owned(),
        at: clock(minute),
    })
}

/// One rendering under way.
struct Job<'a> {
    recipe: &'a Recipe,
    input: &'a RenderInput<'a>,
    facts: BTreeMap<&'a str, Value>,
    token: String,
    zone: &'a str,
}

impl<'a> Job<'a> {
    fn new(recipe: &'a Recipe, input: &'a RenderInput<'a>) -> Result<Job<'a>, RenderError> {
        let mut facts: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, need) in &recipe.needs {
            let value = input.facts.get(name).unwrap_or(&need.default);
            if !need.one_of.is_empty() && !need.one_of.contains(value) {
                return Err(RenderError::Fact {
                    recipe: recipe.id.clone(),
                    fact: name.clone(),
                    reason: format!("{value:?} is not one of {}", need.one_of.join(", ")),
                });
            }
            facts.insert(name, Value::from(value.as_str()));
        }
        let zone = zone(recipe, input.facts);
        if jiff::tz::TimeZone::get(zone).is_err() {
            return Err(RenderError::Fact {
                recipe: recipe.id.clone(),
                fact: "time_zone".into(),
                reason: format!(
                    "{zone:?} is no time zone of this machine; write it like Europe/Vienna"
                ),
            });
        }
        check_hours(recipe, zone, input.time_ns)?;
        Ok(Job { recipe, input, facts, token: input.token.text(recipe.token.carrier), zone })
    }

    fn event(&self, template: &EventTemplate, n: u32, nth: u32) -> Result<Event, RenderError> {
        let offset = template.offset + template.every * n;
        let time_ns = self.input.time_ns.saturating_add(nanos(offset));
        let context = self.context(time_ns, n, nth);
        let text = match self.recipe.format {
            Format::Json => fold(&template.template),
            _ => template.template.trim().to_owned(),
        };
        let place = format!("event {}", template.name);
        let message = self.fill(self.recipe.format.name(), &place, &text, &context)?;
        let syslog = match &self.recipe.syslog {
            Some(header) => Some(self.header(header, &message, &context)?),
            None => None,
        };
        let body = match &syslog {
            Some(header) => self.file_line(header, &context)?,
            None => message,
        };
        self.check_record(&template.name, &body)?;
        let key = match self.input.key {
            Some(key) => Some(self.fill("line", "key", key, &context)?),
            None => None,
        };
        Ok(Event {
            index: nth,
            offset,
            body,
            completing: template.completing && n + 1 == template.repeat,
            syslog,
            key,
            time_ns,
        })
    }

    fn context(&self, time_ns: i64, n: u32, nth: u32) -> BTreeMap<String, Value> {
        let mut context: BTreeMap<String, Value> =
            self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        context.insert("token".into(), Value::from(self.token.as_str()));
        context.insert("time".into(), Value::from(time_ns));
        context.insert("n".into(), Value::from(n));
        context.insert("nth".into(), Value::from(nth));
        context.insert("count".into(), Value::from(self.recipe.event_count()));
        context.insert("_zone".into(), Value::from(self.zone));
        context.insert("_vary".into(), Value::from(self.vary_key()));
        context
    }

    /// Keys the stream of what varies by seed and canary.
    fn vary_key(&self) -> String {
        let id = self.input.token.id();
        let mut hash = Sha256::new();
        hash.update(self.input.seed.to_le_bytes());
        hash.update(id.epoch.0.to_le_bytes());
        hash.update(id.serial.to_le_bytes());
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }

    fn header(
        &self,
        header: &SyslogTemplate,
        message: &str,
        context: &BTreeMap<String, Value>,
    ) -> Result<SyslogHeader, RenderError> {
        let word = |place: &str, template: &str| {
            let text = self.fill("line", place, template, context)?;
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '[' | ']');
            if text.is_empty() || text.len() > 255 || !text.chars().all(plain) {
                return Err(RenderError::Template {
                    recipe: self.recipe.id.clone(),
                    place: place.into(),
                    reason: format!("{text:?} is no single word; a header field must be one"),
                });
            }
            Ok(text)
        };
        Ok(SyslogHeader {
            facility: header.facility,
            severity: header.severity,
            host: word("syslog.host", &header.host)?,
            app: word("syslog.app", &header.app)?,
            pid: word("syslog.pid", &header.pid)?,
            message: message.to_owned(),
        })
    }

    /// The line as the host's own log file holds it.
    fn file_line(
        &self,
        header: &SyslogHeader,
        context: &BTreeMap<String, Value>,
    ) -> Result<String, RenderError> {
        let iso = context.get("syslog_time").is_some_and(|v| v.as_str() == Some("iso"));
        let template = if iso { "{{ time|local_iso }}" } else { "{{ time|rfc3164 }}" };
        let time = self.fill("line", "syslog time", template, context)?;
        let SyslogHeader { host, app, pid, message, .. } = header;
        Ok(format!("{time} {host} {app}[{pid}]: {message}"))
    }

    fn fill(
        &self,
        escaping: &str,
        place: &str,
        template: &str,
        context: &BTreeMap<String, Value>,
    ) -> Result<String, RenderError> {
        ENVIRONMENT.render_named_str(escaping, template, Value::from(context.clone())).map_err(
            |error| RenderError::Template {
                recipe: self.recipe.id.clone(),
                place: place.to_owned(),
                reason: describe(&error),
            },
        )
    }

    fn check_record(&self, event: &str, body: &str) -> Result<(), RenderError> {
        let refuse = |reason: String| {
            Err(RenderError::Record {
                recipe: self.recipe.id.clone(),
                event: event.to_owned(),
                reason,
            })
        };
        if body.len() > MAX_BODY {
            return refuse(format!("{} bytes, more than {MAX_BODY}", body.len()));
        }
        if body.is_empty() {
            return refuse("is empty".into());
        }
        if let Some(c) = body.chars().find(|c| c.is_control()) {
            return refuse(format!("holds the control character U+{:04X}", u32::from(c)));
        }
        if self.recipe.format == Format::Json {
            match serde_json::from_str::<serde_json::Value>(body) {
                Ok(serde_json::Value::Object(_)) => {}
                Ok(_) => return refuse("is JSON, but no object".into()),
                Err(error) => return refuse(format!("is no valid JSON: {error}")),
            }
        }
        Ok(())
    }
}

/// Joins the lines of a JSON template: no JSON string spans lines, so that is safe.
fn fold(template: &str) -> String {
    template.lines().map(str::trim).collect()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn describe(error: &minijinja::Error) -> String {
    let mut text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    // The template's name is the escaping mode here, which tells a reader nothing.
    if let Some(at) = text.rfind(" (in ") {
        text.truncate(at);
    }
    match error.line() {
        Some(line) => format!("{text} (template line {line})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::parse::{ParseHints, get, parse};
    use crate::token::Epoch;

    struct Fixed(u32);

    impl TokenText for Fixed {
        fn id(&self) -> TokenId {
            TokenId { epoch: Epoch(1), serial: self.0 }
        }

        fn text(&self, carrier: Carrier) -> String {
            match carrier {
                Carrier::Text => "k7qf3n5mz2ab4cde".into(),
                Carrier::Upper => "K7QF3N5MZ2AB4CDE".into(),
                Carrier::Uuid => "0f8fad5b-d9cb-4f6a-9165-70867728950e".into(),
                Carrier::Ipv6 => "2001:db8:1a2b:3c4d:5e6f:7a8b:9cad:1bec".into(),
            }
        }
    }

    /// 2026-11-04T03:05:09.123456789Z: a day below 10, at an odd hour.
    const AT: i64 = 1_793_761_509_123_456_789;

    fn render_with(id: &str, facts: &[(&str, &str)]) -> Result<Rendered, RenderError> {
        let catalogue = Catalogue::embedded().unwrap();
        let facts = facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let input =
            RenderInput { token: &Fixed(7), facts: &facts, time_ns: AT, seed: 1, key: None };
        render(&catalogue.get(id).unwrap().recipe, &input)
    }

    #[test]
    fn a_syslog_line_pads_its_day_and_follows_the_zone() {
        let utc = render_with("fake-login/sshd-failed-password", &[]).unwrap();
        assert!(utc.events[0].body.starts_with("Nov  4 03:05:09 web01.example.net sshd["));
        let facts =
            [("time_zone", "Asia/Kolkata"), ("syslog_time", "iso"), ("sshd_tag", "sshd-session")];
        let kolkata = render_with("fake-login/sshd-failed-password", &facts).unwrap();
        let start = "2026-11-04T08:35:09.123456+05:30 web01.example.net sshd-session[";
        assert!(kolkata.events[0].body.starts_with(start), "{}", kolkata.events[0].body);
        let header = kolkata.events[0].syslog.clone().unwrap();
        assert!(header.message.starts_with("Failed password for invalid user k7qf3n5mz2ab4cde "));
    }

    #[test]
    fn parsing_gives_back_what_was_rendered_in_every_zone_and_style() {
        let catalogue = Catalogue::embedded().unwrap();
        for entry in catalogue.iter() {
            let recipe = &entry.recipe;
            for (zone, style) in [("UTC", "rfc3164"), ("America/St_Johns", "iso")] {
                let facts = match recipe.format {
                    Format::Syslog => vec![("time_zone", zone), ("syslog_time", style)],
                    _ => vec![("time_zone", zone)],
                };
                // At 23:35 in Newfoundland and 03:05 in UTC every recipe makes sense.
                let rendered = render_with(&recipe.id, &facts).unwrap();
                for event in &rendered.events {
                    let hints = ParseHints { received_ns: event.time_ns, time_zone: zone };
                    let parsed = parse(recipe, &event.body, hints).unwrap();
                    let token = get(&parsed.fields, &recipe.token.field).and_then(|v| v.as_str());
                    assert!(token.is_some_and(|t| t.contains(&rendered.token)), "{}", recipe.id);
                    let off = event.time_ns - parsed.time_ns.unwrap();
                    assert!((0..1_000_000_000).contains(&off), "{} {zone}: {off}", recipe.id);
                }
            }
        }
    }

    /// What is foretold about hours is what rendering does.
    #[test]
    fn what_is_permitted_is_what_renders() {
        let catalogue = Catalogue::embedded().unwrap();
        let mut refused = 0;
        for id in ["fake-login/windows-4624-odd-hours", "fake-login/sshd-failed-password"] {
            let recipe = &catalogue.get(id).unwrap().recipe;
            for zone in ["UTC", "Asia/Kathmandu", "Mars/Base"] {
                let facts = BTreeMap::from([("time_zone".to_owned(), zone.to_owned())]);
                for time_ns in (0..48).map(|half| AT + half * 1_800_000_000_000) {
                    let input = RenderInput {
                        token: &Fixed(7),
                        facts: &facts,
                        time_ns,
                        seed: 1,
                        key: None,
                    };
                    let outside = |result: Result<(), RenderError>| match result {
                        Err(error @ RenderError::OutsideHours { .. }) => Some(error),
                        _ => None,
                    };
                    let foretold = outside(permitted(recipe, &facts, time_ns));
                    assert_eq!(foretold, outside(render(recipe, &input).map(drop)), "{id} {zone}");
                    refused += usize::from(foretold.is_some());
                }
            }
        }
        assert_eq!(refused, 2 * 32, "16 hours of a day, in each zone that there is");
    }

    #[test]
    fn unusable_facts_are_refused() {
        let id = "fake-login/sshd-failed-password";
        for facts in [("time_zone", "Mars/Base"), ("syslog_time", "yesterday"), ("host", "a b")] {
            assert!(render_with(id, &[facts]).is_err(), "{facts:?}");
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_and_another_canary_others() {
        let catalogue = Catalogue::embedded().unwrap();
        let recipe = &catalogue.get("fake-login/sshd-failed-password").unwrap().recipe;
        let facts = BTreeMap::new();
        let body = |serial, seed| {
            let token = Fixed(serial);
            let input = RenderInput { token: &token, facts: &facts, time_ns: AT, seed, key: None };
            render(recipe, &input).unwrap().events[0].body.clone()
        };
        assert_eq!(body(7, 1), body(7, 1));
        assert_ne!(body(7, 1), body(8, 1));
        assert_ne!(body(7, 1), body(7, 2));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        /// Whatever a fact holds, an event is one valid record that still holds the token, and JSON
        /// gives the value back as it was.
        #[test]
        fn hostile_facts_leave_one_valid_record(
            value in "[\\PC\n\r\t\0\"'\\\\{}%\u{1b}\u{85}\u{2028}\u{202e}]{0,40}",
        ) {
            let catalogue = Catalogue::embedded().unwrap();
            for entry in catalogue.iter() {
                let recipe = &entry.recipe;
                for name in recipe.needs.keys().filter(|name| *name != "time_zone") {
                    let facts = BTreeMap::from([(name.clone(), value.clone())]);
                    let token = Fixed(7);
                    let input = RenderInput { token: &token, facts: &facts, time_ns: AT, seed: 1, key: None };
                    // Refusing is allowed where the value cannot be written at all.
                    let Ok(rendered) = render(recipe, &input) else { continue };
                    for event in &rendered.events {
                        proptest::prop_assert!(!event.body.contains(char::is_control));
                        let direction = event.body.contains(['\u{202e}', '\u{2028}']);
                        proptest::prop_assert!(recipe.format == Format::Json || !direction);
                        proptest::prop_assert!(event.body.contains(&rendered.token));
                        if recipe.format == Format::Json {
                            let parsed: serde_json::Value = serde_json::from_str(&event.body).unwrap();
                            let used = recipe.events[0].template.contains(&format!("{{{{ {name} }}}}"));
                            proptest::prop_assert!(!used || holds(&parsed, &value), "{}: {name}", recipe.id);
                        }
                    }
                }
            }
        }
    }

    fn holds(document: &serde_json::Value, text: &str) -> bool {
        match document {
            serde_json::Value::String(value) => value == text,
            serde_json::Value::Array(items) => items.iter().any(|item| holds(item, text)),
            serde_json::Value::Object(fields) => fields.values().any(|item| holds(item, text)),
            _ => false,
        }
    }

    #[test]
    fn hostile_values_are_written_as_a_real_writer_would() {
        let facts = [("login_path", "/a\"b\\c\nd\u{202e}")];
        let nginx = render_with("fake-login/nginx-form-login-failure", &facts).unwrap();
        assert!(nginx.events[0].body.contains(r#"POST /a\x22b\x5Cc\x0Ad\xE2\x80\xAE?user="#));
        let line =
            render_with("fake-login/sshd-failed-password", &[("source_ip", "1\n2")]).unwrap();
        assert!(line.events[0].body.contains("from 1#0122 port"));
    }

    #[test]
    fn templates_end_and_say_what_is_undefined() {
        let catalogue = Catalogue::embedded().unwrap();
        let entry = catalogue.get("fake-login/sshd-failed-password").unwrap();
        let with = |template: &str| {
            let mut recipe = (*entry.recipe).clone();
            recipe.events[0].template = template.into();
            let facts = BTreeMap::new();
            let input =
                RenderInput { token: &Fixed(7), facts: &facts, time_ns: AT, seed: 1, key: None };
            render(&recipe, &input).unwrap_err().to_string()
        };
        let endless =
            with("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
        assert!(endless.contains("fuel"), "{endless}");
        assert!(with("{{ nobody }}").contains("undefined"));
        assert!(with("{{ token|safe }}").contains("safe"));
        assert!(with("a\nb").contains("U+000A"));
    }
}
