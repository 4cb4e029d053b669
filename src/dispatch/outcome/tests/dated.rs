//! Times that rest on what a record says of its own creation.

use super::*;

/// A plan whose one watcher polls records that say when they were made, on a clock so far from ours.
fn dating(bound_ns: u64) -> RunStarted {
    let mut plan = plan("poll", Some(bound_ns));
    plan.watchers[0].dates_stage = true;
    plan
}

fn polled_alert(created_ns: i64, not_before: f64, seen: f64) -> Vec<Row> {
    let mut rows = delivered();
    rows.push(Row::Sighting(SightingRow {
        not_before: Some(at(not_before)),
        created_time_ns: Some(created_ns),
        ..sighting(1, seen, "rule")
    }));
    rows
}

#[test]
fn a_poll_of_records_that_date_themselves_goes_by_their_time_within_the_bound() {
    const MS: u64 = 1_000_000;
    let created = at(0.0).wall_ns + 7_123_000_000;
    let rows = polled_alert(created, 4.0, 12.0);
    let own = verdict_of(plan("poll", Some(20 * MS)), rows.clone(), 50.0).1;
    let straddles = (Outcome::Indeterminate, Dated::BySight);
    assert_eq!((own.outcome, own.dated), straddles, "the bound alone");
    let ends = |v: &Verdict| v.ttd.map(|t| (t.lower_ns, t.upper_ns));
    assert_eq!(ends(&own), Some((4_000 * MS, 12_000 * MS)), "the dialect does not date the stage");

    let dated = verdict_of(dating(20 * MS), rows, 50.0).1;
    assert_eq!(dated.dated, Dated::ByRecord);
    // Told to the millisecond, and our clock may have been slewed for the 4.877 s until we saw it.
    let slack = 21 * MS + 4_877 * MS / 2_000;
    assert_eq!(ends(&dated), Some((7_123 * MS - slack, 7_123 * MS + slack)));
    assert_eq!((dated.outcome, dated.reason), (Outcome::Detected, None), "no straddling is left");
    assert!(dated.by_created_time, "we ourselves saw it after the deadline");
}

#[test]
fn a_record_that_was_made_before_a_look_that_lacked_it_goes_by_its_own_time() {
    let rows = polled_alert(at(0.0).wall_ns + 3_000_000_001, 4.0, 4.5);
    let verdict = verdict_of(dating(0), rows, 50.0).1;
    assert_eq!(verdict.dated, Dated::ByRecord, "it was made, and not yet searchable");
    let slewed = 1_499_999_999 / 2_000;
    let ends = (3_000_000_001 - slewed, 3_000_000_001 + slewed);
    assert_eq!(verdict.ttd.map(|t| (t.lower_ns, t.upper_ns)), Some(ends));
    assert!(!verdict.by_created_time, "in time by our own look as well");
}

#[test]
fn a_record_made_before_the_canary_or_after_we_saw_it_is_not_believed() {
    for (created, seen, outcome) in
        [(-1.5, 4.5, Outcome::Detected), (6.5, 4.5, Outcome::Detected), (-1.5, 12.0, Outcome::Late)]
    {
        let created = at(0.0).wall_ns + (created * S as f64) as i64 + 1;
        let verdict = verdict_of(dating(S as u64), polled_alert(created, seen - 0.5, seen), 50.0).1;
        assert_eq!((verdict.dated, verdict.outcome), (Dated::Contradicted, outcome), "{created}");
        let own = ((seen - 0.5) * 1e9, seen * 1e9);
        assert_eq!(verdict.ttd.map(|t| (t.lower_ns as f64, t.upper_ns as f64)), Some(own));
    }
}

#[test]
fn across_a_step_of_our_clock_no_creation_time_is_believed() {
    let mut rows = polled_alert(at(0.0).wall_ns + 3_000_000_001, 1.0, 4.5);
    let step = |seconds| Row::Clock(ClockStep { at: at(seconds), step_ns: 5 * S });
    rows.insert(0, step(2.0));
    assert_eq!(verdict_of(dating(0), rows.clone(), 50.0).1.dated, Dated::ByRecord, "before it");
    rows.push(step(4.0));
    let verdict = verdict_of(dating(0), rows, 50.0).1;
    assert_eq!(verdict.dated, Dated::BySight);
    assert_eq!(verdict.ttd.map(|t| t.upper_ns), Some(4_500_000_000));
}

proptest::proptest! {
    /// Whatever the product's clock does within its bound, and however coarsely it tells the time, the
    /// interval holds the instant at which the alert was made.
    #[test]
    fn a_dated_interval_holds_the_truth(
        truth_ns in 0_i64..9_000_000_000,
        seen_after in 0_i64..3_000_000_000,
        bound in 0_i64..2_000_000_000,
        off in -1.0_f64..=1.0,
        step in proptest::sample::select(vec![1_i64, 1_000, 1_000_000, 1_000_000_000]),
        rounds in proptest::bool::ANY,
    ) {
        let clock = at(0.0).wall_ns + truth_ns + (bound as f64 * off) as i64;
        let told = (clock + if rounds { step / 2 } else { 0 }).div_euclid(step) * step;
        let mut rows = delivered();
        let mut row = sighting(1, 0.0, "rule");
        row.observed = at(0.0).plus_ns(truth_ns + seen_after);
        row.not_before = Some(at(0.0));
        row.created_time_ns = Some(told);
        rows.push(Row::Sighting(row));
        let verdict = verdict_of(dating(bound as u64), rows, 50.0).1;
        proptest::prop_assert_eq!(verdict.dated, Dated::ByRecord);
        let ttd = verdict.ttd.expect("it was seen");
        proptest::prop_assert!(
            ttd.lower_ns as i64 <= truth_ns && truth_ns <= ttd.upper_ns as i64,
            "{} not in {}..{}", truth_ns, ttd.lower_ns, ttd.upper_ns
        );
    }
}
