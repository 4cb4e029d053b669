//! `dwell check --connect` where a target does not answer.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// Nobody listens at the brokers' port: injector and watcher say which address refused and what to do,
/// within seconds.
#[test]
fn brokers_that_are_down_are_named_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = include_str!("../data/broken/config/watcher-reads-our-own-topic.toml")
        .replace("127.0.0.1:9092", &format!("127.0.0.1:{port}"))
        .replace("topic = \"auth\"\n\n[[watcher]]", "topic = \"logs\"\n\n[[watcher]]");
    std::fs::write(folder.path().join("dwell.toml"), config).unwrap();
    let key = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["key", "--file", "dwell.key", "new"])
        .current_dir(folder.path())
        .status();
    assert!(key.unwrap().success());
    let begin = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwell"));
    let output = command.args(["check", "--connect"]).current_dir(folder.path()).output().unwrap();
    let took = begin.elapsed();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    let complaints: Vec<&str> = said.lines().filter(|l| l.contains("cannot reach")).collect();
    assert_eq!(complaints.len(), 2, "{said}");
    for complaint in complaints {
        let words =
            [&format!("127.0.0.1:{port}"), "refused", "start the broker or correct `brokers`"];
        assert!(words.iter().all(|word| complaint.contains(*word)), "{complaint}");
    }
    assert!(took < Duration::from_secs(12), "{took:?}");
}
