//! `dwell verify`: is this ours, or a real attack? For the analyst who has an alert before him.
//!
//! The answer is on stdout and in the exit code, and it is careful: whatever cannot be proven to be
//! ours is "not ours", errors included. Of several records or tokens the worst answer counts, so
//! that nobody can hide behind a token of ours that stands beside his own event.

mod answer;
mod compare;
mod places;
mod relay;
mod twice;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{KeyRing, Recognition, TokenId};
use serde_json::json;

use self::answer::{Answer, Finding};
use super::Global;
use crate::config::{self, Config};
use crate::dispatch::story::Origin;
use crate::exit::{Exit, Failure, printable};
use crate::ledger::{Batch, Ledger, Opening, Reader, Row, VerifyRow};
use crate::matching::Scanner;

/// The longest text that is looked at, bytes. Archives are for `dwell scan`.
const MAX_TEXT: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

const CODES: &str = "\
Example:
  dwell verify --event suspicious.json

Exit codes of `verify`:
  0   ours; with --event: and what was sent
  10  ours, but differs from what was sent: treat it as real
  11  expired: ours, but nothing of it is expected any more
  12  unknown: the tag is right, this ledger holds no such canary that left
  13  forged: the shape is right, the tag is wrong
  14  none: no token in it
  2, 3, 70: it could not be decided; that is \"not ours\" too";

/// Arguments of `dwell verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CODES)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// A token, or any text that holds one; `-` reads stdin.
    text: Option<String>,
    /// A suspicious event (a line or a document, or several), compared with what was sent.
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
}

/// Runs `dwell verify`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    decide(&args, global).or_else(|failure| {
        // The analyst reads stdout: an error must not look like silence.
        if global.json {
            let error = failure.to_string();
            super::put_json(&json!({ "ours": false, "answer": "error", "error": error }))?;
        } else {
            super::put(printable(&format!("not ours: {failure}\n")).as_bytes())?;
        }
        Err(failure)
    })
}

fn decide(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let text = match (&args.text, &args.event) {
        (_, Some(file)) => read_file(file)?,
        (Some(dash), _) if dash == "-" => read_bounded(std::io::stdin().lock(), "stdin")?,
        (Some(text), _) => text.clone(),
        (None, None) => String::new(),
    };
    let config = config::load_for_reading(&global.config)?;
    let keys = Arc::new(KeyRing::load(&config.key).map_err(super::key::failed)?);
    let reader = Reader::open_if_any(&config.ledger)?;
    let clock = SystemClock::new();
    let case = Case { scanner: Scanner::new(Arc::clone(&keys)), keys, reader, clock };
    let findings = match &args.event {
        Some(_) => case.events(&text, &config)?,
        None => case.text(&text)?,
    };
    let note = record(&case, &config, &findings).err();
    answer::print(&findings, args.event.is_some(), note.as_deref(), global)
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let shown = file.display().to_string();
    if file == Path::new("-") {
        return read_bounded(std::io::stdin().lock(), "stdin");
    }
    let opened = std::fs::File::open(file)
        .map_err(|e| Failure::User(format!("cannot read {shown}: {e}; check the path")))?;
    read_bounded(opened, &shown)
}

/// Bytes that are no UTF-8 become U+FFFD: a token is ASCII, and stays readable beside them.
fn read_bounded(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source
        .take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Environment(format!("cannot read {name}: {e}")))?;
    if bytes.len() as u64 > MAX_TEXT {
        let text = format!("{name} is longer than {MAX_TEXT} bytes; use `dwell scan` for archives");
        return Err(Failure::User(text));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What an answer rests on.
struct Case {
    scanner: Scanner,
    keys: Arc<KeyRing>,
    reader: Option<Reader>,
    clock: SystemClock,
}

impl Case {
    /// One finding for each token of the text.
    fn text(&self, text: &str) -> Result<Vec<Finding>, Failure> {
        let (mut ids, mut forged) = self.scanner.tokens_in(text.as_bytes());
        // What people and pipelines did to letters is understood here only.
        match self.keys.recognise(text) {
            Recognition::Ours(id) if !ids.contains(&id) => ids.push(id),
            Recognition::Forged if ids.is_empty() => forged = true,
            _ => {}
        }
        let mut findings = Vec::new();
        for id in ids {
            findings.push(self.known(id)?);
        }
        if forged {
            findings.push(Finding::bare(Answer::Forged));
        }
        if findings.is_empty() {
            findings.push(Finding::bare(Answer::None));
        }
        Ok(findings)
    }

    /// What the ledger says about a token whose tag is right.
    fn known(&self, canary: TokenId) -> Result<Finding, Failure> {
        let origin = match &self.reader {
            Some(reader) => Origin::find(reader, canary, |_| true)?,
            None => None,
        };
        let Some(origin) = origin else {
            return Ok(Finding { canary: Some(canary), ..Finding::bare(Answer::Unknown) });
        };
        let answer = if origin.withdrawn.is_some() {
            // It never left: whoever shows its token has it from somewhere else.
            Answer::Unknown
        } else if self.clock.now().since(&origin.submitted()).ns > origin.horizon_ns() {
            Answer::Expired
        } else {
            Answer::Ours
        };
        Ok(Finding {
            canary: Some(canary),
            origin: Some(Box::new(origin)),
            ..Finding::bare(answer)
        })
    }

    /// One finding for each token of each record, compared with what was sent.
    fn events(&self, text: &str, config: &Config) -> Result<Vec<Finding>, Failure> {
        let catalogue = Catalogue::load(&config.recipe_folders)
            .map_err(|error| Failure::User(error.to_string()))?;
        let records = compare::records(text);
        // Of a whole file that is one document, its records no longer show what stood in it twice.
        let whole = twice::twice(text).map(|key| twice::in_words(&key));
        let mut findings = Vec::new();
        for (number, record) in (1..).zip(&records) {
            for mut finding in self.text(record)? {
                finding.record = (records.len() > 1).then_some(number);
                if let Some(origin) = &finding.origin
                    && matches!(finding.answer, Answer::Ours | Answer::Expired)
                {
                    let compared = compare::compare(record, origin, &catalogue);
                    finding.differences = compared.differences;
                    finding.more = compared.more;
                    if finding.differences.is_empty() {
                        finding.differences.extend(whole.clone());
                    }
                    if !finding.differences.is_empty() {
                        finding.answer = Answer::Differs;
                    }
                }
                findings.push(finding);
            }
        }
        if findings.is_empty() {
            findings.push(Finding::bare(Answer::None));
        }
        Ok(findings)
    }
}

/// Notes the question in the ledger; the error says why that could not be done.
fn record(case: &Case, config: &Config, findings: &[Finding]) -> Result<(), String> {
    if case.reader.is_none() {
        return Err(format!("there is no ledger at {} yet", config.ledger.display()));
    }
    let opening = Opening { verb: "verify".to_owned() };
    let clock: Arc<dyn Clock> = Arc::new(case.clock);
    let ledger = Ledger::open(&config.ledger, &case.keys.chain_key(), opening, clock);
    let ledger = ledger.map_err(|error| error.to_string())?;
    // One row for each canary and answer, however many records it stands in.
    let mut distinct = BTreeMap::new();
    for finding in findings {
        distinct.entry((finding.answer, finding.canary)).or_insert(());
    }
    let at = case.clock.now();
    let rows = distinct
        .into_keys()
        .map(|(answer, canary)| {
            Row::Verify(VerifyRow { at, answer: answer.name().to_owned(), canary })
        })
        .collect();
    let written = ledger.append(Batch { rows, ..Batch::default() }).wait();
    let closed = ledger.close(PATIENCE);
    written.map(drop).and(closed).map_err(|error| error.to_string())
}
