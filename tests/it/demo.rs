//! The demo as a user runs it, and the shipped example of the detector's configuration.
//!
//! A demo takes most of a minute and `tests/all` runs it anyway: here it runs when `DWELL_SLOW=1`.

use std::path::Path;
use std::process::{Command, Output};

use dwell::detector::Settings;
use serde_json::Value;

fn dwell(arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::from_std(Command::new(env!("CARGO_BIN_EXE_dwell")));
    command.env_remove("DWELL_CONFIG").args(arguments);
    command.timeout(std::time::Duration::from_secs(150)).output().unwrap()
}

#[test]
fn the_shipped_detector_configuration_is_sound_and_shows_every_kind() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/detector.toml");
    let settings = Settings::load(&file).unwrap();
    assert_eq!(settings.sources.len(), 2);
    assert!(settings.rules.iter().any(|rule| rule.silent));
    assert!(settings.outlets.iter().any(|outlet| outlet.duplicates > 0.0));
    assert_eq!(settings.outages.len(), 1);
    let file = file.to_str().unwrap();
    let checked = dwell(&["detector", "--check", "-c", file]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_demo_finds_what_was_planted() {
    if std::env::var("DWELL_SLOW").as_deref() != Ok("1") {
        let why = "takes a minute; set DWELL_SLOW=1";
        return crate::skipped("the_demo_finds_what_was_planted", why);
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("demo");
    let arguments = ["demo", "--json", "--count", "20", "--dir", place.to_str().unwrap()];
    let output = dwell(&arguments);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["agree"], true, "{found}");
    let checks = found["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["agrees"] == true), "{found}");
    for planted in ["webhook", "polled", "okta-login", "errorMessage", "github-supplier"] {
        let named = |check: &Value| format!("{check}").contains(planted);
        assert!(checks.iter().any(named), "no check of {planted}: {found}");
    }
    let routes = found["routes"].as_array().unwrap();
    let silent = routes
        .iter()
        .find(|route| route["route"] == "okta-login" && route["expectation"] == "detected")
        .unwrap();
    assert_eq!(silent["outcomes"]["missed"], 20, "{silent}");
    for file in ["dwell.toml", "detector.toml", "truth.jsonl", "report.html"] {
        assert!(place.join(file).metadata().unwrap().len() > 0, "{file}");
    }
}
