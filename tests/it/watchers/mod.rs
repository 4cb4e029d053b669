//! What every watcher promises, against a real ledger, real files and real sockets.

mod files;
mod hooks;
#[cfg(feature = "kafka")]
mod kafka;
mod polls;
mod sights;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dwell::dialects::Dialects;
use dwell::ledger::{Batch, Blind, Intent, Ledger, Opening, Reader, Row, Stage, StrayClass};
use dwell::matching::Scanner;
use dwell::watchers::{Pulse, RESOLUTION, WatchContext, WatcherSettings, build};
use dwell_injectors::stamp::{Clock, Stamp, SystemClock};
use dwell_injectors::token::{Carrier, KeyRing};

const KEY: [u8; 32] = [7; 32];

/// A folder with a ledger that knows a number of canaries.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub ledger: Option<Ledger>,
    pub keys: Arc<KeyRing>,
    pub clock: Arc<SystemClock>,
    runtime: tokio::runtime::Runtime,
}

/// A watcher at work.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), dwell::watchers::WatchError>>,
}

impl Bench {
    pub fn new(canaries: u32) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(KeyRing::with_fixed_key([3; 32]));
        let clock = Arc::new(SystemClock::new());
        let mut bench = Bench {
            folder,
            ledger: None,
            keys,
            clock,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
        };
        bench.open();
        let rows = (0..canaries)
            .map(|serial| {
                Row::Intent(Intent {
                    canary: bench.keys.mint(bench.keys.newest(), serial).unwrap().id(),
                    run: 1,
                    route: 0,
                    slot: serial,
                    intended: bench.clock.now(),
                    digests: vec![],
                    completing: 0,
                })
            })
            .collect();
        let ticket = bench.ledger().append(Batch { rows, ..Batch::default() });
        ticket.wait().unwrap();
        bench
    }

    /// What a run's injectors would write.
    pub fn own_file(&self) -> PathBuf {
        self.folder.path().join("injected.log")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    pub fn open(&mut self) {
        let opening = Opening { verb: "run".into() };
        self.ledger = Some(Ledger::open(&self.path(), &KEY, opening, self.clock.clone()).unwrap());
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    pub fn token(&self, serial: u32) -> String {
        self.keys.mint(self.keys.newest(), serial).unwrap().text(Carrier::Text)
    }

    pub fn alert(&self, serial: u32) -> String {
        format!(
            r#"{{"id":"a{serial}","time":"2026-11-24T09:05:01Z","rule":{{"id":"r1","title":"t"}},"fields":{{"user":"{}"}}}}"#,
            self.token(serial)
        )
    }

    pub fn start(&self, settings: &str) -> Running {
        let running = self.start_unready(settings);
        let ready = running.1;
        until("the watcher is ready", || ready.load(Ordering::Acquire));
        running.0
    }

    pub fn start_unready(&self, settings: &str) -> (Running, Arc<AtomicBool>) {
        let settings: WatcherSettings = toml::from_str(settings).unwrap();
        let watcher = build(&settings, &Dialects::embedded().unwrap()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let context = WatchContext {
            name: "w".into(),
            stage: Stage::Detected,
            config_digest: "d".into(),
            ledger: self.ledger().clone(),
            cursor: Reader::open(&self.path()).unwrap().cursor("w").unwrap(),
            anew: false,
            clock: self.clock.clone(),
            pulse: Pulse::start(self.clock.clone()).unwrap(),
            scanner: Arc::new(Scanner::new(self.keys.clone())),
            own_files: Arc::from([self.own_file()]),
            stop: stop.clone(),
            ready: ready.clone(),
            blind_reason: Default::default(),
            runtime: self.runtime.handle().clone(),
        };
        let thread = std::thread::spawn(move || watcher.run(context));
        (Running { stop, thread }, ready)
    }

    pub fn rows(&self) -> Vec<Row> {
        rows(&self.path())
    }

    /// The rows that say where it was blind, in order.
    pub fn blinds(&self) -> Vec<Blind> {
        let blind = |row| if let Row::Blind(blind) = row { Some(blind) } else { None };
        self.rows().into_iter().filter_map(blind).collect()
    }

    /// The lower bound of what is known about when a canary's alert came, and true where the row gives it.
    pub fn since(&self, serial: u32) -> (Stamp, bool) {
        let rows = self.rows();
        let of = |row: &Row| match row {
            Row::Sighting(s) if s.canary.serial == serial => {
                let fine = -(RESOLUTION.as_nanos() as i64);
                Some((s.not_before.unwrap_or(s.observed.plus_ns(fine)), s.not_before.is_some()))
            }
            _ => None,
        };
        rows.iter().find_map(of).expect("it was sighted")
    }

    /// Serials of the sightings, in order.
    pub fn sighted(&self) -> Vec<u32> {
        let rows = self.rows();
        rows.iter()
            .filter_map(|row| match row {
                Row::Sighting(sighting) => Some(sighting.canary.serial),
                _ => None,
            })
            .collect()
    }

    pub fn strays(&self, class: StrayClass) -> u64 {
        let rows = self.rows();
        rows.iter()
            .map(|row| match row {
                Row::Stray(stray) if stray.class == class => stray.count,
                _ => 0,
            })
            .sum()
    }
}

impl Running {
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

/// All rows of a ledger.
pub fn rows(ledger: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let reader = Reader::open(ledger).unwrap();
    reader
        .rows(|_, row| {
            rows.push(row);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// Waits for a condition, within bounds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn append(path: &Path, line: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn file_settings(path: &Path) -> String {
    format!("type='file'\npath='{}'\ndialect='reference-detector'", path.display())
}

fn numbers(count: u32) -> Vec<u32> {
    (0..count).collect()
}

fn sorted(mut serials: Vec<u32>) -> Vec<u32> {
    serials.sort_unstable();
    serials
}

#[test]
fn a_file_that_comes_later_is_read_whole_and_its_absence_is_made_good() {
    let bench = Bench::new(3);
    let path = bench.folder.path().join("alerts.json");
    let running = bench.start(&file_settings(&path));
    append(&path, &bench.alert(0));
    append(&path, &bench.alert(0));
    append(&path, &bench.alert(1));
    until("both are sighted", || bench.sighted().len() == 2);
    running.stop();
    assert_eq!(bench.sighted(), [0, 1]);
    assert_eq!(bench.strays(StrayClass::Duplicate), 1);
    let rows = bench.rows();
    assert!(rows.iter().any(|r| matches!(r, Row::Blind(b) if b.recovered && !b.ours)));
    assert!(rows.iter().any(|r| matches!(r, Row::Proven(_))));
    assert!(rows.iter().any(|r| matches!(r, Row::Look(l) if l.complete)));
}

#[test]
fn a_restart_skips_nothing_even_if_the_file_was_rotated_meanwhile() {
    let bench = Bench::new(6);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    append(&path, &bench.alert(0));
    until("the first is sighted", || bench.sighted() == [0]);
    running.stop();
    append(&path, &bench.alert(1));
    std::fs::rename(&path, bench.folder.path().join("alerts.json.1")).unwrap();
    append(&path, &bench.alert(2));
    let running = bench.start(&file_settings(&path));
    append(&path, &bench.alert(3));
    until("all are sighted", || bench.sighted().len() == 4);
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(4));
    let lost = |r: &Row| matches!(r, Row::Blind(b) if !b.recovered);
    assert!(!bench.rows().iter().any(lost));
}

#[test]
fn a_hundred_rotations_by_rename_lose_and_double_nothing() {
    let bench = Bench::new(300);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    for round in 0..100 {
        append(&path, &bench.alert(round * 3));
        append(&path, &bench.alert(round * 3 + 1));
        std::fs::rename(&path, bench.folder.path().join(format!("alerts.json.{round}"))).unwrap();
        append(&path, &bench.alert(round * 3 + 2));
    }
    until("all are sighted", || bench.sighted().len() >= 300);
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(300));
    assert_eq!(bench.strays(StrayClass::Duplicate), 0);
}

#[test]
fn a_cut_in_place_is_reported_and_reading_goes_on() {
    let bench = Bench::new(20);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    for serial in 0..20 {
        append(&path, &bench.alert(serial));
        until("it is sighted", || bench.sighted().len() == serial as usize + 1);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    }
    running.stop();
    assert_eq!(bench.sighted(), numbers(20));
    let cut = |r: &&Row| matches!(r, Row::Blind(b) if !b.recovered && !b.ours && b.to.is_some());
    assert!(bench.rows().iter().filter(cut).count() >= 15);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends bytes and returns the status.
fn exchange(port: u16, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = [0; 64];
    let n = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..n]);
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn post(port: u16, path: &str, headers: &str, body: &str) -> u16 {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n{headers}\r\n");
    exchange(port, format!("{head}{body}").as_bytes())
}

#[test]
fn a_webhook_answers_after_the_commit_and_refuses_within_limits() {
    let bench = Bench::new(3);
    let secret = bench.folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef-key").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, private).unwrap();
    let port = free_port();
    let settings = format!(
        "type='webhook'\nlisten='127.0.0.1:{port}'\npath='/hook'\ndialect='reference-detector'\n\
         auth={{type='bearer',secrets=[{{file='{}'}}]}}",
        secret.display()
    );
    let running = bench.start(&settings);
    let good = "authorization: Bearer 0123456789abcdef-key\r\n";
    assert_eq!(post(port, "/hook", good, &bench.alert(0)), 204);
    assert_eq!(bench.sighted(), [0], "answered means committed");
    assert_eq!(post(port, "/hook", good, &bench.alert(0)), 204);
    assert_eq!(post(port, "/hook", "", &bench.alert(1)), 401);
    assert_eq!(post(port, "/hook", "authorization: Bearer x\r\n", &bench.alert(1)), 401);
    assert_eq!(post(port, "/other", good, &bench.alert(1)), 404);
    assert_eq!(post(port, "/hook", good, "<html>"), 400);
    let big = format!("{good}content-type: x\r\n");
    let head = format!("POST /hook HTTP/1.1\r\nhost: h\r\ncontent-length: 1048577\r\n{big}\r\n");
    assert_eq!(exchange(port, head.as_bytes()), 413);
    assert_eq!(exchange(port, b"GET /hook HTTP/1.1\r\nhost: h\r\n\r\n"), 405);
    // 200 slow senders do not keep a good one waiting, and are closed.
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"P").unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(post(port, "/hook", good, &bench.alert(2)), 204);
    assert!(begin.elapsed() < Duration::from_secs(2));
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed by the header limit");
    }
    running.stop();
    assert_eq!(bench.sighted(), [0, 2]);
    assert_eq!(bench.strays(StrayClass::Duplicate), 1);
}

#[cfg(feature = "kafka")]
#[test]
fn kafka_misses_no_first_record_and_makes_an_outage_good() {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let bench = Bench::new(40);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", 2, 1).unwrap();
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "0")
        // Else the sender itself may stay away for longer than a flush waits.
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .unwrap();
    let send = |serial: u32| {
        let body = bench.alert(serial);
        let record = BaseRecord::<str, str>::to("alerts")
            .partition(i32::try_from(serial % 2).unwrap())
            .payload(&body);
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    };
    // What was there before is none of ours.
    send(39);
    let settings = format!(
        "type='kafka'\nbrokers=['{}']\ntopic='alerts'\ndialect='reference-detector'",
        cluster.bootstrap_servers()
    );
    let mut next = 0;
    // Each start races its first record; what is sent between two runs is read by the next one.
    let mut between = Vec::new();
    for _ in 0..5 {
        let running = bench.start(&settings);
        send(next);
        send(next + 1);
        until("both are sighted", || bench.sighted().len() == next as usize + 2);
        running.stop();
        send(next + 2);
        between.push((next + 2, bench.clock.now()));
        next += 3;
    }
    let running = bench.start(&settings);
    until("all are sighted", || bench.sighted().len() == next as usize);
    // Tokens in the key, in a header, and in a record that takes an earlier one back.
    let (key, header) = (bench.token(30), bench.token(31));
    let headers = OwnedHeaders::new().insert(Header { key: "source", value: Some(&header) });
    let record = BaseRecord::to("alerts").key(&key).payload("{\"id\":\"beside\"}").headers(headers);
    producer.send(record).unwrap();
    let back = bench.token(32);
    producer.send(BaseRecord::<str, str>::to("alerts").key(&back)).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    until("key and header are read", || bench.sighted().len() == next as usize + 2);
    let beside: Vec<u32> = bench.sighted().split_off(next as usize);
    assert_eq!(sorted(beside), [30, 31]);
    let blind = |open: bool| {
        bench.rows().iter().any(|r| match r {
            Row::Blind(b) => b.to.is_none() == open && !b.ours && (open || b.recovered),
            _ => false,
        })
    };
    cluster.broker_down(1).unwrap();
    until("the outage is seen", || blind(true));
    cluster.broker_up(1).unwrap();
    send(next);
    between.push((next, bench.clock.now()));
    until("the outage is over", || blind(false) && bench.sighted().contains(&next));
    running.stop();
    let mut expected = numbers(next + 1);
    expected.extend([30, 31]);
    assert_eq!(sorted(bench.sighted()), expected, "what took one back is no alert");
    for (serial, sent) in between {
        let (since, given) = bench.since(serial);
        assert!(given && sent.since(&since).ns > 0, "{serial} came while nobody read");
    }
    assert_eq!(bench.strays(StrayClass::Duplicate), 0);
}

/// A kind of watcher that nobody disturbs signs nothing.
#[test]
fn every_kind_of_watcher_is_tested_here() {
    let here = concat!(
        include_str!("mod.rs"),
        include_str!("files.rs"),
        include_str!("hooks.rs"),
        include_str!("kafka.rs"),
        include_str!("polls.rs")
    );
    let schema = schemars::schema_for!(dwell::watchers::WatcherSettings).to_value();
    let kinds = schema["oneOf"].as_array().unwrap();
    assert!(kinds.len() >= 4, "{schema}");
    for kind in kinds {
        let name = kind["properties"]["type"]["const"].as_str().unwrap();
        let used = here.contains(&format!("type='{name}'"));
        assert!(used, "nothing in tests/it/watchers has a watcher `{name}`");
    }
}
