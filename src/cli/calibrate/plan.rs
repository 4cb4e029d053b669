//! From scenarios to configurations: the campaign's, and one for each detector.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::topics::Stream;
use crate::calibration::scenario::{
    DEADLINE_MS, FAULTY_POLL_DEADLINE_MS, Length, Line, MS, OUTAGE_MS, POLL_MS, SCENARIOS, Scenario,
};
use crate::detector::{
    Delay, Input, Outage, OutageOf, OutletSettings, OutletTo, RuleSettings, RulesFrom, Settings,
    SourceSettings, Span,
};

const RECIPE: &str = "fake-login/sshd-failed-password";

/// Where one line listens.
pub(super) struct Host {
    pub line: Line,
    pub api: SocketAddr,
    pub hook: SocketAddr,
}

/// The log files, which exist before anything is written.
pub(super) fn logs() -> impl Iterator<Item = String> {
    SCENARIOS.iter().map(log)
}

fn log(scenario: &Scenario) -> String {
    format!("{}.log", scenario.name)
}

/// A line's truth file.
pub(super) fn truth(line: Line) -> String {
    format!("truth-{}.jsonl", line.name())
}

fn alerts(line: Line) -> String {
    format!("alerts-{}.json", line.name())
}

fn ms(ms: u64) -> Span {
    Span::from_ns(ms * MS)
}

/// The configuration of one line's detector.
pub(super) fn detector(
    host: &Host,
    length: Length,
    seed: u64,
    stream: Option<&Stream>,
) -> Result<String, String> {
    let line = host.line;
    let outlets = outlets(host, stream);
    let names: Vec<String> = outlets.iter().map(|outlet| outlet.name.clone()).collect();
    let mine = || SCENARIOS.iter().filter(|s| s.line == line);
    let from = length.outage_ms();
    let outage = |of| Outage { from: ms(from), until: ms(from + OUTAGE_MS), of };
    let settings = Settings {
        seed,
        api: Some(host.api),
        truth: Some(truth(line).into()),
        clock_ahead_ms: line.ahead_ms(),
        keep: 50_000,
        sources: mine().map(source).collect(),
        parsers: Vec::new(),
        rules: mine().map(|scenario| rule(scenario, &names)).collect(),
        outlets,
        outages: match line {
            Line::Faulty => vec![outage(OutageOf::Rules), outage(OutageOf::Search)],
            _ => Vec::new(),
        },
    };
    toml::to_string(&settings).map_err(|e| e.to_string())
}

/// Where a line's alerts leave: each outlet has the name of the watcher that it feeds.
fn outlets(host: &Host, stream: Option<&Stream>) -> Vec<OutletSettings> {
    let line = host.line;
    let outlet = |kind: &str, to| OutletSettings {
        name: line.watcher(kind),
        to,
        loss: 0.0,
        duplicates: line.duplicates(),
    };
    let hook = OutletTo::Webhook { url: format!("http://{}/alerts", host.hook), attempts: 20 };
    let mut outlets =
        vec![outlet("file", OutletTo::File { path: alerts(line).into() }), outlet("webhook", hook)];
    outlets.extend(stream.map(|stream| {
        let (brokers, topic) = (stream.brokers.clone(), stream.topic(line));
        outlet("kafka", OutletTo::Kafka { brokers, topic })
    }));
    outlets
}

fn source(scenario: &Scenario) -> SourceSettings {
    SourceSettings {
        name: scenario.name.to_owned(),
        input: Input::File { path: log(scenario).into(), every: ms(2) },
        parsers: vec!["sshd".to_owned()],
        drop_fields: Vec::new(),
        time_zone: "UTC".to_owned(),
        delay: scenario.delay,
        loss: scenario.loss,
        duplicates: 0.0,
    }
}

fn rule(scenario: &Scenario, outlets: &[String]) -> RuleSettings {
    RuleSettings {
        name: scenario.name.to_owned(),
        rules: RulesFrom::Recipe { id: RECIPE.to_owned() },
        sources: vec![scenario.name.to_owned()],
        every: ms(scenario.every_ms),
        // Drawn by the seed: rules of several scenarios do not wake together.
        phase: None,
        lookback: ms(scenario.lookback_ms),
        silent: false,
        notify: Delay::default(),
        outlets: outlets.to_vec(),
    }
}

/// The campaign's configuration.
pub(super) fn campaign(
    hosts: &[Host],
    length: Length,
    seed: u64,
    stream: Option<&Stream>,
) -> String {
    let mut text = format!(
        "[ledger]\npath = \"dwell.db\"\n\n[key]\nfile = \"dwell.key\"\n\n[campaign]\n\
         name = \"calibration\"\nwindow = \"{}s\"\narrivals = \"stratified\"\nseed = {seed}\n\
         kill_switch = \"STOP\"\n",
        length.window_s()
    );
    for host in hosts {
        watchers(&mut text, host, stream);
    }
    for scenario in &SCENARIOS {
        let (name, count) = (scenario.name, scenario.count(length));
        let _ = write!(
            text,
            "\n[[injector]]\nname = \"{name}\"\ntype = \"file\"\npath = \"{}\"\n\
             \n[[route]]\nname = \"{name}\"\nrecipe = \"{RECIPE}\"\ninjector = \"{name}\"\n\
             enters_at = \"host-log\"\nowner = \"calibration\"\ncount = {count}\n\
             cap_per_hour = {count}\ncap_per_day = {count}\nproof = \"written\"\nresponse = \"none\"\n",
            log(scenario)
        );
        for (name, stage, kind) in EXPECTED.iter().take(3 + usize::from(stream.is_some())) {
            let deadline = match (scenario.line, *kind) {
                (Line::Faulty, "poll") => FAULTY_POLL_DEADLINE_MS,
                _ => DEADLINE_MS,
            };
            let _ = write!(
                text,
                "[[route.expect]]\nname = \"{name}\"\nstage = \"{stage}\"\n\
                 watchers = [\"{}\"]\ndeadline = \"{deadline}ms\"\nhorizon = \"60s\"\n",
                scenario.line.watcher(kind)
            );
        }
    }
    text
}

/// Name, stage and kind of watcher of each expectation. A sighting at a later stage answers for every
/// earlier one, and a run ends when all are answered. Kafka, the slowest, is last, so that the run waits
/// for what is on its way through the broker.
const EXPECTED: [(&str, &str, &str); 4] = [
    ("ingested", "ingested", "poll"),
    ("detected", "detected", "file"),
    ("notified", "notified", "webhook"),
    ("acknowledged", "acknowledged", "kafka"),
];

/// The watchers of one line.
fn watchers(text: &mut String, Host { line, api, hook }: &Host, stream: Option<&Stream>) {
    let (file, webhook, poll) =
        (line.watcher("file"), line.watcher("webhook"), line.watcher("poll"));
    let _ = write!(
        text,
        "\n[[watcher]]\nname = \"{poll}\"\ntype = \"poll\"\nurl = \"http://{api}\"\n\
         dialect = \"reference-detector-search\"\nevery = \"{POLL_MS}ms\"\noverlap = \"5s\"\n\
         timeout = \"5s\"\nstage = \"ingested\"\n\
         \n[[watcher]]\nname = \"{file}\"\ntype = \"file\"\npath = \"{}\"\n\
         dialect = \"reference-detector\"\nstage = \"detected\"\n\
         \n[[watcher]]\nname = \"{webhook}\"\ntype = \"webhook\"\nlisten = \"{hook}\"\n\
         path = \"/alerts\"\ndialect = \"reference-detector\"\nstage = \"notified\"\n\
         auth = {{ type = \"none\" }}\n",
        alerts(*line)
    );
    if let Some(stream) = stream {
        let _ = write!(
            text,
            "\n[[watcher]]\nname = \"{}\"\ntype = \"kafka\"\nbrokers = {:?}\ntopic = \"{}\"\n\
             dialect = \"reference-detector\"\nstage = \"acknowledged\"\n",
            line.watcher("kafka"),
            stream.brokers,
            stream.topic(*line)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_detectors_configurations_are_sound() {
        let at: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let stream = Stream::new(&["127.0.0.1:9092".to_owned()]);
        for (stream, kinds) in [(None, 2), (Some(&stream), 3)] {
            let mut sources = 0;
            for line in Line::ALL {
                let host = Host { line, api: at, hook: at };
                let text = detector(&host, Length::Quick, 1, stream).unwrap();
                let settings = Settings::parse(&text, Path::new(".")).unwrap();
                sources += settings.sources.len();
                assert_eq!(settings.outages.is_empty(), line != Line::Faulty);
                assert_eq!(settings.outlets.len(), kinds);
                assert!(settings.rules.iter().all(|rule| rule.outlets.len() == kinds));
                assert_eq!(text.contains(&format!("kafka-{}", line.name())), kinds == 3);
            }
            assert_eq!(sources, SCENARIOS.len());
        }
    }
}
