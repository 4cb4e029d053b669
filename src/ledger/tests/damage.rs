//! Damage: what was read is never silently less than, or other than, what was written.

use std::os::unix::fs::PermissionsExt;

use rand::{RngExt, SeedableRng};

use super::*;

fn sample(path: &Path) -> Ledger {
    let ledger = open(path).unwrap();
    for n in 0..40u32 {
        let mut batch = rows(vec![intent(n, 1)]);
        batch.sightings = Vec::new();
        ledger.append(batch).wait().unwrap();
        let mut batch = rows(vec![receipt(n, 0)]);
        batch.sightings = vec![sighting(n, "a")];
        ledger.append(batch).wait().unwrap();
    }
    ledger
}

fn totals(path: &Path) -> Result<Vec<Row>, LedgerError> {
    let mut found = Vec::new();
    Reader::open(path)?.rows(|_, row| {
        found.push(row);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", ".marks", ".lock"] {
        let _ = std::fs::remove_file(lock::beside(path, suffix));
    }
}

#[test]
fn random_flips_are_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (live, dead) = (folder.path().join("live.db"), folder.path().join("dead.db"));
    let ledger = sample(&live);
    let truth = totals(&live).unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut found = 0;
    // Both shapes: everything in the log (a crash), everything in the file (a clean close).
    for round in 0..200 {
        if round == 100 {
            ledger.close(SECOND).unwrap();
        }
        remove(&dead);
        for suffix in ["", "-wal", ".marks"] {
            if lock::beside(&live, suffix).exists() {
                std::fs::copy(lock::beside(&live, suffix), lock::beside(&dead, suffix)).unwrap();
            }
        }
        let suffix = if round < 100 { "-wal" } else { "" };
        let victim = lock::beside(&dead, suffix);
        let mut bytes = std::fs::read(&victim).unwrap();
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        std::fs::write(&victim, bytes).unwrap();
        let verdict = audit(&dead, &KEY, None);
        let whole = verdict.as_ref().is_ok_and(Audit::whole);
        match totals(&dead) {
            Ok(rows) => {
                assert_eq!(rows, truth, "flip at {at} of {victim:?} changed rows in silence")
            }
            Err(_) => {
                found += 1;
                assert!(!whole, "flip at {at} of {victim:?} was missed by the audit: {verdict:?}");
            }
        }
        // Opening for writing neither panics nor hangs.
        if let Ok(ledger) = open(&dead) {
            let _ = ledger.close(SECOND);
        }
    }
    assert!(found > 20, "only {found} flips hit anything: the test is blind");
}

#[test]
fn a_truncated_log_or_file_is_refused_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (live, dead) = (folder.path().join("live.db"), folder.path().join("dead.db"));
    let ledger = sample(&live);
    let truth = totals(&live).unwrap().len();
    let mut refused = 0;
    for round in 0..60u64 {
        if round == 30 {
            ledger.close(SECOND).unwrap();
        }
        remove(&dead);
        for suffix in ["", "-wal", ".marks"] {
            if lock::beside(&live, suffix).exists() {
                std::fs::copy(lock::beside(&live, suffix), lock::beside(&dead, suffix)).unwrap();
            }
        }
        let victim = lock::beside(&dead, if round < 30 { "-wal" } else { "" });
        let length = std::fs::metadata(&victim).unwrap().len();
        let cut = (length / 30) * (round % 30) + round;
        std::fs::File::options().write(true).open(&victim).unwrap().set_len(cut).unwrap();
        match totals(&dead) {
            Ok(rows) => assert_eq!(rows.len(), truth, "cut at {cut} lost rows in silence"),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("dead.db"), "{error}");
            }
        }
        assert!(open(&dead).is_err() || cut == length || totals(&dead).unwrap().len() > truth);
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn an_altered_row_is_pointed_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path).close(SECOND).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("DROP TRIGGER rows_are_never_altered").unwrap();
    let changed = "UPDATE rows SET body = replace(body, '\"s\":5', '\"s\":6') WHERE seq = 17";
    assert_eq!(raw.execute(changed, []).unwrap(), 1);
    drop(raw);
    let fault = audit(&path, &KEY, None).unwrap().fault.unwrap();
    assert!(fault.contains("row 17 "), "{fault}");
    assert!(matches!(totals(&path), Err(LedgerError::Damaged { .. })));
}

#[test]
fn a_newer_format_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    open(&path).unwrap().close(SECOND).unwrap();
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    for error in [open(&path).unwrap_err(), Reader::open(&path).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("format 9") && text.contains("knows 1"), "{text}");
    }
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(open(&other).unwrap_err().to_string().contains("another program's"));
    let text = folder.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough to be looked at as one".repeat(9))
        .unwrap();
    assert!(matches!(open(&text), Err(LedgerError::Damaged { .. })));
    assert_eq!(std::fs::read_to_string(&text).unwrap().len(), 54 * 9, "left as it was");
}

#[test]
fn an_emptied_ledger_is_damaged_and_not_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path).close(SECOND).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    for _ in ["before a writer looked", "and after"] {
        let error = Reader::open_if_any(&path).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("rows were committed, 0 are left"), "{error}");
        assert!(matches!(open(&path), Err(LedgerError::Damaged { .. })));
    }
    // Without marks it is what a writer leaves that died before its first commit.
    remove(&path);
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open_if_any(&path), Err(LedgerError::Empty { .. })));
}

#[test]
fn an_old_sqlite_is_refused() {
    let path = Path::new("l.db");
    assert!(schema::check_sqlite(path, 3_051_002, "3.51.2").is_err());
    assert!(schema::check_sqlite(path, rusqlite::version_number(), "").is_ok());
}

#[test]
fn a_wrong_key_does_not_fork_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    open(&path).unwrap().close(SECOND).unwrap();
    let opening = Opening { verb: "run".to_owned() };
    let error = Ledger::open(&path, &[8; 32], opening, clock()).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}

#[test]
fn odd_names_and_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("new\nline?#%.db");
    open(&odd).unwrap().close(SECOND).unwrap();
    assert_eq!(all(&odd).len(), 1);
    let missing = folder.path().join("none.db");
    assert!(Reader::open(&missing).is_err());
    assert!(!missing.exists(), "a reader makes nothing");
    let error = open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("cannot"), "{error}");
    let mode = std::fs::metadata(&odd).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others cannot read it");
}
