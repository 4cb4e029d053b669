//! The one writer: a thread that owns the store, groups what waits into one commit, and stops for
//! good at the first failure.
//!
//! While one commit waits for the disk the next group gathers in the bounded queue, so a lone batch
//! commits at once and a crowd shares a commit: there is no timer to wait for, and a group holds at
//! most [`GROUP`] batches, so that nobody waits for more than one commit that is under way.
//!
//! After a failed commit nobody knows what the disk holds. The thread then answers every batch,
//! queued or new, with an error, until the process ends; the next open finds out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use dwell_injectors::stamp::{BootId, Clock};
use dwell_injectors::token::{Epoch, TokenId};
use tokio::sync::oneshot;

use super::lock::Lock;
use super::marks::{self, Marks};
use super::sqlite::SqliteStore;
use super::store::Store;
use super::strays::{self, Classes};
use super::ticket::{Ticket, block_on};
use super::{Batch, Head, LedgerError, Opened, Row, Stray, recovery};
use crate::true_path::true_path;

/// Batches that wait for the writer at most.
const QUEUE: usize = 1024;
/// Batches in one commit at most.
const GROUP: usize = 512;
/// Commits that a subscriber may lag behind.
const LAG: usize = 65_536;
/// How long the writer waits for a subscriber that lags that far.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who opens the ledger, for its `Opened` row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The verb: `run`, `watch`, `verify`.
    pub verb: String,
}

/// A handle on the one writer. Cheap to clone. Dropping the last one commits what is queued.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    orders: Sender<Order>,
    marks: Arc<Mutex<Marks>>,
    health: Arc<Health>,
    thread: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
}

/// What failed first, if anything did; and the head as of the last commit.
#[derive(Debug)]
struct Health {
    failure: OnceLock<LedgerError>,
    head: Mutex<Head>,
}

enum Order {
    Append(Batch, oneshot::Sender<Result<Vec<Row>, LedgerError>>),
    Reserve(Epoch, u32, oneshot::Sender<Result<u32, LedgerError>>),
    Subscribe(Sender<Arc<Vec<Row>>>),
    Close,
}

/// What is answered once the commit is durable.
enum Answer {
    Rows(Vec<Row>, oneshot::Sender<Result<Vec<Row>, LedgerError>>),
    First(u32, oneshot::Sender<Result<u32, LedgerError>>),
    Refusal(LedgerError, oneshot::Sender<Result<u32, LedgerError>>),
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens or makes the ledger: takes its lock, decides what a crash left open, notes the opening.
    pub fn open(
        path: &Path,
        chain_key: &[u8; 32],
        opening: Opening,
        clock: Arc<dyn Clock>,
    ) -> Result<Ledger, LedgerError> {
        make_folder(path)?;
        let path = true_path(path);
        let lock = Lock::take(&path)?;
        let found = marks::read(&path);
        let mut store = SqliteStore::open(&path, chain_key)?;
        if store.head().seq < found.committed {
            return Err(lost_rows(&path, store.head().seq, found.committed));
        }
        let boot = begin(&mut store, &found, &opening, clock.as_ref())?;
        let head = store.head();
        let marks = Arc::new(Mutex::new(Marks::begin(&path, boot, head.seq)?));
        let health = Arc::new(Health { failure: OnceLock::new(), head: Mutex::new(head) });
        let (orders, inbox) = bounded(QUEUE);
        let (ended, end) = bounded(1);
        let writer = Writer {
            store,
            marks: Arc::clone(&marks),
            health: Arc::clone(&health),
            path: path.clone(),
            subscribers: Vec::new(),
            classes: Classes::default(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                writer.run(&inbox);
                drop(lock);
                drop(ended);
            })
            .map_err(|e| LedgerError::io(&path, "start its thread", &e))?;
        let thread = Mutex::new(Some((thread, end)));
        Ok(Ledger { shared: Arc::new(Shared { path, orders, marks, health, thread }) })
    }

    /// Hands a batch to the writer thread; blocks only while its bounded queue is full.
    pub fn append(&self, batch: Batch) -> Ticket {
        let (answer, ticket) = oneshot::channel();
        if let Err(error) = self.order(Order::Append(batch, answer)) {
            return Ticket { answer: Err(error) };
        }
        Ticket { answer: Ok((ticket, self.stopped("its writer has ended"))) }
    }

    /// Notes in the page cache, without waiting for any disk, that the first byte of this canary is
    /// about to leave. Survives `kill -9`: on recovery an intent without this mark is `Withdrawn`.
    pub fn mark_departure(&self, canary: TokenId) -> Result<(), LedgerError> {
        if let Some(failure) = self.shared.health.failure.get() {
            return Err(failure.clone());
        }
        lock(&self.shared.marks).mark(canary)
    }

    /// Committed rows, in order, from now on. A subscriber may lag behind by 65,536 commits; then
    /// the writer waits half a minute for it, and stops rather than leave rows out.
    pub fn subscribe(&self) -> Receiver<Arc<Vec<Row>>> {
        let (rows, receiver) = bounded(LAG);
        // Without a writer nothing will come, which is what a closed channel says.
        let _ = self.order(Order::Subscribe(rows));
        receiver
    }

    /// Reserves that many serials of an epoch, durably; returns the first, which the others follow
    /// ([`dwell_injectors::token::following`]). The first of an epoch is drawn at random: other ledgers of
    /// the same key should mint other tokens.
    pub fn reserve_serials(&self, epoch: Epoch, number: u32) -> Result<u32, LedgerError> {
        let (answer, ticket) = oneshot::channel();
        self.order(Order::Reserve(epoch, number, answer))?;
        block_on(ticket).unwrap_or_else(|_| Err(self.stopped("its writer has ended")))
    }

    /// The chain's end as of the last commit.
    pub fn head(&self) -> Head {
        *lock(&self.shared.health.head)
    }

    /// Commits what is queued, ends the writer and releases the lock. Further batches are refused.
    pub fn close(&self, timeout: Duration) -> Result<(), LedgerError> {
        let Some((thread, end)) = lock(&self.shared.thread).take() else { return self.healthy() };
        // An error means that the thread has ended by itself.
        let _ = self.shared.orders.send_timeout(Order::Close, timeout);
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = end.recv_timeout(timeout) {
            return Err(self.stopped("its last commit did not end in time"));
        }
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        self.healthy()
    }

    fn healthy(&self) -> Result<(), LedgerError> {
        self.shared.health.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    fn order(&self, order: Order) -> Result<(), LedgerError> {
        self.healthy()?;
        self.shared.orders.send(order).map_err(|_| self.stopped("it was closed"))
    }

    fn stopped(&self, reason: &str) -> LedgerError {
        LedgerError::Stopped {
            path: self.shared.path.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_folder(path: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::DirBuilderExt;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|e| LedgerError::io(path, "make its folder", &e))
        }
        _ => Ok(()),
    }
}

pub(super) fn lost_rows(path: &Path, found: u64, committed: u64) -> LedgerError {
    LedgerError::damaged(
        path,
        format!(
            "{committed} rows were committed, {found} are left; if an older copy was put back on purpose, remove `{}`",
            super::lock::beside(path, ".marks").display()
        ),
    )
}

/// The first transaction of an opening: its row, and recovery.
fn begin(
    store: &mut SqliteStore,
    found: &marks::Found,
    opening: &Opening,
    clock: &dyn Clock,
) -> Result<BootId, LedgerError> {
    let now = clock.now();
    store.begin()?;
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    store.append(&Row::Opened(Opened {
        at: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        verb: opening.verb.clone(),
        pid: std::process::id(),
        clock_sync: if synchronised { "synchronised" } else { "unknown" }.to_owned(),
    }))?;
    let recovered = recovery::recover(store, found, now)?;
    store.commit()?;
    if recovered > 0 {
        tracing::warn!(rows = recovered, "The last process ended in the middle: recovered.");
    }
    Ok(now.boot)
}

struct Writer {
    store: SqliteStore,
    marks: Arc<Mutex<Marks>>,
    health: Arc<Health>,
    path: PathBuf,
    subscribers: Vec<Sender<Arc<Vec<Row>>>>,
    classes: Classes,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Order>) {
        let mut open = true;
        while open {
            let Ok(first) = inbox.recv() else { break };
            let mut group = vec![first];
            group.extend(inbox.try_iter().take(GROUP - 1));
            open = self.serve(group);
        }
        // What was queued before the close is in; what raced with it is refused by the drop.
        if self.health.failure.get().is_none() {
            self.store.tidy();
            lock(&self.marks).clear();
        }
    }

    /// One group, one commit. False after a close.
    fn serve(&mut self, group: Vec<Order>) -> bool {
        let mut open = true;
        let mut work = Vec::with_capacity(group.len());
        for order in group {
            match order {
                Order::Close => open = false,
                Order::Subscribe(rows) => self.subscribers.push(rows),
                other => work.push(other),
            }
        }
        if work.is_empty() {
            return open;
        }
        match self.health.failure.get().cloned() {
            Some(failure) => refuse(work, &failure),
            None => self.commit(work),
        }
        open
    }

    fn commit(&mut self, work: Vec<Order>) {
        let mut answers = Vec::with_capacity(work.len());
        let mut waiting = work.into_iter();
        let mut failed = self.store.begin().err();
        while failed.is_none() {
            let Some(order) = waiting.next() else { break };
            failed = self.carry_out(order, &mut answers).err();
        }
        let failed = failed.or_else(|| self.store.commit().err());
        if let Some(error) = failed {
            self.store.rollback();
            let stopped = self.stop(&error);
            answers.into_iter().for_each(|answer| answer.send(Err(stopped.clone())));
            refuse(waiting.collect(), &stopped);
            return;
        }
        let head = self.store.head();
        *lock(&self.health.head) = head;
        // First of all the note of what is durable: whoever is answered may rely on it.
        let noted = lock(&self.marks).committed(head.seq);
        if let Err(error) = noted {
            self.stop(&error);
        }
        self.release(&answers);
        let rows = self.publish_later(&answers);
        answers.into_iter().for_each(|answer| answer.send(Ok(())));
        self.publish(rows);
    }

    fn carry_out(&mut self, order: Order, answers: &mut Vec<Answer>) -> Result<(), LedgerError> {
        match order {
            Order::Append(batch, answer) => match self.write(batch) {
                Ok(rows) => answers.push(Answer::Rows(rows, answer)),
                Err(error) => {
                    // The group fails as a whole; this caller is told with the others.
                    answers.push(Answer::Rows(Vec::new(), answer));
                    return Err(error);
                }
            },
            Order::Reserve(epoch, number, answer) => {
                match self.store.reserve(epoch, number, rand::random()) {
                    Ok(first) => answers.push(Answer::First(first, answer)),
                    // Too few serials left is no failure of the disk.
                    Err(error @ LedgerError::Store { .. }) => {
                        answers.push(Answer::Refusal(error, answer));
                    }
                    Err(error) => return Err(error),
                }
            }
            Order::Subscribe(_) | Order::Close => {}
        }
        Ok(())
    }

    fn write(&mut self, batch: Batch) -> Result<Vec<Row>, LedgerError> {
        let mut rows = batch.rows;
        for row in &rows {
            self.store.append(row)?;
        }
        for (canary, event, body) in &batch.bodies {
            self.store.put_body(*canary, *event, body)?;
        }
        let mut counted: Vec<Stray> = Vec::new();
        for (index, sighting) in batch.sightings.into_iter().enumerate() {
            let record = batch.records.get(&index).map(Vec::as_slice);
            match self.classes.classify(&self.store, &sighting, record)? {
                None => {
                    let row = Row::Sighting(sighting);
                    self.store.append(&row)?;
                    rows.push(row);
                }
                Some(class) => strays::count(&mut counted, class, sighting),
            }
        }
        for stray in counted {
            let row = Row::Stray(stray);
            self.store.append(&row)?;
            rows.push(row);
        }
        if let Some((watcher, position)) = batch.cursor {
            self.store.set_cursor(&watcher, &position)?;
        }
        Ok(rows)
    }

    /// Frees the departure marks of canaries that are accounted for.
    fn release(&mut self, answers: &[Answer]) {
        let rows = answers.iter().flat_map(|answer| match answer {
            Answer::Rows(rows, _) => rows.as_slice(),
            _ => &[],
        });
        for row in rows {
            if let Row::Receipt(receipt) = row {
                // An error here shows again at the next commit; the mark stays, which is harmless.
                if let Ok(false) = self.store.under_way(receipt.canary) {
                    lock(&self.marks).release(&receipt.canary);
                }
            }
        }
    }

    fn publish_later(&self, answers: &[Answer]) -> Vec<Row> {
        if self.subscribers.is_empty() {
            return Vec::new();
        }
        answers
            .iter()
            .flat_map(|answer| match answer {
                Answer::Rows(rows, _) => rows.as_slice(),
                _ => &[],
            })
            .cloned()
            .collect()
    }

    fn publish(&mut self, rows: Vec<Row>) {
        if rows.is_empty() {
            return;
        }
        let rows = Arc::new(rows);
        let mut lagging = false;
        self.subscribers.retain(|subscriber| match subscriber.try_send(Arc::clone(&rows)) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(rows)) => {
                let sent = subscriber.send_timeout(rows, PATIENCE);
                lagging |= matches!(sent, Err(crossbeam_channel::SendTimeoutError::Timeout(_)));
                sent.is_ok()
            }
        });
        if lagging {
            self.stop(&LedgerError::store(&self.path, "a reader of committed rows hangs"));
        }
    }

    /// Notes the first failure; returns what is said from now on.
    fn stop(&self, error: &LedgerError) -> LedgerError {
        tracing::error!(%error, "The ledger stops: nothing is accepted any more.");
        let path = self.path.display().to_string();
        let stopped = LedgerError::Stopped { path, reason: error.to_string() };
        self.health.failure.get_or_init(|| stopped).clone()
    }
}

impl Answer {
    /// Nobody may be waiting any more, which is fine.
    fn send(self, committed: Result<(), LedgerError>) {
        match self {
            Answer::Rows(rows, answer) => drop(answer.send(committed.map(|()| rows))),
            Answer::First(first, answer) => drop(answer.send(committed.map(|()| first))),
            Answer::Refusal(error, answer) => drop(answer.send(Err(error))),
        }
    }
}

fn refuse(work: Vec<Order>, failure: &LedgerError) {
    for order in work {
        match order {
            Order::Append(_, answer) => drop(answer.send(Err(failure.clone()))),
            Order::Reserve(_, _, answer) => drop(answer.send(Err(failure.clone()))),
            Order::Subscribe(_) | Order::Close => {}
        }
    }
}
