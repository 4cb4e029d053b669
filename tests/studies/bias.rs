//! What is left out and what is not: never detected, short deadlines, unproven delivery, an early cut.

use std::sync::OnceLock;

use dwell::config::checked::Arrivals;
use dwell::report::ReportModel;
use statrs::distribution::{ContinuousCDF, Normal};

use super::campaign::{
    Answer, BEGIN, CAMPAIGNS, Draws, HOUR, Plan, S, Spread, only, point, quantile, ranked,
};
use super::paper::Line;

/// Log-normal with median one hour; 15 % are never detected.
const SIGMA: f64 = 1.5;
const DETECTABLE: f64 = 0.85;

/// True quantile of all canaries, hours.
fn truth(p: f64) -> f64 {
    (SIGMA * Normal::standard().inverse_cdf(p / DETECTABLE)).exp()
}

/// True share detected within so many hours.
fn truly_within(hours: f64) -> f64 {
    DETECTABLE * Normal::standard().cdf(hours.ln() / SIGMA)
}

fn plan(seed: u64, deadline: u64) -> Plan {
    Plan {
        seed,
        count: 336,
        window: 7 * 24 * HOUR,
        arrivals: Arrivals::Stratified,
        begin: BEGIN,
        deadline,
        horizon: 30 * 24 * HOUR,
        look_every: 6 * HOUR,
        share: 0.5,
        rule_period: None,
    }
}

/// Proven deliveries, detected after a log-normal time or never.
fn canaries(plan: &Plan, study: u64) -> Vec<(u64, Answer)> {
    let mut draws = Draws::new(study, plan.seed);
    plan.instants()
        .into_iter()
        .map(|at| {
            let (ever, hours) = (draws.uniform() < DETECTABLE, draws.lognormal(SIGMA));
            (at, Answer { after_ns: ever.then_some((hours * HOUR as f64) as u64), proven: true })
        })
        .collect()
}

/// p50 and p80 of the report, then of the detected ones alone; hours.
#[derive(Clone, Copy)]
struct Never {
    report: [Spread; 2],
    naive: [Spread; 2],
}

fn run_never() -> (Never, Never) {
    static FOUND: OnceLock<(Never, Never)> = OnceLock::new();
    *FOUND.get_or_init(|| (each_never(24 * HOUR), each_never(HOUR)))
}

fn each_never(deadline: u64) -> Never {
    let end = BEGIN + 7 * 24 * HOUR;
    let hours = |s: Option<f64>| s.map(|s| s / 3_600.0);
    let (mut report, mut naive) = ([vec![], vec![]], [vec![], vec![]]);
    for seed in 0..CAMPAIGNS {
        let plan = plan(seed, deadline);
        let canaries = canaries(&plan, 3);
        let model = plan.report(&canaries, end, None);
        let seen = canaries.iter().filter_map(|(at, answer)| {
            answer.after_ns.filter(|after| at + after <= end).map(|ns| Some(ns as f64 / S as f64))
        });
        let seen: Vec<Option<f64>> = seen.collect();
        for (index, p) in [0.5, 0.8].into_iter().enumerate() {
            report[index].push(hours(quantile(&model, p)));
            naive[index].push(hours(Some(ranked(seen.clone(), p))));
        }
    }
    let spread = |list: Vec<Option<f64>>| Spread::of(&list);
    Never { report: report.map(spread), naive: naive.map(spread) }
}

pub fn never() -> Vec<Line> {
    let study = "15 % never detected, 336 canaries over 7 days";
    let (long, short) = run_never();
    let mut lines = Vec::new();
    for (index, p) in [0.5, 0.8].into_iter().enumerate() {
        let mut line = |what: &str, hours: Spread| {
            let name = format!("p{:.0}, {what}", p * 100.0);
            lines.push(Line(study, name, format!("{:.2} h", truth(p)), hours.words(2, "h")));
        };
        line("report", long.report[index]);
        line("report, deadline 1 h", short.report[index]);
        line("detected only (naive)", long.naive[index]);
    }
    lines
}

#[test]
fn what_is_never_detected_is_not_dropped_and_the_deadline_changes_nothing() {
    assert!((truth(0.5) - 1.40).abs() < 0.01 && (truth(0.8) - 10.5).abs() < 0.1);
    let (long, short) = run_never();
    for (index, p) in [0.5, 0.8].into_iter().enumerate() {
        let found = long.report[index].middle;
        assert!((found / truth(p) - 1.0).abs() < 0.05, "p{p}: {found} is not {}", truth(p));
        let naive = long.naive[index].middle;
        assert!(naive < 0.8 * truth(p), "naive p{p}: {naive}");
        assert_eq!(found, short.report[index].middle, "a deadline below p80 changes p{p}");
    }
}

/// Share left out, share counted as failed, naive share, and the curve's p50 in hours.
fn run_unproven() -> [Spread; 4] {
    static FOUND: OnceLock<[Spread; 4]> = OnceLock::new();
    *FOUND.get_or_init(each_unproven)
}

fn each_unproven() -> [Spread; 4] {
    let mut found = [vec![], vec![], vec![], vec![]];
    for seed in 0..CAMPAIGNS {
        let plan = plan(seed, 4 * HOUR);
        let mut canaries = canaries(&plan, 4);
        let mut draws = Draws::new(5, seed);
        for (_, answer) in &mut canaries {
            // One in five receipts is lost; half of those deliveries never happened.
            answer.proven = draws.uniform() >= 0.2;
            if !answer.proven && draws.uniform() < 0.5 {
                answer.after_ns = None;
            }
        }
        let model = plan.report(&canaries, BEGIN + 8 * 24 * HOUR, None);
        let share = &only(&model).share;
        // Who takes every sighting for a proof of delivery lets the detection choose its denominator.
        let seen = |a: &Answer| a.after_ns.is_some_and(|ns| ns <= 4 * HOUR);
        let counted = canaries.iter().filter(|(_, a)| a.proven || a.after_ns.is_some()).count();
        let in_time = canaries.iter().filter(|(_, a)| seen(a)).count();
        let p50 = quantile(&model, 0.5).map(|s| s / 3_600.0);
        let figures = [
            Some(point(&share.left_out)),
            Some(point(&share.counted_as_failed)),
            Some(in_time as f64 / counted as f64),
            p50,
        ];
        found.iter_mut().zip(figures).for_each(|(list, figure)| list.push(figure));
    }
    found.map(|list| Spread::of(&list))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn percents(shares: Spread) -> String {
    shares.times(100.0).words(1, "%")
}

pub fn unproven() -> Vec<Line> {
    let study = "20 % of 336 deliveries unproven, half of them lost";
    let [left_out, failed, naive, p50] = run_unproven();
    let truth_share = percent(truly_within(4.0));
    let line = |name: &str, found| Line(study, name.into(), truth_share.clone(), percents(found));
    vec![
        line("share in time, unproven ones left out", left_out),
        line("share in time, counted as failed (the worse end)", failed),
        line("share, a sighting taken as proof (naive)", naive),
        Line(study, "p50".into(), format!("{:.2} h", truth(0.5)), p50.words(2, "h")),
    ]
}

#[test]
fn unproven_deliveries_do_not_bias_the_share() {
    let [left_out, failed, naive, p50] = run_unproven().map(|found| found.middle);
    let true_share = truly_within(4.0);
    assert!((left_out - true_share).abs() < 0.01, "{left_out} is not {true_share}");
    assert!(failed < true_share, "the worse end lies below: {failed}");
    assert!(naive > true_share + 0.005 && naive > left_out + 0.008, "the study can tell: {naive}");
    assert!((p50 / truth(0.5) - 1.0).abs() < 0.05, "{p50}");
}

/// A report at half time of a campaign whose ledger goes on.
fn halfway(seed: u64) -> (Vec<(u64, Answer)>, u64, ReportModel) {
    let plan = plan(seed, 12 * HOUR);
    let canaries = canaries(&plan, 6);
    let cut = BEGIN + 84 * HOUR;
    let model = plan.report(&canaries, BEGIN + 7 * 24 * HOUR, Some(cut));
    (canaries, cut, model)
}

/// Both ends of the share, then seen so far of sent and of decided.
fn run_midway() -> [Spread; 4] {
    static FOUND: OnceLock<[Spread; 4]> = OnceLock::new();
    *FOUND.get_or_init(each_midway)
}

fn each_midway() -> [Spread; 4] {
    let mut found = [vec![], vec![], vec![], vec![]];
    for seed in 0..CAMPAIGNS {
        let (canaries, cut, model) = halfway(seed);
        let share = &only(&model).share;
        let sent: Vec<_> = canaries.iter().filter(|(at, _)| *at <= cut).collect();
        let in_time = |(at, a): &(u64, Answer)| {
            a.after_ns.is_some_and(|ns| ns <= 12 * HOUR && at + ns <= cut)
        };
        let seen = sent.iter().filter(|c| in_time(c)).count() as f64;
        let decided = sent.iter().filter(|c| in_time(c) || c.0 + 12 * HOUR <= cut).count() as f64;
        let figures = [
            point(&share.left_out),
            point(&share.counted_as_failed),
            seen / sent.len() as f64,
            seen / decided,
        ];
        found.iter_mut().zip(figures).for_each(|(list, figure)| list.push(Some(figure)));
    }
    found.map(|list| Spread::of(&list))
}

pub fn midway() -> Vec<Line> {
    let study = "report at half time of 336 canaries, deadline 12 h";
    let [left_out, failed, sent, decided] = run_midway();
    let truth = percent(truly_within(12.0));
    let line = |name: &str, found| Line(study, name.into(), truth.clone(), percents(found));
    vec![
        line("share in time", left_out),
        line("share in time, worse end", failed),
        line("seen of all sent (naive)", sent),
        line("seen of all decided (naive)", decided),
    ]
}

#[test]
fn a_report_in_mid_campaign_is_unbiased() {
    let [left_out, failed, sent, decided] = run_midway().map(|found| found.middle);
    let truth = truly_within(12.0);
    assert!((left_out - truth).abs() < 0.01, "{left_out} is not {truth}");
    assert!((failed - truth).abs() < 0.01, "{failed} is not {truth}");
    assert!(sent < truth - 0.01 || decided > truth + 0.005, "the study can tell: {sent} {decided}");
}

#[test]
fn a_report_at_an_earlier_cut_is_the_report_that_was_made_then() {
    let (canaries, cut, later) = halfway(7);
    let then = plan(7, 12 * HOUR).report(&canaries, cut, Some(cut));
    let sent = canaries.iter().filter(|(at, _)| *at <= cut).count() as u64;
    assert_eq!(then.routes[0].injected, sent);
    let json = |model| serde_json::to_value(model).unwrap();
    assert_eq!(json(&later)["routes"][0]["planned"], json(&then)["routes"][0]["planned"]);
    assert!(json(&later) == json(&then), "the same cut gives another report");
}
