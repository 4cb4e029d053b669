//! The command line: one file per verb. Data goes to stdout, talk to stderr.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Failure};

pub mod calibrate;
pub mod check;
pub mod compare;
pub mod completions;
pub mod demo;
pub mod detector;
pub mod estimate;
pub mod explain;
pub mod init;
pub mod key;
pub mod ledger;
pub mod leftovers;
pub mod man;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod recipes;
pub mod rehearse;
pub mod report;
pub mod run;
pub mod scan;
mod signals;
mod staged;
pub mod stop;
pub mod verify;
pub mod watch;

const AFTER: &str = "\
Exit codes:
  0   objectives met, or the verb did what was asked
  1   missed or late: more canaries than an objective allows
  2   the input is wrong; nothing was started
  3   the environment failed, or canaries were undelivered
  4   undecided: blind, unproven, too few
  70  a bug in dwell
When several hold: 70, 2, 3, 1, 4, 0. `verify` has codes of its own.

Start with `dwell demo`; for your own pipeline `dwell init`, `dwell check`, `dwell probe ROUTE`,
`dwell run`. Logs go to stderr; DWELL_LOG=debug shows more.";

/// Measures how long an organisation really takes to detect a breach.
#[derive(Debug, Parser)]
#[command(name = "dwell", version, max_term_width = 100, after_help = AFTER)]
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
    /// Measures an embedded SIEM with planted faults, end to end, in under a minute.
    #[command(after_help = "Example:\n  dwell demo")]
    Demo(demo::Args),
    /// Writes a commented configuration, a key and the folders it names.
    #[command(after_help = "Example:\n  dwell init --dir my-campaign")]
    Init(init::Args),
    /// Reads the configuration and says what a run would do; sends nothing.
    #[command(after_help = "Example:\n  dwell check --connect")]
    Check(check::Args),
    /// Lists, shows, lints and renders recipes.
    #[command(after_help = "Example:\n  dwell recipes list")]
    Recipes(recipes::Args),
    /// Evaluates Sigma rules on rendered events and explains each non-match.
    #[command(after_help = "Example:\n  dwell rehearse --rules rules/")]
    Rehearse(rehearse::Args),
    /// Says how many canaries a claim or a comparison needs, and for how long.
    #[command(after_help = plan::AFTER)]
    Plan(plan::Args),
    /// Injects one canary and follows it stage by stage.
    #[command(after_help = "Example:\n  dwell probe ssh-failed")]
    Probe(probe::Args),
    /// Injects a whole campaign and measures its detections.
    #[command(after_help = "Example:\n  dwell run --route ssh-failed")]
    Run(run::Args),
    /// Goes on watching what is outstanding, injecting nothing.
    #[command(after_help = "Example:\n  dwell watch")]
    Watch(watch::Args),
    /// Reports what the ledger knows.
    #[command(after_help = "Example:\n  dwell report --format html > report.html")]
    Report(report::Args),
    /// Estimates the same numbers from any CSV or JSON of durations.
    #[command(after_help = estimate::AFTER)]
    Estimate(estimate::Args),
    /// Says whether it became slower or misses more: two campaigns, times, rules or ledgers.
    #[command(after_help = compare::AFTER)]
    Compare(compare::Args),
    /// Tells the whole story of one canary.
    #[command(after_help = "Example:\n  dwell explain k7qfr3n5mz2abxde")]
    Explain(explain::Args),
    /// Finds our tokens in any archive.
    #[command(after_help = "Example:\n  dwell scan /var/log/archive/*.json")]
    Scan(scan::Args),
    /// Says whether a token or an event is ours.
    #[command(after_help = "Example:\n  dwell verify --event suspicious.json")]
    Verify(verify::Args),
    /// Verifies, exports and shows the ledger.
    #[command(after_help = "Example:\n  dwell ledger verify")]
    Ledger(ledger::Args),
    /// Makes and rotates the key.
    #[command(after_help = "Example:\n  dwell key rotate")]
    Key(key::Args),
    /// Stops all injection within a second and lists what is outstanding.
    #[command(after_help = "Example:\n  dwell stop")]
    Stop(stop::Args),
    /// Lists everything that canaries left behind.
    #[command(after_help = "Example:\n  dwell leftovers --csv > leftovers.csv")]
    Leftovers(leftovers::Args),
    /// Runs the reference detector, a small SIEM with known delays.
    #[command(after_help = "Example:\n  dwell detector -c detector.toml")]
    Detector(detector::Args),
    /// Measures this harness itself on a detector whose delays and faults are known.
    #[command(
        after_help = "Example:\n  dwell calibrate --quick\n  dwell calibrate --kafka 127.0.0.1:9092\n\nExit codes: 0 every aim is met, 1 one is not, 2 the input is wrong, 3 it could not run."
    )]
    Calibrate(calibrate::Args),
    /// Prints shell completions.
    #[command(after_help = "Example:\n  dwell completions bash > /etc/bash_completion.d/dwell")]
    Completions(completions::Args),
    /// Prints the manual page, or writes one a verb into a folder.
    #[command(after_help = "Example:\n  dwell man --dir man/")]
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
        Verb::Plan(args) => plan::run(args, &cli.global),
        Verb::Probe(args) => probe::run(args, &cli.global),
        Verb::Run(args) => run::run(args, &cli.global),
        Verb::Watch(args) => watch::run(args, &cli.global),
        Verb::Report(args) => report::run(args, &cli.global),
        Verb::Estimate(args) => estimate::run(args, &cli.global),
        Verb::Compare(args) => compare::run(args, &cli.global),
        Verb::Explain(args) => explain::run(args, &cli.global),
        Verb::Scan(args) => scan::run(args, &cli.global),
        Verb::Verify(args) => verify::run(args, &cli.global),
        Verb::Ledger(args) => ledger::run(args, &cli.global),
        Verb::Key(args) => key::run(args, &cli.global),
        Verb::Stop(args) => stop::run(args, &cli.global),
        Verb::Leftovers(args) => leftovers::run(args, &cli.global),
        Verb::Detector(args) => detector::run(args, &cli.global),
        Verb::Calibrate(args) => calibrate::run(args, &cli.global),
        Verb::Completions(args) => completions::run(args, &cli.global),
        Verb::Man(args) => man::run(args, &cli.global),
    }
}

/// Writes bytes to stdout. A reader that has gone away is no error.
pub(crate) fn put(bytes: &[u8]) -> Result<Exit, Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Environment(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(Exit::Met),
    }
}

/// Writes a value as JSON to stdout.
pub(crate) fn put_json(value: &serde_json::Value) -> Result<Exit, Failure> {
    put(crate::report::escape::json(&format!("{value:#}\n")).as_bytes())
}
