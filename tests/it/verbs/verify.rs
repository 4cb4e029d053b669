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

use super::ledger::{Lab, SSHD, stdout};

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
    lab.run(&[SSHD], 3001);
    assert_eq!(code(&lab, &[&lab.token(0, Carrier::Text)]).0, 11);
}

#[test]
fn an_event_is_ours_only_if_it_is_what_was_sent() {
    let lab = Lab::new();
    let sent = lab.run(&[SSHD, "decoy-credential/cloudtrail-planted-key"], 10);
    let event = |content: &str| {
        let file = lab.file("event", content.as_bytes());
        code(&lab, &["--event", &file])
    };
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
    let note = format!("not recorded: process {} is writing", std::process::id());
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
