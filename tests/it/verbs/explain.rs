//! `dwell explain`.

use dwell::ledger::Stage;
use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::{ParseHints, parse, set};
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::Carrier;
use serde_json::{Value, json};

use super::ledger::{Lab, OWN, SSHD, stdout};

const BURST: &str = "fake-login/sshd-brute-force-success";

/// What an index holds of a line that was sent.
fn document(recipe: &str, line: &str) -> Value {
    let catalogue = Catalogue::embedded().unwrap();
    let recipe = &catalogue.get(recipe).unwrap().recipe;
    let now = SystemClock::new().now().wall_ns;
    parse(recipe, line, ParseHints { received_ns: now, time_zone: "UTC" }).unwrap().fields
}

fn conclusion(lab: &Lab) -> Vec<String> {
    let story = lab.json(&["explain", "1.0"]);
    serde_json::from_value(story["conclusion"].clone()).unwrap()
}

#[test]
fn an_empty_field_of_the_indexed_document_is_named() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD], 40);
    let mut indexed = document(SSHD, &sent[0][0]);
    set(&mut indexed, "event.outcome", json!(""));
    lab.sighted(0, Stage::Ingested, "doc-1", &indexed.to_string());
    let words = conclusion(&lab);
    assert_eq!(words[0], "ingested, but `event.outcome` is empty");
    assert!(words[1].contains("does not match what was indexed"), "{words:?}");
    assert!(words[1].contains("`event.outcome` is empty, the rule wants"), "{words:?}");
    assert_eq!(words.len(), 2, "{words:?}");
}

#[test]
fn a_whole_document_puts_the_blame_on_the_rule() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD], 40);
    lab.sighted(0, Stage::Ingested, "doc-1", &document(SSHD, &sent[0][0]).to_string());
    let words = conclusion(&lab);
    assert!(words[0].contains("every field of the recipe is as it was sent"), "{words:?}");
    assert!(words[1].contains("the SIEM has it switched off"), "{words:?}");
}

#[test]
fn what_the_recipe_cannot_read_any_more_is_not_said_to_be_as_it_was_sent() {
    let lab = Lab::new();
    lab.own_recipe(SSHD, str::to_owned);
    let sent = lab.run(&[OWN], 40);
    lab.sighted(0, Stage::Ingested, "doc-1", &document(SSHD, &sent[0][0]).to_string());
    assert!(conclusion(&lab)[0].contains("every field of the recipe is as it was sent"));
    lab.own_recipe(SSHD, |text| text.replace("regex = '^", "regex = '^at "));
    let words = conclusion(&lab);
    assert!(words[0].contains("cannot be read with recipe own/recipe as it is now"), "{words:?}");
    assert!(words.contains(&"the recipe has changed since this run".to_owned()), "{words:?}");
    assert!(!words.iter().any(|words| words.contains("as it was sent")), "{words:?}");
}

#[test]
fn a_burst_is_rehearsed_on_all_its_documents() {
    let whole = Lab::new();
    let sent = whole.run(&[BURST], 40);
    for (index, line) in sent[0].iter().enumerate() {
        let id = format!("doc-{index}");
        whole.sighted(0, Stage::Ingested, &id, &document(BURST, line).to_string());
    }
    let story = whole.json(&["explain", "1.0"]);
    assert_eq!(story["indexed"]["documents"], 7, "{story:#}");
    let matched = story["indexed"]["correlations"].as_array().unwrap();
    assert!(matched.iter().all(|rule| rule["matched"] == true), "{matched:#?}");

    let cut = Lab::new();
    let sent = cut.run(&[BURST], 40);
    for (index, line) in sent[0].iter().take(3).enumerate() {
        let mut indexed = document(BURST, line);
        set(&mut indexed, "user.name", json!(null));
        let id = format!("doc-{index}");
        cut.sighted(0, Stage::Ingested, &id, &indexed.to_string());
    }
    let words = conclusion(&cut).join("\n");
    for part in [
        "ingested, but `user.name` is empty (in 3 of 3 documents)",
        "only 3 of its 7 events were seen indexed",
        "\"SSH Brute Force Followed by Success\" does not match",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn the_story_is_told_in_its_order_for_any_form_of_the_token() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    lab.sighted(0, Stage::Ingested, "doc-1", "{}");
    lab.sighted(0, Stage::Detected, "alert-1", "hostile");
    let asked = lab.json(&["verify", &lab.token(0, Carrier::Text)]);
    assert_eq!(asked["recorded"], true, "{asked}");
    let mut told: Option<String> = None;
    for form in [
        "1.0".to_owned(),
        lab.token(0, Carrier::Text),
        lab.token(0, Carrier::Uuid),
        lab.token(0, Carrier::Ipv6).to_uppercase(),
    ] {
        let output = lab.dwell(&["explain", &form]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let before = told.get_or_insert_with(|| text.clone());
        assert_eq!(*before, text, "the same ledger, the same story");
    }
    let text = told.unwrap();
    let places: Vec<usize> = [
        "sent       event: written at auth.log:0",
        "ingested   seen by index",
        "detected   seen by alerts",
        "`detected` by any rule within 30 s: DETECTED, between",
        "verified   ours",
        "reached `detected`",
    ]
    .iter()
    .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")))
    .collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn where_it_stopped_before_the_index_depends_on_who_looked() {
    let lab = Lab::new();
    lab.run(&[SSHD], 40);
    let words = conclusion(&lab).join("\n");
    assert!(words.contains("how far it came nobody can say"), "no watcher is proven: {words}");
    lab.looked();
    let words = conclusion(&lab).join("\n");
    assert!(words.contains("never seen searchable by index"), "{words}");
    lab.withdrawn(0);
    assert_eq!(conclusion(&lab), ["never handed over: crash"]);
}

#[test]
fn nothing_is_concluded_before_it_is_decided_nor_told_from_beyond_a_cut() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    assert_eq!(conclusion(&lab), ["delivered, and nothing more is decided yet"]);
    lab.sighted(0, Stage::Ingested, "doc-1", "{}");
    lab.sighted(0, Stage::Detected, "alert-1", "hostile");
    let now = SystemClock::new().now();
    let before = now.plus_ns(-15_000_000_000).timestamp().to_string();
    let story = lab.json(&["explain", "1.0", "--as-of", &before]);
    for part in ["sent", "seen", "outcomes"] {
        assert_eq!(story[part], serde_json::json!([]), "{part}: {story}");
    }
    assert_eq!(story["conclusion"], serde_json::json!(["not handed over yet"]));
    // Between its submission and its first sighting.
    let between = now.plus_ns(-7_000_000_000).timestamp().to_string();
    let story = lab.json(&["explain", "1.0", "--as-of", &between]);
    assert_eq!(
        (story["sent"].as_array().unwrap().len(), &story["seen"]),
        (1, &serde_json::json!([]))
    );
}

#[test]
fn what_is_not_there_is_a_user_error() {
    let lab = Lab::new();
    let code = |args: &[&str]| {
        let output = lab.dwell(&[&["explain"], args].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let none = code(&["1.0"]);
    assert_eq!(none.0, Some(2));
    assert!(none.1.contains("there is no ledger"), "{}", none.1);
    lab.run(&[SSHD], 10);
    for (text, part) in [
        ("1.7", "is not in ledger"),
        ("root", "there is no token"),
        (&format!("{}aaaaaaaaaaaa", lab.keys.epochs()[0].prefix()), "its tag is wrong"),
    ] {
        let (exit, error) = code(&[text]);
        assert_eq!(exit, Some(2));
        assert!(error.contains(part), "{error}");
    }
    std::fs::remove_file(lab.path().join("dwell.key")).unwrap();
    assert_eq!(code(&["1.0"]).0, Some(0), "a number needs no key");
    assert_eq!(code(&[&lab.token(0, Carrier::Text)]).0, Some(2));
}
