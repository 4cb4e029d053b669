//! A run: intents ahead of time, departures at their instants, and waiting until all is decided.
//!
//! ```text
//! this thread        plan ─▶ intents (committed <= lead ahead) ─▶ queue of each injector's thread
//! injector threads   wait for the instant ─▶ deliver ─▶ receipt to the ledger's writer
//! watcher threads    sightings, looks ─▶ the ledger's writer
//! this thread        committed rows ─▶ fold ─▶ status, end
//! ```
//!
//! The run ends when every expectation of every canary it injected is decided, or, on request, when
//! every horizon has passed. It cannot wait for ever: once a deadline has passed and no look follows
//! within the watcher's patience, the outcome is indeterminate, and decided.

mod deciding;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError};
use dwell_injectors::injector::{Event, Injector};
use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::{Epoch, TokenId, following};
use sha2::{Digest, Sha256};

use super::departures::{Departure, Gate, GateHandle};
use super::keep::Outstanding;
use super::limits::Limits;
use super::outcome::{Assessment, Fold, Outcome};
use super::plan::begun;
use super::watching::{WatchEnvironment, WatcherParts, Watching};
use crate::exit::Failure;
use crate::ledger::{Batch, Control, Ended, Intent, Row, RunStarted, Withdrawn};
use crate::schedule::{Authorised, KillSwitch, QuietPlan, Stop};

/// Renders a route's canaries. Pure: the same canary and instant give the same bytes.
pub trait Renderer: Send {
    /// The events of one canary whose first event is due at that wall instant.
    fn render(&self, canary: TokenId, intended_wall_ns: i64) -> Result<Vec<Event>, Refusal>;
}

/// Why a canary was not rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not at this instant: the canary is withdrawn, the run goes on.
    Withdraw(String),
    /// Never: the recipe or the route is wrong.
    Fail(String),
}

/// One planned canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlannedCanary {
    /// Index into the run's routes.
    pub route: u32,
    /// Slot within the route.
    pub slot: u32,
    /// Nanoseconds after the window's start.
    pub offset_ns: u64,
}

/// What a route needs at run time; parallel to the run row's routes.
pub struct RouteParts {
    /// Name of its injector.
    pub injector: String,
    /// Renders its canaries.
    pub renderer: Box<dyn Renderer>,
    /// What keeps its canaries back.
    pub limits: Limits,
}

/// Everything that a run is made of.
pub struct RunParts {
    /// The row that opens the run.
    pub row: RunStarted,
    /// The canaries, by instant.
    pub planned: Vec<PlannedCanary>,
    /// The routes.
    pub routes: Vec<RouteParts>,
    /// Injectors by name.
    pub injectors: BTreeMap<String, Box<dyn Injector>>,
    /// The watchers.
    pub watchers: Vec<WatcherParts>,
    /// When nothing is injected.
    pub quiet: QuietPlan,
    /// When injecting is allowed; asked again as each event leaves.
    pub authorised: Authorised,
    /// The file that stops injection.
    pub kill_switch: PathBuf,
    /// How long before its instant an intent is committed, at most.
    pub lead: Duration,
    /// How long one event may take to hand over.
    pub timeout: Duration,
    /// Epoch and first serial of the reserved range.
    pub epoch: Epoch,
    /// First serial of the reserved range, which wraps; one per planned canary.
    pub first_serial: u32,
    /// Go on until every horizon has passed.
    pub until_horizon: bool,
}

/// How a run stands; counts are canary-expectations of this run unless said otherwise.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Canaries planned.
    pub planned: u64,
    /// Canaries withdrawn.
    pub withdrawn: u64,
    /// Canaries injected so far.
    pub injected: u64,
    /// Per outcome, over all expectations.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Canaries with a pending expectation.
    pub pending: u64,
    /// True while there is still something to inject.
    pub injecting: bool,
    /// The latest instant by which the run can still be undecided, wall nanoseconds.
    pub decided_by_ns: i64,
}

/// Told how a run goes. All calls come from the run's own thread.
pub trait Observer {
    /// Rows as they become durable.
    fn rows(&mut self, _rows: &[Row]) {}
    /// About once a second, of a run.
    fn status(&mut self, _status: &Status) {}
    /// About once a second, while nothing is injected and earlier runs are watched.
    fn outstanding(&mut self, _left: &[Outstanding]) {}
}

/// An observer that looks away.
#[derive(Debug)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Ends a run from outside.
#[derive(Clone, Default, Debug)]
pub struct Orders {
    /// Inject nothing more, but go on watching.
    pub stop: Stop,
    /// Leave now, decided or not.
    pub leave: Stop,
}

/// Why a canary is withdrawn, and how a run ended, when something failed.
const FAILED: &str = "failed";
pub(super) const TICK: Duration = Duration::from_millis(100);
pub(super) const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A wall clock that moves this far against boot time has stepped.
const STEP_NS: i64 = 100_000_000;

/// Carries out a run. The fold holds the ledger's earlier rows and takes the new ones.
///
/// A run that fails is ended in the ledger as well: what had not left is withdrawn, and the next
/// process finds nothing open.
pub fn carry_out(
    parts: RunParts,
    shared: &WatchEnvironment,
    orders: &Orders,
    fold: &mut Fold,
    observer: &mut dyn Observer,
) -> Result<Assessment, Failure> {
    let committed = shared.ledger.subscribe();
    shared.ledger.append(begun(&parts.row, &parts.planned)).wait()?;
    let starts = parts.row.starts;
    let mut run = Run {
        parts,
        shared,
        orders,
        fold,
        observer,
        committed,
        starts,
        next: 0,
        last_status: Instant::now(),
        status_cost: Duration::ZERO,
        wall_offset: None,
    };
    if let Err(failure) = run.conduct() {
        run.give_up(&failure);
        return Err(failure);
    }
    run.assessment()
        .ok_or_else(|| Failure::Bug("a run that was recorded cannot be assessed".to_owned()))
}

fn start_gates(
    parts: &mut RunParts,
    shared: &WatchEnvironment,
    orders: &Orders,
) -> Result<BTreeMap<String, GateHandle>, Failure> {
    std::mem::take(&mut parts.injectors)
        .into_iter()
        .map(|(name, injector)| {
            let gate = Gate {
                injector,
                ledger: shared.ledger.clone(),
                clock: Arc::clone(&shared.clock),
                stop: orders.stop.clone(),
                authorised: parts.authorised,
                timeout: parts.timeout,
            };
            GateHandle::start(&name, gate)
                .map(|handle| (name, handle))
                .map_err(|e| Failure::Environment(format!("cannot start a thread: {e}")))
        })
        .collect()
}

fn one(row: Row) -> Batch {
    Batch { rows: vec![row], ..Batch::default() }
}

/// First 16 bytes of the SHA-256 of an event's body, hex: what an intent keeps of it.
pub fn body_digest(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or(&digest))
}

struct Run<'a> {
    parts: RunParts,
    shared: &'a WatchEnvironment,
    orders: &'a Orders,
    fold: &'a mut Fold,
    observer: &'a mut dyn Observer,
    committed: Receiver<Arc<Vec<Row>>>,
    starts: Stamp,
    next: usize,
    last_status: Instant,
    status_cost: Duration,
    wall_offset: Option<i64>,
}

impl Run<'_> {
    /// From the watchers' start to the row that ends the run.
    fn conduct(&mut self) -> Result<(), Failure> {
        let watchers = std::mem::take(&mut self.parts.watchers);
        let mut watching = Watching::start(watchers, self.shared)?;
        watching.wait_ready(&self.orders.stop)?;
        let stop = self.orders.stop.clone();
        let kill_switch = KillSwitch::watch(&self.parts.kill_switch, stop).map_err(|e| {
            Failure::Environment(format!("cannot start the thread of the kill switch: {e}"))
        })?;
        let gates = start_gates(&mut self.parts, self.shared, self.orders)?;
        // Readiness took time: the window begins now, and no canary is late because a watcher was slow.
        let now = self.shared.clock.now();
        if now.since(&self.starts).ns > 0 {
            self.starts = now;
        }
        let injected = self.inject(&gates, &mut watching);
        if injected.is_err() {
            // Without watchers nothing more should leave, what is queued already least of all.
            self.orders.stop.order(FAILED);
        }
        GateHandle::finish(gates.into_values(), &self.orders.leave)?;
        injected?;
        drop(kill_switch);
        self.wait_decided(&mut watching)?;
        let reason = self.reason();
        watching.stop()?;
        self.end(reason)
    }

    fn end(&mut self, reason: String) -> Result<(), Failure> {
        let ended = Ended { at: self.shared.clock.now(), run: self.parts.row.run, reason };
        self.shared.ledger.append(one(Row::Ended(ended))).wait()?;
        self.take_rows();
        Ok(())
    }

    /// Withdraws what has not left and ends the run, as far as the ledger still takes it.
    fn give_up(&mut self, failure: &Failure) {
        let left = self.parts.planned.get(self.next..).unwrap_or_default();
        let rows = left.iter().map(|p| self.withdrawal(p.route, p.slot, 1, FAILED)).collect();
        self.next = self.parts.planned.len();
        let withdrawn = self.shared.ledger.append(Batch { rows, ..Batch::default() }).wait();
        let ended = match withdrawn {
            Ok(_) => self.end(format!("{FAILED}: {failure}")),
            Err(error) => Err(error.into()),
        };
        if let Err(also) = ended {
            tracing::debug!(%also, "the run is left open for the next start");
        }
    }

    /// Commits intents ahead and hands the canaries to their injectors, until none is left.
    fn inject(
        &mut self,
        gates: &BTreeMap<String, GateHandle>,
        watching: &mut Watching,
    ) -> Result<(), Failure> {
        while self.next < self.parts.planned.len() {
            self.attend(watching)?;
            if self.orders.stop.is_ordered() || self.orders.leave.is_ordered() {
                return self.withdraw_rest();
            }
            let horizon = self.shared.clock.now().plus_ns(self.parts.lead.as_nanos() as i64);
            let departures = self.commit_intents(&horizon)?;
            for (injector, mut departure) in departures {
                let gate = gates.get(&injector).ok_or_else(|| {
                    Failure::Bug(format!("route without a running injector {injector}"))
                })?;
                // A target that hangs may fill the queue.
                while let Err(error) = gate.queue.send_timeout(departure, TICK) {
                    let SendTimeoutError::Timeout(unsent) = error else {
                        return Err(Failure::Environment(format!(
                            "injector {injector} ended early: the ledger refused its rows"
                        )));
                    };
                    if self.orders.leave.is_ordered() {
                        return self.withdraw_rest();
                    }
                    departure = unsent;
                }
            }
            self.idle_until_next();
        }
        Ok(())
    }

    fn due(&self, planned: &PlannedCanary) -> Stamp {
        self.starts.plus_ns(i64::try_from(planned.offset_ns).unwrap_or(i64::MAX))
    }

    /// Intents of everything due before `horizon`, durable when this returns.
    fn commit_intents(&mut self, horizon: &Stamp) -> Result<Vec<(String, Departure)>, Failure> {
        let mut batch = Batch::default();
        let mut departures = Vec::new();
        while let Some(planned) = self.parts.planned.get(self.next).copied() {
            let due = self.due(&planned);
            if due.since(horizon).ns > 0 || departures.len() >= 512 {
                break;
            }
            self.next += 1;
            let serial = following(self.parts.first_serial, self.next as u32 - 1);
            let canary = TokenId { epoch: self.parts.epoch, serial };
            let prepared = match self.forbidden(&planned, &due) {
                Some(reason) => Err(Refusal::Withdraw(reason)),
                None => self.prepare(canary, &planned, due, &mut batch),
            };
            match prepared {
                Ok(departure) => departures.push(departure),
                Err(Refusal::Withdraw(reason)) => {
                    batch.rows.push(self.withdrawal(planned.route, planned.slot, 1, &reason));
                }
                Err(Refusal::Fail(reason)) => return Err(Failure::User(reason)),
            }
        }
        if !batch.rows.is_empty() {
            self.shared.ledger.append(batch).wait()?;
        }
        Ok(departures)
    }

    fn forbidden(&mut self, planned: &PlannedCanary, due: &Stamp) -> Option<String> {
        let route = self.parts.routes.get_mut(planned.route as usize)?;
        route.limits.withheld(&self.parts.quiet, due.wall_ns)
    }

    fn prepare(
        &self,
        canary: TokenId,
        planned: &PlannedCanary,
        due: Stamp,
        batch: &mut Batch,
    ) -> Result<(String, Departure), Refusal> {
        let route = &self.parts.routes[planned.route as usize];
        let events = route.renderer.render(canary, due.wall_ns)?;
        let completing = events.iter().find(|e| e.completing).map_or(0, |e| e.index);
        batch.rows.push(Row::Intent(Intent {
            canary,
            run: self.parts.row.run,
            route: planned.route,
            slot: planned.slot,
            intended: due,
            digests: events.iter().map(|e| body_digest(&e.body)).collect(),
            completing,
        }));
        batch.bodies.extend(events.iter().map(|e| (canary, e.index, e.body.clone())));
        let departure = Departure {
            canary,
            run: self.parts.row.run,
            route: planned.route,
            slot: planned.slot,
            due,
            events,
        };
        Ok((route.injector.clone(), departure))
    }

    fn withdrawal(&self, route: u32, slot_from: u32, slots: u32, reason: &str) -> Row {
        Row::Withdrawn(Withdrawn {
            at: self.shared.clock.now(),
            run: self.parts.row.run,
            route,
            slot_from,
            slots,
            canary: None,
            reason: reason.to_owned(),
        })
    }

    fn withdraw_rest(&mut self) -> Result<(), Failure> {
        let reason = self.orders.stop.reason().to_owned();
        let mut rows = vec![Row::Control(Control {
            at: self.shared.clock.now(),
            action: "stopped".to_owned(),
            reason: reason.clone(),
        })];
        for planned in self.parts.planned.get(self.next..).unwrap_or_default() {
            rows.push(self.withdrawal(planned.route, planned.slot, 1, &reason));
        }
        self.next = self.parts.planned.len();
        self.shared.ledger.append(Batch { rows, ..Batch::default() }).wait()?;
        Ok(())
    }

    fn idle_until_next(&mut self) {
        let Some(planned) = self.parts.planned.get(self.next) else { return };
        let due = self.due(planned).plus_ns(-(self.parts.lead.as_nanos() as i64));
        let left = due.since(&self.shared.clock.now()).ns.max(0).unsigned_abs();
        // At least half the lead passes between commits, so that intents group by themselves.
        let pause = Duration::from_nanos(left).max(self.parts.lead / 2).min(TICK);
        std::thread::sleep(pause);
    }

    /// Looks after everything that is not injecting: committed rows, failures, clock, status.
    fn attend(&mut self, watching: &mut Watching) -> Result<(), Failure> {
        self.take_rows();
        watching.failed()?;
        self.clock_step()?;
        if self.last_status.elapsed() >= STATUS_EVERY.max(self.status_cost * 20) {
            let begin = Instant::now();
            let status = self.status();
            self.observer.status(&status);
            self.status_cost = begin.elapsed();
            self.last_status = Instant::now();
        }
        Ok(())
    }

    fn take_rows(&mut self) {
        while let Ok(rows) = self.committed.try_recv() {
            for row in rows.iter() {
                self.fold.apply(row);
            }
            self.observer.rows(&rows);
        }
    }

    fn clock_step(&mut self) -> Result<(), Failure> {
        let now = self.shared.clock.now();
        let offset = now.wall_ns.saturating_sub_unsigned(now.boot_ns);
        if let Some(before) = self.wall_offset {
            let step_ns = offset.saturating_sub(before);
            if step_ns.abs() > STEP_NS {
                let row = Row::Clock(crate::ledger::ClockStep { at: now, step_ns });
                self.shared.ledger.append(one(row)).wait()?;
            }
        }
        self.wall_offset = Some(offset);
        Ok(())
    }
}
