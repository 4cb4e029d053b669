//! One row per canary and expectation: the CSV. A ledger may hold a million canaries, so the rows are
//! made one at a time on their way out, and no model holds them unless it is asked to.

use std::io::Write;

use dwell_injectors::token::Carrier;

use super::build::{Beside, reason, rfc3339};
use super::model::CanaryRow;
use super::tabular;
use crate::dispatch::outcome::{Assessment, CanaryView, RouteView, Verdict};
use crate::ledger::ExpectationPlan;

/// Writes the CSV of an assessment, row by row.
///
/// # Errors
///
/// What the writer says.
pub fn write_csv(
    assessment: &Assessment,
    beside: &Beside<'_>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut table = tabular::CsvTable::new(out);
    each(assessment, beside, &mut |row| table.row(&row))?;
    table.end()
}

/// Makes the rows one after the other, in the order of routes, canaries and expectations.
pub(super) fn each(
    assessment: &Assessment,
    beside: &Beside<'_>,
    take: &mut dyn FnMut(CanaryRow) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for route in &assessment.routes {
        let whose = Whose { campaign: &assessment.campaign, label: &route.label(), route };
        for canary in &route.canaries {
            for verdict in &canary.verdicts {
                let Some(expectation) = route.plan.expectations.get(verdict.expectation) else {
                    continue;
                };
                take(row(&whose, beside, canary, (expectation, verdict)))?;
            }
        }
    }
    Ok(())
}

/// What the rows of one view share.
struct Whose<'a> {
    campaign: &'a str,
    label: &'a str,
    route: &'a RouteView,
}

fn row(
    whose: &Whose<'_>,
    beside: &Beside<'_>,
    canary: &CanaryView,
    (expectation, verdict): (&ExpectationPlan, &Verdict),
) -> CanaryRow {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let route = whose.route;
    CanaryRow {
        campaign: whose.campaign.to_owned(),
        run: canary.run,
        route: whose.label.to_owned(),
        recipe: route.plan.recipe.clone(),
        token: beside
            .keys
            .and_then(|keys| keys.text_of(canary.id, Carrier::Text))
            .unwrap_or_default(),
        // A spreadsheet reads 1.10 as a number and makes 1.1 of it, which is another canary.
        canary: format!("c{}", canary.id),
        stage: expectation.stage.name().to_owned(),
        expectation: expectation.name.clone(),
        outcome: verdict.outcome.name().to_owned(),
        reason: reason(verdict),
        last_stage: canary.last_stage.name().to_owned(),
        ttd_lower_s: verdict.ttd.map(|t| seconds(t.lower_ns)),
        ttd_upper_s: verdict.ttd.map(|t| seconds(t.upper_ns)),
        ttd_completing_upper_s: verdict.ttd_completing.map(|t| seconds(t.upper_ns)),
        watcher: verdict.watcher.as_deref().unwrap_or_default().to_owned(),
        rule: verdict.rule.as_deref().unwrap_or_default().to_owned(),
        submitted: rfc3339(canary.submitted_wall_ns),
        late_ms: canary.late_ns.map(|ns| ns as f64 / 1e6),
        delivery: format!("{:?}", canary.delivery).to_lowercase(),
    }
}
