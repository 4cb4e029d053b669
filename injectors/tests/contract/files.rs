//! Files that rotate, vanish, fill up, refuse, and are shared with other writers.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dwell_injectors::receipt::{InjectError, Strength};

use super::{
    Cause, PATIENCE, assert_fault, assert_rejected, assert_unknown, build, child, deliver,
};

const SHORT: Duration = Duration::from_millis(300);

fn file(path: &Path) -> String {
    format!("type = \"file\"\npath = {path:?}")
}

/// Counts every line of every file in a folder.
fn lines(folder: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{path:?} ends in a torn line");
        for line in text.lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Rotates `rotations` times while lines are written; every accepted line must be there once.
fn under_load(rotations: usize, prepare: impl Fn(&Path), rotate: impl Fn(&Path, usize) + Sync) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    prepare(&path);
    let stop = AtomicBool::new(false);
    let written = std::sync::atomic::AtomicUsize::new(0);
    let count = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A file that was never open and is not there is refused, and not waited for.
            super::wait_until("a first line", || written.load(Ordering::SeqCst) > 0);
            for number in 0..rotations {
                rotate(&path, number);
                let before = written.load(Ordering::SeqCst);
                super::wait_until("lines after a rotation", || {
                    written.load(Ordering::SeqCst) >= before + 5
                });
            }
            stop.store(true, Ordering::SeqCst);
        });
        let mut injector = build(&file(&path));
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            deliver(&mut injector, &format!("line-{count}"), PATIENCE).unwrap();
            count += 1;
            written.store(count, Ordering::SeqCst);
        }
        count
    });
    let found = lines(folder.path());
    assert_eq!(found.len(), count);
    assert!((0..count).all(|number| found.get(&format!("line-{number}")) == Some(&1)));
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(files > rotations, "only {files} files");
    let last = std::fs::read_to_string(&path).unwrap();
    assert!(last.contains(&format!("line-{}", count - 1)), "the last line is not under the name");
}

#[test]
fn rotation_by_rename_loses_nothing() {
    under_load(
        100,
        |path| std::fs::write(path, "").unwrap(),
        |path, number| {
            std::fs::rename(path, path.with_extension(number.to_string())).unwrap();
            std::fs::write(path, "").unwrap();
        },
    );
}

#[test]
fn rotation_by_symlink_loses_nothing() {
    let point = |path: &Path, number: usize| {
        let file = path.with_extension(format!("{number}.real"));
        std::fs::write(&file, "").unwrap();
        let fresh = path.with_extension("new");
        std::os::unix::fs::symlink(&file, &fresh).unwrap();
        std::fs::rename(&fresh, path).unwrap();
    };
    under_load(100, |path| point(path, 100_000), point);
}

#[test]
fn truncation_by_another_program_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(&path, "").unwrap();
    let mut injector = build(&file(&path));
    for round in 0..20 {
        deliver(&mut injector, "before", PATIENCE).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        let receipt = deliver(&mut injector, "after", PATIENCE).unwrap();
        assert_eq!(receipt.place, Some(format!("{}:0", path.display())), "round {round}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        std::fs::write(&path, "").unwrap();
    }
}

#[test]
fn a_vanished_file_is_rejected_and_followed_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(&path, "").unwrap();
    let mut injector = build(&file(&path));
    deliver(&mut injector, "one", PATIENCE).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_rejected(deliver(&mut injector, "two", SHORT), "does not exist");
    assert!(!path.exists(), "it was created without being asked to");
    std::fs::write(&path, "").unwrap();
    deliver(&mut injector, "three", PATIENCE).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
}

#[test]
fn targets_that_cannot_work_are_rejected_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let cases = [
        (folder.path().join("missing.log"), "does not exist"),
        (folder.path().join("no/folder/a.log"), "the folder of"),
        (folder.path().to_path_buf(), "is a folder"),
        ("/dev/full".into(), "make room"),
        (fifo, "without a reader"),
        (socket, "without a reader"),
    ];
    for (path, word) in cases {
        let mut injector = build(&file(&path));
        let begun = Instant::now();
        assert_rejected(deliver(&mut injector, "x", SHORT), word);
        assert!(begun.elapsed() < SHORT, "{path:?}");
        if path != Path::new("/dev/full") {
            assert!(injector.check(&[], SHORT).is_err(), "{path:?}");
        }
    }
}

#[test]
fn a_pipe_gets_whole_lines_and_a_full_one_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut injector = build(&file(&path));
    let receipt = deliver(&mut injector, "a\nb", PATIENCE).unwrap();
    assert_eq!(receipt.strength, Strength::Queued, "a pipe keeps nothing");
    let mut buffer = [0; 64];
    let length = reader.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"a#012b\n");
    let mut last = Ok(receipt);
    for _ in 0..40 {
        last = deliver(&mut injector, &"x".repeat(4000), SHORT);
        if last.is_err() {
            break;
        }
    }
    assert!(matches!(last, Err(InjectError::Rejected { .. })), "{last:?}");
}

#[test]
fn eight_processes_append_without_torn_lines() {
    const LINES: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(&path, "").unwrap();
    let name = path.display().to_string();
    let count = LINES.to_string();
    let mut children: Vec<_> = (0..8)
        .map(|writer: usize| {
            let writer = writer.to_string();
            child(
                "files::appending_child",
                &[
                    ("CONTRACT_PATH", &name),
                    ("CONTRACT_WRITER", &writer),
                    ("CONTRACT_LINES", &count),
                ],
            )
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
        })
        .collect();
    for process in &mut children {
        assert!(process.wait().unwrap().success());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let mut next = [0; 8];
    for line in text.lines() {
        let mut parts = line.split(' ');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let (writer, sequence) = (number(), number());
        assert_eq!(parts.next().map(str::len), Some(100 + sequence % 900), "torn: {line}");
        assert_eq!(parts.next(), None, "mixed: {line}");
        assert_eq!(sequence, next[writer], "out of order or twice");
        next[writer] += 1;
    }
    assert_eq!(next, [LINES; 8]);
}

#[test]
#[ignore = "runs in processes of its own, started by `eight_processes_append_without_torn_lines`"]
fn appending_child() {
    let Ok(path) = std::env::var("CONTRACT_PATH") else { return };
    let writer = std::env::var("CONTRACT_WRITER").unwrap();
    let count: usize = std::env::var("CONTRACT_LINES").unwrap().parse().unwrap();
    let mut injector = build(&file(Path::new(&path)));
    for sequence in 0..count {
        let filling = "y".repeat(100 + sequence % 900);
        deliver(&mut injector, &format!("{writer} {sequence} {filling}"), PATIENCE).unwrap();
    }
}

#[test]
fn a_short_write_is_unknown_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(&path, "").unwrap();
    let inner = child("files::short_write_child", &[]);
    // A limit on the size of files makes a write stop in the middle, as a full disk does.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args()).env("CONTRACT_PATH", &path);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length == 1024 || length == 2048, "{length}");
}

#[test]
#[ignore = "runs in a process of its own, started by `a_short_write_is_unknown_and_says_so`"]
fn short_write_child() {
    let Ok(path) = std::env::var("CONTRACT_PATH") else { return };
    let mut injector = build(&file(Path::new(&path)));
    deliver(&mut injector, "fits", PATIENCE).unwrap();
    assert_unknown(deliver(&mut injector, &"x".repeat(5000), PATIENCE), "a partial line may exist");
    let full = deliver(&mut injector, "no room at all", PATIENCE);
    assert_fault(full, "cannot append", Cause::Ours);
}

/// Permissions mean nothing to root, so these run as nobody.
#[test]
fn permissions_are_respected() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    let path = folder.path().join("read-only.log");
    std::fs::write(&path, "").unwrap();
    mode(&path, 0o444);
    let inner = child("files::permission_child", &[]);
    let mut command = if rustix::process::geteuid().is_root() {
        // The build folder may be closed to others; this copy is not.
        let copy = folder.path().join("contract");
        std::fs::copy(inner.get_program(), &copy).unwrap();
        mode(&copy, 0o755);
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
        command.current_dir(folder.path());
        command
    } else {
        std::process::Command::new(inner.get_program())
    };
    command.args(inner.get_args()).env("CONTRACT_PATH", &path);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Err(error) => {
            use std::io::Write;
            // Past libtest, which keeps what a passing test prints; `tests/all` counts these lines.
            let line = format!("\nSKIPPED permissions_are_respected: setpriv: {error}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
}

#[test]
#[ignore = "runs as an unprivileged user, started by `permissions_are_respected`"]
fn permission_child() {
    let Ok(path) = std::env::var("CONTRACT_PATH") else { return };
    assert!(!rustix::process::geteuid().is_root(), "still privileged");
    let path = Path::new(&path);
    assert_fault(deliver(&mut build(&file(path)), "x", SHORT), "no permission", Cause::Ours);
    let beside = path.with_file_name("new.log");
    let create = format!("{}\ncreate = true", file(&beside));
    assert_rejected(deliver(&mut build(&create), "x", SHORT), "no permission");
    let socket = "type = \"syslog\"\nto = { type = \"unix\", path = \"/nonexistent/log\" }";
    assert_rejected(deliver(&mut build(socket), "x", SHORT), "does not exist");
}
