//! Which alert comes first, where an expectation names its rules.
//!
//! An alert by another rule often ends the matter: the case is open, and nobody waits for the rule that
//! was expected. So "a named rule alerted, within the deadline" and "before that, another rule did" are
//! competing ends, and each has its cumulative incidence (Aalen and Johansen 1978, [`crate::stats::competing`]).
//! Canaries that neither rule alerted on are censored as in the distribution of the time to detect, whose
//! number `n` this shares. Where nobody was censored before the deadline the incidence is a plain share, and
//! its limits are those of Clopper and Pearson, which hold at none and at all too. Times are upper ends. It
//! says nothing new where no other rule alerted, and is left out there; so it is where another rule's alert
//! always came later.

use super::expectation::{CONFIDENCE, observation};
use super::model::{CompetingReport, IncidenceReport};
use super::times::Decided;
use crate::stats::competing::{Ending, Incidence, IncidenceStep};
use crate::stats::proportion::clopper_pearson;

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
    if !endings.iter().any(|e| e.cause == OTHER && e.time_ns <= deadline_ns) {
        return None;
    }
    let open = endings.iter().any(|e| e.cause == 0 && e.time_ns < deadline_ns);
    let incidence = open.then(|| Incidence::fit(&endings));
    let share = |cause| match &incidence {
        Some(incidence) => incidence.step(cause, deadline_ns).map(estimated),
        None => Some(counted(&endings, cause, deadline_ns)),
    };
    Some(CompetingReport {
        n: endings.len() as u64,
        by_ns: deadline_ns,
        censored: open,
        other_rule: share(OTHER)?,
        named_rule: share(NAMED),
    })
}

fn estimated(step: &IncidenceStep) -> IncidenceReport {
    let limits = step.interval(CONFIDENCE);
    IncidenceReport {
        share: step.incidence,
        standard_error: step.standard_error,
        lower: limits.map(|l| l.0),
        upper: limits.map(|l| l.1),
    }
}

/// With everybody followed to the deadline the incidence is a share, and its limits are exact.
fn counted(endings: &[Ending], cause: u32, deadline_ns: u64) -> IncidenceReport {
    let n = endings.len() as u64;
    let x = endings.iter().filter(|e| e.cause == cause && e.time_ns <= deadline_ns).count() as u64;
    let share = x as f64 / n as f64;
    let limits = clopper_pearson(x, n, CONFIDENCE);
    IncidenceReport {
        share,
        standard_error: (share * (1.0 - share) / n as f64).sqrt(),
        lower: Some(limits.lower),
        upper: Some(limits.upper),
    }
}
