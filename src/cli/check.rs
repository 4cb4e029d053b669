//! `dwell check`: what a run would do, and whether it could. Sends nothing to any target.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::stamp::{Clock, SystemClock};
use serde::Serialize;
use serde_json::json;

use super::Global;
use crate::config::checked::Route;
use crate::config::{self, Config, Span};
use crate::dialects::Dialects;
use crate::dispatch::foretold::{COUNTED, Foretold, Most};
use crate::dispatch::limits::refuse_stopped;
use crate::dispatch::plan::foresee;
use crate::dispatch::session::read_ledger;
use crate::dispatch::targets;
use crate::exit::{Exit, Failure, printable};
use crate::schedule::KILL_SWITCH;
use crate::watchers;

/// How long one target may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `dwell check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also connect to every target and source. Nothing is sent to a target.
    #[arg(long)]
    pub connect: bool,
    /// Print the JSON schema of the configuration for editors, and nothing else.
    #[arg(long)]
    pub schema: bool,
}

/// What one connection showed.
#[derive(Serialize)]
struct Found {
    kind: &'static str,
    name: String,
    place: String,
    ok: bool,
    notes: Vec<String>,
}

/// Runs `dwell check`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    if args.schema {
        return super::put_json(&config::schema());
    }
    let config = match config::load(&global.config) {
        Ok(config) => config,
        Err(errors) if global.json => {
            super::put_json(&json!({ "ok": false, "problems": errors.problems }))?;
            return Ok(Exit::User);
        }
        Err(errors) => return Err(errors.into()),
    };
    let catalogue = Catalogue::load(&config.recipe_folders)
        .map_err(|error| Failure::User(error.to_string()))?;
    let ahead = Ahead::look(&config, &catalogue)?;
    let found = if args.connect { connect(&config, &catalogue)? } else { Vec::new() };
    let ok = found.iter().all(|f| f.ok);
    if global.json {
        super::put_json(&as_json(&config, &ahead, &found, ok))?;
    } else {
        super::put(printable(&as_text(&config, &ahead, &found, args.connect)).as_bytes())?;
    }
    Ok(if ok { Exit::Met } else { Exit::Environment })
}

/// What a run that began now would do with its canaries.
#[derive(Serialize)]
struct Ahead {
    /// What all canaries of the plan could cause, if every one of them left.
    #[serde(skip)]
    of_all: Most,
    /// Objectives that the run could not meet, in words.
    #[serde(skip)]
    hollow: Vec<String>,
    /// What those that would leave can cause.
    most: Most,
    /// Those that would leave.
    leaving: u64,
    /// Those that would not, by reason.
    withheld: std::collections::BTreeMap<String, u64>,
    /// The same in words, and when hours begin.
    notes: Vec<String>,
    /// The file that stops all injection, if it is there.
    kill_switch: Option<std::path::PathBuf>,
}

impl Ahead {
    fn look(config: &Config, catalogue: &Catalogue) -> Result<Ahead, Failure> {
        let fold = read_ledger(config)?;
        let now = SystemClock::new().now().wall_ns;
        let foresight = foresee(config, catalogue, &fold, now)?;
        let foretold = Foretold::new(config, &config.routes, catalogue, &fold);
        let stopped = refuse_stopped(config).err();
        let (notes, leaving, withheld) = match &stopped {
            Some(stopped) => {
                let all = foresight.withheld.len() as u64;
                (vec![stopped.to_string()], 0, vec![(KILL_SWITCH, all)])
            }
            None => {
                let reasons = foresight.reasons().into_iter().collect();
                (foresight.in_words(), foresight.leaving() as u64, reasons)
            }
        };
        let most = match stopped {
            Some(_) => Most::default(),
            None => foretold.most(&foresight.by_route),
        };
        Ok(Ahead {
            of_all: foretold.most_of_all(),
            hollow: foretold.hollow(&foresight.by_route),
            most,
            leaving,
            withheld: withheld.into_iter().map(|(reason, n)| (reason.to_owned(), n)).collect(),
            notes,
            kill_switch: stopped.map(|_| config.campaign.kill_switch.clone()),
        })
    }
}

fn as_json(config: &Config, ahead: &Ahead, found: &[Found], ok: bool) -> serde_json::Value {
    let targets: Vec<_> = config
        .injectors
        .iter()
        .map(|(name, settings)| {
            let target = settings.target();
            json!({ "injector": name, "target": target.to_string(), "local": target.local })
        })
        .collect();
    json!({
        "ok": ok,
        "digest": config.digest,
        "targets": targets,
        "most": ahead.of_all,
        "begun_now": ahead,
        "warnings": config.warnings.iter().chain(&ahead.hollow).collect::<Vec<_>>(),
        "connections": found,
        "configuration": config.resolved,
    })
}

fn as_text(config: &Config, ahead: &Ahead, found: &[Found], connected: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let campaign = &config.campaign;
    let _ = writeln!(out, "{}: sound", config.path.display());
    let _ = writeln!(
        out,
        "campaign {} over {}, configuration {}",
        campaign.name,
        Span(campaign.window),
        &config.digest[..16]
    );
    let _ = writeln!(out, "\na run would write to");
    for (name, settings) in &config.injectors {
        let target = settings.target();
        let place = if target.local { "this machine" } else { "beyond this machine" };
        let _ = writeln!(out, "  {name}: {target} ({place})");
    }
    let _ = writeln!(out, "\nby these routes");
    for route in &config.routes {
        route_text(&mut out, route);
    }
    let causes = |most: &Most| {
        let Most { canaries, events, alerts, tickets, pages } = most;
        format!(
            "{canaries} canaries of {events} events, {alerts} alerts, {tickets} tickets, {pages} pages"
        )
    };
    let _ = writeln!(out, "\nat most {}", causes(&ahead.of_all));
    let _ = writeln!(
        out,
        "begun now, {} of them would leave: at most {}",
        ahead.leaving,
        causes(&ahead.most)
    );
    let _ = writeln!(out, "{COUNTED}");
    for warning in config.warnings.iter().chain(&ahead.hollow).chain(&ahead.notes) {
        let _ = writeln!(out, "warning: {warning}");
    }
    for found in found {
        let verdict = if found.ok { "ok" } else { "FAILED" };
        let _ = writeln!(out, "{} {} {}: {verdict}", found.kind, found.name, found.place);
        for note in &found.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    if !connected {
        let _ = writeln!(out, "\nnothing was connected to; `dwell check --connect` does that");
    }
    out
}

fn route_text(out: &mut String, route: &Route) {
    let _ = writeln!(
        out,
        "  {}: {} x {} through {}, owner {}",
        route.name, route.count, route.recipe, route.injector, route.owner
    );
    for e in &route.expectations {
        let rules = if e.rules.is_empty() { "any rule".into() } else { e.rules.join(", ") };
        let _ = writeln!(
            out,
            "    {} by {} within {}, {:.1} % of them ({rules}); watched for {}",
            e.stage.name(),
            e.watchers.join(" or "),
            Span(e.deadline),
            e.objective.share * 100.0,
            Span(e.horizon)
        );
    }
}

fn connect(config: &Config, catalogue: &Catalogue) -> Result<Vec<Found>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dialects =
        Dialects::load(&config.dialect_folders).map_err(|e| Failure::User(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| Failure::Environment(format!("no runtime: {e}")))?;
    let mut found: Vec<Found> =
        config.injectors.keys().map(|name| injector(config, catalogue, name, &clock)).collect();
    for (name, watcher) in &config.watchers {
        let seen = watchers::probe(&watcher.settings, &dialects, &*clock, runtime.handle());
        let (ok, note) = match seen {
            Ok(note) => (true, note),
            Err(note) => (false, note),
        };
        let place = watcher.settings.kind().to_owned();
        found.push(Found { kind: "watcher", name: name.clone(), place, ok, notes: vec![note] });
    }
    Ok(found)
}

fn injector(config: &Config, catalogue: &Catalogue, name: &str, clock: &Arc<dyn Clock>) -> Found {
    let settings = &config.injectors[name];
    let place = settings.target().to_string();
    let mut found = Found { kind: "injector", name: name.into(), place, ok: true, notes: vec![] };
    let mut built = match settings.build(Arc::clone(clock)) {
        Ok(built) => built,
        Err(error) => {
            found.ok = false;
            found.notes.push(error.to_string());
            return found;
        }
    };
    let routes = config.routes.iter().filter(|route| route.injector == name);
    match built.check(&targets::samples(routes, catalogue), TIMEOUT) {
        Ok(notes) => {
            found.ok = notes.iter().all(|note| !note.refuse);
            found.notes.extend(notes.into_iter().map(|note| note.text));
        }
        Err(error) => {
            found.ok = false;
            found.notes.push(error.to_string());
        }
    }
    built.close(Duration::from_secs(1));
    found
}
