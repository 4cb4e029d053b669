//! `dwell scan`: our tokens in any archive, for whoever must tell canaries from attacks afterwards.
//!
//! One pass over the bytes ([`crate::matching`]); the ledger is asked by point look-ups, once for
//! each distinct canary, so its size does not matter. With `--add` what was found becomes
//! `retrospective` sightings: proof that a canary reached that archive, never a point in time.

mod read;
mod tally;

use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{Carrier, KeyRing, TokenId};
use serde_json::json;

use self::read::Source;
use self::tally::{Place, Tally};
use super::Global;
use super::progress::Progress;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::ledger::{Batch, Grade, Ledger, Opening, Reader, Row, SightingRow, Stage};
use crate::matching::Scanner;
use crate::report::escape;

/// The watcher's name in the rows that a scan adds.
const WATCHER: &str = "scan";
/// Sightings committed together.
const BATCH: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Files of at least this length show their progress.
const LONG: u64 = 256 << 20;

/// Arguments of `dwell scan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to look into; `-` reads stdin (`zcat old.gz | dwell scan -`).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Add what is found to the ledger, as retrospective sightings.
    #[arg(long)]
    add: bool,
    /// The stage that the archive stands for, with --add.
    #[arg(long, value_enum, default_value = "ingested", requires = "add")]
    stage: StageName,
}

/// A stage as an archive can stand for it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StageName {
    Delivered,
    Ingested,
    Detected,
    Notified,
    Acknowledged,
    Closed,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Stage {
        match name {
            StageName::Delivered => Stage::Delivered,
            StageName::Ingested => Stage::Ingested,
            StageName::Detected => Stage::Detected,
            StageName::Notified => Stage::Notified,
            StageName::Acknowledged => Stage::Acknowledged,
            StageName::Closed => Stage::Closed,
        }
    }
}

/// Runs `dwell scan`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    let keys = Arc::new(KeyRing::load(&config.key).map_err(super::key::failed)?);
    let reader = Reader::open_if_any(&config.ledger)?;
    if args.add && reader.is_none() {
        let ledger = config.ledger.display();
        return Err(Failure::User(format!("there is no ledger at {ledger} to add to")));
    }
    let scanner = Scanner::new(Arc::clone(&keys));
    let mut tally = Tally::new(reader.as_ref(), args.add);
    let mut failures = Vec::new();
    for (index, path) in args.files.iter().enumerate() {
        tally.next_file();
        if let Err(reason) = scan_one(path, index, &scanner, &mut tally) {
            eprintln!("error: {}", escape::terminal(&reason));
            failures.push(reason);
        }
        tally.healthy()?;
    }
    let added = match args.add {
        true => Some(add(&tally, &args, &config, &keys)?),
        false => None,
    };
    let report = Report { tally: &tally, files: &args.files, keys: &keys, added, failures };
    let shown = if global.json { report.json() } else { report.text() };
    match shown {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            return Err(Failure::Environment(format!("cannot write to stdout: {e}")));
        }
        _ => {}
    }
    Ok(if report.failures.is_empty() { Exit::Met } else { Exit::Environment })
}

fn scan_one(
    path: &Path,
    index: usize,
    scanner: &Scanner,
    tally: &mut Tally<'_>,
) -> Result<(), String> {
    let source = Source::open(path)?;
    let long = source.length.filter(|length| *length >= LONG);
    let mut progress = long.map(|length| Progress::new(length >> 20));
    let message = format!("MiB of {}", escape::terminal(&source.name));
    let mut found = |offset, hit| tally.take(index, offset, hit);
    let bytes = source.scan(scanner, &mut found, &mut |read| {
        if let Some(progress) = &mut progress {
            progress.set(read >> 20, &message);
        }
    });
    if let Some(progress) = progress {
        progress.finish();
    }
    tally.counts.bytes += bytes?;
    Ok(())
}

/// Numbers of what was written.
#[derive(Clone, Copy, Default, serde::Serialize)]
struct Added {
    added: u64,
    already_there: u64,
}

fn add(tally: &Tally<'_>, args: &Args, config: &Config, keys: &KeyRing) -> Result<Added, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opening = Opening { verb: "scan".to_owned() };
    let ledger = Ledger::open(&config.ledger, &keys.chain_key(), opening, Arc::clone(&clock))?;
    let reader = Reader::open(&config.ledger)?;
    let mut added = Added::default();
    let mut batch = Batch::default();
    for (id, place) in tally.sightings.iter().flatten() {
        let path = &args.files[place.file];
        // The same archive may come under a relative and an absolute path.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        let native_id = format!("{}:{}", path.display(), place.offset);
        if is_there(&reader, *id, &native_id)? {
            added.already_there += 1;
            continue;
        }
        added.added += 1;
        batch.sightings.push(SightingRow {
            canary: *id,
            watcher: WATCHER.to_owned(),
            stage: args.stage.into(),
            observed: clock.now(),
            not_before: None,
            native_id,
            rule: None,
            rule_names: Vec::new(),
            event_time_ns: None,
            created_time_ns: None,
            grade: Grade::Exact,
            retrospective: true,
            excerpt: String::new(),
        });
        if batch.sightings.len() >= BATCH {
            ledger.append(std::mem::take(&mut batch)).wait()?;
        }
    }
    if !batch.sightings.is_empty() {
        ledger.append(batch).wait()?;
    }
    ledger.close(PATIENCE)?;
    Ok(added)
}

/// A second scan of the same archive adds nothing, not even duplicates.
fn is_there(reader: &Reader, id: TokenId, native_id: &str) -> Result<bool, Failure> {
    let rows = reader.rows_of(id)?;
    Ok(rows.iter().any(|(_, row)| {
        matches!(row, Row::Sighting(s) if s.watcher == WATCHER && s.native_id == native_id)
    }))
}

/// What is shown.
struct Report<'a> {
    tally: &'a Tally<'a>,
    files: &'a [PathBuf],
    keys: &'a KeyRing,
    added: Option<Added>,
    failures: Vec<String>,
}

impl Report<'_> {
    fn place(&self, place: Place) -> String {
        format!("{}:{}", self.files[place.file].display(), place.offset)
    }

    fn token(&self, id: TokenId) -> String {
        self.keys.text_of(id, Carrier::Text).unwrap_or_default()
    }

    fn text(&self) -> std::io::Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        for found in &self.tally.found {
            let class = if found.ours { "ours" } else { "unknown" };
            let place = escape::terminal(&self.place(found.first));
            let token = self.token(found.id);
            let id = found.id.to_string();
            writeln!(out, "{class:<8} {id:<10} {token}  {:>6}x  {place}", found.times)?;
        }
        for place in &self.tally.forgeries {
            writeln!(out, "forged   {:<37} {}", "", escape::terminal(&self.place(*place)))?;
        }
        let counts = &self.tally.counts;
        if counts.forged > self.tally.forgeries.len() as u64 {
            writeln!(out, "forged   and more, which are counted only")?;
        }
        writeln!(
            out,
            "{} files, {} bytes: {} tokens of {} canaries of ours, {} unknown, {} forged",
            counts.files,
            counts.bytes,
            counts.ours,
            counts.distinct_ours,
            counts.unknown,
            counts.forged
        )?;
        if let Some(Added { added, already_there }) = self.added {
            writeln!(out, "{added} retrospective sightings added, {already_there} were there")?;
        }
        if !self.failures.is_empty() {
            writeln!(out, "{} files could not be read; see above", self.failures.len())?;
        }
        out.flush()
    }

    fn json(&self) -> std::io::Result<()> {
        let found = self.tally.found.iter().map(|found| {
            json!({
                "canary": found.id.to_string(),
                "token": self.token(found.id),
                "class": if found.ours { "ours" } else { "unknown" },
                "times": found.times,
                "file": self.files[found.first.file].display().to_string(),
                "offset": found.first.offset,
            })
        });
        let forged = self.tally.forgeries.iter().map(|place| self.place(*place));
        let value = json!({
            "canaries": found.collect::<Vec<_>>(),
            "forged_at": forged.collect::<Vec<_>>(),
            "counts": self.tally.counts,
            "sightings": self.added,
            "failures": self.failures,
        });
        let mut out = BufWriter::new(std::io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
        out.flush()
    }
}
