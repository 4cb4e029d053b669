//! The reference detector: a small SIEM whose delays, losses and faults are *known*.
//!
//! Dwell measures other people's pipelines; this one exists so that the measuring can be measured.
//! It runs in a process of its own, has a configuration of its own and shares no state with the
//! harness: the two meet only in files, topics, webhooks and a search API, as with any product.
//!
//! ```text
//! source ─▶ parser ─▶ delay (loss) ─▶ index ─▶ search API
//!                                       └─▶ rules, every period ─▶ notify delay ─▶ outlets
//!              everything that happens to a document or an alert ─▶ truth file
//! ```
//!
//! Invariants:
//!
//! - a record is searchable from the instant in the truth file on, and no earlier;
//! - an alert's emission stamp is read immediately before its bytes leave this process;
//! - everything random comes from ChaCha streams keyed by the seed and a name: the n-th record of a
//!   source meets the same fate in every run;
//! - a correlation's alert holds its group-by fields and nothing else of the events, as products do;
//! - the truth file knows no skew: skew changes only what the outside is told.
//!
//! Not promised: durability. What it holds is gone when it ends, and it keeps at most a set number
//! of documents.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use dwell_injectors::stamp::Clock;

mod api;
mod engine;
mod index;
mod outlet;
mod parser;
mod random;
mod rule;
mod settings;
mod source;
mod truth;

pub use engine::{Engine, Intake, Step};
pub use index::{Document, Index};
pub use outlet::Alert;
pub use parser::{ParserSet, ParserSettings};
pub use random::{Delay, Draws};
pub use settings::{
    DetectorError, Input, Outage, OutageOf, OutletSettings, OutletTo, RuleSettings, RulesFrom,
    Settings, SourceSettings, Span,
};
pub use truth::{Truth, TruthRow};

#[cfg(test)]
mod tests;

/// Longest sleep of the engine's thread: how soon it notices that it should stop.
const NAP: Duration = Duration::from_millis(50);

/// What the detector tells once it is ready.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// Address of the search API, when there is one.
    pub api: Option<std::net::SocketAddr>,
    /// Rules that can be evaluated.
    pub rules: usize,
    /// Process id.
    pub pid: u32,
}

/// Loads what the settings name: rules, recipes and parsers. Reads those files, and opens no source, outlet
/// or address. Gives the number of rules that can be evaluated.
pub fn check(settings: &Settings, clock: Arc<dyn Clock>) -> Result<usize, DetectorError> {
    Engine::new(settings, clock, Truth::open(None)?).map(|engine| engine.rules())
}

/// Runs the detector until `stop` is set. `ready` is called once every source has taken its
/// starting position and the API answers.
pub fn run(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    stop: &Arc<AtomicBool>,
    ready: impl FnOnce(&Ready),
) -> Result<(), DetectorError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| DetectorError::Environment(format!("cannot start a runtime: {e}")))?;
    let truth = Truth::open(settings.truth.as_deref())?;
    let outlets = outlet::start(settings, &truth, &clock, runtime.handle(), Arc::clone(stop))?;
    let mut engine = Engine::new(settings, Arc::clone(&clock), truth.clone())?;
    let (sender, intake) = crossbeam_channel::bounded(10_000);
    let sources = source::start(settings, &clock, &sender, stop)?;
    drop(sender);
    let api = match settings.api {
        Some(address) => Some(api::start(
            runtime.handle(),
            address,
            engine.index(),
            api::Gate::new(settings, &clock),
        )?),
        None => None,
    };
    ready(&Ready { ready: true, api, rules: engine.rules(), pid: std::process::id() });
    let result = turn(&mut engine, &intake, &outlets, stop, &truth);
    stop.store(true, Ordering::Release);
    for thread in sources {
        let _ = thread.join();
    }
    outlets.close();
    result
}

fn turn(
    engine: &mut Engine,
    intake: &Receiver<Intake>,
    outlets: &outlet::Outlets,
    stop: &AtomicBool,
    truth: &Truth,
) -> Result<(), DetectorError> {
    while !stop.load(Ordering::Acquire) {
        for alert in engine.step()?.alerts {
            outlets.send(alert)?;
        }
        truth.healthy()?;
        let wait = engine.until_due().min(NAP);
        match intake.recv_timeout(wait) {
            Ok(record) => {
                engine.accept(record);
                // A burst of records is taken in one go, within bounds.
                for record in intake.try_iter().take(1000) {
                    engine.accept(record);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if stop.load(Ordering::Acquire) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(DetectorError::Environment(
                    "every source ended by itself; see the messages above".into(),
                ));
            }
        }
    }
    Ok(())
}
