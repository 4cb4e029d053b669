//! Which alert comes first, where an expectation names its rules.
//!
//! An alert by another rule often ends the matter: the case is open, and nobody waits for the rule that
//! was expected. So "a named rule alerted, within the deadline" and "before that, another rule did" are
//! competing ends, and each has its cumulative incidence (Aalen and Johansen 1978, [`crate::stats::competing`]).
//! Canaries that neither rule alerted on are censored as in the distribution of the time to detect, whose
//! number `n` this shares. Times are upper ends. It says nothing new where no other rule alerted, and is
//! left out there; so it is where another rule's alert always came later.

use super::expectation::{CONFIDENCE, observation};
use super::model::{CompetingReport, IncidenceReport};
use super::times::Decided;
use crate::stats::competing::{Ending, Incidence};

const NAMED: u32 = 1;
const OTHER: u32 = 2;

/// The shares that ended in either way by the deadline.
pub(super) fn ends(decided: &[Decided<'_>], deadline_ns: u64) -> Option<CompetingReport> {
    let ending = |(canary, verdict): &Decided<'_>| {
        let followed = observation(canary, verdict)?;
        Some(match verdict.other_rule_ns {
            Some(time_ns) if time_ns < followed.time_ns => Ending { time_ns, cause: OTHER },
            _ => Ending { time_ns: followed.time_ns, cause: u32::from(followed.event) * NAMED },
        })
    };
    let endings: Vec<Ending> = decided.iter().filter_map(ending).collect();
    let incidence = Incidence::fit(&endings);
    let by_deadline = |cause| {
        let step = incidence.step(cause, deadline_ns)?;
        let limits = step.interval(CONFIDENCE);
        Some(IncidenceReport {
            share: step.incidence,
            standard_error: step.standard_error,
            lower: limits.map(|l| l.0),
            upper: limits.map(|l| l.1),
        })
    };
    Some(CompetingReport {
        n: incidence.subjects(),
        by_ns: deadline_ns,
        other_rule: by_deadline(OTHER)?,
        named_rule: by_deadline(NAMED),
    })
}
