//! What the parent knows from outside, and what the ledger must therefore hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use dwell::ledger::*;

/// Kept by the parent, never by the killed process.
#[derive(Default, Debug)]
pub struct Oracle {
    /// Serials whose receipt was acknowledged as durable.
    pub accepted: BTreeSet<u32>,
    /// Ids of webhooks that were answered 2xx, with their canary.
    pub answered: BTreeMap<String, u32>,
}

/// What was counted in the end.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Losses {
    pub accepted_lost: usize,
    pub answered_lost: usize,
    pub duplicate_canaries: usize,
    pub duplicate_receipts: usize,
    pub duplicate_sightings: usize,
    pub sent_but_not_in_the_ledger: usize,
    pub sent_but_withdrawn: usize,
    pub neither_withdrawn_nor_received: usize,
    pub slots_unaccounted: i64,
}

/// Figures that show that the test was not blind.
#[derive(Default, Debug)]
pub struct Figures {
    pub rows: usize,
    pub runs: usize,
    pub injected: usize,
    pub withdrawn_canaries: usize,
    pub withdrawn_slots: u32,
    pub unknown_though_never_sent: usize,
    pub unknown: usize,
    pub strays: u64,
}

/// Compares the ledger with the oracle and with the canaries that lie in the target file.
pub fn judge(ledger: &Path, lines: &[u32], oracle: &Oracle) -> (Losses, Figures) {
    let (mut losses, mut figures) = (Losses::default(), Figures::default());
    let mut intents = BTreeSet::new();
    let mut receipts: BTreeMap<u32, bool> = BTreeMap::new();
    let mut withdrawn = BTreeSet::new();
    let mut sightings = BTreeSet::new();
    let mut planned = 0;
    Reader::open(ledger)
        .unwrap()
        .rows(|_, row| {
            figures.rows += 1;
            match row {
                Row::Run(run) => {
                    figures.runs += 1;
                    planned += i64::from(run.routes[0].planned);
                }
                Row::Intent(i) => {
                    losses.duplicate_canaries += usize::from(!intents.insert(i.canary.serial));
                }
                Row::Receipt(r) => {
                    let accepted = matches!(r.result, EventResult::Accepted { .. });
                    figures.unknown += usize::from(!accepted);
                    let before = receipts.insert(r.canary.serial, accepted);
                    losses.duplicate_receipts += usize::from(before.is_some());
                }
                Row::Withdrawn(w) => {
                    figures.withdrawn_slots += w.slots;
                    withdrawn.extend(w.canary.map(|c| c.serial));
                }
                Row::Sighting(s) => {
                    losses.duplicate_sightings += usize::from(!sightings.insert(s.native_id));
                }
                Row::Stray(s) => figures.strays += s.count,
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut sent = BTreeSet::new();
    for serial in lines {
        losses.duplicate_canaries += usize::from(!sent.insert(*serial));
    }
    losses.accepted_lost =
        oracle.accepted.iter().filter(|s| receipts.get(s) != Some(&true)).count();
    losses.answered_lost = oracle.answered.keys().filter(|id| !sightings.contains(*id)).count();
    losses.sent_but_not_in_the_ledger = sent.difference(&intents).count();
    losses.sent_but_withdrawn = sent.intersection(&withdrawn).count();
    losses.neither_withdrawn_nor_received =
        intents.iter().filter(|s| withdrawn.contains(s) == receipts.contains_key(s)).count();
    figures.injected = receipts.len();
    figures.withdrawn_canaries = withdrawn.len();
    figures.unknown_though_never_sent =
        receipts.iter().filter(|(s, accepted)| !**accepted && !sent.contains(s)).count();
    losses.slots_unaccounted = planned - i64::from(figures.withdrawn_slots) - receipts.len() as i64;
    (losses, figures)
}
