//! Where a path leads, also when nothing is there yet: two names of one file have one true name.
//!
//! Links are followed as far as there are any, dangling ones too, so that a file that is made later is
//! known by the name that it will have. Nothing is opened.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Steps in which a path is resolved, at most: as many links as the system follows, and its folders.
const MAX_STEPS: usize = 256;

/// The true name.
pub(crate) fn true_path(path: &Path) -> PathBuf {
    let mut steps = 0;
    follow(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), &mut steps)
}

fn follow(path: &Path, steps: &mut usize) -> PathBuf {
    *steps += 1;
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let Some(folder) = path.parent().filter(|_| *steps < MAX_STEPS) else { return path.to_owned() };
    let folder = follow(folder, steps);
    match path.components().next_back().map(|last| last.as_os_str()) {
        Some(up) if up == OsStr::new("..") => folder.parent().unwrap_or(&folder).to_owned(),
        Some(name) => match folder.join(name).read_link() {
            Ok(target) => follow(&folder.join(target), steps),
            Err(_) => folder.join(name),
        },
        None => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dangling_link_and_what_it_names_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("later/l.db", real.join("link.db")).unwrap();
        assert_eq!(true_path(&real.join("link.db")), real.join("later/l.db"));
        assert_eq!(true_path(&real.join("a/../b")), real.join("b"));
        std::os::unix::fs::symlink("loop", real.join("loop")).unwrap();
        true_path(&real.join("loop"));
    }
}
