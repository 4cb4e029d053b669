//! Kafka, against librdkafka's mock cluster: a fake that speaks the protocol in this process.

use std::time::Duration;

use dwell_injectors::injector::{Event, Injector};
use dwell_injectors::receipt::{InjectError, Receipt, Strength};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{
    Cause, PATIENCE, assert_fault, assert_rejected, assert_unknown, build, deliver, event, sample,
};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("auth", 1, 1).unwrap();
    cluster
}

fn settings(cluster: &Cluster, more: &str) -> String {
    let brokers: Vec<String> = cluster
        .bootstrap_servers()
        .split(',')
        .map(|broker| format!("{:?}", broker.trim_start_matches("PLAINTEXT://")))
        .collect();
    format!("type = \"kafka\"\nbrokers = [{}]\ntopic = \"auth\"\n{more}", brokers.join(","))
}

/// One record as a consumer sees it.
#[derive(Debug, PartialEq)]
struct Record {
    body: String,
    key: Option<String>,
    headers: Vec<(String, String)>,
}

fn records(cluster: &Cluster, count: usize) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let (_, high) = consumer.fetch_watermarks("auth", 0, PATIENCE).unwrap();
    assert_eq!(usize::try_from(high).unwrap(), count, "records in the topic");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("auth", 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let message = consumer.poll(PATIENCE).expect("no record in time").unwrap();
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let pair = |header: rdkafka::message::Header<'_, &[u8]>| {
                (header.key.to_owned(), text(header.value.unwrap_or_default()))
            };
            headers.iter().map(pair).collect()
        });
        let (body, key) = (text(message.payload().unwrap()), message.key().map(text));
        found.push(Record { body, key, headers });
    }
    found
}

/// The first delivery starts a producer, which takes longest.
fn first(injector: &mut Box<dyn Injector>) -> Receipt {
    deliver(injector, "first", PATIENCE).unwrap()
}

#[test]
fn records_arrive_as_they_are_with_their_place() {
    let cluster = cluster();
    let mut injector = build(&settings(&cluster, "headers = { source = \"vpn\" }"));
    injector.check(&[sample("a")], PATIENCE).unwrap();
    let bodies = ["plain", "two\nlines\r\0", "\u{202e}\u{1f600} \" \\", &"x".repeat(64 * 1024), ""];
    for (offset, body) in bodies.iter().enumerate() {
        let key = (offset % 2 == 1).then(|| "host-1".to_owned());
        let event = Event { key, ..event(body) };
        let receipt = injector.deliver(&event, PATIENCE).unwrap();
        assert_eq!(receipt.strength, Strength::Replicated);
        assert_eq!(receipt.place, Some(format!("auth/0@{offset}")));
        assert!(receipt.accepted_at.unwrap().since(&receipt.submitted_at).ns > 0);
    }
    assert_eq!(injector.close(PATIENCE), 0);
    let found = records(&cluster, bodies.len());
    for (offset, record) in found.iter().enumerate() {
        assert_eq!(record.body, bodies[offset]);
        assert_eq!(record.key.as_deref(), (offset % 2 == 1).then_some("host-1"));
        assert_eq!(record.headers, [("source".to_owned(), "vpn".to_owned())]);
    }
}

#[test]
fn without_settings_there_is_neither_key_nor_header() {
    let cluster = cluster();
    first(&mut build(&settings(&cluster, "")));
    let body = "first".to_owned();
    assert_eq!(records(&cluster, 1), [Record { body, key: None, headers: Vec::new() }]);
}

#[test]
fn brokers_out_of_reach_are_a_rejection_in_time() {
    let port = super::peers::closed_port();
    let settings = format!("type = \"kafka\"\nbrokers = [\"127.0.0.1:{port}\"]\ntopic = \"auth\"");
    let mut injector = build(&settings);
    let down = deliver(&mut injector, "x", Duration::from_secs(2));
    assert_fault(down, "cannot reach", Cause::Target);
    let error = injector.check(&[], Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, InjectError::Rejected { .. }), "{error}");
}

#[test]
fn an_unknown_topic_is_a_rejection() {
    let cluster = cluster();
    cluster.topic_error("auth", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let mut injector = build(&settings(&cluster, ""));
    assert_rejected(deliver(&mut injector, "x", PATIENCE), "auth");
    assert!(injector.check(&[], PATIENCE).is_err());
}

#[test]
fn refusals_of_the_broker_and_of_the_library_are_rejections() {
    let cluster = cluster();
    let mut injector =
        build(&settings(&cluster, "properties = { \"message.max.bytes\" = \"1000\" }"));
    first(&mut injector);
    assert_rejected(deliver(&mut injector, &"x".repeat(5000), PATIENCE), "not taken");
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    assert_fault(deliver(&mut injector, "denied", PATIENCE), "auth", Cause::Ours);
    deliver(&mut injector, "again", PATIENCE).unwrap();
    let bodies: Vec<String> = records(&cluster, 2).into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["first", "again"]);
}

#[test]
fn a_broker_that_goes_away_leaves_the_outcome_unknown_and_comes_back() {
    let cluster = cluster();
    let mut injector = build(&settings(&cluster, ""));
    first(&mut injector);
    cluster.broker_down(1).unwrap();
    let short = Duration::from_secs(1);
    assert_unknown(deliver(&mut injector, "in doubt", short), "no report");
    // The old producer is gone, so nothing more was handed over: now it is certain.
    assert_rejected(deliver(&mut injector, "certainly not", short), "cannot reach");
    cluster.broker_up(1).unwrap();
    super::wait_until("the broker is back", || injector.deliver(&event("back"), PATIENCE).is_ok());
    let bodies: Vec<String> = records(&cluster, 2).into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["first", "back"]);
}

#[test]
fn a_slow_broker_is_unknown_in_time() {
    let cluster = cluster();
    let mut injector = build(&settings(&cluster, ""));
    first(&mut injector);
    cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
    assert_unknown(deliver(&mut injector, "slow", Duration::from_millis(700)), "no report");
}

#[test]
fn a_broken_producer_is_unknown_and_rebuilt() {
    for round in 0..5 {
        let cluster = cluster();
        let mut injector = build(&settings(&cluster, ""));
        first(&mut injector);
        cluster.request_errors(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
        );
        let result = deliver(&mut injector, "broken", Duration::from_secs(3));
        assert!(
            matches!(result, Err(InjectError::Unknown { .. })),
            "round {round}: a lost sequence is no certain outcome: {result:?}"
        );
        deliver(&mut injector, "rebuilt", PATIENCE).unwrap();
    }
}

fn put(cluster: &Cluster, bodies: &[&[u8]]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for body in bodies {
        producer.send(BaseRecord::<(), [u8]>::to("auth").payload(*body)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn a_check_refuses_another_framing_unless_forced_and_leaves_nothing_behind() {
    let cases: [(&[&[u8]], bool); 5] = [
        (&[b"\0\0\0\0\x07avro", b"\0\0\0\0\x07more"], true),
        (&[b"plain lines", b"of text"], true),
        (&[br#"{"a":1,"tenant":"t"}"#, br#"{"a":2,"tenant":"u"}"#], true),
        (&[br#"{"a":1}"#, br#"{"a":2,"b":3}"#], false),
        (&[], false),
    ];
    for (bodies, refused) in cases {
        let cluster = cluster();
        put(&cluster, bodies);
        let samples = [sample("{\"a\":5}")];
        let found = build(&settings(&cluster, "")).check(&samples, Duration::from_secs(4)).unwrap();
        assert_eq!(found.iter().any(|note| note.refuse), refused, "{bodies:?}: {found:?}");
        let forced = settings(&cluster, "force_encoding = true");
        let found = build(&forced).check(&samples, Duration::from_secs(4)).unwrap();
        assert!(found.iter().all(|note| !note.refuse), "{found:?}");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "unused-without-subscription")
            .create()
            .unwrap();
        let (_, high) = consumer.fetch_watermarks("auth", 0, PATIENCE).unwrap();
        assert_eq!(usize::try_from(high).unwrap(), bodies.len(), "the check wrote");
        let mut list = TopicPartitionList::new();
        list.add_partition("auth", 0);
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        assert_eq!(committed.elements()[0].offset(), Offset::Invalid, "the check committed");
    }
}
