//! One self-contained page: no script, nothing fetched, readable on paper.
//!
//! The page is well-formed XML too, so that a strict parser can vouch for it: one root, every element
//! closed, no entity but XML's own, no character that XML forbids.

pub(super) mod chart;
pub(super) mod units;

use std::fmt::Write;

use super::escape::html as safe;
use super::model::*;
use super::share::none_judged;
use super::text::{bound, median, quantile, share};
use super::times::needed;
use super::total::{self, OUTCOMES};
use super::words::{duration, hours, percent, stray_note};
use units::{Names, together};

pub(super) const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1a1f24;background:#fff;max-width:68rem;margin:2rem auto;padding:0 1.5rem}h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:2px solid #dfe4e8;padding-bottom:.2rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}.verdict{font-size:1.25rem;background:#f2f6f9;border-left:6px solid #2b6c99;padding:1rem 1.2rem;margin:1.2rem 0}.verdict p{margin:.3rem 0}.verdict.met{border-color:#1d6b37}.verdict.missed{border-color:#a3271c}.verdict.undecided{border-color:#b98900}.verdict.met,.verdict.missed,.verdict.undecided{color:inherit;font-weight:400}.verdict p:first-child{font-weight:600}table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e3e8ec;vertical-align:top}td:first-child{min-width:8rem}@media screen and (max-width:40rem){td.words{min-width:14rem}}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.met{color:#1d6b37;font-weight:600}.missed{color:#a3271c;font-weight:600}.undecided{color:#7a5a00;font-weight:600}.small{font-size:.85rem;color:#4a545d}.scroll{overflow-x:auto}svg{max-width:100%;height:auto}svg.bar{width:220px;height:12px}code{font-size:.85em;overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .5rem 0}@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr,svg{break-inside:avoid}}";

/// Renders the page.
pub(super) fn render(model: &ReportModel) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let title = safe(&model.campaign);
    let names = names(model);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"/><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/><title>Time to detect: {title}\
         </title><style>{STYLE}</style></head><body>\n<h1>Time to detect: {title}</h1>\n\
         <p class=\"small\">As of {}</p>\n<div class=\"verdict {}\">",
        safe(&model.cut),
        worst(model)
    );
    for sentence in &model.verdict {
        let _ = write!(page, "<p>{}</p>", names.safe(sentence));
    }
    let _ = writeln!(page, "<p>{}</p></div>", names.safe(&model.total.words));
    routes(&mut page, model, &names);
    curves(&mut page, model, &names);
    stages(&mut page, model);
    anatomy(&mut page, model, &names);
    misses(&mut page, model);
    watchers(&mut page, model);
    for line in model.floor.words.iter().chain(&model.floor.limited) {
        let _ = writeln!(page, "<p class=\"small\">{}</p>", names.safe(line));
    }
    definitions(&mut page, model, &names);
    evidence(&mut page, model);
    page.push_str("</body></html>\n");
    together(&page)
}

/// Everything foreign that our sentences quote.
fn names(model: &ReportModel) -> Names {
    let expectations = || model.routes.iter().flat_map(|route| &route.expectations);
    let lists = expectations().flat_map(|e| e.rules.iter().chain(&e.watchers).chain([&e.name]));
    let routes = model.routes.iter().flat_map(|route| [&route.name, &route.owner, &route.recipe]);
    let watchers = model.watchers.iter().map(|watcher| &watcher.name);
    let all = [&model.campaign].into_iter().chain(routes).chain(lists).chain(watchers);
    Names::new(all.map(String::as_str))
}

/// The worst objective of all: `missed`, `undecided`, `met`.
fn worst(model: &ReportModel) -> &'static str {
    let any = |wanted: &str| {
        model.routes.iter().flat_map(|r| &r.expectations).any(|e| e.objective == wanted)
    };
    if any("missed") {
        "missed"
    } else if any("undecided") || model.expectations == 0 {
        "undecided"
    } else {
        "met"
    }
}

fn routes(page: &mut String, model: &ReportModel, names: &Names) {
    page.push_str(
        "<h2>Routes</h2><div class=\"scroll\"><table><thead><tr><th>Route</th><th>Result</th>\
         <th>Median time (95 % interval)</th><th>In time (95 % interval)</th><th>Objective</th>\
         <th>What became of the canaries</th></tr></thead><tbody>\n",
    );
    for route in &model.routes {
        for e in &route.expectations {
            let supplier = if route.supplier { " (supplier)" } else { "" };
            let _ = writeln!(
                page,
                "<tr><td>{} / {}<br/><span class=\"small\">{}<br/>{}{supplier}</span></td>\
                 <td class=\"{}\">{}</td><td>{}</td><td>{}</td><td class=\"words\">{}</td><td>{}</td></tr>",
                safe(&route.name),
                safe(&e.name),
                safe(&route.recipe),
                safe(&route.owner),
                e.objective,
                e.objective,
                median(&e.ttd),
                in_time(&e.share),
                names.safe(&e.objective_words),
                outcomes(route, e),
            );
        }
    }
    page.push_str("</tbody></table></div>\n");
}

/// Both ends of the share in time, where they differ.
fn in_time(report: &ShareReport) -> String {
    let (failed, left_out) = (&report.counted_as_failed, &report.left_out);
    if failed.n == 0 {
        return none_judged(report);
    }
    if (failed.x, failed.n) == (left_out.x, left_out.n) {
        return share(failed);
    }
    format!(
        "{} at worst<br/><span class=\"small\">{} with indeterminate and unproven ones left out</span>",
        share(failed),
        share(left_out)
    )
}

/// One for each of the outcomes.
const COLOURS: [&str; 6] = ["#2f7d4a", "#d9a520", "#a3271c", "#6b4c8a", "#8a949c", "#d5dbe0"];

/// A bar of all injected canaries with the same in words below it.
fn outcomes(route: &RouteReport, e: &ExpectationReport) -> String {
    const LONG: f64 = 220.0;
    let injected = route.injected.max(1) as f64;
    let mut bar = String::new();
    let mut words = Vec::new();
    let mut at = 0.0;
    for (outcome, colour) in OUTCOMES.into_iter().zip(COLOURS) {
        let n = e.outcomes.get(outcome).copied().unwrap_or(0);
        if n == 0 {
            continue;
        }
        let wide = LONG * n as f64 / injected;
        let _ = write!(
            bar,
            "<rect x=\"{at:.1}\" width=\"{wide:.1}\" height=\"12\" fill=\"{colour}\"/>"
        );
        at += wide;
        words.push(format!(
            "<span style=\"white-space:nowrap\"><span style=\"color:{colour}\">■</span> {n} {outcome}</span>"
        ));
    }
    format!(
        "{}<br/><svg class=\"bar\" viewBox=\"0 0 {LONG} 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{bar}</svg><br/>\
         <span class=\"small\">{}</span>",
        total::of_route(route),
        words.join(" ")
    )
}

fn curves(page: &mut String, model: &ReportModel, names: &Names) {
    page.push_str(
        "<h2>Share not yet detected</h2><p class=\"small\">Kaplan-Meier estimate with its 95 % log-log \
         band, or for coarse times Turnbull's estimate between its two edges, which are no \
         confidence band; the time axis is logarithmic. Canaries that nobody saw stay in the curve.</p>\n",
    );
    for note in &model.notes {
        let _ = writeln!(page, "<p class=\"small\">{}</p>", names.safe(note));
    }
    for route in &model.routes {
        for e in route.expectations.iter().filter(|e| e.ttd.n > 0 || !e.notes.is_empty()) {
            let _ = write!(
                page,
                "<h3>{} / {}</h3><p>{}</p>",
                safe(&route.name),
                safe(&e.called()),
                names.safe(&e.verdict)
            );
            if e.ttd.n > 0 {
                estimate(page, route, e);
            }
            for note in &e.notes {
                let _ = writeln!(page, "<p class=\"small\">{}.</p>", names.safe(&sentence(note)));
            }
        }
    }
}

/// The curve with its numbers.
fn estimate(page: &mut String, route: &RouteReport, e: &ExpectationReport) {
    chart::curve(page, route, e);
    if e.ttd.method == Method::Turnbull {
        page.push_str(
            "<p class=\"small\">The band is what the polls leave open, not a confidence band; the bars \
             with ends are the quantiles' 95 % intervals.</p>\n",
        );
    }
    let quantiles: Vec<String> =
        e.ttd.quantiles.iter().map(|q| format!("p{}: {}", q.p * 100.0, quantile(q))).collect();
    let _ = writeln!(
        page,
        "<p class=\"small\">{}; n = {}, {} seen. {}.</p>",
        safe(&e.ttd.label),
        e.ttd.n,
        e.ttd.events,
        quantiles.join("; ")
    );
}

/// With a capital letter.
fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn stages(page: &mut String, model: &ReportModel) {
    page.push_str(
        "<h2>Stages</h2><p class=\"small\">Since submission, of a burst since its completing event; detected \
         only. ≤ marks times that were polled or found late: upper bounds. Bars show the median on the same logarithmic \
         scale.</p><div class=\"scroll\"><table><thead><tr><th>Route</th><th>Stage</th>\
         <th class=\"n\">n</th><th class=\"n\">Median</th><th class=\"n\">90 %</th><th class=\"n\">Largest</th>\
         <th></th></tr></thead><tbody>\n",
    );
    let longest = model
        .routes
        .iter()
        .flat_map(|r| &r.stages)
        .map(|s| s.spread.p50_ns)
        .max()
        .unwrap_or(1)
        .max(2);
    for route in &model.routes {
        for stage in &route.stages {
            let s = &stage.spread;
            let bound = bound(stage.upper_bound);
            let from = match route.stages_from {
                StagesFrom::Submission => "",
                StagesFrom::CompletingEvent => {
                    "<br/><span class=\"small\">from the completing event</span>"
                }
            };
            let log = |ns: u64| (ns.max(100_000) as f64 / 100_000.0).ln();
            let bar = 200.0 * log(s.p50_ns) / log(longest).max(1e-9);
            let _ = writeln!(
                page,
                "<tr><td>{}{from}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{bound}{}</td>\
                 <td class=\"n\">{bound}{}</td><td class=\"n\">{bound}{}</td><td><svg width=\"204\" height=\"14\" aria-hidden=\"true\"><rect width=\"{bar:.0}\" \
                 height=\"12\" y=\"1\" fill=\"#2b6c99\"/></svg></td></tr>",
                safe(&route.name),
                safe(&stage.stage),
                s.n,
                duration(s.p50_ns),
                s.p90_ns.map_or_else(|| format!("needs {} more", needed(0.9) - s.n), duration),
                duration(s.max_ns)
            );
        }
    }
    page.push_str("</tbody></table></div>\n");
    if let Some(late) = &model.lateness {
        let _ = writeln!(
            page,
            "<p class=\"small\">Hand-overs began late against their plan by {} at the median{}, {} at most \
             (n = {}).</p>",
            duration(late.p50_ns),
            late.p99_ns
                .map_or(String::new(), |p99| format!(", {} at the 99th percentile", duration(p99))),
            duration(late.max_ns),
            late.n
        );
    }
}

fn anatomy(page: &mut String, model: &ReportModel, names: &Names) {
    let lines = crate::report::anatomy::lines(model);
    if lines.is_empty() {
        return;
    }
    page.push_str("<h2>Where the time goes</h2><p class=\"small\">Detected only.</p><ul>\n");
    for line in lines {
        let of = line.expectation.map(|e| format!(" / {}", safe(e))).unwrap_or_default();
        let _ = writeln!(page, "<li>{}{of}: {}</li>", safe(line.route), names.safe(&line.words));
    }
    page.push_str("</ul>\n");
}

/// Kinds of misses shown; the CSV lists all misses.
const MISSES: usize = 200;

fn misses(page: &mut String, model: &ReportModel) {
    let _ = writeln!(page, "<h2>Not seen in time ({})</h2>", model.misses_total);
    if model.misses_total == 0 {
        page.push_str("<p>None.</p>\n");
        return;
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Route</th><th>Expectation</th><th>Outcome</th>\
         <th class=\"n\">Canaries</th><th>Last stage reached</th><th>Why</th><th>For one</th></tr></thead>\
         <tbody>\n",
    );
    let groups = &model.miss_kinds;
    for MissKind { first: miss, number: n } in groups.iter().take(MISSES) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{n}</td><td>{}</td><td>{}</td>\
             <td><code>{}</code></td></tr>",
            safe(&miss.route),
            safe(&miss.expectation),
            safe(&miss.outcome),
            safe(&miss.last_stage),
            safe(&miss.reason),
            safe(&miss.canary)
        );
    }
    page.push_str("</tbody></table></div>\n");
    if groups.len() > MISSES {
        let _ =
            writeln!(page, "<p>And {} other kinds; the CSV lists all.</p>", groups.len() - MISSES);
    }
    if model.misses_of_other_kinds > 0 {
        let _ = writeln!(page, "<p>And {} of still other kinds.</p>", model.misses_of_other_kinds);
    }
}

fn watchers(page: &mut String, model: &ReportModel) {
    page.push_str("<h2>Watchers</h2><ul>\n");
    for w in &model.watchers {
        let proven = if w.proven { "proven" } else { "<strong>never proven</strong>" };
        let _ = write!(
            page,
            "<li>{} ({}, stage {}): {proven}; {} looks, {} records; reads <code>{}</code>",
            safe(&w.name),
            safe(&w.kind),
            safe(&w.stage),
            w.looks,
            w.records,
            safe(&w.source)
        );
        for blind in &w.blind {
            let _ = write!(page, "<br/>blind {}", safe(blind));
        }
        page.push_str("</li>\n");
    }
    for (watcher, classes) in &model.strays {
        for (class, n) in classes {
            let note = stray_note(class).map(|note| format!("<br/>{}", safe(note)));
            let (class, watcher, note) = (safe(class), safe(watcher), note.unwrap_or_default());
            let _ = writeln!(page, "<li>{n} strays ({class}) at {watcher}{note}</li>");
        }
    }
    page.push_str("</ul>\n");
}

fn definitions(page: &mut String, model: &ReportModel, names: &Names) {
    let _ = write!(
        page,
        "<h2>What these numbers say, and what not</h2><p><strong>{}</strong></p><p>{}</p><dl>",
        names.safe(&model.limit),
        names.safe(&model.inventory)
    );
    for definition in &model.definitions {
        let _ = write!(
            page,
            "<dt>{}</dt><dd>{}</dd>",
            names.safe(&definition.term),
            names.safe(&definition.meaning)
        );
    }
    page.push_str("</dl>\n");
}

fn evidence(page: &mut String, model: &ReportModel) {
    let e = &model.evidence;
    page.push_str("<h2>Evidence</h2><table><tbody>\n");
    let mut row = |term: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(page, "<tr><th>{term}</th><td>{value}</td></tr>");
        }
    };
    let authorisation: Vec<String> =
        e.authorisation_parts().iter().map(|part| safe(part)).collect();
    row("Authorisation", authorisation.join("<br/>"));
    row("Campaign", format!("{} of {} in this ledger", e.campaign_number.0, e.campaign_number.1));
    for run in &e.runs {
        row(
            "Run",
            format!(
                "{} began {}; {} arrivals, seed {}; {}; configuration <code>{}</code>",
                run.run,
                safe(&run.began),
                safe(&run.arrivals),
                run.seed,
                safe(&run.ended),
                safe(&run.config_digest)
            ),
        );
    }
    row("Hours sampled (UTC)", hours(&model.hours_sampled));
    row("Hours never sampled (UTC)", hours(&model.hours_never_sampled));
    row("Quiet hours", safe(&model.quiet_hours.join(", ")));
    row("Controls", safe(&model.controls.join("; ")));
    row("Versions", safe(&e.versions.join(", ")));
    row("Clock", safe(&e.clock.join("; ")));
    row("Chain heads", format!("<code>{}</code>", safe(&e.heads.join(" "))));
    row("Never exercised", safe(&e.never_exercised.join(", ")));
    for (name, digest) in e.recipes.iter().chain(&e.dialects) {
        row("SHA-256", format!("{} <code>{}</code>", safe(name), safe(digest)));
    }
    for route in &model.routes {
        for (reason, n) in &route.withdrawn {
            row("Withdrawn", format!("{}: {n} ({})", safe(&route.name), safe(reason)));
        }
    }
    let share = model.met as f64 / f64::from(model.expectations.max(1));
    row("Objectives met", format!("{} of {} ({})", model.met, model.expectations, percent(share)));
    page.push_str("</tbody></table>\n");
}
