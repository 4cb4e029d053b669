//! Which files beside a file are its own rotated ones, by their names.
//!
//! | made by | `alerts.json` becomes |
//! |---|---|
//! | logrotate, python's `RotatingFileHandler`, newsyslog | `alerts.json.1` |
//! | logrotate `dateext` | `alerts.json-20261124`, `alerts.json-20261124-1795500000` |
//! | logrotate with `extension .json` | `alerts.1.json`, `alerts-20261124.json` |
//! | python's `TimedRotatingFileHandler`, log4j 1 | `alerts.json.2026-11-24_10-30`, `alerts.json.2026-11-24-10` |
//! | log4j 2, logback, winston | `alerts-2026-11-24-1.json`, `alerts.2026-11-24.0.json` |
//! | lumberjack | `alerts-2026-11-24T10-30-00.000.json` |
//! | log4net, Serilog | `alerts.json20261124`, `alerts20261124_001.json` |
//! | a person | `alerts.json.old`, `alerts.bak.json` |
//! | cronolog, rotatelogs with a link | `alerts.json` is a link, and leads to `alerts.20261124.json` |
//!
//! So the whole name or its stem stays, and what is added is a stamp (numbers and what stands between
//! the parts of a date) or a word for "old". Any other name that only begins alike (`alerts-source.log`)
//! is another program's file, and reading it would count what was never written where alerts are.
//!
//! Not promised: files that went into another folder (Wazuh's `2026/Nov/ossec-alerts-24.json`) while
//! nobody watched; while somebody does, the open file is read on wherever it goes. Nor what a link led to
//! meanwhile under a name of its own: that span is recorded as blind ([`untraced`]).

use std::path::{Path, PathBuf};

use dwell_injectors::file::born_ns;

use super::source::FileId;
use super::wake::folder;

/// Files of the folder that are looked at.
const MAX_FAMILY: usize = 4096;
/// What people and programs call the one before.
const OLD: [&str; 5] = ["old", "bak", "prev", "previous", "orig"];
/// Digits that are a date although nothing separates them from the name.
const DATE: usize = 8;
/// Digits of one part of a stamp, at most: nanoseconds since the epoch have 19.
const MAX_DIGITS: usize = 20;

/// A file beside the watched one.
pub(super) struct Member {
    pub path: PathBuf,
    pub id: FileId,
    pub born: Option<i64>,
    /// Seconds since the epoch, by the file system.
    pub modified: i64,
    /// True when its name is that of a rotated one.
    pub rotated: bool,
}

impl Member {
    /// Which file it is, also where the number of a deleted one was given again.
    pub fn birth(&self) -> (FileId, Option<i64>) {
        (self.id, self.born)
    }
}

/// The regular files in the folder of the path, without the one that it names, oldest first.
pub(super) fn beside(path: &Path) -> Vec<Member> {
    use std::os::unix::fs::MetadataExt;
    let link = path;
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut members: Vec<(i64, Member)> = Vec::new();
    let entries = std::fs::read_dir(folder(&target)).into_iter().flatten().flatten();
    for entry in entries.take(MAX_FAMILY) {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        if path == target || !meta.is_file() {
            continue;
        }
        let rotated = is_rotated_name(&target, &path) || is_named_after(link, &path);
        let (id, born) = (FileId::of(&meta), born_ns(&meta));
        let member = Member { path, id, born, modified: meta.mtime(), rotated };
        members.push((meta.mtime_nsec(), member));
    }
    members.sort_by_key(|(nanos, member)| (member.modified, *nanos));
    members.into_iter().map(|(_, member)| member).collect()
}

/// The rotated files of the path, oldest first.
pub(super) fn family(path: &Path) -> Vec<Member> {
    let mut members = beside(path);
    members.retain(|member| member.rotated);
    members
}

/// What is unknown after the path has come to name another file while nobody watched: files that it named in
/// between and that no name tells of. A link leaves none behind where what it led to is called after it
/// (`alerts.log` to `alerts.20261124.log`), and else only a file that was deleted does.
pub(super) fn untraced(path: &Path, deleted: bool) -> Option<&'static str> {
    let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    if is_link && !path.canonicalize().is_ok_and(|target| is_named_after(path, &target)) {
        Some("the link was led elsewhere while nobody watched; what it named in between is unknown")
    } else {
        deleted.then_some(
            "the file was deleted and made anew while nobody watched, perhaps repeatedly",
        )
    }
}

/// True when `name` is called as a rotation would call `path`, in whatever folder.
fn is_named_after(path: &Path, name: &Path) -> bool {
    let text = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    text(path).zip(text(name)).is_some_and(|(file, other)| is_rotated(&file, &other))
}

/// True when `name` is what a rotation makes of `path` in the same folder.
pub(crate) fn is_rotated_name(path: &Path, name: &Path) -> bool {
    folder(path) == folder(name) && is_named_after(path, name)
}

fn is_rotated(file: &str, name: &str) -> bool {
    if let Some(added) = name.strip_prefix(file) {
        return is_added(added);
    }
    let Some(dot) = file.rfind('.').filter(|dot| *dot > 0) else { return false };
    let (stem, extension) = file.split_at(dot);
    let inside = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    inside.is_some_and(is_added)
}

/// What rotations add to a name: `.1`, `-20261124`, `_2026-11-24T10`, `.old`.
fn is_added(added: &str) -> bool {
    let separator = |c: char| matches!(c, '.' | '-' | '_');
    match added.strip_prefix(separator) {
        Some(word) if OLD.iter().any(|old| word.eq_ignore_ascii_case(old)) => true,
        Some(stamp) => is_stamp(stamp),
        None => {
            let digits = added.bytes().take_while(u8::is_ascii_digit).count();
            digits >= DATE && is_stamp(added)
        }
    }
}

/// Numbers, with the signs of a date or a time between them.
fn is_stamp(text: &str) -> bool {
    text.split(['.', '-', '_', ':', '+']).all(|part| {
        let part = part.strip_suffix('Z').unwrap_or(part);
        let mut numbers = part.splitn(2, 'T');
        numbers
            .all(|n| (1..=MAX_DIGITS).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rotations_make_is_known_by_name() {
        for name in [
            "alerts.json.1",
            "alerts.json.10",
            "alerts.json-20261124",
            "alerts.json-2026112410",
            "alerts.json-20261124-1795500000",
            "alerts.json.2026-11-24",
            "alerts.json.2026-11-24-10",
            "alerts.json.2026-11-24_10-30-00",
            "alerts.json.1795500000",
            "alerts.json20261124",
            "alerts.json.old",
            "alerts.json.bak",
            "alerts.1.json",
            "alerts_01.json",
            "alerts-20261124.json",
            "alerts-2026-11-24-1.json",
            "alerts.2026-11-24.0.json",
            "alerts-2026-11-24T10-30-00.000.json",
            "alerts-2026-11-24T10:30:00+0100.json",
            "alerts-20261124T103000Z.json",
            "alerts20261124_001.json",
            "alerts-1795500000.json",
            "alerts-old.json",
        ] {
            assert!(is_rotated("alerts.json", name), "{name}");
        }
        assert!(is_rotated("syslog", "syslog.1") && is_rotated("syslog", "syslog-20261124"));
        assert!(is_rotated(".alerts", ".alerts.1"));
    }

    #[test]
    fn what_only_begins_alike_is_another_file() {
        for name in [
            "alerts.json",
            "alerts-source.log",
            "alerts-source.json",
            "alerts-source.log.1",
            "alerts.log",
            "alerts.log.1",
            "alerts",
            "alerts.json.gz",
            "alerts.json.1.gz",
            "alerts.json.1.zst",
            "alerts.json.swp",
            "alerts.json.new",
            "alerts.json1",
            "alerts2.json",
            "alerts.json.",
            "alerts.json..1",
            "alerts.json.1.",
            "alerts.json-",
            "alerts.json.T",
            "alerts.json.oldest",
            "alertsold.json",
            "alerts-web01.json",
            "old-alerts.json",
            "alerts.json.111111111111111111111",
        ] {
            assert!(!is_rotated("alerts.json", name), "{name}");
        }
        assert!(!is_rotated("syslog", "syslogs") && !is_rotated(".alerts", ".alerts-source"));
        assert!(!is_rotated_name(Path::new("a/x.log"), Path::new("b/x.log.1")));
        assert!(is_rotated_name(Path::new("a/x.log"), Path::new("a/x.log.1")));
    }
}
