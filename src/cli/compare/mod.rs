//! `dwell compare`: is it slower, is more missed, since when? See [`crate::report::compare`].

mod selection;

use std::path::PathBuf;

use super::Global;
use crate::config::{self, Span};
use crate::exit::{Exit, Failure};
use crate::report::Format;
use crate::report::compare::{
    Every, MARGIN_RATIO, Margins, Sought, compare, render, render_trend, schema, trend,
    trend_schema,
};
use selection::Selection;

pub(super) const AFTER: &str = "\
A and B each name [LEDGER#][CAMPAIGN][@FROM..TO][%KEY=VALUE]: a campaign (default: the latest), times of
submission (RFC 3339 or a date, UTC; either end may be left out), and runs by `run=3`, `config=DIGEST`,
`recipe=DIGEST` (its first characters) or `rule=NAME` (runs that expect it; else the time from its first
alert to the first of the rule that followed it, or to the end: its silence stays).

Each side has the estimate that its report has: coarsely polled times are Turnbull's, and leave ranges.
The log-rank test takes upper ends of polled times. Where A and B were polled at clearly different
intervals it may see the polling and not the SIEM; the interval of the ratio then decides alone.

Exit codes:
  0   B is no worse than A by more than the margins; with --trend: it did not become slower, and a change
      beyond the margin would have been seen
  1   B is slower or misses more, by the intervals; with --trend: it became slower
  2   the input is wrong
  3   a ledger cannot be read
  4   cannot tell: the intervals are too wide, there is too little to look at, or something of A is gone
      from B; with --trend: a change beyond the margin could have been missed

Example:
  dwell compare q2 q3 --margin-ratio 1.25 --margin-share 0.05
  dwell compare 'q3@..2026-03-01' 'q3@2026-03-01..' --format html -o before-and-after.html
  dwell compare 'old.db#q3' q3 --format junit
  dwell compare --trend week q3";

/// Arguments of `dwell compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What was.
    pub a: Option<String>,
    /// What is.
    pub b: Option<String>,
    /// Instead of B: A over time, with the strongest change and its date.
    #[arg(long, value_enum, conflicts_with = "b")]
    pub trend: Option<Every>,
    /// Slower means: the ratio of medians is above this, by the lower end of its interval. With --trend: a
    /// change by this factor must have been visible before anybody says that there was none.
    #[arg(long, default_value_t = MARGIN_RATIO)]
    pub margin_ratio: f64,
    /// More missed means: the difference of shares not in time is above this, by its lower end.
    #[arg(long, default_value_t = 0.05, conflicts_with = "trend")]
    pub margin_share: f64,
    /// Confidence of the intervals.
    #[arg(long, default_value_t = 0.95, conflicts_with = "trend")]
    pub confidence: f64,
    /// Canaries submitted within this time count together: never less than the period of the
    /// rule that is configured or that the detections show, or than a poll period.
    #[arg(long, default_value = "5m")]
    pub block: Span,
    /// Format: text, json, html, or junit without --trend.
    #[arg(long, value_enum, default_value = "text", hide_possible_values = true)]
    pub format: Format,
    /// Write to this file instead of stdout.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
    /// Ledger file instead of the configuration's.
    #[arg(long)]
    pub ledger: Option<PathBuf>,
    /// Print the JSON schema of the result (with --trend: of a trend), and nothing else.
    #[arg(long)]
    pub schema: bool,
}

/// Runs `dwell compare`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    if args.schema {
        let schema = if args.trend.is_some() { trend_schema() } else { schema() };
        return super::put_json(&schema);
    }
    check(&args)?;
    let format = if global.json { Format::Json } else { args.format };
    let width = super::report::width();
    let default = || match &args.ledger {
        Some(path) => Ok(path.clone()),
        None => config::load_for_reading(&global.config)
            .map(|config| config.ledger)
            .map_err(|e| Failure::User(e.to_string())),
    };
    let side = |text: &str| Selection::parse(text)?.side(&default);
    let block_ns = u64::try_from(args.block.0.as_nanos()).unwrap_or(u64::MAX);
    if let Some(every) = args.trend {
        let sought = Sought { block_ns, margin_ratio: args.margin_ratio };
        let model = trend(&side(args.a.as_deref().unwrap_or_default())?, every, sought);
        put(&args, &render_trend(&model, format, width))?;
        return Ok(model.exit());
    }
    let (Some(a), Some(b)) = (&args.a, &args.b) else {
        return Err(Failure::User(
            "two things are compared: write `dwell compare A B`, or `--trend week` for one over time"
                .to_owned(),
        ));
    };
    let margins = Margins {
        ratio: args.margin_ratio,
        share: args.margin_share,
        confidence: args.confidence,
        block_ns,
    };
    let model = compare(&side(a)?, &side(b)?, &margins);
    if model.routes.is_empty() {
        return Err(Failure::User(format!(
            "{a:?} and {b:?} have no route and expectation of the same names"
        )));
    }
    put(&args, &render(&model, format, width))?;
    Ok(model.exit())
}

fn check(args: &Args) -> Result<(), Failure> {
    let wrong = |text: &str| Err(Failure::User(text.to_owned()));
    if !(args.margin_ratio >= 1.0 && args.margin_ratio.is_finite()) {
        return wrong("--margin-ratio is below 1; 1.25 allows a quarter more time");
    }
    if !(args.margin_share >= 0.0 && args.margin_share < 1.0) {
        return wrong("--margin-share is not between 0 and 1; 0.05 allows five points");
    }
    if !(args.confidence > 0.5 && args.confidence < 1.0) {
        return wrong("--confidence is not between 0.5 and 1");
    }
    if matches!(args.format, Format::Csv | Format::Hlog)
        || (args.trend.is_some() && args.format == Format::Junit)
    {
        return wrong(
            "there is no such format of this; use text, json or html (or junit without --trend)",
        );
    }
    Ok(())
}

fn put(args: &Args, text: &str) -> Result<(), Failure> {
    match &args.output {
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Failure::Environment(format!("cannot write {}: {e}", path.display()))),
        None => super::put(text.as_bytes()).map(drop),
    }
}
