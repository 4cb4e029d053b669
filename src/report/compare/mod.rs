//! Two sets of canaries side by side, and one over time: what `dwell compare` prints.
//!
//! Routes are compared one by one and never pooled; the overall log-rank test is stratified by route.
//! A is what was, B is what is. B is *slower* where the lower end of the interval of the ratio of
//! medians (of restricted means, where A's median is not reached) lies beyond the margin and the
//! log-rank test holds beside all other routes (Holm); *more missed* where the lower end of the
//! difference of shares not in time does, and Fisher's test holds likewise. *No worse* needs the upper
//! ends below the margins. Everything else is *cannot tell*: a wide interval is never good news.
//!
//! Intervals of times are block bootstraps over submission time; those of shares are Newcombe's, from
//! Wilson's, and count each canary as independent. Polled times enter with their upper ends.

mod build;
mod html;
mod model;
mod text;
mod trend;

pub use build::{Margins, Side, compare};
pub use model::{Comparison, Pair};
pub use trend::{Every, Trend, trend};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Format, escape};

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

fn json<T: serde::Serialize>(model: &T) -> String {
    let mut text = escape::json(&serde_json::to_string_pretty(model).unwrap_or_default());
    text.push('\n');
    text
}

/// One test case per route and expectation: failed where B is worse, an error where nobody can tell.
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
    report.add_test_suite(suite);
    report.to_string().unwrap_or_default()
}
