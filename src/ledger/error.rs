//! Why the ledger refused. Every text names the file, what is wrong and the next step.

use std::path::Path;

/// Why the ledger refused. All of them end a process with exit code 3.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store failed.
    #[error("ledger {path}: {reason}")]
    Store {
        /// The ledger's file.
        path: String,
        /// What happened, and the next step.
        reason: String,
    },
    /// Its file is there and holds nothing: a writer died before its first commit.
    #[error("ledger {path}: it is empty: nothing was ever recorded in it; `dwell run` begins it")]
    Empty {
        /// The ledger's file.
        path: String,
    },
    /// Another process writes to it.
    #[error(
        "ledger {path} is being written by process {pid}; wait for it, stop it, or name another ledger"
    )]
    Busy {
        /// The ledger's file.
        path: String,
        /// The holder's process id, or `unknown`.
        pid: String,
    },
    /// A newer dwell made it.
    #[error(
        "ledger {path} has format {found}, this program knows {known}; use the dwell that wrote it, or a newer one"
    )]
    Newer {
        /// The ledger's file.
        path: String,
        /// The format version found.
        found: i64,
        /// The newest format version that this program knows.
        known: i64,
    },
    /// What was read is not what was written.
    #[error("ledger {path} is damaged: {reason}; run `dwell ledger verify`, or restore a copy")]
    Damaged {
        /// The ledger's file.
        path: String,
        /// Where and how.
        reason: String,
    },
    /// An earlier commit failed, so nothing is accepted any more.
    #[error(
        "ledger {path} accepts nothing since a write failed ({reason}); mend the disk and start again"
    )]
    Stopped {
        /// The ledger's file.
        path: String,
        /// What failed first.
        reason: String,
    },
}

impl LedgerError {
    pub(super) fn store(path: &Path, reason: impl Into<String>) -> LedgerError {
        LedgerError::Store { path: path.display().to_string(), reason: reason.into() }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> LedgerError {
        LedgerError::Damaged { path: path.display().to_string(), reason: reason.into() }
    }

    /// An input or output error with what was being done.
    pub(super) fn io(path: &Path, doing: &str, error: &std::io::Error) -> LedgerError {
        LedgerError::store(
            path,
            format!("cannot {doing}: {error}; check space, permissions and the disk"),
        )
    }

    /// What SQLite said, with what was being done.
    pub(super) fn sqlite(path: &Path, doing: &str, error: &rusqlite::Error) -> LedgerError {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => {
                LedgerError::damaged(path, format!("cannot {doing}: {error}"))
            }
            _ => LedgerError::store(
                path,
                format!("cannot {doing}: {error}; check space, permissions and the disk"),
            ),
        }
    }
}
