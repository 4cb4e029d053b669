//! Tests of the ledger as a whole; the store's contract is in `contract`, a second
//! store that shows it in `memory`, damage in `damage`, what is kept beside the rows in `standing`.

mod contract;
mod damage;
mod memory;
mod standing;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Clock, ManualClock, Stamp};
use dwell_injectors::token::{Epoch, TokenId, following};

use super::*;

pub(super) const KEY: [u8; 32] = [7; 32];
const SECOND: Duration = Duration::from_secs(10);

pub(super) fn stamp() -> Stamp {
    Stamp { wall_ns: 1_795_000_000_000_000_000, boot_ns: 5_000_000_000, boot: BootId(7) }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(stamp()))
}

pub(super) fn open(path: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(path, &KEY, Opening { verb: "run".to_owned() }, clock())
}

pub(super) fn canary(serial: u32) -> TokenId {
    TokenId { epoch: Epoch(1), serial }
}

pub(super) fn intent(serial: u32, events: usize) -> Row {
    Row::Intent(Intent {
        canary: canary(serial),
        run: 1,
        route: 0,
        slot: serial,
        intended: stamp(),
        digests: vec!["00".repeat(16); events],
        completing: 0,
    })
}

pub(super) fn receipt(serial: u32, event: u32) -> Row {
    Row::Receipt(ReceiptRow {
        canary: canary(serial),
        event,
        submitted_at: stamp(),
        late_ns: 0,
        result: EventResult::Accepted {
            at: Some(stamp()),
            strength: Strength::Written,
            place: Some(format!("/tmp/x:{serial}")),
        },
    })
}

pub(super) fn sighting(serial: u32, native: &str) -> SightingRow {
    SightingRow {
        canary: canary(serial),
        watcher: "alerts".to_owned(),
        stage: Stage::Detected,
        observed: stamp(),
        not_before: None,
        native_id: native.to_owned(),
        rule: None,
        rule_names: Vec::new(),
        event_time_ns: None,
        created_time_ns: None,
        grade: Grade::Exact,
        retrospective: false,
        excerpt: "seen".to_owned(),
    }
}

pub(super) fn run_row(planned: u32) -> Row {
    let text = serde_json::json!({
        "k": "run", "at": stamp(), "run": 1, "campaign": "c", "seed": 1, "arrivals": "fixed",
        "starts": stamp(), "window_ns": 1, "quiet_hours": [], "config_digest": "", "config": {},
        "recipes": {}, "dialects": {}, "authorisation": null, "watchers": [],
        "routes": [{"name": "r", "recipe": "x", "attack": [], "enters_at": "host-log",
            "owner": "o", "supplier": false, "target": "t", "proof": "written",
            "planned": planned, "expectations": []}]
    });
    serde_json::from_value(text).unwrap()
}

pub(super) fn rows(rows: Vec<Row>) -> Batch {
    Batch { rows, ..Batch::default() }
}

pub(super) fn all(path: &Path) -> Vec<Row> {
    let mut found = Vec::new();
    Reader::open(path)
        .unwrap()
        .rows(|_, row| {
            found.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

/// A copy of a ledger as a crash would leave it: while the writer still runs.
fn crash_copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", ".marks"] {
        std::fs::copy(lock::beside(from, suffix), lock::beside(to, suffix)).unwrap();
    }
}

#[test]
fn what_is_appended_is_read_back_in_order_and_the_chain_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/l.db");
    let ledger = open(&path).unwrap();
    let committed = ledger.subscribe();
    let batch = Batch {
        rows: vec![run_row(2), intent(0, 1), intent(1, 2)],
        bodies: vec![(canary(7), 0, "body".to_owned())],
        cursor: Some(("alerts".to_owned(), "42".to_owned())),
        ..Batch::default()
    };
    assert_eq!(ledger.append(batch).wait().unwrap().len(), 3);
    assert_eq!(committed.recv_timeout(SECOND).unwrap().len(), 3);
    // Beside the running writer:
    let reader = Reader::open(&path).unwrap();
    assert!(reader.knows(canary(1)).unwrap() && !reader.knows(canary(2)).unwrap());
    assert_eq!(reader.cursor("alerts").unwrap().as_deref(), Some("42"));
    assert_eq!(reader.body(canary(7), 0).unwrap().as_deref(), Some("body"));
    assert_eq!(reader.runs().unwrap()[0].campaign, "c");
    assert_eq!(reader.heads().unwrap(), vec![ledger.head()]);
    assert_eq!(reader.rows_of(canary(1)).unwrap()[0].1, intent(1, 2));
    assert_eq!(reader.last_commit().unwrap(), 4);
    let early = ledger.head();
    ledger.append(rows(vec![receipt(0, 0), receipt(1, 0), receipt(1, 1)])).wait().unwrap();
    ledger.close(SECOND).unwrap();
    assert!(matches!(ledger.append(Batch::default()).wait(), Err(LedgerError::Stopped { .. })));
    assert_eq!(all(&path).len(), 7);
    let found = audit(&path, &KEY, Some(early)).unwrap();
    assert!(found.whole(), "{found:?}");
    assert_eq!((found.rows, found.canaries), (7, 2));
    let other = Head { mac: [1; 32], ..early };
    assert_eq!(audit(&path, &KEY, Some(other)).unwrap().expected, Some(false));
    assert!(!audit(&path, &[8; 32], None).unwrap().whole());
}

#[test]
fn sightings_are_classified_and_a_flood_of_strays_is_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let ledger = open(&path).unwrap();
    ledger.append(rows(vec![intent(0, 1), receipt(0, 0)])).wait().unwrap();
    let mut sightings = vec![sighting(0, "a"), sighting(0, "a"), sighting(0, "b")];
    sightings.extend((0..100_000).map(|n| sighting(5, &n.to_string())));
    let written = ledger.append(Batch { sightings, ..Batch::default() }).wait().unwrap();
    let strays: Vec<_> = written
        .iter()
        .filter_map(|row| match row {
            Row::Stray(s) => Some((s.class, s.count)),
            _ => None,
        })
        .collect();
    assert_eq!(strays, [(StrayClass::Duplicate, 1), (StrayClass::Unknown, 100_000)]);
    assert_eq!(written.len(), 4, "two sightings and two stray rows");
    let again = Batch { sightings: vec![sighting(0, "b")], ..Batch::default() };
    let again = ledger.append(again).wait().unwrap();
    assert!(matches!(&again[..], [Row::Stray(s)] if s.class == StrayClass::Duplicate));
}

#[test]
fn a_repeat_after_the_horizon_is_replayed_and_no_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let Row::Run(mut run) = run_row(1) else { panic!("a run") };
    run.routes[0].expectations.push(
        serde_json::from_value(serde_json::json!({
            "name": "detected", "stage": "detected", "watchers": [], "rules": [],
            "deadline_ns": 1_000, "horizon_ns": 10_000, "share": 1.0, "confidence": null, "min_n": 1
        }))
        .unwrap(),
    );
    let later = |ns| SightingRow { observed: stamp().plus_ns(ns), ..sighting(0, "a") };
    let ledger = open(&path).unwrap();
    ledger.append(rows(vec![Row::Run(run), intent(0, 1), receipt(0, 0)])).wait().unwrap();
    let classes = |ledger: &Ledger, at: i64| {
        let batch = Batch { sightings: vec![later(at)], ..Batch::default() };
        let written = ledger.append(batch).wait().unwrap();
        match &written[..] {
            [Row::Stray(stray)] => Some(stray.class),
            _ => None,
        }
    };
    assert_eq!(classes(&ledger, 10), None);
    assert_eq!(classes(&ledger, 10_000), Some(StrayClass::Duplicate));
    assert_eq!(classes(&ledger, 10_001), Some(StrayClass::Replayed));
    ledger.close(SECOND).unwrap();
    let ledger = open(&path).unwrap();
    assert_eq!(classes(&ledger, 20_000), Some(StrayClass::Replayed), "also after a restart");
    let read_late = SightingRow { not_before: Some(stamp().plus_ns(9_000)), ..later(30_000) };
    let batch = Batch { sightings: vec![read_late], ..Batch::default() };
    let written = ledger.append(batch).wait().unwrap();
    assert!(matches!(&written[..], [Row::Stray(s)] if s.class == StrayClass::Duplicate));
}

#[test]
fn serials_are_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let ledger = open(&path).unwrap();
    let first = ledger.reserve_serials(Epoch(1), 10).unwrap();
    assert_eq!(ledger.reserve_serials(Epoch(1), 5).unwrap(), following(first, 10));
    assert_ne!(ledger.reserve_serials(Epoch(2), 5).unwrap(), first);
    let refused = ledger.reserve_serials(Epoch(1), 1 << 28).unwrap_err();
    assert!(refused.to_string().contains("key rotate"), "{refused}");
    ledger.append(rows(vec![intent(following(first, 3), 1)])).wait().unwrap();
    ledger.close(SECOND).unwrap();
    let ledger = open(&path).unwrap();
    assert_eq!(ledger.reserve_serials(Epoch(1), 1).unwrap(), following(first, 15));
}

/// One key, and a second ledger beside the first or in the place of one that is gone.
#[test]
fn two_ledgers_of_one_key_begin_at_different_serials() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let ledger = open(&folder.path().join(name)).unwrap();
        let first = ledger.reserve_serials(Epoch(1), 1_000).unwrap();
        ledger.close(SECOND).unwrap();
        first
    };
    let mut firsts = vec![begin("a.db"), begin("b.db")];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    firsts.push(begin("a.db"));
    // Six ways to overlap, each with probability 1 in 134,000.
    for (n, first) in firsts.iter().enumerate() {
        for other in &firsts[..n] {
            let apart = first.wrapping_sub(*other) & ((1 << 28) - 1);
            assert!((1_000..=(1 << 28) - 1_000).contains(&apart), "{firsts:?}");
        }
    }
}

#[test]
fn serials_go_round_and_never_over_one_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let mut store = SqliteStore::open(&path, &KEY).unwrap();
    let last = (1 << 28) - 1;
    store.begin().unwrap();
    store.append(&run_row(6)).unwrap();
    assert_eq!(store.reserve(Epoch(1), 4, last - 1).unwrap(), last - 1);
    for serial in [last - 1, last, 0, 1] {
        store.append(&intent(serial, 1)).unwrap();
    }
    assert_eq!(store.reserve(Epoch(1), 3, 0).unwrap(), 2);
    store.commit().unwrap();
    store.rebuild().unwrap();
    store.begin().unwrap();
    // What was reserved and never used is given again, what was used is not.
    assert_eq!(store.reserve(Epoch(1), 1 << 27, 0).unwrap(), 2);
    let refused = store.reserve(Epoch(1), 1 << 27, 0).unwrap_err();
    assert!(refused.to_string().contains("key rotate"), "{refused}");
    assert_eq!(store.reserve(Epoch(1), 1 << 26, 0).unwrap(), 2 + (1 << 27));
    store.rollback();
}

#[test]
fn a_second_writer_is_refused_at_once_with_the_pid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let link = folder.path().join("link.db");
    let ledger = open(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = open(name).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        assert_eq!(crate::exit::Failure::from(error).exit().code(), 3);
    }
    ledger.append(rows(vec![intent(0, 1)])).wait().unwrap();
    ledger.close(SECOND).unwrap();
    open(&link).unwrap();
}

fn recovered(path: &Path, boot: u64) -> Vec<Row> {
    let before = all(path).len();
    let clock = ManualClock::new(Stamp { boot: BootId(boot), ..stamp() });
    let opening = Opening { verb: "watch".to_owned() };
    let ledger = Ledger::open(path, &KEY, opening, Arc::new(clock)).unwrap();
    ledger.close(SECOND).unwrap();
    assert!(audit(path, &KEY, None).unwrap().whole());
    all(path).split_off(before + 1)
}

/// Canary 0: receipt durable. 1: marked, no receipt. 2: neither. 3: one of two receipts.
/// Slots 4 and 5: never planned in detail; 6: withdrawn; 7: not planned either.
fn interrupted(folder: &Path) -> std::path::PathBuf {
    let (live, dead) = (folder.join("live.db"), folder.join("dead.db"));
    let ledger = open(&live).unwrap();
    let withdrawn = Row::Withdrawn(Withdrawn {
        at: stamp(),
        run: 1,
        route: 0,
        slot_from: 6,
        slots: 1,
        canary: None,
        reason: "cap".to_owned(),
    });
    let batch = vec![run_row(8), intent(0, 1), intent(1, 1), intent(2, 1), intent(3, 2), withdrawn];
    ledger.append(rows(batch)).wait().unwrap();
    for serial in [0, 1, 3] {
        ledger.mark_departure(canary(serial)).unwrap();
    }
    ledger.append(rows(vec![receipt(0, 0), receipt(3, 0)])).wait().unwrap();
    crash_copy(&live, &dead);
    dead
}

fn summary(found: &[Row]) -> Vec<String> {
    found
        .iter()
        .map(|row| match row {
            Row::Withdrawn(w) => {
                assert_eq!(w.reason, "crash");
                format!("withdrawn {}+{} {:?}", w.slot_from, w.slots, w.canary.map(|c| c.serial))
            }
            Row::Receipt(r) => {
                assert!(matches!(&r.result, EventResult::Unknown { reason }
                    if reason == "crash between hand-over and receipt"));
                format!("unknown {}/{}", r.canary.serial, r.event)
            }
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn recovery_decides_what_a_crash_left_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = interrupted(folder.path());
    let found = summary(&recovered(&path, 7));
    let expected = [
        "unknown 1/0",
        "withdrawn 2+1 Some(2)",
        "unknown 3/1",
        "withdrawn 4+2 None",
        "withdrawn 7+1 None",
    ];
    assert_eq!(found, expected);
    assert!(recovered(&path, 7).is_empty(), "recovery decides once");
}

#[test]
fn after_a_reboot_no_mark_and_no_missing_mark_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = interrupted(folder.path());
    let found = summary(&recovered(&path, 8));
    assert_eq!(found[..3], ["unknown 1/0", "unknown 2/0", "unknown 3/1"]);
    assert_eq!(found.len(), 5);
}

#[test]
fn asynchronous_callers_and_many_threads_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let ledger = open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let ledger = ledger.clone();
            scope.spawn(move || {
                let tickets: Vec<_> = (0..100)
                    .map(|n| ledger.append(rows(vec![intent(thread * 100 + n, 1)])))
                    .collect();
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let row = runtime.block_on(ledger.append(rows(vec![receipt(0, 0)])).done()).unwrap();
    assert_eq!(row.len(), 1);
    ledger.close(SECOND).unwrap();
    assert_eq!(all(&path).len(), 802);
}

#[test]
fn a_row_whose_kind_is_known_is_read_as_any_parser_reads_it() {
    let rows = [
        run_row(1),
        intent(0, 2),
        receipt(0, 1),
        Row::Sighting(sighting(0, "a")),
        serde_json::from_value(serde_json::json!({
            "k": "withdrawn", "at": stamp(), "run": 1, "route": 0, "slot_from": 2, "slots": 3,
            "canary": null, "reason": "stop"
        }))
        .unwrap(),
        Row::Ended(Ended { at: stamp(), run: 1, reason: "decided".to_owned() }),
    ];
    for row in rows {
        let body = serde_json::to_string(&row).unwrap();
        assert_eq!(Row::parse(row.kind(), &body).unwrap(), row);
        assert_eq!(serde_json::from_str::<Row>(&body).unwrap(), row);
    }
    assert!(Row::parse("dream", r#"{"k":"dream"}"#).is_err(), "no kind is skipped");
}
