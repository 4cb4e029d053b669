//! Running watchers: one thread each, started before anything is injected and stopped after the
//! last decision.
//!
//! Their threads use the session's runtime. Whatever ends a run, an error too, they have therefore
//! returned, or have had their time to, before [`Watching`] is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dwell_injectors::stamp::Clock;

use crate::exit::Failure;
use crate::ledger::{Ledger, Stage};
use crate::matching::Scanner;
use crate::report::escape::terminal;
use crate::schedule::Stop;
use crate::watchers::{BlindReason, Pulse, WatchContext, WatchError, Watcher};

/// A watcher that is ready to be started.
pub struct WatcherParts {
    /// Its configured name.
    pub name: String,
    /// The stage that its sightings reach.
    pub stage: Stage,
    /// The watcher itself.
    pub watcher: Box<dyn Watcher>,
    /// What the last one left; see [`WatchContext::cursor`].
    pub cursor: Option<String>,
    /// Start at the present end; see [`WatchContext::anew`].
    pub anew: bool,
}

/// What all watchers share.
#[derive(Clone)]
pub struct WatchEnvironment {
    /// Where batches are committed.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Finds our tokens in bytes.
    pub scanner: Arc<Scanner>,
    /// Files that our own injectors write: no watcher of alerts may read them.
    pub own_files: Arc<[PathBuf]>,
    /// For watchers whose library is asynchronous.
    pub runtime: tokio::runtime::Handle,
    /// Digest of the configuration, for `Proven` rows.
    pub config_digest: String,
}

/// How long all watchers together may take to find their starting positions.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a watcher may take to commit and return after being told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

struct Running {
    name: String,
    ready: Arc<AtomicBool>,
    /// True when the ledger holds the position to go on from.
    placed: bool,
    blind_reason: BlindReason,
    thread: Option<std::thread::JoinHandle<Result<(), WatchError>>>,
}

/// The watchers at work.
pub struct Watching {
    running: Vec<Running>,
    stop: Arc<AtomicBool>,
}

impl Watching {
    /// Starts all of them; none is ready yet.
    pub fn start(parts: Vec<WatcherParts>, shared: &WatchEnvironment) -> Result<Watching, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let pulse = Pulse::start(Arc::clone(&shared.clock))
            .map_err(|e| Failure::Environment(format!("cannot start a thread: {e}")))?;
        let mut watching = Watching { running: Vec::new(), stop: Arc::clone(&stop) };
        for part in parts {
            let ready = Arc::new(AtomicBool::new(false));
            let blind_reason = BlindReason::default();
            let placed = part.cursor.is_some() && !part.anew;
            let alerts = part.stage >= Stage::Detected;
            let context = WatchContext {
                name: part.name.clone(),
                stage: part.stage,
                config_digest: shared.config_digest.clone(),
                ledger: shared.ledger.clone(),
                cursor: part.cursor,
                anew: part.anew,
                clock: Arc::clone(&shared.clock),
                pulse: Arc::clone(&pulse),
                scanner: Arc::clone(&shared.scanner),
                own_files: if alerts { Arc::clone(&shared.own_files) } else { Arc::default() },
                stop: Arc::clone(&stop),
                ready: Arc::clone(&ready),
                blind_reason: blind_reason.clone(),
                runtime: shared.runtime.clone(),
            };
            let watcher = part.watcher;
            let thread = std::thread::Builder::new()
                .name(format!("watch-{}", part.name))
                .spawn(move || watcher.run(context))
                .map_err(|e| Failure::Environment(format!("cannot start a thread: {e}")))?;
            let thread = Some(thread);
            watching.running.push(Running { name: part.name, ready, placed, blind_reason, thread });
        }
        Ok(watching)
    }

    /// Waits until every watcher has taken its starting position: nothing that happens afterwards
    /// can be skipped. An order to stop ends the wait, since nothing is injected after it.
    pub fn wait_ready(&mut self, stop: &Stop) -> Result<(), Failure> {
        self.wait(stop, |w| w.ready.load(Ordering::Acquire))
    }

    /// The same for who injects nothing: a target that is away costs nothing where the ledger knows how
    /// far it was read, since what it shows when it comes back is read from there.
    pub fn wait_placed(&mut self, stop: &Stop) -> Result<(), Failure> {
        self.wait(stop, |w| w.placed || w.ready.load(Ordering::Acquire))
    }

    fn wait(&mut self, stop: &Stop, is_there: fn(&Running) -> bool) -> Result<(), Failure> {
        let begin = Instant::now();
        while !stop.is_ordered() {
            self.failed()?;
            let late = self.running.iter().find(|w| !is_there(w));
            let Some(late) = late else { break };
            if begin.elapsed() > READY_WITHIN {
                let why = late.blind_reason.reason();
                return Err(Failure::Environment(format!(
                    "watcher {} found no starting position within {} s: {}; nothing was injected. \
                     `dwell check --connect` asks all of them",
                    late.name,
                    READY_WITHIN.as_secs(),
                    why.map_or_else(|| "it got no answer".to_owned(), |why| terminal(&why))
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// An error if a watcher has ended by itself.
    pub fn failed(&mut self) -> Result<(), Failure> {
        for running in &mut self.running {
            let ended = running.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished);
            if !ended || self.stop.load(Ordering::Acquire) {
                continue;
            }
            if let Some(thread) = running.thread.take() {
                let name = &running.name;
                return Err(match thread.join() {
                    Ok(Ok(())) => {
                        Failure::Bug(format!("watcher {name} ended without being told to"))
                    }
                    Ok(Err(error)) => Failure::Environment(error.to_string()),
                    Err(_) => Failure::Bug(format!("watcher {name} panicked")),
                });
            }
        }
        Ok(())
    }

    /// Tells all of them to commit and return, and waits, within bounds.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.halt()
    }

    /// Waits for all of them and says how the first that failed did.
    fn halt(&mut self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Release);
        let begin = Instant::now();
        let mut ended = Ok(());
        for running in &mut self.running {
            let Some(thread) = running.thread.take() else { continue };
            while !thread.is_finished() && begin.elapsed() < STOP_WITHIN {
                std::thread::sleep(Duration::from_millis(2));
            }
            if !thread.is_finished() {
                tracing::warn!(watcher = %running.name, "The watcher did not stop in time; leaving it behind.");
                continue;
            }
            let result = match thread.join() {
                Ok(result) => result.map_err(|error| Failure::Environment(error.to_string())),
                Err(_) => Err(Failure::Bug(format!("watcher {} panicked", running.name))),
            };
            ended = ended.and(result);
        }
        ended
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Only after an error, which is what the user is told; what this adds goes to the log.
        if let Err(failure) = self.halt() {
            tracing::warn!(%failure, "a watcher failed while it was being stopped");
        }
    }
}
