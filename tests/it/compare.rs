//! `dwell compare` on the real binary, on ledgers whose truth is known.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::synthetic::{self, Draw, Route, Run, exponential};

pub fn dwell(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dwell")).current_dir(folder).args(args).output().unwrap()
}

/// Exit code and JSON of a verb on the ledger of a test.
pub fn asked(folder: &Path, verb: &str, args: &[&str]) -> (i32, Value) {
    let output = dwell(folder, &[&[verb, "--json", "--ledger", "made.db"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    (output.status.code().unwrap(), value)
}

pub fn compared(folder: &Path, args: &[&str]) -> (i32, Value) {
    asked(folder, "compare", args)
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A ledger with one campaign per (mean, share missed), a canary every ten minutes.
fn made(n: u32, truths: &[(&str, f64, f64)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Run> = truths
        .iter()
        .zip(0u32..)
        .map(|((name, mean, missed), k)| {
            let mut draw = Draw(u64::from(k) + 1);
            let from = f64::from(k) * f64::from(n + 10) * 600.0;
            let canaries = exponential(&mut draw, n, (from, 600.0), *mean, *missed);
            Run::new(name, vec![Route::new("ssh", canaries)])
        })
        .collect();
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &runs);
    folder
}

#[test]
fn slower_more_missed_alike_and_too_few_have_their_codes() {
    let folder = made(
        700,
        &[("old", 60.0, 0.02), ("same", 60.0, 0.02), ("slow", 120.0, 0.02), ("deaf", 60.0, 0.25)],
    );
    let state = |a: &str, b: &str| {
        let (code, model) = compared(folder.path(), &[a, b]);
        (code, model["routes"][0]["state"].as_str().unwrap().to_owned())
    };
    let (code, alike) = compared(folder.path(), &["old", "same", "--margin-ratio", "1.5"]);
    assert_eq!(code, 0, "{}", alike["routes"][0]["words"]);
    assert_eq!(state("old", "old"), (0, "no worse".into()));
    assert_eq!(state("old", "slow").0, 1);
    assert!(state("old", "slow").1.starts_with("slower"));
    assert_eq!(state("slow", "old"), (0, "no worse".into()), "faster is no worse");
    let (code, deaf) = state("old", "deaf");
    assert!(code == 1 && deaf.ends_with("more missed"), "{code} {deaf}");
    let (_, model) = compared(folder.path(), &["old", "slow"]);
    let pair = &model["routes"][0];
    let ratio = &pair["median_ratio"];
    let number = |key: &str| ratio[key].as_f64().unwrap();
    assert!(number("lower") < 2.0 && 2.0 < number("upper"), "the true ratio is 2: {ratio}");
    assert!(pair["log_rank"]["p_holm"].as_f64().unwrap() < 1e-6);
    assert_eq!(
        compared(folder.path(), &["old", "slow"]).1,
        model,
        "the same ledger, the same bytes"
    );
    // A margin above the truth: not slower beyond it.
    let wide = ["old", "slow", "--margin-ratio", "3", "--margin-share", "0.3"];
    assert_eq!(compared(folder.path(), &wide).0, 0);
    // Thirty canaries tell nothing.
    let few = made(30, &[("old", 60.0, 0.0), ("new", 70.0, 0.0)]);
    assert_eq!(compared(few.path(), &["old", "new"]).0, 4);
}

#[test]
fn a_canary_counts_once_and_every_interval_has_the_confidence_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let side = |name: &str, ingested, k: u64| {
        let canaries = exponential(&mut Draw(k), 200, (k as f64 * 200_000.0, 600.0), 60.0, 0.1);
        Run::new(name, vec![Route { ingested, ..Route::new("ssh", canaries) }])
    };
    let runs = [side("a", true, 1), side("b", true, 2)];
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &runs);
    let (_, model) = compared(folder.path(), &["a", "b"]);
    assert_eq!(model["routes"].as_array().unwrap().len(), 2);
    assert_eq!(model["overall_of"], serde_json::json!(["ssh / detected"]));
    assert_eq!(model["overall"]["chi2"], model["routes"][1]["log_rank"]["chi2"]);
    let (_, wide) = compared(folder.path(), &["a", "b", "--confidence", "0.99"]);
    for end in ["left_out", "counted"] {
        let lower = |m: &Value| m["routes"][1]["a"][end]["interval"]["lower"].as_f64().unwrap();
        assert!(lower(&wide) < lower(&model), "{end}");
    }
    assert_ne!(wide["routes"][1]["a"]["median"], model["routes"][1]["a"]["median"]);
    for option in ["--margin-ratio", "--margin-share", "--confidence"] {
        let args = ["compare", "--ledger", "made.db", "a", "--trend", "week", option, "0.9"];
        assert_eq!(dwell(folder.path(), &args).status.code(), Some(2), "{option}");
    }
}

#[test]
fn ranges_ledgers_and_filters_choose_the_canaries() {
    let folder = made(200, &[("q1", 60.0, 0.0), ("q2", 60.0, 0.0)]);
    let count = |selection: &str| {
        let (_, model) = compared(folder.path(), &[selection, "q1"]);
        model["a"]["canaries"].as_u64().unwrap()
    };
    // Ten minutes apart from the new year on: 144 in the first day.
    assert_eq!(count("q1@2026-01-01..2026-01-02"), 144);
    assert_eq!(count("q1@2026-01-02.."), 56);
    assert_eq!(count("made.db#q2"), 200);
    assert_eq!(count("q1%run=1"), 200);
    assert_eq!(count("q1%config=c0ff"), 200);
    assert_eq!(count("q1%rule=5710"), 200, "from the first to the end");
    for wrong in ["absent", "q1%run=2", "q1@x..", "q1%colour=red", "absent.db#q1"] {
        let args = ["compare", "--ledger", "made.db", wrong, "q1"];
        assert_eq!(dwell(folder.path(), &args).status.code(), Some(2), "{wrong}");
    }
    for wrong in
        [&["q1"][..], &["q1", "q2", "--margin-ratio", "0.5"], &["q1", "q2", "--trend", "week"]]
    {
        let args = [&["compare", "--ledger", "made.db"], wrong].concat();
        assert_eq!(dwell(folder.path(), &args).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_rule_that_falls_silent_keeps_its_silence() {
    let folder = tempfile::tempdir().unwrap();
    let stretch = |k: u64, n, from: f64, missed| {
        exponential(&mut Draw(k), n, (from * 600.0, 600.0), 60.0, missed)
    };
    // One route under two rules in turn; the second fires for 250 canaries and then no more.
    let run = |rule: &str, canaries| Run {
        rule: rule.into(),
        ..Run::new("c", vec![Route::new("ssh", canaries)])
    };
    let silent = [stretch(2, 250, 310.0, 0.0), stretch(3, 150, 560.0, 1.1)].concat();
    let runs = [run("v1", stretch(1, 300, 0.0, 0.0)), run("v2", silent)];
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &runs);
    let (code, model) = compared(folder.path(), &["c%rule=v1", "c%rule=v2"]);
    assert_eq!(model["a"]["canaries"], 300, "up to the first alert of v2");
    assert_eq!(model["b"]["canaries"], 400, "with its silence");
    assert!(model["a"]["note"].as_str().unwrap().contains("first alert of rule v2"));
    assert_ne!(code, 0, "{}", model["routes"][0]["words"]);
    let (_, model) = compared(folder.path(), &["c@..2026-01-02%rule=v1", "c%rule=v2"]);
    assert_eq!(model["a"]["canaries"], 144, "both ends hold");
}

#[test]
fn a_trend_of_too_few_does_not_say_that_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Run> = (0..6u32)
        .map(|k| {
            let mut draw = Draw(u64::from(k) + 11);
            let mut canaries = exponential(&mut draw, 8, (0.0, 600.0), 60.0, 0.0);
            canaries.extend(exponential(&mut draw, 8, (4_800.0, 600.0), 180.0, 0.0));
            Run::new(&format!("c{k}"), vec![Route::new("ssh", canaries)])
        })
        .collect();
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &runs);
    for k in 0..6 {
        let (code, model) = compared(folder.path(), &[&format!("c{k}"), "--trend", "day"]);
        let words = model["routes"][0]["words"].as_str().unwrap();
        assert!(
            code == 1 || code == 4,
            "three times slower is not `did not become slower`: {words}"
        );
        assert!(code == 1 || words.starts_with("cannot tell (margin 1.25): no change"), "{words}");
    }
}

#[test]
fn what_was_measured_differently_is_said_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let canaries = |k: u64, from: f64| exponential(&mut Draw(k), 100, (from, 600.0), 60.0, 0.05);
    let old = Run::new(
        "old",
        vec![Route::new("<b>ssh</b>", canaries(1, 0.0)), Route::new("gone", canaries(2, 0.0))],
    );
    let new = Run {
        arrivals: "fixed".into(),
        recipe_digest: "0ther".into(),
        poll_s: 30,
        ..Run::new(
            "new",
            vec![Route {
                deadline_s: 600,
                enters_at: "index".into(),
                ..Route::new("<b>ssh</b>", canaries(3, 70_000.0))
            }],
        )
    };
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &[old, new]);
    let (_, model) = compared(folder.path(), &["old", "new"]);
    let warnings = model["warnings"].to_string();
    for what in ["arrivals", "recipe digest", "deadline", "enters_at", "watching"] {
        assert!(warnings.contains(what), "{what}: {warnings}");
    }
    assert!(model["unpaired"].to_string().contains("gone"));
    let args =
        |format: &'static str| ["compare", "--ledger", "made.db", "old", "new", "--format", format];
    let text = out(&dwell(folder.path(), &args("text")));
    assert!(text.contains("Measured differently: arrivals differ"), "{text}");
    let junit = out(&dwell(folder.path(), &args("junit")));
    let html = out(&dwell(folder.path(), &args("html")));
    for page in [&text, &junit, &html] {
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("polled times enter with their upper ends"), "{page}");
        assert!(page.contains("of B by Turnbull"), "{page}");
    }
    assert!(junit.contains("<testcase") && junit.contains("&lt;b&gt;ssh"), "{junit}");
    let lines = html.matches("stroke-width=\"2\"").count();
    assert_eq!(lines, 2, "both curves in one picture");
    assert_eq!(html.matches("fill-opacity").count(), 1, "and what the polls of B leave open");
    assert!(!html.contains("<b>ssh") && html.contains("default-src 'none'"));
    assert_eq!(html.matches('<').count(), html.matches('>').count());
    let file = folder.path().join("page.html");
    let to_file = [&args("html")[..], &["-o", "page.html"]].concat();
    assert!(dwell(folder.path(), &to_file).stdout.is_empty());
    assert_eq!(std::fs::read_to_string(file).unwrap(), html);
}

#[test]
fn a_trend_dates_the_change_or_says_what_it_could_not_have_seen() {
    let folder = tempfile::tempdir().unwrap();
    let day = 86_400.0;
    // A canary every three hours for ten weeks; slower from 2026-02-12 (day 42) on.
    let (mut draw, mut steady) = (Draw(5), Draw(6));
    let mut canaries = exponential(&mut draw, 336, (0.0, 10_800.0), 60.0, 0.03);
    canaries.extend(exponential(&mut draw, 224, (42.0 * day, 10_800.0), 150.0, 0.03));
    let calm = exponential(&mut steady, 560, (0.0, 10_800.0), 60.0, 0.03);
    let runs = [
        Run::new("c", vec![Route::new("ssh", canaries)]),
        Run::new("calm", vec![Route::new("ssh", calm)]),
    ];
    synthetic::write(&folder.path().join("made.db"), Vec::new(), &runs);
    let (code, model) = compared(folder.path(), &["c", "--trend", "week"]);
    let route = &model["routes"][0];
    assert_eq!((code, &route["state"]), (1, &"slower".into()), "{}", route["words"]);
    let since =
        route["change"]["since_ns"].as_i64().unwrap() / 1_000_000_000 - synthetic::NEW_YEAR_S;
    assert!((since as f64 / day - 42.0).abs() <= 3.0, "{}", route["words"]);
    assert!(route["words"].as_str().unwrap().starts_with("slower since 2026-02-1"));
    assert!(route["points"].as_array().unwrap().len() >= 10);
    // What 560 canaries could have shown is a factor of about 1.4.
    let calm = |margin| {
        let args = ["calm", "--trend", "release", "--margin-ratio", margin];
        compared(folder.path(), &args)
    };
    assert_eq!(calm("1.25").0, 4, "a change beyond the margin could have been missed");
    let (code, model) = calm("1.6");
    let words = model["routes"][0]["words"].as_str().unwrap();
    assert_eq!(code, 0, "{words}");
    assert!(
        words.contains("no change found") && words.contains("could not have been seen"),
        "{words}"
    );
    let args = ["compare", "--ledger", "made.db", "c", "--trend", "week"];
    let text = out(&dwell(folder.path(), &args));
    assert!(text.contains("2025-12-29: "), "the Monday before the new year: {text}");
    let html = out(&dwell(folder.path(), &[&args[..], &["--format", "html"]].concat()));
    assert!(html.contains("slower since"));
}
