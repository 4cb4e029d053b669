//! `dwell leftovers`. Stub: the owner of this verb writes the real one.

use super::Global;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell leftovers`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell leftovers`.
pub fn run(_args: Args, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::Bug("`dwell leftovers` is not there yet".into()))
}
