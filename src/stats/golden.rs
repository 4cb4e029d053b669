//! What the golden tests of the estimators share: the public data sets, and how near is near enough.

use super::survival::Observation;

/// The data sets count days; one of them is so many of our nanoseconds.
pub(in crate::stats) const UNIT: f64 = 1e9;

/// Fails unless the value is the golden one within so large a part of it.
pub(in crate::stats) fn close(actual: f64, golden: f64, digits: f64) {
    assert!((actual - golden).abs() <= digits * golden.abs(), "{actual}, not {golden}");
}

/// Rows of a CSV under tests/data/survival for which every named column has the value asked for.
pub(in crate::stats) fn table(
    name: &str,
    time: &str,
    event: (&str, &str),
    keep: &[(&str, &str)],
) -> Vec<Observation> {
    let path = format!("{}/tests/data/survival/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let column = |name: &str| header.iter().position(|h| h == name).unwrap();
    reader
        .records()
        .map(Result::unwrap)
        .filter(|r| keep.iter().all(|(name, value)| &r[column(name)] == *value))
        .map(|r| Observation {
            time_ns: (r[column(time)].parse::<f64>().unwrap() * UNIT) as u64,
            event: &r[column(event.0)] == event.1,
        })
        .collect()
}

/// One table per value of a column.
pub(in crate::stats) fn tables(
    name: &str,
    time: &str,
    event: (&str, &str),
    group: &str,
    values: &[&str],
) -> Vec<Vec<Observation>> {
    values.iter().map(|value| table(name, time, event, &[(group, value)])).collect()
}
