//! The standing beside the rows: kept by every opening, made anew where it is not there, and found out
//! where it is wrong.

use super::*;

fn look(second: u64) -> Row {
    let to = Stamp { boot_ns: stamp().boot_ns + second * 1_000_000_000, ..stamp() };
    Row::Look(Look {
        watcher: "alerts".to_owned(),
        from: to,
        to,
        complete: true,
        unbroken: true,
        position: String::new(),
        records: 0,
    })
}

/// Two openings; rows of two canaries, and four that bear on both.
fn sample(path: &Path) {
    for serial in 0..2 {
        let ledger = open(path).unwrap();
        let started = if serial == 0 { run_row(2) } else { look(0) };
        let facts =
            vec![started, intent(serial, 1), receipt(serial, 0), look(1 + u64::from(serial))];
        ledger.append(rows(facts)).wait().unwrap();
        let sightings = vec![sighting(serial, "a")];
        ledger.append(Batch { sightings, ..Batch::default() }).wait().unwrap();
        ledger.close(SECOND).unwrap();
    }
}

/// What all rows say together.
fn of_all(path: &Path) -> Standing {
    let mut standing = Standing::default();
    let reader = Reader::open(path).unwrap();
    reader
        .rows(|meta, row| {
            standing.append(meta.pos, &row);
            ControlFlow::Continue(())
        })
        .unwrap();
    standing
}

fn kinds(path: &Path, serial: u32) -> Result<Vec<&'static str>, LedgerError> {
    let reader = Reader::open(path)?;
    let excerpt = reader.excerpt()?.expect("a standing");
    let mut kinds = Vec::new();
    excerpt.rows(canary(serial), |row| kinds.push(row.kind()))?;
    Ok(kinds)
}

fn raw(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn an_excerpt_holds_what_bears_on_all_and_the_canarys_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path);
    let own = ["intent", "receipt", "sighting"];
    for serial in 0..2 {
        let found = kinds(&path, serial).unwrap();
        assert_eq!(found, [&["run", "look", "look", "look"][..], &own].concat());
    }
    assert_eq!(kinds(&path, 2).unwrap(), ["run", "look", "look", "look"], "nobody's");
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.excerpt().unwrap().unwrap().standing(), &of_all(&path));
    assert!(audit(&path, &KEY, None).unwrap().whole());
}

#[test]
fn the_index_of_the_file_names_the_kinds_that_bear_on_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path);
    let all = all(&path);
    let bearing: Vec<&str> = all.iter().filter(|r| r.bears_on_all()).map(Row::kind).collect();
    assert_eq!(kinds(&path, 9).unwrap(), bearing);
    // Kinds that the sample does not hold.
    for kind in ["run", "look", "blind", "proven", "stray", "clock"] {
        assert!(schema::BEARING.contains(&format!("'{kind}'")), "{kind}");
    }
    assert_eq!(schema::BEARING.matches('\'').count(), 12);
}

#[test]
fn one_that_is_not_there_or_damaged_is_made_anew_by_the_next_opening() {
    for harm in [
        "DROP TABLE standing; DROP INDEX bearing;",
        "DELETE FROM standing;",
        "UPDATE standing SET body = replace(body, '1', '2');",
        "UPDATE standing SET body = 'x';",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        sample(&path);
        raw(&path, harm);
        assert!(Reader::open(&path).unwrap().excerpt().unwrap().is_none(), "{harm}");
        open(&path).unwrap().close(SECOND).unwrap();
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.excerpt().unwrap().unwrap().standing(), &of_all(&path), "{harm}");
        assert!(audit(&path, &KEY, None).unwrap().whole(), "{harm}");
    }
}

#[test]
fn rows_behind_it_are_added_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path);
    let before = rusqlite::Connection::open(&path).unwrap();
    let old: (String, u32) = before
        .query_row("SELECT body, crc FROM standing", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let ledger = open(&path).unwrap();
    ledger.append(rows(vec![look(50)])).wait().unwrap();
    ledger.close(SECOND).unwrap();
    // As a program leaves it that knows of no standing.
    before.execute("UPDATE standing SET body = ?1, crc = ?2", old).unwrap();
    drop(before);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.excerpt().unwrap().unwrap().standing(), &of_all(&path));
    drop(reader);
    assert_eq!(kinds(&path, 9).unwrap().len(), 5);
    assert!(audit(&path, &KEY, None).unwrap().whole());
}

#[test]
fn what_is_rolled_back_first_takes_no_row_that_was_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path);
    raw(&path, "DELETE FROM standing;");
    let mut store = SqliteStore::open(&path, &KEY).unwrap();
    store.begin().unwrap();
    store.append(&look(50)).unwrap();
    store.rollback();
    assert_eq!(store.standing(), of_all(&path));
    store.begin().unwrap();
    store.append(&look(60)).unwrap();
    store.commit().unwrap();
    drop(store);
    let kept = Reader::open(&path).unwrap().excerpt().unwrap().unwrap().standing().clone();
    assert_eq!(kept, of_all(&path));
}

#[test]
fn one_that_says_what_the_rows_do_not_is_found_by_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    sample(&path);
    let mut standing = of_all(&path);
    // Later than any row, and sound by its checksum.
    standing.take(&look(500), of_all(&path).last() + 1);
    standing.keep(&rusqlite::Connection::open(&path).unwrap()).unwrap();
    let fault = audit(&path, &KEY, None).unwrap().fault.unwrap();
    assert!(fault.contains("standing"), "{fault}");
}

#[test]
fn a_row_of_it_that_is_gone_is_damage() {
    for (kind, words) in [
        ("look", "4 rows that bear on every canary were written, 3 are left"),
        ("sighting", "3 rows of canary 1.1 were written, 2 are left"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        sample(&path);
        let last = format!("(SELECT max(pos) FROM rows WHERE kind = '{kind}')");
        raw(
            &path,
            &format!("DROP TRIGGER rows_are_never_removed; DELETE FROM rows WHERE pos = {last};"),
        );
        let error = kinds(&path, 1).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
