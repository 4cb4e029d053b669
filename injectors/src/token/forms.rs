//! The forms that a token takes on paper, and how each is read back.
//!
//! ```text
//! text   pppp + 12 base32 characters              needle: pppp (and PPPP)
//! uuid   ffffffff-ffff-4xxx-vfff-xxxxxxxxxxxx     needle: ffffffff-ffff-4
//! ipv6   2001:db8:ffff:ffff:xxxx:xxxx:xxxx:xxxx   needle: 2001:db8:ffff:ffff:
//! ```
//!
//! `p` and `f` are fixed for an epoch, `x` carries the 60 bits, `v` the variant. Every group of the
//! IPv6 form has its top bit set: no group is zero or shorter than four digits, so nothing that
//! prints addresses compresses it.

use super::key::EpochKey;

pub(super) const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// One form, as a needle finds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// Text in lower case.
    Lower,
    /// Text in upper case.
    Upper,
    /// UUID in lower case.
    Uuid,
    /// UUID in upper case.
    UuidUpper,
    /// IPv6 in lower case.
    Ipv6,
    /// IPv6 in upper case.
    Ipv6Upper,
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 6] =
        [Form::Lower, Form::Upper, Form::Uuid, Form::Ipv6, Form::UuidUpper, Form::Ipv6Upper];

    /// Length of a whole token in this form, bytes.
    pub fn length(self) -> usize {
        match self {
            Form::Lower | Form::Upper => 16,
            Form::Uuid | Form::UuidUpper => 36,
            Form::Ipv6 | Form::Ipv6Upper => 38,
        }
    }
}

/// The longest form, bytes.
pub const LONGEST: usize = 38;

impl EpochKey {
    /// The bytes that every token of this epoch begins with in that form.
    pub fn needle(&self, form: Form) -> String {
        match form {
            Form::Lower => self.prefix().to_owned(),
            Form::Upper => self.prefix().to_ascii_uppercase(),
            Form::Uuid => uuid(self, 0)[..15].to_owned(),
            Form::UuidUpper => uuid(self, 0)[..15].to_ascii_uppercase(),
            Form::Ipv6 => ipv6(self, 0)[..19].to_owned(),
            Form::Ipv6Upper => ipv6(self, 0)[..19].to_ascii_uppercase(),
        }
    }

    /// The 60 bits of what may be a token in that form at the start of `bytes`; `None` when it has
    /// not the form's shape.
    pub fn bits_at(&self, form: Form, bytes: &[u8]) -> Option<u64> {
        let token = bytes.get(..form.length())?;
        match form {
            Form::Lower | Form::Upper => base32(&token[4..]),
            Form::Uuid | Form::UuidUpper => uuid_bits(self, token),
            Form::Ipv6 | Form::Ipv6Upper => ipv6_bits(token),
        }
    }
}

/// Text form of 60 bits.
pub(super) fn text(key: &EpochKey, bits: u64) -> String {
    let mut text = String::with_capacity(16);
    text.push_str(key.prefix());
    for group in (0..12).rev() {
        text.push(char::from(ALPHABET[(bits >> (5 * group)) as usize & 31]));
    }
    text
}

fn base32(characters: &[u8]) -> Option<u64> {
    characters.iter().try_fold(0u64, |bits, character| {
        let value = match character.to_ascii_lowercase() {
            c @ b'a'..=b'z' => c - b'a',
            c @ b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        Some((bits << 5) | u64::from(value))
    })
}

/// UUID form of 60 bits: version 4, variant 1.
pub(super) fn uuid(key: &EpochKey, bits: u64) -> String {
    let f = key.fixed();
    let variant = 0x8000 | (u16::from_be_bytes([f[6], f[7]]) & 0x3fff);
    format!(
        "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-4{:03x}-{variant:04x}-{:012x}",
        f[0],
        f[1],
        f[2],
        f[3],
        f[4],
        f[5],
        bits >> 48,
        bits & 0xffff_ffff_ffff
    )
}

fn uuid_bits(key: &EpochKey, token: &[u8]) -> Option<u64> {
    let shape = token.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let rest = uuid(key, 0);
    let fixed = token[19..23].eq_ignore_ascii_case(&rest.as_bytes()[19..23]);
    (shape && fixed).then_some(())?;
    Some((hex(&token[15..18])? << 48) | hex(&token[24..36])?)
}

/// IPv6 form of 60 bits.
pub(super) fn ipv6(key: &EpochKey, bits: u64) -> String {
    let f = key.fixed();
    let group = |index: u32| ((bits >> (15 * index)) & 0x7fff) | 0x8000;
    format!(
        "2001:db8:{:04x}:{:04x}:{:04x}:{:04x}:{:04x}:{:04x}",
        0x8000 | u16::from_be_bytes([f[0], f[1]]),
        0x8000 | u16::from_be_bytes([f[2], f[3]]),
        group(3),
        group(2),
        group(1),
        group(0)
    )
}

fn ipv6_bits(token: &[u8]) -> Option<u64> {
    let mut bits = 0;
    for group in 0..4 {
        let begin = 19 + group * 5;
        let value = hex(token.get(begin..begin + 4)?)?;
        if value & 0x8000 == 0 || (group < 3 && token.get(begin + 4) != Some(&b':')) {
            return None;
        }
        bits = (bits << 15) | (value & 0x7fff);
    }
    Some(bits)
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        Some((value << 4) | u64::from(char::from(*digit).to_digit(16)?))
    })
}
