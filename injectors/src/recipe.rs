//! Recipes: the declarative description that a canary is rendered from.
//!
//! A recipe is one TOML file. It says what the events look like (templates with gaps), which field
//! carries the token, what a SIEM's parser would extract from a text line, which Sigma rules should
//! fire, and why the whole is benign. Adding one needs data files only.
//!
//! Invariants of a [`Recipe`] value:
//!
//! - its id is `family/name`, its events are 1 to [`MAX_EVENTS`], exactly one of them completes;
//! - offsets are ordered within [`MAX_SPAN`] and every template compiles and uses declared names;
//! - the regular expressions of `extract` compile and name their groups.
//!
//! Not promised here: that the rendered events are benign or that a rule fires. The first is
//! [`crate::lint`]'s business, the second that of a rehearsal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::token::Carrier;

mod check;

pub use check::{RecipeError, suggest};

/// Most events of one canary.
pub const MAX_EVENTS: usize = 200;
/// Longest time between the first and the last event of a canary.
pub const MAX_SPAN: Duration = Duration::from_secs(3600);
/// Largest recipe file, bytes.
pub const MAX_SOURCE: usize = 64 * 1024;
/// Largest rendered event, bytes.
pub const MAX_BODY: usize = 32 * 1024;

/// How an event is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A syslog line as a host's log file holds it; syslog transports frame its message anew.
    Syslog,
    /// One JSON object. Values are JSON-escaped by the renderer; line breaks of the template vanish.
    Json,
    /// A web server's access log in nginx's `combined` form.
    AccessLog,
    /// A record of the Linux audit daemon.
    Audit,
}

impl Format {
    /// The format's name as recipes write it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Syslog => "syslog",
            Format::Json => "json",
            Format::AccessLog => "access-log",
            Format::Audit => "audit",
        }
    }
}

/// What kind of thing a fact is; decides which values are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactKind {
    /// A host name; reserved: example domains.
    Host,
    /// A domain name; reserved: example domains.
    Domain,
    /// An IP address; reserved: documentation ranges.
    Address,
    /// An account name, e-mail address or principal; reserved: holds `example` or an example domain.
    Account,
    /// A cloud key or account id; reserved: the ids of the vendors' documentation.
    KeyId,
    /// An IANA time zone.
    Zone,
    /// Free text that identifies nobody.
    Text,
}

/// A value that the route may set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Need {
    /// What kind of thing it is.
    pub kind: FactKind,
    /// Used when the route says nothing; always reserved.
    pub default: String,
    /// What it is for.
    pub about: String,
    /// The only values allowed; empty means any.
    pub one_of: Vec<String>,
}

/// ATT&CK reference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// Version of ATT&CK in which the ids hold.
    pub version: String,
    /// Technique ids: `T1110.001`.
    pub techniques: Vec<String>,
}

/// A log as Sigma rules name it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSource {
    /// `process_creation`, `webserver`.
    pub category: Option<String>,
    /// `linux`, `windows`, `aws`.
    pub product: Option<String>,
    /// `sshd`, `security`, `cloudtrail`.
    pub service: Option<String>,
}

/// Where the token rides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenField {
    /// The field that holds it after parsing, dotted: `user.name`.
    pub field: String,
    /// The form in which it rides.
    pub carrier: Carrier,
}

/// Templates of the syslog header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogTemplate {
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Severity, 0 to 7.
    pub severity: u8,
    /// Host name template.
    pub host: String,
    /// Program tag template.
    pub app: String,
    /// Process id template.
    pub pid: String,
}

/// One event template, possibly repeated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EventTemplate {
    /// Name within the recipe, for messages.
    pub name: String,
    /// Due this long after the canary's first event.
    pub offset: Duration,
    /// How often it is rendered; 1 for a single event.
    pub repeat: u32,
    /// Distance between repetitions.
    pub every: Duration,
    /// True when its last repetition meets the rule's condition.
    pub completing: bool,
    /// The template text.
    pub template: String,
}

/// How a field is found in a text line.
#[derive(Clone, Debug)]
pub struct Extract {
    /// Applied to the message; its named groups are field names.
    pub regex: Regex,
    /// Fields that a parser sets when the expression matches.
    pub set: BTreeMap<String, serde_json::Value>,
}

/// Where the event's own time stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// Field name after parsing. Not used for syslog, whose header holds the time.
    pub field: String,
    /// How it is written.
    pub format: TimeFormat,
}

/// How a time is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// RFC 3339.
    Iso,
    /// Milliseconds since the Unix epoch.
    EpochMs,
    /// Seconds since the Unix epoch with a fraction.
    Epoch,
    /// `24/Nov/2026:09:05:01 +0000`.
    Clf,
}

/// Hours of the day, in the route's time zone, outside which a recipe makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Hours {
    /// First minute of the day that is allowed.
    pub from_minute: u16,
    /// First minute that is not allowed any more; smaller than `from_minute` across midnight.
    pub to_minute: u16,
}

impl Hours {
    /// True when a minute of the day lies within.
    pub fn holds(&self, minute: u16) -> bool {
        if self.from_minute <= self.to_minute {
            (self.from_minute..self.to_minute).contains(&minute)
        } else {
            minute >= self.from_minute || minute < self.to_minute
        }
    }
}

/// A whole, checked recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// `family/name`.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// The first part of the id.
    pub family: String,
    /// ATT&CK technique ids with the version in which they hold.
    pub attack: Attack,
    /// The log that its events stand in, in each way that rules name it. Lint asks for one.
    pub logsource: Vec<LogSource>,
    /// How events are written.
    pub format: Format,
    /// Where the token rides.
    pub token: TokenField,
    /// Fields that survive aggregation by a correlation rule; empty where one event is enough.
    pub group_by: Vec<String>,
    /// Why injecting it harms nobody.
    pub benign_because: String,
    /// What remains in logs and how to tell it apart.
    pub cleanup: String,
    /// Files with the Sigma rules that should fire, beside the recipe.
    pub sigma: Vec<String>,
    /// Facts that the templates use, by name.
    pub needs: BTreeMap<String, Need>,
    /// Fields that a SIEM should have after parsing, beyond the token's.
    pub fields: Vec<String>,
    /// Names of the product's own vocabulary that are no identifiers of anybody.
    pub constants: Vec<String>,
    /// Hours outside which it makes no sense.
    pub hours: Option<Hours>,
    /// Header templates; exactly for [`Format::Syslog`].
    pub syslog: Option<SyslogTemplate>,
    /// Where the event's own time stands; `None` for syslog.
    pub time: Option<TimeField>,
    /// Event templates in the order of their offsets.
    pub events: Vec<EventTemplate>,
    /// How a parser reads a text line. Empty for JSON.
    pub extract: Vec<Extract>,
    /// Names that Sigma rules use to the event's own field names.
    pub field_map: BTreeMap<String, Vec<String>>,
}

impl Recipe {
    /// Parses and checks one recipe. `file` is used in messages only.
    pub fn parse(file: &str, source: &str) -> Result<Recipe, RecipeError> {
        check::parse(file, source)
    }

    /// Number of events of one canary.
    pub fn event_count(&self) -> usize {
        self.events.iter().map(|event| event.repeat as usize).sum()
    }

    /// Time from the first to the last event.
    pub fn span(&self) -> Duration {
        self.events
            .iter()
            .map(|event| event.offset + event.every * event.repeat.saturating_sub(1))
            .max()
            .unwrap_or_default()
    }

    /// Facts that this recipe does not know, each with the nearest name that it does know.
    /// `time_zone` and names of a transport's own (`index`, `sourcetype`, ...) are the caller's.
    pub fn unknown_facts<'a>(
        &'a self,
        facts: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, Option<&'a str>)> {
        facts
            .into_iter()
            .filter(|name| !self.needs.contains_key(*name))
            .map(|name| (name, suggest(name, self.needs.keys().map(String::as_str))))
            .collect()
    }

    /// Every field that a SIEM should hold after parsing: declared, extracted and the token's.
    pub fn expected_fields(&self) -> BTreeSet<String> {
        let mut fields: BTreeSet<String> = self.fields.iter().cloned().collect();
        fields.insert(self.token.field.clone());
        for extract in &self.extract {
            fields.extend(extract.regex.capture_names().flatten().map(str::to_owned));
            fields.extend(extract.set.keys().cloned());
        }
        // Parsers turn the time of a text line into `@timestamp` and drop the text.
        if let (Some(time), true) = (&self.time, self.format != Format::Json) {
            fields.remove(&time.field);
        }
        fields
    }
}
