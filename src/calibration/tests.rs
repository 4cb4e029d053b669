//! A planted world in which every scenario goes as planned, and planted mistakes of the measuring,
//! each of which must be seen.

use std::collections::BTreeMap;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Stamp};
use dwell_injectors::token::{Epoch, TokenId};

use super::judge::{Evidence, Findings, judge};
use super::scenario::*;
use super::{page, store};
use crate::detector::{Draws, TruthRow};
use crate::dispatch::outcome::Fold;
use crate::ledger::*;

const NS: i64 = MS as i64;
/// Canaries of each scenario.
const N: u32 = 60;
const END: i64 = 60_000;
const OUTAGE: (i64, i64) = (20_000, 23_000);

/// So many microseconds after the start.
fn at(us: i64) -> Stamp {
    let start = Stamp { wall_ns: 1_795_000_000_000 * NS, boot_ns: 1_000_000 * MS, boot: BootId(1) };
    start.plus_ns(us * 1000)
}

fn tokens(text: &str) -> Vec<TokenId> {
    let serial = text.strip_prefix("canary ").and_then(|n| n.parse().ok());
    serial.map(|serial| TokenId { epoch: Epoch(1), serial }).into_iter().collect()
}

#[derive(Clone)]
struct World {
    /// Those of the watchers that took part.
    kinds: &'static [Kind],
    rows: Vec<Row>,
    truth: Vec<TruthRow>,
}

fn expectation(scenario: &Scenario, (kind, name, stage): Kind) -> ExpectationPlan {
    let polled = scenario.line == Line::Faulty && kind == "poll";
    ExpectationPlan {
        name: name.into(),
        stage,
        watchers: vec![scenario.line.watcher(kind)],
        rules: vec![],
        deadline_ns: MS * if polled { FAULTY_POLL_DEADLINE_MS } else { DEADLINE_MS },
        horizon_ns: 60_000 * MS,
        rule_period_ns: None,
        share: 1.0,
        confidence: None,
        min_n: 1,
    }
}

/// Kind of watcher, name of its expectation, stage.
type Kind = (&'static str, &'static str, Stage);
const KINDS: [Kind; 4] = [
    ("poll", "ingested", Stage::Ingested),
    ("file", "detected", Stage::Detected),
    ("webhook", "notified", Stage::Notified),
    ("kafka", "acknowledged", Stage::Acknowledged),
];

fn started(kinds: &[Kind]) -> RunStarted {
    let route = |s: &Scenario| RoutePlan {
        name: s.name.into(),
        recipe: "r".into(),
        attack: vec![],
        enters_at: "host-log".into(),
        owner: "o".into(),
        supplier: false,
        target: "t".into(),
        proof: Strength::Written,
        planned: N,
        expectations: kinds.iter().map(|kind| expectation(s, *kind)).collect(),
    };
    let watchers = Line::ALL.iter().flat_map(|line| {
        kinds.iter().map(|(kind, _, stage)| WatcherPlan {
            name: line.watcher(kind),
            stage: *stage,
            kind: (*kind).into(),
            dialect: "d".into(),
            push: *kind == "webhook",
            resolution_ns: 0,
            patience_ns: None,
            max_offset_ns: None,
            dates_stage: false,
            source: "s".into(),
        })
    });
    RunStarted {
        at: at(0),
        run: 1,
        campaign: "calibration".into(),
        seed: 1,
        arrivals: "stratified".into(),
        starts: at(0),
        window_ns: 1,
        quiet_hours: vec![],
        config_digest: "c".into(),
        config: serde_json::json!({}),
        recipes: BTreeMap::new(),
        dialects: BTreeMap::new(),
        authorisation: None,
        calibration: None,
        routes: SCENARIOS.iter().map(route).collect(),
        watchers: watchers.collect(),
    }
}

impl World {
    fn sound() -> World {
        World::of(&KINDS[..3])
    }

    fn with_kafka() -> World {
        World::of(&KINDS)
    }

    fn of(kinds: &'static [Kind]) -> World {
        let run = started(kinds);
        let watchers = run.watchers.clone();
        let mut world = World { kinds, rows: vec![Row::Run(Box::new(run))], truth: vec![] };
        for watcher in watchers {
            let name = watcher.name;
            let proven = Proven { watcher: name.clone(), at: at(1), config_digest: "c".into() };
            world.rows.push(Row::Proven(proven));
            for (from, to) in [(0, END * 1000), (END * 1000, END * 1000 + 10)] {
                world.rows.push(Row::Look(Look {
                    watcher: name.clone(),
                    from: at(from),
                    to: at(to),
                    complete: true,
                    unbroken: true,
                    position: String::new(),
                    records: 1,
                }));
            }
        }
        world.rows.push(Row::Blind(Blind {
            watcher: Line::Faulty.watcher("poll"),
            from: at(OUTAGE.0 * 1000),
            to: Some(at(OUTAGE.1 * 1000)),
            reason: "503".into(),
            ours: false,
            recovered: true,
        }));
        for (route, scenario) in (0..).zip(&SCENARIOS) {
            let mut draws = Draws::new(5, scenario.name);
            for slot in 0..N {
                world.canary(route, scenario, slot, &mut draws);
            }
        }
        world.rows.push(Row::Ended(Ended { at: at(END * 1001), run: 1, reason: "decided".into() }));
        world
    }

    fn canary(&mut self, route: u32, scenario: &Scenario, slot: u32, draws: &mut Draws) {
        let serial = route * 1000 + slot;
        let canary = TokenId { epoch: Epoch(1), serial };
        let left = i64::from(slot) * 700_000;
        self.rows.push(Row::Intent(Intent {
            canary,
            run: 1,
            route,
            slot,
            intended: at(left),
            digests: vec!["x".into()],
            completing: 0,
        }));
        self.rows.push(Row::Receipt(ReceiptRow {
            canary,
            event: 0,
            submitted_at: at(left),
            late_ns: 0,
            result: EventResult::Accepted { at: None, strength: Strength::Written, place: None },
        }));
        let text = format!("canary {serial}");
        let lost = draws.chance(scenario.loss);
        let found = left + (draws.delay(&scenario.delay) / 1000) as i64 + 1;
        let twice = draws.chance(scenario.line.duplicates());
        if lost {
            let (source, stamp) = (scenario.name.into(), at(left));
            return self.truth.push(TruthRow::Lost { source, stamp, text });
        }
        let document = format!("doc-{serial}");
        self.truth.push(TruthRow::Searchable {
            document: document.clone(),
            source: scenario.name.into(),
            stamp: at(found),
            text,
        });
        let out = (OUTAGE.0 * 1000..OUTAGE.1 * 1000).contains(&found);
        let faulty = scenario.line == Line::Faulty;
        let before = found - (draws.unit() * 250_000.0) as i64;
        let mut seen = (before, before + 255_000);
        if faulty && out {
            seen = (OUTAGE.0 * 1000 - 100_000, OUTAGE.1 * 1000 + 50_000);
        }
        self.seen(canary, scenario.line, 0, (Some(seen.0), seen.1), (&document, 0));
        if scenario.name == "overslept" && out {
            return;
        }
        let wait = (draws.unit() * (scenario.every_ms * 1000) as f64) as i64;
        let created = if faulty && out { OUTAGE.1 * 1000 + wait } else { found + wait };
        self.alert(canary, scenario, created, twice, &document);
    }

    fn alert(&mut self, canary: TokenId, s: &Scenario, created: i64, twice: bool, document: &str) {
        let alert = format!("alert-{}", canary.serial);
        self.truth.push(TruthRow::Created {
            alert: alert.clone(),
            rule: s.name.into(),
            sigma: None,
            title: "t".into(),
            document: document.into(),
            stamp: at(created),
        });
        for (number, (kind, ..)) in self.kinds.iter().enumerate().skip(1) {
            for copy in [false, true].into_iter().take(1 + usize::from(twice)) {
                self.truth.push(TruthRow::Emitted {
                    alert: alert.clone(),
                    outlet: s.line.watcher(kind),
                    stamp: at(created),
                    attempt: 1,
                    copy,
                });
            }
            // 0.1 to 0.49 ms late.
            let seen = created + 100 + i64::from(canary.serial % 40) * 10;
            let ahead = s.line.ahead_ms();
            self.seen(canary, s.line, number, (None, seen), (&alert, created + ahead * 1000));
            if twice {
                self.rows.push(Row::Stray(Stray {
                    watcher: s.line.watcher(kind),
                    class: StrayClass::Duplicate,
                    at: at(seen),
                    count: 1,
                    excerpt: String::new(),
                }));
            }
        }
    }

    fn seen(
        &mut self,
        canary: TokenId,
        line: Line,
        kind: usize,
        (before, observed): (Option<i64>, i64),
        (native, created): (&str, i64),
    ) {
        self.rows.push(Row::Sighting(SightingRow {
            canary,
            watcher: line.watcher(KINDS[kind].0),
            stage: KINDS[kind].2,
            observed: at(observed),
            not_before: before.map(at),
            native_id: native.into(),
            rule: None,
            rule_names: vec![],
            event_time_ns: None,
            created_time_ns: Some(at(created).wall_ns),
            grade: Grade::Exact,
            retrospective: false,
            excerpt: String::new(),
        }));
    }

    fn judged(&self) -> Findings {
        let mut fold = Fold::new(None);
        self.rows.iter().for_each(|row| fold.apply(row));
        judge(&Evidence {
            rows: &self.rows,
            assessment: &fold.assess(None).unwrap(),
            truth: &self.truth,
            tokens: &tokens,
            kafka: self.kinds.len() == KINDS.len(),
            outage_ns: (at(OUTAGE.0 * 1000).wall_ns, at(OUTAGE.1 * 1000).wall_ns),
            seed: 1,
        })
    }

    /// The sightings of one watcher.
    fn sightings(&mut self, watcher: &str) -> Vec<&mut SightingRow> {
        let of = |row: &'_ &mut Row| matches!(row, Row::Sighting(s) if s.watcher == watcher);
        let found = self.rows.iter_mut().filter(of);
        found
            .map(|row| match row {
                Row::Sighting(sighting) => sighting,
                _ => unreachable!(),
            })
            .collect()
    }
}

/// Names of what does not hold.
fn wrong(found: &Findings) -> Vec<String> {
    let checks = found.checks.iter().filter(|c| !c.holds);
    let covered = found.coverage.iter().filter(|c| !c.met);
    let floors = found.floors.iter().filter(|f| !f.met);
    checks
        .map(|c| format!("{}: {}", c.about, c.measured))
        .chain(covered.map(|c| format!("coverage {}: {} of {}", c.scenario, c.held, c.n)))
        .chain(floors.map(|f| format!("floor {}", f.watcher)))
        .collect()
}

#[test]
fn a_sound_measurement_meets_everything_and_its_figures_are_the_planted_ones() {
    let found = World::sound().judged();
    assert_eq!(wrong(&found), Vec::<String>::new());
    assert!(found.met());
    let [webhook, file] = &found.floors[..] else { panic!("{:?}", found.floors) };
    for floor in [webhook, file] {
        assert!((100_000..=490_000).contains(&floor.p50.value_ns), "{floor:?}");
        assert_eq!(floor.least_ns, 100_000);
        assert!(floor.max_ns <= 490_000 && floor.p99.value_ns >= 450_000, "{floor:?}");
    }
    let all = &found.polls[0];
    assert_eq!((all.scenario.as_str(), all.held), ("all", all.n));
    assert_eq!(all.width_p50_ns, 255 * NS);
}

#[test]
fn kafka_is_judged_where_it_took_part_and_not_named_elsewhere() {
    let found = World::with_kafka().judged();
    assert_eq!(wrong(&found), Vec::<String>::new());
    let floor = found.floors.iter().find(|f| f.watcher == "kafka").unwrap();
    assert_eq!((floor.n, floor.least_ns), (found.floors[0].n, 100_000));
    let rows = found.by_scenario.iter().filter(|f| f.watcher == "kafka").count();
    assert_eq!(rows, SCENARIOS.len());
    assert!(found.checks.iter().any(|c| c.about == "kafka-doubled"));
    let said = |found: &Findings| format!("{found:?}").contains("kafka");
    assert!(said(&found) && !said(&World::sound().judged()));
    // Asked for, and nothing came through it.
    let mut silent = World::with_kafka();
    silent.rows.retain(|r| !matches!(r, Row::Sighting(s) if s.watcher.starts_with("kafka")));
    assert!(wrong(&silent.judged()).iter().any(|w| w.starts_with("kafka: 0 of 557 seen")));
    let mut late = World::with_kafka();
    let sightings = late.sightings("kafka-plain");
    sightings.into_iter().for_each(|s| s.observed = s.observed.plus_ns(11 * NS));
    assert!(wrong(&late.judged()).contains(&"floor kafka".to_owned()));
}

#[test]
fn a_shifted_measurement_is_seen() {
    let mut late = World::sound();
    let sightings = late.sightings("webhook-plain");
    sightings.into_iter().for_each(|s| s.observed = s.observed.plus_ns(5 * NS));
    let found = wrong(&late.judged());
    assert!(found.contains(&"floor webhook".to_owned()));
    assert!(found.iter().any(|w| w.starts_with("coverage all: ")), "the resolution: {found:?}");
    let sightings = late.sightings("webhook-plain");
    sightings.into_iter().for_each(|s| s.not_before = Some(s.observed.plus_ns(-9 * NS)));
    let found = wrong(&late.judged());
    assert!(!found.iter().any(|w| w.starts_with("coverage all: ")), "rows that say so: {found:?}");
    let mut early = World::sound();
    let sightings = early.sightings("file-plain");
    sightings.into_iter().for_each(|s| s.observed = s.observed.plus_ns(-NS));
    let found = wrong(&early.judged());
    assert!(found.iter().any(|w| w.starts_with("file: ") && w.contains("before they left")));
    assert!(found.iter().any(|w| w.starts_with("loss-0: ")), "times beyond their upper end");
    let mut narrow = World::sound();
    for sighting in narrow.sightings("poll-plain") {
        sighting.not_before = Some(sighting.observed.plus_ns(-NS));
    }
    let found = wrong(&narrow.judged());
    assert!(found.iter().any(|w| w.starts_with("coverage at-once")), "{found:?}");
}

#[test]
fn a_biased_measurement_is_not_covered() {
    let mut biased = World::sound();
    for kind in ["file-plain", "webhook-plain"] {
        let sightings = biased.sightings(kind);
        sightings.into_iter().for_each(|s| s.observed = s.observed.plus_ns(900 * NS));
    }
    let found = wrong(&biased.judged());
    assert!(found.iter().any(|w| w.starts_with("coverage loss-0")), "{found:?}");
}

#[test]
fn a_lost_and_a_doubled_sighting_are_seen() {
    let mut lost = World::sound();
    let first = lost
        .rows
        .iter()
        .position(|r| matches!(r, Row::Sighting(s) if s.watcher == "webhook-plain"));
    lost.rows.remove(first.unwrap());
    let found = wrong(&lost.judged());
    assert!(found.iter().any(|w| w.starts_with("webhook: 556 of 557")), "{found:?}");
    assert!(found.iter().any(|w| w.starts_with("at-once: 1 of 180 outcomes")), "{found:?}");
    let mut doubled = World::sound();
    let again = doubled.sightings("file-plain")[3].clone();
    doubled.rows.insert(doubled.rows.len() - 1, Row::Sighting(again));
    let found = wrong(&doubled.judged());
    assert!(found.iter().any(|w| w.contains("1 of them twice")), "{found:?}");
}

#[test]
fn planted_faults_that_go_uncounted_or_unread_are_seen() {
    let mut uncounted = World::sound();
    let stray = uncounted.rows.iter().position(|r| matches!(r, Row::Stray(_)));
    uncounted.rows.remove(stray.unwrap());
    assert!(wrong(&uncounted.judged()).iter().any(|w| w.starts_with("file-doubled")));
    let mut blind = World::sound();
    blind.rows.retain(|row| !matches!(row, Row::Blind(_)));
    assert!(wrong(&blind.judged()).iter().any(|w| w.starts_with("poll-faulty")));
    let mut straight = World::sound();
    for sighting in straight.sightings("file-skewed") {
        sighting.created_time_ns = sighting.created_time_ns.map(|ns| ns - 300_000 * NS);
    }
    assert!(wrong(&straight.judged()).iter().any(|w| w.starts_with("skew")));
    let mut other = World::sound();
    let lost = other.truth.iter().position(|r| matches!(r, TruthRow::Lost { .. }));
    other.truth.remove(lost.unwrap());
    assert!(wrong(&other.judged()).iter().any(|w| w.contains("not the same")));
    assert!(!Findings::default().met(), "nothing measured is nothing met");
}

/// A calibration made of a sound world, Kafka watchers included.
pub(crate) fn calibration() -> super::Calibration {
    let found = World::with_kafka().judged();
    let met = found.met();
    super::Calibration {
        format: super::FORMAT.into(),
        measured_at: "2026-11-24T15:00:00Z".into(),
        version: "0.1.0".into(),
        build: "release".into(),
        machine: super::model::Machine {
            system: "linux".into(),
            kernel: "6.18".into(),
            cores: 2,
            load_before: 0.5,
            load_after: 3.1,
        },
        length: "default".into(),
        seed: 1,
        canaries: 600,
        floors: found.floors,
        by_scenario: found.by_scenario,
        polls: found.polls,
        coverage: found.coverage,
        checks: found.checks,
        not_measured: vec![],
        met,
    }
}

#[test]
fn a_calibration_is_kept_and_read_again_and_a_damaged_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/calibration.json");
    let made = calibration();
    store::write(&path, &made).unwrap();
    assert_eq!(store::read(&path), Ok(made.clone()));
    assert_eq!(store::in_force(&folder.path().join("deep/dwell.db")), Some(made));
    std::fs::write(&path, "{").unwrap();
    assert!(store::read(&path).is_err());
    assert_eq!(store::in_force(&folder.path().join("deep/dwell.db")), None);
}

#[test]
fn the_page_says_busy_and_tells_a_failure() {
    let mut made = calibration();
    assert!(page::markdown(&made, "c").contains("the machine was busy: load 3.1 on 2 cores"));
    assert!(page::text(&made, 100).contains("Every aim is met"));
    (made.met, made.floors[0].met) = (false, false);
    assert!(page::text(&made, 100).contains("1 lines marked NO"));
}
