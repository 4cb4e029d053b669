//! Dwell measures how long an organisation really takes to detect a breach.
//!
//! It injects benign canary events into real log pipelines, watches where detections show, and keeps
//! the distribution of the time to detect. What it promises: nothing accepted is lost (P1); one
//! outcome per canary and expectation (P2); blind is not missed (P3); no time is invented (P4); only
//! our canaries count (P5); it stays benign (P6); foreign text is inert (P7); it stops rather than
//! lies (P8); it is bounded (P9) and reproducible (P10). The README names the tests.
//!
//! The life of a canary: [`schedule`] draws its instant; [`dispatch`] commits the intent to the
//! [`ledger`], renders the recipe and hands it to an injector, then commits the receipt;
//! [`watchers`] see bytes in which [`matching`] finds the token, and commit sightings and what they
//! have looked at; [`dispatch::outcome`] folds the rows into outcomes, of which every report is a
//! pure function.
//!
//! Where to start reading: [`ledger`]'s rows, then [`dispatch::outcome`], then [`cli`] for the verb
//! that interests you. [`config`] is what users write; [`detector`] is the small SIEM of the demo.
pub mod calibration;
pub mod cli;
pub mod config;
pub mod detector;
pub mod dialects;
pub mod dispatch;
pub mod exit;
pub mod ledger;
pub mod matching;
pub mod rehearsal;
pub mod report;
pub mod schedule;
pub mod stats;
mod true_path;
pub mod watchers;
pub mod web;
