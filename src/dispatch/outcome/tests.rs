//! The table of legal moves, row by row, and the conservation law over random histories.

mod dated;
mod plans;
mod sight;

use std::collections::BTreeMap;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Stamp};
use dwell_injectors::token::{Epoch, TokenId};
use proptest::prelude::*;

use super::*;
use crate::ledger::*;

const S: i64 = 1_000_000_000;
const DEADLINE: u64 = 10 * S as u64;
const HORIZON: u64 = 100 * S as u64;

fn at(seconds: f64) -> Stamp {
    let ns = (seconds * 1e9) as i64;
    Stamp { wall_ns: 1_795_000_000 * S + ns, boot_ns: (1_000 * S + ns) as u64, boot: BootId(1) }
}

fn id(serial: u32) -> TokenId {
    TokenId { epoch: Epoch(1), serial }
}

fn plan(kind: &str, max_offset_ns: Option<u64>) -> RunStarted {
    RunStarted {
        at: at(-10.0),
        run: 1,
        campaign: "c".into(),
        seed: 1,
        arrivals: "stratified".into(),
        starts: at(-10.0),
        window_ns: 1,
        quiet_hours: vec![],
        config_digest: "d".into(),
        config: serde_json::json!({}),
        recipes: BTreeMap::new(),
        dialects: BTreeMap::new(),
        authorisation: None,
        calibration: None,
        routes: vec![RoutePlan {
            name: "r".into(),
            recipe: "f/r".into(),
            attack: vec![],
            enters_at: "host-log".into(),
            owner: "o".into(),
            supplier: false,
            target: "t".into(),
            proof: Strength::Written,
            planned: 1,
            expectations: vec![ExpectationPlan {
                name: "detected".into(),
                stage: Stage::Detected,
                watchers: vec!["w".into()],
                rules: vec!["rule".into()],
                deadline_ns: DEADLINE,
                horizon_ns: HORIZON,
                rule_period_ns: None,
                share: 1.0,
                confidence: None,
                min_n: 1,
            }],
        }],
        watchers: vec![WatcherPlan {
            name: "w".into(),
            stage: Stage::Detected,
            kind: kind.into(),
            dialect: "lines".into(),
            push: kind == "webhook",
            resolution_ns: 0,
            patience_ns: None,
            max_offset_ns,
            dates_stage: false,
            source: "s".into(),
        }],
    }
}

fn intent(serial: u32, events: usize) -> Row {
    Row::Intent(Intent {
        canary: id(serial),
        run: 1,
        route: 0,
        slot: serial,
        intended: at(0.0),
        digests: vec!["x".into(); events],
        completing: events as u32 - 1,
    })
}

fn receipt(serial: u32, event: u32, result: EventResult) -> Row {
    Row::Receipt(ReceiptRow {
        canary: id(serial),
        event,
        submitted_at: at(f64::from(event)),
        late_ns: 0,
        result,
    })
}

fn accepted(strength: Strength) -> EventResult {
    EventResult::Accepted { at: Some(at(0.001)), strength, place: None }
}

fn rejected() -> EventResult {
    EventResult::Rejected { reason: "no".into(), cause: None }
}

fn sighting(serial: u32, seconds: f64, rule: &str) -> SightingRow {
    SightingRow {
        canary: id(serial),
        watcher: "w".into(),
        stage: Stage::Detected,
        observed: at(seconds),
        not_before: None,
        native_id: format!("{serial}-{seconds}"),
        rule: Some(rule.into()),
        rule_names: vec![],
        event_time_ns: None,
        created_time_ns: None,
        grade: Grade::Exact,
        retrospective: false,
        excerpt: String::new(),
    }
}

fn look(from: f64, to: f64) -> Row {
    Row::Look(Look {
        watcher: "w".into(),
        from: at(from),
        to: at(to),
        complete: true,
        unbroken: true,
        position: "p".into(),
        records: 0,
    })
}

fn proven() -> Row {
    Row::Proven(Proven { watcher: "w".into(), at: at(-5.0), config_digest: "d".into() })
}

/// A proven watcher that looks each second from -9 to `until`.
fn watched(until: i32) -> Vec<Row> {
    let mut rows = vec![proven(), look(-9.0, -9.0)];
    rows.extend((-8..=until).map(|s| look(f64::from(s), f64::from(s) + 0.001)));
    rows
}

fn verdict_of(run: RunStarted, rows: Vec<Row>, cut: f64) -> (CanaryView, Verdict) {
    let mut fold = Fold::new(None);
    fold.apply(&Row::Run(Box::new(run)));
    for row in &rows {
        fold.apply(row);
    }
    let assessment = fold.assess_at(None, fold.place(&at(cut))).expect("campaign");
    let canary = assessment.routes[0].canaries[0].clone();
    let verdict = canary.verdicts[0].clone();
    (canary, verdict)
}

fn verdict(rows: Vec<Row>, cut: f64) -> (CanaryView, Verdict) {
    verdict_of(plan("file", None), rows, cut)
}

fn delivered() -> Vec<Row> {
    let mut rows = watched(-1);
    rows.extend([intent(1, 1), receipt(1, 0, accepted(Strength::Written))]);
    rows
}

#[test]
fn seen_in_time_is_detected() {
    let mut rows = delivered();
    rows.push(Row::Sighting(sighting(1, 4.0, "rule")));
    let (canary, verdict) = verdict(rows, 50.0);
    assert_eq!(verdict.outcome, Outcome::Detected);
    let mut weaker = delivered();
    for grade in [Grade::Identity, Grade::Window] {
        weaker.push(Row::Sighting(SightingRow { grade, ..sighting(1, 4.0, "rule") }));
    }
    assert_ne!(verdict_of(plan("file", None), weaker, 50.0).1.outcome, Outcome::Detected);
    assert_eq!(verdict.ttd, Some(Interval { lower_ns: 4 * S as u64, upper_ns: 4 * S as u64 }));
    assert_eq!(canary.last_stage, Stage::Detected);
    assert_eq!(verdict.censored_at_ns, None);
}

#[test]
fn seen_after_the_deadline_is_late_and_after_the_horizon_changes_nothing() {
    let mut rows = delivered();
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s))));
    assert_eq!(verdict(rows.clone(), 13.0).1.outcome, Outcome::Missed);
    let mut late = rows.clone();
    late.push(Row::Sighting(sighting(1, 20.0, "rule")));
    assert_eq!(verdict(late, 30.0).1.outcome, Outcome::Late);
    rows.push(Row::Sighting(sighting(1, 200.0, "rule")));
    let (canary, verdict) = verdict(rows, 201.0);
    assert_eq!(verdict.outcome, Outcome::Missed);
    assert_eq!(verdict.ttd, None);
    assert_eq!(canary.last_stage, Stage::Delivered, "it changes nothing");
    assert_eq!((canary.outside, canary.excess), (1, 0), "recorded all the same");
}

#[test]
fn a_polled_interval_that_straddles_the_deadline_decides_nothing() {
    let mut rows = delivered();
    rows.push(Row::Sighting(SightingRow {
        not_before: Some(at(8.0)),
        ..sighting(1, 12.0, "rule")
    }));
    let (_, verdict) = verdict_of(plan("poll", None), rows, 50.0);
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Indeterminate, Some(Reason::Straddles))
    );
    assert!(verdict.polled);
}

#[test]
fn the_alerts_own_time_counts_only_within_a_stated_clock_bound() {
    let mut rows = delivered();
    rows.push(Row::Sighting(SightingRow {
        created_time_ns: Some(at(8.2).wall_ns),
        ..sighting(1, 30.0, "rule")
    }));
    assert_eq!(verdict(rows.clone(), 50.0).1.outcome, Outcome::Late);
    let within = |bound_ns| {
        let mut plan = plan("file", Some(bound_ns));
        plan.watchers[0].dates_stage = true;
        plan
    };
    let near = verdict_of(within(500_000_000), rows.clone(), 50.0).1;
    assert_eq!((near.outcome, near.by_created_time), (Outcome::Detected, true));
    assert_eq!(near.dated, Dated::BySight, "the time shown is our own");
    let other_time = verdict_of(plan("file", Some(0)), rows.clone(), 50.0).1;
    assert_eq!(other_time.outcome, Outcome::Late, "the dialect does not date the stage");
    let loose = verdict_of(within(2 * S as u64), rows, 50.0).1;
    assert_eq!(loose.outcome, Outcome::Late, "8.2 s + 2 s is not surely within 10 s");
}

#[test]
fn silence_is_missed_only_when_somebody_could_see() {
    let overdue = || (0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01));
    let mut rows = delivered();
    rows.extend(overdue());
    let (canary, missed) = verdict(rows.clone(), 13.0);
    assert_eq!(missed.outcome, Outcome::Missed);
    assert_eq!(
        missed.reason,
        Some(Reason::Overdue { horizon_passed: false, silence_unproven: false })
    );
    assert_eq!(canary.last_stage, Stage::Delivered);
    assert_eq!(missed.censored_at_ns, Some(12 * S as u64 + 10_000_000));

    let unproven: Vec<Row> =
        rows.iter().filter(|r| !matches!(r, Row::Proven(_))).cloned().collect();
    let verdict_unproven = verdict(unproven, 13.0).1;
    assert_eq!(verdict_unproven.outcome, Outcome::Indeterminate);
    assert!(matches!(verdict_unproven.reason, Some(Reason::NeverProven { .. })));
    assert_eq!(verdict_unproven.censored_at_ns, Some(0), "nobody followed it");
}

#[test]
fn blind_is_not_missed_and_catching_up_is_not_blind() {
    let blind = |recovered| {
        Row::Blind(Blind {
            watcher: "w".into(),
            from: at(3.0),
            to: Some(at(5.0)),
            reason: "503".into(),
            ours: false,
            recovered,
        })
    };
    let mut rows = delivered();
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    rows.push(blind(false));
    let (_, lost) = verdict(rows.clone(), 13.0);
    assert_eq!(lost.outcome, Outcome::Indeterminate);
    assert!(matches!(lost.reason, Some(Reason::Blind { ours: false, .. })));
    assert_eq!(lost.censored_at_ns, Some(3 * S as u64));
    rows.pop();
    rows.push(blind(true));
    assert_eq!(verdict(rows, 13.0).1.outcome, Outcome::Missed);
}

/// Not every look has a row: the last one with a row may end some seconds before the target was gone.
#[test]
fn a_target_that_is_gone_is_not_our_blindness_though_the_last_looks_had_no_rows() {
    let gone = |seconds: f64| {
        Row::Blind(Blind {
            watcher: "w".into(),
            from: at(seconds),
            to: None,
            reason: "connection refused".into(),
            ours: false,
            recovered: false,
        })
    };
    let why = |after: Vec<Row>| {
        let mut rows = delivered();
        rows.extend((0..=2).map(|s| look(f64::from(s), f64::from(s) + 0.5)));
        rows.extend(after);
        let told = verdict(rows, 60.0).1;
        assert_eq!(told.outcome, Outcome::Indeterminate);
        assert_eq!(told.censored_at_ns, Some(2_500_000_000), "followed until the last row");
        match told.reason {
            Some(Reason::Blind { ours, detail, .. }) => (ours, detail.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let nobody = "no look covers the time up to the deadline".to_owned();
    assert_eq!(why(vec![gone(7.0)]), (false, "connection refused".to_owned()));
    assert_eq!(why(vec![gone(40.0)]), (true, nobody.clone()), "long before, nobody looked");
    let mut again = look(4.0, 4.1);
    if let Row::Look(look) = &mut again {
        look.unbroken = false;
    }
    assert_eq!(why(vec![again, gone(7.0)]), (true, nobody), "it was there after the gap");
}

#[test]
fn a_deadline_without_a_later_look_waits_a_while_and_is_then_indeterminate() {
    let mut rows = delivered();
    rows.extend((0..=9).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    assert_eq!(verdict(rows.clone(), 9.5).1.outcome, Outcome::Pending);
    assert_eq!(verdict(rows.clone(), 12.0).1.outcome, Outcome::Pending);
    assert_eq!(verdict(rows, 60.0).1.outcome, Outcome::Indeterminate);
}

#[test]
fn weak_unknown_and_partial_receipts_are_unproven_until_somebody_sees_the_canary() {
    let weak = vec![receipt(1, 0, accepted(Strength::Queued))];
    let unknown = vec![receipt(1, 0, EventResult::Unknown { reason: "timeout".into() })];
    for receipts in [weak, unknown] {
        let mut rows = watched(12);
        rows.push(intent(1, 1));
        rows.extend(receipts);
        let (canary, unseen) = verdict(rows.clone(), 13.0);
        assert_eq!(unseen.reason, Some(Reason::DeliveryUnproven));
        assert_eq!(unseen.outcome, Outcome::Indeterminate);
        assert_eq!(unseen.censored_at_ns, None, "must not enter the survival curve");
        assert_ne!(canary.delivery, Delivery::Proven);
        rows.push(Row::Sighting(sighting(1, 4.0, "rule")));
        assert_eq!(verdict(rows, 13.0).1.outcome, Outcome::Detected);
    }
    let mut burst = watched(12);
    burst.extend([
        intent(1, 2),
        receipt(1, 0, accepted(Strength::Written)),
        receipt(1, 1, rejected()),
    ]);
    let (canary, partial) = verdict(burst, 13.0);
    assert_eq!((canary.delivery, partial.outcome), (Delivery::Partial, Outcome::Indeterminate));
}

#[test]
fn a_rejection_is_undelivered_unless_a_sighting_contradicts_it() {
    let mut rows = watched(12);
    rows.extend([intent(1, 1), receipt(1, 0, rejected())]);
    assert_eq!(verdict(rows.clone(), 1.0).1.outcome, Outcome::Undelivered);
    rows.push(Row::Sighting(sighting(1, 4.0, "rule")));
    let (canary, verdict) = verdict(rows, 13.0);
    assert_eq!(verdict.outcome, Outcome::Detected);
    assert!(canary.receipt_contradicted);
}

#[test]
fn another_rule_or_an_earlier_stage_does_not_satisfy() {
    let mut rows = delivered();
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    rows.push(Row::Sighting(sighting(1, 4.0, "other")));
    let missed = verdict(rows.clone(), 13.0).1;
    assert_eq!((missed.outcome, missed.other_rule.as_deref()), (Outcome::Missed, Some("other")));
    rows.pop();
    rows.push(Row::Sighting(SightingRow { stage: Stage::Ingested, ..sighting(1, 4.0, "rule") }));
    let (canary, missed) = verdict(rows, 13.0);
    assert_eq!((missed.outcome, canary.last_stage), (Outcome::Missed, Stage::Ingested));
}

#[test]
fn a_later_stage_bounds_an_earlier_one() {
    let mut rows = delivered();
    rows.push(Row::Sighting(SightingRow {
        watcher: "pager".into(),
        stage: Stage::Notified,
        ..sighting(1, 4.0, "rule")
    }));
    assert_eq!(verdict(rows, 13.0).1.outcome, Outcome::Detected);
}

#[test]
fn a_later_stage_bounds_from_above_alone() {
    let pager = |seconds| {
        Row::Sighting(SightingRow {
            watcher: "pager".into(),
            stage: Stage::Notified,
            ..sighting(1, seconds, "rule")
        })
    };
    let mut rows = delivered();
    rows.push(pager(12.0));
    let open = verdict(rows, 13.0).1;
    assert_eq!(open.outcome, Outcome::Indeterminate, "it may have been there in time");
    assert_eq!(open.ttd.map(|t| t.lower_ns), Some(0));
    let mut rows = delivered();
    rows.push(pager(12.0));
    let mut own = sighting(1, 12.5, "rule");
    own.not_before = Some(at(11.0));
    rows.push(Row::Sighting(own));
    let late = verdict(rows, 13.0).1;
    assert_eq!(late.outcome, Outcome::Late, "its own watcher did not see it at 11 s");
    assert_eq!(late.ttd.map(|t| (t.lower_ns, t.upper_ns)), Some((11 * S as u64, 12 * S as u64)));
}

#[test]
fn a_retrospective_or_impossible_sighting_is_no_point_in_time() {
    let mut rows = delivered();
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    rows.push(Row::Sighting(SightingRow { retrospective: true, ..sighting(1, 4.0, "rule") }));
    rows.push(Row::Sighting(sighting(1, -2.0, "rule")));
    let (canary, verdict) = verdict(rows, 13.0);
    assert_eq!(verdict.outcome, Outcome::Missed);
    assert_eq!((canary.retrospective, canary.outside), (1, 1));
}

fn replayed(rows: &[Row], run: RunStarted) -> (Option<u64>, u32) {
    let mut fold = Fold::new(None);
    fold.apply(&Row::Run(Box::new(run)));
    rows.iter().for_each(|row| fold.apply(row));
    let found = fold.assess(None).unwrap();
    let strays = found.strays.get("w").and_then(|c| c.get(&StrayClass::Replayed)).copied();
    (strays, found.routes[0].canaries.first().map_or(0, |c| c.excess))
}

#[test]
fn what_was_not_sent_is_replayed_and_a_pipeline_s_double_is_not() {
    let mut run = plan("poll", None);
    run.watchers[0].stage = Stage::Ingested;
    let event = |seconds: f64, time: Option<i64>| {
        Row::Sighting(SightingRow {
            stage: Stage::Ingested,
            event_time_ns: time,
            ..sighting(1, seconds, "rule")
        })
    };
    let mut rows = delivered();
    rows.extend([event(1.0, Some(7)), event(1.5, Some(7))]);
    assert_eq!(replayed(&rows, run.clone()), (None, 0), "one event, indexed twice");
    rows.push(event(2.0, Some(8)));
    assert_eq!(replayed(&rows, run.clone()), (Some(1), 1), "one event more than was sent");
    rows.push(event(2.5, None));
    assert_eq!(replayed(&rows, run.clone()), (Some(2), 2), "without a time the id tells");
    // Alerts: any number of rules may fire. Before submission and after the horizon nothing may.
    let mut rows = delivered();
    rows.extend([1.0, 2.0, 3.0].map(|s| Row::Sighting(sighting(1, s, "rule"))));
    assert_eq!(replayed(&rows, run.clone()), (None, 0));
    rows.extend([-1.0, 99.0, 101.0].map(|s| {
        let not_before = Some(at(s - 0.5));
        Row::Sighting(SightingRow { not_before, ..sighting(1, s, "rule") })
    }));
    assert_eq!(replayed(&rows, run.clone()), (Some(2), 0));
    // A burst may be seen in as many events as it has.
    let rows = [intent(1, 3), event(1.0, Some(1)), event(2.0, Some(2)), event(3.0, Some(3))];
    assert_eq!(replayed(&rows, run.clone()), (None, 0));
    // A canary that never left.
    let withdrawn = Withdrawn {
        at: at(0.0),
        run: 1,
        route: 0,
        slot_from: 1,
        slots: 1,
        canary: Some(id(1)),
        reason: "cap".into(),
    };
    let rows = [intent(1, 1), Row::Withdrawn(withdrawn), event(5.0, None)];
    assert_eq!(replayed(&rows, run), (Some(1), 0));
}

#[test]
fn a_rejection_says_whose_fault_it_is_and_without_a_word_it_is_the_targets() {
    use dwell_injectors::receipt::Cause;
    for (cause, ours) in [(None, false), (Some(Cause::Target), false), (Some(Cause::Ours), true)] {
        let result = EventResult::Rejected { reason: "no".into(), cause };
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(text.contains("cause"), cause.is_some(), "{text}");
        assert_eq!(serde_json::from_str::<EventResult>(&text).unwrap(), result);
        let (_, verdict) = verdict(vec![intent(1, 1), receipt(1, 0, result)], 50.0);
        assert_eq!(verdict.outcome, Outcome::Undelivered);
        assert_eq!(verdict.reason, Some(Reason::Rejected { detail: "no".into(), ours }));
    }
}

#[test]
fn silence_of_a_push_watcher_is_labelled_until_the_sender_spoke_again() {
    let mut rows = delivered();
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    let push = || plan("webhook", None);
    let silent = verdict_of(push(), rows.clone(), 13.0).1;
    assert_eq!(
        silent.reason,
        Some(Reason::Overdue { horizon_passed: false, silence_unproven: true })
    );
    rows.push(intent(2, 1));
    rows.push(Row::Sighting(sighting(2, 12.0, "rule")));
    let spoken = verdict_of(push(), rows, 13.0).1;
    assert_eq!(
        spoken.reason,
        Some(Reason::Overdue { horizon_passed: false, silence_unproven: false })
    );
}

#[test]
fn a_withdrawn_canary_is_not_injected_and_the_burst_has_a_second_time() {
    let mut rows = watched(12);
    rows.extend([
        intent(1, 3),
        receipt(1, 0, accepted(Strength::Written)),
        receipt(1, 1, accepted(Strength::Written)),
        receipt(1, 2, accepted(Strength::Written)),
        Row::Sighting(sighting(1, 5.0, "rule")),
        intent(2, 1),
        Row::Withdrawn(Withdrawn {
            at: at(1.0),
            run: 1,
            route: 0,
            slot_from: 2,
            slots: 1,
            canary: Some(id(2)),
            reason: "stop".into(),
        }),
    ]);
    let mut fold = Fold::new(None);
    fold.apply(&Row::Run(Box::new(plan("file", None))));
    rows.iter().for_each(|row| fold.apply(row));
    let assessment = fold.assess(None).unwrap();
    let route = &assessment.routes[0];
    assert_eq!((route.canaries.len(), route.withdrawn_total()), (1, 1));
    let completing = route.canaries[0].verdicts[0].ttd_completing.unwrap();
    assert_eq!(completing.upper_ns, 3 * S as u64);
}

#[test]
fn the_cut_hides_later_rows() {
    let mut rows = vec![Row::Run(Box::new(plan("file", None)))];
    rows.extend(delivered());
    rows.push(Row::Sighting(sighting(1, 4.0, "rule")));
    let mut fold = Fold::new(Some(at(3.0).wall_ns));
    rows.iter().for_each(|row| fold.apply(row));
    assert_eq!(
        fold.assess(None).unwrap().routes[0].canaries[0].verdicts[0].outcome,
        Outcome::Pending
    );
}

fn event(second: f64) -> Row {
    Row::Sighting(SightingRow {
        watcher: "search".into(),
        stage: Stage::Ingested,
        native_id: format!("{second}"),
        rule: None,
        ..sighting(1, second, "")
    })
}

#[test]
fn a_stage_is_reached_by_what_satisfies_it_and_by_nothing_else() {
    let mut rows = delivered();
    rows.extend([
        Row::Sighting(sighting(1, 2.0, "other")),
        Row::Sighting(sighting(1, 4.0, "rule")),
        event(1.0),
    ]);
    let (canary, verdict) = verdict(rows.clone(), 50.0);
    let times = |canary: &CanaryView| -> Vec<(Stage, u64)> {
        canary.stages.iter().map(|s| (s.stage, s.since_submission.upper_ns / S as u64)).collect()
    };
    // Nothing is expected of `ingested`: there every event counts.
    assert_eq!(times(&canary), [(Stage::Ingested, 1), (Stage::Detected, 4)]);
    assert_eq!(Some(canary.stages[1].since_submission), verdict.ttd);
    rows.remove(rows.len() - 2);
    let (canary, _) = self::verdict(rows, 50.0);
    assert_eq!(times(&canary), [(Stage::Ingested, 1)]);
    assert_eq!(canary.last_stage, Stage::Detected, "another rule's alert proves the stage");
}

#[test]
fn a_burst_is_measured_from_its_completing_event_or_not_at_all() {
    // Three events a second apart, the last of which completes.
    let burst = |seen: Vec<Row>| {
        let mut rows = watched(-1);
        rows.push(intent(1, 3));
        rows.extend((0..3).map(|event| receipt(1, event, accepted(Strength::Written))));
        rows.extend(seen);
        verdict(rows, 50.0)
    };
    let seconds = |ns: Option<Interval>| ns.map(|i| i.upper_ns as f64 / 1e9);
    let alert = |second| Row::Sighting(sighting(1, second, "rule"));
    let (canary, verdict) = burst(vec![event(0.5), event(1.5), event(2.5), alert(2.75)]);
    let since: Vec<_> = canary.stages.iter().map(|s| seconds(s.since_completing)).collect();
    assert_eq!(since, [Some(0.5), Some(0.75)], "the third event, not the first");
    assert_eq!(seconds(verdict.ttd_completing), Some(0.75));
    // Two of three found say nothing about the third; an alert before it is none about it.
    let (canary, verdict) = burst(vec![event(0.5), event(1.5), alert(1.75)]);
    let since: Vec<_> = canary.stages.iter().map(|s| seconds(s.since_completing)).collect();
    assert_eq!((since, verdict.ttd_completing), (vec![None, None], None));
    assert_eq!(seconds(verdict.ttd), Some(1.75));
}

/// Killed after the first event: the receipts of the others have the canary's planned instant.
#[test]
fn after_a_crash_nobody_knows_when_the_completing_event_left() {
    let mut rows = watched(-1);
    rows.extend([intent(1, 2), receipt(1, 0, accepted(Strength::Written))]);
    rows.push(Row::Receipt(ReceiptRow {
        canary: id(1),
        event: 1,
        submitted_at: at(-0.001),
        late_ns: 0,
        result: EventResult::Unknown { reason: "crash between hand-over and receipt".into() },
    }));
    rows.push(Row::Sighting(sighting(1, 2.75, "rule")));
    let (canary, detected) = verdict(rows, 50.0);
    assert_eq!((detected.outcome, detected.ttd_completing), (Outcome::Detected, None));
    assert_eq!(canary.stages[0].since_completing, None);
}

/// Planned at its instant: never reached, in flight, handed over, withdrawn after its intent or without
/// one. Each row with the second at which it is written.
fn planned(serial: u32, instant: f64, delay: f64, kind: u8) -> Vec<(f64, Row)> {
    let Row::Intent(intent) = intent(serial, 1) else { return vec![] };
    let intent = Row::Intent(Intent { intended: at(instant), ..intent });
    let withdrawn = |seconds: f64, canary| {
        Row::Withdrawn(Withdrawn {
            at: at(seconds),
            run: 1,
            route: 0,
            slot_from: serial,
            slots: 1,
            canary,
            reason: "stop".into(),
        })
    };
    match kind {
        0 => vec![],
        1 => vec![(instant - 1.0, intent)],
        2 => {
            let result =
                EventResult::Accepted { at: None, strength: Strength::Written, place: None };
            let receipt = ReceiptRow {
                canary: id(serial),
                event: 0,
                submitted_at: at(instant + delay),
                late_ns: 0,
                result,
            };
            vec![(instant - 1.0, intent), (instant + delay, Row::Receipt(receipt))]
        }
        3 => {
            let withdrawn = withdrawn(instant + delay, Some(id(serial)));
            vec![(instant - 1.0, intent), (instant + delay, withdrawn)]
        }
        _ => vec![(instant, withdrawn(instant, None))],
    }
}

#[test]
fn what_is_appended_later_is_not_known_at_an_earlier_cut() {
    let mut rows = vec![Row::Run(Box::new(plan("file", None)))];
    rows.extend(delivered());
    rows.extend((0..=12).map(|s| look(f64::from(s), f64::from(s) + 0.01)));
    let at_cut = |rows: &[Row]| {
        let mut fold = Fold::new(Some(at(11.5).wall_ns));
        let taken = rows.iter().filter(|row| fold.take(row)).count();
        let assessment = serde_json::to_string(&fold.assess(None).unwrap()).unwrap();
        (taken, assessment)
    };
    let before = at_cut(&rows);
    assert_eq!(before.0, rows.len() - 1, "all but the look at second 12");
    rows.extend([
        intent(2, 1),
        receipt(2, 0, EventResult::Unknown { reason: "a time-out that took long".into() }),
        Row::Blind(Blind {
            watcher: "w".into(),
            from: at(3.0),
            to: None,
            reason: "found out later".into(),
            ours: true,
            recovered: false,
        }),
    ]);
    assert_eq!(at_cut(&rows), before);
}

/// A report in the middle of a run ends at the last row. An intent, which has no instant, and facts that
/// lie before that row are committed after it.
#[test]
fn what_is_appended_after_the_last_row_is_not_known_at_its_instant() {
    let mut rows = vec![Row::Run(Box::new(plan("file", None)))];
    rows.extend(delivered());
    let of = |rows: &[Row], as_of: Option<i64>| {
        let mut fold = Fold::new(as_of);
        let taken = rows.iter().filter(|row| fold.take(row)).count();
        (taken, fold.cut(), serde_json::to_string(&fold.assess(None).unwrap()).unwrap())
    };
    let mut cuts = vec![of(&rows, None)];
    let late = [
        intent(2, 1),
        receipt(2, 0, EventResult::Unknown { reason: "a time-out that took long".into() }),
        Row::Sighting(sighting(1, -0.5, "rule")),
        intent(3, 1),
    ];
    for row in late {
        rows.push(row);
        cuts.push(of(&rows, None));
    }
    for (index, then) in cuts.iter().enumerate() {
        assert_eq!(then.0, rows.len() - 4 + index, "all rows of the time");
        assert_eq!(of(&rows, Some(then.1)), *then);
    }
}

proptest! {
    #[test]
    fn the_plan_is_conserved_at_every_cut(
        slots in proptest::collection::vec((0.0f64..100.0, 0.0f64..10.0, 0u8..5), 1..20),
        cut in 0.0f64..120.0,
    ) {
        let mut run = plan("file", None);
        run.routes[0].planned = slots.len() as u32;
        let mut fold = Fold::new(Some(at(cut).wall_ns));
        fold.apply(&Row::Run(Box::new(run)));
        let (mut injected, mut withdrawn, mut not_yet_due) = (0, 0, 0);
        let mut rows: Vec<(f64, Row)> = Vec::new();
        for (serial, (instant, delay, kind)) in (0..).zip(slots.iter().copied()) {
            rows.extend(planned(serial, instant, delay, kind));
            let by = |second: f64| at(second).wall_ns <= at(cut).wall_ns;
            match kind {
                3 if by(instant + delay) => withdrawn += 1,
                4 if by(instant) => withdrawn += 1,
                1..=3 if by(instant) => injected += 1,
                _ => not_yet_due += 1,
            }
        }
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows.iter().for_each(|(_, row)| fold.apply(row));
        let assessment = fold.assess(None).unwrap();
        let route = &assessment.routes[0];
        prop_assert_eq!(route.withdrawn_total(), withdrawn);
        prop_assert_eq!(route.canaries.len() as u64, injected);
        prop_assert_eq!(route.not_yet_due(), not_yet_due);
        prop_assert_eq!(route.planned, withdrawn + injected + not_yet_due);
        prop_assert_eq!(route.counts(0).values().sum::<u64>(), injected);
    }
}

proptest! {
    /// Whatever happens, each injected canary has exactly one outcome, and a detection is final.
    #[test]
    fn outcomes_are_conserved(
        history in proptest::collection::vec((0u8..7, 0u32..8, -5.0f64..150.0), 0..60),
        cut in 0.0f64..200.0,
    ) {
        let mut fold = Fold::new(None);
        fold.apply(&Row::Run(Box::new(plan("file", None))));
        (0..8).for_each(|serial| fold.apply(&intent(serial, 1)));
        let mut before = BTreeMap::new();
        for (kind, serial, seconds) in history {
            let row = match kind {
                0 => receipt(serial, 0, accepted(Strength::Written)),
                1 => receipt(serial, 0, rejected()),
                2 => receipt(serial, 0, EventResult::Unknown { reason: String::new() }),
                3 => Row::Sighting(sighting(serial, seconds, "rule")),
                4 => look(seconds, seconds + 0.5),
                5 => proven(),
                _ => Row::Blind(Blind {
                    watcher: "w".into(), from: at(seconds), to: Some(at(seconds + 1.0)),
                    reason: String::new(), ours: true, recovered: false,
                }),
            };
            fold.apply(&row);
        }
        for at_cut in [cut, cut + 50.0, 500.0] {
            let assessment = fold.assess_at(None, at(at_cut).wall_ns).unwrap();
            let route = &assessment.routes[0];
            prop_assert_eq!(route.canaries.len(), 8);
            prop_assert_eq!(route.counts(0).values().sum::<u64>(), 8);
            for canary in &route.canaries {
                let verdict = &canary.verdicts[0];
                if let Some(ttd) = verdict.ttd {
                    prop_assert!(ttd.lower_ns <= ttd.upper_ns);
                }
                prop_assert!(verdict.ttd.is_none() || verdict.censored_at_ns.is_none());
                if before.get(&canary.id) == Some(&Outcome::Detected) {
                    prop_assert_eq!(verdict.outcome, Outcome::Detected);
                }
                before.insert(canary.id, verdict.outcome);
            }
        }
    }
}
