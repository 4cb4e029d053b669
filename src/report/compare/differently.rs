//! What was measured differently on both sides: a difference in the times may come from there.

use std::collections::BTreeSet;

use super::build::Series;
use super::effects::polls;
use crate::dispatch::outcome::{Assessment, CanaryView};
use crate::ledger::ExpectationPlan;
use crate::report::words::duration;

/// Differences that concern all routes.
pub(super) fn of_campaigns(a: &Assessment, b: &Assessment) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: BTreeSet<String>, b: BTreeSet<String>| {
        if a != b {
            let list = |s: BTreeSet<String>| s.into_iter().collect::<Vec<_>>().join(", ");
            warnings.push(format!("{what} differ: A {}; B {}", list(a), list(b)));
        }
    };
    let arrivals = |x: &Assessment| x.runs.iter().map(|r| r.arrivals.clone()).collect();
    differ("arrivals", arrivals(a), arrivals(b));
    let quiet = |x: &Assessment| x.runs.iter().flat_map(|r| r.quiet_hours.clone()).collect();
    differ("quiet hours", quiet(a), quiet(b));
    let hour = |c: &CanaryView| c.submitted_wall_ns.div_euclid(3_600_000_000_000).rem_euclid(24);
    let hours = |x: &Assessment| -> BTreeSet<i64> {
        x.routes.iter().flat_map(|r| &r.canaries).map(hour).collect()
    };
    let (ours, theirs) = (hours(a), hours(b));
    let only = ours.symmetric_difference(&theirs).count();
    if only > 0 {
        warnings.push(format!("{only} hours of the day (UTC) were sampled on one side only"));
    }
    warnings
}

/// Differences on one route and expectation.
pub(super) fn of_routes(
    a: &Series<'_>,
    b: &Series<'_>,
    sides: (&Assessment, &Assessment),
) -> Vec<String> {
    let whose = format!("{} / {}", a.name, a.plan.name);
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            warnings.push(format!("{whose}: {what} differs: A {a}; B {b}"));
        }
    };
    let (p, q) = (&a.route.plan, &b.route.plan);
    differ("enters_at", p.enters_at.clone(), q.enters_at.clone());
    differ("recipe", p.recipe.clone(), q.recipe.clone());
    let digest = |x: &Assessment, recipe: &str| {
        let all: BTreeSet<&str> =
            x.runs.iter().filter_map(|r| r.recipes.get(recipe)).map(String::as_str).collect();
        all.into_iter()
            .map(|d| d.chars().take(12).collect::<String>())
            .collect::<Vec<_>>()
            .join(", ")
    };
    differ("recipe digest", digest(sides.0, &p.recipe), digest(sides.1, &q.recipe));
    differ("deadline", duration(a.plan.deadline_ns), duration(b.plan.deadline_ns));
    differ("horizon", duration(a.plan.horizon_ns), duration(b.plan.horizon_ns));
    differ("rules", a.plan.rules.join(", "), b.plan.rules.join(", "));
    let watching = |x: &Assessment, plan: &ExpectationPlan| {
        let of = |name: &String| {
            let w = x.watchers.iter().find(|w| w.name == *name);
            w.map_or(name.clone(), |w| format!("{} every {}", w.kind, duration(w.resolution_ns)))
        };
        plan.watchers.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    differ("watching", watching(sides.0, a.plan), watching(sides.1, b.plan));
    warnings
}

/// Polls so different that a test on upper ends may see them.
pub(super) fn of_polls(series: &Series<'_>, apart: (u64, u64)) -> String {
    format!(
        "{} / {}: {}: the log-rank test takes upper ends and may see the polling and not the SIEM, so it \
         decides nothing there; the interval of the ratio does",
        series.name,
        series.plan.name,
        polls(apart)
    )
}
