//! The kill switch: a file. Once it exists, nothing more leaves. Looked at every 100 ms by a thread
//! of its own, and before each event through an atomic flag, so it acts well within a second.

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

/// Watches for the file's appearance until dropped, and then orders a stop.
#[derive(Debug)]
pub struct KillSwitch {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KillSwitch {
    /// Starts to watch. The order is given at once when the file exists now.
    pub fn watch(path: &Path, stop: Stop) -> std::io::Result<KillSwitch> {
        if path.exists() {
            stop.order(super::KILL_SWITCH);
        }
        let done = Arc::new(AtomicBool::new(false));
        let (end, file) = (Arc::clone(&done), path.to_owned());
        let thread = std::thread::Builder::new().name("kill-switch".into()).spawn(move || {
            while !end.load(Ordering::Acquire) && !stop.is_ordered() {
                // Whatever else is wrong with the path, only its presence stops; a folder that
                // cannot be read is reported by `check`.
                if file.exists() {
                    stop.order(super::KILL_SWITCH);
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
}
