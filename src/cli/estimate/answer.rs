//! The estimates as one serialisable value. Shares lie between 0 and 1. A time is there twice: in the unit
//! asked for, in full precision, and in whole nanoseconds as elsewhere in this program.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::columns::Unit;
use super::data::Data;
use super::polled::{self, Polled};
use super::ticks::Sample;
use super::{Args, Undetected};
use crate::stats::competing::{Ending, Incidence};
use crate::stats::logrank::{Weight, logrank};
use crate::stats::planning::canaries_needed;
use crate::stats::survival::{Band, Curve, Observation, Reach};
use crate::stats::z_two_sided;

/// Quantiles that are estimated.
pub(super) const QUANTILES: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 0.95];
/// What `shown` is judged by, whatever the interval's confidence.
const CLAIM: f64 = 0.95;

/// The schema of what is printed, as `configs/schema/estimate.json` holds it: what is left out where there is
/// nothing to say is not required.
pub(super) fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Answer>().to_value()
}

/// Everything that is printed.
#[derive(Serialize, JsonSchema)]
pub(super) struct Answer {
    /// `dwell-estimate/1`.
    pub(super) format: &'static str,
    pub(super) file: String,
    /// What the file is: `csv`, `json`, `attire`.
    pub(super) input: &'static str,
    /// Which column was used for what.
    pub(super) columns: BTreeMap<&'static str, String>,
    /// Of every time whose name does not end in `_ns`.
    pub(super) unit: Unit,
    /// Times were counted in ticks of this many nanoseconds.
    pub(super) tick_ns: f64,
    pub(super) confidence: f64,
    pub(super) rows: u64,
    pub(super) left_out: BTreeMap<&'static str, u64>,
    pub(super) tau_ns: Option<u64>,
    pub(super) tau: Option<f64>,
    pub(super) groups: Vec<Group>,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) notes: Vec<String>,
}

/// One group of one stratum.
#[derive(Serialize, JsonSchema)]
pub(super) struct Group {
    pub(super) stratum: Option<String>,
    pub(super) group: Option<String>,
    pub(super) n: u64,
    pub(super) events: u64,
    pub(super) method: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) curve: Vec<Point>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) quantiles: Vec<Quantile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restricted_mean: Option<Mean>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turnbull: Option<Polled>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) incidence: Vec<Cause>,
}

/// The curve after one event time; a band is `null` where it is undefined.
#[derive(Serialize, JsonSchema)]
pub(super) struct Point {
    pub(super) time_ns: u64,
    pub(super) time: f64,
    pub(super) at_risk: u64,
    pub(super) events: u64,
    pub(super) undetected: f64,
    /// `null` where nobody is left.
    pub(super) standard_error: Option<f64>,
    pub(super) log_log: Option<(f64, f64)>,
    pub(super) log: Option<(f64, f64)>,
    pub(super) plain: Option<(f64, f64)>,
}

/// A quantile; `null` is not reached.
#[derive(Serialize, JsonSchema)]
pub(super) struct Quantile {
    pub(super) p: f64,
    /// False where the sample is too small for it: the text refuses it.
    pub(super) shown: bool,
    pub(super) needs_more: u64,
    pub(super) estimate_ns: Option<u64>,
    pub(super) estimate: Option<f64>,
    pub(super) log_log_ns: (Option<u64>, Option<u64>),
    pub(super) log_log: (Option<f64>, Option<f64>),
    pub(super) log_ns: (Option<u64>, Option<u64>),
    pub(super) log: (Option<f64>, Option<f64>),
    pub(super) plain_ns: (Option<u64>, Option<u64>),
    pub(super) plain: (Option<f64>, Option<f64>),
}

/// A restricted mean. Its limits are those of a normal distribution: of few rows, or of times few of which are
/// long, they hold it less often than the confidence says (of ten exponential times in about 85 of 100).
#[derive(Serialize, JsonSchema)]
pub(super) struct Mean {
    pub(super) tau_ns: u64,
    pub(super) tau: f64,
    pub(super) mean_ns: f64,
    pub(super) mean: f64,
    pub(super) standard_error_ns: f64,
    pub(super) standard_error: f64,
    pub(super) lower_ns: f64,
    pub(super) lower: f64,
    pub(super) upper_ns: f64,
    pub(super) upper: f64,
    /// False with too few rows for a median, and without any event: the mean would then be a certainty that
    /// nobody has, and the text refuses it.
    pub(super) shown: bool,
    pub(super) needs_more: u64,
    /// False where everybody left was censored before tau: the curve is then held level.
    pub(super) followed_to_tau: bool,
}

/// The incidence of one cause.
#[derive(Serialize, JsonSchema)]
pub(super) struct Cause {
    pub(super) cause: String,
    pub(super) steps: Vec<Step>,
}

/// After one time at which it happened.
#[derive(Serialize, JsonSchema)]
pub(super) struct Step {
    pub(super) time_ns: u64,
    pub(super) time: f64,
    pub(super) incidence: f64,
    pub(super) standard_error: f64,
}

/// One test of all groups.
#[derive(Serialize, JsonSchema)]
pub(super) struct Comparison {
    pub(super) test: &'static str,
    pub(super) stratified: bool,
    pub(super) groups: Vec<String>,
    pub(super) chi2: f64,
    pub(super) df: u32,
    pub(super) p: f64,
    pub(super) observed: Vec<f64>,
    pub(super) expected: Vec<f64>,
    pub(super) variance_of_first: f64,
}

/// Estimates everything.
pub(super) fn compute(data: &Data, args: &Args, file: &str) -> Answer {
    let groups: Vec<Group> = data
        .groups
        .iter()
        .map(|((stratum, name), sample)| {
            let mut group = match sample {
                Sample::Times(times) => times_group(times, args, data),
                Sample::Intervals(intervals) => {
                    let seen = intervals.iter().filter(|i| i.upper_ns.is_some()).count() as u64;
                    let turnbull = Some(polled::estimate(intervals, args.confidence, data));
                    Group { turnbull, ..group(intervals.len() as u64, seen, "turnbull") }
                }
                Sample::Endings(endings) => endings_group(endings, data),
            };
            (group.stratum, group.group) = (stratum.clone(), name.clone());
            group
        })
        .collect();
    let notes = notes(data, args, &groups);
    Answer {
        format: "dwell-estimate/1",
        file: file.to_owned(),
        input: data.format,
        columns: data.columns.clone(),
        unit: args.unit,
        tick_ns: data.ticks.length_ns(),
        confidence: args.confidence,
        rows: data.rows,
        left_out: data.left_out.clone(),
        tau_ns: data.tau.map(|tau| data.ticks.ns(tau)),
        tau: data.tau.map(|tau| data.ticks.in_unit(tau as f64)),
        groups,
        comparisons: comparisons(data),
        notes,
    }
}

fn group(n: u64, events: u64, method: &'static str) -> Group {
    Group {
        stratum: None,
        group: None,
        n,
        events,
        method,
        curve: Vec::new(),
        quantiles: Vec::new(),
        restricted_mean: None,
        turnbull: None,
        incidence: Vec::new(),
    }
}

pub(super) fn needs_more(p: f64, n: u64) -> u64 {
    canaries_needed(p, CLAIM, 0).unwrap_or(u64::MAX).saturating_sub(n)
}

fn times_group(times: &[Observation], args: &Args, data: &Data) -> Group {
    let ticks = data.ticks;
    let curve = Curve::fit(times);
    let last = times.iter().map(|o| o.time_ns).max().unwrap_or(0);
    let point = |step: &crate::stats::survival::Step| Point {
        time_ns: ticks.ns(step.time_ns),
        time: ticks.in_unit(step.time_ns as f64),
        at_risk: step.at_risk,
        events: step.events,
        undetected: step.survival,
        standard_error: Some(step.standard_error()).filter(|se| se.is_finite()),
        log_log: step.band(Band::LogLog, args.confidence),
        log: step.band(Band::Log, args.confidence),
        plain: step.band(Band::Plain, args.confidence),
    };
    let quantile = |p: f64| {
        let [log_log, log, plain] = [Band::LogLog, Band::Log, Band::Plain]
            .map(|band| curve.quantile(p, band, args.confidence));
        let ns = |at: Reach| at.ns().map(|time| ticks.ns(time));
        let unit = |at: Reach| at.ns().map(|time| ticks.in_unit(time as f64));
        let needs_more = needs_more(p, curve.subjects());
        Quantile {
            p,
            shown: needs_more == 0,
            needs_more,
            estimate_ns: ns(log_log.estimate),
            estimate: unit(log_log.estimate),
            log_log_ns: (ns(log_log.lower), ns(log_log.upper)),
            log_log: (unit(log_log.lower), unit(log_log.upper)),
            log_ns: (ns(log.lower), ns(log.upper)),
            log: (unit(log.lower), unit(log.upper)),
            plain_ns: (ns(plain.lower), ns(plain.upper)),
            plain: (unit(plain.lower), unit(plain.upper)),
        }
    };
    let ended = curve.steps().last().is_some_and(|s| s.survival <= 0.0);
    let mean = |tau: u64| restricted_mean(&curve, tau, ended || last >= tau, (args, data));
    Group {
        curve: curve.steps().iter().map(point).collect(),
        quantiles: QUANTILES.into_iter().map(quantile).collect(),
        restricted_mean: data.tau.map(mean),
        ..group(curve.subjects(), curve.events(), "kaplan-meier")
    }
}

fn restricted_mean(
    curve: &Curve,
    tau: u64,
    followed_to_tau: bool,
    (args, data): (&Args, &Data),
) -> Mean {
    let (mean, standard_error) = curve.restricted_mean(tau);
    let half = z_two_sided(args.confidence) * standard_error;
    let (lower, upper) = ((mean - half).max(0.0), (mean + half).min(tau as f64));
    let ns = |time: f64| data.ticks.part_ns(time);
    let unit = |time: f64| data.ticks.in_unit(time);
    Mean {
        tau_ns: data.ticks.ns(tau),
        tau: unit(tau as f64),
        mean_ns: ns(mean),
        mean: unit(mean),
        standard_error_ns: ns(standard_error),
        standard_error: unit(standard_error),
        lower_ns: ns(lower),
        lower: unit(lower),
        upper_ns: ns(upper),
        upper: unit(upper),
        shown: carries_a_mean(curve.subjects(), curve.events()),
        needs_more: needs_more(0.5, curve.subjects()),
        followed_to_tau,
    }
}

/// The rule of the report.
pub(super) fn carries_a_mean(n: u64, events: u64) -> bool {
    needs_more(0.5, n) == 0 && events > 0
}

fn endings_group(endings: &[Ending], data: &Data) -> Group {
    let fit = Incidence::fit(endings);
    let ended = endings.iter().filter(|e| e.cause > 0).count() as u64;
    let cause = |cause: u32| Cause {
        cause: data.causes.get(cause as usize - 1).cloned().unwrap_or_default(),
        steps: fit
            .steps(cause)
            .iter()
            .map(|s| Step {
                time_ns: data.ticks.ns(s.time_ns),
                time: data.ticks.in_unit(s.time_ns as f64),
                incidence: s.incidence,
                standard_error: s.standard_error,
            })
            .collect(),
    };
    Group {
        incidence: fit.causes().map(cause).collect(),
        ..group(fit.subjects(), ended, "aalen-johansen")
    }
}

/// The log-rank test and its weighted forms, within strata.
fn comparisons(data: &Data) -> Vec<Comparison> {
    const TESTS: [(&str, Weight); 4] = [
        ("log-rank", Weight::LogRank),
        ("gehan-breslow", Weight::Gehan),
        ("tarone-ware", Weight::TaroneWare),
        ("fleming-harrington rho=1", Weight::FlemingHarrington { rho: 1.0 }),
    ];
    let names: BTreeSet<&Option<String>> = data.groups.keys().map(|(_, group)| group).collect();
    if names.len() < 2 {
        return Vec::new();
    }
    let strata: BTreeSet<&Option<String>> = data.groups.keys().map(|(s, _)| s).collect();
    let table: Vec<Vec<Vec<Observation>>> = strata
        .iter()
        .map(|stratum| {
            let times = |name: &Option<String>| match data
                .groups
                .get(&((*stratum).clone(), name.clone()))
            {
                Some(Sample::Times(times)) => times.clone(),
                _ => Vec::new(),
            };
            names.iter().map(|name| times(name)).collect()
        })
        .collect();
    let one = |(test, weight): (&'static str, Weight)| {
        let found = logrank(&table, weight)?;
        Some(Comparison {
            test,
            stratified: strata.len() > 1,
            groups: names.iter().map(|name| (*name).clone().unwrap_or_default()).collect(),
            chi2: found.chi2,
            df: found.df,
            p: found.p,
            observed: found.observed,
            expected: found.expected,
            variance_of_first: found.variance,
        })
    };
    TESTS.into_iter().filter_map(one).collect()
}

fn notes(data: &Data, args: &Args, groups: &[Group]) -> Vec<String> {
    let mut notes = Vec::new();
    let kinds: Vec<&Sample> = data.groups.values().collect();
    if args.undetected == Undetected::LeaveOut && !data.left_out.is_empty() {
        notes.push(
            "rows without a detection are left out: detection looks faster than it is".to_owned(),
        );
    }
    if data.format == super::source::ATTIRE && args.stop.is_none() {
        notes.push(
            "an ATTiRe log holds executions: a step is detected only where a detection-time was added"
                .to_owned(),
        );
    }
    let times = kinds.iter().any(|s| matches!(s, Sample::Times(_)));
    if data.tau.is_none() && kinds.iter().any(|s| !matches!(s, Sample::Endings(_))) {
        notes.push("no mean without its end: --tau TIME gives the restricted mean".to_owned());
    }
    if data.columns.contains_key("cause") && !data.columns.contains_key("event") && data.has_event {
        notes.push(
            "the column of events is not used: every row with a cause counts (--event beside --cause \
             changes that)"
                .to_owned(),
        );
    }
    if data.tau.is_some() && kinds.iter().any(|s| matches!(s, Sample::Endings(_))) {
        notes.push("--tau: causes have no restricted mean".to_owned());
    }
    for group in groups {
        let names: Vec<&str> =
            [&group.stratum, &group.group].into_iter().flatten().map(String::as_str).collect();
        let whose = if names.is_empty() { "" } else { &format!("{}: ", names.join(" / ")) };
        let of_group = group.turnbull.iter().flat_map(polled::notes);
        notes.extend(of_group.map(|note| format!("{whose}{note}")));
    }
    if kinds.len() > 1 && !times {
        notes.push("groups are compared where rows are durations with an event column".to_owned());
    }
    notes
}
