//! Calibration: how far what dwell measures lies from what really happened, on this machine.
//!
//! The reference detector runs in processes of its own, plants delays, losses, duplicates, outages
//! and a wrong clock, and writes down what it did and when. [`mod@judge`] holds a run's ledger rows
//! against that truth and yields a [`Calibration`]: the floor of each kind of watcher, its bias, the
//! coverage of the intervals, and every planted fault with what was measured of it.
//!
//! Invariants:
//!
//! - judging is pure: the same rows, assessment and truth give the same result; the clock, the
//!   machine and the files belong to `cli::calibrate` and [`store`];
//! - the truth is the detector's stamp, never the configuration's hope; only the coverage of the
//!   median's intervals is held against the planted law, because a confidence interval speaks of it;
//! - a planted fault that did not happen proves nothing and counts as not held.
//!
//! Not promised: anything about another machine, about a clock between two machines, or about a
//! product that is not the reference detector. Making an alert's bytes and the kernel's journey count
//! as error of ours. Formulas: order-statistic intervals of quantiles (David and Nagaraja 2003,
//! 7.1), percentile bootstrap of the mean (Efron 1979), Clopper and Pearson 1934 for shares.

mod intervals;
pub mod judge;
pub mod model;
pub mod page;
pub mod sample;
pub mod scenario;
pub mod store;
#[cfg(test)]
pub(crate) mod tests;
mod tie;

pub use judge::{Evidence, judge};
pub use model::{Calibration, FORMAT, schema};
