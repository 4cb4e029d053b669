//! `dwell key`, `verify`, `scan` and `explain` as a user runs them.

mod explain;
mod ledger;
mod report;
mod scan;
mod verify;

use std::os::unix::fs::PermissionsExt;

use ledger::{Lab, stdout};

#[test]
fn a_key_is_made_shown_and_rotated_but_never_printed_or_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.key");
    let path = file.to_str().unwrap();
    let made = ledger::dwell(folder.path(), &["key", "new", "--file", path]);
    assert_eq!(made.status.code(), Some(0), "{}", stdout(&made));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let again = ledger::dwell(folder.path(), &["key", "new", "--file", path]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "an existing key is left alone");
    let rotated = ledger::dwell(folder.path(), &["key", "--file", path, "rotate"]);
    assert_eq!(rotated.status.code(), Some(0));
    let shown = ledger::dwell(folder.path(), &["--json", "key", "show", "--file", path]);
    let value: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(value["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&value["epochs"][0]["mints"], &value["epochs"][1]["mints"]),
        (&false.into(), &true.into())
    );
    for line in std::fs::read_to_string(&file).unwrap().lines().filter(|l| l.starts_with("epoch")) {
        let secret = line.rsplit(' ').next().unwrap();
        for output in [&made, &rotated, &shown] {
            assert!(!stdout(output).contains(secret), "the key itself is never printed");
        }
    }
}

#[test]
fn the_key_file_of_the_configuration_is_the_default() {
    let lab = Lab::new();
    let shown = lab.dwell(&["key", "show"]);
    assert!(stdout(&shown).contains("epoch 1  mints"), "{}", stdout(&shown));
    let missing = ledger::dwell(lab.path(), &["-c", "absent.toml", "key", "show"]);
    assert_eq!(missing.status.code(), Some(2));
}

/// What a run needs before anything else: a configuration without it is not sound.
#[test]
fn a_key_that_is_missing_or_damaged_is_a_problem_of_the_configuration() {
    let lab = Lab::new();
    let key = lab.path().join("dwell.key");
    let secret = std::fs::read_to_string(&key).unwrap();
    let refused = |words: &[&str]| {
        for verb in [&["check"][..], &["run"], &["probe", "ssh"]] {
            let output = lab.dwell(verb);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{verb:?}: {told}");
            for word in words.iter().chain(&["dwell.toml:", "key.file: ", "  next: "]) {
                assert!(told.contains(word), "{verb:?}: {word}: {told}");
            }
        }
        let problems = lab.json(&["check"])["problems"].clone();
        assert_eq!(problems[0]["field"], "key.file", "{problems}");
    };
    std::fs::remove_file(&key).unwrap();
    refused(&["there is no key file", "`dwell key new`"]);
    std::fs::write(&key, "epoch 1 zz\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&["line 1: the key is not hexadecimal", "restore it from a backup"]);
    assert_eq!(
        lab.dwell(&["report"]).status.code(),
        Some(2),
        "nothing recorded, nothing about keys"
    );
    std::fs::write(&key, secret).unwrap();
    assert_eq!(lab.dwell(&["check"]).status.code(), Some(0));
}
