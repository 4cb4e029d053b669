//! `dwell watch`: goes on watching what is outstanding, of whatever campaign, injecting nothing.

use super::progress::Progress;
use super::{Global, signals};
use crate::config;
use crate::dispatch::keep::Outstanding;
use crate::dispatch::run::{Observer, Orders};
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End with 0 once nothing is outstanding, whatever the verdict: for a service manager, which would
    /// take a missed objective for a failure and start again.
    #[arg(long)]
    pub service: bool,
}

/// Runs `dwell watch`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    // An authorisation that has run out forbids injecting, not looking.
    let config =
        config::load_for_reading(&global.config).map_err(|e| Failure::User(e.to_string()))?;
    let mut session = Session::prepare(config)?;
    let Some(latest) = session.fold.latest_campaign() else {
        if args.service {
            eprintln!("the ledger holds no run yet: there is nothing to watch");
            return Ok(Exit::Met);
        }
        return Err(Failure::User(
            "the ledger holds no run yet: there is nothing to watch; start one with `dwell run`"
                .to_owned(),
        ));
    };
    session.open("watch")?;
    let mut campaigns: Vec<String> =
        session.outstanding().into_iter().map(|left| left.campaign).collect();
    campaigns.dedup();
    let watched = if campaigns.is_empty() {
        eprintln!("nothing is outstanding: every horizon has passed or every canary was seen");
        campaigns.push(latest);
        Ok(())
    } else {
        watch(&mut session)
    };
    let ledger = session.config.ledger.clone();
    let closed = session.close();
    watched?;
    closed?;
    let mut exit = Exit::Met;
    for campaign in &campaigns {
        exit = exit.worst(super::run::print(&ledger, campaign, global)?);
    }
    Ok(if args.service { Exit::Met } else { exit })
}

fn watch(session: &mut Session) -> Result<(), Failure> {
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders, signals::ENDS)
        .map_err(|e| Failure::Environment(format!("cannot handle signals: {e}")))?;
    let mut observer = Left { progress: Progress::new(0) };
    let result = session.watch(&orders, &mut observer);
    observer.progress.finish();
    result
}

/// Shows on stderr what is left.
struct Left {
    progress: Progress,
}

impl Observer for Left {
    fn outstanding(&mut self, left: &[Outstanding]) {
        let canaries: u64 = left.iter().map(|l| l.canaries).sum();
        let message = match left.iter().max_by_key(|l| l.until) {
            Some(last) => format!(
                "watching: {canaries} outstanding, alerts may come until {}",
                last.until_in_words()
            ),
            None => "nothing is outstanding any more".to_owned(),
        };
        self.progress.set(0, &message);
    }
}
