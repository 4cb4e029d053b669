//! `kill -9` at random moments while injecting and receiving webhooks (promises P1 and P2).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dwell::ledger::*;
use dwell_injectors::stamp::SystemClock;
use rand::{RngExt, SeedableRng};

use super::child::{KEY, opening};
use super::oracle::{Losses, Oracle, judge};

const KILLS: usize = 200;

/// Starts the process to be killed; its words arrive on the channel until it is dead.
fn start(folder: &Path) -> (Child, Receiver<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child::child", "--exact", "--ignored", "--nocapture", "--quiet"])
        .env("DWELL_FAULT_FOLDER", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (words, said) = channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some(word) = line.strip_prefix('@') {
                let _ = words.send(word.to_owned());
            }
        }
    });
    (child, said)
}

/// True when the webhook was answered 2xx.
fn post(port: u16, serial: u32, id: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let body = format!("{serial} {id}");
    let request = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 2")
}

/// Webhooks to send: canaries that were accepted; those never answered are sent again.
#[derive(Default)]
struct Sender {
    waiting: Vec<(u32, String)>,
    sent: u64,
    unanswered: u64,
}

impl Sender {
    /// Runs one process until `life` is over, posting all the while; then kills it.
    fn one_life(&mut self, folder: &Path, life: Duration, oracle: &mut Oracle) {
        let (mut child, said) = start(folder);
        let end = Instant::now() + life;
        // From a thread of its own, so that it also hits while a webhook is under way.
        let pid = rustix::process::Pid::from_child(&child);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        let mut port = None;
        while Instant::now() < end {
            let patience = end.saturating_duration_since(Instant::now());
            match said.recv_timeout(patience.min(Duration::from_millis(2))) {
                Ok(word) => self.hear(&word, &mut port, oracle),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
            if let Some(port) = port {
                self.send(port, oracle);
            }
        }
        killer.join().unwrap();
        child.wait().unwrap();
        // What it said before it died counts.
        for word in said {
            self.hear(&word, &mut port, oracle);
        }
    }

    fn hear(&mut self, word: &str, port: &mut Option<u16>, oracle: &mut Oracle) {
        match word.split_once(' ').unwrap() {
            ("port", number) => *port = Some(number.parse().unwrap()),
            ("accepted", serial) => {
                let serial = serial.parse().unwrap();
                oracle.accepted.insert(serial);
                self.waiting.push((serial, format!("alert-{serial}")));
            }
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, port: u16, oracle: &mut Oracle) {
        let Some((serial, id)) = self.waiting.pop() else { return };
        self.sent += 1;
        let answered = post(port, serial, &id);
        self.unanswered += u64::from(!answered);
        if answered {
            oracle.answered.insert(id.clone(), serial);
            // Every third sender tries again although it was answered.
            if self.sent.is_multiple_of(3) {
                post(port, serial, &id);
            }
        } else {
            self.waiting.insert(0, (serial, id));
        }
    }
}

#[test]
fn kill_at_random_moments_loses_nothing() {
    let kills = std::env::var("DWELL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("DWELL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(11);
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("l.db"), folder.path().join("target.log"));
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let (mut oracle, mut sender) = (Oracle::default(), Sender::default());
    let mut slowest = Duration::ZERO;
    let begin = Instant::now();
    for kill in 0..kills {
        // Short lives hit the opening and its recovery, longer ones the work.
        let most = if kill % 4 == 0 { 40 } else { 350 };
        let life = Duration::from_micros(random.random_range(0..most * 1_000));
        sender.one_life(folder.path(), life, &mut oracle);
        if kill % 25 == 24 {
            let found = audit(&path, &KEY, None).unwrap();
            assert!(found.whole(), "after kill {kill}, seed {seed}: {found:?}");
        }
    }
    let reopen = Instant::now();
    let ledger = Ledger::open(&path, &KEY, opening(), Arc::new(SystemClock::new())).unwrap();
    slowest = slowest.max(reopen.elapsed());
    ledger.close(Duration::from_secs(10)).unwrap();
    let found = audit(&path, &KEY, None).unwrap();
    let text = std::fs::read_to_string(&target).unwrap();
    let serial = |line: &str| line.strip_prefix("serial=").unwrap().parse::<u32>().unwrap();
    let lines: Vec<u32> = text.lines().map(serial).collect();
    let (losses, figures) = judge(&path, &lines, &oracle);
    println!(
        "{kills} kills in {:.1} s, seed {seed}: {} accepted, {} webhooks answered of {} sent ({} unanswered and sent again), last opening {slowest:?}\n{losses:?}\n{figures:?}",
        begin.elapsed().as_secs_f64(),
        oracle.accepted.len(),
        oracle.answered.len(),
        sender.sent,
        sender.unanswered,
    );
    assert!(found.whole(), "{found:?}");
    assert_eq!(losses, Losses::default());
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // One event at most is between mark and write when a process dies.
    assert!(figures.unknown_though_never_sent <= kills, "{figures:?}");
    // The test is not blind.
    assert!(oracle.accepted.len() > kills && oracle.answered.len() > kills, "{figures:?}");
    assert!(sender.unanswered > 0, "no kill hit a webhook under way");
    assert!(figures.withdrawn_canaries > 0 && figures.strays > 0, "{figures:?}");
}
