//! `dwell run`: a whole campaign.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::progress::Progress;
use super::{Global, signals};
use crate::config;
use crate::dispatch::foretold::{COUNTED, Most};
use crate::dispatch::limits;
use crate::dispatch::outcome::Outcome;
use crate::dispatch::plan::{Plan, Request};
use crate::dispatch::run::{Observer, Orders, Status};
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure, printable};
use crate::report::escape::terminal;
use crate::report::words::duration;
use crate::report::{Format, ReportModel, render};
use crate::schedule::KILL_SWITCH;

/// Arguments of `dwell run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this route; may be given more than once.
    #[arg(long)]
    pub route: Vec<String>,
    /// Only routes with this recipe; may be given more than once.
    #[arg(long)]
    pub recipe: Vec<String>,
    /// Go on until every horizon has passed, not only until every deadline is decided.
    #[arg(long)]
    pub until_horizon: bool,
    /// Seed of the schedule instead of the configuration's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Print what would happen; write nothing anywhere.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs `dwell run`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load(&global.config).map_err(|e| Failure::User(e.to_string()))?;
    let mut session = Session::prepare(config)?;
    let request =
        Request { routes: args.route, recipes: args.recipe, probe: false, seed: args.seed };
    let plan = session.plan(&request)?;
    if args.dry_run {
        return dry(&session, &plan, global);
    }
    // Once the lock is ours the plan is made anew: caps count what was injected until now.
    limits::refuse_stopped(&session.config)?;
    session.open("run")?;
    let plan = session.plan(&request)?;
    announce(&plan, session.clock.now().wall_ns);
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders, signals::STOPS)
        .map_err(|e| Failure::Environment(format!("cannot handle signals: {e}")))?;
    let mut observer = Shown::new(plan.planned.len() as u64);
    let assessment = session.run(plan, args.until_horizon, &orders, &mut observer);
    observer.finish();
    let ledger = session.config.ledger.clone();
    // Closed before anything is said, also about a failure: watchers and ledger first come to rest.
    let closed = session.close();
    let campaign = assessment?.campaign;
    closed?;
    print(&ledger, &campaign, global)
}

/// Prints the report of a campaign as it stands and gives its exit code.
pub(super) fn print(ledger: &Path, campaign: &str, global: &Global) -> Result<Exit, Failure> {
    let model: ReportModel = super::report::build(ledger, None, Some(campaign), None)?;
    let format = if global.json { Format::Json } else { Format::Text };
    super::put(render(&model, format, super::report::width()).as_bytes())?;
    Ok(model.exit())
}

fn announce(plan: &Plan, now_wall_ns: i64) {
    let foresight = plan.foresee(now_wall_ns);
    let most = plan.foretold.most(&foresight.by_route);
    eprintln!(
        "{} canaries over {}; at most {} alerts, {} of them pages. {COUNTED}",
        plan.planned.len(),
        duration(plan.row.window_ns),
        most.alerts,
        most.pages
    );
    let hollow = plan.foretold.hollow(&foresight.by_route);
    for line in foresight.in_words().iter().chain(&hollow) {
        eprintln!("warning: {}", terminal(line));
    }
    if plan.row.arrivals == "fixed" {
        eprintln!(
            "warning: fixed arrivals measure one phase of a scheduled rule; `stratified` sees them all"
        );
    }
}

/// One planned canary as `--dry-run` shows it.
#[derive(serde::Serialize)]
struct Planned<'a> {
    at: String,
    route: &'a str,
    recipe: &'a str,
    target: &'a str,
    slot: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<String>,
}

fn dry(session: &Session, plan: &Plan, global: &Global) -> Result<Exit, Failure> {
    let begins = session.clock.now();
    let foresight = plan.foresee(begins.wall_ns);
    let stopped = limits::refuse_stopped(&session.config).err();
    let most = match stopped {
        Some(_) => Most::default(),
        None => plan.foretold.most(&foresight.by_route),
    };
    let hollow = plan.foretold.hollow(&foresight.by_route);
    let rows = plan.planned.iter().zip(&foresight.withheld).filter_map(|(p, withheld)| {
        let route = plan.row.routes.get(p.route as usize)?;
        let at = begins.plus_ns(i64::try_from(p.offset_ns).unwrap_or(i64::MAX)).timestamp();
        Some(Planned {
            at: format!("{at:.3}"),
            route: &route.name,
            recipe: &route.recipe,
            target: &route.target,
            slot: p.slot,
            withheld: match stopped {
                Some(_) => Some(KILL_SWITCH.to_owned()),
                None => withheld.clone(),
            },
        })
    });
    let (leaving, withheld): (Vec<_>, Vec<_>) = rows.partition(|row| row.withheld.is_none());
    if global.json {
        return super::put_json(&json!({ "dry_run": true, "seed": plan.row.seed,
            "kill_switch": stopped.is_some(), "most_alerts": most.alerts,
            "most_pages": most.pages, "canaries": leaving, "withheld": withheld,
            "notes": foresight.in_words(), "warnings": hollow }));
    }
    let mut text = format!(
        "Dry run: nothing is written anywhere. Seed {}; begun now, {} of {} canaries would leave:\n",
        plan.row.seed,
        leaving.len(),
        leaving.len() + withheld.len()
    );
    for row in &leaving {
        text.push_str(&format!("{}  {}  {}  -> {}\n", row.at, row.route, row.recipe, row.target));
    }
    match stopped {
        Some(stopped) => text.push_str(&format!("{stopped}\n")),
        None => foresight.in_words().iter().for_each(|line| text.push_str(&format!("{line}\n"))),
    }
    hollow.iter().for_each(|line| text.push_str(&format!("warning: {line}\n")));
    let Most { alerts, pages, .. } = most;
    text.push_str(&format!("At most {alerts} alerts, {pages} of them pages. {COUNTED}\n"));
    super::put(printable(&text).as_bytes())
}

/// Shows a run on stderr.
pub(super) struct Shown {
    progress: Option<Progress>,
}

impl Shown {
    pub(super) fn new(canaries: u64) -> Shown {
        Shown { progress: Some(Progress::new(canaries)) }
    }

    pub(super) fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }
}

/// `12 detected, 3 pending`.
pub(super) fn counts(outcomes: &BTreeMap<Outcome, u64>) -> String {
    let parts: Vec<String> =
        outcomes.iter().map(|(outcome, n)| format!("{n} {}", outcome.name())).collect();
    parts.join(", ")
}

impl Observer for Shown {
    fn status(&mut self, status: &Status) {
        let until = jiff::Timestamp::from_nanosecond(i128::from(status.decided_by_ns))
            .map(|t| format!("{t:.0}"))
            .unwrap_or_default();
        let doing = if status.injecting { "injecting" } else { "watching" };
        let mut message =
            format!("{doing}: {} injected, {} withdrawn", status.injected, status.withdrawn);
        if status.injected > 0 {
            // More than the canaries where a route has several expectations.
            message.push_str(&format!("; verdicts: {}", counts(&status.outcomes)));
        }
        if status.injecting || status.pending > 0 {
            message.push_str(&format!("; decided by {until}"));
        }
        if let Some(progress) = &mut self.progress {
            progress.set(status.injected + status.withdrawn, &message);
        }
    }
}
