//! `dwell recipes` and `dwell rehearse` as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn dwell(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dwell")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A copy of an embedded recipe under another id, with one change.
fn own_recipe(folder: &Path, change: impl Fn(&str) -> String) {
    let source =
        stdout(&dwell(&["recipes", "show", "fake-login/sshd-failed-password", "--source"]));
    let source = source.replace("fake-login/sshd-failed-password", "own/login");
    std::fs::write(folder.join("login.toml"), change(&source)).unwrap();
    let rule = "title: Own Rule\nid: 0a1b2c3d-1111-4222-8333-444455556666\nlogsource: {product: linux}\n\
                detection:\n  selection:\n    event.outcome: failure\n  condition: selection\n";
    std::fs::write(folder.join("login.sigma.yml"), rule).unwrap();
}

#[test]
fn every_recipe_is_listed_shown_and_rendered() {
    let output = dwell(&["--json", "recipes", "list"]);
    let list: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let list = list.as_array().unwrap();
    assert!(list.len() >= 14);
    for family in ["fake-login", "decoy-credential", "account-abuse"] {
        assert!(list.iter().any(|recipe| recipe["family"] == family), "{family}");
    }
    for recipe in list {
        let id = recipe["id"].as_str().unwrap();
        let shown = dwell(&["recipes", "show", id]);
        assert!(stdout(&shown).contains(recipe["digest"].as_str().unwrap()), "{id}");
        let rendered = dwell(&["recipes", "render", id, "--golden"]);
        let lines = stdout(&rendered).lines().count() as u64;
        assert_eq!(Some(lines), recipe["events"].as_u64(), "{id}");
    }
}

#[test]
fn the_embedded_recipes_pass_lint_and_set_off_their_rules() {
    let lint = dwell(&["recipes", "lint"]);
    assert_eq!(lint.status.code(), Some(0), "{}", stdout(&lint));
    let rehearsed = dwell(&["rehearse"]);
    assert_eq!(rehearsed.status.code(), Some(0), "{}", stdout(&rehearsed));
    // Whatever their number: a new recipe is data, and changes no test.
    let said = stdout(&rehearsed);
    let counted =
        said.trim_end().rsplit('\n').next().and_then(|l| l.strip_suffix(" rules exercised"));
    let (fired, all) = counted.and_then(|l| l.split_once(" of ")).expect("a count in the end");
    assert!(fired == all && all.parse::<u32>().unwrap() >= 18, "{said}");
}

#[test]
fn a_rule_for_utc_nights_misses_the_nights_of_another_zone() {
    let night = ["rehearse", "--recipe", "fake-login/windows-4624-odd-hours"];
    let utc = dwell(&night);
    assert_eq!(utc.status.code(), Some(0), "{}", stdout(&utc));
    let sydney = dwell(&[&night[..], &["--fact", "time_zone=Australia/Sydney"]].concat());
    assert_eq!(sydney.status.code(), Some(1), "{}", stdout(&sydney));
    assert!(stdout(&sydney).contains("`@timestamp`"), "{}", stdout(&sydney));
}

#[test]
fn a_folder_of_rules_is_counted_whole() {
    let folder = tempfile::tempdir().unwrap();
    let nested = folder.path().join("linux");
    std::fs::create_dir(&nested).unwrap();
    let rule = |title: &str, outcome: &str| {
        format!(
            "title: {title}\nlogsource: {{product: linux}}\ndetection:\n  selection:\n    event.outcome: {outcome}\n  condition: selection\n"
        )
    };
    std::fs::write(nested.join("a.yml"), rule("Fires", "failure")).unwrap();
    std::fs::write(nested.join("b.yml"), rule("Stays Silent", "unknown")).unwrap();
    std::fs::write(nested.join("c.yaml"), "title: [broken").unwrap();
    std::fs::write(nested.join("notes.txt"), "no rule").unwrap();
    let path = folder.path().to_str().unwrap();
    let args = ["rehearse", "--rules", path, "--recipe", "fake-login/sshd-failed-password"];
    let output = dwell(&[&args[..], &["--explain", "stays silent"]].concat());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("fires   Fires"), "{text}");
    assert!(text.contains(r#"`event.outcome` is "failure", the rule wants"#), "{text}");
    assert!(text.contains("c.yaml"), "{text}");
    assert!(text.ends_with("1 of 3 rules exercised; 1 could not be evaluated\n"), "{text}");
    let json = dwell(&[&["--json"], &args[..]].concat());
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["rehearsal"]["exercised"], 1);
    assert_eq!(json["rehearsal"]["refused"].as_array().map(Vec::len), Some(1));
}

/// Silence means something only where a rule could have fired.
#[test]
fn rules_without_a_verdict_and_rules_about_other_logs_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |title: &str, product: &str, detection: &str| {
        format!("title: {title}\nlogsource: {{product: {product}}}\ndetection:\n{detection}")
    };
    let selection = "  s: {event.outcome: failure}\n  condition: s\n";
    let texts = [
        rule("Failure", "linux", selection),
        rule("Generic Windows", "windows", selection),
        rule(
            "Not An Admin",
            "linux",
            "  s: {event.outcome: failure}\n  f: {user.name|expand: '%Admins%'}\n  condition: s and not f\n",
        ),
        rule(
            "Old Count",
            "linux",
            "  s: {event.outcome: failure}\n  condition: s | count() by host > 5\n",
        ),
    ];
    let id = "title: Not An Admin\nid: 0a1b2c3d-1111-4222-8333-444455556666";
    let texts = texts.join("---\n").replace("title: Not An Admin", id);
    std::fs::write(folder.path().join("all.yml"), texts).unwrap();
    let path = folder.path().to_str().unwrap();
    let args = ["rehearse", "--rules", path, "--recipe", "fake-login/sshd-failed-password"];
    let output = dwell(&args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("Generic Windows"), "{text}");
    assert!(text.contains("(Not An Admin): the placeholder `%Admins%`"), "{text}");
    let old: Vec<&str> = text.lines().filter(|line| line.contains("(Old Count)")).collect();
    assert!(old.len() == 1 && old[0].contains("expected"), "in one line: {text}");
    let sum = "1 of 4 rules exercised; 1 are about other log sources; 2 could not be evaluated\n";
    assert!(text.ends_with(sum), "{text}");
    let asked = stdout(&dwell(&[&args[..], &["--explain", "generic"]].concat()));
    assert!(asked.contains("Generic Windows is about another log: product windows"), "{asked}");
    let refused =
        dwell(&[&args[..], &["--explain", "0a1b2c3d-1111-4222-8333-444455556666"]].concat());
    assert_eq!(refused.status.code(), Some(0), "{}", stderr(&refused));
    assert!(stdout(&refused).contains("(Not An Admin)"), "{}", stdout(&refused));
    let unknown = dwell(&[&args[..], &["--explain", "no such rule"]].concat());
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("--explain no such rule: no rule has this id"));
    assert_eq!(stdout(&unknown), "");
    let windows = ["rehearse", "--rules", path, "--recipe", "fake-login/windows-4625-spray"];
    assert!(stdout(&dwell(&windows)).contains("fires   Generic Windows"));
}

#[test]
fn a_correlation_of_correlations_says_that_its_window_is_too_short() {
    let folder = tempfile::tempdir().unwrap();
    let rules =
        include_str!("../../injectors/recipes/fake-login/sshd-brute-force-success.sigma.yml");
    let short = rules.replace("timespan: 5m", "timespan: 1s");
    assert_ne!(short, rules);
    std::fs::write(folder.path().join("a.yml"), short).unwrap();
    let path = folder.path().to_str().unwrap();
    let recipe = "fake-login/sshd-brute-force-success";
    let args = ["rehearse", "--rules", path, "--recipe", recipe, "--explain", "ssh"];
    let text = stdout(&dwell(&args));
    assert!(text.contains("fires   Repeated SSH Password Failures"), "{text}");
    assert!(text.contains("window: the group has 2 over 2 s, the rule looks at 1 s"), "{text}");
    assert!(!text.contains("matches 0 of") && !text.contains("order:"), "{text}");
    assert!(text.contains("matches SSH Password Failure (it feeds a correlation)"), "{text}");
}

#[test]
fn a_recipe_whose_own_rule_stays_silent_is_exit_one_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    own_recipe(folder.path(), |source| {
        source.replace(r#""event.outcome" = "failure""#, r#""event.outcome" = "failed""#)
    });
    let path = folder.path().to_str().unwrap();
    let output = dwell(&["rehearse", "--folder", path, "--recipe", "own/login"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(r#"`event.outcome` is "failed""#), "{text}");
    assert!(text.contains("0 of 1 rules exercised"), "{text}");
}

#[test]
fn a_silent_own_rule_is_not_hidden_by_a_namesake() {
    let folder = tempfile::tempdir().unwrap();
    own_recipe(folder.path(), str::to_owned);
    let file = folder.path().join("login.sigma.yml");
    let rule = std::fs::read_to_string(&file).unwrap();
    let namesake = rule.replace("0a1b", "0a1c").replace(": failure", ": unknown");
    std::fs::write(&file, format!("{rule}---\n{namesake}")).unwrap();
    let path = folder.path().to_str().unwrap();
    let output = dwell(&["rehearse", "--folder", path, "--recipe", "own/login"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("fires   Own Rule") && text.contains("silent  Own Rule"), "{text}");
}

/// It can never fire on what the recipe writes, however many others do.
#[test]
fn an_own_rule_about_another_log_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    own_recipe(folder.path(), str::to_owned);
    let path = folder.path().to_str().unwrap();
    let args = ["rehearse", "--folder", path, "--recipe", "own/login"];
    assert_eq!(dwell(&args).status.code(), Some(0));
    let file = folder.path().join("login.sigma.yml");
    let rule = std::fs::read_to_string(&file).unwrap();
    let other = rule.replace("Own Rule", "Other Rule").replace("0a1b", "0a1c");
    let other = other.replace("product: linux", "product: windows");
    std::fs::write(&file, format!("{rule}---\n{other}")).unwrap();
    let output = dwell(&args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = "Other Rule is about another log: product windows; its recipe does not write it\n";
    assert!(text.contains(told) && text.contains("fires   Own Rule"), "{text}");
    assert!(text.ends_with("1 of 2 rules exercised; 1 are about other log sources\n"), "{text}");
    let json = dwell(&[&["--json"], &args[..]].concat());
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["silent_recipes"], serde_json::json!(["own/login"]));
}

#[test]
fn a_recipe_of_the_users_own_is_linted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    own_recipe(folder.path(), |source| {
        let logless: String = source
            .lines()
            .filter(|l| !l.starts_with("logsource"))
            .map(|l| format!("{l}\n"))
            .collect();
        logless.replace("203.0.113.7", "8.8.8.8")
    });
    let lint = dwell(&["recipes", "--folder", path, "lint", "own/login"]);
    let text = stdout(&lint);
    assert_eq!(lint.status.code(), Some(2), "{text}");
    assert!(text.contains(r#"default "8.8.8.8" may belong to somebody"#), "{text}");
    assert!(text.contains("login.golden is not beside the recipe"), "{text}");
    assert!(text.contains("logsource: is missing"), "{text}");
}

#[test]
fn mistakes_are_user_errors_with_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    own_recipe(folder.path(), |source| source.replace("benign_because", "benign_becuase"));
    for (args, expected) in [
        (
            vec!["recipes", "show", "fake-login/sshd-failed-passwrod"],
            "did you mean `fake-login/sshd-failed-password`?",
        ),
        (
            vec!["recipes", "render", "fake-login/sshd-failed-password", "--fact", "hots=a"],
            "did you mean `host`?",
        ),
        (
            vec!["recipes", "render", "fake-login/sshd-failed-password", "--fact", "host"],
            "no value",
        ),
        (
            vec![
                "recipes",
                "render",
                "fake-login/windows-4624-odd-hours",
                "--at",
                "2026-11-24T12:00:00Z",
            ],
            "22:00-06:00",
        ),
        (vec!["rehearse", "--fact", "hots=a"], "did you mean `host`?"),
        (vec!["rehearse", "--rules", "/nowhere/at/all"], "check the path"),
        (vec!["rehearse", "--recipe", "no/such"], "there is no recipe"),
        (vec!["recipes", "--folder", path, "list"], "login.toml:4"),
        (vec!["recipes", "--folder", path, "list"], "did you mean `benign_because`?"),
    ] {
        let output = dwell(&args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn hostile_rule_titles_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "title: \"Bad \\e[31m\\u202e title\"\nlogsource: {product: linux}\ndetection:\n  selection:\n    event.outcome: failure\n  condition: selection\n";
    std::fs::write(folder.path().join("a.yml"), rule).unwrap();
    let path = folder.path().to_str().unwrap();
    let output =
        dwell(&["rehearse", "--rules", path, "--recipe", "fake-login/sshd-failed-password"]);
    let text = stdout(&output);
    assert!(text.contains("fires   Bad \\u{1b}[31m\\u{202e} title"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn a_configuration_brings_its_recipe_folders_and_a_broken_one_only_loses_them() {
    let folder = tempfile::tempdir().unwrap();
    let made = dwell(&["init", "--dir", folder.path().to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    own_recipe(&folder.path().join("recipes"), str::to_owned);
    let config = folder.path().join("dwell.toml");
    let list = ["-c", config.to_str().unwrap(), "recipes", "list"];
    let output = dwell(&list);
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).contains("own/login"), "{}", stdout(&output));
    std::fs::write(&config, "[recipes]\nfolders = [\"recipes\"\n").unwrap();
    let output = dwell(&list);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("has errors"), "{}", stderr(&output));
    assert!(!stdout(&output).contains("own/login"));
}
