//! Where products keep things: the raw text of an event, the program, the document itself. Data.
//!
//! Text of ours anywhere else proves nothing: a user agent, a command line or a file name is written by
//! whoever acts.

use dwell_injectors::parse::get;
use serde_json::Value;

/// Fields that hold the text of an event as it arrived. A name that an application's own log may use for
/// what its users send (`body`, `payload`, `line`, `raw`) is not among them.
const RAW_TEXT: [&str; 24] = [
    "message",          // ECS, OpenSearch, Logstash, Graylog
    "event.original",   // ECS
    "log.original",     // ECS before 1.7
    "full_log",         // Wazuh
    "full_message",     // GELF
    "short_message",    // GELF
    "log",              // Fluent Bit, Docker
    "_raw",             // Splunk
    "MESSAGE",          // journald, syslog-ng
    "rawmsg",           // rsyslog
    "rawmsg-after-pri", // rsyslog
    "SyslogMessage",    // Sentinel
    "RawData",          // Azure Monitor, custom logs
    "textPayload",      // Google Cloud Logging
    "@message",         // CloudWatch Logs Insights
    "@rawstring",       // LogScale
    "rawLog",           // Google SecOps
    "raw_log",          // Google SecOps
    "raw_data",         // OCSF
    "rawEvent",         // ArcSight
    "utf8_payload",     // QRadar
    "body.stringValue", // OpenTelemetry
    "raw_message",      // Graylog inputs
    "content.message",  // Datadog
];

/// Fields that name the program of a syslog line.
pub(super) const PROGRAM: [&str; 13] = [
    "process.name",
    "log.syslog.appname",
    "SYSLOG_IDENTIFIER",
    "ProcessName",
    "programname",
    "program",
    "program_name",
    "predecoder.program_name",
    "application_name",
    "app-name",
    "app_name",
    "appname",
    "ident",
];

/// What agents and pipelines set to values of their own.
pub(super) const OF_SHIPPERS: [&str; 8] =
    ["@timestamp", "@version", "agent", "ecs", "host", "message", "process.name", "tags"];

/// Objects in which products wrap the document.
const WRAPPERS: [&str; 6] = ["_source", "document", "result", "data", "match_body", "json"];

/// What stands beside the hits of an Elasticsearch or OpenSearch answer.
const ANSWER: [&str; 8] = [
    "took",
    "timed_out",
    "terminated_early",
    "num_reduce_phases",
    "_shards",
    "_scroll_id",
    "pit_id",
    "hits",
];

/// True for an object in which products wrap the document: it is a layer of its own.
pub(super) fn is_wrapper(name: &str) -> bool {
    WRAPPERS.contains(&name)
}

/// A document, what it wraps, and what its raw text holds as JSON.
pub(super) fn layers(document: Value) -> Vec<Value> {
    let wrapped = WRAPPERS.iter().filter_map(|name| document.get(name));
    let wrapped: Vec<Value> = wrapped.filter(|value| value.is_object()).cloned().collect();
    let mut all = vec![document];
    all.extend(wrapped);
    let inner: Vec<Value> = all
        .iter()
        .flat_map(raw_texts)
        .filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok())
        .filter(Value::is_object)
        .collect();
    all.extend(inner);
    all
}

/// The raw texts of one layer, with their fields.
pub(super) fn raw_texts(layer: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    RAW_TEXT.iter().filter_map(|name| {
        let text = match get(layer, name)? {
            Value::Array(items) if items.len() == 1 => items.first()?.as_str()?,
            value => value.as_str()?,
        };
        (!text.trim().is_empty()).then_some((*name, text))
    })
}

/// The hits of a search answer that holds nothing else.
pub(super) fn search_hits(document: &Value) -> Option<&Vec<Value>> {
    let answer = document.as_object()?;
    let whole = answer.keys().all(|key| ANSWER.contains(&key.as_str()));
    document.get("hits").filter(|_| whole)?.get("hits")?.as_array()
}
