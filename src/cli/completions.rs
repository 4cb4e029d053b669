//! `dwell completions SHELL`.

use clap::CommandFactory;

use super::{Cli, Global};
use crate::exit::{Exit, Failure};

/// Arguments of `dwell completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// Prints the completions of a shell.
pub fn run(args: Args, _global: &Global) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dwell", &mut script);
    super::put(&script)
}
