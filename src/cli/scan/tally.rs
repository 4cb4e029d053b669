//! What a scan has found: each distinct canary once, everything counted.
//!
//! Memory grows with the distinct canaries that were *found*, never with the ledger and never with
//! what somebody else wrote: to get an entry here a token needs the right tag.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use dwell_injectors::token::TokenId;
use serde::Serialize;

use crate::ledger::{LedgerError, Reader};
use crate::matching::Hit;

/// Forgeries whose place is kept, at most.
const MAX_FORGERIES: usize = 20;

/// Where something stands for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Index into the scanned files.
    pub(super) file: usize,
    /// Bytes from the file's start.
    pub(super) offset: u64,
}

/// One canary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: TokenId,
    pub(super) first: Place,
    pub(super) times: u64,
    /// True when this ledger holds it.
    pub(super) ours: bool,
}

/// Numbers of a scan.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Tokens of canaries that this ledger holds.
    pub(super) ours: u64,
    pub(super) distinct_ours: u64,
    /// Tokens with a right tag whose canary this ledger does not hold.
    pub(super) unknown: u64,
    pub(super) distinct_unknown: u64,
    /// What looks like a token and has a wrong tag.
    pub(super) forged: u64,
}

/// See the module's text.
pub(super) struct Tally<'a> {
    reader: Option<&'a Reader>,
    index: HashMap<TokenId, usize>,
    pub(super) found: Vec<Found>,
    pub(super) forgeries: Vec<Place>,
    /// In each file the first place of each canary of ours; kept only where it will be added.
    pub(super) sightings: Option<Vec<(TokenId, Place)>>,
    /// Canaries that the current file has shown already.
    in_file: HashSet<TokenId>,
    pub(super) counts: Counts,
    failed: Option<LedgerError>,
}

impl<'a> Tally<'a> {
    /// Without a reader every token with a right tag is unknown.
    pub(super) fn new(reader: Option<&'a Reader>, add: bool) -> Tally<'a> {
        Tally {
            reader,
            index: HashMap::new(),
            found: Vec::new(),
            forgeries: Vec::new(),
            sightings: add.then(Vec::new),
            in_file: HashSet::new(),
            counts: Counts::default(),
            failed: None,
        }
    }

    /// Begins another file.
    pub(super) fn next_file(&mut self) {
        self.counts.files += 1;
        self.in_file.clear();
    }

    /// Takes a hit. A ledger that fails is told by [`Tally::healthy`].
    pub(super) fn take(&mut self, file: usize, offset: u64, hit: Hit) {
        let place = Place { file, offset };
        let Some(id) = hit.id else {
            self.counts.forged += 1;
            if self.forgeries.len() < MAX_FORGERIES {
                self.forgeries.push(place);
            }
            return;
        };
        let at = match self.index.entry(id) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let known = self.reader.map_or(Ok(false), |reader| reader.knows(id));
                let ours = known.unwrap_or_else(|error| {
                    self.failed.get_or_insert(error);
                    false
                });
                let distinct = match ours {
                    true => &mut self.counts.distinct_ours,
                    false => &mut self.counts.distinct_unknown,
                };
                *distinct += 1;
                self.found.push(Found { id, first: place, times: 0, ours });
                *entry.insert(self.found.len() - 1)
            }
        };
        let found = &mut self.found[at];
        found.times += 1;
        if !found.ours {
            self.counts.unknown += 1;
            return;
        }
        self.counts.ours += 1;
        if let Some(sightings) = &mut self.sightings
            && self.in_file.insert(id)
        {
            sightings.push((id, place));
        }
    }

    /// An error if the ledger could not be asked.
    pub(super) fn healthy(&mut self) -> Result<(), LedgerError> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::token::Epoch;

    #[test]
    fn canaries_once_everything_counted() {
        let mut tally = Tally::new(None, true);
        let id = |serial| Some(TokenId { epoch: Epoch(1), serial });
        for (file, hits) in [vec![id(1), id(1), None], vec![id(1), id(2)]].into_iter().enumerate() {
            tally.next_file();
            for (offset, id) in (0u64..).zip(hits) {
                tally.take(file, offset, Hit { start: 0, end: 16, id });
            }
        }
        let Counts { files, unknown, distinct_unknown, forged, ours, .. } = tally.counts;
        assert_eq!((files, unknown, distinct_unknown, forged, ours), (2, 4, 2, 1, 0));
        assert_eq!(tally.found[0].times, 3);
        assert_eq!((tally.found[1].first.file, tally.found[1].first.offset), (1, 1));
        assert_eq!(tally.sightings.map(|s| s.len()), Some(0), "only ours are added");
    }
}
