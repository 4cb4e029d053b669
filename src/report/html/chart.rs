//! The curve of one expectation as an SVG picture with a logarithmic time axis.

use std::fmt::Write;

use super::safe;
use crate::report::model::{CurvePoint, ExpectationReport, Method, RouteReport};
use crate::report::words::duration;

pub(in crate::report) const LEFT: f64 = 52.0;
const WIDTH: f64 = 900.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 190.0;
/// Labels of the time axis stand at least this far apart.
const APART: f64 = 64.0;
/// Times that people count in, from a millisecond to a year, in seconds: those that must be labelled
/// first, then those that fill the gaps.
const ROUND: [&[f64]; 2] = [
    &[
        1e-3,
        1e-2,
        1e-1,
        1.0,
        10.0,
        60.0,
        600.0,
        3_600.0,
        36_000.0,
        86_400.0,
        864_000.0,
        8_640_000.0,
    ],
    &[
        2e-3,
        5e-3,
        2e-2,
        5e-2,
        0.2,
        0.5,
        2.0,
        5.0,
        20.0,
        30.0,
        120.0,
        300.0,
        1_200.0,
        1_800.0,
        7_200.0,
        18_000.0,
        172_800.0,
        432_000.0,
        1_728_000.0,
        4_320_000.0,
        31_536_000.0,
    ],
];

/// Time to horizontal position.
pub(in crate::report) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(e: &ExpectationReport) -> Axis {
        let times = || e.ttd.curve.iter().map(|p| p.time_ns);
        let first = times().min().unwrap_or(e.deadline_ns).min(e.deadline_ns).max(1_000);
        let last = e.ttd.followed_ns.max(e.deadline_ns).max(first);
        Axis::over(first, last)
    }

    /// An axis on which both times have room.
    pub(in crate::report) fn over(first: u64, last: u64) -> Axis {
        Axis { low: (first.max(1) as f64 / 2.0).ln(), high: (last.max(2) as f64 * 1.3).ln() }
    }

    pub(in crate::report) fn x(&self, ns: u64) -> f64 {
        let part = ((ns.max(1) as f64).ln() - self.low) / (self.high - self.low);
        LEFT + WIDTH * part.clamp(0.0, 1.0)
    }

    /// Times to label, none nearer to another than its label allows.
    fn ticks(&self) -> Vec<u64> {
        let mut ticks: Vec<u64> = Vec::new();
        for seconds in ROUND.into_iter().flatten() {
            let ns = (seconds * 1e9) as u64;
            let within = (self.low..=self.high).contains(&(ns as f64).ln());
            if within && ticks.iter().all(|t| (self.x(*t) - self.x(ns)).abs() >= APART) {
                ticks.push(ns);
            }
        }
        ticks
    }
}

/// Share to vertical position.
pub(in crate::report) fn y(share: f64) -> f64 {
    TOP + HEIGHT * (1.0 - share)
}

/// The lines and labels behind any curve.
pub(in crate::report) fn grid(page: &mut String, axis: &Axis) {
    let bottom = TOP + HEIGHT;
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            page,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e8ec\"/><text x=\"46\" \
             y=\"{:.1}\" font-size=\"12\" text-anchor=\"end\" fill=\"#4a545d\">{} %</text>",
            LEFT + WIDTH,
            y(share) + 4.0,
            share * 100.0,
            y = y(share)
        );
    }
    for ns in axis.ticks() {
        let _ = write!(
            page,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#eef1f4\"/><text x=\"{x:.1}\" \
             y=\"{}\" font-size=\"12\" text-anchor=\"middle\" fill=\"#4a545d\">{}</text>",
            bottom + 17.0,
            duration(ns),
            x = axis.x(ns)
        );
    }
}

/// Draws the curve, its band and the deadline.
pub(super) fn curve(page: &mut String, route: &RouteReport, e: &ExpectationReport) {
    let axis = Axis::of(e);
    let bottom = TOP + HEIGHT;
    let which =
        e.own_name().map_or_else(String::new, |name| format!(" (expectation {})", safe(name)));
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 1000 245\" width=\"1000\" role=\"img\" aria-label=\"Share of canaries of \
         route {} not yet {} over time{which}\">",
        safe(&route.name),
        safe(&e.stage)
    );
    grid(page, &axis);
    page.push_str(&band(&e.ttd.curve, e.ttd.followed_ns, &axis, "#2b6c99"));
    let mut path = format!("M{LEFT:.1},{:.1}", y(1.0));
    for point in &e.ttd.curve {
        let _ = write!(path, "H{:.1}V{:.1}", axis.x(point.time_ns), y(point.undetected));
    }
    page.push_str(&whiskers(e, &axis));
    let deadline = axis.x(e.deadline_ns);
    let _ = writeln!(
        page,
        "<path d=\"{path}H{:.1}\" fill=\"none\" stroke=\"#2b6c99\" stroke-width=\"2\"/><line \
         x1=\"{deadline:.1}\" x2=\"{deadline:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#a3271c\" \
         stroke-dasharray=\"4 3\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"12\" text-anchor=\"middle\" \
         fill=\"#a3271c\">deadline {}</text></svg>",
        axis.x(e.ttd.followed_ns),
        deadline.clamp(LEFT + 50.0, LEFT + WIDTH - 50.0),
        bottom + 35.0,
        duration(e.deadline_ns),
    );
}

/// Turnbull's estimate has no confidence band: the quantiles' intervals, each at its own height; one
/// without an upper limit runs to where anybody was followed and has no end there.
fn whiskers(e: &ExpectationReport, axis: &Axis) -> String {
    let mut bars = String::new();
    let shown = e.ttd.quantiles.iter().filter(|_| e.ttd.method == Method::Turnbull);
    for (q, value) in shown.filter_map(|q| Some((q, q.value?))) {
        let Some(lower) = value.lower.ns() else { continue };
        let (height, left) = (y(1.0 - q.p), axis.x(lower));
        let right = axis.x(value.upper.ns().unwrap_or(e.ttd.followed_ns));
        let mut path = format!("M{left:.1},{height:.1}H{right:.1}");
        let end = |x: f64| format!("M{x:.1},{:.1}v8", height - 4.0);
        path.push_str(&end(left));
        if value.upper.ns().is_some() {
            path.push_str(&end(right));
        }
        let _ = write!(bars, "<path d=\"{path}\" fill=\"none\" stroke=\"#1a1f24\"/>");
    }
    bars
}

/// The band as a filled staircase, up to where anybody was followed or where it is undefined.
pub(in crate::report) fn band(
    curve: &[CurvePoint],
    followed_ns: u64,
    axis: &Axis,
    colour: &str,
) -> String {
    let steps: Vec<(u64, f64, f64)> =
        curve.iter().filter_map(|p| Some((p.time_ns, p.lower?, p.upper?))).collect();
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return String::new() };
    let end = curve
        .iter()
        .find(|p| p.time_ns > last.0)
        .map_or(followed_ns, |undefined| undefined.time_ns);
    let mut path = format!("M{:.1},{:.1}", axis.x(first.0), y(first.2));
    for (time, _, upper) in steps.iter().skip(1) {
        let _ = write!(path, "H{:.1}V{:.1}", axis.x(*time), y(*upper));
    }
    let _ = write!(path, "H{:.1}V{:.1}", axis.x(end), y(last.1));
    for pair in steps.windows(2).rev() {
        let _ = write!(path, "H{:.1}V{:.1}", axis.x(pair[1].0), y(pair[0].1));
    }
    let _ = write!(path, "H{:.1}Z", axis.x(first.0));
    format!("<path d=\"{path}\" fill=\"{colour}\" fill-opacity=\".16\"/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_touch_and_there_are_some_on_every_scale() {
        let nanoseconds: Vec<u64> = (3..17).map(|e| 10u64.pow(e)).collect();
        for low in &nanoseconds {
            for high in nanoseconds.iter().filter(|high| *high > low) {
                let axis = Axis { low: (*low as f64 / 2.0).ln(), high: (*high as f64 * 1.3).ln() };
                let mut at: Vec<f64> = axis.ticks().into_iter().map(|ns| axis.x(ns)).collect();
                at.sort_by(f64::total_cmp);
                assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= APART), "{low} to {high}");
                assert!(*high < 10_000_000 || at.len() >= 2, "{low} to {high}: {at:?}");
            }
        }
    }
}
