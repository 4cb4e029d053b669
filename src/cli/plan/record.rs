//! `dwell plan --record`: fixes n and m in the ledger before the campaign.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::KeyRing;
use serde::Serialize;

use super::{Args, nanos};
use crate::config::Config;
use crate::config::checked::{Expectation, Route};
use crate::dispatch::outcome::Fold;
use crate::exit::Failure;
use crate::ledger::{Batch, ClaimRow, Ledger, Opening, Reader, Row};
use crate::report::words::duration;
use crate::stats::planning::canaries_needed;

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
pub(super) fn record(config: &Config, target: &str, args: &Args) -> Result<Vec<Recorded>, Failure> {
    let targets = targets(config, target)?;
    let mut claims = Vec::new();
    for (route, expectation) in targets {
        claims.push(claim(config, route, expectation, args)?);
    }
    refuse_begun(config, &claims)?;
    write(config, &claims)?;
    Ok(claims)
}

/// `ROUTE`, `ROUTE/EXPECTATION`, or everything.
fn targets<'a>(
    config: &'a Config,
    target: &str,
) -> Result<Vec<(&'a Route, &'a Expectation)>, Failure> {
    let all = config.routes.iter().flat_map(|r| r.expectations.iter().map(move |e| (r, e)));
    let meant: Vec<_> = all
        .filter(|(r, e)| {
            target.is_empty() || r.name == target || format!("{}/{}", r.name, e.name) == target
        })
        .collect();
    if meant.is_empty() {
        return Err(Failure::User(format!(
            "there is no expectation {target:?} in {}; write ROUTE or ROUTE/EXPECTATION",
            config.path.display()
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
    let of_objective = if objective.share < 1.0 { objective.share } else { 0.95 };
    let quantile = args.quantile.unwrap_or(of_objective);
    let confidence = args.confidence.or(objective.confidence).unwrap_or(0.95);
    let m = match args.misses {
        None => 0,
        Some(range) if range.first == range.last => range.first,
        Some(_) => {
            return Err(Failure::User(
                "--record fixes one number of misses: write --misses 1, not a range".to_owned(),
            ));
        }
    };
    let n = canaries_needed(quantile, confidence, m).ok_or_else(|| {
        Failure::User(format!("{whose}: no number of canaries carries that claim"))
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
