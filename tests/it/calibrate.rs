//! `dwell calibrate` as a user runs it. About 20 s. Nothing here asks for speed: a busy machine may
//! miss an aim (exit code 1), but never lose a sighting, a planted fault or its honesty.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_quick_calibration_finds_what_was_planted_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("calibration.json");
    let mut command = assert_cmd::Command::from_std(Command::new(env!("CARGO_BIN_EXE_dwell")));
    command.env_remove("DWELL_CONFIG").timeout(std::time::Duration::from_secs(150));
    command.args(["calibrate", "--quick", "--json", "--output"]).arg(&kept);
    let output = command.output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {talk}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stored: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(found, stored);
    assert_eq!(found["format"], "dwell-calibration/1");
    assert_eq!(found["met"], code == Some(0));
    assert_eq!(found["canaries"], 480);
    for check in found["checks"].as_array().unwrap() {
        assert_eq!(check["holds"], true, "{check}");
    }
    for covered in found["coverage"].as_array().unwrap() {
        let polled = covered["of"] == "polled interval, true instant";
        assert!(!polled || covered["met"] == true, "{covered}");
    }
    for kind in ["webhook", "file"] {
        let floor = found["floors"].as_array().unwrap().iter().find(|f| f["watcher"] == kind);
        let floor = floor.unwrap();
        assert!(floor["n"].as_u64().unwrap() > 100, "{floor}");
        assert!(floor["least_ns"].as_i64().unwrap() >= 0, "seen before it happened: {floor}");
    }
    // Without a broker one line says that there was none, and nothing else.
    let left_out = found["not_measured"].as_array().unwrap();
    assert_eq!(left_out.len(), 1);
    assert!(left_out[0].as_str().unwrap().contains("--kafka 127.0.0.1:9092"), "{left_out:?}");
    let text = found.to_string();
    assert_eq!(text.to_lowercase().matches("kafka").count(), 2, "{text}");
    assert!(!text.contains(folder.path().to_str().unwrap()), "a path: {text}");
}

/// Exit code, words and whether a calibration was stored.
fn with_kafka(brokers: &str) -> (Option<i32>, String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("calibration.json");
    let mut command = assert_cmd::Command::from_std(Command::new(env!("CARGO_BIN_EXE_dwell")));
    command.env_remove("DWELL_CONFIG").timeout(std::time::Duration::from_secs(60));
    command.args(["calibrate", "--quick", "--kafka", brokers, "--output"]).arg(&kept);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said, kept.exists())
}

#[test]
fn brokers_elsewhere_are_refused_and_those_that_do_not_answer_are_named() {
    let (code, said, kept) = with_kafka("127.0.0.1:9092,192.0.2.7:9092");
    assert_eq!((code, kept), (Some(2), false), "{said}");
    assert!(said.contains("192.0.2.7:9092") && said.contains("[authorisation]"), "{said}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said, kept) = with_kafka(&closed.to_string());
    assert_eq!((code, kept), (Some(3), false), "{said}");
    assert!(said.contains(&format!("cannot reach Kafka at {closed}")), "{said}");
}

#[test]
fn the_schema_and_the_page_are_current() {
    let file = root().join("configs/schema/calibration.json");
    let now = format!("{:#}\n", dwell::calibration::schema());
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == now,
        "stale: cargo run -- calibrate --schema > configs/schema/calibration.json"
    );
    let template = std::fs::read_to_string(root().join("docs/accuracy.template.md")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/accuracy.md")).unwrap();
    let mut frame = vec![template.as_str()];
    for hole in ["{{made}}", "{{figures}}", "{{intervals}}", "{{campaigns}}"] {
        assert!(template.contains(hole), "the template has no hole {hole}");
        frame = frame.into_iter().flat_map(|part| part.split(hole)).collect();
    }
    let studies = std::fs::read_to_string(root().join("docs/coverage.md")).unwrap();
    let study = |heading: &str| {
        studies.split(heading).nth(1).unwrap().split("\n## ").next().unwrap().to_owned()
    };
    let studies = ["## Intervals of quantiles\n", "## Campaigns\n"].map(study);
    for part in frame.into_iter().chain(studies.iter().map(String::as_str)) {
        assert!(
            page.contains(part.trim()),
            "docs/accuracy.md is not made from its template: {part}"
        );
    }
    // A page that an older program made has not this row.
    let row = "| 95 % intervals of quantiles, one a batch | all |";
    assert!(page.contains(row), "docs/accuracy.md is older than the program: make it anew");
}
