//! The truth: what really happened, and when, as JSON lines.
//!
//! Stamps are read at the event itself and written afterwards, so that writing delays nothing. A
//! truth that cannot be written ends the detector: a benchmark against half a truth is worthless.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dwell_injectors::stamp::Stamp;
use serde::{Deserialize, Serialize};

use super::settings::DetectorError;

/// Longest text of a record that is kept, bytes.
const MAX_TEXT: usize = 4096;

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TruthRow {
    /// A record can be found from now on.
    Searchable {
        /// The document's id.
        document: String,
        /// The source's name.
        source: String,
        /// Since when.
        stamp: Stamp,
        /// The record, cut.
        text: String,
    },
    /// A record was lost before the index.
    Lost {
        /// The source's name.
        source: String,
        /// When it was read.
        stamp: Stamp,
        /// The record, cut.
        text: String,
    },
    /// A rule fired.
    Created {
        /// The alert's id.
        alert: String,
        /// The configured rule's name.
        rule: String,
        /// Id of the Sigma rule that fired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sigma: Option<String>,
        /// Its title.
        title: String,
        /// The document that completed it.
        document: String,
        /// When.
        stamp: Stamp,
    },
    /// An alert's bytes left; read immediately before.
    Emitted {
        /// The alert's id.
        alert: String,
        /// The outlet's name.
        outlet: String,
        /// When.
        stamp: Stamp,
        /// The attempt, from 1. Only attempts that succeeded are listed.
        attempt: u32,
        /// True for the second copy of a duplicate.
        copy: bool,
    },
    /// An alert never left.
    Dropped {
        /// The alert's id.
        alert: String,
        /// The outlet's name.
        outlet: String,
        /// Why.
        reason: String,
        /// When.
        stamp: Stamp,
    },
}

/// Where the truth goes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Truth {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    kept: Option<Vec<TruthRow>>,
    failed: Option<String>,
}

impl Truth {
    /// Opens the file for appending; `None` keeps nothing.
    pub fn open(path: Option<&Path>) -> Result<Truth, DetectorError> {
        let file = match path {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Some(opened.map_err(|e| {
                    let text = format!("cannot write the truth to {}: {e}", path.display());
                    DetectorError::Environment(text)
                })?)
            }
        };
        Ok(Truth { state: Arc::new(Mutex::new(State { file, kept: None, failed: None })) })
    }

    /// Keeps the rows in memory, for tests and simulations.
    pub fn in_memory() -> Truth {
        let state = State { file: None, kept: Some(Vec::new()), failed: None };
        Truth { state: Arc::new(Mutex::new(state)) }
    }

    /// What was kept in memory.
    pub fn rows(&self) -> Vec<TruthRow> {
        self.lock().kept.clone().unwrap_or_default()
    }

    /// Reads a truth file. A last line without an end is left out: it is still being written.
    pub fn read(path: &Path) -> Result<Vec<TruthRow>, DetectorError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| DetectorError::Environment(format!("cannot read {shown}: {e}")))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .enumerate()
            .map(|(n, line)| {
                serde_json::from_str(line).map_err(|e| {
                    DetectorError::Environment(format!("{shown}, line {}: {e}", n + 1))
                })
            })
            .collect()
    }

    /// Notes one row.
    pub fn note(&self, row: TruthRow) {
        let mut state = self.lock();
        if let Some(file) = &mut state.file {
            let written = serde_json::to_string(&row)
                .map_err(std::io::Error::other)
                .and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
            if let Err(error) = written {
                state.failed = Some(error.to_string());
            }
        }
        if let Some(kept) = &mut state.kept {
            kept.push(row);
        }
    }

    /// An error once a row could not be written.
    pub fn healthy(&self) -> Result<(), DetectorError> {
        match &self.lock().failed {
            Some(reason) => {
                Err(DetectorError::Environment(format!("cannot write the truth: {reason}")))
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record as the truth keeps it.
pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
