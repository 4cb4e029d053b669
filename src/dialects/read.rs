//! One record to what a sighting needs of it.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::parts::json_values;
use super::{Dialect, Format, parse_time};
use crate::ledger::Stage;

/// Longest id, rule or name that is kept; a longer id is replaced by its digest, a longer name cut.
const MAX_NAME: usize = 512;

/// Bytes of a record that are kept with a sighting.
const EXCERPT: usize = 1024;

/// The same at stage `ingested`, where the stored document is compared with what was sent.
const EXCERPT_INGESTED: usize = 16 * 1024;

/// What a record says about itself. All texts are foreign.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// The product's id of the alert or document, or a digest of the record.
    pub native_id: String,
    /// The rule as the product names it: the dialect's first field that is there.
    pub rule: Option<String>,
    /// Every name under which the rule could be listed in an expectation.
    pub rule_names: Vec<String>,
    /// The event's own time, wall nanoseconds.
    pub event_time_ns: Option<i64>,
    /// The alert's creation time, wall nanoseconds.
    pub created_time_ns: Option<i64>,
    /// Start of the record, cut.
    pub excerpt: String,
    /// True when the record has everything that the dialect requires: it proves that the watcher
    /// can read this source.
    pub recognised: bool,
    /// True when a token of ours in it would make it recognised: records of no fixed shape.
    pub token_proves: bool,
    /// False when the dialect says that such records are not sightings.
    pub counts: bool,
}

impl Dialect {
    /// Reads one record. Never fails: what cannot be read is absent.
    pub fn read(&self, record: &[u8]) -> Reading {
        match self.format {
            Format::Text => self.read_text(record),
            Format::Json => match json_values(record) {
                Ok(values) if values.len() == 1 => self.read_value(&values[0]),
                _ => Reading {
                    native_id: digest(record),
                    excerpt: excerpt(record, self.excerpt_limit()),
                    counts: true,
                    ..Reading::default()
                },
            },
        }
    }

    /// Reads one line of text.
    pub fn read_text(&self, line: &[u8]) -> Reading {
        Reading {
            native_id: digest(line),
            excerpt: excerpt(line, self.excerpt_limit()),
            recognised: !line.is_empty(),
            counts: true,
            ..Reading::default()
        }
    }

    /// Reads one JSON record.
    pub fn read_value(&self, record: &Value) -> Reading {
        let spec = &self.spec;
        let has = |pointer: &String| record.pointer(pointer).is_some_and(|v| !v.is_null());
        let counts = spec.only.iter().all(|(at, want)| record.pointer(at) == Some(want));
        let required = spec.required.iter().all(|any| any.iter().any(has));
        let record_of_its = counts && record.is_object();
        let rule_names = self.names_of(record);
        let time =
            |at: &Vec<String>| at.iter().filter_map(|p| record.pointer(p)).find_map(parse_time);
        let body = spec.body.as_ref().and_then(|p| record.pointer(p)).unwrap_or(record);
        Reading {
            native_id: self.id_of(record),
            rule: rule_names.first().cloned(),
            rule_names,
            event_time_ns: time(&spec.event_time),
            created_time_ns: time(&spec.created_time),
            excerpt: excerpt(body.to_string().as_bytes(), self.excerpt_limit()),
            recognised: record_of_its && required,
            token_proves: record_of_its && spec.token_proves,
            counts,
        }
    }

    fn excerpt_limit(&self) -> usize {
        if self.stage == Stage::Ingested { EXCERPT_INGESTED } else { EXCERPT }
    }

    fn names_of(&self, record: &Value) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for found in self.spec.rule.iter().filter_map(|p| record.pointer(p)).filter_map(scalar) {
            let name = cut(&found, MAX_NAME).to_owned();
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The product's id of a record, or a digest of it where it has none.
    pub fn id_of(&self, record: &Value) -> String {
        for alternative in &self.spec.id {
            let parts: Option<Vec<String>> =
                alternative.iter().map(|p| record.pointer(p).and_then(scalar)).collect();
            if let Some(parts) = parts.filter(|p| !p.is_empty() && p.iter().all(|s| !s.is_empty()))
            {
                let id = parts.join(":");
                return if id.len() > MAX_NAME { digest(id.as_bytes()) } else { id };
            }
        }
        digest(record.to_string().as_bytes())
    }
}

/// Text of a string, number or boolean.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// First 16 bytes of SHA-256, hex, marked as a digest.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)[..16]))
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Start of a record as text, at most `limit` bytes; invalid UTF-8 becomes U+FFFD. Still foreign.
pub fn excerpt(record: &[u8], limit: usize) -> String {
    let head = &record[..limit.min(record.len())];
    cut(&String::from_utf8_lossy(head), limit).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::{Dialects, Parts};

    fn read(dialect: &str, record: &str) -> Reading {
        Dialects::embedded().unwrap().get(dialect).unwrap().read(record.as_bytes())
    }

    #[test]
    fn wazuh() {
        let reading = read(
            "wazuh4",
            r#"{"timestamp":"2026-07-15T04:11:45.168+0000","rule":{"level":5,"description":"sshd: bad user","id":"5710"},
               "agent":{"id":"002"},"manager":{"name":"m1"},"id":"1784088705.121831","full_log":"x"}"#,
        );
        assert_eq!(reading.native_id, "m1:1784088705.121831");
        assert_eq!(reading.rule.as_deref(), Some("5710"));
        assert_eq!(reading.rule_names, ["5710", "sshd: bad user"]);
        assert_eq!(reading.created_time_ns, Some(1_784_088_705_168_000_000));
        assert_eq!(reading.event_time_ns, None);
        assert!(reading.recognised && reading.counts);
    }

    #[test]
    fn suricata_sights_alerts_only() {
        let alert = r#"{"timestamp":"2026-11-24T09:05:01.532140+0000","flow_id":167,"event_type":"alert",
            "alert":{"signature_id":2045001,"signature":"ET X","severity":1}}"#;
        let reading = read("suricata", alert);
        assert_eq!(reading.native_id, "167:2045001:2026-11-24T09:05:01.532140+0000");
        assert_eq!(reading.rule_names, ["2045001", "ET X"]);
        assert!(reading.event_time_ns.is_some() && reading.created_time_ns.is_none());
        let http = read("suricata", r#"{"event_type":"http","flow_id":1}"#);
        assert!(!http.counts && !http.recognised);
    }

    #[test]
    fn falco_elastalert_and_splunk() {
        let falco = read(
            "falco",
            r#"{"uuid":"u-1","time":"2026-11-24T09:05:01.123456789Z","rule":"Shell","priority":"Notice","output_fields":{"evt.time":1795511101123456789}}"#,
        );
        assert_eq!(falco.native_id, "u-1");
        assert_eq!(falco.event_time_ns, Some(1_795_511_101_123_456_789));
        let elastalert = read(
            "elastalert2",
            r#"{"@timestamp":"2026-11-24T09:05:01Z","rule":"ssh","_index":"logs","_id":"7"}"#,
        );
        assert_eq!(elastalert.native_id, "ssh:logs:7");
        assert_eq!(elastalert.rule.as_deref(), Some("ssh"));
        let splunk = read(
            "splunk",
            r#"{"sid":"s1","search_name":"Access - Brute","result":{"_time":"1795511101.5"}}"#,
        );
        assert_eq!(splunk.native_id, "s1");
        assert_eq!(splunk.event_time_ns, Some(1_795_511_101_500_000_000));
    }

    /// An `Alert` of CrowdSec's local API, as its HTTP notification sends it (within an array).
    #[test]
    fn crowdsec_names_the_scenario_and_both_times() {
        let alert = r#"{"uuid":"9c3b","machine_id":"m1","scenario":"crowdsecurity/ssh-bf","scenario_version":"0.3",
            "message":"Ip 203.0.113.7 performed 'crowdsecurity/ssh-bf' (6 events over 2s)","events_count":6,
            "start_at":"2026-11-24T09:05:00.5Z","stop_at":"2026-11-24T09:05:02Z","created_at":"2026-11-24T09:05:03Z",
            "source":{"scope":"Ip","value":"203.0.113.7"},"events":[]}"#;
        let reading = read("crowdsec", alert);
        assert_eq!(reading.native_id, "9c3b");
        assert_eq!(reading.rule.as_deref(), Some("crowdsecurity/ssh-bf"));
        assert_eq!(reading.event_time_ns, Some(1_795_511_100_500_000_000));
        assert_eq!(reading.created_time_ns, Some(1_795_511_103_000_000_000));
        assert!(reading.recognised && reading.counts);
    }

    #[test]
    fn every_product_has_a_record_here() {
        // These two are read in the detector's own tests and in `request.rs`.
        let elsewhere = ["reference-detector", "reference-detector-search"];
        let here = include_str!("read.rs");
        for dialect in Dialects::embedded().unwrap().iter() {
            let name = dialect.name.as_str();
            let known = elsewhere.contains(&name) || here.contains(&format!("\"{name}\""));
            assert!(known, "no test reads a record of `{name}`: add one with its source");
        }
    }

    #[test]
    fn search_hits_keep_the_stored_document() {
        let hit = r#"{"_index":"logs","_id":"a1","_source":{"@timestamp":"2026-11-24T09:05:01Z","user":{"name":"x"}}}"#;
        let reading = read("opensearch", hit);
        assert_eq!(reading.native_id, "logs:a1");
        assert!(reading.excerpt.starts_with(r#"{"@timestamp""#), "{}", reading.excerpt);
        let alert = r#"{"_index":"elastalert_status","_id":"b","_source":{"rule_name":"r","match_body":{"@timestamp":"2026-11-24T09:05:00Z"},"@timestamp":"2026-11-24T09:05:01Z"}}"#;
        let reading = read("elastalert2-index", alert);
        assert_eq!(reading.rule.as_deref(), Some("r"));
        assert_eq!(
            reading.created_time_ns.unwrap() - reading.event_time_ns.unwrap(),
            1_000_000_000
        );
    }

    #[test]
    fn alertmanager_names_each_alert_that_fires() {
        let dialect = Dialects::embedded().unwrap().get("alertmanager").unwrap();
        let alert = |status: &str| {
            format!(
                r#"{{"status":"{status}","labels":{{"alertname":"A"}},"startsAt":"2026-11-24T09:05:01Z","fingerprint":"f"}}"#
            )
        };
        // One message may hold both.
        let body =
            format!(r#"{{"version":"4","alerts":[{},{}]}}"#, alert("firing"), alert("resolved"));
        let Parts::Json(records) = dialect.parts(body.as_bytes()).unwrap() else { panic!("json") };
        let reading = dialect.read_value(&records[0]);
        assert_eq!(reading.native_id, "f:2026-11-24T09:05:01Z");
        assert!(reading.recognised && reading.counts);
        let over = dialect.read_value(&records[1]);
        assert!(!over.counts && !over.recognised, "that it is over notifies nobody of it");
    }

    /// A recognised record proves its watcher, so whatever answers a wrong URL or knocks at a webhook
    /// must not be one.
    #[test]
    fn no_dialect_takes_junk_for_a_record_of_its_product() {
        let junk = [
            r#"{}"#,
            r#"[]"#,
            r#"[{}]"#,
            r#"null"#,
            r#""rule""#,
            r#"7"#,
            r#"{"health":"ok"}"#,
            r#"{"status":"up","version":"1.2.3","checks":[{"name":"db"}]}"#,
            r#"{"error":{"reason":"no such index"}}"#,
            r#"{"alerts":[{}]}"#,
            r#"{"id":null,"rule":null,"rule_name":null,"time":null}"#,
        ];
        let all = Dialects::embedded().unwrap();
        let json = all.iter().filter(|dialect| dialect.format == Format::Json);
        let mut seen = 0;
        for dialect in json {
            for text in junk {
                assert!(!dialect.read(text.as_bytes()).recognised, "{}: {text}", dialect.name);
                if let Ok(Parts::Json(records)) = dialect.parts(text.as_bytes()) {
                    let taken = records.iter().find(|r| dialect.read_value(r).recognised);
                    assert_eq!(taken, None, "{}: {text}", dialect.name);
                    seen += records.len();
                }
            }
        }
        assert!(seen > 50, "only {seen} records were looked at");
    }

    #[test]
    fn records_of_no_fixed_shape_prove_by_one_field_or_a_token() {
        for real in [r#"{"id":1}"#, r#"{"rule":{"name":"r"}}"#, r#"{"@timestamp":"2026-11-24"}"#] {
            assert!(read("json", real).recognised, "{real}");
        }
        let bare = read("json", r#"{"eventID":"1"}"#);
        assert!(!bare.recognised && bare.token_proves);
        assert!(!read("json", "[1]").token_proves);
        assert!(!read("wazuh4", r#"{"eventID":"1"}"#).token_proves);
    }

    /// What the HTTP and command alerters send: a match of the stored event, with ElastAlert's counts.
    #[test]
    fn elastalert_bodies_with_all_values_are_recognised() {
        let whole = r#"{"@timestamp":"2026-11-24T09:05:01Z","user":{"name":"x"},"_id":"7",
            "_index":"logs","num_hits":3,"num_matches":1}"#;
        assert!(read("elastalert2", whole).recognised);
        let event = r#"{"@timestamp":"2026-11-24T09:05:01Z","user":{"name":"x"}}"#;
        assert!(!read("elastalert2", event).recognised, "an event is no alert");
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_named_by_its_digest() {
        let junk = read("json", "\u{1b}[31m not json");
        assert!(junk.native_id.starts_with("sha256:") && !junk.recognised && junk.counts);
        let plain = read("lines", "some line");
        assert!(plain.recognised && plain.rule.is_none());
        assert_eq!(plain, read("lines", "some line"));
        assert_ne!(plain.native_id, read("lines", "another line").native_id);
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(5000));
        assert!(read("json", &long).native_id.len() < 64);
        assert!(read("json", &long).excerpt.len() <= EXCERPT);
    }
}
