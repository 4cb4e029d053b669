//! One self-contained page: no script, nothing fetched, readable on paper.

use std::fmt::Write;

use super::escape::html as safe;
use super::model::*;
use super::text::{quantile, share};
use super::words::{duration, percent};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1a1f24;background:#fff;max-width:68rem;margin:2rem auto;padding:0 1.5rem}h1{font-size:1.6rem;margin:0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:2px solid #dfe4e8;padding-bottom:.2rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}.verdict{font-size:1.25rem;background:#f2f6f9;border-left:6px solid #2b6c99;padding:1rem 1.2rem;margin:1.2rem 0}.verdict p{margin:.3rem 0}table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e3e8ec;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.met{color:#1d6b37;font-weight:600}.missed{color:#a3271c;font-weight:600}.undecided{color:#7a5a00;font-weight:600}.small{font-size:.85rem;color:#4a545d}.scroll{overflow-x:auto}svg{max-width:100%;height:auto}code{font-size:.85em;overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .5rem 0}@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr,svg{break-inside:avoid}}";

/// Renders the page.
pub(super) fn render(model: &ReportModel) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let title = safe(&model.campaign);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"/><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/><title>Time to detect: {title}\
         </title><style>{STYLE}</style></head><body>\n<h1>Time to detect: {title}</h1>\n\
         <p class=\"small\">As of {}</p>\n<div class=\"verdict\">",
        safe(&model.cut)
    );
    for sentence in &model.verdict {
        let _ = write!(page, "<p>{}</p>", safe(sentence));
    }
    page.push_str("</div>\n");
    routes(&mut page, model);
    curves(&mut page, model);
    stages(&mut page, model);
    misses(&mut page, model);
    watchers(&mut page, model);
    definitions(&mut page, model);
    evidence(&mut page, model);
    page.push_str("</body></html>\n");
    page
}

fn routes(page: &mut String, model: &ReportModel) {
    page.push_str(
        "<h2>Routes</h2><div class=\"scroll\"><table><thead><tr><th>Route</th><th>Stage</th>\
         <th>Objective</th><th>Result</th><th class=\"n\">Injected</th><th class=\"n\">Detected</th>\
         <th class=\"n\">Late</th><th class=\"n\">Missed</th><th class=\"n\">Undelivered</th>\
         <th class=\"n\">Indeterminate</th><th class=\"n\">Pending</th><th>Median (95 % interval)</th>\
         <th>In time (95 % interval)</th></tr></thead><tbody>\n",
    );
    for route in &model.routes {
        for e in &route.expectations {
            let n = |name: &str| e.outcomes.get(name).copied().unwrap_or(0);
            let supplier = if route.supplier { " (supplier)" } else { "" };
            let bound = if e.ttd.label.starts_with("upper") { "≤ " } else { "" };
            let _ = writeln!(
                page,
                "<tr><td>{}<br/><span class=\"small\">{}, {}{supplier}</span></td><td>{}</td><td>{}</td>\
                 <td class=\"{}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td>{bound}{}</td><td>{}</td></tr>",
                safe(&route.name),
                safe(&route.recipe),
                safe(&route.owner),
                safe(&e.stage),
                safe(&e.objective_words),
                e.objective,
                e.objective,
                route.injected,
                n("detected"),
                n("late"),
                n("missed"),
                n("undelivered"),
                n("indeterminate"),
                n("pending"),
                e.ttd.quantiles.first().map(quantile).unwrap_or_default(),
                share(&e.share.counted_as_failed),
            );
        }
    }
    page.push_str("</tbody></table></div>\n");
}

fn curves(page: &mut String, model: &ReportModel) {
    page.push_str(
        "<h2>Share not yet detected</h2><p class=\"small\">Kaplan-Meier estimate with its 95 % log-log \
         band; the time axis is logarithmic. Canaries that nobody saw stay in the curve.</p>\n",
    );
    for route in &model.routes {
        for e in route.expectations.iter().filter(|e| e.ttd.n > 0) {
            let _ = write!(
                page,
                "<h3>{} / {}</h3><p>{}</p>",
                safe(&route.name),
                safe(&e.stage),
                safe(&e.verdict)
            );
            curve(page, route, e);
            let quantiles: Vec<String> = e
                .ttd
                .quantiles
                .iter()
                .map(|q| format!("p{}: {}", q.p * 100.0, quantile(q)))
                .collect();
            let _ = writeln!(
                page,
                "<p class=\"small\">{}; n = {}, {} seen, {} of unproven delivery left out. {}.</p>",
                safe(&e.ttd.label),
                e.ttd.n,
                e.ttd.events,
                route.delivery_unproven,
                quantiles.join("; ")
            );
            if let Some((early, never)) = e.ttd.extremes_p50_ns {
                let end = |ns: Option<u64>| ns.map_or("not reached".to_owned(), duration);
                let _ = writeln!(
                    page,
                    "<p class=\"small\">Median if every indeterminate one had been detected when \
                     blindness began: {}; if none: {}.</p>",
                    end(early),
                    end(never)
                );
            }
        }
    }
}

const LEFT: f64 = 52.0;
const WIDTH: f64 = 700.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 180.0;
/// Ticks of the time axis: one millisecond to three months.
const TICKS: [(u64, &str); 11] = [
    (1_000_000, "1 ms"),
    (10_000_000, "10 ms"),
    (100_000_000, "100 ms"),
    (1_000_000_000, "1 s"),
    (10_000_000_000, "10 s"),
    (60_000_000_000, "1 min"),
    (600_000_000_000, "10 min"),
    (3_600_000_000_000, "1 h"),
    (86_400_000_000_000, "1 day"),
    (604_800_000_000_000, "1 week"),
    (7_776_000_000_000_000, "3 months"),
];

fn curve(page: &mut String, route: &RouteReport, e: &ExpectationReport) {
    let times = e.ttd.curve.iter().map(|p| p.time_ns);
    let low_ns = times.clone().min().unwrap_or(1_000_000).min(e.deadline_ns).max(1_000_000) / 2;
    let high_ns = times.max().unwrap_or(0).max(e.deadline_ns) * 2;
    let (low, high) = ((low_ns as f64).ln(), (high_ns as f64).ln());
    let x =
        |ns: u64| LEFT + WIDTH * (((ns.max(1) as f64).ln() - low) / (high - low)).clamp(0.0, 1.0);
    let y = |s: f64| TOP + HEIGHT * (1.0 - s);
    let bottom = TOP + HEIGHT;
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 780 225\" width=\"780\" role=\"img\" aria-label=\"Share of canaries of \
         route {} not yet {} over time\">",
        safe(&route.name),
        safe(&e.stage)
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            page,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e8ec\"/><text x=\"46\" \
             y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\" fill=\"#4a545d\">{} %</text>",
            LEFT + WIDTH,
            y(share) + 4.0,
            share * 100.0,
            y = y(share)
        );
    }
    for (ns, label) in TICKS.iter().filter(|(ns, _)| *ns >= low_ns && *ns <= high_ns) {
        let _ = write!(
            page,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#eef1f4\"/><text x=\"{x:.1}\" \
             y=\"{}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#4a545d\">{label}</text>",
            bottom + 16.0,
            x = x(*ns)
        );
    }
    let _ = write!(page, "{}", band(e, &x, &y));
    let mut path = format!("M{LEFT:.1},{:.1}", y(1.0));
    for point in &e.ttd.curve {
        let _ = write!(path, "H{:.1}V{:.1}", x(point.time_ns), y(point.undetected));
    }
    let _ = writeln!(
        page,
        "<path d=\"{path}H{:.1}\" fill=\"none\" stroke=\"#2b6c99\" stroke-width=\"2\"/><line x1=\"{d:.1}\" \
         x2=\"{d:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#a3271c\" stroke-dasharray=\"4 3\"/><text \
         x=\"{d:.1}\" y=\"{}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#a3271c\">deadline {}</text></svg>",
        LEFT + WIDTH,
        bottom + 30.0,
        duration(e.deadline_ns),
        d = x(e.deadline_ns)
    );
}

/// The band as a filled staircase; it ends where it is undefined.
fn band(e: &ExpectationReport, x: &dyn Fn(u64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let steps: Vec<(u64, f64, f64)> =
        e.ttd.curve.iter().filter_map(|p| Some((p.time_ns, p.lower?, p.upper?))).collect();
    let Some(first) = steps.first() else { return String::new() };
    let end = e.ttd.curve.last().map_or(first.0, |p| p.time_ns);
    let mut path = format!("M{:.1},{:.1}", x(first.0), y(first.2));
    for (time, _, upper) in steps.iter().skip(1) {
        let _ = write!(path, "H{:.1}V{:.1}", x(*time), y(*upper));
    }
    let _ = write!(path, "H{:.1}", x(end));
    if let Some((_, lower, _)) = steps.last() {
        let _ = write!(path, "V{:.1}", y(*lower));
    }
    for pair in steps.windows(2).rev() {
        let _ = write!(path, "H{:.1}V{:.1}", x(pair[1].0), y(pair[0].1));
    }
    let _ = write!(path, "H{:.1}Z", x(first.0));
    format!("<path d=\"{path}\" fill=\"#2b6c99\" fill-opacity=\".16\"/>")
}

fn stages(page: &mut String, model: &ReportModel) {
    page.push_str(
        "<h2>Stages</h2><p class=\"small\">Since submission, detected only; bars show the median on the \
         same logarithmic scale.</p><div class=\"scroll\"><table><thead><tr><th>Route</th><th>Stage</th>\
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
            let log = |ns: u64| (ns.max(100_000) as f64 / 100_000.0).ln();
            let bar = 200.0 * log(s.p50_ns) / log(longest).max(1e-9);
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td><svg width=\"204\" height=\"14\" aria-hidden=\"true\"><rect width=\"{bar:.0}\" \
                 height=\"12\" y=\"1\" fill=\"#2b6c99\"/></svg></td></tr>",
                safe(&route.name),
                safe(&stage.stage),
                s.n,
                duration(s.p50_ns),
                duration(s.p90_ns),
                duration(s.max_ns)
            );
        }
    }
    page.push_str("</tbody></table></div>\n");
    if let Some(late) = &model.lateness {
        let _ = writeln!(
            page,
            "<p class=\"small\">Hand-overs began late against their plan by {} at the median, {} at the \
             99th percentile, {} at most (n = {}).</p>",
            duration(late.p50_ns),
            duration(late.p99_ns),
            duration(late.max_ns),
            late.n
        );
    }
}

/// Misses shown by name; the CSV lists all.
const MISSES: usize = 200;

fn misses(page: &mut String, model: &ReportModel) {
    let _ = writeln!(page, "<h2>Not seen in time ({})</h2>", model.misses.len());
    if model.misses.is_empty() {
        page.push_str("<p>None.</p>\n");
        return;
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Route</th><th>Expectation</th><th>Canary</th>\
         <th>Outcome</th><th>Last stage reached</th><th>Why</th></tr></thead><tbody>\n",
    );
    for miss in model.misses.iter().take(MISSES) {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            safe(&miss.route),
            safe(&miss.expectation),
            safe(&miss.canary),
            safe(&miss.outcome),
            safe(&miss.last_stage),
            safe(&miss.reason)
        );
    }
    page.push_str("</tbody></table></div>\n");
    if model.misses.len() > MISSES {
        let _ =
            writeln!(page, "<p>And {} more; the CSV lists all.</p>", model.misses.len() - MISSES);
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
            let _ = writeln!(page, "<li>{n} strays ({}) at {}</li>", safe(class), safe(watcher));
        }
    }
    page.push_str("</ul>\n");
}

fn definitions(page: &mut String, model: &ReportModel) {
    let _ = write!(
        page,
        "<h2>What these numbers say, and what not</h2><p><strong>{}</strong></p><p>{}</p><dl>",
        safe(&model.limit),
        safe(&model.inventory)
    );
    for definition in &model.definitions {
        let _ = write!(
            page,
            "<dt>{}</dt><dd>{}</dd>",
            safe(&definition.term),
            safe(&definition.meaning)
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
    let authorisation = match &e.authorisation {
        Some(value) => safe(&value.to_string()),
        None => "none needed: every target is local".to_owned(),
    };
    row("Authorisation", authorisation);
    row("Campaign", format!("{} of {} in this ledger", e.campaign_number.0, e.campaign_number.1));
    for run in &e.runs {
        row(
            "Run",
            format!(
                "{} began {}; {} arrivals, seed {}; ended: {}; configuration <code>{}</code>",
                run.run,
                safe(&run.began),
                safe(&run.arrivals),
                run.seed,
                safe(&run.ended),
                safe(&run.config_digest)
            ),
        );
    }
    let hours: Vec<String> = model.hours_sampled.iter().map(|h| format!("{h:02}")).collect();
    row("Hours sampled (UTC)", hours.join(", "));
    row("Never sampled", safe(&model.quiet_hours.join(", ")));
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
