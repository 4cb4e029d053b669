//! One writer per ledger: an advisory lock on a file beside it, which the kernel releases when the
//! process ends, however it ends. Readers take no lock.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::LedgerError;

/// The lock; released when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// The ledger's name with something appended.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Lock {
    /// Takes the lock or says who holds it; never waits.
    pub fn take(path: &Path) -> Result<Lock, LedgerError> {
        let lock_path = beside(path, ".lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| LedgerError::io(path, "open its lock file", &e))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let _ = (&mut file).take(20).read_to_string(&mut text);
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            let pid = if digits.is_empty() { "unknown".to_owned() } else { digits };
            return Err(LedgerError::Busy { path: path.display().to_string(), pid });
        }
        file.set_len(0)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0))
            .and_then(|()| file.flush())
            .map_err(|e| LedgerError::io(path, "write its lock file", &e))?;
        Ok(Lock { _file: file })
    }
}
