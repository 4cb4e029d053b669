//! `dwell estimate`: the numbers of a report from anybody's durations.
//!
//! Past exercises and incident tickets are rows of a CSV or JSON file: a duration and whether the
//! event came, or an interval, or two instants, or a duration and a cause. The same estimators as in
//! reports run on them ([`crate::stats`]); `--json` prints every value in full precision: times in
//! `--unit` as they were written, and rounded to whole nanoseconds under the same name with `_ns`.
//!
//! What is promised: no row is dropped without being counted; a row that cannot be read is an error
//! with its line and column; memory is bounded by `--max-rows`. What is not: rows are taken for
//! independent, and censoring for independent of the time. An execution log (ATTiRe) says when steps
//! ran and not when they were detected, so its steps are undetected until a detection is added to it.

mod answer;
mod columns;
mod data;
mod json;
mod polled;
mod source;
mod text;
mod ticks;

use std::io::{self, Read, Write};

use columns::{Role, Unit};

use super::Global;
use crate::exit::{Exit, Failure};
use crate::report::escape;
use crate::stats::survival::Band;

pub(super) const AFTER: &str = "\
Input: CSV (comma, semicolon or tab), JSON (an array of objects, or one after the other) or an ATTiRe
log; `-` is stdin. Columns of usual names are found unasked: time and event; lower and upper; start
and detected_at; attackStart and detectionTime (VECTR); time-start and detection-time (ATTiRe); group;
stratum; cause. Where two could be meant (`event` and `cause`, `time` and `lower`), name one.

Exit codes:
  0   the estimates are printed, also where they say `not reached`
  2   the input is wrong; the message names line and column
  3   the input cannot be read

Example:
  dwell estimate exercise.csv --time hours --unit h --event detected --group team
  dwell estimate vectr.csv --followed-until 2026-11-01T00:00:00Z
  dwell estimate polled.csv --lower not_yet --upper seen --json";

/// Arguments of `dwell estimate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; `-` for stdin.
    #[arg(required_unless_present = "schema")]
    file: Option<std::path::PathBuf>,
    /// Column of durations.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Column that says whether the event came: 1 or 0, true or false, yes or no.
    #[arg(long, value_name = "COLUMN")]
    event: Option<String>,
    /// What stands for an event in that column; everything else is a censoring.
    #[arg(long, value_name = "VALUE")]
    event_value: Option<String>,
    /// Nothing is censored: every row is an event.
    #[arg(long, conflicts_with_all = ["event", "event_value", "cause"])]
    all_events: bool,
    /// Column of the intervals' lower ends: not yet at this time.
    #[arg(long, value_name = "COLUMN")]
    lower: Option<String>,
    /// Column of the intervals' upper ends: by this time; empty or inf if never.
    #[arg(long, value_name = "COLUMN")]
    upper: Option<String>,
    /// Column of instants at which it began: RFC 3339, or an epoch.
    #[arg(long, value_name = "COLUMN")]
    start: Option<String>,
    /// Column of instants at which it was detected.
    #[arg(long, value_name = "COLUMN")]
    stop: Option<String>,
    /// Column of outcomes beside instants; TBD means not judged.
    #[arg(long, value_name = "COLUMN")]
    outcome: Option<String>,
    /// Until when rows without a detection were looked for: RFC 3339, or an epoch.
    #[arg(long, value_name = "INSTANT")]
    followed_until: Option<String>,
    /// What a row without a detection is, where nothing says how long it was looked for.
    #[arg(long, value_enum, default_value = "refuse")]
    undetected: Undetected,
    /// Column of groups to compare.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Column of strata: groups are compared within each, never across.
    #[arg(long, value_name = "COLUMN")]
    stratum: Option<String>,
    /// Column of causes that exclude each other: empty or 0 for a censoring. With --event, a row whose
    /// event did not come is a censoring whatever its cause.
    #[arg(long, value_name = "COLUMN")]
    cause: Option<String>,
    /// What numbers in duration columns and --tau count.
    #[arg(long, value_enum, default_value = "s")]
    unit: Unit,
    /// End of the restricted mean, in --unit; without it no mean is shown.
    #[arg(long, value_name = "TIME")]
    tau: Option<f64>,
    /// Band of the text; JSON has all three.
    #[arg(long, value_enum, default_value = "log-log")]
    band: BandName,
    /// Two-sided confidence.
    #[arg(long, default_value_t = 0.95)]
    confidence: f64,
    /// Most rows that are kept, at 16 bytes each.
    #[arg(long, default_value_t = 5_000_000)]
    max_rows: u64,
    /// Print the JSON schema of the result, and nothing else.
    #[arg(long)]
    schema: bool,
}

impl Args {
    fn asked(&self, role: Role) -> Option<&str> {
        match role {
            Role::Time => &self.time,
            Role::Event => &self.event,
            Role::Lower => &self.lower,
            Role::Upper => &self.upper,
            Role::Start => &self.start,
            Role::Stop => &self.stop,
            Role::Group => &self.group,
            Role::Stratum => &self.stratum,
            Role::Cause => &self.cause,
            Role::Outcome => &self.outcome,
        }
        .as_deref()
    }
}

/// Rows that nothing says the end of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Undetected {
    /// An error.
    Refuse,
    /// Left out and counted: detection looks faster than it is.
    LeaveOut,
}

/// A pointwise band.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum BandName {
    /// On ln(-ln S).
    LogLog,
    /// On ln S: R's default.
    Log,
    /// On S.
    Plain,
}

impl From<BandName> for Band {
    fn from(name: BandName) -> Band {
        match name {
            BandName::LogLog => Band::LogLog,
            BandName::Log => Band::Log,
            BandName::Plain => Band::Plain,
        }
    }
}

/// Runs `dwell estimate`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let Some(file) = args.file.as_deref().filter(|_| !args.schema) else {
        return super::put_json(&answer::schema());
    };
    if !(args.confidence > 0.0 && args.confidence < 1.0) {
        return Err(Failure::User("--confidence must lie between 0 and 1".to_owned()));
    }
    let tau_ns = match args.tau {
        Some(0.0) => return Err(Failure::User("--tau: the mean up to 0 is 0".to_owned())),
        Some(tau) => Some(
            columns::duration(&tau.to_string(), args.unit)
                .map_err(|what| Failure::User(format!("--tau: {what}")))?,
        ),
        None => None,
    };
    let place = match file.to_str() {
        Some("-") => "stdin".to_owned(),
        _ => file.display().to_string(),
    };
    let named = |failure: Failure| match failure {
        Failure::User(text) => Failure::User(format!("{place}: {text}")),
        Failure::Environment(text) => Failure::Environment(format!("{place}: {text}")),
        bug => bug,
    };
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(open(file)?),
    };
    let data = source::Source::open(input)
        .and_then(|source| data::read(source, &args, tau_ns))
        .map_err(named)?;
    let answer = answer::compute(&data, &args, &place);
    match global.json {
        true => put_json(&answer),
        false => super::put(text::render(&answer, args.band.into()).as_bytes()),
    }
}

fn open(path: &std::path::Path) -> Result<std::fs::File, Failure> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Failure::User(format!("{shown} is a folder; give a file, or - for stdin")));
    }
    std::fs::File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Failure::User(format!("there is no file {shown}")),
        _ => Failure::Environment(format!("cannot open {shown}: {e}")),
    })
}

/// Writes JSON as it is made, so that a long curve is not held twice; foreign text is made inert.
fn put_json(answer: &answer::Answer) -> Result<Exit, Failure> {
    let mut out = Inert(io::BufWriter::with_capacity(1 << 16, io::stdout().lock()));
    let written = serde_json::to_writer_pretty(&mut out, answer)
        .map_err(io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Environment(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(Exit::Met),
    }
}

struct Inert<W: Write>(W);

impl<W: Write> Write for Inert<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_ascii() || text.contains('\u{7f}') => {
                self.0.write_all(escape::json(text).as_bytes())?;
            }
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
