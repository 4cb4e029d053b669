//! `dwell plan`: how many canaries, how long, and what they will be able to show.
//!
//! The numbers come from [`crate::stats::planning`] and from walking through the configured schedule
//! ([`crate::schedule::outlook`]). Without a configuration file only the tables are printed. With
//! `--record` the claim is fixed in the ledger, before its campaign: see `report::claim`.

mod outlook;
mod record;

use serde::Serialize;

use super::Global;
use crate::config::checked::{Expectation, Objective, Route};
use crate::config::{self, Config, Span};
use crate::exit::{Exit, Failure};
use crate::report::compare::MARGIN_RATIO;
use crate::report::escape::terminal as safe;
use crate::report::words::{duration, percent};
use crate::stats::planning::{
    MOST, canaries_beyond, canaries_needed, canaries_per_group, chance, events_needed,
};

pub(super) const AFTER: &str = "\
Exit codes:
  0   the plan is printed (and recorded)
  2   the input is wrong: a route that is not there, a campaign that has canaries already
  3   the ledger cannot be written

Example:
  dwell plan --quantile 0.95 --within 1h --confidence 0.95 --misses 0..3
  dwell plan --rule-period 5m --suppression 30m
  dwell plan --record ssh-failed/detected --misses 1";

/// Hazard ratios of the table of comparisons.
const RATIOS: [f64; 4] = [1.2, 1.5, 2.0, 3.0];
/// True shares in time for which the chance of success is printed.
const TRUTHS: [f64; 3] = [0.97, 0.98, 0.99];
/// What stands where no n is computed.
const BEYOND: &str = "beyond a million canaries: not computed";
/// Most rows of the table.
const MOST_MISSES: u64 = 50;
/// Level of the comparison's test, two-sided.
const LEVEL: f64 = 0.05;

/// Arguments of `dwell plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Share that is to be claimed: 0.95 for p95. Default 0.95, or the expectation's objective.
    #[arg(long)]
    pub quantile: Option<f64>,
    /// Time that is to be claimed; default: each expectation's deadline.
    #[arg(long)]
    pub within: Option<Span>,
    /// Confidence of the claim. Default 0.95, or the expectation's objective.
    #[arg(long)]
    pub confidence: Option<f64>,
    /// Canaries that may be late or missed: a number, or a range such as `0..5`. Default 0..5, or 0 with
    /// --record, which fixes one number.
    #[arg(long)]
    pub misses: Option<Misses>,
    /// Only this route; may be given more than once.
    #[arg(long)]
    pub route: Vec<String>,
    /// How often the rule runs: says how many of its runs are sampled. Default: the longest
    /// `rule_period` that an expectation of the route states.
    #[arg(long)]
    pub rule_period: Option<Span>,
    /// How long the rule stays silent after an alert.
    #[arg(long)]
    pub suppression: Option<Span>,
    /// Share of canaries that is ever detected, for the comparison of two campaigns.
    #[arg(long, default_value_t = 1.0)]
    pub detected: f64,
    /// Power of the comparison.
    #[arg(long, default_value_t = 0.8)]
    pub power: f64,
    /// When the first run would begin (RFC 3339); default: now.
    #[arg(long)]
    pub from: Option<jiff::Timestamp>,
    /// Fix the claim in the ledger: of this ROUTE or ROUTE/EXPECTATION, or of all.
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "ROUTE/EXPECTATION")]
    pub record: Option<String>,
}

/// A number of misses, or a range of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misses {
    first: u64,
    last: u64,
}

impl std::str::FromStr for Misses {
    type Err = String;

    fn from_str(text: &str) -> Result<Misses, String> {
        let wrong = || format!("{text:?} is no number of misses; write `1` or `0..5`");
        let number = |part: &str| match part.parse::<u64>() {
            Err(_) => Err(wrong()),
            Ok(many) if many >= MOST => {
                Err(format!("{text:?}: so many misses are not computed; write less than {MOST}"))
            }
            Ok(number) => Ok(number),
        };
        let misses = match text.split_once("..") {
            None => {
                let m = number(text)?;
                Misses { first: m, last: m }
            }
            Some((first, last)) => {
                let first = if first.is_empty() { 0 } else { number(first)? };
                let last = last.trim_start_matches('=');
                Misses { first, last: if last.is_empty() { first + 5 } else { number(last)? } }
            }
        };
        if misses.first > misses.last || misses.last - misses.first >= MOST_MISSES {
            return Err(format!("{text:?} is empty or longer than {MOST_MISSES} numbers"));
        }
        Ok(misses)
    }
}

/// What is to be claimed, with the numbers of misses that are looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Claim {
    pub quantile: f64,
    pub confidence: f64,
    pub misses: Misses,
}

impl Claim {
    /// What the command line says; else what the objective does, where it claims anything less than all.
    fn of(args: &Args, objective: Option<&Objective>) -> Claim {
        let share = objective.map(|o| o.share).filter(|share| *share < 1.0);
        let last = if args.record.is_some() { 0 } else { 5 };
        Claim {
            quantile: args.quantile.or(share).unwrap_or(0.95),
            confidence: args.confidence.or(objective.and_then(|o| o.confidence)).unwrap_or(0.95),
            misses: args.misses.unwrap_or(Misses { first: 0, last }),
        }
    }

    /// The claims on these expectations, each once.
    fn all(args: &Args, meant: &[Target<'_>]) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        for claim in meant.iter().map(|(_, e)| Claim::of(args, Some(&e.objective))) {
            if !claims.contains(&claim) {
                claims.push(claim);
            }
        }
        claims
    }
}

/// One expectation of a route.
type Target<'a> = (&'a Route, &'a Expectation);

#[derive(Serialize)]
struct Shown {
    format: &'static str,
    /// Share and confidence of the claims; `null` where expectations have different objectives.
    quantile: Option<f64>,
    within_ns: Option<u64>,
    confidence: Option<f64>,
    claims: Vec<ClaimLine>,
    comparison: Vec<Comparison>,
    routes: Vec<outlook::RouteOutlook>,
    recorded: Vec<record::Recorded>,
}

/// One row of the table over m.
#[derive(Serialize)]
struct ClaimLine {
    quantile: f64,
    confidence: f64,
    m: u64,
    n: Option<u64>,
    /// Probability that it is carried if truly 97, 98, 99 % are in time.
    chance: Vec<(f64, f64)>,
}

#[derive(Serialize)]
struct Comparison {
    hazard_ratio: f64,
    detections: u64,
    canaries_each: Option<u64>,
    /// With which `dwell compare` calls B slower beyond its default margin; `null` where it is not beyond.
    canaries_each_beyond_margin: Option<u64>,
}

/// Runs `dwell plan`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    refuse_nonsense(&args)?;
    let config = configured(&args, global)?;
    let meant = match &config {
        Some(config) => record::targets(config, &args)?,
        None => Vec::new(),
    };
    let recorded = match &config {
        Some(config) if args.record.is_some() => record::record(config, &meant, &args)?,
        _ => Vec::new(),
    };
    let routes = match &config {
        Some(config) => outlook::routes(config, &args, &meant)?,
        None => Vec::new(),
    };
    let claims = match meant.is_empty() {
        true => vec![Claim::of(&args, None)],
        false => Claim::all(&args, &meant),
    };
    let one = |of: fn(&Claim) -> f64| {
        let first = claims.first().map(of);
        first.filter(|first| claims.iter().all(|claim| of(claim) == *first))
    };
    let shown = Shown {
        format: "dwell-plan/1",
        quantile: one(|claim| claim.quantile),
        within_ns: args.within.map(|span| nanos(span.0)),
        confidence: one(|claim| claim.confidence),
        claims: claims.iter().flat_map(rows).collect(),
        comparison: comparisons(&args),
        routes,
        recorded,
    };
    if global.json {
        let value = serde_json::to_value(&shown).map_err(|e| Failure::Bug(e.to_string()))?;
        return super::put_json(&value);
    }
    super::put(text(&shown, &args).as_bytes())
}

/// Numbers of the command line that no plan can be made of.
fn refuse_nonsense(args: &Args) -> Result<(), Failure> {
    let shares = [("quantile", args.quantile), ("confidence", args.confidence)];
    for (name, share) in shares.into_iter().chain([("power", Some(args.power))]) {
        if share.is_some_and(|share| !(share > 0.0 && share < 1.0)) {
            let value = share.unwrap_or_default();
            return Err(Failure::User(format!("--{name} {value} is not between 0 and 1")));
        }
    }
    if args.power <= LEVEL {
        return Err(Failure::User(format!(
            "--power {} is not above the test's level of {LEVEL}: without any difference so many \
             comparisons find one; 0.8 is usual",
            args.power
        )));
    }
    for (name, span) in [("within", args.within), ("rule-period", args.rule_period)] {
        if span.is_some_and(|span| span.0.is_zero()) {
            return Err(Failure::User(format!("--{name} must be longer than 0")));
        }
    }
    if !(args.detected > 0.0 && args.detected <= 1.0) {
        return Err(Failure::User("--detected is not above 0 and at most 1".to_owned()));
    }
    Ok(())
}

/// The configuration; none is needed for the tables alone.
fn configured(args: &Args, global: &Global) -> Result<Option<Config>, Failure> {
    let needed = args.record.is_some() || !args.route.is_empty();
    if !global.config.exists() && !needed {
        eprintln!(
            "There is no {}: tables only; with a configuration the time that it takes is said too.",
            global.config.display()
        );
        return Ok(None);
    }
    config::load_for_reading(&global.config).map(Some).map_err(|e| Failure::User(e.to_string()))
}

pub(super) fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn rows(claim: &Claim) -> Vec<ClaimLine> {
    let Claim { quantile, confidence, misses } = *claim;
    (misses.first..=misses.last)
        .map(|m| {
            let n = canaries_needed(quantile, confidence, m);
            let of = |n: u64| TRUTHS.iter().map(|t| (*t, chance(n, m, *t))).collect();
            ClaimLine { quantile, confidence, m, n, chance: n.map(of).unwrap_or_default() }
        })
        .collect()
}

fn comparisons(args: &Args) -> Vec<Comparison> {
    RATIOS
        .iter()
        .filter_map(|ratio| {
            let detections = events_needed(*ratio, args.power, LEVEL)?;
            let shares = (args.detected, args.detected);
            let canaries_each = canaries_per_group(detections, shares);
            let wanted = ((*ratio, MARGIN_RATIO), (args.power, LEVEL));
            let canaries_each_beyond_margin = canaries_beyond(wanted.0, wanted.1, args.detected);
            Some(Comparison {
                hazard_ratio: *ratio,
                detections,
                canaries_each,
                canaries_each_beyond_margin,
            })
        })
        .collect()
}

/// The tables over m, one for each claim.
fn tables(shown: &Shown) -> String {
    let within = shown.within_ns.map_or("its deadline".to_owned(), duration);
    let mut out = String::new();
    let same =
        |a: &ClaimLine, b: &ClaimLine| (a.quantile, a.confidence) == (b.quantile, b.confidence);
    for table in shown.claims.chunk_by(same) {
        let Some(claim) = table.first() else { continue };
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!(
            "To claim \"{} within {within}\" with {} confidence, n canaries are needed of which m may be \
             late, missed or undecided:\n\n   m        n   chance of success if truly in time:",
            percent(claim.quantile),
            percent(claim.confidence)
        ));
        TRUTHS.iter().for_each(|t| out.push_str(&format!("{:>8}", percent(*t))));
        out.push('\n');
        for line in table {
            let Some(n) = line.n else {
                out.push_str(&format!("{:>4}   {BEYOND}\n", line.m));
                continue;
            };
            out.push_str(&format!("{:>4} {n:>8}{:38}", line.m, ""));
            line.chance.iter().for_each(|(_, p)| out.push_str(&format!("{:>8}", percent(*p))));
            out.push('\n');
        }
    }
    out
}

fn text(shown: &Shown, args: &Args) -> String {
    let mut out = tables(shown);
    out.push_str(
        "\nChoose n and m before the campaign (`dwell plan --record`): a claim whose m was chosen \
         afterwards is refused.\n",
    );
    out.push_str(&format!(
        "\nTo tell two campaigns of equal size apart (log-rank, two-sided 5 %, power {}):\n\n  hazard \
         ratio   detections in both   canaries in each, if {} are ever detected   for `compare` to say \
         slower\n",
        percent(args.power),
        percent(args.detected)
    ));
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    for row in &shown.comparison {
        out.push_str(&format!(
            "{:>14} {:>20} {:>18} {:>41}\n",
            row.hazard_ratio,
            row.detections,
            number(row.canaries_each),
            number(row.canaries_each_beyond_margin)
        ));
    }
    out.push_str(&format!(
        "\n`dwell compare` says slower only where the interval of the ratio of medians lies beyond its margin \
         ({MARGIN_RATIO} unless told otherwise): the last column, about, if times are exponential.\n"
    ));
    shown.routes.iter().for_each(|route| out.push_str(&outlook::text(route)));
    if shown.routes.iter().any(outlook::RouteOutlook::has_lines) {
        out.push_str(outlook::LEGEND);
    }
    for row in &shown.recorded {
        out.push_str(&format!(
            "\nFixed in the ledger: campaign {}, {} / {}: n {}, m {}, {} within {} with {} confidence.\n",
            safe(&row.campaign),
            safe(&row.route),
            safe(&row.expectation),
            row.n,
            row.m,
            percent(row.quantile),
            duration(row.within_ns),
            percent(row.confidence)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_a_number_or_a_short_range() {
        let misses = |text: &str| text.parse::<Misses>().map(|m| (m.first, m.last));
        assert_eq!(misses("1"), Ok((1, 1)));
        assert_eq!(misses("0.."), Ok((0, 5)));
        assert_eq!(misses("2..4"), Ok((2, 4)));
        for wrong in ["", "-1", "x", "5..2", "0..1000", "1.5", "18446744073709551615", "1048576.."]
        {
            assert!(misses(wrong).is_err(), "{wrong}");
        }
    }
}
