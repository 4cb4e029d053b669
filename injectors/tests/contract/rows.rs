//! One row a transport: what is delivered arrives as exactly one record an event, whatever
//! characters it holds, with the receipt's strength as documented, after a check that sent nothing.

use std::time::Duration;

use dwell_injectors::receipt::{InjectError, Strength};

use super::peers::{self, Inbox};
use super::{PATIENCE, build, event, sample, settings};

/// Bodies that break careless framing.
fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "Failed password for invalid user x from 203.0.113.7 port 40022 ssh2",
        "two\nlines",
        "ends with one\n",
        "carriage\rreturn and\r\nboth",
        "nul\0inside",
        "quotes \" ' and back\\slash, pipe | equals = tab \t",
        "\x1b[31mred\x1b[0m \u{7f}",
        "\u{202e}desrever \u{200b}\u{2028}\u{feff}",
        "\u{1f600} e\u{301} \u{10ffff}",
        "${jndi:ldap://127.0.0.1/a} {{ 7*7 }} %s %n <b>=1+1</b>",
        "17 looks like a count",
        "<13>1 looks like a header",
        "]\"",
    ]
    .map(str::to_owned)
    .into();
    bodies.push("x".repeat(64 * 1024));
    bodies
}

/// What rsyslog would have written for the characters that end a line.
fn escaped(body: &str) -> String {
    body.replace('\n', "#012").replace('\r', "#015").replace('\0', "#000")
}

struct Row {
    settings: String,
    strength: Strength,
    expected: fn(&str) -> String,
    /// Longest body that the transport takes.
    most: usize,
}

fn run(row: &Row, records: impl Fn(usize) -> Vec<String>) {
    let mut injector = build(&row.settings);
    let target = settings(&row.settings).target();
    assert_eq!(injector.target(), target);
    assert!(target.local, "{target}");
    let notes = injector.check(&[sample("{\"a\":1}")], PATIENCE).unwrap();
    assert!(notes.iter().all(|note| !note.refuse), "{notes:?}");
    let mut expected = Vec::new();
    for body in bodies() {
        let result = injector.deliver(&event(&body), PATIENCE);
        if body.len() > row.most {
            assert!(matches!(result, Err(InjectError::Rejected { .. })), "{result:?}");
            continue;
        }
        let receipt = result.unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(receipt.strength, row.strength, "{target}");
        assert!(receipt.accepted_at.is_none_or(|at| at.since(&receipt.submitted_at).ns >= 0));
        expected.push((row.expected)(&body));
    }
    assert_eq!(records(expected.len()), expected, "{target}");
    assert_eq!(injector.close(PATIENCE), 0, "{target}");
    assert_eq!(records(expected.len()), expected, "{target}: something came after the close");
}

fn from(inbox: Inbox) -> impl Fn(usize) -> Vec<String> {
    move |count| inbox.wait_for(count)
}

#[test]
fn file() {
    for (sync, strength) in [(false, Strength::Written), (true, Strength::Synced)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "").unwrap();
        let settings = format!("type = \"file\"\npath = {path:?}\nsync = {sync}");
        run(&Row { settings, strength, expected: escaped, most: usize::MAX }, |_| {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.ends_with('\n'));
            text.strip_suffix('\n').unwrap().split('\n').map(str::to_owned).collect()
        });
    }
}

#[test]
fn syslog_udp() {
    let (port, inbox) = peers::udp();
    let settings =
        format!("type = \"syslog\"\nto = {{ type = \"udp\", address = \"127.0.0.1:{port}\" }}");
    let expected = str::to_owned;
    run(&Row { settings, strength: Strength::Queued, expected, most: 65_000 }, from(inbox));
}

#[test]
fn syslog_tcp_octet_counting() {
    let (port, inbox) = peers::tcp(peers::read_counted);
    let settings =
        format!("type = \"syslog\"\nto = {{ type = \"tcp\", address = \"127.0.0.1:{port}\" }}");
    let expected = str::to_owned;
    run(&Row { settings, strength: Strength::Queued, expected, most: usize::MAX }, from(inbox));
}

#[test]
fn syslog_tcp_line_feed() {
    let (port, inbox) = peers::tcp(peers::read_lines);
    let settings = format!(
        "type = \"syslog\"\nto = {{ type = \"tcp\", address = \"localhost:{port}\", framing = \"line-feed\" }}"
    );
    let strength = Strength::Queued;
    run(&Row { settings, strength, expected: escaped, most: usize::MAX }, from(inbox));
}

#[test]
fn syslog_tls() {
    let authority = peers::authority("logs.example.com");
    let ca = authority.folder.path().join("ca.pem");
    let (port, inbox) = peers::tls(authority.server);
    let settings = format!(
        "type = \"syslog\"\nto = {{ type = \"tls\", address = \"127.0.0.1:{port}\", server_name = \"logs.example.com\", ca_file = {ca:?} }}"
    );
    let expected = str::to_owned;
    run(&Row { settings, strength: Strength::Queued, expected, most: usize::MAX }, from(inbox));
}

#[test]
fn syslog_unix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let inbox = peers::unix(&path);
    let settings = format!("type = \"syslog\"\nto = {{ type = \"unix\", path = {path:?} }}");
    let expected = str::to_owned;
    run(&Row { settings, strength: Strength::Queued, expected, most: usize::MAX }, from(inbox));
}

#[test]
fn http_bulk() {
    let (port, requests) = peers::http(|request, stream| {
        if request.head.starts_with("HEAD ") {
            let _ = std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\n\r\n");
        } else {
            peers::created(stream);
        }
    });
    let settings = format!(
        "type = \"http-bulk\"\nurl = \"http://127.0.0.1:{port}\"\nindex = \"logs-a\"\nwrap_text = true"
    );
    let inbox = Inbox::default();
    let row = Row {
        settings,
        strength: Strength::RemoteAccepted,
        expected: str::to_owned,
        most: usize::MAX,
    };
    run(&row, move |count| {
        for request in requests.try_iter().filter(|request| !request.head.starts_with("HEAD ")) {
            assert!(
                request.head.starts_with("POST /logs-a/_bulk HTTP/1.1\r\n"),
                "{}",
                request.head
            );
            let lines: Vec<&str> = request.body.split('\n').collect();
            assert_eq!((lines.len(), lines[0], lines[2]), (3, "{\"create\":{}}", ""));
            let document: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
            inbox.push(document["message"].as_str().unwrap().to_owned());
        }
        inbox.wait_for(count)
    });
}

#[test]
fn stdout() {
    let output = super::child("rows::stdout_child", &[("CONTRACT_CHILD", "1")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    let expected: Vec<String> = bodies().iter().map(|body| escaped(body)).collect();
    let found = lines.windows(expected.len()).any(|window| window == expected);
    assert!(found, "{text}");
}

#[test]
#[ignore = "runs in a process of its own, started by `stdout`"]
fn stdout_child() {
    if std::env::var_os("CONTRACT_CHILD").is_none() {
        return;
    }
    let mut injector = build("type = \"stdout\"");
    injector.check(&[], PATIENCE).unwrap();
    // The test harness leaves its own line unfinished.
    println!();
    for body in bodies() {
        let receipt = injector.deliver(&event(&body), PATIENCE).unwrap();
        assert_eq!(receipt.strength, Strength::Queued);
    }
    injector.close(Duration::from_secs(1));
}

#[test]
fn secrets_show_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut rows = Vec::new();
    for auth in [
        format!("{{ type = \"bearer\", token = {{ file = {path:?} }} }}"),
        format!("{{ type = \"basic\", user = \"u\", password = {{ file = {path:?} }} }}"),
        format!("{{ type = \"api-key\", key = {{ file = {path:?} }} }}"),
    ] {
        rows.push(format!(
            "type = \"http-bulk\"\nurl = \"http://127.0.0.1:9\"\nindex = \"a\"\nauth = {auth}"
        ));
    }
    #[cfg(feature = "kafka")]
    rows.push(format!(
        "type = \"kafka\"\nbrokers = [\"127.0.0.1:9\"]\ntopic = \"a\"\nsecurity = {{ type = \"sasl\", mechanism = \"plain\", user = \"u\", password = {{ file = {path:?} }}, tls = false }}"
    ));
    for row in rows {
        let mut injector = build(&row);
        let error = injector.deliver(&event("{}"), Duration::from_millis(300)).unwrap_err();
        let seen = format!("{injector:?} {} {error} {:?}", injector.target(), settings(&row));
        for secret in ["hunter2", "dTpodW50ZXIy"] {
            assert!(!seen.contains(secret), "{seen}");
        }
    }
    // A secret that others may read is refused before anything is built on it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let row = format!(
        "type = \"http-bulk\"\nurl = \"http://127.0.0.1:9\"\nindex = \"a\"\nauth = {{ type = \"bearer\", token = {{ file = {path:?} }} }}"
    );
    let clock = std::sync::Arc::new(dwell_injectors::stamp::SystemClock::new());
    assert!(settings(&row).build(clock).unwrap_err().to_string().contains("chmod 600"));
}
