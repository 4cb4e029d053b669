//! Dialects: how each product's alert is read. Data, not code: one TOML file a product.
//!
//! ```text
//! title    = "Suricata: eve.json, alerts only"
//! stage    = "detected"                     hint for `stage` of a watcher
//! format   = "json" | "text"                default json
//! records  = "/alerts"                      where a message holds its records; default: the message, or
//!                                           the elements of an array
//! required = [["/a", "/b"], ["/c"]]         a record is *recognised* if each entry has one that is there;
//!                                           a JSON dialect has at least one
//! token_proves = true                       so does a token of ours; for records of no fixed shape
//! only     = { "/event_type" = "alert" }    records that differ are read and not sighted
//! [fields] id, rule, event_time, created_time, body     JSON pointers, first that is there wins
//! dates_stage = true                        in `[fields]`: `created_time` is when the record reached `stage`,
//!                                           never a time of the event that it is about
//! [poll]   method, path, query, body, records, paging   see [`Request`]
//! ```
//!
//! Invariants:
//!
//! - A dialect decides only how a record is *named* (id, rule, times). Whether it is ours is decided
//!   by the token in its bytes, before any parsing.
//! - A missing or malformed field is `None`, never a guess: no time zone is assumed, no time invented.
//! - A record without an id is named by a digest of its bytes, so that a repeat is still a repeat.
//! - A recognised record proves a watcher, and a proven watcher's silence is a miss. A JSON dialect that
//!   requires nothing would be proven by `{}`, so there is none.
//!
//! Not promised: validation of a product's schema. A dialect reads what it needs and ignores the rest.

mod parts;
mod read;
mod request;
mod spec;
mod time;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub(crate) use parts::json_values;
pub use parts::{MAX_DEPTH, Parts, PartsError};
pub use read::{Reading, excerpt};
pub use request::{Ask, Method, Page, Paging, Request, RequestError, Wanted};
pub use time::parse_time;

use crate::ledger::Stage;

const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/dialects.rs"));

/// Largest dialect file that is read.
const MAX_FILE: u64 = 1 << 20;

/// How records are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// JSON values.
    Json,
    /// Lines of text.
    Text,
}

/// How one product's records are read.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// The file's name without `.toml`.
    pub name: String,
    /// The product in words.
    pub title: String,
    /// The stage that its records usually reach.
    pub stage: Stage,
    /// JSON or text.
    pub format: Format,
    /// SHA-256 of the source, hex.
    pub digest: String,
    spec: spec::Fields,
    /// How to ask for records; `None` where the product cannot be asked.
    pub request: Option<Request>,
}

/// Why a dialect cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// No such dialect.
    #[error("unknown dialect {name:?}{hint}; known: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// ", did you mean ..." or nothing.
        hint: String,
        /// All known names.
        known: String,
    },
    /// A file is not a dialect.
    #[error("dialect {file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong, where, and the next step.
        reason: String,
    },
    /// A folder or file cannot be read.
    #[error("cannot read dialect folder {path}: {source}")]
    Unreadable {
        /// The path.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// Every dialect by name.
#[derive(Clone, Debug, Default)]
pub struct Dialects {
    by_name: BTreeMap<String, Arc<Dialect>>,
}

impl Dialects {
    /// The dialects that come with dwell.
    pub fn embedded() -> Result<Dialects, DialectError> {
        let mut all = Dialects::default();
        for (name, source) in EMBEDDED {
            all.add(name, source, &format!("{name}.toml"))?;
        }
        Ok(all)
    }

    /// The embedded dialects and those of the user's folders; a later one replaces an earlier one
    /// of the same name.
    pub fn load(folders: &[PathBuf]) -> Result<Dialects, DialectError> {
        let mut all = Dialects::embedded()?;
        for folder in folders {
            all.add_folder(folder)?;
        }
        Ok(all)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), DialectError> {
        let unreadable = |path: &Path, source| DialectError::Unreadable {
            path: path.display().to_string(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
            let path = entry.map_err(|e| unreadable(folder, e))?.path();
            if path.extension().is_some_and(|ext| ext == "toml") {
                files.push(path);
            }
        }
        files.sort();
        for path in files {
            let shown = path.display().to_string();
            let length = std::fs::metadata(&path).map_err(|e| unreadable(&path, e))?.len();
            if length > MAX_FILE {
                let reason = format!("{length} bytes is more than the limit of {MAX_FILE}");
                return Err(DialectError::Malformed { file: shown, reason });
            }
            let source = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            self.add(&name, &source, &shown)?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, source: &str, file: &str) -> Result<(), DialectError> {
        let dialect = Dialect::parse(name, source)
            .map_err(|reason| DialectError::Malformed { file: file.to_owned(), reason })?;
        self.by_name.insert(name.to_owned(), Arc::new(dialect));
        Ok(())
    }

    /// The dialect of that name; the error suggests the nearest.
    pub fn get(&self, name: &str) -> Result<Arc<Dialect>, DialectError> {
        if let Some(found) = self.by_name.get(name) {
            return Ok(found.clone());
        }
        let nearest = self
            .by_name
            .keys()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 3);
        Err(DialectError::Unknown {
            name: name.to_owned(),
            hint: nearest.map(|(_, k)| format!(", did you mean {k:?}?")).unwrap_or_default(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// All dialects, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Dialect>> {
        self.by_name.values()
    }
}

impl Dialect {
    /// Reads a dialect from its TOML source. The error is a fragment with line and next step.
    pub fn parse(name: &str, source: &str) -> Result<Dialect, String> {
        let raw: spec::Raw = toml::from_str(source).map_err(|e| e.to_string())?;
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(source.as_bytes()));
        raw.check(name, digest)
    }

    /// True where a record's own creation time is when it reached this stage.
    pub fn dates(&self, stage: Stage) -> bool {
        self.spec.dates_stage && self.stage == stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_dialect_is_sound() {
        let all = Dialects::embedded().unwrap();
        for name in [
            "reference-detector",
            "reference-detector-search",
            "elastalert2",
            "elastalert2-index",
            "opensearch",
            "alertmanager",
            "splunk",
            "wazuh4",
            "suricata",
            "falco",
            "json",
            "lines",
        ] {
            assert!(all.get(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        let error = Dialects::embedded().unwrap().get("wazuh").unwrap_err().to_string();
        assert!(error.contains("did you mean \"wazuh4\""), "{error}");
    }

    #[test]
    fn a_users_dialect_is_one_data_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("mine.toml"),
            "title = \"Mine\"\nstage = \"notified\"\nrequired = [[\"/nr\"]]\n[fields]\nid = [[\"/nr\"]]\n",
        )
        .unwrap();
        let all = Dialects::load(&[folder.path().to_owned()]).unwrap();
        let reading = all.get("mine").unwrap().read(br#"{"nr": 7}"#);
        assert_eq!(reading.native_id, "7");
    }

    #[test]
    fn mistakes_name_the_place() {
        let parse = |text: &str| Dialect::parse("x", text).unwrap_err();
        assert!(parse("title = 1").contains("line 1"));
        assert!(parse("title=\"t\"\nstage=\"detected\"\ntypo=1").contains("unknown field"));
        let nothing = "requires nothing";
        for (required, told) in [
            ("", nothing),
            ("required=[]\n", nothing),
            ("required=[[]]\n", "`required` entry 1 names no pointer"),
            // Records would be asked for what none can have, and the watcher never be proven.
            ("required=[[\"/a\"], []]\n", "`required` entry 2 names no pointer"),
        ] {
            let text =
                format!("title=\"t\"\nstage=\"detected\"\n{required}[fields]\nid=[[\"/a\"]]");
            assert!(parse(&text).contains(told), "{}", parse(&text));
        }
        let head = "title=\"t\"\nstage=\"detected\"\nrequired=[[\"/a\"]]\n";
        let text = format!("{head}[fields]\nid=[[\"no-slash\"]]");
        let text = text.as_str();
        assert!(parse(text).contains("JSON pointer"), "{}", parse(text));
        let poll = "[poll]\nmethod=\"GET\"\npath=\"/{{ x \"\nrecords=\"\"\npaging={type=\"none\"}";
        let text = &format!("{head}{poll}");
        assert!(parse(text).contains("path"), "{}", parse(text));
    }
}
