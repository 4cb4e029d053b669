//! The one model that every format prints. Plain data; foreign text is still raw in it and is opened
//! only by `escape`, in the format's own way.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use super::anatomy::StepReport;
pub use super::numbers::*;
pub use super::schedule::ScheduleReport;
use crate::exit::Exit;

/// Name and version of the JSON form.
pub const FORMAT: &str = "dwell-report/1";

/// What every report says about what it does not say.
pub const HONEST_LIMIT: &str = "This is the time for this event shape, entering at this point, to reach this rule. It is not an estimate for a whole breach: an attacker who avoids these rules, or acts where nothing is logged, may never be seen.";

/// What a report without an inventory of sources says.
pub const NO_INVENTORY: &str =
    "No inventory of log sources was given: nothing is said about any other source.";

/// A whole report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportModel {
    /// Always `dwell-report/1`.
    pub format: String,
    /// The campaign's name.
    pub campaign: String,
    /// The instant at which the report looks, RFC 3339 to the nanosecond: `--as-of` with it gives this
    /// report again.
    pub cut: String,
    /// The verdict in words, most important sentence first.
    pub verdict: Vec<String>,
    /// Expectations whose objective is met.
    pub met: u32,
    /// Expectations in all.
    pub expectations: u32,
    /// Outcome counts over all routes.
    pub total: TotalReport,
    /// One entry per route, in the order of the configuration.
    pub routes: Vec<RouteReport>,
    /// What must be known beside the numbers of all routes, in words.
    pub notes: Vec<String>,
    /// Misses and indeterminate outcomes with their last stage and reason: the first 1,000.
    pub misses: Vec<MissReport>,
    /// How many there are.
    pub misses_total: u64,
    /// Misses that differ in nothing but the canary, in order of first appearance: the first 1,000
    /// kinds.
    pub miss_kinds: Vec<MissKind>,
    /// Misses of none of these kinds.
    pub misses_of_other_kinds: u64,
    /// Watchers with what they covered.
    pub watchers: Vec<WatcherReport>,
    /// Sightings that are none of ours, by watcher and class.
    pub strays: BTreeMap<String, BTreeMap<String, u64>>,
    /// Stops and pauses, in words.
    pub controls: Vec<String>,
    /// How late the harness itself is, as calibrated; from the latest run.
    pub floor: super::floor::FloorReport,
    /// How late hand-overs began against their plan; all injected canaries.
    pub lateness: Option<Spread>,
    /// Hours of the day (UTC) in which at least one canary was injected.
    pub hours_sampled: Vec<u8>,
    /// The other hours of the day: nothing is known about detection in them.
    pub hours_never_sampled: Vec<u8>,
    /// Quiet hours as configured, of all runs.
    pub quiet_hours: Vec<String>,
    /// Terms and what they mean here.
    pub definitions: Vec<Definition>,
    /// What the numbers do not say.
    pub limit: String,
    /// Said because no inventory of sources was given.
    pub inventory: String,
    /// What an auditor needs to trace the numbers.
    pub evidence: Evidence,
    /// Histograms of what was seen, for HdrHistogram logs. Left out of the JSON.
    #[serde(skip)]
    #[schemars(skip)]
    pub histograms: HistogramLog,
    /// One row per canary and expectation, where they were asked for ([`ReportModel::with_rows`]);
    /// [`super::write_csv`] needs none. Left out of the JSON.
    #[serde(skip)]
    #[schemars(skip)]
    pub canaries: Vec<CanaryRow>,
}

/// Counts over all routes: no time is pooled over them.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct TotalReport {
    /// planned = withdrawn + not yet due + injected.
    pub planned: u64,
    /// Never handed over.
    pub withdrawn: u64,
    /// Neither withdrawn nor handed over at the cut.
    pub not_yet_due: u64,
    /// Handed over.
    pub injected: u64,
    /// Verdicts per outcome, one per canary and expectation.
    pub outcomes: BTreeMap<String, u64>,
    /// The same in words.
    pub words: String,
}

/// Histograms, and the time that they span.
#[derive(Clone, Debug, Default)]
pub struct HistogramLog {
    /// When the first run began, wall nanoseconds.
    pub began_ns: i64,
    /// From then to the cut, nanoseconds.
    pub length_ns: u64,
    /// Name (route and stage, or `lateness`), largest value in nanoseconds, and the histogram of
    /// microseconds: V2, compressed, base64.
    pub entries: Vec<(String, u64, String)>,
}

/// One route.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RouteReport {
    /// Its name; with the runs where runs of the campaign meant different things by it, which are kept
    /// apart.
    pub name: String,
    /// The runs whose canaries these are.
    pub runs: Vec<u32>,
    /// Its recipe.
    pub recipe: String,
    /// ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Where it enters the pipeline.
    pub enters_at: String,
    /// Who owns it.
    pub owner: String,
    /// True when the owner is a supplier.
    pub supplier: bool,
    /// Where it writes.
    pub target: String,
    /// planned = withdrawn + not yet due + injected.
    pub planned: u64,
    /// Never handed over, by reason.
    pub withdrawn: BTreeMap<String, u64>,
    /// Planned, and at the cut neither withdrawn nor handed over.
    pub not_yet_due: u64,
    /// Handed over.
    pub injected: u64,
    /// Injected, but delivery not proven by receipts; kept out of the survival curve.
    pub delivery_unproven: u64,
    /// Rejected for certain, and seen all the same.
    pub receipt_contradicted: u64,
    /// From where stages and steps are measured.
    pub stages_from: StagesFrom,
    /// Times at each stage, by sightings that satisfy what is expected there; detected only.
    pub stages: Vec<StageReport>,
    /// Where the time goes from stage to stage, detected only.
    pub anatomy: Vec<StepReport>,
    /// What was expected of it.
    pub expectations: Vec<ExpectationReport>,
}

/// From where stages and steps are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub enum StagesFrom {
    /// The submission of the only event.
    #[serde(rename = "submission")]
    Submission,
    /// The submission of a burst's completing event.
    #[serde(rename = "completing event")]
    CompletingEvent,
}

/// One stage of a route.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// The times are upper bounds: some were polled, or found late.
    pub upper_bound: bool,
    /// The spread of the upper ends, detected only.
    pub spread: Spread,
}

/// A spread of durations in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Spread {
    /// Number of durations.
    pub n: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile; `null` of fewer than 29, whose largest may well lie below it.
    pub p90_ns: Option<u64>,
    /// 99th percentile; `null` of fewer than 299.
    pub p99_ns: Option<u64>,
    /// Largest.
    pub max_ns: u64,
    /// Beyond the range of the histogram.
    pub beyond: u64,
}

/// One expectation of a route.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExpectationReport {
    /// Its name.
    pub name: String,
    /// The stage to be reached.
    pub stage: String,
    /// Watchers that decide it.
    pub watchers: Vec<String>,
    /// Rules that satisfy it; empty means any.
    pub rules: Vec<String>,
    /// The objective's time, nanoseconds.
    pub deadline_ns: u64,
    /// When waiting ends, nanoseconds.
    pub horizon_ns: u64,
    /// Canaries per outcome; they add up to the injected ones.
    pub outcomes: BTreeMap<String, u64>,
    /// Seen by a rule that the expectation does not name.
    pub by_other_rule: u64,
    /// Which alert came first, where the expectation names rules and another rule alerted before one
    /// of them.
    pub competing: Option<CompetingReport>,
    /// In time by the alert's own creation time alone, within the stated clock bound.
    pub by_created_time: u64,
    /// How many times rest on what the records say of their creation; only where a watcher's clock is
    /// bounded and its dialect says that they date the stage.
    pub dated: Option<DatedReport>,
    /// Times that rest on the wall clock across a reboot.
    pub across_reboot: u64,
    /// Times with a wall clock step between submission and sighting.
    pub clock_stepped: u64,
    /// Time to detect from the first event.
    pub ttd: TtdReport,
    /// The schedule that the detections betray, where they do.
    pub schedule: Option<ScheduleReport>,
    /// Median from the completing event: a second number, where the recipe is a burst.
    pub completing: Option<CompletingReport>,
    /// Share in time.
    pub share: ShareReport,
    /// The same in batches; only where canaries share them.
    pub share_by_batches: Option<BatchShareReport>,
    /// The claim that was fixed beforehand, or why there is none; only where the objective has a
    /// confidence or a claim was recorded.
    pub claim: Option<ClaimReport>,
    /// `met`, `missed` or `undecided`.
    pub objective: String,
    /// The objective in words.
    pub objective_words: String,
    /// The verdict in words.
    pub verdict: String,
    /// What must be known beside the numbers, in words.
    pub notes: Vec<String>,
}

/// A claim with n and m, and whether the canaries carry it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClaimReport {
    /// Where n and m were fixed: `recorded`, `run`, or `not`.
    pub fixed: String,
    /// When they were fixed, RFC 3339; `null` where they were not.
    pub fixed_at: Option<String>,
    /// Canaries on which it is judged.
    pub n: u64,
    /// Of these so many may be late, missed or undecided.
    pub m: u64,
    /// The share that is claimed.
    pub quantile: f64,
    /// The time that is claimed, nanoseconds.
    pub within_ns: u64,
    /// Its confidence.
    pub confidence: f64,
    /// Canaries of these n that were never sent because the run was stopped or crashed.
    pub never_sent: u64,
    /// Canaries of these n that are old enough to be judged.
    pub judged: u64,
    /// Of those, surely not in time.
    pub not_in_time: u64,
    /// Of those, nobody can say, or a fault of ours kept them back.
    pub open: u64,
    /// Batches of the judged: windows of submission time in which one run of the rule may catch all.
    pub batches: u64,
    /// Of these, whose canaries were all in time.
    pub batches_in_time: u64,
    /// How long a batch is, nanoseconds.
    pub batch_ns: u64,
    /// `carried`, `not carried`, `undecided` or `refused`.
    pub state: String,
    /// The same in words.
    pub words: String,
}

/// One canary that was not seen in time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MissReport {
    /// The route.
    pub route: String,
    /// The expectation.
    pub expectation: String,
    /// `epoch.serial`.
    pub canary: String,
    /// How it ended.
    pub outcome: String,
    /// The latest stage that it provably reached.
    pub last_stage: String,
    /// Why, in words; may hold foreign text.
    pub reason: String,
}

/// Misses that differ in nothing but the canary.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MissKind {
    /// The first of them.
    pub first: MissReport,
    /// Their number.
    pub number: u64,
}

/// One watcher.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WatcherReport {
    /// Its name.
    pub name: String,
    /// The stage that its sightings reach.
    pub stage: String,
    /// `file`, `kafka`, `webhook`, `poll`.
    pub kind: String,
    /// What it reads.
    pub source: String,
    /// True once it read a real record through its dialect under this configuration.
    pub proven: bool,
    /// Complete looks.
    pub looks: u64,
    /// Records read.
    pub records: u64,
    /// How coarse its times are, nanoseconds.
    pub resolution_ns: u64,
    /// Spans that nothing made good, in words.
    pub blind: Vec<String>,
}

/// A term and its meaning.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Definition {
    /// The term.
    pub term: String,
    /// What it means here.
    pub meaning: String,
}

/// What an auditor needs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Evidence {
    /// `campaign k of n in this ledger`.
    pub campaign_number: (u32, u32),
    /// The runs: number, start (RFC 3339), seed, configuration digest, how it ended.
    pub runs: Vec<RunEvidence>,
    /// Who allowed it, as configured; `null` for local targets only.
    pub authorisation: Option<serde_json::Value>,
    /// Recipe to SHA-256.
    pub recipes: BTreeMap<String, String>,
    /// Dialect to SHA-256.
    pub dialects: BTreeMap<String, String>,
    /// Versions of dwell that wrote to the ledger.
    pub versions: Vec<String>,
    /// Clock facts, in words.
    pub clock: Vec<String>,
    /// Heads of the chains at the cut.
    pub heads: Vec<String>,
    /// Expectations of which no canary was injected.
    pub never_exercised: Vec<String>,
    /// Questions to `verify`, by answer.
    pub verifies: BTreeMap<String, u64>,
}

/// One run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunEvidence {
    /// Its number in the ledger.
    pub run: u32,
    /// When it began, RFC 3339.
    pub began: String,
    /// Seed of its schedule.
    pub seed: u64,
    /// How instants were drawn.
    pub arrivals: String,
    /// SHA-256 of the resolved configuration.
    pub config_digest: String,
    /// How it ended; `running or interrupted` while it has not.
    pub ended: String,
}

/// One row of the CSV.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the column's name says it; README and --help define them")]
pub struct CanaryRow {
    pub campaign: String,
    pub run: u32,
    pub route: String,
    pub recipe: String,
    pub token: String,
    pub canary: String,
    pub stage: String,
    pub expectation: String,
    pub outcome: String,
    pub reason: String,
    pub last_stage: String,
    pub ttd_lower_s: Option<f64>,
    pub ttd_upper_s: Option<f64>,
    pub ttd_completing_upper_s: Option<f64>,
    pub watcher: String,
    pub rule: String,
    pub submitted: String,
    pub late_ms: Option<f64>,
    pub delivery: String,
}

impl ExpectationReport {
    /// Its name where that is not its stage's; foreign text.
    pub fn own_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != self.stage)
    }

    /// `detected`, or `paged (notified)` where its name is not its stage's; foreign text.
    pub fn called(&self) -> String {
        match self.own_name() {
            None => self.stage.clone(),
            Some(name) => format!("{name} ({})", self.stage),
        }
    }
}

impl ReportModel {
    /// The exit code that the outcomes call for: 3, 1, 4, 0 in that order of precedence. What is missed
    /// or late is judged by the objective, which says how much of it there may be; the default allows
    /// none.
    pub fn exit(&self) -> Exit {
        let mut exit = Exit::Met;
        for expectation in self.routes.iter().flat_map(|r| &r.expectations) {
            if expectation.outcomes.get("undelivered").is_some_and(|n| *n > 0) {
                exit = exit.worst(Exit::Environment);
            }
            exit = match expectation.objective.as_str() {
                "missed" => exit.worst(Exit::Missed),
                "undecided" => exit.worst(Exit::Undecided),
                _ => exit,
            };
        }
        exit
    }
}

impl Evidence {
    /// Who allowed it, a part a field, in words; not escaped.
    pub(super) fn authorisation_parts(&self) -> Vec<String> {
        match &self.authorisation {
            Some(serde_json::Value::Object(fields)) => {
                let field = |(name, value): (&String, &serde_json::Value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    format!("{name}: {value}")
                };
                fields.iter().map(field).collect()
            }
            Some(value) => vec![value.to_string()],
            None => vec!["none needed, every target is local".to_owned()],
        }
    }
}
