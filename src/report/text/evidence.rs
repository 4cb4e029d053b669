//! What an auditor needs to trace the numbers, in a few lines. What was never exercised stands in the
//! verdict and not here again.

use super::{Page, safe};
use crate::report::model::*;
use crate::report::words::hours;

pub(super) fn lines(page: &mut Page, model: &ReportModel) {
    let e = &model.evidence;
    page.gap();
    page.line(
        0,
        &format!("Campaign {} of {} in this ledger", e.campaign_number.0, e.campaign_number.1),
    );
    for run in &e.runs {
        page.line(
            2,
            &format!(
                "run {} began {}, {} arrivals, seed {}, configuration {}, {}",
                run.run,
                run.began,
                safe(&run.arrivals),
                run.seed,
                safe(&run.config_digest),
                safe(&run.ended)
            ),
        );
    }
    page.line(0, &format!("Authorisation: {}", safe(&e.authorisation_parts().join(", "))));
    sampled(page, model);
    for route in &model.routes {
        for (reason, n) in &route.withdrawn {
            page.line(0, &format!("Withdrawn: {n} of {} ({})", safe(&route.name), safe(reason)));
        }
    }
    for (name, digest) in e.recipes.iter().chain(&e.dialects) {
        page.line(0, &format!("SHA-256 of {}: {}", safe(name), safe(digest)));
    }
    if !e.versions.is_empty() {
        page.line(0, &format!("Written by dwell {}", safe(&e.versions.join(", "))));
    }
    for fact in &e.clock {
        page.line(0, &format!("Clock: {}", safe(fact)));
    }
    for head in &e.heads {
        page.line(0, &format!("Chain head: {}", safe(head)));
    }
}

/// Which hours of the day the numbers know, and which not.
fn sampled(page: &mut Page, model: &ReportModel) {
    page.line(0, &format!("Hours sampled (UTC): {}", hours(&model.hours_sampled)));
    page.line(0, &format!("Hours never sampled (UTC): {}", hours(&model.hours_never_sampled)));
    if !model.quiet_hours.is_empty() {
        page.line(0, &format!("Quiet hours: {}", safe(&model.quiet_hours.join(", "))));
    }
}
