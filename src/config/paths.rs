//! Relative paths of injectors and watchers, relative to the configuration's folder.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, major, minor};
use rustix::io::Errno;
use toml::Value;

use super::problem::Findings;
use super::secrets;
use super::source::join;

/// Keys that always hold a path.
const KEYS: [&str; 4] = ["ca_file", "client_certificate", "certificate", "file"];

/// The same value with its paths made independent of the working directory.
pub(super) fn anchor(value: &Value, folder: &Path) -> Value {
    match value {
        Value::Table(table) => {
            let kind = table.get("type").and_then(Value::as_str).unwrap_or_default();
            let named = |key: &str| {
                KEYS.contains(&key)
                    || (key == "path" && matches!(kind, "file" | "unix"))
                    || (key == "key" && table.contains_key("certificate"))
            };
            let anchored = |(key, child): (&String, &Value)| match child {
                Value::String(text) if named(key) && !text.is_empty() => {
                    (key.clone(), Value::String(folder.join(text).display().to_string()))
                }
                other => (key.clone(), anchor(other, folder)),
            };
            Value::Table(table.iter().map(anchored).collect())
        }
        Value::Array(array) => Value::Array(array.iter().map(|v| anchor(v, folder)).collect()),
        other => other.clone(),
    }
}

/// Notes a log that can take no line: a folder, or a device that keeps nothing.
pub(super) fn written_file(findings: &mut Findings<'_>, field: &str, path: &Path) {
    let help = "name the file that the collector reads";
    let stat = match rustix::fs::stat(path) {
        Ok(stat) => stat,
        // No file will ever bear this name.
        Err(error @ (Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP)) => {
            return findings.at(field, format!("{}: {error}", path.display()), help);
        }
        Err(_) => return,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            findings.at(field, format!("{} is a folder", path.display()), help);
        }
        FileType::CharacterDevice => {
            // The memory devices: null and zero throw away, full refuses.
            let what = match (major(stat.st_rdev), minor(stat.st_rdev)) {
                (1, 3 | 5) => "throws away what is written",
                (1, 7) => "refuses every write",
                _ => return,
            };
            findings.at(field, format!("{} {what}", path.display()), help);
        }
        _ => {}
    }
}

/// Notes a place where no ledger can be.
pub(super) fn ledger(findings: &mut Findings<'_>, path: &Path) {
    let help = "name a file; it and its folder are made";
    let problem = match path.metadata() {
        Ok(meta) => crate::watchers::irregular(&meta).map(|kind| format!("is a {kind}")),
        Err(_) if path.as_os_str().is_empty() => Some("it is empty".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be looked at: {error}")),
    };
    if let Some(problem) = problem {
        let problem = format!("{} {problem}", path.display());
        findings.at("ledger.path", problem.trim_start().to_owned(), help);
    }
}

/// Notes a place that no kill switch can have: a folder into which nobody could put it, or where it would not
/// be seen, and what `dwell stop` could neither make nor take back.
pub(super) fn kill_switch(findings: &mut Findings<'_>, path: &Path) {
    const FIELD: &str = "campaign.kill_switch";
    let problem = match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => None,
        Ok(meta) => crate::watchers::irregular(&meta).map(|kind| format!("is a {kind}")),
        Err(_) if path.as_os_str().is_empty() => Some("it is empty".to_owned()),
        Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
            Some(format!("cannot be made: {error}"))
        }
        Err(_) => None,
    };
    if let Some(problem) = problem {
        let problem = format!("{} {problem}", path.display());
        let help = "name a file that is not there: `dwell stop` makes it, `dwell stop --resume` removes it";
        return findings.at(FIELD, problem.trim_start().to_owned(), help);
    }
    let folder = crate::schedule::kill::folder(path);
    let shown = folder.display();
    match folder.metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            let problem = format!("{shown} is no folder: nobody could stop a run");
            return findings.at(FIELD, problem, "name a file in a folder that is there");
        }
        Err(error) => {
            let problem = format!("its folder {shown}: {error}; nobody could stop a run");
            return findings.at(FIELD, problem, "create the folder, or name a file in another");
        }
    }
    let may = |access| accessat(CWD, folder, access, AtFlags::EACCESS);
    if let Err(error) = may(Access::EXEC_OK) {
        let problem = format!("its folder {shown} may not be searched: {error}");
        let help = "let the user that runs dwell search it, or name a file in another folder";
        findings.at(FIELD, problem, help);
    } else if let Err(error) = may(Access::WRITE_OK) {
        findings.warnings.push(format!(
            "{FIELD}: this user may not make files in {shown} ({error}): `dwell stop` works for others \
             only"
        ));
    }
}

/// Notes a source that has no lines.
pub(super) fn read_file(findings: &mut Findings<'_>, field: &str, path: &Path) {
    let kind = path.metadata().ok().and_then(|meta| crate::watchers::irregular(&meta));
    if let Some(kind) = kind {
        let help = if kind == "folder" { "name the file in it" } else { "name a regular file" };
        findings.at(field, format!("{} is a {kind}", path.display()), help);
    }
}

/// Looks at the mode of every secret file below a value.
pub(super) fn secret_files(findings: &mut Findings<'_>, path: &str, anchored: &Value) {
    match anchored {
        Value::Table(table) => {
            for (key, child) in table {
                let field = join(path, key);
                let secret = (table.len() == 1 && key == "file")
                    || (key == "key" && table.contains_key("certificate"));
                match child {
                    Value::String(text) if secret => {
                        secrets::private(findings, &field, Path::new(text));
                    }
                    _ => secret_files(findings, &field, child),
                }
            }
        }
        Value::Array(array) => {
            for (index, child) in array.iter().enumerate() {
                secret_files(findings, &format!("{path}[{index}]"), child);
            }
        }
        _ => {}
    }
}
