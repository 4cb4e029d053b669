//! Where the demo lives: a fresh folder, two free ports, and a detector as a child process that
//! never outlives us.

use std::fs::DirBuilder;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::exit::Failure;

/// How long the detector may take to become ready, and to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes the folder: the one that was asked for, which must be new or empty, or a new one among
/// this user's state files.
pub(in crate::cli) fn folder(
    asked: Option<&Path>,
    started: jiff::Timestamp,
) -> Result<PathBuf, Failure> {
    let name = started.strftime("demo-%Y%m%dT%H%M%SZ").to_string();
    let place = match asked {
        Some(place) => place.to_owned(),
        None => {
            let state = absolute("XDG_STATE_HOME").or_else(|| {
                absolute("HOME").filter(|home| home.is_dir()).map(|home| home.join(".local/state"))
            });
            let root = state.unwrap_or_else(std::env::temp_dir).join("dwell");
            let taken = |place: &PathBuf| !place.exists();
            let numbered = (2..100).map(|n| root.join(format!("{name}-{n}")));
            std::iter::once(root.join(&name))
                .chain(numbered)
                .find(taken)
                .ok_or_else(|| broken(&root, "holds too many demos of this second"))?
        }
    };
    if place.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!("{} is not empty; name a new folder", place.display());
        return Err(Failure::User(text));
    }
    let logs = place.join("logs");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&logs)
        .map_err(|e| broken(&logs, &e.to_string()))?;
    place.canonicalize().map_err(|e| broken(&place, &e.to_string()))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn broken(path: &Path, what: &str) -> Failure {
    Failure::Environment(format!("{}: {what}; choose another folder with --dir", path.display()))
}

/// A folder that goes away with the value.
pub(in crate::cli) fn temporary() -> Result<Temporary, Failure> {
    let root = std::env::temp_dir();
    for number in 0..1000_u32 {
        let path = root.join(format!("dwell-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(Temporary { path }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(broken(&path, &e.to_string())),
        }
    }
    Err(broken(&root, "holds too many folders of this name"))
}

/// See [`temporary`].
#[derive(Debug)]
pub(in crate::cli) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// The folder.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Writes one of the demo's files.
pub(in crate::cli) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| broken(path, &e.to_string()))
}

/// Two different free ports on loopback. They are free when asked; that they stay so until they are
/// used is likely, and otherwise the demo ends with a plain error.
pub(in crate::cli) fn ports() -> Result<(SocketAddr, SocketAddr), Failure> {
    let none = |e: std::io::Error| Failure::Environment(format!("no free port on loopback: {e}"));
    let first = TcpListener::bind("127.0.0.1:0").map_err(none)?;
    let second = TcpListener::bind("127.0.0.1:0").map_err(none)?;
    Ok((first.local_addr().map_err(none)?, second.local_addr().map_err(none)?))
}

/// The detector. It ends with this value, and, since its standard input is ours, with this process
/// even if that is killed.
#[derive(Debug)]
pub(in crate::cli) struct Detector {
    child: Child,
}

impl Detector {
    /// Starts the same program as a detector and waits until it is ready.
    pub(in crate::cli) fn start(settings: &Path) -> Result<Detector, Failure> {
        let cannot = |what: String| Failure::Environment(format!("the detector: {what}"));
        let program = std::env::current_exe().map_err(|e| cannot(e.to_string()))?;
        let mut child = Command::new(program)
            .args(["detector", "--with-stdin", "--config"])
            .arg(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| cannot(e.to_string()))?;
        let stdout = child.stdout.take();
        let detector = Detector { child };
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                // An unreadable line is an empty one: not ready.
                let _ = BufReader::new(stdout).read_line(&mut line);
            }
            let _ = sender.send(line);
        });
        let line = line.recv_timeout(PATIENCE).unwrap_or_default();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if ready["ready"] == true {
            Ok(detector)
        } else {
            Err(cannot("it did not become ready; see its message above".into()))
        }
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        // Closing its standard input asks it to end; the signal is for one that no longer listens.
        drop(self.child.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE / 5 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
