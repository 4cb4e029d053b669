//! Studies: are the numbers of a report right where the truth is known?
//!
//! Seeded campaigns in virtual time go through the program's own schedule, its fold of ledger rows
//! and its report model; nothing is estimated here. What is asserted is the median over the seeded
//! campaigns. The figures are kept in `docs/coverage.md`, and a test says whether they are current:
//! `DWELL_BLESS=1 cargo test --test studies` writes them. Takes about a minute in the dev build.

#![allow(clippy::unwrap_used)]

mod bias;
mod campaign;
mod coverage;
mod paper;
mod timing;
mod together;
