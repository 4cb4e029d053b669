//! `dwell probe ROUTE`: one canary, followed live stage by stage.

use dwell_injectors::token::{Carrier, KeyRing};

use super::{Global, signals};
use crate::config;
use crate::dispatch::plan::Request;
use crate::dispatch::run::{Observer, Orders};
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure};
use crate::ledger::{EventResult, Row};
use crate::report::escape::terminal;
use crate::report::words::duration;

/// Arguments of `dwell probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route.
    pub route: String,
    /// Go on until the horizon has passed.
    #[arg(long)]
    pub until_horizon: bool,
}

/// Runs `dwell probe`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load(&global.config).map_err(|e| Failure::User(e.to_string()))?;
    let mut session = Session::prepare(config)?;
    session.open("probe")?;
    let request = Request { routes: vec![args.route], probe: true, ..Request::default() };
    let plan = session.plan(&request)?;
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders, signals::STOPS)
        .map_err(|e| Failure::Environment(format!("cannot handle signals: {e}")))?;
    if let Some(route) = plan.row.routes.first() {
        eprintln!("{} -> {}", route.recipe, route.target);
    }
    let keys = std::sync::Arc::clone(&session.keys);
    let mut observer = Followed { keys: &keys, submitted: None };
    let assessment = session.run(plan, args.until_horizon, &orders, &mut observer);
    let ledger = session.config.ledger.clone();
    let campaign = assessment?.campaign;
    session.close()?;
    super::run::print(&ledger, &campaign, global)
}

/// Prints each stage as it is reached.
struct Followed<'a> {
    keys: &'a KeyRing,
    submitted: Option<dwell_injectors::stamp::Stamp>,
}

impl Observer for Followed<'_> {
    fn rows(&mut self, rows: &[Row]) {
        for row in rows {
            match row {
                Row::Intent(intent) => {
                    let token = self.keys.text_of(intent.canary, Carrier::Text).unwrap_or_default();
                    eprintln!("canary {} token {token}", intent.canary);
                }
                Row::Receipt(receipt) => {
                    let submitted = *self.submitted.get_or_insert(receipt.submitted_at);
                    let after = receipt.submitted_at.since(&submitted).ns.max(0).unsigned_abs();
                    let words = match &receipt.result {
                        EventResult::Accepted { strength, place, .. } => format!(
                            "accepted ({strength:?}) at {}",
                            terminal(place.as_deref().unwrap_or("a place it does not name"))
                        ),
                        EventResult::Rejected { reason, .. } => {
                            format!("rejected: {}", terminal(reason))
                        }
                        EventResult::Unknown { reason } => format!("unknown: {}", terminal(reason)),
                        EventResult::NotSent { reason } => {
                            format!("not sent: {}", terminal(reason))
                        }
                    };
                    eprintln!("{:>10}  event {} {words}", duration(after), receipt.event);
                }
                Row::Sighting(sighting) => {
                    let Some(submitted) = self.submitted else { continue };
                    let after = sighting.observed.since(&submitted).ns.max(0).unsigned_abs();
                    eprintln!(
                        "{:>10}  {} seen by {} {}",
                        duration(after),
                        sighting.stage.name(),
                        terminal(&sighting.watcher),
                        sighting.rule.as_deref().map(terminal).unwrap_or_default()
                    );
                }
                _ => {}
            }
        }
    }
}
