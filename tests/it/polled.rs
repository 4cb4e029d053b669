//! `dwell compare` and its trend on polled campaigns whose truth is known: they say what `dwell report`
//! says, and do not take polling for the SIEM.

use std::path::Path;

use super::compare::{asked, compared, dwell, out};
use super::synthetic::{self, Draw, Route, Run, exponential, polled};

/// A campaign: canaries about every ten minutes out of step with any poll, times of that mean, polled so
/// often (0: our own clock).
fn campaign(name: &str, k: u32, n: u32, mean: f64, poll_s: u64) -> Run {
    let from = f64::from(k) * 1_000_000.0;
    let times = exponential(&mut Draw(u64::from(k) + 1), n, (from, 607.3), mean, 0.02);
    let canaries = if poll_s > 0 { polled(times, poll_s as f64) } else { times };
    Run { poll_s, ..Run::new(name, vec![Route::new("ssh", canaries)]) }
}

fn written(runs: &[Run]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write(&folder.path().join("made.db"), Vec::new(), runs);
    folder
}

#[test]
fn a_side_of_a_comparison_has_the_median_of_its_report_or_none_like_it() {
    let runs = [
        campaign("own", 0, 200, 60.0, 0),
        campaign("fine", 1, 200, 60.0, 1),
        campaign("coarse", 2, 200, 60.0, 30),
        campaign("coarser", 3, 60, 30.0, 240),
        campaign("few", 4, 4, 60.0, 30),
        campaign("short", 5, 8, 60.0, 30),
    ];
    let folder = written(&runs);
    let mut methods = std::collections::BTreeSet::new();
    for run in &runs {
        let name = run.campaign.as_str();
        let report = asked(folder.path(), "report", &["--campaign", name]).1;
        let ttd = &report["routes"][0]["expectations"][0]["ttd"];
        let (_, model) = compared(folder.path(), &[name, name]);
        for side in [&model["routes"][0]["a"], &model["routes"][0]["b"]] {
            let p50 = &ttd["quantiles"][0];
            assert_eq!(side["median"], p50["value"], "{name}");
            assert_eq!(side["median"].is_null(), name == "few", "{name}");
            assert_eq!(side["median_within"], p50["within"], "{name}");
            for key in ["n", "events", "method", "label", "curve", "followed_ns"] {
                assert_eq!(side[key], ttd[key], "{name}: {key}");
            }
        }
        methods.insert(ttd["method"].as_str().unwrap().to_owned());
    }
    assert_eq!(methods.len(), 3, "each method occurs: {methods:?}");
}

#[test]
fn how_often_was_looked_is_not_taken_for_the_siem() {
    // One truth, looked for every 10 s and every 2 min; and by our own clock.
    let runs = [
        campaign("own", 0, 400, 60.0, 0),
        campaign("often", 1, 400, 60.0, 10),
        campaign("seldom", 2, 400, 60.0, 120),
    ];
    let folder = written(&runs);
    for old in ["own", "often"] {
        let (code, model) = compared(folder.path(), &[old, "seldom"]);
        let pair = &model["routes"][0];
        let words = pair["words"].as_str().unwrap();
        assert!(pair["log_rank"]["p_holm"].as_f64().unwrap() < 0.001, "the test sees it: {words}");
        assert!(code != 1 && pair["state"] != "slower", "{words}");
        let ratio = &pair["median_ratio"];
        let end = |key: &str| ratio[key].as_f64().unwrap();
        assert!(end("lower") < 1.0 && 1.0 < end("upper") && end("upper") < 2.0, "{ratio}");
        assert!(words.contains("instead of the SIEM"), "{words}");
        assert!(model["warnings"].to_string().contains("may see the polling"), "{model}");
    }
    // The same polls on both sides: the test counts.
    let (_, alike) = compared(folder.path(), &["seldom", "seldom"]);
    assert!(alike["routes"][0]["polled_apart_ns"].is_null());
}

#[test]
fn what_is_slower_beyond_the_polls_is_slower_whatever_the_test_saw() {
    // Upper ends of A lie about where those of B do: the test alone would be silent.
    let runs = [campaign("seldom", 0, 500, 20.0, 120), campaign("often", 1, 500, 80.0, 5)];
    let folder = written(&runs);
    let (code, model) = compared(folder.path(), &["seldom", "often"]);
    let pair = &model["routes"][0];
    assert_eq!((code, pair["state"].as_str()), (1, Some("slower")), "{}", pair["words"]);
    let ratio = &pair["median_ratio"];
    let end = |key: &str| ratio[key].as_f64().unwrap();
    assert!(end("lower") < 4.0 && 4.0 < end("upper"), "the true ratio is 4: {ratio}");
    assert_eq!(end("lower"), end("lower_beside"), "one route alone");
}

#[test]
fn a_trend_of_coarse_polls_names_its_estimate_and_keeps_the_label() {
    let day = 86_400.0;
    let mut canaries = exponential(&mut Draw(5), 300, (0.0, 10_807.3), 60.0, 0.03);
    canaries.extend(exponential(&mut Draw(6), 200, (40.0 * day, 10_807.3), 240.0, 0.03));
    let route = Route::new("ssh", polled(canaries, 60.0));
    let folder = written(&[Run { poll_s: 60, ..Run::new("c", vec![route]) }]);
    let (code, model) = compared(folder.path(), &["c", "--trend", "week"]);
    let route = &model["routes"][0];
    assert_eq!((code, route["method"].as_str()), (1, Some("turnbull")), "{}", route["words"]);
    assert!(route["polled_apart_ns"].is_null(), "one way of polling: {}", route["words"]);
    for point in route["points"].as_array().unwrap() {
        assert_eq!(point["method"], "turnbull");
        assert!(point["mean_se_ns"].is_null(), "{point}");
    }
    for format in ["text", "html"] {
        let args = ["compare", "--ledger", "made.db", "c", "--trend", "week", "--format", format];
        let page = out(&dwell(folder.path(), &args)).replace("&#x27;", "'");
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("estimate, each canary taken as independent"), "{page}");
        assert!(page.contains("sought on upper ends"), "{page}");
    }
}

#[test]
fn the_schemas_that_are_printed_are_those_that_are_kept() {
    for (args, name) in [
        (&["report", "--schema"][..], "report"),
        (&["compare", "--schema"], "compare"),
        (&["compare", "--schema", "--trend", "week"], "trend"),
    ] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kept = std::fs::read_to_string(root.join(format!("configs/schema/{name}.json")));
        assert_eq!(out(&dwell(root, args)), kept.unwrap(), "{name}");
    }
}
