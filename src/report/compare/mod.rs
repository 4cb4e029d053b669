//! Two sets of canaries side by side, and one over time: what `dwell compare` prints.
//!
//! Routes are compared one by one and never pooled; the overall log-rank test is stratified by route.
//! A is what was, B is what is. B is *slower* where the lower end of the interval of the ratio of
//! medians (where A's median is not reached: of the highest quantile that is, or else of restricted
//! means) lies beyond the margin and a test holds beside all other routes: the log-rank test (Holm), or that of
//! whether B is behind A anywhere once its times are divided by the margin (Bonferroni); *more missed* where the lower end of the difference of shares not in time does, and Fisher's test holds
//! likewise. *No worse* needs the upper ends below the margins (without A's median that of the restricted
//! means as well), and that the second of these tests does not hold: one ratio alone may look past where the
//! times differ. Everything else is *cannot tell*, and so is
//! what is gone from B: a wide interval is never good news.
//!
//! Each side has the estimate that its report has: coarsely polled times are Turnbull's, with a range that
//! the polls leave open, and a comparison of ranges is a range. The log-rank test takes upper ends. Where
//! the sides were polled at clearly different intervals that test may see the polling and not the SIEM: it
//! then decides nothing, and B is slower only where the interval says so at the confidence that holds
//! beside all other routes.
//!
//! Intervals of times are block bootstraps over submission time. Those of the difference of shares are
//! Newcombe's, from Wilson's, and Fisher's test is exact, both of as many canaries as say something of their
//! own ([`crate::stats::together`]): in an outage all are missed together. A side's own share has the interval
//! of its report, which counts each canary.

mod build;
mod differently;
mod effects;
mod html;
mod judge;
mod measured;
mod model;
mod text;
mod trend;

pub use build::{Margins, Side, compare};
pub use model::{Comparison, Drawn, Pair, Range, Unpaired};
pub use trend::{Every, Sought, Trend, trend};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Format, escape};

/// A ratio beyond which B is slower, unless another is asked for.
pub const MARGIN_RATIO: f64 = 1.25;

/// Prints a comparison; CSV has no form of it and gives the JSON.
pub fn render(model: &Comparison, format: Format, width: u16) -> String {
    match format {
        Format::Text => text::render(model, width),
        Format::Junit => junit(model),
        Format::Html => html::render(model),
        _ => json(model),
    }
}

/// Prints a trend.
pub fn render_trend(model: &Trend, format: Format, width: u16) -> String {
    match format {
        Format::Text => text::trend(model, width),
        Format::Html => html::trend(model),
        _ => json(model),
    }
}

/// The JSON schema of a comparison, as `configs/schema/compare.json` holds it.
pub fn schema() -> serde_json::Value {
    schema_of::<Comparison>()
}

/// The JSON schema of a trend, as `configs/schema/trend.json` holds it.
pub fn trend_schema() -> serde_json::Value {
    schema_of::<Trend>()
}

fn schema_of<T: schemars::JsonSchema>() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn json<T: serde::Serialize>(model: &T) -> String {
    let mut text = escape::json(&serde_json::to_string_pretty(model).unwrap_or_default());
    text.push('\n');
    text
}

/// One test case per route and expectation: failed where B is worse, an error where nobody can tell, and so
/// where it is gone from B; skipped where it is new there.
fn junit(model: &Comparison) -> String {
    let mut report = Report::new("dwell compare");
    let title = format!("{} to {}", model.a.label, model.b.label);
    let mut suite = TestSuite::new(escape::terminal(&title));
    for pair in &model.routes {
        let status = match pair.state.as_str() {
            "no worse" => TestCaseStatus::success(),
            other => {
                let kind = match other {
                    "cannot tell" => NonSuccessKind::Error,
                    _ => NonSuccessKind::Failure,
                };
                let mut status = TestCaseStatus::non_success(kind);
                status.set_message(escape::terminal(&format!("{other}: {}", pair.words)));
                status
            }
        };
        let mut case = TestCase::new(escape::terminal(&pair.expectation), status);
        case.set_classname(escape::terminal(&pair.route));
        suite.add_test_case(case);
    }
    for one in &model.unpaired {
        let mut status = match one.gone() {
            true => TestCaseStatus::non_success(NonSuccessKind::Error),
            false => TestCaseStatus::skipped(),
        };
        status.set_message(escape::terminal(&format!("not compared: {}", one.words())));
        let mut case = TestCase::new(escape::terminal(&one.expectation), status);
        case.set_classname(escape::terminal(&one.route));
        suite.add_test_case(case);
    }
    report.add_test_suite(suite);
    report.to_string().unwrap_or_default()
}
