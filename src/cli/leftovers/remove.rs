//! `--remove`: whole files that dwell made, and nothing else.
//!
//! A file goes only where all of it holds: the ledger has a row that an injector made it; what bears that
//! name today is that file (device, number and, where the file system says so, time of birth, because numbers
//! are given anew); and every line in it is an event of this ledger, at least one. Whatever else an injector
//! with `create = true` writes to, or once made, is listed as kept, with the reason.
//!
//! An empty file is never ours to remove: whoever emptied it, or put it there for a log to begin, still
//! needs it. Not promised: what another program writes between the last look and the removal, or later into
//! a file that it holds open. Both looks stand as close to the removal as they can.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dwell_injectors::file::born_ns;
use dwell_injectors::registry::InjectorSettings;
use serde_json::json;

use crate::cli::{Global, put, put_json};
use crate::dispatch::run::body_digest;
use crate::exit::{Exit, Failure, printable};
use crate::ledger::{LedgerError, MadeRow, Reader, Row};

/// Longest line that can be one of ours, bytes; more of one are not read.
const LONGEST: u64 = 1024 * 1024;

/// What the ledger says about files.
#[derive(Default)]
struct Known {
    made: Vec<MadeRow>,
    /// Of the bodies of all events.
    digests: BTreeSet<String>,
}

impl Known {
    fn read(reader: Option<&Reader>) -> Result<Known, LedgerError> {
        let mut known = Known::default();
        let Some(reader) = reader else { return Ok(known) };
        reader.rows(|_, row| {
            match row {
                Row::Made(made) => known.made.push(made),
                Row::Intent(intent) => known.digests.extend(intent.digests),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        Ok(known)
    }

    /// Removes the file, or says why not.
    fn remove(&self, path: &Path) -> Result<(), String> {
        let told = |e: std::io::Error| e.to_string();
        let found = path.symlink_metadata().map_err(told)?;
        if !found.is_file() {
            return Err("it is no plain file".to_owned());
        }
        let mut records = self.made.iter().filter(|made| Path::new(&made.path) == path).peekable();
        if records.peek().is_none() {
            return Err("no record says that dwell made it".to_owned());
        }
        if !records.any(|made| is(made, &found)) {
            return Err("it is not the file that dwell made under this name".to_owned());
        }
        self.only_ours(path)?;
        let now = path.symlink_metadata().map_err(told)?;
        if state(&now) != state(&found) {
            return Err("it changed while it was read".to_owned());
        }
        std::fs::remove_file(path).map_err(|e| format!("cannot remove it: {e}"))
    }

    /// Whether every line is an event of this ledger, and there is one.
    fn only_ours(&self, path: &Path) -> Result<(), String> {
        let told = |e: std::io::Error| e.to_string();
        let mut file = BufReader::new(std::fs::File::open(path).map_err(told)?);
        let mut line = Vec::new();
        let mut any = false;
        while file.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(told)? > 0 {
            let body = line.strip_suffix(b"\n").unwrap_or(&line);
            let ours = std::str::from_utf8(body).map(body_digest);
            if !ours.is_ok_and(|digest| self.digests.contains(&digest)) {
                return Err("it holds what is not ours".to_owned());
            }
            any = true;
            line.clear();
        }
        match any {
            true => Ok(()),
            false => Err("it is empty: whoever emptied it may still write to it".to_owned()),
        }
    }
}

/// What another file under the name, or another content of the file, would change.
fn state(of: &Metadata) -> impl PartialEq + use<> {
    (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec())
}

/// Whether a row is about that very file.
fn is(made: &MadeRow, found: &Metadata) -> bool {
    (made.device, made.inode, made.born_ns) == (found.dev(), found.ino(), born_ns(found))
}

/// Files that an injector may have made, under the names by which rows know them.
fn candidates(injectors: &BTreeMap<String, InjectorSettings>, known: &Known) -> BTreeSet<PathBuf> {
    let configured = injectors.values().filter_map(|settings| match settings {
        InjectorSettings::File(file) if file.create => file.settled_path().ok(),
        _ => None,
    });
    configured.chain(known.made.iter().map(|made| PathBuf::from(&made.path))).collect()
}

/// Removes what may be removed and says what was not, and why.
pub(super) fn remove(
    injectors: &BTreeMap<String, InjectorSettings>,
    reader: Option<&Reader>,
    global: &Global,
) -> Result<Exit, Failure> {
    let known = Known::read(reader)?;
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    let candidates = candidates(injectors, &known);
    for path in candidates.iter().filter(|path| path.symlink_metadata().is_ok()) {
        match known.remove(path) {
            Ok(()) => removed.push(path.display().to_string()),
            Err(why) => kept.push(format!("{}: {why}", path.display())),
        }
    }
    if global.json {
        return put_json(&json!({ "removed": removed, "kept": kept }));
    }
    let mut text: String = removed.iter().map(|path| format!("removed {path}\n")).collect();
    text.extend(kept.iter().map(|why| format!("kept {why}\n")));
    if text.is_empty() {
        text.push_str(
            "nothing qualifies: no file that an injector made is there; what lies in logs and topics of \
             others stays, `dwell leftovers` lists it\n",
        );
    }
    put(printable(&text).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn row(path: &Path) -> MadeRow {
        use dwell_injectors::stamp::{Clock, SystemClock};
        let found = path.metadata().unwrap();
        let born = found.created().ok().map(|at| at.duration_since(UNIX_EPOCH).unwrap());
        MadeRow {
            at: SystemClock::new().now(),
            path: path.display().to_string(),
            device: found.dev(),
            inode: found.ino(),
            born_ns: born.map(|since| i64::try_from(since.as_nanos()).unwrap()),
        }
    }

    #[test]
    fn only_what_dwell_made_and_alone_wrote_to_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let digests = BTreeSet::from([body_digest("one"), body_digest("two")]);
        let mut known = Known { made: Vec::new(), digests };
        let why = |known: &Known| known.remove(&path).unwrap_err();
        assert_eq!(why(&known), "no record says that dwell made it");
        let other = folder.path().join("b.log");
        std::fs::write(&other, "one\n").unwrap();
        known.made = vec![MadeRow { path: path.display().to_string(), ..row(&other) }];
        assert_eq!(why(&known), "it is not the file that dwell made under this name");
        known.made = vec![MadeRow { born_ns: Some(1), ..row(&path) }];
        assert_eq!(why(&known), "it is not the file that dwell made under this name");
        known.made = vec![row(&path)];
        for (text, reason) in [
            ("", "it is empty: whoever emptied it may still write to it"),
            ("one\nsomebody else's\n", "it holds what is not ours"),
            ("one\n\ntwo\n", "it holds what is not ours"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(why(&known), reason, "{text:?}");
        }
        let long = format!("one\n{}", "x".repeat(2 * LONGEST as usize));
        std::fs::write(&path, long).unwrap();
        assert_eq!(why(&known), "it holds what is not ours");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(known.remove(&link).unwrap_err(), "it is no plain file");
        std::fs::write(&path, "two\none").unwrap();
        // A file system may tell whole seconds alone.
        let told = |seconds: u64| {
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
            state(&path.metadata().unwrap())
        };
        let before = told(1_000);
        assert!(before == told(1_000) && before != told(1_001));
        assert_eq!(known.remove(&path), Ok(()));
        assert!(!path.exists() && other.exists());
    }
}
