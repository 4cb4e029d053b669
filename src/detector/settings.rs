//! What `dwell detector -c FILE` reads: TOML, tagged enums, unknown keys refused. Relative paths
//! are relative to the file's folder.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parser::{ParserSet, ParserSettings};
use super::random::Delay;

/// Largest configuration file, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Why the detector does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The configuration is wrong; nothing was started.
    #[error("{0}")]
    Settings(String),
    /// The machine or a service failed.
    #[error("{0}")]
    Environment(String),
}

/// A span of time, zero allowed, written like `0s`, `20ms` or `1m 30s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of that many nanoseconds.
    pub const fn from_ns(ns: u64) -> Span {
        Span(ns)
    }

    /// Nanoseconds.
    pub const fn ns(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = std::time::Duration::from_nanos(self.0);
        match jiff::SignedDuration::try_from(duration) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{duration:?}"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let parsed: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| {
            D::Error::custom(format!("{text:?} is no span of time ({e}); write it like \"20ms\""))
        })?;
        u64::try_from(parsed.as_nanos()).map(Span).map_err(|_| {
            D::Error::custom(format!("{text:?} is negative or too long; write it like \"20ms\""))
        })
    }
}

/// The whole configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Address of the search API, loopback only; port 0 takes a free one. Omitted: no API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<SocketAddr>,
    /// Where the truth is written, JSON lines. Omitted: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<PathBuf>,
    /// How far this product's clock is ahead, milliseconds; negative: behind.
    #[serde(default)]
    pub clock_ahead_ms: i64,
    /// Most documents kept.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// Where records come from.
    #[serde(rename = "source")]
    pub sources: Vec<SourceSettings>,
    /// Parsers of the user's own, beside the embedded ones.
    #[serde(default, rename = "parser", skip_serializing_if = "Vec::is_empty")]
    pub parsers: Vec<ParserSettings>,
    /// What is looked for.
    #[serde(default, rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSettings>,
    /// Where alerts go.
    #[serde(default, rename = "outlet", skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<OutletSettings>,
    /// Spans during which something does not work.
    #[serde(default, rename = "outage", skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<Outage>,
}

/// A source of records.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Its name.
    pub name: String,
    /// What is read.
    pub input: Input,
    /// Names of parsers, tried in order.
    pub parsers: Vec<String>,
    /// Fields that the parser loses: the planted fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_fields: Vec<String>,
    /// Time zone of lines that name none.
    #[serde(default = "default_zone")]
    pub time_zone: String,
    /// From reading a record to its being searchable.
    #[serde(default)]
    pub delay: Delay,
    /// Probability that a record never arrives.
    #[serde(default)]
    pub loss: f64,
    /// Probability that a record is indexed twice.
    #[serde(default)]
    pub duplicates: f64,
}

/// What a source reads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// A file, from its beginning, followed as it grows and through rotation.
    File {
        /// The file; it need not exist yet.
        path: PathBuf,
        /// How often it is looked at.
        #[serde(default = "default_look")]
        every: Span,
    },
    /// A Kafka topic, from its present end.
    Kafka {
        /// `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
    },
}

/// A scheduled rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// Its name, for messages and the truth.
    pub name: String,
    /// Which Sigma rules it evaluates together.
    pub rules: RulesFrom,
    /// Sources that it looks at; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Time from one evaluation to the next.
    pub every: Span,
    /// When the first one is, after the start; omitted: drawn by the seed within `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Span>,
    /// How far back each looks, by the time of ingestion.
    pub lookback: Span,
    /// True for a rule that is listed as enabled and evaluates nothing: the planted fault.
    #[serde(default)]
    pub silent: bool,
    /// From the alert's creation to its emission.
    #[serde(default)]
    pub notify: Delay,
    /// Names of outlets.
    pub outlets: Vec<String>,
}

/// Where Sigma rules come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RulesFrom {
    /// Those beside an embedded recipe.
    Recipe {
        /// The recipe's id.
        id: String,
    },
    /// Files or folders.
    Files {
        /// The paths.
        paths: Vec<PathBuf>,
    },
}

/// Where alerts go.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutletSettings {
    /// Its name.
    pub name: String,
    /// The place.
    pub to: OutletTo,
    /// Probability that an alert never leaves.
    #[serde(default)]
    pub loss: f64,
    /// Probability that an alert leaves twice.
    #[serde(default)]
    pub duplicates: f64,
}

/// The place that an outlet writes to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutletTo {
    /// JSON lines, appended.
    File {
        /// The file.
        path: PathBuf,
    },
    /// One POST an alert, repeated until it is answered with 2xx.
    Webhook {
        /// Where to.
        url: String,
        /// Most attempts.
        #[serde(default = "default_attempts")]
        attempts: u32,
    },
    /// One message an alert.
    Kafka {
        /// `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
    },
}

/// A span after the start during which something does not work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Begins.
    pub from: Span,
    /// Is over.
    pub until: Span,
    /// What does not work.
    pub of: OutageOf,
}

/// What an outage affects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutageOf {
    /// No rule is evaluated; evaluations that were due are skipped.
    Rules,
    /// The search API answers 503.
    Search,
}

fn default_keep() -> usize {
    200_000
}

fn default_zone() -> String {
    "UTC".into()
}

fn default_look() -> Span {
    Span::from_ns(5_000_000)
}

fn default_attempts() -> u32 {
    20
}

impl Settings {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Settings, DetectorError> {
        let shown = path.display();
        let unreadable = |e: std::io::Error| {
            DetectorError::Settings(format!("cannot read {shown}: {e}; check the path"))
        };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > MAX_FILE {
            let text = format!("{shown}: {length} bytes, more than {MAX_FILE}");
            return Err(DetectorError::Settings(text));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Settings::parse(&text, folder)
            .map_err(|problem| DetectorError::Settings(format!("{shown}: {problem}")))
    }

    /// Parses and checks; relative paths are taken from `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Settings, String> {
        let mut settings: Settings =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        settings.resolve(folder);
        settings.check()?;
        Ok(settings)
    }

    fn resolve(&mut self, folder: &Path) {
        let place = |path: &mut PathBuf| *path = folder.join(&*path);
        self.truth.iter_mut().for_each(place);
        for source in &mut self.sources {
            if let Input::File { path, .. } = &mut source.input {
                place(path);
            }
        }
        for rule in &mut self.rules {
            if let RulesFrom::Files { paths } = &mut rule.rules {
                paths.iter_mut().for_each(place);
            }
        }
        for outlet in &mut self.outlets {
            if let OutletTo::File { path } = &mut outlet.to {
                place(path);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(api) = self.api
            && !api.ip().is_loopback()
        {
            return Err(format!("api: {api} lies beyond loopback; it has no authentication"));
        }
        if self.sources.is_empty() {
            return Err("source: name at least one".into());
        }
        unique("source", self.sources.iter().map(|s| s.name.as_str()))?;
        unique("rule", self.rules.iter().map(|s| s.name.as_str()))?;
        unique("outlet", self.outlets.iter().map(|s| s.name.as_str()))?;
        let parsers = ParserSet::new(&self.parsers)?;
        for source in &self.sources {
            let at = format!("source {}", source.name);
            chance(&at, "loss", source.loss)?;
            chance(&at, "duplicates", source.duplicates)?;
            if let Some(problem) = source.delay.problem() {
                return Err(format!("{at}: delay: {problem}"));
            }
            if jiff::tz::TimeZone::get(&source.time_zone).is_err() {
                return Err(format!("{at}: time_zone: {:?} is unknown", source.time_zone));
            }
            for name in &source.parsers {
                if !parsers.knows(name) {
                    let known = parsers.names().collect::<Vec<_>>().join(", ");
                    return Err(format!("{at}: parsers: {name:?} is unknown; known: {known}"));
                }
            }
        }
        for outlet in &self.outlets {
            let at = format!("outlet {}", outlet.name);
            chance(&at, "loss", outlet.loss)?;
            chance(&at, "duplicates", outlet.duplicates)?;
            if let OutletTo::Webhook { url, .. } = &outlet.to {
                address(url).map_err(|problem| format!("{at}: url: {url:?} {problem}"))?;
            }
        }
        self.check_rules()?;
        match self.outages.iter().find(|outage| outage.from >= outage.until) {
            Some(o) => {
                Err(format!("outage: from {} does not lie before until {}", o.from, o.until))
            }
            None => Ok(()),
        }
    }

    fn check_rules(&self) -> Result<(), String> {
        for rule in &self.rules {
            let at = format!("rule {}", rule.name);
            if rule.every.ns() < 1_000_000 {
                return Err(format!("{at}: every: {} is below 1ms", rule.every));
            }
            if let Some(problem) = rule.notify.problem() {
                return Err(format!("{at}: notify: {problem}"));
            }
            let known = |name: &String| self.outlets.iter().any(|outlet| outlet.name == *name);
            if let Some(name) = rule.outlets.iter().find(|name| !known(name)) {
                return Err(format!("{at}: outlets: {name:?} is not configured"));
            }
            let known = |name: &String| self.sources.iter().any(|source| source.name == *name);
            if let Some(name) = rule.sources.iter().find(|name| !known(name)) {
                return Err(format!("{at}: sources: {name:?} is not configured"));
            }
        }
        Ok(())
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{what}: the name {name:?} is used twice"));
        }
    }
    Ok(())
}

/// Nothing else can be posted to.
fn address(url: &str) -> Result<(), String> {
    let help = "write it like \"http://127.0.0.1:8080/hook\"";
    match url::Url::parse(url) {
        Err(problem) => Err(format!("is no URL ({problem}); {help}")),
        Ok(url) if !["http", "https"].contains(&url.scheme()) => {
            Err(format!("is neither http nor https; {help}"))
        }
        Ok(_) => Ok(()),
    }
}

fn chance(at: &str, field: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("{at}: {field}: {value} is no probability; write 0 to 1"))
    }
}
