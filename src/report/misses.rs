//! What was not seen in time: counted by kind, the first of each kept. The lists stay short however
//! many canaries there are.

use std::collections::HashMap;

use super::build::reason;
use super::model::{MissKind, MissReport};
use crate::dispatch::outcome::{Assessment, CanaryView, Outcome, RouteView, Verdict};

/// Misses that a report lists by canary; the CSV has all.
const MISSES_LISTED: usize = 1_000;
/// Kinds of misses that a report tells apart.
const MISS_KINDS: usize = 1_000;

/// The lists, and what they leave out.
#[derive(Default)]
pub(super) struct Misses {
    pub listed: Vec<MissReport>,
    pub total: u64,
    pub kinds: Vec<MissKind>,
    pub of_other_kinds: u64,
}

impl Misses {
    fn number(&mut self, kind: usize) {
        if let Some(kind) = self.kinds.get_mut(kind) {
            kind.number += 1;
        }
    }
}

/// Counts all misses, keeps the first of each kind and the first ones by name.
pub(super) fn of(assessment: &Assessment) -> Misses {
    let mut misses = Misses::default();
    let mut known = HashMap::new();
    for (at_route, route) in assessment.routes.iter().enumerate() {
        let label = route.label();
        for canary in &route.canaries {
            for verdict in &canary.verdicts {
                if matches!(verdict.outcome, Outcome::Detected | Outcome::Pending) {
                    continue;
                }
                misses.total += 1;
                let kind = (
                    at_route,
                    verdict.expectation,
                    verdict.outcome,
                    canary.last_stage,
                    reason(verdict),
                );
                let at = known.get(&kind).copied();
                let listed = misses.listed.len() < MISSES_LISTED;
                if !listed && at.is_none() && misses.kinds.len() >= MISS_KINDS {
                    misses.of_other_kinds += 1;
                    continue;
                }
                let miss = || miss(route, &label, canary, verdict);
                if listed {
                    misses.listed.push(miss());
                }
                match at {
                    Some(at) => misses.number(at),
                    None if misses.kinds.len() < MISS_KINDS => {
                        known.insert(kind, misses.kinds.len());
                        misses.kinds.push(MissKind { first: miss(), number: 1 });
                    }
                    None => misses.of_other_kinds += 1,
                }
            }
        }
    }
    misses
}

fn miss(route: &RouteView, label: &str, canary: &CanaryView, verdict: &Verdict) -> MissReport {
    let expectation = route.plan.expectations.get(verdict.expectation);
    MissReport {
        route: label.to_owned(),
        expectation: expectation.map(|e| e.name.clone()).unwrap_or_default(),
        canary: canary.id.to_string(),
        outcome: verdict.outcome.name().to_owned(),
        last_stage: canary.last_stage.name().to_owned(),
        reason: reason(verdict),
    }
}
