//! What is shipped for copying is accepted: configurations, their schema, the lab in containers, and
//! the verbs that need nothing else (`init`, `completions`, `man`, `stop`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn dwell(folder: &Path, arguments: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("dwell")
        .unwrap()
        .current_dir(folder)
        .env_remove("DWELL_CONFIG")
        .args(arguments)
        .timeout(std::time::Duration::from_secs(60))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_shipped_configuration_loads() {
    let mut seen = 0;
    for entry in root().join("configs").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".toml") || name.starts_with("detector") {
            continue;
        }
        // Nobody ships a key, nor the folder that the service's installation makes.
        if let Err(mut errors) = dwell::config::load(&path) {
            let state =
                |problem: &dwell::config::Problem| problem.problem.contains("/var/lib/dwell");
            errors.problems.retain(|problem| problem.field != "key.file" && !state(problem));
            assert!(errors.problems.is_empty(), "{name}: {errors}");
        }
        seen += 1;
    }
    assert!(seen >= 3, "only {seen}");
}

#[test]
fn the_schema_for_editors_is_current() {
    let file = root().join("configs/schema/config.json");
    let now = format!("{:#}\n", dwell::config::schema());
    if std::env::var_os("DWELL_BLESS").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept == now, "stale: cargo run -- check --schema > configs/schema/config.json");
}

#[test]
fn the_lab_in_containers_is_valid() {
    let run = Command::new("docker-compose")
        .args(["-f", "docker-compose.yml", "config"])
        .current_dir(root())
        .output();
    match run {
        Ok(output) => {
            assert!(output.status.success(), "{}", text(&output.stderr));
            let services = text(&output.stdout);
            for name in ["kafka:", "opensearch:", "elastalert:", "rsyslog:", "dwell:"] {
                assert!(services.contains(name), "{name} is not a service");
            }
        }
        Err(error) => {
            crate::skipped("the_lab_in_containers_is_valid", &format!("docker-compose: {error}"));
        }
    }
}

/// What a service of the lab in containers says: the lines below its name.
fn service<'a>(compose: &'a str, name: &str) -> &'a str {
    let start = compose.find(&format!("\n  {name}:\n")).unwrap_or_else(|| panic!("no {name}"));
    let rest = &compose[start + name.len() + 4..];
    let end = rest.find("\n\n").unwrap_or(rest.len());
    &rest[..end]
}

#[test]
fn both_labs_start_the_same_versions_and_mount_what_is_shipped() {
    let compose = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let native = std::fs::read_to_string(root().join("tests/real/services.py")).unwrap();
    let version = |name: &str| {
        let line = native.lines().find_map(|l| l.strip_prefix(&format!("{name} = \"")));
        line.unwrap_or_else(|| panic!("{name} has no version")).trim_end_matches('"').to_owned()
    };
    for (name, image, pin) in [
        ("kafka", "apache/kafka", "KAFKA"),
        ("opensearch", "opensearchproject/opensearch", "OPENSEARCH"),
        ("elastalert", "jertel/elastalert2", "ELASTALERT"),
    ] {
        let wanted = format!("    image: {image}:{}\n", version(pin));
        let found = service(&compose, name);
        assert!(found.contains(&wanted), "{name} is not {wanted}{found}");
    }
    // The plain image has neither Kafka nor OpenSearch; the collector's inputs would take port 514.
    let rsyslog = service(&compose, "rsyslog");
    let tag = rsyslog.split_once("image: rsyslog/rsyslog-collector:").expect("the collector").1;
    assert!(tag[..7] >= *"2026-06", "before 2026-06 the image had no Kafka: {}", &tag[..7]);
    for input in ["UDP", "TCP", "RELP", "TLS"] {
        assert!(rsyslog.contains(&format!("ENABLE_{input}: \"off\"")), "{input} is on");
    }
    let mounted: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./configs/")?.split(':').next())
        .collect();
    assert_eq!(mounted.len(), 3, "{mounted:?}");
    let campaigns = std::fs::read_to_string(root().join("tests/real/campaigns.py")).unwrap();
    for file in mounted {
        assert!(root().join("configs").join(file).is_file(), "{file} is not there");
        let used = format!("shipped(\"{file}\"");
        assert!(campaigns.contains(&used) || native.contains(&used), "{file} is never exercised");
    }
}

#[test]
fn init_writes_what_check_accepts_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = dwell(folder.path(), &["init", "--dir", "new"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("next:"));
    let file = folder.path().join("new/dwell.toml");
    let key = folder.path().join("new/dwell.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    let checked = dwell(folder.path(), &["-c", "new/dwell.toml", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("at most 20 canaries"));
    let again = dwell(folder.path(), &["init", "--dir", "new"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is there already"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn check_as_json_says_what_a_run_can_cause() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("configs/quickstart.toml"), folder.path().join("dwell.toml"))
        .unwrap();
    assert!(dwell(folder.path(), &["key", "new"]).status.success());
    let output = dwell(folder.path(), &["check", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], true);
    assert_eq!(value["most"]["alerts"], 20);
    assert_eq!(value["targets"][0]["local"], true);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "check wrote something");
}

/// Nobody listens at the brokers' port: injector and watcher say which address refused and what to do,
/// within seconds.
#[test]
fn brokers_that_are_down_are_named_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = include_str!("../data/broken/config/watcher-reads-our-own-topic.toml")
        .replace("127.0.0.1:9092", &down.to_string())
        .replace("topic = \"auth\"\n\n[[watcher]]", "topic = \"logs\"\n\n[[watcher]]");
    std::fs::write(folder.path().join("dwell.toml"), config).unwrap();
    assert!(dwell(folder.path(), &["key", "new"]).status.success());
    let begin = std::time::Instant::now();
    let output = dwell(folder.path(), &["check", "--connect"]);
    let took = begin.elapsed();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let complaints: Vec<&str> = said.lines().filter(|l| l.contains("cannot reach")).collect();
    assert_eq!(complaints.len(), 2, "{said}");
    for complaint in complaints {
        let words = [&down.to_string(), "refused", "start the broker or correct `brokers`"];
        assert!(words.iter().all(|word| complaint.contains(*word)), "{complaint}");
    }
    assert!(took < std::time::Duration::from_secs(12), "{took:?}");
}

#[test]
fn stop_throws_the_kill_switch_and_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("configs/quickstart.toml"), folder.path().join("dwell.toml"))
        .unwrap();
    let stopped = dwell(folder.path(), &["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", text(&stopped.stderr));
    assert!(folder.path().join("STOP").exists());
    let resumed = dwell(folder.path(), &["stop", "--resume"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed.stderr));
    assert!(!folder.path().join("STOP").exists());
}

/// Whatever else is wrong with the file: a stop does not wait until it is mended.
#[test]
fn a_stop_works_beside_a_broken_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let sound = std::fs::read_to_string(root().join("configs/quickstart.toml")).unwrap();
    let sound = sound.replace("kill_switch = \"STOP\"", "kill_switch = \"HALT\"");
    let place = folder.path().join("HALT");
    for (old, new) in [("[campaign]", "[campaign]\nwindw = \"1h\""), ("[[route]]", "[[route]")] {
        let broken = sound.replacen(old, new, 1);
        assert_ne!(broken, sound);
        std::fs::write(folder.path().join("dwell.toml"), broken).unwrap();
        assert_eq!(dwell(folder.path(), &["check"]).status.code(), Some(2));
        let stopped = dwell(folder.path(), &["stop"]);
        let said = text(&stopped.stderr) + &text(&stopped.stdout);
        assert_eq!(stopped.status.code(), Some(0), "{said}");
        assert!(place.exists(), "{said}");
        assert!(said.contains("read alone") && said.contains("is not known"), "{said}");
        let resumed = dwell(folder.path(), &["stop", "--resume", "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&resumed.stdout).unwrap();
        assert_eq!(value["stopped"], false);
        assert!(value["outstanding"].is_null() && !place.exists(), "{value}");
    }
    // Where the line itself is broken nobody is told that something was stopped.
    let broken = sound.replace("kill_switch = \"HALT\"", "kill_switch = \"HALT");
    std::fs::write(folder.path().join("dwell.toml"), broken).unwrap();
    let refused = dwell(folder.path(), &["stop"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("nothing was stopped"), "{}", text(&refused.stderr));
    assert!(!place.exists() && !folder.path().join("STOP").exists());
}

#[test]
fn usage_errors_end_with_2_and_every_verb_has_an_example() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(dwell(folder.path(), &["no-such-verb"]).status.code(), Some(2));
    let help = text(&dwell(folder.path(), &["--help"]).stdout);
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 18, "{verbs:?}");
    for verb in verbs {
        let help = text(&dwell(folder.path(), &[verb, "--help"]).stdout);
        assert!(help.contains("Example:\n  dwell "), "{verb} has no example");
    }
}

#[test]
fn completions_and_manual_pages_come_out() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&dwell(folder.path(), &["completions", shell]).stdout);
        assert!(script.contains("leftovers"), "{shell}");
    }
    assert!(text(&dwell(folder.path(), &["man"]).stdout).starts_with(".ie"));
    assert_eq!(dwell(folder.path(), &["man", "--dir", "man"]).status.code(), Some(0));
    assert!(folder.path().join("man/dwell-run.1").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    use std::io::Read;
    use std::process::Stdio;
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("dwell"))
        .args(["check", "--schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // 80 kB do not fit into the pipe: the writer meets the closed end.
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    child.wait().unwrap();
    assert_eq!(complaint, "");
}

#[test]
fn every_test_that_the_readme_names_exists() {
    fn collect(folder: &Path, text: &mut String) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|e| e == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut code = String::new();
    for folder in ["src", "tests", "injectors/src"] {
        collect(&root().join(folder), &mut code);
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut promises = 0;
    for line in readme.lines().filter(|line| line.starts_with("| P")) {
        promises += 1;
        let cell = line.rsplit('|').nth(1).unwrap();
        let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {line}");
        for name in named {
            assert!(code.contains(&format!("fn {name}(")), "{name} is no test");
        }
    }
    assert_eq!(promises, 10);
}

/// An example that is shown is an example that is understood; and what `compare` refuses it does not offer.
#[test]
fn every_example_of_the_help_is_understood() {
    use clap::CommandFactory;
    let mut seen = 0;
    for verb in dwell::cli::Cli::command().get_subcommands_mut() {
        let help = verb.render_long_help().to_string();
        assert!(verb.get_name() != "compare" || !help.contains("hlog"), "{help}");
        for line in help.lines().filter_map(|line| line.strip_prefix("  dwell ")) {
            let line = line.split(" > ").next().unwrap().replace('\'', "");
            let words = std::iter::once("dwell").chain(line.split_whitespace());
            let found = dwell::cli::Cli::command().try_get_matches_from(words);
            found.unwrap_or_else(|error| panic!("dwell {line}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 25, "only {seen} examples");
}
