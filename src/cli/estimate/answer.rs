//! The estimates as one serialisable value. Times are nanoseconds, shares between 0 and 1.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::columns::Unit;
use super::data::{Data, Sample};
use super::{Args, Undetected};
use crate::exit::Failure;
use crate::stats::competing::{Ending, Incidence};
use crate::stats::intervals::{Interval, Turnbull};
use crate::stats::logrank::{Weight, logrank};
use crate::stats::planning::canaries_needed;
use crate::stats::survival::{Band, Curve, Observation};
use crate::stats::z_two_sided;

/// Quantiles that are estimated.
const QUANTILES: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 0.95];
/// What `shown` is judged by, whatever the interval's confidence.
const CLAIM: f64 = 0.95;

/// Everything that is printed.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) schema: u32,
    pub(super) file: String,
    pub(super) format: &'static str,
    pub(super) columns: BTreeMap<&'static str, String>,
    pub(super) unit: Unit,
    pub(super) confidence: f64,
    pub(super) rows: u64,
    pub(super) left_out: BTreeMap<&'static str, u64>,
    pub(super) tau_ns: Option<u64>,
    pub(super) groups: Vec<Group>,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) notes: Vec<String>,
}

/// One group of one stratum.
#[derive(Serialize)]
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
    pub(super) turnbull: Option<Masses>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) incidence: Vec<Cause>,
}

/// The curve after one event time; a band is `null` where it is undefined.
#[derive(Serialize)]
pub(super) struct Point {
    pub(super) time_ns: u64,
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
#[derive(Serialize)]
pub(super) struct Quantile {
    pub(super) p: f64,
    /// False where the sample is too small for it: the text refuses it.
    pub(super) shown: bool,
    pub(super) needs_more: u64,
    pub(super) estimate_ns: Option<u64>,
    pub(super) log_log_ns: (Option<u64>, Option<u64>),
    pub(super) log_ns: (Option<u64>, Option<u64>),
    pub(super) plain_ns: (Option<u64>, Option<u64>),
}

/// A restricted mean.
#[derive(Serialize)]
pub(super) struct Mean {
    pub(super) tau_ns: u64,
    pub(super) mean_ns: f64,
    pub(super) standard_error_ns: f64,
    pub(super) lower_ns: f64,
    pub(super) upper_ns: f64,
    /// False where everybody left was censored before tau: the curve is then held level.
    pub(super) followed_to_tau: bool,
}

/// Turnbull's estimate: probability per interval, open below and closed above.
#[derive(Serialize)]
pub(super) struct Masses {
    pub(super) log_likelihood: f64,
    pub(super) masses: Vec<Mass>,
    pub(super) quantiles: Vec<Cell>,
}

/// One interval with probability.
#[derive(Serialize)]
pub(super) struct Mass {
    pub(super) lower_ns: u64,
    pub(super) upper_ns: Option<u64>,
    pub(super) mass: f64,
}

/// Where a quantile lies: no single time is known.
#[derive(Serialize)]
pub(super) struct Cell {
    pub(super) p: f64,
    pub(super) shown: bool,
    pub(super) needs_more: u64,
    pub(super) after_ns: Option<u64>,
    pub(super) by_ns: Option<u64>,
}

/// The incidence of one cause.
#[derive(Serialize)]
pub(super) struct Cause {
    pub(super) cause: String,
    pub(super) steps: Vec<Step>,
}

/// After one time at which it happened.
#[derive(Serialize)]
pub(super) struct Step {
    pub(super) time_ns: u64,
    pub(super) incidence: f64,
    pub(super) standard_error: f64,
}

/// One test of all groups.
#[derive(Serialize)]
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
pub(super) fn compute(
    data: &Data,
    args: &Args,
    file: &str,
    tau_ns: Option<u64>,
) -> Result<Answer, Failure> {
    let groups = data
        .groups
        .iter()
        .map(|((stratum, name), sample)| {
            let mut group = match sample {
                Sample::Times(times) => times_group(times, args, tau_ns),
                Sample::Intervals(intervals) => intervals_group(intervals),
                Sample::Endings(endings) => endings_group(endings, &data.causes),
            };
            (group.stratum, group.group) = (stratum.clone(), name.clone());
            group
        })
        .collect();
    Ok(Answer {
        schema: 1,
        file: file.to_owned(),
        format: data.format,
        columns: data.columns.clone(),
        unit: args.unit,
        confidence: args.confidence,
        rows: data.rows,
        left_out: data.left_out.clone(),
        tau_ns,
        groups,
        comparisons: comparisons(data),
        notes: notes(data, args, tau_ns),
    })
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

fn needs_more(p: f64, n: u64) -> u64 {
    canaries_needed(p, CLAIM, 0).unwrap_or(u64::MAX).saturating_sub(n)
}

fn times_group(times: &[Observation], args: &Args, tau_ns: Option<u64>) -> Group {
    let curve = Curve::fit(times);
    let last = times.iter().map(|o| o.time_ns).max().unwrap_or(0);
    let point = |step: &crate::stats::survival::Step| Point {
        time_ns: step.time_ns,
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
        let ends = |q: crate::stats::survival::Quantile| (q.lower.ns(), q.upper.ns());
        let needs_more = needs_more(p, curve.subjects());
        Quantile {
            p,
            shown: needs_more == 0,
            needs_more,
            estimate_ns: log_log.estimate.ns(),
            log_log_ns: ends(log_log),
            log_ns: ends(log),
            plain_ns: ends(plain),
        }
    };
    let ended = curve.steps().last().is_some_and(|s| s.survival <= 0.0);
    let mean = |tau_ns: u64| {
        let (mean_ns, standard_error_ns) = curve.restricted_mean(tau_ns);
        let half = z_two_sided(args.confidence) * standard_error_ns;
        Mean {
            tau_ns,
            mean_ns,
            standard_error_ns,
            lower_ns: (mean_ns - half).max(0.0),
            upper_ns: (mean_ns + half).min(tau_ns as f64),
            followed_to_tau: ended || last >= tau_ns,
        }
    };
    Group {
        curve: curve.steps().iter().map(point).collect(),
        quantiles: QUANTILES.into_iter().map(quantile).collect(),
        restricted_mean: tau_ns.map(mean),
        ..group(curve.subjects(), curve.events(), "kaplan-meier")
    }
}

fn intervals_group(intervals: &[Interval]) -> Group {
    let n = intervals.len() as u64;
    let seen = intervals.iter().filter(|i| i.upper_ns.is_some()).count() as u64;
    let fit = Turnbull::fit(intervals);
    let mass = |(interval, mass): &(Interval, f64)| Mass {
        lower_ns: interval.lower_ns,
        upper_ns: interval.upper_ns,
        mass: *mass,
    };
    let cell = |p: f64| {
        let (after, by) = fit.quantile_bounds(p);
        let needs_more = needs_more(p, n);
        Cell { p, shown: needs_more == 0, needs_more, after_ns: after.ns(), by_ns: by.ns() }
    };
    Group {
        turnbull: Some(Masses {
            log_likelihood: fit.log_likelihood(),
            masses: fit.masses().iter().map(mass).collect(),
            quantiles: QUANTILES.into_iter().map(cell).collect(),
        }),
        ..group(n, seen, "turnbull")
    }
}

fn endings_group(endings: &[Ending], names: &[String]) -> Group {
    let fit = Incidence::fit(endings);
    let ended = endings.iter().filter(|e| e.cause > 0).count() as u64;
    let cause = |cause: u32| Cause {
        cause: names.get(cause as usize - 1).cloned().unwrap_or_default(),
        steps: fit
            .steps(cause)
            .iter()
            .map(|s| Step {
                time_ns: s.time_ns,
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

fn notes(data: &Data, args: &Args, tau_ns: Option<u64>) -> Vec<String> {
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
    if times && tau_ns.is_none() {
        notes.push("no mean without its end: --tau TIME gives the restricted mean".to_owned());
    }
    if data.columns.contains_key("cause") && !data.columns.contains_key("event") && data.has_event {
        notes.push(
            "the column of events is not used: every row with a cause counts (--event beside --cause \
             changes that)"
                .to_owned(),
        );
    }
    if tau_ns.is_some() && kinds.iter().any(|s| matches!(s, Sample::Endings(_))) {
        notes.push("--tau: causes have no restricted mean".to_owned());
    }
    if kinds.len() > 1 && !times {
        notes.push("groups are compared where rows are durations with an event column".to_owned());
    }
    notes
}
