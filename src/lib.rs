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
pub mod schedule;
pub mod watchers;
pub mod web;
