//! Scanning what is too long to hold: chunks in, hits with absolute offsets out.

use std::ops::Range;

use dwell_injectors::token::LONGEST;

use super::{Hit, Scanner};

/// Bytes kept from one chunk to the next: a whole token and the byte on either side of it.
const CARRY: usize = LONGEST + 2;

/// Finds tokens in a stream of chunks, also those that are split over chunks.
#[derive(Debug, Default)]
pub struct Stream {
    carry: Vec<u8>,
    /// Absolute offset of the carry's first byte.
    offset: u64,
    /// Hits that begin before this absolute offset have been reported.
    reported: u64,
}

impl Stream {
    /// Takes the next chunk. `found` gets each hit once with its absolute offset.
    pub fn push(&mut self, scanner: &Scanner, chunk: &[u8], found: &mut dyn FnMut(u64, Hit)) {
        // The seam: the carry and as much of the chunk as a token that begins in the carry can need.
        let seam_end = chunk.len().min(CARRY);
        let carried = self.carry.len();
        self.carry.extend_from_slice(&chunk[..seam_end]);
        let whole_chunk_in_seam = seam_end == chunk.len();
        let seam_safe =
            if whole_chunk_in_seam { self.carry.len().saturating_sub(CARRY - 1) } else { carried };
        // A hit at the chunk's first byte goes on a word if the byte before it does.
        let before = carried.checked_sub(1).and_then(|last| self.carry.get(last)).copied();
        self.report(scanner, seam_safe, found);
        if whole_chunk_in_seam {
            let keep = self.carry.len().min(CARRY);
            let drop = self.carry.len() - keep;
            self.carry.drain(..drop);
            self.offset += drop as u64;
            return;
        }
        // The chunk itself; its tail waits for the next one.
        let begin = self.offset + carried as u64;
        let safe = chunk.len() - (CARRY - 1);
        self.scan(scanner, before, chunk, begin..begin + safe as u64, found);
        let keep = chunk.len() - CARRY;
        self.carry.clear();
        self.carry.extend_from_slice(&chunk[keep..]);
        self.offset = begin + keep as u64;
    }

    /// Reports what the end of the stream holds.
    pub fn finish(&mut self, scanner: &Scanner, found: &mut dyn FnMut(u64, Hit)) {
        let safe = self.carry.len();
        self.report(scanner, safe, found);
        self.carry.clear();
    }

    fn report(&mut self, scanner: &Scanner, safe: usize, found: &mut dyn FnMut(u64, Hit)) {
        let bytes = std::mem::take(&mut self.carry);
        // Hits at the carry's first byte were reported with what stood before it.
        self.scan(scanner, None, &bytes, self.offset..self.offset + safe as u64, found);
        self.carry = bytes;
    }

    /// Hits that begin within `span` of the stream and were not reported yet; `bytes` begin where the
    /// span does and may go on beyond it.
    fn scan(
        &mut self,
        scanner: &Scanner,
        before: Option<u8>,
        bytes: &[u8],
        span: Range<u64>,
        found: &mut dyn FnMut(u64, Hit),
    ) {
        let reported = self.reported;
        let mut last_end = reported;
        scanner.scan_after(before, bytes, &mut |hit| {
            let at = span.start + hit.start as u64;
            if at < span.end && at >= reported {
                found(at, hit);
                // What lies within a token of ours is part of it; a forgery hides nothing.
                if hit.id.is_some() {
                    last_end = span.start + hit.end as u64;
                }
            }
        });
        self.reported = last_end.max(span.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::tests::keys;
    use dwell_injectors::token::{Carrier, Epoch, TokenId};
    use proptest::prelude::*;

    fn streamed(bytes: &[u8], cuts: &[usize]) -> Vec<(u64, Option<TokenId>)> {
        let scanner = Scanner::new(keys());
        let mut stream = Stream::default();
        let mut hits = Vec::new();
        let mut take = |at: u64, hit: Hit| hits.push((at, hit.id));
        let mut from = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            stream.push(&scanner, &bytes[from..cut.max(from)], &mut take);
            from = cut.max(from);
        }
        stream.finish(&scanner, &mut take);
        hits
    }

    fn whole(bytes: &[u8]) -> Vec<(u64, Option<TokenId>)> {
        let mut hits = Vec::new();
        Scanner::new(keys()).scan(bytes, &mut |hit| {
            hits.push((hit.start as u64, hit.id));
        });
        hits
    }

    #[test]
    fn every_split_point_of_every_form() {
        let token = keys().mint(Epoch(1), 99).unwrap();
        for carrier in [Carrier::Text, Carrier::Upper, Carrier::Uuid, Carrier::Ipv6] {
            let text = format!("{}{}{}", "x ".repeat(60), token.text(carrier), " y".repeat(60));
            for cut in 0..=text.len() {
                assert_eq!(streamed(text.as_bytes(), &[cut]), whole(text.as_bytes()), "cut {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_chunks_find_the_same(
            gaps in proptest::collection::vec((0usize..100, any::<u32>(), 0u8..4), 0..12),
            mut cuts in proptest::collection::vec(0usize..1500, 0..40),
        ) {
            let mut text = String::new();
            for (gap, serial, carrier) in gaps {
                text.push_str(&"-".repeat(gap));
                let token = keys().mint(Epoch(1), serial >> 4).unwrap();
                text.push_str(&token.text([Carrier::Text, Carrier::Upper, Carrier::Uuid, Carrier::Ipv6][carrier as usize]));
            }
            cuts.iter_mut().for_each(|c| *c = (*c).min(text.len()));
            cuts.sort_unstable();
            prop_assert_eq!(streamed(text.as_bytes(), &cuts), whole(text.as_bytes()));
        }
    }
    /// Forged texts, some part of a longer word, around every split: what is forged must be counted
    /// the same however the bytes arrive.
    #[test]
    fn forgeries_are_the_same_at_every_split_point() {
        let prefix = keys().epochs()[0].prefix().to_owned();
        let forged = format!("{prefix}aaaaaaaaaaaa");
        let real = keys().mint(Epoch(1), 7).unwrap().text(Carrier::Text);
        let text = format!(
            "{}x{forged} {forged} {forged}x {real}.{forged}{real} {forged}{}",
            "-".repeat(70),
            "-".repeat(70)
        );
        let expected = whole(text.as_bytes());
        let forgeries = expected.iter().filter(|(_, id)| id.is_none()).count();
        assert_eq!(forgeries, 2, "two of the five stand alone");
        for first in 0..=text.len() {
            for second in [first, first + 1, first + 17, first + 41, first + 90] {
                let cuts = [first, second.min(text.len())];
                assert_eq!(streamed(text.as_bytes(), &cuts), expected, "cuts {cuts:?}");
            }
        }
    }
}
