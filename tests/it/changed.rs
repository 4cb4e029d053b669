//! Ledgers in which the runs of one campaign expect different things of a route, as older versions and
//! probes wrote them: no report mixes them, none fails over them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::synthetic::{self, Canary, Route, Run};

fn dwell(ledger: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(args)
        .arg("--ledger")
        .arg(ledger)
        .output()
        .unwrap()
}

fn ledger(folder: &tempfile::TempDir, runs: &[Run]) -> std::path::PathBuf {
    let path = folder.path().join("made.db");
    synthetic::write(&path, Vec::new(), runs);
    path
}

fn report(ledger: &Path) -> Value {
    let output = dwell(ledger, &["report", "--json"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
}

/// Sums of every route and expectation, and of the whole.
fn conserved(model: &Value) {
    let sum = |counts: &Value| -> u64 {
        counts.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum()
    };
    let mut planned = 0;
    let mut verdicts = 0;
    for route in model["routes"].as_array().unwrap() {
        let injected = route["injected"].as_u64().unwrap();
        planned += route["planned"].as_u64().unwrap();
        assert_eq!(
            route["planned"].as_u64().unwrap(),
            sum(&route["withdrawn"]) + route["not_yet_due"].as_u64().unwrap() + injected
        );
        for e in route["expectations"].as_array().unwrap() {
            assert_eq!(sum(&e["outcomes"]), injected, "{route:#}");
            verdicts += injected;
        }
    }
    assert_eq!(model["total"]["planned"], planned);
    assert_eq!(sum(&model["total"]["outcomes"]), verdicts);
}

fn steady(from_s: f64, n: u32, seen_s: f64) -> Vec<Canary> {
    (0..n).map(|i| (from_s + f64::from(i) * 60.0, Some(seen_s))).collect()
}

#[test]
fn a_deadline_that_was_changed_judges_its_own_canaries_alone() {
    let folder = tempfile::tempdir().unwrap();
    let route =
        |deadline_s, canaries| Route { deadline_s, share: 1.0, ..Route::new("web", canaries) };
    let ledger = ledger(
        &folder,
        &[
            Run::new("c", vec![route(9, steady(0.0, 3, 5.5))]),
            Run::new("c", vec![route(2, steady(10_000.0, 3, 1.0))]),
        ],
    );
    let model = report(&ledger);
    conserved(&model);
    let lines: Vec<Value> = model["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            let e = &r["expectations"][0];
            json!([r["name"], r["runs"], r["injected"], e["deadline_ns"], e["objective_words"]])
        })
        .collect();
    assert_eq!(
        json!(lines),
        json!([
            ["web (run 1)", [1], 3, 9_000_000_000_u64, "100 % within 9 s, at least 1 canary"],
            ["web (run 2)", [2], 3, 2_000_000_000_u64, "100 % within 2 s, at least 1 canary"]
        ])
    );
    let text = String::from_utf8(dwell(&ledger, &["report"]).stdout).unwrap();
    assert!(text.contains("What route web sends or expects was changed between runs"), "{text}");
    // A comparison by runs knows the route by its name alone, since one meaning is left on each side.
    let compared = dwell(&ledger, &["compare", "c%run=1", "c%run=2", "--format", "json"]);
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(compared["routes"][0]["route"], "web", "{compared:#}");
    assert_eq!(compared["unpaired"], json!([]));
    let whole = dwell(&ledger, &["compare", "c", "c%run=2", "--format", "json"]);
    assert_eq!(whole.status.code(), Some(2), "two meanings on one side, one on the other");
}

#[test]
fn expectations_that_come_and_go_end_no_report() {
    for first_has_both in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let route = |ingested, from_s, seen_s| Route {
            ingested,
            ..Route::new("web", [steady(from_s, 3, seen_s), vec![(from_s + 500.0, None)]].concat())
        };
        let ledger = ledger(
            &folder,
            &[
                Run::new("c", vec![route(first_has_both, 0.0, 5.0)]),
                Run::new("c", vec![route(!first_has_both, 10_000.0, 7.0)]),
            ],
        );
        for format in ["text", "json", "junit", "csv", "html", "hlog"] {
            let output = dwell(&ledger, &["report", "--format", format]);
            assert!(output.status.code() < Some(70), "{format}: {output:?}");
            assert!(!output.stdout.is_empty(), "{format}");
        }
        let model = report(&ledger);
        conserved(&model);
        assert_eq!(model["total"]["outcomes"], json!({"detected": 9, "missed": 3}));
        let csv = String::from_utf8(dwell(&ledger, &["report", "--format", "csv"]).stdout).unwrap();
        assert_eq!(csv.lines().count(), 1 + 12, "{csv}");
        for trend in ["week", "release"] {
            let output = dwell(&ledger, &["compare", "c", "--trend", trend]);
            assert!(output.status.code() < Some(70), "{output:?}");
        }
    }
}

/// A claim that stood beforehand is about one meaning, and nobody may choose which by looking.
#[test]
fn a_claim_is_refused_where_what_it_is_about_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    let route = |rules: &[&str], from_s| Route {
        rules: rules.iter().map(|&r| r.to_owned()).collect(),
        share: 0.95,
        confidence: Some(0.95),
        ..Route::new("web", steady(from_s, 60, 5.0))
    };
    let runs = [
        Run::new("c", vec![route(&["5710"], 0.0)]),
        Run::new("c", vec![route(&["5710", "5712"], 10_000.0)]),
    ];
    synthetic::write(&path, vec![synthetic::claim("c", "web", 59, 0)], &runs);
    let model = report(&path);
    for route in model["routes"].as_array().unwrap() {
        let e = &route["expectations"][0];
        assert_eq!(
            (&e["claim"]["state"], &e["objective"]),
            (&json!("refused"), &json!("undecided"))
        );
        let words = e["claim"]["words"].as_str().unwrap();
        assert!(words.contains("was changed between its runs"), "{words}");
    }
}
