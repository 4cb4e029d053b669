//! Reports: one model, one file per format.
//!
//! Invariants: the same ledger and cut give the same bytes; no format reads a clock, a locale or a
//! terminal; foreign text passes through [`escape`] and nowhere else.

mod anatomy;
mod batches;
pub(crate) mod blocks;
mod build;
mod claim;
pub mod compare;
mod competing;
pub mod escape;
mod expectation;
pub mod floor;
mod hindrance;
mod html;
mod misses;
pub mod model;
mod notes;
mod numbers;
mod rows;
mod sample;
mod schedule;
mod share;
mod tabular;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod total;
mod verdict;
pub mod words;

pub use build::{Beside, reason};
pub use model::ReportModel;
pub use rows::write_csv;

pub(crate) use blocks::SHORTEST_NS;
pub(crate) use expectation::observation;
pub(crate) use tabular::io_error as csv_error;
pub(crate) use text::{bars, median};

/// How a report is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// Versioned JSON.
    Json,
    /// JUnit XML, one test case per route and expectation.
    Junit,
    /// One row per canary and expectation. Canary 1.10 is spelt c1.10, which no spreadsheet turns into
    /// the number 1.1; `explain` takes both.
    Csv,
    /// One self-contained page.
    Html,
    /// HdrHistogram log (V2, compressed): stages and lateness of what was seen, detected only.
    Hlog,
}

/// The JSON schema of the JSON format, as `configs/schema/report.json` holds it.
pub fn schema() -> serde_json::Value {
    tabular::schema()
}

/// Prints a model. `width` matters to the text format alone.
pub fn render(model: &ReportModel, format: Format, width: u16) -> String {
    match format {
        Format::Text => text::render(model, width),
        Format::Json => tabular::json(model),
        Format::Junit => tabular::junit(model),
        Format::Csv => tabular::csv(model),
        Format::Html => html::render(model),
        Format::Hlog => tabular::hlog(model),
    }
}
