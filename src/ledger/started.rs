//! The row with which a run begins: what stood then, so that a later configuration changes no number.
//!
//! It holds the resolved configuration without secrets, and beside it, in the words that verdicts need,
//! the routes with what is expected of each, the watchers, and the calibration in force.
//!
//! Not promised: that rows of older versions say all of it. What they do not is optional or false.

use std::collections::BTreeMap;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::Stamp;
use serde::{Deserialize, Serialize};

use super::Stage;

/// A run began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunStarted {
    /// When.
    pub at: Stamp,
    /// Numbered from 1 within the ledger.
    pub run: u32,
    /// The campaign's name.
    pub campaign: String,
    /// Seed of the schedule.
    pub seed: u64,
    /// `stratified`, `poisson` or `fixed`.
    pub arrivals: String,
    /// When the first slot begins.
    pub starts: Stamp,
    /// Length of the injection window, nanoseconds.
    pub window_ns: u64,
    /// Hours never sampled, in words, as configured.
    pub quiet_hours: Vec<String>,
    /// SHA-256 of the resolved configuration, hex.
    pub config_digest: String,
    /// The resolved configuration as JSON, secrets as references only.
    pub config: serde_json::Value,
    /// Recipe name to SHA-256 of its source, hex.
    pub recipes: BTreeMap<String, String>,
    /// Dialect name to SHA-256 of its source, hex.
    pub dialects: BTreeMap<String, String>,
    /// Who allowed this, in the configuration's words.
    pub authorisation: Option<serde_json::Value>,
    /// The floor of the harness as calibrated when the run began; a report takes it from here alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Box<CalibrationFact>>,
    /// The routes with what is expected of each.
    pub routes: Vec<RoutePlan>,
    /// The watchers with their stages.
    pub watchers: Vec<WatcherPlan>,
}

/// What a run keeps of the calibration in force when it began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CalibrationFact {
    /// When it was made, RFC 3339.
    pub measured_at: String,
    /// Whether every aim was met then.
    pub met: bool,
    /// How the machine or the program differs from the one calibrated, in words, and its load then.
    pub notes: Vec<String>,
    /// The floor of each kind of watcher.
    pub floors: Vec<FloorFact>,
    /// SHA-256 of the stored calibration, hex.
    pub digest: String,
}

/// Measured minus true for one kind of watcher.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FloorFact {
    /// `webhook`, `file`, `kafka`.
    pub kind: String,
    /// Number of sightings.
    pub n: u64,
    /// Median, nanoseconds.
    pub p50_ns: i64,
    /// 99th percentile, nanoseconds.
    pub p99_ns: i64,
    /// Upper 95 % limit of it, where there were enough.
    pub p99_upper_ns: Option<i64>,
    /// Largest, nanoseconds.
    pub max_ns: i64,
}

/// A route as it stood when the run began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RoutePlan {
    /// The route's name.
    pub name: String,
    /// Its recipe.
    pub recipe: String,
    /// ATT&CK technique ids of the recipe.
    pub attack: Vec<String>,
    /// Where it enters: `sensor`, `host-log`, `collector`, `broker`, `index`.
    pub enters_at: String,
    /// Who owns the route.
    pub owner: String,
    /// True when the owner is a supplier.
    pub supplier: bool,
    /// Where it writes, in words.
    pub target: String,
    /// Receipt strength that counts as delivery.
    pub proof: Strength,
    /// Number of canaries planned in this run.
    pub planned: u32,
    /// What should happen to each of its canaries.
    pub expectations: Vec<ExpectationPlan>,
}

/// What should happen to a route's canaries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ExpectationPlan {
    /// Name, unique within the route; by default the stage's.
    pub name: String,
    /// The stage to be reached.
    pub stage: Stage,
    /// Watchers that can satisfy it; all of them are required to prove a miss.
    pub watchers: Vec<String>,
    /// Rules that satisfy it; empty means any.
    pub rules: Vec<String>,
    /// The objective's time, nanoseconds after submission of the first event.
    pub deadline_ns: u64,
    /// When waiting ends, nanoseconds after submission of the first event.
    pub horizon_ns: u64,
    /// How often the rule runs, where the configuration says so; rows of older versions do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_period_ns: Option<u64>,
    /// Share in time, 0 to 1.
    pub share: f64,
    /// Confidence of the claim; `None` makes no statistical claim.
    pub confidence: Option<f64>,
    /// Fewest canaries for any verdict.
    pub min_n: u32,
}

/// A watcher as it stood when the run began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WatcherPlan {
    /// The watcher's name.
    pub name: String,
    /// The stage that its sightings reach.
    pub stage: Stage,
    /// The registry's name of its kind: `file`, `kafka`, `webhook`, `poll`.
    pub kind: String,
    /// Dialect name.
    pub dialect: String,
    /// True when it can only be told (webhook), so that its silence proves little.
    pub push: bool,
    /// Poll period or read delay in nanoseconds: how coarse its times are.
    pub resolution_ns: u64,
    /// How long after a deadline its next look may still come, nanoseconds; rows of older versions do
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ns: Option<u64>,
    /// Bound on the clock difference to the SIEM, if the configuration states one.
    pub max_offset_ns: Option<u64>,
    /// True where the records' own creation times date their reaching the stage, within that bound; rows
    /// of older versions do not say so, and none of their times is believed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dates_stage: bool,
    /// What it reads, in words.
    pub source: String,
}
