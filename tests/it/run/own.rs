//! What dwell wrote itself is no detection: by no file name, after no rotation, in no second run.
//!
//! There is no detector in any of these campaigns, so that whatever is detected is a lie.

use std::os::unix::fs::symlink;

use super::*;

/// A campaign that makes and writes `log` and waits for lines in `alerts.json`.
fn site(log: &'static str, count: u32, window: &'static str) -> Site {
    let watcher = "type = \"file\"\npath = \"alerts.json\"\ndialect = \"lines\"".into();
    let site = Site::new(&Setup { log, count, window, watcher, ..Setup::default() });
    site.edit(&format!("path = \"{log}\""), &format!("path = \"{log}\"\ncreate = true"));
    // Links are made to what is not there yet.
    std::fs::remove_file(site.path("auth.log")).unwrap();
    std::fs::write(site.path("alerts.json"), "somebody else\n").unwrap();
    site
}

/// Waits for so many lines in a file.
fn wait_for(site: &Site, name: &str, wanted: usize) {
    wait_until(name, || lines(&site.path(name)) >= wanted);
}

fn append(site: &Site, name: &str, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(site.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What is prepared before `check`, and its name.
type Case<'a> = (&'a str, &'a dyn Fn(&Site));

fn missed(count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("missed".to_owned(), count)])
}

#[test]
fn a_log_whose_name_begins_alike_is_no_rotated_alert_file() {
    let site = site("alerts-source.log", 5, "3s");
    let run = site.start(&["run"]);
    wait_for(&site, "alerts-source.log", 2);
    std::fs::rename(site.path("alerts.json"), site.path("alerts.json.1")).unwrap();
    std::fs::write(site.path("alerts.json"), "somebody else again\n").unwrap();
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, missed(5));
    assert_eq!(model["strays"], serde_json::json!({}), "it was not even read");
}

#[test]
fn a_second_run_takes_nothing_of_the_first_ones_log_for_an_alert() {
    let site = site("alerts-source.log", 3, "1s");
    for sent in [3, 6] {
        let run = site.start(&["run"]);
        // Between the runs another program wrote one line to the log.
        wait_for(&site, "alerts-source.log", sent + sent / 6);
        append(&site, "alerts.json", "somebody else\n");
        let done = run.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
        let (outcomes, model) = site.outcomes();
        assert_eq!(outcomes, missed(sent as u64));
        assert_eq!(model["strays"], serde_json::json!({}));
        append(&site, "alerts-source.log", "somebody else\n");
    }
}

#[test]
fn a_copy_of_what_was_sent_is_echoed_and_what_quotes_it_is_detected() {
    let site = site("auth.log", 4, "2s");
    let run = site.start(&["run"]);
    wait_for(&site, "auth.log", 4);
    let sent = std::fs::read_to_string(site.path("auth.log")).unwrap();
    let quoted = format!("rule 5710: {}", sent.lines().next().unwrap());
    append(&site, "alerts.json", &format!("{sent}{quoted}\n"));
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    let expected = [("detected".to_owned(), 1), ("missed".to_owned(), 3)];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert_eq!(model["strays"], serde_json::json!({ "alerts": { "echoed": 4 } }));
    for format in ["text", "html"] {
        let page = site.dwell(&["report", "--format", format]).stdout;
        let page = String::from_utf8(page).unwrap();
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(page.contains("It proves no detection"), "{format}: {page}");
    }
    let token = sent.lines().nth(1).unwrap().split(' ').find(|w| w.len() == 16).unwrap();
    let told = String::from_utf8(site.dwell(&["explain", token]).stdout).unwrap();
    assert!(told.contains("refused as detections"), "{told}");
    assert_eq!(site.dwell(&["ledger", "verify"]).status.code(), Some(0));
}

#[test]
fn check_finds_our_own_file_behind_every_name() {
    let refused = |prepare: &dyn Fn(&Site)| {
        let site = site("auth.log", 1, "1s");
        std::fs::remove_file(site.path("alerts.json")).unwrap();
        prepare(&site);
        let output = site.dwell(&["check"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code() == Some(2) && text.contains("it proves no alert"), text)
    };
    let later = |site: &Site, link: &str, target: &str| symlink(target, site.path(link)).unwrap();
    let cases: [Case<'_>; 6] = [
        ("a hard link", &|site| {
            std::fs::write(site.path("auth.log"), "").unwrap();
            std::fs::hard_link(site.path("auth.log"), site.path("alerts.json")).unwrap();
        }),
        ("a link", &|site| {
            std::fs::write(site.path("auth.log"), "").unwrap();
            symlink("auth.log", site.path("alerts.json")).unwrap();
        }),
        ("a dangling link to the log", &|site| later(site, "alerts.json", "auth.log")),
        ("a dangling link to the alerts", &|site| later(site, "auth.log", "alerts.json")),
        ("two dangling links to one file", &|site| {
            later(site, "auth.log", "later");
            later(site, "alerts.json", "later");
        }),
        ("a linked folder", &|site| {
            std::fs::create_dir(site.path("real")).unwrap();
            symlink("real", site.path("linked")).unwrap();
            site.edit("auth.log", "real/a.log");
            site.edit("alerts.json", "linked/a.log");
        }),
    ];
    for (name, prepare) in cases {
        let (is_refused, text) = refused(prepare);
        assert!(is_refused, "{name}: {text}");
    }
    let (is_refused, text) = refused(&|_| {});
    assert!(!is_refused, "two files are sound: {text}");
}
