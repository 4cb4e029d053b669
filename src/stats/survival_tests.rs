//! Kaplan-Meier against R, lifelines and scipy; the conventions in which they differ are in the names.

use proptest::prelude::*;

use super::*;
use crate::stats::golden::{UNIT, table};

/// The values here are as printed, to nine digits or so; `gold_tests` holds all to a part in 1e9.
fn close(actual: f64, golden: f64) {
    assert!((actual - golden).abs() <= 1e-9 * golden.abs().max(1.0), "{actual}, not {golden}");
}

fn aml(group: &str) -> Curve {
    Curve::fit(&table("aml", "time", ("status", "1"), &[("x", group)]))
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
fn aml_plain_and_log_bands_equal_r() {
    let curve = aml("Maintained");
    let golden = [
        (0.7392043, 1.0, 0.7541338, 1.0),
        (0.5902551, 1.0, 0.6192490, 1.0),
        (0.4421708, 0.9896474, 0.4884263, 1.0),
        (0.3144825, 0.9127903, 0.3768671, 0.999158),
        (0.1690961, 0.8127220, 0.2548600, 0.945585),
        (0.0493567, 0.6870070, 0.1548771, 0.875261),
        (0.0, 0.4849312, 0.0359179, 0.943526),
    ];
    for (step, (plain_low, plain_high, log_low, log_high)) in curve.steps().iter().zip(golden) {
        let (plain, log) = (step.band(Band::Plain, 0.95), step.band(Band::Log, 0.95));
        let found = [plain.unwrap().0, plain.unwrap().1, log.unwrap().0, log.unwrap().1];
        for (found, golden) in found.into_iter().zip([plain_low, plain_high, log_low, log_high]) {
            assert!((found - golden).abs() < 1e-6, "{found}, not {golden}: as R prints it");
        }
    }
}

#[test]
fn aml_nonmaintained_equals_r() {
    let curve = aml("Nonmaintained");
    let golden = [
        (5., 12, 2, 0.8333333333, 0.4817149422, 0.9555093657),
        (8., 10, 2, 0.6666666667, 0.3370189325, 0.8597117991),
        (12., 8, 1, 0.5833333333, 0.2701389241, 0.8009401923),
        (23., 6, 1, 0.4861111111, 0.1918766196, 0.7296715698),
        (27., 5, 1, 0.3888888889, 0.1262720122, 0.6498174083),
        (30., 4, 1, 0.2916666667, 0.0724016089, 0.5608860527),
        (33., 3, 1, 0.1944444444, 0.0311986429, 0.4614294762),
        (43., 2, 1, 0.0972222222, 0.0057463057, 0.3489038611),
    ];
    for (step, (t, n, d, s, low, high)) in curve.steps().iter().zip(golden) {
        assert_eq!((step.time_ns, step.at_risk, step.events), ((t * UNIT) as u64, n, d));
        let band = step.band(Band::LogLog, 0.95).unwrap();
        for (found, golden) in [(step.survival, s), (band.0, low), (band.1, high)] {
            close(found, golden);
        }
    }
    let means = [
        ("Maintained", 30., 24.60227273, 2.313149377),
        ("Maintained", 48., 31.84318182, 4.527884712),
    ];
    let others = [
        ("Nonmaintained", 30., 19.69444444, 3.054197931),
        ("Nonmaintained", 48., 22.70833333, 4.180941981),
    ];
    for (group, tau, mean, se) in means.into_iter().chain(others) {
        let found = aml(group).restricted_mean((tau * UNIT) as u64);
        assert!((found.0 / UNIT - mean).abs() < 1e-8);
        // lifelines' variance is that of min(T, tau), not of its mean: 56.967 here for the first.
        close(found.1 / UNIT, se);
    }
}

#[test]
fn lung_by_sex_and_its_head_equal_r() {
    let all = Curve::fit(&table("lung", "time", ("status", "2"), &[]));
    for (step, (t, n, d, s, se, low, high)) in all.steps().iter().zip([
        (5., 228, 1, 0.9956140351, 0.00437634, 0.9692770362, 0.9993810114),
        (11., 227, 3, 0.9824561404, 0.00869464, 0.9539352302, 0.9933791328),
        (12., 224, 1, 0.9780701754, 0.00969918, 0.9481198841, 0.9908132480),
        (13., 223, 2, 0.9692982456, 0.01142465, 0.9366819742, 0.9852444331),
        (15., 221, 1, 0.9649122807, 0.01218580, 0.9310662462, 0.9822967067),
        (26., 220, 1, 0.9605263158, 0.01289558, 0.9255136762, 0.9792638342),
    ]) {
        assert_eq!((step.time_ns, step.at_risk, step.events), ((t * UNIT) as u64, n, d));
        let band = step.band(Band::LogLog, 0.95).unwrap();
        for (found, golden) in [(step.survival, s), (band.0, low), (band.1, high)] {
            close(found, golden);
        }
        assert!((step.standard_error() - se).abs() < 5e-9);
    }
    let na = f64::NAN;
    for (sex, log_log, plain, log, mean, se) in [
        ("1", (270., 210., 306.), (212., 306.), (212., 310.), 241.4950852, 10.35822649),
        ("2", (426., 345., 524.), (345., 524.), (348., 550.), 297.4654095, 10.79132398),
    ] {
        let curve = Curve::fit(&table("lung", "time", ("status", "2"), &[("sex", sex)]));
        let (at, low, high) = log_log;
        assert_eq!(curve.quantile(0.5, Band::LogLog, 0.95), quantile(at, low, high));
        assert_eq!(curve.quantile(0.5, Band::Plain, 0.95), quantile(at, plain.0, plain.1));
        assert_eq!(curve.quantile(0.5, Band::Log, 0.95), quantile(at, log.0, log.1));
        let found = curve.restricted_mean((365.0 * UNIT) as u64);
        assert!((found.0 / UNIT - mean).abs() < 1e-7);
        assert!((found.1 / UNIT - se).abs() < 1e-8);
    }
    assert_eq!(all.quantile(0.95, Band::LogLog, 0.95), quantile(na, 765., na));
}

#[test]
fn waltons_equals_r_and_lifelines() {
    let group = |name| Curve::fit(&table("waltons", "T", ("E", "1"), &[("group", name)]));
    let (treated, control) = (group("miR-137"), group("control"));
    for (curve, t, n, d, s, se, low, high) in [
        (&treated, 6., 34, 1, 0.9705882353, 0.0289760108, 0.8090102102, 0.9958039415),
        (&treated, 9., 33, 3, 0.8823529412, 0.0552550845, 0.7162692431, 0.9541389995),
        (&treated, 13., 30, 3, 0.7941176471, 0.0693445807, 0.6161023525, 0.8960866062),
        (&treated, 15., 27, 2, 0.7352941176, 0.0756611405, 0.5529521886, 0.8525042315),
        (&treated, 19., 25, 3, 0.6470588235, 0.0819565348, 0.4630282710, 0.7818309341),
        (&treated, 22., 22, 4, 0.5294117647, 0.0856008088, 0.3510672092, 0.6794942261),
        (&control, 7., 129, 1, 0.9922480620, 0.0077218333, 0.9462521106, 0.9989043866),
        (&control, 17., 127, 1, 0.9844350851, 0.0109203187, 0.9391992059, 0.9960845049),
        (&control, 32., 126, 1, 0.9766221083, 0.0133388944, 0.9292758213, 0.9924000614),
        (&control, 41., 122, 7, 0.8984923396, 0.0266868627, 0.8316122299, 0.9397563735),
    ] {
        let step = curve.at((t * UNIT) as u64).unwrap();
        assert_eq!((step.time_ns, step.at_risk, step.events), ((t * UNIT) as u64, n, d));
        let band = step.band(Band::LogLog, 0.95).unwrap();
        let found = [step.survival, step.standard_error(), band.0, band.1];
        for (found, golden) in found.into_iter().zip([s, se, low, high]) {
            close(found, golden);
        }
    }
    assert_eq!(treated.quantile(0.5, Band::LogLog, 0.95), quantile(26., 19., 29.));
    assert_eq!(treated.quantile(0.5, Band::Log, 0.95), quantile(26., 22., 29.));
    assert_eq!(control.quantile(0.5, Band::Plain, 0.95), quantile(58., 56., 60.));
    for (curve, tau, mean, se) in [
        (&treated, 30., 22.4117647059, 1.302856621),
        (&control, 30., 29.7201367271, 0.203709014),
        (&treated, 60., 25.5882352941, 2.202199925),
        (&control, 60., 54.3035568228, 0.767358947),
    ] {
        let found = curve.restricted_mean((tau * UNIT) as u64);
        close(found.0 / UNIT, mean);
        close(found.1 / UNIT, se);
    }
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
fn where_the_band_turns_back_a_limit_is_its_first_crossing_and_r_quantile_names_a_later_one() {
    let rows: Vec<(u64, bool)> = (1..=10).map(|t| (t, true)).collect();
    let curve = Curve::fit(&make(&rows));
    let lower = |i: usize| curve.steps()[i].band(Band::LogLog, 0.99).unwrap().0;
    assert!(lower(0) < 0.75 && lower(0) < lower(1), "{} {}", lower(0), lower(1));
    // R 4.2.2, survival 3.5-3: quantile(fit, .25)$lower is 2.
    assert_eq!(curve.quantile(0.25, Band::LogLog, 0.99).lower, Reach::At(1));
}

#[test]
fn a_last_flat_stretch_gives_its_left_end_as_r_prints_it_and_r_quantile_goes_on() {
    let rows = [(1, true), (2, true), (3, false), (4, false)];
    // R's print has 2; its quantile(fit, .5) is 3, half way to the last censoring.
    let median = Curve::fit(&make(&rows)).quantile(0.5, Band::LogLog, 0.95);
    assert_eq!(median.estimate, Reach::At(2));
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

/// What the property below does not promise of the other bands: another reason for the default.
#[test]
fn an_added_censored_canary_can_lower_the_upper_end_of_the_log_and_the_plain_band() {
    let upper = |rows: &[(u64, bool)], time_ns, band| {
        Curve::fit(&make(rows)).at(time_ns).unwrap().band(band, 0.95).unwrap().1
    };
    let few = [(0, true), (0, true), (1, true), (1, true), (1, true), (2, true)];
    let more = [&few[..], &[(1, false)]].concat();
    assert!(upper(&more, 1, Band::Log) < upper(&few, 1, Band::Log) - 0.05);
    assert!(upper(&more, 1, Band::LogLog) > upper(&few, 1, Band::LogLog));
    let times = [3, 0, 9, 15, 4, 17, 7, 2, 8, 3, 17, 12, 11].map(|t| (t, false));
    let few = [&times[..], &[0, 13, 3, 2, 17].map(|t| (t, true))].concat();
    let more = [&few[..], &[(19, false)]].concat();
    assert!(upper(&more, 13, Band::Plain) < upper(&few, 13, Band::Plain));
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

    #[test]
    fn an_added_censored_canary_never_lowers_the_upper_band(
        rows in proptest::collection::vec((0u64..50, any::<bool>()), 1..60), at in 0u64..60
    ) {
        let before = Curve::fit(&make(&rows));
        let more: Vec<(u64, bool)> = rows.iter().copied().chain([(at, false)]).collect();
        let after = Curve::fit(&make(&more));
        for (old, new) in before.steps().iter().zip(after.steps()) {
            prop_assert!(new.survival >= old.survival);
            let upper = |step: &Step| step.band(Band::LogLog, 0.95).map(|b| b.1);
            if let (Some(old), Some(new)) = (upper(old), upper(new)) {
                prop_assert!(new >= old - 1e-12, "{old} {new}");
            }
        }
    }
}
