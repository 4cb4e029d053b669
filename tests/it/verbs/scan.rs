//! `dwell scan`.

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use dwell::ledger::{Reader, Row, SightingRow, Stage};
use dwell_injectors::token::Carrier;

use super::ledger::{Lab, SSHD, canary, stdout};

fn sightings(lab: &Lab) -> Vec<SightingRow> {
    let mut found = Vec::new();
    let reader = Reader::open(&lab.path().join("dwell.db")).unwrap();
    reader
        .rows(|_, row| {
            assert!(!matches!(row, Row::Stray(_)), "a scan leaves no strays");
            if let Row::Sighting(row) = row {
                found.push(row);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

/// Longer than a read, with tokens around the seam between two reads.
fn archive(lab: &Lab) -> Vec<u8> {
    let mut bytes = b"{\"message\":\"nothing of ours\"}\n".repeat(40_000);
    let place = (1 << 20) - 7;
    let token = lab.token(0, Carrier::Text);
    bytes.splice(place..place + token.len(), token.bytes());
    bytes.extend(format!("{}\n", lab.token(1, Carrier::Uuid)).bytes());
    bytes.extend(format!("AKIA{}\n", lab.token(0, Carrier::Upper)).bytes());
    bytes.extend(format!("{}\n", lab.token(50, Carrier::Ipv6)).bytes());
    bytes.extend(format!(" {}aaaaaaaaaaaa\n", lab.keys.epochs()[0].prefix()).bytes());
    bytes
}

#[test]
fn canaries_are_found_with_their_place_and_counted() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    let a = lab.file("a.json", &archive(&lab));
    let b = lab.file("b.json", lab.token(1, Carrier::Text).as_bytes());
    let found = lab.json(&["scan", &a, &b]);
    let counts = &found["counts"];
    assert_eq!((&counts["ours"], &counts["distinct_ours"]), (&4.into(), &2.into()), "{found:#}");
    assert_eq!((&counts["unknown"], &counts["forged"]), (&1.into(), &1.into()));
    let first = &found["canaries"][0];
    assert_eq!((&first["canary"], &first["offset"]), (&"1.0".into(), &((1 << 20) - 7).into()));
    assert_eq!((&first["times"], &first["file"]), (&2.into(), &a.as_str().into()));
    let output = lab.dwell(&["scan", &a, &b]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains(&format!("{a}:{}", (1 << 20) - 7)), "{text}");
    assert!(text.contains("4 tokens of 2 canaries of ours, 1 unknown, 1 forged"), "{text}");
    assert!(sightings(&lab).is_empty(), "without --add nothing is written");
}

#[test]
fn added_sightings_are_retrospective_and_added_once() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    let a = lab.file("a.json", &archive(&lab));
    let added = lab.json(&["scan", "--add", "--stage", "detected", &a]);
    assert_eq!(added["sightings"]["added"], 2, "{added:#}");
    let again = lab.json(&["scan", "--add", "a.json"]);
    assert_eq!(again["sightings"]["added"], 0);
    assert_eq!(again["sightings"]["already_there"], 2);
    let rows = sightings(&lab);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|r| r.retrospective && r.watcher == "scan"));
    assert!(rows.iter().all(|r| r.stage == Stage::Detected && r.not_before.is_none()));
    assert_eq!(rows[0].canary, canary(0));
}

#[test]
fn letters_of_any_case_and_an_address_in_a_url_are_found() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    let text = lab.token(0, Carrier::Text);
    let title = format!("{}{}", text[..1].to_uppercase(), &text[1..]);
    let mixed: String = text
        .char_indices()
        .map(|(at, c)| if at % 2 == 1 { c.to_ascii_uppercase() } else { c })
        .collect();
    let uuid = lab.token(1, Carrier::Uuid);
    let uuid = format!("{}{}", uuid[..4].to_uppercase(), &uuid[4..]);
    let address = lab.token(1, Carrier::Ipv6).replace(':', "%3A");
    let lines = format!("user {title} logged\n{mixed}\n{uuid}\n/?ip={address}&x=1\n");
    let file = lab.file("a.log", lines.as_bytes());
    let found = lab.json(&["scan", &file]);
    let counts = &found["counts"];
    assert_eq!((&counts["ours"], &counts["distinct_ours"]), (&4.into(), &2.into()), "{found:#}");
}

#[test]
fn what_cannot_be_read_is_an_error_and_the_rest_is_scanned() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    let good = lab.file("good", lab.token(0, Carrier::Text).as_bytes());
    let zipped = lab.file("old.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03rest");
    let wide: Vec<u8> = "\u{feff}x".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = lab.file("wide", &wide);
    let folder = lab.path().to_str().unwrap();
    let output = lab.dwell(&["scan", "absent", &zipped, &wide, folder, &good]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    for part in ["absent", "zcat", "iconv", "is a folder"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(stdout(&output).contains("1 tokens of 1 canaries of ours"), "{}", stdout(&output));
}

#[test]
fn stdin_is_read_and_a_reader_that_goes_away_is_no_error() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .current_dir(lab.path())
        .args(["scan", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for serial in 0..20_000 {
        writeln!(stdin, "{}", lab.token(serial, Carrier::Text)).unwrap();
    }
    drop(stdin);
    // Reads a little and goes away: more is to come than a pipe holds.
    let mut head = [0; 100];
    out.read_exact(&mut head).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}
