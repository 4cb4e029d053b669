//! One writer per ledger: an advisory lock on a file beside it, which the kernel releases when the
//! process ends, however it ends. Readers take no lock.
//!
//! The lock belongs to the open file and not to the process: a child that another thread is just starting
//! holds a copy of it for a moment. Therefore it is given back by name, and not by closing alone.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LedgerError;

/// The lock; released when dropped. While it is held, no other process writes to the ledger.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be unlocked is released by the kernel at the latest with the process.
        let _ = self.file.unlock();
    }
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
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| LedgerError::io(path, "open its lock file", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => {
                return Err(LedgerError::io(path, "lock its lock file", &e));
            }
            Err(TryLockError::WouldBlock) => return Err(busy(path, &file)),
        }
        file.set_len(0)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0))
            .map_err(|e| LedgerError::io(path, "write its lock file", &e))?;
        Ok(Lock { file })
    }
}

/// Who holds it, as the file says.
fn busy(path: &Path, file: &File) -> LedgerError {
    let mut text = String::new();
    let _ = file.take(20).read_to_string(&mut text);
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let pid = if digits.is_empty() { "unknown".to_owned() } else { digits };
    LedgerError::Busy { path: path.display().to_string(), pid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_back_although_a_child_still_holds_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        let lock = Lock::take(&path).unwrap();
        let child = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&path), Err(LedgerError::Busy { .. })));
        drop(lock);
        drop(Lock::take(&path).unwrap());
        drop(child);
    }
}
