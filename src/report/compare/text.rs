//! Comparison and trend on a terminal.

use super::judge::{log_rank, p_words};
use super::model::{Comparison, Drawn, Numbers, Pair, Range, SideReport, Times};
use super::trend::{Point, Trend, TrendRoute};
use crate::report::escape::terminal as safe;
use crate::report::model::Method;
use crate::report::text::{Page, bound, limits, reached, share};
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
            if let Some(words) = estimate(&side.times) {
                page.line(4, &words);
            }
        }
        page.line(2, &safe(&pair.words));
        if let Some(words) = left_open(pair) {
            page.line(2, &words);
        }
        if let Some(e) = &pair.mean_difference_ns {
            page.line(
                2,
                &format!(
                    "difference of restricted means B - A {} ({} to {}; block bootstrap{}, {} resamples of \
                     {} and {} blocks)",
                    signed(e.estimate),
                    signed(e.lower),
                    signed(e.upper),
                    drawn(pair),
                    pair.resamples,
                    pair.blocks.0,
                    pair.blocks.1
                ),
            );
        }
        if let Some(test) = &pair.log_rank {
            let words = format!("log-rank{} {}", on_upper_ends(pair.upper_ends), log_rank(test));
            page.line(2, &words);
        }
    }
    page.gap();
    for warning in &model.warnings {
        page.line(0, &format!("Measured differently: {}", safe(warning)));
    }
    for name in &model.unpaired {
        page.line(0, &format!("Not compared: {}", safe(&name.words())));
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
        "Log-rank{} over all routes, one expectation each ({}): chi-square {:.2}, {}",
        on_upper_ends(model.overall_upper_ends),
        model.overall_of.join(", "),
        test.chi2,
        p_words(test.p)
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

/// What the log-rank test takes of polled times.
fn on_upper_ends(upper_ends: bool) -> &'static str {
    if upper_ends { " on the upper ends of polled times" } else { "" }
}

fn signed(ns: Option<f64>) -> String {
    match ns {
        Some(ns) if ns < 0.0 => format!("-{}", duration((-ns) as u64)),
        Some(ns) => duration(ns as u64),
        None => "not reached".to_owned(),
    }
}

/// What was resampled, where it is not simply times.
fn drawn(pair: &Pair) -> String {
    match pair.drawn {
        None | Some((Drawn::Times, Drawn::Times)) => String::new(),
        Some((a, b)) if a == b => format!(" of {}", a.name()),
        Some((a, b)) => format!(" of A's {} and B's {}", a.name(), b.name()),
    }
}

/// What the polls leave open of the effects.
fn left_open(pair: &Pair) -> Option<String> {
    let of = |range: Range, words: &dyn Fn(Option<f64>) -> String| {
        format!("{} to {}", words(range.lower), words(range.upper))
    };
    let ratio = |v: Option<f64>| v.map_or("not reached".to_owned(), |v| format!("{v:.2}"));
    let within = |effect: Option<super::model::Effect>| effect.and_then(|e| e.within);
    let parts: Vec<String> = [
        within(pair.median_ratio).map(|r| format!("ratio of medians {}", of(r, &ratio))),
        within(pair.mean_ratio).map(|r| format!("ratio of restricted means {}", of(r, &ratio))),
        within(pair.mean_difference_ns).map(|r| format!("their difference {}", of(r, &signed))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| format!("what the polls leave open: {}", parts.join("; ")))
}

/// Which estimate a side has, where it is not Kaplan-Meier on times of our own clock.
pub(super) fn estimate(times: &Times) -> Option<String> {
    (times.method != Method::KaplanMeier)
        .then(|| format!("{}; limits {}", times.label, times.limits))
}

/// The mean with its error or its limits; nothing where it is not known.
pub(super) fn mean(times: &Times) -> Option<String> {
    let time = |ns: f64| duration(ns.max(0.0).round() as u64);
    let end = |ns: Option<f64>| ns.map_or("not reached".to_owned(), time);
    let mean = time(times.mean_ns?);
    let upper = bound(times.method == Method::KaplanMeierUpperEnds);
    Some(match (times.mean_se_ns, times.mean_interval_ns, times.mean_within_ns) {
        (Some(se), _, _) => format!("{upper}{mean} (standard error {})", time(se)),
        (None, Some(limits), Some(within)) => format!(
            "{mean} ({} to {}; the polls leave {} to {})",
            end(limits.lower),
            end(limits.upper),
            end(within.lower),
            end(within.upper)
        ),
        _ => format!("{upper}{mean}"),
    })
}

fn median(times: &Times) -> String {
    let Some(q) = times.median else { return "too few for a median".to_owned() };
    let upper = bound(times.method == Method::KaplanMeierUpperEnds);
    let within = times
        .median_within
        .map_or(String::new(), |w| format!("; the polls leave {}", limits(w.lower, w.upper)));
    format!("median {upper}{}{within}", reached(&q))
}

fn numbers(side: &Numbers, until: u64) -> String {
    let times = &side.times;
    let mean =
        mean(times).map_or(String::new(), |m| format!(", mean up to {} {m}", duration(until)));
    format!(
        "{} of {} detected, {}{mean}, in time {}",
        times.events,
        times.n,
        median(times),
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
        if let Some(words) = of_lines(route) {
            page.line(2, words);
        }
        for point in &route.points {
            page.line(2, &of_point(point, route.mean_until_ns));
        }
    }
    page.gap();
    page.line(0, &model.limit);
    page.out
}

/// What a trend's numbers are, where they are not simply times.
pub(super) fn of_lines(route: &TrendRoute) -> Option<&'static str> {
    match route.method {
        Method::KaplanMeier => None,
        Method::KaplanMeierUpperEnds => Some(
            "polled times enter with their upper ends: an upper bound on the time to detect; the change is \
             sought on them",
        ),
        Method::Turnbull => Some(
            "coarsely polled times by Turnbull's estimate, each canary taken as independent; the change is \
             sought on upper ends",
        ),
    }
}

fn of_point(point: &Point, until: u64) -> String {
    let times = &point.times;
    let mean = match mean(times) {
        Some(mean) => format!("mean up to {} {mean}", duration(until)),
        None => "not enough for a mean".to_owned(),
    };
    let in_time =
        point.in_time.as_ref().map_or(String::new(), |s| format!(", in time {}", share(s)));
    format!("{}: {} of {} detected, {mean}{in_time}", safe(&point.label), times.events, times.n)
}
