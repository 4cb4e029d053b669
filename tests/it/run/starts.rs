//! Starts that fail beside a poll watcher: a reason, exit code 3, and a ledger without loose ends.

use std::net::SocketAddr;

use super::api::{Api, search_at};
use super::*;

/// A second watcher, whose library needs the runtime that the failing start gives up.
fn poll_beside(site: &Site, address: SocketAddr) {
    let poll = search_at(address);
    let watcher =
        format!("[[watcher]]\nname = \"search\"\nstage = \"ingested\"\n{poll}\n[[route]]");
    site.edit("[[route]]", &watcher);
}

/// The failed start is over: everything withdrawn, and the next one finds nothing to recover.
fn no_loose_ends(site: &Site, planned: u64) {
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::new());
    assert_eq!(model["routes"][0]["withdrawn"]["failed"], planned, "{model:#}");
    assert!(model["evidence"]["runs"][0]["ended"].as_str().unwrap().starts_with("failed: "));
    assert_eq!(lines(&site.path("auth.log")), 0, "something was injected");
    let next = site.dwell(&["watch"]);
    let said = String::from_utf8_lossy(&next.stderr);
    assert!(!said.contains("ended in the middle"), "{said}");
}

/// A site whose webhook is to listen where somebody does already.
fn with_a_port_in_use() -> (TcpListener, Site) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let watcher = format!(
        "type = \"webhook\"\nlisten = \"{}\"\ndialect = \"json\"\nauth = {{ type = \"none\" }}",
        taken.local_addr().unwrap()
    );
    let site = Site::new(&Setup { watcher, ..Setup::default() });
    (taken, site)
}

#[test]
fn a_port_in_use_beside_a_poll_ends_with_three_and_the_reason() {
    let (_taken, site) = with_a_port_in_use();
    poll_beside(&site, Api::start().address);
    // The poll is in the middle of its work when the other one fails, now and then.
    for _ in 0..5 {
        let done = site.dwell(&["run"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{said}");
        assert!(said.contains("cannot listen on"), "{said}");
        assert!(!said.contains("bug"), "{said}");
    }
    no_loose_ends(&site, 60);
}

#[test]
fn a_poll_target_that_is_down_ends_with_three_and_the_reason() {
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Site::new(&Setup::default());
    poll_beside(&site, down);
    let done = site.dwell(&["run"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(!said.contains("bug"), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("watcher search") && error.contains("refused"), "{error}");
    let warned = said.lines().find(|line| line.contains("cannot see")).unwrap();
    assert!(warned.contains("refused"), "{warned}");
    no_loose_ends(&site, 12);
}

#[test]
fn a_pipe_in_place_of_the_alerts_is_refused_before_anything_begins() {
    let site = Site::new(&Setup::default());
    let path = site.path("alerts.json");
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for verb in ["check", "run"] {
        let done = site.dwell(&[verb]);
        let said = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(done.status.code(), Some(2), "{verb}: {said}");
        assert!(said.contains("alerts.json is a pipe"), "{said}");
    }
}

#[test]
fn a_second_writer_is_refused_at_once() {
    let site = Site::new(&Setup { count: 50, window: "10s", ..Setup::default() });
    let mut child = site.start(&["run"]);
    wait_until("the ledger", || lines(&site.path("auth.log")) > 0);
    let begin = Instant::now();
    let second = site.dwell(&["run"]);
    assert_eq!(second.status.code(), Some(3), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "the first one goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_port_in_use_injects_nothing() {
    let (_taken, site) = with_a_port_in_use();
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(lines(&site.path("auth.log")), 0);
}
