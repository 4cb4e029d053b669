//! The log-rank family against R, scipy, lifelines and solow-duration.

use proptest::prelude::*;

use super::*;
use crate::stats::golden::{close, table, tables};

fn compare(groups: &[Vec<Observation>], weight: Weight, chi2: f64, p: f64, digits: f64) {
    let test = logrank(&[groups.to_vec()], weight).unwrap();
    close(test.chi2, chi2, digits);
    close(test.p, p, 1e-9);
}

const FH1: Weight = Weight::FlemingHarrington { rho: 1.0 };

#[test]
fn aml_equals_r_scipy_and_solow() {
    let groups = tables("aml", "time", ("status", "1"), "x", &["Maintained", "Nonmaintained"]);
    compare(&groups, Weight::LogRank, 3.3963886989776, 0.0653393220405, 1e-12);
    compare(&groups, FH1, 2.77927954475177, 0.0954911154064931, 1e-12);
    compare(&groups, Weight::Gehan, 2.7233115468409594, 0.0988926513652, 1e-12);
    compare(&groups, Weight::TaroneWare, 2.9816036220070874, 0.0842157942838, 1e-12);
    let test = logrank(&[groups], Weight::LogRank).unwrap();
    close(test.expected[0], 10.6893359923, 1e-10);
    close(test.expected[1], 7.3106640077, 1e-10);
    close(test.variance, 4.00755074594, 1e-10);
    assert_eq!((test.observed, test.df), (vec![7.0, 11.0], 1));
    // scipy's `logrank` returns the signed root instead.
    close(-test.chi2.sqrt(), -1.8429293798129, 1e-12);
}

#[test]
fn lung_by_sex_equals_r_and_the_weight_of_rho_is_not_lifelines_peto() {
    let groups = tables("lung", "time", ("status", "2"), "sex", &["1", "2"]);
    compare(&groups, Weight::LogRank, 10.3267419548856, 0.00131116452035549, 1e-12);
    compare(&groups, FH1, 12.7141514011575, 0.000362898927598911, 1e-12);
    compare(&groups, Weight::Gehan, 12.472135331262583, 0.00041306763201939, 1e-12);
    compare(&groups, Weight::TaroneWare, 12.455543902215123, 0.00041675300136, 1e-12);
    let test = logrank(&[groups], Weight::LogRank).unwrap();
    close(test.expected[0], 91.5817390296, 1e-11);
    close(test.expected[1], 73.4182609704, 1e-11);
    close(test.variance, 40.371433979643, 1e-12);
}

#[test]
fn waltons_has_a_p_value_far_below_what_r_prints() {
    let groups = tables("waltons", "T", ("E", "1"), "group", &["miR-137", "control"]);
    compare(&groups, Weight::LogRank, 122.249125573006, 2.0359832222854986e-28, 1e-12);
    close(logrank(&[groups], FH1).unwrap().chi2, 139.843934199433, 1e-12);
}

#[test]
fn veteran_with_two_groups_four_groups_and_strata_equals_r() {
    let arms = tables("veteran", "time", ("status", "1"), "trt", &["1", "2"]);
    compare(&arms, Weight::LogRank, 0.00822734320235077, 0.927727233340074, 1e-11);
    const CELLS: [&str; 4] = ["squamous", "smallcell", "adeno", "large"];
    let cells = tables("veteran", "time", ("status", "1"), "celltype", &CELLS);
    let test = logrank(std::slice::from_ref(&cells), Weight::LogRank).unwrap();
    assert_eq!(test.df, 3);
    close(test.chi2, 25.40370034579, 1e-12);
    close(logrank(&[cells], FH1).unwrap().chi2, 19.70962245806, 1e-12);
    let strata: Vec<Vec<Vec<Observation>>> = CELLS
        .iter()
        .map(|cell| {
            let arm = |trt| {
                table("veteran", "time", ("status", "1"), &[("celltype", cell), ("trt", trt)])
            };
            vec![arm("1"), arm("2")]
        })
        .collect();
    let test = logrank(&strata, Weight::LogRank).unwrap();
    close(test.chi2, 0.7017433468443, 1e-11);
    close(test.variance, 25.2278872793025, 1e-12);
}

#[test]
fn nothing_to_compare_is_no_number() {
    let one = vec![Observation { time_ns: 5, event: true }];
    let censored = vec![Observation { time_ns: 5, event: false }; 3];
    for groups in [
        vec![],
        vec![one.clone()],
        vec![one.clone(), vec![]],
        vec![censored.clone(), censored],
        vec![one.clone(), one.clone()],
        // R prints 0 with p = 1: nobody of the first group is left when the event comes.
        vec![vec![Observation { time_ns: 1, event: false }], one],
    ] {
        assert_eq!(logrank(&[groups], Weight::LogRank), None);
    }
    assert_eq!(logrank(&[], Weight::LogRank), None);
}

fn rows() -> impl Strategy<Value = Vec<(u64, bool)>> {
    proptest::collection::vec((0u64..50, any::<bool>()), 2..60)
}

fn make(rows: &[(u64, bool)]) -> Vec<Observation> {
    rows.iter().map(|(time_ns, event)| Observation { time_ns: *time_ns, event: *event }).collect()
}

proptest! {
    #[test]
    fn identical_halves_do_not_differ(rows in rows()) {
        for weight in [Weight::LogRank, Weight::Gehan, Weight::TaroneWare, FH1] {
            if let Some(test) = logrank(&[vec![make(&rows), make(&rows)]], weight) {
                prop_assert!(test.chi2.abs() < 1e-20 && (test.p - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn order_of_rows_and_groups_does_not_matter(mut a in rows(), b in rows(), c in rows()) {
        let first = logrank(&[vec![make(&a), make(&b), make(&c)]], FH1);
        a.reverse();
        let other = logrank(&[vec![make(&c), make(&a), make(&b)]], FH1);
        match (first, other) {
            (Some(x), Some(y)) => prop_assert!((x.chi2 - y.chi2).abs() < 1e-9 * x.chi2.max(1.0)),
            (x, y) => prop_assert_eq!(x.is_some(), y.is_some()),
        }
    }
}
