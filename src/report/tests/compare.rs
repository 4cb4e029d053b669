//! Comparisons and trends of polled canaries: numbers by hand, and the schemas.

use super::formats::same_fields;
use super::ledger::{Fate, Route, one, side};
use super::*;
use crate::report::compare::{
    Comparison, Drawn, Every, Margins, Pair, Range, Sought, Trend, compare, schema, trend,
    trend_schema,
};
use crate::report::model::Method;
use crate::stats::survival::Reach;

const S: f64 = 1e9;
const MARGINS: Margins =
    Margins { ratio: 1.25, share: 0.5, confidence: 0.95, block_ns: 300_000_000_000 };
const SOUGHT: Sought = Sought { block_ns: 300_000_000_000, margin_ratio: 1.25 };

/// A canary in each block of 400 s; intervals that do not touch, so that the masses are shares.
fn polled(intervals: &[(usize, f64, f64)]) -> Route {
    let fates: Vec<Fate> = intervals
        .iter()
        .flat_map(|(n, from, to)| std::iter::repeat_n(Fate::Polled(*from, *to), *n))
        .collect();
    Route { kind: "poll", every: 400.0, ..Route::new("r", &fates) }
}

fn seen(number: u32, scale: f64) -> Route {
    let fates: Vec<Fate> =
        (0..number).map(|i| Fate::Seen(scale * (1.0 + f64::from(i % 10) / 10.0))).collect();
    Route { every: 400.0, ..Route::new("r", &fates) }
}

fn both(a: Route, b: Route) -> Comparison {
    compare(&side(&[a]), &side(&[b]), &MARGINS)
}

fn pair(a: Route, b: Route) -> Pair {
    both(a, b).routes[0].clone()
}

fn near(found: Option<f64>, wanted: f64) {
    let found = found.expect("a number");
    assert!((found - wanted).abs() < 1e-9 * wanted.abs().max(1.0), "{found}, not {wanted}");
}

fn range(found: Option<Range>, lower: f64, upper: f64) {
    let found = found.expect("a range");
    near(found.lower, lower);
    near(found.upper, upper);
}

#[test]
fn turnbulls_numbers_and_their_ratios_are_those_by_hand() {
    let a = polled(&[(8, 0.0, 2.0), (12, 4.0, 6.0)]);
    let b = polled(&[(8, 0.0, 4.0), (12, 8.0, 12.0)]);
    let pair = pair(a, b);
    assert_eq!((pair.a.times.method, pair.b.times.method), (Method::Turnbull, Method::Turnbull));
    let median = pair.a.times.median.unwrap();
    let within = pair.a.times.median_within.unwrap();
    assert_eq!(median.estimate, Reach::At(6_000_000_000));
    assert_eq!((within.lower, within.upper), (Reach::At(4_000_000_000), median.estimate));
    // (8 · 0 + 12 · 4) / 20 and (8 · 2 + 12 · 6) / 20.
    range(pair.a.times.mean_within_ns, 2.4 * S, 4.4 * S);
    near(pair.a.times.mean_ns, 4.4 * S);
    assert_eq!(pair.a.times.mean_se_ns, None, "Greenwood's formula is not for it");
    let ratio = pair.median_ratio.unwrap();
    near(ratio.estimate, 2.0);
    range(ratio.within, 8.0 / 6.0, 12.0 / 4.0);
    let mean = pair.mean_ratio.unwrap();
    near(mean.estimate, 2.0);
    range(mean.within, 4.8 / 4.4, 8.8 / 2.4);
    let difference = pair.mean_difference_ns.unwrap();
    near(difference.estimate, 4.4 * S);
    range(difference.within, 0.4 * S, 6.4 * S);
    for effect in [ratio, mean, difference] {
        let within = effect.within.unwrap();
        assert!(effect.lower <= within.lower, "{effect:?}");
        assert!(effect.upper.is_none_or(|u| Some(u) >= within.upper), "{effect:?}");
    }
    assert_eq!(pair.drawn, Some((Drawn::Turnbull, Drawn::Turnbull)));
    let curve = &pair.b.curve;
    assert!(curve.iter().all(|p| p.lower.is_some() && p.upper.is_some()), "{curve:?}");
    assert!(curve.iter().any(|p| p.lower < p.upper), "both edges: {curve:?}");
    assert!(pair.words.contains("of A and B by Turnbull's estimate"), "{}", pair.words);
}

#[test]
fn a_side_says_what_its_report_says() {
    let dense: Vec<Fate> = (0..40).map(|i| Fate::Polled(f64::from(i % 7), 9.5)).collect();
    for route in [
        polled(&[(8, 0.0, 2.0), (12, 4.0, 6.0)]),
        polled(&[(3, 0.0, 2.0), (1, 4.0, 6.0)]),
        polled(&[(9, 3.9, 4.0), (9, 5.9, 6.0)]),
        Route { kind: "poll", ..Route::new("r", &dense) },
        seen(30, 2.0),
        seen(4, 2.0),
    ] {
        let report = one(route.clone()).routes[0].expectations[0].ttd.clone();
        let side = pair(route, seen(30, 2.0)).a;
        let p50 = &report.quantiles[0];
        assert_eq!(side.times.median, p50.value, "{side:?}");
        assert_eq!(side.times.median_within, p50.within);
        assert_eq!((side.times.n, side.times.events), (report.n, report.events));
        assert_eq!((side.times.method, &side.times.label), (report.method, &report.label));
        let steps = |curve: &[crate::report::model::CurvePoint]| format!("{curve:?}");
        assert_eq!(steps(&side.curve), steps(&report.curve));
    }
}

#[test]
fn finely_polled_times_enter_with_both_ends_beside_coarse_ones_and_nobody_is_resampled_without_end()
{
    let fine = polled(&[(20, 5.9, 6.0), (20, 7.9, 8.0)]);
    let coarse = polled(&[(20, 0.0, 3.0), (20, 3.0, 6.0)]);
    let found = pair(coarse, fine.clone());
    assert_eq!(found.drawn, Some((Drawn::Turnbull, Drawn::BothEnds)));
    assert_eq!(found.b.times.method, Method::KaplanMeierUpperEnds);
    assert!(found.b.times.mean_se_ns.is_some() && found.b.times.mean_within_ns.is_none());
    let alike = pair(fine.clone(), fine);
    assert_eq!(alike.drawn, Some((Drawn::UpperEnds, Drawn::UpperEnds)));
    assert!(alike.median_ratio.unwrap().within.is_none(), "upper ends leave nothing open");
    assert_eq!(pair(seen(20, 1.0), seen(20, 1.0)).drawn, Some((Drawn::Times, Drawn::Times)));
    // More than can be resampled with Turnbull's estimate of each.
    let many: Vec<Fate> = (0..5_000)
        .map(|i| {
            let lower = f64::from(i * 37 % 100) / 25.0;
            Fate::Polled(lower, lower + 1.5)
        })
        .collect();
    let many = Route { kind: "poll", every: 1.0, ..Route::new("r", &many) };
    let found = pair(many.clone(), many);
    assert_eq!(found.drawn, Some((Drawn::BothEnds, Drawn::BothEnds)));
    let ratio = found.median_ratio.unwrap();
    near(ratio.estimate, 1.0);
    assert!(ratio.lower.unwrap() < 1.0 && ratio.upper.unwrap() > 1.0, "{ratio:?}");
    assert!(found.resamples >= 200 && found.a.times.limits.contains("lower ends"), "{found:?}");
}

#[test]
fn few_blocks_say_what_is_needed() {
    let found = pair(seen(8, 1.0), seen(30, 1.0));
    assert!(found.median_ratio.is_none() && found.drawn.is_none());
    let why = found.not_resampled.unwrap();
    assert!(why.contains("10 on each side are needed"), "{why}");
    assert!(found.words.contains(&why), "{}", found.words);
}

#[test]
fn the_same_polls_of_a_fast_and_of_a_slow_rule_are_no_different_polls() {
    // What is seen by the first poll after submission lies in a shorter interval than the polls are apart.
    let polls = |from: f64, shortest: f64| -> Vec<Fate> {
        (1..=40)
            .map(|i| Fate::Polled(from, from + f64::max(f64::from(i) / 20.0, shortest)))
            .collect()
    };
    let route = |fates: &[Fate]| Route { kind: "poll", every: 400.0, ..Route::new("r", fates) };
    let found = pair(route(&polls(0.0, 0.0)), route(&polls(6.0, 2.0)));
    assert_eq!(found.polled_apart_ns, None);
    assert!(found.state.starts_with("slower"), "{}: {}", found.state, found.words);
    let found = pair(route(&polls(0.0, 0.0)), route(&polls(0.0, 6.0)));
    assert_eq!(found.polled_apart_ns, Some((1_800_000_000, 6_000_000_000)));
}

#[test]
fn beside_other_routes_a_lower_end_must_lie_lower() {
    let routes = |scale: f64| {
        let named = |name: &str| Route { name: name.to_owned(), ..seen(40, scale) };
        side(&[named("one"), named("two"), named("three")])
    };
    let found = compare(&routes(1.0), &routes(2.0), &MARGINS);
    assert_eq!(found.routes.len(), 3);
    for pair in &found.routes {
        let effect = pair.mean_ratio.unwrap();
        assert!(effect.lower_beside < effect.lower, "{effect:?}");
        assert_eq!(pair.state, "slower", "{}", pair.words);
    }
}

fn trended(route: Route) -> Trend {
    trend(&side(&[route]), Every::Day, SOUGHT)
}

#[test]
fn a_trends_lines_have_the_estimate_of_the_whole() {
    // 240 canaries over four days, coarsely polled.
    let found = trended(polled(&[(120, 0.0, 2.0), (120, 4.0, 6.0)]));
    let route = &found.routes[0];
    assert_eq!((route.method, route.upper_ends), (Method::Turnbull, true));
    assert!(route.points.len() >= 2);
    for point in &route.points {
        let times = &point.times;
        assert_eq!((times.method, times.mean_se_ns), (Method::Turnbull, None));
        let (within, limits) = (times.mean_within_ns.unwrap(), times.mean_interval_ns.unwrap());
        assert!(limits.lower <= within.lower && within.upper <= limits.upper, "{times:?}");
    }
    let (before, after) = route.sides.as_ref().unwrap();
    // Alike within each half: 0 to 2 s before, 4 to 6 s after.
    range(before.times.mean_within_ns, 0.0, 2.0 * S);
    range(after.times.mean_within_ns, 4.0 * S, 6.0 * S);
    assert_eq!(route.state, "slower", "{}", route.words);
    assert!(route.words.contains("on the upper ends of polled times"), "{}", route.words);
    assert_eq!(route.polled_apart_ns, None);
}

#[test]
fn polling_that_changed_is_no_change_of_the_siem() {
    // First looked for every second, then every ten: the times may be the same.
    let found = trended(polled(&[(60, 2.0, 3.0), (60, 3.0, 4.0), (120, 0.0, 10.0)]));
    let route = &found.routes[0];
    assert!(route.p_holm.unwrap() <= 0.05, "the search sees it: {}", route.words);
    assert_eq!(route.polled_apart_ns, Some((1_000_000_000, 10_000_000_000)));
    assert_eq!(route.state, "cannot tell", "{}", route.words);
    assert!(route.words.contains("may see instead of the SIEM"), "{}", route.words);
    // The same polls, but beyond what they leave open.
    let found = trended(polled(&[(60, 2.0, 3.0), (60, 3.0, 4.0), (120, 20.0, 30.0)]));
    assert_eq!(found.routes[0].state, "slower", "{}", found.routes[0].words);
}

#[test]
fn the_schemas_of_comparison_and_trend_are_current_and_name_every_field() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/schema");
    for (name, now) in [("compare.json", schema()), ("trend.json", trend_schema())] {
        let (file, now) = (folder.join(name), format!("{now:#}\n"));
        if std::env::var_os("DWELL_BLESS").is_some() {
            std::fs::write(&file, &now).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(kept == now, "{name} is stale: DWELL_BLESS=1 cargo test --lib report::tests");
    }
    let coarse = || polled(&[(120, 0.0, 2.0), (120, 4.0, 6.0)]);
    let read = |page: &str| serde_json::from_str::<serde_json::Value>(page).unwrap();
    for other in [coarse(), seen(30, 2.0), seen(4, 2.0)] {
        let page = crate::report::compare::render(&both(coarse(), other), Format::Json, 80);
        let value = read(&page);
        assert_eq!(value["format"], "dwell-compare/1");
        same_fields(&schema(), &schema(), &value);
    }
    for route in [coarse(), seen(240, 2.0), seen(4, 2.0)] {
        let page = crate::report::compare::render_trend(&trended(route), Format::Json, 80);
        same_fields(&trend_schema(), &trend_schema(), &read(&page));
    }
}
