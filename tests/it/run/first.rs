//! The first configuration, as `init` writes it, in the order of the README.

use super::*;

/// Writes an alert for each line of the log as Wazuh does, once the log is there, until dropped.
fn wazuh(site: &Site) -> Siem {
    let stop = Arc::new(AtomicBool::new(false));
    let (log, alerts, end) = (site.path("auth.log"), site.path("alerts.json"), Arc::clone(&stop));
    let thread = std::thread::spawn(move || {
        let mut alerts = std::fs::File::create(alerts).unwrap();
        let mut told = 0;
        while !end.load(Ordering::Relaxed) {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            for line in whole.lines().skip(told) {
                told += 1;
                let alert = serde_json::json!({ "id": format!("1.{told}"),
                    "manager": { "name": "siem" }, "rule": { "id": "5710" }, "full_log": line });
                writeln!(alerts, "{alert}").unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    Siem { stop, thread: Some(thread) }
}

#[test]
fn the_first_configuration_ends_with_0_when_the_pipeline_works_after_probes_too() {
    let site = Site { folder: tempfile::tempdir().unwrap() };
    assert_eq!(site.dwell(&["init"]).status.code(), Some(0));
    // Nothing but time is shorter here.
    site.edit("window = \"1h\"", "window = \"2s\"");
    site.edit("min_gap = \"1s\"", "min_gap = \"10ms\"");
    site.edit("deadline = \"5m\"", "deadline = \"4s\"");
    let _siem = wazuh(&site);
    let told = |arguments: &[&str]| {
        let done = site.dwell(arguments);
        let text = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {text}");
        assert!(!text.contains("warning"), "{arguments:?}: {text}");
        text
    };
    told(&["check"]);
    // It makes no claim; what one would take is said by the plan, in batches.
    let plan = String::from_utf8(site.dwell(&["plan"]).stdout).unwrap();
    assert!(plan.contains("batches of 5 min, and a claim counts those"), "{plan}");
    told(&["probe", "ssh-failed"]);
    told(&["probe", "ssh-failed"]);
    told(&["run", "--dry-run"]);
    let report = told(&["run"]);
    assert!(report.contains("1 of 1 expectations meet their objective."), "{report}");
}
