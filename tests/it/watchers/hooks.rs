//! The webhook against hostile and unlucky senders.

use std::os::unix::fs::PermissionsExt;

use super::*;

const SECRET: &str = "0123456789abcdef-key";
const GOOD: &str = "authorization: Bearer 0123456789abcdef-key\r\n";

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn hook(bench: &Bench, port: u16, auth: &str, more: &str) -> String {
    let secret = bench.folder.path().join("secret");
    private(&secret, SECRET);
    format!(
        "type='webhook'\nlisten='127.0.0.1:{port}'\npath='/hook'\ndialect='reference-detector'\n{more}\n\
         auth={{type='{auth}',secrets=[{{file='{}'}}]}}",
        secret.display()
    )
}

/// A request with exactly these lines in front of the body.
fn raw(port: u16, head: &str, body: &str) -> u16 {
    let length = body.len();
    exchange(port, format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
}

#[test]
fn only_the_named_hosts_and_the_one_path_are_served() {
    let bench = Bench::new(30);
    let port = free_port();
    let running = bench.start(&hook(&bench, port, "bearer", "hosts=['hook.example']"));
    let good = GOOD.trim_end();
    let mut serial = 0;
    for host in ["hook.example", "HOOK.example", "hook.example:8443"] {
        let head = format!("POST /hook HTTP/1.1\r\nhost: {host}\r\n{good}");
        assert_eq!(raw(port, &head, &bench.alert(serial)), 204, "{host}");
        serial += 1;
    }
    let alert = bench.alert(29);
    for hosts in [
        "host: evil.test",
        "host: hook.example.evil.test",
        "host: evil.test:80",
        "host: 127.0.0.1",
        "host: hook.example\r\nhost: evil.test",
        "x-forwarded-host: hook.example",
        "host:",
    ] {
        let status = raw(port, &format!("POST /hook HTTP/1.1\r\n{hosts}\r\n{good}"), &alert);
        assert!(status == 403 || status == 400, "{hosts}: {status}");
    }
    let absolute = format!("POST http://evil.test/hook HTTP/1.1\r\nhost: hook.example\r\n{good}");
    assert_eq!(raw(port, &absolute, &alert), 403, "the target names another host");
    let long = format!("/{}", "a".repeat(4000));
    for path in [
        "/",
        "/../hook",
        "/hook/../hook",
        "/%2e%2e/hook",
        "/..%2fhook",
        "/..%5chook",
        "/hook%00",
        "/hook/x",
        "/hook/../../etc/passwd",
        "//hook",
        "/hook;x",
        "/HOOK",
        "/.well-known/hook",
        &long,
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: hook.example\r\n{good}");
        assert_eq!(raw(port, &head, &alert), 404, "{path}");
    }
    running.stop();
    assert_eq!(bench.sighted(), numbers(serial), "nothing that was refused was read");
}

#[test]
fn oversized_flooding_lying_and_slow_senders_end_within_bounds() {
    let bench = Bench::new(2);
    let port = free_port();
    let running = bench.start(&hook(&bench, port, "bearer", ""));
    let start = format!("POST /hook HTTP/1.1\r\nhost: h\r\n{GOOD}");
    // Promises a body and never sends it; sends it a byte at a time.
    let lie = format!("{start}content-length: 100\r\n\r\n{{");
    let slow = std::thread::spawn(move || {
        let begin = Instant::now();
        let status = exchange(port, lie.as_bytes());
        (status, begin.elapsed())
    });
    // Chunks without end.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("{start}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let taken = (0..4096).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(taken < 4096, "128 MiB were taken");
    // 10,000 fields; one endless field.
    let fields: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    for flood in [fields, format!("x: {}\r\n", "y".repeat(1 << 20))] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(format!("{start}{flood}content-length: 2\r\n\r\n{{}}").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    // Junk behind a good request costs the good one nothing.
    let alert = bench.alert(0);
    let length = alert.len();
    let piped = format!("{start}content-length: {length}\r\n\r\n{alert}\u{0}\u{1} junk\r\n\r\n");
    assert_eq!(exchange(port, piped.as_bytes()), 204);
    let begin = Instant::now();
    assert_eq!(post(port, "/hook", GOOD, &bench.alert(1)), 204);
    assert!(begin.elapsed() < Duration::from_secs(2));
    let (status, took) = slow.join().unwrap();
    assert!(matches!(status, 0 | 400 | 408), "{status}");
    assert!(took < Duration::from_secs(13), "{took:?}");
    running.stop();
    assert_eq!(bench.sighted(), [0, 1]);
}

#[test]
fn a_wrong_signature_is_refused_and_nothing_is_read() {
    use hmac::{KeyInit, Mac};
    let bench = Bench::new(2);
    let port = free_port();
    let running = bench.start(&hook(&bench, port, "hmac", ""));
    let sign = |key: &str, body: &str| {
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let hex = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
        format!("x-hub-signature-256: sha256={hex}\r\n")
    };
    let alert = bench.alert(0);
    for headers in [
        String::new(),
        GOOD.to_owned(),
        sign("0123456789abcdef-wrong", &alert),
        sign(SECRET, &bench.alert(1)),
        sign(SECRET, &alert).replace("sha256=", "sha1="),
        format!("{}{}", sign(SECRET, &alert), sign(SECRET, &alert)),
    ] {
        assert_eq!(post(port, "/hook", &headers, &alert), 401, "{headers}");
    }
    assert_eq!(post(port, "/hook", &sign(SECRET, &alert), &alert), 204);
    running.stop();
    assert_eq!(bench.sighted(), [0]);
}

#[test]
fn what_cannot_be_committed_is_not_answered_2xx_and_the_repeat_is_taken_once() {
    let mut bench = Bench::new(2);
    let port = free_port();
    let settings = hook(&bench, port, "bearer", "");
    let running = bench.start(&settings);
    assert_eq!(post(port, "/hook", GOOD, &bench.alert(0)), 204);
    // No commit can succeed from now on.
    bench.ledger().close(Duration::from_secs(10)).unwrap();
    let status = post(port, "/hook", GOOD, &bench.alert(1));
    assert!(status == 503 || status == 0, "{status}");
    let ended = running.thread.join().unwrap();
    let error = ended.expect_err("it stops rather than lies");
    assert!(matches!(error, dwell::watchers::WatchError::Ledger { .. }), "{error}");
    bench.ledger = None;
    assert_eq!(bench.sighted(), [0]);
    bench.open();
    let running = bench.start(&settings);
    for _ in 0..3 {
        assert_eq!(post(port, "/hook", GOOD, &bench.alert(1)), 204, "the sender's repeat");
    }
    running.stop();
    assert_eq!(bench.sighted(), [0, 1]);
    assert_eq!(bench.strays(StrayClass::Duplicate), 2);
    let gap = |r: &Row| matches!(r, Row::Blind(b) if b.ours && !b.recovered && b.to.is_some());
    assert!(bench.rows().iter().any(gap), "nobody listened meanwhile");
}

#[test]
fn tls_is_served_and_nothing_else_on_its_port() {
    let bench = Bench::new(2);
    let port = free_port();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) =
        (bench.folder.path().join("certificate.pem"), bench.folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    private(&key, &made.signing_key.serialize_pem());
    let tls = format!("tls={{certificate='{}',key='{}'}}", certificate.display(), key.display());
    let running = bench.start(&hook(&bench, port, "bearer", &tls));
    let trust = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let ask = |host: &str, serial: u32| {
        let client = reqwest::Client::builder()
            .tls_certs_only([trust.clone()])
            .resolve(host, ([127, 0, 0, 1], port).into())
            .no_proxy()
            .build()
            .unwrap();
        let call = client.post(format!("https://{host}:{port}/hook")).bearer_auth(SECRET);
        let call = call.body(bench.alert(serial)).timeout(Duration::from_secs(10));
        bench.runtime.block_on(async { call.send().await.map(|answer| answer.status().as_u16()) })
    };
    assert_eq!(ask("localhost", 0).unwrap(), 204);
    assert_eq!(bench.sighted(), [0], "answered means committed");
    assert!(ask("other.test", 1).is_err(), "the name is checked by the client");
    let plain = post(port, "/hook", GOOD, &bench.alert(1));
    assert_eq!(plain, 0, "plain HTTP is not answered");
    assert_eq!(exchange(port, &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]), 0);
    assert_eq!(ask("localhost", 0).unwrap(), 204, "and harmed nobody");
    running.stop();
    assert_eq!(bench.sighted(), [0]);
    let open = "type='webhook'\nlisten='0.0.0.0:0'\npath='/hook'\ndialect='reference-detector'";
    let secret = bench.folder.path().join("secret");
    let open = format!("{open}\nauth={{type='bearer',secrets=[{{file='{}'}}]}}", secret.display());
    let settings: WatcherSettings = toml::from_str(&open).unwrap();
    let refused = build(&settings, &Dialects::embedded().unwrap()).err().expect("no plain HTTP");
    assert!(refused.to_string().contains("tls"), "{refused}");
}

/// Nobody can read it, and the sender drops what is refused: silence proves nothing until the next one.
#[test]
fn a_compressed_body_of_a_known_sender_is_refused_and_told() {
    let bench = Bench::new(2);
    let port = free_port();
    let running = bench.start(&hook(&bench, port, "bearer", ""));
    let packed = |headers: &str| {
        let head = format!("POST /hook HTTP/1.1\r\nhost: h\r\n{headers}content-encoding: gzip\r\n");
        let body = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0";
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        exchange(port, &[head.as_bytes(), body].concat())
    };
    assert_eq!(packed(""), 401);
    assert_eq!(post(port, "/hook", GOOD, &bench.alert(0)), 204);
    assert!(bench.blinds().is_empty(), "a stranger blinded us");
    assert_eq!((packed(GOOD), packed(GOOD)), (415, 415));
    until("the span is told", || bench.blinds().len() == 1);
    // One that only says so is read.
    let says = format!("{GOOD}content-encoding: gzip\r\n");
    assert_eq!(post(port, "/hook", &says, &bench.alert(1)), 204);
    running.stop();
    let blinds = bench.blinds();
    let closed = &blinds[blinds.len() - 1];
    assert!(closed.to.is_some() && !closed.recovered && closed.ours, "{blinds:?}");
    assert!(closed.reason.starts_with("2 compressed bodies refused with 415"), "{}", closed.reason);
    assert_eq!(bench.sighted(), [0, 1]);
}

/// What was refused for its size may have been the alert: silence proves nothing until the sender is heard
/// again. Whoever is not known can blind nobody.
#[test]
fn a_body_over_the_limit_is_counted_and_nobody_was_listening_until_the_next_one() {
    let bench = Bench::new(2);
    let port = free_port();
    let running = bench.start(&hook(&bench, port, "bearer", ""));
    let head = |headers: &str| format!("POST /hook HTTP/1.1\r\nhost: h\r\n{headers}");
    let declared = |headers: &str| {
        let head = head(headers);
        exchange(port, format!("{head}content-length: 1048577\r\n\r\n").as_bytes())
    };
    assert_eq!(declared(""), 413);
    assert_eq!(post(port, "/hook", GOOD, &bench.alert(0)), 204);
    assert!(bench.blinds().is_empty(), "a stranger blinded us");
    assert_eq!(declared(GOOD), 413);
    until("the span is told", || bench.blinds().len() == 1);
    assert!(bench.blinds()[0].ours && bench.blinds()[0].to.is_none());
    // The same without a word of its length.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 19, "x".repeat(1 << 19));
    let body = format!("{chunk}{chunk}{chunk}0\r\n\r\n");
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", head(GOOD));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let mut status = [0; 12];
    if stream.read_exact(&mut status).is_ok() {
        assert_eq!(&status, b"HTTP/1.1 413");
    }
    assert_eq!(post(port, "/hook", GOOD, &bench.alert(1)), 204);
    running.stop();
    let blinds = bench.blinds();
    let closed = &blinds[blinds.len() - 1];
    assert!(closed.to.is_some() && !closed.recovered && closed.ours, "{blinds:?}");
    assert!(closed.reason.starts_with("2 bodies over 1 MiB refused"), "{}", closed.reason);
    assert!(bench.rows().iter().any(|r| matches!(r, Row::Look(l) if l.complete)));
    assert_eq!(bench.sighted(), [0, 1]);
}
