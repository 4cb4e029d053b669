//! Bytes to tokens: pure.
//!
//! A SIMD pass looks for needles, then the key decides. The ledger is asked only about tokens whose tag
//! is right, and a record is parsed only when it holds one of those.
//!
//! What is searched for is the beginning of a token in every case of its letters. An epoch has 6 to 24
//! such needles (4 or 8 for the text, 1 to 16 for the UUID), and all epochs share two for addresses. One pass
//! takes the 64 that the SIMD searcher takes: at least two epochs, on average six; a ring with more
//! gets further passes. What costs is not the number of needles but that of the searcher's eight
//! buckets: it sorts needles by the lower halves of their first four bytes, and the cases of a letter
//! share theirs. Measured on log lines, all cases of one epoch are as fast as two were, six epochs are two
//! thirds as fast as one, and each pass costs as much again.
//!
//! Invariants:
//!
//! - A token is found wherever it stands in the bytes, whatever surrounds it.
//! - Nothing depends on how many canaries are outstanding: there is no table here.
//! - [`Stream`] finds tokens that are split over reads; its memory does not depend on the input.
//!
//! Found in any case of any letter, inside URLs and JSON: of all the characters of a token encoders
//! touch only an address's colon, and `%3A` is read. Not found by a scan is a token whose letters or
//! digits are encoded too (`%6A`, `\u006a`), which no encoder does by itself, an address that was
//! encoded twice (`%253A`) or written out with leading zeros, and a UUID without its dashes. Of these
//! `verify` understands the encoded ones. What a pipeline does beyond that is not known.
//!
//! # Grades
//!
//! A sighting is tied to a canary by its exact token and by nothing else. The two weaker grades that a row
//! can name, a leased identity and a field in a time window, are read and never written, and the fold
//! leaves such rows out. The reason is that neither can be made sound from what is known here: an
//! alert that holds only a fixed decoy identity is ours when exactly one canary held that identity,
//! *and* nobody else used it meanwhile, and a decoy is planted so that somebody else will use it. A
//! measurement that took such an alert for its own would hide the very intruder whom the decoy is for. So
//! recipes carry the token in a field that survives their rule's aggregation, which lint demands;
//! an alert that shows only the identity leaves its canary missed at `detected`, with `ingested` as
//! its last stage.

mod echo;
mod stream;

pub use echo::{MAX_ECHO, is_echo};
pub use stream::Stream;

use std::sync::Arc;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{AhoCorasick, MatchKind as AutomatonKind};
use dwell_injectors::token::{Form, KeyRing, TokenId, stands_alone};

/// Finds our tokens in bytes.
#[derive(Debug)]
pub struct Scanner {
    keys: Arc<KeyRing>,
    passes: Vec<Search>,
}

/// Needles that the SIMD searcher takes.
const NEEDLES_PER_PASS: usize = 64;

/// Packed (SIMD) where the machine and the needles allow it.
#[derive(Debug)]
enum Search {
    Packed(Searcher),
    Automaton(AhoCorasick),
    Nothing,
}

/// One token found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Offset of its first byte in the scanned bytes.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// Which canary, or `None` where the tag is wrong (forged).
    pub id: Option<TokenId>,
}

impl Scanner {
    /// Needles for every epoch of the ring.
    pub fn new(keys: Arc<KeyRing>) -> Scanner {
        let passes = passes(&keys).iter().map(|needles| Search::new(needles)).collect();
        Scanner { keys, passes }
    }

    /// Calls `found` for every token in `bytes`, in order. Text that only shares a needle is passed
    /// over; text that also has a token's shape and stands alone is reported as forged.
    pub fn scan(&self, bytes: &[u8], found: &mut dyn FnMut(Hit)) {
        self.scan_after(None, bytes, found);
    }

    /// The same for a piece of something longer: `before` is the byte in front of the piece.
    pub fn scan_after(&self, before: Option<u8>, bytes: &[u8], found: &mut dyn FnMut(Hit)) {
        let goes_on = before.is_some_and(|byte| byte.is_ascii_alphanumeric());
        // What each pass found last; searched again only once the scan has gone past it.
        let mut next: Vec<Option<usize>> = self.passes.iter().map(|p| p.next(bytes, 0)).collect();
        while let Some(start) = next.iter().flatten().min().copied() {
            let mut at = start + 1;
            if let Some((length, id)) = self.token_at(&bytes[start..]) {
                let end = start + length;
                if id.is_some() {
                    at = end;
                }
                let alone = stands_alone(bytes, start, end) && !(start == 0 && goes_on);
                if id.is_some() || alone {
                    found(Hit { start, end, id });
                }
            }
            for (pass, next) in self.passes.iter().zip(&mut next) {
                if next.is_some_and(|start| start < at) {
                    *next = pass.next(bytes, at);
                }
            }
        }
    }

    /// The token that the bytes begin with: its length, and its canary unless the tag is wrong. Needles
    /// may coincide, so every epoch and form is asked.
    fn token_at(&self, bytes: &[u8]) -> Option<(usize, Option<TokenId>)> {
        let mut forged = None;
        for key in self.keys.epochs() {
            for form in Form::ALL {
                let Some(bits) = key.bits_at(form, bytes) else { continue };
                match key.unseal(bits) {
                    Some(id) => return Some((form.length(), Some(id))),
                    None => forged = forged.or(Some((form.length(), None))),
                }
            }
        }
        forged
    }

    /// The distinct canaries in a short text, in order of appearance, and whether something forged
    /// stands there too.
    pub fn tokens_in(&self, bytes: &[u8]) -> (Vec<TokenId>, bool) {
        let mut ids = Vec::new();
        let mut forged = false;
        self.scan(bytes, &mut |hit| match hit.id {
            Some(id) if !ids.contains(&id) => ids.push(id),
            Some(_) => {}
            None => forged = true,
        });
        (ids, forged)
    }
}

/// The needles of all epochs, in as few passes as hold them.
fn passes(keys: &KeyRing) -> Vec<Vec<String>> {
    let mut passes: Vec<Vec<String>> = vec![Vec::new()];
    for key in keys.epochs() {
        let known = |needle: &String| passes.iter().any(|pass| pass.contains(needle));
        let mut needles: Vec<String> = Vec::new();
        for needle in Form::ALL.iter().flat_map(|form| key.needles(*form)) {
            if !known(&needle) && !needles.contains(&needle) {
                needles.push(needle);
            }
        }
        match passes.last_mut() {
            Some(last) if last.len() + needles.len() <= NEEDLES_PER_PASS => last.extend(needles),
            _ => passes.push(needles),
        }
    }
    passes
}

impl Search {
    fn new(needles: &[String]) -> Search {
        let mut config = Config::new();
        config.match_kind(MatchKind::LeftmostFirst);
        match config.builder().extend(needles).build() {
            Some(searcher) => Search::Packed(searcher),
            None => AhoCorasick::builder()
                .match_kind(AutomatonKind::LeftmostFirst)
                .build(needles)
                .map_or(Search::Nothing, Search::Automaton),
        }
    }

    /// Where the next needle stands; whether a token begins there is not yet known.
    fn next(&self, bytes: &[u8], at: usize) -> Option<usize> {
        match self {
            Search::Packed(searcher) => {
                let span = aho_corasick::Span { start: at, end: bytes.len() };
                searcher.find_in(bytes, span).map(|m| m.start())
            }
            Search::Automaton(automaton) => {
                let input = aho_corasick::Input::new(bytes).span(at..bytes.len());
                automaton.find(input).map(|m| m.start())
            }
            Search::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::token::{Carrier, Epoch};
    use proptest::prelude::*;

    pub(super) fn keys() -> Arc<KeyRing> {
        Arc::new(KeyRing::with_fixed_key([7; 32]))
    }

    /// Looks at every offset with the key itself: what the scanner must equal.
    fn oracle(bytes: &[u8]) -> Vec<TokenId> {
        let keys = keys();
        let key = &keys.epochs()[0];
        let mut ids = Vec::new();
        for start in 0..bytes.len() {
            for form in Form::ALL {
                ids.extend(key.bits_at(form, &bytes[start..]).and_then(|bits| key.unseal(bits)));
            }
        }
        ids
    }

    fn found(bytes: &[u8]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        Scanner::new(keys()).scan(bytes, &mut |hit| ids.extend(hit.id));
        ids
    }

    const CARRIERS: [Carrier; 4] = [Carrier::Text, Carrier::Upper, Carrier::Uuid, Carrier::Ipv6];

    proptest! {
        #[test]
        fn equals_the_oracle(
            parts in proptest::collection::vec(
                (any::<u32>(), 0usize..5, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let keys = keys();
            let mut bytes = Vec::new();
            for (serial, carrier, noise) in parts {
                bytes.extend(noise);
                match CARRIERS.get(carrier) {
                    Some(carrier) => {
                        let token = keys.mint(Epoch(1), serial >> 4).unwrap();
                        bytes.extend(token.text(*carrier).into_bytes());
                    }
                    // A needle alone must not hide a token that follows it.
                    None => bytes.extend(keys.epochs()[0].prefix().bytes()),
                }
            }
            prop_assert_eq!(found(&bytes), oracle(&bytes));
        }
    }

    /// What pipelines do to a text that they pass on, as encoders really do it.
    fn mangle(text: &str, how: u8, cases: u64) -> String {
        let cased = text.bytes().enumerate().map(|(at, byte)| match cases >> (at % 64) & 1 {
            1 => byte.to_ascii_uppercase(),
            _ => byte.to_ascii_lowercase(),
        });
        let text = String::from_utf8(cased.collect()).unwrap();
        let url = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        match how {
            0 => text,
            1 => url(&text),
            2 => url::form_urlencoded::Serializer::new(String::new())
                .append_pair("q", &text)
                .finish(),
            3 => text.replace(':', "%3a"),
            4 => serde_json::json!({ "user": text, "n": [text] }).to_string(),
            5 => serde_json::json!({ "inner": format!("{{\"user\":\"{text}\"}}") }).to_string(),
            _ => format!("CN={text},DC=example"),
        }
    }

    proptest! {
        #[test]
        fn every_carrier_is_found_in_any_case_and_in_any_encoding(
            serial in 0u32..(1 << 28), how in 0u8..7, cases in any::<u64>(), epoch in 1u16..9
        ) {
            let keys = ring_of(9);
            let scanner = Scanner::new(keys.clone());
            let token = keys.mint(Epoch(epoch), serial).unwrap();
            // Title case, lower and upper case beside whatever was drawn.
            for cases in [cases, 1, 0, u64::MAX] {
                for carrier in CARRIERS {
                    let text = mangle(&token.text(carrier), how, cases);
                    let (ids, _) = scanner.tokens_in(text.as_bytes());
                    prop_assert_eq!(ids, vec![token.id()], "{}", text);
                }
            }
        }
    }

    #[test]
    fn what_no_encoder_touches_by_itself_is_left_to_verify() {
        let token = keys().mint(Epoch(1), 5).unwrap();
        let text = token.text(Carrier::Text);
        for encoded in [
            text.bytes().map(|b| format!("%{b:02X}")).collect::<String>(),
            text.bytes().map(|b| format!("\\u{b:04x}")).collect(),
        ] {
            assert_eq!(found(encoded.as_bytes()), []);
            let recognised = keys().recognise(&encoded);
            assert_eq!(recognised, dwell_injectors::token::Recognition::Ours(token.id()));
        }
    }

    #[test]
    fn all_tokens_of_a_record_and_forgeries_apart() {
        let keys = keys();
        let (a, b) = (keys.mint(Epoch(1), 1).unwrap(), keys.mint(Epoch(1), 2).unwrap());
        let forged = format!("{}aaaaaaaaaaaa", keys.epochs()[0].prefix());
        let text = format!(
            "{{\"u\":\"{}\",\"k\":\"AKIA{}\",\"again\":\"{}\",\"f\":\"{forged}\",\"w\":\"x{forged}\"}}",
            a.text(Carrier::Text),
            b.text(Carrier::Upper),
            a.text(Carrier::Uuid)
        );
        let scanner = Scanner::new(keys);
        assert_eq!(scanner.tokens_in(text.as_bytes()), (vec![a.id(), b.id()], true));
        let mut forgeries = 0;
        scanner.scan(text.as_bytes(), &mut |hit| forgeries += usize::from(hit.id.is_none()));
        assert_eq!(forgeries, 1, "what is part of a longer word is no forgery");
    }
    /// A key file with that many epochs, the way rotations leave it.
    fn ring_of(epochs: u16) -> Arc<KeyRing> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let text: String = (1..=epochs).map(|e| format!("epoch {e} {e:064x}\n")).collect();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Arc::new(KeyRing::load(&path).unwrap())
    }

    #[test]
    fn every_epoch_is_found_in_order_whatever_their_number() {
        for epochs in [1, 10, 11, 35] {
            let keys = ring_of(epochs);
            let mut text = String::new();
            let mut expected = Vec::new();
            for round in 0..4u16 {
                // Ascending and descending, so that the passes take turns in both directions.
                for epoch in (1..=epochs).map(|e| if round % 2 == 0 { e } else { epochs + 1 - e }) {
                    let token = keys.mint(Epoch(epoch), u32::from(round)).unwrap();
                    text.push_str(&token.text(CARRIERS[usize::from(round)]));
                    text.push_str(" / ");
                    expected.push(token.id());
                }
            }
            let scanner = Scanner::new(keys);
            let passes = passes(&scanner.keys);
            assert!(passes.iter().all(|needles| needles.len() <= NEEDLES_PER_PASS));
            assert!(scanner.passes.len() <= usize::from(epochs).div_ceil(2), "{epochs} epochs");
            let mut found = Vec::new();
            scanner.scan(text.as_bytes(), &mut |hit| found.extend(hit.id));
            assert_eq!(found, expected, "{epochs} epochs");
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn every_pass_is_one_simd_search() {
        let scanner = Scanner::new(ring_of(35));
        assert!(scanner.passes.len() > 1);
        assert!(scanner.passes.iter().all(|pass| matches!(pass, Search::Packed(_))));
    }
}
