//! Keys and epochs: what makes tokens ours.
//!
//! The key file holds one line per epoch, oldest first: `epoch <number> <64 hex digits>`. It is
//! created with mode 0600, refused when anybody else may read it, and only ever grows: a rotation
//! adds an epoch and keeps the old ones for reading.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::forms::{ALPHABET, Heads};
use super::{Epoch, SERIAL_BITS, Token, TokenId};
use crate::secret::{SecretError, read_private};

const SERIAL_MASK: u32 = (1 << SERIAL_BITS) - 1;

/// Beginnings of names with a digit inside that ordinary logs hold.
const COMMON: [&str; 24] = [
    "a2di", "a2dp", "a2en", "b64d", "b64e", "d3d1", "d3dx", "e2fs", "e2im", "ec2i", "f2fs", "l2ca",
    "l2tp", "md5c", "md5d", "md5h", "md5s", "p2ps", "s3fs", "s3ob", "u2fd", "v4l2", "w32t", "x2go",
];

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key file cannot be read.
    #[error(transparent)]
    Secret(SecretError),
    /// There is no key file.
    #[error("there is no key file {path}; restore it from a backup, or make one: `dwell key new`")]
    Missing {
        /// The file.
        path: String,
    },
    /// A line of the key file is damaged.
    #[error("key file {path}, line {line}: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The key file cannot be written.
    #[error("cannot write key file {path}: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// There is a key file already.
    #[error("key file {path} exists; keep it, or use `dwell key rotate` to open a new epoch")]
    Exists {
        /// The file.
        path: String,
    },
    /// No such epoch.
    #[error("the key file holds no epoch {epoch}")]
    NoEpoch {
        /// The epoch that was asked for.
        epoch: u16,
    },
    /// There is no number left for another epoch.
    #[error(
        "epoch {epoch} is the last that can be numbered; start a new key file with `dwell init`"
    )]
    LastEpoch {
        /// The newest epoch.
        epoch: u16,
    },
    /// The epoch is used up.
    #[error("serial {serial} is beyond the {max} of an epoch; run `dwell key rotate`")]
    UsedUp {
        /// The serial that was asked for.
        serial: u32,
        /// Serials per epoch.
        max: u32,
    },
}

/// One epoch's key material and what is derived from it.
#[derive(Clone)]
pub struct EpochKey {
    epoch: Epoch,
    secret: [u8; 32],
    prefix: [u8; 4],
    fixed: [u8; 8],
    heads: Heads,
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl EpochKey {
    fn new(epoch: Epoch, secret: [u8; 32]) -> EpochKey {
        let prefix = prefix(&secret, epoch);
        let digest = mac(&secret, &[b"fixed/1", &epoch.0.to_be_bytes()]);
        let mut fixed = [0; 8];
        fixed.copy_from_slice(&digest[..8]);
        EpochKey { epoch, secret, prefix, heads: Heads::new(&fixed), fixed }
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The four characters that every text token of this epoch begins with.
    pub fn prefix(&self) -> &str {
        std::str::from_utf8(&self.prefix).unwrap_or_default()
    }

    /// Fixed bits of the UUID and IPv6 forms.
    pub(super) fn fixed(&self) -> &[u8; 8] {
        &self.fixed
    }

    /// What the UUID and IPv6 forms begin with.
    pub(super) fn heads(&self) -> &Heads {
        &self.heads
    }

    fn tag(&self, serial: u32) -> u32 {
        let digest =
            mac(&self.secret, &[b"tag/1", &self.epoch.0.to_be_bytes(), &serial.to_be_bytes()]);
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    fn mask(&self, tag: u32) -> u32 {
        let digest =
            mac(&self.secret, &[b"mask/1", &self.epoch.0.to_be_bytes(), &tag.to_be_bytes()]);
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & SERIAL_MASK
    }

    /// The 60 bits that stand for a serial.
    pub(super) fn seal(&self, serial: u32) -> u64 {
        let tag = self.tag(serial);
        (u64::from(serial ^ self.mask(tag)) << 32) | u64::from(tag)
    }

    /// The serial that 60 bits stand for, if the tag is right.
    pub fn unseal(&self, bits: u64) -> Option<TokenId> {
        let tag = (bits & 0xffff_ffff) as u32;
        let serial = ((bits >> 32) as u32 & SERIAL_MASK) ^ self.mask(tag);
        let right = self.tag(serial).to_be_bytes().ct_eq(&tag.to_be_bytes());
        bool::from(right).then_some(TokenId { epoch: self.epoch, serial })
    }
}

fn mac(secret: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length; the only error is a length that cannot occur here.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .expect("invariant: HMAC accepts a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Starts with a letter, holds a digit, and is nothing that logs are full of.
fn prefix(secret: &[u8; 32], epoch: Epoch) -> [u8; 4] {
    for attempt in 0u16..=u16::MAX {
        let digest = mac(secret, &[b"prefix/1", &epoch.0.to_be_bytes(), &attempt.to_be_bytes()]);
        let mut prefix = [0; 4];
        for (to, from) in prefix.iter_mut().zip(&digest) {
            *to = ALPHABET[usize::from(from & 31)];
        }
        let digits = prefix.iter().filter(|c| c.is_ascii_digit()).count();
        if prefix[0].is_ascii_lowercase() && (1..=2).contains(&digits) && !is_common(&prefix) {
            return prefix;
        }
    }
    unreachable!("invariant: about a quarter of all candidates qualify")
}

/// What ordinary logs are full of, so that a needle there would be asked about far too often: a word with
/// its number (`log4`, `ipv6`, `sha2`, `win3`), what stands in every hexadecimal digest, and some names.
pub(super) fn is_common(prefix: &[u8; 4]) -> bool {
    let word = prefix.iter().position(u8::is_ascii_digit).unwrap_or(prefix.len());
    let numbered = prefix[word..].iter().all(u8::is_ascii_digit);
    let hexadecimal = prefix.iter().all(u8::is_ascii_hexdigit);
    numbered || hexadecimal || COMMON.iter().any(|name| name.as_bytes() == prefix)
}

/// All epochs of a key file; the newest mints, all are read.
#[derive(Clone, Debug)]
pub struct KeyRing {
    epochs: Vec<EpochKey>,
}

impl KeyRing {
    /// A new ring with one epoch from the operating system's randomness.
    pub fn generate() -> KeyRing {
        KeyRing { epochs: vec![EpochKey::new(Epoch(1), rand::random())] }
    }

    /// A ring with one epoch and a known key: for golden files and tests only.
    pub fn with_fixed_key(secret: [u8; 32]) -> KeyRing {
        KeyRing { epochs: vec![EpochKey::new(Epoch(1), secret)] }
    }

    /// Reads a key file of mode 0600 or stricter.
    pub fn load(path: &Path) -> Result<KeyRing, KeyError> {
        let text = read_private(path).map_err(|error| match error {
            SecretError::Unreadable { path, source } if source.kind() == ErrorKind::NotFound => {
                KeyError::Missing { path }
            }
            other => KeyError::Secret(other),
        })?;
        let mut epochs: Vec<EpochKey> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let key = parse_line(line_text).map_err(|reason| KeyError::Damaged {
                path: path.display().to_string(),
                line: number + 1,
                reason,
            })?;
            if epochs.last().is_some_and(|last| last.epoch >= key.epoch) {
                return Err(KeyError::Damaged {
                    path: path.display().to_string(),
                    line: number + 1,
                    reason: "epochs do not ascend",
                });
            }
            epochs.push(key);
        }
        if epochs.is_empty() {
            let path = path.display().to_string();
            return Err(KeyError::Damaged { path, line: 1, reason: "no epoch" });
        }
        Ok(KeyRing { epochs })
    }

    /// Writes a new key file of mode 0600. A file, link or folder that stands there already is never
    /// touched, not even when it appears meanwhile.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        let temporary = self.write_beside(path)?;
        // A hard link refuses an existing name atomically; a rename would replace it.
        let linked = std::fs::hard_link(&temporary, path);
        let _ = std::fs::remove_file(&temporary);
        linked.and_then(|()| sync_folder(path)).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => KeyError::Exists { path: path.display().to_string() },
            _ => unwritable(path, source),
        })
    }

    /// Opens a new epoch and replaces the file in one step; old epochs stay readable. On an error
    /// the file and the ring stay as they were.
    pub fn rotate(&mut self, path: &Path) -> Result<Epoch, KeyError> {
        let newest = self.newest().0;
        let epoch = Epoch(newest.checked_add(1).ok_or(KeyError::LastEpoch { epoch: newest })?);
        let mut grown = self.clone();
        grown.epochs.push(EpochKey::new(epoch, rand::random()));
        let temporary = grown.write_beside(path)?;
        if let Err(source) = std::fs::rename(&temporary, path) {
            let _ = std::fs::remove_file(&temporary);
            return Err(unwritable(path, source));
        }
        // The file holds the epoch now: the ring must too, whatever becomes of the folder's sync.
        *self = grown;
        sync_folder(path).map_err(|source| unwritable(path, source))?;
        Ok(epoch)
    }

    /// A new file of mode 0600 beside `path` with the whole ring in it, synced.
    fn write_beside(&self, path: &Path) -> Result<PathBuf, KeyError> {
        let mut text = String::from("# Keys of the tokens. Keep this file secret and backed up.\n");
        for key in &self.epochs {
            text.push_str(&format!(
                "epoch {} {}\n",
                key.epoch.0,
                data_encoding::HEXLOWER.encode(&key.secret)
            ));
        }
        // A name that nobody can prepare, and `create_new`: neither a link nor a file with wider
        // permissions can be put in its way.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{:016x}.new", rand::random::<u64>()));
        let temporary = PathBuf::from(temporary);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|source| unwritable(path, source))?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            unwritable(path, source)
        })?;
        Ok(temporary)
    }

    /// The epoch that mints.
    pub fn newest(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), |key| key.epoch)
    }

    /// All epochs, oldest first.
    pub fn epochs(&self) -> &[EpochKey] {
        &self.epochs
    }

    /// One epoch's key.
    pub fn epoch(&self, epoch: Epoch) -> Option<&EpochKey> {
        self.epochs.iter().find(|key| key.epoch == epoch)
    }

    /// The token of a canary.
    pub fn mint(&self, epoch: Epoch, serial: u32) -> Result<Token, KeyError> {
        let key = self.epoch(epoch).ok_or(KeyError::NoEpoch { epoch: epoch.0 })?;
        if serial > SERIAL_MASK {
            return Err(KeyError::UsedUp { serial, max: SERIAL_MASK + 1 });
        }
        Ok(Token::new(key, serial))
    }

    /// Key of the ledger's chain, derived from the first epoch so that rotation does not change it.
    pub fn chain_key(&self) -> [u8; 32] {
        self.epochs.first().map_or([0; 32], |key| mac(&key.secret, &[b"ledger chain/1"]))
    }
}

fn unwritable(path: &Path, source: std::io::Error) -> KeyError {
    KeyError::Unwritable { path: path.display().to_string(), source }
}

/// Makes a new name in the file's folder survive a crash.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn parse_line(line: &str) -> Result<EpochKey, &'static str> {
    let mut words = line.split_whitespace();
    if words.next() != Some("epoch") {
        return Err("a line must read `epoch <number> <64 hex digits>`");
    }
    let epoch = words.next().and_then(|w| w.parse().ok()).ok_or("the epoch is no number")?;
    let hex = words.next().ok_or("the key is missing")?;
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(hex.as_bytes())
        .map_err(|_| "the key is not hexadecimal")?;
    let secret = bytes.try_into().map_err(|_| "the key has not 32 bytes")?;
    if words.next().is_some() {
        return Err("there is something after the key");
    }
    Ok(EpochKey::new(Epoch(epoch), secret))
}
