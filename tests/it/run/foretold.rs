//! What `check`, `--dry-run` and `probe` say beforehand is what a run then does.

use dwell_injectors::stamp::{Clock, SystemClock};

use super::*;

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn all(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

/// How many of the planned canaries leave, by `--dry-run` and by `check`; both must agree. What is
/// withheld causes no alert.
fn leaving(site: &Site) -> u64 {
    let dry = json(&site.dwell(&["run", "--dry-run", "--json"]));
    let text = all(&site.dwell(&["run", "--dry-run"]));
    let check = json(&site.dwell(&["check", "--json"]));
    let leaving = dry["canaries"].as_array().unwrap().len() as u64;
    assert_eq!(dry["most_alerts"], leaving, "{dry:#}");
    assert!(text.contains(&format!("\nAt most {leaving} alerts, ")), "{text}");
    assert_eq!(check["begun_now"]["leaving"], leaving, "{check:#}");
    let withheld: u64 = check["begun_now"]["withheld"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(dry["withheld"].as_array().unwrap().len() as u64, withheld, "{dry:#}");
    leaving
}

#[test]
fn quiet_hours_are_foretold() {
    let quiet = "quiet_hours = [\"00:00-12:00\", \"12:00-00:00\"]";
    let site = Site::new(&Setup { count: 3, window: "1s", more: quiet, ..Setup::default() });
    assert_eq!(leaving(&site), 0);
    for verb in [&["run", "--dry-run"][..], &["check"]] {
        let said = all(&site.dwell(verb));
        assert!(said.contains("3 canaries would be withdrawn: quiet hours"), "{said}");
    }
    let run = all(&site.dwell(&["run"]));
    assert!(run.contains("3 canaries would be withdrawn: quiet hours"), "{run}");
    assert!(!run.contains("; ;"), "{run}");
    let probe = site.dwell(&["probe", "ssh"]);
    assert_eq!(probe.status.code(), Some(2), "{}", all(&probe));
    assert!(all(&probe).contains("nothing was injected"), "{}", all(&probe));
}

#[test]
fn caps_that_earlier_runs_used_up_are_foretold() {
    let site = Site::new(&Setup { count: 4, window: "1s", deadline: "1s", ..Setup::default() });
    site.edit("cap_per_hour = 1000", "cap_per_hour = 6");
    let _siem = Siem::start(&site, Duration::ZERO);
    assert_eq!(leaving(&site), 4);
    site.dwell(&["run"]);
    assert_eq!(leaving(&site), 2);
    site.dwell(&["run"]);
    assert_eq!(lines(&site.path("auth.log")), 6);
    assert_eq!(leaving(&site), 0);
    let said = all(&site.dwell(&["check"]));
    assert!(said.contains("4 canaries would be withdrawn: cap per hour"), "{said}");
}

#[test]
fn what_is_withheld_calls_nobody() {
    let site = Site::new(&Setup { count: 4, window: "1s", deadline: "1s", ..Setup::default() });
    // The first route calls somebody, and has four of the six that it may send behind it; the second
    // calls nobody.
    let config = std::fs::read_to_string(site.path("dwell.toml")).unwrap();
    let route = config.find("[[route]]").unwrap();
    let second = config[route..].replacen("name = \"ssh\"", "name = \"quiet\"", 1);
    let first = config.replace("response = \"none\"", "response = \"page\"");
    let first = first.replace("cap_per_hour = 1000", "cap_per_hour = 6");
    std::fs::write(site.path("dwell.toml"), first + &second).unwrap();
    let _siem = Siem::start(&site, Duration::ZERO);
    let run = all(&site.dwell(&["run", "--route", "ssh"]));
    assert!(run.contains("4 canaries over 1 s; at most 4 alerts, 4 of them pages."), "{run}");
    assert_eq!(leaving(&site), 6);
    let dry = json(&site.dwell(&["run", "--dry-run", "--json"]));
    assert_eq!((&dry["most_alerts"], &dry["most_pages"]), (&6.into(), &2.into()), "{dry:#}");
    let run = all(&site.dwell(&["run"]));
    assert!(run.contains("8 canaries over 1 s; at most 6 alerts, 2 of them pages."), "{run}");
    assert_eq!(lines(&site.path("auth.log")), 10);
}

#[test]
fn an_objective_that_one_run_cannot_decide_is_foretold() {
    let site = Site::new(&Setup::default());
    let warned = |site: &Site| {
        let check = site.dwell(&["check"]);
        assert_eq!(check.status.code(), Some(0), "{}", all(&check));
        all(&check).contains(
            "warning: route `ssh`: the objective of `detected` asks for at least 13 canaries and a \
             run injects 12; it stays undecided until the campaign's runs have injected enough",
        )
    };
    site.edit("min_n = 1", "min_n = 12");
    assert!(!warned(&site));
    site.edit("min_n = 12", "min_n = 13");
    assert!(warned(&site));
}

/// A rule's suppression does not end with a run: the canary after a probe would look missed.
#[test]
fn min_gap_reaches_over_runs() {
    let site = Site::new(&Setup { count: 2, window: "9s", deadline: "500ms", ..Setup::default() });
    site.edit("count = 2\n", "count = 2\nmin_gap = \"8s\"\n");
    let _siem = Siem::start(&site, Duration::ZERO);
    let probe = site.dwell(&["probe", "ssh"]);
    assert_eq!(probe.status.code(), Some(0), "{}", all(&probe));
    let second = site.dwell(&["probe", "ssh"]);
    assert_eq!(second.status.code(), Some(2), "{}", all(&second));
    assert!(all(&second).contains("`min_gap` lets its next canary out at 20"), "{}", all(&second));
    let dry = all(&site.dwell(&["run", "--dry-run"]));
    let words = "1 canary would be withdrawn: no room in the window beside min_gap";
    assert!(dry.contains(words), "{dry}");
    let check = json(&site.dwell(&["check", "--json"]));
    assert_eq!(check["begun_now"]["leaving"], 1, "{check:#}");
    site.dwell(&["run"]);
    let rows = site.rows();
    let intended = rows.iter().filter_map(|row| match row {
        Row::Intent(intent) => Some(intent.intended.wall_ns),
        _ => None,
    });
    let instants: Vec<i64> = intended.collect();
    assert_eq!(instants.len(), 2, "{instants:?}");
    assert!(instants.windows(2).all(|pair| pair[1] - pair[0] >= 8_000_000_000), "{instants:?}");
}

#[test]
fn a_kill_switch_that_is_there_refuses_the_start() {
    let site = Site::new(&Setup::default());
    assert_eq!(site.dwell(&["stop"]).status.code(), Some(0));
    let before = snapshot(site.folder.path());
    for verb in [&["run"][..], &["probe", "ssh"]] {
        let done = site.dwell(verb);
        assert_eq!(done.status.code(), Some(2), "{}", all(&done));
        assert!(all(&done).contains("`dwell stop --resume`"), "{}", all(&done));
    }
    assert_eq!(snapshot(site.folder.path()), before, "nothing was started");
    assert_eq!(leaving(&site), 0);
    for verb in [&["run", "--dry-run"][..], &["check"]] {
        let done = site.dwell(verb);
        assert_eq!(done.status.code(), Some(0));
        assert!(all(&done).contains("the kill switch") && all(&done).contains("--resume"));
    }
    assert_eq!(site.dwell(&["stop", "--resume"]).status.code(), Some(0));
    assert_eq!(leaving(&site), 12);
}

/// Ends in the middle of the window, which a check at the start alone would let pass.
#[test]
fn nothing_leaves_after_the_authorisation_has_ended() {
    let site = Site::new(&Setup { count: 10, window: "6s", deadline: "1s", ..Setup::default() });
    site.authorise(SystemClock::new().now().plus_ns(3_600_000_000_000));
    assert_eq!(leaving(&site), 10);
    let config = std::fs::read_to_string(site.path("dwell.toml")).unwrap();
    let ends = SystemClock::new().now().plus_ns(3_500_000_000);
    let old = config.lines().find(|line| line.starts_with("valid_until")).unwrap();
    site.edit(old, &format!("valid_until = \"{}\"", ends.timestamp()));
    let _siem = Siem::start(&site, Duration::ZERO);
    for verb in [&["run", "--dry-run"][..], &["check"]] {
        let said = all(&site.dwell(verb));
        assert!(said.contains("would be withdrawn: outside the authorisation"), "{said}");
    }
    let plan = json(&site.dwell(&["plan", "--misses", "0", "--json"]));
    let warning = plan["routes"][0]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("the authorisation ends at"), "{plan:#}");
    assert!(plan["routes"][0]["lines"][0]["runs"].is_null(), "{plan:#}");
    let run = site.dwell(&["run"]);
    let ledger = json(&site.dwell(&["report", "--json"]));
    let withdrawn = &ledger["routes"][0]["withdrawn"]["outside the authorisation"];
    let withdrawn = withdrawn.as_u64().unwrap_or(0);
    assert!((3..10).contains(&withdrawn), "{withdrawn}: {}", all(&run));
    assert_eq!(lines(&site.path("auth.log")) as u64, 10 - withdrawn);
    site.outcomes();
}

fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
}

/// Runs the binary as a user to whom permissions apply: as nobody where the test runs as root.
struct Stranger<'s> {
    site: &'s Site,
    root: bool,
}

impl Stranger<'_> {
    /// Gives the site's files to that user; `None` where the user cannot be changed.
    fn new(site: &Site) -> Option<Stranger<'_>> {
        let root = rustix::process::geteuid().is_root();
        if root {
            Command::new("setpriv").arg("--version").output().ok()?;
            // The build folder may be closed to others; this copy is not.
            std::fs::copy(env!("CARGO_BIN_EXE_dwell"), site.path("stranger")).unwrap();
            mode(&site.path("stranger"), 0o755);
            let own = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534));
            own(site.folder.path()).unwrap();
            snapshot(site.folder.path()).keys().for_each(|path| own(path).unwrap());
        }
        Some(Stranger { site, root })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        if !self.root {
            return self.site.command(arguments);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(self.site.path("stranger"))
            .args(arguments)
            .current_dir(self.site.folder.path());
        command
    }

    fn dwell(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// The whole way as an unprivileged user: root is refused nothing.
#[test]
fn a_kill_switch_that_cannot_be_looked_at_stops() {
    let site = Site::new(&Setup { count: 40, window: "10s", ..Setup::default() });
    let test = "a_kill_switch_that_cannot_be_looked_at_stops";
    site.edit("kill_switch = \"STOP\"", "kill_switch = \"none/STOP\"");
    for verb in [&["check"][..], &["run"]] {
        let done = site.dwell(verb);
        assert_eq!(done.status.code(), Some(2), "{}", all(&done));
        assert!(all(&done).contains("campaign.kill_switch: its folder"), "{}", all(&done));
    }
    std::fs::create_dir(site.path("none")).unwrap();
    assert_eq!(site.dwell(&["check"]).status.code(), Some(0));
    let Some(stranger) = Stranger::new(&site) else {
        return crate::skipped(test, "setpriv is not there");
    };
    mode(&site.path("none"), 0o000);
    let denied = stranger.dwell(&["check"]);
    assert_eq!(denied.status.code(), Some(2), "{}", all(&denied));
    assert!(all(&denied).contains("may not be searched"), "{}", all(&denied));
    mode(&site.path("none"), 0o555);
    let sound = stranger.dwell(&["check"]);
    assert_eq!(sound.status.code(), Some(0), "{}", all(&sound));
    assert!(all(&sound).contains("may not make files in"), "{}", all(&sound));
    // It is closed in the middle of a run, the file within.
    let mut run = stranger.command(&["run"]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("some canaries", || lines(&site.path("auth.log")) >= 3);
    mode(&site.path("none"), 0o000);
    std::thread::sleep(Duration::from_secs(1));
    let left = lines(&site.path("auth.log"));
    let done = run.wait_with_output().unwrap();
    mode(&site.path("none"), 0o700);
    assert!(left < 20 && lines(&site.path("auth.log")) == left, "{left}: {}", all(&done));
    let withdrawn = site.outcomes().1["routes"][0]["withdrawn"].to_string();
    assert!(
        withdrawn.contains("kill switch cannot be looked at: Permission denied"),
        "{withdrawn}"
    );
}

#[test]
fn a_recipe_for_other_hours_says_when_they_begin() {
    let site = Site::new(&Setup { count: 3, window: "1s", ..Setup::default() });
    site.edit("fake-login/sshd-failed-password", "fake-login/windows-4624-odd-hours");
    // A time zone in which it is about noon.
    let hour = SystemClock::new().now().timestamp().as_second() / 3_600 % 24;
    let zone = format!("proof = \"written\"\nfacts = {{ time_zone = \"Etc/GMT{:+}\" }}", hour - 12);
    site.edit("proof = \"written\"", &zone);
    assert_eq!(leaving(&site), 0);
    for verb in [&["run", "--dry-run"][..], &["check"], &["probe", "ssh"]] {
        let done = site.dwell(verb);
        let said = all(&done);
        assert!(said.contains("outside the recipe's hours; they begin next at 20"), "{said}");
        let code = if verb[0] == "probe" { 2 } else { 0 };
        assert_eq!(done.status.code(), Some(code), "{said}");
    }
    assert!(!site.path("dwell.db").exists());
}

#[test]
fn a_probe_answers_for_its_own_canary() {
    let site = Site::new(&Setup { deadline: "1s", ..Setup::default() });
    // No objective of a whole campaign bears on it.
    site.edit("min_n = 1", "min_n = 30, confidence = 0.95");
    let seen = |json: bool| {
        let _siem = Siem::start(&site, Duration::ZERO);
        let verb: &[&str] = if json { &["probe", "ssh", "--json"] } else { &["probe", "ssh"] };
        site.dwell(verb)
    };
    let first = seen(false);
    let said = all(&first);
    assert_eq!(first.status.code(), Some(0), "{said}");
    assert!(
        said.contains("detected: detected after ") && said.contains("; deadline 1 s"),
        "{said}"
    );
    assert!(said.contains("event 1 written: auth.log"), "{said}");
    assert!(!said.contains("Written") && !said.contains("more canaries"), "{said}");
    let second = site.dwell(&["probe", "ssh"]);
    let said = all(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("detected: missed, not seen; deadline 1 s"), "{said}");
    assert!(said.contains("last stage delivered"), "{said}");
    let third = seen(true);
    assert_eq!(
        third.status.code(),
        Some(0),
        "a miss before it is none of its own: {}",
        all(&third)
    );
    let answer = json(&third);
    assert_eq!(answer["expectations"][0]["outcome"], "detected", "{answer:#}");
    assert!(answer["expectations"][0]["ttd"]["upper_ns"].as_u64().unwrap() > 0);
    site.edit("path = \"auth.log\"", "path = \"absent.log\"");
    let fourth = site.dwell(&["probe", "ssh"]);
    assert_eq!(fourth.status.code(), Some(3), "{}", all(&fourth));
    assert!(all(&fourth).contains("undelivered"), "{}", all(&fourth));
}

/// What each of the three verbs says that a run can cause: alerts, pages.
fn caused(site: &Site) -> [(u64, u64); 3] {
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let dry = json(&site.dwell(&["run", "--dry-run", "--json"]));
    let check = json(&site.dwell(&["check", "--json"]));
    let most = &check["begun_now"]["most"];
    let run = String::from_utf8(site.dwell(&["run"]).stderr).unwrap();
    let (_, told) = run.split_once("at most ").unwrap();
    let told: Vec<u64> = told.split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
    [
        (number(&most["alerts"]), number(&most["pages"])),
        (number(&dry["most_alerts"]), number(&dry["most_pages"])),
        (told[0], told[1]),
    ]
}

#[test]
fn check_dry_run_and_run_name_the_same_most_and_count_every_event_of_a_burst() {
    let site = Site::new(&Setup { count: 2, window: "1s", deadline: "1s", ..Setup::default() });
    let config = std::fs::read_to_string(site.path("dwell.toml")).unwrap();
    let route = config.find("[[route]]").unwrap();
    let burst = config[route..]
        .replacen("name = \"ssh\"", "name = \"burst\"", 1)
        .replace("fake-login/sshd-failed-password", "fake-login/sshd-brute-force-success")
        .replace("response = \"none\"", "response = \"page\"")
        .replace("cap_per_hour = 1000", "cap_per_hour = 2");
    std::fs::write(site.path("dwell.toml"), config + &burst).unwrap();
    let check = json(&site.dwell(&["check", "--json"]));
    let events = check["most"]["events"].as_u64().unwrap() / 2 - 1;
    assert!(events > 1, "no burst: {check:#}");
    // Two plain ones; beside a probe one of two bursts leaves: its events, and the rule about all of them.
    let most = (2 + events + 1, events + 1);
    assert_eq!(check["most"]["alerts"].as_u64(), Some(2 + 2 * (events + 1)), "{check:#}");
    let _siem = Siem::start(&site, Duration::ZERO);
    let probe = site.dwell(&["probe", "burst"]);
    assert_eq!(probe.status.code(), Some(0), "{}", all(&probe));
    assert_eq!(caused(&site), [most; 3]);
    assert!(all(&site.dwell(&["check"])).contains("one alert an event and one more a burst"));
}

#[test]
fn a_claim_that_count_and_caps_cannot_carry_is_foretold_and_no_error() {
    let site = Site::new(&Setup { window: "1s", deadline: "1s", ..Setup::default() });
    let warned = |words: &str| {
        let heads = "warning: route ssh: detected with 95 % confidence can end undecided at best: ";
        for verb in [&["check"][..], &["run", "--dry-run"]] {
            let done = site.dwell(verb);
            let (said, line) = (all(&done), format!("{heads}{words}"));
            assert_eq!(done.status.code(), Some(0), "{said}");
            assert_eq!(said.contains(heads), !words.is_empty(), "{verb:?}: {said}");
            assert!(words.is_empty() || said.contains(&line), "{verb:?}: {said}");
        }
    };
    warned("");
    site.edit("share = 1.0", "share = 0.95, confidence = 0.95");
    warned("59 canaries needed, 12 planned; see `dwell plan`");
    site.edit("count = 12", "count = 59");
    site.edit("cap_per_hour = 1000", "cap_per_hour = 59");
    // Those that one run of the rule catches are one look at it.
    warned("59 batches needed, and a window of 1 s holds at most 1 of 5 min (`rule_period`, ");
    site.edit("deadline = \"1s\"", "deadline = \"1s\"\nrule_period = \"10ms\"");
    warned("");
    let siem = Siem::start(&site, Duration::ZERO);
    assert_eq!(site.dwell(&["probe", "ssh"]).status.code(), Some(0));
    warned("59 canaries needed, 58 of 59 planned would leave; see `dwell plan`");
    // What was fixed beforehand may be carried by several runs.
    site.edit("count = 59", "count = 3");
    assert_eq!(site.dwell(&["plan", "--record"]).status.code(), Some(0));
    warned("");
    site.edit("name = \"c\"", "name = \"d\"");
    let run = site.dwell(&["run"]);
    drop(siem);
    assert_eq!(run.status.code(), Some(4), "{}", all(&run));
    assert!(all(&run).contains("59 canaries needed, 3 planned; see `dwell plan`"), "{}", all(&run));
    warned("its campaign has begun, and n and m were not fixed beforehand; ");
}
