//! Which estimate, with which interval, and what is said beside it.

use proptest::prelude::*;

use super::ledger::{Fate, Route, one};
use super::*;
use crate::report::model::{ExpectationReport, Method};
use crate::stats::survival::Reach;

const S: u64 = 1_000_000_000;

fn expectation(route: Route) -> ExpectationReport {
    one(route).routes[0].expectations[0].clone()
}

fn polled(fates: &[Fate]) -> ExpectationReport {
    expectation(Route { kind: "poll", ..Route::new("r", fates) })
}

/// Thirty canaries, seen from second 2 to 5.
fn poll(width: f64) -> Vec<Fate> {
    (0..30)
        .map(|i| {
            let upper = 2.0 + f64::from(i) / 10.0;
            Fate::Polled(upper - width, upper)
        })
        .collect()
}

#[test]
fn coarse_polls_get_turnbulls_estimate_and_fine_ones_an_upper_bound() {
    let fine = polled(&poll(0.1));
    assert_eq!(fine.ttd.method, Method::KaplanMeierUpperEnds, "0.1 s is under 5 % of 3.4 s");
    assert!(fine.ttd.label.starts_with("upper bound"));
    let coarse = polled(&poll(1.5));
    assert_eq!(coarse.ttd.method, Method::Turnbull);
    let [p50, p90, p95] = coarse.ttd.quantiles.as_slice() else { panic!() };
    let (value, within) = (p50.value.unwrap(), p50.within.unwrap());
    assert_eq!(value.estimate, within.upper);
    let (lower, upper) = (within.lower.ns().unwrap(), within.upper.ns().unwrap());
    assert!(lower < upper && upper - lower <= 3 * S / 2, "{lower} {upper}");
    assert!(value.lower.ns().unwrap() <= lower && upper <= value.upper.ns().unwrap());
    assert!(p90.value.is_some() && p95.value.is_none(), "30 carry a p90 and no p95");
    let note = &coarse.notes[0];
    assert!(note.contains("interval-censored") && note.contains("approximate"), "{note}");
    assert!(note.contains("bootstrap of canaries"), "all were sent at once: {note}");
    // Both edges of the curve, and the mean of upper ends is not said.
    assert!(coarse.ttd.curve.iter().any(|p| p.lower < p.upper));
    assert!(coarse.ttd.mean.is_none() && fine.ttd.mean.is_some());
}

#[test]
fn an_interval_by_blocks_is_never_the_narrow_one() {
    // Thirty canaries a day apart: nobody's upper limit of p90 is the largest that was seen.
    let fates: Vec<Fate> = (0..30).map(|i| Fate::Seen(1.0 + f64::from(i) / 10.0)).collect();
    let e = expectation(Route { every: 86_400.0, ..Route::new("r", &fates) });
    let p90 = &e.ttd.quantiles[1];
    assert_eq!(
        (p90.value.unwrap().upper, p90.by_blocks.unwrap().upper),
        (Reach::NotReached, Reach::NotReached)
    );
    assert!(
        !p90.blocks_differ && e.notes.iter().all(|n| !n.contains("by 30 blocks")),
        "{:?}",
        e.notes
    );
    // Five to a block: both have no end, and that of single canaries begins too late.
    let fates: Vec<Fate> = (0..60).map(|i| Fate::Seen(0.01 * 2f64.powi(i / 5))).collect();
    let e = expectation(Route { every: 60.0, ..Route::new("r", &fates) });
    let p95 = &e.ttd.quantiles[2];
    let (value, by) = (p95.value.unwrap(), p95.by_blocks.unwrap());
    assert_eq!((value.upper, by.upper), (Reach::NotReached, Reach::NotReached));
    assert!(by.lower.ns() < value.lower.ns() && p95.blocks_differ, "{value:?} {by:?}");
}

#[test]
fn the_share_is_told_in_batches_where_canaries_share_them() {
    let fates: Vec<Fate> =
        (0..60).map(|i| if i / 6 == 4 { Fate::Silent } else { Fate::Seen(1.0) }).collect();
    let of = |rule_period_ns| Route { every: 1.0, rule_period_ns, ..Route::new("r", &fates) };
    // Six canaries to a run of the rule, and one run that failed.
    let e = expectation(of(Some(6 * S)));
    let batches = e.share_by_batches.clone().unwrap();
    assert_eq!((batches.batches, batches.batch_ns, batches.differs), (10, 6 * S, true));
    // Clopper and Pearson of 9 in 10, where 54 of 60 have 79.5 % to 96.2 %.
    let (lower, upper) = (batches.interval.lower, batches.interval.upper);
    assert!((lower - 0.5550).abs() < 1e-4 && (upper - 0.9975).abs() < 1e-4, "{lower} {upper}");
    let said = "in 10 batches of 6 s (the configured rule_period), which one run of the rule may catch or \
                miss together, the 95 % interval of the share in time is 55.5 % to 99.7 %";
    assert!(e.notes.iter().any(|note| note.contains(said)), "{:?}", e.notes);
    for format in [Format::Text, Format::Html] {
        let page = render(&one(of(Some(6 * S))), format, 4_000).replace('\u{a0}', " ");
        assert!(page.contains(said), "{format:?}");
    }
    assert!(expectation(of(Some(1))).share_by_batches.is_none(), "each stands alone");
}

#[test]
fn limits_hold_wherever_in_their_intervals_times_lie_unless_that_is_chance() {
    let of = |rule_period_ns, width| {
        let kind = "poll";
        expectation(Route { kind, rule_period_ns, ..Route::new("r", &poll(width)) })
    };
    let note = |e: &ExpectationReport| e.notes[0].clone();
    let p50 = |e: &ExpectationReport| {
        let value = e.ttd.quantiles[0].value.unwrap();
        (value.lower.ns().unwrap(), value.upper.ns().unwrap())
    };
    let free = of(Some(1), 1.5);
    assert!(note(&free).contains("by bootstrap of canaries"), "{}", note(&free));
    // A rule in step with the polls; and polls much further apart than times are long.
    let stepped = of(Some(S), 1.5);
    assert!(note(&stepped).contains("lower log-log limit on lower ends"), "{}", note(&stepped));
    assert!(stepped.ttd.blocks.not_computed.is_some());
    assert!(p50(&stepped).0 < p50(&free).0 && p50(&free).1 < p50(&stepped).1);
    // Upper ends from 2 s to 5 s, lower ends 1.5 s before: whichever it is, its median is held.
    assert!(p50(&stepped).0 < 1_950_000_000 && 3_450_000_000 < p50(&stepped).1);
    let wide = Route::new("r", &[Fate::Polled(0.0, 3.0); 30]);
    let fates: Vec<Fate> = (0..30).map(|i| Fate::Polled(0.0, f64::from(i % 9 + 1))).collect();
    let [short, wide] = [wide.fates, fates].map(|fates| polled(&fates));
    assert!(note(&short).contains("by bootstrap"), "{}", note(&short));
    assert!(note(&wide).contains("by bootstrap"), "nine is not twice five: {}", note(&wide));
    let fates: Vec<Fate> =
        (0..30).map(|i| Fate::Polled(0.0, if i < 20 { 1.0 } else { 9.0 })).collect();
    assert!(note(&polled(&fates)).contains("on lower ends to the upper one on upper ends"));
}

#[test]
fn what_another_watcher_found_late_enters_as_an_interval() {
    let seen = || (0..29).map(|i| Fate::Seen(2.0 + f64::from(i) / 10.0)).collect::<Vec<_>>();
    let of = |late: Fate| {
        let fates: Vec<Fate> = seen().into_iter().chain([late]).collect();
        expectation(Route::new("r", &fates))
    };
    let exact = of(Fate::Seen(9.0));
    assert_eq!((exact.ttd.method, &*exact.ttd.label), (Method::KaplanMeier, "time to detect"));
    // By a start after a crash: it came at any time in there.
    let late = of(Fate::Polled(0.5, 9.0));
    assert_eq!(late.ttd.method, Method::Turnbull);
    assert_eq!(late.ttd.label, "time to detect (1 of 30 found late, Turnbull)");
    let [before, after] = [&exact, &late].map(|e| e.ttd.quantiles[0].value.unwrap().estimate.ns());
    assert!(after.unwrap() <= before.unwrap(), "{after:?} {before:?}");
    // A stall that is nothing beside the median.
    let stalled = of(Fate::Polled(2.9, 3.0));
    assert_eq!(stalled.ttd.method, Method::KaplanMeier);
}

#[test]
fn more_canaries_than_can_be_resampled_still_get_turnbulls_estimate_in_an_outer_interval() {
    // Seen 2 s to 5 s after submission, looked for every 1.5 s, out of step.
    let fates: Vec<Fate> = (0..5_000)
        .map(|i| {
            let (time, phase) = (2.0 + f64::from(i % 300) / 100.0, f64::from(i * 37 % 150) / 100.0);
            let lower = ((time - phase) / 1.5).floor() * 1.5 + phase;
            Fate::Polled(lower, lower + 1.5)
        })
        .collect();
    let e = polled(&fates);
    assert_eq!((e.ttd.method, e.ttd.blocks.resamples), (Method::Turnbull, 0));
    assert!(e.notes[0].contains("on lower ends to the upper one on upper ends"), "{:?}", e.notes);
    for (quantile, truth) in e.ttd.quantiles.iter().zip([3.5, 4.7, 4.85]) {
        let value = quantile.value.unwrap();
        let [lower, estimate, upper] =
            [value.lower, value.estimate, value.upper].map(|r| r.ns().unwrap() as f64 / S as f64);
        assert!(lower < truth && truth < upper && upper - lower < 1.61, "{lower} {truth} {upper}");
        assert!((estimate - truth).abs() < 0.2, "{estimate}, not {truth}");
    }
}

#[test]
fn the_objectives_limit_stays_an_upper_bound_for_polled_times() {
    let fates: Vec<Fate> = (0..60).map(|_| Fate::Polled(1.0, 4.0)).collect();
    let e = polled(&fates);
    let said = "at least 95 % are detected within 4 s, by the upper ends of the polls";
    assert!(e.verdict.ends_with(said), "{}", e.verdict);
}

/// Runs of ten canaries, each caught together: sent every 30 s, so ten to a block of five minutes.
fn runs(number: u32, clustered: bool) -> ExpectationReport {
    let fates: Vec<Fate> = (0..number * 10)
        .map(|i| {
            let of = if clustered { i / 10 } else { i };
            Fate::Seen(1.0 + f64::from(of * 37 % 100) / 20.0)
        })
        .collect();
    expectation(Route { every: 30.0, ..Route::new("r", &fates) })
}

#[test]
fn canaries_caught_together_get_both_intervals() {
    let e = runs(12, true);
    assert_eq!((e.ttd.blocks.number, e.ttd.blocks.resamples), (12, 1_000));
    let p50 = &e.ttd.quantiles[0];
    let (value, by) = (p50.value.unwrap(), p50.by_blocks.unwrap());
    let width = |lower: Reach, upper: Reach| upper.ns().unwrap() - lower.ns().unwrap();
    let (naive, honest) = (width(value.lower, value.upper), width(by.lower, by.upper));
    assert!(p50.blocks_differ && 5 * honest > 6 * naive, "{naive} {honest}");
    let page = render(&one(runs_route(12)), Format::Text, 200);
    assert!(page.contains("not independent; by 12 blocks of 5 min"), "{page}");
    let few = runs(4, true);
    assert_eq!(few.ttd.blocks.not_computed.as_deref(), Some("fewer than 10 blocks"));
    let said = &one(runs_route(4)).notes[0];
    assert!(
        said.contains("1 of 1 expectations") && said.contains("fewer than 10 blocks"),
        "{said}"
    );
    assert!(one(runs_route(12)).notes.is_empty());
    assert!(few.ttd.quantiles.iter().all(|q| q.by_blocks.is_none()));
}

fn runs_route(number: u32) -> Route {
    let fates: Vec<Fate> =
        (0..number * 10).map(|i| Fate::Seen(1.0 + f64::from(i / 10 * 37 % 100) / 20.0)).collect();
    Route { every: 30.0, ..Route::new("r", &fates) }
}

#[test]
fn a_mean_stands_with_its_limit_and_its_error_or_not_at_all() {
    let mut fates = vec![Fate::Seen(2.0); 6];
    fates.extend([Fate::Silent; 2]);
    let e = expectation(Route::new("r", &fates));
    let mean = e.ttd.mean.unwrap();
    // Six at 2 s, two count as the deadline of 10 s.
    assert_eq!((mean.up_to_ns, mean.mean_ns), (10 * S, 4 * S));
    // Greenwood plug-in: the area behind 2 s is 2 s, so its square times 6 / (8 x 2) is 1.5.
    assert!((mean.standard_error_ns as f64 / 1e9 - 1.5f64.sqrt()).abs() < 1e-6);
    assert!(e.notes.iter().any(|n| n.starts_with("mean up to 10 s: 4 s, standard error ")));
    assert!(expectation(Route::new("r", &[Fate::Seen(2.0); 4])).ttd.mean.is_none());
}

#[test]
fn all_of_them_is_never_said_without_what_may_still_be_missed() {
    let e = expectation(Route::new("r", &[Fate::Seen(1.0); 20]));
    let words = "20 of 20 in time, so at most 14 % are not (95 % confidence, one-sided)";
    assert!(e.verdict.starts_with(words), "{}", e.verdict);
    let page = render(&one(Route::new("r", &[Fate::Seen(1.0); 20])), Format::Html, 80);
    assert!(page.replace('\u{a0}', " ").contains(words));
    let mut open = vec![Fate::Seen(1.0); 20];
    open.push(Fate::Unknown);
    assert!(!expectation(Route::new("r", &open)).verdict.contains("at most"));
}

#[test]
fn a_histogram_log_says_that_it_holds_the_detected_ones_only() {
    let route = Route::new("a,b c", &[Fate::Seen(1.0), Fate::Seen(2.0), Fate::Silent]);
    let log = render(&one(route), Format::Hlog, 80);
    assert!(log.starts_with("#[dwell report, as of ") && log.contains("detected only"));
    let line = log.lines().find(|l| l.starts_with("Tag=a_b_c/detected,0.000,")).unwrap();
    assert_eq!(line.split(',').count(), 5, "{line}");
    assert!(line.split(',').next_back().unwrap().starts_with("HISTFAAA"), "{line}");
    assert!(log.lines().any(|l| l.starts_with("Tag=lateness,")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn an_interval_holds_its_estimate_and_edges_never_cross(
        seen in proptest::collection::vec((0.0f64..8.0, 0.0f64..4.0), 5..40),
        silent in 0usize..5,
    ) {
        let mut fates: Vec<Fate> =
            seen.iter().map(|(from, more)| Fate::Polled(*from, from + more)).collect();
        fates.extend(std::iter::repeat_n(Fate::Silent, silent));
        let e = polled(&fates);
        for q in &e.ttd.quantiles {
            let Some(value) = q.value else { continue };
            let end = |reach: Reach| reach.ns().unwrap_or(u64::MAX);
            prop_assert!(end(value.lower) <= end(value.upper));
            if let Some(within) = q.within {
                prop_assert!(end(within.lower) <= end(within.upper));
                prop_assert_eq!(within.upper, value.estimate);
            }
        }
        for pair in e.ttd.curve.windows(2) {
            prop_assert!(pair[0].time_ns <= pair[1].time_ns);
            prop_assert!(pair[0].undetected >= pair[1].undetected);
        }
        prop_assert_eq!(e.clone().notes, polled(&fates).notes);
    }
}

#[test]
fn where_another_rule_alerts_first_both_ends_have_their_incidence() {
    // Without censoring before the deadline of 10 s the incidence is the share.
    let mut fates = vec![Fate::Seen(2.0); 12];
    fates.extend([Fate::Other(1.0, None); 5]);
    fates.extend([Fate::Other(1.0, Some(3.0)); 2]);
    fates.push(Fate::Other(4.0, Some(3.0)));
    let e = expectation(Route::new("r", &fates));
    let ends = e.competing.expect("another rule was first");
    let named = ends.named_rule.expect("named rules alerted");
    assert_eq!((ends.n, ends.by_ns, e.by_other_rule), (20, 10 * S, 8));
    assert!((named.share - 0.65).abs() < 1e-12, "{named:?}");
    assert!((ends.other_rule.share - 0.35).abs() < 1e-12, "{:?}", ends.other_rule);
    // sqrt(0.35 0.65 / 20), and Clopper-Pearson's limits on 7 of 20.
    assert!((ends.other_rule.standard_error - 0.106_653_645).abs() < 1e-8);
    let (lower, upper) = (ends.other_rule.lower.unwrap(), ends.other_rule.upper.unwrap());
    assert!(
        (lower - 0.153_909_2).abs() < 1e-6 && (upper - 0.592_188_5).abs() < 1e-6,
        "{lower} {upper}"
    );
    assert!(!ends.censored);
    let said = e.notes.iter().find(|note| note.contains("first alert")).expect("a note");
    assert!(said.contains("by another rule 35 %") && said.contains("n 20"), "{said}");
    // All of them: no interval from nothing to everything.
    let all = expectation(Route::new("r", &[Fate::Other(1.0, None); 60]));
    let ends = all.competing.expect("another rule was first");
    let (other, named) =
        (ends.other_rule, ends.named_rule.expect("a share of none has limits too"));
    assert_eq!((other.share, named.share), (1.0, 0.0));
    assert!((other.lower.unwrap() - 0.940_370_5).abs() < 1e-6, "{other:?}");
    assert!((named.upper.unwrap() - 0.059_629_5).abs() < 1e-6, "{named:?}");
    // Nothing is said where no other rule came first.
    fates.retain(|fate| !matches!(fate, Fate::Other(1.0, _)));
    assert!(expectation(Route::new("r", &fates)).competing.is_none());
}

#[test]
fn a_burst_counts_from_its_completing_event_what_enters_the_estimate_and_no_more() {
    let mut fates = vec![Fate::Seen(3.0); 20];
    fates.extend([Fate::Seen(0.5); 2]);
    // Of unproven delivery: in no estimate, and so in none of its counts.
    fates.extend([Fate::UnprovenSeen(0.5); 3]);
    let e = expectation(Route { burst: true, ..Route::new("r", &fates) });
    let completing = e.completing.as_ref().expect("a burst");
    assert_eq!((completing.n, completing.events), (22, 22));
    assert_eq!((completing.before, completing.left_out), (2, 0));
    assert_eq!(completing.p50.value.unwrap().estimate.ns(), Some(2 * S));
    let note = e.notes.iter().find(|note| note.contains("completing event")).expect("a note");
    assert!(note.contains("n 22") && note.contains("2 were detected before"), "{note}");
}
