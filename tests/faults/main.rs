//! Faults of the machine: killed processes, full disks. Its own binary, because it takes a minute.
//!
//! `cargo test --test faults`; more kills with `DWELL_KILLS=1000 cargo test --test faults kill`, more
//! points of the disk with `DWELL_POINTS=1000 cargo test --test faults points`.

#![allow(clippy::unwrap_used)]

mod campaign;
mod child;
mod disk;
mod kill;
mod oracle;
mod points;
mod size;
