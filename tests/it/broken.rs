//! Broken configurations and recipes through the real binary: each is refused with file, line,
//! field and next step, exit code 2, and nothing is started or written.
//!
//! The exact text is a snapshot beside this file. A new case is one more file in
//! `tests/data/broken`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

fn broken(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/broken").join(part)
}

fn dwell(folder: &Path, arguments: &[&str]) -> Output {
    Command::cargo_bin("dwell")
        .unwrap()
        .current_dir(folder)
        .env_remove("DWELL_CONFIG")
        .args(arguments)
        .timeout(std::time::Duration::from_secs(60))
        .output()
        .unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = folder.read_dir().unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn snapshot(kind: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots/broken");
    settings.set_omit_expression(true);
    // New recipes must not change what is said about broken ones.
    settings.add_filter(r"\d+ recipes, ", "[n] recipes, ");
    settings.bind(|| insta::assert_snapshot!(format!("{kind}-{name}"), text));
}

#[test]
fn every_broken_configuration_is_refused_in_the_same_words() {
    // Beside a key: that it is missing is one more problem of every configuration.
    let copies = tempfile::tempdir().unwrap();
    let folder = copies.path();
    for file in names(&broken("config")) {
        std::fs::copy(broken("config").join(&file), folder.join(&file)).unwrap();
    }
    assert!(dwell(folder, &["key", "--file", "dwell.key", "new"]).status.success());
    let before = names(folder);
    assert!(before.len() >= 60, "only {} cases", before.len());
    for file in &before {
        let Some(stem) = file.strip_suffix(".toml") else { continue };
        let output = dwell(folder, &["check", "-c", file]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{file}: {text}");
        assert!(output.stdout.is_empty(), "{file}: something on stdout");
        assert!(text.contains("nothing was started"), "{file}: {text}");
        let place = text.lines().find(|line| line.starts_with(&format!("{file}:")));
        let numbers: Vec<&str> = place.expect(file).split(':').skip(1).take(2).collect();
        assert!(numbers.iter().all(|n| n.parse::<u32>().is_ok_and(|n| n > 0)), "{file}: {text}");
        assert!(text.contains("  next: "), "{file}: no next step: {text}");
        assert!(!text.contains("hunter2"), "{file}: the secret is printed: {text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{file}: hostile text is live: {text}");
        snapshot("config", stem, &text);
    }
    assert_eq!(names(folder), before, "something was written");
}

#[test]
fn every_broken_recipe_is_refused_in_the_same_words() {
    let folder = broken("recipes");
    let cases = names(&folder);
    assert!(cases.len() >= 15, "only {} cases", cases.len());
    for case in &cases {
        let output = dwell(&folder, &["recipes", "--folder", case, "lint"]);
        let mut text = String::from_utf8(output.stderr).unwrap();
        text.push_str(std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(output.status.code(), Some(2), "{case}: {text}");
        assert!(text.contains(&format!("{case}/broken.toml")), "{case}: no file: {text}");
        snapshot("recipe", case, &text);
    }
}

#[test]
fn a_file_of_ten_mebibytes_is_refused_before_it_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("big.toml"), vec![b'#'; 10 << 20]).unwrap();
    let output = dwell(folder.path(), &["check", "-c", "big.toml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("big.toml:1:1: is larger than 1 MiB"), "{text}");
}

#[test]
fn an_absent_file_and_a_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [("none.toml", "does not exist"), (".", "is a directory")] {
        let output = dwell(folder.path(), &["check", "-c", name]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text.contains(words), "{text}");
    }
}

/// A configuration whose webhook secret and key lie in files.
fn with_secret_files(folder: &Path) {
    let text = std::fs::read_to_string(broken("config").join("unknown-dialect.toml")).unwrap();
    let hook = "type = \"webhook\"\nlisten = \"127.0.0.1:8099\"\ndialect = \"elastalert2\"\n\
                auth = { type = \"bearer\", secrets = [{ file = \"hook.secret\" }] }";
    let text = text.replace("type = \"file\"\npath = \"alerts.json\"\ndialect = \"wazuh\"", hook);
    assert!(text.contains("hook.secret"));
    std::fs::write(folder.join("dwell.toml"), text).unwrap();
    std::fs::write(folder.join("hook.secret"), "hunter2").unwrap();
    mode(&folder.join("hook.secret"), 0o600);
    assert!(dwell(folder, &["key", "--file", "dwell.key", "new"]).status.success());
}

fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
}

#[test]
fn secret_files_that_others_may_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_secret_files(folder.path());
    let sound = dwell(folder.path(), &["check"]);
    assert_eq!(sound.status.code(), Some(0), "{}", String::from_utf8_lossy(&sound.stderr));
    for (name, field) in
        [("hook.secret", "watcher[0].auth.secrets[0].file"), ("dwell.key", "key.file")]
    {
        for bits in [0o640, 0o604, 0o644, 0o660] {
            mode(&folder.path().join(name), bits);
            let output = dwell(folder.path(), &["check"]);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{name} {bits:o}");
            assert!(text.contains(field) && text.contains("chmod 600"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        mode(&folder.path().join(name), 0o600);
    }
}

#[test]
fn an_unreadable_configuration_is_refused_for_an_unprivileged_user() {
    let folder = tempfile::tempdir().unwrap();
    mode(folder.path(), 0o755);
    let file = folder.path().join("dwell.toml");
    std::fs::copy(broken("../../../configs/quickstart.toml"), &file).unwrap();
    mode(&file, 0o000);
    let binary = assert_cmd::cargo::cargo_bin("dwell");
    let output = if rustix::process::geteuid().is_root() {
        // Root reads everything: the binary is copied to where another user may run it.
        let copy = folder.path().join("dwell");
        std::fs::copy(&binary, &copy).unwrap();
        mode(&copy, 0o755);
        let run = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["check", "-c"])
            .arg(&file)
            .output();
        match run {
            Ok(output) => output,
            Err(error) => {
                let test = "an_unreadable_configuration_is_refused_for_an_unprivileged_user";
                return crate::skipped(test, &format!("setpriv: {error}"));
            }
        }
    } else {
        std::process::Command::new(binary).args(["check", "-c"]).arg(&file).output().unwrap()
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot be read") && text.contains("permissions"), "{text}");
}

/// One problem is one message: what is embedded stays known beside a recipe or a dialect of one's own that
/// cannot be read, and what stands in that folder is not called unknown.
#[test]
fn a_broken_recipe_or_dialect_of_ones_own_is_the_only_problem() {
    const RECIPE: &str = "fake-login/sshd-failed-password";
    for (key, embedded, wrong) in [
        ("recipes", RECIPE, "id = \"own/x\"\n"),
        (
            "dialects",
            "\"wazuh4\"",
            "title = \"X\"\nstage = \"detected\"\n[fields]\nid = [[\"/a\"]]\n",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(dwell(folder.path(), &["init"]).status.success());
        std::fs::write(folder.path().join(key).join("x.toml"), wrong).unwrap();
        let file = folder.path().join("dwell.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let own = if embedded == RECIPE { "own/x" } else { "\"x\"" };
        for text in [text.clone(), text.replace(embedded, own)] {
            std::fs::write(&file, text).unwrap();
            let output = dwell(folder.path(), &["check"]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.starts_with("error: 1 problem in"), "{said}");
            assert!(said.contains(&format!("{key}.folders: ")), "{said}");
        }
    }
}
