//! Bytes to tokens: pure.
//!
//! One SIMD pass looks for the needles of all live epochs (at most a dozen short strings), then the
//! key decides. The ledger is asked only about tokens whose tag is right, and a record is parsed only
//! when it holds one of those.
//!
//! Invariants:
//!
//! - A token is found wherever it stands in the bytes, whatever surrounds it.
//! - Nothing depends on how many canaries are outstanding: there is no table here.
//! - [`Stream`] finds tokens that are split over reads; its memory does not depend on the input.
//!
//! Not found by a scan: a token whose needle itself is percent-encoded, JSON-escaped or in mixed
//! case. `verify` understands those; pipelines that rewrite letters are not known.

mod stream;

pub use stream::Stream;

use std::sync::Arc;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{AhoCorasick, MatchKind as AutomatonKind};
use dwell_injectors::token::{Form, KeyRing, TokenId, stands_alone};

/// Finds our tokens in bytes.
#[derive(Debug)]
pub struct Scanner {
    keys: Arc<KeyRing>,
    needles: Vec<(usize, Form)>,
    search: Search,
}

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
        let mut needles = Vec::new();
        let mut patterns = Vec::new();
        for (index, key) in keys.epochs().iter().enumerate() {
            for form in Form::ALL {
                needles.push((index, form));
                patterns.push(key.needle(form));
            }
        }
        let mut config = Config::new();
        config.match_kind(MatchKind::LeftmostFirst);
        let search = match config.builder().extend(&patterns).build() {
            Some(searcher) => Search::Packed(searcher),
            None => AhoCorasick::builder()
                .match_kind(AutomatonKind::LeftmostFirst)
                .build(&patterns)
                .map_or(Search::Nothing, Search::Automaton),
        };
        Scanner { keys, needles, search }
    }

    /// Calls `found` for every token in `bytes`, in order. Text that only shares a needle is passed
    /// over; text that also has a token's shape and stands alone is reported as forged.
    pub fn scan(&self, bytes: &[u8], found: &mut dyn FnMut(Hit)) {
        let mut at = 0;
        while let Some((needle, start)) = self.next(bytes, at) {
            at = start + 1;
            let Some((epoch, form)) = self.needles.get(needle).copied() else { continue };
            let Some(key) = self.keys.epochs().get(epoch) else { continue };
            let Some(bits) = key.bits_at(form, &bytes[start..]) else { continue };
            let end = start + form.length();
            let id = key.unseal(bits);
            if id.is_some() {
                at = end;
            } else if !stands_alone(bytes, start, end) {
                continue;
            }
            found(Hit { start, end, id });
        }
    }

    fn next(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        match &self.search {
            Search::Packed(searcher) => {
                let span = aho_corasick::Span { start: at, end: bytes.len() };
                searcher.find_in(bytes, span).map(|m| (m.pattern().as_usize(), m.start()))
            }
            Search::Automaton(automaton) => {
                let input = aho_corasick::Input::new(bytes).span(at..bytes.len());
                automaton.find(input).map(|m| (m.pattern().as_usize(), m.start()))
            }
            Search::Nothing => None,
        }
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
                if bytes[start..].starts_with(key.needle(form).as_bytes())
                    && let Some(id) = key.bits_at(form, &bytes[start..]).and_then(|b| key.unseal(b))
                {
                    ids.push(id);
                }
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
}
