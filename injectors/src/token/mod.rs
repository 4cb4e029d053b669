//! Tokens: keyed identifiers that ride in a canary, in the form its carrier field allows.
//!
//! ```text
//! text form   16 characters of lower-case base32 (a-z2-7)
//!             pppp ssssss ssssss
//!             |    +--------------- 60 bits: 28-bit masked serial, 32-bit tag
//!             +-------------------- 4-character prefix of the key's epoch
//! ```
//!
//! The construction is SIV-style: `tag = MAC(serial)`, `masked = serial XOR MAC(tag)`. It is unique
//! by construction (one serial, one token), reveals no order, and anyone with the key alone can
//! check a token off line. Whoever saw two tokens of an epoch can spot a third by its prefix; a
//! campaign that cares opens a new epoch.
//!
//! One key and epoch mint a serial's token once per ledger, not once in the world. A ledger therefore begins
//! an epoch at a serial drawn at random, so that two ledgers of one key, or a new one beside a key that was
//! kept, do not mint the same tokens. What remains is chance: ranges of n and m canaries overlap with
//! probability (n + m - 1) / 2^28, which is 1 in 13,000 for 10,000 and 10,000. Where that is too much, and
//! always after an older copy of a ledger was restored (it goes on where the copy ended, over serials that
//! are out there already), open a new epoch: `dwell key rotate`. Best is one key for one ledger.

mod forms;
mod key;
mod recognise;
#[cfg(test)]
mod tests;

pub use forms::{Form, LONGEST};
pub use key::{EpochKey, KeyError, KeyRing};
pub use recognise::{Recognition, stands_alone};

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of bits of a serial: an epoch holds 268,435,456 canaries.
pub const SERIAL_BITS: u32 = 28;

/// The n-th serial after `first`. Behind the last one comes 0.
pub fn following(first: u32, n: u32) -> u32 {
    first.wrapping_add(n) & ((1 << SERIAL_BITS) - 1)
}

/// A generation of the key. Old epochs stay readable; only the newest one mints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u16);

/// Which canary a token stands for. Serialised as `[epoch, serial]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenId {
    /// The key epoch that minted it.
    pub epoch: Epoch,
    /// The canary's number within the epoch, below 2^28.
    pub serial: u32,
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.serial)
    }
}

impl Serialize for TokenId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.epoch, self.serial).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, serial) = Deserialize::deserialize(deserializer)?;
        Ok(TokenId { epoch, serial })
    }
}

/// The shape that a field allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// 16 lower-case characters: user names, mailboxes, user agents, paths, object names, hosts.
    Text,
    /// 16 upper-case characters, for key ids such as `AKIA` + 16.
    Upper,
    /// A version 4 UUID whose 60 free bits around version and variant hold the token.
    Uuid,
    /// An address in 2001:db8::/32 with no zero group, so that nothing compresses.
    Ipv6,
}

/// The token of one canary, in all its forms.
#[derive(Clone, Debug)]
pub struct Token {
    id: TokenId,
    key: EpochKey,
    bits: u64,
}

impl Token {
    fn new(key: &EpochKey, serial: u32) -> Token {
        let id = TokenId { epoch: key.epoch(), serial };
        Token { id, key: key.clone(), bits: key.seal(serial) }
    }

    /// Which canary it stands for.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Its text in the form that a carrier allows.
    pub fn text(&self, carrier: Carrier) -> String {
        match carrier {
            Carrier::Text => forms::text(&self.key, self.bits),
            Carrier::Upper => forms::text(&self.key, self.bits).to_ascii_uppercase(),
            Carrier::Uuid => forms::uuid(self.key.fixed(), self.bits),
            Carrier::Ipv6 => forms::ipv6(self.key.fixed(), self.bits),
        }
    }
}

impl crate::render::TokenText for Token {
    fn id(&self) -> TokenId {
        self.id
    }

    fn text(&self, carrier: Carrier) -> String {
        Token::text(self, carrier)
    }
}
