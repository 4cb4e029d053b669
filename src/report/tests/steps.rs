//! Where the time goes: steps of one path, of canaries that went it.

use super::ledger::{Fate, Route, model_of, rows};
use super::{Format, render};
use crate::ledger::{Row, Stage};
use crate::report::ReportModel;

/// Canaries detected after 50 s; of every `every`-th one, found searchable after `ingested` seconds.
fn model(n: u32, every: u32, ingested: f64) -> ReportModel {
    let route = Route::new("r", &vec![Fate::Seen(50.0); n as usize]);
    let mut rows = rows(&[route], "c");
    let found: Vec<Row> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Sighting(seen) if seen.canary.serial % every == 0 => {
                let mut seen = seen.clone();
                seen.stage = Stage::Ingested;
                seen.observed = super::ledger::at(ingested);
                seen.native_id.push_str(" searchable");
                Some(Row::Sighting(seen))
            }
            _ => None,
        })
        .collect();
    let last = rows.len() - 1;
    rows.splice(last..last, found);
    model_of(&rows)
}

#[test]
fn no_time_is_counted_on_two_paths() {
    // Forty seconds pass before half of them are searchable, ten after that; of the other half nobody
    // knows. What passes between sending and detecting is no third step.
    let model = model(100, 2, 40.0);
    let steps: Vec<(&str, &str, u64, u64)> = model.routes[0]
        .anatomy
        .iter()
        .map(|s| (s.from.as_str(), s.to.as_str(), s.n, (s.part * 1_000.0).round() as u64))
        .collect();
    assert_eq!(steps, [("sent", "ingested", 50, 800), ("ingested", "detected", 50, 200)]);
    assert_eq!(model.routes[0].anatomy[0].left_out, 50);
    for format in [Format::Text, Format::Html] {
        let page = render(&model, format, 4_000);
        assert!(page.contains("longest is sent to ingested: look at collection"), "{page}");
        assert!(
            page.contains("n 50, 50 left out that were not seen at every stage before"),
            "{page}"
        );
    }
}

#[test]
fn a_stage_that_most_skipped_is_no_part_of_the_path() {
    let steps: Vec<(String, u64, u64)> = model(100, 4, 40.0).routes[0]
        .anatomy
        .iter()
        .map(|s| (format!("{} to {}", s.from, s.to), s.n, s.left_out))
        .collect();
    assert_eq!(steps, [("sent to detected".to_owned(), 100, 0)]);
}
