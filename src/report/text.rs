//! The report on a terminal: verdict, a table a route, a small curve, misses, evidence in short.

use comfy_table::{ContentArrangement, Table, presets};

use super::escape::terminal as safe;
use super::model::*;
use super::words::{duration, percent};
use crate::stats::survival::Reach;

/// Misses listed by name; the rest is counted.
const MISSES: usize = 12;

/// Renders for a terminal of that width; narrow ones get narrow tables, never cut words.
pub(super) fn render(model: &ReportModel, width: u16) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("Campaign {} at {}", safe(&model.campaign), model.cut));
    line(String::new());
    for sentence in &model.verdict {
        line(safe(sentence));
    }
    line(String::new());
    line(outcomes(model, width));
    line(String::new());
    line(times(model, width));
    line(String::new());
    for route in &model.routes {
        for expectation in route.expectations.iter().filter(|e| !e.ttd.curve.is_empty()) {
            line(curve(route, expectation, width));
        }
    }
    stage_lines(model).into_iter().for_each(&mut line);
    miss_lines(model).into_iter().for_each(&mut line);
    watcher_lines(model).into_iter().for_each(&mut line);
    line(String::new());
    line(model.inventory.clone());
    line(model.limit.clone());
    out
}

fn table(width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width.max(20));
    table
}

fn outcomes(model: &ReportModel, width: u16) -> String {
    let mut table = table(width);
    table.set_header([
        "route",
        "stage",
        "planned",
        "withdrawn",
        "injected",
        "detected",
        "late",
        "missed",
        "undelivered",
        "indeterminate",
        "pending",
        "objective",
    ]);
    for route in &model.routes {
        for expectation in &route.expectations {
            let n = |name: &str| expectation.outcomes.get(name).copied().unwrap_or(0).to_string();
            table.add_row([
                safe(&route.name),
                expectation.stage.clone(),
                route.planned.to_string(),
                route.withdrawn.values().sum::<u64>().to_string(),
                route.injected.to_string(),
                n("detected"),
                n("late"),
                n("missed"),
                n("undelivered"),
                n("indeterminate"),
                n("pending"),
                expectation.objective.clone(),
            ]);
        }
    }
    table.to_string()
}

/// `1.2 s (0.9 s to 3 s)`, `not reached`, `needs 12 more`.
pub(super) fn quantile(report: &QuantileReport) -> String {
    let Some(value) = report.value else { return format!("needs {} more", report.needs_more) };
    let end = |reach: Reach| reach.ns().map_or("not reached".to_owned(), duration);
    format!("{} ({} to {})", end(value.estimate), end(value.lower), end(value.upper))
}

/// `57/59 (88.3 to 99.6 %)`.
pub(super) fn share(share: &Share) -> String {
    format!(
        "{}/{} ({} to {})",
        share.x,
        share.n,
        percent(share.interval.lower),
        percent(share.interval.upper)
    )
}

fn times(model: &ReportModel, width: u16) -> String {
    let mut table = table(width);
    table.set_header(["route", "stage", "n", "p50 (95 % interval)", "p90", "p95", "share in time"]);
    for route in &model.routes {
        for expectation in &route.expectations {
            let ttd = &expectation.ttd;
            let bound = if ttd.label.starts_with("upper") { " ≤" } else { "" };
            let mut row = vec![
                safe(&route.name),
                format!("{}{bound}", expectation.stage),
                format!("{} ({} seen)", ttd.n, ttd.events),
            ];
            row.extend(ttd.quantiles.iter().map(quantile));
            row.push(format!(
                "{} within {}",
                share(&expectation.share.counted_as_failed),
                duration(expectation.deadline_ns)
            ));
            table.add_row(row);
        }
    }
    table.to_string()
}

/// Share detected over log time, one line of eighths of blocks.
fn curve(route: &RouteReport, expectation: &ExpectationReport, width: u16) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = &expectation.ttd.curve;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let columns = usize::from(width.clamp(20, 100)) - 4;
    let low = (first.time_ns.max(1) as f64).ln();
    let high = (last.time_ns.max(2) as f64).ln().max(low + 1e-9);
    let bars: String = (0..columns)
        .map(|column| {
            let at = (low + (high - low) * (column as f64 + 1.0) / columns as f64).exp();
            let step = points.iter().rev().find(|p| p.time_ns as f64 <= at * 1.000_001);
            let detected = step.map_or(0.0, |p| 1.0 - p.undetected);
            LEVELS[((detected * 8.0).round() as usize).min(8)]
        })
        .collect();
    format!(
        "{} / {}: share detected, {} to {} (log scale)\n  {bars}| {}",
        safe(&route.name),
        expectation.stage,
        duration(first.time_ns),
        duration(last.time_ns),
        percent(1.0 - last.undetected)
    )
}

fn stage_lines(model: &ReportModel) -> Vec<String> {
    let mut lines =
        vec![String::new(), "Stages, detected only: median since submission (n)".to_owned()];
    for route in &model.routes {
        let parts: Vec<String> = route
            .stages
            .iter()
            .map(|s| format!("{} {} ({})", s.stage, duration(s.spread.p50_ns), s.spread.n))
            .collect();
        if !parts.is_empty() {
            lines.push(format!("  {}: {}", safe(&route.name), parts.join(", ")));
        }
    }
    if let Some(late) = &model.lateness {
        lines.push(format!(
            "Hand-over began late by: median {}, p99 {}, most {} (n {})",
            duration(late.p50_ns),
            duration(late.p99_ns),
            duration(late.max_ns),
            late.n
        ));
    }
    lines
}

fn miss_lines(model: &ReportModel) -> Vec<String> {
    if model.misses.is_empty() {
        return Vec::new();
    }
    let mut lines =
        vec![String::new(), "Not seen in time, with the last stage reached:".to_owned()];
    let mut groups: Vec<(String, u64, &MissReport)> = Vec::new();
    for miss in &model.misses {
        let words = format!(
            "{} / {}: {} at last stage {}, {}",
            safe(&miss.route),
            safe(&miss.expectation),
            miss.outcome,
            miss.last_stage,
            safe(&miss.reason)
        );
        match groups.iter_mut().find(|(known, _, _)| *known == words) {
            Some(group) => group.1 += 1,
            None => groups.push((words, 1, miss)),
        }
    }
    for (words, n, miss) in groups.iter().take(MISSES) {
        lines.push(format!("  {n} x {words} (for one: dwell explain {})", miss.canary));
    }
    if groups.len() > MISSES {
        lines.push(format!("  and {} other kinds; the CSV lists all", groups.len() - MISSES));
    }
    lines
}

fn watcher_lines(model: &ReportModel) -> Vec<String> {
    let mut lines = vec![String::new()];
    for watcher in &model.watchers {
        let proven = if watcher.proven { "proven" } else { "never proven" };
        lines.push(format!(
            "Watcher {} ({}, {}): {proven}, {} looks, {} records",
            safe(&watcher.name),
            watcher.kind,
            watcher.stage,
            watcher.looks,
            watcher.records
        ));
        lines.extend(watcher.blind.iter().map(|b| format!("  blind {}", safe(b))));
    }
    for (watcher, classes) in &model.strays {
        let parts: Vec<String> = classes.iter().map(|(class, n)| format!("{n} {class}")).collect();
        lines.push(format!("Strays at {}: {}", safe(watcher), parts.join(", ")));
    }
    lines.extend(model.controls.iter().map(|c| safe(c)));
    lines
}
