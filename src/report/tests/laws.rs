//! What must hold in every model: conservation, the range of the share, the objective, the quantiles.

use proptest::prelude::*;

use super::ledger::{Fate, Route, every_outcome, one};
use super::*;
use crate::exit::Exit;
use crate::report::model::ExpectationReport;

fn expectation(model: &ReportModel) -> &ExpectationReport {
    &model.routes[0].expectations[0]
}

fn fates(parts: &[(usize, Fate)]) -> Vec<Fate> {
    parts.iter().flat_map(|(n, fate)| std::iter::repeat_n(*fate, *n)).collect()
}

fn objective(parts: &[(usize, Fate)], share: f64, confidence: Option<f64>, min_n: u32) -> String {
    let route = Route { share, confidence, min_n, ..Route::new("r", &fates(parts)) };
    expectation(&one(route)).objective.clone()
}

fn conserved(model: &ReportModel) {
    let mut rows = 0;
    for route in &model.routes {
        let withdrawn: u64 = route.withdrawn.values().sum();
        let sum = withdrawn + route.not_yet_due + route.injected;
        assert_eq!(route.planned, sum, "{}", route.name);
        for e in &route.expectations {
            assert_eq!(e.outcomes.values().sum::<u64>(), route.injected, "{}", route.name);
            rows += route.injected;
            let (failed, left_out) = (e.share.counted_as_failed, e.share.left_out);
            assert!(
                left_out.n <= failed.n && left_out.x <= failed.x && failed.n == e.share.eligible
            );
            assert!(left_out.n - left_out.x <= failed.n - failed.x);
            assert!(e.ttd.events <= e.ttd.n && e.ttd.n <= route.injected - route.delivery_unproven);
        }
    }
    assert_eq!(model.canaries.len() as u64, rows, "one row per canary and expectation");
    let total = &model.total;
    assert_eq!(total.planned, total.withdrawn + total.not_yet_due + total.injected);
    assert_eq!(total.outcomes.values().sum::<u64>(), rows);
}

#[test]
fn every_outcome_is_counted_once() {
    let model = ledger::model(&every_outcome(), "quickstart");
    conserved(&model);
    let counts = |route: usize| {
        model.routes[route].expectations[0]
            .outcomes
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(counts(0), "detected 8, indeterminate 1, late 1, missed 2, undelivered 1");
    assert_eq!(model.routes[0].withdrawn.get("kill switch"), Some(&1));
    assert_eq!(counts(1), "detected 2, indeterminate 1, late 1");
    assert_eq!(counts(2), "detected 1, indeterminate 1");
    assert_eq!(model.routes[1].expectations[0].ttd.label, "time to detect (polled, Turnbull)");
    assert_eq!(model.misses.len(), 5 + 2 + 1);
    assert_eq!(model.exit(), Exit::Environment, "an undelivered canary is the environment's fault");
}

#[test]
fn the_total_is_counts_in_every_format() {
    let model = ledger::model(&every_outcome(), "quickstart");
    let words = "In all 20 planned, 1 withdrawn, 0 not yet due, 19 injected; 19 verdicts on 3 \
                 expectations: 11 detected, 2 late, 2 missed, 1 undelivered, 3 indeterminate, 0 pending.";
    assert_eq!(model.total.words, words);
    for format in [Format::Text, Format::Html, Format::Json] {
        assert!(render(&model, format, 300).contains(words), "{format:?}");
    }
}

#[test]
fn a_cut_inside_a_campaign_says_what_was_not_due_yet() {
    let route = Route { every: 2.0, ..Route::new("r", &[Fate::Seen(1.0); 10]) };
    let mut fold = crate::dispatch::outcome::Fold::new(Some(ledger::at(7.5).wall_ns));
    ledger::rows(&[route], "c").iter().for_each(|row| fold.apply(row));
    let model = ReportModel::with_rows(&fold.assess(None).unwrap(), &Beside::default());
    conserved(&model);
    assert_eq!((model.routes[0].not_yet_due, model.routes[0].injected), (6, 4));
    for format in [Format::Text, Format::Html] {
        let page = render(&model, format, 80);
        assert!(page.contains("10 planned, 0 withdrawn, 6 not yet due, 4 injected"), "{page}");
    }
}

#[test]
fn what_an_unproven_watcher_did_not_see_is_no_number() {
    let mut rows = ledger::rows(&[Route::new("r", &[Fate::Silent; 5])], "c");
    rows.retain(|row| !matches!(row, crate::ledger::Row::Proven(_)));
    let model = ledger::model_of(&rows);
    let e = expectation(&model);
    assert_eq!((e.ttd.n, e.ttd.quantiles[0].value), (0, None), "nobody followed any");
    let extremes = e.ttd.extremes.unwrap();
    assert_eq!((extremes.n, extremes.early_ns, extremes.never_ns), (5, Some(0), None));
    assert_eq!(
        e.verdict,
        "0 of 5 in time, 5 undecided; cannot say within what time 95 % are detected; 5 of 5 are \
         indeterminate, because watcher watch r never proved that it can see"
    );
    let said = "detected when blindness began: 0 ns; if none ever was: not reached";
    for format in [Format::Text, Format::Html] {
        let page = render(&model, format, 300).replace('\u{a0}', " ");
        assert!(page.contains(said), "{page}");
        assert!(!page.contains("more canaries needed"), "{page}");
    }
}

#[test]
fn what_blindness_hides_is_shown_at_both_ends() {
    // Six seen before the blind span of seconds 3 to 5, two silent in it.
    let parts = [(6, Fate::Seen(2.0)), (2, Fate::Silent)];
    let route = Route { blind: Some("503".into()), ..Route::new("r", &fates(&parts)) };
    let model = one(route);
    let e = expectation(&model);
    assert!(e.verdict.contains("2 of 8 are indeterminate, because watcher watch r was blind, its"));
    assert!(e.verdict.contains("more canaries needed, all of them detected"), "{}", e.verdict);
    assert!(render(&model, Format::Text, 300).contains("2 of 8 were out of sight: median if"));
}

#[test]
fn no_confidence_is_claimed_over_canaries_that_nobody_could_see() {
    // Sixty seen at once before the blind span, forty submitted in it.
    let parts = [(60, Fate::Seen(0.4)), (40, Fate::Silent)];
    let route = |blind: Option<&str>, parts: &[(usize, Fate)]| Route {
        blind: blind.map(str::to_owned),
        every: 0.05,
        share: 0.9,
        ..Route::new("r", &fates(parts))
    };
    let seen = one(route(None, &parts[..1]));
    assert!(expectation(&seen).verdict.contains("with 95 % confidence at least 90 % are detected"));
    let model = one(route(Some("503"), &parts));
    let e = expectation(&model);
    assert_eq!((e.ttd.n, e.ttd.events), (60, 60), "those forty enter no estimate");
    assert!(!e.verdict.contains("with 95 % confidence at least"), "{}", e.verdict);
    assert!(e.verdict.contains("40 of 100 are indeterminate"), "{}", e.verdict);
}

#[test]
fn canaries_of_unproven_delivery_are_counted_and_no_more_of_them_are_asked_for() {
    let model = one(Route::new("r", &[Fate::UnprovenSeen(1.0); 20]));
    let e = expectation(&model);
    assert_eq!((e.ttd.n, e.outcomes["detected"]), (0, 20));
    assert!(!e.verdict.contains("needed"), "{}", e.verdict);
    assert!(e.verdict.contains("no delivery is proven, so no time enters"), "{}", e.verdict);
    for format in [Format::Text, Format::Html] {
        let page = render(&model, format, 300);
        assert!(page.contains("20 of unproven delivery, left out of every time"), "{page}");
    }
}

#[test]
fn what_our_own_fault_kept_back_is_named() {
    let model = one(Route::new("r", &[Fate::RejectedByUs; 5]));
    let words = "none to be judged, 5 rejected at hand-over by a fault of ours";
    assert!(expectation(&model).verdict.starts_with(words));
    for format in [Format::Text, Format::Html] {
        let page = render(&model, format, 300);
        assert!(page.contains(words) && !page.contains("old enough"), "{page}");
    }
}

#[test]
fn the_share_is_a_range_from_left_out_to_counted_as_failed() {
    let parts = [
        (5, Fate::Seen(1.0)),
        (2, Fate::UnprovenSeen(1.0)),
        (1, Fate::Silent),
        (1, Fate::Rejected),
        (3, Fate::Unknown),
    ];
    let model = one(Route::new("r", &fates(&parts)));
    let share = expectation(&model).share;
    // Unproven ones are left out whether or not somebody saw them; rejected ones count against it.
    assert_eq!((share.left_out.x, share.left_out.n), (5, 7));
    assert_eq!((share.counted_as_failed.x, share.counted_as_failed.n), (7, 12));
    assert_eq!(model.routes[0].delivery_unproven, 5);
    assert_eq!(expectation(&model).ttd.n, 6, "proven by receipts alone");
    assert!(expectation(&model).verdict.contains("7 of 12 in time, 2 not, 3 undecided"));
}

#[test]
fn an_objective_is_met_only_if_the_worse_end_meets_it() {
    let seen = (8, Fate::Seen(1.0));
    let open = (2, Fate::Unknown);
    let silent = (2, Fate::Silent);
    assert_eq!(objective(&[seen], 1.0, None, 1), "met");
    assert_eq!(objective(&[seen, open], 0.8, None, 1), "met", "8 of 10 at worst");
    assert_eq!(objective(&[seen, open], 0.9, None, 1), "undecided", "8 of 10, or 8 of 8");
    assert_eq!(objective(&[seen, silent], 0.9, None, 1), "missed");
    assert_eq!(objective(&[seen, silent, open], 0.81, None, 1), "missed", "8 of 10 at best");
    assert_eq!(objective(&[(8, Fate::Seen(11.0))], 0.1, None, 1), "missed", "late is not in time");
    assert_eq!(objective(&[open], 0.5, None, 1), "undecided");
}

#[test]
fn undelivered_counts_as_not_met() {
    let parts = [(9, Fate::Seen(1.0)), (1, Fate::Rejected)];
    assert_eq!(objective(&parts, 0.95, None, 1), "missed");
    assert_eq!(objective(&parts, 0.9, None, 1), "met");
    // Unless the cause is ours: then it stands in no denominator.
    let parts = [(9, Fate::Seen(1.0)), (1, Fate::RejectedByUs)];
    assert_eq!(objective(&parts, 0.95, None, 1), "met");
    let model = one(Route::new("r", &fates(&parts)));
    let e = expectation(&model);
    assert_eq!((e.share.eligible, e.share.counted_as_failed.n), (9, 9));
}

#[test]
fn a_claim_needs_its_limit_and_its_canaries() {
    let seen = |n| [(n, Fate::Seen(1.0))];
    // 59 without a failure carry "95 % with 95 % confidence", 58 do not.
    assert_eq!(objective(&seen(59), 0.95, Some(0.95), 20), "met");
    assert_eq!(objective(&seen(58), 0.95, Some(0.95), 20), "undecided");
    let poor = [(20, Fate::Seen(1.0)), (20, Fate::Silent)];
    assert_eq!(objective(&poor, 0.95, Some(0.95), 20), "missed");
    assert_eq!(objective(&seen(9), 0.5, None, 10), "undecided", "fewer than min_n");
    assert_eq!(objective(&seen(10), 0.5, None, 10), "met");
    // All seen, but half of them of unproven delivery: the proven half alone cannot carry it.
    let half = [(30, Fate::Seen(1.0)), (30, Fate::UnprovenSeen(1.0))];
    assert_eq!(objective(&half, 0.95, Some(0.95), 20), "undecided");
}

#[test]
fn a_canary_younger_than_the_deadline_is_not_in_the_denominator() {
    let routes = [Route::new("r", &[Fate::Seen(1.0), Fate::Silent])];
    let mut fold = crate::dispatch::outcome::Fold::new(None);
    ledger::rows(&routes, "c").iter().for_each(|row| fold.apply(row));
    let young = fold.assess_at(None, fold.place(&ledger::at(9.0))).unwrap();
    let model = ReportModel::build(&young, &Beside::default());
    let e = expectation(&model);
    assert_eq!((e.share.eligible, e.objective.as_str()), (0, "undecided"));
    assert!(e.verdict.contains("none old enough to be judged"), "{}", e.verdict);
}

#[test]
fn a_quantile_is_refused_until_the_canaries_carry_it() {
    // Fewest canaries for p50, p90 and p95 with 95 % confidence: 5, 29 and 59.
    for (n, shown, more) in [
        (4, [false, false, false], [1, 25, 55]),
        (5, [true, false, false], [0, 24, 54]),
        (28, [true, false, false], [0, 1, 31]),
        (29, [true, true, false], [0, 0, 30]),
        (59, [true, true, true], [0, 0, 0]),
    ] {
        let parts: Vec<Fate> = (0..n).map(|i| Fate::Seen(1.0 + f64::from(i) / 10.0)).collect();
        let model = one(Route::new("r", &parts));
        let quantiles = &expectation(&model).ttd.quantiles;
        assert_eq!(quantiles.iter().map(|q| q.value.is_some()).collect::<Vec<_>>(), shown, "n {n}");
        assert_eq!(quantiles.iter().map(|q| q.needs_more).collect::<Vec<_>>(), more, "n {n}");
    }
    let silent = one(Route::new("r", &[Fate::Silent; 8]));
    assert!(render(&silent, Format::Text, 80).contains("p50 not reached\n"));
    let few = one(Route::new("r", &[Fate::Seen(1.0); 4]));
    let page = render(&few, Format::Text, 80);
    assert!(page.contains("needs 1 more") && page.contains("needs 55 more"), "{page}");
    assert!(render(&few, Format::Html, 80).contains("needs 1 more"));
}

#[test]
fn misses_of_a_kind_are_shown_once_with_their_number() {
    let parts = [(3, Fate::Silent), (2, Fate::Seen(20.0)), (1, Fate::Silent), (1, Fate::Seen(1.0))];
    let model = one(Route::new("r", &fates(&parts)));
    let groups: Vec<(&str, &str, u64)> = model
        .miss_kinds
        .iter()
        .map(|kind| (kind.first.outcome.as_str(), kind.first.canary.as_str(), kind.number))
        .collect();
    // Canaries stand in the order of their submission, here that of their serials.
    assert_eq!(groups, [("missed", "1.1", 4), ("late", "1.4", 2)]);
}

#[test]
fn the_verdict_names_what_was_never_exercised() {
    let routes = [Route::new("used", &[Fate::Seen(1.0)]), Route::new("idle", &[Fate::Withdrawn])];
    let model = ledger::model(&routes, "c");
    assert_eq!(model.verdict.last().unwrap(), "Never exercised: idle / detected.");
    assert_eq!(render(&model, Format::Text, 80).matches("Never exercised").count(), 1);
    assert_eq!(model.exit(), Exit::Undecided);
}

#[test]
fn the_verdict_says_no_more_than_the_canaries_carry() {
    let verdict = |parts: &[(usize, Fate)], share| {
        let route = Route { share, ..Route::new("r", &fates(parts)) };
        expectation(&one(route)).verdict.clone()
    };
    let seen = |n| [(n, Fate::Seen(2.0))];
    assert_eq!(
        verdict(&seen(58), 0.95),
        "58 of 58 in time, so at most 5.1 % are not (95 % confidence, one-sided); cannot say yet within what time 95 % are detected, 1 more canary needed, detected too"
    );
    assert_eq!(
        verdict(&seen(59), 0.95),
        "59 of 59 in time, so at most 5 % are not (95 % confidence, one-sided); with 95 % confidence at least 95 % are detected within 2 s"
    );
    let spread: Vec<(usize, Fate)> =
        (1..=59).map(|i| (1, Fate::Seen(f64::from(i) / 10.0))).collect();
    assert!(verdict(&spread, 0.95).ends_with("at least 95 % are detected within 5.9 s"));
    assert_eq!(
        verdict(&[(20, Fate::Seen(2.0)), (20, Fate::Silent)], 0.95),
        "20 of 40 in time, 20 not; with 95 % confidence fewer than 95 % are detected within 10 s"
    );
}

#[test]
fn the_exit_code_follows_the_worst_objective() {
    let exit = |parts: &[(usize, Fate)]| one(Route::new("r", &fates(parts))).exit();
    assert_eq!(exit(&[(3, Fate::Seen(1.0))]), Exit::Met);
    assert_eq!(exit(&[(3, Fate::Silent)]), Exit::Missed);
    assert_eq!(exit(&[(3, Fate::Unknown)]), Exit::Undecided);
    assert_eq!(exit(&[(3, Fate::Seen(1.0)), (1, Fate::Rejected)]), Exit::Environment);
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0.1f64..50.0).prop_map(Fate::Seen),
        (0.1f64..50.0).prop_map(Fate::UnprovenSeen),
        (0.1f64..20.0, 0.0f64..5.0).prop_map(|(from, more)| Fate::Polled(from, from + more)),
        Just(Fate::Silent),
        Just(Fate::Rejected),
        Just(Fate::Unknown),
        Just(Fate::Withdrawn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_model_conserves(
        fates in proptest::collection::vec(fate(), 1..40),
        blind in any::<bool>(),
        share in 0.0f64..=1.0,
    ) {
        let blind = blind.then(|| "503".to_owned());
        let model = one(Route { blind, share, ..Route::new("r", &fates) });
        conserved(&model);
        let e = expectation(&model);
        let ends = [e.share.left_out, e.share.counted_as_failed];
        let points: Vec<f64> = ends.iter().filter_map(|end| end.point()).collect();
        match e.objective.as_str() {
            "met" => prop_assert!(points.iter().all(|p| *p >= share)),
            "missed" => prop_assert!(points.iter().all(|p| *p < share)),
            _ => {}
        }
    }
}

#[test]
fn a_claim_stands_on_an_n_and_an_m_that_were_fixed_beforehand() {
    use super::ledger::{claim, model_of, rows};
    let seen: Vec<Fate> = (0..100).map(|_| Fate::Seen(1.0)).collect();
    let route =
        |fates: &[Fate]| Route { share: 0.95, confidence: Some(0.95), ..Route::new("r", fates) };
    let judged = |fates: &[Fate], at: usize, n: u64, m: u64| {
        let mut all = rows(&[route(fates)], "c");
        all.insert(at, claim("c", "r", n, m));
        let model = model_of(&all);
        let e = expectation(&model).clone();
        (e.objective, e.claim.unwrap().state, e.objective_words)
    };
    let (objective, state, words) = judged(&seen, 0, 59, 0);
    assert_eq!((objective.as_str(), state.as_str()), ("met", "carried"), "{words}");
    assert!(words.contains("planned n 59, m 0 (fixed 2026-"), "{words}");
    assert!(words.contains("59 judged, 0 not in time"), "{words}");
    // Two of the first 93 failed; one was allowed. Without a plan the whole hundred would be asked.
    let mut two = seen.clone();
    (two[3], two[4]) = (Fate::Silent, Fate::Silent);
    let (objective, state, _) = judged(&two, 0, 93, 1);
    assert_eq!((objective.as_str(), state.as_str()), ("undecided", "not carried"));
    // More are needed than there are.
    let (objective, state, _) = judged(&seen, 0, 124, 2);
    assert_eq!((objective.as_str(), state.as_str()), ("undecided", "undecided"));
    // After the fact: the run is row 0, its canaries follow.
    let (objective, state, words) = judged(&seen, 30, 59, 0);
    assert_eq!((objective.as_str(), state.as_str()), ("undecided", "refused"));
    assert!(words.contains("recorded after the campaign's first canary"), "{words}");
    // What fails for certain is missed with a plan or without.
    let poor: Vec<Fate> = (0..60).map(|_| Fate::Silent).collect();
    assert_eq!(judged(&poor, 0, 59, 0).0, "missed");
}

#[test]
fn canaries_that_one_run_of_the_rule_catches_carry_no_claim() {
    // Sixty in a minute, and nothing is known of the rule: they may be one look at it.
    let route = |rule_period_ns| Route {
        share: 0.95,
        confidence: Some(0.95),
        every: 1.0,
        rule_period_ns,
        ..Route::new("r", &[Fate::Seen(1.0); 60])
    };
    let alone = one(route(Some(1_000_000_000)));
    let e = expectation(&alone);
    assert_eq!((e.objective.as_str(), e.claim.as_ref().unwrap().batches), ("met", 60));
    assert!(e.verdict.contains("with 95 % confidence at least 95 %"), "{}", e.verdict);
    for (period, batches, words) in [
        (
            None,
            1,
            "60 canaries are 1 batch of 5 min (5 min, the commonest period of scheduled rules)",
        ),
        (Some(2_000_000_000), 30, "60 canaries are 30 batches of 2 s (the configured rule_period)"),
    ] {
        let together = one(route(period));
        let e = expectation(&together);
        let claim = e.claim.as_ref().unwrap();
        assert_eq!((e.objective.as_str(), claim.state.as_str()), ("undecided", "undecided"));
        assert_eq!((claim.batches, claim.batches_in_time), (batches, batches));
        assert!(claim.words.contains("of them not all in time; it takes 59"), "{}", claim.words);
        assert!(!e.verdict.contains("with 95 % confidence at least"), "{}", e.verdict);
        assert!(e.verdict.contains(words), "{}", e.verdict);
        let bound = match batches {
            1 => "so at most 95 % are not (95 % confidence, one-sided, 1 batch)",
            _ => "so at most 9.6 % are not (95 % confidence, one-sided, 30 batches)",
        };
        assert!(e.verdict.contains(bound), "{}", e.verdict);
    }
    // As little do they show that it fails.
    let silent = Route { fates: vec![Fate::Silent; 60], ..route(None) };
    let model = one(silent);
    let e = expectation(&model);
    assert_eq!(e.objective, "undecided");
    assert!(!e.verdict.contains("fewer than"), "{}", e.verdict);
}

#[test]
fn what_our_own_fault_kept_back_fails_no_claim() {
    let mut fates = vec![Fate::Seen(1.0); 59];
    fates.push(Fate::RejectedByUs);
    let route = Route { share: 0.95, confidence: Some(0.95), ..Route::new("r", &fates) };
    let model = one(route);
    let claim = expectation(&model).claim.as_ref().unwrap();
    assert_eq!((claim.state.as_str(), claim.not_in_time, claim.open), ("undecided", 0, 1));
}

#[test]
fn the_verdict_is_about_the_objectives_share_and_confidence() {
    let verdict = |n, share, confidence| {
        let route = Route { share, confidence, ..Route::new("r", &vec![Fate::Seen(2.0); n]) };
        expectation(&one(route)).verdict.clone()
    };
    assert!(verdict(459, 0.99, Some(0.99)).contains("with 99 % confidence at least 99 % are"));
    assert!(verdict(100, 0.99, Some(0.99)).contains("cannot say yet within what time 99 %"));
    assert!(verdict(8, 0.5, Some(0.95)).contains("with 95 % confidence at least 50 % are"));
}

#[test]
fn a_campaign_that_grew_fixed_nothing() {
    use super::ledger::{model_of, rows};
    let seen: Vec<Fate> = (0..60).map(|_| Fate::Seen(1.0)).collect();
    let route = Route { share: 0.95, confidence: Some(0.95), ..Route::new("r", &seen) };
    let mut all = rows(&[route], "c");
    let one = expectation(&model_of(&all)).clone();
    let claim = one.claim.unwrap();
    assert_eq!((one.objective.as_str(), claim.fixed.as_str(), claim.n), ("met", "run", 60));
    let crate::ledger::Row::Run(mut again) = all[0].clone() else { panic!() };
    again.run = 2;
    all.push(crate::ledger::Row::Run(again));
    let two = expectation(&model_of(&all)).clone();
    assert_eq!(two.objective, "undecided");
    assert!(two.objective_words.contains("not fixed before its 2 runs"), "{}", two.objective_words);
}

/// Eighty seen and 320 withdrawn for that reason, of 400 planned.
fn withdrawn_after_eighty(reason: &str) -> crate::report::model::ExpectationReport {
    use super::ledger::{model_of, rows};
    let mut fates = vec![Fate::Seen(1.0); 80];
    fates.resize(400, Fate::Withdrawn);
    let route = Route { share: 0.95, confidence: Some(0.95), ..Route::new("r", &fates) };
    let mut all = rows(&[route], "c");
    for row in &mut all {
        if let crate::ledger::Row::Withdrawn(row) = row {
            row.reason = reason.to_owned();
        }
    }
    expectation(&model_of(&all)).clone()
}

#[test]
fn whoever_stops_when_it_looks_good_has_not_sent_what_was_planned() {
    for reason in ["kill switch", "signal", "crash", "anything else"] {
        let e = withdrawn_after_eighty(reason);
        let claim = e.claim.unwrap();
        assert_eq!((e.objective.as_str(), claim.state.as_str()), ("undecided", "undecided"));
        assert_eq!((claim.n, claim.m, claim.judged, claim.never_sent), (400, 12, 80, 320));
        let words = format!("stopped at 80 of 400 planned ({reason})");
        assert!(claim.words.contains(&words), "{}", claim.words);
    }
    // What the schedule withdraws stands beforehand: no result can have moved it.
    for reason in [
        crate::schedule::QUIET_HOURS,
        crate::schedule::CAP_PER_DAY,
        crate::schedule::CAP_PER_HOUR,
        crate::schedule::MIN_GAP,
        "outside the recipe's hours: recipe r is meant for 09:00-17:00 (UTC), not for 08:00",
    ] {
        let e = withdrawn_after_eighty(reason);
        let claim = e.claim.unwrap();
        assert_eq!((e.objective.as_str(), claim.state.as_str()), ("met", "carried"), "{reason}");
        assert_eq!((claim.n, claim.m, claim.never_sent), (80, 0, 0));
    }
}
