//! The report on a terminal: verdict, the numbers of each route, a small curve, misses, evidence.
//!
//! Numbers stand in tables where those fit the width, in lists where they do not; sentences are
//! wrapped between words. A word is cut nowhere: one that is wider than the terminal stays whole.

mod evidence;

use comfy_table::{ContentArrangement, Table, presets};
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use super::escape::terminal as safe;
use super::model::*;
use super::share::none_judged;
use super::total::{self, OUTCOMES};
use super::words::{duration, percent, stray_note};
use crate::stats::survival::{Quantile, Reach};

/// Misses listed by name; the rest is counted.
const MISSES: usize = 12;
/// No narrower than this, whatever the terminal says.
const NARROWEST: u16 = 20;

/// Renders for a terminal of that width.
pub(super) fn render(model: &ReportModel, width: u16) -> String {
    let mut page = Page { out: String::new(), width: usize::from(width.max(NARROWEST)) };
    page.line(0, &format!("Campaign {} at {}", safe(&model.campaign), model.cut));
    page.gap();
    for sentence in &model.verdict {
        page.line(0, &safe(sentence));
    }
    page.line(0, &model.total.words);
    page.gap();
    numbers(&mut page, model);
    model.notes.iter().for_each(|note| page.line(0, &safe(note)));
    if !model.notes.is_empty() {
        page.gap();
    }
    for route in &model.routes {
        for expectation in route.expectations.iter().filter(|e| !e.ttd.curve.is_empty()) {
            curve(&mut page, route, expectation);
        }
    }
    stage_lines(&mut page, model);
    anatomy_lines(&mut page, model);
    miss_lines(&mut page, model);
    watcher_lines(&mut page, model);
    for line in model.floor.words.iter().chain(&model.floor.limited) {
        page.line(0, &safe(line));
    }
    evidence::lines(&mut page, model);
    page.gap();
    page.line(0, &model.inventory);
    page.line(0, &model.limit);
    page.out
}

/// Lines of a bounded width.
pub(super) struct Page {
    pub(super) out: String,
    pub(super) width: usize,
}

impl Page {
    pub(super) fn gap(&mut self) {
        self.out.push('\n');
    }

    /// A sentence, wrapped; what follows its first line is indented by two more.
    pub(super) fn line(&mut self, indent: usize, text: &str) {
        let first = " ".repeat(indent);
        let rest = " ".repeat(indent + 2);
        let options = Options::new(self.width)
            .initial_indent(&first)
            .subsequent_indent(&rest)
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .wrap_algorithm(WrapAlgorithm::FirstFit);
        for line in textwrap::wrap(text, options) {
            self.out.push_str(&line);
            self.out.push('\n');
        }
    }

    fn fits(&self, block: &str) -> bool {
        block.lines().all(|line| display_width(line) <= self.width)
    }
}

fn numbers(page: &mut Page, model: &ReportModel) {
    let tables = [outcomes(model), times(model)];
    if tables.iter().all(|table| page.fits(table)) {
        for table in tables {
            page.out.push_str(&table);
            page.out.push_str("\n\n");
        }
        notes(page, model);
        return;
    }
    for route in &model.routes {
        for expectation in &route.expectations {
            list(page, route, expectation);
            page.gap();
        }
    }
}

/// What stands beside the tables.
fn notes(page: &mut Page, model: &ReportModel) {
    let before = page.out.len();
    for route in &model.routes {
        let receipts = total::receipts(route);
        if !receipts.is_empty() {
            page.line(0, &format!("{}: {}", safe(&route.name), receipts.join("; ")));
        }
        for e in route.expectations.iter().filter(|e| !e.notes.is_empty()) {
            page.line(0, &format!("{} / {}:", safe(&route.name), safe(&e.called())));
            e.notes.iter().for_each(|note| page.line(2, &safe(note)));
        }
    }
    if page.out.len() > before {
        page.gap();
    }
}

/// What the tables say about one expectation, for narrow terminals.
fn list(page: &mut Page, route: &RouteReport, e: &ExpectationReport) {
    page.line(0, &format!("{} / {}: {}", safe(&route.name), safe(&e.called()), e.objective));
    page.line(2, &format!("objective: {}", safe(&e.objective_words)));
    page.line(2, &total::of_route(route));
    let outcomes: Vec<String> =
        OUTCOMES.iter().map(|name| format!("{} {name}", count(e, name))).collect();
    page.line(2, &outcomes.join(", "));
    page.line(2, &format!("in time: {}", share_range(&e.share)));
    page.line(2, &format!("{} (n {}, {} seen):", e.ttd.label, e.ttd.n, e.ttd.events));
    for report in &e.ttd.quantiles {
        page.line(4, &format!("p{} {}", report.p * 100.0, quantile(report)));
    }
    for note in &e.notes {
        page.line(2, &safe(note));
    }
}

fn count(expectation: &ExpectationReport, outcome: &str) -> u64 {
    expectation.outcomes.get(outcome).copied().unwrap_or(0)
}

fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn outcomes(model: &ReportModel) -> String {
    let mut table = table();
    table.set_header(
        ["route", "expectation", "planned", "withdrawn", "not yet due", "injected"]
            .into_iter()
            .chain(OUTCOMES)
            .chain(["objective"]),
    );
    for route in &model.routes {
        for expectation in &route.expectations {
            let mut row = vec![
                safe(&route.name),
                safe(&expectation.name),
                route.planned.to_string(),
                route.withdrawn.values().sum::<u64>().to_string(),
                route.not_yet_due.to_string(),
                route.injected.to_string(),
            ];
            row.extend(OUTCOMES.iter().map(|name| count(expectation, name).to_string()));
            row.push(expectation.objective.clone());
            table.add_row(row);
        }
    }
    table.to_string()
}

/// `1.2 s (0.9 s to 3 s)`, `not reached`, `needs 12 more`.
pub(super) fn quantile(report: &QuantileReport) -> String {
    let Some(value) = report.value else { return format!("needs {} more", report.needs_more) };
    reached(&value)
}

/// `1.2 s (0.9 s to 3 s)`, `not reached`. Where the curve falls to nothing in one step, as of times that are
/// all alike, it has no band there, and both limits are undefined: no limit beyond what was followed.
pub(super) fn reached(value: &Quantile) -> String {
    let end = |reach: Reach| reach.ns().map_or("not reached".to_owned(), duration);
    match (value.estimate.ns(), value.lower.ns()) {
        (None, None) => end(value.estimate),
        (Some(_), None) => format!("{} (limits undefined)", end(value.estimate)),
        _ => format!("{} ({} to {})", end(value.estimate), end(value.lower), end(value.upper)),
    }
}

/// The median with its interval, marked where it is an upper bound: what every table shows.
pub(crate) fn median(ttd: &TtdReport) -> String {
    let Some(median) = ttd.quantiles.first() else { return String::new() };
    let upper = ttd.method == Method::KaplanMeierUpperEnds && median.value.is_some();
    format!("{}{}", bound(upper), quantile(median))
}

/// `0.9 s to 3 s`, `more than 3 s`, `not reached`.
pub(super) fn limits(lower: Reach, upper: Reach) -> String {
    match (lower.ns(), upper.ns()) {
        (Some(lower), Some(upper)) => format!("{} to {}", duration(lower), duration(upper)),
        (Some(lower), None) => format!("more than {}", duration(lower)),
        (None, _) => "not reached".to_owned(),
    }
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

/// Both ends of the share in time, where they differ.
fn share_range(report: &ShareReport) -> String {
    let (failed, left_out) = (&report.counted_as_failed, &report.left_out);
    if failed.n == 0 {
        return none_judged(report);
    }
    if (failed.x, failed.n) == (left_out.x, left_out.n) {
        return share(failed);
    }
    let open = "indeterminate and unproven ones";
    format!("{}, {open} counted as failed; {}, left out", share(failed), share(left_out))
}

fn times(model: &ReportModel) -> String {
    let mut table = table();
    table.set_header([
        "route",
        "expectation",
        "n",
        "p50 (95 % interval)",
        "p90",
        "p95",
        "in time",
        "without open ones",
    ]);
    for route in &model.routes {
        for expectation in &route.expectations {
            let ttd = &expectation.ttd;
            let bound = if ttd.method == Method::KaplanMeierUpperEnds { " ≤" } else { "" };
            let mut row = vec![
                safe(&route.name),
                format!("{}{bound}", safe(&expectation.name)),
                format!("{} ({} seen)", ttd.n, ttd.events),
            ];
            row.extend(ttd.quantiles.iter().map(quantile));
            row.push(share(&expectation.share.counted_as_failed));
            row.push(share(&expectation.share.left_out));
            table.add_row(row);
        }
    }
    table.to_string()
}

/// Share detected over log time, one line of eighths of blocks.
fn curve(page: &mut Page, route: &RouteReport, expectation: &ExpectationReport) {
    /// Indent, the bar's end and the share behind it.
    const AROUND: usize = 12;
    let points: Vec<(u64, f64)> =
        expectation.ttd.curve.iter().map(|p| (p.time_ns, p.undetected)).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    page.line(
        0,
        &format!(
            "{} / {}: share detected, {} to {} (log scale)",
            safe(&route.name),
            safe(&expectation.called()),
            duration(first.0),
            duration(last.0),
        ),
    );
    let bars = bars(&points, (page.width - AROUND).min(80));
    page.out.push_str(&format!("  {bars}| {}\n", percent(1.0 - last.1)));
}

/// A curve of times and undetected shares as one line of blocks, the times on a log scale.
pub(crate) fn bars(points: &[(u64, f64)], columns: usize) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let low = (first.0.max(1) as f64).ln();
    let high = (last.0.max(2) as f64).ln().max(low + 1e-9);
    (0..columns)
        .map(|column| {
            let at = (low + (high - low) * (column as f64 + 1.0) / columns as f64).exp();
            let after = points.partition_point(|p| p.0 as f64 <= at * 1.000_001);
            let step = after.checked_sub(1).and_then(|i| points.get(i));
            let detected = step.map_or(0.0, |p| 1.0 - p.1);
            LEVELS[((detected * 8.0).round() as usize).min(8)]
        })
        .collect()
}

fn stage_lines(page: &mut Page, model: &ReportModel) {
    page.gap();
    if model.routes.iter().any(|route| !route.stages.is_empty()) {
        page.line(
            0,
            "Stages, detected only: median since submission (n); ≤ marks times that were polled or found late: \
             upper bounds",
        );
    }
    for route in model.routes.iter().filter(|route| !route.stages.is_empty()) {
        let parts: Vec<String> = route.stages.iter().map(stage).collect();
        let from = match route.stages_from {
            StagesFrom::Submission => "",
            StagesFrom::CompletingEvent => ", from the completing event",
        };
        page.line(2, &format!("{}{from}: {}", safe(&route.name), parts.join(", ")));
    }
    if let Some(late) = &model.lateness {
        page.line(
            0,
            &format!(
                "Hand-over began late by: median {}{}, most {} (n {})",
                duration(late.p50_ns),
                late.p99_ns.map_or(String::new(), |p99| format!(", p99 {}", duration(p99))),
                duration(late.max_ns),
                late.n
            ),
        );
    }
}

fn stage(report: &StageReport) -> String {
    let Spread { p50_ns, n, .. } = report.spread;
    format!("{} {}{} ({n})", report.stage, bound(report.upper_bound), duration(p50_ns))
}

/// The mark of an upper bound.
pub(super) fn bound(upper: bool) -> &'static str {
    if upper { "≤ " } else { "" }
}

fn anatomy_lines(page: &mut Page, model: &ReportModel) {
    let lines = super::anatomy::lines(model);
    if !lines.is_empty() {
        page.gap();
        page.line(0, "Where the time goes, detected only");
    }
    for line in lines {
        let of = line.expectation.map(|e| format!(" / {}", safe(e))).unwrap_or_default();
        page.line(2, &format!("{}{of}: {}", safe(line.route), line.words));
    }
}

fn miss_lines(page: &mut Page, model: &ReportModel) {
    if model.misses_total == 0 {
        return;
    }
    page.gap();
    page.line(0, "Not seen in time, with the last stage reached:");
    let groups = &model.miss_kinds;
    for MissKind { first: miss, number: n } in groups.iter().take(MISSES) {
        page.line(
            2,
            &format!(
                "{n} x {} / {}: {}, last stage {}: {} (for one: dwell explain {})",
                safe(&miss.route),
                safe(&miss.expectation),
                miss.outcome,
                miss.last_stage,
                safe(&miss.reason),
                miss.canary
            ),
        );
    }
    if groups.len() > MISSES {
        page.line(2, &format!("and {} other kinds; the CSV lists all", groups.len() - MISSES));
    }
    if model.misses_of_other_kinds > 0 {
        page.line(2, &format!("and {} of still other kinds", model.misses_of_other_kinds));
    }
}

fn watcher_lines(page: &mut Page, model: &ReportModel) {
    page.gap();
    for watcher in &model.watchers {
        let proven = if watcher.proven { "proven" } else { "never proven" };
        page.line(
            0,
            &format!(
                "Watcher {} ({}, {}): {proven}, {} looks, {} records",
                safe(&watcher.name),
                watcher.kind,
                watcher.stage,
                watcher.looks,
                watcher.records
            ),
        );
        for blind in &watcher.blind {
            page.line(2, &format!("blind {}", safe(blind)));
        }
    }
    for (watcher, classes) in &model.strays {
        let parts: Vec<String> = classes.iter().map(|(class, n)| format!("{n} {class}")).collect();
        page.line(0, &format!("Strays at {}: {}", safe(watcher), parts.join(", ")));
        for note in classes.keys().filter_map(|class| stray_note(class)) {
            page.line(2, note);
        }
    }
    for control in &model.controls {
        page.line(0, &safe(control));
    }
}
