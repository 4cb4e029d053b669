//! The file: how it is made, opened and recognised.
//!
//! `rows` is the ledger; all other tables are derived from it and can be rebuilt, except `bodies`
//! (whose digests are in the intents) and `cursors` (positions, worth an overlap at most).

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::LedgerError;

/// Marks an SQLite file as a ledger of dwell ("Dwll").
const APPLICATION_ID: i64 = 0x4477_6c6c;
/// The newest format that this program knows, and the one it writes.
pub const FORMAT: i64 = 1;
/// The first SQLite without the defect that could lose commits when a write-ahead log restarts.
const LEAST_SQLITE: i32 = 3_051_003;
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE rows (
  pos INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER NOT NULL, seq INTEGER NOT NULL,
  kind TEXT NOT NULL, body TEXT NOT NULL, mac BLOB NOT NULL, crc INTEGER NOT NULL,
  UNIQUE (writer, seq)) STRICT;
CREATE TRIGGER rows_are_never_altered BEFORE UPDATE ON rows
  BEGIN SELECT RAISE(ABORT, 'rows are never altered'); END;
CREATE TRIGGER rows_are_never_removed BEFORE DELETE ON rows
  BEGIN SELECT RAISE(ABORT, 'rows are never removed'); END;
CREATE TABLE writers (writer INTEGER PRIMARY KEY, seq INTEGER NOT NULL, mac BLOB NOT NULL) STRICT;
CREATE TABLE bodies (epoch INTEGER, serial INTEGER, event INTEGER, body TEXT NOT NULL,
  PRIMARY KEY (epoch, serial, event)) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (watcher TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// The tables that say nothing that the rows do not say.
const DERIVED: &str = "
CREATE TABLE canaries (epoch INTEGER, serial INTEGER, pos INTEGER NOT NULL, run INTEGER NOT NULL,
  route INTEGER NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (epoch, serial)) STRICT, WITHOUT ROWID;
CREATE TABLE stories (epoch INTEGER, serial INTEGER, pos INTEGER,
  PRIMARY KEY (epoch, serial, pos)) STRICT, WITHOUT ROWID;
CREATE TABLE handovers (epoch INTEGER, serial INTEGER, event INTEGER,
  PRIMARY KEY (epoch, serial, event)) STRICT, WITHOUT ROWID;
CREATE TABLE sightings (watcher TEXT, native_id TEXT, epoch INTEGER, serial INTEGER,
  PRIMARY KEY (watcher, native_id, epoch, serial)) STRICT, WITHOUT ROWID;
CREATE TABLE serials (epoch INTEGER PRIMARY KEY, next INTEGER NOT NULL) STRICT;
CREATE TABLE runs (run INTEGER PRIMARY KEY, pos INTEGER NOT NULL, ended INTEGER NOT NULL,
  settled INTEGER NOT NULL) STRICT;
CREATE TABLE withdrawals (run INTEGER NOT NULL, route INTEGER NOT NULL, slot INTEGER NOT NULL,
  slots INTEGER NOT NULL) STRICT;
";

/// What a file needs that an older program made: it does without, and nothing that it reads changes.
/// The writer sees to it at every opening.
const LATER: &str = "
CREATE TABLE IF NOT EXISTS standing (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL,
  crc INTEGER NOT NULL) STRICT;
";

/// The rows that bear on every canary, as [`super::Row::bears_on_all`] has them.
pub(super) const BEARING: &str = "kind IN ('run', 'look', 'blind', 'proven', 'stray', 'clock')";

/// Names of the derived tables.
pub(super) const DERIVED_TABLES: [&str; 8] =
    ["canaries", "stories", "handovers", "sightings", "serials", "runs", "withdrawals", "standing"];

/// Refuses an SQLite that is known to lose commits.
pub(super) fn check_sqlite(path: &Path, number: i32, name: &str) -> Result<(), LedgerError> {
    if number >= LEAST_SQLITE {
        return Ok(());
    }
    Err(LedgerError::store(
        path,
        format!("SQLite {name} can lose commits; build with the bundled one (3.51.3 or newer)"),
    ))
}

/// Opens for writing; makes the file when there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    use std::os::unix::fs::OpenOptionsExt;
    check_sqlite(path, rusqlite::version_number(), rusqlite::version())?;
    // Made here and not by SQLite, for the mode: event bodies are nobody else's business.
    std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| LedgerError::io(path, "open it for writing", &e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fail = |doing: &'static str| move |e: rusqlite::Error| LedgerError::sqlite(path, doing, &e);
    let mut connection = Connection::open_with_flags(path, flags).map_err(fail("open it"))?;
    connection.busy_timeout(BUSY).map_err(fail("set it up"))?;
    let made = recognise(&connection, path)?;
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(fail("switch it to a write-ahead log"))?;
    if mode != "wal" {
        return Err(LedgerError::store(
            path,
            format!("its file system allows only the journal mode `{mode}`; use a local disk"),
        ));
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(fail("set it up"))?;
    connection.set_prepared_statement_cache_capacity(64);
    if !made {
        make(&mut connection).map_err(fail("make its tables"))?;
    }
    let later =
        format!("{LATER} CREATE INDEX IF NOT EXISTS bearing ON rows (pos) WHERE {BEARING};");
    connection.execute_batch(&later).map_err(fail("make its later tables"))?;
    Ok(connection)
}

/// Opens for reading, beside a writer or alone, also in a folder that cannot be written.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    check_sqlite(path, rusqlite::version_number(), rusqlite::version())?;
    if !path.is_file() {
        return Err(LedgerError::store(
            path,
            match super::marks::has_marks(path) {
                true => "the file is gone, its marks are still beside it; restore it from a backup",
                false => "there is no such file; name another with `[ledger] path`",
            },
        ));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fail = |e: rusqlite::Error| LedgerError::sqlite(path, "open it for reading", &e);
    let mut connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY).map_err(fail)?;
    if let Err(error) = recognise(&connection, path) {
        // Without a log there is nothing that could change: read the file as it lies.
        let log = std::fs::metadata(super::lock::beside(path, "-wal")).map_or(0, |m| m.len());
        if log > 0 || !matches!(error, LedgerError::Store { .. }) {
            return Err(error);
        }
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        connection =
            Connection::open_with_flags(immutable_uri(path), flags).map_err(|_| error.clone())?;
    }
    if !recognise(&connection, path)? {
        return Err(LedgerError::Empty { path: path.display().to_string() });
    }
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")
        .map_err(fail)?;
    Ok(connection)
}

fn immutable_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// True for a ledger that we know, false for an empty file, an error for anything else.
fn recognise(connection: &Connection, path: &Path) -> Result<bool, LedgerError> {
    let read = |pragma: &str| {
        connection
            .query_row(pragma, [], |row| row.get::<_, i64>(0))
            .map_err(|e| LedgerError::sqlite(path, "read it", &e))
    };
    let application = read("PRAGMA application_id")?;
    let found = read("PRAGMA user_version")?;
    let tables = read("SELECT count(*) FROM sqlite_schema")?;
    match (application, found, tables) {
        (0, 0, 0) => Ok(false),
        (APPLICATION_ID, FORMAT, _) => Ok(true),
        (APPLICATION_ID, found, _) if found > FORMAT => {
            Err(LedgerError::Newer { path: path.display().to_string(), found, known: FORMAT })
        }
        (APPLICATION_ID, found, _) => Err(LedgerError::store(
            path,
            format!(
                "it has format {found}, which no release ever wrote; this program knows {FORMAT}"
            ),
        )),
        _ => Err(LedgerError::store(path, "it is another program's database; name another file")),
    }
}

fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    tx.execute_batch(DERIVED)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}
