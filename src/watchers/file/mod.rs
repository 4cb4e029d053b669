//! Reads a file as it grows, through every way in which files are rotated.
//!
//! | way | what happens here |
//! |---|---|
//! | rename, delete and create, link swap | the old file is read on until it has been quiet for a minute; the new one is read from its first byte |
//! | several rotations at once | files with a rotated name ([`family`]) that appeared meanwhile are read whole, oldest first |
//! | copytruncate | seen by length or by the bytes before our position; what was written between our last read and the cut is unknowable, so that span is recorded as blind |
//! | restart | the file is found again by inode, wherever in the folder it was moved; otherwise the span is blind |
//! | missing | blind, target unavailable; made good once it appears, since a new file is read from its first byte |
//!
//! Invariants: a line is handed on once, when its end has arrived, with the stamp of the read that
//! brought it; a position never lies inside a line. The reading thread waits for no disk of ours. A
//! watcher of alerts opens no file that an injector of ours names, by whatever name it came to it.
//!
//! A line is as new as the notification that led to it. Where there was none (on network file systems, whose
//! other users raise none, and where the poll beneath found it), it came after the last look that read
//! everything to its end, and the sighting says so. So does one of a line that was found by a start, behind a
//! blind span, after a stop, or late in a backlog. A file that was missing and is made anew, not moved
//! here, is as new as the notification again.
//!
//! Not promised: files compressed before we saw them.

mod family;
mod source;
mod tail;
mod wake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::intake::Intake;
use super::{RESOLUTION, WatchContext, WatchError, Watcher};
use crate::dialects::Dialect;
pub(crate) use family::is_rotated_name;
pub(crate) use source::irregular;
pub(super) use source::open_regular;
use source::{FileId, OWN_FILE};
use tail::Tail;

/// The file watcher.
pub(super) struct FileWatcher {
    pub path: PathBuf,
    pub dialect: Arc<Dialect>,
}

impl Watcher for FileWatcher {
    fn source(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn push(&self) -> bool {
        false
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn run(self: Box<Self>, context: WatchContext) -> Result<(), WatchError> {
        let refused = |reason: &str| WatchError::Environment {
            watcher: context.name.clone(),
            reason: format!("{}: {reason}", self.path.display()),
        };
        if let Some(kind) = std::fs::metadata(&self.path).ok().and_then(|meta| irregular(&meta)) {
            return Err(refused(&format!("it is a {kind}; name a regular file")));
        }
        let id = FileId::at(&self.path);
        if id.is_some() && context.own_files.iter().any(|own| FileId::at(own) == id) {
            return Err(refused(OWN_FILE));
        }
        let (intake, mark) = Intake::open(context, self.dialect)?;
        Tail::open(self.path, intake, mark)?.run()
    }
}
