//! Wakes the reader: notify on the folder, a slow poll beneath it.
//!
//! Events carry no meaning here. Each one only says "look now", so an overflow of the kernel's queue,
//! a rescan flag or an error of notify costs nothing: they say the same. A file is watched through its
//! folder, since a watch on the file itself dies with the first rotation.
//!
//! The first event since the last wake brings the instant before which what it tells of cannot have
//! happened. On file systems that others write to over a network events tell of our own machine alone;
//! there they wake and date nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use dwell_injectors::stamp::Stamp;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How long to wait at most: the poll beneath, and how soon a stop is noticed.
pub(super) const POLL: Duration = Duration::from_millis(250);
/// How long nobody looked before a file may have been replaced more than once meanwhile.
pub(super) const STALL: Duration = POLL.saturating_mul(4);

/// What `statfs` calls file systems whose contents change without an event here: NFS, SMB and CIFS, 9P,
/// FUSE, Ceph, AFS (two drivers), Coda, Lustre, GFS2, OCFS2, GPFS, OrangeFS, folders of a VirtualBox host.
const SHARED: [u32; 16] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x6573_5546,
    0x00c3_6400,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x0bd0_0bd0,
    0x0116_1970,
    0x7461_636f,
    0x4750_4653,
    0x2003_0528,
    0x786f_4256,
];

/// Watches the folders of a path and of what it links to.
pub(super) struct Wake {
    inbox: Receiver<Stamp>,
    notify: Option<RecommendedWatcher>,
    folders: Vec<PathBuf>,
    /// True where one of the folders is on a file system that others write to unheard.
    shared: bool,
}

impl Wake {
    /// `since` says how old at most is what an event tells of that arrives now.
    pub fn new(since: impl Fn() -> Stamp + Send + 'static) -> Wake {
        let (outbox, inbox) = bounded(1);
        let notify = match notify::recommended_watcher(handler(outbox, since)) {
            Ok(notify) => Some(notify),
            Err(error) => {
                tracing::warn!(%error, "no file notifications; polling only");
                None
            }
        };
        Wake { inbox, notify, folders: Vec::new(), shared: false }
    }

    /// True when every change raises an event, so that times are as fine as these.
    pub fn fine(&self) -> bool {
        self.notify.is_some() && !self.folders.is_empty() && !self.shared
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
        self.shared = kept.iter().any(|folder| is_shared(folder));
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

    /// Waits for an event, at most [`POLL`]: the instant before which what the first one since the last
    /// wait tells of cannot have happened.
    pub fn wait(&self) -> Option<Stamp> {
        self.inbox.recv_timeout(POLL).ok()
    }
}

fn handler(
    outbox: Sender<Stamp>,
    since: impl Fn() -> Stamp,
) -> impl Fn(notify::Result<notify::Event>) {
    move |event| {
        // Our own reading opens and closes files in the folder too.
        let ours = matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_)));
        // A full channel already says "look now", and holds the earlier instant.
        if !ours && !outbox.is_full() {
            let _ = outbox.try_send(since());
        }
    }
}

/// True where others write to the folder's file system unheard, or nobody says what it is.
fn is_shared(folder: &Path) -> bool {
    // The type's width differs between machines; the names have 32 bits.
    rustix::fs::statfs(folder).map_or(true, |found| SHARED.contains(&(found.f_type as u32)))
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
        let stamp = Stamp { wall_ns: 1, boot_ns: 1, boot: dwell_injectors::stamp::BootId(1) };
        let times = std::cell::Cell::new(0);
        let told = handler(outbox, move || stamp.plus_ns(times.replace(times.get() + 1)));
        told(Ok(Event::new(EventKind::Access(AccessKind::Any))));
        assert!(inbox.try_recv().is_err());
        // What notify says when the kernel's queue has overflowed.
        told(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(inbox.try_recv().unwrap(), stamp);
        told(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        told(Ok(Event::new(EventKind::Any)));
        assert_eq!(inbox.try_recv().unwrap(), stamp.plus_ns(1), "the first of them counts");
        assert!(inbox.try_recv().is_err(), "one look serves them all");
    }

    #[test]
    fn without_any_event_the_poll_beneath_wakes_within_its_period() {
        let folder = tempfile::tempdir().unwrap();
        let clock = dwell_injectors::stamp::SystemClock::new();
        let mut wake = Wake::new(move || dwell_injectors::stamp::Clock::now(&clock));
        wake.follow(&folder.path().join("x"));
        let begin = std::time::Instant::now();
        assert!(wake.fine() && wake.wait().is_none());
        assert!(begin.elapsed() >= POLL && begin.elapsed() < POLL * 8);
    }
}
