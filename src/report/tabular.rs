//! The machine formats: JSON, CSV, JUnit and HdrHistogram logs.

use std::io::Write;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use schemars::generate::SchemaSettings;

use super::escape;
use super::model::{CanaryRow, ReportModel};

/// The model as JSON. Foreign text is data there: its values are unchanged.
pub(super) fn json(model: &ReportModel) -> String {
    let mut text = escape::json(&serde_json::to_string_pretty(model).unwrap_or_default());
    text.push('\n');
    text
}

/// The JSON schema of [`json`].
pub(super) fn schema() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<ReportModel>().to_value()
}

/// The rows that the model holds.
pub(super) fn csv(model: &ReportModel) -> String {
    let mut bytes = Vec::new();
    let mut table = CsvTable::new(&mut bytes);
    // Writing to memory cannot fail; a row that did would be missing, which the tests count.
    for row in &model.canaries {
        let _ = table.row(row);
    }
    let _ = table.end();
    String::from_utf8(bytes).unwrap_or_default()
}

/// A CSV on its way out: every text in it is inert, and an empty one has its header too.
pub(super) struct CsvTable<'a> {
    writer: csv::Writer<&'a mut dyn Write>,
    empty: bool,
}

impl<'a> CsvTable<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> CsvTable<'a> {
        CsvTable { writer: csv::Writer::from_writer(out), empty: true }
    }

    pub(super) fn row(&mut self, row: &CanaryRow) -> std::io::Result<()> {
        self.empty = false;
        self.writer.serialize(inert(row)).map_err(io_error)
    }

    pub(super) fn end(mut self) -> std::io::Result<()> {
        if self.empty {
            self.writer.write_record(HEADER).map_err(io_error)?;
        }
        self.writer.flush()
    }
}

/// What the writer beneath said, of the same kind: the library's own conversion forgets it, and with it
/// that a reader has merely gone away.
pub(crate) fn io_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

const HEADER: [&str; 19] = [
    "campaign",
    "run",
    "route",
    "recipe",
    "token",
    "canary",
    "stage",
    "expectation",
    "outcome",
    "reason",
    "last_stage",
    "ttd_lower_s",
    "ttd_upper_s",
    "ttd_completing_upper_s",
    "watcher",
    "rule",
    "submitted",
    "late_ms",
    "delivery",
];

fn inert(row: &CanaryRow) -> CanaryRow {
    CanaryRow {
        campaign: escape::csv(&row.campaign),
        route: escape::csv(&row.route),
        recipe: escape::csv(&row.recipe),
        expectation: escape::csv(&row.expectation),
        reason: escape::csv(&row.reason),
        watcher: escape::csv(&row.watcher),
        rule: escape::csv(&row.rule),
        ..row.clone()
    }
}

/// One test case per route and expectation: failed where the objective is missed, an error where it
/// is undecided.
pub(super) fn junit(model: &ReportModel) -> String {
    let mut report = Report::new(escape::terminal(&model.campaign));
    for route in &model.routes {
        let mut suite = TestSuite::new(escape::terminal(&route.name));
        for expectation in &route.expectations {
            let status = match expectation.objective.as_str() {
                "met" => TestCaseStatus::success(),
                other => {
                    let kind = match other {
                        "missed" => NonSuccessKind::Failure,
                        _ => NonSuccessKind::Error,
                    };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_message(escape::terminal(&format!(
                        "{}: {}; objective {}",
                        expectation.objective, expectation.verdict, expectation.objective_words
                    )));
                    status
                }
            };
            let mut case = TestCase::new(escape::terminal(&expectation.name), status);
            case.set_classname(escape::terminal(&route.name));
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string().unwrap_or_default()
}

/// An HdrHistogram log (format 1.3) that any implementation reads: one tagged line per route and
/// stage, V2 compressed, microseconds. It holds the detected ones alone, and its head says so.
pub(super) fn hlog(model: &ReportModel) -> String {
    let log = &model.histograms;
    let (began, length) = (log.began_ns as f64 / 1e9, log.length_ns as f64 / 1e9);
    let mut text = format!(
        "#[dwell report, as of {}: detected only, nothing that was not seen is in here]\n\
         #[microseconds since submission, of a burst its completing event, by route and stage; lateness: hand-over against its plan]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {began:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        model.cut
    );
    for (name, largest_ns, histogram) in &log.entries {
        let tag: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '_' })
            .collect();
        let largest = *largest_ns as f64 / 1e9;
        text.push_str(&format!("Tag={tag},0.000,{length:.3},{largest:.6},{histogram}\n"));
    }
    text
}
