//! One campaign over time: per day, week or release, and the strongest change with its date.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::build::{SEED, Sample, Side, known_until, median, samples, shares};
use crate::exit::Exit;
use crate::report::blocks::Length;
use crate::report::build::rfc3339;
use crate::report::expectation::CONFIDENCE;
use crate::report::model::{HONEST_LIMIT, Share};
use crate::report::observation;
use crate::report::words::duration;
use crate::stats::change::{Change, change_point};
use crate::stats::difference::holm;
use crate::stats::planning::detectable_ratio;
use crate::stats::survival::{Curve, Observation, Quantile};

const DAY_NS: i64 = 86_400_000_000_000;
/// 1970-01-05, a Monday.
const MONDAY_NS: i64 = 4 * DAY_NS;
/// Permutations behind each p.
const PERMUTATIONS: u32 = 999;
/// Level of the change-point test, and power of what it could have seen.
const LEVEL: (f64, f64) = (0.05, 0.8);

/// What a line of the trend is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Every {
    /// A day, UTC.
    Day,
    /// A week from Monday, UTC.
    Week,
    /// Runs of one configuration and one set of recipes.
    Release,
}

/// A whole trend.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Trend {
    /// Always `dwell-trend/1`.
    pub format: String,
    /// As it was asked for.
    pub label: String,
    /// The cut, RFC 3339.
    pub cut: String,
    /// One entry per route and expectation.
    pub routes: Vec<TrendRoute>,
    /// What the numbers do not say.
    pub limit: String,
}

/// One route and expectation over time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TrendRoute {
    /// The route.
    pub route: String,
    /// The expectation.
    pub expectation: String,
    /// Up to this time the means are taken, nanoseconds.
    pub mean_until_ns: u64,
    /// Length of the blocks of submission time that are permuted, nanoseconds.
    pub block_ns: u64,
    /// Why that long.
    pub block_why: String,
    /// In order of time.
    pub points: Vec<Point>,
    /// The strongest change, whether or not it is significant; `null` with too little to look for one.
    pub change: Option<Change>,
    /// Its p, to hold beside all other routes.
    pub p_holm: Option<f64>,
    /// Before and after the change: n, median and restricted mean with its standard error.
    pub sides: Option<(Point, Point)>,
    /// `slower`, `faster`, `no change found` or `cannot tell`.
    pub state: String,
    /// The same in words.
    pub words: String,
}

/// A stretch of the series.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Point {
    /// Its day, the Monday of its week, or its digests.
    pub label: String,
    /// Canaries that enter the estimate.
    pub n: u64,
    /// Detections among them.
    pub events: u64,
    /// Median with its 95 % interval (each canary taken as independent); `null` with too few.
    pub median: Option<Quantile>,
    /// Restricted mean, nanoseconds; `null` where nobody was followed for so long.
    pub mean_ns: Option<f64>,
    /// Its standard error (each canary taken as independent).
    pub mean_se_ns: Option<f64>,
    /// In time, indeterminate ones counted as failed.
    pub in_time: Option<Share>,
}

impl Trend {
    /// 1 where it became slower, else 4 where nobody can tell on any route, else 0.
    pub fn exit(&self) -> Exit {
        let any = |state: &str| self.routes.iter().any(|r| r.state == state);
        match (any("slower"), any("cannot tell") || self.routes.is_empty()) {
            (true, _) => Exit::Missed,
            (false, true) => Exit::Undecided,
            _ => Exit::Met,
        }
    }
}

/// The trend of one side.
pub fn trend(side: &Side, every: Every, block_ns: u64) -> Trend {
    let samples = samples(&side.assessment);
    let mut routes: Vec<TrendRoute> =
        samples.iter().map(|s| of_route(side, s, every, block_ns)).collect();
    let p: Vec<f64> = routes.iter().map(|r| r.change.map_or(1.0, |c| c.p)).collect();
    for (route, p) in routes.iter_mut().zip(holm(&p)) {
        route.p_holm = route.change.map(|_| p);
        (route.state, route.words) = in_words(route);
    }
    Trend {
        format: "dwell-trend/1".to_owned(),
        label: side.label.clone(),
        cut: rfc3339(side.assessment.cut),
        routes,
        limit: HONEST_LIMIT.to_owned(),
    }
}

fn of_route(side: &Side, sample: &Sample<'_>, every: Every, block_ns: u64) -> TrendRoute {
    let until = sample.plan.horizon_ns.min(known_until(&sample.observations));
    let asked = Length { ns: block_ns, why: "as asked".to_owned() };
    let block = asked.or_longer(sample.block.clone());
    let mut order: Vec<String> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Sample<'_>> = Vec::new();
    for (canary, verdict) in &sample.decided {
        let name = name(side, canary.run, canary.submitted, every);
        let at = *places.entry(name).or_insert_with_key(|name| {
            order.push(name.clone());
            groups.push(Sample {
                route: sample.route,
                plan: sample.plan,
                decided: Vec::new(),
                submitted: Vec::new(),
                observations: Vec::new(),
                cut: sample.cut,
                block: sample.block.clone(),
            });
            order.len() - 1
        });
        groups[at].decided.push((canary, verdict));
        groups[at].observations.extend(observation(canary, verdict));
    }
    let points = order
        .into_iter()
        .zip(&groups)
        .map(|(label, group)| Point {
            in_time: Some(shares(group, sample.plan.deadline_ns, CONFIDENCE).1),
            ..point(label, &group.observations, until)
        })
        .collect();
    let mut series: Vec<(i64, Observation)> =
        sample.submitted.iter().copied().zip(sample.observations.iter().copied()).collect();
    series.sort_by_key(|(at, o)| (*at, o.time_ns, o.event));
    let change = change_point(&series, block.ns, PERMUTATIONS, SEED);
    let sides = change.map(|c| {
        let times = |part: &[(i64, Observation)]| part.iter().map(|s| s.1).collect::<Vec<_>>();
        let (before, after) = series.split_at(c.before);
        (point("before".into(), &times(before), until), point("after".into(), &times(after), until))
    });
    TrendRoute {
        route: sample.route.plan.name.clone(),
        expectation: sample.plan.name.clone(),
        mean_until_ns: until,
        block_ns: block.ns,
        block_why: block.why,
        points,
        change,
        p_holm: None,
        sides,
        state: String::new(),
        words: String::new(),
    }
}

fn name(side: &Side, run: u32, submitted: i64, every: Every) -> String {
    let day = |ns: i64| rfc3339(ns).chars().take(10).collect::<String>();
    match every {
        Every::Day => day(submitted),
        Every::Week => {
            let since = (submitted - MONDAY_NS).rem_euclid(7 * DAY_NS);
            day(submitted - since)
        }
        Every::Release => {
            let short = |digest: &str| digest.chars().take(8).collect::<String>();
            let run = side.assessment.runs.iter().find(|r| r.run == run);
            run.map_or("unknown".to_owned(), |r| {
                let recipes: Vec<String> = r.recipes.values().map(|d| short(d)).collect();
                format!("configuration {}, recipes {}", short(&r.config_digest), recipes.join(" "))
            })
        }
    }
}

fn point(label: String, observations: &[Observation], until: u64) -> Point {
    let curve = Curve::fit(observations);
    let known = known_until(observations) >= until && curve.subjects() > 0;
    let mean = known.then(|| curve.restricted_mean(until));
    Point {
        label,
        n: curve.subjects(),
        events: curve.events(),
        median: median(&curve, CONFIDENCE),
        mean_ns: mean.map(|m| m.0),
        mean_se_ns: mean.map(|m| m.1),
        in_time: None,
    }
}

fn in_words(route: &TrendRoute) -> (String, String) {
    let (Some(change), Some(p)) = (route.change, route.p_holm) else {
        let words = format!(
            "too few canaries, detections or blocks of submission time of {} ({}) to look for a change; \
             send over a longer time",
            duration(route.block_ns),
            route.block_why
        );
        return ("cannot tell".to_owned(), words);
    };
    if p > LEVEL.0 {
        let seen = detectable_ratio(change.events, LEVEL.1, change.critical);
        let seen =
            seen.map_or("any size".to_owned(), |ratio| format!("less than a factor of {ratio:.1}"));
        let words = format!(
            "no change found (p = {p:.3}); a change by {seen} in the middle could not have been seen \
             reliably with n = {}, {} detected",
            change.n, change.events
        );
        return ("no change found".to_owned(), words);
    }
    let state = if change.statistic > 0.0 { "slower" } else { "faster" };
    let day: String = rfc3339(change.since_ns).chars().take(10).collect();
    let mut words =
        format!("{state} since {day} (p = {p:.3}, {} permutations)", change.permutations);
    if let Some((before, after)) = &route.sides {
        let mean = |p: &Point| match (p.mean_ns, p.mean_se_ns) {
            (Some(mean), Some(se)) => {
                format!("{} (standard error {}, n {})", time(mean), time(se), p.n)
            }
            _ => format!("not followed long enough (n {})", p.n),
        };
        words.push_str(&format!(
            ": mean up to {} {} before, {} after",
            duration(route.mean_until_ns),
            mean(before),
            mean(after)
        ));
    }
    (state.to_owned(), words)
}

fn time(ns: f64) -> String {
    duration(ns.max(0.0).round() as u64)
}
