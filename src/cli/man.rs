//! `dwell man`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Global};
use crate::exit::{Exit, Failure};

/// Arguments of `dwell man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one page a verb into this folder instead of the main page to stdout.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Prints the main page, or writes all pages.
pub fn run(args: Args, _global: &Global) -> Result<Exit, Failure> {
    let command = Cli::command();
    let failed = |what: &str, e: std::io::Error| {
        Failure::Environment(format!("cannot write {what}: {e}; check the path"))
    };
    match args.dir {
        Some(dir) => {
            let shown = dir.display().to_string();
            std::fs::create_dir_all(&dir).map_err(|e| failed(&shown, e))?;
            clap_mangen::generate_to(command, &dir).map_err(|e| failed(&shown, e))?;
            let first = dir.join("dwell.1");
            eprintln!("manual pages in {shown}; read one with `man -l {}`", first.display());
            Ok(Exit::Met)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(|e| failed("the page", e))?;
            super::put(&page)
        }
    }
}
