//! What any store must hold, whatever is beneath it. A new store adds one `#[test]` here.

use super::super::store::Store;
use super::*;

fn holds_the_contract(reopen: &dyn Fn() -> Box<dyn Store>) {
    let mut store = reopen();
    assert_eq!(store.head().seq, 0);
    // A rollback leaves no trace.
    store.begin().unwrap();
    store.append(&intent(0, 1)).unwrap();
    store.set_cursor("w", "1").unwrap();
    assert!(store.knows(canary(0)).unwrap(), "visible inside the transaction");
    store.rollback();
    assert_eq!(store.head().seq, 0);
    assert!(!store.knows(canary(0)).unwrap());
    // A commit is found again by the next opening, with the same head.
    store.begin().unwrap();
    store.append(&run_row(4)).unwrap();
    store.append(&intent(0, 2)).unwrap();
    store.append(&Row::Sighting(sighting(0, "a"))).unwrap();
    store.put_body(canary(0), 1, "second").unwrap();
    store.put_body(canary(0), 0, "x").unwrap();
    assert_eq!(store.reserve(Epoch(1), 3, 9).unwrap(), 1, "serials follow the intents");
    store.commit().unwrap();
    let head = store.head();
    assert_eq!(head.seq, 3);
    drop(store);
    let mut store = reopen();
    assert_eq!(store.head(), head);
    assert!(store.has_sighting("alerts", "a", canary(0)).unwrap());
    assert!(!store.has_sighting("alerts", "a", canary(1)).unwrap());
    assert!(!store.has_sighting("other", "a", canary(0)).unwrap());
    assert_eq!(store.bodies(canary(0)).unwrap(), ["x", "second"]);
    assert_eq!(store.bodies(canary(1)).unwrap(), [""; 0]);
    // What is under way.
    assert_eq!(store.unfinished().unwrap()[0].missing, [0, 1]);
    assert_eq!(store.open_runs().unwrap()[0].taken, [(0, 0, 1)]);
    store.begin().unwrap();
    store.append(&receipt(0, 1)).unwrap();
    assert_eq!(store.unfinished().unwrap()[0].missing, [0]);
    assert!(store.under_way(canary(0)).unwrap());
    store.append(&receipt(0, 0)).unwrap();
    assert!(!store.under_way(canary(0)).unwrap());
    store.settle_run(1).unwrap();
    store.commit().unwrap();
    assert!(store.unfinished().unwrap().is_empty() && store.open_runs().unwrap().is_empty());
    assert_eq!(store.reserve(Epoch(1), 1, 9).unwrap(), 4);
    assert_eq!(store.reserve(Epoch(2), 2, 9).unwrap(), 9, "an epoch begins where it is told");
    assert_eq!(store.reserve(Epoch(2), 1, 0).unwrap(), 11, "once");
    // A canary is recorded once.
    store.begin().unwrap();
    assert!(store.append(&intent(0, 1)).is_err());
    store.rollback();
    assert_eq!(store.head().seq, 5);
}

#[test]
fn sqlite_holds_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    holds_the_contract(&|| Box::new(SqliteStore::open(&path, &KEY).unwrap()));
}

#[test]
fn a_store_in_memory_holds_the_contract() {
    let memory = super::memory::Memory::default();
    holds_the_contract(&|| Box::new(memory.open()));
}

#[test]
fn sqlite_refuses_to_alter_or_remove_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    open(&path).unwrap().close(Duration::from_secs(5)).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    assert!(raw.execute("UPDATE rows SET body = '{}'", []).is_err());
    assert!(raw.execute("DELETE FROM rows", []).is_err());
}

#[test]
fn the_indexes_can_be_rebuilt_from_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let ledger = open(&path).unwrap();
    ledger
        .append(rows(vec![run_row(3), intent(0, 1), intent(1, 2), receipt(0, 0)]))
        .wait()
        .unwrap();
    let batch = Batch { sightings: vec![sighting(0, "a")], ..Batch::default() };
    ledger.append(batch).wait().unwrap();
    ledger.close(Duration::from_secs(5)).unwrap();
    let dump = || {
        let raw = rusqlite::Connection::open(&path).unwrap();
        let mut text = Vec::new();
        for table in schema::DERIVED_TABLES {
            let mut statement =
                raw.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
            let columns = statement.column_count();
            let mut found = statement.query([]).unwrap();
            while let Some(row) = found.next().unwrap() {
                let values: Vec<rusqlite::types::Value> =
                    (0..columns).map(|n| row.get(n).unwrap()).collect();
                text.push(format!("{table} {values:?}"));
            }
        }
        text
    };
    let before = dump();
    assert!(before.len() >= 10);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("DELETE FROM canaries; DELETE FROM stories; DELETE FROM runs;").unwrap();
    drop(raw);
    assert!(!audit(&path, &KEY, None).unwrap().whole());
    SqliteStore::open(&path, &KEY).unwrap().rebuild().unwrap();
    assert_eq!(dump(), before);
    assert!(audit(&path, &KEY, None).unwrap().whole());
}
