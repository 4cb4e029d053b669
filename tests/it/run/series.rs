//! A campaign is one series: what a run may change of it, and until when a run may last.

use std::sync::Mutex;

use dwell::dispatch::plan::Request;
use dwell::dispatch::run::{Observer, Orders, Status};
use dwell::dispatch::session::Session;

use super::*;

fn brief() -> Setup {
    Setup { count: 2, window: "200ms", deadline: "1s", ..Setup::default() }
}

#[test]
fn a_run_that_expects_something_else_needs_another_name() {
    let site = Site::new(&brief());
    site.foreign_record();
    let _siem = Siem::start(&site, Duration::ZERO);
    assert_eq!(site.dwell(&["run"]).status.code(), Some(0));
    let refused = |args: &[&str], words: &str| {
        let before = std::fs::read(site.path("dwell.db")).unwrap();
        let output = site.dwell(args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains(words) && error.contains("give the campaign another name"),
            "{error}"
        );
        assert_eq!(std::fs::read(site.path("dwell.db")).unwrap(), before, "nothing was written");
    };
    site.edit("deadline = \"1s\"", "deadline = \"2s\"");
    let words = "not what run 1 of campaign \"c\" measured: deadline of expectation detected was 1 s \
                 and is 2 s";
    refused(&["run"], words);
    refused(&["run", "--dry-run"], words);
    // What judges, and what is not the series' own, may change; so may the route's absence.
    site.edit("deadline = \"2s\"", "deadline = \"1s\"");
    site.edit("share = 1.0, min_n = 1", "share = 0.5, min_n = 2");
    site.edit("count = 2", "count = 3");
    site.edit("owner = \"SOC\"", "owner = \"another\"");
    assert_eq!(site.dwell(&["run"]).status.code(), Some(0));
    site.edit("deadline = \"1s\"", "deadline = \"2s\"");
    site.edit("name = \"c\"", "name = \"d\"");
    assert_eq!(site.dwell(&["run"]).status.code(), Some(0), "another name is another series");
    let (outcomes, _) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("detected".to_owned(), 3)]));
}

#[test]
fn probes_go_on_after_every_change_and_are_kept_apart() {
    let site = Site::new(&brief());
    site.foreign_record();
    let _siem = Siem::start(&site, Duration::ZERO);
    assert_eq!(site.dwell(&["probe", "ssh"]).status.code(), Some(0));
    site.edit("deadline = \"1s\"", "deadline = \"2s\"");
    assert_eq!(site.dwell(&["probe", "ssh"]).status.code(), Some(0));
    let report = site.dwell(&["report", "--campaign", "c (probe)", "--json"]);
    let model: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let names: Vec<&str> =
        model["routes"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ssh (run 1)", "ssh (run 2)"]);
    for route in model["routes"].as_array().unwrap() {
        assert_eq!(route["expectations"][0]["outcomes"], serde_json::json!({"detected": 1}));
    }
}

/// Keeps each status.
struct Kept<'a>(&'a Mutex<Vec<Status>>);

impl Observer for Kept<'_> {
    fn status(&mut self, status: &Status) {
        self.0.lock().unwrap().push(status.clone());
    }
}

#[test]
fn the_end_that_is_foretold_does_not_run_away() {
    use dwell_injectors::stamp::{Clock, SystemClock};
    let site = Site::new(&Setup { deadline: "5s", ..brief() });
    site.foreign_record();
    let config = dwell::config::load(&site.path("dwell.toml")).unwrap();
    let mut session = Session::prepare(config).unwrap();
    session.open("run").unwrap();
    let plan = session.plan(&Request::default()).unwrap();
    let statuses = Mutex::new(Vec::new());
    let begun = SystemClock::new().now().wall_ns;
    session.run(plan, false, &Orders::default(), &mut Kept(&statuses)).unwrap();
    let ended = SystemClock::new().now().wall_ns;
    session.close().unwrap();
    let statuses = statuses.into_inner().unwrap();
    let watching: Vec<i64> =
        statuses.iter().filter(|s| !s.injecting).map(|s| s.decided_by_ns).collect();
    assert!(watching.len() >= 4, "one a second: {watching:?}");
    let (first, last) = (watching[0], *watching.last().unwrap());
    assert!((last - first).abs() < 500_000_000, "it follows the clock: {watching:?}");
    assert!(last >= ended, "it was said to be over before it was");
    // The window, what readiness took, the deadline and 15 s for the look that decides.
    assert!(last < begun + 25_000_000_000, "{}", last - begun);
}
