//! `dwell init`: a commented configuration, a key and the folders it names. Overwrites nothing.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dwell_injectors::token::KeyRing;
use serde_json::json;

use super::Global;
use crate::exit::{Exit, Failure, printable};

/// What is written: the quickstart, with folders of the user's own.
const CONFIGURATION: &str = include_str!("../../configs/quickstart.toml");

/// Arguments of `dwell init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write into; made if absent.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
}

/// Writes the files and says what to do next.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let dir = &args.dir;
    let failed = |path: &Path, e: std::io::Error| {
        Failure::Environment(format!("cannot write {}: {e}; choose another --dir", path.display()))
    };
    let file = dir.join("dwell.toml");
    let key = dir.join("dwell.key");
    for path in [&file, &key] {
        if path.symlink_metadata().is_ok() {
            let text = format!("{} is there already; choose another --dir", path.display());
            return Err(Failure::User(text));
        }
    }
    for folder in [dir.clone(), dir.join("recipes"), dir.join("dialects")] {
        let made = DirBuilder::new().recursive(true).mode(0o750).create(&folder);
        made.map_err(|e| failed(&folder, e))?;
    }
    let made = KeyRing::generate().create(&key);
    made.map_err(|e| Failure::Environment(e.to_string()))?;
    let opened = OpenOptions::new().write(true).create_new(true).open(&file);
    opened
        .and_then(|mut f| f.write_all(configuration().as_bytes()))
        .map_err(|e| failed(&file, e))?;
    if global.json {
        return super::put_json(&json!({ "configuration": file, "key": key }));
    }
    let (shown, key) = (file.display(), key.display());
    let text = format!(
        "{shown}: the configuration, commented\n\
         {key}: the key (mode 0600); keep a copy, without it no token can be told from a forgery\n\
         \n\
         next: edit {shown}, then\n\
         \x20 dwell -c {shown} check --connect\n\
         \x20 dwell -c {shown} probe ssh-failed\n\
         \x20 dwell -c {shown} run\n"
    );
    super::put(printable(&text).as_bytes())
}

/// The quickstart with its folders of recipes and dialects switched on.
fn configuration() -> String {
    let mut text = CONFIGURATION.to_owned();
    for (off, on) in [
        ("# [recipes]\n# folders", "[recipes]\nfolders"),
        ("# [dialects]\n# folders", "[dialects]\nfolders"),
    ] {
        text = text.replace(off, on);
    }
    text
}
