//! The estimates for a terminal: a line a group, a small curve, the comparison, what the words mean.

use comfy_table::{ContentArrangement, Table, presets};

use super::answer::{Answer, Group, Mean, Quantile};
use super::polled::{Cell, Limits, Means};
use super::source::count;
use crate::report::escape::terminal as safe;
use crate::report::{bars, words};
use crate::stats::survival::Band;

use words::{duration, percent};

/// Quantiles that the table shows.
const SHOWN: [f64; 3] = [0.5, 0.9, 0.95];
/// Curves drawn; the rest is in the JSON.
const CURVES: usize = 12;
/// Width of a curve.
const COLUMNS: usize = 60;
/// Intervals or steps listed for a group; the rest is in the JSON.
const LISTED: usize = 12;

/// Renders it all.
pub(super) fn render(answer: &Answer, band: Band) -> String {
    let mut out = format!("{}: {}", safe(&answer.file), count(answer.rows, "row"));
    for (why, n) in &answer.left_out {
        out.push_str(&format!(", {n} left out: {why}"));
    }
    let used = answer.columns.iter().map(|(role, name)| format!("{role} `{}`", safe(name)));
    let used: Vec<String> = used.collect();
    out.push_str(&format!("\ncolumns: {}\n\n{}\n\n", used.join(", "), table(answer, band)));
    for group in answer.groups.iter().take(CURVES) {
        curve(&mut out, group);
        masses(&mut out, group);
        incidence(&mut out, group);
    }
    if answer.groups.len() > CURVES {
        let more = answer.groups.len() - CURVES;
        out.push_str(&format!("{more} more groups have no picture here; --json has all\n"));
    }
    comparisons(&mut out, answer);
    definitions(&mut out, answer, band);
    out
}

fn name(group: &Group) -> String {
    let names: Vec<String> =
        [&group.stratum, &group.group].into_iter().flatten().map(|name| safe(name)).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(" / ") }
}

fn table(answer: &Answer, band: Band) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled);
    let interval = percent(answer.confidence);
    let mut header = vec!["group".to_owned(), "n (events)".to_owned()];
    let limits = |g: &Group| g.turnbull.as_ref().is_some_and(|t| t.bootstrap.is_some());
    let bands = answer.groups.iter().any(|g| !g.quantiles.is_empty() || limits(g));
    let quantiles = answer.groups.iter().any(|g| !g.quantiles.is_empty() || g.turnbull.is_some());
    if quantiles {
        header.extend(SHOWN.map(|p| match p {
            0.5 if bands => format!("p50 ({interval} interval)"),
            _ => format!("p{}", p * 100.0),
        }));
    }
    if let Some(tau) = answer.tau_ns.filter(|_| quantiles) {
        let curves = answer.groups.iter().any(|g| g.restricted_mean.is_some());
        header.push(match (curves, bands) {
            (true, _) => format!("mean up to {} (standard error)", duration(tau)),
            (false, true) => format!("mean up to {} ({interval} interval)", duration(tau)),
            (false, false) => format!("mean up to {}", duration(tau)),
        });
    }
    table.set_header(header);
    for group in &answer.groups {
        let mut row = vec![name(group), format!("{} ({})", group.n, group.events)];
        for p in SHOWN {
            let of_curve = group.quantiles.iter().find(|q| q.p == p).map(|q| quantile(q, band));
            let of_cells = group.turnbull.iter().flat_map(|t| &t.quantiles).find(|q| q.p == p);
            row.extend(of_curve.or(of_cells.map(cell)));
        }
        let polled = group.turnbull.as_ref().and_then(|t| t.restricted_mean.as_ref());
        row.extend(group.restricted_mean.as_ref().map(mean).or(polled.map(means)));
        table.add_row(row);
    }
    table
}

fn mean(mean: &Mean) -> String {
    if let Some(why) = no_mean(mean.shown, mean.needs_more) {
        return why;
    }
    match mean.followed_to_tau {
        true => format!("{} ({})", part(mean.mean_ns), part(mean.standard_error_ns)),
        false => "nobody was followed that long".to_owned(),
    }
}

/// Why no mean is shown, if none is.
fn no_mean(shown: bool, needs_more: u64) -> Option<String> {
    match (shown, needs_more) {
        (true, _) => None,
        (false, 0) => Some("not without a detection".to_owned()),
        (false, more) => Some(refused(more)),
    }
}

fn means(means: &Means) -> String {
    if let Some(why) = no_mean(means.shown, means.needs_more) {
        return why;
    }
    let [low, high] = [means.at_least_ns, means.at_most_ns].map(part);
    format!("between {low} and {high}{}", within(means.limits))
}

fn within(limits: Option<Limits>) -> String {
    let end = |ns: Option<f64>| ns.map_or("not reached".to_owned(), part);
    limits.map_or(String::new(), |l| format!(" ({} to {})", end(l.lower_ns), end(l.upper_ns)))
}

fn part(ns: f64) -> String {
    duration(ns.round() as u64)
}

fn end(ns: Option<u64>) -> String {
    ns.map_or("not reached".to_owned(), duration)
}

fn refused(needs_more: u64) -> String {
    format!("needs {needs_more} more")
}

fn quantile(quantile: &Quantile, band: Band) -> String {
    if !quantile.shown {
        return refused(quantile.needs_more);
    }
    let (low, high) = match band {
        Band::LogLog => quantile.log_log_ns,
        Band::Log => quantile.log_ns,
        Band::Plain => quantile.plain_ns,
    };
    match (quantile.estimate_ns, low, high) {
        (None, None, None) => end(None),
        (Some(_), None, None) => format!("{} (limits undefined)", end(quantile.estimate_ns)),
        (estimate, low, high) => format!("{} ({} to {})", end(estimate), end(low), end(high)),
    }
}

fn cell(cell: &Cell) -> String {
    match (cell.shown, cell.by_ns) {
        (false, _) => refused(cell.needs_more),
        (true, None) => end(None),
        (true, by) => {
            format!("after {}, by {}{}", end(cell.after_ns), end(by), within(cell.limits))
        }
    }
}

fn curve(out: &mut String, group: &Group) {
    let points: Vec<(u64, f64)> = group.curve.iter().map(|p| (p.time_ns, p.undetected)).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    out.push_str(&format!(
        "{}: share with the event, {} to {} (log scale)\n  {}| {}\n",
        name(group),
        duration(first.0),
        duration(last.0),
        bars(&points, COLUMNS),
        percent(1.0 - last.1)
    ));
}

fn masses(out: &mut String, group: &Group) {
    let Some(turnbull) = &group.turnbull else { return };
    out.push_str(&format!("{}: share per interval\n", name(group)));
    for mass in turnbull.masses.iter().take(LISTED) {
        let upper =
            mass.upper_ns.map_or("never seen".to_owned(), |ns| format!("by {}", duration(ns)));
        out.push_str(&format!(
            "  after {}, {upper}: {}\n",
            duration(mass.lower_ns),
            percent(mass.mass)
        ));
    }
    if turnbull.masses.len() > LISTED {
        out.push_str(&format!("  and {} more; --json has all\n", turnbull.masses.len() - LISTED));
    }
}

fn incidence(out: &mut String, group: &Group) {
    for cause in &group.incidence {
        if let Some(last) = cause.steps.last() {
            out.push_str(&format!(
                "{}: {} of cause {} by {} (standard error {})\n",
                name(group),
                percent(last.incidence),
                safe(&cause.cause),
                duration(last.time_ns),
                percent(last.standard_error)
            ));
        }
    }
}

fn comparisons(out: &mut String, answer: &Answer) {
    for (i, test) in answer.comparisons.iter().enumerate() {
        if i == 0 {
            let strata = if test.stratified { ", within strata" } else { "" };
            out.push_str(&format!("\nDo {} groups differ{strata}?\n", test.groups.len()));
        }
        out.push_str(&format!(
            "  {}: chi-squared {:.4} on {} degree{} of freedom, p {}\n",
            test.test,
            test.chi2,
            test.df,
            if test.df == 1 { "" } else { "s" },
            p_value(test.p)
        ));
    }
}

fn p_value(p: f64) -> String {
    if p < 1e-3 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

fn definitions(out: &mut String, answer: &Answer, band: Band) {
    out.push('\n');
    let method = answer.groups.first().map_or("", |g| g.method);
    let band = match band {
        Band::LogLog => "log-log",
        Band::Log => "log",
        Band::Plain => "plain",
    };
    out.push_str(&match method {
        "kaplan-meier" => format!(
            "p50: the time by which half have had the event, censored rows included \
             (Kaplan-Meier); interval: the {band} band inverted.\n\
             A quantile is refused below the n that could carry it; `not reached`: too few events \
             for it so far.\n"
        ),
        "turnbull" => turnbull(answer),
        _ => "Share that ended of each cause, the other causes taken into account \
              (Aalen-Johansen).\n"
            .to_owned(),
    });
    if answer.groups.iter().any(|g| g.restricted_mean.is_some()) {
        out.push_str(
            "Mean up to a time: longer times count as that time. 1.96 standard errors on each side hold it \
             in 95 of 100 large samples; of ten rows, or of times few of which are long, clearly less often.\n",
        );
    }
    if answer.groups.iter().any(|g| g.turnbull.is_some()) && answer.tau_ns.is_some() {
        out.push_str(
            "Mean up to a time: longer times count as that time; between: if every time lay at its \
             interval's lower end, and at its upper one.\n",
        );
    }
    for note in &answer.notes {
        out.push_str(&format!("{}\n", safe(note)));
    }
}

fn turnbull(answer: &Answer) -> String {
    let mut out =
        "after, by: the interval in which the quantile lies (Turnbull); nothing is known \
                   within it.\n"
            .to_owned();
    let drawn = answer.groups.iter().filter_map(|g| g.turnbull.as_ref()?.bootstrap).next();
    if let Some(drawn) = drawn {
        out.push_str(&format!(
            "In brackets: {} interval, from the lower limit of the one end to the upper limit of the \
             other; by {} resamples of the rows (seed {}), so approximate.\n",
            percent(answer.confidence),
            drawn.resamples,
            drawn.seed
        ));
    }
    out
}
