//! Which schedule the detections betray, and what of it may be said.

use super::ledger::{Fate, Route, model_of, rows};
use crate::ledger::Row;
use crate::report::model::ExpectationReport;

const S: f64 = 1e9;
const MINUTE: f64 = 60.0;

/// A world: canaries every so often, what becomes of each, and how it is watched.
struct World {
    n: u32,
    every_s: f64,
    poll_s: Option<f64>,
    rule_period_s: Option<f64>,
    /// The alerts' own creation times are believed within this bound.
    dated_s: Option<f64>,
}

const PUSHED: World =
    World { n: 140, every_s: 97.0, poll_s: None, rule_period_s: None, dated_s: None };

/// The instants of [`super::ledger::at`] begin here, seconds after a whole day.
const BEGIN: f64 = (1_795_000_000 % 86_400) as f64;

/// The next whole multiple of a period in wall time, since `sent`; both since the ledger's begin.
fn next(since: f64, period: f64) -> f64 {
    ((since + BEGIN) / period).ceil() * period - BEGIN
}

impl World {
    /// `answer` is when the alert of a canary sent then is made; both are seconds.
    fn report(&self, answer: impl Fn(f64) -> f64) -> ExpectationReport {
        let sent = |i: u32| f64::from(i) * self.every_s;
        let fate = |i| {
            let (sent, made) = (sent(i), answer(sent(i)));
            match self.poll_s {
                None => Fate::Seen(made - sent),
                Some(poll) => {
                    let seen = next(made + 1.0, poll);
                    Fate::Polled((seen - poll - sent).max(0.0), seen - sent)
                }
            }
        };
        let fates: Vec<Fate> = (0..self.n).map(fate).collect();
        let kind = if self.poll_s.is_some() { "poll" } else { "file" };
        let route = Route { kind, every: self.every_s, ..Route::new("r", &fates) };
        let mut rows = rows(&[route], "c");
        let mut made = (0..self.n).map(|i| answer(sent(i)));
        for row in &mut rows {
            match row {
                Row::Run(run) => {
                    let plan = &mut run.routes[0].expectations[0];
                    plan.horizon_ns = (40.0 * 86_400.0 * S) as u64;
                    plan.rule_period_ns = self.rule_period_s.map(|s| (s * S) as u64);
                    let watcher = &mut run.watchers[0];
                    watcher.resolution_ns = self.poll_s.map_or(0, |s| (s * S) as u64);
                    watcher.max_offset_ns = self.dated_s.map(|s| (s * S) as u64);
                    watcher.dates_stage = self.dated_s.is_some();
                }
                Row::Sighting(seen) => {
                    let made = made.next().unwrap();
                    let wall = super::ledger::at(made).wall_ns + 1;
                    seen.created_time_ns = self.dated_s.map(|_| wall);
                }
                _ => (),
            }
        }
        model_of(&rows).routes[0].expectations[0].clone()
    }
}

#[test]
fn our_own_polls_are_no_schedule_of_the_rule() {
    for poll_s in [MINUTE, 5.0 * MINUTE, 10.0 * MINUTE] {
        let e = World { poll_s: Some(poll_s), ..PUSHED }.report(|sent| sent + 0.5);
        let found = e.schedule.map(|s| s.words);
        assert_eq!(found, None, "alerts at once, polled every {poll_s} s");
        assert_ne!(e.ttd.blocks.why, "the schedule that the detections follow");
    }
}

#[test]
fn what_polls_are_too_coarse_for_is_left_out_and_counted() {
    // Alerts of a rule that runs every five minutes, looked for every minute.
    let fine =
        World { poll_s: Some(MINUTE), ..PUSHED }.report(|sent| next(sent + 1.0, 300.0) + 5.0);
    let found = fine.schedule.expect("polls are closer than a quarter of its period");
    assert_eq!((found.period_ns as f64, found.n, found.too_coarse), (300.0 * S, 140, 0));
    // Every ten minutes: nobody can tell, whatever is left of the intervals after submission.
    let coarse = World { poll_s: Some(600.0), ..PUSHED };
    assert_eq!(coarse.report(|sent| next(sent + 1.0, 300.0) + 5.0).schedule.map(|s| s.words), None);
    // Unless the alerts say themselves when they were made.
    let dated = World { dated_s: Some(1.0), ..coarse };
    let found = dated.report(|sent| next(sent + 1.0, 300.0) + 5.0).schedule.expect("exact times");
    assert_eq!((found.period_ns as f64, found.n, found.too_coarse), (300.0 * S, 140, 0));
}

#[test]
fn a_rule_is_named_by_its_own_period_and_not_by_a_divisor() {
    for (minutes, every_s) in [
        (2.0, 97.0),
        (3.0, 97.0),
        (4.0, 97.0),
        (7.0, 97.0),
        (20.0, 97.0),
        (120.0, 421.0),
        (1_440.0, 5_437.0),
    ] {
        let period = minutes * MINUTE;
        let e = World { every_s, ..PUSHED }.report(|sent| next(sent + 1.0, period) + 5.0);
        let found = e.schedule.expect("a schedule");
        assert_eq!(found.period_ns as f64, period * S, "{}", found.words);
        let wait = found.mean_wait_ns as f64 / S;
        assert!(wait > 0.4 * period && wait <= 0.5 * period, "{}", found.words);
        assert!(found.mean_wait_ns <= found.p50_ns, "{}", found.words);
        assert!(e.ttd.blocks.length_ns as f64 >= period * S, "{:?}", e.ttd.blocks);
    }
}

#[test]
fn a_configured_period_is_preferred_and_one_that_does_not_fit_is_said() {
    // Less than three hours of a rule that runs every two.
    let short = |rule_period_s| {
        let world = World { n: 100, every_s: 97.0, rule_period_s, ..PUSHED };
        world.report(|sent| next(sent + 1.0, 7_200.0) + 5.0)
    };
    let open = short(None);
    let found = open.schedule.expect("a schedule");
    let hours = |ns: u64| ns as f64 / S / 3_600.0;
    assert!(hours(found.period_ns) <= 2.0 && hours(found.longest_ns) >= 2.0, "{}", found.words);
    assert!(hours(open.ttd.blocks.length_ns) >= 2.0, "{:?}", open.ttd.blocks);
    let found = short(Some(7_200.0)).schedule.expect("a schedule");
    assert_eq!((hours(found.period_ns), hours(found.longest_ns)), (2.0, 2.0));
    assert!(found.words.contains("follow the configured rule_period of 2 h (p"), "{}", found.words);
    let other = World { rule_period_s: Some(600.0), ..PUSHED }
        .report(|sent| next(sent + 1.0, 900.0) + 5.0)
        .schedule
        .expect("a schedule");
    assert_eq!(other.period_ns as f64, 900.0 * S);
    assert!(
        other.words.ends_with("the configured rule_period of 10 min does not fit them"),
        "{}",
        other.words
    );
}
