//! What a calibration says: plain, versioned data. Adding a field keeps the version.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

/// Name and version of the JSON form.
pub const FORMAT: &str = "dwell-calibration/1";

/// Everything that one calibration found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Always `dwell-calibration/1`.
    pub format: String,
    /// When it ended, RFC 3339.
    pub measured_at: String,
    /// Version of dwell that was measured.
    pub version: String,
    /// `release`, or `development` for a build that is not optimised.
    pub build: String,
    /// Where it ran.
    pub machine: Machine,
    /// `quick`, `default` or `long`.
    pub length: String,
    /// Seed of the schedule and of the planted delays and losses.
    pub seed: u64,
    /// Canaries injected.
    pub canaries: u64,
    /// The floor of each watcher kind that sees emissions; over all scenarios of the plain detector.
    pub floors: Vec<Floor>,
    /// The same by scenario.
    pub by_scenario: Vec<Floor>,
    /// Polled sightings, which are intervals.
    pub polls: Vec<Polled>,
    /// Whether intervals hold what they should.
    pub coverage: Vec<Coverage>,
    /// Everything planted, and what was measured of it.
    pub checks: Vec<Check>,
    /// What was not measured, and why.
    pub not_measured: Vec<String>,
    /// True when every aim is met and everything planted was found again.
    pub met: bool,
}

/// General facts about a machine: no names, no addresses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system.
    pub system: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Processors that this process may use.
    pub cores: u32,
    /// Load average of one minute before.
    pub load_before: f64,
    /// And after.
    pub load_after: f64,
}

impl Machine {
    /// Said when more wanted to run than there are processors.
    pub fn busy(&self) -> Option<String> {
        let load = self.load_before.max(self.load_after);
        (load > f64::from(self.cores))
            .then(|| format!("the machine was busy: load {load:.1} on {} cores", self.cores))
    }
}

/// A value with its 95 % interval; an end is `null` where so few cannot bound it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Nanoseconds.
    pub value_ns: i64,
    /// Lower end.
    pub lower_ns: Option<i64>,
    /// Upper end.
    pub upper_ns: Option<i64>,
}

/// Measured minus true, over the emissions that a kind of watcher saw.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Floor {
    /// `webhook`, `file`, `kafka`.
    pub watcher: String,
    /// The scenario; `all` for every one of the plain detector.
    pub scenario: String,
    /// Emissions seen.
    pub n: u64,
    /// Smallest.
    pub least_ns: i64,
    /// Median: the bias of a typical sighting. Order-statistic interval.
    pub p50: Estimate,
    /// 99th percentile. Order-statistic interval.
    pub p99: Estimate,
    /// Largest.
    pub max_ns: i64,
    /// Mean: the bias of an average. Percentile bootstrap.
    pub mean: Estimate,
    /// Largest 99th percentile that is aimed at.
    pub aim_ns: Option<i64>,
    /// Whether the aim, where there is one, is met.
    pub met: bool,
}

/// Polled sightings of one scenario, or of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Polled {
    /// The scenario; `all` for every one of the plain detector.
    pub scenario: String,
    /// Time from one look to the next, nanoseconds.
    pub every_ns: u64,
    /// Records seen.
    pub n: u64,
    /// Intervals that hold the true instant.
    pub held: u64,
    /// Median width of the intervals, nanoseconds.
    pub width_p50_ns: i64,
    /// Upper end minus true. Order-statistic interval.
    pub upper_p50: Estimate,
    /// Upper end minus true. Order-statistic interval.
    pub upper_p99: Estimate,
    /// Middle of the interval minus true, mean: the bias. Percentile bootstrap.
    pub middle_mean: Estimate,
}

/// How often something that should hold the truth held it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// What is covered by what.
    pub of: String,
    /// The scenario.
    pub scenario: String,
    /// Share of records that the scenario loses; `null` over all scenarios.
    pub loss: Option<f64>,
    /// Times it held.
    pub held: u64,
    /// Of so many.
    pub n: u64,
    /// Lower 95 % limit of the share, Clopper-Pearson.
    pub lower: f64,
    /// Upper limit.
    pub upper: f64,
    /// What is demanded, in words.
    pub aim: String,
    /// Whether that is met.
    pub met: bool,
}

/// One planted thing and whether it was found again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The scenario or the watcher.
    pub about: String,
    /// What was planted.
    pub planted: String,
    /// What was measured.
    pub measured: String,
    /// Whether they agree.
    pub holds: bool,
}

/// The JSON schema of a calibration, as `configs/schema/calibration.json` holds it.
pub fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Calibration>().to_value()
}
