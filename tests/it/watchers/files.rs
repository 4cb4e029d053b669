//! The file watcher against what is done to files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Spans in which something was lost for good.
fn losses(bench: &Bench) -> usize {
    bench.blinds().iter().filter(|b| b.to.is_some() && !b.recovered).count()
}

/// A run that has read the first alert of a file that was there.
fn read_before(bench: &Bench, path: &Path) {
    append(path, "{}");
    let running = bench.start(&file_settings(path));
    append(path, &bench.alert(0));
    all_sighted(bench, 1);
    running.stop();
}

fn all_sighted(bench: &Bench, count: u32) {
    until("all are sighted", || bench.sighted().len() >= count as usize);
}

#[test]
fn a_link_that_is_swapped_is_followed_and_nothing_is_lost() {
    let bench = Bench::new(100);
    let folder = bench.folder.path();
    let real = |n: u32| {
        let sub = folder.join(format!("generation-{}", n % 2));
        fs::create_dir_all(&sub).unwrap();
        sub.join(format!("alerts-{n}.json"))
    };
    let path = folder.join("alerts.json");
    append(&real(0), "{}");
    symlink(real(0), &path).unwrap();
    let running = bench.start(&file_settings(&path));
    for n in 0..50 {
        append(&real(n), &bench.alert(2 * n));
        append(&real(n + 1), &bench.alert(2 * n + 1));
        let new = folder.join("swap");
        symlink(real(n + 1), &new).unwrap();
        fs::rename(&new, &path).unwrap();
        if n % 10 == 0 {
            all_sighted(&bench, 2 * n + 2);
        }
        // A link that is swapped away again before anybody looked names a file that nobody can know.
        std::thread::sleep(Duration::from_millis(20));
    }
    all_sighted(&bench, 100);
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(100));
    assert_eq!((bench.strays(StrayClass::Duplicate), losses(&bench)), (0, 0));
}

#[test]
fn deleted_and_made_anew_while_the_folder_is_in_turmoil() {
    let bench = Bench::new(40);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    // More events than the kernel keeps for one reader: each only says "look".
    let folder = bench.folder.path().to_owned();
    let turmoil = std::thread::spawn(move || {
        for n in 0..20_000 {
            let file = folder.join(format!("other-{}", n % 7));
            fs::write(&file, "x").unwrap();
            fs::remove_file(&file).unwrap();
        }
    });
    for n in 0..20 {
        append(&path, &bench.alert(2 * n));
        fs::remove_file(&path).unwrap();
        append(&path, &bench.alert(2 * n + 1));
        std::thread::sleep(Duration::from_millis(10));
        // An open file keeps what was written before it was deleted.
        all_sighted(&bench, 2 * n + 2);
    }
    turmoil.join().unwrap();
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(40));
    assert_eq!((bench.strays(StrayClass::Duplicate), losses(&bench)), (0, 0));
}

#[test]
fn copied_and_cut_the_copy_is_read_on_and_the_span_is_reported() {
    let bench = Bench::new(30);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    for n in 0..10 {
        append(&path, &bench.alert(3 * n));
        append(&path, &bench.alert(3 * n + 1));
        fs::copy(&path, bench.folder.path().join(format!("alerts.json.{n}"))).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        append(&path, &bench.alert(3 * n + 2));
        all_sighted(&bench, 3 * n + 3);
    }
    running.stop();
    assert_eq!(sorted(bench.sighted()), numbers(30));
    assert!(losses(&bench) >= 5, "what lies between the copy and the cut is unknowable, and said");
}

#[test]
fn a_folder_that_is_absent_appears_goes_and_comes_back() {
    let bench = Bench::new(3);
    let folder = bench.folder.path().join("not/yet");
    let path = folder.join("alerts.json");
    let running = bench.start(&file_settings(&path));
    for serial in 0..3 {
        fs::create_dir_all(&folder).unwrap();
        append(&path, &bench.alert(serial));
        all_sighted(&bench, serial + 1);
        fs::remove_dir_all(bench.folder.path().join("not")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    running.stop();
    assert_eq!(bench.sighted(), numbers(3));
    assert_eq!((bench.strays(StrayClass::Duplicate), losses(&bench)), (0, 0));
}

#[test]
fn foreign_bytes_halves_and_giants_are_read() {
    let bench = Bench::new(6);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    let write = |bytes: &[u8]| {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
    };
    // No UTF-8, a NUL, a line end of another system.
    write(&[b"\xff\xfe\x00", bench.token(0).as_bytes(), b"\x80\xc3\r\n"].concat());
    all_sighted(&bench, 1);
    // A token in two halves, long enough apart for two reads.
    let line = bench.alert(1);
    let middle = line.find(&bench.token(1)).unwrap() + 7;
    write(&line.as_bytes()[..middle]);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(bench.sighted().len(), 1, "half a line is no record");
    write(&[&line.as_bytes()[middle..], b"\n"].concat());
    all_sighted(&bench, 2);
    // 11 MiB in one line, tokens at both ends and over the border of the pieces.
    let border = 10 << 20;
    let mut giant = format!("{{\"a\":\"{}\",\"b\":\"", bench.token(2)).into_bytes();
    giant.resize(border - 8, b'x');
    giant.push(b' ');
    giant.extend_from_slice(bench.token(3).as_bytes());
    giant.push(b' ');
    giant.resize(11 << 20, b'y');
    giant.extend_from_slice(format!("\",\"c\":\"{}\"}}\n", bench.token(4)).as_bytes());
    write(&giant);
    append(&path, &bench.alert(5));
    until("the last is sighted", || bench.sighted().contains(&5));
    running.stop();
    let mut sighted = sorted(bench.sighted());
    sighted.dedup();
    assert_eq!(sighted, numbers(6));
    for row in bench.rows() {
        if let Row::Sighting(s) = row {
            assert!(s.excerpt.len() <= 1024, "{}", s.excerpt.len());
        }
    }
    let cursor = Reader::open(&bench.path()).unwrap().cursor("w").unwrap().unwrap();
    assert!(cursor.contains("\"cut\":1"), "the cut line is counted: {cursor}");
    assert_eq!(losses(&bench), 0);
}

#[test]
fn what_may_not_be_read_is_blind_and_not_silent() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o777);
    let path = folder.path().join("alerts.json");
    fs::write(&path, "{}\n").unwrap();
    mode(&path, 0o000);
    let root = rustix::process::geteuid().is_root();
    let mut command = match root {
        true => {
            // The build folder may be closed to others; this copy is not.
            let copy = folder.path().join("it");
            fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
            mode(&copy, 0o755);
            let mut command = std::process::Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
            command
        }
        false => std::process::Command::new(std::env::current_exe().unwrap()),
    };
    command
        .args(["--exact", "watchers::files::denied_child", "--ignored", "--nocapture"])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .env("DENIED_PATH", &path);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Err(error) => {
            let test = "what_may_not_be_read_is_blind_and_not_silent";
            crate::skipped(test, &format!("setpriv: {error}"));
        }
    }
}

#[test]
#[ignore = "runs as an unprivileged user, started by `what_may_not_be_read_is_blind_and_not_silent`"]
fn denied_child() {
    let Ok(path) = std::env::var("DENIED_PATH") else { return };
    assert!(!rustix::process::geteuid().is_root(), "still privileged");
    let bench = Bench::new(1);
    let running = bench.start(&file_settings(Path::new(&path)));
    until("the span is recorded", || {
        let denied = |r: &Row| matches!(r, Row::Blind(b) if b.ours && b.to.is_none() && b.reason.contains("cannot open"));
        bench.rows().iter().any(denied)
    });
    running.stop();
    assert!(!bench.rows().iter().any(|r| matches!(r, Row::Look(_))), "nothing was looked at");
    denied_rotated();
}

/// A rotated file that may not be read is told and not dropped in silence.
fn denied_rotated() {
    let bench = Bench::new(1);
    let at = |name: &str| bench.folder.path().join(name);
    let path = at("alerts.json");
    read_before(&bench, &path);
    append(&at("alerts.json.1"), "{}");
    fs::set_permissions(at("alerts.json.1"), fs::Permissions::from_mode(0o000)).unwrap();
    let running = bench.start(&file_settings(&path));
    // A machine that stood still for a while has a span of its own.
    until("the loss is told", || losses(&bench) >= 1);
    running.stop();
}

#[test]
fn what_our_own_injectors_write_is_read_by_no_name() {
    let bench = Bench::new(6);
    let own = bench.own_file();
    let at = |name: &str| bench.folder.path().join(name);
    let path = at("alerts.json");
    append(&path, "{}");
    append(&own, &bench.alert(0));
    let running = bench.start(&file_settings(&path));
    // Under a rotated name, when the real one is rotated.
    fs::hard_link(&own, at("alerts.json.2")).unwrap();
    fs::rename(&path, at("alerts.json.1")).unwrap();
    append(&path, &bench.alert(1));
    all_sighted(&bench, 1);
    // Under the very name, until that is a file of alerts again.
    let blind = |open: bool| {
        let about = |r: &&Row| matches!(r, Row::Blind(b) if b.to.is_none() == open && b.reason.contains("injector"));
        bench.rows().iter().filter(about).count()
    };
    symlink(&own, at("swap")).unwrap();
    fs::rename(at("swap"), &path).unwrap();
    append(&own, &bench.alert(2));
    until("the span is recorded", || blind(true) == 1);
    append(&own, &bench.alert(3));
    append(&at("next"), &bench.alert(4));
    fs::rename(at("next"), &path).unwrap();
    all_sighted(&bench, 2);
    assert_eq!(blind(false), 1);
    // An injector whose name is linked to the file of alerts writes there from now on.
    fs::remove_file(&own).unwrap();
    fs::hard_link(&path, &own).unwrap();
    until("the span is recorded again", || blind(true) == 2);
    append(&own, &bench.alert(5));
    std::thread::sleep(Duration::from_millis(400));
    running.stop();
    assert_eq!(bench.sighted(), [1, 4]);
}

#[test]
fn a_watcher_of_alerts_does_not_start_on_what_we_write() {
    let bench = Bench::new(1);
    append(&bench.own_file(), "{}");
    let path = bench.folder.path().join("alerts.json");
    fs::hard_link(bench.own_file(), &path).unwrap();
    let (running, _) = bench.start_unready(&file_settings(&path));
    let error = running.thread.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("what an injector of ours writes"), "{error}");
    assert!(bench.rows().iter().all(|row| !matches!(row, Row::Look(_))));
}

#[test]
fn a_restart_finds_what_it_read_by_its_bytes_and_the_rest_by_its_name() {
    let bench = Bench::new(4);
    let at = |name: &str| bench.folder.path().join(name);
    let path = at("alerts.json");
    read_before(&bench, &path);
    append(&path, &bench.alert(1));
    fs::rename(&path, at("kept-by-somebody")).unwrap();
    append(&at("alerts.json.1"), &bench.alert(2));
    append(&at("alerts-source.json"), &bench.alert(3));
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    all_sighted(&bench, 3);
    std::thread::sleep(Duration::from_millis(300));
    running.stop();
    assert_eq!(bench.sighted(), [0, 1, 2]);
    assert_eq!(losses(&bench), 0);
}

#[test]
fn what_a_link_led_to_while_nobody_watched_is_found_by_the_links_name_or_told() {
    let lead = |bench: &Bench, name: &str| {
        let at = |name: &str| bench.folder.path().join(name);
        append(&at(name), "{}");
        symlink(at(name), at("swap")).unwrap();
        fs::rename(at("swap"), at("alerts.json")).unwrap();
        at(name)
    };
    let generations = |name: fn(u32) -> String| {
        let bench = Bench::new(3);
        let path = bench.folder.path().join("alerts.json");
        let first = lead(&bench, &name(1));
        let running = bench.start(&file_settings(&path));
        append(&first, &bench.alert(0));
        all_sighted(&bench, 1);
        running.stop();
        append(&lead(&bench, &name(2)), &bench.alert(1));
        append(&lead(&bench, &name(3)), &bench.alert(2));
        let running = bench.start(&file_settings(&path));
        until("the last is sighted", || bench.sighted().contains(&2));
        std::thread::sleep(Duration::from_millis(300));
        running.stop();
        (sorted(bench.sighted()), losses(&bench))
    };
    assert_eq!(generations(|n| format!("alerts.2026112{n}.json")), (numbers(3), 0));
    let (sighted, told) = generations(|n| format!("number-{n}-of-the-alerts.json"));
    assert_eq!((sighted, told), (vec![0, 2], 1), "nobody can know the second, and it is said");
}

/// A file system gives the number of a deleted file again at once.
#[test]
fn a_rotated_file_is_read_although_one_of_its_number_was_known() {
    let bench = Bench::new(60);
    let at = |name: &str| bench.folder.path().join(name);
    let path = at("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    for serial in 0..60 {
        let _ = fs::remove_file(at("alerts.json.2"));
        // Two rotations before anybody looks; the first new file often has the number of the deleted one.
        let new = at("new");
        append(&new, &bench.alert(serial));
        let _ = fs::rename(at("alerts.json.1"), at("alerts.json.2"));
        fs::rename(&path, at("alerts.json.1")).unwrap();
        fs::rename(at("alerts.json.1"), at("alerts.json.2")).unwrap();
        fs::rename(&new, at("alerts.json.1")).unwrap();
        append(&path, "{}");
        all_sighted(&bench, serial + 1);
    }
    running.stop();
    assert_eq!((sorted(bench.sighted()), losses(&bench)), (numbers(60), 0));
}

#[test]
fn rotated_files_that_were_not_read_to_their_ends_are_kept_however_many_there_are() {
    let bench = Bench::new(2);
    let at = |name: &str| bench.folder.path().join(name);
    let path = at("alerts.json");
    read_before(&bench, &path);
    // More than is read in one go, then the alert; a hole takes no room.
    fs::File::options().write(true).open(&path).unwrap().set_len(18 << 20).unwrap();
    append(&path, "");
    append(&path, &bench.alert(1));
    fs::rename(&path, at("alerts.json.12")).unwrap();
    for n in (1..12).rev() {
        append(&at(&format!("alerts.json.{n}")), "{}");
    }
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    all_sighted(&bench, 2);
    running.stop();
    assert_eq!((bench.sighted(), losses(&bench)), (numbers(2), 0));
}

/// A pipe without a writer lets nobody in who does not say so.
#[test]
fn a_path_that_names_no_file_is_refused_at_once() {
    let bench = Bench::new(1);
    let pipe = bench.folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let settings: WatcherSettings = toml::from_str(&file_settings(&pipe)).unwrap();
    let (clock, runtime) = (bench.clock.clone(), bench.runtime.handle().clone());
    let (said, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let dialects = Dialects::embedded().unwrap();
        said.send(dwell::watchers::probe(&settings, &dialects, &*clock, &runtime)).unwrap();
    });
    let refusal = answer.recv_timeout(Duration::from_secs(5)).expect("a check ends").unwrap_err();
    assert!(refusal.contains("is a pipe; name a regular file"), "{refusal}");
    let (running, _) = bench.start_unready(&file_settings(&pipe));
    let begin = Instant::now();
    while !running.thread.is_finished() {
        assert!(begin.elapsed() < Duration::from_secs(5), "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = running.thread.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("it is a pipe"), "{error}");
}
