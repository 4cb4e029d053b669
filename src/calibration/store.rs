//! Where a calibration is kept, and which one is in force for a ledger.
//!
//! `calibration.json` beside the ledger wins over the one among this user's state files. A file that
//! is too long, damaged or of another format is no calibration: a run goes on without one and says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::model::{Calibration, FORMAT, Machine};
use crate::ledger::{CalibrationFact, FloorFact};

/// The file's name.
pub const NAME: &str = "calibration.json";
/// Longest file that is read, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The file among this user's state files; `None` without a home.
pub fn usual() -> Option<PathBuf> {
    crate::config::state_folder().map(|folder| folder.join(NAME))
}

/// Reads a calibration.
pub fn read(path: &Path) -> Result<Calibration, String> {
    let shown = path.display();
    let again = "make it again with `dwell calibrate`";
    let length = std::fs::metadata(path).map_err(|e| format!("{shown}: {e}; {again}"))?.len();
    if length > MAX_FILE {
        return Err(format!("{shown}: {length} bytes, more than {MAX_FILE}; {again}"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}; {again}"))?;
    let found: Calibration =
        serde_json::from_str(&text).map_err(|e| format!("{shown}: {e}; {again}"))?;
    if found.format != FORMAT {
        return Err(format!("{shown}: format is not {FORMAT}; {again}"));
    }
    Ok(found)
}

/// Writes a calibration: the old one stays whole until the new one is.
pub fn write(path: &Path, calibration: &Calibration) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}; choose a path with --output", path.display());
    let text = serde_json::to_string_pretty(calibration).map_err(|e| e.to_string())?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    let beside = path.with_extension(format!("json.{}", std::process::id()));
    let mut file = std::fs::File::create(&beside).map_err(fail)?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

/// The calibration in force for a ledger, if there is one.
pub fn in_force(ledger: &Path) -> Option<Calibration> {
    let beside = ledger.parent().map(|folder| folder.join(NAME));
    let path = beside.into_iter().chain(usual()).find(|path| path.is_file())?;
    match read(&path) {
        Ok(found) => Some(found),
        Err(problem) => {
            tracing::warn!(%problem, "The calibration is not used.");
            None
        }
    }
}

/// What a run keeps of the calibration in force for its ledger.
pub fn fact(ledger: &Path) -> Option<CalibrationFact> {
    let found = in_force(ledger)?;
    let now = machine(found.machine.load_before);
    let mut notes: Vec<String> = [
        ("version", found.version.as_str(), env!("CARGO_PKG_VERSION")),
        ("build", found.build.as_str(), build()),
        ("kernel", found.machine.kernel.as_str(), now.kernel.as_str()),
    ]
    .into_iter()
    .filter(|(_, then, now)| then != now)
    .map(|(what, then, now)| format!("its {what} was {then}, this run's is {now}"))
    .collect();
    if found.machine.cores != now.cores {
        notes.push(format!("it had {} cores, this run has {}", found.machine.cores, now.cores));
    }
    if found.build != "release" {
        notes.push(format!("made by a {} build", found.build));
    }
    notes.extend(found.machine.busy());
    let floors = found.floors.iter().map(|f| FloorFact {
        kind: f.watcher.clone(),
        n: f.n,
        p50_ns: f.p50.value_ns,
        p99_ns: f.p99.value_ns,
        p99_upper_ns: f.p99.upper_ns,
        max_ns: f.max_ns,
    });
    let bytes = serde_json::to_vec(&found).unwrap_or_default();
    Some(CalibrationFact {
        measured_at: found.measured_at.clone(),
        met: found.met,
        notes,
        floors: floors.collect(),
        digest: data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes)),
    })
}

/// `release` or `development`.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) { "development" } else { "release" }
}

/// The load average of one minute; 0 where the system does not tell.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// General facts about this machine.
pub fn machine(load_before: f64) -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        system: std::env::consts::OS.to_owned(),
        kernel: kernel.trim().to_owned(),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        load_before,
        load_after: load(),
    }
}
