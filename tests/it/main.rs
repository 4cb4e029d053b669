//! Integration tests: one binary, one module an area.

#![allow(clippy::unwrap_used)]

mod detector;
mod recipes;
