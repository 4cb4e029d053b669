//! `dwell stop`: the kill switch. Injection ends within a second; watching goes on, because alerts
//! of what left already are still to come.
//!
//! A configuration with problems does not keep it from stopping: the kill switch is then read alone.

use dwell_injectors::stamp::{Clock, SystemClock};
use serde_json::json;

use super::Global;
use crate::config;
use crate::dispatch::keep::{Outstanding, outstanding};
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
    let config = config::load_for_reading(&global.config);
    let path = &match &config {
        Ok(config) => config.campaign.kill_switch.clone(),
        Err(_) => config::kill_switch(&global.config)?,
    };
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
    let left = match &config {
        Ok(config) => read_ledger(config)
            .map(|fold| Some(outstanding(&fold, fold.place(&SystemClock::new().now())))),
        Err(problems) => {
            eprintln!("warning: {problems}\n\nThe kill switch was read alone, and is obeyed.\n");
            Ok(None)
        }
    };
    let known = left.as_ref().ok().and_then(Option::as_deref);
    if global.json {
        let row = |left: &Outstanding| {
            json!({ "campaign": left.campaign, "route": left.route, "canaries": left.canaries,
                "until": left.until_in_words() })
        };
        super::put_json(&json!({
            "kill_switch": path,
            "stopped": !args.resume,
            "outstanding": known.map(|rows| rows.iter().map(row).collect::<Vec<_>>()),
        }))?;
    } else {
        super::put(printable(&text(&shown.to_string(), args.resume, known)).as_bytes())?;
    }
    // A ledger that cannot be read is an error, but no reason not to have stopped.
    left.map(|_| Exit::Met)
}

/// What was done, and what may still be seen, where that is known.
fn text(shown: &str, resumed: bool, outstanding: Option<&[Outstanding]>) -> String {
    let mut text = if resumed {
        format!("{shown} is gone: later runs may inject again\n")
    } else {
        format!(
            "{shown} is there: nothing more is injected\n\
             `dwell watch` goes on watching; `dwell stop --resume` takes the stop back\n"
        )
    };
    for route in outstanding.unwrap_or_default() {
        text.push_str(&format!(
            "{}, {}: {} outstanding, alerts may come until {}\n",
            route.campaign,
            route.route,
            route.canaries,
            route.until_in_words()
        ));
    }
    match outstanding {
        Some([]) => text.push_str("nothing is outstanding\n"),
        Some(_) => {}
        None => text.push_str("what is outstanding is not known\n"),
    }
    text
}
