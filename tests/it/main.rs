//! Integration tests: one binary, one module an area.

#![allow(clippy::unwrap_used)]

mod broken;
mod calibrate;
mod changed;
mod compare;
mod configs;
mod demo;
mod detector;
mod estimate;
mod ledger;
mod numbers;
mod plan;
mod polled;
mod recipes;
mod run;
mod synthetic;
mod verbs;
mod watchers;

/// Says that a test could not do its work. Past libtest, which keeps what a passing test prints;
/// `tests/all` counts these lines.
fn skipped(test: &str, why: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("\nSKIPPED {test}: {why}\n").as_bytes());
}
