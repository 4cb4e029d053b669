//! The command line: one file per verb. Data goes to stdout, talk to stderr.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Failure};

pub mod check;
pub mod completions;
pub mod demo;
pub mod detector;
pub mod explain;
pub mod init;
pub mod key;
pub mod ledger;
pub mod leftovers;
pub mod man;
pub mod probe;
pub mod recipes;
pub mod rehearse;
pub mod report;
pub mod run;
pub mod scan;
pub mod stop;
pub mod verify;
pub mod watch;

/// Measures how long an organisation really takes to detect a breach.
#[derive(Debug, Parser)]
#[command(name = "dwell", version, max_term_width = 100)]
pub struct Cli {
    /// What every verb understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options that every verb understands.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Configuration file.
    #[arg(short, long, global = true, env = "DWELL_CONFIG", default_value = "dwell.toml")]
    pub config: PathBuf,
    /// Print JSON on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Demo.
    Demo(demo::Args),
    /// Init.
    Init(init::Args),
    /// Check.
    Check(check::Args),
    /// Recipes.
    Recipes(recipes::Args),
    /// Rehearse.
    Rehearse(rehearse::Args),
    /// Probe.
    Probe(probe::Args),
    /// Run.
    Run(run::Args),
    /// Watch.
    Watch(watch::Args),
    /// Report.
    Report(report::Args),
    /// Explain.
    Explain(explain::Args),
    /// Scan.
    Scan(scan::Args),
    /// Verify.
    Verify(verify::Args),
    /// Ledger.
    Ledger(ledger::Args),
    /// Key.
    Key(key::Args),
    /// Stop.
    Stop(stop::Args),
    /// Leftovers.
    Leftovers(leftovers::Args),
    /// Detector.
    Detector(detector::Args),
    /// Completions.
    Completions(completions::Args),
    /// Man.
    Man(man::Args),
}

/// Runs the verb.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Demo(args) => demo::run(args, &cli.global),
        Verb::Init(args) => init::run(args, &cli.global),
        Verb::Check(args) => check::run(args, &cli.global),
        Verb::Recipes(args) => recipes::run(args, &cli.global),
        Verb::Rehearse(args) => rehearse::run(args, &cli.global),
        Verb::Probe(args) => probe::run(args, &cli.global),
        Verb::Run(args) => run::run(args, &cli.global),
        Verb::Watch(args) => watch::run(args, &cli.global),
        Verb::Report(args) => report::run(args, &cli.global),
        Verb::Explain(args) => explain::run(args, &cli.global),
        Verb::Scan(args) => scan::run(args, &cli.global),
        Verb::Verify(args) => verify::run(args, &cli.global),
        Verb::Ledger(args) => ledger::run(args, &cli.global),
        Verb::Key(args) => key::run(args, &cli.global),
        Verb::Stop(args) => stop::run(args, &cli.global),
        Verb::Leftovers(args) => leftovers::run(args, &cli.global),
        Verb::Detector(args) => detector::run(args, &cli.global),
        Verb::Completions(args) => completions::run(args, &cli.global),
        Verb::Man(args) => man::run(args, &cli.global),
    }
}
