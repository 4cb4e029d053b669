//! `dwell plan` on the real binary: the tables, the outlook, and claims fixed in the ledger.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::synthetic::{self, Route, Run};

fn dwell(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dwell")).current_dir(folder).args(args).output().unwrap()
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let output = dwell(folder, &[&["--json"], args].concat());
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{shown}"))
}

/// A folder with the configuration that `dwell init` writes.
fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(dwell(folder.path(), &["init"]).status.code(), Some(0));
    folder
}

#[test]
fn the_table_needs_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["plan", "--quantile", "0.95", "--within", "1h", "--misses", "0..5"];
    let shown = json(folder.path(), &args);
    let n: Vec<u64> =
        shown["claims"].as_array().unwrap().iter().map(|c| c["n"].as_u64().unwrap()).collect();
    assert_eq!(n, [59, 93, 124, 153, 181, 208]);
    let events: Vec<u64> = shown["comparison"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["detections"].as_u64().unwrap())
        .collect();
    assert_eq!(events, [945, 191, 66, 27]);
    // A ratio of 1.2 is within the margin of `compare`.
    let beyond: Vec<Option<u64>> = shown["comparison"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["canaries_each_beyond_margin"].as_u64())
        .collect();
    assert_eq!(beyond, [None, Some(983), Some(148), Some(43)]);
    let output = dwell(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("95 % within 1 h\" with 95 % confidence"), "{text}");
    assert!(text.contains("lies beyond its margin (1.25 unless told otherwise)"), "{text}");
    for wrong in [
        &["plan", "--quantile", "1.5"][..],
        &["plan", "--confidence", "0"],
        &["plan", "--misses", "5..2"],
        &["plan", "--detected", "0"],
        &["plan", "--record", "ssh"],
        &["plan", "--within", "soon"],
        &["plan", "--within", "0s"],
        &["plan", "--rule-period", "0s"],
        &["plan", "--misses", "18446744073709551615"],
        &["plan", "--power", "0.01"],
        &["plan", "--power", "0.05"],
    ] {
        assert_eq!(dwell(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
    let said = |args: &[&str]| String::from_utf8(dwell(folder.path(), args).stderr).unwrap();
    assert!(said(&["plan", "--misses", "18446744073709551615"]).contains("not computed"));
    assert!(said(&["plan", "--power", "0.01"]).contains("not above the test's level of 0.05"));
}

/// The folder that `dwell init` makes, with another objective.
fn with_objective(objective: &str) -> tempfile::TempDir {
    let folder = made();
    let file = folder.path().join("dwell.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let known = config.lines().find(|line| line.starts_with("objective = ")).unwrap();
    std::fs::write(&file, config.replace(known, &format!("objective = {objective}"))).unwrap();
    folder
}

#[test]
fn table_duration_and_record_are_of_the_same_claim() {
    let folder = with_objective("{ share = 0.9, confidence = 0.9, min_n = 20 }");
    let shown = json(folder.path(), &["plan", "--record", "--misses", "1"]);
    let claim = |of: &Value| {
        ["n", "m", "quantile", "confidence"].map(|key| of[key].as_f64().unwrap_or(f64::NAN))
    };
    let recorded = claim(&shown["recorded"][0]);
    assert_eq!(recorded, [38.0, 1.0, 0.9, 0.9]);
    assert_eq!(claim(&shown["claims"][0]), recorded, "{shown}");
    assert_eq!(claim(&shown["routes"][0]["lines"][0]), recorded, "{shown}");
    assert_eq!((&shown["quantile"], &shown["confidence"]), (&0.9.into(), &0.9.into()));
    assert_eq!(shown["claims"].as_array().unwrap().len(), 1);
    // Without a record the objective counts too, and what is asked for counts more.
    let asked = |more: &[&str]| {
        let shown = json(folder.path(), &[&["plan", "--misses", "1"], more].concat());
        (shown["claims"][0]["n"].clone(), shown["routes"][0]["lines"][0]["n"].clone())
    };
    assert_eq!(asked(&[]), (38.into(), 38.into()));
    assert_eq!(asked(&["--quantile", "0.95", "--confidence", "0.95"]), (93.into(), 93.into()));
}

#[test]
fn a_claim_that_no_report_would_judge_is_not_recorded() {
    let folder = with_objective("{ share = 0.9, confidence = 0.9, min_n = 20 }");
    for weaker in [["--quantile", "0.5"], ["--confidence", "0.8"]] {
        let refused = dwell(folder.path(), &[&["plan", "--record"], &weaker[..]].concat());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("weaker than its objective, 90 % with 90 %"), "{said}");
    }
    // Nothing is in the way of the claim that the objective asks for.
    assert_eq!(dwell(folder.path(), &["plan", "--record"]).status.code(), Some(0));
}

#[test]
fn what_takes_longer_than_is_walked_through_is_not_never() {
    let folder = made();
    let args = ["plan", "--quantile", "0.99999", "--misses", "0", "--from", "2026-01-01T00:00:00Z"];
    let shown = json(folder.path(), &args);
    let (route, line) = (&shown["routes"][0], &shown["routes"][0]["lines"][0]);
    assert_eq!((&line["takes_ns"], &line["runs"]), (&Value::Null, &Value::Null), "{line}");
    let more = line["takes_more_than_ns"].as_u64().unwrap();
    assert_eq!(more, 10_000 * route["window_ns"].as_u64().unwrap());
    let warnings = route["warnings"].to_string();
    assert!(warnings.contains("take more than 10000 runs of"), "{warnings}");
    let text = String::from_utf8(dwell(folder.path(), &args).stdout).unwrap();
    assert!(!text.contains("never"), "{text}");
}

#[test]
fn what_is_beyond_a_million_is_said_and_columns_are_explained() {
    let folder = made();
    let said = |args: &[&str]| {
        let output = dwell(folder.path(), &[&["plan"], args].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let beyond = said(&["--quantile", "0.9999999", "--misses", "0..2"]);
    // Three rows of the table, and one of the route, which has no other.
    assert!(beyond.matches("beyond a million canaries: not computed").count() >= 4, "{beyond}");
    assert!(!beyond.contains(" -  ") && !beyond.contains("withheld: slots"), "{beyond}");
    let near = json(folder.path(), &["plan", "--quantile", "0.999995", "--misses", "0..3"]);
    assert_eq!(
        (&near["routes"][0]["beyond_m"], &near["claims"][2]["n"]),
        (&2.into(), &Value::Null)
    );
    let usual = said(&["--misses", "0"]);
    assert!(usual.contains("withheld: slots of those runs that quiet hours took"), "{usual}");
    assert!(!usual.contains("beyond a million"), "{usual}");
}

#[test]
fn the_outlook_follows_caps_periods_and_suppression() {
    let folder = made();
    let config = std::fs::read_to_string(folder.path().join("dwell.toml")).unwrap();
    let parsed: toml::Value = toml::from_str(&config).unwrap();
    let name = parsed["route"][0]["name"].as_str().unwrap().to_owned();
    let args = ["plan", "--misses", "0", "--route", &name, "--from", "2026-01-01T00:00:00Z"];
    let shown = json(folder.path(), &args);
    let line = shown["routes"][0]["lines"][0].clone();
    let count = shown["routes"][0]["count"].as_u64().unwrap();
    assert_eq!(line["n"], 59);
    assert!(line["runs"].as_u64().unwrap() >= 59_u64.div_ceil(count), "{line}");
    assert!(line["takes_ns"].as_u64().unwrap() >= line["shortest_ns"].as_u64().unwrap(), "{line}");
    let more = ["--rule-period", "100w", "--suppression", "100w"];
    let shown = json(folder.path(), &[&args[..], &more].concat());
    let line = &shown["routes"][0]["lines"][0];
    assert!(line["rule_runs"].as_u64().unwrap() <= 2, "{line}");
    assert!(line["swallowed"].as_u64().unwrap() >= 57, "{line}");
    assert_eq!(shown["routes"][0]["warnings"].as_array().unwrap().len(), 2, "{shown}");
    // The same question, the same answer.
    assert_eq!(shown, json(folder.path(), &[&args[..], &more].concat()));
    let unknown = ["plan", "--route", "absent"];
    assert_eq!(dwell(folder.path(), &unknown).status.code(), Some(2));
}

#[test]
fn a_configured_rule_period_counts_unless_the_command_line_has_another() {
    const MINUTE: u64 = 60_000_000_000;
    let folder = made();
    let file = folder.path().join("dwell.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let args = ["plan", "--misses", "0", "--from", "2026-01-01T00:00:00Z"];
    let route =
        |more: &[&str]| json(folder.path(), &[&args[..], more].concat())["routes"][0].clone();
    let without = route(&[]);
    assert_eq!(
        (&without["rule_period"], &without["lines"][0]["rule_runs"]),
        (&Value::Null, &Value::Null)
    );

    let (above, expectation) = config.split_at(config.find("[[route.expect]]").unwrap());
    let stated = expectation.replacen("\nstage = ", "\nrule_period = \"15m\"\nstage = ", 1);
    let both = |period: &str| {
        format!(
            "{above}{stated}\n[[route.expect]]\nname = \"later\"\nstage = \"detected\"\n\
             watchers = [\"alerts\"]\ndeadline = \"5m\"\nrule_period = \"{period}\"\n"
        )
    };
    std::fs::write(&file, both("15m")).unwrap();
    let with = route(&[]);
    let period = &with["rule_period"];
    assert_eq!(period["from"], "rule_period of the expectation detected", "{with}");
    assert_eq!(period["ns"], 15 * MINUTE);
    let slot = with["window_ns"].as_u64().unwrap() / with["count"].as_u64().unwrap();
    assert_eq!(period["slot_ns"], slot);
    assert_eq!(period["canaries_each"], (15 * MINUTE) as f64 / slot as f64);
    // What the option says of the same period, the configuration says too.
    let asked = route(&["--rule-period", "15m"]);
    assert_eq!(asked["rule_period"]["from"], "--rule-period");
    assert_eq!((&with["lines"], &with["warnings"]), (&asked["lines"], &asked["warnings"]));
    assert!(with["warnings"].to_string().contains("distinct runs of a 15 min rule"), "{with}");
    assert_eq!(route(&["--rule-period", "2m"])["rule_period"]["ns"], 2 * MINUTE);
    let text = String::from_utf8(dwell(folder.path(), &args).stdout).unwrap();
    let said =
        "  the rule runs every 15 min (rule_period of the expectation detected): one canary in ";
    assert!(text.contains(said), "{text}");

    std::fs::write(&file, both("2h")).unwrap();
    let longest = route(&[]);
    let from = "rule_period of the expectation later, the longest of this route";
    assert_eq!(
        (&longest["rule_period"]["ns"], &longest["rule_period"]["from"]),
        (&(120 * MINUTE).into(), &from.into())
    );
    assert!(
        longest["warnings"].to_string().contains("fewer than 10 of them carry no interval"),
        "{longest}"
    );
}

#[test]
fn what_a_claim_will_count_is_said_before_the_campaign() {
    let folder = made();
    let said = |args: &[&str]| {
        String::from_utf8(dwell(folder.path(), &[&["plan"], args].concat()).stdout).unwrap()
    };
    let unknown = said(&[]);
    let words = "batches of 5 min, and a claim counts those while nothing is known of how often";
    assert!(unknown.contains(words), "{unknown}");
    let known = said(&["--rule-period", "1s"]);
    assert!(!known.contains("a claim counts"), "{known}");
    let rare = said(&["--rule-period", "30m"]);
    assert!(rare.contains("and a claim counts no more"), "{rare}");
}

#[test]
fn a_claim_is_fixed_before_the_campaign_and_never_after() {
    let folder = made();
    let shown = json(folder.path(), &["plan", "--record", "--misses", "1"]);
    let recorded = &shown["recorded"][0];
    assert_eq!((&recorded["m"], recorded["n"].as_u64()), (&1.into(), Some(93)), "{recorded}");
    let verified = dwell(folder.path(), &["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "the chain holds with the new row");
    let status = json(folder.path(), &["ledger", "show"]);
    assert!(status.to_string().contains("\"claim\":"), "{status}");

    // A campaign of that name that has begun.
    let campaign = recorded["campaign"].as_str().unwrap();
    let route = recorded["route"].as_str().unwrap();
    let other = made();
    let keys = dwell_injectors::token::KeyRing::load(&other.path().join("dwell.key")).unwrap();
    let config = std::fs::read_to_string(other.path().join("dwell.toml")).unwrap();
    let parsed: toml::Value = toml::from_str(&config).unwrap();
    let path = other.path().join(parsed["ledger"]["path"].as_str().unwrap());
    let run = Run::new(campaign, vec![Route::new(route, vec![(0.0, Some(1.0))])]);
    synthetic::write_with(&keys.chain_key(), &path, Vec::new(), &[run]);
    let refused = dwell(other.path(), &["plan", "--record"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("after the fact"), "{said}");
}

#[test]
fn the_report_judges_the_claim_that_was_fixed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    let canaries = |missed: u32| -> Vec<synthetic::Canary> {
        (0..100).map(|i| (f64::from(i) * 60.0, (i >= missed).then_some(2.0))).collect()
    };
    // One canary a minute, and a rule that runs as often: each is a look of its own.
    let route = |missed| Route {
        confidence: Some(0.95),
        share: 0.95,
        rule_period_s: Some(60),
        ..Route::new("r", canaries(missed))
    };
    let row = synthetic::claim("c", "r", 93, 1);
    let report = |file: &Path| {
        let ledger = file.to_str().unwrap();
        let output = dwell(folder.path(), &["report", "--json", "--ledger", ledger]);
        let model: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), model["routes"][0]["expectations"][0].clone())
    };
    synthetic::write(&path, vec![row.clone()], &[Run::new("c", vec![route(1)])]);
    let (code, e) = report(&path);
    assert_eq!((code, e["claim"]["state"].as_str()), (Some(0), Some("carried")), "{e}");
    let second = folder.path().join("second.db");
    synthetic::write(&second, vec![row], &[Run::new("c", vec![route(2)])]);
    let (code, e) = report(&second);
    assert_eq!((code, e["claim"]["state"].as_str()), (Some(4), Some("not carried")), "{e}");
    // Two runs of one campaign, nothing recorded: whatever they show, no claim.
    let third = folder.path().join("third.db");
    let later = Route {
        canaries: canaries(0).into_iter().map(|(t, s)| (t + 20_000.0, s)).collect(),
        ..route(0)
    };
    synthetic::write(
        &third,
        Vec::new(),
        &[Run::new("c", vec![route(0)]), Run::new("c", vec![later])],
    );
    let (code, e) = report(&third);
    assert_eq!((code, e["claim"]["state"].as_str()), (Some(4), Some("refused")), "{e}");
}
