//! `dwell watch`: goes on watching what is outstanding, injecting nothing.

use super::run::Shown;
use super::{Global, signals};
use crate::config;
use crate::dispatch::run::Orders;
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell watch`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell watch`.
pub fn run(_args: Args, global: &Global) -> Result<Exit, Failure> {
    // An authorisation that has run out forbids injecting, not looking.
    let config =
        config::load_for_reading(&global.config).map_err(|e| Failure::User(e.to_string()))?;
    let mut session = Session::prepare(config)?;
    session.open("watch")?;
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders)
        .map_err(|e| Failure::Environment(format!("cannot handle signals: {e}")))?;
    let mut observer = Shown::new(0);
    let assessment = session.watch(&orders, &mut observer);
    observer.finish();
    let ledger = session.config.ledger.clone();
    let assessment = assessment?;
    session.close()?;
    match assessment {
        Some(assessment) => super::run::print(&ledger, &assessment.campaign, global),
        None => Err(Failure::User(
            "the ledger holds no run yet: there is nothing to watch; start one with `dwell run`"
                .to_owned(),
        )),
    }
}
