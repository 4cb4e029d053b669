//! A process that was killed or stopped while the alerts came: what it reads afterwards is not late.

use dwell::dispatch::outcome::{Fold, Interval, Outcome, Reason};
use dwell_injectors::stamp::{Clock, Stamp, SystemClock};

use super::*;

const DEADLINE: Duration = Duration::from_secs(4);

fn site(watcher: Option<String>) -> Site {
    let mut setup = Setup { count: 3, window: "500ms", deadline: "4s", ..Setup::default() };
    if let Some(watcher) = watcher {
        setup.watcher = watcher;
    }
    let site = Site::new(&setup);
    site.edit("horizon = \"30s\"", "horizon = \"9s\"");
    site
}

/// Starts a run, which stays until the horizon, and waits until it has sent all of its canaries and knows so.
fn all_sent(site: &Site) -> (Child, Instant) {
    let child = site.start(&["run", "--until-horizon"]);
    wait_until("three canaries", || lines(&site.path("auth.log")) >= 3);
    let sent = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    (child, sent)
}

fn alerts(site: &Site) -> Vec<String> {
    let log = std::fs::read_to_string(site.path("auth.log")).unwrap();
    let alert = |line: &str| {
        serde_json::json!({"rule": {"id": "5710"}, "full_log": line.trim()}).to_string()
    };
    log.lines().map(alert).collect()
}

/// Writes an alert for each canary, and says when they were all there.
fn alert_all(site: &Site) -> Stamp {
    let mut file = std::fs::OpenOptions::new().append(true).open(site.path("alerts.json")).unwrap();
    for alert in alerts(site) {
        writeln!(file, "{alert}").unwrap();
    }
    SystemClock::new().now()
}

fn sightings(site: &Site) -> usize {
    site.rows().iter().filter(|row| matches!(row, Row::Sighting(_))).count()
}

/// Nobody can say whether they came in time, and every interval holds the instant at which they were there.
fn straddle(site: &Site, there: Stamp) {
    let mut fold = Fold::new(None);
    site.rows().iter().for_each(|row| fold.apply(row));
    let assessment = fold.assess(None).unwrap();
    assert_eq!(assessment.routes[0].canaries.len(), 3);
    for canary in &assessment.routes[0].canaries {
        let verdict = &canary.verdicts[0];
        let since = u64::try_from(fold.place(&there) - canary.submitted).unwrap();
        let Some(Interval { lower_ns, upper_ns }) = verdict.ttd else { panic!("{verdict:?}") };
        assert!(lower_ns <= since && since <= upper_ns, "{since} ns: {verdict:?}");
        assert!(upper_ns > DEADLINE.as_nanos() as u64, "{verdict:?}");
        assert_eq!(verdict.outcome, Outcome::Indeterminate, "{verdict:?}");
        assert_eq!(verdict.reason, Some(Reason::Straddles));
    }
}

/// Stops the process, and waits until none of its threads runs.
fn stop(child: &Child) {
    signal(child, "-STOP");
    let state = |task: &Path| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    wait_until("the stop", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        tasks.flatten().all(|task| state(&task.path()) == Some('T'))
    });
}

fn until_past_the_deadline(sent: Instant) {
    std::thread::sleep((DEADLINE + Duration::from_secs(1)).saturating_sub(sent.elapsed()));
}

#[test]
fn alerts_that_came_after_a_kill_are_not_late_because_they_are_read_late() {
    let site = site(None);
    let (mut child, sent) = all_sent(&site);
    child.kill().unwrap();
    child.wait().unwrap();
    let there = alert_all(&site);
    until_past_the_deadline(sent);
    let mut watch = site.start(&["watch"]);
    wait_until("all are sighted", || sightings(&site) == 3);
    signal(&watch, "-INT");
    watch.wait().unwrap();
    straddle(&site, there);
}

#[test]
fn alerts_that_came_while_the_process_was_stopped_are_not_late() {
    let site = site(None);
    let (mut child, sent) = all_sent(&site);
    stop(&child);
    let there = alert_all(&site);
    until_past_the_deadline(sent);
    signal(&child, "-CONT");
    wait_until("all are sighted", || sightings(&site) == 3);
    child.wait().unwrap();
    straddle(&site, there);
}

#[test]
fn alerts_that_were_posted_to_a_stopped_process_are_not_late_and_the_span_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = site(Some(format!(
        "type = \"webhook\"\nlisten = \"127.0.0.1:{port}\"\ndialect = \"json\"\n\
         auth = {{ type = \"none\" }}"
    )));
    let (mut child, sent) = all_sent(&site);
    stop(&child);
    let posts: Vec<_> = alerts(&site)
        .into_iter()
        .map(|alert| std::thread::spawn(move || post(port, "/", &alert)))
        .collect();
    let there = SystemClock::new().now();
    until_past_the_deadline(sent);
    signal(&child, "-CONT");
    for posted in posts {
        assert!(posted.join().unwrap().starts_with("HTTP/1.1 2"));
    }
    child.wait().unwrap();
    straddle(&site, there);
    let stopped = |row: &Row| match row {
        Row::Blind(blind) => blind.ours && blind.reason.contains("stopped"),
        _ => false,
    };
    assert!(site.rows().iter().any(stopped), "a sender may have given up meanwhile");
}

#[test]
fn a_file_that_came_and_went_while_the_process_was_stopped_is_told_and_nothing_is_missed() {
    let site = site(None);
    let (mut child, _) = all_sent(&site);
    stop(&child);
    for _ in 0..2 {
        std::fs::remove_file(site.path("alerts.json")).unwrap();
        alert_all_anew(&site);
    }
    std::thread::sleep(Duration::from_millis(1500));
    std::fs::remove_file(site.path("alerts.json")).unwrap();
    std::fs::write(site.path("alerts.json"), "{\"rule\": {\"id\": \"1\"}}\n").unwrap();
    signal(&child, "-CONT");
    child.wait().unwrap();
    assert_eq!(sightings(&site), 0, "nobody could read them");
    let told = |row: &Row| match row {
        Row::Blind(blind) => blind.ours && !blind.recovered && blind.reason.contains("deleted"),
        _ => false,
    };
    assert!(site.rows().iter().any(told));
    let mut fold = Fold::new(None);
    site.rows().iter().for_each(|row| fold.apply(row));
    for canary in &fold.assess(None).unwrap().routes[0].canaries {
        assert_eq!(canary.verdicts[0].outcome, Outcome::Indeterminate, "{:?}", canary.verdicts);
    }
}

/// Writes the alerts into a file that is made for them.
fn alert_all_anew(site: &Site) {
    std::fs::write(site.path("alerts.json"), "").unwrap();
    alert_all(site);
}
