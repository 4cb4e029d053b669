//! Every number that R's `survival` gives for the public data sets, to a part in 1e9. The tests beside the
//! estimators hold single values that name a convention; here no step, band, quantile, mean or test is
//! left out. `tests/data/survival/gold.R` made the files.

use super::golden::{UNIT, close, table};
use super::logrank::{Weight, logrank};
use super::survival::{Band, Curve, Observation, Reach};

/// A part in 1e9.
const DIGITS: f64 = 1e-9;
const BANDS: [(&str, Band); 3] =
    [("log-log", Band::LogLog), ("log", Band::Log), ("plain", Band::Plain)];

fn records(name: &str) -> Vec<Vec<String>> {
    let path = format!("{}/tests/data/survival/{name}", env!("CARGO_MANIFEST_DIR"));
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path);
    let cells = |r: csv::StringRecord| r.iter().map(str::to_owned).collect();
    reader.unwrap().records().map(|r| cells(r.unwrap())).collect()
}

fn observations(set: &str, by: &str, group: &str) -> Vec<Observation> {
    let (time, event) = match set {
        "waltons" => ("T", ("E", "1")),
        "lung" => ("time", ("status", "2")),
        _ => ("time", ("status", "1")),
    };
    let keep: &[(&str, &str)] = if by.is_empty() { &[] } else { &[(by, group)] };
    table(set, time, event, keep)
}

fn number(cell: &str) -> Option<f64> {
    (!cell.is_empty()).then(|| cell.parse().unwrap())
}

fn same(what: &str, ours: Option<f64>, golden: Option<f64>) {
    match (ours, golden) {
        (Some(ours), Some(golden)) if golden != 0.0 => {
            let off = (ours - golden).abs() / golden.abs();
            assert!(off <= DIGITS, "{what}: {ours}, R {golden}");
        }
        _ => assert_eq!(ours, golden, "{what}"),
    }
}

#[test]
fn every_step_error_and_band_of_the_public_data_sets_equals_r() {
    let records = records("gold_curves.csv");
    let curves = records.chunk_by(|a, b| a[..3] == b[..3]);
    let mut steps = 0;
    for lines in curves {
        let [set, by, group] = &lines[0][..3] else { panic!("{:?}", lines[0]) };
        let curve = Curve::fit(&observations(set, by, group));
        assert_eq!(curve.steps().len(), lines.len(), "{set} {group}");
        for (step, line) in curve.steps().iter().zip(lines) {
            let counts: [u64; 2] = [line[4].parse().unwrap(), line[5].parse().unwrap()];
            assert_eq!([step.at_risk, step.events], counts, "{line:?}");
            let se = Some(step.standard_error()).filter(|se| se.is_finite());
            let mut ours = vec![Some(step.time_ns as f64 / UNIT), Some(step.survival), se];
            for (_, band) in BANDS {
                let band = step.band(band, 0.95);
                ours.extend([band.map(|b| b.0), band.map(|b| b.1)]);
            }
            let golden = [3, 6, 7, 8, 9, 10, 11, 12, 13].map(|i| number(&line[i]));
            for (i, (ours, golden)) in ours.into_iter().zip(golden).enumerate() {
                same(&format!("{set} {group} {} value {i}", line[3]), ours, golden);
            }
            steps += 1;
        }
    }
    assert_eq!(steps, 446, "lines of the file");
}

fn ours(curve: &Curve, what: &str, of: f64) -> Option<f64> {
    let time = |reach: Reach| reach.ns().map(|ns| ns as f64 / UNIT);
    match what {
        "n" => Some(curve.subjects() as f64),
        "events" => Some(curve.events() as f64),
        "estimate" => time(curve.quantile(of, Band::LogLog, 0.95).estimate),
        "mean" => Some(curve.restricted_mean((of * UNIT) as u64).0 / UNIT),
        "mean error" => Some(curve.restricted_mean((of * UNIT) as u64).1 / UNIT),
        limit => {
            let (name, end) = limit.split_once(' ').unwrap();
            let (_, band) = BANDS.into_iter().find(|(known, _)| *known == name).unwrap();
            let quantile = curve.quantile(of, band, 0.95);
            time(if end == "lower" { quantile.lower } else { quantile.upper })
        }
    }
}

#[test]
fn every_quantile_mean_and_log_rank_test_of_the_public_data_sets_equals_r() {
    const TESTS: [&str; 5] = ["chi2", "p", "observed", "expected", "variance"];
    let records = records("gold_numbers.csv");
    for line in &records {
        let [set, by, group, what, of, golden] = &line[..] else { panic!("{line:?}") };
        let (of, golden) = (number(of).unwrap_or(0.0), number(golden));
        if !TESTS.contains(&what.as_str()) {
            let curve = Curve::fit(&observations(set, by, group));
            let found = ours(&curve, what, of);
            match what.as_str() {
                "mean" | "mean error" => same(&format!("{line:?}"), found, golden),
                _ => assert_eq!(found, golden, "{line:?}: exactly, as R has it"),
            }
            continue;
        }
        let names: [&str; 2] = match set.as_str() {
            "aml" => ["Maintained", "Nonmaintained"],
            "waltons" => ["miR-137", "control"],
            _ => ["1", "2"],
        };
        let groups = names.map(|name| observations(set, by, name)).to_vec();
        let test = logrank(&[groups], Weight::FlemingHarrington { rho: of }).unwrap();
        let all = [test.chi2, test.p, test.observed[0], test.expected[0], test.variance];
        let at = TESTS.iter().position(|known| *known == what.as_str()).unwrap();
        close(all[at], golden.unwrap(), DIGITS);
    }
    assert_eq!(records.len(), 489, "lines of the file");
}
