//! Dispatch: the one place that decides. It plans, records and resolves outcomes.
//!
//! - [`plan`]: from a configuration to the canaries of a run.
//! - [`foretold`]: what a run would cause at most, and what it could not show.
//! - [`limits`]: what keeps a planned canary back, at its instant and beforehand.
//! - [`session`]: what `run`, `watch` and `probe` open in common.
//! - [`targets`]: whether the targets take what the routes would send.
//! - [`run`]: intents ahead, departures at their instants, waiting until all is decided.
//! - [`keep`]: going on watching what earlier runs left outstanding.
//! - [`watching`]: watchers on threads of their own.
//! - [`story`]: the whole story of one canary.
//! - [`outcome`]: the pure fold of rows to outcomes that every report rests on.

mod departures;
pub mod foretold;
pub mod keep;
pub mod limits;
pub mod outcome;
pub mod plan;
pub mod run;
pub mod session;
pub mod story;
pub mod targets;
mod timing;
pub mod watching;

/// A time of the configuration as rows and verdicts have it.
fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
