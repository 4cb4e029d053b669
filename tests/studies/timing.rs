//! When canaries are sent: a rule on a schedule, and a rule that stands still for an hour.

use std::io::Write;
use std::sync::OnceLock;

use dwell::config::{self, checked::Arrivals};
use dwell::ledger::Stage;
use dwell::report::{Format, render};

use super::campaign::{
    Answer, BEGIN, CAMPAIGNS, Draws, HOUR, Plan, S, Spread, median, only, printed_median, quantile,
    ranked, seen,
};
use super::paper::Line;

/// A rule that runs every five minutes and takes two seconds: times are uniform on 2 to 302 s.
const TRUE_MEDIAN: f64 = 152.0;

fn every_five_minutes(submitted: u64) -> Answer {
    let period = 300 * S;
    let wait = period - submitted % period;
    Answer { after_ns: Some(wait + 2 * S), proven: true }
}

fn plan(arrivals: Arrivals, seed: u64, begin: u64) -> Plan {
    Plan {
        seed,
        count: 288,
        window: 24 * HOUR,
        arrivals,
        begin,
        deadline: 600 * S,
        horizon: 6_000 * S,
        look_every: 1_800 * S,
        share: 0.5,
        rule_period: None,
    }
}

fn medians(arrivals: Arrivals) -> Vec<Option<f64>> {
    static FOUND: [OnceLock<Vec<Option<f64>>>; 3] = [const { OnceLock::new() }; 3];
    FOUND[arrivals as usize].get_or_init(|| each_median(arrivals)).clone()
}

fn each_median(arrivals: Arrivals) -> Vec<Option<f64>> {
    (0..CAMPAIGNS)
        .map(|seed| {
            // A campaign begins whenever somebody starts it.
            let begin = BEGIN + (Draws::new(1, seed).uniform() * 3_600.0) as u64 * S;
            let plan = plan(arrivals, seed, begin);
            let canaries: Vec<_> =
                plan.instants().iter().map(|at| (*at, every_five_minutes(*at))).collect();
            let model = plan.report(&canaries, begin + 25 * HOUR, None);
            Some(printed_median(&model))
        })
        .collect()
}

fn error(medians: &[Option<f64>]) -> f64 {
    median(medians.iter().map(|m| m.map(|m| (m / TRUE_MEDIAN - 1.0).abs())))
}

pub fn aliasing() -> Vec<Line> {
    let study = "rule every 5 minutes, one canary every 5 minutes";
    let mut lines = Vec::new();
    let names = [Arrivals::Stratified, Arrivals::Poisson, Arrivals::Fixed];
    for (arrivals, name) in names.into_iter().zip(["stratified (default)", "poisson", "fixed"]) {
        let found = medians(arrivals);
        let (spread, error) = (Spread::of(&found).words(1, "s"), error(&found) * 100.0);
        lines.push(Line(
            study,
            format!("median, {name}"),
            format!("{TRUE_MEDIAN:.0} s"),
            format!("{spread}; typical error {error:.1} %"),
        ));
    }
    lines
}

#[test]
fn the_default_schedule_recovers_the_median_and_a_fixed_one_does_not() {
    let stratified = medians(Arrivals::Stratified);
    let middle = median(stratified.clone());
    assert!((middle / TRUE_MEDIAN - 1.0).abs() < 0.05, "{middle}");
    assert!(error(&stratified) < 0.05, "a typical campaign is right too");
    let fixed = medians(Arrivals::Fixed);
    assert!(error(&fixed) > 0.25, "a typical campaign is far off: {}", error(&fixed));
    assert!(ranked(fixed.clone(), 0.95) > 270.0 && ranked(fixed, 0.05) < 40.0);
}

#[test]
fn a_fixed_schedule_warns_in_check_and_in_the_report() {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let quickstart = include_str!("../../configs/quickstart.toml");
    assert!(quickstart.contains("arrivals = \"stratified\""));
    let text = quickstart.replace("arrivals = \"stratified\"", "arrivals = \"fixed\"");
    file.write_all(text.as_bytes()).unwrap();
    let warnings = config::load_for_reading(file.path()).map(|c| c.warnings).unwrap();
    assert!(warnings.iter().any(|w| w.contains("one phase")), "{warnings:?}");

    for (arrivals, warned) in [(Arrivals::Fixed, true), (Arrivals::Stratified, false)] {
        let plan = plan(arrivals, 1, BEGIN);
        let canaries: Vec<_> =
            plan.instants().iter().map(|at| (*at, every_five_minutes(*at))).collect();
        let model = plan.report(&canaries, BEGIN + 25 * HOUR, None);
        for format in [Format::Text, Format::Html, Format::Json] {
            let found = render(&model, format, 4_000).contains("one phase of a scheduled rule");
            assert_eq!(found, warned, "{arrivals:?} {format:?}");
        }
    }
}

#[test]
fn the_report_names_the_rules_schedule_its_price_and_the_longest_step() {
    let plan = Plan { count: 60, ..plan(Arrivals::Stratified, 11, BEGIN) };
    let mut draws = Draws::new(8, 11);
    let (mut canaries, mut indexed) = (Vec::new(), Vec::new());
    for (serial, at) in (1u32..).zip(plan.instants()) {
        let found = at + 10 * S + (draws.uniform() * 30.0) as u64 * S;
        indexed.push(seen(serial, Stage::Ingested, found));
        // One in six is never detected.
        let rule = every_five_minutes(found).after_ns.filter(|_| serial % 6 != 0);
        let after_ns = rule.map(|after| found + after - at);
        canaries.push((at, Answer { after_ns, proven: true }));
    }
    let model = plan.report_with(&canaries, indexed, BEGIN + 26 * HOUR, None);
    let schedule = only(&model).schedule.clone().unwrap();
    assert_eq!((schedule.period_ns, schedule.mean_wait_ns), (300 * S, 150 * S));
    assert_eq!((schedule.n, schedule.left_out), (50, 10));
    assert!(schedule.phase_ns.abs_diff(2 * S) < S && schedule.p < 0.001, "{schedule:?}");
    let [ingest, rule] = model.routes[0].anatomy.as_slice() else { panic!("two steps") };
    assert!(ingest.limit_lower_ns <= 25 * S && 25 * S <= ingest.limit_upper_ns, "{ingest:?}");
    assert!(rule.limit_lower_ns <= 152 * S && 152 * S <= rule.limit_upper_ns, "{rule:?}");
    assert!(rule.part > 0.7 && (rule.part + ingest.part - 1.0).abs() < 1e-9);
    for format in [Format::Text, Format::Html] {
        // On the page a number and its unit do not part.
        let page = render(&model, format, 4_000).replace('\u{a0}', " ");
        for wanted in [
            "Where the time goes",
            "a schedule of 5 min",
            "2.5 min of the median",
            "fall by about 2 min",
            "longest is ingested to detected: look at the rule",
        ] {
            assert!(page.contains(wanted), "{format:?} lacks {wanted}");
        }
    }
}

/// p99 of the report, and of somebody who sends the next canary once the last one was seen.
fn stalls() -> (Spread, Spread) {
    static FOUND: OnceLock<(Spread, Spread)> = OnceLock::new();
    *FOUND.get_or_init(each_stall)
}

fn each_stall() -> (Spread, Spread) {
    let mut open = Vec::new();
    let mut closed = Vec::new();
    for seed in 0..CAMPAIGNS {
        let plan = Plan {
            count: 1_440,
            deadline: 60 * S,
            horizon: 3 * HOUR,
            ..plan(Arrivals::Stratified, seed, BEGIN)
        };
        let from = BEGIN + 2 * HOUR + (Draws::new(2, seed).uniform() * 20.0 * 3_600.0) as u64 * S;
        let until = from + HOUR;
        let after = |at: u64| if (from..until).contains(&at) { until - at + 2 * S } else { 2 * S };
        let canaries: Vec<(u64, Answer)> = plan
            .instants()
            .iter()
            .map(|at| (*at, Answer { after_ns: Some(after(*at)), proven: true }))
            .collect();
        open.push(quantile(&plan.report(&canaries, BEGIN + 26 * HOUR, None), 0.99));
        let mut free = 0;
        let mut waits = Vec::new();
        for (at, _) in &canaries {
            if *at >= free {
                free = at + after(*at);
                waits.push(Some(after(*at) as f64 / S as f64));
            }
        }
        closed.push(Some(ranked(waits, 0.99)));
    }
    (Spread::of(&open), Spread::of(&closed))
}

/// 99 % of a day is over before the last 864 s of waiting: 3,600 - 864 + 2, and the grid's share.
const OPEN_LOOP_P99: f64 = 2_739.0;

pub fn stall() -> Vec<Line> {
    let study = "rule stands still 1 h of 24 h, one canary a minute";
    let (open, closed) = stalls();
    let truth = format!("{OPEN_LOOP_P99:.0} s");
    vec![
        Line(study, "p99 of the report".into(), truth.clone(), open.words(0, "s")),
        Line(study, "p99 if each waits for the last".into(), truth, closed.words(0, "s")),
    ]
}

#[test]
fn an_hour_of_standstill_shows_in_full() {
    let (open, closed) = stalls();
    let (open, closed) = (open.middle, closed.middle);
    assert!((open / OPEN_LOOP_P99 - 1.0).abs() < 0.02, "{open}");
    assert!(closed < 10.0, "what coordinated omission would have told: {closed}");
}
