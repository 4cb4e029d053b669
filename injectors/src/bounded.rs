//! A wrapper that keeps the contract's time limit whatever the operating system does.
//!
//! A write to a dead network file system, a name server that does not answer, a library that hangs:
//! none of them can be interrupted from inside. So every transport works on a thread of its own,
//! and the caller waits for it no longer than the timeout. When the time is over:
//!
//! - a job that the thread had not begun is withdrawn: certainly not delivered;
//! - a job under way is abandoned with its thread: the outcome is unknown, because the thread may
//!   still finish it. The next delivery builds a new transport on a new thread. A file that the thread
//!   turns out to have made is told whenever [`Injector::made`] is asked next.
//!
//! At most [`MAX_STUCK`] abandoned threads may be alive per transport; beyond that every delivery
//! is rejected before it begins, with a text that says so. A transport that reports `Fatal`, or
//! that panics, is built anew as well, so callers see `Fatal` only when that is impossible.
//!
//! Stamps are taken by the transport itself, beside the system call: the hand-over between the
//! threads adds lateness of some tens of microseconds, never an error of measurement.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::injector::{CheckNote, Event, Injector, MadeFile, Sample, Target};
use crate::receipt::{Cause, InjectError, Receipt};
use crate::registry::BuildError;

/// How many abandoned threads one transport may have alive.
pub const MAX_STUCK: usize = 4;

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

type Bare = Box<dyn Injector>;
type Factory = Arc<dyn Fn() -> Result<Bare, BuildError> + Send + Sync>;
type Job = Box<dyn FnOnce(&mut dyn Injector) + Send>;

/// A transport on a thread of its own. See the module's text.
pub struct Bounded {
    target: Target,
    factory: Factory,
    worker: Option<SyncSender<Job>>,
    /// Built and not yet moved to a thread.
    fresh: Option<Bare>,
    stuck: Arc<AtomicUsize>,
    abandoned: usize,
    /// Filled by whichever thread made a file, however late.
    made: Arc<Mutex<Option<MadeFile>>>,
}

/// Why a job gave no answer.
enum NoAnswer {
    /// It never began, and whose fault that is.
    NotBegun(String, Cause),
    /// It began and did not end in time, or the thread died.
    Lost(String),
}

fn ours(reason: impl ToString) -> NoAnswer {
    NoAnswer::NotBegun(reason.to_string(), Cause::Ours)
}

impl std::fmt::Debug for Bounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounded")
            .field("target", &self.target)
            .field("stuck", &self.stuck.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Bounded {
    /// Builds the first transport at once, so that mistakes in its settings show here.
    pub fn new<F>(target: Target, factory: F) -> Result<Bounded, BuildError>
    where
        F: Fn() -> Result<Bare, BuildError> + Send + Sync + 'static,
    {
        let fresh = Some(factory()?);
        let stuck = Arc::new(AtomicUsize::new(0));
        let factory = Arc::new(factory);
        let made = Arc::default();
        Ok(Bounded { target, factory, worker: None, fresh, stuck, abandoned: 0, made })
    }

    /// Runs a job on the transport's thread; waits at most `timeout`.
    fn run<T: Send + 'static>(
        &mut self,
        timeout: Duration,
        job: impl FnOnce(&mut dyn Injector) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let jobs = self.worker()?;
        let state = Arc::new(AtomicU8::new(WAITING));
        let (reply, answer) = sync_channel(1);
        let claim = Arc::clone(&state);
        let boxed: Job = Box::new(move |injector| {
            if claim.compare_exchange(WAITING, STARTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            {
                // The caller may be gone; then the answer is nobody's.
                let _ = reply.send(job(injector));
            }
        });
        if jobs.send(boxed).is_err() {
            self.worker = None;
            return Err(NoAnswer::NotBegun(
                "its thread has ended; try again".to_owned(),
                Cause::Ours,
            ));
        }
        match answer.recv_timeout(timeout) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                self.abandon();
                let withdrawn = state
                    .compare_exchange(WAITING, WITHDRAWN, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok();
                // The answer may have arrived between the two lines above.
                match answer.try_recv() {
                    Ok(value) => Ok(value),
                    Err(_) if withdrawn => {
                        let reason = "its thread did not begin in time".to_owned();
                        Err(NoAnswer::NotBegun(reason, Cause::Ours))
                    }
                    Err(_) => Err(NoAnswer::Lost(format!(
                        "no answer within {} ms; the attempt was abandoned and may still go through",
                        timeout.as_millis()
                    ))),
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.worker = None;
                Err(NoAnswer::Lost("the transport stopped unexpectedly".to_owned()))
            }
        }
    }

    fn abandon(&mut self) {
        if self.worker.take().is_some() {
            self.abandoned += 1;
        }
    }

    fn worker(&mut self) -> Result<SyncSender<Job>, NoAnswer> {
        if let Some(jobs) = &self.worker {
            return Ok(jobs.clone());
        }
        let alive = self.stuck.load(Ordering::SeqCst);
        if alive >= MAX_STUCK {
            let reason = format!(
                "{alive} earlier attempts still hang in the operating system; look at the target, then start again"
            );
            return Err(NoAnswer::NotBegun(reason, Cause::Target));
        }
        let bare = match self.fresh.take() {
            Some(bare) => bare,
            None => (self.factory)().map_err(ours)?,
        };
        let (jobs, queue) = sync_channel::<Job>(1);
        let alive = Alive::new(Arc::clone(&self.stuck));
        std::thread::Builder::new()
            .name(format!("inject-{}", self.target.transport))
            .spawn(move || work(bare, &queue, alive))
            .map_err(|error| ours(format!("cannot start a thread: {error}")))?;
        self.worker = Some(jobs.clone());
        Ok(jobs)
    }
}

/// Counts a thread as alive until it ends, even by a panic.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: Arc<AtomicUsize>) -> Alive {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn work(mut bare: Bare, queue: &Receiver<Job>, alive: Alive) {
    while let Ok(job) = queue.recv() {
        job(bare.as_mut());
    }
    // Closing may block as well; it counts as alive until it is through.
    drop(bare);
    drop(alive);
}

impl Injector for Bounded {
    fn target(&self) -> Target {
        self.target.clone()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let event = event.clone();
        let inner = inner_timeout(timeout);
        let told = Arc::clone(&self.made);
        let result = self.run(timeout, move |injector| {
            let result = injector.deliver(&event, inner);
            if let Some(made) = injector.made() {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
            }
            result
        });
        match result {
            Ok(Err(InjectError::Fatal { reason })) => {
                // Dropping the sender ends the thread; the next delivery builds anew.
                self.worker = None;
                Err(InjectError::unknown(format!("{reason} (the transport will be rebuilt)")))
            }
            Ok(result) => result,
            Err(NoAnswer::NotBegun(reason, cause)) => Err(InjectError::Rejected { reason, cause }),
            Err(NoAnswer::Lost(reason)) => Err(InjectError::unknown(reason)),
        }
    }

    fn check(
        &mut self,
        samples: &[Sample],
        timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        let samples = samples.to_vec();
        let inner = inner_timeout(timeout);
        match self.run(timeout, move |injector| injector.check(&samples, inner)) {
            Ok(result) => result,
            // A check sends nothing, so nothing can be in doubt.
            Err(NoAnswer::NotBegun(reason, _) | NoAnswer::Lost(reason)) => {
                Err(InjectError::rejected(reason))
            }
        }
    }

    fn made(&mut self) -> Option<MadeFile> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn close(&mut self, timeout: Duration) -> usize {
        let mut unflushed = std::mem::take(&mut self.abandoned);
        if self.worker.is_some() {
            let inner = inner_timeout(timeout);
            unflushed += self.run(timeout, move |injector| injector.close(inner)).unwrap_or(1);
            self.worker = None;
        }
        unflushed
    }
}

/// A little less than the caller's patience, so that the transport's own words about what went
/// wrong arrive before the wrapper gives up.
fn inner_timeout(timeout: Duration) -> Duration {
    timeout.saturating_sub((timeout / 10).min(Duration::from_millis(50)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Strength;
    use crate::stamp::{Clock, SystemClock};
    use std::time::Instant;

    /// Follows a script, one step a delivery.
    #[derive(Debug)]
    struct Scripted {
        steps: Arc<Mutex<Vec<Step>>>,
        gate: Arc<(Mutex<bool>, std::sync::Condvar)>,
        /// What the delivery made that hung.
        made: Option<MadeFile>,
    }

    #[derive(Debug)]
    enum Step {
        Accept,
        Hang,
        Fatal,
        Panic,
    }

    impl Injector for Scripted {
        fn target(&self) -> Target {
            place()
        }
        fn deliver(&mut self, _: &Event, _: Duration) -> Result<Receipt, InjectError> {
            let step = self.steps.lock().unwrap().pop();
            match step.unwrap() {
                Step::Accept => Ok(Receipt {
                    submitted_at: SystemClock::new().now(),
                    accepted_at: None,
                    strength: Strength::Queued,
                    place: None,
                }),
                Step::Hang => {
                    let (open, bell) = &*self.gate;
                    let guard = open.lock().unwrap();
                    drop(bell.wait_while(guard, |open| !*open).unwrap());
                    let path = "made".into();
                    self.made = Some(MadeFile { path, device: 1, inode: 2, born_ns: None });
                    Err(InjectError::rejected("woken"))
                }
                Step::Fatal => Err(InjectError::fatal("broken")),
                Step::Panic => panic!("scripted"),
            }
        }
        fn check(&mut self, _: &[Sample], _: Duration) -> Result<Vec<CheckNote>, InjectError> {
            Ok(Vec::new())
        }
        fn made(&mut self) -> Option<MadeFile> {
            self.made.take()
        }
        fn close(&mut self, _: Duration) -> usize {
            0
        }
    }

    fn place() -> Target {
        Target { transport: "stdout", place: "-".to_owned(), local: true }
    }

    fn event() -> Event {
        Event {
            index: 0,
            offset: Duration::ZERO,
            body: "x".to_owned(),
            completing: true,
            syslog: None,
            key: None,
            time_ns: 0,
        }
    }

    type Gate = Arc<(Mutex<bool>, std::sync::Condvar)>;

    fn scripted(mut steps: Vec<Step>) -> (Bounded, Arc<AtomicUsize>, Gate) {
        steps.reverse();
        let steps = Arc::new(Mutex::new(steps));
        let built = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&built);
        let gate: Gate = Arc::default();
        let shared = Arc::clone(&gate);
        let bounded = Bounded::new(place(), move || {
            count.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&shared);
            Ok(Box::new(Scripted { steps: Arc::clone(&steps), gate, made: None }) as Bare)
        })
        .unwrap();
        (bounded, built, gate)
    }

    fn open(gate: &Gate) {
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    }

    #[test]
    fn a_hanging_transport_is_abandoned_and_replaced() {
        let (mut bounded, built, gate) = scripted(vec![Step::Hang, Step::Accept]);
        let begun = Instant::now();
        let error = bounded.deliver(&event(), Duration::from_millis(80)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_millis(180), "{:?}", begun.elapsed());
        assert!(matches!(error, InjectError::Unknown { .. }), "{error}");
        assert!(bounded.deliver(&event(), Duration::from_secs(5)).is_ok());
        assert_eq!(built.load(Ordering::SeqCst), 2);
        assert_eq!(bounded.close(Duration::from_secs(1)), 1, "the abandoned event is not flushed");
        open(&gate);
    }

    #[test]
    fn what_an_abandoned_attempt_made_is_told_when_it_comes_to_light() {
        let (mut bounded, _, gate) = scripted(vec![Step::Hang, Step::Accept]);
        bounded.deliver(&event(), Duration::from_millis(80)).unwrap_err();
        assert_eq!(bounded.made(), None);
        open(&gate);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut made = None;
        while made.is_none() {
            assert!(Instant::now() < deadline, "never told");
            made = bounded.made();
        }
        assert_eq!(made.unwrap().inode, 2);
        bounded.deliver(&event(), Duration::from_secs(5)).unwrap();
        assert_eq!(bounded.made(), None, "told once");
    }

    #[test]
    fn abandoned_threads_are_bounded_and_their_end_frees_the_transport() {
        let steps = (0..MAX_STUCK).map(|_| Step::Hang).chain([Step::Accept]).collect();
        let (mut bounded, _, gate) = scripted(steps);
        for _ in 0..MAX_STUCK {
            let error = bounded.deliver(&event(), Duration::from_millis(20)).unwrap_err();
            assert!(matches!(error, InjectError::Unknown { .. }), "{error}");
        }
        let error = bounded.deliver(&event(), Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, InjectError::Rejected { .. }), "{error}");
        open(&gate);
        let deadline = Instant::now() + Duration::from_secs(5);
        while bounded.deliver(&event(), Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < deadline, "never recovered");
            std::thread::yield_now();
        }
    }

    #[test]
    fn fatal_and_panic_are_unknown_and_rebuilt() {
        for broken in [Step::Fatal, Step::Panic] {
            let (mut bounded, built, _) = scripted(vec![broken, Step::Accept]);
            let error = bounded.deliver(&event(), Duration::from_secs(5)).unwrap_err();
            assert!(matches!(error, InjectError::Unknown { .. }), "{error}");
            assert!(bounded.deliver(&event(), Duration::from_secs(5)).is_ok());
            assert_eq!(built.load(Ordering::SeqCst), 2);
        }
    }
}
