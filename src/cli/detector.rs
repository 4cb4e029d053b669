//! `dwell detector`. Stub: the owner of this verb writes the real one.

use super::Global;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell detector`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell detector`.
pub fn run(_args: Args, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::Bug("`dwell detector` is not there yet".into()))
}
