//! Comparison and trend as one self-contained page, with both curves in one picture.

use std::fmt::Write;

use super::model::{Comparison, Numbers, Pair, Times};
use super::text::{confidence, estimate, mean, of_lines, overall};
use super::trend::Trend;
use crate::report::escape::html as safe;
use crate::report::html::STYLE;
use crate::report::html::chart::{Axis, LEFT, band, grid, y};
use crate::report::html::units::{Names, together};
use crate::report::model::Method;
use crate::report::words::duration;

/// Colours of A and B: told apart by the colour-blind too, and B is dashed.
const COLOURS: [&str; 2] = ["#2b6c99", "#b3541e"];

fn page(title: &str, body: &str) -> String {
    together(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"/><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    ))
}

/// Renders a comparison.
pub(super) fn render(model: &Comparison) -> String {
    let class = match model.exit() {
        crate::exit::Exit::Met => "met",
        crate::exit::Exit::Missed => "missed",
        _ => "undecided",
    };
    let sides = [&model.a, &model.b].into_iter().flat_map(|side| [&side.label, &side.campaign]);
    let pairs = model.routes.iter().flat_map(|pair| [&pair.route, &pair.expectation]);
    let names = Names::new(sides.chain(pairs).map(String::as_str));
    let mut body = format!(
        "<p class=\"small\">A: {} as of {}; B: {} as of {}</p><div class=\"verdict {class}\">",
        safe(&model.a.label),
        safe(&model.a.cut),
        safe(&model.b.label),
        safe(&model.b.cut)
    );
    for sentence in &model.verdict {
        let _ = write!(body, "<p>{}</p>", names.safe(sentence));
    }
    body.push_str("</div>\n");
    for sentence in overall(model).into_iter().chain([confidence(model)]) {
        let _ = write!(body, "<p class=\"small\">{}</p>", names.safe(&sentence));
    }
    body.push_str("<h2>Share not yet detected</h2>\n");
    for pair in &model.routes {
        let _ = writeln!(
            body,
            "<h3>{} / {}: {}</h3><p>{}</p>",
            safe(&pair.route),
            safe(&pair.expectation),
            safe(&pair.state),
            names.safe(&pair.words)
        );
        picture(&mut body, pair, &names);
    }
    body.push_str("<h2>Measured differently</h2><ul>");
    let unpaired = model.unpaired.iter().map(|one| format!("not compared: {}", one.words()));
    for text in model.warnings.iter().cloned().chain(unpaired) {
        let _ = write!(body, "<li>{}</li>", safe(&text));
    }
    if model.warnings.is_empty() && model.unpaired.is_empty() {
        body.push_str("<li>nothing that the ledgers know of</li>");
    }
    let _ = writeln!(body, "</ul><p class=\"small\">{}</p>", safe(&model.limit));
    page("Time to detect: A and B", &body)
}

fn picture(body: &mut String, pair: &Pair, names: &Names) {
    let sides = [&pair.a, &pair.b];
    let times = || sides.iter().flat_map(|s| s.curve.iter().map(|p| p.time_ns));
    let first = times().min().unwrap_or(pair.within_ns).min(pair.within_ns).max(1_000);
    let last = sides.iter().map(|s| s.followed_ns).max().unwrap_or(0).max(pair.within_ns);
    let axis = Axis::over(first, last);
    let _ = write!(
        body,
        "<svg viewBox=\"0 0 1000 245\" width=\"1000\" role=\"img\" aria-label=\"Share of canaries of route \
         {} not yet {} over time, A and B\">",
        safe(&pair.route),
        safe(&pair.stage)
    );
    grid(body, &axis);
    for (index, side) in sides.iter().enumerate().filter(|(_, s)| by_turnbull(&s.times)) {
        body.push_str(&band(&side.curve, side.followed_ns, &axis, COLOURS[index]));
    }
    for (index, side) in sides.iter().enumerate() {
        let dash = if index == 0 { "" } else { " stroke-dasharray=\"7 3\"" };
        let _ = write!(
            body,
            "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dash}/>",
            path(side, &axis),
            COLOURS[index]
        );
    }
    body.push_str("</svg>");
    for (index, name) in ["A", "B"].iter().enumerate() {
        let _ = write!(
            body,
            "<p class=\"small\"><span style=\"color:{}\">■</span> {name}{}: {} of {} detected{}{}</p>",
            COLOURS[index],
            if index == 0 { "" } else { " (dashed)" },
            sides[index].times.events,
            sides[index].times.n,
            mean(&sides[index].times).map_or(String::new(), |m| format!(
                ", mean up to {} {m}",
                duration(pair.mean_until_ns)
            )),
            estimate(&sides[index].times)
                .map_or(String::new(), |words| format!(". {}", names.safe(&words)))
        );
    }
    if sides.iter().any(|side| by_turnbull(&side.times)) {
        body.push_str(
            "<p class=\"small\">A band is what the polls leave open between the two edges of Turnbull's \
             estimate, no confidence band.</p>",
        );
    }
}

fn by_turnbull(times: &Times) -> bool {
    times.method == Method::Turnbull
}

fn path(side: &Numbers, axis: &Axis) -> String {
    let mut path = format!("M{LEFT:.1},{:.1}", y(1.0));
    for point in &side.curve {
        let _ = write!(path, "H{:.1}V{:.1}", axis.x(point.time_ns), y(point.undetected));
    }
    let _ = write!(path, "H{:.1}", axis.x(side.followed_ns));
    path
}

/// Renders a trend as a table per route.
pub(super) fn trend(model: &Trend) -> String {
    let routes = model.routes.iter().flat_map(|route| [&route.route, &route.expectation]);
    let names = Names::new([&model.label].into_iter().chain(routes).map(String::as_str));
    let mut body =
        format!("<p class=\"small\">{} as of {}</p>", safe(&model.label), safe(&model.cut));
    for route in &model.routes {
        let _ = write!(
            body,
            "<h2>{} / {}</h2><p>{}</p>{}<table><thead><tr><th>When</th><th class=\"n\">Detected</th>\
             <th class=\"n\">Mean{}</th></tr></thead><tbody>",
            safe(&route.route),
            safe(&route.expectation),
            names.safe(&route.words),
            of_lines(route)
                .map_or(String::new(), |w| format!("<p class=\"small\">{}</p>", names.safe(w))),
            match route.mean_until_ns {
                0 => String::new(),
                until => format!(" up to {}", duration(until)),
            }
        );
        for point in &route.points {
            let times = &point.times;
            let _ = write!(
                body,
                "<tr><td>{}</td><td class=\"n\">{} of {}</td><td class=\"n\">{}</td></tr>",
                safe(&point.label),
                times.events,
                times.n,
                mean(times).as_deref().map_or_else(|| "-".into(), safe)
            );
        }
        body.push_str("</tbody></table>\n");
    }
    let _ = writeln!(body, "<p class=\"small\">{}</p>", safe(&model.limit));
    page("Time to detect: trend", &body)
}
