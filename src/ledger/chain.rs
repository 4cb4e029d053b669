//! The chain: each row's MAC covers the row and the MAC before it, keyed, one chain per writer.
//!
//! ```text
//! mac(n) = HMAC-SHA256(key, mac(n-1) | writer u64 | seq u64 | len(kind) u64 | kind | body)
//! mac(0) = 32 zero bytes
//! ```
//!
//! Whoever has no key cannot alter, insert, remove or reorder rows without breaking it. Rows cut off
//! at the end leave a chain that is whole but shorter: compare with a printed [`Head`].
//!
//! The MAC needs the key, a report does not: so each row also carries a CRC-32, which finds damage
//! (not malice) on every read.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The end of one writer's chain. Its text form is `writer:seq:mac`, the MAC in hex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The writer, from 1.
    pub writer: u32,
    /// Number of its last row, from 1; 0 while there is none.
    pub seq: u64,
    /// MAC of its last row.
    pub mac: [u8; 32],
}

impl Head {
    /// The head of a chain without rows.
    pub fn empty(writer: u32) -> Head {
        Head { writer, seq: 0, mac: [0; 32] }
    }

    /// The head after one more row.
    pub(super) fn next(&self, key: &[u8; 32], kind: &str, body: &str) -> Head {
        let seq = self.seq + 1;
        // HMAC fills a short key with zeros up to the block's length; so do we.
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(&self.mac);
        mac.update(&u64::from(self.writer).to_be_bytes());
        mac.update(&seq.to_be_bytes());
        mac.update(&(kind.len() as u64).to_be_bytes());
        mac.update(kind.as_bytes());
        mac.update(body.as_bytes());
        Head { writer: self.writer, seq, mac: mac.finalize().into_bytes().into() }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.writer, self.seq, data_encoding::HEXLOWER.encode(&self.mac))
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let wrong =
            || format!("`{text}` is no head: write it as printed, writer:number:64 hex digits");
        let mut parts = text.trim().splitn(3, ':');
        let writer = parts.next().and_then(|p| p.parse().ok()).ok_or_else(wrong)?;
        let seq = parts.next().and_then(|p| p.parse().ok()).ok_or_else(wrong)?;
        let mac = parts
            .next()
            .and_then(|p| data_encoding::HEXLOWER_PERMISSIVE.decode(p.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(wrong)?;
        Ok(Head { writer, seq, mac })
    }
}

/// CRC-32 of a row as stored.
pub(super) fn checksum(head: &Head, kind: &str, body: &str) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head.writer.to_be_bytes());
    crc.update(&head.seq.to_be_bytes());
    crc.update(kind.as_bytes());
    crc.update(&[0]);
    crc.update(body.as_bytes());
    crc.update(&head.mac);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_text() {
        let head = Head::empty(1).next(&[7; 32], "look", "{}");
        assert_eq!(head.to_string().parse::<Head>().unwrap(), head);
        assert!("1:2".parse::<Head>().is_err());
        assert!("1:2:zz".parse::<Head>().is_err());
    }

    #[test]
    fn everything_enters_the_mac() {
        let first = Head::empty(1).next(&[7; 32], "look", "{}");
        assert_ne!(first.mac, Head::empty(2).next(&[7; 32], "look", "{}").mac);
        assert_ne!(first.mac, Head::empty(1).next(&[8; 32], "look", "{}").mac);
        assert_ne!(first.mac, Head::empty(1).next(&[7; 32], "loo", "k{}").mac);
        assert_ne!(first.mac, first.next(&[7; 32], "look", "{}").mac);
    }
}
