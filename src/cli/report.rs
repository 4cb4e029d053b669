//! `dwell report`: what the ledger knows, at a cut, in a format.

use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use dwell_injectors::token::KeyRing;

use super::Global;
use crate::config;
use crate::dispatch::outcome::{Assessment, Fold};
use crate::exit::{Exit, Failure};
use crate::ledger::{Head, Reader, Row};
use crate::report::{Beside, Format, ReportModel, render, write_csv};

/// Arguments of `dwell report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at the ledger as it stood then (RFC 3339); default: at its last row.
    #[arg(long)]
    pub as_of: Option<jiff::Timestamp>,
    /// Format.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Write to this file instead of stdout.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Report this campaign; default: that of the latest run.
    #[arg(long)]
    pub campaign: Option<String>,
    /// Ledger file instead of the configuration's.
    #[arg(long)]
    pub ledger: Option<PathBuf>,
    /// Print the JSON schema of the JSON format, and nothing else.
    #[arg(long)]
    pub schema: bool,
}

/// Runs `dwell report`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    if args.schema {
        return super::put_json(&crate::report::schema());
    }
    let (ledger, keys) = match &args.ledger {
        Some(path) => (path.clone(), None),
        None => {
            let config = config::load_for_reading(&global.config)
                .map_err(|e| Failure::User(e.to_string()))?;
            // Without its key a report still stands; the token column stays empty.
            (config.ledger, KeyRing::load(&config.key).ok())
        }
    };
    super::ledger::must_be_recorded(&ledger)?;
    let as_of_ns = args.as_of.map(cut_ns).transpose()?;
    let (assessment, heads) = assess(&ledger, as_of_ns, args.campaign.as_deref())?;
    let beside = Beside { heads, keys: keys.as_ref() };
    let model = ReportModel::build(&assessment, &beside);
    let format = if global.json { Format::Json } else { args.format };
    if format == Format::Csv {
        csv(&assessment, &beside, args.output.as_deref())?;
        return Ok(model.exit());
    }
    drop(assessment);
    let text = render(&model, format, width());
    match &args.output {
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Failure::Environment(format!("cannot write {}: {e}", path.display())))?,
        None => {
            super::put(text.as_bytes())?;
        }
    }
    Ok(model.exit())
}

/// A stated cut as the ledger's stamps have it, wall nanoseconds.
pub(crate) fn cut_ns(as_of: jiff::Timestamp) -> Result<i64, Failure> {
    i64::try_from(as_of.as_nanosecond()).map_err(|_| {
        Failure::User(format!(
            "--as-of {as_of} lies beyond every stamp of a ledger, which reach from 1677 to April 2262; \
             leave it out to look at the last row"
        ))
    })
}

/// Columns of the terminal; 100 where stdout is none.
pub(crate) fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(100, |size| match size.ws_col {
        0 => 100,
        columns => columns,
    })
}

/// Streams the CSV: a million rows never stand in memory.
fn csv(assessment: &Assessment, beside: &Beside<'_>, to: Option<&Path>) -> Result<(), Failure> {
    let (result, place) = match to {
        Some(path) => {
            let written = std::fs::File::create(path).and_then(|file| {
                let mut out = BufWriter::new(file);
                write_csv(assessment, beside, &mut out).and_then(|()| out.flush())
            });
            (written, path.display().to_string())
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = write_csv(assessment, beside, &mut out).and_then(|()| out.flush());
            (written, "stdout".to_owned())
        }
    };
    match result {
        Err(e) if to.is_some() || e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Environment(format!("cannot write {place}: {e}")))
        }
        _ => Ok(()),
    }
}

/// Reads a ledger and assesses one campaign; with the heads of its chains, in words.
fn assess(
    ledger: &Path,
    as_of_ns: Option<i64>,
    campaign: Option<&str>,
) -> Result<(Assessment, Vec<String>), Failure> {
    let reader = Reader::open(ledger)?;
    let mut fold = Fold::new(as_of_ns);
    // The head of each chain as the cut has it: what is appended later changes no byte of a report.
    let mut heads: BTreeMap<u32, Head> = BTreeMap::new();
    let mut first = None;
    reader.rows(|meta, row| {
        if let Row::Run(run) = &row
            && first.is_none()
            && campaign.is_none_or(|name| name == run.campaign)
        {
            first = Some(run.at.timestamp());
        }
        if fold.take(&row) {
            heads.insert(meta.head.writer, meta.head);
        }
        ControlFlow::Continue(())
    })?;
    let assessment = fold.into_assessment(campaign).ok_or_else(|| {
        Failure::User(match (first, campaign) {
            (Some(first), _) => {
                format!("the ledger holds no run before that instant; the first began at {first}")
            }
            (None, Some(name)) => format!("the ledger holds no campaign {name:?}"),
            (None, None) => "the ledger holds no run yet; start one with `dwell run`".to_owned(),
        })
    })?;
    Ok((assessment, heads.values().map(ToString::to_string).collect()))
}

/// Reads a ledger and builds the model of one campaign.
pub fn build(
    ledger: &Path,
    as_of_ns: Option<i64>,
    campaign: Option<&str>,
    keys: Option<&KeyRing>,
) -> Result<ReportModel, Failure> {
    let (assessment, heads) = assess(ledger, as_of_ns, campaign)?;
    Ok(ReportModel::build(&assessment, &Beside { heads, keys }))
}
