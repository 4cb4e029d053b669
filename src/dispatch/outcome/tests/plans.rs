//! Runs of one campaign that mean different things by a route: nothing is joined by its place in a list.

use super::*;

/// A run of that number with one route and these expectations.
fn of_run(number: u32, expectations: Vec<ExpectationPlan>) -> RunStarted {
    let mut run = plan("file", None);
    run.run = number;
    run.at = at(f64::from(number) * 1_000.0 - 20.0);
    run.routes[0].expectations = expectations;
    run.watchers.push(WatcherPlan {
        name: "search".into(),
        stage: Stage::Ingested,
        ..run.watchers[0].clone()
    });
    run
}

fn detected() -> ExpectationPlan {
    plan("file", None).routes[0].expectations[0].clone()
}

fn ingested() -> ExpectationPlan {
    ExpectationPlan {
        name: "ingested".into(),
        stage: Stage::Ingested,
        watchers: vec!["search".into()],
        rules: Vec::new(),
        ..detected()
    }
}

/// One canary of a run, handed over at the second 1,000 times its run and its serial behind it.
fn sent(run: u32, serial: u32) -> [Row; 2] {
    let second = f64::from(run) * 1_000.0 + f64::from(serial);
    let Row::Intent(intent) = intent(serial, 1) else { panic!() };
    let Row::Receipt(receipt) = receipt(serial, 0, accepted(Strength::Written)) else { panic!() };
    [
        Row::Intent(Intent { run, intended: at(second), ..intent }),
        Row::Receipt(ReceiptRow {
            submitted_at: at(second),
            result: EventResult::Accepted { at: None, strength: Strength::Written, place: None },
            ..receipt
        }),
    ]
}

/// Seen so long after it was sent, in the index or as an alert.
fn seen(run: u32, serial: u32, stage: Stage, after: f64) -> Row {
    let watcher = if stage == Stage::Ingested { "search" } else { "w" };
    let second = f64::from(run) * 1_000.0 + f64::from(serial) + after;
    Row::Sighting(SightingRow {
        watcher: watcher.into(),
        stage,
        ..sighting(serial, second, "rule")
    })
}

fn assessed(rows: &[Row]) -> Assessment {
    let mut fold = Fold::new(None);
    rows.iter().for_each(|row| fold.apply(row));
    fold.assess(None).unwrap()
}

fn started(run: RunStarted) -> Row {
    Row::Run(Box::new(run))
}

#[test]
fn an_expectation_is_found_by_its_name_whatever_its_place() {
    let mut rows = vec![started(of_run(1, vec![ingested(), detected()]))];
    rows.extend(sent(1, 1));
    rows.push(seen(1, 1, Stage::Ingested, 1.0));
    rows.push(started(of_run(2, vec![detected(), ingested()])));
    rows.extend(sent(2, 2));
    rows.push(seen(2, 2, Stage::Ingested, 1.0));
    let found = assessed(&rows);
    assert_eq!(found.routes.len(), 1, "the order of expectations means nothing");
    let route = &found.routes[0];
    assert_eq!((route.label().as_str(), route.is_apart(), &route.runs), ("r", false, &vec![1, 2]));
    assert_eq!(route.plan.expectations[1].name, "ingested", "as the latest run has it");
    assert_eq!(route.counts(1), BTreeMap::from([(Outcome::Detected, 2)]));
    assert!(!route.counts(0).contains_key(&Outcome::Detected), "nothing was alerted");
    for (at, verdict) in route.canaries.iter().flat_map(|c| c.verdicts.iter().enumerate()) {
        assert_eq!(verdict.expectation, at);
    }
}

#[test]
fn another_deadline_is_another_number() {
    let slow = ExpectationPlan { deadline_ns: 9 * S as u64, ..detected() };
    let mut rows = vec![started(of_run(1, vec![slow]))];
    rows.extend(sent(1, 1));
    rows.push(seen(1, 1, Stage::Detected, 5.5));
    let fast = ExpectationPlan { deadline_ns: 2 * S as u64, ..detected() };
    rows.push(started(of_run(2, vec![fast])));
    rows.extend(sent(2, 2));
    rows.push(seen(2, 2, Stage::Detected, 1.0));
    let found = assessed(&rows);
    let labels: Vec<String> = found.routes.iter().map(RouteView::label).collect();
    assert_eq!(labels, ["r (run 1)", "r (run 2)"]);
    for (route, deadline) in found.routes.iter().zip([9, 2]) {
        assert_eq!(route.plan.expectations[0].deadline_ns, deadline * S as u64);
        assert_eq!(route.counts(0), BTreeMap::from([(Outcome::Detected, 1)]));
        assert_eq!((route.planned, route.runs_in_all), (1, 2));
    }
}

#[test]
fn what_only_judges_or_describes_sets_nothing_apart() {
    let mut second = of_run(2, vec![detected()]);
    let route = &mut second.routes[0];
    (route.owner, route.target, route.supplier) = ("another".into(), "elsewhere".into(), true);
    let e = &mut route.expectations[0];
    (e.share, e.confidence, e.min_n, e.rule_period_ns) = (0.5, Some(0.9), 7, Some(1));
    let mut first = of_run(1, vec![detected()]);
    first.routes[0].expectations[0].rules = vec!["rule".into(), "b".into()];
    second.routes[0].expectations[0].rules = vec!["b".into(), "rule".into()];
    let mut rows = vec![started(first)];
    rows.extend(sent(1, 1));
    rows.push(started(second));
    rows.extend(sent(2, 2));
    let found = assessed(&rows);
    assert_eq!((found.routes.len(), found.routes[0].canaries.len()), (1, 2));
    assert_eq!(found.routes[0].plan.expectations[0].min_n, 7, "the latest run's objective");
}

#[test]
fn each_difference_that_changes_a_meaning_is_named_and_refused() {
    let of = |change: &dyn Fn(&mut RoutePlan)| {
        let mut plan = of_run(2, vec![detected()]).routes.remove(0);
        change(&mut plan);
        plan
    };
    type Change<'a> = &'a dyn Fn(&mut RoutePlan);
    let changes: [(Change<'_>, &str); 9] = [
        (&|p| p.recipe = "f/other".into(), "recipe was f/r and is f/other"),
        (&|p| p.enters_at = "broker".into(), "enters_at was host-log and is broker"),
        (
            &|p| p.expectations[0].stage = Stage::Notified,
            "stage of expectation detected was detected and is notified",
        ),
        (
            &|p| p.expectations[0].watchers.push("v".into()),
            "watchers of expectation detected was w and is v, w",
        ),
        (&|p| p.expectations[0].rules.clear(), "rules of expectation detected was rule and is any"),
        (
            &|p| p.expectations[0].deadline_ns += 1,
            "deadline of expectation detected was 10000000000 ns and is 10000000001 ns",
        ),
        (
            &|p| p.expectations[0].horizon_ns *= 2,
            "horizon of expectation detected was 1.67 min and is 3.33 min",
        ),
        (&|p| p.expectations.push(ingested()), "expectation ingested is new"),
        (&|p| p.expectations[0].name = "seen".into(), "expectation detected is gone"),
    ];
    let mut fold = Fold::new(None);
    fold.apply(&started(of_run(1, vec![detected()])));
    let other = of(&|p| p.expectations.clear());
    assert_eq!(fold.meant_otherwise("c", &other), None, "nothing was measured yet");
    sent(1, 1).iter().for_each(|row| fold.apply(row));
    assert_eq!(fold.meant_otherwise("c", &of(&|_| ())), None);
    assert_eq!(fold.meant_otherwise("d", &other), None, "another campaign");
    for (change, words) in changes {
        let plan = of(change);
        let (run, found) = fold.meant_otherwise("c", &plan).expect(words);
        assert_eq!((run, found[0].as_str()), (1, words));
        let mut again = of_run(2, Vec::new());
        again.routes = vec![plan];
        let mut rows = vec![started(of_run(1, vec![detected()]))];
        rows.extend(sent(1, 1));
        rows.push(started(again));
        rows.extend(sent(2, 2));
        assert_eq!(assessed(&rows).routes.len(), 2, "{words}");
    }
}

#[test]
fn a_run_that_injected_nothing_leaves_no_line_of_its_own() {
    let mut rows = vec![started(of_run(1, vec![ingested()]))];
    rows.push(Row::Withdrawn(Withdrawn {
        at: at(1_000.0),
        run: 1,
        route: 0,
        slot_from: 0,
        slots: 1,
        canary: None,
        reason: "failed".into(),
    }));
    rows.push(started(of_run(2, vec![detected()])));
    rows.extend(sent(2, 2));
    let found = assessed(&rows);
    assert_eq!(found.routes.len(), 1);
    let route = &found.routes[0];
    assert_eq!((route.planned, route.withdrawn_total(), route.canaries.len()), (2, 1, 1));
    assert_eq!(route.expectations()[0].name, "detected");
}

#[test]
fn what_may_still_be_seen_is_asked_of_the_canary_s_own_run() {
    let long = ExpectationPlan { horizon_ns: 5_000 * S as u64, ..detected() };
    let mut rows = vec![started(of_run(1, vec![long]))];
    rows.extend(sent(1, 1));
    rows.push(started(of_run(2, vec![ExpectationPlan { horizon_ns: S as u64, ..detected() }])));
    rows.extend(sent(2, 2));
    let mut fold = Fold::new(None);
    rows.iter().for_each(|row| fold.apply(row));
    let until = at(1_001.0 + 5_000.0).wall_ns;
    let now = fold.place(&at(2_010.0));
    assert_eq!(fold.outstanding_at(now), [("c".to_owned(), "r".to_owned(), 1, until)]);
    assert_eq!(fold.assess_at(None, now).unwrap().outstanding(), (1, Some(until)));
}

#[test]
fn a_cut_that_is_stated_gives_what_the_same_cut_by_default_gave() {
    // Killed: two intents are written, one of them ahead of the last row.
    let mut rows = vec![started(of_run(1, vec![detected()]))];
    rows.extend(sent(1, 1));
    let [ahead, _] = sent(1, 2);
    rows.push(ahead);
    let of = |as_of: Option<i64>| {
        let mut fold = Fold::new(as_of);
        let taken = rows.iter().filter(|row| fold.take(row)).count();
        let found = fold.assess(None).unwrap();
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(text, serde_json::to_string(&fold.into_assessment(None)).unwrap());
        (taken, found.cut, found.routes[0].canaries.len(), text)
    };
    let default = of(None);
    // The intent has no instant and is known just after the row before it.
    assert_eq!((default.1, default.2), (at(1_001.0).wall_ns + 1, 1), "one was handed over");
    assert_eq!(of(Some(default.1)), default);
}

/// Plans that a second look at a configuration may make of one route.
fn any_plan() -> impl Strategy<Value = Vec<ExpectationPlan>> {
    let one = (0u8..2, any::<bool>(), 1u64..3, 1u64..3, 0.0f64..1.0).prop_map(
        |(base, rules, deadline, horizon, share)| {
            let base = if base == 0 { detected() } else { ingested() };
            ExpectationPlan {
                rules: if rules { base.rules.clone() } else { Vec::new() },
                deadline_ns: deadline * 5 * S as u64,
                horizon_ns: horizon * 50 * S as u64,
                share,
                ..base
            }
        },
    );
    proptest::collection::vec(one, 1..4).prop_map(|mut all| {
        // Names are unique within a route.
        let mut names = Vec::new();
        all.retain(|e| !names.contains(&e.name) && (names.push(e.name.clone()), true).1);
        all
    })
}

/// A run of each plan, with canaries that each belong to one of them, get so far, and are seen so long after.
fn history(plans: &[Vec<ExpectationPlan>], canaries: &[(usize, u8, f64)]) -> Vec<Row> {
    let mut per_run: Vec<Vec<Row>> = Vec::new();
    for (number, expectations) in (1u32..).zip(plans) {
        let mut run = of_run(number, expectations.clone());
        let whose = |c: &&(usize, u8, f64)| c.0 % plans.len() + 1 == number as usize;
        run.routes[0].planned = canaries.iter().filter(whose).count() as u32;
        per_run.push(vec![started(run)]);
    }
    for (serial, (run, kind, after)) in (1u32..).zip(canaries.iter().copied()) {
        let at_run = run % plans.len();
        let number = at_run as u32 + 1;
        let [intent, receipt] = sent(number, serial);
        let rows = match kind {
            0 => vec![],
            1 => vec![Row::Withdrawn(Withdrawn {
                at: at(f64::from(number) * 1_000.0),
                run: number,
                route: 0,
                slot_from: serial,
                slots: 1,
                canary: None,
                reason: "stop".into(),
            })],
            2 => vec![intent],
            3 => vec![intent, receipt],
            4 => vec![intent, receipt, seen(number, serial, Stage::Ingested, after)],
            _ => vec![intent, receipt, seen(number, serial, Stage::Detected, after)],
        };
        per_run[at_run].extend(rows);
    }
    per_run.into_iter().flatten().collect()
}

proptest! {
    /// Whatever runs of a campaign planned: each canary is in one view, sums hold in each, and every
    /// verdict is what it is where each run is a campaign of its own.
    #[test]
    fn outcomes_are_conserved_however_plans_change(
        plans in proptest::collection::vec(any_plan(), 1..5),
        canaries in proptest::collection::vec((0usize..5, 0u8..6, 0.0f64..120.0), 0..20),
        cut in 0.0f64..6_000.0,
    ) {
        let rows = history(&plans, &canaries);
        let fold_of = |own: bool| {
            let mut fold = Fold::new(Some(at(cut).wall_ns));
            for row in &rows {
                match row {
                    Row::Run(run) if own => {
                        let campaign = format!("c{}", run.run);
                        fold.apply(&started(RunStarted { campaign, ..(**run).clone() }));
                    }
                    row => fold.apply(row),
                }
            }
            fold
        };
        let (joint, apart) = (fold_of(false), fold_of(true));
        // Both are asked for the verdicts of (canary, name of expectation), without their place.
        let mut verdicts = [BTreeMap::new(), BTreeMap::new()];
        let (mut planned, mut counted) = ([0, 0], [0, 0]);
        let campaigns = (1..=plans.len()).map(|n| (1, format!("c{n}")));
        for (side, campaign) in std::iter::once((0, "c".to_owned())).chain(campaigns) {
            let fold = if side == 0 { &joint } else { &apart };
            let Some(found) = fold.assess(Some(&campaign)) else { continue };
            for route in &found.routes {
                let injected = route.canaries.len() as u64;
                let sum = route.withdrawn_total() + route.not_yet_due() + injected;
                prop_assert_eq!(route.planned, sum);
                planned[side] += route.planned;
                counted[side] += injected;
                for index in 0..route.expectations().len() {
                    prop_assert_eq!(route.counts(index).values().sum::<u64>(), injected);
                }
                for canary in &route.canaries {
                    prop_assert!(route.runs.contains(&canary.run));
                    prop_assert_eq!(canary.verdicts.len(), route.expectations().len());
                    for (place, verdict) in canary.verdicts.iter().enumerate() {
                        prop_assert_eq!(verdict.expectation, place);
                        let name = route.expectations()[place].name.clone();
                        let verdict = Verdict { expectation: 0, ..verdict.clone() };
                        let before = verdicts[side].insert((canary.id, name), verdict);
                        prop_assert!(before.is_none(), "a canary is counted twice");
                    }
                }
            }
            let labels: std::collections::BTreeSet<String> =
                found.routes.iter().map(RouteView::label).collect();
            prop_assert_eq!(labels.len(), found.routes.len());
        }
        prop_assert_eq!(planned[0], planned[1]);
        prop_assert_eq!(counted[0], counted[1]);
        prop_assert_eq!(&verdicts[0], &verdicts[1]);
        for number in 1..=plans.len() as u32 {
            let routes = |found: Option<Assessment>| {
                found.map(|found| serde_json::to_string(&found.routes).unwrap())
            };
            let one = routes(joint.assess_run(number, joint.cut()));
            prop_assert_eq!(one, routes(apart.assess(Some(&format!("c{number}")))));
        }
    }
}
