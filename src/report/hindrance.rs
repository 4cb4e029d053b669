//! What stands in the way of a verdict: who could not see, and how many canaries that left undecided.

use super::times::Decided;
use crate::dispatch::outcome::{Outcome, Reason};

/// `5 of 5 are indeterminate, because watcher alerts never proved that it can see`; `None` where all
/// are decided. May hold foreign text.
pub(super) fn words(decided: &[Decided<'_>]) -> Option<String> {
    let mut causes: Vec<(String, u64)> = Vec::new();
    for (_, verdict) in decided.iter().filter(|(_, v)| v.outcome == Outcome::Indeterminate) {
        let cause = cause(verdict.reason.as_ref());
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, number)) => *number += 1,
            None => causes.push((cause, 1)),
        }
    }
    let all: u64 = causes.iter().map(|(_, number)| number).sum();
    let head = format!("{all} of {} are indeterminate", decided.len());
    match causes.as_slice() {
        [] => None,
        [(cause, _)] => Some(format!("{head}, because {cause}")),
        several => {
            let parts: Vec<String> =
                several.iter().map(|(cause, n)| format!("{n} because {cause}")).collect();
            Some(format!("{head}: {}", parts.join(", ")))
        }
    }
}

fn cause(reason: Option<&Reason>) -> String {
    match reason {
        Some(Reason::NeverProven { watcher }) => {
            format!("watcher {watcher} never proved that it can see")
        }
        Some(Reason::Blind { watcher, ours: true, .. }) => {
            format!("watcher {watcher} was blind by a fault of ours")
        }
        Some(Reason::Blind { watcher, .. }) => {
            format!("watcher {watcher} was blind, its target unavailable")
        }
        Some(Reason::Straddles) => "the time between two polls straddles the deadline".to_owned(),
        Some(Reason::DeliveryUnproven) => "delivery is unproven and nobody saw them".to_owned(),
        _ => "it is not decided".to_owned(),
    }
}
