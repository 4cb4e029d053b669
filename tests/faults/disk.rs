//! Disks that are full or fail: the ledger stops and says so (promise P8).

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dwell::ledger::*;
use dwell_injectors::stamp::{Clock, SystemClock};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::child::{KEY, opening};

fn look(n: u64, filler: usize) -> Batch {
    let now = SystemClock::new().now();
    let position = format!("{n} {}", "x".repeat(filler));
    let look = Look {
        watcher: "w".to_owned(),
        from: now,
        to: now,
        complete: true,
        unbroken: true,
        position,
        records: n,
    };
    Batch { rows: vec![Row::Look(look)], ..Batch::default() }
}

/// Appends until the disk is full; prints how many were acknowledged.
#[test]
#[ignore = "run by the full-disk test"]
fn filler() {
    let Some(path) = std::env::var_os("DWELL_FAULT_LEDGER").map(PathBuf::from) else { return };
    let limit: u64 = std::env::var("DWELL_FAULT_LIMIT").unwrap().parse().unwrap();
    let ledger = Ledger::open(&path, &KEY, opening(), Arc::new(SystemClock::new())).unwrap();
    let most = Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Fsize, most).unwrap();
    let mut good = 0;
    let error = loop {
        match ledger.append(look(good, 2_000)).wait() {
            Ok(_) => good += 1,
            Err(error) => break error,
        }
        assert!(good < 100_000, "the limit was never reached");
    };
    // It stays refused, also for what would fit, and for marks.
    for _ in 0..20 {
        assert!(matches!(ledger.append(look(0, 1)).wait(), Err(LedgerError::Stopped { .. })));
    }
    let canary = dwell_injectors::token::TokenId { epoch: super::child::EPOCH, serial: 1 };
    assert!(ledger.mark_departure(canary).is_err());
    assert!(ledger.close(Duration::from_secs(5)).is_err(), "a failed ledger does not close well");
    println!("\n@{good} {}", error.to_string().replace('\n', " "));
}

#[test]
fn a_full_disk_stops_the_ledger_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // Limits that hit the log, the database, a checkpoint, and the middle of a page.
    for (n, limit) in [200_000, 300_001, 1_000_000, 4_200_000, 4_500_000].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.db"));
        // SIGXFSZ is ignored, so that the write fails as on a full disk.
        let out = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["disk::filler", "--exact", "--ignored", "--nocapture", "--quiet"])
            .env("DWELL_FAULT_LEDGER", &path)
            .env("DWELL_FAULT_LIMIT", limit.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
        let said = text.lines().find_map(|l| l.strip_prefix('@')).unwrap();
        let (good, error) = said.split_once(' ').unwrap();
        let good: usize = good.parse().unwrap();
        assert!(error.contains(&format!("{n}.db")), "names the file: {error}");
        assert!(error.contains("start again"), "names the next step: {error}");
        // With space again, everything acknowledged is there, and writing goes on.
        let ledger = Ledger::open(&path, &KEY, opening(), Arc::new(SystemClock::new())).unwrap();
        ledger.append(look(1, 1)).wait().unwrap();
        ledger.close(Duration::from_secs(5)).unwrap();
        let found = audit(&path, &KEY, None).unwrap();
        assert!(found.whole(), "{found:?}");
        let mut looks = 0;
        Reader::open(&path)
            .unwrap()
            .rows(|_, row| {
                looks += usize::from(matches!(row, Row::Look(_)));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert!(looks > good, "{looks} looks, {good} acknowledged and one more");
    }
}

/// Opens a ledger as somebody without rights; the error goes to stdout.
#[test]
#[ignore = "run by the permission test"]
fn stranger() {
    let Some(path) = std::env::var_os("DWELL_FAULT_LEDGER").map(PathBuf::from) else { return };
    let write = Ledger::open(&path, &KEY, opening(), Arc::new(SystemClock::new()));
    println!("\n@write {}", write.map_or_else(|e| e.to_string(), |_| "opened".to_owned()));
    let read = Reader::open(&path).and_then(|reader| {
        let mut rows = 0;
        reader.rows(|_, _| {
            rows += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(rows)
    });
    println!("\n@read {}", read.map_or_else(|e| e.to_string(), |rows| rows.to_string()));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_for_writing_and_fine_for_reading() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let path = place.join("l.db");
    let ledger = Ledger::open(&path, &KEY, opening(), Arc::new(SystemClock::new())).unwrap();
    ledger.close(Duration::from_secs(5)).unwrap();
    std::fs::remove_file(place.join("l.db.lock")).unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for entry in std::fs::read_dir(&place).unwrap() {
        mode(&entry.unwrap().path(), 0o444);
    }
    mode(&place, 0o555);
    mode(folder.path(), 0o755);
    let exe = folder.path().join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    mode(&exe, 0o755);
    let arguments = ["disk::stranger", "--exact", "--ignored", "--nocapture", "--quiet"];
    // Root ignores permission bits, so root runs this as nobody.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&exe);
        command
    } else {
        Command::new(&exe)
    };
    let out = command
        .args(arguments)
        .env("DWELL_FAULT_LEDGER", &path)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = |what: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix('@')?.strip_prefix(what));
        found.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&out.stderr))).trim()
    };
    assert!(said("write").contains("ermission"), "{}", said("write"));
    assert_eq!(said("read"), "1");
    assert!(!place.join("l.db.lock").exists(), "nothing was made");
    mode(&place, 0o755);
}
