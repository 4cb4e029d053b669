//! `dwell key`: makes the key, shows what it is recognised by, opens a new epoch.
//!
//! No verb prints the key itself. A rotation only adds: tokens of old epochs are recognised as long
//! as their lines stand in the file. Processes that run already keep the epochs that they read.

use std::path::PathBuf;

use dwell_injectors::token::{EpochKey, Form, KeyError, KeyRing};
use serde_json::{Value, json};

use super::Global;
use crate::config;
use crate::exit::{Exit, Failure, printable};

/// Arguments of `dwell key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key file; by default the configuration's.
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Makes a key file (mode 0600) with one epoch; overwrites nothing.
    New,
    /// Shows the epochs and what their tokens begin with, never the key.
    Show,
    /// Opens a new epoch that mints from now on; old ones stay readable.
    Rotate,
}

/// Runs `dwell key`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let file = match args.file {
        Some(file) => file,
        None => config::load_for_reading(&global.config)?.key,
    };
    let (keys, text) = match args.verb {
        Verb::New => {
            let keys = KeyRing::generate();
            keys.create(&file).map_err(failed)?;
            let text = "made (mode 0600); keep a copy, without it no token can be told from a \
                        forgery";
            (keys, text)
        }
        Verb::Show => (KeyRing::load(&file).map_err(failed)?, "read"),
        Verb::Rotate => {
            let mut keys = KeyRing::load(&file).map_err(failed)?;
            keys.rotate(&file).map_err(failed)?;
            (keys, "has a new epoch; keep a new copy, and start again what runs with the old one")
        }
    };
    if global.json {
        let epochs: Vec<Value> =
            keys.epochs().iter().map(|key| epoch_json(key, key.epoch() == keys.newest())).collect();
        return super::put_json(&json!({ "file": file, "epochs": epochs }));
    }
    let mut out = format!("{}: {text}\n", file.display());
    for key in keys.epochs() {
        let mints = if key.epoch() == keys.newest() { "mints" } else { "read only" };
        out.push_str(&format!(
            "epoch {}  {mints:<9}  tokens begin with {}, {} or {}\n",
            key.epoch().0,
            key.needle(Form::Text),
            key.needle(Form::Uuid),
            key.needle(Form::Ipv6),
        ));
    }
    super::put(printable(&out).as_bytes())
}

fn epoch_json(key: &EpochKey, mints: bool) -> Value {
    json!({
        "epoch": key.epoch(),
        "mints": mints,
        "text": key.needle(Form::Text),
        "uuid": key.needle(Form::Uuid),
        "ipv6": key.needle(Form::Ipv6),
    })
}

/// A disk that fails is the environment's fault, everything else the user's to mend.
pub(super) fn failed(error: KeyError) -> Failure {
    match error {
        KeyError::Unwritable { .. } => Failure::Environment(error.to_string()),
        other => Failure::User(other.to_string()),
    }
}
