//! A campaign that `demo` and `calibrate` stage against the reference detector: the same code as
//! `dwell run`, with the rows kept in memory, because they are held against the detector's truth.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dwell_injectors::token::KeyRing;

use super::run::Shown;
use super::signals;
use crate::dispatch::outcome::Assessment;
use crate::dispatch::plan::Request;
use crate::dispatch::run::{Observer, Orders, Status};
use crate::dispatch::session::Session;
use crate::exit::Failure;
use crate::ledger::Row;

/// What the campaign left.
pub(super) struct Done {
    pub assessment: Assessment,
    pub rows: Vec<Row>,
    pub keys: Arc<KeyRing>,
    pub ledger: PathBuf,
}

/// The campaign, and what was started for it. On an error what was started is dropped, the last first.
pub(super) struct Staged<B, T> {
    pub begun: T,
    pub before: B,
    pub done: Done,
}

/// Carries out a configuration that the verb itself wrote. `before` makes what watchers and detectors
/// need, once a signal no longer ends the process; `begin` starts what must run during the campaign,
/// once its schedule is drawn.
pub(super) fn carry_out<B, T>(
    campaign: &Path,
    verb: &str,
    before: impl FnOnce() -> Result<B, Failure>,
    begin: impl FnOnce(&Session) -> Result<T, Failure>,
) -> Result<Staged<B, T>, Failure> {
    let config = crate::config::load(campaign).map_err(|e| {
        Failure::Bug(format!("the configuration that {verb} wrote is refused: {e}"))
    })?;
    let ledger = config.ledger.clone();
    let mut session = Session::prepare(config)?;
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders, signals::STOPS)
        .map_err(|e| Failure::Environment(format!("cannot listen for signals: {e}")))?;
    session.open(verb)?;
    let before = before()?;
    let plan = session.plan(&Request::default())?;
    let begun = begin(&session)?;
    let mut keeping = Keeping { rows: Vec::new(), shown: Shown::new(plan.planned.len() as u64) };
    let result = session.run(plan, false, &orders, &mut keeping);
    let keys = Arc::clone(&session.keys);
    let closed = session.close();
    keeping.shown.finish();
    let assessment = result?;
    closed?;
    if orders.stop.is_ordered() {
        return Err(Failure::Environment("stopped before it was complete".into()));
    }
    Ok(Staged { begun, before, done: Done { assessment, rows: keeping.rows, keys, ledger } })
}

/// Keeps the run's rows and shows how it goes.
struct Keeping {
    rows: Vec<Row>,
    shown: Shown,
}

impl Observer for Keeping {
    fn rows(&mut self, rows: &[Row]) {
        self.rows.extend_from_slice(rows);
    }

    fn status(&mut self, status: &Status) {
        self.shown.status(status);
    }
}
