//! Asks an HTTP API again and again.
//!
//! A *look* is one round through all pages from `last complete look - overlap` on. It counts only if
//! every page was read whole. What a complete look did not show and the next one shows has appeared
//! between the start of the former and the end of the latter: that is a sighting's interval.
//!
//! Invariants:
//!
//! - The position moves only with a complete look, and is committed with what the look brought.
//! - A failed look opens a blind span at the end of the last complete one. The next complete look
//!   reaches back over the gap, so the span is closed at that look's start and marked recovered. One
//!   that never comes leaves it open.
//! - Limits: 16 MiB an answer, 200 pages and 100,000 records a look. A breach is a blind span. A page may
//!   repeat records of the one before; an id is sighted once, and a forgery in it counted once.
//! - `Retry-After` is honoured up to five minutes; failures back off to a minute.
//!
//! Not promised: records that become visible later than the overlap with older times. The overlap is
//! a setting for that reason.

mod fetch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dwell_injectors::stamp::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::intake::{Intake, Mark, ns};
use super::{PATIENCE, SettingsError, WatchContext, WatchError, Watcher};
use crate::config::checked::HttpAuth;
use crate::dialects::{Dialect, Page, Request, RequestError, Wanted};
use fetch::Fetcher;
pub(super) use fetch::Trouble;

/// Most pages of one look.
const MAX_PAGES: u32 = 200;
/// Most records of one look.
const MAX_RECORDS: usize = 100_000;
/// Longest wait between looks at a failing target, unless it asks for more or the period is longer.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// How soon a stop is noticed.
const NAP: Duration = Duration::from_millis(50);
/// How long a look that is under way may go on after a stop. One that does not end counts as none.
const GRACE: Duration = Duration::from_secs(3);
/// How long a try goes from page to page.
const TRY: Duration = Duration::from_secs(10);
/// What a look may take beyond its period and the limit of one answer: further pages, a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The poll watcher.
pub(super) struct PollWatcher {
    fetcher: Fetcher,
    dialect: Arc<Dialect>,
    request: Request,
    every: Duration,
    timeout: Duration,
    overlap: Duration,
    vars: std::collections::BTreeMap<String, String>,
}

/// What a poll watcher is built from.
pub(super) struct PollSettings<'s> {
    pub url: &'s str,
    pub every: Duration,
    pub overlap: Duration,
    pub timeout: Duration,
    pub vars: &'s std::collections::BTreeMap<String, String>,
    pub auth: Option<&'s HttpAuth>,
    pub ca_file: Option<&'s PathBuf>,
}

/// The watcher's position: when the last complete look began.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Position {
    since: Stamp,
}

impl PollWatcher {
    pub fn new(s: PollSettings<'_>, dialect: Arc<Dialect>) -> Result<PollWatcher, SettingsError> {
        let request = dialect.request.clone().ok_or_else(|| {
            SettingsError::new("dialect", "it has no [poll] part; choose one that has")
        })?;
        Ok(PollWatcher {
            fetcher: Fetcher::new(s.url, s.auth, s.ca_file.map(PathBuf::as_path), s.timeout)?,
            dialect,
            request,
            every: s.every,
            timeout: s.timeout,
            overlap: s.overlap,
            vars: s.vars.clone(),
        })
    }

    /// Reads what the first look would read, and forgets it. What it found, in words.
    pub async fn try_once(&self, now: Stamp) -> Result<String, Trouble> {
        let begin = Instant::now();
        let mut round = self.round(now, now);
        while let Some(body) = round.fetch().await? {
            round.records(&body)?;
            if begin.elapsed() > TRY && !round.is_over() {
                let (seconds, found) = (TRY.as_secs(), round.found());
                return Ok(format!(
                    "answers, {found} within {seconds} s and there are more, which each look would \
                     read; shorten `overlap` or narrow the query"
                ));
            }
        }
        Ok(format!("answers, {}", round.found()))
    }

    /// A round through the pages from the overlap before `since` on.
    fn round(&self, since: Stamp, now: Stamp) -> Round<'_> {
        let wanted = self.wanted(since, now);
        Round { watcher: self, wanted, due: Some(Page::default()), pages: 0, records: 0 }
    }

    fn wanted(&self, since: Stamp, now: Stamp) -> Wanted {
        Wanted {
            from_ns: since.wall_ns.saturating_sub(ns(self.overlap)),
            to_ns: now.wall_ns,
            vars: self.vars.clone(),
        }
    }
}

/// One round through all pages.
struct Round<'w> {
    watcher: &'w PollWatcher,
    wanted: Wanted,
    /// The page to ask for next; `None` when all were read.
    due: Option<Page>,
    pages: u32,
    records: usize,
}

impl Round<'_> {
    /// Fetches the page that is due; `None` when all were read.
    async fn fetch(&self) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(page) = &self.due else { return Ok(None) };
        if self.pages >= MAX_PAGES || self.records > MAX_RECORDS {
            return Err(Trouble::ours(format!(
                "the answer goes on after {}; narrow the query, shorten `overlap`, or give \
                 `vars.filter`",
                self.found()
            )));
        }
        let request = &self.watcher.request;
        let ask = request.ask(&self.wanted, page).map_err(|e| trouble(&e))?;
        self.watcher.fetcher.page(request, &ask).await.map(Some)
    }

    /// Reads the fetched page and says which is due next.
    fn records(&mut self, body: &[u8]) -> Result<Vec<Value>, Trouble> {
        let page = self.due.take().unwrap_or_default();
        let read = self.watcher.request.answer(&page, body).map_err(|e| trouble(&e))?;
        self.due = read.1;
        self.pages += 1;
        self.records += read.0.len();
        Ok(read.0)
    }

    fn is_over(&self) -> bool {
        self.due.is_none()
    }

    fn found(&self) -> String {
        let pages = if self.pages == 1 { "page" } else { "pages" };
        format!("{} records on {} {pages}", self.records, self.pages)
    }
}

impl Watcher for PollWatcher {
    fn source(&self) -> String {
        format!("poll {} ({})", self.fetcher.place(), self.dialect.name)
    }

    fn push(&self) -> bool {
        false
    }

    fn resolution(&self) -> Duration {
        self.every
    }

    fn patience(&self) -> Duration {
        PATIENCE.max(self.every.saturating_add(self.timeout).saturating_add(SLACK))
    }

    fn run(self: Box<Self>, context: WatchContext) -> Result<(), WatchError> {
        let runtime = context.runtime.clone();
        let (intake, mark) = Intake::open(context, self.dialect.clone())?;
        let looker = Looker::new(*self, intake, mark);
        runtime.block_on(looker.run())
    }
}

/// A poll watcher at work.
struct Looker {
    watcher: Arc<PollWatcher>,
    intake: Intake,
    /// Start of the last complete look; at first the present.
    since: Stamp,
    /// Start of the last complete look of this run or the one before.
    shown_since: Option<Stamp>,
    /// Ids of records with a token in them, ours or forged.
    held: HashMap<String, Held>,
    looks: u64,
    failures: u32,
}

/// A record with a token in it.
struct Held {
    /// Number of the look that last showed it.
    last: u64,
    sighted: bool,
}

impl Looker {
    fn new(watcher: PollWatcher, intake: Intake, mark: Option<Mark>) -> Looker {
        let last = mark.and_then(|m| serde_json::from_value::<Position>(m.position).ok());
        Looker {
            since: last.map_or_else(|| intake.now(), |p| p.since),
            shown_since: last.map(|p| p.since),
            watcher: Arc::new(watcher),
            intake,
            held: HashMap::new(),
            looks: 0,
            failures: 0,
        }
    }

    async fn run(mut self) -> Result<(), WatchError> {
        while !self.intake.stopping() {
            let begin = Instant::now();
            let stop = self.intake.context.stop.clone();
            let look = tokio::select! {
                look = self.look() => look,
                () = overdue(stop) => break,
            };
            let wait = match look {
                Ok(()) => {
                    self.failures = 0;
                    self.watcher.every
                }
                Err(trouble) => self.fail(trouble),
            };
            let position = self.position();
            if self.intake.pending() {
                self.intake.commit(&position)?;
            }
            self.intake.healthy()?;
            if self.failures == 0 {
                self.intake.ready();
            }
            self.nap(begin, wait).await;
        }
        let position = self.position();
        // Waiting for the last commits blocks; the runtime's other work goes on meanwhile.
        let close = move || self.intake.close(&position);
        tokio::task::spawn_blocking(close).await.unwrap_or(Ok(()))
    }

    async fn nap(&self, begin: Instant, wait: Duration) {
        while begin.elapsed() < wait && !self.intake.stopping() {
            let left = wait.saturating_sub(begin.elapsed());
            tokio::time::sleep(left.min(NAP)).await;
        }
    }

    fn position(&self) -> Value {
        serde_json::to_value(Position { since: self.since }).unwrap_or_default()
    }

    /// One look. An error leaves the position where it was.
    async fn look(&mut self) -> Result<(), Trouble> {
        let from = self.intake.now();
        self.looks += 1;
        let watcher = Arc::clone(&self.watcher);
        let mut round = watcher.round(self.since, from);
        let mut news = 0;
        let mut to = from;
        while let Some(body) = round.fetch().await? {
            to = self.intake.now();
            for value in &round.records(&body)? {
                news += self.take(value, to);
            }
        }
        self.complete(from, to, news);
        Ok(())
    }

    fn complete(&mut self, from: Stamp, to: Stamp, news: usize) {
        let first = self.shown_since.is_none();
        // Everything since the last complete look lies within the overlap.
        self.intake.see(from, !first);
        self.since = from;
        let was_first_of_run = self.looks == 1;
        if first || was_first_of_run || news > 0 || self.intake.look_due(&to) {
            let position = self.position();
            self.intake.look(from, to, !first, &position);
        } else {
            self.intake.note_look(to);
        }
        self.shown_since = Some(from);
        let look = self.looks;
        self.held.retain(|_, held| held.last == look);
    }

    fn take(&mut self, value: &Value, observed: Stamp) -> usize {
        let id = self.watcher.dialect.id_of(value);
        let known = self.held.get_mut(&id);
        let is_known = known.is_some();
        if let Some(held) = known {
            held.last = self.looks;
            if held.sighted {
                return 0;
            }
        }
        // A forgery hides nothing that comes into the same record later.
        let taken = self.intake.value(value, (observed, is_known), self.shown_since);
        if taken.held {
            self.held.insert(id, Held { last: self.looks, sighted: taken.sighted > 0 });
        }
        taken.sighted
    }

    /// Opens the blind span and says how long to wait.
    fn fail(&mut self, trouble: Trouble) -> Duration {
        let now = self.intake.now();
        let from = self.intake.looked().unwrap_or(now);
        self.intake.blind(from, trouble.reason, trouble.ours);
        self.failures = self.failures.saturating_add(1);
        let every = self.watcher.every;
        let back_off = every.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
        let back_off = back_off.min(MAX_BACK_OFF.max(every));
        trouble.wait.map_or(back_off, |wait| wait.max(every))
    }
}

/// Ends when a look that is under way has had its time after a stop.
async fn overdue(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(NAP).await;
    }
    tokio::time::sleep(GRACE).await;
}

fn trouble(error: &RequestError) -> Trouble {
    match error {
        RequestError::Template { .. } => Trouble::ours(error.to_string()),
        _ => Trouble::target(error.to_string()),
    }
}
