//! Configuration in three steps: raw (as written) -> checked (no invalid states) -> built (sockets).
//!
//! [`load`] reads one TOML file and either returns a [`Config`] whose every field has been looked at,
//! or [`ConfigErrors`]: all that could be found at once, each with file, line, column, field, what is
//! wrong and the next step. Nothing is opened but the file itself, folders of recipes and dialects,
//! for a run the key, and of other secret files the modes.
//!
//! Invariants:
//!
//! - unknown keys are errors, never ignored: a misspelt cap would otherwise be no cap;
//! - a secret is a reference (`{ env = "X" }`, `{ file = "..." }`). A literal one is refused wherever
//!   it stands, and neither its value nor its line is ever printed;
//! - relative paths are relative to the file's folder;
//! - the digest depends on what the configuration means, with defaults filled in, not on comments,
//!   order of keys or the folder that it lies in.
//!
//! Not promised: that targets exist or answer. That is `dwell check --connect`.

pub mod checked;
mod decode;
mod facts;
mod own;
mod parts;
mod paths;
mod problem;
mod raw;
mod resolved;
mod routes;
mod schema;
mod secrets;
mod source;
mod span;

use std::path::{Path, PathBuf};

use dwell_injectors::stamp::{Clock, SystemClock};

pub use checked::Config;
pub use problem::{ConfigErrors, Problem};
pub use schema::schema;
pub use span::Span;

use problem::Findings;
use source::Source;

/// Reads and checks a configuration for a run: an authorisation that does not hold now is refused, and
/// so is a key file that no token can be made with.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let now = SystemClock::new().now().wall_ns;
    read(path, Some(now))
}

/// Reads and checks a configuration for verbs that inject nothing: reports must stay readable after
/// the authorisation has expired.
pub fn load_for_reading(path: &Path) -> Result<Config, ConfigErrors> {
    read(path, None)
}

fn read(path: &Path, now_ns: Option<i64>) -> Result<Config, ConfigErrors> {
    let source = Source::open(path)?;
    let mut findings = Findings::new(&source);
    secrets::refuse_texts(&mut findings);
    let config = parts::check(path, &mut findings, now_ns);
    findings.finish(config)
}

/// The kill switch alone, out of a file with whatever other problems: a stop must not wait until they
/// are mended. An error where it cannot be told, because then a stop would be believed that is none.
pub fn kill_switch(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let (name, file) = source::kill_switch(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    match name {
        Some(name) => Ok(folder.join(name)),
        None => Err(ConfigErrors::file(
            &file,
            "it cannot be told which file is its kill switch; nothing was stopped",
            "create that file by hand, or correct `kill_switch`",
        )),
    }
}

/// Where this user's ledgers and calibrations are kept unless a path is given; `None` without a home.
pub fn state_folder() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("dwell"))
}

#[cfg(test)]
mod tests;
