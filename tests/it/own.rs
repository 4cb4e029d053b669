//! What dwell wrote itself is no detection: by no file name, after no rotation, in no second run.
//!
//! There is no detector in any of these campaigns, so that whatever is detected is a lie.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A campaign that writes to `log` and waits for lines in `alerts.json`.
    fn new(log: &str, count: u32, window: &str) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        assert!(site.dwell(&["init", "--dir", "made"]).status.success());
        std::fs::rename(site.path("made/dwell.key"), site.path("dwell.key")).unwrap();
        let config = format!(
            r#"
[ledger]
path = "dwell.db"
[key]
file = "dwell.key"
[campaign]
name = "own"
window = "{window}"
seed = 1
[[injector]]
name = "log"
type = "file"
path = "{log}"
create = true
[[watcher]]
name = "alerts"
type = "file"
path = "alerts.json"
dialect = "lines"
stage = "detected"
[[route]]
name = "ssh"
recipe = "fake-login/sshd-failed-password"
injector = "log"
enters_at = "host-log"
owner = "SOC"
count = {count}
cap_per_hour = 1000
cap_per_day = 1000
proof = "written"
response = "none"
[[route.expect]]
stage = "detected"
watchers = ["alerts"]
deadline = "2s"
horizon = "30s"
"#
        );
        std::fs::write(site.path("dwell.toml"), config).unwrap();
        std::fs::write(site.path("alerts.json"), "somebody else\n").unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn dwell(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self) -> Child {
        self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for so many lines in a file.
    fn lines(&self, name: &str, wanted: usize) {
        let begin = Instant::now();
        while std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count() < wanted
        {
            assert!(begin.elapsed() < Duration::from_secs(30), "{name} has not {wanted} lines");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn report(&self) -> (BTreeMap<String, u64>, serde_json::Value) {
        let report = self.dwell(&["report", "--json"]);
        let model: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let outcomes = &model["routes"][0]["expectations"][0]["outcomes"];
        (serde_json::from_value(outcomes.clone()).unwrap(), model)
    }
}

/// What is prepared before `check`, and its name.
type Case<'a> = (&'a str, &'a dyn Fn(&Site));

fn missed(count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("missed".to_owned(), count)])
}

#[test]
fn a_log_whose_name_begins_alike_is_no_rotated_alert_file() {
    let site = Site::new("alerts-source.log", 5, "3s");
    let run = site.start();
    site.lines("alerts-source.log", 2);
    std::fs::rename(site.path("alerts.json"), site.path("alerts.json.1")).unwrap();
    std::fs::write(site.path("alerts.json"), "somebody else again\n").unwrap();
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.report();
    assert_eq!(outcomes, missed(5));
    assert_eq!(model["strays"], serde_json::json!({}), "it was not even read");
}

#[test]
fn a_second_run_takes_nothing_of_the_first_ones_log_for_an_alert() {
    let site = Site::new("alerts-source.log", 3, "1s");
    for sent in [3, 6] {
        let run = site.start();
        // Between the runs another program wrote one line to the log.
        site.lines("alerts-source.log", sent + sent / 6);
        site.append("alerts.json", "somebody else\n");
        let done = run.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
        let (outcomes, model) = site.report();
        assert_eq!(outcomes, missed(sent as u64));
        assert_eq!(model["strays"], serde_json::json!({}));
        site.append("alerts-source.log", "somebody else\n");
    }
}

#[test]
fn a_copy_of_what_was_sent_is_echoed_and_what_quotes_it_is_detected() {
    let site = Site::new("auth.log", 4, "2s");
    let run = site.start();
    site.lines("auth.log", 4);
    let sent = std::fs::read_to_string(site.path("auth.log")).unwrap();
    let quoted = format!("rule 5710: {}", sent.lines().next().unwrap());
    site.append("alerts.json", &format!("{sent}{quoted}\n"));
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.report();
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
        let site = Site::new("auth.log", 1, "1s");
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
            let text = std::fs::read_to_string(site.path("dwell.toml")).unwrap();
            let text = text.replace("auth.log", "real/a.log");
            let text = text.replace("alerts.json", "linked/a.log");
            std::fs::write(site.path("dwell.toml"), text).unwrap();
        }),
    ];
    for (name, prepare) in cases {
        let (is_refused, text) = refused(prepare);
        assert!(is_refused, "{name}: {text}");
    }
    let (is_refused, text) = refused(&|_| {});
    assert!(!is_refused, "two files are sound: {text}");
}
