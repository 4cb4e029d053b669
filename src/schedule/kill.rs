//! The kill switch: a file. Once it exists, nothing more leaves. Looked at every 100 ms by a thread
//! of its own, and before each event through an atomic flag, so it acts well within a second.
//!
//! It fails closed: a place that cannot be looked at, or whose folder is not there so that nobody could
//! put the file into it, stops as the file does, with that reason. `check` says so beforehand.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The order to inject nothing more, with its reason. Cheap to clone; set once, never taken back.
#[derive(Clone, Default, Debug)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    reason: Arc<OnceLock<String>>,
}

impl Stop {
    /// Gives the order. Only the first reason is kept.
    pub fn order(&self, reason: &str) {
        // A second reason changes nothing: what stopped first is what the ledger records.
        let _ = self.reason.set(reason.to_owned());
        self.flag.store(true, Ordering::Release);
    }

    /// True once the order was given.
    pub fn is_ordered(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Why, in a word for the ledger: `kill switch`, `signal`, `stop`.
    pub fn reason(&self) -> &str {
        self.reason.get().map_or("stop", String::as_str)
    }

    /// The flag alone, for loops that only ask whether to go on.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}

/// Why nothing may leave as things stand at that path; `None` where the file is known not to be there.
/// A link counts as the file, wherever it leads.
pub fn thrown(path: &Path) -> Option<String> {
    let unknown = |what: &str, error: std::io::Error| {
        Some(format!("{} cannot be looked at: {what}{error}", super::KILL_SWITCH))
    };
    match path.symlink_metadata() {
        Ok(_) => Some(super::KILL_SWITCH.to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            folder(path).metadata().err().and_then(|error| unknown("its folder: ", error))
        }
        Err(error) => unknown("", error),
    }
}

/// The folder that holds the file.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Watches for the file's appearance until dropped, and then orders a stop.
#[derive(Debug)]
pub struct KillSwitch {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KillSwitch {
    /// Starts to watch. The order is given at once when [`thrown`] says so now.
    pub fn watch(path: &Path, stop: Stop) -> std::io::Result<KillSwitch> {
        if let Some(reason) = thrown(path) {
            stop.order(&reason);
        }
        let done = Arc::new(AtomicBool::new(false));
        let (end, file) = (Arc::clone(&done), path.to_owned());
        let thread = std::thread::Builder::new().name("kill-switch".into()).spawn(move || {
            while !end.load(Ordering::Acquire) && !stop.is_ordered() {
                if let Some(reason) = thrown(&file) {
                    stop.order(&reason);
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        })?;
        Ok(KillSwitch { done, thread: Some(thread) })
    }
}

impl Drop for KillSwitch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only sleeps and looks; joining cannot block past one look.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stops_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("STOP");
        let stop = Stop::default();
        let _switch = KillSwitch::watch(&file, stop.clone()).unwrap();
        assert!(!stop.is_ordered());
        std::fs::write(&file, b"").unwrap();
        let begin = std::time::Instant::now();
        while !stop.is_ordered() {
            assert!(begin.elapsed() < Duration::from_secs(1), "the kill switch took too long");
            std::thread::yield_now();
        }
        stop.order("signal");
        assert_eq!(stop.reason(), "kill switch");
    }

    #[test]
    fn what_cannot_be_looked_at_stops() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(thrown(&at("STOP")), None);
        for (place, words) in [("none/STOP", "its folder"), ("file/STOP", "Not a directory")] {
            std::fs::write(at("file"), b"").unwrap();
            let reason = thrown(&at(place)).unwrap();
            assert!(reason.starts_with("kill switch cannot be looked at"), "{reason}");
            assert!(reason.contains(words), "{reason}");
        }
        // It leads nowhere, and somebody put it there.
        std::os::unix::fs::symlink("nowhere", at("STOP")).unwrap();
        assert_eq!(thrown(&at("STOP")).as_deref(), Some("kill switch"));
        assert_eq!(super::folder(Path::new("STOP")), Path::new("."));
        // A folder that goes away while a run lasts.
        std::fs::create_dir(at("place")).unwrap();
        let stop = Stop::default();
        let _switch = KillSwitch::watch(&at("place/STOP"), stop.clone()).unwrap();
        assert!(!stop.is_ordered());
        std::fs::remove_dir(at("place")).unwrap();
        let begin = std::time::Instant::now();
        while !stop.is_ordered() {
            assert!(begin.elapsed() < Duration::from_secs(1), "it failed open");
            std::thread::yield_now();
        }
        assert!(stop.reason().contains("its folder"), "{}", stop.reason());
    }
}
