//! Departure marks: which canaries may have left although no receipt is durable yet.
//!
//! ```text
//! 0   8 bytes   "dwellmrk"
//! 8   8 bytes   boot id, big endian
//! 16  8 bytes   number of rows known to be committed, big endian: a lower bound
//! 24  8 bytes   one per mark: epoch u16 | check u16 | serial u32, big endian
//! ```
//!
//! Marks are plain writes into the page cache: they survive the death of the process, not the
//! machine's, which is why they are trusted only under the boot id that wrote them. A slot is used
//! again once the canary's receipts are durable, so the file is as long as the most canaries that
//! were ever under way at once; a mark that has served its purpose may stay and is harmless.
//!
//! The row count is written after each commit. A ledger that holds fewer rows than were committed
//! has lost some (a damaged write-ahead log is cut in silence), and is refused.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dwell_injectors::stamp::BootId;
use dwell_injectors::token::{Epoch, TokenId};

use super::LedgerError;
use super::lock::beside;
use crate::true_path::true_path;

const MAGIC: &[u8; 8] = b"dwellmrk";
const HEADER: u64 = 24;
const SLOT: u64 = 8;
/// Most marks that are read back: far more than can be under way.
const MOST: u64 = 1 << 20;

/// What an earlier process left.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The boot that wrote the marks; `None` where there is no readable file.
    pub boot: Option<BootId>,
    /// Rows known to be committed.
    pub committed: u64,
    /// The marks.
    pub marks: HashSet<TokenId>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Marks {
    path: PathBuf,
    file: File,
    used: HashMap<TokenId, u64>,
    free: Vec<u64>,
    slots: u64,
}

/// True when a ledger was once written here, whether or not its file is still there.
pub fn was_recorded(ledger: &Path) -> bool {
    ledger.exists() || has_marks(&true_path(ledger))
}

/// True when a ledger of this true name has left its marks.
pub(super) fn has_marks(ledger: &Path) -> bool {
    beside(ledger, ".marks").exists()
}

fn check(epoch: u16, serial: u32) -> u16 {
    (serial >> 16) as u16 ^ serial as u16 ^ epoch ^ 0xa5c3
}

fn encode(canary: TokenId) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&canary.epoch.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&check(canary.epoch.0, canary.serial).to_be_bytes());
    bytes[4..].copy_from_slice(&canary.serial.to_be_bytes());
    bytes
}

fn decode(bytes: [u8; 8]) -> Option<TokenId> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let (epoch, serial) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([e, f, g, h]));
    (u16::from_be_bytes([c, d]) == check(epoch, serial))
        .then_some(TokenId { epoch: Epoch(epoch), serial })
}

/// Reads what an earlier process left; an unreadable or foreign file counts as none.
pub(super) fn read(path: &Path) -> Found {
    let Ok(file) = File::open(beside(path, ".marks")) else { return Found::default() };
    let mut header = [0; HEADER as usize];
    if file.read_exact_at(&mut header, 0).is_err() || &header[..8] != MAGIC {
        return Found::default();
    }
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let mut found =
        Found { boot: Some(BootId(word(8))), committed: word(16), marks: HashSet::new() };
    let mut slot = [0; SLOT as usize];
    for n in 0..MOST {
        if file.read_exact_at(&mut slot, HEADER + n * SLOT).is_err() {
            break;
        }
        found.marks.extend(decode(slot));
    }
    found
}

impl Marks {
    /// Begins anew, without marks. Called only when recovery is durable.
    pub fn begin(path: &Path, boot: BootId, committed: u64) -> Result<Marks, LedgerError> {
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&boot.0.to_be_bytes());
        header.extend_from_slice(&committed.to_be_bytes());
        let open = || {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(beside(path, ".marks"))?;
            // The header first: marks of this boot without their header would not be trusted.
            file.write_all_at(&header, 0)?;
            file.set_len(HEADER)?;
            Ok(file)
        };
        let file = open().map_err(|e| LedgerError::io(path, "write its departure marks", &e))?;
        Ok(Marks { path: path.to_owned(), file, used: HashMap::new(), free: Vec::new(), slots: 0 })
    }

    /// Marks a canary as leaving.
    pub fn mark(&mut self, canary: TokenId) -> Result<(), LedgerError> {
        if self.used.contains_key(&canary) {
            return Ok(());
        }
        let slot = self.free.pop().unwrap_or(self.slots);
        self.file
            .write_all_at(&encode(canary), HEADER + slot * SLOT)
            .map_err(|e| LedgerError::io(&self.path, "write a departure mark", &e))?;
        self.slots = self.slots.max(slot + 1);
        self.used.insert(canary, slot);
        Ok(())
    }

    /// The canary's receipts are durable: its slot may be used again.
    pub fn release(&mut self, canary: &TokenId) {
        if let Some(slot) = self.used.remove(canary) {
            self.free.push(slot);
        }
    }

    /// Notes how many rows are durable.
    pub fn committed(&self, rows: u64) -> Result<(), LedgerError> {
        self.file
            .write_all_at(&rows.to_be_bytes(), 16)
            .map_err(|e| LedgerError::io(&self.path, "note its number of rows", &e))
    }

    /// Cuts the marks off, when nothing is under way.
    pub fn clear(&mut self) {
        if self.used.is_empty() {
            // A failure leaves harmless marks behind.
            let _ = self.file.set_len(HEADER);
            self.slots = 0;
            self.free.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(serial: u32) -> TokenId {
        TokenId { epoch: Epoch(3), serial }
    }

    #[test]
    fn marks_are_read_back_and_slots_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        let mut marks = Marks::begin(&path, BootId(9), 4).unwrap();
        for serial in 0..1_000 {
            marks.mark(canary(serial)).unwrap();
            if serial >= 10 {
                marks.release(&canary(serial));
            }
        }
        marks.committed(77).unwrap();
        let found = read(&path);
        assert_eq!((found.boot, found.committed), (Some(BootId(9)), 77));
        assert!((0..10).all(|s| found.marks.contains(&canary(s))));
        assert!(!found.marks.contains(&canary(1_000)));
        assert!(found.marks.len() <= 11, "slots are used again, {} marks", found.marks.len());
        Marks::begin(&path, BootId(9), 77).unwrap();
        assert!(read(&path).marks.is_empty());
    }

    #[test]
    fn a_foreign_file_is_no_marks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        std::fs::write(folder.path().join("l.db.marks"), b"something else entirely, long").unwrap();
        assert!(read(&path).boot.is_none());
    }
}
