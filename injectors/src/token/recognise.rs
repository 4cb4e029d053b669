//! Whether a text is ours: every carrier, through the manglings that pipelines and people apply.
//!
//! Understood: changed case, percent-encoding, JSON escapes (`\u0061`), and a person who typed 0, 1
//! or 8 for o, l or b. Anything else that cannot be read is "not ours", never an error.

use super::forms::Form;
use super::key::KeyRing;
use super::{Carrier, TokenId};

/// What a text turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recognition {
    /// It holds a token whose tag is right.
    Ours(TokenId),
    /// It holds something shaped like a token of an epoch of ours, but the tag is wrong.
    Forged,
    /// It holds no token.
    None,
}

impl KeyRing {
    /// Looks for a token anywhere in a short text.
    pub fn recognise(&self, text: &str) -> Recognition {
        let plain = text.to_ascii_lowercase();
        let decoded = unescape_json(&unescape_percent(text)).to_ascii_lowercase();
        let typed: String = plain
            .chars()
            .map(|c| match c {
                '0' => 'o',
                '1' => 'l',
                '8' => 'b',
                other => other,
            })
            .collect();
        let mut answer = Recognition::None;
        for candidate in [plain, decoded, typed] {
            match self.find(candidate.as_bytes()) {
                Recognition::None => {}
                ours @ Recognition::Ours(_) => return ours,
                Recognition::Forged => answer = Recognition::Forged,
            }
        }
        answer
    }

    fn find(&self, bytes: &[u8]) -> Recognition {
        let mut forged = false;
        for key in self.epochs() {
            for form in [Form::Text, Form::Uuid, Form::Ipv6] {
                let needle = key.needle(form);
                for start in memchr::memmem::find_iter(bytes, needle.as_bytes()) {
                    let Some(bits) = key.bits_at(form, &bytes[start..]) else { continue };
                    match key.unseal(bits) {
                        Some(id) => return Recognition::Ours(id),
                        None => forged |= stands_alone(bytes, start, start + form.length()),
                    }
                }
            }
        }
        if forged { Recognition::Forged } else { Recognition::None }
    }

    /// The token of a canary in the form of a carrier, if the epoch is known.
    pub fn text_of(&self, id: TokenId, carrier: Carrier) -> Option<String> {
        self.mint(id.epoch, id.serial).ok().map(|token| token.text(carrier))
    }
}

/// True when no letter or digit touches the token: a forgery must at least look like a token.
pub fn stands_alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    let touches = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !touches(before) && !touches(bytes.get(end))
}

/// The value of hexadecimal digits and of nothing else: the library's parser takes a sign too.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

fn unescape_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match bytes.get(at + 1..at + 3).and_then(hexadecimal) {
            Some(value) if *byte == b'%' => {
                out.push(value as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn unescape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        out.push_str(&rest[..at]);
        let digits = rest.as_bytes().get(at + 2..at + 6);
        match digits.and_then(hexadecimal).and_then(char::from_u32) {
            Some(character) => {
                out.push(character);
                rest = &rest[at + 6..];
            }
            None => {
                out.push_str("\\u");
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_escape_is_two_hexadecimal_digits() {
        for (text, plain) in [
            ("%61%4a", "aJ"),
            ("%+1", "%+1"),
            ("%-1", "%-1"),
            ("% 1", "% 1"),
            ("%6", "%6"),
            ("%", "%"),
            ("%é", "%é"),
            ("%%61", "%a"),
        ] {
            assert_eq!(unescape_percent(text), plain, "{text}");
        }
    }

    #[test]
    fn a_json_escape_is_four_hexadecimal_digits() {
        for (text, plain) in [
            ("\\u0061b", "ab"),
            ("\\u+061", "\\u+061"),
            ("\\u061", "\\u061"),
            ("\\ud800x", "\\ud800x"),
            ("\\u00é1", "\\u00é1"),
        ] {
            assert_eq!(unescape_json(text), plain, "{text}");
        }
    }
}
