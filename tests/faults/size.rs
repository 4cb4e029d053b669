//! Figures, not promises: a ledger with a million canaries, and commit rates beside plain fdatasync.
//!
//! `cargo test --test faults size -- --ignored --nocapture` (`DWELL_CANARIES` sets another size)

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dwell::ledger::*;
use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{Clock, Stamp, SystemClock};
use dwell_injectors::token::TokenId;

use super::child::{EPOCH, KEY, opening};

fn canary(serial: u32) -> TokenId {
    TokenId { epoch: EPOCH, serial }
}

fn intent(serial: u32, at: Stamp) -> Row {
    Row::Intent(Intent {
        canary: canary(serial),
        run: 1,
        route: 0,
        slot: serial,
        intended: at,
        digests: vec!["0123456789abcdef".repeat(2)],
        completing: 0,
    })
}

fn receipt(serial: u32, at: Stamp) -> Row {
    Row::Receipt(ReceiptRow {
        canary: canary(serial),
        event: 0,
        submitted_at: at,
        late_ns: 1_000,
        result: EventResult::Accepted {
            at: Some(at),
            strength: Strength::Written,
            place: Some(format!("/var/log/auth-lab.log:{serial}00")),
        },
    })
}

fn sighting(serial: u32, at: Stamp) -> SightingRow {
    SightingRow {
        canary: canary(serial),
        watcher: "alerts".to_owned(),
        stage: Stage::Detected,
        observed: at,
        not_before: None,
        native_id: format!("alert-{serial}"),
        rule: Some("5710".to_owned()),
        rule_names: vec!["5710".to_owned(), "sshd: failed password".to_owned()],
        event_time_ns: Some(at.wall_ns),
        created_time_ns: Some(at.wall_ns),
        grade: Grade::Exact,
        retrospective: false,
        excerpt: "Failed password for invalid user from 192.0.2.7 port 4242 ssh2".to_owned(),
    }
}

fn open(path: &Path) -> Ledger {
    Ledger::open(path, &KEY, opening(), Arc::new(SystemClock::new())).unwrap()
}

/// Resident memory of this process and its peak, MiB.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let read = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (read("VmRSS:"), read("VmHWM:"))
}

#[test]
#[ignore = "takes minutes; prints figures"]
fn a_million_canaries() {
    let most: u32 = std::env::var("DWELL_CANARIES").map_or(1_000_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let at = SystemClock::new().now();
    let begin = Instant::now();
    let ledger = open(&path);
    for first in (0..most).step_by(1_000) {
        let serials = first..(first + 1_000).min(most);
        let mut batch = Batch::default();
        batch.rows.extend(serials.clone().map(|s| intent(s, at)));
        batch.rows.extend(serials.clone().map(|s| receipt(s, at)));
        batch.sightings.extend(serials.map(|s| sighting(s, at)));
        ledger.append(batch).wait().unwrap();
    }
    ledger.close(Duration::from_secs(30)).unwrap();
    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    println!("written: {most} canaries, 3 rows each, in {:?}, {size} MiB", begin.elapsed());
    let begin = Instant::now();
    let ledger = open(&path);
    println!("open for writing: {:?}", begin.elapsed());
    let begin = Instant::now();
    let reader = Reader::open(&path).unwrap();
    println!("open for reading: {:?}", begin.elapsed());
    let begin = Instant::now();
    let mut rows = 0u64;
    reader
        .rows(|_, _| {
            rows += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    println!(
        "stream {rows} rows, checked: {:?}, resident and peak {:?} MiB",
        begin.elapsed(),
        resident()
    );
    assert_eq!(rows, u64::from(most) * 3 + 2);
    let begin = Instant::now();
    for n in 0..100_000u32 {
        let serial = n.wrapping_mul(2_654_435_761) % (most * 2);
        assert_eq!(reader.knows(canary(serial)).unwrap(), serial < most);
    }
    println!("point look-up: {:?} each", begin.elapsed() / 100_000);
    let begin = Instant::now();
    assert!(audit(&path, &KEY, None).unwrap().whole());
    println!("audit: {:?}, resident and peak {:?} MiB", begin.elapsed(), resident());
    ledger.close(Duration::from_secs(30)).unwrap();
}

/// Not a test: makes the folder in `DWELL_LAB` that `tests/bench/ledger` measures. It must hold what
/// `dwell init` wrote. One canary in a hundred is never seen; the others within a minute.
#[test]
#[ignore = "run by tests/bench/ledger"]
fn make_lab() {
    let Some(folder) = std::env::var_os("DWELL_LAB").map(std::path::PathBuf::from) else { return };
    let most: u32 = std::env::var("DWELL_CANARIES").map_or(1_000_000, |n| n.parse().unwrap());
    let config = dwell::config::load_for_reading(&folder.join("dwell.toml")).unwrap();
    let keys = dwell_injectors::token::KeyRing::load(&config.key).unwrap();
    let clock = Arc::new(SystemClock::new());
    let begin = clock.now();
    let after = |ns: u64| Stamp {
        wall_ns: begin.wall_ns + ns as i64,
        boot_ns: begin.boot_ns + ns,
        boot: begin.boot,
    };
    let ledger = Ledger::open(&config.ledger, &keys.chain_key(), opening(), clock).unwrap();
    let own = |serial: u32| TokenId { epoch: keys.newest(), serial };
    let proven = Proven { watcher: "alerts".to_owned(), at: begin, config_digest: "d".to_owned() };
    let rows = vec![lab_run(begin, most), Row::Proven(proven)];
    ledger.append(Batch { rows, ..Batch::default() }).wait().unwrap();
    let mut last = 0;
    for first in (0..most).step_by(1_000) {
        let mut batch = Batch::default();
        for serial in first..(first + 1_000).min(most) {
            let sent = u64::from(serial) * 1_000_000;
            let mut row = intent(serial, after(sent));
            if let Row::Intent(intent) = &mut row {
                intent.canary = own(serial);
            }
            batch.rows.push(row);
            let mut row = receipt(serial, after(sent));
            if let Row::Receipt(receipt) = &mut row {
                receipt.canary = own(serial);
            }
            batch.rows.push(row);
            if serial % 100 != 0 {
                let delay = u64::from(serial.wrapping_mul(2_654_435_761)) * 14;
                last = last.max(sent + delay);
                let seen = after(sent + delay);
                batch.sightings.push(SightingRow { canary: own(serial), ..sighting(serial, seen) });
            }
        }
        ledger.append(batch).wait().unwrap();
    }
    watched(&ledger, begin, last + 400_000_000_000, u64::from(most));
    ledger.close(Duration::from_secs(30)).unwrap();
}

/// One look after the other without a break, DWELL_LOOKS (1) of them, and one at the end.
fn watched(ledger: &Ledger, begin: Stamp, span_ns: u64, records: u64) {
    let looks: u64 = std::env::var("DWELL_LOOKS").map_or(1, |n| n.parse().unwrap());
    let after = |part: u64| {
        let ns = (u128::from(span_ns) * u128::from(part) / u128::from(looks)) as u64;
        Stamp { wall_ns: begin.wall_ns + ns as i64, boot_ns: begin.boot_ns + ns, boot: begin.boot }
    };
    let look = |part: u64| {
        Row::Look(Look {
            watcher: "alerts".to_owned(),
            from: after(part),
            to: after((part + 1).min(looks)),
            complete: true,
            unbroken: true,
            position: String::new(),
            records: records / looks,
        })
    };
    for first in (0..=looks).step_by(1_000) {
        let rows = (first..(first + 1_000).min(looks + 1)).map(look).collect();
        ledger.append(Batch { rows, ..Batch::default() }).wait().unwrap();
    }
}

fn lab_run(at: Stamp, planned: u32) -> Row {
    serde_json::from_value(serde_json::json!({
        "k": "run", "at": at, "run": 1, "campaign": "size", "seed": 1, "arrivals": "fixed",
        "starts": at, "window_ns": 1, "quiet_hours": [], "config_digest": "d", "config": {},
        "recipes": {}, "dialects": {}, "authorisation": null,
        "watchers": [{"name": "alerts", "stage": "detected", "kind": "file", "dialect": "lines",
            "push": false, "resolution_ns": 0, "max_offset_ns": null, "source": "alerts.json"}],
        "routes": [{"name": "r", "recipe": "x", "attack": [], "enters_at": "host-log",
            "owner": "o", "supplier": false, "target": "t", "proof": "written",
            "planned": planned, "expectations": [{"name": "detected", "stage": "detected",
                "watchers": ["alerts"], "rules": [], "deadline_ns": 60_000_000_000u64,
                "horizon_ns": 300_000_000_000u64, "share": 0.9, "confidence": 0.95, "min_n": 20}]}]
    }))
    .unwrap()
}

#[test]
#[ignore = "prints figures"]
fn commit_rates() {
    let folder = tempfile::tempdir().unwrap();
    let at = SystemClock::new().now();
    let rate = |number: u32, begin: Instant| f64::from(number) / begin.elapsed().as_secs_f64();
    let mut file = std::fs::File::create(folder.path().join("plain")).unwrap();
    let begin = Instant::now();
    for _ in 0..2_000 {
        file.write_all(&[b'x'; 400]).unwrap();
        file.sync_data().unwrap();
    }
    let plain = rate(2_000, begin);
    let ledger = open(&folder.path().join("l.db"));
    let begin = Instant::now();
    for serial in 0..2_000 {
        let rows = vec![intent(serial, at)];
        ledger.append(Batch { rows, ..Batch::default() }).wait().unwrap();
    }
    let single = rate(2_000, begin);
    let begin = Instant::now();
    let tickets: Vec<Ticket> = (2_000..52_000)
        .map(|s| ledger.append(Batch { rows: vec![intent(s, at)], ..Batch::default() }))
        .collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let group = rate(50_000, begin);
    println!(
        "plain append + fdatasync {plain:.0}/s; one commit at a time {single:.0}/s ({:.2} of plain); grouped {group:.0}/s ({:.1} times single)",
        single / plain,
        group / single,
    );
    ledger.close(Duration::from_secs(30)).unwrap();
}
