//! `dwell leftovers`: every place where a canary may still lie, so that evidence custodians and
//! whoever counts alerts can leave them out.
//!
//! What is known of each event is what its receipt said, and of a file on this machine whether it is still
//! there. A file that is there may have lost the line, a topic may have expired it: nobody looks inside.
//!
//! Nothing is ever cut out of a log or a topic. `--remove` deletes whole files only, and only those
//! that the ledger says an injector made, see `remove`.

mod remove;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use dwell_injectors::token::{Carrier, KeyRing, TokenId};

use super::Global;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::ledger::{EventResult, Lock, Reader, RoutePlan, Row, RunStarted};
use crate::report::{csv_error, escape};

/// Arguments of `dwell leftovers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print CSV instead of a table.
    #[arg(long, conflicts_with = "remove")]
    csv: bool,
    /// Delete whole files that an injector made, by the ledger's record, and that hold nothing but its
    /// events; say why each other one is kept. Ask for the list first. Refused while a run is at work.
    #[arg(long)]
    remove: bool,
}

/// One event that lies, or may lie, somewhere.
#[derive(serde::Serialize)]
struct Leftover {
    time: String,
    place: String,
    token: String,
    /// `accepted`, or `unknown` where no answer came: then it may lie nowhere.
    receipt: &'static str,
    /// For files of this machine: `there`, `gone`, or `unknown` where nobody may look.
    file: Option<&'static str>,
    canary: TokenId,
    event: u32,
}

/// Runs `dwell leftovers`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    let reader = Reader::open_if_any(&config.ledger)?;
    if args.remove {
        // A run at work goes on writing to its files, and the pipeline has yet to read what is in them.
        let _held = reader.is_some().then(|| Lock::take(&config.ledger)).transpose()?;
        return remove::remove(&config.injectors, reader.as_ref(), global);
    }
    let keys = KeyRing::load(&config.key).map_err(|e| Failure::User(e.to_string()))?;
    let form = match (global.json, args.csv) {
        (true, _) => Form::Json,
        (false, true) => Form::Csv,
        (false, false) => Form::Table,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let folder = config.path.parent().unwrap_or(Path::new(""));
    let sources = Sources { reader: reader.as_ref(), keys: &keys, folder };
    match print(&sources, form, &mut out) {
        Err(Stopped::Writing(e)) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Environment(format!("cannot write to stdout: {e}")))
        }
        Err(Stopped::Reading(failure)) => Err(failure),
        _ => Ok(Exit::Met),
    }
}

/// What the list is made of.
struct Sources<'a> {
    reader: Option<&'a Reader>,
    keys: &'a KeyRing,
    /// The configuration's: relative paths start there.
    folder: &'a Path,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Table,
    Csv,
    Json,
}

/// Why the list ended early.
enum Stopped {
    Reading(Failure),
    Writing(std::io::Error),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Stopped {
        Stopped::Writing(error)
    }
}

/// Prints the list while it is read: however many there are, one stands in memory. The place comes
/// last in the table, because it alone has no width that is known beforehand.
fn print(sources: &Sources<'_>, form: Form, out: &mut dyn Write) -> Result<(), Stopped> {
    match form {
        Form::Table => table(sources, out)?,
        Form::Csv => csv(sources, out)?,
        Form::Json => json(sources, out)?,
    }
    Ok(out.flush()?)
}

fn table(sources: &Sources<'_>, out: &mut dyn Write) -> Result<(), Stopped> {
    writeln!(out, "{:<31}{:<10}{:<7}{:<41}PLACE", "TIME", "RECEIPT", "FILE", "TOKEN")?;
    let mut number = 0u64;
    each(sources, &mut |left| {
        number += 1;
        let (place, file) = (escape::terminal(&left.place), left.file.unwrap_or("-"));
        let Leftover { time, receipt, token, .. } = left;
        writeln!(out, "{time:<31}{receipt:<10}{file:<7}{token:<41}{place}")
    })?;
    Ok(writeln!(out, "{number} events left behind")?)
}

fn csv(sources: &Sources<'_>, out: &mut dyn Write) -> Result<(), Stopped> {
    let mut table = csv::Writer::from_writer(out);
    let header = ["time", "place", "token", "receipt", "file"];
    table.write_record(header).map_err(csv_error)?;
    each(sources, &mut |left| {
        let (place, file) = (escape::csv(&left.place), left.file.unwrap_or_default());
        table
            .write_record([&left.time, &*place, &left.token, left.receipt, file])
            .map_err(csv_error)
    })?;
    Ok(table.flush()?)
}

fn json(sources: &Sources<'_>, out: &mut dyn Write) -> Result<(), Stopped> {
    write!(out, "{{\n  \"leftovers\": [")?;
    let mut any = false;
    each(sources, &mut |left| {
        let comma = if std::mem::replace(&mut any, true) { "," } else { "" };
        let text = serde_json::to_string(left).map_err(std::io::Error::from)?;
        write!(out, "{comma}\n    {}", escape::json(&text))
    })?;
    Ok(writeln!(out, "{}]\n}}", if any { "\n  " } else { "" })?)
}

/// Where a route's events went.
struct Place {
    target: String,
    file: Option<&'static str>,
}

/// The places of a run's routes. Whether a file is there is looked up once for each.
fn places(run: &RunStarted, folder: &Path) -> Vec<Place> {
    let routes = run.config.get("routes").and_then(|routes| routes.as_array());
    let file = |index: usize| {
        let injector = routes?.get(index)?.get("injector")?.as_str()?;
        let settings = run.config.get("injectors")?.get(injector)?;
        let is_file = settings.get("type")?.as_str()? == "file";
        let path = folder.join(settings.get("path").filter(|_| is_file)?.as_str()?);
        Some(match path.symlink_metadata() {
            Ok(_) => "there",
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => "gone",
            Err(_) => "unknown",
        })
    };
    let place = |(index, plan): (usize, &RoutePlan)| Place {
        target: plan.target.clone(),
        file: file(index),
    };
    run.routes.iter().enumerate().map(place).collect()
}

/// Every event that lies somewhere, in commit order.
fn each(
    sources: &Sources<'_>,
    take: &mut dyn FnMut(&Leftover) -> std::io::Result<()>,
) -> Result<(), Stopped> {
    let Some(reader) = sources.reader else { return Ok(()) };
    let mut runs: BTreeMap<u32, Vec<Place>> = BTreeMap::new();
    let mut stopped = None;
    let mut one = |row: Row| -> Result<(), Stopped> {
        let receipt = match row {
            Row::Run(run) => {
                runs.insert(run.run, places(&run, sources.folder));
                return Ok(());
            }
            Row::Receipt(receipt) => receipt,
            _ => return Ok(()),
        };
        let (told, place) = match receipt.result {
            EventResult::Accepted { place, .. } => ("accepted", place),
            EventResult::Unknown { .. } => ("unknown", None),
            EventResult::Rejected { .. } | EventResult::NotSent { .. } => return Ok(()),
        };
        let route = reader.route_of(receipt.canary).map_err(Failure::from);
        let route = route.map_err(Stopped::Reading)?;
        let planned = route.and_then(|(run, route)| runs.get(&run)?.get(route as usize));
        let token = spelled(reader, sources.keys, receipt.canary, receipt.event);
        take(&Leftover {
            time: receipt.submitted_at.timestamp().to_string(),
            place: place.or_else(|| Some(planned?.target.clone())).unwrap_or_default(),
            token: token.map_err(Stopped::Reading)?,
            receipt: told,
            file: planned.and_then(|planned| planned.file),
            canary: receipt.canary,
            event: receipt.event,
        })?;
        Ok(())
    };
    let read = reader.rows(|_, row| match one(row) {
        Ok(()) => ControlFlow::Continue(()),
        Err(why) => {
            stopped = Some(why);
            ControlFlow::Break(())
        }
    });
    read.map_err(|e| Stopped::Reading(e.into()))?;
    stopped.map_or(Ok(()), Err)
}

/// The token as it stands in the event, or its text form where the body is not kept.
fn spelled(
    reader: &Reader,
    keys: &KeyRing,
    canary: TokenId,
    event: u32,
) -> Result<String, Failure> {
    let Ok(token) = keys.mint(canary.epoch, canary.serial) else {
        return Ok(format!("canary {canary} of an epoch that the key file does not hold"));
    };
    let body = reader.body(canary, event)?.unwrap_or_default();
    let forms = [Carrier::Upper, Carrier::Uuid, Carrier::Ipv6].map(|carrier| token.text(carrier));
    let form = forms.into_iter().find(|form| body.contains(form.as_str()));
    Ok(form.unwrap_or_else(|| token.text(Carrier::Text)))
}
