//! `dwell report` at a cut.

use dwell::ledger::{Batch, Blind, Control, Intent, Row, Stage};
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{Carrier, Epoch, TokenId};

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

/// The last row lies between two milliseconds, and one intent ahead of it, as after `kill -9`.
#[test]
fn the_cut_that_a_report_prints_gives_that_report_again() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    let now = SystemClock::new().now();
    let off = 1_000_000 - now.wall_ns.rem_euclid(1_000_000);
    // Well after whatever opening the ledger may write on a slow machine.
    let last = now.plus_ns(60_000_000_000 + off + 500_000);
    let intent = |serial: u32, intended| {
        Row::Intent(Intent {
            canary: TokenId { epoch: Epoch(1), serial },
            run: 1,
            route: 0,
            slot: serial,
            intended,
            digests: vec!["00".repeat(16)],
            completing: 0,
        })
    };
    let control = Control { at: last, action: "paused".to_owned(), reason: "by hand".to_owned() };
    let ahead = last.plus_ns(900_000_000);
    lab.write(Batch {
        rows: vec![intent(7, last), intent(8, ahead), Row::Control(control)],
        ..Batch::default()
    });
    let cut = lab.json(&["report"])["cut"].as_str().unwrap().to_owned();
    // On the ledger's axis, which may differ from this reading of the wall clock by a little.
    assert!(cut.len() == "2026-01-01T00:00:00.000000000Z".len(), "{cut}");
    assert!(!cut.ends_with("000000Z"), "no cut between two milliseconds: {cut}");
    for format in ["text", "json", "junit", "csv", "html", "hlog"] {
        let default = lab.dwell(&["report", "--format", format]);
        let stated = lab.dwell(&["report", "--format", format, "--as-of", &cut]);
        assert_eq!(stdout(&default), stdout(&stated), "{format}");
        assert_eq!(default.status.code(), stated.status.code());
    }
    let page = stdout(&lab.dwell(&["report"]));
    assert!(page.contains(&cut) && page.contains("paused"), "{page}");
    assert_eq!(lab.json(&["report"])["total"]["injected"], 3, "one is still to leave");
}

/// As in the middle of a run: what is committed next has no instant, or one before the last row's.
#[test]
fn the_cut_of_a_report_stays_what_it_was_while_rows_come() {
    let lab = Lab::new();
    lab.run(&[SSHD, SSHD], 10);
    let now = SystemClock::new().now().plus_ns(60_000_000_000);
    let control = Control { at: now, action: "paused".to_owned(), reason: "by hand".to_owned() };
    lab.write(Batch { rows: vec![Row::Control(control)], ..Batch::default() });
    let then = lab.dwell(&["report", "--format", "json"]);
    let cut = lab.json(&["report"])["cut"].as_str().unwrap().to_owned();
    let intent = Row::Intent(Intent {
        canary: TokenId { epoch: Epoch(1), serial: 7 },
        run: 1,
        route: 0,
        slot: 7,
        intended: now.plus_ns(-1),
        digests: vec!["00".repeat(16)],
        completing: 0,
    });
    let blind = Row::Blind(Blind {
        watcher: "alerts".to_owned(),
        from: now.plus_ns(-50_000_000_000),
        to: None,
        reason: "found out later".to_owned(),
        ours: true,
        recovered: false,
    });
    lab.write(Batch { rows: vec![intent, blind], ..Batch::default() });
    let again = lab.dwell(&["report", "--format", "json", "--as-of", &cut]);
    assert_eq!(stdout(&then), stdout(&again));
    assert_ne!(stdout(&then), stdout(&lab.dwell(&["report", "--format", "json"])));
}

#[test]
fn a_cut_beyond_every_stamp_is_refused_as_such() {
    let lab = Lab::new();
    lab.run(&[SSHD], 10);
    for year in ["2500", "1600"] {
        let as_of = format!("{year}-01-01T00:00:00Z");
        for verb in [&["report"][..], &["explain", "1.0"]] {
            let output = lab.dwell(&[verb, &["--as-of", &as_of]].concat());
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains("beyond every stamp of a ledger"), "{error}");
        }
    }
    let far = lab.dwell(&["report", "--as-of", "2262-01-01T00:00:00Z"]);
    assert!(far.status.code() < Some(2) || far.status.code() == Some(4), "{far:?}");
}
