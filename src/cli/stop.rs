//! `dwell stop`: the kill switch. Injection ends within a second; watching goes on, because alerts
//! of what left already are still to come.

use std::time::Duration;

use dwell_injectors::stamp::{Clock, SystemClock};
use serde_json::json;

use super::Global;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, printable};

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
    let until = alerts_until(&config);
    if global.json {
        return super::put_json(&json!({
            "kill_switch": path,
            "stopped": !args.resume,
            "alerts_until_at_most": until.map(|t| t.to_string()),
        }));
    }
    let text = if args.resume {
        format!("{shown} is gone: later runs may inject again\n")
    } else {
        let until = until.map_or("their horizons end".to_owned(), |t| t.to_string());
        format!(
            "{shown} is there: nothing more is injected\n\
             alerts of what left already may come until {until} at the latest\n\
             `dwell leftovers` lists what was left behind; `dwell watch` goes on watching\n\
             `dwell stop --resume` takes the stop back\n"
        )
    };
    super::put(printable(&text).as_bytes())
}

/// The latest instant at which an alert of a canary that left just now is still waited for.
fn alerts_until(config: &Config) -> Option<jiff::Timestamp> {
    let longest = config.routes.iter().flat_map(|r| &r.expectations).map(|e| e.horizon).max();
    let now = jiff::Timestamp::from_nanosecond(SystemClock::new().now().wall_ns.into()).ok()?;
    let rounded = Duration::from_secs(longest?.as_secs() + 1);
    now.checked_add(rounded).ok()?.round(jiff::Unit::Second).ok()
}
