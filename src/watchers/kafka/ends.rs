//! Asks the brokers where the partitions begin and end, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use dwell_injectors::kafka_complaints::next_step;
use dwell_injectors::stamp::Stamp;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::clients::{Client, Clients};
use crate::watchers::WatchContext;

/// How long brokers may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// Distance of questions about the ends of the partitions.
const ASK: Duration = Duration::from_secs(1);
/// How soon a stop is noticed.
pub(super) const NAP: Duration = Duration::from_millis(100);

/// First and next offset of a partition at the broker.
pub(super) type Ends = BTreeMap<i32, (i64, i64)>;

/// Brokers' answer, and when it was asked for.
pub(super) struct Answer {
    pub asked: Stamp,
    pub ends: Result<Ends, Unanswered>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::watchers) struct Unanswered {
    /// In the library's words.
    pub reason: String,
    /// True when the configuration has to change.
    pub ours: bool,
}

/// Asks for the ends again and again until nobody listens.
pub(super) struct Asker {
    pub clients: Arc<Clients>,
    pub topic: String,
    pub context: WatchContext,
    pub answers: Sender<Answer>,
}

impl Asker {
    pub fn run(self) {
        loop {
            let begin = Instant::now();
            let asked = self.context.clock.now();
            let consumer = self.clients.present();
            let ends = ends(&consumer, &self.topic);
            // The reader polls: by now it has heard the reason.
            let ends = ends.map_err(|trouble| explained(&consumer, trouble));
            if self.answers.send(Answer { asked, ends }).is_err() {
                return;
            }
            drop(consumer);
            while begin.elapsed() < ASK {
                if self.context.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(NAP.min(ASK.saturating_sub(begin.elapsed())));
            }
        }
    }
}

/// With the library's own reason, where it gave one since the last answer.
pub(super) fn explained(consumer: &Client, trouble: Unanswered) -> Unanswered {
    let Some((code, reason)) = consumer.context().0.take() else { return trouble };
    let refused = matches!(code, Code::Authentication | Code::SaslAuthenticationFailed);
    Unanswered {
        reason: format!("cannot reach the brokers: {reason}; {}", next_step(Some(code))),
        ours: refused || trouble.ours,
    }
}

pub(super) fn ends(consumer: &Client, topic: &str) -> Result<Ends, Unanswered> {
    let target = |e: KafkaError| Unanswered { reason: e.to_string(), ours: false };
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER).map_err(target)?;
    // What the library complained of before it found an answer is over.
    consumer.context().0.take();
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let Some(found) = found.filter(|t| t.error().is_none() && !t.partitions().is_empty()) else {
        let code = found.and_then(|t| t.error()).map(|e| format!(": {}", Code::from(e)));
        let code = code.unwrap_or_default();
        let reason = format!("the brokers show no topic {topic:?}{code}; check `topic` and rights");
        return Err(Unanswered { reason, ours: true });
    };
    let mut ends = Ends::new();
    for partition in found.partitions() {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition.id(), ANSWER).map_err(target)?;
        ends.insert(partition.id(), (low, high));
    }
    Ok(ends)
}
