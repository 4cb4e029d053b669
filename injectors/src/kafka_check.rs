//! Looks at a topic without leaving a trace: does it exist, is it compacted, and do its recent
//! records have the framing of the events that the routes would send?
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

use crate::injector::{CheckNote, Sample};
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
    samples: &[Sample],
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
    notes.extend(judge(&records, samples));
    Ok(notes)
}

/// Says whether the topic is compacted, where the broker lets us see that.
fn compaction(config: &ClientConfig, topic: &str, patience: Duration) -> Vec<CheckNote> {
    let unseen = |why: String| vec![CheckNote { refuse: false, text: unseen(topic, &why) }];
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
    judge_policy(topic, resource.get("cleanup.policy").and_then(|entry| entry.value.as_deref()))
}

/// A compacted topic is refused, also where it is `compact,delete`.
fn judge_policy(topic: &str, policy: Option<&str>) -> Vec<CheckNote> {
    let (refuse, text) = match policy {
        Some(policy) if policy.split(',').any(|one| one.trim() == "compact") => (
            true,
            format!(
                "topic {topic} is compacted (cleanup.policy={policy}): a record without a key is refused there, and one with a key replaces another's; choose another topic or set `force_encoding = true`"
            ),
        ),
        Some(_) => return Vec::new(),
        None => (false, unseen(topic, "the broker does not say")),
    };
    vec![CheckNote { refuse, text }]
}

fn unseen(topic: &str, why: &str) -> String {
    format!("whether topic {topic} is compacted could not be read: {why}")
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

/// Compares recent records with the events as the routes would send them.
fn judge(records: &[Vec<u8>], samples: &[Sample]) -> Vec<CheckNote> {
    let records: Vec<&[u8]> =
        records.iter().map(Vec::as_slice).filter(|record| !record.is_empty()).collect();
    if records.is_empty() {
        let text = "the topic holds no record to compare the framing with".to_owned();
        return vec![CheckNote { refuse: false, text }];
    }
    let mut found: Vec<String> = Vec::new();
    if let Some(text) = no_text(&records) {
        found.push(text);
    } else {
        let looked = Looked::new(&records);
        for sample in samples {
            // A recipe may have many events of one shape.
            let text = looked.refuses(sample).filter(|text| !found.contains(text));
            found.extend(text);
        }
    }
    let refuse = |text: String| CheckNote {
        refuse: true,
        text: format!("{text}; choose another topic or recipe, or set `force_encoding = true`"),
    };
    found.into_iter().map(refuse).collect()
}

/// Framings that no recipe has.
fn no_text(records: &[&[u8]]) -> Option<String> {
    let all = records.len();
    let registered = records.iter().filter(|record| record.len() > 5 && record[0] == 0).count();
    if registered * 2 > all {
        return Some(format!(
            "{registered} of the {all} records looked at are framed for a schema registry (first byte 0)"
        ));
    }
    let binary = records.iter().filter(|record| std::str::from_utf8(record).is_err()).count();
    (binary * 2 > all).then(|| format!("{binary} of the {all} records looked at are no text"))
}

/// What the records looked at are like.
struct Looked {
    all: usize,
    json: usize,
    /// Fields that every JSON record has.
    common: BTreeSet<String>,
}

impl Looked {
    fn new(records: &[&[u8]]) -> Looked {
        let is_json_text = |record: &&&[u8]| std::str::from_utf8(record).is_ok_and(is_json);
        let json = records.iter().filter(is_json_text).count();
        Looked { all: records.len(), json, common: common_fields(records) }
    }

    /// What is wrong with one event among these records.
    fn refuses(&self, sample: &Sample) -> Option<String> {
        let (Looked { all, json, common }, recipe) = (self, &sample.recipe);
        if !is_json(&sample.event.body) {
            return (json * 2 > *all).then(|| {
                format!(
                    "{json} of the {all} records looked at are JSON, but the events of {recipe} are not"
                )
            });
        }
        if json * 2 <= *all {
            let other = all - json;
            return Some(format!(
                "{other} of the {all} records looked at are no JSON, but the events of {recipe} are"
            ));
        }
        let ours = heads(sample.event.body.as_bytes()).unwrap_or_default();
        let missing: Vec<&str> = common.difference(&ours).take(10).map(String::as_str).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "every JSON record looked at has fields that an event of {recipe} lacks: {}",
                missing.join(", ")
            )
        })
    }
}

/// Fields at the top of every JSON record.
fn common_fields(records: &[&[u8]]) -> BTreeSet<String> {
    let all = records.iter().filter_map(|record| heads(record));
    all.reduce(|all, one| all.intersection(&one).cloned().collect()).unwrap_or_default()
}

/// Fields at the top of a JSON object. `a.b` counts as `a`, because products write either form.
fn heads(record: &[u8]) -> Option<BTreeSet<String>> {
    let value: Value = serde_json::from_slice(record).ok()?;
    let head = |key: &String| key.split('.').next().unwrap_or(key).to_owned();
    Some(value.as_object()?.keys().map(head).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injector::Event;

    fn sample(recipe: &str, body: &str) -> Sample {
        let event = Event {
            index: 0,
            offset: Duration::ZERO,
            body: body.to_owned(),
            completing: true,
            syslog: None,
            key: None,
            time_ns: 0,
        };
        Sample { recipe: recipe.to_owned(), event }
    }

    fn verdict(records: &[&[u8]], body: &str) -> Vec<(bool, String)> {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.to_vec()).collect();
        let notes = judge(&records, &[sample("a/recipe", body)]);
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

    #[test]
    fn every_recipe_is_compared_and_each_complaint_is_made_once() {
        let records: Vec<Vec<u8>> = vec![br#"{"a":1,"tenant":2}"#.to_vec(); 3];
        let samples = [
            sample("fits", r#"{"a":1,"tenant":"x"}"#),
            sample("plain", "a line"),
            sample("plain", "another line"),
            sample("poor", r#"{"a":1}"#),
        ];
        let notes = judge(&records, &samples);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().all(|note| note.refuse));
        assert!(notes[0].text.contains("events of plain are not"), "{notes:?}");
        assert!(notes[1].text.contains("event of poor lacks: tenant"), "{notes:?}");
        assert_eq!(judge(&records, &samples[..1]), []);
        assert_eq!(judge(&records, &[]), []);
    }

    #[test]
    fn a_compacted_topic_is_refused() {
        for policy in ["compact", "compact,delete", "delete, compact"] {
            let notes = judge_policy("t", Some(policy));
            assert!(matches!(&notes[..], [note] if note.refuse), "{policy}: {notes:?}");
            assert!(notes[0].text.contains(policy) && notes[0].text.contains("force_encoding"));
        }
        assert_eq!(judge_policy("t", Some("delete")), []);
        let unseen = judge_policy("t", None);
        assert!(matches!(&unseen[..], [note] if !note.refuse), "{unseen:?}");
    }
}
