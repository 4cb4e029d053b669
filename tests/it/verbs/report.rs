//! `dwell report` at a cut.

use dwell::ledger::{Batch, Blind, Row, Stage};
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::Carrier;

use super::ledger::{Lab, SSHD, stdout};

/// A question to `verify`, an archive that `scan` went through, sightings, blindness that began before
/// the cut and was found out after it: the report at the cut stays what it was, in every byte.
#[test]
fn the_report_at_a_cut_is_the_same_bytes_whatever_is_appended() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    lab.sighted(0, Stage::Detected, "one", "{}");
    let heads = lab.json(&["ledger", "show"])["heads"].clone();
    let cut = SystemClock::new().now();
    let as_of = cut.timestamp().to_string();
    let reports = || {
        ["text", "json", "junit", "csv", "html", "hlog"].map(|format| {
            let output = lab.dwell(&["report", "--as-of", &as_of, "--format", format]);
            assert!(!output.stdout.is_empty(), "{format}");
            (format, output.status.code(), stdout(&output))
        })
    };
    let before = reports();
    let token = lab.token(0, Carrier::Text);
    assert_eq!(lab.dwell(&["verify", &token]).status.code(), Some(0));
    let archive = lab.file("a.json", lab.token(1, Carrier::Text).as_bytes());
    assert_eq!(lab.dwell(&["scan", "--add", &archive]).status.code(), Some(0));
    lab.sighted(1, Stage::Detected, "two", "{}");
    lab.write(Batch {
        rows: vec![Row::Blind(Blind {
            watcher: "alerts".to_owned(),
            from: cut.plus_ns(-1_000_000),
            to: None,
            reason: "the file was gone".to_owned(),
            ours: false,
            recovered: false,
        })],
        ..Batch::default()
    });
    for (then, now) in before.iter().zip(reports()) {
        assert_eq!(*then, now);
    }
    let at_cut: serde_json::Value = serde_json::from_str(&before[1].2).unwrap();
    assert_eq!(at_cut["evidence"]["heads"], heads, "the head at the cut");
    let present = lab.json(&["report"]);
    assert_ne!(present["evidence"]["heads"], heads);
    assert_eq!(present["evidence"]["heads"], lab.json(&["ledger", "show"])["heads"]);
}
