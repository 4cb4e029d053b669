//! `dwell stop`: the kill switch. Injection ends within a second; watching goes on, because alerts
//! of what left already are still to come.

use dwell_injectors::stamp::{Clock, SystemClock};
use serde_json::json;

use super::Global;
use crate::config;
use crate::dispatch::keep::outstanding;
use crate::dispatch::session::read_ledger;
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
    let fold = read_ledger(&config)?;
    let outstanding = outstanding(&fold, fold.place(&SystemClock::new().now()));
    if global.json {
        let rows = outstanding.iter().map(|left| {
            json!({ "campaign": left.campaign, "route": left.route, "canaries": left.canaries,
                "until": left.until_in_words() })
        });
        return super::put_json(&json!({
            "kill_switch": path,
            "stopped": !args.resume,
            "outstanding": rows.collect::<Vec<_>>(),
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
            route.campaign,
            route.route,
            route.canaries,
            route.until_in_words()
        ));
    }
    if outstanding.is_empty() {
        text.push_str("nothing is outstanding\n");
    }
    super::put(printable(&text).as_bytes())
}
