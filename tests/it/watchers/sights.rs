//! What a sighting says about when its record came: never later than it did, and sharp where it can be.

use super::*;

/// Writes an alert, and says when it was there at the latest.
fn written(bench: &Bench, path: &Path, serial: u32) -> Stamp {
    append(path, &bench.alert(serial));
    bench.clock.now()
}

#[test]
fn a_file_says_what_it_found_late_and_is_sharp_otherwise() {
    let bench = Bench::new(60);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    let mut there = Vec::new();
    for serial in 0..20 {
        there.push(written(&bench, &path, serial));
        until("it is sighted", || bench.sighted().len() == serial as usize + 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    running.stop();
    // While nobody watched.
    for serial in 20..23 {
        there.push(written(&bench, &path, serial));
    }
    std::thread::sleep(Duration::from_millis(300));
    let running = bench.start(&file_settings(&path));
    until("all are sighted", || bench.sighted().len() == 23);
    // Moved away and back, with what somebody wrote into it meanwhile.
    let away = bench.folder.path().join("elsewhere");
    std::fs::rename(&path, &away).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    std::fs::write(&away, "").unwrap();
    there.push(written(&bench, &away, 23));
    std::thread::sleep(Duration::from_millis(300));
    std::fs::rename(&away, &path).unwrap();
    until("it is sighted", || bench.sighted().len() == 24);
    running.stop();
    for (serial, there) in there.iter().enumerate() {
        let (since, _) = bench.since(serial as u32);
        assert!(
            there.since(&since).ns > 0,
            "{serial} was there {} ns before",
            there.since(&since).ns
        );
    }
    let given: Vec<bool> = (0..24).map(|serial| bench.since(serial).1).collect();
    assert!(given[20..23].iter().all(|given| *given), "{given:?}");
    let sharp = given[..20].iter().filter(|given| !**given).count();
    assert!(sharp >= 10, "{sharp} of 20 are sharp: {given:?}");
}

#[test]
fn a_line_that_began_long_before_its_end_may_be_as_old_as_its_beginning() {
    let bench = Bench::new(2);
    let path = bench.folder.path().join("alerts.json");
    append(&path, "{}");
    let running = bench.start(&file_settings(&path));
    let write = |text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    // A writer that puts the line's end before the next line.
    write(&bench.alert(0));
    let there = bench.clock.now();
    std::thread::sleep(Duration::from_millis(700));
    write("\n");
    until("it is sighted", || bench.sighted().len() == 1);
    running.stop();
    let (since, given) = bench.since(0);
    assert!(given && there.since(&since).ns > 0);
}

#[test]
fn a_file_that_is_made_anew_is_as_sharp_as_one_that_was_there() {
    // File systems without times of birth cannot tell it from one that was moved here.
    let bench = Bench::new(10);
    let born = tempfile::NamedTempFile::new_in(bench.folder.path()).unwrap();
    if born.as_file().metadata().unwrap().created().is_err() {
        return;
    }
    let mut sharp = 0;
    for serial in 0..10 {
        let path = bench.folder.path().join(format!("alerts-{serial}.json"));
        let running = bench.start(&file_settings(&path));
        std::thread::sleep(Duration::from_millis(50));
        let there = written(&bench, &path, serial);
        until("it is sighted", || bench.sighted().len() == serial as usize + 1);
        running.stop();
        let (since, given) = bench.since(serial);
        assert!(there.since(&since).ns > 0);
        sharp += usize::from(!given);
    }
    assert!(sharp >= 4, "{sharp} of 10 are sharp");
}

#[test]
fn a_webhook_that_nobody_served_leaves_the_span_and_keeps_its_looks_current() {
    let bench = Bench::new(2);
    let port = free_port();
    let settings = format!(
        "type='webhook'\nlisten='127.0.0.1:{port}'\ndialect='reference-detector'\nauth={{type='none'}}"
    );
    let running = bench.start(&settings);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(post(port, "/", "", &bench.alert(0)), 204);
    let answered = bench.clock.now();
    // What a kill would leave: a next run counts from there that nobody listened.
    let left = Reader::open(&bench.path()).unwrap().cursor("w").unwrap().unwrap();
    let left: serde_json::Value = serde_json::from_str(&left).unwrap();
    let listened: Stamp = serde_json::from_value(left["looked"].clone()).unwrap();
    running.stop();
    let again = bench.start(&settings);
    assert_eq!(post(port, "/", "", &bench.alert(1)), 204);
    again.stop();
    let rows = bench.rows();
    let span = bench.blinds().into_iter().find(|blind| !blind.recovered);
    let span = span.expect("nobody listened in between");
    let seen = rows.iter().find_map(|row| match row {
        Row::Sighting(s) if s.canary.serial == 0 => Some(s.observed),
        _ => None,
    });
    for from in [listened, span.from] {
        assert!(from.since(&seen.unwrap()).ns >= 0, "whoever was answered was listened to");
    }
    assert!(span.from.since(&answered).ns < 2_000_000_000);
}

#[test]
fn a_slow_poll_says_how_long_its_next_look_may_take() {
    let patience = |every: &str, timeout: &str| {
        let settings = format!(
            "type='poll'\nurl='http://127.0.0.1:9'\ndialect='reference-detector-search'\n\
             every='{every}'\ntimeout='{timeout}'"
        );
        let settings: WatcherSettings = toml::from_str(&settings).unwrap();
        build(&settings, &Dialects::embedded().unwrap()).unwrap().patience()
    };
    assert_eq!(patience("250ms", "1s"), Duration::from_secs(15));
    assert_eq!(patience("40s", "10s"), Duration::from_secs(55));
}
