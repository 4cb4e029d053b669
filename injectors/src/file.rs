//! A log file as a target: one line an event, appended as a program that logs would append it.
//!
//! Invariants:
//!
//! - One event is one `write` on a descriptor opened with `O_APPEND`, so lines of several writers
//!   do not mix. Nothing is ever truncated, and nothing created unless `create` says so.
//! - The path is looked at before each write: when it names another file (rotation by rename,
//!   symlink swap), that one is opened. It is looked at again afterwards, because a file can be
//!   truncated or deleted in the microseconds between; then the outcome is unknown.
//! - A file that it made is reported as such only where `O_EXCL` proves it, and where no other file had the
//!   name before: what takes a rotated log's place belongs to whoever writes that log.
//! - After a short write a part of a line lies in the file. The outcome is unknown, and the next
//!   event begins with a line break so that the two do not become one record.
//!
//! Not promised: that a tailer reads a line that is copied away by copytruncate in that moment.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{CheckNote, Event, Injector, MadeFile, Sample, Target};
use crate::line::with_newline;
use crate::receipt::{InjectError, Receipt, Strength};
use crate::registry::BuildError;
use crate::stamp::{Clock, Stamp};

/// Longest wait for a path that is gone in the middle of a rotation.
const ROTATION_GAP: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(1);

/// Settings of `type = "file"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The file to append to. Its folder must exist. It may be a named pipe with a reader.
    pub path: PathBuf,
    /// Waits for the disk after each event, for receipts of strength `synced` instead of
    /// `written`. Default false: tailers read from memory.
    #[serde(default)]
    pub sync: bool,
    /// Creates the file, mode 0640, when it does not exist. Default false: a mistyped path is an
    /// error, not a new file that nobody reads.
    #[serde(default)]
    pub create: bool,
}

impl FileSettings {
    pub(crate) fn target(&self) -> Target {
        Target { transport: "file", place: self.path.display().to_string(), local: true }
    }

    pub(crate) fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        if self.path.as_os_str().is_empty() {
            return Err(BuildError::setting("path", "is empty; name the file to append to"));
        }
        Ok(Box::new(FileInjector { settings: self.clone(), clock, open: None, made: None }))
    }

    /// The path in a folder whose links are resolved: the name under which a file that was made is known.
    pub fn settled_path(&self) -> std::io::Result<PathBuf> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize()?;
        Ok(self.path.file_name().map_or(folder.clone(), |name| folder.join(name)))
    }

    /// Looks at the file after the write; gives the place where the line lies.
    fn verify(&self, open: &Open, length: usize) -> Result<String, InjectError> {
        let path = self.path.display();
        if open.kind != FileType::RegularFile {
            return Ok(path.to_string());
        }
        let unknown =
            |what: &str| InjectError::unknown(format!("{path} was {what} while it was written to"));
        // With O_APPEND the position after a write is the end of what this descriptor wrote.
        let end = rustix::fs::seek(&open.fd, SeekFrom::Current(0))
            .map_err(|error| InjectError::unknown(format!("cannot look at {path}: {error}")))?;
        let stat = rustix::fs::fstat(&open.fd)
            .map_err(|error| InjectError::unknown(format!("cannot look at {path}: {error}")))?;
        if stat.st_nlink == 0 {
            return Err(unknown("deleted"));
        }
        if u64::try_from(stat.st_size).unwrap_or(0) < end {
            return Err(unknown("truncated"));
        }
        let offset = end.saturating_sub(length as u64);
        let renamed = !matches!(rustix::fs::stat(&self.path),
            Ok(now) if FileId::of(&now) == open.id);
        if renamed {
            // The line is whole, in the file that held the name when the write began.
            return Ok(format!("{path} (renamed since, inode {}):{offset}", open.id.inode));
        }
        Ok(format!("{path}:{offset}"))
    }
}

struct FileInjector {
    settings: FileSettings,
    clock: Arc<dyn Clock>,
    open: Option<Open>,
    made: Option<MadeFile>,
}

impl fmt::Debug for FileInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileInjector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// An open target.
struct Open {
    fd: OwnedFd,
    id: FileId,
    kind: FileType,
    /// The last write was short: a part of a line lies at the end.
    torn: bool,
}

/// Which file a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(stat: &Stat) -> FileId {
        FileId { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl FileInjector {
    fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Opens what the path names now, or keeps the descriptor when it is still the same file.
    fn follow(&mut self, deadline: Instant) -> Result<(), InjectError> {
        let gap_ends = deadline.min(Instant::now() + ROTATION_GAP);
        let was_open = self.open.is_some();
        loop {
            let named = rustix::fs::stat(self.path()).ok().map(|stat| FileId::of(&stat));
            if named.is_some() && named == self.open.as_ref().map(|open| open.id) {
                return Ok(());
            }
            // In the middle of a rotation the name is gone for a moment.
            let may_wait = was_open && Instant::now() < gap_ends;
            if named.is_none() && may_wait {
                std::thread::sleep(POLL);
                continue;
            }
            match self.reopen() {
                Err(Errno::NOENT) if may_wait => std::thread::sleep(POLL),
                Err(error) => return Err(blame(Some(error), self.explain_open(error))),
                Ok(kind) => return self.accept_kind(kind),
            }
        }
    }

    fn folder_exists(&self) -> bool {
        self.path().parent().is_some_and(|folder| folder.as_os_str().is_empty() || folder.is_dir())
    }

    fn reopen(&mut self) -> Result<FileType, Errno> {
        let mut flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        let mut new = Err(Errno::EXIST);
        if self.settings.create {
            flags |= OFlags::CREATE;
            new = rustix::fs::open(self.path(), flags | OFlags::EXCL, mode);
        }
        let (fd, is_new) = match new {
            Ok(fd) => (fd, true),
            Err(Errno::EXIST) => (rustix::fs::open(self.path(), flags, mode)?, false),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let (id, kind) = (FileId::of(&stat), FileType::from_raw_mode(stat.st_mode));
        if is_new && self.open.is_none() {
            self.made = self.settings.settled_path().ok().map(|path| MadeFile {
                path,
                device: id.device,
                inode: id.inode,
                born_ns: born(&fd),
            });
        }
        let torn = self.open.as_ref().is_some_and(|open| open.torn && open.id == id);
        self.open = Some(Open { fd, id, kind, torn });
        Ok(kind)
    }

    fn accept_kind(&mut self, kind: FileType) -> Result<(), InjectError> {
        if matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice) {
            return Ok(());
        }
        self.open = None;
        Err(InjectError::ours(format!(
            "{} is no file to append to (it is a {kind:?})",
            self.path().display()
        )))
    }

    fn explain_open(&self, error: Errno) -> String {
        let path = self.path().display();
        match error {
            Errno::NOENT if !self.folder_exists() => {
                format!("the folder of {path} does not exist; create it first")
            }
            Errno::NOENT => {
                format!("{path} does not exist; correct the path, or set `create = true`")
            }
            Errno::ISDIR => format!("{path} is a folder; name a file in it"),
            Errno::ACCESS | Errno::PERM => {
                format!("no permission to write to {path}; run as a user who may append to it")
            }
            Errno::ROFS => format!("{path} lies on a read-only file system"),
            Errno::NXIO => format!("{path} is a pipe or socket without a reader; start its reader"),
            other => format!("cannot open {path}: {other}"),
        }
    }

    /// One write. It is repeated where nothing at all was taken, and goes on only at a pipe, which
    /// takes no more at once than it has room for; a file gets one write and no second.
    fn write(open: &Open, bytes: &[u8], deadline: Instant) -> (usize, Option<Errno>) {
        let mut done = 0;
        loop {
            match rustix::io::write(&open.fd, &bytes[done..]) {
                Ok(0) => return (done, None),
                Ok(count) => done += count,
                Err(Errno::INTR) => continue,
                // A full pipe: its reader is slow.
                Err(Errno::AGAIN) if Instant::now() + POLL < deadline => std::thread::sleep(POLL),
                Err(error) => return (done, Some(error)),
            }
            let more = open.kind == FileType::Fifo && done < bytes.len();
            if done > 0 && !more {
                return (done, None);
            }
        }
    }

    fn failed_write(&mut self, done: usize, total: usize, error: Option<Errno>) -> InjectError {
        let path = self.settings.path.display();
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        if done > 0 {
            if let Some(open) = self.open.as_mut() {
                open.torn = true;
            }
            return InjectError::unknown(format!(
                "only {done} of {total} bytes went into {path}{why}; a partial line may exist at its end"
            ));
        }
        let hint = match error {
            Some(Errno::NOSPC | Errno::DQUOT) => "; make room on the disk",
            Some(Errno::PIPE | Errno::AGAIN) => "; look at the reader of the pipe",
            _ => "",
        };
        let reason = format!("cannot append to {path}{why}{hint}");
        if error == Some(Errno::IO) {
            // The kernel does not say how much reached the disk.
            return InjectError::unknown(reason);
        }
        if error == Some(Errno::PIPE) {
            self.open = None;
        }
        blame(error, reason)
    }

    fn append(&mut self, body: &str, deadline: Instant) -> Result<(Stamp, String), InjectError> {
        let mut bytes = with_newline(body);
        let length = bytes.len();
        self.follow(deadline)?;
        let Some(open) = self.open.as_mut() else {
            return Err(InjectError::ours("the file is not open"));
        };
        if open.torn {
            bytes.insert(0, b'\n');
        }
        let submitted_at = self.clock.now();
        let (done, error) = Self::write(open, &bytes, deadline);
        if done < bytes.len() {
            return Err(self.failed_write(done, bytes.len(), error));
        }
        open.torn = false;
        let open: &Open = open;
        if self.settings.sync && open.kind == FileType::RegularFile {
            rustix::fs::fdatasync(&open.fd).map_err(|error| {
                InjectError::fatal(format!(
                    "the disk did not confirm {}: {error}; look at the disk before going on",
                    self.settings.path.display()
                ))
            })?;
        }
        Ok((submitted_at, self.settings.verify(open, length)?))
    }

    fn strength(&self) -> Strength {
        match self.open.as_ref().map(|open| open.kind) {
            Some(FileType::RegularFile) if self.settings.sync => Strength::Synced,
            Some(FileType::RegularFile) => Strength::Written,
            // A pipe or a device keeps nothing.
            _ => Strength::Queued,
        }
    }
}

/// When a file was made, wall nanoseconds since the Unix epoch; `None` where the file system does not say.
pub fn born_ns(meta: &std::fs::Metadata) -> Option<i64> {
    let since = meta.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

/// Of an open one. It asks no disk: the file was opened just now.
fn born(fd: &OwnedFd) -> Option<i64> {
    born_ns(&std::fs::File::from(fd.try_clone().ok()?).metadata().ok()?)
}

/// A full or read-only disk, a broken one and an absent reader are the target's; a path that leads
/// nowhere and missing rights are ours.
fn blame(error: Option<Errno>, reason: String) -> InjectError {
    let target = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::PIPE, Errno::AGAIN];
    match error {
        Some(error) if !target.contains(&error) => InjectError::ours(reason),
        _ => InjectError::rejected(reason),
    }
}

impl Injector for FileInjector {
    fn target(&self) -> Target {
        self.settings.target()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let deadline = Instant::now() + timeout;
        let (submitted_at, place) = self.append(&event.body, deadline)?;
        let accepted_at = Some(self.clock.now());
        Ok(Receipt { submitted_at, accepted_at, strength: self.strength(), place: Some(place) })
    }

    fn check(
        &mut self,
        _samples: &[Sample],
        _timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        if self.settings.create && !self.path().exists() {
            // Opening would create it; a check leaves nothing behind.
            if !self.folder_exists() {
                return Err(InjectError::rejected(self.explain_open(Errno::NOENT)));
            }
            let text = format!("{} does not exist yet and will be created", self.path().display());
            return Ok(vec![CheckNote { refuse: false, text }]);
        }
        self.follow(Instant::now())?;
        Ok(Vec::new())
    }

    fn made(&mut self) -> Option<MadeFile> {
        self.made.take()
    }

    fn close(&mut self, _timeout: Duration) -> usize {
        self.open = None;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::SystemClock;

    fn injector(path: &Path, sync: bool, create: bool) -> Box<dyn Injector> {
        let settings = FileSettings { path: path.to_path_buf(), sync, create };
        settings.build(Arc::new(SystemClock::new())).unwrap()
    }

    fn event(body: &str) -> Event {
        Event {
            index: 0,
            offset: Duration::ZERO,
            body: body.to_owned(),
            completing: true,
            syslog: None,
            key: None,
            time_ns: 0,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_place_is_the_offset_of_the_line_and_strength_follows_sync() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "before\n").unwrap();
        let receipt = injector(&path, false, false).deliver(&event("one"), SECOND).unwrap();
        assert_eq!(receipt.place, Some(format!("{}:7", path.display())));
        assert_eq!(receipt.strength, Strength::Written);
        let receipt = injector(&path, true, false).deliver(&event("two"), SECOND).unwrap();
        assert_eq!(receipt.place, Some(format!("{}:11", path.display())));
        assert_eq!(receipt.strength, Strength::Synced);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ntwo\n");
    }

    #[test]
    fn a_missing_file_is_created_only_on_request_and_never_by_a_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        assert!(injector(&path, false, false).check(&[], SECOND).is_err());
        let notes = injector(&path, false, true).check(&[], SECOND).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(!path.exists(), "a check created the file");
        injector(&path, false, true).deliver(&event("x"), SECOND).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n");
    }

    #[test]
    fn only_a_file_that_it_made_itself_is_called_so_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut ours = injector(&path, false, true);
        assert_eq!(ours.made(), None);
        ours.deliver(&event("x"), SECOND).unwrap();
        let made = ours.made().unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        assert_eq!((made.device, made.inode), (stat.st_dev, stat.st_ino));
        assert_eq!(made.path, folder.path().canonicalize().unwrap().join("a.log"));
        ours.deliver(&event("y"), SECOND).unwrap();
        assert_eq!(ours.made(), None, "told once");
        // What takes the place of a rotated log is not ours to remove.
        std::fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        ours.deliver(&event("z"), SECOND).unwrap();
        assert_eq!(ours.made(), None);
        // One that was there, empty or not, and one behind a link.
        let mut others = injector(&path, false, true);
        others.deliver(&event("x"), SECOND).unwrap();
        assert_eq!(others.made(), None);
        let link = folder.path().join("link.log");
        std::os::unix::fs::symlink(folder.path().join("behind.log"), &link).unwrap();
        let mut linked = injector(&link, false, true);
        linked.deliver(&event("x"), SECOND).unwrap();
        assert_eq!(linked.made(), None);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "half a li").unwrap();
        let settings = FileSettings { path: path.clone(), sync: false, create: false };
        let mut injector =
            FileInjector { settings, clock: Arc::new(SystemClock::new()), open: None, made: None };
        injector.follow(Instant::now()).unwrap();
        injector.open.as_mut().unwrap().torn = true;
        let receipt = injector.deliver(&event("whole"), SECOND).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li\nwhole\n");
        assert_eq!(receipt.place, Some(format!("{}:10", path.display())));
        injector.deliver(&event("next"), SECOND).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li\nwhole\nnext\n");
    }
}
