//! Outlets: where alerts leave. One thread each, so that a slow one holds up no other.
//!
//! The emission stamp is read immediately before the bytes leave, on every attempt anew, and stands
//! in the alert too (`emitted_ns`); the truth lists the attempt that succeeded. A message to Kafka counts
//! as emitted when the brokers have it; the next one does not wait for that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dwell_injectors::stamp::{Clock, Stamp};
use serde::Serialize;
use serde_json::Value;

use super::random::Draws;
use super::settings::{DetectorError, OutletSettings, OutletTo, Settings};
use super::truth::{Truth, TruthRow};

/// Most alerts that wait for one outlet.
const MAX_QUEUE: usize = 100_000;
/// How long one attempt of a webhook may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(200);
const NAP: Duration = Duration::from_millis(50);

/// An alert on its way to one outlet.
#[derive(Clone, Debug)]
pub struct Alert {
    /// The outlet's name.
    pub outlet: String,
    /// When it may leave, boot nanoseconds.
    pub due_boot_ns: u64,
    /// What it says.
    pub body: AlertBody,
}

/// What an alert says, in the shape that the dialect `reference-detector` reads.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AlertBody {
    /// Its id; duplicates share it.
    pub id: String,
    /// When it was created, on this product's clock.
    pub time: String,
    /// The rule.
    pub rule: AlertRule,
    /// The event's own time.
    pub event_time: String,
    /// The event's fields; for a correlation its group-by fields alone.
    pub fields: Value,
    /// When it left, wall nanoseconds, without skew.
    pub emitted_ns: i64,
}

/// The rule of an alert.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AlertRule {
    /// Its id.
    pub id: Option<String>,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: Option<String>,
}

/// The outlets at work.
pub struct Outlets {
    queues: BTreeMap<String, Sender<Alert>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Outlets {
    /// Hands an alert to its outlet.
    pub fn send(&self, alert: Alert) -> Result<(), DetectorError> {
        let name = alert.outlet.clone();
        let sent = self.queues.get(&name).is_some_and(|queue| queue.try_send(alert).is_ok());
        if sent {
            Ok(())
        } else {
            let text = format!("outlet {name}: its queue is full or it has ended");
            Err(DetectorError::Environment(text))
        }
    }

    /// Ends the threads; what waits is dropped.
    pub fn close(self) {
        drop(self.queues);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Opens every outlet and starts its thread.
pub fn start(
    settings: &Settings,
    truth: &Truth,
    clock: &Arc<dyn Clock>,
    runtime: &tokio::runtime::Handle,
    stop: Arc<AtomicBool>,
) -> Result<Outlets, DetectorError> {
    let mut outlets = Outlets { queues: BTreeMap::new(), threads: Vec::new() };
    for outlet in &settings.outlets {
        let (sender, queue) = crossbeam_channel::bounded(MAX_QUEUE);
        let worker = Worker {
            name: outlet.name.clone(),
            loss: outlet.loss,
            duplicates: outlet.duplicates,
            place: Place::open(outlet, runtime)?,
            draws: Draws::new(settings.seed, &format!("outlet {}", outlet.name)),
            truth: truth.clone(),
            clock: Arc::clone(clock),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name(format!("outlet-{}", outlet.name))
            .spawn(move || worker.turn(&queue))
            .map_err(|e| DetectorError::Environment(format!("cannot start a thread: {e}")))?;
        outlets.queues.insert(outlet.name.clone(), sender);
        outlets.threads.push(thread);
    }
    Ok(outlets)
}

struct Worker {
    name: String,
    loss: f64,
    duplicates: f64,
    place: Place,
    draws: Draws,
    truth: Truth,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn turn(mut self, queue: &Receiver<Alert>) {
        let mut waiting: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        let mut held: BTreeMap<u64, AlertBody> = BTreeMap::new();
        let mut number = 0;
        while !self.stop.load(Ordering::Acquire) {
            let now = self.clock.now().boot_ns;
            if let Some(Reverse((due, oldest))) = waiting.peek().copied()
                && due <= now
            {
                waiting.pop();
                if let Some(body) = held.remove(&oldest) {
                    self.emit(body);
                }
                continue;
            }
            let wait = waiting.peek().map_or(NAP, |Reverse((due, _))| {
                Duration::from_nanos(due.saturating_sub(now)).min(NAP)
            });
            match queue.recv_timeout(wait) {
                Ok(alert) if held.len() < MAX_QUEUE => {
                    waiting.push(Reverse((alert.due_boot_ns, number)));
                    held.insert(number, alert.body);
                    number += 1;
                }
                Ok(alert) => self.dropped(&alert.body.id, "too many wait"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn emit(&mut self, body: AlertBody) {
        let lost = self.draws.chance(self.loss);
        let twice = self.draws.chance(self.duplicates);
        if lost {
            return self.dropped(&body.id, "loss");
        }
        for copy in [false, true] {
            if copy && !twice {
                break;
            }
            let became = self.became(&body.id, copy);
            match &mut self.place {
                Place::Sink(sink) => {
                    became(sink.send(&body, self.clock.as_ref(), &self.stop));
                }
                #[cfg(feature = "kafka")]
                Place::Kafka(topic) => post(topic, &body, self.clock.now(), became),
            }
        }
    }

    /// Writes into the truth what became of an alert: when it left and with which attempt, or why not.
    fn became(
        &self,
        alert: &str,
        copy: bool,
    ) -> impl FnOnce(Result<(Stamp, u32), String>) + Send + Sync + use<> {
        let (truth, clock) = (self.truth.clone(), Arc::clone(&self.clock));
        let (alert, outlet) = (alert.to_owned(), self.name.clone());
        move |sent| {
            truth.note(match sent {
                Ok((stamp, attempt)) => TruthRow::Emitted { alert, outlet, stamp, attempt, copy },
                Err(reason) => {
                    tracing::warn!(%outlet, %reason, "An alert could not be emitted.");
                    TruthRow::Dropped { alert, outlet, reason, stamp: clock.now() }
                }
            });
        }
    }

    fn dropped(&self, alert: &str, reason: &str) {
        self.truth.note(TruthRow::Dropped {
            alert: alert.to_owned(),
            outlet: self.name.clone(),
            reason: reason.to_owned(),
            stamp: self.clock.now(),
        });
    }
}

/// Into a topic, without waiting for the brokers: the truth hears of it when they have it, and of the
/// instant at which it left.
#[cfg(feature = "kafka")]
fn post(
    topic: &super::source::kafka::Topic,
    body: &AlertBody,
    stamp: Stamp,
    became: impl FnOnce(Result<(Stamp, u32), String>) + Send + Sync + 'static,
) {
    match serde_json::to_vec(&AlertBody { emitted_ns: stamp.wall_ns, ..body.clone() }) {
        Ok(bytes) => {
            topic.send(&bytes, Box::new(move |told| became(told.map(|()| (stamp, 1)))));
        }
        Err(error) => became(Err(error.to_string())),
    }
}

enum Place {
    Sink(Sink),
    #[cfg(feature = "kafka")]
    Kafka(super::source::kafka::Topic),
}

/// What is waited for.
enum Sink {
    File(std::fs::File),
    Webhook { url: String, client: reqwest::Client, runtime: tokio::runtime::Handle, attempts: u32 },
}

impl Place {
    fn open(
        settings: &OutletSettings,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Place, DetectorError> {
        let at = |what: &str| format!("outlet {}: {what}", settings.name);
        match &settings.to {
            OutletTo::File { path } => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                opened.map(|file| Place::Sink(Sink::File(file))).map_err(|e| {
                    DetectorError::Environment(at(&format!("cannot open {}: {e}", path.display())))
                })
            }
            OutletTo::Webhook { url, attempts } => {
                let client = reqwest::Client::builder()
                    .timeout(ATTEMPT)
                    .no_proxy()
                    .tcp_nodelay(true)
                    .build()
                    .map_err(|e| DetectorError::Environment(at(&e.to_string())))?;
                Ok(Place::Sink(Sink::Webhook {
                    url: url.clone(),
                    client,
                    runtime: runtime.clone(),
                    attempts: (*attempts).max(1),
                }))
            }
            #[cfg(feature = "kafka")]
            OutletTo::Kafka { brokers, topic } => super::source::kafka::Topic::open(brokers, topic)
                .map(Place::Kafka)
                .map_err(|e| DetectorError::Environment(at(&e))),
            #[cfg(not(feature = "kafka"))]
            OutletTo::Kafka { .. } => {
                Err(DetectorError::Settings(at("this build has no Kafka; choose another outlet")))
            }
        }
    }
}

impl Sink {
    /// Sends until it is accepted or the attempts are used up. Gives the stamp of the attempt that
    /// succeeded and its number.
    fn send(
        &mut self,
        body: &AlertBody,
        clock: &dyn Clock,
        stop: &AtomicBool,
    ) -> Result<(Stamp, u32), String> {
        let attempts = match self {
            Sink::Webhook { attempts, .. } => *attempts,
            Sink::File(_) => 1,
        };
        let mut problem = String::new();
        for attempt in 1..=attempts {
            // What follows the stamp is making the bytes, microseconds, and handing them over.
            let stamp = clock.now();
            match self.attempt(&AlertBody { emitted_ns: stamp.wall_ns, ..body.clone() }) {
                Ok(()) => return Ok((stamp, attempt)),
                Err(reason) => problem = reason,
            }
            let until = Instant::now() + PAUSE;
            while attempt < attempts && Instant::now() < until && !stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if stop.load(Ordering::Acquire) {
                break;
            }
        }
        Err(problem)
    }

    fn attempt(&mut self, body: &AlertBody) -> Result<(), String> {
        let mut bytes = serde_json::to_vec(body).map_err(|e| e.to_string())?;
        match self {
            Sink::File(file) => {
                bytes.push(b'\n');
                file.write_all(&bytes).map_err(|e| e.to_string())
            }
            Sink::Webhook { url, client, runtime, .. } => {
                let request = client
                    .post(url.as_str())
                    .header("content-type", "application/json")
                    .body(bytes);
                // Within the runtime: making the future already asks it for a timer.
                let status = runtime
                    .block_on(async {
                        let answer = request.send().await?;
                        let status = answer.status();
                        // The body is read so that the connection can be used again.
                        answer.bytes().await.map(|_| status)
                    })
                    .map_err(|e| e.to_string())?;
                if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
            }
        }
    }
}
