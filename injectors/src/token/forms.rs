//! The forms that a token takes on paper, and how each is read back.
//!
//! ```text
//! text   pppp + 12 base32 characters              begins with pppp
//! uuid   ffffffff-ffff-4xxx-vfff-xxxxxxxxxxxx     begins with ffffffff-ffff-4
//! ipv6   2001:db8:ffff:ffff:xxxx:xxxx:xxxx:xxxx   begins with 2001:db8:ffff:ffff:
//!        2001%3Adb8%3A...                         the same, as a URL holds it
//! ```
//!
//! `p` and `f` are fixed for an epoch, `x` carries the 60 bits, `v` the variant. Every group of the
//! IPv6 form has its top bit set: no group is zero or shorter than four digits, so nothing that
//! prints addresses compresses it.
//!
//! Letters count in either case, each for itself: a display name is capitalised, and a resolver draws
//! the case of a host name at random. Of all these characters a URL encodes the colon alone, and JSON
//! none.

use super::key::EpochKey;

pub(super) const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// One form, whatever the case of its letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// Text.
    Text,
    /// UUID.
    Uuid,
    /// IPv6.
    Ipv6,
    /// IPv6 whose colons are percent-encoded.
    Ipv6Encoded,
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 4] = [Form::Text, Form::Uuid, Form::Ipv6, Form::Ipv6Encoded];

    /// Length of a whole token in this form, bytes.
    pub fn length(self) -> usize {
        match self {
            Form::Text => 16,
            Form::Uuid => UUID,
            Form::Ipv6 => IPV6,
            Form::Ipv6Encoded => LONGEST,
        }
    }
}

/// Length of a UUID.
pub(super) const UUID: usize = 36;
/// Length of an address.
const IPV6: usize = 38;
/// Length of what every address of an epoch begins with.
pub(super) const IPV6_HEAD: usize = 19;
/// The longest form, bytes: an address whose seven colons take three bytes each.
pub const LONGEST: usize = IPV6 + 7 * 2;
/// What is searched for of a text or a UUID: more would have more cases, less would stand everywhere.
const NEEDLE: usize = 4;

impl EpochKey {
    /// The bytes that every token of this epoch begins with in that form, in lower case.
    pub fn needle(&self, form: Form) -> String {
        match form {
            Form::Text => self.prefix().to_owned(),
            Form::Uuid => lossy(&self.heads().uuid[..15]),
            Form::Ipv6 => lossy(&self.heads().ipv6),
            Form::Ipv6Encoded => lossy(&self.heads().ipv6).replace(':', "%3a"),
        }
    }

    /// What to search for so that no token in that form is passed over, in whatever case: at most 16
    /// needles. Both of the addresses are the same for every epoch.
    pub fn needles(&self, form: Form) -> Vec<String> {
        match form {
            Form::Text | Form::Uuid => cases(&self.needle(form)[..NEEDLE]),
            Form::Ipv6 => vec!["2001:".to_owned()],
            Form::Ipv6Encoded => vec!["2001%3".to_owned()],
        }
    }

    /// The 60 bits of what may be a token in that form at the start of `bytes`; `None` when it has
    /// not the form's shape or is another epoch's.
    pub fn bits_at(&self, form: Form, bytes: &[u8]) -> Option<u64> {
        let token = bytes.get(..form.length())?;
        match form {
            Form::Text => {
                let (prefix, rest) = token.split_at(NEEDLE);
                prefix.eq_ignore_ascii_case(self.prefix().as_bytes()).then(|| base32(rest))?
            }
            Form::Uuid => uuid_bits(&self.heads().uuid, token),
            Form::Ipv6 => ipv6_bits(&self.heads().ipv6, token),
            Form::Ipv6Encoded => ipv6_bits(&self.heads().ipv6, &colons(token)?),
        }
    }
}

/// What every token of an epoch has in common, by form, so that no search makes it anew.
#[derive(Clone)]
pub(super) struct Heads {
    uuid: [u8; UUID],
    ipv6: [u8; IPV6_HEAD],
}

impl Heads {
    pub(super) fn new(fixed: &[u8; 8]) -> Heads {
        let mut heads = Heads { uuid: [0; UUID], ipv6: [0; IPV6_HEAD] };
        heads.uuid.copy_from_slice(uuid(fixed, 0).as_bytes());
        heads.ipv6.copy_from_slice(&ipv6(fixed, 0).as_bytes()[..IPV6_HEAD]);
        heads
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The text with each of its letters in either case.
fn cases(text: &str) -> Vec<String> {
    let grow = |found: Vec<String>, c: char| {
        let upper = c.to_ascii_uppercase();
        let with = |c: char| found.iter().map(move |begin| format!("{begin}{c}"));
        match upper == c {
            true => with(c).collect(),
            false => with(c).chain(with(upper)).collect(),
        }
    };
    text.chars().fold(vec![String::new()], grow)
}

/// An address with its colons as they were.
fn colons(encoded: &[u8]) -> Option<[u8; IPV6]> {
    let mut plain = [0; IPV6];
    let mut rest = encoded;
    for byte in &mut plain {
        match rest {
            [b'%', b'3', b'a' | b'A', after @ ..] => (*byte, rest) = (b':', after),
            [first, after @ ..] => (*byte, rest) = (*first, after),
            [] => return None,
        }
    }
    rest.is_empty().then_some(plain)
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
pub(super) fn uuid(f: &[u8; 8], bits: u64) -> String {
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

fn uuid_bits(head: &[u8; UUID], token: &[u8]) -> Option<u64> {
    let same = |span: std::ops::Range<usize>| token[span.clone()].eq_ignore_ascii_case(&head[span]);
    (same(0..15) && same(19..23)).then_some(())?;
    let shape = token.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    shape.then_some(())?;
    Some((hex(&token[15..18])? << 48) | hex(&token[24..36])?)
}

/// IPv6 form of 60 bits.
pub(super) fn ipv6(f: &[u8; 8], bits: u64) -> String {
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

fn ipv6_bits(head: &[u8; IPV6_HEAD], token: &[u8]) -> Option<u64> {
    token[..IPV6_HEAD].eq_ignore_ascii_case(head).then_some(())?;
    let mut bits = 0;
    for group in 0..4 {
        let begin = IPV6_HEAD + group * 5;
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
