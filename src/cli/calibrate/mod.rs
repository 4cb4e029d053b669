//! `dwell calibrate`: the harness measured on a detector whose delays and faults are known.
//!
//! One campaign over four detector processes, through the same code as `dwell run`; then the ledger's
//! rows are judged against the detectors' truth by [`crate::calibration`]. Nothing leaves loopback and
//! a temporary folder, but the result, which `dwell run` copies into each ledger. With `--kafka` the
//! alerts go through topics of a broker on this machine too, which are there for the run alone.

use std::path::PathBuf;
use std::sync::Arc;

use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::KeyRing;

use super::Global;
use super::demo::place;
use super::staged::{self, Done};
use crate::calibration::scenario::{Length, Line, MS, OUTAGE_MS};
use crate::calibration::{Calibration, Evidence, FORMAT, judge, page, store};
use crate::detector::Truth;
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure};
use crate::matching::Scanner;

mod plan;
mod topics;

use topics::{Stream, Topics};

/// Arguments of `dwell calibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// About 20 s: fewer canaries, wider intervals.
    #[arg(long, conflicts_with = "long")]
    pub quick: bool,
    /// About five minutes: more canaries, narrower intervals.
    #[arg(long)]
    pub long: bool,
    /// Seed of the schedule and of the planted delays and losses.
    #[arg(long, default_value_t = 2026)]
    pub seed: u64,
    /// Calibrate Kafka watchers too, through topics that are made for it and removed afterwards on these
    /// brokers of this machine (`host:port`, several with commas).
    #[arg(long, value_name = "BROKERS", value_delimiter = ',')]
    pub kafka: Vec<String>,
    /// Format on stdout.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Store the result here instead of among this user's state files.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep everything that the run writes in this folder, which must be new or empty.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Print the JSON schema of the result, and nothing else.
    #[arg(long)]
    pub schema: bool,
}

/// How the result is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// Versioned JSON.
    Json,
    /// The page `docs/accuracy.md`.
    Markdown,
}

/// Runs `dwell calibrate`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    if args.schema {
        return super::put_json(&crate::calibration::schema());
    }
    let length = match (args.quick, args.long) {
        (true, _) => Length::Quick,
        (_, true) => Length::Long,
        _ => Length::Default,
    };
    let target = args.output.clone().or_else(store::usual).ok_or_else(|| {
        Failure::User("no home folder to keep the result in; name a file with --output".into())
    })?;
    let stream = Stream::asked(&args.kafka)?;
    let load_before = store::load();
    let temporary;
    let folder = match &args.dir {
        Some(dir) => place::folder(Some(dir), SystemClock::new().now().timestamp())?,
        None => {
            temporary = place::temporary()?;
            place::folder(Some(temporary.path()), SystemClock::new().now().timestamp())?
        }
    };
    let (done, outage_ns) = carry_out(&folder, length, args.seed, stream.as_ref())?;
    let kafka = stream.is_some();
    let run = Judged { length, seed: args.seed, kafka, load_before, outage_ns };
    let found = judged(&folder, &done, &run)?;
    store::write(&target, &found).map_err(Failure::Environment)?;
    eprintln!("Stored in {}; `dwell run` copies it into its ledger.", target.display());
    let format = if global.json { Format::Json } else { args.format };
    match format {
        Format::Json => {
            let value = serde_json::to_value(&found);
            super::put_json(&value.map_err(|e| Failure::Bug(e.to_string()))?)?
        }
        Format::Text => super::put(page::text(&found, super::report::width()).as_bytes())?,
        Format::Markdown => super::put(page::markdown(&found, &command(length, &args)).as_bytes())?,
    };
    Ok(if found.met { Exit::Met } else { Exit::Missed })
}

fn command(length: Length, args: &Args) -> String {
    let option = match length {
        Length::Default => String::new(),
        other => format!(" --{}", other.name()),
    };
    // No addresses, not even of this machine.
    let kafka = if args.kafka.is_empty() { "" } else { " --kafka BROKERS" };
    format!("dwell calibrate{option} --seed {}{kafka} --format markdown", args.seed)
}

/// Carries it out; with the earliest begin and the latest end that the planted outage can have had.
fn carry_out(
    folder: &std::path::Path,
    length: Length,
    seed: u64,
    stream: Option<&Stream>,
) -> Result<(Done, (i64, i64)), Failure> {
    let mut hosts = Vec::new();
    for line in Line::ALL {
        let (api, hook) = place::ports()?;
        hosts.push(plan::Host { line, api, hook });
    }
    let campaign = folder.join("dwell.toml");
    place::write(&campaign, &plan::campaign(&hosts, length, seed, stream))?;
    for log in plan::logs() {
        place::write(&folder.join(log), "")?;
    }
    let key = folder.join("dwell.key");
    KeyRing::generate().create(&key).map_err(|e| Failure::Environment(e.to_string()))?;
    let before = || stream.map(Topics::make).transpose();
    // Outages count from a detector's start, so they start when the schedule stands.
    let begin = |session: &Session| {
        let mut running = Vec::new();
        let mut outage_ns = (0, 0);
        for host in &hosts {
            let file = folder.join(format!("detector-{}.toml", host.line.name()));
            let text = plan::detector(host, length, seed, stream).map_err(Failure::Bug)?;
            place::write(&file, &text)?;
            let before = session.clock.now().wall_ns;
            running.push(place::Detector::start(&file)?);
            if host.line == Line::Faulty {
                let after = session.clock.now().wall_ns;
                let begin = (length.outage_ms() * MS) as i64;
                outage_ns = (before + begin, after + begin + (OUTAGE_MS * MS) as i64);
            }
        }
        Ok((running, outage_ns))
    };
    let staged::Staged { done, before: topics, begun: (running, outage_ns) } =
        staged::carry_out(&campaign, "calibrate", before, begin)?;
    // Ended before their truth is read, and before what they write to goes away.
    drop(running);
    drop(topics);
    Ok((done, outage_ns))
}

/// What a calibration says of its own run.
struct Judged {
    length: Length,
    seed: u64,
    kafka: bool,
    load_before: f64,
    outage_ns: (i64, i64),
}

fn judged(folder: &std::path::Path, done: &Done, run: &Judged) -> Result<Calibration, Failure> {
    let mut truth = Vec::new();
    for line in Line::ALL {
        truth.extend(Truth::read(&folder.join(plan::truth(line)))?);
    }
    let scanner = Scanner::new(Arc::clone(&done.keys));
    let found = judge(&Evidence {
        rows: &done.rows,
        assessment: &done.assessment,
        truth: &truth,
        tokens: &|text: &str| scanner.tokens_in(text.as_bytes()).0,
        outage_ns: run.outage_ns,
        kafka: run.kafka,
        seed: run.seed,
    });
    let met = found.met();
    Ok(Calibration {
        format: FORMAT.to_owned(),
        measured_at: format!("{:.0}", SystemClock::new().now().timestamp()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: store::build().to_owned(),
        machine: store::machine(run.load_before),
        length: run.length.name().to_owned(),
        seed: run.seed,
        canaries: done.assessment.routes.iter().map(|r| r.canaries.len() as u64).sum(),
        floors: found.floors,
        by_scenario: found.by_scenario,
        polls: found.polls,
        coverage: found.coverage,
        checks: found.checks,
        not_measured: match run.kafka {
            true => Vec::new(),
            false => vec![page::NO_KAFKA.to_owned()],
        },
        met,
    })
}
