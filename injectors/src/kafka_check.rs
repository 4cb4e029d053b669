//! Looks at a topic without leaving a trace: does it exist, is it compacted, and do its recent
//! records have the framing of the events that the route would send?
//!
//! A consumer is assigned the last offsets; it joins no group and commits nothing. Records are
//! judged by [`judge`], which is pure: a record in a framing that its readers do not expect breaks
//! them, and they are not ours to break.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::injector::{CheckNote, Event};
use crate::kafka::KafkaInjector;
use crate::line::is_json;
use crate::receipt::InjectError;

/// Records looked at in each partition, and in all.
const PER_PARTITION: i64 = 8;
const IN_ALL: usize = 64;
/// Longest wait for the topic's configuration: some brokers do not show it, and some fall silent.
const CONFIG_PATIENCE: Duration = Duration::from_secs(2);
/// Partitions looked at.
const PARTITIONS: usize = 16;

pub(crate) fn look(
    injector: &KafkaInjector,
    mut config: ClientConfig,
    sample: Option<&Event>,
    deadline: Instant,
) -> Result<Vec<CheckNote>, InjectError> {
    let admin_config = config.clone();
    config.set("group.id", "unused-without-subscription");
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error");
    let consumer: BaseConsumer = config
        .create()
        .map_err(|error| InjectError::rejected(format!("cannot start a consumer: {error}")))?;
    let left = |share: f64| deadline.saturating_duration_since(Instant::now()).mul_f64(share);
    let metadata = consumer.fetch_metadata(Some(injector.topic()), left(0.6)).map_err(|error| {
        InjectError::rejected(format!("cannot reach {}: {error}", injector.place()))
    })?;
    injector.accept_topic(&metadata)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name() == injector.topic())
        .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
        .take(PARTITIONS)
        .collect();
    let mut notes = compaction(&admin_config, injector.topic(), left(0.4).min(CONFIG_PATIENCE));
    let records = recent(&consumer, injector.topic(), &partitions, deadline).map_err(|error| {
        InjectError::rejected(format!("cannot read {}: {error}", injector.place()))
    })?;
    notes.extend(judge(&records, sample));
    Ok(notes)
}

/// Says whether the topic is compacted, where the broker lets us see that.
fn compaction(config: &ClientConfig, topic: &str, patience: Duration) -> Vec<CheckNote> {
    let note = |refuse, text: String| vec![CheckNote { refuse, text }];
    let unseen = |why: String| {
        note(false, format!("whether topic {topic} is compacted could not be read: {why}"))
    };
    let admin: AdminClient<DefaultClientContext> = match config.create() {
        Ok(admin) => admin,
        Err(error) => return unseen(error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return unseen(error.to_string()),
    };
    let options = AdminOptions::new().request_timeout(Some(patience));
    let topics = [ResourceSpecifier::Topic(topic)];
    let answer = runtime.block_on(async {
        tokio::time::timeout(patience, admin.describe_configs(topics.iter(), &options)).await
    });
    let resource = match answer {
        Err(_) => return unseen("no answer in time".to_owned()),
        Ok(Err(error)) => return unseen(error.to_string()),
        Ok(Ok(mut resources)) => match resources.pop() {
            Some(Ok(resource)) => resource,
            Some(Err(code)) => return unseen(code.to_string()),
            None => return unseen("an empty answer".to_owned()),
        },
    };
    let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.as_deref());
    match policy {
        Some(policy) if policy.contains("compact") => note(
            true,
            format!(
                "topic {topic} is compacted (cleanup.policy={policy}): a record without a key is refused there, and one with a key replaces another's; choose another topic or set `force_encoding = true`"
            ),
        ),
        Some(_) => Vec::new(),
        None => unseen("the broker does not say".to_owned()),
    }
}

/// Reads the most recent records of the partitions.
fn recent(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: &[i32],
    deadline: Instant,
) -> rdkafka::error::KafkaResult<Vec<Vec<u8>>> {
    let mut wanted = 0;
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        let left = deadline.saturating_duration_since(Instant::now()).mul_f64(0.5);
        let (low, high) = consumer.fetch_watermarks(topic, *partition, left)?;
        let from = low.max(high - PER_PARTITION);
        if from < high {
            list.add_partition_offset(topic, *partition, Offset::Offset(from))?;
            wanted += usize::try_from(high - from).unwrap_or(0);
        }
    }
    let wanted = wanted.min(IN_ALL);
    let (mut records, mut trouble) = (Vec::new(), None);
    if wanted == 0 {
        return Ok(records);
    }
    consumer.assign(&list)?;
    // Transaction markers take up offsets but are never handed over, so the count may stay short;
    // after a pause without records what there is has to do.
    let mut quiet_until = Instant::now() + Duration::from_secs(2);
    while records.len() < wanted {
        let until =
            quiet_until.min(deadline.checked_sub(Duration::from_millis(50)).unwrap_or(deadline));
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match consumer.poll(left) {
            Some(Ok(message)) => {
                records.push(message.payload().unwrap_or_default().to_vec());
                quiet_until = Instant::now() + Duration::from_millis(500);
            }
            // The library goes on trying by itself; only having read nothing is a failure.
            Some(Err(error)) => trouble = Some(error),
            None => {}
        }
    }
    match trouble {
        Some(error) if records.is_empty() => Err(error),
        _ => Ok(records),
    }
}

/// Compares recent records with an event as the route would send it.
fn judge(records: &[Vec<u8>], sample: Option<&Event>) -> Vec<CheckNote> {
    let force = "choose another topic or recipe, or set `force_encoding = true`";
    let refuse = |text: String| vec![CheckNote { refuse: true, text: format!("{text}; {force}") }];
    let records: Vec<&[u8]> =
        records.iter().map(Vec::as_slice).filter(|record| !record.is_empty()).collect();
    if records.is_empty() {
        let text = "the topic holds no record to compare the framing with".to_owned();
        return vec![CheckNote { refuse: false, text }];
    }
    let count = |is: fn(&[u8]) -> bool| records.iter().filter(|record| is(record)).count();
    let of = format!("of the {} records looked at", records.len());
    let registered = count(|record| record.len() > 5 && record[0] == 0);
    if registered * 2 > records.len() {
        return refuse(format!(
            "{registered} {of} are framed for a schema registry (first byte 0)"
        ));
    }
    let binary = count(|record| std::str::from_utf8(record).is_err());
    if binary * 2 > records.len() {
        return refuse(format!("{binary} {of} are no text"));
    }
    let Some(sample) = sample else { return Vec::new() };
    let json = count(|record| std::str::from_utf8(record).is_ok_and(is_json));
    let ours = is_json(&sample.body);
    if ours && json * 2 <= records.len() {
        return refuse(format!(
            "{} {of} are no JSON, but the recipe's events are",
            records.len() - json
        ));
    }
    if !ours && json * 2 > records.len() {
        return refuse(format!("{json} {of} are JSON, but the recipe's events are not"));
    }
    if !ours {
        return Vec::new();
    }
    let missing = missing_fields(&records, &sample.body);
    if missing.is_empty() {
        return Vec::new();
    }
    let names = missing.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    refuse(format!("every JSON record looked at has fields that the recipe's events lack: {names}"))
}

/// Fields at the top of every JSON record that the sample lacks. `a.b` counts as `a`, because
/// products write either form.
fn missing_fields(records: &[&[u8]], sample: &str) -> BTreeSet<String> {
    let heads = |value: &Value| -> Option<BTreeSet<String>> {
        let object = value.as_object()?;
        Some(object.keys().map(|key| key.split('.').next().unwrap_or(key).to_owned()).collect())
    };
    let ours =
        serde_json::from_str::<Value>(sample).ok().as_ref().and_then(heads).unwrap_or_default();
    let theirs = records
        .iter()
        .filter_map(|record| serde_json::from_slice::<Value>(record).ok().as_ref().and_then(heads));
    let common = theirs.reduce(|all, one| all.intersection(&one).cloned().collect());
    common.unwrap_or_default().difference(&ours).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(body: &str) -> Event {
        Event {
            index: 0,
            offset: Duration::ZERO,
            body: body.to_owned(),
            completing: true,
            syslog: None,
            key: None,
            time_ns: 0,
        }
    }

    fn verdict(records: &[&[u8]], body: &str) -> Vec<(bool, String)> {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.to_vec()).collect();
        let notes = judge(&records, Some(&sample(body)));
        notes.into_iter().map(|note| (note.refuse, note.text)).collect()
    }

    #[test]
    fn the_same_shape_passes() {
        let record: &[u8] = br#"{"@timestamp":"t","user.name":"a","event":{}}"#;
        let body = r#"{"@timestamp":"u","user":{"name":"b"},"event":{},"more":1}"#;
        assert_eq!(verdict(&[record, record], body), []);
        assert_eq!(verdict(&[b"plain line"], "another line"), []);
    }

    #[test]
    fn other_shapes_are_refused() {
        let json: &[u8] = br#"{"a":1}"#;
        let cases: [(&[&[u8]], &str, &str); 5] = [
            (&[b"\x00\x00\x00\x00\x01abc"], "{\"a\":1}", "schema registry"),
            (&[b"\xff\xfe\xfd\xfc"], "{\"a\":1}", "no text"),
            (&[b"plain line"], "{\"a\":1}", "no JSON"),
            (&[json, json], "plain line", "are JSON"),
            (&[br#"{"a":1,"tenant":2}"#, br#"{"tenant":1,"a":3,"x":1}"#], "{\"a\":1}", "tenant"),
        ];
        for (records, body, word) in cases {
            let found = verdict(records, body);
            assert!(
                matches!(&found[..], [(true, text)] if text.contains(word)),
                "{body}: {found:?}"
            );
        }
    }

    #[test]
    fn an_empty_topic_is_no_reason_to_refuse() {
        assert!(matches!(&verdict(&[], "{}")[..], [(false, _)]));
        assert!(matches!(&verdict(&[b""], "{}")[..], [(false, _)]), "tombstones tell nothing");
    }
}
