use proptest::prelude::*;

use super::*;

const UNIT: f64 = 1e9;

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

fn aml(group: &str) -> Curve {
    Curve::fit(&table("aml", "time", ("status", "1"), &[("x", group)]))
}

fn close(actual: f64, golden: f64) {
    assert!((actual - golden).abs() <= 1e-9 * golden.abs().max(1.0), "{actual}, not {golden}");
}

fn reach(days: f64) -> Reach {
    if days.is_nan() { Reach::NotReached } else { Reach::At((days * UNIT) as u64) }
}

fn quantile(estimate: f64, lower: f64, upper: f64) -> Quantile {
    Quantile { estimate: reach(estimate), lower: reach(lower), upper: reach(upper) }
}

#[test]
fn aml_steps_errors_and_log_log_band_equal_r() {
    let curve = aml("Maintained");
    let golden = [
        (9., 11, 0.9090909091, 0.0866784172, 0.5080802058, 0.9866738227),
        (13., 10, 0.8181818182, 0.1162912998, 0.4474286147, 0.9511622286),
        (18., 8, 0.7159090909, 0.1396649706, 0.3501903859, 0.8990239742),
        (23., 7, 0.6136363636, 0.1526323310, 0.2657520400, 0.8352992433),
        (31., 5, 0.4909090909, 0.1641932672, 0.1673309098, 0.7533997904),
        (34., 4, 0.3681818182, 0.1626688858, 0.0928295749, 0.6570408324),
        (48., 2, 0.1840909091, 0.1534927457, 0.0117384801, 0.5250148427),
    ];
    assert_eq!(curve.steps().len(), golden.len());
    for (step, (t, n, s, se, low, high)) in curve.steps().iter().zip(golden) {
        assert_eq!((step.time_ns, step.at_risk), ((t * UNIT) as u64, n));
        close(step.survival, s);
        close(step.standard_error(), se);
        let band = step.band(Band::LogLog, 0.95).unwrap();
        close(band.0, low);
        close(band.1, high);
    }
    let ends_at_zero = aml("Nonmaintained");
    assert_eq!(ends_at_zero.steps().last().unwrap().band(Band::LogLog, 0.95), None, "R: NA");
}

#[test]
fn quantile_intervals_are_brookmeyer_crowley_as_r_prints_them() {
    let na = f64::NAN;
    for (group, p, band, golden) in [
        ("Maintained", 0.5, Band::LogLog, quantile(31., 13., na)),
        ("Maintained", 0.5, Band::Plain, quantile(31., 18., 48.)),
        ("Maintained", 0.5, Band::Log, quantile(31., 18., na)),
        ("Maintained", 0.25, Band::LogLog, quantile(18., 9., 34.)),
        ("Maintained", 0.75, Band::LogLog, quantile(48., 31., na)),
        ("Maintained", 0.9, Band::LogLog, quantile(na, 34., na)),
        ("Nonmaintained", 0.5, Band::LogLog, quantile(23., 5., 33.)),
        ("Nonmaintained", 0.5, Band::Plain, quantile(23., 8., 33.)),
        ("Nonmaintained", 0.5, Band::Log, quantile(23., 8., na)),
        ("Nonmaintained", 0.75, Band::LogLog, quantile(33., 23., na)),
        ("Nonmaintained", 0.95, Band::LogLog, quantile(45., 33., na)),
    ] {
        assert_eq!(aml(group).quantile(p, band, 0.95), golden, "{group} {p} {band:?}");
    }
}

#[test]
fn lung_quantiles_and_restricted_mean_equal_r() {
    let curve = Curve::fit(&table("lung", "time", ("status", "2"), &[]));
    assert_eq!((curve.subjects(), curve.events()), (228, 165));
    let step = curve.at((365.0 * UNIT) as u64).unwrap();
    assert!((step.survival - 0.40924162).abs() < 1e-8);
    assert_eq!(curve.quantile(0.5, Band::LogLog, 0.95), quantile(310., 284., 361.));
    assert_eq!(curve.quantile(0.5, Band::Log, 0.95).upper, reach(363.));
    assert_eq!(curve.quantile(0.9, Band::LogLog, 0.95), quantile(735., 687., f64::NAN));
    let (mean, se) = curve.restricted_mean((365.0 * UNIT) as u64);
    close(mean / UNIT, 263.221866482);
    close(se / UNIT, 7.798859086);
}

#[test]
fn a_flat_stretch_at_one_half_gives_its_middle_as_r_does_and_lifelines_does_not() {
    let rows = table("veteran", "time", ("status", "1"), &[("trt", "2")]);
    let median = Curve::fit(&rows).quantile(0.5, Band::LogLog, 0.95);
    assert_eq!(median, quantile(52.5, 43., 90.));
}

#[test]
fn nothing_one_and_all_censored_are_no_numbers() {
    let one = |event| [Observation { time_ns: 5, event }];
    for data in [&[][..], &one(false)] {
        let median = Curve::fit(data).quantile(0.5, Band::LogLog, 0.95);
        assert_eq!(median.estimate, Reach::NotReached);
    }
    let median = Curve::fit(&one(true)).quantile(0.5, Band::LogLog, 0.95);
    assert_eq!((median.estimate, median.upper), (Reach::At(5), Reach::NotReached));
}

fn make(rows: &[(u64, bool)]) -> Vec<Observation> {
    rows.iter().map(|(t, e)| Observation { time_ns: *t, event: *e }).collect()
}

proptest! {
    #[test]
    fn without_censoring_it_is_the_empirical_distribution(
        times in proptest::collection::vec(0u64..50, 1..80)
    ) {
        let rows: Vec<(u64, bool)> = times.iter().map(|t| (*t, true)).collect();
        let curve = Curve::fit(&make(&rows));
        for t in 0..50 {
            let beyond = times.iter().filter(|x| **x > t).count() as f64 / times.len() as f64;
            let found = curve.at(t).map_or(1.0, |s| s.survival);
            prop_assert!((found - beyond).abs() < 1e-12);
        }
    }

    #[test]
    fn order_does_not_matter_and_the_band_holds_the_estimate(
        mut rows in proptest::collection::vec((0u64..50, any::<bool>()), 0..80)
    ) {
        let before = Curve::fit(&make(&rows));
        for step in before.steps() {
            for band in [Band::Plain, Band::Log, Band::LogLog] {
                if let Some((low, high)) = step.band(band, 0.95) {
                    prop_assert!(low <= step.survival + 1e-12 && step.survival <= high + 1e-12);
                }
            }
        }
        rows.reverse();
        prop_assert_eq!(before, Curve::fit(&make(&rows)));
    }
}
