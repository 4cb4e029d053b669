//! `dwell demo`: the whole instrument on a small SIEM whose faults are known, in under a minute.
//!
//! It writes a real configuration into a fresh folder, starts the reference detector as a child
//! process, carries out a campaign through the same code as `dwell run`, and holds what was measured
//! against what was planted. It succeeds when they agree: the routes are *meant* to miss, so the
//! campaign's own exit code is not the demo's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use comfy_table::Table;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{KeyRing, TokenId};

use super::staged::Done;
use super::{Global, staged};
use crate::detector::Truth;
use crate::dispatch::outcome::{Assessment, Outcome};
use crate::exit::{Exit, Failure};
use crate::matching::Scanner;
use crate::report::{Format, ReportModel, median, render};

mod compare;
mod explain;
pub(super) mod place;
mod plan;

use compare::{Check, Evidence};

/// Arguments of `dwell demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for everything that the demo writes; it must be new or empty.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Canaries of each route.
    #[arg(long, default_value_t = plan::COUNT, value_parser = clap::value_parser!(u32).range(5..=600))]
    pub count: u32,
    /// Seed of the schedule and of the detector's delays and losses.
    #[arg(long, default_value_t = 2026)]
    pub seed: u64,
}

/// Runs `dwell demo`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let folder = place::folder(args.dir.as_deref(), SystemClock::new().now().timestamp())?;
    let (api, hook) = place::ports()?;
    let campaign = folder.join("dwell.toml");
    let detector = folder.join("detector.toml");
    place::write(&campaign, &plan::campaign(api, hook, args.seed, args.count))?;
    place::write(&detector, &plan::detector(api, hook, args.seed))?;
    for log in plan::logs() {
        place::write(&folder.join(log), "")?;
    }
    let key = folder.join("dwell.key");
    KeyRing::generate().create(&key).map_err(|e| Failure::Environment(e.to_string()))?;
    eprintln!("Everything that the demo writes is in {}", folder.display());
    eprintln!(
        "Seven routes, {} canaries each within {} s; a detector with planted faults. Ctrl-C stops.",
        args.count,
        plan::WINDOW_S
    );
    let running = place::Detector::start(&detector)?;
    let nothing = || Ok(());
    let staged::Staged { done, .. } = staged::carry_out(&campaign, "demo", nothing, |_| Ok(()))?;
    let checks = held_against_truth(&folder, &done)?;
    drop(running);
    let model = super::report::build(&folder.join("dwell.db"), None, None, Some(&done.keys))?;
    place::write(&folder.join("report.html"), &render(&model, Format::Html, 100))?;
    if !global.json {
        print!("{}", render(&model, Format::Text, super::report::width()));
    }
    show(&folder, (&done.assessment, &model), &checks, global.json)
}

fn held_against_truth(folder: &Path, done: &Done) -> Result<Vec<Check>, Failure> {
    let truth = Truth::read(&folder.join("truth.jsonl"))?;
    let scanner = Scanner::new(Arc::clone(&done.keys));
    let tokens = |text: &str| scanner.tokens_in(text.as_bytes()).0;
    let explainer = explain::Explainer::new(&done.ledger, &done.keys)?;
    let explain = |canary: TokenId| {
        explainer.explain(canary).unwrap_or_else(|failure| vec![failure.to_string()])
    };
    Ok(compare::compare(&Evidence {
        rows: &done.rows,
        assessment: &done.assessment,
        truth: &truth,
        tokens: &tokens,
        explain: &explain,
    }))
}

/// Prints what was measured, how it compares, and what to do next.
fn show(
    folder: &Path,
    (assessment, model): (&Assessment, &ReportModel),
    checks: &[Check],
    json: bool,
) -> Result<Exit, Failure> {
    let agree = checks.iter().all(|check| check.agrees);
    if json {
        let value = serde_json::json!({
            "folder": folder, "agree": agree, "checks": checks, "routes": counts(assessment),
        });
        println!("{value}");
    } else {
        println!("{}\n\n{}\n", measured(model), compared(checks));
        println!("{}", closing(folder, assessment, checks));
    }
    Ok(if agree { Exit::Met } else { Exit::Missed })
}

fn counts(assessment: &Assessment) -> Vec<serde_json::Value> {
    let routes = assessment.routes.iter();
    routes
        .flat_map(|route| {
            route.expectations().iter().enumerate().map(move |(index, expectation)| {
                serde_json::json!({
                    "route": route.plan.name, "expectation": expectation.name,
                    "outcomes": route.counts(index),
                })
            })
        })
        .collect()
}

/// One line per expectation; its median is the report's own.
fn measured(model: &ReportModel) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header([
        "route",
        "expectation",
        "n",
        "detected",
        "late",
        "missed",
        "other",
        "median (95 % interval)",
    ]);
    for route in &model.routes {
        for e in &route.expectations {
            let of = |outcome: Outcome| e.outcomes.get(outcome.name()).copied().unwrap_or(0);
            let known = [Outcome::Detected, Outcome::Late, Outcome::Missed].map(of);
            let other = route.injected - known.iter().sum::<u64>();
            table.add_row([
                route.name.clone(),
                e.name.clone(),
                route.injected.to_string(),
                known[0].to_string(),
                known[1].to_string(),
                known[2].to_string(),
                other.to_string(),
                median(&e.ttd),
            ]);
        }
    }
    table.to_string()
}

fn compared(checks: &[Check]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::TableStyle::new()).set_width(120);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["planted", "measured", "agrees"]);
    for check in checks {
        let agrees = if check.agrees { "yes" } else { "NO" };
        table.add_row([check.planted.as_str(), check.measured.as_str(), agrees]);
    }
    table.to_string()
}

fn closing(folder: &Path, assessment: &Assessment, checks: &[Check]) -> String {
    let wrong = checks.iter().filter(|check| !check.agrees).count();
    let verdict = if wrong == 0 {
        "What was measured agrees with what was planted.".to_owned()
    } else {
        format!("{wrong} of {} comparisons do not agree: see the lines marked NO.", checks.len())
    };
    let place = folder.display();
    let faulty = assessment.routes.iter().find(|route| route.plan.name == plan::FAULTY.0);
    let explain = match faulty.and_then(|route| route.canaries.first()) {
        Some(canary) => format!("dwell explain -c {place}/dwell.toml {}", canary.id),
        None => "dwell explain CANARY".to_owned(),
    };
    format!(
        "{verdict}\nThis is the time for these event shapes, entering at these points, to reach these \
         rules. It is not an estimate for a whole breach.\n\nNext:\n  \
         the report               {place}/report.html\n  \
         why one was missed       {explain}\n  \
         the configuration        {place}/dwell.toml\n  \
         what really happened     {place}/truth.jsonl\n  \
         your own pipeline        dwell init"
    )
}
