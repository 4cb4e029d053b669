//! The happy path and what the digest rests on. Broken files: `tests/it/broken.rs`.

use dwell_injectors::token::KeyRing;

use super::*;

const GOOD: &str = r#"
[campaign]
name = "quickstart"
seed = 42
quiet_hours = ["22:00-06:00"]
[[injector]]
name = "auth-log"
type = "file"
path = "auth.log"
[[watcher]]
name = "alerts"
type = "file"
path = "alerts.json"
dialect = "wazuh4"
stage = "detected"
clock = "same-host"
[[route]]
name = "ssh-failed"
recipe = "fake-login/sshd-failed-password"
injector = "auth-log"
enters_at = "host-log"
owner = "SOC"
count = 20
cap_per_hour = 20
response = "none"
facts = { host = "web01.example.net" }
[[route.expect]]
stage = "detected"
watchers = ["alerts"]
rules = ["5710"]
deadline = "5m"
objective = { share = 0.95, confidence = 0.95, min_n = 20 }
"#;

fn load_text(text: &str) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dwell.toml");
    std::fs::write(&path, text).unwrap();
    KeyRing::generate().create(&folder.path().join("dwell.key")).unwrap();
    load(&path)
}

#[test]
fn a_whole_configuration_loads() {
    let config = load_text(GOOD).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.routes[0].expectations[0].horizon.as_secs(), 3000);
    assert_eq!(config.watchers["alerts"].max_offset, Some(std::time::Duration::ZERO));
    assert_eq!(config.campaign.quiet_hours[0].from_minute, 22 * 60);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.resolved["injectors"]["auth-log"]["path"], "auth.log");
}

#[test]
fn an_objective_that_one_run_cannot_decide_is_a_warning_that_names_it_and_no_error() {
    // As many as are injected are enough: `a_whole_configuration_loads`. One more is not.
    let second = "[[route.expect]]\nstage = \"notified\"\nname = \"told\"\nwatchers = [\"alerts\"]\n\
                  deadline = \"5m\"\n";
    let text = format!("{}{second}", GOOD.replace("min_n = 20", "min_n = 21"));
    let text = text.replace("stage = \"detected\"\nclock", "stage = \"notified\"\nclock");
    let config = load_text(&text).unwrap_or_else(|e| panic!("{e}"));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    for words in ["route `ssh-failed`", "of `detected`", "at least 21 canaries", "injects 20;"] {
        assert!(warning.contains(words), "{words}: {warning}");
    }
}

#[test]
fn a_nul_is_found_wherever_a_text_stands() {
    for (sound, nul, field) in [
        (r#"path = "auth.log""#, r#"path = "auth\u0000.log""#, "injector[0].path"),
        (r#"["5710"]"#, r#"["5710", "57\u000010"]"#, "route[0].expect[0].rules[1]"),
        ("[campaign]", "[key]\nfile = \"dwell\\u0000.key\"\n[campaign]", "key.file"),
        ("[campaign]", "[x]\nsecret = { env = \"A\\u0000\" }\n[campaign]", "x.secret.env"),
    ] {
        let told = load_text(&GOOD.replacen(sound, nul, 1)).unwrap_err().to_string();
        let blamed = told.lines().find(|line| line.contains(&format!(" {field}: ")));
        let words = blamed.unwrap_or_else(|| panic!("{field}: {told}"));
        let expected = ["holds a NUL character", "is no name of an environment variable"];
        assert!(expected.iter().any(|expected| words.contains(expected)), "{told}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let plain = load_text(GOOD).unwrap().digest;
    assert_eq!(load_text(&GOOD.replace('\n', "\r\n")).unwrap().digest, plain);
    assert_eq!(load_text(&format!("\u{feff}{GOOD}")).unwrap().digest, plain);
    assert_eq!(load_text(&format!("# a comment\n{GOOD}")).unwrap().digest, plain);
    assert_ne!(load_text(&GOOD.replace("\"5m\"", "\"6m\"")).unwrap().digest, plain);
}

#[test]
fn a_rule_period_is_kept_and_alone_changes_the_digest() {
    let plain = load_text(GOOD).unwrap();
    assert_eq!(plain.routes[0].expectations[0].rule_period, None);
    let text = GOOD.replace("deadline = \"5m\"", "deadline = \"5m\"\nrule_period = \"15m\"");
    let with = load_text(&text).unwrap();
    let period = with.routes[0].expectations[0].rule_period;
    assert_eq!(period, Some(std::time::Duration::from_secs(900)));
    assert_ne!(with.digest, plain.digest);
    let zero = load_text(&text.replace("\"15m\"", "\"0s\"")).unwrap_err();
    assert_eq!(zero.problems[0].field, "route[0].expect[0].rule_period");
}

#[test]
fn several_errors_are_found_at_once() {
    let text = GOOD
        .replace("response = \"none\"", "response = \"nobody\"\nownr = 3")
        .replace("deadline = \"5m\"", "deadline = 5");
    let errors = load_text(&text).unwrap_err();
    let fields: Vec<&str> = errors.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["route[0].response", "route[0].ownr", "route[0].expect[0].deadline"]);
}

#[test]
fn an_expired_authorisation_stops_runs_and_not_reports() {
    let text = format!(
        "[authorisation]\napproved_by = \"A\"\nreference = \"B\"\ncontact = \"C\"\n\
         valid_from = \"2020-01-01T00:00:00Z\"\nvalid_until = \"2020-02-01T00:00:00Z\"\n{GOOD}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dwell.toml");
    std::fs::write(&path, text).unwrap();
    let fields = |errors: ConfigErrors| errors.problems.into_iter().map(|p| p.field);
    let refused: Vec<String> = fields(load(&path).unwrap_err()).collect();
    assert_eq!(refused, ["key.file", "authorisation.valid_until"], "there is no key either");
    assert!(load_for_reading(&path).is_ok());
}
