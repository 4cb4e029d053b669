//! Dwell measures how long an organisation really takes to detect a breach.
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
pub mod watchers;
pub mod web;
