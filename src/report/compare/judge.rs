//! From the numbers of a pair to its state, and both in words.
//!
//! *Slower* and *more missed* need an effect beyond the margin and a test that holds. *No worse* needs more
//! than one narrow interval: a ratio of medians does not see what happens after the median, and a restricted
//! mean of canaries most of which are never detected hardly moves when the others become much slower, and
//! neither does a log-rank test. So it is asked whether B, its times divided by the margin, is behind A anywhere
//! ([`crate::stats::lag`]). Where that holds, some of B's times are longer by more than the margin, wherever they
//! lie, and nobody says "no worse".

use super::build::Margins;
use super::effects::polls;
use super::model::{Comparison, Drawn, Effect, Numbers, Pair, Test, Unpaired};
use crate::report::model::Method;
use crate::report::words::duration;
use crate::stats::difference::{Difference, holm};
use crate::stats::lag::Lag;

/// Holm over routes, for both families of tests.
pub(super) fn adjust(pairs: &mut [Pair]) {
    let speed = holm(&pairs.iter().map(|p| p.log_rank.map_or(1.0, |t| t.p)).collect::<Vec<_>>());
    let missed = holm(&pairs.iter().map(|p| p.missed_p_holm).collect::<Vec<_>>());
    for ((pair, speed), missed) in pairs.iter_mut().zip(speed).zip(missed) {
        if let Some(test) = &mut pair.log_rank {
            test.p_holm = speed;
        }
        pair.missed_p_holm = missed;
    }
}

/// The effect by which a pair is judged, with its name.
fn decisive(pair: &Pair) -> (Option<Effect>, String) {
    let median = pair.a.times.median.and_then(|m| m.estimate.ns());
    match (median, pair.quantile_ratio) {
        (Some(_), _) => (pair.median_ratio, "ratio of medians".to_owned()),
        (None, Some(q)) => {
            let p = (q.p * 100.0).round();
            (Some(q.ratio), format!("ratio of p{p} (A's median is not reached)"))
        }
        (None, None) => {
            (pair.mean_ratio, "ratio of restricted means (A's median is not reached)".to_owned())
        }
    }
}

/// Decides, and says why.
pub(super) fn judge(pair: &mut Pair, margins: &Margins, routes: usize) {
    let level = 1.0 - margins.confidence;
    let (effect, named) = decisive(pair);
    let differs = pair.log_rank.is_some_and(|t| t.p_holm <= level);
    let lies = |limit: Option<f64>, not_reached: bool| {
        not_reached || limit.is_some_and(|l| l > margins.ratio)
    };
    let beyond = effect.is_some_and(|e| lies(e.lower, e.lower_not_reached));
    let beyond_alone = effect.is_some_and(|e| lies(e.lower_beside, e.lower_beside_not_reached));
    let lag = |routes: usize| {
        let holds = |t: &Lag| t.p * routes.max(1) as f64 <= level;
        pair.behind_beyond_margin.filter(holds)
    };
    let hidden = lag(1);
    let slower = match pair.polled_apart_ns {
        // The test may have seen how often was looked. The interval knows that, and must hold alone.
        Some(_) => beyond_alone,
        None => (differs || lag(routes).is_some()) && beyond,
    };
    let below = |e: Option<Effect>| e.and_then(|e| e.upper).is_some_and(|u| u <= margins.ratio);
    // A lower quantile says nothing of what comes after it.
    let not_slower = below(effect)
        && (pair.quantile_ratio.is_none() || below(pair.mean_ratio))
        && hidden.is_none();
    let ends = [pair.missed_left_out, pair.missed_counted];
    let more = pair.missed_p_holm <= level
        && ends.iter().all(|d| d.is_some_and(|d| d.lower > margins.share));
    let not_more = ends.iter().all(|d| d.is_some_and(|d| d.upper <= margins.share));
    pair.state = match (slower, more) {
        (true, true) => "slower and more missed",
        (true, false) => "slower",
        (false, true) => "more missed",
        (false, false) if not_slower && not_more => "no worse",
        (false, false) => "cannot tell",
    }
    .to_owned();
    let speed = match effect {
        Some(e) => format!("{named} B / A {}, margin {}", ratio(&e), margins.ratio),
        None => no_effect(pair),
    };
    let hidden = hidden.filter(|_| !slower).map_or(String::new(), |test| {
        format!(
            "; some of B's times are longer by more than the margin (with B's times divided by it, {:.0} % more \
             of A are detected at some time than of B: {})",
            test.share * 100.0,
            p_words(test.p)
        )
    });
    let words = format!("{speed}{hidden}; {}{}", missed(pair, margins), polled(pair, effect));
    pair.words = words;
}

/// Why nothing is said about a ratio.
fn no_effect(pair: &Pair) -> String {
    match &pair.not_resampled {
        Some(why) => format!(
            "{} and {} blocks of submission time of {} ({}) carry no interval: {why}",
            pair.blocks.0,
            pair.blocks.1,
            duration(pair.block_ns),
            pair.block_why,
        ),
        None => "no detection on a side: times are not compared".to_owned(),
    }
}

/// The shares in words.
fn missed(pair: &Pair, margins: &Margins) -> String {
    let within = duration(pair.within_ns);
    let points = |d: &Difference| {
        format!(
            "not within {within}, B - A: {} ({} to {}; {}), margin {}",
            in_points(d.estimate),
            in_points(d.lower),
            in_points(d.upper),
            counted(pair.missed_together),
            in_points(margins.share)
        )
    };
    pair.missed_counted.as_ref().map_or("none old enough to be judged on a side".to_owned(), points)
}

/// What shares count; a factor that rounds to one is none worth a word.
fn counted(together: f64) -> String {
    match together >= 1.05 {
        true => format!("misses come together: {together:.1} canaries count as one"),
        false => "each canary counts as one".to_owned(),
    }
}

/// A ratio with its interval; what is not reached has no number.
pub(super) fn ratio(effect: &Effect) -> String {
    let number = |v: Option<f64>| v.map_or("not reached".to_owned(), |v| format!("{v:.2}"));
    match (effect.estimate, effect.lower, effect.lower_not_reached) {
        (None, _, true) => "not reached, and neither is its lower limit".to_owned(),
        (None, None, false) => "not known: neither side reached it".to_owned(),
        (estimate, lower, true) => {
            format!("{} ({} to not reached)", number(estimate), number(lower))
        }
        (estimate, None, false) => format!("{} (without limits)", number(estimate)),
        (estimate, lower, false) => {
            format!("{} ({} to {})", number(estimate), number(lower), number(effect.upper))
        }
    }
}

/// `p = 0.0312`; what would be rounded to nothing is `p < 0.0001`.
pub(super) fn p_words(p: f64) -> String {
    format!("p {}", p_value(p))
}

/// The same without its letter.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("= {p:.4}") }
}

/// How polled times entered.
fn polled(pair: &Pair, effect: Option<Effect>) -> String {
    let name = |side: &Numbers, name| (side.times.method == Method::Turnbull).then_some(name);
    let coarse: Vec<&str> =
        [name(&pair.a, "A"), name(&pair.b, "B")].into_iter().flatten().collect();
    let mut words = match (pair.upper_ends, coarse.is_empty()) {
        (false, _) => return String::new(),
        (true, true) => "; polled times enter with their upper ends".to_owned(),
        (true, false) => format!(
            "; coarsely polled times of {} by Turnbull's estimate, which leaves ranges; in the log-rank test \
             polled times enter with their upper ends",
            coarse.join(" and ")
        ),
    };
    let ends = pair.drawn.is_some_and(|(a, b)| [a, b].contains(&Drawn::BothEnds));
    if ends {
        words.push_str(
            "; the limits are wide: they run from lower ends to upper ends of polled times, where nothing says \
             where in between the times lie, there are too many to be resampled otherwise or the other side \
             was polled otherwise",
        );
    }
    if let Some(apart) = pair.polled_apart_ns {
        let alone = match effect {
            Some(Effect { lower_beside: Some(v), .. }) => format!("{v:.2}"),
            Some(Effect { lower_beside_not_reached: true, .. }) => "not reached".to_owned(),
            _ => "not known".to_owned(),
        };
        words.push_str(&format!(
            "; {}, which that test may see instead of the SIEM: it decides nothing, the interval alone does \
             (its lower end beside all other routes is {alone})",
            polls(apart),
        ));
    }
    words
}

/// A difference of shares in percentage points.
fn in_points(share: f64) -> String {
    let points = share * 100.0;
    // No minus before a zero.
    format!("{:.1} points", if points.abs() < 0.05 { 0.0 } else { points })
}

/// The verdict in words: how many, and each that is not no worse.
pub(super) fn verdict(model: &Comparison) -> Vec<String> {
    let number = |state: &str| model.routes.iter().filter(|p| p.state == state).count();
    let gone: Vec<&Unpaired> = model.unpaired.iter().filter(|one| one.gone()).collect();
    let worse = model.routes.len() - number("no worse") - number("cannot tell");
    let mut words = vec![format!(
        "B is worse than A on {worse} of {} expectations, no worse on {}, cannot tell on {}.",
        model.routes.len() + gone.len(),
        number("no worse"),
        number("cannot tell") + gone.len()
    )];
    for pair in model.routes.iter().filter(|p| p.state != "no worse") {
        words.push(format!(
            "{} / {}: {}: {}.",
            pair.route, pair.expectation, pair.state, pair.words
        ));
    }
    for one in gone {
        words.push(format!("{} / {}: cannot tell: gone from B.", one.route, one.expectation));
    }
    words
}

/// The log-rank test of a pair, in words.
pub(super) fn log_rank(test: &Test) -> String {
    format!("chi-square {:.2}, {}, Holm {}", test.chi2, p_words(test.p), p_value(test.p_holm))
}
