//! What ends injection before the plan does: the kill switch, a signal, a window without room.

use std::sync::Mutex;

use dwell::ledger::EventResult;
use dwell_injectors::stamp::{Clock, SystemClock};

use super::*;

#[test]
fn the_kill_switch_acts_within_a_second_and_nothing_is_forgotten() {
    let site = Site::new(&Setup { count: 200, window: "20s", ..Setup::default() });
    let _siem = Siem::start(&site, Duration::ZERO);
    let mut child = site.start(&["run"]);
    wait_until("some canaries", || lines(&site.path("auth.log")) >= 5);
    let stopped = site.dwell(&["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", String::from_utf8_lossy(&stopped.stderr));
    std::thread::sleep(Duration::from_secs(1));
    let after_a_second = lines(&site.path("auth.log"));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(lines(&site.path("auth.log")), after_a_second, "something left after the stop");
    let (outcomes, model) = site.outcomes();
    let withdrawn = model["routes"][0]["withdrawn"]["kill switch"].as_u64().unwrap();
    assert_eq!(outcomes["detected"] + withdrawn, 200);
    assert!(withdrawn > 100, "only {withdrawn} withdrawn");
    assert_eq!(outcomes["detected"] as usize, after_a_second, "what left is what was recorded");
}

#[test]
fn a_run_that_was_stopped_early_carries_no_claim() {
    let site = Site::new(&Setup { count: 400, window: "8s", ..Setup::default() });
    let objective = "objective = { share = 0.95, confidence = 0.95, min_n = 59 }";
    site.edit("objective = { share = 1.0, min_n = 1 }", objective);
    let _siem = Siem::start(&site, Duration::ZERO);
    let mut child = site.start(&["run"]);
    wait_until("enough to carry a claim of their own", || lines(&site.path("auth.log")) >= 70);
    assert_eq!(site.dwell(&["stop"]).status.code(), Some(0));
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    let ended = child.wait().unwrap();
    let (outcomes, model) = site.outcomes();
    let sent = outcomes["detected"];
    assert!((70..400).contains(&sent), "{sent}");
    let claim = &model["routes"][0]["expectations"][0]["claim"];
    assert_eq!((&claim["state"], &claim["n"]), (&"undecided".into(), &400.into()), "{claim}");
    assert_eq!(claim["never_sent"], 400 - sent);
    let words = format!("stopped at {sent} of 400 planned (kill switch)");
    assert!(claim["words"].as_str().unwrap().contains(&words), "{claim}");
    assert_eq!((ended.code(), site.dwell(&["report"]).status.code()), (Some(4), Some(4)), "{said}");
}

#[test]
fn slots_without_room_are_withdrawn_before_the_first_canary() {
    let more = "arrivals = \"poisson\"";
    let site = Site::new(&Setup { count: 40, window: "3s", more, ..Setup::default() });
    site.edit("count = 40\n", "count = 40\nmin_gap = \"75ms\"\n");
    site.edit("seed = 1\n", "seed = 2\n");
    let _siem = Siem::start(&site, Duration::ZERO);
    let done = site.dwell(&["run"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let (outcomes, model) = site.outcomes();
    let reason = "no room in the window beside min_gap";
    let withdrawn = model["routes"][0]["withdrawn"][reason].as_u64().unwrap();
    assert_eq!(outcomes["detected"] + withdrawn, 40);
    assert_eq!(withdrawn, 5, "of seed 2, on every machine");
}

#[test]
fn the_first_signal_stops_injecting_and_the_second_leaves() {
    let setup = Setup { count: 200, window: "20s", deadline: "20s", ..Setup::default() };
    let site = Site::new(&setup);
    let mut child = site.start(&["run"]);
    wait_until("some canaries", || lines(&site.path("auth.log")) >= 3);
    signal(&child, "-TERM");
    let _stderr = until_said(&mut child, "Injection stopped");
    assert!(child.try_wait().unwrap().is_none(), "it goes on watching");
    signal(&child, "-TERM");
    let begin = Instant::now();
    child.wait().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    let (outcomes, model) = site.outcomes();
    assert!(model["routes"][0]["withdrawn"]["signal"].as_u64().unwrap() > 100);
    assert!(outcomes["pending"] >= 3);
    assert_eq!(site.dwell(&["ledger", "verify"]).status.code(), Some(0));
}

/// A search server that takes each event at once and answers after a while: where it is, and when (wall
/// nanoseconds) each event came.
fn slow_target(answers_after: Duration) -> (std::net::SocketAddr, Arc<Mutex<Vec<i64>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let took = Arc::clone(&taken);
    let close = "connection: close\r\ncontent-type: application/json\r\ncontent-length";
    let answer = move |mut stream: std::net::TcpStream| {
        let mut request = [0; 8192];
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let n = stream.read(&mut request).unwrap_or(0);
        if !request[..n].starts_with(b"POST") {
            let _ = write!(stream, "HTTP/1.1 404 Not Found\r\n{close}: 0\r\n\r\n");
            return;
        }
        took.lock().unwrap().push(SystemClock::new().now().wall_ns);
        std::thread::sleep(answers_after);
        let body = r#"{"took":1,"errors":false,"items":[{"create":{"_id":"1","status":201}}]}"#;
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{close}: {}\r\n\r\n{body}", body.len());
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    (address, taken)
}

/// Injects JSON events into a search server instead of lines into a file.
fn into_search(site: &Site, address: std::net::SocketAddr) {
    let bulk = format!("type = \"http-bulk\"\nurl = \"http://{address}\"\nindex = \"logs\"");
    site.edit("type = \"file\"\npath = \"auth.log\"", &bulk);
    site.edit("fake-login/sshd-failed-password", "fake-login/okta-session-failure");
}

/// What waits behind a slow target leaves later than it was planned, and not after the end.
#[test]
fn what_is_late_does_not_leave_after_the_authorisation_has_ended() {
    let (address, taken) = slow_target(Duration::from_secs(4));
    let site = Site::new(&Setup { count: 4, window: "1s", deadline: "1s", ..Setup::default() });
    into_search(&site, address);
    let ends = SystemClock::new().now().plus_ns(4_000_000_000);
    site.authorise(ends);
    let run = site.dwell(&["run"]);
    let model = site.outcomes().1;
    let withdrawn = model["routes"][0]["withdrawn"]["outside the authorisation"].as_u64();
    let taken = taken.lock().unwrap().clone();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(taken.iter().all(|at| *at <= ends.wall_ns), "{taken:?}, {}: {said}", ends.wall_ns);
    assert_eq!(withdrawn, Some(4 - taken.len() as u64), "{said}");
}

/// A target that takes an event and says nothing for as long as it is allowed to.
#[test]
fn the_second_signal_waits_for_no_target() {
    let (address, taken) = slow_target(Duration::from_secs(50));
    let more = "deliver_timeout = \"60s\"";
    let site = Site::new(&Setup { count: 20, window: "20s", more, ..Setup::default() });
    into_search(&site, address);
    let mut child = site.start(&["run"]);
    wait_until("an event in hand", || !taken.lock().unwrap().is_empty());
    signal(&child, "-TERM");
    let _stderr = until_said(&mut child, "Injection stopped");
    signal(&child, "-TERM");
    let begin = Instant::now();
    child.wait().unwrap();
    // Under 1 s where nothing else is running.
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    site.outcomes();
    // The next start decides what was in hand, and forgets nothing.
    let watch = site.start(&["watch"]);
    let unknown = |row: &Row| match row {
        Row::Receipt(receipt) => matches!(receipt.result, EventResult::Unknown { .. }),
        _ => false,
    };
    wait_until("the receipt", || site.rows().iter().filter(|row| unknown(row)).count() == 1);
    signal(&watch, "-TERM");
    watch.wait_with_output().unwrap();
    let (outcomes, model) = site.outcomes();
    assert_eq!(outcomes.values().sum::<u64>(), 1, "{outcomes:?}");
    assert!(model["routes"][0]["withdrawn"]["signal"].as_u64().unwrap() >= 15, "{model:#}");
}

/// A limit on the size of files (`ulimit -f`, a service's `LimitFSIZE`) kills by a signal who does not mind it.
#[test]
fn a_ledger_that_may_not_grow_stops_the_run_with_words() {
    let stop_at = |kibibytes: u64| {
        let site = Site::new(&Setup { count: 60, window: "1s", ..Setup::default() });
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--fsize={}", kibibytes << 10)).arg(env!("CARGO_BIN_EXE_dwell"));
        let ended = limited.arg("run").current_dir(site.folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(3), "{kibibytes} KiB, {}: {said}", ended.status);
        assert!(said.contains("error: ") && said.contains("ledger"), "{said}");
    };
    [16, 80, 120, 160, 200].into_iter().for_each(stop_at);
}
