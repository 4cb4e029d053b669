//! What a comparison must not say: good news out of blindness, certainty out of nothing.

use super::ledger::{Fate, Route, side};
use super::*;
use crate::dispatch::outcome::Outcome;
use crate::exit::Exit;
use crate::report::compare::{Comparison, Margins, Side, compare, render};

const MARGINS: Margins =
    Margins { ratio: 1.25, share: 0.05, confidence: 0.95, block_ns: 300_000_000_000 };

fn route(fates: &[Fate]) -> Route {
    Route { every: 400.0, ..Route::new("r", fates) }
}

/// So many canaries, of which one in `each` is seen then.
fn some(n: usize, each: usize, seconds: f64) -> Route {
    let fate = |i: usize| if i.is_multiple_of(each) { Fate::Seen(seconds) } else { Fate::Silent };
    route(&(0..n).map(fate).collect::<Vec<_>>())
}

fn both(a: Route, b: Route) -> Comparison {
    compare(&side(&[a]), &side(&[b]), &MARGINS)
}

fn pages(model: &Comparison) -> [String; 3] {
    [Format::Text, Format::Html, Format::Json].map(|format| render(model, format, 200))
}

#[test]
fn a_few_that_are_seen_much_later_are_slower_though_most_are_never_seen() {
    // A third is seen, after 1 s and after 9 s: within a mean up to 100 s that is nearly nothing.
    let found = both(some(120, 3, 1.0), some(120, 3, 9.0));
    let pair = &found.routes[0];
    assert_eq!((pair.state.as_str(), found.exit()), ("slower", Exit::Missed), "{}", pair.words);
    assert!(pair.words.contains("ratio of p25 (A's median is not reached) B / A 9.00"));
    // Hardly any is seen: no quantile is reached, and the mean knows of nothing.
    let found = both(some(400, 16, 1.0), some(400, 16, 9.0));
    let pair = &found.routes[0];
    assert!(pair.mean_ratio.unwrap().upper.unwrap() < 1.25, "{pair:?}");
    assert!(pair.quantile_ratio.is_none());
    assert_eq!((pair.state.as_str(), found.exit()), ("cannot tell", Exit::Undecided));
    assert!(pair.words.contains("longer by more than the margin"), "{}", pair.words);
    let text = render(&found, Format::Text, 200);
    assert!(!text.contains("0.0000"), "{text}");
}

#[test]
fn what_is_slow_after_the_median_is_not_no_worse() {
    let late = |seconds: f64| -> Route {
        let fate = |i: usize| Fate::Seen(if i % 5 < 3 { 2.0 } else { seconds });
        route(&(0..120).map(fate).collect::<Vec<_>>())
    };
    let found = both(late(3.0), late(9.0));
    let pair = &found.routes[0];
    assert_eq!(pair.median_ratio.unwrap().upper, Some(1.0));
    assert_eq!(found.exit(), Exit::Undecided, "{}", pair.words);
    // Within the margin it is no worse, however sure the test is that there is a difference.
    let wide = Margins { ratio: 4.0, share: 0.3, ..MARGINS };
    let found = compare(&side(&[late(3.0)]), &side(&[late(9.0)]), &wide);
    assert!(found.routes[0].log_rank.unwrap().p < 1e-4);
    assert_eq!(found.exit(), Exit::Met, "{}", found.routes[0].words);
}

#[test]
fn what_is_gone_cannot_be_told_and_what_is_new_is_skipped() {
    let named = |name: &str| Route { name: name.to_owned(), ..some(120, 1, 2.0) };
    let (two, one) = (side(&[named("here"), named("<away>")]), side(&[named("here")]));
    let gone = compare(&two, &one, &MARGINS);
    assert_eq!((gone.routes[0].state.as_str(), gone.exit()), ("no worse", Exit::Undecided));
    assert!(gone.verdict.iter().any(|s| s.contains("<away> / detected: cannot tell: gone")));
    let junit = render(&gone, Format::Junit, 80);
    assert!(
        junit.contains("errors=\"1\"") && junit.contains("classname=\"&lt;away&gt;\""),
        "{junit}"
    );
    assert!(junit.contains("gone from B"), "{junit}");
    let new = compare(&one, &two, &MARGINS);
    assert_eq!(new.exit(), Exit::Met, "{:?}", new.verdict);
    let junit = render(&new, Format::Junit, 80);
    assert!(junit.contains("<skipped") && junit.contains("errors=\"0\""), "{junit}");
}

#[test]
fn in_time_is_what_the_verdict_says_where_both_deadlines_are_alike() {
    // Seen after the deadline, but made before it by the alert's own word.
    let dated = || -> Side {
        let mut side = side(&[some(30, 1, 12.0)]);
        for canary in &mut side.assessment.routes[0].canaries {
            canary.verdicts[0].outcome = Outcome::Detected;
            canary.verdicts[0].by_created_time = true;
        }
        side
    };
    let found = compare(&dated(), &dated(), &MARGINS);
    let pair = &found.routes[0];
    let share = ReportModel::with_rows(&dated().assessment, &Beside { heads: vec![], keys: None })
        .routes[0]
        .expectations[0]
        .share;
    assert_eq!((pair.a.counted.x, pair.a.counted.n), (30, 30));
    assert_eq!((share.counted_as_failed.x, share.counted_as_failed.n), (30, 30));
    // Another deadline on a side: times are compared with the shorter one.
    let mut other = dated();
    other.assessment.routes[0].plan.expectations[0].deadline_ns += 1_000_000_000;
    assert_eq!(compare(&dated(), &other, &MARGINS).routes[0].a.counted.x, 0);
    // What was our own fault is in neither share.
    let mut fates = vec![Fate::Seen(2.0); 29];
    fates.push(Fate::RejectedByUs);
    let found = both(route(&fates), route(&fates));
    assert_eq!((found.routes[0].a.counted.x, found.routes[0].a.counted.n), (29, 29));
}

#[test]
fn nothing_seen_and_one_seen_have_no_certain_mean() {
    let silent = || route(&[Fate::Silent; 60]);
    let found = both(silent(), silent());
    let pair = &found.routes[0];
    assert_eq!((pair.a.times.mean_ns, pair.a.times.mean_se_ns), (None, None));
    assert!(pair.mean_difference_ns.is_none() && pair.mean_ratio.is_none(), "{pair:?}");
    assert_eq!(found.exit(), Exit::Undecided, "{}", pair.words);
    let found = both(some(1, 1, 2.0), silent());
    assert_eq!(found.routes[0].a.times.mean_ns, None);
    for page in pages(&both(some(1, 1, 2.0), route(&[Fate::Rejected]))) {
        assert!(!page.contains("mean up to 0 ns"), "{page}");
        assert!(!page.contains("standard error 0 ns"), "{page}");
    }
}

#[test]
fn what_is_not_reached_is_no_number() {
    let found = both(some(60, 1, 2.0), route(&[Fate::Silent; 60]));
    let ratio = found.routes[0].median_ratio.unwrap();
    assert_eq!((ratio.estimate, ratio.lower, ratio.upper), (None, None, None));
    assert!(ratio.lower_not_reached && ratio.lower_beside_not_reached);
    assert_eq!(found.routes[0].state, "slower and more missed");
    for page in pages(&found) {
        assert!(!page.contains("e+308") && !page.contains("e308"), "{page}");
        assert!(!page.contains("not reached to not reached"), "{page}");
    }
    let text = render(&found, Format::Text, 200);
    assert!(text.contains("p < 0.0001, Holm < 0.0001") && !text.contains("0.0000"), "{text}");
    let alike = both(some(60, 1, 5.0), some(60, 1, 5.0));
    let text = render(&alike, Format::Text, 200);
    assert!(text.contains("median 5 s (limits undefined)"), "{text}");
    let report = super::ledger::one(some(60, 1, 5.0));
    let text = crate::report::render(&report, Format::Text, 200);
    assert!(text.contains("5 s (limits undefined") && !text.contains("not reached to"), "{text}");
}

#[test]
fn a_smaller_share_missed_is_a_negative_difference_and_says_what_was_counted() {
    let found = both(some(60, 2, 2.0), some(60, 1, 2.0));
    let words = &found.routes[0].words;
    assert!(words.contains("B - A: -50.0 points") && !words.contains("more ("), "{words}");
    assert!(words.contains("each canary counts as one"), "{words}");
    let mut outage = vec![Fate::Seen(2.0); 60];
    outage[20..40].fill(Fate::Silent);
    let found = both(route(&outage), some(60, 1, 2.0));
    let pair = &found.routes[0];
    // One run of twenty in sixty: 20 · (2/3) / (4/3).
    assert!((pair.missed_together - 10.0).abs() < 1e-9, "{pair:?}");
    assert!(pair.words.contains("10.0 canaries count as one"), "{}", pair.words);
    assert_eq!((pair.a.together, pair.b.together), (pair.missed_together, 1.0));
}
