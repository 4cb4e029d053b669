//! One campaign in virtual time: the schedule's instants, a world that answers them, the rows that
//! the ledger would hold, and the report that is made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dwell::config::checked::Arrivals;
use dwell::dispatch::outcome::Fold;
use dwell::ledger::*;
use dwell::report::model::{ExpectationReport, Share};
use dwell::report::{Beside, ReportModel};
use dwell::schedule::{self, Demand};
use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Stamp};
use dwell_injectors::token::{Epoch, TokenId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};

pub const S: u64 = 1_000_000_000;
pub const HOUR: u64 = 3_600 * S;
/// Wall instant of every campaign's beginning, divisible by an hour.
pub const BEGIN: u64 = 1_795_003_200 * S;
/// Campaigns of each study.
pub const CAMPAIGNS: u64 = 200;

/// What the world does with one canary.
#[derive(Clone, Copy)]
pub struct Answer {
    /// Seen so long after submission; `None` for never.
    pub after_ns: Option<u64>,
    /// The receipt proves the delivery.
    pub proven: bool,
}

/// A campaign to be made.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub count: u32,
    pub window: u64,
    pub arrivals: Arrivals,
    pub begin: u64,
    pub deadline: u64,
    pub horizon: u64,
    pub look_every: u64,
    /// The objective's share.
    pub share: f64,
    pub rule_period: Option<u64>,
}

impl Plan {
    /// Instants of submission, wall nanoseconds: the product's schedule.
    pub fn instants(&self) -> Vec<u64> {
        let demand = Demand {
            route: "study",
            count: self.count,
            window: Duration::from_nanos(self.window),
            arrivals: self.arrivals,
            min_gap: Duration::ZERO,
            not_before_ns: 0,
        };
        schedule::plan(self.seed, &demand).iter().map(|a| self.begin + a.offset_ns).collect()
    }

    /// The report at the cut, from the rows of a ledger that was written until `until`.
    pub fn report(&self, canaries: &[(u64, Answer)], until: u64, cut: Option<u64>) -> ReportModel {
        self.report_with(canaries, vec![], until, cut)
    }

    /// The same with further rows.
    pub fn report_with(
        &self,
        canaries: &[(u64, Answer)],
        further: Vec<(u64, Row)>,
        until: u64,
        cut: Option<u64>,
    ) -> ReportModel {
        let mut rows = vec![(self.begin, self.run()), (self.begin, proven(self.begin))];
        for (serial, (at, answer)) in (1u32..).zip(canaries) {
            rows.extend(canary_rows(serial, *at, *answer));
        }
        let looks: BTreeSet<u64> = (self.begin..=until)
            .step_by(self.look_every as usize)
            .chain(cut)
            .chain([until])
            .collect();
        rows.extend(looks.into_iter().map(|at| (at, look(at))));
        rows.extend(further);
        rows.retain(|(at, _)| *at <= until);
        rows.sort_by_key(|(at, _)| *at);
        let mut fold = Fold::new(cut.map(|ns| ns as i64));
        rows.iter().for_each(|(_, row)| fold.apply(row));
        ReportModel::build(&fold.assess(None).unwrap(), &Beside::default())
    }

    fn run(&self) -> Row {
        let arrivals = serde_json::to_value(self.arrivals).unwrap();
        Row::Run(Box::new(RunStarted {
            calibration: None,
            at: at(self.begin),
            run: 1,
            campaign: "study".into(),
            seed: self.seed,
            arrivals: arrivals.as_str().unwrap().into(),
            starts: at(self.begin),
            window_ns: self.window,
            quiet_hours: vec![],
            config_digest: "c".into(),
            config: serde_json::json!({}),
            recipes: BTreeMap::new(),
            dialects: BTreeMap::new(),
            authorisation: None,
            routes: vec![self.route()],
            watchers: vec![WatcherPlan {
                name: "siem".into(),
                stage: Stage::Detected,
                kind: "file".into(),
                dialect: "wazuh4".into(),
                push: false,
                resolution_ns: 0,
                patience_ns: None,
                max_offset_ns: None,
                dates_stage: false,
                source: "alerts.json".into(),
            }],
        }))
    }

    fn route(&self) -> RoutePlan {
        RoutePlan {
            name: "study".into(),
            recipe: "fake-login/sshd-failed-password".into(),
            attack: vec![],
            enters_at: "host-log".into(),
            owner: "SOC".into(),
            supplier: false,
            target: "auth.log".into(),
            proof: Strength::Written,
            planned: self.count,
            expectations: vec![ExpectationPlan {
                name: "detected".into(),
                stage: Stage::Detected,
                watchers: vec!["siem".into()],
                rules: vec![],
                deadline_ns: self.deadline,
                horizon_ns: self.horizon,
                rule_period_ns: self.rule_period,
                share: self.share,
                confidence: None,
                min_n: 1,
            }],
        }
    }
}

fn at(ns: u64) -> Stamp {
    Stamp { wall_ns: ns as i64, boot_ns: ns - BEGIN + 10 * HOUR, boot: BootId(1) }
}

fn proven(ns: u64) -> Row {
    Row::Proven(Proven { watcher: "siem".into(), at: at(ns), config_digest: "c".into() })
}

fn look(ns: u64) -> Row {
    Row::Look(Look {
        watcher: "siem".into(),
        from: at(ns),
        to: at(ns),
        complete: true,
        unbroken: true,
        position: String::new(),
        records: 1,
    })
}

/// Intent (up to a second before its instant), receipt, sighting.
fn canary_rows(serial: u32, submitted: u64, answer: Answer) -> Vec<(u64, Row)> {
    let canary = TokenId { epoch: Epoch(1), serial };
    let intent = Row::Intent(Intent {
        canary,
        run: 1,
        route: 0,
        slot: serial - 1,
        intended: at(submitted),
        digests: vec![String::new()],
        completing: 0,
    });
    let result = match answer.proven {
        true => EventResult::Accepted {
            at: Some(at(submitted)),
            strength: Strength::Written,
            place: None,
        },
        false => EventResult::Unknown { reason: "timeout".into() },
    };
    let receipt = Row::Receipt(ReceiptRow {
        canary,
        event: 0,
        submitted_at: at(submitted),
        late_ns: 0,
        result,
    });
    let mut rows = vec![(submitted.saturating_sub(S), intent), (submitted, receipt)];
    if let Some(after) = answer.after_ns {
        rows.push((submitted + after, sighting(canary, Stage::Detected, submitted + after)));
    }
    rows
}

/// A sighting of that canary, counted from 1.
pub fn seen(serial: u32, stage: Stage, observed: u64) -> (u64, Row) {
    (observed, sighting(TokenId { epoch: Epoch(1), serial }, stage, observed))
}

fn sighting(canary: TokenId, stage: Stage, observed: u64) -> Row {
    Row::Sighting(SightingRow {
        canary,
        watcher: "siem".into(),
        stage,
        observed: at(observed),
        not_before: None,
        native_id: canary.to_string(),
        rule: None,
        rule_names: vec![],
        event_time_ns: None,
        created_time_ns: None,
        grade: Grade::Exact,
        retrospective: false,
        excerpt: String::new(),
    })
}

/// The only expectation of a study's report.
pub fn only(model: &ReportModel) -> &ExpectationReport {
    &model.routes[0].expectations[0]
}

/// A quantile of the report's own curve, seconds; `None` where it is not reached.
pub fn quantile(model: &ReportModel, p: f64) -> Option<f64> {
    let curve = &only(model).ttd.curve;
    curve.iter().find(|c| c.undetected <= 1.0 - p + 1e-12).map(|c| c.time_ns as f64 / S as f64)
}

/// The median as the report prints it, seconds.
pub fn printed_median(model: &ReportModel) -> f64 {
    let value = only(model).ttd.quantiles[0].value.unwrap();
    value.estimate.ns().unwrap() as f64 / S as f64
}

/// x of n.
pub fn point(share: &Share) -> f64 {
    share.point().unwrap()
}

/// Median of what the campaigns gave; one that gave nothing counts as the largest.
pub fn median(values: impl IntoIterator<Item = Option<f64>>) -> f64 {
    ranked(values, 0.5)
}

/// An empirical quantile.
pub fn ranked(values: impl IntoIterator<Item = Option<f64>>, p: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().map(|v| v.unwrap_or(f64::INFINITY)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() as f64 * p).ceil() as usize).clamp(1, sorted.len()) - 1]
}

/// What the campaigns gave: their median, and between what the middle nine of ten lie.
#[derive(Clone, Copy)]
pub struct Spread {
    pub middle: f64,
    low: f64,
    high: f64,
}

impl Spread {
    pub fn of(values: &[Option<f64>]) -> Spread {
        let at = |p| ranked(values.iter().copied(), p);
        Spread { middle: at(0.5), low: at(0.05), high: at(0.95) }
    }

    pub fn times(self, factor: f64) -> Spread {
        let [middle, low, high] = [self.middle, self.low, self.high].map(|value| value * factor);
        Spread { middle, low, high }
    }

    /// `1.40 h; 9 of 10 campaigns 1.13 to 1.76 h`.
    pub fn words(self, digits: usize, unit: &str) -> String {
        let number = |value: f64| match value.is_finite() {
            true => format!("{value:.digits$}"),
            false => "not reached".to_owned(),
        };
        let [middle, low, high] = [self.middle, self.low, self.high].map(number);
        format!("{middle} {unit}; 9 of 10 campaigns {low} to {high} {unit}")
    }
}

/// Draws of one campaign.
pub struct Draws(ChaCha20Rng);

impl Draws {
    pub fn new(study: u64, seed: u64) -> Draws {
        Draws(ChaCha20Rng::seed_from_u64(study << 32 | seed))
    }

    /// Strictly between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Log-normal with median one.
    pub fn lognormal(&mut self, sigma: f64) -> f64 {
        (sigma * Normal::standard().inverse_cdf(self.uniform())).exp()
    }
}
