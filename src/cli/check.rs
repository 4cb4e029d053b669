//! `dwell check`. Stub: the owner of this verb writes the real one.

use super::Global;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell check`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell check`.
pub fn run(_args: Args, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::Bug("`dwell check` is not there yet".into()))
}
