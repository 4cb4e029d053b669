//! `dwell stop`: the kill switch. Injection ends within a second; watching goes on, because alerts
//! of what left already are still to come.

use std::ops::ControlFlow;

use dwell_injectors::stamp::{Clock, SystemClock};
use serde_json::json;

use super::Global;
use crate::config::{self, Config};
use crate::dispatch::outcome::Fold;
use crate::exit::{Exit, Failure, printable};
use crate::ledger::Reader;

/// Arguments of `dwell stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take the stop back: later runs may inject again. A stopped run does not go on.
    #[arg(long)]
    pub resume: bool,
}

/// Creates or removes the kill switch.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    let path = &config.campaign.kill_switch;
    let shown = path.display();
    let failed = |e: std::io::Error| {
        Failure::Environment(format!("cannot change {shown}: {e}; check its folder's permissions"))
    };
    if args.resume {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    } else {
        std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    }
    let outstanding = outstanding(&config)?;
    if global.json {
        return super::put_json(&json!({
            "kill_switch": path,
            "stopped": !args.resume,
            "outstanding": outstanding,
        }));
    }
    let mut text = if args.resume {
        format!("{shown} is gone: later runs may inject again\n")
    } else {
        format!(
            "{shown} is there: nothing more is injected\n\
             `dwell watch` goes on watching; `dwell stop --resume` takes the stop back\n"
        )
    };
    for route in &outstanding {
        text.push_str(&format!(
            "{}, {}: {} outstanding, alerts may come until {}\n",
            route.campaign, route.route, route.canaries, route.until
        ));
    }
    if outstanding.is_empty() {
        text.push_str("nothing is outstanding\n");
    }
    super::put(printable(&text).as_bytes())
}

/// Canaries of one route whose alerts may still come.
#[derive(serde::Serialize)]
struct Outstanding {
    campaign: String,
    route: String,
    canaries: u64,
    until: String,
}

/// What the ledger says is outstanding now. A ledger that is not there yet holds nothing.
fn outstanding(config: &Config) -> Result<Vec<Outstanding>, Failure> {
    let Some(reader) = Reader::open_if_any(&config.ledger)? else { return Ok(Vec::new()) };
    let mut fold = Fold::new(None);
    reader.rows(|_, row| {
        fold.apply(&row);
        ControlFlow::Continue(())
    })?;
    let now = fold.place(&SystemClock::new().now());
    let found = fold.outstanding_at(now).into_iter().map(|(campaign, route, canaries, until)| {
        let until = jiff::Timestamp::from_nanosecond(until.into()).unwrap_or_default();
        let until = until.round(jiff::Unit::Second).unwrap_or(until).to_string();
        Outstanding { campaign, route, canaries, until }
    });
    Ok(found.collect())
}
