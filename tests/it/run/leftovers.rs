//! What `leftovers --remove` removes: a file that the run made, and no other.

use super::*;

/// A site whose injector may make its file, with the file as it is before the run.
fn site(before: Option<&str>) -> Site {
    let site = Site::new(&Setup { count: 2, window: "1s", deadline: "1s", ..Setup::default() });
    site.edit("path = \"auth.log\"", "path = \"auth.log\"\ncreate = true");
    match before {
        Some(text) => std::fs::write(site.path("auth.log"), text).unwrap(),
        None => std::fs::remove_file(site.path("auth.log")).unwrap(),
    }
    site
}

fn remove(site: &Site) -> String {
    let output = site.dwell(&["leftovers", "--remove"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn only_files_that_dwell_made_are_ever_removed() {
    // Without any run, with an empty file that somebody else put there.
    let site = site(Some(""));
    assert!(remove(&site).contains("auth.log: no record says that dwell made it"));
    assert!(site.path("auth.log").exists());
    // Nor after one, though nothing but our lines stands in it.
    // Nobody alerts: what comes of it does not matter here.
    site.dwell(&["run"]);
    assert_eq!(std::fs::read_to_string(site.path("auth.log")).unwrap().lines().count(), 2);
    assert!(remove(&site).contains("auth.log: no record says that dwell made it"));
    assert!(site.path("auth.log").exists());
}

#[test]
fn a_file_that_the_run_made_is_removed_unless_it_changed_hands() {
    let site = site(None);
    // Nobody alerts: what comes of it does not matter here.
    site.dwell(&["run"]);
    let log = site.path("auth.log");
    let sent = std::fs::read_to_string(&log).unwrap();
    assert_eq!(sent.lines().count(), 2);
    std::fs::write(&log, format!("{sent}somebody else's\n")).unwrap();
    assert!(remove(&site).contains("auth.log: it holds what is not ours"));
    std::fs::write(&log, "").unwrap();
    assert!(remove(&site).contains("auth.log: it is empty"));
    // Rotated, and made anew by somebody else, who may get the number of one that is gone.
    std::fs::rename(&log, site.path("auth.log.1")).unwrap();
    std::fs::write(&log, &sent).unwrap();
    assert!(remove(&site).contains("auth.log: it is not the file that dwell made"));
    std::fs::rename(site.path("auth.log.1"), &log).unwrap();
    std::fs::write(&log, &sent).unwrap();
    let told = remove(&site);
    assert!(told.starts_with("removed ") && told.ends_with("auth.log\n"), "{told}");
    assert!(!log.exists());
    assert!(remove(&site).starts_with("nothing qualifies"), "and no other");
    assert_eq!(site.dwell(&["ledger", "verify"]).status.code(), Some(0));
}

/// What lies in the file is still to be read by the pipeline, and more is to come.
#[test]
fn nothing_is_removed_while_a_run_is_at_work() {
    let site = site(None);
    let mut child = site.start(&["run"]);
    wait_until("a canary", || site.path("auth.log").exists());
    let refused = site.dwell(&["leftovers", "--remove"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{error}");
    assert!(error.contains(&format!("is being written by process {}", child.id())), "{error}");
    assert!(site.path("auth.log").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}
