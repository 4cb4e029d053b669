//! `dwell stop`. Stub: the owner of this verb writes the real one.

use super::Global;
use crate::exit::{Exit, Failure};

/// Arguments of `dwell stop`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `dwell stop`.
pub fn run(_args: Args, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::Bug("`dwell stop` is not there yet".into()))
}
