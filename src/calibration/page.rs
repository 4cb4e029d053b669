//! A calibration for people: on a terminal, and as the page `docs/accuracy.md`.
//!
//! The page has a hand-written frame, `docs/accuracy.template.md`, with four holes: by what it was made,
//! the figures, and what the two seeded studies found (`docs/coverage.md`).

use std::fmt::Write as _;

use super::model::{Calibration, Estimate, Floor};

const TEMPLATE: &str = include_str!("../../docs/accuracy.template.md");

const STUDIES: &str = include_str!("../../docs/coverage.md");
/// Headings of the studies.
const INTERVALS: &str = "## Intervals of quantiles\n";
const CAMPAIGNS: &str = "## Campaigns\n";

/// Said of a calibration without a broker.
pub const NO_KAFKA: &str =
    "the Kafka watcher; give a broker of this machine, as in `--kafka 127.0.0.1:9092`";

/// Milliseconds with their sign.
pub fn ms(ns: i64) -> String {
    let ms = ns as f64 / 1e6;
    if ms.abs() < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

/// `0.11 (0.10 to 0.12)`; an end that so few cannot bound is left open.
fn estimate(e: &Estimate) -> String {
    let end = |ns: Option<i64>| ns.map_or("open".to_owned(), ms);
    format!("{} ({} to {})", ms(e.value_ns), end(e.lower_ns), end(e.upper_ns))
}

fn word(holds: bool) -> &'static str {
    if holds { "yes" } else { "NO" }
}

/// Where, when and with what: no names of machines, no paths.
fn made(c: &Calibration) -> String {
    let m = &c.machine;
    let date = c.measured_at.get(..16).unwrap_or(&c.measured_at).replace('T', " ");
    let mut text = format!(
        "{date} UTC, dwell {}, {} build, {} {} with {} cores, load average {:.1} before and {:.1} \
         after; {} canaries, seed {}, length {}.",
        c.version,
        c.build,
        m.system,
        m.kernel,
        m.cores,
        m.load_before,
        m.load_after,
        c.canaries,
        c.seed,
        c.length
    );
    if let Some(busy) = m.busy() {
        let _ = write!(text, " Note: {busy}.");
    }
    text
}

type Rows = Vec<Vec<String>>;

fn floors(list: &[Floor], with_aim: bool) -> (Vec<&'static str>, Rows) {
    let mut head = vec!["watcher", "scenario", "n", "p50 ms", "p99 ms", "max ms", "mean ms"];
    if with_aim {
        head.extend(["aim", "met"]);
    }
    let rows = list.iter().map(|f| {
        let mut row = vec![
            f.watcher.clone(),
            f.scenario.clone(),
            f.n.to_string(),
            estimate(&f.p50),
            estimate(&f.p99),
            ms(f.max_ns),
            estimate(&f.mean),
        ];
        if with_aim {
            row.push(f.aim_ns.map_or(String::new(), |aim| format!("p99 <= {} ms", ms(aim))));
            row.push(word(f.met).to_owned());
        }
        row
    });
    (head, rows.collect())
}

fn polls(c: &Calibration) -> (Vec<&'static str>, Rows) {
    let head = vec![
        "scenario",
        "n",
        "hold the true instant",
        "width, median ms",
        "upper end minus true, p50 ms",
        "p99 ms",
        "middle minus true, mean ms",
    ];
    let row = |p: &super::model::Polled| {
        vec![
            p.scenario.clone(),
            p.n.to_string(),
            format!("{} of {}", p.held, p.n),
            ms(p.width_p50_ns),
            estimate(&p.upper_p50),
            estimate(&p.upper_p99),
            estimate(&p.middle_mean),
        ]
    };
    (head, c.polls.iter().map(row).collect())
}

fn coverage(c: &Calibration) -> (Vec<&'static str>, Rows) {
    let head = vec!["interval", "scenario", "lost", "held", "95 % limits", "aim", "met"];
    let row = |v: &super::model::Coverage| {
        vec![
            v.of.clone(),
            v.scenario.clone(),
            v.loss.map_or(String::new(), |loss| format!("{:.0} %", loss * 100.0)),
            format!("{} of {}", v.held, v.n),
            format!("{:.1} to {:.1} %", v.lower * 100.0, v.upper * 100.0),
            v.aim.clone(),
            word(v.met).to_owned(),
        ]
    };
    (head, c.coverage.iter().map(row).collect())
}

fn checks(c: &Calibration) -> (Vec<&'static str>, Rows) {
    let row = |v: &super::model::Check| {
        vec![v.about.clone(), v.planted.clone(), v.measured.clone(), word(v.holds).to_owned()]
    };
    (vec!["about", "planted", "measured", "agrees"], c.checks.iter().map(row).collect())
}

fn sections(c: &Calibration) -> [(&'static str, (Vec<&'static str>, Rows)); 5] {
    [
        ("Floor: measured minus true, with 95 % intervals", floors(&c.floors, true)),
        ("The same by scenario", floors(&c.by_scenario, false)),
        ("Polls", polls(c)),
        ("Coverage", coverage(c)),
        ("Planted and found again", checks(c)),
    ]
}

fn closing(c: &Calibration) -> String {
    let wrong = c.floors.iter().filter(|f| !f.met).count()
        + c.coverage.iter().filter(|v| !v.met).count()
        + c.checks.iter().filter(|v| !v.holds).count();
    let mut text = match c.met {
        true => "Every aim is met, and everything planted was found again.".to_owned(),
        false => format!("{wrong} lines marked NO: not every aim is met."),
    };
    if let Some(busy) = c.machine.busy() {
        let _ = write!(text, " ({busy})");
    }
    for what in &c.not_measured {
        let _ = write!(text, "\nNot measured: {what}");
    }
    text
}

/// For a terminal.
pub fn text(c: &Calibration, width: u16) -> String {
    let mut out = format!("{}\n", made(c));
    for (title, (head, rows)) in sections(c) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::TableStyle::new()).set_width(width.max(80));
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        table.set_header(head);
        for row in rows {
            table.add_row(row);
        }
        let _ = write!(out, "\n{title}\n{table}\n");
    }
    let _ = write!(out, "\n{}\n", closing(c));
    out
}

/// The page.
pub fn markdown(c: &Calibration, command: &str) -> String {
    let mut figures = String::new();
    for (title, (head, rows)) in sections(c) {
        let _ = write!(figures, "### {title}\n\n| {} |\n", head.join(" | "));
        let _ = writeln!(figures, "|{}", "---|".repeat(head.len()));
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(figures, "| {} |", cells.join(" | "));
        }
        figures.push('\n');
    }
    figures.push_str(&closing(c).replace('\n', "\n\n"));
    let study = |heading: &str| {
        let under = STUDIES.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next());
        under.unwrap_or_default().trim()
    };
    let by = format!("Made by `{command}`: {}", made(c));
    TEMPLATE
        .replace("{{made}}", &by)
        .replace("{{figures}}", figures.trim_end())
        .replace("{{intervals}}", study(INTERVALS))
        .replace("{{campaigns}}", study(CAMPAIGNS))
}
