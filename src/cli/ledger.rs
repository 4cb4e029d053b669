//! `dwell ledger`: is it whole, what is in it, give me all of it.
//!
//! | exit code of `verify` | means |
//! |---|---|
//! | 0 | every row is what was written, and the expected head, if any, lies on the chain |
//! | 2 | the configuration, the key or the expected head is wrong, or nothing was recorded yet |
//! | 3 | a row was altered or is missing, the expected head is not on the chain, or the ledger cannot be read |

use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;

use dwell_injectors::token::KeyRing;
use serde_json::{Value, json};

use super::Global;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, printable};
use crate::ledger::{Audit, Head, Reader, Row, audit, was_recorded};

const CODES: &str = "\
Exit codes of `ledger verify`:
  0   every row is what was written; with --expect: and that head lies on the chain
  2   configuration, key or expected head are wrong, or nothing was recorded yet
  3   a row was altered or is missing, the expected head is not on the chain, or the ledger
      cannot be read";

/// Arguments of `dwell ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Recomputes the chain with the key and points at the first row that is not what was written.
    #[command(after_help = CODES)]
    Verify {
        /// A head that a report printed: `writer:number:mac`. It must lie on the chain.
        #[arg(long, value_name = "HEAD")]
        expect: Option<String>,
    },
    /// Prints every row as one line of JSON, in commit order. Needs no key.
    Export,
    /// Prints runs, counts and heads. Needs no key.
    Show,
}

/// Runs `dwell ledger`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    match args.verb {
        Verb::Verify { expect } => verify(&config, expect.as_deref(), global),
        Verb::Export => export(&recorded(&config.ledger)?),
        Verb::Show => show(&recorded(&config.ledger)?, &config.ledger, global),
    }
}

/// The ledger, which a run must have made.
fn recorded(path: &Path) -> Result<Reader, Failure> {
    must_be_recorded(path)?;
    Ok(Reader::open(path)?)
}

/// That nothing was recorded is no error of the machine's: nobody has run anything yet, or the path
/// names another place. A ledger that was there and is gone is one.
pub(super) fn must_be_recorded(path: &Path) -> Result<(), Failure> {
    if was_recorded(path) {
        return Ok(());
    }
    Err(Failure::User(format!(
        "nothing was recorded yet: there is no ledger {}; `dwell run` makes it",
        path.display()
    )))
}

fn verify(config: &Config, expect: Option<&str>, global: &Global) -> Result<Exit, Failure> {
    let expect = match expect {
        Some(text) => {
            Some(text.parse::<Head>().map_err(|e| Failure::User(format!("--expect: {e}")))?)
        }
        None => None,
    };
    must_be_recorded(&config.ledger)?;
    let keys = KeyRing::load(&config.key).map_err(|e| Failure::User(e.to_string()))?;
    let found = audit(&config.ledger, &keys.chain_key(), expect)?;
    if global.json {
        super::put_json(&json!({
            "whole": found.whole(),
            "rows": found.rows,
            "canaries": found.canaries,
            "heads": found.heads.iter().map(Head::to_string).collect::<Vec<_>>(),
            "fault": found.fault,
            "expected_head_found": found.expected,
        }))?;
    } else {
        super::put(printable(&verdict(&found)).as_bytes())?;
    }
    Ok(if found.whole() { Exit::Met } else { Exit::Environment })
}

fn verdict(found: &Audit) -> String {
    let mut text = match &found.fault {
        None => format!("whole: {} rows, {} canaries\n", found.rows, found.canaries),
        Some(fault) => format!("damaged: {fault}\n{} rows before it are good\n", found.rows),
    };
    for head in &found.heads {
        text.push_str(&format!("head {head}\n"));
    }
    match found.expected {
        Some(true) => text.push_str("the expected head lies on the chain\n"),
        Some(false) => text.push_str(
            "the expected head does not lie on the chain: rows were cut off, or it is another ledger's\n",
        ),
        None => {}
    }
    text
}

/// A value as one line of plain ASCII: whatever foreign text it holds stays inert anywhere.
fn ascii(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn export(reader: &Reader) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut failed = None;
    reader.rows(|meta, row| {
        let line = json!({
            "pos": meta.pos,
            "writer": meta.head.writer,
            "seq": meta.head.seq,
            "mac": data_encoding::HEXLOWER.encode(&meta.head.mac),
            "row": row,
        });
        match writeln!(out, "{}", ascii(&line)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed.map_or_else(|| out.flush(), Err) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Environment(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(Exit::Met),
    }
}

/// One run as `show` prints it.
#[derive(Default, serde::Serialize)]
struct RunCount {
    campaign: String,
    started: String,
    planned: u64,
    intents: u64,
    withdrawn: u64,
    ended: Option<String>,
}

fn show(reader: &Reader, path: &Path, global: &Global) -> Result<Exit, Failure> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut runs: BTreeMap<u32, RunCount> = BTreeMap::new();
    reader.rows(|_, row| {
        count(&row, &mut kinds, &mut runs);
        ControlFlow::Continue(())
    })?;
    let heads: Vec<String> = reader.heads()?.iter().map(Head::to_string).collect();
    if global.json {
        return super::put_json(&json!({
            "ledger": path, "format": crate::ledger::FORMAT,
            "rows": kinds, "runs": runs, "heads": heads,
        }));
    }
    let mut text = format!("{}, format {}\n\n", path.display(), crate::ledger::FORMAT);
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header(["RUN", "CAMPAIGN", "STARTED", "PLANNED", "INTENTS", "WITHDRAWN", "ENDED"]);
    for (number, run) in &runs {
        table.add_row([
            number.to_string(),
            run.campaign.clone(),
            run.started.clone(),
            run.planned.to_string(),
            run.intents.to_string(),
            run.withdrawn.to_string(),
            run.ended.clone().unwrap_or_else(|| "no".to_owned()),
        ]);
    }
    text.push_str(&format!("{table}\n\n"));
    for (kind, number) in &kinds {
        text.push_str(&format!("{number:>10} {kind}\n"));
    }
    for head in heads {
        text.push_str(&format!("head {head}\n"));
    }
    super::put(printable(&text).as_bytes())
}

fn count(row: &Row, kinds: &mut BTreeMap<String, u64>, runs: &mut BTreeMap<u32, RunCount>) {
    *kinds.entry(row.kind().to_owned()).or_default() += 1;
    match row {
        Row::Run(run) => {
            let count = runs.entry(run.run).or_default();
            count.campaign.clone_from(&run.campaign);
            count.started = run.at.timestamp().to_string();
            count.planned = run.routes.iter().map(|r| u64::from(r.planned)).sum();
        }
        Row::Intent(intent) => runs.entry(intent.run).or_default().intents += 1,
        Row::Withdrawn(w) => runs.entry(w.run).or_default().withdrawn += u64::from(w.slots),
        Row::Ended(ended) => runs.entry(ended.run).or_default().ended = Some(ended.reason.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_text_is_inert_and_means_the_same() {
        let value = json!({"x": "\u{1b}[31m\u{202e}é😀\u{7f}"});
        let text = ascii(&value);
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
