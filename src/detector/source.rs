//! Sources: threads that read records and hand them to the engine with the instant of reading.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use dwell_injectors::stamp::Clock;

use super::engine::Intake;
use super::settings::{DetectorError, Input, Settings};

/// Longest record, bytes; what is longer is cut there and goes on as a further record.
const MAX_RECORD: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;

/// Starts every source. Files are read from their beginning, topics from their present end, which
/// is known when this returns.
pub fn start(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    sender: &Sender<Intake>,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<std::thread::JoinHandle<()>>, DetectorError> {
    let mut threads = Vec::new();
    for (source, one) in settings.sources.iter().enumerate() {
        let hand = Hand {
            source,
            clock: Arc::clone(clock),
            sender: sender.clone(),
            stop: Arc::clone(stop),
        };
        let builder = std::thread::Builder::new().name(format!("source-{}", one.name));
        let started = match &one.input {
            Input::File { path, every } => {
                let tail = Tail::new(path.clone());
                let every = Duration::from_nanos(every.ns()).max(Duration::from_millis(1));
                builder.spawn(move || follow(tail, every, &hand))
            }
            #[cfg(feature = "kafka")]
            Input::Kafka { brokers, topic } => {
                let reader = kafka::Reader::open(brokers, topic)
                    .map_err(|e| DetectorError::Environment(format!("source {}: {e}", one.name)))?;
                builder.spawn(move || reader.follow(&hand))
            }
            #[cfg(not(feature = "kafka"))]
            Input::Kafka { .. } => {
                let text = format!("source {}: this build has no Kafka", one.name);
                return Err(DetectorError::Settings(text));
            }
        };
        threads.push(started.map_err(|e| {
            DetectorError::Environment(format!("cannot start the thread of a source: {e}"))
        })?);
    }
    Ok(threads)
}

/// Hands records over.
pub(super) struct Hand {
    source: usize,
    clock: Arc<dyn Clock>,
    sender: Sender<Intake>,
    stop: Arc<AtomicBool>,
}

impl Hand {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// False once nobody takes records any more.
    fn give(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let record = Intake { source: self.source, text, read: self.clock.now() };
        self.sender.send(record).is_ok()
    }
}

fn follow(mut tail: Tail, every: Duration, hand: &Hand) {
    while !hand.stopped() {
        match tail.read(&mut |record| hand.give(record)) {
            Ok(0) => std::thread::sleep(every),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(path = %tail.path.display(), %error, "A source cannot be read; trying again.");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

/// Follows one file through rotation by rename and truncation.
struct Tail {
    path: PathBuf,
    open: Option<(File, u64)>,
    offset: u64,
    partial: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Tail {
        Tail { path, open: None, offset: 0, partial: Vec::new() }
    }

    /// Reads what is there now, at most a chunk; returns the number of bytes.
    fn read(&mut self, give: &mut dyn FnMut(&[u8]) -> bool) -> std::io::Result<usize> {
        if self.open.is_none() && !self.reopen(&self.path.clone())? {
            return Ok(0);
        }
        let mut chunk = vec![0; CHUNK];
        let Some((file, inode)) = &mut self.open else { return Ok(0) };
        let inode = *inode;
        if file.metadata()?.len() < self.offset {
            file.seek(SeekFrom::Start(0))?;
            self.offset = 0;
            self.partial.clear();
        }
        let n = file.read(&mut chunk)?;
        self.offset += n as u64;
        if n == 0 {
            // Only a file that has been read to its end may be left for its successor.
            let now = std::fs::metadata(&self.path).map(|meta| meta.ino()).ok();
            if now.is_some_and(|now| now != inode) {
                self.open = None;
                self.partial.clear();
            }
            return Ok(0);
        }
        self.split(&chunk[..n], give);
        Ok(n)
    }

    fn reopen(&mut self, path: &Path) -> std::io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        self.open = Some((file, inode));
        self.offset = 0;
        Ok(true)
    }

    fn split(&mut self, mut bytes: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.partial.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if !self.partial.is_empty() && !give(&self.partial) {
                return;
            }
            self.partial.clear();
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_RECORD {
            give(&self.partial);
            self.partial.clear();
        }
    }
}

/// Kafka, both ways.
#[cfg(feature = "kafka")]
pub(super) mod kafka {
    use std::time::Duration;

    use rdkafka::client::ClientContext;
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::{DeliveryResult, Message};
    use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use super::Hand;

    const WITHIN: Duration = Duration::from_secs(10);
    /// How long brokers are waited for before the first message; without them the start goes on.
    const CONNECT: Duration = Duration::from_secs(2);
    /// How long messages on their way are waited for at the end.
    const CLOSE: Duration = Duration::from_secs(1);

    /// Reads a topic from its present end.
    pub struct Reader {
        consumer: BaseConsumer,
    }

    impl Reader {
        /// Takes the starting offsets now.
        pub fn open(brokers: &[String], topic: &str) -> Result<Reader, String> {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", brokers.join(","))
                .set("group.id", "reference-detector")
                .set("enable.auto.commit", "false")
                .create()
                .map_err(|e| e.to_string())?;
            let metadata =
                consumer.fetch_metadata(Some(topic), WITHIN).map_err(|e| e.to_string())?;
            let mut list = TopicPartitionList::new();
            for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                let (_, end) = consumer
                    .fetch_watermarks(topic, partition.id(), WITHIN)
                    .map_err(|e| e.to_string())?;
                list.add_partition_offset(topic, partition.id(), Offset::Offset(end))
                    .map_err(|e| e.to_string())?;
            }
            if list.count() == 0 {
                return Err(format!("topic {topic:?} has no partition; create it first"));
            }
            consumer.assign(&list).map_err(|e| e.to_string())?;
            Ok(Reader { consumer })
        }

        /// Hands over what arrives.
        pub fn follow(self, hand: &Hand) {
            while !hand.stopped() {
                let record = match self.consumer.poll(Duration::from_millis(50)) {
                    Some(Ok(record)) => record,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "A topic cannot be read; trying again.");
                        continue;
                    }
                    None => continue,
                };
                if !hand.give(record.payload().unwrap_or_default()) {
                    return;
                }
            }
        }
    }

    /// Hears what became of a message.
    pub type Told = Box<dyn FnOnce(Result<(), String>) + Send + Sync>;

    /// Passes the library's reports on.
    struct Reports;

    impl ClientContext for Reports {}

    impl ProducerContext for Reports {
        // Boxed twice: the library holds a thin pointer.
        type DeliveryOpaque = Box<Told>;

        fn delivery(&self, result: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
            told(match result {
                Ok(_) => Ok(()),
                Err((error, _)) => Err(error.to_string()),
            });
        }
    }

    /// Writes to a topic.
    pub struct Topic {
        producer: ThreadedProducer<Reports>,
        topic: String,
    }

    impl Topic {
        /// Connects where brokers answer, so that the first message does not wait for that; those that
        /// come later are found with a later message.
        pub fn open(brokers: &[String], topic: &str) -> Result<Topic, String> {
            let producer: ThreadedProducer<Reports> = ClientConfig::new()
                .set("bootstrap.servers", brokers.join(","))
                .set("acks", "all")
                .set("linger.ms", "0")
                .set("message.timeout.ms", "10000")
                .create_with_context(Reports)
                .map_err(|e| e.to_string())?;
            if let Err(error) = producer.client().fetch_metadata(Some(topic), CONNECT) {
                tracing::warn!(%error, topic, "Brokers do not answer yet.");
            }
            Ok(Topic { producer, topic: topic.to_owned() })
        }

        /// Sends one message. What became of it is told later, on another thread, and exactly once: a slow
        /// broker holds up no message behind it.
        pub fn send(&self, bytes: &[u8], told: Told) {
            let record = BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, Box::new(told));
            if let Err((error, record)) = self.producer.send(record.payload(bytes)) {
                (record.delivery_opaque)(Err(error.to_string()));
            }
        }
    }

    impl Drop for Topic {
        fn drop(&mut self) {
            // What is on its way may still be told of.
            let _ = self.producer.flush(CLOSE);
        }
    }

    #[cfg(test)]
    mod tests {
        use rdkafka::mocking::MockCluster;
        use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

        use super::{Duration, Topic};

        #[test]
        fn what_the_brokers_refuse_did_not_leave() {
            let cluster = MockCluster::new(1).unwrap();
            cluster.create_topic("alerts", 1, 1).unwrap();
            let topic = Topic::open(&[cluster.bootstrap_servers()], "alerts").unwrap();
            let send = |bytes: &[u8]| {
                let (sender, told) = crossbeam_channel::bounded(1);
                topic.send(bytes, Box::new(move |outcome| sender.send(outcome).unwrap()));
                told.recv_timeout(Duration::from_secs(20)).unwrap()
            };
            assert_eq!(send(b"one"), Ok(()));
            let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
            cluster.request_errors(RDKafkaApiKey::Produce, &[refusal]);
            assert!(send(b"two").is_err());
        }
    }
}
