//! Integration tests: one binary, one module an area.

#![allow(clippy::unwrap_used)]

mod broken;
mod calibrate;
mod check;
mod compare;
mod configs;
mod demo;
mod detector;
mod estimate;
mod ledger;
mod numbers;
mod own;
mod plan;
mod recipes;
mod run;
mod synthetic;
mod verbs;
mod watchers;
