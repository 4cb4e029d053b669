//! `dwell verify`.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use dwell::ledger::{Reader, Row};
use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::{ParseHints, parse, set};
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::Carrier;
use serde_json::{Value, json};

use super::ledger::{Lab, OWN, SSHD, stdout};

fn code(lab: &Lab, args: &[&str]) -> (i32, String) {
    let output = lab.dwell(&[&["verify"], args].concat());
    (output.status.code().unwrap(), stdout(&output))
}

fn recorded(lab: &Lab) -> Vec<String> {
    let mut answers = Vec::new();
    let reader = Reader::open(&lab.path().join("dwell.db")).unwrap();
    reader
        .rows(|_, row| {
            if let Row::Verify(row) = row {
                answers.push(row.answer);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    answers
}

#[test]
fn every_answer_has_its_code_and_is_recorded() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    lab.withdrawn(1);
    let ours = lab.token(0, Carrier::Text);
    let mut forged = ours.clone();
    let last = if forged.ends_with('a') { "b" } else { "a" };
    forged.replace_range(15.., last);
    let unknown = lab.token(77, Carrier::Text);
    let cases = [
        (ours.to_uppercase(), 0, "ours"),
        (lab.token(0, Carrier::Ipv6), 0, "ours"),
        (format!("user={ours} from 203.0.113.7"), 0, "ours"),
        (unknown.clone(), 12, "unknown"),
        (lab.token(1, Carrier::Text), 12, "unknown"),
        (forged.clone(), 13, "forged"),
        ("root".to_owned(), 14, "none"),
        (format!("{ours} {forged}"), 13, "forged"),
        (format!("{ours} {unknown}"), 12, "unknown"),
    ];
    for (text, expected, answer) in &cases {
        let (exit, shown) = code(&lab, &[text]);
        assert_eq!(exit, *expected, "{text}: {shown}");
        assert_eq!(shown.starts_with("not ours"), *expected != 0, "{shown}");
        assert_eq!(lab.json(&["verify", text])["answer"], *answer);
    }
    let answers = recorded(&lab);
    assert_eq!(answers.iter().filter(|a| *a == "none").count(), 2, "{answers:?}");
    assert_eq!(answers.len(), 2 * (cases.len() + 2), "one row for each answer and canary");
    let shown = code(&lab, &[&ours]).1;
    for word in ["first, run 1", SSHD, "SOC", "Head of Security", "+41 00", "--event"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn a_canary_whose_horizon_has_passed_is_expired() {
    let lab = Lab::new();
    // Not further back than a machine that began to build this may be up.
    lab.run(&[SSHD], 201);
    assert_eq!(code(&lab, &[&lab.token(0, Carrier::Text)]).0, 11);
}

#[test]
fn an_event_is_ours_only_if_it_is_what_was_sent() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD, "decoy-credential/cloudtrail-planted-key"], 10);
    let event = |content: &str| event_code(&lab, content);
    let line = &sent[0][0];
    assert_eq!(event(line).0, 0);
    assert_eq!(event(&format!("{line}\n")).0, 0);
    assert_eq!(event(&format!("<38>{line}")).0, 0, "behind a relay's header");
    let wrapped = json!({"_index": "logs", "_source": {"message": line}});
    assert_eq!(event(&wrapped.to_string()).0, 0);

    // The parsed document alone, then one with another address: somebody reused the token.
    let catalogue = Catalogue::embedded().unwrap();
    let recipe = &catalogue.get(SSHD).unwrap().recipe;
    let now = SystemClock::new().now().wall_ns;
    let hints = ParseHints { received_ns: now, time_zone: "UTC" };
    let mut document = parse(recipe, line, hints).unwrap().fields;
    set(&mut document, "message", Value::Null);
    let (exit, shown) = event(&json!({"_source": document}).to_string());
    assert_eq!(exit, 0, "{shown}");
    set(&mut document, "source.ip", json!("192.0.2.66"));
    let (exit, shown) = event(&document.to_string());
    assert_eq!(exit, 10, "{shown}");
    assert!(shown.starts_with("not ours"), "{shown}");
    assert!(shown.contains("`source.ip` is \"192.0.2.66\""), "{shown}");

    let json_event = &sent[1][0];
    assert_eq!(event(json_event).0, 0);
    let other: String = json_event.replace("GetCallerIdentity", "CreateUser");
    assert_ne!(&other, json_event);
    let (exit, shown) = event(&other);
    assert_eq!(exit, 10, "{shown}");
    assert!(shown.contains("CreateUser"), "{shown}");

    // The attacker's own line beside ours.
    assert_eq!(event(&format!("{line}\nAccepted password for root\n")).0, 14);
    assert_eq!(event("").0, 14);
}

/// Whoever reads logs can copy a whole line of ours, not only its token.
#[test]
fn a_line_of_ours_inside_an_event_of_somebody_else_is_not_ours() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD, "decoy-credential/github-token-use"], 10);
    let line = &sent[0][0];
    let event = |content: &str| event_code(&lab, content);
    let login = json!({"action": "logged-in", "outcome": "success"});
    let foreign = [
        format!("sudo: mallory : USER=root ; COMMAND=/bin/cp /etc/shadow /tmp/x # {line}"),
        format!("Nov 24 10:00:00 db01 sudo: mallory : COMMAND=/bin/cp /etc/shadow /tmp/x # {line}"),
        format!("Nov 24 10:00:00 db01 sudo: {line}"),
        format!("{line}; and more"),
        json!({"event": login, "user": {"name": "root"}, "source": {"ip": "45.9.1.2"},
            "user_agent": line})
        .to_string(),
        // In the right place, beside fields of another event.
        json!({"event": login, "user": {"name": "root"}, "message": line}).to_string(),
        json!({"_source": {"message": line}, "user": {"name": "root"}}).to_string(),
        json!({"message": line, "process": {"name": "sudo"}}).to_string(),
        json!({"MESSAGE": line, "SYSLOG_IDENTIFIER": "sudo"}).to_string(),
        json!({"process": {"command_line": line}}).to_string(),
        json!({"http": {"request": {"body": {"content": line}}}}).to_string(),
        // The planted credential, used from elsewhere.
        sent[1][0].replace("203.0.113.7", "45.9.1.2"),
    ];
    for record in &foreign {
        let (exit, shown) = event(record);
        assert_eq!(exit, 10, "{record}: {shown}");
        assert!(shown.contains("differs "), "{record}: {shown}");
    }
}

#[test]
fn what_pipelines_make_of_a_canary_is_still_ours() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD, "decoy-credential/github-token-use"], 10);
    let (line, object) = (&sent[0][0], &sent[1][0]);
    let (head, message) = line.split_once("]: ").unwrap();
    let pid = head.rsplit('[').next().unwrap();
    let hit = json!({"_index": "logs", "_id": "1", "_source": {"message": line}});
    let mut timed: Value = serde_json::from_str(object).unwrap();
    set(&mut timed, "@timestamp", json!("2026-11-24T10:00:00.123Z"));
    set(&mut timed, "agent", json!({"name": "shipper"}));
    let ours = [
        // rsyslog: as it came, behind a relay's header, framed anew, in its file formats.
        format!("<86>{line}"),
        format!("Nov 24 10:00:01 relay01 {line}"),
        format!("<86>1 2026-11-24T10:00:00.1Z web01.example.net sshd {pid} - - {message}"),
        format!("2026-11-24T10:00:00.123456+00:00 web01 sshd[{pid}]: {message}"),
        // Documents: OpenSearch, Elastic, Wazuh, Splunk, Docker, journald.
        hit.to_string(),
        json!({"took": 1, "hits": {"total": {"value": 1}, "hits": [hit]}}).to_string(),
        json!({"@timestamp": "2026-11-24T10:00:00Z", "host": {"name": "shipper"},
            "event": {"original": line, "category": ["authentication", "session"],
                "outcome": "failure"}, "process": {"name": "sshd"},
            "source": {"ip": "203.0.113.7"}})
        .to_string(),
        json!({"rule": {"id": "5710"}, "full_log": line, "data": {"srcip": "203.0.113.7"}})
            .to_string(),
        json!({"result": {"_raw": line, "source": "/var/log/auth.log"}}).to_string(),
        json!({"log": format!("{line}\n"), "stream": "stdout"}).to_string(),
        json!({"MESSAGE": message, "SYSLOG_IDENTIFIER": "sshd", "_PID": pid}).to_string(),
        // A JSON event: as it is, with what a shipper adds, and inside a text.
        object.clone(),
        timed.to_string(),
        json!({"message": object, "host": "shipper"}).to_string(),
        json!({"event": {"original": timed.to_string()}}).to_string(),
    ];
    for record in &ours {
        let (exit, shown) = event_code(&lab, record);
        assert_eq!(exit, 0, "{record}: {shown}");
    }
    let alone = json!({"MESSAGE": message});
    assert_eq!(event_code(&lab, &alone.to_string()).0, 10, "nobody says whose message it is");
}

/// Readers differ about which of two equal keys counts, and what was sent empty was filled by nobody of ours.
#[test]
fn keys_that_stand_twice_and_emptiness_that_was_filled_are_not_what_was_sent() {
    let lab = Lab::new();
    let sent = lab.run(&["decoy-credential/cloudtrail-planted-key", SSHD], 10);
    let (object, line) = (&sent[0][0], &sent[1][0]);
    let filled = r#""requestParameters":{"userName":"mallory"}"#;
    let with = |old: &str, new: &str| {
        let other = object.replacen(old, new, 1);
        assert_ne!(&other, object, "{old}");
        other
    };
    let doubled = with("{", r#"{"eventName":"CreateUser","#);
    let deep = with(r#""userIdentity":{"#, r#""userIdentity":{"type":"Root","#);
    let foreign = [
        (doubled.clone(), "`eventName` stands twice"),
        (deep, "`type` stands twice"),
        (json!({ "message": doubled }).to_string(), "`eventName` stands twice"),
        (format!("[{doubled},{object}]"), "`eventName` stands twice"),
        (format!("[{doubled}]"), "`eventName` stands twice"),
        (
            format!("{{\"user\":{{\"name\":\"root\"}},\"user\":{{}},\"message\":{}}}", json!(line)),
            "`user` stands twice",
        ),
        (with(r#""requestParameters":null"#, filled), "and was sent empty"),
        (with(r#""responseElements":null"#, r#""responseElements":["x"]"#), "and was sent empty"),
    ];
    for (record, words) in &foreign {
        let (exit, shown) = event_code(&lab, record);
        assert_eq!(exit, 10, "{record}: {shown}");
        assert!(shown.contains(words), "{record}: {shown}");
    }
    // An index drops what is empty, and a pipeline adds what is its own: it is named.
    let mut kept: Value = serde_json::from_str(object).unwrap();
    kept.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let (exit, shown) = event_code(&lab, &kept.to_string());
    assert_eq!((exit, shown.lines().next()), (0, Some("ours: it is what was sent")), "{shown}");
    set(&mut kept, "geo.country", json!("CH"));
    set(&mut kept, "threat", json!({"\u{1b}[2J": [1]}));
    let (exit, shown) = event_code(&lab, &json!({"_id": "1", "_source": kept}).to_string());
    let first = shown.lines().next().unwrap();
    let more = "ours: it holds what was sent, and more: _id, geo.country, threat.";
    assert!(exit == 0 && first.starts_with(more) && !shown.contains('\u{1b}'), "{shown}");
    let file = lab.file("event", json!({"message": line, "x": 1}).to_string().as_bytes());
    let answer = lab.json(&["verify", "--event", &file]);
    assert_eq!(answer["findings"][0]["more"], json!(["x"]), "{answer:#}");
    let (_, shown) = event_code(&lab, line);
    assert!(shown.starts_with("ours: it is what was sent\n"), "{shown}");
}

/// What cannot be compared is not ours: a document that holds our token and nothing else is anybody's.
#[test]
fn what_the_recipe_cannot_read_any_more_is_not_ours() {
    let lab = Lab::new();
    lab.own_recipe("fake-login/sshd-brute-force-success", str::to_owned);
    let sent = lab.run(&[OWN], 10);
    let token_only = json!({"user": {"name": lab.token(0, Carrier::Text)}}).to_string();
    let whole = json!({"_source": {"message": sent[0][0]}}).to_string();
    let (exit, shown) = event_code(&lab, &token_only);
    assert_eq!((exit, shown.contains("`source.ip` is missing")), (10, true), "{shown}");
    assert_eq!(event_code(&lab, &whole).0, 0);

    // A remark changes no field, and yet nobody knows that.
    lab.own_recipe("fake-login/sshd-brute-force-success", |text| format!("{text}\n# a remark\n"));
    let (exit, shown) = event_code(&lab, &whole);
    assert_eq!(exit, 10, "{shown}");
    assert!(shown.contains("differs    the recipe has changed since this run"), "{shown}");

    // No pattern matches, or only one, of the last event of the burst.
    let changes: [fn(&str) -> String; 2] = [
        |text| text.replace("regex = '^", "regex = '^at "),
        |text| text.replace("regex = '^Failed", "regex = '^at Failed"),
    ];
    for (number, change) in changes.iter().enumerate() {
        lab.own_recipe("fake-login/sshd-brute-force-success", change);
        for record in [&token_only, &whole] {
            let (exit, shown) = event_code(&lab, record);
            assert_eq!(exit, 10, "{number} {record}: {shown}");
            let unread = shown.contains(
                "what was sent cannot be read with recipe own/recipe as it is now; compare with",
            );
            assert_eq!(unread, number != 1, "{number} {record}: {shown}");
        }
        assert_eq!(event_code(&lab, &sent[0][0]).0, 0, "byte for byte it needs no recipe");
    }
}

fn event_code(lab: &Lab, content: &str) -> (i32, String) {
    let file = lab.file("event", content.as_bytes());
    code(lab, &["--event", &file])
}

#[test]
fn an_error_is_not_ours_on_stdout_too() {
    let lab = Lab::new();
    let (exit, shown) = code(&lab, &["--event", "absent"]);
    assert_eq!((exit, shown.starts_with("not ours: ")), (2, true), "{shown}");
    std::fs::write(lab.path().join("dwell.db"), "no database at all, whatever it is").unwrap();
    let (exit, shown) = code(&lab, &[&lab.token(0, Carrier::Text)]);
    assert_eq!((exit, shown.starts_with("not ours: ")), (3, true), "{shown}");
    std::fs::remove_file(lab.path().join("dwell.key")).unwrap();
    let answer = lab.json(&["verify", "x"]);
    assert_eq!((&answer["ours"], &answer["answer"]), (&json!(false), &json!("error")));
}

#[test]
fn it_answers_while_another_process_writes_and_without_a_ledger() {
    let lab = Lab::new();
    let token = lab.token(0, Carrier::Text);
    let before = lab.json(&["verify", &token]);
    assert_eq!((&before["answer"], &before["recorded"]), (&json!("unknown"), &json!(false)));
    assert!(!lab.path().join("dwell.db").exists(), "a question makes no ledger");
    lab.run(&[SSHD], 10);
    let writer = lab.open();
    let (exit, shown) = code(&lab, &[&token]);
    assert_eq!(exit, 0, "{shown}");
    let note = format!("is being written by process {}; wait for it", std::process::id());
    assert!(shown.contains(&note), "{shown}");
    writer.close(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(recorded(&lab), [""; 0]);
}

#[test]
fn stdin_is_read_and_hostile_text_is_inert() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .current_dir(lab.path())
        .args(["verify", "--event", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let hostile = json!({"user": {"name": lab.token(0, Carrier::Text)},
        "source": {"ip": "\u{1b}[2J\u{202e}"}});
    child.stdin.take().unwrap().write_all(hostile.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    let shown = stdout(&output);
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
}
