//! The statistics: pure functions of observations.
//!
//! - [`survival`]: Kaplan-Meier with bands, quantiles and restricted mean.
//! - [`logrank`]: do groups differ? Weighted and stratified.
//! - [`lag`]: is one sample behind the other anywhere in time?
//! - [`competing`]: Aalen-Johansen, where ends compete.
//! - [`ranks`]: distribution-free limits of a quantile.
//! - [`proportion`]: shares with intervals.
//! - [`planning`]: how many canaries a claim or a comparison needs, before any is sent.
//! - [`intervals`]: Turnbull's estimate, for times that polling knows as intervals only.
//! - [`bootstrap`]: intervals that know that canaries of one rule run are not independent.
//! - [`phase`]: whether a rule runs on a schedule, and what that costs.
//! - [`stages`]: where the time goes.
//! - [`difference`]: two shares, and several tests at once.
//! - [`together`]: how many canaries say as much as one, where misses come together.
//! - [`change`]: when it became slower.
//! - [`histogram`]: what the detected ones alone look like, per stage.
//!
//! Times are whole nanoseconds, so that ties are exact. Nothing here knows what a canary is, reads a
//! clock or rounds for display.

pub mod bootstrap;
pub mod change;
pub mod competing;
pub mod difference;
#[cfg(test)]
mod gold_tests;
#[cfg(test)]
mod golden;
pub mod histogram;
pub mod intervals;
pub mod lag;
pub mod logrank;
mod ordered;
pub mod phase;
pub mod planning;
pub mod proportion;
pub mod ranks;
pub mod stages;
pub mod survival;
pub mod together;

use statrs::distribution::{ContinuousCDF, Normal};

/// Two-sided standard normal quantile for a confidence level: 1.96 for 0.95.
pub fn z_two_sided(confidence: f64) -> f64 {
    match Normal::new(0.0, 1.0) {
        Ok(normal) => normal.inverse_cdf(0.5 + confidence / 2.0),
        Err(_) => f64::NAN,
    }
}
