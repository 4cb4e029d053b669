//! The reference detector as a process: files in, alerts out, a search API, and a truth that agrees
//! with what the outside saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dwell::detector::{Truth, TruthRow};
use serde_json::Value;

struct Detector {
    child: Child,
    api: String,
}

impl Drop for Detector {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(folder: &Path, settings: &str) -> Detector {
    let file = folder.join("detector.toml");
    std::fs::write(&file, settings).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["detector", "-c"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let api = ready["api"].as_str().unwrap_or_default().to_owned();
    Detector { child, api }
}

fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status and body of one search.
fn search(api: &str, query: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(api).unwrap();
    write!(stream, "GET /search?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Takes posts and answers each; the first `refuse` of them with 500.
fn hook(refuse: usize) -> (String, std::sync::mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, posts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut left = refuse;
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = if left > 0 { "500 No" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if left > 0 {
                left -= 1;
            } else if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, posts)
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn line(user: &str) -> String {
    format!(
        "Nov 24 08:26:40 web01 sshd[9]: Failed password for invalid user {user} from 203.0.113.7 port 40022 ssh2\n"
    )
}

#[test]
fn alerts_leave_by_file_and_webhook_and_the_truth_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let (url, posts) = hook(2);
    let settings = format!(
        r#"
api = "127.0.0.1:0"
truth = "truth.jsonl"
[[source]]
name = "auth"
input = {{ type = "file", path = "auth.log" }}
parsers = ["sshd"]
delay = {{ type = "fixed", by = "30ms" }}
[[rule]]
name = "ssh"
rules = {{ type = "recipe", id = "fake-login/sshd-failed-password" }}
every = "20ms"
lookback = "10s"
outlets = ["alerts", "hook"]
[[outlet]]
name = "alerts"
to = {{ type = "file", path = "alerts.json" }}
duplicates = 1.0
[[outlet]]
name = "hook"
to = {{ type = "webhook", url = "{url}" }}
"#
    );
    let mut detector = start(folder.path(), &settings);
    let log = folder.path().join("auth.log");
    append(&log, &line("jo"));
    let posted = posts.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(posted["fields"]["user"]["name"], "jo");
    assert_eq!(posted["rule"]["id"], "5b1c2f6e-6f0b-4f0e-9c39-0d8f1c5a7a01");
    // Rotation by rename: the last line of the old file and the first of the new one both count.
    append(&log, &line("before"));
    std::fs::rename(&log, folder.path().join("auth.log.1")).unwrap();
    append(&log, &line("after"));
    let alerts = folder.path().join("alerts.json");
    let all = until("six alerts in the file", || {
        let text = std::fs::read_to_string(&alerts).unwrap_or_default();
        (text.lines().count() == 6).then_some(text)
    });
    let alerts: Vec<Value> = all.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(alerts[0]["id"], alerts[1]["id"], "a duplicate shares its id");
    assert_eq!(alerts[0]["id"], posted["id"]);
    let (status, page) = search(&detector.api, "from_ns=0&limit=2");
    assert_eq!((status, page["records"].as_array().unwrap().len()), (200, 2));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = search(&detector.api, &format!("from_ns=0&limit=2&after={next}"));
    assert_eq!(rest["records"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next"], Value::Null);
    assert_eq!(search(&detector.api, "from=0").0, 400);
    posts.recv_timeout(Duration::from_secs(20)).unwrap();
    posts.recv_timeout(Duration::from_secs(20)).unwrap();
    let truth = folder.path().join("truth.jsonl");
    let rows = until("nine emissions in the truth", || {
        let rows = Truth::read(&truth).unwrap();
        let emitted = rows.iter().filter(|row| matches!(row, TruthRow::Emitted { .. })).count();
        (emitted == 9).then_some(rows)
    });
    let emitted = |outlet: &str| -> Vec<(i64, u32)> {
        rows.iter()
            .filter_map(|row| match row {
                TruthRow::Emitted { alert, outlet: o, stamp, attempt, .. }
                    if o == outlet && *alert == posted["id"] =>
                {
                    Some((stamp.wall_ns, *attempt))
                }
                _ => None,
            })
            .collect()
    };
    assert_eq!(emitted("hook"), [(posted["emitted_ns"].as_i64().unwrap(), 3)]);
    let own: Vec<i64> = alerts[..2].iter().map(|a| a["emitted_ns"].as_i64().unwrap()).collect();
    assert_eq!(emitted("alerts"), [(own[0], 1), (own[1], 1)]);
    let pid = rustix::process::Pid::from_child(&detector.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = until("its end", || detector.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_outage_of_the_search_api_answers_503_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let settings = r#"
api = "127.0.0.1:0"
[[source]]
name = "auth"
input = { type = "file", path = "auth.log" }
parsers = ["sshd"]
[[outage]]
from = "0s"
until = "1s"
of = "search"
"#;
    let detector = start(folder.path(), settings);
    assert_eq!(search(&detector.api, "").0, 503);
    until("the end of the outage", || (search(&detector.api, "").0 == 200).then_some(()));
}

#[test]
fn a_configuration_with_a_mistake_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("detector.toml");
    std::fs::write(&file, "api = \"127.0.0.1:0\"\nsede = 1\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["detector", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("sede") && told.contains("line 2"), "{told}");
}

/// What the start would refuse, the check refuses in the same words.
#[test]
fn a_check_loads_the_rules_and_recipes_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("detector.toml");
    std::fs::write(folder.path().join("broken.yml"), "title: broken\n").unwrap();
    let told = |rules: &str| {
        let settings = format!(
            "[[source]]\nname = \"s\"\ninput = {{ type = \"file\", path = \"in.log\" }}\nparsers = [\"windows\"]\n\
             [[outlet]]\nname = \"o\"\nto = {{ type = \"file\", path = \"out.json\" }}\n\
             [[rule]]\nname = \"r\"\nrules = {rules}\nevery = \"1s\"\nlookback = \"1m\"\noutlets = [\"o\"]\n"
        );
        std::fs::write(&file, settings).unwrap();
        let run = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
            let output = command.args(["detector", "-c"]).arg(&file).args(more).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
        };
        let checked = run(&["--check"]);
        if checked.0 != Some(0) {
            assert_eq!(checked, run(&[]), "check and start differ");
        }
        checked
    };
    let sound = told("{ type = \"recipe\", id = \"fake-login/windows-4625-spray\" }");
    assert_eq!(sound.0, Some(0), "{}", sound.1);
    assert!(!folder.path().join("out.json").exists(), "a check leaves nothing behind");
    let unknown = told("{ type = \"recipe\", id = \"fake-login/nope\" }");
    assert_eq!(unknown.0, Some(2), "{}", unknown.1);
    assert!(unknown.1.contains("recipe \"fake-login/nope\" is unknown"), "{}", unknown.1);
    assert!(!unknown.1.contains("did you mean"), "nothing is near: {}", unknown.1);
    let typing = told("{ type = \"recipe\", id = \"fake-login/windows-4652-spray\" }");
    assert!(typing.1.contains("did you mean \"fake-login/windows-4625-spray\"?"), "{}", typing.1);
    for files in ["broken.yml", "none.yml"] {
        let refused = told(&format!("{{ type = \"files\", paths = [\"{files}\"] }}"));
        assert_eq!(refused.0, Some(2), "{files}: {}", refused.1);
        assert!(refused.1.contains("rule r: "), "{files}: {}", refused.1);
    }
}

#[test]
fn a_check_asks_where_alerts_go_and_answers_a_program_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("detector.toml");
    let run = |url: &str, more: &[&str]| {
        let settings = format!(
            "[[source]]\nname = \"s\"\ninput = {{ type = \"file\", path = \"in.log\" }}\nparsers = [\"windows\"]\n\
             [[outlet]]\nname = \"soc\"\nto = {{ type = \"webhook\", url = \"{url}\" }}\n\
             [[rule]]\nname = \"r\"\nrules = {{ type = \"recipe\", id = \"fake-login/windows-4625-spray\" }}\n\
             every = \"1s\"\nlookback = \"1m\"\noutlets = [\"soc\"]\n"
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
        let output = command.args(["detector", "-c"]).arg(&file).args(more).output().unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), told)
    };
    for url in ["nourl", "file:///etc/passwd", "http://"] {
        let (code, [_, told]) = run(url, &["--check"]);
        assert!(code == Some(2) && told.contains("outlet soc: url: "), "{url}: {code:?} {told}");
        assert!(told.contains("http://127.0.0.1:8080/hook"), "the next step: {told}");
        assert_eq!(run(url, &[]), (code, [String::new(), told]), "check and start differ");
        let (code, [answer, _]) = run(url, &["--check", "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((code, &answer["ok"]), (Some(2), &false.into()), "{answer}");
        assert!(answer["problems"][0].as_str().unwrap().contains("outlet soc: url: "), "{answer}");
    }
    let (code, [answer, _]) = run("http://127.0.0.1:9/hook", &["--check", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, answer), (Some(0), serde_json::json!({ "ok": true, "rules": 2 })));
}
