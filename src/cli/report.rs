//! `dwell report`. Stub: the owner of this verb writes the real one.

use super::Global;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell report`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell report`.
pub fn run(_args: Args, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::Bug("`dwell report` is not there yet".into()))
}
