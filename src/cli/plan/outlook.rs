//! What the configured schedule makes of a plan: how long, and what a rule would see of it.

use std::time::Duration;

use dwell_injectors::stamp::{Clock, SystemClock};
use serde::Serialize;

use super::{Args, Claim, Target, nanos};
use crate::config::Config;
use crate::config::checked::{Arrivals, Route};
use crate::exit::Failure;
use crate::report::blocks::{FEWEST, SHORTEST_NS};
use crate::report::escape::terminal as safe;
use crate::report::words::{self, duration, percent};
use crate::schedule::{
    Authorised, Demand, Limits, MOST_RUNS, Outlook, QuietPlan, Unreached, outlook, shortest,
};
use crate::stats::planning::{canaries_needed, distinct_runs, swallowed};

/// One route under its limits.
#[derive(Serialize)]
pub(super) struct RouteOutlook {
    route: String,
    /// Canaries in one run, and length of its window.
    count: u32,
    window_ns: u64,
    /// `null` where neither the command line nor the configuration says it.
    rule_period: Option<Period>,
    lines: Vec<Line>,
    /// The first m whose n is beyond a million and not walked through.
    beyond_m: Option<u64>,
    warnings: Vec<String>,
}

impl RouteOutlook {
    /// Whether anything was walked through.
    pub(super) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }
}

/// How often the rule runs, beside what the schedule makes of that.
#[derive(Serialize)]
struct Period {
    ns: u64,
    /// Who says so.
    from: String,
    /// The window of a run, in equal parts: one canary each.
    slot_ns: u64,
    /// Canaries that one run of the rule sees, on average.
    canaries_each: f64,
}

impl Period {
    /// The command line's; else the longest that an expectation of the route states: with it the fewest
    /// runs are sampled, and the report's blocks are never longer.
    fn new(route: &Route, window: Duration, args: &Args) -> Option<Period> {
        let stated = route.expectations.iter().filter_map(|e| Some((e.rule_period?, &e.name)));
        let longest = stated.clone().reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (period, from) = match (args.rule_period, longest) {
            (Some(given), _) => (given.0, "--rule-period".to_owned()),
            (None, Some((period, name))) if stated.clone().all(|(other, _)| other == period) => {
                (period, format!("rule_period of the expectation {name}"))
            }
            (None, Some((period, name))) => (
                period,
                format!("rule_period of the expectation {name}, the longest of this route"),
            ),
            (None, None) => return None,
        };
        let slot_ns = nanos(window) / u64::from(route.count.max(1));
        let ns = nanos(period);
        Some(Period { ns, from, slot_ns, canaries_each: ns as f64 / slot_ns.max(1) as f64 })
    }
}

/// What the columns of [`text`] mean.
pub(super) const LEGEND: &str = "
takes: from the first run's begin to the n-th canary; at the caps alone: if nothing but caps, `min_gap` and
quiet hours held them back. withheld: slots of those runs that quiet hours took, and those that caps or
`min_gap` took (crowded). rule runs: distinct runs of the rule that see a canary, where its period is known
(`rule_period` of an expectation, or --rule-period).
";

/// One m of the table on this route.
#[derive(Serialize)]
struct Line {
    quantile: f64,
    confidence: f64,
    m: u64,
    n: u64,
    /// Runs as configured, one after the other; `null` when the limits let nothing through, or not within
    /// the runs that are walked through.
    runs: Option<u32>,
    /// From the first run's begin to the n-th canary.
    takes_ns: Option<u64>,
    /// It takes more than this: of more runs than are walked through.
    takes_more_than_ns: Option<u64>,
    /// The same if only caps, distance and quiet hours limited it; `null` beyond ten years.
    shortest_ns: Option<u64>,
    #[serde(skip)]
    unreached: (Option<Unreached>, Option<Unreached>),
    withheld_quiet: u64,
    withheld_crowded: u64,
    /// Distinct runs of the rule that are sampled: the effective n.
    rule_runs: Option<u64>,
    /// Batches that a claim counts where the rule's period is not known: 5 minutes each.
    batches: Option<u64>,
    /// Alerts that a suppression would swallow.
    swallowed: Option<u64>,
}

/// Every route of the expectations that the plan is about.
pub(super) fn routes(
    config: &Config,
    args: &Args,
    meant: &[Target<'_>],
) -> Result<Vec<RouteOutlook>, Failure> {
    let quiet = QuietPlan::new(&config.campaign.quiet_hours, &config.campaign.time_zone)
        .map_err(|e| Failure::User(e.to_string()))?;
    let begins = args.from.unwrap_or_else(|| SystemClock::new().now().timestamp()).as_nanosecond();
    // No run begins before it is allowed.
    let allowed = config.authorisation.as_ref().map(|a| a.valid_from.as_nanosecond());
    let begins_ns = i64::try_from(begins.max(allowed.unwrap_or(begins))).unwrap_or(0);
    let of_one = |targets: &[Target<'_>]| {
        let claims = Claim::all(args, targets);
        let (route, _) = targets.first()?;
        Some(of_route(config, route, args, &claims, (&quiet, begins_ns)))
    };
    Ok(meant.chunk_by(|(a, _), (b, _)| a.name == b.name).filter_map(of_one).collect())
}

fn of_route(
    config: &Config,
    route: &Route,
    args: &Args,
    claims: &[Claim],
    (quiet, begins_ns): (&QuietPlan, i64),
) -> RouteOutlook {
    let limits = Limits {
        demand: Demand {
            route: &route.name,
            count: route.count,
            window: config.campaign.window,
            arrivals: config.campaign.arrivals,
            min_gap: route.min_gap,
            not_before_ns: 0,
        },
        per_hour: route.cap_per_hour,
        per_day: route.cap_per_day,
        quiet,
        authorised: Authorised::new(config.authorisation.as_ref()),
        seed: config.campaign.seed.unwrap_or(1),
        begins_ns,
    };
    let period = Period::new(route, config.campaign.window, args);
    let mut lines = Vec::new();
    let mut beyond_m = None;
    for claim in claims {
        for m in claim.misses.first..=claim.misses.last {
            match canaries_needed(claim.quantile, claim.confidence, m) {
                Some(n) => lines.push(line(&limits, (period.as_ref(), args), claim, (m, n))),
                // What needs more misses needs more canaries.
                None => {
                    beyond_m = Some(beyond_m.map_or(m, |known: u64| known.min(m)));
                    break;
                }
            }
        }
    }
    let warnings = warnings(&limits, (period.as_ref(), args), lines.first());
    RouteOutlook {
        route: route.name.clone(),
        count: route.count,
        window_ns: nanos(config.campaign.window),
        rule_period: period,
        lines,
        beyond_m,
        warnings,
    }
}

fn line(
    limits: &Limits<'_>,
    (period, args): (Option<&Period>, &Args),
    claim: &Claim,
    (m, n): (u64, u64),
) -> Line {
    let (walked, shortest) = (outlook(limits, n), shortest(limits, n));
    let unreached = (walked.as_ref().err().copied(), shortest.err());
    let walked_through = nanos(limits.demand.window).saturating_mul(u64::from(MOST_RUNS));
    let found: Option<Outlook> = walked.ok();
    let at = found.as_ref().map(|found| found.instants_ns.as_slice());
    Line {
        quantile: claim.quantile,
        confidence: claim.confidence,
        m,
        n,
        takes_more_than_ns: (unreached.0 == Some(Unreached::Later)).then_some(walked_through),
        unreached,
        runs: found.as_ref().map(|o| o.runs),
        takes_ns: found.as_ref().map(|o| nanos(o.takes)),
        shortest_ns: shortest.ok().map(nanos),
        withheld_quiet: found.as_ref().map_or(0, |o| o.quiet),
        withheld_crowded: found.as_ref().map_or(0, |o| o.crowded),
        rule_runs: period.and_then(|p| at.map(|at| distinct_runs(at, p.ns))),
        batches: at.filter(|_| period.is_none()).map(|at| distinct_runs(at, SHORTEST_NS)),
        swallowed: args.suppression.and_then(|s| at.map(|at| swallowed(at, nanos(s.0)))),
    }
}

/// What the schedule would hide.
fn warnings(
    limits: &Limits<'_>,
    (period, args): (Option<&Period>, &Args),
    line: Option<&Line>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(line) = line else { return warnings };
    if let Some(why) = line.unreached.0 {
        warnings.push(unreached(limits, line, why));
    }
    if let (Some(runs), Some(period)) = (line.rule_runs, period)
        && runs < line.n
    {
        let blocks = match runs < FEWEST as u64 {
            true => format!(
                "; a report's blocks of submission time are, with this `rule_period` configured, at least as \
                 long, and fewer than {FEWEST} of them carry no interval"
            ),
            false => String::new(),
        };
        warnings.push(format!(
            "only {runs} distinct runs of a {} rule are sampled by {} canaries: those in one run are \
             caught together, the effective n is {runs}, and a claim counts no more{blocks}; spread the canaries out \
             or plan more",
            duration(period.ns),
            line.n
        ));
    }
    if let Some(batches) = line.batches.filter(|batches| *batches < line.n) {
        warnings.push(format!(
            "{} canaries are {} of {}, and a claim counts those while nothing is known of how \
             often the rule runs: say `rule_period`, or spread the canaries out",
            line.n,
            words::batches(batches),
            duration(SHORTEST_NS)
        ));
    }
    if let (Some(lost), Some(suppression)) = (line.swallowed, args.suppression)
        && lost > 0
    {
        warnings.push(format!(
            "{lost} of {} canaries would follow another within the suppression of {} and look missed; \
             set `min_gap` to at least that",
            line.n,
            duration(nanos(suppression.0))
        ));
    }
    if let Some(period) = period
        && limits.demand.arrivals == Arrivals::Fixed
    {
        let phases = phases(period.slot_ns, period.ns);
        warnings.push(format!(
            "fixed arrivals every {} meet a {} rule at {phases} of its phases only; use `stratified`",
            duration(period.slot_ns),
            duration(period.ns)
        ));
    }
    warnings
}

/// Why nobody says when the n-th canary has left.
fn unreached(limits: &Limits<'_>, line: &Line, why: Unreached) -> String {
    let n = line.n;
    let later = || {
        format!(
            "{n} canaries take more than {MOST_RUNS} runs of {}, and no more are walked through; raise \
             `count`, or claim less",
            duration(nanos(limits.demand.window))
        )
    };
    let unbounded = Limits { authorised: Authorised::new(None), ..limits.clone() };
    match (why, limits.authorised.ends()) {
        (Unreached::Authorisation, Some(ends)) => match outlook(&unbounded, n) {
            Ok(found) => {
                let leaving =
                    found.instants_ns.iter().filter(|at| !limits.authorised.is_over(**at));
                format!(
                    "the authorisation ends at {ends}: {} of {n} canaries leave until then; have it \
                     prolonged, or raise `count` and the caps",
                    leaving.count()
                )
            }
            Err(_) => format!("the authorisation ends at {ends}, before so many canaries leave"),
        },
        (Unreached::Later, _) => later(),
        _ => "the caps, distances and quiet hours never let so many canaries out".to_owned(),
    }
}

/// Number of different phases that a fixed distance visits.
fn phases(every: u64, period: u64) -> u64 {
    let (mut a, mut b) = (every, period);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    period.checked_div(a).unwrap_or(1).max(1)
}

/// The route in words.
pub(super) fn text(route: &RouteOutlook) -> String {
    let mut out = format!(
        "\nRoute {} ({} canaries in a run of {}), runs one after the other:\n",
        safe(&route.route),
        route.count,
        duration(route.window_ns)
    );
    if let Some(period) = &route.rule_period {
        out.push_str(&format!(
            "  the rule runs every {} ({}): one canary in every {}, {:.2} for each of its runs\n",
            duration(period.ns),
            safe(&period.from),
            duration(period.slot_ns),
            period.canaries_each
        ));
    }
    out.push_str(
        "\n   m        n     runs  takes          at the caps alone   withheld (quiet, crowded)   rule \
         runs\n",
    );
    let claims = |a: &Line, b: &Line| (a.quantile, a.confidence) == (b.quantile, b.confidence);
    let tables: Vec<&[Line]> = route.lines.chunk_by(claims).collect();
    for table in &tables {
        if let (Some(line), true) = (table.first(), tables.len() > 1) {
            let (share, confidence) = (percent(line.quantile), percent(line.confidence));
            out.push_str(&format!("  {share} with {confidence} confidence:\n"));
        }
        table.iter().for_each(|line| out.push_str(&row(line)));
    }
    if let Some(m) = route.beyond_m {
        out.push_str(&format!("{m:>4}   {}\n", super::BEYOND));
    }
    for warning in &route.warnings {
        out.push_str(&format!("  warning: {}\n", safe(warning)));
    }
    out
}

fn row(line: &Line) -> String {
    let never = |why: Option<Unreached>, later: String| match why {
        Some(Unreached::Later) => format!("over {later}"),
        _ => "never".to_owned(),
    };
    let (walked, shortest) = line.unreached;
    // Where nothing ever leaves, the search for the shortest time only gives up.
    let shortest = if walked == Some(Unreached::Never) { walked } else { shortest };
    let more_than = line.takes_more_than_ns.map_or_else(String::new, duration);
    let or_never = |ns: Option<u64>, why, later| ns.map_or_else(|| never(why, later), duration);
    format!(
        "{:>4} {:>8} {:>8}  {:<14} {:<19} {:<27} {}\n",
        line.m,
        line.n,
        line.runs.map_or("-".to_owned(), |runs| runs.to_string()),
        or_never(line.takes_ns, walked, more_than),
        or_never(line.shortest_ns, shortest, "10 years".to_owned()),
        format!("{}, {}", line.withheld_quiet, line.withheld_crowded),
        line.rule_runs.map_or("-".to_owned(), |runs| runs.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::phases;

    #[test]
    fn a_fixed_distance_visits_few_phases() {
        assert_eq!(phases(300, 300), 1);
        assert_eq!(phases(3_600, 300), 1);
        assert_eq!(phases(60, 300), 5);
        assert_eq!(phases(307, 300), 300);
        assert_eq!(phases(0, 0), 1);
    }
}
