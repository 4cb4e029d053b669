//! The bulk interface when the server says no, says nonsense, or says nothing.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use dwell_injectors::injector::Injector;
use dwell_injectors::receipt::InjectError;

use super::peers::{self, Request, respond};
use super::{
    Cause, PATIENCE, assert_fault, assert_rejected, assert_unknown, build, deliver, sample,
};

const SHORT: Duration = Duration::from_millis(500);

fn injector(port: u16, more: &str) -> Box<dyn Injector> {
    build(&format!(
        "type = \"http-bulk\"\nurl = \"http://127.0.0.1:{port}\"\nindex = \"logs-a\"\n{more}"
    ))
}

fn against(
    answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
) -> Result<dwell_injectors::receipt::Receipt, InjectError> {
    let (port, _requests) = peers::http(answer);
    deliver(&mut injector(port, ""), "{\"a\":1}", PATIENCE)
}

#[test]
fn refusals_are_rejections_with_their_reason() {
    let cases = [
        ("401 Unauthorized", "", "<html>", "look at `auth`"),
        (
            "403 Forbidden",
            "",
            "{\"error\":{\"type\":\"security_exception\",\"reason\":\"no\"}}",
            "security_exception",
        ),
        ("404 Not Found", "", "", "404"),
        ("413 Payload Too Large", "", "", "too large"),
        ("429 Too Many Requests", "Retry-After: 30\r\n", "", "after 30"),
    ];
    for (status, headers, body, word) in cases {
        let ours = status.starts_with("401") || status.starts_with("403");
        let whose = if ours { Cause::Ours } else { Cause::Target };
        assert_fault(against(move |_, stream| respond(stream, status, headers, body)), word, whose);
    }
    let item = r#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"r"}}}]}"#;
    assert_rejected(against(move |_, stream| respond(stream, "200 OK", "", item)), "parsing");
}

#[test]
fn answers_that_say_nothing_are_unknown() {
    for (status, body) in [
        ("200 OK", "<!DOCTYPE html><title>log in</title>"),
        ("200 OK", "{\"items\":[{\"create\":{\"stat"),
        ("500 Internal Server Error", "oops"),
        ("502 Bad Gateway", "<html>"),
    ] {
        assert_unknown(against(move |_, stream| respond(stream, status, "", body)), "");
    }
    let half = against(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"items\"");
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    assert_unknown(half, "broke off");
    let hung_up = against(|_, stream| {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    assert_unknown(hung_up, "");
    let endless = against(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"400\r\n").is_ok() && stream.write_all(&[b' '; 1024]).is_ok() {
            if stream.write_all(b"\r\n").is_err() {
                break;
            }
        }
    });
    assert_unknown(endless, "longer than");
}

#[test]
fn silence_is_unknown_in_time_and_the_next_event_goes_through() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let (port, _requests) = peers::http(move |_, stream| {
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            peers::created(stream);
        }
    });
    let mut injector = injector(port, "");
    assert_unknown(deliver(&mut injector, "{}", SHORT), "in time");
    let receipt = deliver(&mut injector, "{}", PATIENCE).unwrap();
    assert_eq!(receipt.place.as_deref(), Some("logs-a/one"));
}

#[test]
fn redirects_are_not_followed() {
    let (other, elsewhere) = peers::http(|_, stream| peers::created(stream));
    let location = format!("Location: http://127.0.0.1:{other}/logs-a/_bulk\r\n");
    let result = against(move |_, stream| respond(stream, "307 Temporary Redirect", &location, ""));
    assert_rejected(result, "redirects");
    assert!(elsewhere.try_recv().is_err(), "the document went elsewhere");
}

#[test]
fn a_closed_port_is_a_rejection() {
    assert_rejected(
        deliver(&mut injector(peers::closed_port(), ""), "{}", PATIENCE),
        "cannot reach",
    );
}

#[test]
fn settings_reach_the_request() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (port, requests) = peers::http(|_, stream| {
        let body = r#"{"items":[{"index":{"_index":"logs-a","_id":"z","status":409,"error":{"type":"version_conflict_engine_exception","reason":"r"}}}]}"#;
        respond(stream, "200 OK", "", body);
    });
    let more = format!(
        "action = \"index\"\npipeline = \"p\"\ndocument_id = \"body-digest\"\nauth = {{ type = \"api-key\", key = {{ file = {path:?} }} }}"
    );
    // A conflict about an id made from the content means that the content is there.
    deliver(&mut injector(port, &more), "{\n\"a\": 1}", PATIENCE).unwrap();
    let request = requests.recv_timeout(PATIENCE).unwrap();
    let head = request.head.to_ascii_lowercase();
    assert!(head.starts_with("post /logs-a/_bulk?pipeline=p http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-ndjson"), "{head}");
    assert!(head.contains("authorization: apikey hunter2\r\n"), "{head}");
    let lines: Vec<&str> = request.body.split('\n').collect();
    assert_eq!(lines.len(), 3, "{}", request.body);
    assert!(lines[0].starts_with("{\"index\":{\"_id\":\""), "{}", lines[0]);
    assert_eq!(lines[1], "{ \"a\": 1}");
}

#[test]
fn text_is_rejected_before_it_is_sent_unless_it_is_to_be_wrapped() {
    let (port, requests) = peers::http(|_, stream| peers::created(stream));
    for body in ["plain text", "[1]", "{broken", "{}{}"] {
        assert_rejected(deliver(&mut injector(port, ""), body, PATIENCE), "no JSON object");
    }
    assert!(requests.try_recv().is_err(), "something was sent");
}

#[test]
fn a_check_reads_and_does_not_write() {
    for (status, refuses) in
        [("200 OK", false), ("404 Not Found", false), ("401 Unauthorized", true), ("502 Bad", true)]
    {
        let (port, requests) = peers::http(move |_, stream| respond(stream, status, "", ""));
        let mut injector = injector(port, "pipeline = \"p\"");
        let result = injector.check(&[sample("{}")], PATIENCE);
        assert_eq!(result.is_err(), refuses, "{status}: {result:?}");
        let heads: Vec<String> = requests.try_iter().map(|request| request.head).collect();
        assert_eq!(heads.len(), 1);
        assert!(heads[0].starts_with("HEAD /logs-a HTTP/1.1\r\n"), "{}", heads[0]);
    }
}

#[test]
fn https_is_checked_against_the_named_authority() {
    let authority = peers::authority("127.0.0.1");
    let other = peers::authority("127.0.0.1");
    let (port, requests) = peers::https(std::sync::Arc::clone(&authority.server));
    let at = |folder: &std::path::Path| {
        let ca = folder.join("ca.pem");
        build(&format!(
            "type = \"http-bulk\"\nurl = \"https://127.0.0.1:{port}\"\nindex = \"logs-a\"\nca_file = {ca:?}"
        ))
    };
    let wrong = deliver(&mut at(other.folder.path()), "{\"a\":1}", PATIENCE);
    assert_rejected(wrong, "certificate");
    assert!(requests.try_recv().is_err(), "a request got through");
    deliver(&mut at(authority.folder.path()), "{\"a\":2}", PATIENCE).unwrap();
    assert!(requests.recv_timeout(PATIENCE).unwrap().body.contains("{\"a\":2}"));
}
