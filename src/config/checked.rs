//! The checked configuration: what the rest of the program may rely on. No field here can hold a
//! state that `check` would refuse; nothing here has done any I/O beyond reading files of data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dwell_injectors::receipt::Strength;
use dwell_injectors::secret::SecretRef;

use crate::ledger::Stage;

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// SHA-256 of the resolved configuration, hex.
    pub digest: String,
    /// The resolved configuration as JSON, secrets as references only.
    pub resolved: serde_json::Value,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The key file (mode 0600).
    pub key: PathBuf,
    /// Folders with recipes of the user's own.
    pub recipe_folders: Vec<PathBuf>,
    /// Folders with dialects of the user's own.
    pub dialect_folders: Vec<PathBuf>,
    /// Name, schedule, seed.
    pub campaign: Campaign,
    /// Who allowed it; required for any target that is not local.
    pub authorisation: Option<Authorisation>,
    /// Real identities declared owned and powerless.
    pub identities: Vec<Identity>,
    /// Name to transport settings.
    pub injectors: BTreeMap<String, dwell_injectors::registry::InjectorSettings>,
    /// Name to watcher.
    pub watchers: BTreeMap<String, WatcherEntry>,
    /// The routes, in file order.
    pub routes: Vec<Route>,
    /// Warnings that do not prevent a run.
    pub warnings: Vec<String>,
}

/// Name and schedule of a campaign.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The campaign's name: runs with the same name may be compared.
    pub name: String,
    /// Seed of the schedule; `None` draws one at the start of each run and records it.
    pub seed: Option<u64>,
    /// Length of the injection window.
    pub window: Duration,
    /// How instants are drawn.
    pub arrivals: Arrivals,
    /// Spans of the day in which nothing is injected.
    pub quiet_hours: Vec<QuietHours>,
    /// Time zone of the quiet hours, IANA name.
    pub time_zone: String,
    /// How long before its instant an intent is committed, at most.
    pub intent_lead: Duration,
    /// Injection stops within a second of this file's appearing.
    pub kill_switch: PathBuf,
    /// How long one event may take to hand over.
    pub deliver_timeout: Duration,
}

/// How instants are drawn within the window.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// One uniform instant in each of n equal slots: the default.
    Stratified,
    /// A Poisson process conditioned on n arrivals: n uniform instants over the whole window.
    Poisson,
    /// Equal spacing. Measures one phase of a scheduled rule; warns.
    Fixed,
}

/// A span of the day, minutes after midnight; `from > to` crosses midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuietHours {
    /// First quiet minute.
    pub from_minute: u16,
    /// First minute that is not quiet any more.
    pub to_minute: u16,
}

/// Who allowed the campaign.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Authorisation {
    /// Person or board.
    pub approved_by: String,
    /// Ticket or document.
    pub reference: String,
    /// Whom to call.
    pub contact: String,
    /// First instant, RFC 3339.
    pub valid_from: jiff::Timestamp,
    /// Last instant, RFC 3339.
    pub valid_until: jiff::Timestamp,
}

/// A real identity that the operator declares owned and powerless.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Identity {
    /// Name by which routes refer to it.
    pub name: String,
    /// `account`, `key-id`, `host` or `address`.
    pub kind: String,
    /// The identity itself.
    pub value: String,
    /// Why it has no power.
    pub powerless_because: String,
}

/// A route: what is injected where, and what should happen.
#[derive(Clone, Debug)]
pub struct Route {
    /// The route's name.
    pub name: String,
    /// The recipe's id.
    pub recipe: String,
    /// The injector's name.
    pub injector: String,
    /// Where it enters.
    pub enters_at: EntersAt,
    /// Who owns the route.
    pub owner: String,
    /// True when the owner is a supplier.
    pub supplier: bool,
    /// Number of canaries in a run.
    pub count: u32,
    /// Least distance between two canaries, against alert suppression.
    pub min_gap: Duration,
    /// Finite caps.
    pub cap_per_hour: u32,
    /// Finite caps.
    pub cap_per_day: u32,
    /// Receipt strength that counts as delivery.
    pub proof: Strength,
    /// What an alert of this route sets off.
    pub response: Response,
    /// True when the route is exempted from automated response.
    pub response_exempted: bool,
    /// Host facts and other template variables: `host`, `domain`, `index`, `sshd_tag`, `time_zone`, `key_id` ...
    /// Values may name an identity as `identity:NAME`, resolved here already.
    pub facts: BTreeMap<String, String>,
    /// Template of the Kafka key; `None` sends none.
    pub key: Option<String>,
    /// What should happen. Never empty.
    pub expectations: Vec<Expectation>,
}

/// Where a route enters the pipeline.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EntersAt {
    /// A sensor or the source product itself.
    Sensor,
    /// A log file of a host.
    HostLog,
    /// A log collector.
    Collector,
    /// A message broker.
    Broker,
    /// The index itself: everything before it is untested.
    Index,
}

/// What an alert of a route sets off.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Nothing.
    None,
    /// A ticket.
    Ticket,
    /// Somebody's pager.
    Page,
    /// A machine acts; refused without an exemption.
    Automated,
}

/// What should happen to a route's canaries.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Unique within the route; by default the stage's name.
    pub name: String,
    /// The stage to be reached.
    pub stage: Stage,
    /// Watchers that can satisfy it. Never empty.
    pub watchers: Vec<String>,
    /// Rules that satisfy it; empty means any.
    pub rules: Vec<String>,
    /// The objective's time.
    pub deadline: Duration,
    /// When waiting ends.
    pub horizon: Duration,
    /// How often the rule runs, where the operator says so.
    pub rule_period: Option<Duration>,
    /// The objective.
    pub objective: Objective,
}

/// A share within the deadline, and what claim goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// Share in time, above 0, at most 1.
    pub share: f64,
    /// Confidence of the claim; `None` makes no statistical claim.
    pub confidence: Option<f64>,
    /// Fewest canaries for any verdict.
    pub min_n: u32,
}

/// A configured watcher.
#[derive(Clone, Debug)]
pub struct WatcherEntry {
    /// The stage that its sightings reach.
    pub stage: Stage,
    /// Bound on the clock difference to the product; zero for `clock = "same-host"`.
    pub max_offset: Option<Duration>,
    /// How it looks.
    pub settings: crate::watchers::WatcherSettings,
}

/// Credentials for HTTP.
#[derive(
    Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HttpAuth {
    /// `Authorization: Bearer <secret>`.
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// `Authorization: Basic ...`.
    Basic {
        /// User name; not a secret.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// Any header: `ApiKey ...`, `Splunk ...`.
    Header {
        /// Header name.
        name: String,
        /// The whole header value.
        value: SecretRef,
    },
}
