//! `dwell plan --record`: fixes n and m in the ledger before the campaign.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::KeyRing;
use serde::Serialize;

use super::{Args, Claim, Target, nanos};
use crate::config::Config;
use crate::config::checked::{Expectation, Route};
use crate::dispatch::outcome::Fold;
use crate::exit::Failure;
use crate::ledger::{Batch, ClaimRow, Ledger, Opening, Reader, Row};
use crate::report::words::{duration, percent};
use crate::stats::planning::{MOST, canaries_needed};

/// How long the writer may take to close.
const PATIENCE: Duration = Duration::from_secs(10);

/// A claim as it was written.
#[derive(Serialize)]
pub(super) struct Recorded {
    pub campaign: String,
    pub route: String,
    pub expectation: String,
    pub n: u64,
    pub m: u64,
    pub quantile: f64,
    pub within_ns: u64,
    pub confidence: f64,
}

/// Writes one row for each expectation that is meant.
pub(super) fn record(
    config: &Config,
    meant: &[Target<'_>],
    args: &Args,
) -> Result<Vec<Recorded>, Failure> {
    let mut claims = Vec::new();
    for (route, expectation) in meant {
        claims.push(claim(config, route, expectation, args)?);
    }
    refuse_begun(config, &claims)?;
    write(config, &claims)?;
    Ok(claims)
}

/// The expectations that the plan is about: of the selected routes, and with --record of `ROUTE` or
/// `ROUTE/EXPECTATION` alone.
pub(super) fn targets<'a>(config: &'a Config, args: &Args) -> Result<Vec<Target<'a>>, Failure> {
    for name in &args.route {
        if !config.routes.iter().any(|r| r.name == *name) {
            return Err(Failure::User(format!(
                "there is no route {name:?}; `dwell check` lists them"
            )));
        }
    }
    let target = args.record.as_deref().unwrap_or_default();
    let meant: Vec<Target<'_>> = config
        .routes
        .iter()
        .filter(|r| args.route.is_empty() || args.route.contains(&r.name))
        .flat_map(|r| r.expectations.iter().map(move |e| (r, e)))
        .filter(|(r, e)| {
            target.is_empty() || r.name == target || format!("{}/{}", r.name, e.name) == target
        })
        .collect();
    if meant.is_empty() {
        return Err(Failure::User(format!(
            "there is no expectation {target:?} in {}{}; write ROUTE or ROUTE/EXPECTATION",
            config.path.display(),
            if args.route.is_empty() { "" } else { " on the routes given" }
        )));
    }
    Ok(meant)
}

fn claim(
    config: &Config,
    route: &Route,
    expectation: &Expectation,
    args: &Args,
) -> Result<Recorded, Failure> {
    let whose = format!("{}/{}", route.name, expectation.name);
    let deadline = nanos(expectation.deadline);
    if args.within.is_some_and(|span| nanos(span.0) != deadline) {
        return Err(Failure::User(format!(
            "{whose}: the deadline is {}; a claim is about the deadline, so change `deadline` or leave \
             out --within",
            duration(deadline)
        )));
    }
    let objective = &expectation.objective;
    let Claim { quantile, confidence, misses } = Claim::of(args, Some(objective));
    if let Some(least) = objective.confidence
        && (confidence < least || quantile < objective.share)
    {
        return Err(Failure::User(format!(
            "{whose}: {} with {} confidence is weaker than its objective, {} with {}, and no report would \
             judge it; leave out --quantile and --confidence, or change the objective",
            percent(quantile),
            percent(confidence),
            percent(objective.share),
            percent(least)
        )));
    }
    if misses.first != misses.last {
        return Err(Failure::User(
            "--record fixes one number of misses: write --misses 1, not a range".to_owned(),
        ));
    }
    let m = misses.first;
    let n = canaries_needed(quantile, confidence, m).ok_or_else(|| {
        Failure::User(format!("{whose}: no number of canaries up to {MOST} carries that claim"))
    })?;
    Ok(Recorded {
        campaign: config.campaign.name.clone(),
        route: route.name.clone(),
        expectation: expectation.name.clone(),
        n,
        m,
        quantile,
        within_ns: deadline,
        confidence,
    })
}

/// A plan made after the first canary would be no plan.
fn refuse_begun(config: &Config, claims: &[Recorded]) -> Result<(), Failure> {
    let Some(reader) = Reader::open_if_any(&config.ledger)? else { return Ok(()) };
    let mut fold = Fold::new(None);
    reader.rows(|_, row| {
        // Sightings and looks do not matter here, and they are nearly all rows.
        if matches!(row, Row::Run(_) | Row::Intent(_) | Row::Withdrawn(_)) {
            fold.apply(&row);
        }
        ControlFlow::Continue(())
    })?;
    for claim in claims {
        let canaries = fold.injected_under(&claim.campaign, &claim.route);
        if canaries > 0 {
            return Err(Failure::User(format!(
                "campaign {:?} has {canaries} canaries on route {:?} already: what is fixed now would be \
                 after the fact; give the new campaign another `campaign.name`",
                claim.campaign, claim.route
            )));
        }
    }
    Ok(())
}

fn write(config: &Config, claims: &[Recorded]) -> Result<(), Failure> {
    let keys = KeyRing::load(&config.key)
        .map_err(|e| Failure::User(format!("cannot read the key {}: {e}", config.key.display())))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let at = clock.now();
    let rows = claims
        .iter()
        .map(|c| {
            Row::Claim(ClaimRow {
                at,
                campaign: c.campaign.clone(),
                route: c.route.clone(),
                expectation: c.expectation.clone(),
                n: c.n,
                misses: c.m,
                quantile: c.quantile,
                within_ns: c.within_ns,
                confidence: c.confidence,
            })
        })
        .collect();
    let opening = Opening { verb: "plan".to_owned() };
    let ledger = Ledger::open(&config.ledger, &keys.chain_key(), opening, clock)?;
    let written = ledger.append(Batch { rows, ..Batch::default() }).wait();
    let closed = ledger.close(PATIENCE);
    written.map(drop).and(closed).map_err(Failure::from)
}
