//! Each comparison with planted truth: it agrees when it should, and not when it should not.

use super::*;
use crate::dispatch::outcome::{Dated, Delivery, Interval};
use crate::ledger::{EventResult, Grade, ReceiptRow, RoutePlan};
use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::BootId;
use dwell_injectors::token::Epoch;

const MS: i64 = 1_000_000;
const START: Stamp =
    Stamp { wall_ns: 1_700_000_000_000_000_000, boot_ns: 1 << 40, boot: BootId(7) };

fn at(ms: i64) -> Stamp {
    START.plus_ns(ms * MS)
}

fn id(serial: u32) -> TokenId {
    TokenId { epoch: Epoch(1), serial }
}

/// Texts of these tests are `canary N`.
fn tokens(text: &str) -> Vec<TokenId> {
    text.strip_prefix("canary ").and_then(|n| n.parse().ok()).map(id).into_iter().collect()
}

/// What happened, and what was measured of it.
struct World {
    rows: Vec<Row>,
    truth: Vec<TruthRow>,
    assessment: Assessment,
    reasons: Vec<String>,
}

impl World {
    fn new(routes: Vec<RouteView>) -> World {
        let assessment = Assessment {
            campaign: "demo".into(),
            campaign_of: (1, 1),
            cut: at(60_000).wall_ns,
            runs: Vec::new(),
            ended: BTreeMap::new(),
            routes,
            coverage: BTreeMap::new(),
            watchers: Vec::new(),
            proven: Vec::new(),
            strays: BTreeMap::new(),
            controls: Vec::new(),
            clock_steps: Vec::new(),
            opened: Vec::new(),
            verifies: BTreeMap::new(),
        };
        World { rows: Vec::new(), truth: Vec::new(), assessment, reasons: Vec::new() }
    }

    fn judge(&self, of: impl Fn(&Evidence<'_>, &Tied<'_>) -> Check) -> Check {
        let evidence = Evidence {
            rows: &self.rows,
            assessment: &self.assessment,
            truth: &self.truth,
            tokens: &tokens,
            explain: &|_| self.reasons.clone(),
        };
        let tied = tie(&evidence);
        of(&evidence, &tied)
    }

    fn submitted(&mut self, canary: u32, ms: i64) {
        self.rows.push(Row::Receipt(ReceiptRow {
            canary: id(canary),
            event: 0,
            submitted_at: at(ms),
            late_ns: 0,
            result: EventResult::Accepted { at: None, strength: Strength::Written, place: None },
        }));
    }

    fn seen(&mut self, watcher: &str, native: &str, interval: (Option<i64>, i64)) {
        self.rows.push(Row::Sighting(SightingRow {
            canary: id(0),
            watcher: watcher.into(),
            stage: Stage::Detected,
            observed: at(interval.1),
            not_before: interval.0.map(at),
            native_id: native.into(),
            rule: None,
            rule_names: Vec::new(),
            event_time_ns: None,
            created_time_ns: None,
            grade: Grade::Exact,
            retrospective: false,
            excerpt: String::new(),
        }));
    }

    fn searchable(&mut self, canary: u32, ms: i64) {
        self.truth.push(TruthRow::Searchable {
            document: format!("doc-{canary}"),
            source: "source".into(),
            stamp: at(ms),
            text: format!("canary {canary}"),
        });
    }

    /// The canary's document is searchable at once; its alert leaves by the file at `ms`.
    fn alerted(&mut self, canary: u32, title: &str, ms: i64) {
        self.searchable(canary, 0);
        self.truth.push(TruthRow::Created {
            alert: format!("alert-{canary}"),
            rule: "rule".into(),
            sigma: None,
            title: title.into(),
            document: format!("doc-{canary}"),
            stamp: at(ms),
        });
        self.emitted(&format!("alert-{canary}"), ms, false);
    }

    fn emitted(&mut self, alert: &str, ms: i64, copy: bool) {
        self.truth.push(TruthRow::Emitted {
            alert: alert.into(),
            outlet: "alert-file".into(),
            stamp: at(ms),
            attempt: 1,
            copy,
        });
    }
}

/// A route with one expectation, `detected` within a second, and these outcomes.
fn route_of(name: &str, outcomes: &[(Outcome, Stage)]) -> RouteView {
    let plan = RoutePlan {
        name: name.into(),
        recipe: "family/recipe".into(),
        attack: Vec::new(),
        enters_at: "host-log".into(),
        owner: "owner".into(),
        supplier: false,
        target: "file".into(),
        proof: Strength::Written,
        planned: outcomes.len() as u32,
        expectations: vec![ExpectationPlan {
            name: "detected".into(),
            stage: Stage::Detected,
            watchers: vec!["alerts".into()],
            rules: vec!["Wanted".into()],
            deadline_ns: 1_000 * MS as u64,
            horizon_ns: 60_000 * MS as u64,
            rule_period_ns: None,
            share: 0.95,
            confidence: None,
            min_n: 1,
        }],
    };
    let canaries = outcomes.iter().zip(0..).map(|(found, n)| canary(n, found)).collect();
    RouteView {
        plan,
        planned: outcomes.len() as u64,
        runs: vec![1],
        runs_in_all: 1,
        claims: Vec::new(),
        withdrawn: Vec::new(),
        canaries,
    }
}

fn canary(serial: u32, (outcome, last_stage): &(Outcome, Stage)) -> CanaryView {
    let seen = matches!(outcome, Outcome::Detected | Outcome::Late);
    let verdict = Verdict {
        expectation: 0,
        outcome: *outcome,
        reason: None,
        ttd: seen.then_some(Interval { lower_ns: 0, upper_ns: 500 * MS as u64 }),
        ttd_completing: None,
        watcher: None,
        rule: None,
        by_created_time: false,
        dated: Dated::BySight,
        other_rule: None,
        other_rule_ns: None,
        censored_at_ns: None,
        polled: false,
        caught_up: false,
    };
    CanaryView {
        id: id(serial),
        run: 1,
        slot: serial,
        intended: START.wall_ns,
        submitted: START.wall_ns,
        submitted_wall_ns: START.wall_ns,
        late_ns: Some(0),
        completing_after_ns: Some(0),
        delivery: Delivery::Proven,
        receipt_contradicted: false,
        last_stage: *last_stage,
        stages: Vec::new(),
        verdicts: vec![verdict],
        across_reboot: false,
        clock_stepped: false,
        retrospective: 0,
        outside: 0,
        excess: 0,
    }
}

fn by_file(world: &World) -> Check {
    world.judge(|e, t| pushed(e, t, "alerts", "alert-file", "file"))
}

#[test]
fn quantiles_are_values_of_the_sample_by_nearest_rank() {
    let sample: Vec<i64> = (1..=200).collect();
    assert_eq!(quantile(&sample, 0.5), Some(100));
    assert_eq!(quantile(&sample, 0.99), Some(198));
    assert_eq!(quantile(&sample, 1.0), Some(200));
    assert_eq!(quantile(&[5], 0.01), Some(5));
    assert_eq!(quantile(&[], 0.5), None);
    assert_eq!(milliseconds(1_234_567), "1.23 ms");
    assert_eq!(milliseconds(-2_500_000_000), "-2.50 s");
}

#[test]
fn emissions_agree_only_when_all_are_seen_after_they_happened_and_soon() {
    let with = |seen: &[(&str, i64)]| {
        let mut world = World::new(Vec::new());
        world.emitted("a", 100, false);
        world.emitted("b", 200, false);
        world.emitted("b", 900, true);
        for (alert, ms) in seen {
            world.seen("alerts", alert, (None, *ms));
        }
        by_file(&world)
    };
    let good = with(&[("a", 101), ("b", 203)]);
    assert!(good.agrees, "{good:?}");
    assert_eq!(
        good.measured,
        "2 seen; measured minus true: p50 1.00 ms, p99 3.00 ms, least 1.00 ms"
    );
    assert!(!with(&[("a", 101)]).agrees, "one was not seen");
    assert!(!with(&[("a", 101), ("b", 199)]).agrees, "seen before it left");
    assert!(!with(&[("a", 101), ("b", 451)]).agrees, "far too late");
    assert!(!with(&[]).agrees, "nothing seen");
}

#[test]
fn a_polled_interval_must_hold_the_true_instant() {
    let with = |interval| {
        let mut world = World::new(Vec::new());
        world.searchable(1, 100);
        world.seen(plan::SEARCH, "doc-1", interval);
        world.judge(polled)
    };
    assert!(with((Some(50), 300)).agrees);
    assert!(with((Some(100), 100)).agrees, "both ends belong to it");
    assert!(with((None, 300)).agrees, "the submission is the lower end");
    assert!(!with((Some(101), 300)).agrees, "begins after it");
    assert!(!with((Some(50), 99)).agrees, "ends before it");
    let mut unseen = World::new(Vec::new());
    unseen.searchable(1, 100);
    assert!(!unseen.judge(polled).agrees, "a document was not seen");
}

#[test]
fn outcomes_follow_from_the_truth_with_grace_only_near_a_limit() {
    let with = |outcome, title: &str, ms| {
        let mut world = World::new(vec![route_of("r", &[(outcome, Stage::Detected)])]);
        world.submitted(0, 0);
        world.alerted(0, title, ms);
        world.judge(outcomes)
    };
    assert!(with(Outcome::Detected, "Wanted", 500).agrees);
    assert!(with(Outcome::Late, "Wanted", 5_000).agrees);
    assert!(with(Outcome::Missed, "Other", 500).agrees, "another rule does not count");
    let wrong = with(Outcome::Detected, "Wanted", 5_000);
    assert!(!wrong.agrees);
    assert!(wrong.measured.contains("r detected is detected and should be late"), "{wrong:?}");
    assert!(!with(Outcome::Missed, "Wanted", 500).agrees);
    assert!(!with(Outcome::Detected, "Other", 500).agrees);
    let near = with(Outcome::Late, "Wanted", 990);
    assert!(near.agrees && near.measured.contains("1 within reach"), "{near:?}");
    let mut nothing = World::new(vec![route_of("r", &[(Outcome::Missed, Stage::Sent)])]);
    assert!(!nothing.judge(outcomes).agrees, "no receipt, so nothing was compared");
    nothing.submitted(0, 0);
    assert!(nothing.judge(outcomes).agrees, "no alert ever: missed");
}

#[test]
fn losses_must_be_the_very_ones_and_as_many_as_planted() {
    let with = |measured: &[u32], truly: &[u32]| {
        let canaries: Vec<_> = (0..40)
            .map(|n| if measured.contains(&n) { Stage::Delivered } else { Stage::Detected })
            .map(|stage| (Outcome::Detected, stage))
            .collect();
        let mut world = World::new(vec![route_of(plan::LOSSY.0, &canaries)]);
        world.truth.extend(truly.iter().map(|n| TruthRow::Lost {
            source: plan::LOSSY.0.into(),
            stamp: at(0),
            text: format!("canary {n}"),
        }));
        world.judge(lost)
    };
    let eight: Vec<u32> = (0..8).collect();
    assert!(with(&eight, &eight).agrees);
    assert!(!with(&eight, &(1..9).collect::<Vec<_>>()).agrees, "others were lost");
    assert!(!with(&[], &[]).agrees, "a feed that loses a fifth loses some of forty");
    let most: Vec<u32> = (0..30).collect();
    assert!(!with(&most, &most).agrees, "far more than planted");
}

#[test]
fn a_parsers_fault_must_be_missed_at_ingested_and_explained_by_its_field() {
    let with = |outcome, reason: &str| {
        let mut world = World::new(vec![route_of(plan::FAULTY.0, &[(outcome, Stage::Ingested)])]);
        world.reasons = vec![reason.into()];
        world.judge(|e, _| stopped_at_ingested(e)[1].clone())
    };
    let told = format!("`{}` is not there", plan::FAULTY.1);
    assert!(with(Outcome::Missed, &told).agrees);
    assert!(!with(Outcome::Missed, "something else").agrees);
    assert!(!with(Outcome::Detected, &told).agrees);
    let silent = |found: &[(Outcome, Stage)]| {
        let world = World::new(vec![route_of(plan::SILENT, found)]);
        world.judge(|e, _| stopped_at_ingested(e)[0].clone()).agrees
    };
    let missed = (Outcome::Missed, Stage::Ingested);
    assert!(silent(&[missed, missed]));
    assert!(!silent(&[missed, (Outcome::Missed, Stage::Delivered)]));
    assert!(!silent(&[]), "no canaries");
}

#[test]
fn the_slow_route_and_the_bursts_are_judged() {
    let slow_at = |ms| {
        let mut world =
            World::new(vec![route_of(plan::SLOW, &[(Outcome::Detected, Stage::Detected)])]);
        world.submitted(0, 0);
        world.alerted(0, "Wanted", ms);
        world.judge(slow)
    };
    assert!(slow_at(490).agrees);
    assert!(!slow_at(100).agrees, "500 ms were measured");
    let bursts = |outcome| {
        let found = [(Outcome::Late, Stage::Detected), (outcome, Stage::Detected)];
        World::new(vec![route_of(plan::BURST, &found)]).judge(|e, _| burst(e)).agrees
    };
    assert!(bursts(Outcome::Detected));
    assert!(!bursts(Outcome::Missed));
}
