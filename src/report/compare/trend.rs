//! One campaign over time: per day, week or release, and the strongest change with its date.
//!
//! Every line of a route has the estimate that the report has of the whole: where that is Turnbull's, each
//! line is Turnbull's estimate of its own canaries. The search for a change ranks times and takes upper
//! ends of polled ones, which is said. Where polls before and after the change were clearly different it
//! may have found the polling: the change then counts only if the means differ beyond what the polls leave
//! open, limits included. Where no change was found and one beyond the margin could have been missed, nobody
//! can tell. Not promised: that a change is found which a change of the polling hides.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::build::{SEED, Series, Side, Within, known_until, series, shares};
use super::effects::closely;
use super::measured::{Plan, times};
use super::model::Times;
use super::text::mean;
use crate::exit::Exit;
use crate::report::blocks::Length;
use crate::report::build::{instant, rfc3339};
use crate::report::expectation::CONFIDENCE;
use crate::report::model::{HONEST_LIMIT, Method, Share};
use crate::report::sample::{Fit, Sample, polled_apart};
use crate::report::times::Decided;
use crate::report::words::duration;
use crate::stats::bootstrap::affordable_turnbull;
use crate::stats::change::{Change, change_point};
use crate::stats::difference::holm;
use crate::stats::planning::detectable_ratio;
use crate::stats::survival::Observation;

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

/// What is sought.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    /// Length of a block of submission time, nanoseconds.
    pub block_ns: u64,
    /// "No change found" needs that a change by this factor would have been found.
    pub margin_ratio: f64,
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
    /// A change by less than this factor does not count as one.
    pub margin_ratio: f64,
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
    /// Which estimate every line has: that of the report of all of them.
    pub method: Method,
    /// Times were polled: the search for a change takes their upper ends.
    pub upper_ends: bool,
    /// How closely times are known before and after the change, nanoseconds, where that is clearly different:
    /// the search may have found the polling, and the change counts only if the means differ beyond their
    /// limits.
    pub polled_apart_ns: Option<(u64, u64)>,
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
    /// A change in the middle by this factor would have been found in four of five such series; `null`
    /// without a detection or a search.
    pub detectable_ratio: Option<f64>,
    /// Before and after the change.
    pub sides: Option<(Point, Point)>,
    /// `slower`, `faster`, `no change found` or `cannot tell`. No change is found only where one beyond the
    /// margin would have been.
    pub state: String,
    /// The same in words.
    pub words: String,
}

/// A stretch of the series.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Point {
    /// Its day, the Monday of its week, or its digests.
    pub label: String,
    /// Its times; limits take each canary as independent.
    #[serde(flatten)]
    pub times: Times,
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
pub fn trend(side: &Side, every: Every, sought: Sought) -> Trend {
    let all = series(&side.assessment);
    let mut routes: Vec<TrendRoute> =
        all.iter().map(|s| of_route(side, s, every, sought.block_ns)).collect();
    let p: Vec<f64> = routes.iter().map(|r| r.change.map_or(1.0, |c| c.p)).collect();
    for (route, p) in routes.iter_mut().zip(holm(&p)) {
        route.p_holm = route.change.map(|_| p);
        (route.state, route.words) = in_words(route, sought.margin_ratio);
    }
    Trend {
        format: "dwell-trend/1".to_owned(),
        label: side.label.clone(),
        cut: instant(side.assessment.cut),
        margin_ratio: sought.margin_ratio,
        routes,
        limit: HONEST_LIMIT.to_owned(),
    }
}

fn of_route(side: &Side, whole: &Series<'_>, every: Every, block_ns: u64) -> TrendRoute {
    let until = whole.plan.horizon_ns.min(whole.known_until());
    let asked = Length { ns: block_ns, why: "as asked".to_owned() };
    let block = asked.or_longer(whole.block.clone());
    let points = groups(side, whole, every)
        .into_iter()
        .map(|(label, decided)| {
            let within = Within { ns: whole.plan.deadline_ns, of_verdict: true };
            let in_time = shares(&decided, (whole.plan, whole.cut), (within, CONFIDENCE));
            Point { in_time: Some(in_time.counted), ..point(label, &decided, whole, until).0 }
        })
        .collect();
    let sample = &whole.sample;
    let submitted: Vec<(i64, Observation)> =
        sample.submitted.iter().copied().zip(sample.observations.iter().copied()).collect();
    let change = change_point(&submitted, block.ns, PERMUTATIONS, SEED);
    let halves = change.map(|c| {
        // A change stands between two blocks, and so between two instants.
        let (before, after): (Vec<Decided<'_>>, Vec<Decided<'_>>) =
            whole.decided.iter().copied().partition(|(canary, _)| canary.submitted < c.since_ns);
        let old = point("before".into(), &before, whole, until);
        let new = point("after".into(), &after, whole, until);
        let apart = polled_apart((&old.1, &old.2.upper), (&new.1, &new.2.upper));
        ((old.0, new.0), apart)
    });
    TrendRoute {
        route: whole.name.clone(),
        expectation: whole.plan.name.clone(),
        method: whole.fit.method,
        upper_ends: sample.polled(),
        polled_apart_ns: halves.as_ref().and_then(|(_, apart)| *apart),
        mean_until_ns: until,
        block_ns: block.ns,
        block_why: block.why,
        points,
        change,
        p_holm: None,
        detectable_ratio: change.and_then(|c| detectable_ratio(c.events, LEVEL.1, c.critical)),
        sides: halves.map(|(sides, _)| sides),
        state: String::new(),
        words: String::new(),
    }
}

/// The canaries of each line, in order of the lines' first canary.
fn groups<'a>(side: &Side, whole: &Series<'a>, every: Every) -> Vec<(String, Vec<Decided<'a>>)> {
    let mut groups: Vec<(String, Vec<Decided<'a>>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (canary, verdict) in &whole.decided {
        let name = name(side, canary.run, canary.submitted, every);
        let at = *places.entry(name).or_insert_with_key(|name| {
            groups.push((name.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push((canary, verdict));
    }
    groups
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

/// A line with its canaries and their estimate.
fn point(
    label: String,
    decided: &[Decided<'_>],
    whole: &Series<'_>,
    until: u64,
) -> (Point, Sample, Fit) {
    let sample = Sample::new(decided, whole.sample.period());
    let fit = sample.fit_like(&whole.fit);
    let known = until > 0 && known_until(&sample, &fit) >= until && fit.upper.subjects() > 0;
    // All lines together cost no more than the whole would.
    let resamples = affordable_turnbull(whole.n());
    let plan = Plan { blocks: None, resamples, confidence: CONFIDENCE };
    let times = times(&sample, &fit, known.then_some(until), &plan);
    (Point { label, times, in_time: None }, sample, fit)
}

/// No change was found: would one beyond the margin have been?
fn none_found(route: &TrendRoute, change: &Change, (p, margin): (f64, f64)) -> (String, String) {
    let seen = route.detectable_ratio;
    let size = seen.map_or("any size".to_owned(), |r| format!("less than a factor of {r:.2}"));
    let sample = format!("n = {}, {} detected", change.n, change.events);
    let mut words = format!(
        "no change found (p = {p:.3}); a change by {size} in the middle could not have been seen reliably \
         with {sample}"
    );
    if change.p <= LEVEL.0 {
        words.push_str(&format!(
            "; beside other routes the strongest one does not hold (p = {:.3} alone)",
            change.p
        ));
    } else if seen.is_some_and(|ratio| ratio <= margin) {
        return ("no change found".to_owned(), words);
    }
    ("cannot tell".to_owned(), format!("cannot tell (margin {margin}): {words}"))
}

fn in_words(route: &TrendRoute, margin: f64) -> (String, String) {
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
        return none_found(route, &change, (p, margin));
    }
    let mut state = if change.statistic > 0.0 { "slower" } else { "faster" };
    let day: String = rfc3339(change.since_ns).chars().take(10).collect();
    let mut words =
        format!("{state} since {day} (p = {p:.3}, {} permutations", change.permutations);
    if change.together > 1 {
        words.push_str(&format!(" of {} blocks each, since times come together", change.together));
    }
    words.push(')');
    if route.upper_ends {
        words.push_str(", sought on the upper ends of polled times");
    }
    let Some((before, after)) = &route.sides else { return (state.to_owned(), words) };
    words.push_str(&format!(
        ": mean up to {} {} before, {} after",
        duration(route.mean_until_ns),
        half(&before.times),
        half(&after.times)
    ));
    if let Some((old, new)) = route.polled_apart_ns {
        words.push_str(&format!(
            "; polls tell times {} before and {} after, which the search may see instead of the SIEM",
            closely(old),
            closely(new)
        ));
        if !beyond(&before.times, &after.times, change.statistic > 0.0) {
            state = "cannot tell";
            words.insert_str(0, "cannot tell: the limits of the means before and after overlap: ");
        }
    }
    (state.to_owned(), words)
}

/// Do the limits of the means lie apart, in the direction of the change? Without any nobody knows.
fn beyond(before: &Times, after: &Times, slower: bool) -> bool {
    let ends = |t: &Times| t.mean_interval_ns.and_then(|r| Some((r.lower?, r.upper?)));
    match (ends(before), ends(after)) {
        (Some(old), Some(new)) if slower => new.0 > old.1,
        (Some(old), Some(new)) => new.1 < old.0,
        _ => false,
    }
}

fn half(times: &Times) -> String {
    match mean(times) {
        Some(mean) => format!("{mean} (n {})", times.n),
        None => format!("no mean known (n {})", times.n),
    }
}
