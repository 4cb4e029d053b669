//! Lower ends, where the sighting was not awaited, and how long a look is.

use super::*;

const MS: u64 = 1_000_000;

fn unsharp(kind: &str) -> RunStarted {
    let mut plan = plan(kind, None);
    plan.watchers[0].resolution_ns = 5 * MS;
    plan
}

fn deaf(from: f64, to: f64) -> Row {
    Row::Blind(Blind {
        watcher: "w".into(),
        from: at(from),
        to: Some(at(to)),
        reason: "no process listened".into(),
        ours: true,
        recovered: false,
    })
}

fn ends(v: &Verdict) -> Option<(u64, u64)> {
    v.ttd.map(|t| (t.lower_ns / MS, t.upper_ns / MS))
}

#[test]
fn what_a_sender_delivers_after_nobody_listened_may_have_been_sent_before() {
    let told = |spans: &[(f64, f64)], seconds: f64| {
        let mut rows = delivered();
        rows.extend(spans.iter().map(|(from, to)| deaf(*from, *to)));
        rows.push(Row::Sighting(sighting(1, seconds, "rule")));
        verdict_of(unsharp("webhook"), rows, 50.0).1
    };
    let late = told(&[], 17.0);
    assert_eq!((late.outcome, ends(&late)), (Outcome::Late, Some((16_995, 17_000))));
    assert!(!late.caught_up);
    // It may have been tried at 4 s, when nobody was there, and again at 17 s.
    let open = told(&[(3.0, 9.0)], 17.0);
    assert_eq!(
        (open.outcome, open.reason.clone()),
        (Outcome::Indeterminate, Some(Reason::Straddles))
    );
    assert_eq!(ends(&open), Some((3_000, 17_000)));
    assert!(open.caught_up && !open.polled);
    // Somebody listened until after the deadline: it was not there then.
    let late = told(&[(11.0, 15.0)], 17.0);
    assert_eq!((late.outcome, ends(&late)), (Outcome::Late, Some((11_000, 17_000))));
    // Submitted when somebody listened again, and seen before nobody did.
    assert_eq!(ends(&told(&[(-5.0, -1.0), (20.0, 30.0)], 17.0)), Some((16_995, 17_000)));
    // Who reads what stays, as a file does, makes good what it missed.
    let mut rows = delivered();
    rows.extend([deaf(3.0, 9.0), Row::Sighting(sighting(1, 17.0, "rule"))]);
    assert_eq!(ends(&verdict_of(unsharp("file"), rows, 50.0).1), Some((16_995, 17_000)));
}

#[test]
fn a_file_read_late_is_an_interval_and_straddles() {
    let mut rows = delivered();
    let late = SightingRow { not_before: Some(at(2.0)), ..sighting(1, 17.66, "rule") };
    rows.push(Row::Sighting(late));
    let verdict = verdict_of(unsharp("file"), rows, 50.0).1;
    assert_eq!(
        (verdict.outcome, verdict.reason.clone()),
        (Outcome::Indeterminate, Some(Reason::Straddles))
    );
    assert_eq!((ends(&verdict), verdict.caught_up), (Some((2_000, 17_660)), true));
}

/// As after a crash: looks resumed long after, and read on where the last ones had ended.
#[test]
fn what_was_read_after_the_horizon_may_have_come_in_time() {
    let read = |not_before: f64, plan: RunStarted, created: Option<f64>| {
        let mut rows = delivered();
        rows.extend([look(0.0, 1.0), look(120.0, 120.5)]);
        let created_time_ns = created.map(|seconds| at(seconds).wall_ns + 1);
        rows.push(Row::Sighting(SightingRow {
            not_before: Some(at(not_before)),
            created_time_ns,
            ..sighting(1, 120.0, "rule")
        }));
        verdict_of(plan, rows, 130.0)
    };
    let (canary, open) = read(1.0, unsharp("file"), None);
    assert_eq!(
        (open.outcome, open.reason.clone()),
        (Outcome::Indeterminate, Some(Reason::Straddles))
    );
    assert_eq!((ends(&open), canary.outside), (Some((1_000, 120_000)), 0));
    assert_eq!(canary.last_stage, Stage::Detected);
    // Not in time for certain; whether before the horizon nobody knows, nor when it was not yet there.
    let (canary, missed) = read(15.0, unsharp("file"), None);
    assert_eq!((missed.outcome, canary.outside), (Outcome::Missed, 0));
    assert_eq!(missed.censored_at_ns, Some(15 * S as u64));
    let (canary, after) = read(101.0, unsharp("file"), None);
    assert_eq!((after.outcome, canary.outside), (Outcome::Missed, 1));
    assert_eq!(after.censored_at_ns, Some(HORIZON));
    // What a poll's record says of itself decides, where it is believed.
    let mut dating = plan("poll", Some(5 * MS));
    dating.watchers[0].dates_stage = true;
    for (created, outcome) in [(4.0, Outcome::Detected), (14.0, Outcome::Late)] {
        let (_, told) = read(1.0, dating.clone(), Some(created));
        assert_eq!(told.outcome, outcome, "{:?}", told.ttd);
    }
}

/// Nobody listened to who is told, who may have told in time; but the stage's own watcher saw that it was
/// not there long after the deadline.
#[test]
fn a_later_stage_that_was_told_late_does_not_reach_back_beyond_the_stage_s_own_watcher() {
    let mut run = unsharp("file");
    run.watchers.push(WatcherPlan {
        name: "hook".into(),
        stage: Stage::Notified,
        kind: "webhook".into(),
        push: true,
        ..run.watchers[0].clone()
    });
    let mut rows = delivered();
    rows.extend([look(0.0, 120.0), look(120.0, 120.5)]);
    let own = SightingRow { not_before: Some(at(99.0)), ..sighting(1, 101.0, "rule") };
    rows.push(Row::Sighting(own));
    let Row::Blind(unheard) = deaf(3.0, 110.0) else { panic!("a span") };
    rows.push(Row::Blind(Blind { watcher: "hook".into(), ..unheard }));
    rows.push(Row::Sighting(SightingRow {
        watcher: "hook".into(),
        stage: Stage::Notified,
        ..sighting(1, 111.0, "rule")
    }));
    let missed = verdict_of(run, rows, 130.0).1;
    assert_eq!((missed.outcome, missed.ttd), (Outcome::Missed, None));
}

#[test]
fn the_first_look_of_a_poll_says_nothing_about_the_time_before() {
    let mut plan = plan("poll", None);
    plan.watchers[0].resolution_ns = 1_000 * MS;
    let mut rows = delivered();
    rows.push(Row::Sighting(sighting(1, 17.0, "rule")));
    let verdict = verdict_of(plan, rows, 50.0).1;
    assert_eq!((verdict.outcome, ends(&verdict)), (Outcome::Indeterminate, Some((0, 17_000))));
}

#[test]
fn beyond_its_horizon_a_canary_may_wait_for_the_look_that_decides() {
    let mut run = plan("poll", None);
    run.routes[0].expectations[0].horizon_ns = 12 * S as u64;
    let mut fold = Fold::new(None);
    fold.apply(&Row::Run(Box::new(run)));
    delivered().iter().for_each(|row| fold.apply(row));
    let left = |fold: &Fold, seconds: f64| {
        let now = fold.place(&at(seconds));
        (fold.outstanding_at(now).len(), fold.is_pending_at(now))
    };
    fold.apply(&look(9.0, 9.1));
    assert_eq!(left(&fold, 9.5), (1, true));
    assert_eq!(left(&fold, 13.0), (0, true), "nothing may come any more, and nobody has looked");
    assert_eq!(left(&fold, 60.0), (0, false), "no look follows: undecided");
    fold.apply(&look(13.0, 13.1));
    assert_eq!(left(&fold, 14.0), (0, false), "missed");
}

#[test]
fn a_slow_poll_is_waited_for_until_its_next_look_has_had_its_time() {
    let slow = |patience_ns: Option<u64>| {
        let mut plan = plan("poll", None);
        plan.watchers[0].resolution_ns = 40_000 * MS;
        plan.watchers[0].patience_ns = patience_ns;
        plan
    };
    let mut rows: Vec<Row> = vec![proven(), look(-40.0, -39.9), look(0.0, 0.1)];
    rows.extend([intent(1, 1), receipt(1, 0, accepted(Strength::Written))]);
    // A deadline of ten seconds; the next look begins at forty.
    for plan in [slow(Some(55_000 * MS)), slow(None)] {
        let open = verdict_of(plan.clone(), rows.clone(), 31.0).1;
        assert_eq!((open.outcome, open.reason), (Outcome::Pending, Some(Reason::Waiting)));
        let mut rows = rows.clone();
        rows.push(look(40.0, 40.1));
        assert_eq!(verdict_of(plan, rows, 41.0).1.outcome, Outcome::Missed);
    }
    // One that never comes is not waited for without end.
    let blind = verdict_of(slow(Some(55_000 * MS)), rows.clone(), 66.0).1;
    assert!(matches!(blind.reason, Some(Reason::Blind { .. })), "{:?}", blind.reason);
    let quick = verdict_of(plan("poll", None), rows, 31.0).1;
    assert_eq!(quick.outcome, Outcome::Indeterminate, "fifteen seconds are enough for others");
}
