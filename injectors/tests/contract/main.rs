//! The contract that every transport signs, checked over the registry with real peers: files,
//! sockets and small servers in this process. The Kafka rows run against librdkafka's own mock
//! cluster, a fake that speaks the protocol; a real broker is the lab's business.

#![allow(clippy::unwrap_used)]

mod bulk;
mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod peers;
mod rows;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dwell_injectors::injector::{Event, Injector, Sample};
use dwell_injectors::receipt::{Cause, InjectError, Receipt};
use dwell_injectors::registry::InjectorSettings;
use dwell_injectors::stamp::SystemClock;

const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than its limit a call may end on a machine that does other things; one that blocks
/// takes for ever.
const GRACE: Duration = Duration::from_secs(2);

/// Settings from TOML, as a user writes them.
fn settings(text: &str) -> InjectorSettings {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn build(text: &str) -> Box<dyn Injector> {
    settings(text)
        .build(Arc::new(SystemClock::new()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn event(body: &str) -> Event {
    Event {
        index: 0,
        offset: Duration::ZERO,
        body: body.to_owned(),
        completing: true,
        syslog: None,
        key: None,
        time_ns: 1_795_000_000_000_000_000,
    }
}

fn sample(body: &str) -> Sample {
    Sample { recipe: "a/recipe".to_owned(), event: event(body) }
}

/// Delivers and asserts the time limit, with grace for a busy machine.
fn deliver(
    injector: &mut Box<dyn Injector>,
    body: &str,
    timeout: Duration,
) -> Result<Receipt, InjectError> {
    // Made before the clock starts: an event of many mebibytes takes its time.
    let event = event(body);
    let begun = Instant::now();
    let result = injector.deliver(&event, timeout);
    let took = begun.elapsed();
    assert!(took <= timeout + GRACE, "took {took:?} of {timeout:?}: {result:?}");
    result
}

#[track_caller]
fn assert_rejected(result: Result<Receipt, InjectError>, word: &str) {
    match result {
        Err(InjectError::Rejected { reason, .. }) if reason.contains(word) => {}
        other => panic!("expected a rejection with {word:?}, got {other:?}"),
    }
}

/// A rejection, and whose fault it is.
#[track_caller]
fn assert_fault(result: Result<Receipt, InjectError>, word: &str, whose: Cause) {
    match &result {
        Err(InjectError::Rejected { cause, .. }) => assert_eq!(*cause, whose, "{result:?}"),
        other => panic!("expected a rejection with {word:?}, got {other:?}"),
    }
    assert_rejected(result, word);
}

#[track_caller]
fn assert_unknown(result: Result<Receipt, InjectError>, word: &str) {
    match result {
        Err(InjectError::Unknown { reason }) if reason.contains(word) => {}
        other => panic!("expected an unknown outcome with {word:?}, got {other:?}"),
    }
}

/// Waits for a condition instead of for a time.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs one ignored test of this binary in a process of its own.
fn child(test: &str, variables: &[(&str, &str)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(variables.iter().copied());
    command
}

/// A transport without a row signs nothing.
#[test]
fn every_transport_has_a_row() {
    let suite = concat!(include_str!("rows.rs"), include_str!("kafka.rs"));
    let schema = schemars::schema_for!(InjectorSettings).to_value();
    let kinds = schema["oneOf"].as_array().unwrap();
    assert!(kinds.len() >= 5, "{schema}");
    for kind in kinds {
        let name = kind["properties"]["type"]["const"].as_str().unwrap();
        let row = format!("type = \\\"{name}\\\"");
        assert!(suite.contains(&row), "`{name}` has no row in injectors/tests/contract");
    }
}
