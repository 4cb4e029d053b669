//! The harness's floor: from the ledger alone, told, and held against the smallest quantile.

use super::ledger::{Fate, Route, rows};
use crate::calibration::{store, tests::calibration};
use crate::dispatch::outcome::Fold;
use crate::ledger::{CalibrationFact, Row};
use crate::report::{Beside, Format, ReportModel, render};

fn fact() -> CalibrationFact {
    let folder = tempfile::tempdir().unwrap();
    store::write(&folder.path().join(store::NAME), &calibration()).unwrap();
    store::fact(&folder.path().join("dwell.db")).unwrap()
}

fn model(seconds: f64, p99_upper_ns: i64, kind: &'static str) -> ReportModel {
    let fates: Vec<Fate> = (0..60).map(|n| Fate::Seen(seconds + f64::from(n) * 1e-6)).collect();
    let route = Route { kind, ..Route::new("ssh", &fates) };
    let mut made = fact();
    made.floors.iter_mut().for_each(|f| f.p99_upper_ns = Some(p99_upper_ns));
    let mut fold = Fold::new(None);
    for mut row in rows(&[route], "c") {
        if let Row::Run(run) = &mut row {
            run.calibration = Some(Box::new(made.clone()));
        }
        fold.apply(&row);
    }
    ReportModel::build(&fold.assess(None).unwrap(), &Beside::default())
}

#[test]
fn the_floor_is_told_with_its_date_interval_and_notes() {
    let found = model(1.0, 600_000, "file");
    let words = found.floor.words.join(" ");
    assert!(words.contains("Harness floor (this machine, 2026-11-24): webhook p50"), "{words}");
    assert!(words.contains("95 % limit 600 µs, n "), "{words}");
    assert!(words.contains("the machine was busy: load 3.1 on 2 cores"), "{words}");
    for format in [Format::Text, Format::Html, Format::Json] {
        let text = render(&found, format, 200);
        assert!(text.contains("Harness floor (this machine, 2026-11-24)"), "{format:?}");
    }
}

#[test]
fn a_floor_above_a_hundredth_of_the_smallest_quantile_limits_it() {
    assert_eq!(model(1.0, 9_900_000, "file").floor.limited, Vec::<String>::new());
    let limited = model(1.0, 10_100_000, "file").floor.limited;
    assert!(limited[0].contains("floor-limited: 10.1 ms of the file floor"), "{limited:?}");
    // A calibration through a broker has a floor of topics too.
    assert!(model(1.0, 9_900_000, "kafka").floor.limited.is_empty());
    let limited = model(1.0, 10_100_000, "kafka").floor.limited;
    assert!(limited[0].contains("floor-limited: 10.1 ms of the kafka floor"), "{limited:?}");
    // A poll's coarseness is its interval.
    assert_eq!(model(1.0, 10_100_000, "poll").floor.limited, Vec::<String>::new());
}

#[test]
fn a_kind_that_was_not_calibrated_is_named() {
    let without = |kind| {
        let route = Route { kind, ..Route::new("ssh", &[Fate::Seen(1.0)]) };
        let mut made = fact();
        made.floors.retain(|floor| floor.kind != "kafka");
        let mut fold = Fold::new(None);
        for mut row in rows(&[route], "c") {
            if let Row::Run(run) = &mut row {
                run.calibration = Some(Box::new(made.clone()));
            }
            fold.apply(&row);
        }
        ReportModel::build(&fold.assess(None).unwrap(), &Beside::default()).floor
    };
    let said = without("kafka").words.join(" ");
    assert!(said.contains("did not measure these watchers' floor: kafka; `dwell"), "{said}");
    for kind in ["file", "poll"] {
        let said = without(kind).words.join(" ");
        assert!(!said.contains("did not measure"), "{said}");
    }
}
