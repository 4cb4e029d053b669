//! What the real binary says of ledgers whose truth is known.

use std::process::Command;

use serde_json::Value;

use super::synthetic::{self, Route, Run};

/// The first expectation of a ledger with these runs.
fn reported(runs: &[Run]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    synthetic::write(&path, Vec::new(), runs);
    let output = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["report", "--json", "--ledger"])
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let model: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    model["routes"][0]["expectations"][0].clone()
}

#[test]
fn blocks_are_as_long_as_the_rules_own_period() {
    let minutes = |n: u64| n * 60_000_000_000;
    let run = |period: f64, rule_period_s| {
        let route = Route::new("r", synthetic::scheduled(400, period));
        reported(&[Run::new("c", vec![Route { rule_period_s, ..route }])])
    };
    for (period, number) in [(300.0, 130), (900.0, 44), (1_800.0, 22)] {
        let e = run(period, None);
        let blocks = &e["ttd"]["blocks"];
        assert_eq!(e["schedule"]["period_ns"], period * 1e9, "{}", e["schedule"]);
        assert_eq!(blocks["length_ns"], period * 1e9, "{blocks}");
        assert_eq!((&blocks["number"], &blocks["resamples"]), (&number.into(), &1_000.into()));
        let why = blocks["why"].as_str().unwrap();
        let expected =
            if period > 300.0 { "the schedule that the detections follow" } else { "5 min" };
        assert!(why.starts_with(expected), "{why}");
    }
    // What the configuration says counts where the detections cannot show it.
    let daily = run(900.0, Some(86_400));
    let blocks = &daily["ttd"]["blocks"];
    assert_eq!((&blocks["length_ns"], &blocks["number"]), (&minutes(24 * 60).into(), &1.into()));
    assert_eq!(blocks["why"], "the configured rule_period");
    assert!(blocks["not_computed"].as_str().unwrap().contains("fewer than 10 blocks"));
}
