//! `dwell ledger` and `dwell leftovers` from the outside.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use dwell::ledger::*;
use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{Carrier, KeyRing, TokenId};

struct Lab {
    folder: tempfile::TempDir,
    token: String,
}

impl Lab {
    fn dwell(&self, args: &[&str]) -> (i32, String, String) {
        let config = self.path().join("dwell.toml");
        let out =
            Command::cargo_bin("dwell").unwrap().arg("-c").arg(config).args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A configuration by `dwell init`, and a ledger with one accepted canary.
fn lab() -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("dwell.toml");
    Command::cargo_bin("dwell")
        .unwrap()
        .args(["init", "--dir"])
        .arg(folder.path())
        .assert()
        .success();
    let checked = dwell::config::load_for_reading(&config).unwrap();
    let keys = KeyRing::load(&checked.key).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opening = Opening { verb: "run".to_owned() };
    let ledger =
        Ledger::open(&checked.ledger, &keys.chain_key(), opening, Arc::clone(&clock)).unwrap();
    let canary = TokenId { epoch: keys.newest(), serial: 0 };
    let token = keys.mint(canary.epoch, 0).unwrap().text(Carrier::Text);
    let body = format!("hello {token}");
    let intent = Intent {
        canary,
        run: 1,
        route: 0,
        slot: 0,
        intended: clock.now(),
        digests: vec![dwell::dispatch::run::body_digest(&body)],
        completing: 0,
    };
    let receipt = ReceiptRow {
        canary,
        event: 0,
        submitted_at: clock.now(),
        late_ns: 0,
        result: EventResult::Accepted {
            at: None,
            strength: Strength::Written,
            place: Some("=\u{1b}[31m/var/log/x:1".to_owned()),
        },
    };
    let batch = Batch {
        rows: vec![Row::Intent(intent), Row::Receipt(receipt)],
        bodies: vec![(canary, 0, body)],
        ..Batch::default()
    };
    ledger.append(batch).wait().unwrap();
    ledger.close(Duration::from_secs(10)).unwrap();
    Lab { folder, token }
}

#[test]
fn verify_says_whole_then_points_at_the_altered_row() {
    let lab = lab();
    let (code, out, err) = lab.dwell(&["ledger", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    let head = out.lines().find_map(|l| l.strip_prefix("head ")).unwrap().to_owned();
    assert_eq!(lab.dwell(&["ledger", "verify", "--expect", &head]).0, 0);
    let other = format!("{}0", &head[..head.len() - 1]);
    let other = if other == head { format!("{}1", &head[..head.len() - 1]) } else { other };
    assert_eq!(lab.dwell(&["ledger", "verify", "--expect", &other]).0, 3);
    assert_eq!(lab.dwell(&["ledger", "verify", "--expect", "nonsense"]).0, 2);
    let ledger = dwell::config::load_for_reading(&lab.path().join("dwell.toml")).unwrap().ledger;
    let raw = rusqlite::Connection::open(&ledger).unwrap();
    raw.execute_batch(
        "DROP TRIGGER rows_are_never_altered;
         UPDATE rows SET body = replace(body, '\"l\":0', '\"l\":9') WHERE kind = 'receipt'",
    )
    .unwrap();
    drop(raw);
    let (code, out, _) = lab.dwell(&["ledger", "verify"]);
    assert_eq!(code, 3, "1 is an objective that was missed");
    assert!(out.contains("row 3 "), "{out}");
    assert_eq!(lab.dwell(&["ledger", "show"]).0, 3, "a damaged ledger is not summed up");
    assert!(lab.dwell(&["ledger", "verify", "--help"]).1.contains("  3   a row was altered"));
    std::fs::remove_file(&ledger).unwrap();
    let name = lab.path().join("nothing.log");
    std::fs::write(&name, "nothing\n").unwrap();
    let scanned = name.to_str().unwrap();
    for args in [
        &["ledger", "verify"][..],
        &["ledger", "show"],
        &["leftovers"],
        &["report"],
        &["scan", scanned],
        &["explain", "1.0"],
        &["stop"],
        &["run", "--dry-run"],
    ] {
        let (code, _, err) = lab.dwell(args);
        assert_eq!(code, 3, "{args:?}: {err}");
        assert!(err.contains("the file is gone, its marks are still beside it"), "{err}");
    }
}

#[test]
fn before_the_first_run_nothing_was_recorded_and_nothing_is_wrong() {
    let lab = lab();
    let ledger = dwell::config::load_for_reading(&lab.path().join("dwell.toml")).unwrap().ledger;
    for suffix in ["", "-wal", "-shm", ".marks"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", ledger.display()));
    }
    for verb in ["verify", "show", "export"] {
        let (code, _, err) = lab.dwell(&["ledger", verb]);
        assert_eq!(code, 2, "{verb}: {err}");
        assert!(err.contains("nothing was recorded yet"), "{verb}: {err}");
        assert!(err.contains("`dwell run` makes it"), "{verb}: {err}");
    }
    assert_eq!(lab.dwell(&["report"]).0, 2);
}

#[test]
fn a_cut_before_the_first_run_is_told_from_a_ledger_without_runs() {
    let lab = lab();
    let (code, _, err) = lab.dwell(&["report"]);
    assert!(code == 2 && err.contains("holds no run yet"), "{err}");
    add_run(&lab);
    let (code, _, err) = lab.dwell(&["report", "--as-of", "2020-01-01T00:00:00Z"]);
    assert!(
        code == 2 && err.contains("no run before that instant; the first began at 20"),
        "{err}"
    );
    let (_, _, err) = lab.dwell(&["report", "--campaign", "nobody"]);
    assert!(err.contains("no campaign \"nobody\""), "{err}");
}

/// What is certain is the receipt; whether the file is still there is looked up.
#[test]
fn leftovers_say_what_the_receipt_said_and_whether_the_file_is_still_there() {
    let lab = lab();
    add_run(&lab);
    let file = lab.path().join("auth.log");
    std::fs::write(&file, "hello\n").unwrap();
    let told = |lab: &Lab| {
        let list: serde_json::Value =
            serde_json::from_str(&lab.dwell(&["leftovers", "--json"]).1).unwrap();
        let all = list["leftovers"].as_array().unwrap().clone();
        let told = all.iter().map(|l| (l["receipt"].clone(), l["file"].clone()));
        told.collect::<Vec<_>>()
    };
    let unknown = ("accepted".into(), serde_json::Value::Null);
    assert_eq!(told(&lab), [unknown.clone(), ("accepted".into(), "there".into())]);
    let (_, table, _) = lab.dwell(&["leftovers"]);
    assert!(table.starts_with("TIME") && table.contains("RECEIPT   FILE   TOKEN"), "{table}");
    assert!(!table.contains("THERE"), "{table}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(told(&lab), [unknown, ("accepted".into(), "gone".into())]);
    assert!(lab.dwell(&["leftovers", "--csv"]).1.contains("accepted,gone"));
}

#[test]
fn export_show_and_leftovers_tell_the_same_story_inertly() {
    let lab = lab();
    let (code, out, err) = lab.dwell(&["ledger", "export"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{err}");
    assert!(out.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)));
    let (code, out, _) = lab.dwell(&["ledger", "show"]);
    assert!(code == 0 && out.contains("1 receipt") && out.contains("head 1:3:"), "{out}");
    for args in [&["leftovers"][..], &["leftovers", "--csv"], &["leftovers", "--json"]] {
        let (code, out, err) = lab.dwell(args);
        assert!(code == 0 && out.contains(&lab.token), "{out}{err}");
        assert!(!out.contains('\u{1b}'), "foreign text is inert: {out:?}");
    }
    let (_, out, _) = lab.dwell(&["leftovers", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list["leftovers"].as_array().map(Vec::len), Some(1), "{out}");
    assert!(lab.dwell(&["leftovers", "--csv"]).1.contains("'="), "no formulas");
    let (code, out, _) = lab.dwell(&["leftovers", "--remove"]);
    assert!(code == 0 && !out.contains("removed"), "{out}");
}

/// A run whose one canary was accepted just now and may be seen for an hour.
fn add_run(lab: &Lab) -> jiff::Timestamp {
    let checked = dwell::config::load_for_reading(&lab.path().join("dwell.toml")).unwrap();
    let keys = KeyRing::load(&checked.key).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let at = clock.now();
    let run = serde_json::from_value(serde_json::json!({
        "k": "run", "at": at, "run": 2, "campaign": "open", "seed": 1, "arrivals": "fixed",
        "starts": at, "window_ns": 1, "quiet_hours": [], "config_digest": "d",
        "config": {"injectors": {"auth": {"type": "file", "path": "auth.log"}},
            "routes": [{"name": "still-open", "injector": "auth"}]},
        "recipes": {}, "dialects": {}, "authorisation": null, "watchers": [],
        "routes": [{"name": "still-open", "recipe": "x", "attack": [], "enters_at": "host-log",
            "owner": "o", "supplier": false, "target": "t", "proof": "written", "planned": 2,
            "expectations": [{"name": "detected", "stage": "detected", "watchers": [],
                "rules": [], "deadline_ns": 60_000_000_000u64, "horizon_ns": 3_600_000_000_000u64,
                "share": 1.0, "confidence": null, "min_n": 1}]}]
    }));
    let mut rows: Vec<Row> = vec![run.unwrap()];
    for serial in [8, 9] {
        let canary = TokenId { epoch: keys.newest(), serial };
        rows.push(Row::Intent(Intent {
            canary,
            run: 2,
            route: 0,
            slot: serial,
            intended: at,
            digests: vec!["00".repeat(16)],
            completing: 0,
        }));
        let result = match serial {
            8 => EventResult::Accepted { at: None, strength: Strength::Written, place: None },
            _ => EventResult::Rejected { reason: "no".to_owned(), cause: None },
        };
        let receipt = ReceiptRow { canary, event: 0, submitted_at: at, late_ns: 0, result };
        rows.push(Row::Receipt(receipt));
    }
    let opening = Opening { verb: "run".to_owned() };
    let ledger = Ledger::open(&checked.ledger, &keys.chain_key(), opening, clock).unwrap();
    ledger.append(Batch { rows, ..Batch::default() }).wait().unwrap();
    ledger.close(Duration::from_secs(10)).unwrap();
    at.timestamp()
}

#[test]
fn stop_lists_what_is_outstanding_and_until_when() {
    let lab = lab();
    let submitted = add_run(&lab);
    let (code, out, err) = lab.dwell(&["stop", "--json"]);
    assert_eq!(code, 0, "{err}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    let [open] = said["outstanding"].as_array().unwrap().as_slice() else { panic!("{out}") };
    assert_eq!(
        (open["campaign"].as_str(), open["route"].as_str()),
        (Some("open"), Some("still-open"))
    );
    assert_eq!(open["canaries"], 1, "the rejected one is decided");
    let until: jiff::Timestamp = open["until"].as_str().unwrap().parse().unwrap();
    let horizon = until.duration_since(submitted).as_secs_f64();
    assert!((horizon - 3_600.0).abs() <= 1.0, "{horizon}");
    let (_, out, _) = lab.dwell(&["leftovers", "--csv"]);
    assert_eq!(out.lines().count(), 3, "a header and two accepted events: {out}");
    assert!(out.contains(",t,"), "a receipt without a place stands at its route's target: {out}");
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let lab = lab();
    add_run(&lab);
    let checked = dwell::config::load_for_reading(&lab.path().join("dwell.toml")).unwrap();
    let keys = KeyRing::load(&checked.key).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let opening = Opening { verb: "run".to_owned() };
    let ledger = Ledger::open(&checked.ledger, &keys.chain_key(), opening, clock).unwrap();
    let (code, _, err) = lab.dwell(&["watch"]);
    assert_eq!(code, 3, "{err}");
    let pid = std::process::id().to_string();
    assert!(err.contains("being written by process") && err.contains(&pid), "{err}");
    let (code, out, err) = lab.dwell(&["ledger", "verify"]);
    assert_eq!(code, 0, "a reader sees a whole ledger beside a writer: {out}{err}");
    ledger.close(Duration::from_secs(10)).unwrap();
}
