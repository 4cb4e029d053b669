//! The process that is killed: it injects into a file and takes webhooks, through the real ledger
//! and the real file injector, in the order that dispatch keeps (intent durable, mark, deliver,
//! receipt not waited for; answered only after the commit).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dwell::ledger::*;
use dwell_injectors::injector::Event;
use dwell_injectors::registry::InjectorSettings;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::{Epoch, TokenId, following};

pub const KEY: [u8; 32] = [9; 32];
pub const EPOCH: Epoch = Epoch(1);
/// Canaries of a run, and intents committed at once.
const PLANNED: u32 = 60;
const AHEAD: usize = 6;

pub fn opening() -> Opening {
    Opening { verb: "run".to_owned() }
}

/// Not a test of its own: the parent starts this binary with the folder in the environment.
#[test]
#[ignore = "run by the kill test"]
fn child() {
    let Some(folder) = std::env::var_os("DWELL_FAULT_FOLDER").map(PathBuf::from) else { return };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = Ledger::open(&folder.join("l.db"), &KEY, opening(), Arc::clone(&clock)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hook = ledger.clone();
    let hook_clock = Arc::clone(&clock);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (ledger, clock) = (hook.clone(), Arc::clone(&hook_clock));
            std::thread::spawn(move || answer(stream, &ledger, clock.as_ref()));
        }
    });
    say(&format!("port {port}"));
    let mut number = Reader::open(&folder.join("l.db")).unwrap().runs().unwrap().len() as u32;
    // The parent always kills; a forgotten child ends by itself.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while std::time::Instant::now() < until {
        number += 1;
        inject(&folder, &ledger, &clock, number);
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn inject(folder: &Path, ledger: &Ledger, clock: &Arc<dyn Clock>, number: u32) {
    let target = folder.join("target.log");
    let settings: InjectorSettings =
        serde_json::from_value(serde_json::json!({"type": "file", "path": target, "create": true}))
            .unwrap();
    let mut injector = settings.build(Arc::clone(clock)).unwrap();
    ledger.append(one(run_row(number, clock.as_ref()))).wait().unwrap();
    let first = ledger.reserve_serials(EPOCH, PLANNED).unwrap();
    let (tickets, waiting) = std::sync::mpsc::channel::<(u32, Ticket)>();
    let acknowledged = std::thread::spawn(move || {
        for (serial, ticket) in waiting {
            ticket.wait().unwrap();
            say(&format!("accepted {serial}"));
        }
    });
    for group in (0..PLANNED).collect::<Vec<_>>().chunks(AHEAD) {
        let intents =
            group.iter().map(|slot| intent(number, *slot, following(first, *slot), clock.as_ref()));
        let batch = Batch { rows: intents.collect(), ..Batch::default() };
        ledger.append(batch).wait().unwrap();
        for slot in group {
            let canary = TokenId { epoch: EPOCH, serial: following(first, *slot) };
            ledger.mark_departure(canary).unwrap();
            let receipt = injector.deliver(&event(canary.serial), Duration::from_secs(2)).unwrap();
            let row = ReceiptRow {
                canary,
                event: 0,
                submitted_at: receipt.submitted_at,
                late_ns: 0,
                result: EventResult::Accepted {
                    at: receipt.accepted_at,
                    strength: receipt.strength,
                    place: receipt.place,
                },
            };
            tickets.send((canary.serial, ledger.append(one(Row::Receipt(row))))).unwrap();
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    drop(tickets);
    acknowledged.join().unwrap();
    let ended = Ended { at: clock.now(), run: number, reason: "decided".to_owned() };
    ledger.append(one(Row::Ended(ended))).wait().unwrap();
}

fn one(row: Row) -> Batch {
    Batch { rows: vec![row], ..Batch::default() }
}

fn event(serial: u32) -> Event {
    Event {
        index: 0,
        offset: Duration::ZERO,
        body: format!("serial={serial}"),
        completing: true,
        syslog: None,
        key: None,
        time_ns: 0,
    }
}

fn intent(run: u32, slot: u32, serial: u32, clock: &dyn Clock) -> Row {
    Row::Intent(Intent {
        canary: TokenId { epoch: EPOCH, serial },
        run,
        route: 0,
        slot,
        intended: clock.now(),
        digests: vec!["00".repeat(16)],
        completing: 0,
    })
}

fn run_row(run: u32, clock: &dyn Clock) -> Row {
    serde_json::from_value(serde_json::json!({
        "k": "run", "at": clock.now(), "run": run, "campaign": "kill", "seed": 1,
        "arrivals": "fixed", "starts": clock.now(), "window_ns": 1, "quiet_hours": [],
        "config_digest": "", "config": {}, "recipes": {}, "dialects": {}, "authorisation": null,
        "watchers": [], "routes": [{"name": "r", "recipe": "x", "attack": [],
            "enters_at": "host-log", "owner": "o", "supplier": false, "target": "t",
            "proof": "written", "planned": PLANNED, "expectations": []}]
    }))
    .unwrap()
}

/// One webhook: `serial id` in the body; 204 after the commit, 503 when there is none.
fn answer(stream: TcpStream, ledger: &Ledger, clock: &dyn Clock) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8(body).unwrap();
    let (serial, id) = body.split_once(' ').unwrap();
    let sighting = SightingRow {
        canary: TokenId { epoch: EPOCH, serial: serial.parse().unwrap() },
        watcher: "hook".to_owned(),
        stage: Stage::Detected,
        observed: clock.now(),
        not_before: None,
        native_id: id.to_owned(),
        rule: None,
        rule_names: Vec::new(),
        event_time_ns: None,
        created_time_ns: None,
        grade: Grade::Exact,
        retrospective: false,
        excerpt: String::new(),
    };
    let committed = ledger.append(Batch { sightings: vec![sighting], ..Batch::default() }).wait();
    let status = if committed.is_ok() { "204 No Content" } else { "503 Unavailable" };
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = reader.get_mut().write_all(text.as_bytes());
}
