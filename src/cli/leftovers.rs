//! `dwell leftovers`: every place where a canary may still lie, so that evidence custodians and
//! whoever counts alerts can leave them out.
//!
//! Nothing is ever cut out of a log or a topic. `--remove` deletes whole files only, and only those
//! that an injector with `create = true` made and that hold nothing but events of this ledger, line
//! for line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use dwell_injectors::registry::InjectorSettings;
use dwell_injectors::token::{Carrier, KeyRing, TokenId};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Global;
use crate::config;
use crate::exit::{Exit, Failure, printable};
use crate::ledger::{EventResult, Reader, Row};

/// Arguments of `dwell leftovers`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print CSV instead of a table.
    #[arg(long, conflicts_with = "remove")]
    csv: bool,
    /// Delete whole files that dwell made and that hold nothing else. Ask for the list first.
    #[arg(long)]
    remove: bool,
}

/// One event that lies, or may lie, somewhere.
#[derive(serde::Serialize)]
struct Leftover {
    time: String,
    place: String,
    token: String,
    certain: bool,
    canary: TokenId,
    event: u32,
}

/// Runs `dwell leftovers`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    let reader = super::ledger::reader_if_any(&config.ledger)?;
    if args.remove {
        let made = made_by_us(&config.injectors);
        return remove(&made, reader.as_ref(), global);
    }
    let keys = KeyRing::load(&config.key).map_err(|e| Failure::User(e.to_string()))?;
    let found = match &reader {
        Some(reader) => collect(reader, &keys)?,
        None => Vec::new(),
    };
    if global.json {
        return super::put_json(&json!({ "leftovers": found }));
    }
    if args.csv {
        return super::put(&as_csv(&found)?);
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header(["TIME", "PLACE", "TOKEN", "THERE"]);
    for left in &found {
        let there = if left.certain { "yes" } else { "perhaps" };
        table.add_row([left.time.as_str(), &left.place, &left.token, there]);
    }
    let text = format!("{table}\n{} events left behind\n", found.len());
    super::put(printable(&text).as_bytes())
}

fn collect(reader: &Reader, keys: &KeyRing) -> Result<Vec<Leftover>, Failure> {
    let mut targets: BTreeMap<(u32, u32), String> = BTreeMap::new();
    let mut routes: BTreeMap<TokenId, (u32, u32)> = BTreeMap::new();
    let mut found = Vec::new();
    reader.rows(|_, row| {
        match row {
            Row::Run(run) => {
                for (route, plan) in (0u32..).zip(&run.routes) {
                    targets.insert((run.run, route), plan.target.clone());
                }
            }
            Row::Intent(intent) => {
                routes.insert(intent.canary, (intent.run, intent.route));
            }
            Row::Receipt(receipt) => {
                let (certain, place) = match receipt.result {
                    EventResult::Accepted { place, .. } => (true, place),
                    EventResult::Unknown { .. } => (false, None),
                    EventResult::Rejected { .. } | EventResult::NotSent { .. } => {
                        return ControlFlow::Continue(());
                    }
                };
                let target = || routes.get(&receipt.canary).and_then(|r| targets.get(r)).cloned();
                found.push(Leftover {
                    time: receipt.submitted_at.timestamp().to_string(),
                    place: place.or_else(target).unwrap_or_default(),
                    token: String::new(),
                    certain,
                    canary: receipt.canary,
                    event: receipt.event,
                });
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    for left in &mut found {
        left.token = spelled(reader, keys, left.canary, left.event)?;
    }
    Ok(found)
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

fn as_csv(found: &[Leftover]) -> Result<Vec<u8>, Failure> {
    let bug = |e: &dyn std::fmt::Display| Failure::Bug(format!("CSV does not serialise: {e}"));
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["time", "place", "token", "there"]).map_err(|e| bug(&e))?;
    for left in found {
        let there = if left.certain { "yes" } else { "perhaps" };
        // A place may begin like a formula; an apostrophe keeps a spreadsheet from running it.
        let place = printable(&left.place).replace(['\n', '\t'], " ");
        let formula = place.starts_with(['=', '+', '-', '@']);
        let place = if formula { format!("'{place}") } else { place };
        csv.write_record([&left.time, &place, &left.token, there]).map_err(|e| bug(&e))?;
    }
    csv.into_inner().map_err(|e| bug(&e))
}

/// Files that an injector of ours may have made.
fn made_by_us(injectors: &BTreeMap<String, InjectorSettings>) -> BTreeSet<PathBuf> {
    injectors
        .values()
        .filter_map(|settings| match settings {
            InjectorSettings::File(file) if file.create => Some(file.path.clone()),
            _ => None,
        })
        .collect()
}

fn remove(
    made: &BTreeSet<PathBuf>,
    reader: Option<&Reader>,
    global: &Global,
) -> Result<Exit, Failure> {
    let mut digests = BTreeSet::new();
    if let Some(reader) = reader.filter(|_| !made.is_empty()) {
        reader.rows(|_, row| {
            if let Row::Intent(intent) = row {
                digests.extend(intent.digests);
            }
            ControlFlow::Continue(())
        })?;
    }
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for path in made.iter().filter(|path| path.symlink_metadata().is_ok()) {
        match only_ours(path, &digests) {
            Ok(true) => {
                std::fs::remove_file(path).map_err(|e| {
                    Failure::Environment(format!("cannot remove {}: {e}", path.display()))
                })?;
                removed.push(path.display().to_string());
            }
            Ok(false) => kept.push(format!("{}: holds what is not ours", path.display())),
            Err(e) => kept.push(format!("{}: {e}", path.display())),
        }
    }
    if global.json {
        return super::put_json(&json!({ "removed": removed, "kept": kept }));
    }
    let mut text: String = removed.iter().map(|path| format!("removed {path}\n")).collect();
    text.extend(kept.iter().map(|why| format!("kept {why}\n")));
    if text.is_empty() {
        text.push_str(
            "nothing qualifies: no file of an injector with `create = true` is there; what lies in \
             logs and topics of others stays, `dwell leftovers` lists it\n",
        );
    }
    super::put(printable(&text).as_bytes())
}

/// True when it is a plain file whose every line is an event of this ledger.
fn only_ours(path: &Path, digests: &BTreeSet<String>) -> std::io::Result<bool> {
    if !path.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    for line in BufReader::new(std::fs::File::open(path)?).split(b'\n') {
        let digest = Sha256::digest(&line?);
        let short = data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or(&digest));
        if !digests.contains(&short) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_hold_nothing_else_qualify() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let digest = |text: &str| crate::dispatch::run::body_digest(text);
        let digests = BTreeSet::from([digest("one"), digest("two")]);
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert!(only_ours(&path, &digests).unwrap());
        std::fs::write(&path, "one\nsomebody else's\n").unwrap();
        assert!(!only_ours(&path, &digests).unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(!only_ours(&link, &digests).unwrap());
    }
}
