//! The Kafka topics of a calibration: made for it, under names that nobody else has, and removed after it.
//!
//! Invariants:
//!
//! - Brokers on this machine alone, by the addresses at which they are asked and by those that they
//!   state themselves: a calibration has no `[authorisation]`.
//! - Only what was made here is removed. A name that is taken is an error, and that topic is left alone.
//! - What could not be removed is named.
//!
//! Not promised: removal after `kill -9`. The names are told as soon as the topics are there, and what
//! lies in them expires after an hour.

use dwell_injectors::registry::{is_loopback_host, split_host_port};

use crate::calibration::scenario::Line;
use crate::exit::Failure;

/// Beginning of every name.
const PREFIX: &str = "dwell-calibration";

/// Where the alerts of a calibration go besides: brokers, and one topic a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    /// Each `host:port`.
    pub brokers: Vec<String>,
    /// What all topics of this run begin with.
    run: String,
}

impl Stream {
    /// What `--kafka` asks for; `None` without it.
    pub fn asked(brokers: &[String]) -> Result<Option<Stream>, Failure> {
        if brokers.is_empty() {
            return Ok(None);
        }
        if !cfg!(feature = "kafka") {
            return Err(absent());
        }
        for broker in brokers {
            let Some((host, _)) = split_host_port(broker) else {
                let text = format!("--kafka: {broker:?} is not of the form host:port");
                return Err(Failure::User(text));
            };
            if !is_loopback_host(host) {
                return Err(beyond(&format!("{broker:?}")));
            }
        }
        Ok(Some(Stream::new(brokers)))
    }

    /// With names of its own.
    pub(super) fn new(brokers: &[String]) -> Stream {
        let run = format!("{PREFIX}-{:016x}", rand::random::<u64>());
        Stream { brokers: brokers.to_vec(), run }
    }

    /// The topic of a line.
    pub fn topic(&self, line: Line) -> String {
        format!("{}-{}", self.run, line.name())
    }
}

fn beyond(what: &str) -> Failure {
    Failure::User(format!(
        "--kafka: {what} lies beyond this machine, and a calibration has no [authorisation]; name a \
         broker on loopback, like 127.0.0.1:9092"
    ))
}

fn absent() -> Failure {
    Failure::User("--kafka: this build has no Kafka; leave it out".into())
}

#[cfg(feature = "kafka")]
pub(super) use made::Topics;

/// Never made in this build.
#[cfg(not(feature = "kafka"))]
pub(super) struct Topics;

#[cfg(not(feature = "kafka"))]
impl Topics {
    pub fn make(_: &Stream) -> Result<Topics, Failure> {
        Err(absent())
    }
}

#[cfg(feature = "kafka")]
mod made {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use dwell_injectors::kafka_settings::{KafkaSecurity, connection_properties};
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
    use rdkafka::error::{KafkaError, KafkaResult};
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::{Failure, Line, Stream, beyond, is_loopback_host};

    /// How long brokers may take for one answer.
    const ANSWER: Duration = Duration::from_secs(10);
    /// How long a new topic may be without a leader.
    const LEADER: Duration = Duration::from_secs(20);
    const NAP: Duration = Duration::from_millis(50);
    /// What left-over records live for, milliseconds.
    const RETENTION: &str = "3600000";

    /// The topics; they go away with the value.
    pub struct Topics {
        stream: Stream,
        admin: AdminClient<DefaultClientContext>,
        /// Those that may be there because of us.
        ours: Vec<String>,
    }

    impl Topics {
        /// Makes one topic a line and waits until each can be written to.
        pub fn make(stream: &Stream) -> Result<Topics, Failure> {
            let at = stream.brokers.join(",");
            let failed = |e: String| Failure::Environment(format!("Kafka at {at}: {e}"));
            let none = BTreeMap::new();
            let plain = KafkaSecurity::Plaintext {};
            let properties = connection_properties(&stream.brokers, &plain, &none)
                .map_err(|e| Failure::User(format!("--kafka: {e}")))?;
            let mut config = ClientConfig::new();
            for (name, value) in properties.iter() {
                config.set(name, value);
            }
            config.set("allow.auto.create.topics", "false");
            config.set_log_level(RDKafkaLogLevel::Critical);
            let admin: AdminClient<DefaultClientContext> =
                config.create().map_err(|e| failed(e.to_string()))?;
            let mut topics = Topics { stream: stream.clone(), admin, ours: Vec::new() };
            topics.stay_here()?;
            topics.create().map_err(&failed)?;
            eprintln!("Kafka topics at {at}, removed at the end: {}.", topics.ours.join(", "));
            topics.wait().map_err(failed)?;
            Ok(topics)
        }

        /// Refuses brokers that send their clients beyond this machine.
        fn stay_here(&self) -> Result<(), Failure> {
            let asked = self.stream.topic(Line::Plain);
            let answer = self.admin.inner().fetch_metadata(Some(&asked), ANSWER).map_err(|e| {
                let at = self.stream.brokers.join(",");
                Failure::Environment(format!(
                    "cannot reach Kafka at {at}: {e}; start a broker there or correct --kafka"
                ))
            })?;
            match answer.brokers().iter().find(|broker| !is_loopback_host(broker.host())) {
                // Foreign text: spelled with its escapes.
                Some(b) => Err(beyond(&format!("the broker's own address {:?}", b.host()))),
                None => Ok(()),
            }
        }

        fn create(&mut self) -> Result<(), String> {
            let names: Vec<String> = Line::ALL.iter().map(|l| self.stream.topic(*l)).collect();
            let new: Vec<NewTopic<'_>> = names
                .iter()
                .map(|name| {
                    // What the broker's own defaults say may not fit: one copy has to be enough, and
                    // records have no key.
                    NewTopic::new(name, 1, TopicReplication::Fixed(1))
                        .set("cleanup.policy", "delete")
                        .set("min.insync.replicas", "1")
                        .set("retention.ms", RETENTION)
                })
                .collect();
            let answer = self
                .wait_for(async |admin, options| admin.create_topics(new.iter(), options).await);
            let answer = match answer {
                Ok(answer) => answer,
                // Without an answer they may be there, and nobody else has these names.
                Err(error) => {
                    self.ours.clone_from(&names);
                    return Err(format!("cannot create topics: {error}"));
                }
            };
            let mut problem = None;
            for one in answer {
                match one {
                    Ok(name) => self.ours.push(name),
                    Err((name, code)) => problem = Some((name, code)),
                }
            }
            match problem {
                Some((name, code)) => Err(format!("cannot create the topic {name:?}: {code}")),
                None if self.ours.len() != names.len() => Err("an incomplete answer".into()),
                None => Ok(()),
            }
        }

        /// Until every topic has a leader.
        fn wait(&self) -> Result<(), String> {
            let begin = Instant::now();
            for name in &self.ours {
                loop {
                    let answer = self.admin.inner().fetch_metadata(Some(name), ANSWER);
                    let led = answer.is_ok_and(|metadata| {
                        metadata.topics().iter().any(|topic| {
                            topic.name() == name
                                && topic.error().is_none()
                                && !topic.partitions().is_empty()
                                && topic.partitions().iter().all(|p| p.leader() >= 0)
                        })
                    });
                    if led {
                        break;
                    }
                    if begin.elapsed() > LEADER {
                        return Err(format!("the new topic {name} has no leader"));
                    }
                    std::thread::sleep(NAP);
                }
            }
            Ok(())
        }

        fn wait_for(
            &self,
            ask: impl AsyncFnOnce(
                &AdminClient<DefaultClientContext>,
                &AdminOptions,
            ) -> KafkaResult<Vec<TopicResult>>,
        ) -> Result<Vec<TopicResult>, String> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(|e| e.to_string())?;
            let options =
                AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
            let answer = runtime
                .block_on(async { tokio::time::timeout(ANSWER, ask(&self.admin, &options)).await });
            answer
                .map_err(|_| "no answer in time".to_owned())?
                .map_err(|e: KafkaError| e.to_string())
        }

        /// Removes what is ours; the names of what is left.
        fn remove(&mut self) -> Vec<String> {
            let ours = std::mem::take(&mut self.ours);
            if ours.is_empty() {
                return ours;
            }
            let names: Vec<&str> = ours.iter().map(String::as_str).collect();
            let answer =
                self.wait_for(async |admin, options| admin.delete_topics(&names, options).await);
            let gone: Vec<String> = answer
                .unwrap_or_default()
                .into_iter()
                .filter_map(|one| match one {
                    Ok(name) | Err((name, Code::UnknownTopicOrPartition)) => Some(name),
                    Err(_) => None,
                })
                .collect();
            ours.into_iter().filter(|name| !gone.contains(name)).collect()
        }
    }

    impl Drop for Topics {
        fn drop(&mut self) {
            let left = self.remove();
            if !left.is_empty() {
                eprintln!(
                    "These Kafka topics could not be removed from {} and are left: {}.",
                    self.stream.brokers.join(","),
                    left.join(", ")
                );
            }
        }
    }
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    fn asked(list: &[&str]) -> Result<Option<Stream>, String> {
        let list: Vec<String> = list.iter().map(|b| (*b).to_owned()).collect();
        Stream::asked(&list).map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_brokers_on_this_machine_are_taken() {
        assert_eq!(asked(&[]), Ok(None));
        let both = asked(&["127.0.0.1:9092", "[::1]:9093"]).unwrap().unwrap();
        assert_eq!(both.brokers.len(), 2);
        for wrong in ["192.0.2.7:9092", "kafka.example.com:9092", "0.0.0.0:9092"] {
            let said = asked(&["localhost:9092", wrong]).unwrap_err();
            assert!(said.contains("beyond this machine"), "{wrong}: {said}");
        }
        for wrong in ["127.0.0.1", "127.0.0.1:0", ":9092", "127.0.0.1:x"] {
            assert!(asked(&[wrong]).unwrap_err().contains("host:port"), "{wrong}");
        }
    }

    #[test]
    fn no_two_runs_share_a_topic() {
        let [one, two] = [(); 2].map(|()| asked(&["127.0.0.1:9092"]).unwrap().unwrap());
        let names: std::collections::BTreeSet<String> =
            [one, two].iter().flat_map(|s| Line::ALL.map(|line| s.topic(line))).collect();
        assert_eq!(names.len(), 2 * Line::ALL.len());
        assert!(names.iter().all(|name| name.starts_with(PREFIX)));
    }
}
