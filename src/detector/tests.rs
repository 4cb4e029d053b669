//! The engine in virtual time: hours pass in milliseconds, and every stamp is known.

use std::path::Path;
use std::sync::Arc;

use dwell_injectors::parse::get;
use dwell_injectors::stamp::{BootId, Clock, ManualClock, Stamp};

use super::*;

const MS: i64 = 1_000_000;

struct Bench {
    clock: Arc<ManualClock>,
    engine: Engine,
    truth: Truth,
}

fn bench(text: &str) -> Bench {
    let start =
        Stamp { wall_ns: 1_795_000_000_000_000_000, boot_ns: 9_000_000_000, boot: BootId(1) };
    let clock = Arc::new(ManualClock::new(start));
    let settings = Settings::parse(text, Path::new(".")).unwrap();
    let truth = Truth::in_memory();
    let engine = Engine::new(&settings, clock.clone(), truth.clone()).unwrap();
    Bench { clock, engine, truth }
}

impl Bench {
    fn write(&mut self, line: String) {
        let read = self.clock.now();
        self.engine.accept(Intake { source: 0, text: line, read });
    }

    /// Lets time pass in steps of a millisecond.
    fn pass_ms(&mut self, ms: i64) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for _ in 0..ms {
            self.clock.advance_ns(MS);
            alerts.extend(self.engine.step().unwrap().alerts);
        }
        alerts
    }
}

fn failed(user: &str) -> String {
    format!(
        "Nov 18 08:26:40 web01 sshd[9]: Failed password for invalid user {user} from 203.0.113.7 port 40022 ssh2"
    )
}

const SSH: &str = r#"
[[source]]
name = "auth"
input = { type = "file", path = "auth.log" }
parsers = ["sshd"]
delay = { type = "fixed", by = "20ms" }
[[rule]]
name = "ssh"
rules = { type = "recipe", id = "fake-login/sshd-failed-password" }
every = "100ms"
phase = "0s"
lookback = "10s"
outlets = ["alerts"]
[[outlet]]
name = "alerts"
to = { type = "file", path = "alerts.json" }
"#;

#[test]
fn a_record_is_searchable_after_its_delay_and_alerted_at_the_next_evaluation() {
    let mut bench = bench(SSH);
    bench.pass_ms(30);
    bench.write(failed("jo"));
    assert!(bench.pass_ms(69).is_empty());
    let alerts = bench.pass_ms(1);
    assert_eq!(alerts.len(), 1);
    assert!(bench.pass_ms(5_000).is_empty(), "an overlapping lookback alerts again");
    assert_eq!(get(&alerts[0].body.fields, "user.name").unwrap(), "jo");
    let start = 1_795_000_000_000_000_000;
    match &bench.truth.rows()[..] {
        [TruthRow::Searchable { stamp: found, .. }, TruthRow::Created { stamp: created, .. }] => {
            assert_eq!(found.wall_ns, start + 50 * MS);
            assert_eq!(created.wall_ns, start + 100 * MS);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn losses_follow_the_seed_and_the_set_share() {
    let run = |seed: u64| {
        let mut bench = bench(&format!(
            "seed = {seed}\n{}",
            SSH.replace("delay =", "loss = 0.2\nduplicates = 0.1\ndelay =")
        ));
        for n in 0..2_000 {
            bench.write(failed(&format!("u{n}")));
        }
        bench.pass_ms(25);
        bench.truth.rows()
    };
    let count = |rows: &[TruthRow], lost: bool| {
        rows.iter().filter(|row| matches!(row, TruthRow::Lost { .. }) == lost).count()
    };
    let rows = run(1);
    let (lost, found) = (count(&rows, true), count(&rows, false));
    // Binomial(2000, 0.2): five standard deviations are 89.
    assert!((311..=489).contains(&lost), "{lost}");
    let kept = 2_000 - lost;
    let twice = found - kept;
    assert!((90..=230).contains(&twice), "{twice}");
    assert_eq!(rows, run(1), "the same seed, the same fate");
    assert_ne!(rows, run(2));
}

#[test]
fn a_correlation_alert_holds_only_its_group() {
    let text = SSH
        .replace("sshd-failed-password", "sshd-brute-force-success")
        .replace("lookback = \"10s\"", "lookback = \"60s\"");
    let mut bench = bench(&text);
    for n in 0..6 {
        let line = format!(
            "Nov 18 08:26:4{n} web01 sshd[9]: Failed password for mallory from 203.0.113.7 port 4002{n} ssh2"
        );
        bench.write(line);
    }
    bench.write("Nov 18 08:26:47 web01 sshd[9]: Accepted password for mallory from 203.0.113.7 port 40030 ssh2".into());
    let alerts = bench.pass_ms(2_000);
    let titles: Vec<&str> = alerts.iter().map(|a| a.body.rule.title.as_str()).collect();
    assert_eq!(titles, ["Repeated SSH Password Failures", "SSH Brute Force Followed by Success"]);
    for alert in &alerts {
        let expected = serde_json::json!({
            "user": {"name": "mallory"}, "source": {"ip": "203.0.113.7"}
        });
        assert_eq!(alert.body.fields, expected);
    }
}

#[test]
fn during_an_outage_nothing_is_evaluated_and_later_looks_catch_up() {
    let outage = "[[outage]]\nfrom = \"1s\"\nuntil = \"3s\"\nof = \"rules\"\n";
    let mut bench = bench(&format!("{SSH}{outage}"));
    bench.pass_ms(1_050);
    bench.write(failed("jo"));
    assert!(bench.pass_ms(1_900).is_empty());
    let alerts = bench.pass_ms(100);
    assert_eq!(alerts.len(), 1);
    let found = bench.engine.index().read().unwrap().search(0, i64::MAX, None, 10).records;
    assert_eq!(found.len(), 1, "an outage of the rules leaves the index alone");
}

#[test]
fn a_short_lookback_loses_what_an_outage_covers() {
    let outage = "[[outage]]\nfrom = \"1s\"\nuntil = \"30s\"\nof = \"rules\"\n";
    let mut bench = bench(&format!("{SSH}{outage}"));
    bench.pass_ms(1_050);
    bench.write(failed("jo"));
    assert!(bench.pass_ms(40_000).is_empty());
}

#[test]
fn a_silent_rule_never_fires_and_a_dropped_field_keeps_one_from_firing() {
    let mut silent = bench(&SSH.replace("every =", "silent = true\nevery ="));
    silent.write(failed("jo"));
    assert!(silent.pass_ms(500).is_empty());
    let text = SSH.replace("delay =", "drop_fields = [\"event.outcome\"]\ndelay =");
    let mut faulty = bench(&text);
    faulty.write(failed("jo"));
    assert!(faulty.pass_ms(500).is_empty());
    let found = faulty.engine.index().read().unwrap().search(0, i64::MAX, None, 10).records;
    assert_eq!(get(&found[0].document, "event.outcome"), None);
    assert_eq!(get(&found[0].document, "user.name").unwrap(), "jo");
}

#[test]
fn skew_shows_outside_and_never_in_the_truth() {
    let mut bench = bench(&format!("clock_ahead_ms = 3000\n{SSH}"));
    bench.write(failed("jo"));
    let alerts = bench.pass_ms(100);
    let created: jiff::Timestamp = alerts[0].body.time.parse().unwrap();
    let rows = bench.truth.rows();
    let TruthRow::Created { stamp, .. } = &rows[1] else { panic!("{rows:?}") };
    let ahead = created.as_nanosecond() - i128::from(stamp.wall_ns);
    assert_eq!(ahead, 3_000_000_000);
    let found = bench.engine.index().read().unwrap().search(0, i64::MAX, None, 10).records;
    let TruthRow::Searchable { stamp, .. } = &rows[0] else { panic!("{rows:?}") };
    assert_eq!(found[0].ingested_ns - stamp.wall_ns, 3_000_000_000);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |from: &str, to: &str, part: &str| {
        let text = SSH.replacen(from, to, 1);
        assert_ne!(text, SSH, "{from}");
        let error = Settings::parse(&text, Path::new(".")).unwrap_err();
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    };
    refused("delay", "dealy", "unknown field `dealy`");
    refused("[\"sshd\"]", "[\"shd\"]", "known: sshd");
    refused("\"20ms\"", "\"-20ms\"", "negative");
    refused("delay =", "loss = 1.5\ndelay =", "no probability");
    refused("[\"alerts\"]", "[\"alert\"]", "not configured");
    refused("\"100ms\"", "\"0s\"", "below 1ms");
    refused("\n[[source]]", "api = \"0.0.0.0:80\"\n[[source]]", "loopback");
    refused("name = \"alerts\"", "name = \"alerts\"\nloss = nan", "no probability");
}
