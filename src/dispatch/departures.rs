//! Departures: one thread per injector that hands events over at their instants.
//!
//! Everything durable has happened before: a [`Departure`] reaches this thread only after its intent
//! is committed, and the receipt goes to the ledger's writer without waiting for it. The path of an
//! event is therefore: wait, ask the kill switch, leave the departure mark, hand over, queue the receipt.
//!
//! Invariants:
//!
//! - An event never leaves before its instant, before its intent is durable, after a stop, or after the
//!   authorisation's end, however late it is.
//! - After a stop, canaries that have not begun are withdrawn; the rest of a burst that has begun is
//!   recorded as not sent. Nothing is forgotten.
//! - After the first event of a burst that was not accepted, the rest is not sent.
//! - Nobody who wants to leave waits for a target: an event in hand stays without a receipt, and recovery
//!   decides it.
//! - A fatal injector is built anew by the injector's own wrapper; what it had in hand is `Unknown`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dwell_injectors::injector::{Event, Injector, MadeFile};
use dwell_injectors::receipt::{InjectError, Receipt};
use dwell_injectors::stamp::{Clock, Stamp};
use dwell_injectors::token::TokenId;

use super::timing;
use crate::ledger::{Batch, EventResult, Ledger, LedgerError, MadeRow, ReceiptRow, Row, Withdrawn};
use crate::schedule::{Authorised, OUTSIDE_AUTHORISATION, Stop};

/// A canary whose intent is durable.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    pub canary: TokenId,
    pub run: u32,
    pub route: u32,
    pub slot: u32,
    pub due: Stamp,
    pub events: Vec<Event>,
}

/// What a departure thread needs.
pub(super) struct Gate {
    pub injector: Box<dyn Injector>,
    pub ledger: Ledger,
    pub clock: Arc<dyn Clock>,
    pub stop: Stop,
    pub authorised: Authorised,
    pub timeout: Duration,
}

/// A running departure thread.
pub(super) struct GateHandle {
    pub queue: Sender<Departure>,
    thread: std::thread::JoinHandle<Result<(), LedgerError>>,
}

/// Departures queued per injector: what can lie within one intent lead.
const QUEUE: usize = 4096;

impl GateHandle {
    /// Starts the thread.
    pub fn start(name: &str, gate: Gate) -> std::io::Result<GateHandle> {
        let (queue, departures) = bounded(QUEUE);
        let thread = std::thread::Builder::new()
            .name(format!("inject-{name}"))
            .spawn(move || Worker::new(gate, departures).run())?;
        Ok(GateHandle { queue, thread })
    }

    /// Closes the queues and waits until everything queued has left or been recorded; once leaving is
    /// ordered, no longer than [`GRACE`]. A thread that is left alone has an event in hand: its intent and
    /// its mark are durable and its receipt is not, so that it is the next start's to call it `Unknown`.
    pub fn finish(
        gates: impl IntoIterator<Item = GateHandle>,
        leave: &Stop,
    ) -> Result<(), LedgerError> {
        let mut threads: Vec<_> = gates.into_iter().map(|gate| gate.thread).collect();
        let mut left_since = None;
        while !threads.is_empty() {
            for thread in threads.extract_if(.., |thread| thread.is_finished()) {
                match thread.join() {
                    Ok(result) => result?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            if leave.is_ordered() && left_since.get_or_insert_with(Instant::now).elapsed() > GRACE {
                let n = threads.len();
                tracing::warn!(
                    n,
                    "Left while an event was being handed over: what became of it is unknown."
                );
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// How long a thread that hands an event over is waited for after the order to leave.
const GRACE: Duration = Duration::from_millis(250);
/// How often the threads' ends are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A departure under way.
struct Open {
    departure: Departure,
    begun: bool,
}

struct Worker {
    gate: Gate,
    departures: Receiver<Departure>,
    open: Vec<Option<Open>>,
    due: BinaryHeap<Reverse<(u64, u64, usize, usize)>>,
    sequence: u64,
    closed: bool,
}

impl Worker {
    fn new(gate: Gate, departures: Receiver<Departure>) -> Worker {
        Worker {
            gate,
            departures,
            open: Vec::new(),
            due: BinaryHeap::new(),
            sequence: 0,
            closed: false,
        }
    }

    fn run(mut self) -> Result<(), LedgerError> {
        loop {
            self.collect();
            if self.stopped() {
                self.withdraw_rest()?;
                if self.closed {
                    break;
                }
                continue;
            }
            let Some(Reverse((_, _, open, event))) = self.due.peek().copied() else {
                if self.closed {
                    break;
                }
                continue;
            };
            self.depart(open, event)?;
        }
        let left = self.gate.injector.close(self.gate.timeout);
        if left > 0 {
            tracing::warn!(left, "The injector closed with unflushed events.");
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.gate.stop.is_ordered()
    }

    /// Takes new departures until the next event is nearly due.
    fn collect(&mut self) {
        loop {
            let patience = match self.due.peek() {
                Some(Reverse((_, _, open, event))) => {
                    let left = self.event_due(*open, *event).since(&self.gate.clock.now()).ns;
                    Duration::from_nanos((left - 1_000_000).max(0).unsigned_abs())
                }
                None => Duration::from_millis(50),
            };
            if self.closed {
                std::thread::sleep(patience.min(Duration::from_millis(50)));
                return;
            }
            match self.departures.recv_timeout(patience.min(Duration::from_millis(50))) {
                Ok(departure) => self.admit(departure),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
            if patience.is_zero() || self.stopped() {
                return;
            }
        }
    }

    fn admit(&mut self, departure: Departure) {
        let slot = match self.open.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.open.push(None);
                self.open.len() - 1
            }
        };
        let due = departure.due.boot_ns;
        self.open[slot] = Some(Open { departure, begun: false });
        self.schedule(slot, 0, due);
    }

    fn schedule(&mut self, open: usize, event: usize, due_boot_ns: u64) {
        self.sequence += 1;
        self.due.push(Reverse((due_boot_ns, self.sequence, open, event)));
    }

    fn event_due(&self, open: usize, event: usize) -> Stamp {
        match self.open.get(open).and_then(Option::as_ref) {
            Some(open) => {
                let offset =
                    open.departure.events.get(event).map_or(0, |e| e.offset.as_nanos() as i64);
                open.departure.due.plus_ns(offset)
            }
            None => self.gate.clock.now(),
        }
    }

    fn depart(&mut self, slot: usize, index: usize) -> Result<(), LedgerError> {
        let due = self.event_due(slot, index);
        if due.since(&self.gate.clock.now()).ns > 2_000_000 {
            // A newer departure may be due earlier; look again.
            return Ok(());
        }
        if !timing::wait_until(self.gate.clock.as_ref(), &due, self.gate.stop.flag()) {
            return Ok(());
        }
        self.due.pop();
        if self.gate.authorised.is_over(self.gate.clock.now().wall_ns) {
            return self.give_back(slot, index, OUTSIDE_AUTHORISATION);
        }
        let Some(open) = self.open.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
        let departure = &open.departure;
        let (canary, event) = (departure.canary, departure.events[index].clone());
        let last = index + 1 == departure.events.len();
        let next_due = departure
            .events
            .get(index + 1)
            .map(|e| departure.due.plus_ns(e.offset.as_nanos() as i64).boot_ns);
        if !open.begun {
            open.begun = true;
            self.gate.ledger.mark_departure(canary)?;
        }
        let before = self.gate.clock.now();
        let result = self.gate.injector.deliver(&event, self.gate.timeout);
        let accepted = result.is_ok();
        let made = self.gate.injector.made();
        self.record(canary, &event, &due, before, result, made);
        match next_due {
            Some(next) if accepted => self.schedule(slot, index + 1, next),
            _ => {
                if !last {
                    self.not_sent(
                        slot,
                        index + 1,
                        "an earlier event of the burst was not accepted",
                    );
                }
                self.open[slot] = None;
            }
        }
        Ok(())
    }

    fn record(
        &self,
        canary: TokenId,
        event: &Event,
        due: &Stamp,
        before: Stamp,
        result: Result<Receipt, InjectError>,
        made: Option<MadeFile>,
    ) {
        let (submitted_at, result) = match result {
            Ok(receipt) => (
                receipt.submitted_at,
                EventResult::Accepted {
                    at: receipt.accepted_at,
                    strength: receipt.strength,
                    place: receipt.place,
                },
            ),
            Err(InjectError::Rejected { reason, cause }) => {
                (before, EventResult::Rejected { reason, cause: Some(cause) })
            }
            Err(error) => (before, EventResult::Unknown { reason: error.to_string() }),
        };
        let row = ReceiptRow {
            canary,
            event: event.index,
            submitted_at,
            late_ns: submitted_at.since(due).ns,
            result,
        };
        let mut rows: Vec<Row> = made.and_then(|made| made_row(before, made)).into_iter().collect();
        rows.push(Row::Receipt(row));
        // Not waited for: the ledger stops the run by itself when it cannot commit.
        drop(self.gate.ledger.append(Batch { rows, ..Batch::default() }));
    }

    fn not_sent(&self, slot: usize, from: usize, reason: &str) {
        let Some(open) = self.open.get(slot).and_then(Option::as_ref) else { return };
        let now = self.gate.clock.now();
        let rows = open
            .departure
            .events
            .iter()
            .skip(from)
            .map(|event| {
                Row::Receipt(ReceiptRow {
                    canary: open.departure.canary,
                    event: event.index,
                    submitted_at: now,
                    late_ns: 0,
                    result: EventResult::NotSent { reason: reason.to_owned() },
                })
            })
            .collect();
        drop(self.gate.ledger.append(Batch { rows, ..Batch::default() }));
    }

    /// After a stop.
    fn withdraw_rest(&mut self) -> Result<(), LedgerError> {
        let reason = self.gate.stop.reason().to_owned();
        while let Some(Reverse((_, _, slot, index))) = self.due.pop() {
            self.give_back(slot, index, &reason)?;
        }
        Ok(())
    }

    /// What has not begun is withdrawn; of what has, the rest from `index` on is recorded as not sent.
    fn give_back(&mut self, slot: usize, index: usize, reason: &str) -> Result<(), LedgerError> {
        let Some(open) = self.open.get(slot).and_then(Option::as_ref) else { return Ok(()) };
        if open.begun {
            self.not_sent(slot, index, reason);
        } else {
            let row = withdrawn(&open.departure, self.gate.clock.now(), reason);
            self.gate.ledger.append(Batch { rows: vec![row], ..Batch::default() }).wait()?;
        }
        self.open[slot] = None;
        Ok(())
    }
}

/// A file whose name is no text is not recorded, and so is never removed.
fn made_row(at: Stamp, made: MadeFile) -> Option<Row> {
    let MadeFile { path, device, inode, born_ns } = made;
    let path = path.into_os_string().into_string().ok()?;
    Some(Row::Made(MadeRow { at, path, device, inode, born_ns }))
}

fn withdrawn(departure: &Departure, at: Stamp, reason: &str) -> Row {
    Row::Withdrawn(Withdrawn {
        at,
        run: departure.run,
        route: departure.route,
        slot_from: departure.slot,
        slots: 1,
        canary: Some(departure.canary),
        reason: reason.to_owned(),
    })
}
