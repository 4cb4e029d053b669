//! Kafka against brokers that forget, and brokers that refuse.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

fn settings(cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>) -> String {
    format!(
        "type='kafka'\nbrokers=['{}']\ntopic='alerts'\ndialect='reference-detector'",
        cluster.bootstrap_servers()
    )
}

/// Retention at the broker removes what nobody read, while it is away: that is no outage that was made good.
#[test]
fn kafka_records_that_are_gone_stay_lost_when_the_brokers_answer_again() {
    let bench = Bench::new(1);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", 1, 1).unwrap();
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let send = |body: &str| {
        producer.send(BaseRecord::<str, str>::to("alerts").partition(0).payload(body)).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    };
    let settings = settings(&cluster);
    let running = bench.start(&settings);
    send(&bench.alert(0));
    until("it is sighted", || bench.sighted() == [0]);
    running.stop();
    // The simulated broker keeps 5 MiB.
    for _ in 0..20 {
        send(&"x".repeat(500_000));
    }
    cluster.broker_down(1).unwrap();
    let (running, ready) = bench.start_unready(&settings);
    until("the outage is seen", || bench.blinds().iter().any(|b| b.to.is_none()));
    cluster.broker_up(1).unwrap();
    until("the start is found", || ready.load(Ordering::Acquire));
    until("the loss is told", || bench.blinds().iter().any(|b| b.reason.contains("removed")));
    let looks = |rows: &[Row]| rows.iter().filter(|r| matches!(r, Row::Look(_))).count();
    let before = looks(&bench.rows());
    until("it looks again", || looks(&bench.rows()) > before);
    running.stop();
    let recovered: Vec<_> = bench.blinds().into_iter().filter(|b| b.recovered).collect();
    assert!(recovered.is_empty(), "{recovered:?}");
}

/// Asking for the ends of a topic needs another right than reading it does.
#[test]
fn kafka_without_the_right_to_read_is_blind_and_says_so() {
    let bench = Bench::new(1);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", 1, 1).unwrap();
    let refuse = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[refuse; 10_000]);
    let running = bench.start(&settings(&cluster));
    until("the refusal is told", || !bench.blinds().is_empty());
    std::thread::sleep(Duration::from_millis(2500));
    let told = bench.blinds();
    assert!(told.len() == 1 && told[0].ours && told[0].to.is_none(), "{told:?}");
    assert!(told[0].reason.contains("give it the right Read"), "{}", told[0].reason);
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    until("it reads again", || bench.blinds().iter().any(|b| b.to.is_some() && b.recovered));
    running.stop();
}

/// The end that was reported before the record came is no end any more. As when a topic is made anew behind the library's back: it asks again for ever, and says nothing.
#[test]
fn kafka_that_answers_and_lets_nothing_be_read_is_blind_and_asked_anew() {
    let bench = Bench::new(1);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", 1, 1).unwrap();
    let running = bench.start(&settings(&cluster));
    let stale = RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[stale; 10_000]);
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .unwrap();
    let body = bench.alert(0);
    producer.send(BaseRecord::<str, str>::to("alerts").partition(0).payload(&body)).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    let there = bench.clock.now();
    until("that is told", || bench.blinds().iter().any(|b| b.reason.contains("can be read")));
    let blind_look =
        |row: &Row| matches!(row, Row::Look(l) if l.complete && l.from.since(&there).ns > 0);
    assert!(!bench.rows().iter().any(blind_look), "it says that it has looked where it could not");
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    until("it is sighted", || bench.sighted() == [0]);
    until("it sees again", || bench.blinds().iter().any(|b| b.to.is_some() && b.recovered));
    running.stop();
}
