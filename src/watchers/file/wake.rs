//! Wakes the reader: notify on the folder, a slow poll beneath it.
//!
//! Events carry no meaning here. Each one only says "look now", so an overflow of the kernel's queue,
//! a rescan flag or an error of notify costs nothing: they say the same. A file is watched through its
//! folder, since a watch on the file itself dies with the first rotation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How long to wait at most: the poll beneath, and how soon a stop is noticed.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// Watches the folders of a path and of what it links to.
pub(super) struct Wake {
    inbox: Receiver<()>,
    notify: Option<RecommendedWatcher>,
    folders: Vec<PathBuf>,
}

impl Wake {
    pub fn new() -> Wake {
        let (outbox, inbox) = bounded(1);
        let notify = match notify::recommended_watcher(handler(outbox)) {
            Ok(notify) => Some(notify),
            Err(error) => {
                tracing::warn!(%error, "no file notifications; polling only");
                None
            }
        };
        Wake { inbox, notify, folders: Vec::new() }
    }

    /// True when events arrive, so that times are as fine as the system's.
    pub fn fine(&self) -> bool {
        self.notify.is_some() && !self.folders.is_empty()
    }

    /// Watches the folders that the path stands in now.
    pub fn follow(&mut self, path: &Path) {
        let mut wanted = vec![folder(path)];
        if let Ok(target) = path.canonicalize() {
            let target = folder(&target);
            if !wanted.contains(&target) {
                wanted.push(target);
            }
        }
        self.watch(wanted);
    }

    fn watch(&mut self, wanted: Vec<PathBuf>) {
        let Some(notify) = &mut self.notify else { return };
        for old in self.folders.iter().filter(|old| !wanted.contains(old)) {
            let _ = notify.unwatch(old);
        }
        let mut kept = Vec::new();
        for folder in wanted {
            let known = self.folders.contains(&folder);
            match if known { Ok(()) } else { notify.watch(&folder, RecursiveMode::NonRecursive) } {
                Ok(()) => kept.push(folder),
                Err(error) => tracing::warn!(%error, "no notifications for a folder; polling it"),
            }
        }
        self.folders = kept;
    }

    /// Watches the folders anew: a folder that was removed and made again has lost its watch.
    pub fn renew(&mut self, path: &Path) {
        if let Some(notify) = &mut self.notify {
            for old in self.folders.drain(..) {
                let _ = notify.unwatch(&old);
            }
        }
        self.follow(path);
    }

    /// Waits for an event, at most [`POLL`]. True when there was one.
    pub fn wait(&self) -> bool {
        self.inbox.recv_timeout(POLL).is_ok()
    }
}

fn handler(outbox: Sender<()>) -> impl Fn(notify::Result<notify::Event>) {
    move |event| {
        // Our own reading opens and closes files in the folder too.
        if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
            // A full channel already says "look now".
            let _ = outbox.try_send(());
        }
    }
}

/// The folder that a path stands in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, Event, Flag};

    #[test]
    fn a_lost_event_wakes_like_any_other_and_our_own_reading_does_not() {
        let (outbox, inbox) = bounded(1);
        let told = handler(outbox);
        told(Ok(Event::new(EventKind::Access(AccessKind::Any))));
        assert!(inbox.try_recv().is_err());
        // What notify says when the kernel's queue has overflowed.
        told(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(inbox.try_recv().is_ok());
        told(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        told(Ok(Event::new(EventKind::Any)));
        assert!(inbox.try_recv().is_ok() && inbox.try_recv().is_err(), "one look serves them all");
    }

    #[test]
    fn without_any_event_the_poll_beneath_wakes_within_its_period() {
        let folder = tempfile::tempdir().unwrap();
        let mut wake = Wake::new();
        wake.follow(&folder.path().join("x"));
        let begin = std::time::Instant::now();
        assert!(!wake.wait());
        assert!(begin.elapsed() >= POLL && begin.elapsed() < POLL * 8);
    }
}
