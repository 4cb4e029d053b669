//! A Kafka topic as a target, by librdkafka's idempotent producer.
//!
//! Invariants:
//!
//! - A receipt means that all in-sync replicas have the record ([`Strength::Replicated`]); its
//!   place is `topic/partition@offset`.
//! - Before a fresh producer takes its first record, the topic's metadata is read. What fails there
//!   is a certain rejection, because nothing was handed over. The topic is never created.
//! - A report that does not come in time is `Unknown`: the record may have been stored, or may have
//!   been about to be. The producer is then given up with everything it still held, so that no
//!   record leaves after its canary was judged, and a new one is built for the next event.
//! - The producer's `message.timeout.ms` is the timeout of the call that built it. `deliver` keeps
//!   its own time beside that.
//! - `check` commits no offset and joins no group.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::injector::{CheckNote, Event, Injector, Sample, Target};
use crate::kafka_complaints::{Complaints, next_step};
use crate::kafka_settings::{KafkaProperties, KafkaSettings};
use crate::receipt::{InjectError, Receipt, Strength};
use crate::stamp::{Clock, Stamp};

/// What the library says against a property, if anything. Builds a configuration and nothing else.
pub(crate) fn refuses(name: &str, value: &str) -> Option<String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(_, why, _, _)) => Some(why),
        Err(error) => Some(error.to_string()),
    }
}

/// How long brokers that are all down are waited for where nothing hangs on it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one look for a delivery report takes.
const LOOK: Duration = Duration::from_millis(1);
/// How long the library may take to say why it has no answer.
const REASON: Duration = Duration::from_millis(300);

/// See the module's text.
pub struct KafkaInjector {
    settings: KafkaSettings,
    connection: KafkaProperties,
    clock: Arc<dyn Clock>,
    producer: Option<BaseProducer<Reports>>,
    next: usize,
}

impl fmt::Debug for KafkaInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaInjector")
            .field("settings", &self.settings)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// What became of a record.
struct Report {
    id: usize,
    at: Stamp,
    outcome: Result<(i32, i64), KafkaError>,
}

/// Takes delivery reports and the library's complaints.
pub(crate) struct Reports {
    clock: Arc<dyn Clock>,
    report: Mutex<Option<Report>>,
    complaints: Complaints,
}

impl Reports {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Reports {
        Reports { clock, report: Mutex::new(None), complaints: Complaints::default() }
    }

    fn take(&self, id: usize) -> Option<Report> {
        let mut slot = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|report| report.id == id)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        let report = Report { id, at: self.clock.now(), outcome };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

impl KafkaInjector {
    pub(crate) fn new(
        settings: KafkaSettings,
        connection: KafkaProperties,
        clock: Arc<dyn Clock>,
    ) -> KafkaInjector {
        KafkaInjector { settings, connection, clock, producer: None, next: 0 }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.connection.iter() {
            config.set(name, value);
        }
        config.set("allow.auto.create.topics", "false");
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The producer, built and proven against the topic's metadata when there is none.
    /// Brokers that are down may come back while an event waits; `hasty` does not wait for them.
    fn producer(
        &mut self,
        timeout: Duration,
        deadline: Instant,
        hasty: bool,
    ) -> Result<(), InjectError> {
        if self.producer.is_some() {
            return Ok(());
        }
        let mut config = self.config();
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("linger.ms", "0");
        config.set("message.timeout.ms", timeout.as_millis().max(1).to_string());
        let producer: BaseProducer<Reports> = config
            .create_with_context(Reports::new(Arc::clone(&self.clock)))
            .map_err(|error| InjectError::ours(format!("cannot start a producer: {error}")))?;
        let limit = deadline.saturating_duration_since(Instant::now()).mul_f64(0.8);
        let ask = |limit| producer.client().fetch_metadata(Some(&self.settings.topic), limit);
        let first = if hasty { limit.min(PATIENCE) } else { limit };
        let answer = ask(first).or_else(|error| {
            let left = limit.saturating_sub(first);
            if left.is_zero() {
                return Err(error);
            }
            // Complaints come while it is polled.
            reason(&producer, deadline);
            if producer.context().complaints.all_down() { Err(error) } else { ask(left) }
        });
        match answer {
            Ok(metadata) => self.accept_topic(&metadata)?,
            Err(error) => {
                let complaint = reason(&producer, deadline);
                drop_aside(producer);
                let (code, why) = match complaint {
                    Some((code, why)) => (Some(code), why),
                    None => (error.rdkafka_error_code(), error.to_string()),
                };
                let place = self.settings.target().place;
                let next = next_step(code);
                return Err(refusal(code, format!("cannot reach {place}: {why}; {next}")));
            }
        }
        self.producer = Some(producer);
        Ok(())
    }

    pub(crate) fn accept_topic(
        &self,
        metadata: &rdkafka::metadata::Metadata,
    ) -> Result<(), InjectError> {
        let topic = &self.settings.topic;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else {
            return Err(InjectError::rejected(format!("the brokers do not know topic {topic}")));
        };
        if let Some(error) = found.error() {
            let code = Code::from(error);
            let reason = format!("topic {topic}: {code}; create it or correct the name");
            return Err(refusal(Some(code), reason));
        }
        let count = found.partitions().len();
        match self.settings.partition {
            _ if count == 0 => {
                Err(InjectError::rejected(format!("topic {topic} does not exist; create it first")))
            }
            Some(wanted) if !found.partitions().iter().any(|one| one.id() == wanted) => {
                Err(InjectError::ours(format!(
                    "topic {topic} has {count} partitions, none of them number {wanted}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Gives the record to the library. What fails here was not taken.
    fn enqueue(
        &self,
        producer: &BaseProducer<Reports>,
        id: usize,
        event: &Event,
    ) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, str, str, usize> =
            BaseRecord::with_opaque_to(&self.settings.topic, id).payload(event.body.as_str());
        if let Some(key) = &event.key {
            record = record.key(key.as_str());
        }
        if let Some(partition) = self.settings.partition {
            record = record.partition(partition);
        }
        if !self.settings.headers.is_empty() {
            let headers =
                self.settings.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value.as_str()) })
                });
            record = record.headers(headers);
        }
        producer.send(record).map_err(|(error, _)| error)
    }

    /// Gives the producer up, with everything that it still holds.
    fn give_up(&mut self) {
        if let Some(producer) = self.producer.take() {
            drop_aside(producer);
        }
    }

    fn judge(&mut self, submitted_at: Stamp, report: Report) -> Result<Receipt, InjectError> {
        match report.outcome {
            Ok((partition, offset)) => Ok(Receipt {
                submitted_at,
                accepted_at: Some(report.at),
                strength: Strength::Replicated,
                place: Some(format!("{}/{partition}@{offset}", self.settings.topic)),
            }),
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                let reason = format!("{}: {}", self.settings.target().place, plain(&error));
                if !about_the_record(code) {
                    // Whatever broke stays broken inside the producer, even after the broker's
                    // side is mended; a new one looks again.
                    self.give_up();
                }
                if was_refused(code) {
                    Err(refusal(Some(code), reason))
                } else {
                    Err(InjectError::unknown(reason))
                }
            }
        }
    }
}

/// Why there was no answer. Complaints are handed over by polling, among much else.
fn reason(producer: &BaseProducer<Reports>, deadline: Instant) -> Option<(Code, String)> {
    let until = deadline.min(Instant::now() + REASON);
    loop {
        let complaint = producer.context().complaints.last();
        let told = complaint.as_ref().is_some_and(|(code, _)| *code != Code::AllBrokersDown);
        if told || Instant::now() >= until {
            return complaint;
        }
        producer.poll(LOOK);
    }
}

/// A producer's end can take half a second, which is nobody's to wait for. Its own drop purges
/// what is queued and under way.
fn drop_aside(producer: BaseProducer<Reports>) {
    let spawned =
        std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(producer));
    // Without a thread the closure, and the producer with it, is dropped here and now.
    drop(spawned);
}

/// What concerns our rights, credentials or the record that we made is ours.
fn refusal(code: Option<Code>, reason: String) -> InjectError {
    let ours = [
        Code::Authentication,
        Code::SaslAuthenticationFailed,
        Code::TopicAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::MessageSizeTooLarge,
        Code::QueueFull,
    ];
    match code {
        Some(code) if ours.contains(&code) => InjectError::ours(reason),
        _ => InjectError::rejected(reason),
    }
}

/// Errors with which a broker, or the library before it asked one, says that nothing was stored.
fn was_refused(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidTopic
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::NotEnoughReplicas
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedForMessageFormat
            | Code::InvalidTimestamp
    )
}

/// Errors that say something about one record and nothing about the next.
fn about_the_record(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
    )
}

fn plain(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

impl Injector for KafkaInjector {
    fn target(&self) -> Target {
        self.settings.target()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let deadline = Instant::now() + timeout;
        self.producer(timeout, deadline, false)?;
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let Some(producer) = &self.producer else {
            return Err(InjectError::ours("there is no producer"));
        };
        let submitted_at = self.clock.now();
        if let Err(error) = self.enqueue(producer, id, event) {
            if !error.rdkafka_error_code().is_some_and(about_the_record) {
                self.give_up();
            }
            let reason = format!("the record was not taken: {}", plain(&error));
            return Err(refusal(error.rdkafka_error_code(), reason));
        }
        let report = loop {
            producer.poll(LOOK);
            if let Some(report) = producer.context().take(id) {
                break Some(report);
            }
            if Instant::now() >= deadline {
                break None;
            }
        };
        if let Some((code, reason)) = producer.client().fatal_error() {
            self.give_up();
            if report.as_ref().is_none_or(|report| report.outcome.is_err()) {
                return Err(InjectError::fatal(format!("the producer broke: {code}: {reason}")));
            }
        }
        if let Some(report) = report {
            return self.judge(submitted_at, report);
        }
        let complaint =
            self.producer.as_ref().and_then(|producer| producer.context().complaints.last());
        self.give_up();
        let why = complaint.map(|(_, text)| format!(" ({text})")).unwrap_or_default();
        let place = self.settings.target().place;
        Err(InjectError::unknown(format!(
            "no report from {place} within {} ms{why}; the record may have been stored",
            timeout.as_millis()
        )))
    }

    fn check(
        &mut self,
        samples: &[Sample],
        timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        let deadline = Instant::now() + timeout;
        // The producer finds what is wrong with the connection, and is then warm for the first
        // event, whose stamp would otherwise include the time to connect.
        self.producer(timeout, deadline, true)?;
        let mut notes = crate::kafka_check::look(self, self.config(), samples, deadline)?;
        if self.settings.force_encoding {
            for note in &mut notes {
                note.refuse = false;
            }
        }
        Ok(notes)
    }

    fn close(&mut self, timeout: Duration) -> usize {
        let Some(producer) = self.producer.take() else { return 0 };
        // What could not be flushed stays counted; the rest of the error says no more.
        let _ = producer.flush(timeout);
        let left = usize::try_from(producer.in_flight_count()).unwrap_or(0);
        drop_aside(producer);
        left
    }
}

impl KafkaInjector {
    pub(crate) fn topic(&self) -> &str {
        &self.settings.topic
    }

    pub(crate) fn place(&self) -> String {
        self.settings.target().place
    }
}
