//! Bytes to tokens: pure.
//!
//! A SIMD pass looks for needles, then the key decides. The ledger is asked only about tokens whose tag
//! is right, and a record is parsed only when it holds one of those.
//!
//! An epoch has six needles: text, UUID and IPv6, each in lower and upper case. One pass takes up to ten
//! epochs, because sixty needles are what the SIMD searcher takes; a ring with more epochs gets one pass
//! more for each ten. Measured on log lines, one pass over ten epochs is about half as fast as over one
//! epoch, and six times as fast as ten passes would be.
//!
//! Invariants:
//!
//! - A token is found wherever it stands in the bytes, whatever surrounds it.
//! - Nothing depends on how many canaries are outstanding: there is no table here.
//! - [`Stream`] finds tokens that are split over reads; its memory does not depend on the input.
//!
//! Not found by a scan: a token whose needle itself is percent-encoded, JSON-escaped or in mixed
//! case. `verify` understands those; pipelines that rewrite letters are not known.

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
    passes: Vec<Pass>,
}

/// Epochs that one pass looks for: six needles each, and the SIMD searcher takes 64.
const EPOCHS_PER_PASS: usize = 10;

/// Up to ten epochs, looked for together.
#[derive(Debug)]
struct Pass {
    /// Epoch (index into the ring) and form of each needle.
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
        let indices: Vec<usize> = (0..keys.epochs().len()).collect();
        let passes = indices.chunks(EPOCHS_PER_PASS).map(|group| Pass::new(&keys, group)).collect();
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
        let mut at = 0;
        // What each pass found last; searched again only once the scan has gone past it.
        let mut next: Vec<Option<Candidate>> =
            self.passes.iter().map(|pass| pass.next(bytes, 0)).collect();
        while let Some(candidate) = next.iter().flatten().min_by_key(|c| c.start).copied() {
            let Candidate { start, epoch, form } = candidate;
            at = at.max(start + 1);
            let key = self.keys.epochs().get(epoch);
            if let Some((key, bits)) =
                key.and_then(|k| Some((k, k.bits_at(form, &bytes[start..])?)))
            {
                let end = start + form.length();
                let id = key.unseal(bits);
                if id.is_some() {
                    at = end;
                }
                let alone = stands_alone(bytes, start, end) && !(start == 0 && goes_on);
                if id.is_some() || alone {
                    found(Hit { start, end, id });
                }
            }
            for (pass, next) in self.passes.iter().zip(&mut next) {
                if next.is_some_and(|c| c.start < at) {
                    *next = pass.next(bytes, at);
                }
            }
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

/// A needle found; whether a token stands there is not yet known.
#[derive(Clone, Copy)]
struct Candidate {
    start: usize,
    epoch: usize,
    form: Form,
}

impl Pass {
    fn new(keys: &KeyRing, epochs: &[usize]) -> Pass {
        let mut needles = Vec::new();
        let mut patterns = Vec::new();
        for epoch in epochs {
            let Some(key) = keys.epochs().get(*epoch) else { continue };
            for form in Form::ALL {
                needles.push((*epoch, form));
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
        Pass { needles, search }
    }

    fn next(&self, bytes: &[u8], at: usize) -> Option<Candidate> {
        let (needle, start) = match &self.search {
            Search::Packed(searcher) => {
                let span = aho_corasick::Span { start: at, end: bytes.len() };
                searcher.find_in(bytes, span).map(|m| (m.pattern().as_usize(), m.start()))
            }
            Search::Automaton(automaton) => {
                let input = aho_corasick::Input::new(bytes).span(at..bytes.len());
                automaton.find(input).map(|m| (m.pattern().as_usize(), m.start()))
            }
            Search::Nothing => None,
        }?;
        let (epoch, form) = *self.needles.get(needle)?;
        Some(Candidate { start, epoch, form })
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
            assert_eq!(scanner.passes.len(), usize::from(epochs).div_ceil(EPOCHS_PER_PASS));
            let mut found = Vec::new();
            scanner.scan(text.as_bytes(), &mut |hit| found.extend(hit.id));
            assert_eq!(found, expected, "{epochs} epochs");
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn a_full_pass_is_still_one_simd_search() {
        let scanner = Scanner::new(ring_of(10));
        assert!(matches!(scanner.passes[..], [Pass { search: Search::Packed(_), .. }]));
    }
}
