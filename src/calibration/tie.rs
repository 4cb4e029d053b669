//! The truth, tied to canaries by the tokens in the records' texts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;

use super::judge::Evidence;
use crate::detector::TruthRow;
use crate::ledger::Row;

/// Kinds that see emissions, in the order of their stages.
const STAGES: [&str; 3] = ["file", "webhook", "kafka"];

/// See the module's text.
#[derive(Default)]
pub(super) struct Tied<'a> {
    /// Document to its canary and the instant since which it can be found.
    pub documents: HashMap<&'a str, (TokenId, Stamp)>,
    /// Canaries whose record was lost, by source.
    pub lost: BTreeMap<&'a str, BTreeSet<TokenId>>,
    /// Alert to its canary and creation.
    pub alerts: HashMap<&'a str, (TokenId, Stamp)>,
    /// Outlet and alert to the instant at which it left; second copies are not in it.
    pub emitted: HashMap<(&'a str, &'a str), Stamp>,
    /// Second copies by outlet.
    pub copies: BTreeMap<&'a str, u64>,
    /// Alerts that never left.
    pub dropped: u64,
    /// Submission of each canary.
    pub submitted: HashMap<TokenId, Stamp>,
    /// Canary to its scenario.
    pub scenario: HashMap<TokenId, &'a str>,
    /// First emission by outlet, then canary.
    first: HashMap<&'a str, HashMap<TokenId, Stamp>>,
    searchable: HashMap<TokenId, Stamp>,
}

impl<'a> Tied<'a> {
    /// Ties everything once.
    pub fn new(evidence: &Evidence<'a>) -> Tied<'a> {
        let mut tied = Tied::default();
        for row in evidence.truth {
            tied.take(row, evidence.tokens);
        }
        let emitted: Vec<_> = tied.emitted.iter().map(|(k, v)| (*k, *v)).collect();
        for ((outlet, alert), stamp) in emitted {
            let Some((canary, _)) = tied.alerts.get(alert) else { continue };
            let first = tied.first.entry(outlet).or_default().entry(*canary).or_insert(stamp);
            if stamp.since(first).ns < 0 {
                *first = stamp;
            }
        }
        for row in evidence.rows {
            if let Row::Receipt(receipt) = row
                && receipt.event == 0
            {
                tied.submitted.insert(receipt.canary, receipt.submitted_at);
            }
        }
        for route in &evidence.assessment.routes {
            let of = route.canaries.iter().map(|c| (c.id, route.plan.name.as_str()));
            tied.scenario.extend(of);
        }
        tied
    }

    fn take(&mut self, row: &'a TruthRow, tokens: &dyn Fn(&str) -> Vec<TokenId>) {
        match row {
            TruthRow::Searchable { document, stamp, text, .. } => {
                for canary in tokens(text) {
                    self.documents.insert(document, (canary, *stamp));
                    self.searchable.entry(canary).or_insert(*stamp);
                }
            }
            TruthRow::Lost { source, text, .. } => {
                self.lost.entry(source).or_default().extend(tokens(text));
            }
            TruthRow::Created { alert, document, stamp, .. } => {
                if let Some((canary, _)) = self.documents.get(document.as_str()) {
                    self.alerts.insert(alert, (*canary, *stamp));
                }
            }
            TruthRow::Emitted { outlet, copy: true, .. } => {
                *self.copies.entry(outlet).or_insert(0) += 1;
            }
            TruthRow::Emitted { alert, outlet, stamp, .. } => {
                self.emitted.insert((outlet, alert), *stamp);
            }
            TruthRow::Dropped { .. } => self.dropped += 1,
        }
    }

    /// The true time from submission to what the stage of this watcher could be known by first,
    /// nanoseconds: the index for a poll, an emission at its stage or a later one for the others.
    pub fn true_ns(&self, canary: TokenId, watcher: &str) -> Option<i64> {
        let left = |outlet: &str| self.first.get(outlet)?.get(&canary);
        let stamp = match watcher.split_once('-') {
            Some(("poll", _)) => self.searchable.get(&canary)?,
            Some((kind, line)) => {
                let own = STAGES.iter().position(|k| *k == kind)?;
                let later = STAGES[own..].iter().map(|kind| format!("{kind}-{line}"));
                later.filter_map(|outlet| left(&outlet)).min_by_key(|stamp| stamp.boot_ns)?
            }
            None => return None,
        };
        Some(stamp.since(self.submitted.get(&canary)?).ns)
    }
}
