//! The total over all routes: counts alone. Times of different routes have no common distribution.

use super::model::{RouteReport, TotalReport};

/// The outcomes in the order in which they are printed.
pub(super) const OUTCOMES: [&str; 6] =
    ["detected", "late", "missed", "undelivered", "indeterminate", "pending"];

/// Adds the routes up.
pub(super) fn of(routes: &[RouteReport]) -> TotalReport {
    let mut total = TotalReport::default();
    for route in routes {
        total.planned += route.planned;
        total.withdrawn += route.withdrawn.values().sum::<u64>();
        total.not_yet_due += route.not_yet_due;
        total.injected += route.injected;
        for (outcome, n) in route.expectations.iter().flat_map(|e| &e.outcomes) {
            *total.outcomes.entry(outcome.clone()).or_insert(0) += n;
        }
    }
    let expectations = routes.iter().map(|r| r.expectations.len()).sum::<usize>();
    let verdicts: u64 = total.outcomes.values().sum();
    let counts: Vec<String> = OUTCOMES
        .iter()
        .map(|name| format!("{} {name}", total.outcomes.get(*name).copied().unwrap_or(0)))
        .collect();
    total.words = format!(
        "In all {}; {verdicts} verdicts on {expectations} expectations: {}.",
        planned(total.planned, total.withdrawn, total.not_yet_due, total.injected),
        counts.join(", ")
    );
    total
}

/// What became of one route's plan.
pub(super) fn of_route(route: &RouteReport) -> String {
    let withdrawn = route.withdrawn.values().sum();
    let plan = planned(route.planned, withdrawn, route.not_yet_due, route.injected);
    [vec![plan], receipts(route)].concat().join("; ")
}

/// What the receipts leave open or got wrong.
pub(super) fn receipts(route: &RouteReport) -> Vec<String> {
    let (unproven, wrong) = (route.delivery_unproven, route.receipt_contradicted);
    let unproven =
        (unproven > 0).then(|| format!("{unproven} of unproven delivery, left out of every time"));
    let wrong = (wrong > 0).then(|| format!("{wrong} seen although rejected"));
    unproven.into_iter().chain(wrong).collect()
}

/// The identity in words: the first is the sum of the others.
fn planned(planned: u64, withdrawn: u64, not_yet_due: u64, injected: u64) -> String {
    format!(
        "{planned} planned, {withdrawn} withdrawn, {not_yet_due} not yet due, {injected} injected"
    )
}
