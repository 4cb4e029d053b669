//! Comparison and trend on a terminal.

use super::model::{Comparison, Numbers, SideReport};
use super::trend::{Point, Trend};
use crate::report::escape::terminal as safe;
use crate::report::text::{Page, share};
use crate::report::words::{duration, percent};

/// Renders a comparison.
pub(super) fn render(model: &Comparison, width: u16) -> String {
    let mut page = Page { out: String::new(), width: usize::from(width.max(20)) };
    for (name, side) in [("A", &model.a), ("B", &model.b)] {
        page.line(0, &of_side(name, side));
    }
    page.line(0, &confidence(model));
    page.gap();
    model.verdict.iter().for_each(|sentence| page.line(0, &safe(sentence)));
    if let Some(words) = overall(model) {
        page.line(0, &safe(&words));
    }
    for pair in &model.routes {
        page.gap();
        let title = format!("{} / {}: {}", safe(&pair.route), safe(&pair.expectation), pair.state);
        page.line(0, &title);
        for (name, side) in [("A", &pair.a), ("B", &pair.b)] {
            page.line(2, &format!("{name}: {}", numbers(side, pair.mean_until_ns)));
        }
        page.line(2, &safe(&pair.words));
        if let Some(e) = &pair.mean_difference_ns {
            let signed = |ns: Option<f64>| match ns {
                Some(ns) if ns < 0.0 => format!("-{}", duration((-ns) as u64)),
                Some(ns) => duration(ns as u64),
                None => "not reached".to_owned(),
            };
            page.line(
                2,
                &format!(
                    "difference of restricted means B - A {} ({} to {}; block bootstrap, {} resamples of \
                     {} and {} blocks)",
                    signed(e.estimate),
                    signed(e.lower),
                    signed(e.upper),
                    pair.resamples,
                    pair.blocks.0,
                    pair.blocks.1
                ),
            );
        }
        if let Some(test) = &pair.log_rank {
            let words = format!(
                "log-rank chi-square {:.2}, p = {:.4}, Holm {:.4}",
                test.chi2, test.p, test.p_holm
            );
            page.line(2, &words);
        }
    }
    page.gap();
    for warning in &model.warnings {
        page.line(0, &format!("Measured differently: {}", safe(warning)));
    }
    for name in &model.unpaired {
        page.line(0, &format!("Not compared: {}", safe(name)));
    }
    page.line(0, &model.limit);
    page.out
}

/// How sure the intervals are.
pub(super) fn confidence(model: &Comparison) -> String {
    format!("Intervals: {} confidence", percent(model.confidence))
}

/// The test over all routes, in words; holds foreign text.
pub(super) fn overall(model: &Comparison) -> Option<String> {
    let test = model.overall.as_ref()?;
    Some(format!(
        "Log-rank over all routes, one expectation each ({}): chi-square {:.2}, p = {:.4}",
        model.overall_of.join(", "),
        test.chi2,
        test.p
    ))
}

fn of_side(name: &str, side: &SideReport) -> String {
    let runs: Vec<String> = side.runs.iter().map(u32::to_string).collect();
    let note = side.note.as_deref().map_or(String::new(), |note| format!("; {}", safe(note)));
    format!(
        "{name}: {} (campaign {}, runs {}, {} canaries, as of {}){note}",
        safe(&side.label),
        safe(&side.campaign),
        runs.join(", "),
        side.canaries,
        side.cut
    )
}

fn numbers(side: &Numbers, until: u64) -> String {
    let end = |ns: Option<u64>| ns.map_or("not reached".to_owned(), duration);
    let median = side.median.map_or("too few for a median".to_owned(), |q| {
        let interval = (end(q.lower.ns()), end(q.upper.ns()));
        format!("median {} ({} to {})", end(q.estimate.ns()), interval.0, interval.1)
    });
    format!(
        "{} of {} detected, {median}, mean up to {} {} (standard error {}), in time {}",
        side.events,
        side.n,
        duration(until),
        duration(side.mean_ns as u64),
        duration(side.mean_se_ns as u64),
        share(&side.counted)
    )
}

/// Renders a trend.
pub(super) fn trend(model: &Trend, width: u16) -> String {
    let mut page = Page { out: String::new(), width: usize::from(width.max(20)) };
    page.line(0, &format!("Trend of {} as of {}", safe(&model.label), model.cut));
    for route in &model.routes {
        page.gap();
        page.line(
            0,
            &format!(
                "{} / {}: {}",
                safe(&route.route),
                safe(&route.expectation),
                safe(&route.words)
            ),
        );
        for point in &route.points {
            page.line(2, &of_point(point, route.mean_until_ns));
        }
    }
    page.gap();
    page.line(0, &model.limit);
    page.out
}

fn of_point(point: &Point, until: u64) -> String {
    let mean = match (point.mean_ns, point.mean_se_ns) {
        (Some(mean), Some(se)) => format!(
            "mean up to {} {} (standard error {})",
            duration(until),
            duration(mean as u64),
            duration(se as u64)
        ),
        _ => "not followed long enough for a mean".to_owned(),
    };
    let in_time =
        point.in_time.as_ref().map_or(String::new(), |s| format!(", in time {}", share(s)));
    format!("{}: {} of {} detected, {mean}{in_time}", safe(&point.label), point.events, point.n)
}
