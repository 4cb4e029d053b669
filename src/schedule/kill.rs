//! The kill switch: a file. Once it exists, nothing more leaves. Looked at every 100 ms by a thread
//! of its own, and before each event through an atomic flag, so it acts well within a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watches for the file's appearance until dropped.
#[derive(Debug)]
pub struct KillSwitch {
    stopped: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    path: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KillSwitch {
    /// Starts to watch. The flag is already set when the file exists now.
    pub fn watch(path: &Path) -> std::io::Result<KillSwitch> {
        let stopped = Arc::new(AtomicBool::new(path.exists()));
        let done = Arc::new(AtomicBool::new(false));
        let (flag, end, file) = (Arc::clone(&stopped), Arc::clone(&done), path.to_owned());
        let thread = std::thread::Builder::new().name("kill-switch".into()).spawn(move || {
            while !end.load(Ordering::Acquire) && !flag.load(Ordering::Acquire) {
                // Whatever else is wrong with the path, only its presence stops; a folder that
                // cannot be read is reported by `check`.
                if file.exists() {
                    flag.store(true, Ordering::Release);
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        })?;
        Ok(KillSwitch { stopped, done, path: path.to_owned(), thread: Some(thread) })
    }

    /// The flag that injection asks before each event.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }

    /// True once the file has appeared.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
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
        let switch = KillSwitch::watch(&file).unwrap();
        assert!(!switch.is_stopped());
        std::fs::write(&file, b"").unwrap();
        let begin = std::time::Instant::now();
        while !switch.is_stopped() {
            assert!(begin.elapsed() < Duration::from_secs(1), "the kill switch took too long");
            std::thread::yield_now();
        }
    }
}
