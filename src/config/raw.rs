//! The configuration as it is written. Shapes only; meaning is checked elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dwell_injectors::receipt::Strength;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checked::{Arrivals, EntersAt, Response};
use super::span::Span;
use crate::ledger::Stage;

/// Where measurements are kept.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// The ledger's file. Default: `dwell/ledger.db` below `$XDG_STATE_HOME`.
    pub(super) path: Option<PathBuf>,
}

/// The key that tokens are made with.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// The key's file, mode 0600, made by `dwell init`. Default: `dwell.key`.
    pub(super) file: Option<PathBuf>,
}

/// Name and schedule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Campaign {
    /// Runs with the same name may be compared.
    pub(super) name: String,
    /// Length of the injection window. Default: 1h.
    pub(super) window: Option<Span>,
    /// How instants are drawn. Default: stratified.
    pub(super) arrivals: Option<Arrivals>,
    /// Seed of the schedule. Default: drawn at each start, and recorded.
    pub(super) seed: Option<u64>,
    /// Spans of the day without injection, like `22:00-06:00`.
    #[serde(default)]
    pub(super) quiet_hours: Vec<String>,
    /// Time zone of the quiet hours, IANA name. Default: UTC.
    pub(super) time_zone: Option<String>,
    /// Injection stops within a second of this file's appearing. Default: STOP.
    pub(super) kill_switch: Option<PathBuf>,
    /// How long before its instant a canary is recorded, at most. Default: 1s.
    pub(super) intent_lead: Option<Span>,
    /// How long one event may take to hand over. Default: 30s.
    pub(super) deliver_timeout: Option<Span>,
}

/// Who allowed the campaign.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorisation {
    /// Person or board.
    pub(super) approved_by: String,
    /// Ticket or document.
    pub(super) reference: String,
    /// Whom to call.
    pub(super) contact: String,
    /// First instant: `2026-01-31T08:00:00Z`.
    pub(super) valid_from: String,
    /// Last instant.
    pub(super) valid_until: String,
}

/// Folders with data of the user's own.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Folders {
    /// The folders.
    #[serde(default)]
    pub(super) folders: Vec<PathBuf>,
}

/// A real identity that you own and that can do nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Name by which facts refer to it: `identity:NAME`.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: IdentityKind,
    /// The identity itself.
    pub(super) value: String,
    /// Why it has no power.
    pub(super) powerless_because: String,
}

/// Kinds of identities.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdentityKind {
    /// A user or service account.
    Account,
    /// A cloud key or account id.
    KeyId,
    /// A host name.
    Host,
    /// An IP address.
    Address,
}

impl IdentityKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            IdentityKind::Account => "account",
            IdentityKind::KeyId => "key-id",
            IdentityKind::Host => "host",
            IdentityKind::Address => "address",
        }
    }
}

/// What every watcher has beside the settings of its type.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WatcherCommon {
    // Read beside the settings; here for the schema.
    /// Its name.
    #[allow(dead_code)]
    pub(super) name: String,
    /// The stage that its sightings reach.
    pub(super) stage: Stage,
    /// `same-host`: the product runs on this machine's clock.
    pub(super) clock: Option<ClockRelation>,
    /// Bound on the difference between the product's clock and ours.
    pub(super) max_offset: Option<Span>,
}

/// How the product's clock relates to ours.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClockRelation {
    /// The very same clock.
    SameHost,
}

/// What is injected where, and what should happen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// Its name.
    pub(super) name: String,
    /// The recipe's id: `dwell recipes list`.
    pub(super) recipe: String,
    /// The injector's name.
    pub(super) injector: String,
    /// Where it enters the pipeline.
    pub(super) enters_at: EntersAt,
    /// Who owns it.
    pub(super) owner: String,
    /// True when the owner is a supplier.
    #[serde(default)]
    pub(super) supplier: bool,
    /// Number of canaries in a run. Default: 4.
    pub(super) count: Option<u32>,
    /// Least distance between two canaries. Default: 0s.
    pub(super) min_gap: Option<Span>,
    /// Most canaries an hour. Default: 4.
    pub(super) cap_per_hour: Option<u32>,
    /// Most canaries a day. Default: 24.
    pub(super) cap_per_day: Option<u32>,
    /// Receipt strength that counts as delivery. Default: written.
    pub(super) proof: Option<Strength>,
    /// What an alert of this route sets off.
    pub(super) response: Response,
    /// True when the route is exempted from automated response.
    #[serde(default)]
    pub(super) response_exempted: bool,
    /// Host facts and other template variables.
    #[serde(default)]
    pub(super) facts: BTreeMap<String, String>,
    /// Template of the Kafka key. Default: none.
    pub(super) key: Option<String>,
    /// What should happen.
    pub(super) expect: Vec<Expectation>,
}

/// What should happen to a route's canaries.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    /// Unique within the route. Default: the stage's name.
    pub(super) name: Option<String>,
    /// The stage to be reached.
    pub(super) stage: Stage,
    /// Watchers that can satisfy it.
    pub(super) watchers: Vec<String>,
    /// Rules that satisfy it. Default: any.
    #[serde(default)]
    pub(super) rules: Vec<String>,
    /// The objective's time.
    pub(super) deadline: Span,
    /// When waiting ends. Default: ten times the deadline.
    pub(super) horizon: Option<Span>,
    /// How often the rule runs, where it is scheduled: canaries that one run catches together are not
    /// independent, and intervals account for it. Default: what the detections betray.
    pub(super) rule_period: Option<Span>,
    /// The share that must be in time. Default: all, without a statistical claim.
    pub(super) objective: Option<Objective>,
}

/// A share within the deadline.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Objective {
    /// Above 0, at most 1. Default: 1.
    pub(super) share: Option<f64>,
    /// Above 0, below 1. Default: no statistical claim.
    pub(super) confidence: Option<f64>,
    /// Fewest canaries for any verdict. Default: 1.
    pub(super) min_n: Option<u32>,
}
