//! Syslog over streams and datagrams when the other side misbehaves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use dwell_injectors::injector::Sample;
use dwell_injectors::receipt::InjectError;

use super::peers::{self, Inbox};
use super::{
    Cause, PATIENCE, assert_fault, assert_rejected, assert_unknown, build, deliver, event,
};

const SHORT: Duration = Duration::from_millis(500);

fn tcp(port: u16) -> String {
    format!("type = \"syslog\"\nto = {{ type = \"tcp\", address = \"127.0.0.1:{port}\" }}")
}

fn tls(port: u16, more: &str) -> String {
    format!("type = \"syslog\"\nto = {{ type = \"tls\", address = \"127.0.0.1:{port}\"{more} }}")
}

#[test]
fn refused_ports_are_rejections() {
    let port = peers::closed_port();
    let refused = deliver(&mut build(&tcp(port)), "x", PATIENCE);
    assert_fault(refused, "nothing listens", Cause::Target);
    let udp =
        format!("type = \"syslog\"\nto = {{ type = \"udp\", address = \"127.0.0.1:{port}\" }}");
    assert_rejected(deliver(&mut build(&udp), "x", PATIENCE), "nothing listens");
    let authority = peers::authority("a.example");
    let ca = authority.folder.path().join("ca.pem");
    let tls = tls(port, &format!(", ca_file = {ca:?}"));
    assert_rejected(deliver(&mut build(&tls), "x", PATIENCE), "nothing listens");
}

#[test]
fn of_the_events_that_are_too_long_the_longest_is_told_with_its_recipe() {
    let (port, _inbox) = peers::udp();
    let udp =
        format!("type = \"syslog\"\nto = {{ type = \"udp\", address = \"127.0.0.1:{port}\" }}");
    let of = |recipe: &str, length: usize| Sample {
        recipe: recipe.to_owned(),
        event: event(&"x".repeat(length)),
    };
    let samples = [of("a/short", 10), of("b/longest", 70_000), of("c/long", 66_000)];
    let notes = build(&udp).check(&samples, PATIENCE).unwrap();
    let refused: Vec<&str> =
        notes.iter().filter(|note| note.refuse).map(|note| note.text.as_str()).collect();
    assert!(
        matches!(&refused[..], [text] if text.starts_with("an event of b/longest is 70")),
        "{notes:?}"
    );
    let old = format!("format = \"rfc3164\"\n{udp}");
    let notes = build(&old).check(&[of("a/short", 10), of("d/more", 2000)], PATIENCE).unwrap();
    assert!(notes.iter().all(|note| !note.refuse), "{notes:?}");
    let told = notes.iter().any(|note| note.text.starts_with("an event of d/more is 2"));
    assert!(told, "{notes:?}");
}

#[test]
fn a_reset_in_the_middle_of_a_frame_is_unknown_every_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Unread bytes at the end make the kernel send a reset.
            let _ = stream.unwrap().read(&mut [0; 10]);
        }
    });
    let mut injector = build(&tcp(port));
    let body = "x".repeat(16 * 1024 * 1024);
    for _ in 0..20 {
        assert_unknown(deliver(&mut injector, &body, PATIENCE), "may have arrived");
    }
}

#[test]
fn a_peer_that_hung_up_is_found_before_the_next_frame() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let inbox = Inbox::default();
    let kept = inbox.clone();
    let (closed, was_closed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut frame = Vec::new();
            while !frame.ends_with(b"end") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    return;
                }
                frame.push(byte[0]);
            }
            kept.push(String::from_utf8(frame).unwrap());
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let mut injector = build(&tcp(port));
    for number in 0..100 {
        deliver(&mut injector, &format!("{number}end"), PATIENCE).unwrap();
        was_closed.recv_timeout(PATIENCE).unwrap();
    }
    let frames = inbox.wait_for(100);
    for (number, frame) in frames.iter().enumerate() {
        assert!(frame.ends_with(&format!(" {number}end")), "{frame}");
    }
}

#[test]
fn a_peer_that_never_reads_does_not_hang_us() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut injector = build(&tcp(listener.local_addr().unwrap().port()));
    let body = "x".repeat(16 * 1024 * 1024);
    let error = deliver(&mut injector, &body, SHORT).unwrap_err();
    assert!(matches!(error, InjectError::Unknown { .. }), "{error}");
}

#[test]
fn a_peer_that_never_speaks_tls_is_rejected_in_time() {
    let authority = peers::authority("a.example");
    let ca = authority.folder.path().join("ca.pem");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = tls(port, &format!(", ca_file = {ca:?}"));
    let error = deliver(&mut build(&settings), "x", SHORT).unwrap_err();
    assert!(matches!(error, InjectError::Rejected { .. }), "{error}");
    // One that speaks something else.
    let (port, _inbox) = peers::tcp(|mut stream: TcpStream, _| {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let settings = tls(port, &format!(", ca_file = {ca:?}"));
    assert_rejected(deliver(&mut build(&settings), "x", PATIENCE), "cannot reach");
}

#[test]
fn certificates_are_checked() {
    let authority = peers::authority("logs.example.com");
    let other = peers::authority("logs.example.com");
    let ca = authority.folder.path().join("ca.pem");
    let (port, inbox) = peers::tls(std::sync::Arc::clone(&authority.server));
    let wrong_name = tls(port, &format!(", ca_file = {ca:?}, server_name = \"other.example.com\""));
    assert_rejected(deliver(&mut build(&wrong_name), "x", PATIENCE), "certificate");
    let wrong_ca = other.folder.path().join("ca.pem");
    let wrong = tls(port, &format!(", ca_file = {wrong_ca:?}, server_name = \"logs.example.com\""));
    assert_rejected(deliver(&mut build(&wrong), "x", PATIENCE), "certificate");
    assert_eq!(inbox.len(), 0);
}

#[test]
fn client_certificates_are_used_and_their_lack_is_found_by_the_check() {
    let authority = peers::authority("logs.example.com");
    let folder = authority.folder.path();
    let (ca, certificate, key) =
        (folder.join("ca.pem"), folder.join("client.pem"), folder.join("client.key"));
    let (port, inbox) = peers::tls(std::sync::Arc::clone(&authority.strict_server));
    let common = format!(", ca_file = {ca:?}, server_name = \"logs.example.com\"");
    let with = format!(
        "{common}, client_certificate = {certificate:?}, client_key = {{ file = {key:?} }}"
    );
    let mut injector = build(&tls(port, &with));
    injector.check(&[], PATIENCE).unwrap();
    deliver(&mut injector, "known", PATIENCE).unwrap();
    assert_eq!(inbox.wait_for(1), ["known"]);
    let error = build(&tls(port, &common)).check(&[], PATIENCE).unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");
}

#[test]
fn a_close_flushes_what_was_sent() {
    let (port, inbox) = peers::tcp(|stream, inbox| {
        // A slow start lets the frames pile up in the kernel.
        std::thread::sleep(Duration::from_millis(50));
        peers::read_counted(stream, inbox);
    });
    let mut injector = build(&tcp(port));
    for number in 0..1000 {
        deliver(&mut injector, &number.to_string(), PATIENCE).unwrap();
    }
    assert_eq!(injector.close(PATIENCE), 0);
    drop(injector);
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(inbox.wait_for(1000), expected);
}

#[test]
fn a_restarted_local_socket_is_found_again_and_a_full_one_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let first = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let settings = format!("type = \"syslog\"\nto = {{ type = \"unix\", path = {path:?} }}");
    let mut injector = build(&settings);
    deliver(&mut injector, "one", PATIENCE).unwrap();
    drop(first);
    std::fs::remove_file(&path).unwrap();
    assert_rejected(deliver(&mut injector, "lost", SHORT), "");
    let _second = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let mut last = deliver(&mut injector, "two", PATIENCE);
    last.as_ref().unwrap();
    for _ in 0..10_000 {
        last = injector.deliver(&event("filling"), SHORT);
        if last.is_err() {
            break;
        }
    }
    assert!(matches!(last, Err(InjectError::Rejected { .. })), "{last:?}");
}

#[test]
fn a_name_that_does_not_exist_is_a_rejection() {
    let settings =
        "type = \"syslog\"\nto = { type = \"tcp\", address = \"no-such-host.invalid:514\" }";
    let error = deliver(&mut build(settings), "x", SHORT).unwrap_err();
    assert!(matches!(error, InjectError::Rejected { .. }), "{error}");
}
