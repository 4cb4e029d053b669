//! The same with the real thing: `dwell run` with a file injector and a webhook watcher, killed at
//! random moments and started again. The parent plays the SIEM: it reads the log and posts alerts.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dwell::ledger::*;
use dwell::matching::Scanner;
use dwell_injectors::stamp::SystemClock;
use dwell_injectors::token::{KeyRing, TokenId};
use rand::{RngExt, SeedableRng};

use super::child::opening;
use super::oracle::{Losses, Oracle, judge};

const KILLS: usize = 200;

/// A campaign into a log, seen through a webhook.
pub fn configuration(port: u16, window: &str, count: u32, deadline: &str) -> String {
    format!(
        r#"
[ledger]
path = "dwell.db"
[key]
file = "dwell.key"
[campaign]
name = "kill"
window = "{window}"
[[injector]]
name = "log"
type = "file"
path = "target.log"
create = true
[[watcher]]
name = "hook"
type = "webhook"
listen = "127.0.0.1:{port}"
path = "/"
dialect = "json"
auth = {{ type = "none" }}
stage = "detected"
[[route]]
name = "ssh"
recipe = "fake-login/sshd-failed-password"
injector = "log"
enters_at = "host-log"
owner = "SOC"
count = {count}
min_gap = "1ms"
cap_per_hour = 1000000
cap_per_day = 1000000
proof = "written"
response = "none"
[[route.expect]]
stage = "detected"
watchers = ["hook"]
deadline = "{deadline}"
"#
    )
}

/// The SIEM: follows the log, posts an alert for every line, remembers what was answered.
pub struct Siem {
    target: PathBuf,
    offset: u64,
    port: u16,
    scanner: Scanner,
    waiting: Vec<(TokenId, String)>,
    /// Serials in the log, in order.
    pub sent: Vec<u32>,
    posted: u64,
    unanswered: u64,
}

impl Siem {
    pub fn new(target: PathBuf, port: u16, keys: &Arc<KeyRing>) -> Siem {
        Siem {
            target,
            offset: 0,
            port,
            scanner: Scanner::new(Arc::clone(keys)),
            waiting: Vec::new(),
            sent: Vec::new(),
            posted: 0,
            unanswered: 0,
        }
    }

    pub fn read_log(&mut self) {
        let Ok(mut file) = std::fs::File::open(&self.target) else { return };
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            self.offset += line.len() as u64;
            let mut ids = BTreeSet::new();
            self.scanner.scan(line.as_bytes(), &mut |hit| ids.extend(hit.id));
            assert_eq!(ids.len(), 1, "one token a line: {line}");
            let id = ids.pop_first().unwrap();
            self.sent.push(id.serial);
            self.waiting.push((id, line.trim_end().to_owned()));
        }
    }

    fn post(&self, canary: TokenId, line: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let id = format!("alert-{}", canary.serial);
        let body = serde_json::json!({"id": id, "rule": "5710", "log": line}).to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(request.as_bytes()).is_err() {
            return false;
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 2")
    }

    /// Posts one alert; true when there was one and it was answered.
    fn alert(&mut self, oracle: &mut Oracle, reader: &mut Option<Reader>) {
        let Some((canary, line)) = self.waiting.pop() else { return };
        self.posted += 1;
        if !self.post(canary, &line) {
            self.unanswered += 1;
            self.waiting.insert(0, (canary, line));
            return;
        }
        oracle.answered.insert(format!("alert-{}", canary.serial), canary.serial);
        if self.posted.is_multiple_of(3) {
            self.post(canary, &line);
        }
        // What another process can read has been committed: it must never be gone.
        let Some(open) = reader else { return };
        let story = match open.rows_of(canary) {
            Ok(story) => story,
            // Seen once, beside a writer whose disk was failing: SQLite refuses a reader that may not
            // write. Nothing was read, so nothing was promised; the next alert opens anew, as a user would.
            Err(error) if error.to_string().contains("readonly database") => {
                println!("a reader beside a dying writer: {error}");
                *reader = None;
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let accepted = story.iter().any(|(_, row)| {
            matches!(row, Row::Receipt(r) if matches!(r.result, EventResult::Accepted { .. }))
        });
        if accepted {
            oracle.accepted.insert(canary.serial);
        }
    }

    /// Alerts whatever lies in the log until it is over.
    pub fn play(&mut self, folder: &Path, over: &mut dyn FnMut() -> bool, oracle: &mut Oracle) {
        let mut reader = None;
        while !over() {
            self.read_log();
            if self.waiting.is_empty() || TcpStream::connect(("127.0.0.1", self.port)).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            } else {
                reader = reader.or_else(|| Reader::open(&folder.join("dwell.db")).ok());
                self.alert(oracle, &mut reader);
            }
        }
    }

    /// One process, from its start to its violent end. Half of the lives end anywhere, the others
    /// only once the process listens.
    fn one_life(&mut self, folder: &Path, life: Duration, listening: bool, oracle: &mut Oracle) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
            .arg("-c")
            .arg(folder.join("dwell.toml"))
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("stderr.txt")).unwrap())
            .spawn()
            .unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while listening && TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let words = || std::fs::read_to_string(folder.join("stderr.txt")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself: {}", words());
            assert!(Instant::now() < patience, "it never listened: {}", words());
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = rustix::process::Pid::from_child(&child);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        self.play(folder, &mut || killer.is_finished(), oracle);
        killer.join().unwrap();
        let status = child.wait().unwrap();
        let words = std::fs::read_to_string(folder.join("stderr.txt")).unwrap();
        assert_eq!(status.code(), None, "it ended by itself: {words}");
    }
}

#[test]
fn a_campaign_killed_at_random_moments_loses_nothing() {
    let kills = std::env::var("DWELL_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let seed = std::env::var("DWELL_SEED").map_or(5, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.path().join("dwell.toml"), configuration(port, "600ms", 120, "10m"))
        .unwrap();
    let keys = KeyRing::generate();
    keys.create(&folder.path().join("dwell.key")).unwrap();
    let keys = Arc::new(keys);
    let (path, target) = (folder.path().join("dwell.db"), folder.path().join("target.log"));
    let mut siem = Siem::new(target, port, &keys);
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut oracle = Oracle::default();
    let begin = Instant::now();
    for kill in 0..kills {
        let listening = kill % 3 != 0;
        let most = if listening { 450_000 } else { 300_000 };
        let life = Duration::from_micros(random.random_range(0..most));
        siem.one_life(folder.path(), life, listening, &mut oracle);
    }
    siem.read_log();
    let reopen = Instant::now();
    let ledger =
        Ledger::open(&path, &keys.chain_key(), opening(), Arc::new(SystemClock::new())).unwrap();
    let reopen = reopen.elapsed();
    ledger.close(Duration::from_secs(10)).unwrap();
    let found = audit(&path, &keys.chain_key(), None).unwrap();
    let (losses, figures) = judge(&path, &siem.sent, &oracle);
    println!(
        "{kills} kills of `dwell run` in {:.1} s, seed {seed}: {} seen accepted, {} webhooks answered of {} sent ({} unanswered and sent again), last opening {reopen:?}\n{losses:?}\n{figures:?}",
        begin.elapsed().as_secs_f64(),
        oracle.accepted.len(),
        oracle.answered.len(),
        siem.posted,
        siem.unanswered,
    );
    assert!(found.whole(), "{found:?}");
    assert_eq!(losses, Losses::default());
    assert!(figures.unknown_though_never_sent <= kills, "{figures:?}");
    assert!(oracle.accepted.len() > kills && oracle.answered.len() > kills, "{figures:?}");
    assert!(figures.withdrawn_canaries > 0 && figures.strays > 0, "{figures:?}");
}
