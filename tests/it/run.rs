//! `dwell run` from outside: a log file, a stand-in for a SIEM that copies lines into an alert file,
//! and every way in which a campaign can go wrong.

mod api;
mod first;
mod foretold;
mod late;
mod leftovers;
mod outage;
mod own;
mod series;
mod starts;
mod stops;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dwell::ledger::Row;
use dwell_injectors::stamp::Stamp;

/// A folder with a key, a configuration and two files.
struct Site {
    folder: tempfile::TempDir,
}

/// What differs from test to test.
struct Setup {
    count: u32,
    window: &'static str,
    deadline: &'static str,
    watcher: String,
    log: &'static str,
    more: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            count: 12,
            window: "3s",
            deadline: "2s",
            watcher: "type = \"file\"\npath = \"alerts.json\"\ndialect = \"json\"".into(),
            log: "auth.log",
            more: "",
        }
    }
}

impl Site {
    fn new(setup: &Setup) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let site = Site { folder };
        let made = site.dwell(&["init", "--dir", "made"]);
        assert!(made.status.success());
        std::fs::rename(site.path("made/dwell.key"), site.path("dwell.key")).unwrap();
        std::fs::write(site.path("auth.log"), "").unwrap();
        std::fs::write(site.path("alerts.json"), "").unwrap();
        let Setup { count, window, deadline, watcher, log, more } = setup;
        let config = format!(
            r#"
[ledger]
path = "dwell.db"
[key]
file = "dwell.key"
[campaign]
name = "c"
window = "{window}"
seed = 1
kill_switch = "STOP"
{more}
[[injector]]
name = "log"
type = "file"
path = "{log}"
[[watcher]]
name = "alerts"
stage = "detected"
{watcher}
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
deadline = "{deadline}"
horizon = "30s"
objective = {{ share = 1.0, min_n = 1 }}
"#
        );
        std::fs::write(site.path("dwell.toml"), config).unwrap();
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

    /// Changes the configuration.
    fn edit(&self, old: &str, new: &str) {
        let config = std::fs::read_to_string(self.path("dwell.toml")).unwrap();
        assert!(config.contains(old), "the configuration holds no {old}");
        std::fs::write(self.path("dwell.toml"), config.replace(old, new)).unwrap();
    }

    /// A record of somebody else's: it proves that the watcher can see.
    fn foreign_record(&self) {
        let mut alerts =
            std::fs::OpenOptions::new().append(true).open(self.path("alerts.json")).unwrap();
        writeln!(alerts, r#"{{"rule":{{"id":"1"}},"full_log":"somebody else"}}"#).unwrap();
    }

    fn dwell(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Allows to inject until then.
    fn authorise(&self, until: Stamp) {
        let from = until.plus_ns(-86_400_000_000_000);
        let allowed = format!(
            "[authorisation]\napproved_by = \"a\"\nreference = \"r\"\ncontact = \"c\"\n\
             valid_from = \"{}\"\nvalid_until = \"{}\"\n[campaign]",
            from.timestamp(),
            until.timestamp()
        );
        self.edit("[campaign]", &allowed);
    }

    /// What the ledger holds, in commit order.
    fn rows(&self) -> Vec<Row> {
        crate::watchers::rows(&self.path("dwell.db"))
    }

    /// Outcomes of the report, and the sums that must add up.
    fn outcomes(&self) -> (BTreeMap<String, u64>, serde_json::Value) {
        let report = self.dwell(&["report", "--json"]);
        let model: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let route = &model["routes"][0];
        let outcomes: BTreeMap<String, u64> =
            serde_json::from_value(route["expectations"][0]["outcomes"].clone()).unwrap();
        let withdrawn: u64 =
            route["withdrawn"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        let injected = route["injected"].as_u64().unwrap();
        assert_eq!(route["planned"].as_u64().unwrap(), withdrawn + injected, "conservation");
        assert_eq!(outcomes.values().sum::<u64>(), injected, "conservation");
        (outcomes, model)
    }
}

/// Copies each line of the log into an alert until dropped.
struct Siem {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Siem {
    fn start(site: &Site, silent_for: Duration) -> Siem {
        let stop = Arc::new(AtomicBool::new(false));
        let (log, alerts, end) =
            (site.path("auth.log"), site.path("alerts.json"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut log = BufReader::new(std::fs::File::open(log).unwrap());
            let mut alerts = std::fs::OpenOptions::new().append(true).open(alerts).unwrap();
            let mut line = String::new();
            while !end.load(Ordering::Relaxed) {
                if begin.elapsed() < silent_for || log.read_line(&mut line).unwrap() == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                let alert =
                    serde_json::json!({ "rule": { "id": "5710" }, "full_log": line.trim() });
                writeln!(alerts, "{alert}").unwrap();
                line.clear();
            }
        });
        Siem { stop, thread: Some(thread) }
    }
}

impl Drop for Siem {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Reads what a process says until it says this. Who drops the rest closes its stderr.
fn until_said(child: &mut Child, words: &str) -> BufReader<ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(words) {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended before {words:?}: {said}");
    }
    stderr
}

fn wait_until(what: &str, mut test: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !test() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn a_campaign_that_is_seen_in_time_ends_with_zero() {
    let site = Site::new(&Setup::default());
    let _siem = Siem::start(&site, Duration::ZERO);
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("detected".to_owned(), 12)]));
    assert_eq!(model["routes"][0]["expectations"][0]["share"]["counted_as_failed"]["n"], 12);
    let verified = site.dwell(&["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    // The same ledger and cut give the same bytes.
    let first = site.dwell(&["report", "--format", "html"]).stdout;
    assert_eq!(first, site.dwell(&["report", "--format", "html"]).stdout);
}

#[test]
fn a_dry_run_writes_nothing_anywhere() {
    let site = Site::new(&Setup::default());
    let before = snapshot(site.folder.path());
    let done = site.dwell(&["run", "--dry-run", "--json"]);
    assert_eq!(done.status.code(), Some(0));
    let plan: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(plan["canaries"].as_array().unwrap().len(), 12);
    assert_eq!(snapshot(site.folder.path()), before);
}

#[test]
fn silence_before_a_watcher_that_never_saw_a_record_is_never_proven() {
    let site = Site::new(&Setup { count: 3, window: "1s", deadline: "1s", ..Setup::default() });
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(4));
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("indeterminate".to_owned(), 3)]));
    assert!(model["misses"][0]["reason"].as_str().unwrap().contains("never proved"));
}

#[test]
fn a_siem_that_never_raises_an_alert_misses_and_says_at_which_stage() {
    let site = Site::new(&Setup { count: 3, window: "1s", deadline: "1s", ..Setup::default() });
    // One record of somebody else's proves that the watcher can see.
    let child = site.start(&["run"]);
    wait_until("the first line", || lines(&site.path("auth.log")) > 0);
    site.foreign_record();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("missed".to_owned(), 3)]));
    assert_eq!(model["misses"][0]["last_stage"], "delivered");
}

#[test]
fn a_siem_that_was_slow_is_late_and_not_missed() {
    let setup = Setup { count: 3, window: "500ms", deadline: "1s", ..Setup::default() };
    let site = Site::new(&setup);
    let _siem = Siem::start(&site, Duration::from_secs(4));
    let done = site.dwell(&["run", "--until-horizon"]);
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(site.outcomes().0, BTreeMap::from([("late".to_owned(), 3)]));
}

#[test]
fn a_target_that_is_missing_leaves_everything_undelivered() {
    let site = Site::new(&Setup { log: "absent.log", count: 3, window: "1s", ..Setup::default() });
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes, BTreeMap::from([("undelivered".to_owned(), 3)]));
    assert!(model["misses"][0]["reason"].as_str().unwrap().contains("absent.log"));
    assert!(!site.path("absent.log").exists(), "dwell made a file that it was not told to make");
}

/// A health check or a scanner reaches the webhook, and nothing else does.
#[test]
fn junk_at_the_webhook_does_not_turn_silence_into_misses() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for dialect in ["elastalert2", "json"] {
        let watcher = format!(
            "type = \"webhook\"\nlisten = \"127.0.0.1:{port}\"\ndialect = \"{dialect}\"\n\
             auth = {{ type = \"none\" }}"
        );
        let setup = Setup { count: 2, window: "1s", deadline: "1s", watcher, ..Setup::default() };
        let site = Site::new(&setup);
        let run = site.start(&["run"]);
        wait_until("the first canary", || lines(&site.path("auth.log")) >= 1);
        for body in ["{}", "[]", "[{}]", r#"{"health":"ok"}"#] {
            assert!(post(port, "/", body).starts_with("HTTP/1.1 2"), "{dialect}: {body}");
        }
        let done = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(4), "{dialect}: {said}");
        let (outcomes, model) = site.outcomes();
        assert_eq!(outcomes, BTreeMap::from([("indeterminate".to_owned(), 2)]), "{dialect}");
        assert_eq!(model["watchers"][0]["proven"], false, "{dialect}");
    }
}

/// Posts a body and returns the answer.
fn post(port: u16, path: &str, body: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn fixed_arrivals_warn() {
    let setup = Setup {
        count: 2,
        window: "1s",
        deadline: "1s",
        more: "arrivals = \"fixed\"",
        ..Setup::default()
    };
    let site = Site::new(&setup);
    let done = site.dwell(&["run"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("fixed arrivals measure one phase"), "{said}");
}

#[test]
fn caps_hold_over_runs() {
    let site = Site::new(&Setup { count: 4, window: "1s", deadline: "1s", ..Setup::default() });
    site.edit("cap_per_hour = 1000", "cap_per_hour = 6");
    let _siem = Siem::start(&site, Duration::ZERO);
    site.dwell(&["run"]);
    site.dwell(&["run"]);
    let (_, model) = site.outcomes();
    assert_eq!(lines(&site.path("auth.log")), 6);
    assert_eq!(model["routes"][0]["withdrawn"]["cap per hour"], 2);
}

#[test]
fn quiet_hours_withdraw_and_are_reported() {
    let quiet = "quiet_hours = [\"00:00-12:00\", \"12:00-00:00\"]";
    let site = Site::new(&Setup { count: 3, window: "1s", more: quiet, ..Setup::default() });
    site.dwell(&["run"]);
    let report = site.dwell(&["report", "--json"]);
    let model: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(model["routes"][0]["withdrawn"]["quiet hours"], 3);
    assert_eq!(model["quiet_hours"].as_array().unwrap().len(), 2);
    assert_eq!(lines(&site.path("auth.log")), 0);
}

#[test]
fn after_kill_minus_nine_nothing_accepted_is_lost_and_watch_goes_on() {
    let site = Site::new(&Setup { count: 100, window: "10s", deadline: "5s", ..Setup::default() });
    let mut child = site.start(&["run"]);
    wait_until("some canaries", || lines(&site.path("auth.log")) >= 10);
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = lines(&site.path("auth.log")) as u64;
    let _siem = Siem::start(&site, Duration::ZERO);
    site.dwell(&["watch"]);
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes.get("detected").copied().unwrap_or(0), sent, "{outcomes:?}");
    assert_eq!(model["routes"][0]["withdrawn"]["crash"].as_u64().unwrap(), 100 - sent);
}

#[test]
fn a_ledger_whose_writer_died_before_its_first_commit_is_made_anew() {
    let site = Site::new(&Setup { count: 2, window: "500ms", deadline: "1s", ..Setup::default() });
    std::fs::write(site.path("dwell.db"), "").unwrap();
    let _siem = Siem::start(&site, Duration::ZERO);
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(site.outcomes().0, BTreeMap::from([("detected".to_owned(), 2)]));
}

/// An alert whose every text is meant for a terminal, a browser or a spreadsheet, posted to a webhook:
/// it detects, and nothing that dwell prints of it is alive.
#[test]
fn a_hostile_alert_is_counted_and_inert_in_every_format() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let watcher = format!(
        "type = \"webhook\"\nlisten = \"127.0.0.1:{port}\"\npath = \"/hook\"\ndialect = \"json\"\n\
         auth = {{ type = \"none\" }}"
    );
    let site = Site::new(&Setup { count: 1, window: "1s", watcher, ..Setup::default() });
    let run = site.start(&["run"]);
    let begin = Instant::now();
    let line = loop {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing was injected");
        let text = std::fs::read_to_string(site.path("auth.log")).unwrap();
        match text.lines().next() {
            Some(line) if text.ends_with('\n') => break line.to_owned(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let evil = "=cmd|' /C calc'!A0<script>alert(1)</script>\u{1b}[31m\u{1b}]52;c;eA==\u{7}\u{0}\u{202e}\r\n,\"x";
    let alert = serde_json::json!({
        "id": evil, "rule": {"id": evil, "name": evil}, "message": line, evil: evil,
    });
    let answer = post(port, "/hook", &alert.to_string());
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let rows = site.dwell(&["ledger", "export"]);
    let canary = String::from_utf8_lossy(&rows.stdout);
    assert!(
        canary.contains("u202e") || canary.contains('\u{202e}'),
        "the ledger keeps what it was"
    );
    let mut printed = vec![done.stderr];
    for format in ["text", "html", "json", "csv", "junit"] {
        let report = site.dwell(&["report", "--format", format]);
        assert_eq!(report.status.code(), Some(0), "{format}");
        printed.push(report.stdout);
    }
    let token = line.split(|c: char| !c.is_ascii_alphanumeric()).find(|w| w.len() == 16).unwrap();
    let told = site.dwell(&["explain", token]);
    assert!(told.status.code() == Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    printed.push(told.stdout);
    for page in printed {
        let text = String::from_utf8(page).unwrap();
        let alive =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        let found = text.chars().find(|c| alive(*c));
        assert_eq!(found, None, "{:?} in {text}", found);
        let markup = text.starts_with("<!") || text.starts_with("<?");
        assert!(!(markup && text.contains("<script>alert")), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("=cmd")), "{text}");
    }
}
