//! Faults at exact points of the real `dwell run`: between the disk and the process sits a shim
//! (`disk_shim.c`) that counts what is written to the ledger's files and, at the Nth operation,
//! kills the process or lets the operation fail. The points lie between intent, mark, hand-over,
//! receipt and commit, and inside recovery; what a machine without power would find is known too.
//!
//! Promises: what was accepted or answered is there afterwards (P1), every canary has one outcome
//! (P2), and a process whose disk fails says so and ends with 3 (P8).

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dwell::ledger::*;
use dwell_injectors::stamp::SystemClock;
use dwell_injectors::token::KeyRing;
use rand::{RngExt, SeedableRng};

use super::campaign::{Siem, configuration};
use super::child::opening;
use super::oracle::{Figures, Losses, Oracle, judge};

/// Points of each test, spread over a whole run.
const POINTS: u64 = 24;
const CANARIES: u32 = 6;

fn points() -> u64 {
    std::env::var("DWELL_POINTS").map_or(POINTS, |n| n.parse().unwrap())
}

fn random() -> rand::rngs::StdRng {
    let seed = std::env::var("DWELL_SEED").map_or(3, |n| n.parse().unwrap());
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// The shim, built once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("disk_shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/disk_shim.c");
        let options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let cc = Command::new("cc").args(options).arg(&target).arg(source).arg("-ldl").output();
        let done = cc.expect("cc: install build-essential");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        target
    })
}

/// One ledger, from its first run to its verdict.
struct Stage {
    folder: tempfile::TempDir,
    keys: Arc<KeyRing>,
    siem: Siem,
    oracle: Oracle,
}

/// What one process did.
struct Life {
    status: ExitStatus,
    /// `OPERATION PATH` of the point, or `total COUNT`.
    seen: String,
    words: String,
}

impl Life {
    fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Operation and file of the point, as in `sync -wal`.
    fn point(&self) -> String {
        let (operation, path) = self.seen.trim().split_once(' ').unwrap_or(("none", "dwell.db"));
        let file = path.rsplit_once("dwell.db").map_or(path, |(_, rest)| rest);
        format!("{operation} {}", if file.is_empty() { ".db" } else { file })
    }
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = configuration(port, "60ms", CANARIES, "400ms");
        std::fs::write(folder.path().join("dwell.toml"), text).unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let keys = KeyRing::generate();
        keys.create(&folder.path().join("dwell.key")).unwrap();
        let keys = Arc::new(keys);
        let siem = Siem::new(folder.path().join("target.log"), port, &keys);
        Stage { folder, keys, siem, oracle: Oracle::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One `dwell run` with a fault at the Nth operation whose words hold `only`; 0 only counts.
    fn live(&mut self, shim: &Path, only: &str, at: u64, how: &str) -> Life {
        let folder = self.folder.path().to_owned();
        let ledger = folder.canonicalize().unwrap().join("dwell.db");
        let _ = std::fs::remove_file(self.path("seen"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
            .arg("-c")
            .arg(folder.join("dwell.toml"))
            .arg("run")
            .env("LD_PRELOAD", shim)
            .env("DWELL_FAULT_LEDGER", ledger)
            .env("DWELL_FAULT_ONLY", only)
            .env("DWELL_FAULT_AT", at.to_string())
            .env("DWELL_FAULT_HOW", how)
            .env("DWELL_FAULT_SEEN", self.path("seen"))
            .env("DWELL_FAULT_DISK", self.path("disk"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.path("stderr.txt")).unwrap())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        let mut status = None;
        let mut over = || {
            status = child.try_wait().unwrap();
            assert!(status.is_some() || Instant::now() < patience, "it neither died nor ended");
            status.is_some()
        };
        self.siem.play(&folder, &mut over, &mut self.oracle);
        self.siem.read_log();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        Life { status: status.unwrap(), seen: read("seen"), words: read("stderr.txt") }
    }

    /// What could be read when the process died counts as promised.
    fn promise(&mut self) -> Vec<Row> {
        let rows = rows(&self.path("dwell.db"));
        self.oracle.accepted.extend(accepted(&rows));
        rows
    }

    /// Where the machine dies too, only what was synced counts, beside what was read meanwhile: what
    /// was written alone nobody has been told.
    fn promise_synced(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        for name in ["dwell.db", "dwell.db-wal", "dwell.db-journal"] {
            let _ = std::fs::copy(self.path("disk").join(name), copy.path().join(name));
        }
        self.oracle.accepted.extend(accepted(&rows(&copy.path().join("dwell.db"))));
    }

    /// How far canaries had come when the process died.
    fn states(&self, rows: &[Row]) -> BTreeSet<&'static str> {
        let intended: BTreeSet<u32> = rows
            .iter()
            .filter_map(|row| match row {
                Row::Intent(intent) => Some(intent.canary.serial),
                _ => None,
            })
            .collect();
        let (received, marked) = (accepted(rows), self.marked());
        let sent: BTreeSet<u32> = self.siem.sent.iter().copied().collect();
        let mut states = BTreeSet::new();
        let mut note = |state, holds: bool| holds.then(|| states.insert(state));
        note("before the first intent", intended.is_empty());
        note("intent, no mark", intended.iter().any(|s| !marked.contains(s) && !sent.contains(s)));
        note("mark, not handed over", marked.difference(&sent).next().is_some());
        note("handed over, no receipt", sent.difference(&received).next().is_some());
        note("receipt", !received.is_empty());
        states
    }

    /// Serials in the file of departure marks.
    fn marked(&self) -> BTreeSet<u32> {
        let bytes = std::fs::read(self.path("dwell.db.marks")).unwrap_or_default();
        let slots = bytes.get(24..).unwrap_or_default().chunks_exact(8);
        let serial = |slot: &[u8]| u32::from_be_bytes(slot[4..].try_into().unwrap());
        slots.filter(|slot| slot.iter().any(|byte| *byte != 0)).map(serial).collect()
    }

    /// The machine loses power: of each file there is what was synced, or what was written since
    /// if the disk took that by itself. The next boot is another one.
    fn lose_power(&self, random: &mut rand::rngs::StdRng) {
        let _ = std::fs::remove_file(self.path("dwell.db-shm"));
        for name in ["dwell.db", "dwell.db-wal", "dwell.db-journal"] {
            if !self.path(name).exists() || random.random_range(0..3) == 0 {
                continue;
            }
            match std::fs::copy(self.path("disk").join(name), self.path(name)) {
                Ok(_) => {}
                Err(_) => std::fs::remove_file(self.path(name)).unwrap(),
            }
        }
        let marks = self.path("dwell.db.marks");
        match std::fs::read(&marks) {
            Ok(mut bytes) if bytes.len() >= 24 && random.random_range(0..2) == 0 => {
                bytes[8..16].copy_from_slice(&[0x5a; 8]);
                std::fs::write(&marks, bytes).unwrap();
            }
            Ok(_) => std::fs::remove_file(&marks).unwrap(),
            Err(_) => {}
        }
    }

    /// Opens the ledger as the next process would, and counts what is lost.
    fn judge(&mut self, point: &str) -> Figures {
        self.siem.read_log();
        let path = self.path("dwell.db");
        let key = self.keys.chain_key();
        let ledger = Ledger::open(&path, &key, opening(), Arc::new(SystemClock::new()))
            .unwrap_or_else(|error| panic!("{point}: {error}"));
        ledger.close(Duration::from_secs(10)).unwrap();
        let found = audit(&path, &key, None).unwrap();
        assert!(found.whole(), "{point}: {found:?}");
        let (losses, figures) = judge(&path, &self.siem.sent, &self.oracle);
        assert_eq!(losses, Losses::default(), "{point}: {figures:?}");
        figures
    }
}

/// Rows that anybody could read; none where the ledger is not made yet.
fn rows(ledger: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let Ok(reader) = Reader::open(ledger) else { return rows };
    reader
        .rows(|_, row| {
            rows.push(row);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn accepted(rows: &[Row]) -> BTreeSet<u32> {
    let serial = |row: &Row| match row {
        Row::Receipt(r) if matches!(r.result, EventResult::Accepted { .. }) => {
            Some(r.canary.serial)
        }
        _ => None,
    };
    rows.iter().filter_map(serial).collect()
}

/// Operations of a run to which nothing happens, of those whose words hold `only`.
fn operations(shim: &Path, only: &str) -> u64 {
    let life = Stage::new().live(shim, only, 0, "before");
    let total = life.seen.trim().strip_prefix("total ").map(|n| n.parse().unwrap());
    total.unwrap_or_else(|| panic!("no count: {}\n{}", life.seen, life.words))
}

/// Numbers from 1 to the total, evenly spread; all of them if there are fewer than asked for.
fn spread(total: u64, wanted: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..wanted).map(|n| 1 + n * total / wanted).collect();
    numbers.dedup();
    numbers
}

/// Counts of what a sweep of kills has hit.
#[derive(Default, Debug)]
struct Sweep {
    states: BTreeMap<&'static str, u32>,
    hit: BTreeMap<String, u32>,
    never_sent: usize,
}

impl Sweep {
    /// Kills one run at a point, and judges what the next process finds.
    fn strike(&mut self, shim: &Path, only: &str, at: u64, how: &str) {
        let mut stage = Stage::new();
        let life = stage.live(shim, only, at, how);
        if !life.killed() {
            // Commits group differently from run to run; this one had fewer.
            return;
        }
        let rows = stage.promise();
        for state in stage.states(&rows) {
            *self.states.entry(state).or_insert(0) += 1;
        }
        *self.hit.entry(format!("{how} {}", life.point())).or_insert(0) += 1;
        let figures = stage.judge(&format!("{how} operation {at} {only}, {}", life.seen.trim()));
        // One hand-over is under way at most.
        assert!(figures.unknown_though_never_sent <= 1, "{at}: {figures:?}");
        self.never_sent += figures.unknown_though_never_sent;
    }
}

#[test]
fn killed_at_every_point_between_intent_and_receipt_loses_nothing() {
    let shim = shim();
    let (total, marks) = (operations(shim, ""), operations(shim, ".marks"));
    let mut sweep = Sweep::default();
    for (n, at) in spread(total, points()).into_iter().enumerate() {
        sweep.strike(shim, "", at, ["before", "after"][n % 2]);
    }
    // The shortest of the states, between a mark and the hand-over, lies right after such a write.
    for (n, at) in (1..=marks).cycle().take(3 * marks as usize).enumerate() {
        if n as u64 >= points().max(marks) && sweep.never_sent > 1 {
            break;
        }
        sweep.strike(shim, ".marks", at, "after");
    }
    for state in [
        "before the first intent",
        "intent, no mark",
        "mark, not handed over",
        "handed over, no receipt",
        "receipt",
    ] {
        assert!(sweep.states.contains_key(state), "no kill hit `{state}`: {sweep:?}");
    }
    for point in ["write -wal", "sync -wal", "write .marks"] {
        // Steps as even as those above can pass by every one of the rarer operations.
        for at in spread(operations(shim, point), 3) {
            sweep.strike(shim, point, at, "after");
        }
        assert!(sweep.hit.keys().any(|k| k.ends_with(point)), "no kill hit {point}: {sweep:?}");
    }
    assert!(sweep.never_sent > 0, "{sweep:?}");
    println!("{total} operations in a run\n{sweep:?}");
}

#[test]
fn killed_again_during_recovery_leaves_the_same_work_to_the_next() {
    let shim = shim();
    let (total, mut random) = (operations(shim, ""), random());
    let (mut in_recovery, mut lives) = (0, 0);
    for _ in 0..points() {
        let mut stage = Stage::new();
        let at = random.random_range(total / 4..total);
        let first = stage.live(shim, "", at, "after");
        let opened = openings(&stage.promise());
        // Twice more while opening: recovery itself must bear being interrupted.
        for _ in 0..2 {
            let again = stage.live(shim, "", random.random_range(1..9), "before");
            assert!(again.killed(), "{}", again.words);
            lives += 1;
            in_recovery += u32::from(first.killed() && openings(&stage.promise()) == opened);
        }
        let figures = stage.judge(&format!("after operation {at}, then twice while opening"));
        assert!(figures.runs <= 1, "a run began although its process died opening: {figures:?}");
    }
    println!("{lives} second kills, {in_recovery} before recovery was durable");
    assert!(in_recovery > 0, "no kill hit recovery");
}

fn openings(rows: &[Row]) -> usize {
    rows.iter().filter(|row| matches!(row, Row::Opened(_))).count()
}

#[test]
fn a_machine_without_power_keeps_what_was_promised() {
    let shim = shim();
    let (total, mut random) = (operations(shim, ""), random());
    let (mut accepted, mut answered) = (0, 0);
    let anywhere = spread(total, points()).into_iter().map(|at| ("", at));
    // Written and not synced: a process that dies here leaves more than a machine does.
    let between = spread(operations(shim, "sync -wal"), 6).into_iter().map(|at| ("sync -wal", at));
    for (n, (only, at)) in anywhere.chain(between.flat_map(|point| [point; 2])).enumerate() {
        let mut stage = Stage::new();
        let life = stage.live(shim, only, at, ["before", "after"][n % 2]);
        stage.promise_synced();
        stage.lose_power(&mut random);
        stage.judge(&format!("power lost at operation {at}, {}", life.seen.trim()));
        accepted += stage.oracle.accepted.len();
        answered += stage.oracle.answered.len();
    }
    println!("power lost: {accepted} accepted, {answered} answered, 0 lost");
    assert!(accepted > 0 && answered > 0, "the test saw nothing that could be lost");
}

#[test]
fn a_disk_that_fails_at_any_point_stops_the_run_and_loses_nothing() {
    let shim = shim();
    let (mut stopped, mut harmless) = (0, 0);
    let mut hit = BTreeSet::new();
    let wanted = points();
    for (only, wanted) in [("", wanted), ("sync", wanted / 3), (".marks", wanted / 3)] {
        for (n, at) in spread(operations(shim, only), wanted).into_iter().enumerate() {
            let how = ["eio", "enospc", "eio-ever", "enospc-ever"][n % 4];
            let mut stage = Stage::new();
            let life = stage.live(shim, only, at, how);
            let point = format!("{how} at operation {at}, {}", life.seen.trim());
            hit.insert(life.point());
            let ended = stage.promise().iter().any(|row| matches!(row, Row::Ended(_)));
            match life.status.code() {
                Some(3) => {
                    assert!(
                        life.words.contains("dwell.db"),
                        "{point} names no file: {}",
                        life.words
                    );
                    stopped += 1;
                }
                // Only where everything was in the ledger already: the tidying at the end.
                Some(0 | 1 | 4) => {
                    assert!(ended, "{point}: it ended as if nothing had happened: {}", life.words);
                    harmless += 1;
                }
                other => panic!("{point}: exit {other:?}: {}", life.words),
            }
            stage.judge(&point);
        }
    }
    println!("{stopped} stopped, {harmless} after everything was durable; points {hit:?}");
    assert!(stopped > harmless, "{stopped} stopped, {harmless} harmless");
    for point in ["write -wal", "sync -wal", "write .marks"] {
        assert!(hit.contains(point), "nothing failed at {point}: {hit:?}");
    }
}
