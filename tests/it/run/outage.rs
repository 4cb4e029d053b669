//! A SIEM that is away past the horizon, and what the runs after it say.

use super::api::{Api, search_at};
use super::*;

fn short(watcher: Option<String>) -> Site {
    let mut setup = Setup { count: 3, window: "1s", deadline: "1s", ..Setup::default() };
    if let Some(watcher) = watcher {
        setup.watcher = watcher;
    }
    let site = Site::new(&setup);
    site.edit("horizon = \"30s\"", "horizon = \"3s\"");
    site
}

/// Three of the run during the outage, three of the run after it.
fn indeterminate_and_then_missed(site: &Site) {
    let (outcomes, model) = site.outcomes();
    let three = |name: &str| (name.to_owned(), 3);
    assert_eq!(outcomes, BTreeMap::from([three("indeterminate"), three("missed")]), "{model:#}");
    let blind = model["watchers"][0]["blind"].to_string();
    assert!(!blind.contains("to still"), "{blind}");
    assert!(blind.contains("target unavailable"), "{blind}");
}

#[test]
fn a_file_that_was_absent_past_the_horizon_does_not_blind_the_runs_after_it() {
    let site = short(None);
    std::fs::remove_file(site.path("alerts.json")).unwrap();
    let done = site.dwell(&["run", "--until-horizon"]);
    assert_eq!(done.status.code(), Some(4), "{}", String::from_utf8_lossy(&done.stderr));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("alerts.json does not exist"), "the log says why: {said}");
    std::fs::write(site.path("alerts.json"), "").unwrap();
    let sent = lines(&site.path("auth.log"));
    let child = site.start(&["run"]);
    wait_until("a canary", || lines(&site.path("auth.log")) > sent);
    site.foreign_record();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    indeterminate_and_then_missed(&site);
}

#[test]
fn a_poll_target_that_was_away_past_the_horizon_does_not_blind_the_runs_after_it() {
    let api = Api::start();
    let site = short(Some(search_at(api.address)));
    let child = site.start(&["run", "--until-horizon"]);
    wait_until("a canary", || lines(&site.path("auth.log")) > 0);
    api.up.store(false, Ordering::SeqCst);
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(4), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, _) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("indeterminate".to_owned(), 3)]), "none is pending");
    api.up.store(true, Ordering::SeqCst);
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    indeterminate_and_then_missed(&site);
}

#[test]
fn watch_without_a_run_opens_nothing() {
    let site = short(None);
    std::fs::remove_file(site.path("alerts.json")).unwrap();
    let before = snapshot(site.folder.path());
    let done = site.dwell(&["watch"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("holds no run yet"));
    assert_eq!(snapshot(site.folder.path()), before, "no ledger was made");
}

/// A service manager would take any code but 0 for a failure and start again.
#[test]
fn watch_as_a_service_ends_with_zero_whatever_there_is_to_say() {
    let site = short(None);
    site.edit("horizon = \"3s\"", "horizon = \"6s\"");
    let service = || {
        let done = site.dwell(&["watch", "--service"]);
        let said = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    let before = snapshot(site.folder.path());
    let (code, said) = service();
    assert_eq!(code, Some(0), "no run yet: {said}");
    assert!(said.contains("holds no run yet"), "{said}");
    assert_eq!(snapshot(site.folder.path()), before, "no ledger was made");
    // Undecided while it is watched, then missed: a verdict of 1, which is printed and not returned.
    let run = site.start(&["run"]);
    wait_until("a canary", || lines(&site.path("auth.log")) > 0);
    site.foreign_record();
    run.wait_with_output().unwrap();
    let (code, said) = service();
    assert_eq!(code, Some(0), "something was outstanding: {said}");
    assert!(said.contains("3 missed"), "{said}");
    let (code, said) = service();
    assert_eq!(code, Some(0), "nothing is outstanding: {said}");
    assert!(said.contains("nothing is outstanding") && said.contains("3 missed"), "{said}");
    assert_eq!(
        site.dwell(&["watch"]).status.code(),
        Some(1),
        "without the word it is the verdict's"
    );
    // What keeps it from watching is no verdict.
    std::fs::remove_file(site.path("dwell.key")).unwrap();
    let (code, said) = service();
    assert_ne!(code, Some(0), "{said}");
}

#[test]
fn watch_says_what_is_outstanding_and_the_first_signal_ends_it() {
    let site = Site::new(&Setup { count: 3, window: "500ms", deadline: "1s", ..Setup::default() });
    site.dwell(&["run"]);
    // A probe afterwards is another campaign: what the first one left is watched all the same.
    site.dwell(&["probe", "ssh"]);
    let mut child = site.start(&["watch"]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("watching: 4 outstanding, alerts may come until 2"), "{said}");
    signal(&child, "-TERM");
    said.clear();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("Watching ends here"), "{said}");
    let begin = Instant::now();
    child.wait().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn watch_with_nothing_outstanding_says_so_and_needs_no_watcher() {
    let api = Api::start();
    let site = short(Some(search_at(api.address)));
    let done = site.dwell(&["run", "--until-horizon"]);
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    api.up.store(false, Ordering::SeqCst);
    let begin = Instant::now();
    let done = site.dwell(&["watch"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing is outstanding"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(10), "it waited for a watcher");
}

/// What one watcher reads is not given up because another one's target is away.
#[test]
fn watch_stays_while_a_target_is_down_whose_place_is_known() {
    let api = Api::start();
    let site = Site::new(&Setup { count: 3, window: "500ms", deadline: "1s", ..Setup::default() });
    let poll = search_at(api.address);
    let watcher =
        format!("[[watcher]]\nname = \"search\"\nstage = \"ingested\"\n{poll}\n[[route]]");
    site.edit("[[route]]", &watcher);
    site.dwell(&["run"]);
    api.up.store(false, Ordering::SeqCst);
    let mut child = site.start(&["watch"]);
    let _stderr = until_said(&mut child, "watching: 3 outstanding");
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "-TERM");
    child.wait().unwrap();
    // A run injects nothing while one of its targets does not answer, known place or not.
    let done = site.dwell(&["run"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("watcher search found no starting position"), "{said}");
}
