//! Aalen-Johansen against R and lifelines, and its laws.

use proptest::prelude::*;

use super::*;
use crate::stats::golden::close;
use crate::stats::survival::{Curve, Observation};

const TINY: [(u64, u32); 10] =
    [(10, 1), (20, 2), (25, 1), (30, 0), (40, 1), (50, 2), (60, 1), (70, 0), (80, 2), (90, 1)];

fn endings(rows: &[(u64, u32)]) -> Vec<Ending> {
    rows.iter().map(|(time_ns, cause)| Ending { time_ns: *time_ns, cause: *cause }).collect()
}

#[test]
fn tiny_equals_r_and_lifelines_without_jitter() {
    let fit = Incidence::fit(&endings(&TINY));
    for (t, one, two) in [
        (90, 0.6083333333, 0.3916666667),
        (40, 0.3166666667, 0.1),
        (60, 0.4333333333, 0.2166666667),
    ] {
        close(fit.at(1, t), one, 1e-9);
        close(fit.at(2, t), two, 1e-9);
    }
    assert_eq!((fit.at(1, 9), fit.at(3, 90), fit.subjects()), (0.0, 0.0, 10));
}

#[test]
fn mgus2_equals_r_with_its_standard_errors() {
    let path = format!("{}/tests/data/survival/mgus2.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows: Vec<(u64, u32)> = reader
        .deserialize::<(u64, u32, u64, u32)>()
        .map(Result::unwrap)
        .map(|(ptime, pstat, futime, death)| match pstat {
            0 => (futime, 2 * death),
            _ => (ptime, 1),
        })
        .collect();
    let fit = Incidence::fit(&endings(&rows));
    assert_eq!(fit.subjects(), 1384);
    for (month, pcm, death) in [
        (12, 0.00940126, 0.122185),
        (60, 0.03410371, 0.320367),
        (120, 0.06372217, 0.531818),
        (240, 0.09981372, 0.724028),
    ] {
        assert!((fit.at(1, month) - pcm).abs() < 5e-9 && (fit.at(2, month) - death).abs() < 5e-7);
    }
    for (month, cause, incidence, standard_error) in [
        (12, 1, 0.00940125934465, 0.002595155763019),
        (60, 1, 0.03410371297435, 0.004889257907668),
        (120, 1, 0.06372216801311, 0.006796848423961),
        (240, 1, 0.09981371593547, 0.009784846793390),
        (12, 2, 0.1221854028133, 0.008806084370858),
        (60, 2, 0.3203670102679, 0.012567371547559),
        (120, 2, 0.5318177040802, 0.014059645162031),
        (240, 2, 0.7240279761425, 0.015606345067762),
    ] {
        let steps = fit.steps(cause);
        let step = steps[steps.partition_point(|s| s.time_ns <= month) - 1];
        close(step.incidence, incidence, 1e-9);
        close(step.standard_error, standard_error, 1e-9);
    }
}

#[test]
fn nobody_and_only_censored_are_no_incidence() {
    for rows in [&[][..], &[(5, 0), (7, 0)]] {
        let fit = Incidence::fit(&endings(rows));
        assert_eq!((fit.causes().count(), fit.at(1, 9)), (0, 0.0));
    }
}

proptest! {
    #[test]
    fn all_causes_together_are_one_minus_kaplan_meier(
        rows in proptest::collection::vec((0u64..40, 0u32..4), 0..80)
    ) {
        let fit = Incidence::fit(&endings(&rows));
        let any: Vec<Observation> = rows
            .iter()
            .map(|(time_ns, cause)| Observation { time_ns: *time_ns, event: *cause > 0 })
            .collect();
        let curve = Curve::fit(&any);
        for t in 0..40 {
            let sum: f64 = fit.causes().map(|cause| fit.at(cause, t)).sum();
            let survival = curve.at(t).map_or(1.0, |s| s.survival);
            prop_assert!((sum - (1.0 - survival)).abs() < 1e-12);
        }
    }

    #[test]
    fn one_cause_alone_has_greenwoods_error(
        rows in proptest::collection::vec((0u64..40, 0u32..2), 1..80)
    ) {
        let fit = Incidence::fit(&endings(&rows));
        let any: Vec<Observation> = rows
            .iter()
            .map(|(time_ns, cause)| Observation { time_ns: *time_ns, event: *cause > 0 })
            .collect();
        for (step, own) in Curve::fit(&any).steps().iter().zip(fit.steps(1)) {
            if step.survival > 0.0 {
                prop_assert!((step.standard_error() - own.standard_error).abs() < 1e-7);
            }
        }
    }
}
