//! How often 95 % intervals of a quantile hold the planted one.
//!
//! The canaries of a scenario are dealt into batches of [`BATCH`], every k-th into the same one, and each
//! batch gives one interval a quantile. What is counted over all scenarios is one interval a batch: two
//! quantiles of the same canaries err together, and would count as two only on paper.
//!
//! Batches share no canary and no draw of a delay or a loss; a simulation (the tests) finds the two
//! intervals of one batch correlated by 0.25, and those of different batches varying as independent ones
//! do. What batches do share: the schedule, which puts one canary into each equal part of the window.
//! Where a rule's period decides the times (`phase-locked`) a batch is therefore spread evenly over the
//! rule's phases and its interval always holds: the aim is missed by chance less often than it says,
//! never more often. And the machine, whose stalls all batches meet.

use super::model::Coverage;
use super::sample;
use super::scenario::{BATCH, Scenario};
use crate::dispatch::outcome::RouteView;
use crate::report::observation;
use crate::report::words::duration;
use crate::stats::proportion::clopper_pearson;
use crate::stats::survival::{Band, Curve, Observation};

/// One row a quantile, in the scenario's order.
pub(super) fn of_quantiles(scenario: &Scenario, route: &RouteView) -> Vec<Coverage> {
    let at = route.plan.expectations.iter().position(|e| e.name == "detected");
    let batches = batches(route.canaries.len());
    let mut of: Vec<Vec<Observation>> = vec![Vec::new(); batches];
    for canary in &route.canaries {
        let verdict = at.and_then(|at| canary.verdicts.get(at));
        let batch = of.get_mut(canary.slot as usize % batches);
        if let (Some(batch), Some(verdict)) = (batch, verdict) {
            batch.extend(observation(canary, verdict));
        }
    }
    let row = |p: &f64| {
        let planted = scenario.planted_ns(*p);
        let held = of.iter().filter(|batch| holds(batch, planted, *p)).count() as u64;
        let words = planted.map_or("never reached".to_owned(), duration);
        let what = format!("95 % interval of p{}, planted {words}", p * 100.0);
        by_chance(&what, scenario.name, Some(scenario.loss), (held, batches as u64))
    };
    scenario.quantiles.iter().map(row).collect()
}

/// Over all scenarios, each of which is a list of rows: one interval a batch, of the first quantile.
pub(super) fn all(scenarios: &[Vec<Coverage>]) -> Coverage {
    let first = || scenarios.iter().filter_map(|rows| rows.first());
    let held = first().map(|row| row.held).sum();
    let n = first().map(|row| row.n).sum();
    by_chance("95 % intervals of quantiles, one a batch", "all", None, (held, n))
}

fn batches(canaries: usize) -> usize {
    (canaries / BATCH).max(1)
}

/// Whether the interval of a batch holds the planted quantile; `None` is one that is never reached.
fn holds(batch: &[Observation], planted: Option<u64>, p: f64) -> bool {
    let found = Curve::fit(batch).quantile(p, Band::LogLog, 0.95);
    let (low, high) = (found.lower.ns(), found.upper.ns());
    match planted {
        Some(planted) => {
            low.is_some_and(|low| low <= planted) && high.is_none_or(|high| high >= planted)
        }
        None => high.is_none(),
    }
}

/// Held against what intervals of 95 % must reach.
fn by_chance(of: &str, scenario: &str, loss: Option<f64>, (held, n): (u64, u64)) -> Coverage {
    coverage(of, scenario, loss, (held, n), Some(sample::fewest_by_chance(n, 0.95)))
}

/// `least`: fewest that must hold; `None` demands all.
pub(super) fn coverage(
    of: &str,
    scenario: &str,
    loss: Option<f64>,
    (held, n): (u64, u64),
    least: Option<u64>,
) -> Coverage {
    let limits = clopper_pearson(held, n, 0.95);
    Coverage {
        of: of.into(),
        scenario: scenario.into(),
        loss,
        held,
        n,
        lower: limits.lower,
        upper: limits.upper,
        aim: match least {
            None => "all".into(),
            Some(least) => format!("at least {least}: fewer come by chance once in 1,000 at 95 %"),
        },
        met: n > 0 && held >= least.unwrap_or(n),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::calibration::scenario::{Length, MS, SCENARIOS};
    use crate::config::checked::Arrivals;
    use crate::detector::Draws;
    use crate::schedule::{Demand, plan};

    /// Whether each batch's interval of each quantile holds, in one simulated calibration: the schedule is
    /// the program's own, delays and losses are drawn, the rule has a phase.
    fn simulated(seed: u64, scenario: &Scenario, planted: &[Option<u64>]) -> Vec<Vec<bool>> {
        let length = Length::Default;
        let demand = Demand {
            route: scenario.name,
            count: scenario.count(length),
            window: Duration::from_secs(length.window_s()),
            arrivals: Arrivals::Stratified,
            min_gap: Duration::ZERO,
            not_before_ns: 0,
        };
        let mut draws = Draws::new(seed, scenario.name);
        let every = scenario.every_ms * MS;
        let phase = (draws.unit() * every as f64) as u64;
        let batches = batches(scenario.count(length) as usize);
        let mut of: Vec<Vec<Observation>> = vec![Vec::new(); batches];
        for arrival in plan(seed, &demand) {
            let lost = draws.chance(scenario.loss);
            let found = arrival.offset_ns + draws.delay(&scenario.delay);
            let run = (found + every - phase).div_ceil(every) * every + phase - every;
            let time_ns = if lost { 60_000 * MS } else { run - arrival.offset_ns };
            of[arrival.slot as usize % batches].push(Observation { time_ns, event: !lost });
        }
        let held = |(p, planted): (&f64, &Option<u64>)| {
            of.iter().map(|batch| holds(batch, *planted, *p)).collect()
        };
        scenario.quantiles.iter().zip(planted).map(held).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn covariance(one: &[f64], other: &[f64]) -> f64 {
        let (a, b) = (mean(one), mean(other));
        one.iter().zip(other).map(|(x, y)| (x - a) * (y - b)).sum::<f64>() / one.len() as f64
    }

    fn numbers(held: &[bool]) -> Vec<f64> {
        held.iter().map(|held| f64::from(u8::from(*held))).collect()
    }

    #[test]
    fn the_line_over_all_scenarios_counts_each_batch_once() {
        let row = |held| by_chance("p", "s", None, (held, 22));
        let all = all(&[vec![row(20)], vec![], vec![row(19), row(22)]]);
        assert_eq!((all.held, all.n), (39, 44));
    }

    /// What the line over all scenarios assumes, looked at in 300 calibrations.
    #[test]
    fn intervals_of_one_batch_err_together_and_those_of_different_batches_do_not() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut below_aim = 0;
        let planted: BTreeMap<&str, Vec<Option<u64>>> = SCENARIOS
            .iter()
            .map(|s| (s.name, s.quantiles.iter().map(|p| s.planted_ns(*p)).collect()))
            .collect();
        for seed in 0..300 {
            let (mut held, mut n) = (0.0, 0);
            for scenario in SCENARIOS.iter().filter(|s| !s.quantiles.is_empty()) {
                let rows = simulated(seed, scenario, &planted[scenario.name]);
                let one = numbers(&rows[0]);
                held += one.iter().sum::<f64>();
                n += one.len() as u64;
                shares.entry(scenario.name).or_default().push(mean(&one));
                if let Some(row) = rows.get(1) {
                    first.extend(one);
                    second.extend(numbers(row));
                }
            }
            below_aim += u64::from((held as u64) < sample::fewest_by_chance(n, 0.95));
        }
        // The reason why the line counts one interval a batch: the two of `loss-50` are no two.
        let spread = covariance(&first, &first) * covariance(&second, &second);
        let correlation = covariance(&first, &second) / spread.sqrt();
        assert!(correlation > 0.15, "{correlation}");
        // Batches of one scenario: what they hold varies as independent ones do.
        for name in ["loss-0", "loss-10", "loss-50"] {
            let share = mean(&shares[name]);
            let ratio = covariance(&shares[name], &shares[name]) * 22.0 / (share * (1.0 - share));
            assert!((0.94..0.985).contains(&share), "{name}: {share}");
            assert!((0.8..1.2).contains(&ratio), "{name}: {ratio}");
        }
        // Spread evenly over the rule's phases: what the page says of it.
        assert!(mean(&shares["phase-locked"]) > 0.995);
        assert_eq!(below_aim, 0, "of 300, with a chance of at most once in 1,000");
    }
}
