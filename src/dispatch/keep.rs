//! Going on watching what earlier runs left outstanding, without injecting anything.

use std::time::Instant;

use super::outcome::{AxisNs, Fold};
use super::run::{Observer, Orders, STATUS_EVERY, TICK};
use super::watching::{WatchEnvironment, WatcherParts, Watching};
use crate::exit::Failure;

/// Canaries of one route that may still be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outstanding {
    /// The campaign.
    pub campaign: String,
    /// Its route.
    pub route: String,
    /// Number of canaries.
    pub canaries: u64,
    /// The latest horizon among them.
    pub until: AxisNs,
}

impl Outstanding {
    /// The latest horizon as an instant, to the second.
    pub fn until_in_words(&self) -> String {
        let until = jiff::Timestamp::from_nanosecond(self.until.into()).unwrap_or_default();
        until.round(jiff::Unit::Second).unwrap_or(until).to_string()
    }
}

/// What of all campaigns may still be seen after `now`.
pub fn outstanding(fold: &Fold, now: AxisNs) -> Vec<Outstanding> {
    fold.outstanding_at(now)
        .into_iter()
        .map(|(campaign, route, canaries, until)| Outstanding { campaign, route, canaries, until })
        .collect()
}

/// Watches until nothing is outstanding, or until told to stop or to leave.
pub fn keep_watching(
    watchers: Vec<WatcherParts>,
    shared: &WatchEnvironment,
    orders: &Orders,
    fold: &mut Fold,
    observer: &mut dyn Observer,
) -> Result<(), Failure> {
    let committed = shared.ledger.subscribe();
    let mut watching = Watching::start(watchers, shared)?;
    watching.wait_placed(&orders.stop)?;
    let mut last_status = None::<Instant>;
    loop {
        while let Ok(rows) = committed.try_recv() {
            rows.iter().for_each(|row| fold.apply(row));
            observer.rows(&rows);
        }
        watching.failed()?;
        let now = fold.place(&shared.clock.now()).max(fold.cut());
        let begin = Instant::now();
        let left = outstanding(fold, now);
        if last_status.is_none_or(|last| last.elapsed() >= STATUS_EVERY) {
            observer.outstanding(&left);
            last_status = Some(Instant::now());
        }
        // The horizon may pass before the look that decides.
        let over = left.is_empty() && !fold.is_pending_at(now);
        if over || orders.stop.is_ordered() || orders.leave.is_ordered() {
            break;
        }
        // Asking is O(canaries): however many rows arrive, it takes a tenth of the time.
        let ask_again = Instant::now() + (TICK * 5).max(begin.elapsed() * 10);
        while let Ok(rows) = committed.recv_deadline(ask_again) {
            rows.iter().for_each(|row| fold.apply(row));
            observer.rows(&rows);
        }
    }
    watching.stop()
}
