//! Reads a Kafka topic, from offsets that it names itself.
//!
//! Invariants:
//!
//! - The starting offsets are asked for and named before the watcher is ready, so that the first
//!   record after that is read. No group is joined and no offset committed: the position is in our
//!   ledger alone, beside what it led to.
//! - A look is complete when every partition has been read up to the high watermark that was asked
//!   for after the look began. Asking is done on a thread of its own, so that no record waits for it. Where the
//!   last offsets are markers, which no reader is given, reading begins anew there, and the end that the library
//!   reports then counts; one that it reported before may lie before the watermark.
//! - Brokers that do not answer are a blind span of the target; since offsets stay, what happened
//!   meanwhile is read afterwards and the span is recovered. Records that retention removed before
//!   they were read are a span that nothing recovers.
//!
//! - A token in a record's key or in one of its headers belongs to the record's alert. A record without a
//!   value takes an earlier one back; it is no alert, whatever its key holds.
//!
//! - A record is new where nothing waited when it came: the queue was empty, the last look had caught up
//!   with the ends that it asked for at once, and the brokers have complained of nothing since. Otherwise
//!   it came after the last look that reached its goal began, and the sighting says so.
//!
//! - Brokers that answer about the ends and let nobody read are a blind span of ours. It lasts until a
//!   record or the end of a partition is read.
//! - Where the ends are beyond us and nothing can be read for [`STUCK`], whatever the reason, that is a blind
//!   span too, and the topic is read through a new client: the library can take a topic that was made anew for
//!   the old one with news of long ago, and waits then for ever.
//!
//! Not promised: record times (a sighting's time is ours), that brokers who hang for less than [`FRESH`]
//! without breaking a connection are noticed, and that a topic is known for another one that was made anew
//! and filled past our position between two questions: brokers name topics by name alone here.

mod clients;
mod ends;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use dwell_injectors::kafka_settings::{KafkaProperties, KafkaSecurity, connection_properties};
use dwell_injectors::stamp::Stamp;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::intake::{Intake, Mark, ns};
use super::{RESOLUTION, SettingsError, WatchContext, WatchError, Watcher, later, not_before};
use crate::dialects::Dialect;
use clients::{Client, Clients};
use ends::{Answer, Asker, Ends, NAP, Unanswered, ends, explained};
use record::carried;

/// A look that reached its goal so soon was at the end of the topic.
const PROMPT: Duration = Duration::from_millis(500);
/// How long after such a look began what comes is taken for new: the next one is due before.
const FRESH: Duration = Duration::from_millis(1500);
/// How long nothing can be read, although there is something, before a new client is tried.
const STUCK: Duration = Duration::from_secs(10);

/// The Kafka watcher.
pub(super) struct KafkaWatcher {
    topic: String,
    brokers: Vec<String>,
    properties: KafkaProperties,
    dialect: Arc<Dialect>,
}

/// Next offset of each partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Position {
    topic: String,
    next: BTreeMap<i32, i64>,
}

impl KafkaWatcher {
    pub fn new(
        (brokers, topic): (&[String], &str),
        security: &KafkaSecurity,
        further: &BTreeMap<String, String>,
        dialect: Arc<Dialect>,
    ) -> Result<KafkaWatcher, SettingsError> {
        let properties = connection_properties(brokers, security, further)
            .map_err(|e| SettingsError::new("security", e.to_string()))?;
        let (topic, brokers) = (topic.to_owned(), brokers.to_vec());
        Ok(KafkaWatcher { topic, brokers, properties, dialect })
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.properties.iter() {
            config.set(name, value);
        }
        config
            // The library wants a name here; without subscription or commit no group comes to be.
            .set("group.id", format!("watch-{}", self.topic))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.min.bytes", "1")
            .set("fetch.error.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("queued.max.messages.kbytes", "16384")
            .set_log_level(RDKafkaLogLevel::Critical);
        config
    }

    /// Asks for the ends of all partitions once, and reads nothing.
    pub fn try_once(&self) -> Result<usize, Unanswered> {
        let clients = Clients::new(self.config())
            .map_err(|e| Unanswered { reason: e.to_string(), ours: true })?;
        let consumer = clients.present();
        ends(&consumer, &self.topic).map(|ends| ends.len()).map_err(|trouble| {
            // Complaints are handed over by polling.
            for _ in 0..30 {
                drop(consumer.poll(Duration::from_millis(10)));
            }
            explained(&consumer, trouble)
        })
    }
}

impl Watcher for KafkaWatcher {
    fn source(&self) -> String {
        format!("kafka {}/{}", self.brokers.join(","), self.topic)
    }

    fn push(&self) -> bool {
        false
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn run(self: Box<Self>, context: WatchContext) -> Result<(), WatchError> {
        let clients = Clients::new(self.config()).map_err(|e| WatchError::Environment {
            watcher: context.name.clone(),
            reason: format!("the Kafka library refuses the settings: {e}"),
        })?;
        let clients = Arc::new(clients);
        context.pulse.heed();
        let (answers, inbox) = bounded(1);
        let asker = Asker {
            clients: clients.clone(),
            topic: self.topic.clone(),
            context: context.clone(),
            answers,
        };
        let thread = std::thread::Builder::new()
            .name("kafka ends".to_owned())
            .spawn(move || asker.run())
            .map_err(|e| WatchError::Environment {
                watcher: context.name.clone(),
                reason: format!("cannot start a thread: {e}; raise the limit of processes"),
            })?;
        let (intake, mark) = Intake::open(context, self.dialect)?;
        let reader = Reader::new(clients, self.topic, intake, mark);
        let ended = reader.run(&inbox);
        // The asker ends when nobody takes its answers.
        drop(inbox);
        let _ = thread.join();
        ended
    }
}

/// Reads records and keeps the look.
struct Reader {
    clients: Arc<Clients>,
    consumer: Arc<Client>,
    topic: String,
    intake: Intake,
    /// What the run before left.
    before: Option<Position>,
    next: BTreeMap<i32, i64>,
    /// The ends that were known when reading was last begun from `next`: an end that the library reports from
    /// then on lies no earlier.
    begun: Ends,
    /// Ends up to which everything was read or is given to no reader, by the library's report.
    reported: BTreeMap<i32, i64>,
    /// Ends that are still to be reached for the look that began at the stamp.
    goal: Option<(Stamp, Ends)>,
    /// Since when there may be something and nothing was read, or a new client was tried.
    waiting: Option<Stamp>,
    /// The last answer.
    last: Ends,
    first: bool,
    /// Begin of the last look that reached its goal: what is unread came after it.
    asked: Stamp,
    /// Before it, nothing came that is unread: later than `asked` while the reader is at the end.
    since: Stamp,
    /// True while the reader is taken to be at the end.
    steady: bool,
    /// True while the brokers refuse to let us read.
    refused: bool,
}

impl Reader {
    fn new(clients: Arc<Clients>, topic: String, intake: Intake, mark: Option<Mark>) -> Reader {
        let now = intake.now();
        let asked = mark.as_ref().map_or(now, |mark| mark.since(now));
        let before = mark
            .and_then(|m| serde_json::from_value::<Position>(m.position).ok())
            .filter(|p| p.topic == topic);
        Reader {
            consumer: clients.present(),
            clients,
            topic,
            intake,
            before,
            next: BTreeMap::new(),
            begun: Ends::new(),
            reported: BTreeMap::new(),
            goal: None,
            waiting: None,
            last: Ends::new(),
            first: true,
            asked,
            since: asked,
            steady: false,
            refused: false,
        }
    }

    fn run(mut self, answers: &Receiver<Answer>) -> Result<(), WatchError> {
        while !self.intake.stopping() {
            if let Ok(answer) = answers.try_recv() {
                self.answered(answer)?;
            }
            self.read()?;
            self.reach();
            if self.intake.pending() {
                self.commit()?;
            }
            self.intake.healthy()?;
        }
        self.intake.note_since(self.asked);
        let position = self.position();
        self.intake.close(&position)
    }

    /// Hands over what was read, with the position behind it and how old what follows can be.
    fn commit(&mut self) -> Result<(), WatchError> {
        self.intake.note_since(self.asked);
        let position = self.position();
        self.intake.commit(&position)
    }

    fn position(&self) -> Value {
        let position = Position { topic: self.topic.clone(), next: self.next.clone() };
        serde_json::to_value(position).unwrap_or_default()
    }

    /// Reads what has arrived, at most a batch.
    fn read(&mut self) -> Result<(), WatchError> {
        let consumer = self.consumer.clone();
        // The queue is asked before it is waited for: only what comes into an empty one has just come.
        let (mut waiting, mut found) = (false, false);
        let mut before = self.intake.now();
        for _ in 0..1000 {
            let next = consumer.poll(if waiting { NAP } else { Duration::ZERO });
            let into_empty = std::mem::take(&mut waiting);
            let Some(next) = next else {
                self.emptied(before);
                if found || into_empty {
                    return Ok(());
                }
                waiting = true;
                continue;
            };
            found = true;
            match next {
                Ok(message) => {
                    self.refused = false;
                    let observed = self.intake.now();
                    before = observed;
                    self.waiting = None;
                    self.came(observed, into_empty);
                    if let Some(payload) = message.payload() {
                        let not_before = not_before(&observed, self.since);
                        self.intake.message(payload, observed, not_before);
                        self.intake.beside(&carried(&message), payload, observed, not_before);
                    }
                    self.next.insert(message.partition(), message.offset() + 1);
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.refused = false;
                    self.waiting = None;
                    if let Some((_, high)) = self.begun.get(&partition) {
                        self.reported.insert(partition, *high);
                    }
                }
                Err(error) => self.complaint(&error),
            }
            if self.intake.full() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nothing waited at that instant.
    fn emptied(&mut self, at: Stamp) {
        if self.steady && at.since(&self.asked).ns <= ns(FRESH) {
            self.since = later(self.since, at);
        }
    }

    /// A record was handed on by the library, `into_empty` hands that were waiting for it.
    fn came(&mut self, observed: Stamp, into_empty: bool) {
        if observed.since(&self.asked).ns > ns(FRESH) {
            self.doubt();
        } else if self.steady && into_empty {
            self.since = later(self.since, self.intake.context.pulse.since(&observed));
        }
    }

    /// What comes next may have been there since the last look that reached its goal began.
    fn doubt(&mut self) {
        self.steady = false;
        self.since = self.asked;
    }

    /// An error while reading. Those that last show in the answers about the ends, but for rights, which are
    /// others for reading than for asking.
    fn complaint(&mut self, error: &KafkaError) {
        tracing::debug!(%error, "while reading");
        self.doubt();
        let code = error.rdkafka_error_code();
        if matches!(code, Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) {
            // Known from the next answer: the first offset has moved past ours.
            self.goal = None;
        }
        if code == Some(Code::TopicAuthorizationFailed) {
            let from = self.intake.looked().unwrap_or_else(|| self.intake.now());
            let reason = format!(
                "the brokers let nobody read {:?} as this user: {error}; give it the right Read",
                self.topic
            );
            self.intake.blind(from, reason, true);
            self.refused = true;
            self.goal = None;
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), WatchError> {
        let ends = match answer.ends {
            Ok(ends) => ends,
            Err(trouble) => {
                let from = self.intake.looked().unwrap_or(answer.asked);
                self.intake.blind(from, trouble.reason, trouble.ours);
                (self.goal, self.waiting) = (None, None);
                self.doubt();
                return Ok(());
            }
        };
        if self.refused {
            // The library tells a refusal once and an end once: what it says now is told anew.
            self.assign(&ends)?;
        }
        if self.place(&ends, answer.asked) {
            self.assign(&ends)?;
            self.doubt();
            self.commit()?;
            self.intake.ready();
        }
        if self.goal.is_none() && !self.refused {
            self.goal = Some((answer.asked, ends.clone()));
        }
        let still = self.last == ends;
        self.last = ends;
        let waiting = *self.waiting.get_or_insert(answer.asked);
        if self.refused {
            return Ok(());
        }
        if answer.asked.since(&waiting).ns > ns(STUCK) {
            self.begin_anew()
        } else if still && self.begun != self.last && !self.is_reached(&self.last) {
            // What is missing may be given to no reader: the library reports the end anew.
            self.doubt();
            self.assign(&self.last.clone())
        } else {
            Ok(())
        }
    }

    /// There is something and nothing can be read: says so, and tries a new client.
    fn begin_anew(&mut self) -> Result<(), WatchError> {
        let now = self.intake.now();
        let from = self.intake.looked().unwrap_or(now);
        let reason = format!("the brokers answer, and nothing of {:?} can be read", self.topic);
        self.intake.blind(from, reason, false);
        self.consumer = self.clients.renew().map_err(|e| WatchError::Environment {
            watcher: self.intake.context.name.clone(),
            reason: format!("the Kafka library makes no new client: {e}"),
        })?;
        self.waiting = Some(now);
        self.doubt();
        self.assign(&self.last.clone())
    }

    /// Gives every partition a next offset. True when the assignment has changed.
    fn place(&mut self, ends: &Ends, now: Stamp) -> bool {
        let mut changed = false;
        let mut removed = false;
        for (&partition, &(low, high)) in ends {
            let known = self.next.get(&partition).copied();
            let before = self.before.as_ref().and_then(|b| b.next.get(&partition).copied());
            // A record may have been read after the ends were asked for: an end below our position
            // means something only at the start, or when it went back.
            let back = self.last.get(&partition).is_some_and(|(_, end)| high < *end);
            if back {
                self.reported.remove(&partition);
            }
            let wanted = match (known.or(before), self.before.is_some() || !self.first) {
                // Retention went past us, or the topic was made anew.
                (Some(offset), _)
                    if offset < low || (offset > high && (known.is_none() || back)) =>
                {
                    removed = true;
                    low
                }
                (Some(offset), _) => offset,
                // A partition that came later is read from its first record.
                (None, true) => low,
                (None, false) => high,
            };
            if known != Some(wanted) {
                self.next.insert(partition, wanted);
                changed = true;
            }
        }
        if let (true, Some(from)) = (removed, self.intake.looked()) {
            let reason = "records were removed from the topic before they could be read";
            // What happened in an outage that is still open is gone with them.
            self.intake.see(now, false);
            self.intake.lost(from, now, reason, self.first);
        }
        changed
    }

    /// Begins to read from the next offsets, while the ends are known to be these.
    fn assign(&mut self, ends: &Ends) -> Result<(), WatchError> {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in &self.next {
            // Fails only for offsets below zero, which brokers do not give.
            let _ = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
        }
        self.begun.clone_from(ends);
        self.consumer.assign(&list).map_err(|e| WatchError::Environment {
            watcher: self.intake.context.name.clone(),
            reason: format!("the Kafka library refuses the offsets: {e}"),
        })
    }

    /// True when everything before these ends was read. The last records of a partition may be markers that no
    /// reader is given: then the library reports the end.
    fn is_reached(&self, goal: &Ends) -> bool {
        goal.iter().all(|(partition, (_, high))| {
            let next = self.next.get(partition).copied().unwrap_or(0);
            next >= *high || self.reported.get(partition).is_some_and(|end| end >= high)
        })
    }

    /// Records the look once its goal is reached.
    fn reach(&mut self) {
        let Some((from, goal)) = &self.goal else { return };
        if !self.is_reached(goal) {
            return;
        }
        let from = *from;
        self.goal = None;
        self.waiting = None;
        self.intake.see(from, true);
        let now = self.intake.now();
        self.asked = later(self.asked, from);
        self.since = later(self.since, self.asked);
        self.steady = now.since(&from).ns <= ns(PROMPT);
        if self.first || self.intake.look_due(&now) {
            let position = self.position();
            let unbroken = !self.first || self.before.is_some();
            self.intake.look(from, now, unbroken, &position);
            self.first = false;
        } else {
            self.intake.note_look(now);
        }
    }
}
