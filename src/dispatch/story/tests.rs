//! What is told of one canary from its own rows is what a fold over the whole ledger says of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, ManualClock, Stamp};
use dwell_injectors::token::Epoch;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::ledger::*;

const S: i64 = 1_000_000_000;
const CANARIES: u32 = 5;
const WATCHERS: [&str; 3] = ["pushed", "polled", "nobody's"];

/// Boots that each begin an hour after the one before, and whose wall clocks are wrong by minutes.
fn at(boot: u64, second: i64) -> Stamp {
    let begin = 1_795_000_000 + boot as i64 * 3_540;
    Stamp {
        wall_ns: (begin + second) * S,
        boot_ns: (1_000 + second).unsigned_abs() * S as u64,
        boot: BootId(boot),
    }
}

fn canary(serial: u32) -> TokenId {
    TokenId { epoch: Epoch(1), serial }
}

/// Two runs of two campaigns, under two configurations; the second route also asks for rules.
fn run(number: u32) -> Row {
    let expect = |stage: &str, watchers: &[&str], rules: &[&str]| {
        serde_json::json!({"name": stage, "stage": stage, "watchers": watchers, "rules": rules,
            "deadline_ns": 10 * S, "horizon_ns": 100 * S, "share": 1.0, "confidence": null, "min_n": 1})
    };
    let route = |name: &str, expectations: serde_json::Value| {
        serde_json::json!({"name": name, "recipe": "fake-login/sshd-failed-password", "attack": [],
            "enters_at": "host-log", "owner": "o", "supplier": false, "target": "t",
            "proof": "written", "planned": 3, "expectations": expectations})
    };
    let watcher = |name: &str, stage: &str, kind: &str| {
        serde_json::json!({"name": name, "stage": stage, "kind": kind, "dialect": "json",
            "push": kind == "webhook", "resolution_ns": 0, "max_offset_ns": S,
            "dates_stage": kind == "poll", "source": "s"})
    };
    let text = serde_json::json!({
        "k": "run", "at": at(1, -20), "run": number, "campaign": format!("c{number}"), "seed": 1,
        "arrivals": "fixed", "starts": at(1, -20), "window_ns": 1, "quiet_hours": [],
        "config_digest": format!("d{number}"), "config": {}, "recipes": {}, "dialects": {},
        "authorisation": null,
        "watchers": [watcher("pushed", "detected", "webhook"), watcher("polled", "ingested", "poll")],
        "routes": [
            route("a", serde_json::json!([expect("detected", &["pushed"], &[])])),
            route("b", serde_json::json!([expect("ingested", &["polled"], &[]),
                expect("detected", &["pushed", "polled"], &["r1"])])),
        ]
    });
    serde_json::from_value(text).unwrap()
}

/// One step of a history. Small numbers, so that steps meet.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    serial: u32,
    watcher: usize,
    boot: u64,
    second: i64,
    choice: u8,
}

fn receipt(step: &Step) -> Row {
    let Step { serial, boot, second, choice, .. } = *step;
    Row::Receipt(ReceiptRow {
        canary: canary(serial),
        event: u32::from(choice) % 2,
        submitted_at: at(boot, second),
        late_ns: 5,
        result: match choice {
            0..=5 => EventResult::Accepted { at: None, strength: Strength::Written, place: None },
            6 => EventResult::Rejected { reason: "no".into(), cause: None },
            _ => EventResult::Unknown { reason: "?".into() },
        },
    })
}

fn sighting(step: &Step) -> Row {
    let Step { serial, boot, second, choice, .. } = *step;
    Row::Sighting(SightingRow {
        canary: canary(serial),
        watcher: WATCHERS[step.watcher].to_owned(),
        stage: if choice % 2 == 0 { Stage::Detected } else { Stage::Ingested },
        observed: at(boot, second),
        not_before: (choice < 4).then(|| at(boot, second - 3)),
        native_id: format!("{second}"),
        rule: (choice < 6).then(|| format!("r{}", choice % 3)),
        rule_names: vec![],
        event_time_ns: Some(second),
        created_time_ns: (choice % 2 == 1).then(|| at(boot, second - 2).wall_ns),
        grade: if choice == 7 { Grade::Window } else { Grade::Exact },
        retrospective: choice == 6,
        excerpt: String::new(),
    })
}

fn row(step: &Step) -> Row {
    let Step { serial, boot, second, choice, .. } = *step;
    let (now, id) = (at(boot, second), canary(serial));
    let watcher = WATCHERS[step.watcher].to_owned();
    match step.kind {
        0..=2 => receipt(step),
        3..=4 => sighting(step),
        5..=8 => Row::Look(Look {
            watcher,
            from: at(boot, second),
            to: at(boot, second + i64::from(choice) * 4),
            complete: choice != 0,
            unbroken: choice > 3,
            position: String::new(),
            records: 1,
        }),
        9 => Row::Blind(Blind {
            watcher,
            from: now,
            to: (choice > 2).then(|| at(boot, second + 5)),
            reason: format!("away {second}"),
            ours: choice % 2 == 0,
            recovered: choice == 7,
        }),
        10 => {
            Row::Proven(Proven { watcher, at: now, config_digest: format!("d{}", 1 + choice % 2) })
        }
        11 => Row::Stray(Stray {
            watcher,
            class: if choice < 4 { StrayClass::Echoed } else { StrayClass::Unknown },
            at: now,
            count: 2,
            excerpt: String::new(),
        }),
        12 => Row::Clock(ClockStep { at: now, step_ns: S }),
        13 => Row::Verify(VerifyRow {
            at: now,
            answer: "ours".into(),
            canary: (choice < 4).then_some(id),
        }),
        _ => Row::Withdrawn(Withdrawn {
            at: now,
            run: 1 + serial % 2,
            route: 0,
            slot_from: serial,
            slots: 1,
            canary: (choice < 2).then_some(id),
            reason: "stop".into(),
        }),
    }
}

fn intent(serial: u32) -> Row {
    Row::Intent(Intent {
        canary: canary(serial),
        run: 1 + serial % 2,
        route: serial / 2 % 2,
        slot: serial,
        intended: at(1, i64::from(serial)),
        digests: vec!["x".into(); 1 + serial as usize % 2],
        completing: serial % 2,
    })
}

fn open(path: &Path, boot: u64) -> Ledger {
    let clock = Arc::new(ManualClock::new(at(boot, 0)));
    Ledger::open(path, &[7; 32], Opening { verb: "run".to_owned() }, clock).unwrap()
}

/// Writes a history: the second run begins in the middle, and each new boot is a new opening.
fn write(path: &Path, steps: &[Step]) {
    let mut ledger = open(path, 1);
    let mut boot = 1;
    let mut known = Vec::new();
    let append = |ledger: &Ledger, rows| ledger.append(Batch { rows, ..Batch::default() });
    append(&ledger, vec![run(1)]).wait().unwrap();
    for (number, step) in steps.iter().enumerate() {
        if step.boot > boot {
            boot = step.boot;
            ledger.close(Duration::from_secs(10)).unwrap();
            ledger = open(path, boot);
        }
        let mut rows = Vec::new();
        if number == steps.len() / 2 {
            rows.push(run(2));
        }
        if !known.contains(&step.serial) {
            known.push(step.serial);
            rows.push(intent(step.serial));
        }
        rows.push(row(step));
        append(&ledger, rows).wait().unwrap();
    }
    ledger.close(Duration::from_secs(10)).unwrap();
}

fn everything(reader: &Reader, as_of: Option<AxisNs>) -> Fold {
    let mut fold = Fold::new(as_of);
    reader
        .rows(|_, row| {
            fold.apply(&row);
            ControlFlow::Continue(())
        })
        .unwrap();
    fold
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..15u8, 0..CANARIES, 0..3usize, 1..4u64, -5..130i64, 0..8u8).prop_map(
        |(kind, serial, watcher, boot, second, choice)| {
            // Most things happen in the first boot.
            let boot = if choice % 4 == 0 { boot } else { 1 };
            Step { kind, serial, watcher, boot, second, choice }
        },
    );
    prop::collection::vec(step, 1..60)
}

/// Failures of old stand with the other data of the tests.
fn config() -> ProptestConfig {
    let seeds = FileFailurePersistence::Direct("tests/data/seeds/story.txt");
    ProptestConfig { failure_persistence: Some(Box::new(seeds)), ..ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn one_canarys_rows_tell_what_all_rows_tell(steps in steps(), second in -10..140i64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        write(&path, &steps);
        let reader = Reader::open(&path).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        for as_of in [None, Some(at(1, second).wall_ns), Some(at(9, 0).wall_ns)] {
            let whole = everything(&reader, as_of);
            for serial in 0..CANARIES {
                let told = |fold: &Fold| {
                    let sources =
                        Sources { reader: &reader, fold, catalogue: &catalogue, keys: None };
                    let story = tell(&sources, canary(serial)).unwrap();
                    let view = fold.assess(story.as_ref().map(|s| s.campaign.as_str()));
                    let view = view.as_ref().and_then(|whole| view_of(whole, canary(serial)));
                    let view = view.map(|(_, view)| view);
                    serde_json::to_string_pretty(&(&story, view)).unwrap()
                };
                let alone = fold(&reader, canary(serial), as_of).unwrap();
                prop_assert_eq!(told(&alone), told(&whole), "as of {:?}", as_of);
            }
        }
    }
}

/// Handed over before the cut, and accepted after it.
#[test]
fn a_receipt_that_came_after_the_cut_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let ledger = open(&path, 1);
    let accepted =
        EventResult::Accepted { at: Some(at(1, 9)), strength: Strength::Written, place: None };
    let receipt = Row::Receipt(ReceiptRow {
        canary: canary(0),
        event: 0,
        submitted_at: at(1, 3),
        late_ns: 5,
        result: accepted,
    });
    let rows = vec![run(1), intent(0), receipt];
    ledger.append(Batch { rows, ..Batch::default() }).wait().unwrap();
    ledger.close(Duration::from_secs(10)).unwrap();
    let (reader, catalogue) = (Reader::open(&path).unwrap(), Catalogue::embedded().unwrap());
    let told = |as_of: i64| {
        let fold = fold(&reader, canary(0), Some(as_of)).unwrap();
        let sources = Sources { reader: &reader, fold: &fold, catalogue: &catalogue, keys: None };
        tell(&sources, canary(0)).unwrap().unwrap()
    };
    let before = told(at(1, 5).wall_ns);
    assert_eq!((before.sent.len(), before.delivery), (0, Some(Delivery::InFlight)));
    let after = told(at(1, 9).wall_ns);
    assert_eq!((after.sent.len(), after.delivery), (1, Some(Delivery::Proven)));
}

/// Without a cut, and at one after the last row, no other canary's row is read.
#[test]
fn other_canaries_rows_are_read_at_an_earlier_cut_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let step = |serial| Step { kind: 0, serial, watcher: 0, boot: 1, second: 3, choice: 0 };
    write(&path, &[step(0), step(1)]);
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "DROP TRIGGER rows_are_never_altered;
             UPDATE rows SET body = 'damaged' WHERE pos IN
               (SELECT pos FROM stories WHERE serial = 1);",
        )
        .unwrap();
    let reader = Reader::open(&path).unwrap();
    for as_of in [None, Some(at(1, 900).wall_ns)] {
        assert!(fold(&reader, canary(0), as_of).is_ok(), "{as_of:?}");
        assert!(fold(&reader, canary(1), as_of).is_err(), "{as_of:?}");
    }
    assert!(fold(&reader, canary(0), Some(at(1, 1).wall_ns)).is_err());
}
