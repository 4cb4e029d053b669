//! Polling against answers that are slow, broken in the middle, endless, packed, or none at all.

use std::sync::Mutex;

use super::*;

type Script = Arc<Mutex<dyn FnMut(&str, &mut TcpStream) + Send>>;

/// Answers each request, on a thread of its own, as the script says.
fn scripted(script: impl FnMut(&str, &mut TcpStream) + Send + 'static) -> u16 {
    let script: Script = Arc::new(Mutex::new(script));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let script = script.clone();
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
            let mut request = [0; 8192];
            let read = stream.read(&mut request).unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            script.lock().unwrap()(&text, &mut stream);
        }
    });
    port
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn ok(body: &str) -> String {
    answer("200 OK", body)
}

fn failed(status: &str) -> String {
    answer(status, "")
}

fn settings(port: u16, timeout: &str) -> String {
    format!(
        "type='poll'\nurl='http://127.0.0.1:{port}'\ndialect='reference-detector-search'\n\
         every='100ms'\ntimeout='{timeout}'"
    )
}

fn hit(bench: &Bench, serial: u32) -> String {
    format!(r#"{{"id":"{serial}","document":{{"user":"{}"}}}}"#, bench.token(serial))
}

fn looks(bench: &Bench) -> usize {
    bench.rows().iter().filter(|r| matches!(r, Row::Look(_))).count()
}

#[test]
fn poll_faults_open_and_close_blind_spans_and_silence_proves_nothing() {
    let bench = Bench::new(100);
    let current = Arc::new(Mutex::new(ok(r#"{"records":[],"next":null}"#)));
    let now = current.clone();
    let port = scripted(move |_, stream| {
        let _ = stream.write_all(now.lock().unwrap().as_bytes());
    });
    let running = bench.start(&settings(port, "1s"));
    assert!(!bench.rows().iter().any(|r| matches!(r, Row::Proven(_))), "nothing was read yet");
    let deep = ok(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    let page = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let cases: Vec<(String, bool)> = vec![
        (failed("401 Unauthorized"), true),
        (failed("403 Forbidden"), true),
        (failed("404 Not Found"), true),
        (failed("302 Found"), true),
        (failed("400 Bad Request"), true),
        (failed("408 Request Timeout"), false),
        (failed("429 Too Many Requests"), false),
        (failed("500 Internal Server Error"), false),
        (failed("503 Service Unavailable"), false),
        (page.to_owned(), true),
        (ok("<html>"), false),
        (ok(r#"{"records":["#), false),
        (ok(r#"{"error":"x"}"#), false),
        (ok(r#"{"records":{}}"#), false),
        (ok(""), false),
        (deep, false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_owned(), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".to_owned(), false),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}".to_owned(), false),
        (ok(r#"{"records":[],"next":"same"}"#), false),
        (String::new(), false),
        ("junk\r\n\r\n".to_owned(), false),
    ];
    let spans = |open: bool| {
        bench.blinds().into_iter().filter(|b| b.to.is_none() == open).collect::<Vec<_>>()
    };
    for (serial, (fault, ours)) in cases.iter().enumerate() {
        *current.lock().unwrap() = fault.clone();
        until("the span opens", || spans(true).len() == serial + 1);
        let shown = &fault[..fault.len().min(60)];
        assert_eq!(spans(true)[serial].ours, *ours, "{shown}: {}", spans(true)[serial].reason);
        let hit = hit(&bench, serial as u32);
        *current.lock().unwrap() = ok(&format!(r#"{{"records":[{hit}]}}"#));
        until("the span closes", || spans(false).len() == serial + 1);
        let closed = spans(false)[serial].clone();
        assert!(closed.recovered && closed.from == spans(true)[serial].from);
        until("the record is sighted", || bench.sighted().len() == serial + 1);
    }
    running.stop();
    assert_eq!(bench.strays(StrayClass::Duplicate), 0, "an overlap is no stray");
    for row in bench.rows() {
        if let Row::Sighting(sighting) = row {
            let lower = sighting.not_before.expect("a complete look came before");
            assert!(sighting.observed.since(&lower).ns > 0);
        }
    }
}

#[test]
fn a_look_whose_later_page_fails_does_not_count_and_its_hits_do() {
    let bench = Bench::new(3);
    let pages = [hit(&bench, 0), hit(&bench, 1), hit(&bench, 2)];
    let broken = Arc::new(AtomicBool::new(true));
    let now_broken = broken.clone();
    let asked_second = Arc::new(AtomicBool::new(false));
    let second = asked_second.clone();
    let port = scripted(move |request, stream| {
        let line = request.lines().next().unwrap_or("").to_owned();
        let body = request.split("\r\n\r\n").nth(1).unwrap_or("");
        let later = line.contains("page-2") || body.contains("page-2");
        let answer = match (later, now_broken.load(Ordering::SeqCst)) {
            (false, true) => ok(&format!(r#"{{"records":[{}],"next":"page-2"}}"#, pages[0])),
            (false, false) => {
                ok(&format!(r#"{{"records":[{},{}],"next":"page-2"}}"#, pages[0], pages[1]))
            }
            (true, true) => {
                second.store(true, Ordering::SeqCst);
                failed("503 Service Unavailable")
            }
            (true, false) => ok(&format!(r#"{{"records":[{}],"next":null}}"#, pages[2])),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let (running, ready) = bench.start_unready(&settings(port, "1s"));
    until("the first page's hit is there", || bench.sighted() == [0]);
    until("the second page was asked for", || asked_second.load(Ordering::SeqCst));
    until("the span is open", || !bench.blinds().is_empty());
    assert_eq!(looks(&bench), 0, "half a look is none");
    assert!(!ready.load(Ordering::SeqCst), "no starting position without a whole look");
    broken.store(false, Ordering::SeqCst);
    until("the other pages are read", || bench.sighted().len() == 3);
    until("a look counts", || looks(&bench) > 0);
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(3));
    assert_eq!(bench.strays(StrayClass::Duplicate), 0, "the first page's hit counts once");
}

/// Answers a search as OpenSearch does: by pages, sorted, and with a limit on offsets. The documents
/// lie in three shards, each with a sequence of its own, and a second holds a thousand of them.
struct Index {
    /// Time in milliseconds, sequence number, and the hit.
    hits: Vec<(i64, i64, serde_json::Value)>,
}

impl Index {
    fn new(count: usize, tokens: &[(usize, String)]) -> Index {
        let hit = |n: usize| {
            let user = tokens.iter().find(|(at, _)| *at == n).map_or("x", |(_, token)| token);
            let (time, sequence) = (n as i64 / 1000 * 1000, n as i64 / 3);
            let hit = serde_json::json!({
                "_index": "logs", "_id": n.to_string(), "sort": [time, sequence],
                "_source": {"user": {"name": user}},
            });
            (time, sequence, hit)
        };
        Index { hits: (0..count).map(hit).collect() }
    }

    /// The status and the body.
    fn answer(&self, search: &serde_json::Value) -> (&'static str, String) {
        let number = |at: &str| search.pointer(at).and_then(serde_json::Value::as_i64);
        let (from, size) = (number("/from").unwrap_or(0), number("/size").unwrap());
        if from + size > 10_000 {
            let reason = "Result window is too large\u{1b}[31m";
            let error = serde_json::json!({"error": {"root_cause": [{"reason": reason}]}});
            return ("400 Bad Request", error.to_string());
        }
        let mut key = vec![number("/search_after/0"), number("/search_after/1")];
        key.retain(Option::is_some);
        let by_sequence = search.pointer("/sort/1/_seq_no").is_some();
        let later = self.hits.iter().filter(|(time, sequence, _)| match key[..] {
            [Some(t), Some(s)] if by_sequence => (*time, *sequence) > (t, s),
            _ => true,
        });
        let page: Vec<_> =
            later.skip(from as usize).take(size as usize).map(|(.., hit)| hit).collect();
        let body = serde_json::json!({"timed_out": false, "hits": {"hits": page}});
        ("200 OK", body.to_string())
    }
}

/// The whole of a request's body, of which the first read may have brought a part.
fn whole_body(request: &str, stream: &mut TcpStream) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.parse().unwrap());
    let mut body = body.as_bytes().to_vec();
    let begin = body.len();
    body.resize(length.max(begin), 0);
    stream.read_exact(&mut body[begin..]).unwrap();
    String::from_utf8(body).unwrap()
}

fn opensearch(index: Index) -> u16 {
    scripted(move |request, stream| {
        let search = serde_json::from_str(&whole_body(request, stream)).unwrap();
        let (status, body) = index.answer(&search);
        let _ = stream.write_all(answer(status, &body).as_bytes());
    })
}

fn search_settings(port: u16) -> String {
    format!(
        "type='poll'\nurl='http://127.0.0.1:{port}'\ndialect='opensearch'\nvars={{index='logs'}}\n\
         every='1s'\ntimeout='5s'"
    )
}

#[test]
fn a_search_of_more_documents_than_offsets_reach_is_read_whole() {
    let bench = Bench::new(5);
    // Around the ends of pages, where documents of several shards tie.
    let places = [0, 999, 1001, 10_500, 12_499];
    let tokens: Vec<_> = places.iter().zip(0..).map(|(at, n)| (*at, bench.token(n))).collect();
    let port = opensearch(Index::new(12_500, &tokens));
    let running = bench.start(&search_settings(port));
    until("a look counts", || looks(&bench) > 0);
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(5));
    assert_eq!(bench.strays(StrayClass::Duplicate), 0);
    assert!(bench.blinds().is_empty(), "{:?}", bench.blinds());
}

#[test]
fn a_refusal_is_told_in_the_targets_own_words() {
    let bench = Bench::new(1);
    let port = scripted(move |_, stream| {
        let body =
            r#"{"error":{"root_cause":[{"reason":"no such \u001b[31m field"}]},"status":400}"#;
        let _ = stream.write_all(answer("400 Bad Request", body).as_bytes());
    });
    let (running, _) = bench.start_unready(&search_settings(port));
    until("the span opens", || bench.blinds().len() == 1);
    running.stop();
    let blind = bench.blinds()[0].clone();
    let words =
        r#"400 Bad Request and says "no such \u{1b}[31m field"; check `dialect` and `vars`"#;
    assert!(blind.ours && blind.reason.contains(words), "{}", blind.reason);
}

#[test]
fn a_check_reads_the_pages_of_one_look_and_says_why_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let check = |port: u16, vars: &str| {
        let config = include_str!("../../data/broken/config/bad-poll-url.toml")
            .replace("ftp://127.0.0.1:9200", &format!("http://127.0.0.1:{port}"))
            .replace("vars = { index = \"logs\" }", vars);
        std::fs::write(folder.path().join("dwell.toml"), config).unwrap();
        std::fs::write(folder.path().join("auth.log"), "").unwrap();
        let key = folder.path().join("dwell.key");
        if !key.exists() {
            KeyRing::generate().create(&key).unwrap();
        }
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dwell"));
        command.args(["check", "--connect"]).current_dir(folder.path());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let vars = "vars = { index = \"logs\" }";
    let said = check(opensearch(Index::new(12_500, &[])), vars);
    // Pages repeat what ties with the last hit of the one before.
    assert!(said.contains("ok\n  answers, 125"), "{said}");
    assert!(said.contains("records on 13 pages"), "{said}");
    let endless = scripted(|request, stream| {
        let search: serde_json::Value = serde_json::from_str(&whole_body(request, stream)).unwrap();
        let after = search.pointer("/search_after/0").and_then(serde_json::Value::as_i64);
        let sort = serde_json::json!([after.unwrap_or(0) + 1, 1]);
        let hits = vec![serde_json::json!({"_id": "1", "_source": {}, "sort": sort}); 1000];
        let _ = stream
            .write_all(ok(&serde_json::json!({"hits": {"hits": hits}}).to_string()).as_bytes());
    });
    let said = check(endless, vars);
    assert!(said.contains("FAILED") && said.contains("shorten `overlap`"), "{said}");
    let refuses = scripted(|_, stream| {
        let body = r#"{"error":{"reason":"no \u001b[31m"}}"#;
        let _ = stream.write_all(answer("403 Forbidden", body).as_bytes());
    });
    let said = check(refuses, vars);
    assert!(said.contains("FAILED") && said.contains("says \"no "), "{said}");
    assert!(said.contains("check `auth`") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn slow_endless_and_packed_answers_end_within_their_limits() {
    let bench = Bench::new(1);
    let mode = Arc::new(Mutex::new(0));
    let mode_now = mode.clone();
    let port = scripted(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
        let _ = match *mode_now.lock().unwrap() {
            0 => stream.write_all(ok(r#"{"records":[],"next":null}"#).as_bytes()),
            // Nothing at all, for longer than the limit.
            1 => {
                std::thread::sleep(Duration::from_millis(900));
                Ok(())
            }
            // A byte now and then: each arrives in time, the whole does not.
            2 => {
                let _ = stream.write_all(format!("{head}content-length: 1000\r\n\r\n").as_bytes());
                (0..12).try_for_each(|_| {
                    std::thread::sleep(Duration::from_millis(80));
                    stream.write_all(b" ")
                })
            }
            // Chunks without end.
            3 => {
                let _ = stream
                    .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                (0..16_384).try_for_each(|_| stream.write_all(chunk.as_bytes()))
            }
            // Ten bytes that would become ten gigabytes: nothing is unpacked that was not asked for.
            4 => stream.write_all(
                format!("{head}content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\u{8b}x")
                    .as_bytes(),
            ),
            // A header without end.
            _ => {
                let field = format!("x-y: {}\r\n", "z".repeat(1 << 16));
                let _ = stream.write_all(head.as_bytes());
                (0..1024).try_for_each(|_| stream.write_all(field.as_bytes()))
            }
        };
    });
    let running = bench.start(&settings(port, "500ms"));
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    for fault in 1..=5 {
        *mode.lock().unwrap() = fault;
        let opened = 2 * fault - 1;
        until("the span opens", || bench.blinds().len() == opened);
        *mode.lock().unwrap() = 0;
        until("the span closes", || bench.blinds().len() == opened + 1);
        let closed = bench.blinds()[opened].clone();
        assert!(closed.recovered && closed.to.is_some(), "{fault}: {}", closed.reason);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more than before");
    running.stop();
}

#[test]
fn a_target_that_asks_for_quiet_is_left_alone() {
    let bench = Bench::new(1);
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let port = scripted(move |_, stream| {
        let mut times = noted.lock().unwrap();
        times.push(Instant::now());
        let answer = match times.len() {
            1 => ok(r#"{"records":[],"next":null}"#),
            2 => "HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
            _ => ok(r#"{"records":[],"next":null}"#),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let running = bench.start(&settings(port, "1s"));
    until("it asks again", || times.lock().unwrap().len() >= 3);
    running.stop();
    let times = times.lock().unwrap();
    let quiet = times[2] - times[1];
    assert!(quiet >= Duration::from_millis(1900), "{quiet:?}");
    assert!(times[1] - times[0] < Duration::from_millis(1500), "only where it was asked for");
}

/// The SIEM is gone and comes back with what happened meanwhile: nobody was blind. It is gone for
/// good: the span stays open, also for the next run.
#[test]
fn an_outage_is_made_good_or_stays_open() {
    let bench = Bench::new(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = |listener: TcpListener, body: String, stop: Arc<AtomicBool>| {
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let _ = stream.set_nonblocking(false);
                        let _ = stream.read(&mut [0; 4096]);
                        let _ = stream.write_all(ok(&body).as_bytes());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        })
    };
    let down = Arc::new(AtomicBool::new(false));
    let first = serve(listener, r#"{"records":[],"next":null}"#.into(), down.clone());
    let running = bench.start(&settings(port, "1s"));
    down.store(true, Ordering::SeqCst);
    first.join().unwrap();
    until("the outage is seen", || bench.blinds().len() == 1);
    assert!(!bench.blinds()[0].ours, "{}", bench.blinds()[0].reason);
    // The same port again, as a restarted SIEM would have.
    let again = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let gone = Arc::new(AtomicBool::new(false));
    let body = format!(r#"{{"records":[{}],"next":null}}"#, hit(&bench, 0));
    let second = serve(again, body, gone.clone());
    until("it caught up", || bench.sighted() == [0] && bench.blinds().len() == 2);
    assert!(bench.blinds()[1].recovered, "catching up is not blind");
    gone.store(true, Ordering::SeqCst);
    second.join().unwrap();
    until("it is gone for good", || bench.blinds().len() == 3);
    running.stop();
    let open = bench.blinds()[2].clone();
    assert!(open.to.is_none() && !open.recovered && !open.ours);
    let (running, ready) = bench.start_unready(&settings(port, "1s"));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!ready.load(Ordering::SeqCst));
    running.stop();
    assert_eq!(bench.blinds().len(), 3, "the same span, still open");
}

/// A document is shown by every look for as long as the overlap is; what is wrong in it is wrong once.
#[test]
fn a_forgery_is_counted_once_however_often_it_is_shown() {
    let bench = Bench::new(2);
    let forged = {
        let token = bench.token(0);
        let last = if token.ends_with('a') { 'b' } else { 'a' };
        format!("{}{last}", &token[..token.len() - 1])
    };
    let more = Arc::new(Mutex::new(String::new()));
    let (shown, added) = (forged.clone(), more.clone());
    let port = scripted(move |_, stream| {
        let more = added.lock().unwrap().clone();
        let record = format!(r#"{{"id":"x","document":{{"user":"{shown}","more":"{more}"}}}}"#);
        let _ = stream.write_all(ok(&format!(r#"{{"records":[{record}]}}"#)).as_bytes());
    });
    let running = bench.start(&settings(port, "1s"));
    until("it is counted", || bench.strays(StrayClass::Forged) > 0);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(bench.strays(StrayClass::Forged), 1);
    // A forgery hides nothing that comes into the same document later.
    *more.lock().unwrap() = bench.token(1);
    until("the token is sighted", || bench.sighted() == [1]);
    running.stop();
    assert_eq!(bench.strays(StrayClass::Forged), 1);
}
