//! `dwell estimate` on the real binary: known data, every kind of input, and input that is wrong.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn estimate(input: impl AsRef<[u8]>, args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["estimate", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A refusal may close the pipe before all is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child.wait_with_output().unwrap()
}

fn json(input: impl AsRef<[u8]>, args: &[&str]) -> Value {
    let output = estimate(input, &[args, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(input: impl AsRef<[u8]>, args: &[&str]) -> String {
    let output = estimate(input, args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(input: impl AsRef<[u8]>, args: &[&str], words: &str) {
    let output = estimate(input, args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(words), "{error}\nlacks: {words}");
    assert!(output.stdout.is_empty());
}

fn aml() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/survival/aml.csv")).unwrap()
}

fn near(value: &Value, golden: f64) {
    let found = value.as_f64().unwrap();
    assert!((found - golden).abs() <= 1e-9 * golden.abs(), "{found}, not {golden}");
}

#[test]
fn aml_in_full_precision_is_what_r_says() {
    let answer = json(aml(), &["--group", "x", "--tau", "30"]);
    let [maintained, other] = [&answer["groups"][0], &answer["groups"][1]];
    assert_eq!((&maintained["n"], &other["events"]), (&11.into(), &11.into()));
    let first = &maintained["curve"][0];
    near(&first["undetected"], 0.9090909090909091);
    near(&first["log_log"][1], 0.9866738227);
    assert_eq!(other["curve"][8]["log_log"], Value::Null, "no band at 0, as in R");
    let median = &maintained["quantiles"][1];
    assert_eq!(median["estimate_ns"], 31_000_000_000u64);
    assert_eq!(median["plain_ns"], serde_json::json!([18_000_000_000u64, 48_000_000_000u64]));
    assert_eq!(median["log_log_ns"], serde_json::json!([13_000_000_000u64, null]));
    near(&maintained["restricted_mean"]["mean_ns"], 24.602272727272727e9);
    near(&maintained["restricted_mean"]["mean"], 24.602272727272727);
    assert_eq!(median["plain"], serde_json::json!([18.0, 48.0]));
    assert_eq!((&answer["format"], &answer["input"]), (&"dwell-estimate/1".into(), &"csv".into()));
    near(&answer["comparisons"][0]["chi2"], 3.3963886989776);
    near(&answer["comparisons"][3]["chi2"], 2.77927954475177);
    // n = 11 carries a median and no p95, which JSON has and marks.
    assert_eq!(
        (&median["shown"], &maintained["quantiles"][4]["shown"]),
        (&true.into(), &false.into())
    );
    assert_eq!(maintained["quantiles"][4]["needs_more"], 48);
}

#[test]
fn the_text_refuses_what_the_sample_cannot_carry_and_shows_no_mean_without_its_end() {
    let plain = text(aml(), &["--group", "x"]);
    assert!(
        plain.contains("needs 48 more") && plain.contains("31 s (13 s to not reached)"),
        "{plain}"
    );
    assert!(
        plain.contains("log-rank: chi-squared 3.3964 on 1 degree of freedom, p 0.0653"),
        "{plain}"
    );
    assert!(!plain.contains("mean up to") && plain.contains("--tau"), "{plain}");
    let with_tau = text(aml(), &["--group", "x", "--tau", "30", "--band", "plain"]);
    assert!(with_tau.contains("mean up to 30 s") && with_tau.contains("31 s (18 s to 48 s)"));
    // 24.6 +- 2.31: an interval would promise what so few rows do not carry.
    assert!(
        with_tau.contains("(standard error)") && with_tau.contains("24.6 s (2.31 s)"),
        "{with_tau}"
    );
    let beyond = text(aml(), &["--group", "x", "--tau", "1000"]);
    assert!(beyond.contains("nobody was followed that long"), "{beyond}");
    assert!(text("time,event\n1,1\n", &[]).contains("needs 4 more"));
}

#[test]
fn csv_and_both_kinds_of_json_say_the_same() {
    let csv = "\u{feff}time;event;group\r\n1.5;1;a\r\n2;0;a\r\n3;yes;b\r\n";
    let rows = [
        r#"{"time": 1.5, "event": 1, "group": "a"}"#,
        r#"{"time": 2, "event": false, "group": "a"}"#,
        r#"{"time": "3", "event": "yes", "group": "b"}"#,
    ];
    let wanted = json(csv, &[])["groups"].clone();
    assert_eq!(wanted.as_array().unwrap().len(), 2);
    assert_eq!(json(rows.join("\n"), &[])["groups"], wanted);
    assert_eq!(json(format!("\n [{}]\n", rows.join(",\n")), &[])["groups"], wanted);
}

#[test]
fn intervals_are_turnbulls_and_the_masses_are_the_rational_ones() {
    let answer = json("lower,upper\n0,2\n0,3\n2,4\n3,5\n3,inf\n5,8\n6,8\n7,10\n8,\n10,NA\n", &[]);
    let turnbull = &answer["groups"][0]["turnbull"];
    let masses: Vec<f64> = turnbull["masses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["mass"].as_f64().unwrap())
        .collect();
    for (found, golden) in masses.iter().zip([1.0 / 5.0, 8.0 / 35.0, 12.0 / 35.0, 8.0 / 35.0]) {
        assert!((found - golden).abs() < 1e-8, "{masses:?}");
    }
    assert!((turnbull["log_likelihood"].as_f64().unwrap() + 12.556969690525058).abs() < 1e-9);
}

#[test]
fn intervals_heed_tau_and_confidence_and_say_how_sure_they_are() {
    let rows: String = (0..40).map(|i| format!("{},{}\n", i % 7, i % 7 + 2 + i % 3)).collect();
    let rows = format!("lower,upper\n{rows}20,\n");
    let polled = |args: &[&str]| json(&rows, args)["groups"][0]["turnbull"].clone();
    let (wide, narrow) = (polled(&["--tau", "8"]), polled(&["--tau", "8", "--confidence", "0.5"]));
    assert_eq!((&wide["converged"], &wide["no_limits"]), (&true.into(), &Value::Null));
    assert_eq!(wide["bootstrap"], serde_json::json!({"seed": 1, "resamples": 1000}));
    for what in ["/quantiles/1/limits", "/restricted_mean/limits"] {
        let width = |of: &Value| {
            let limits = of.pointer(what).unwrap();
            limits["upper"].as_f64().unwrap() - limits["lower"].as_f64().unwrap()
        };
        assert!(width(&wide) > width(&narrow) && width(&narrow) > 0.0, "{what}: {wide} {narrow}");
    }
    let mean = &wide["restricted_mean"];
    let (low, high) = (mean["at_least"].as_f64().unwrap(), mean["at_most"].as_f64().unwrap());
    // By hand from the masses: each time at its lower end, and at its upper one or tau.
    let by_hand = |end: &str| -> f64 {
        let cells = wide["masses"].as_array().unwrap().iter();
        cells.map(|c| c["mass"].as_f64().unwrap() * c[end].as_f64().unwrap_or(8.0).min(8.0)).sum()
    };
    assert!((low - by_hand("lower")).abs() < 1e-9 && (high - by_hand("upper")).abs() < 1e-9);
    assert_eq!(wide, polled(&["--tau", "8"]), "the same file, the same numbers");
    let shown = text(&rows, &["--tau", "8"]);
    assert!(shown.contains("between ") && shown.contains("1000 resamples of the rows (seed 1)"));
    assert!(shown.contains("p50 (95 % interval)") && shown.contains("so approximate"), "{shown}");
    let many = format!("lower,upper\n{}", "1,2\n2,4\n".repeat(2100));
    let answer = json(&many, &[]);
    let turnbull = &answer["groups"][0]["turnbull"];
    assert_eq!(
        (&turnbull["bootstrap"], &turnbull["quantiles"][1]["limits"]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        text(&many, &[])
            .contains("4200 rows in a group are too many for a bootstrap here (at most 4166)")
    );
    assert!(text("lower,upper\n1,2\n", &[]).contains("one row: there is nothing to resample"));
}

#[test]
fn fractions_of_a_nanosecond_keep_their_digits_and_do_not_become_ties() {
    let answer = json(
        "time,event\n0.00000000012,1\n0.00000000034,0\n0.00000000041,1\n",
        &["--tau", "4e-10"],
    );
    let group = &answer["groups"][0];
    let times: Vec<f64> =
        group["curve"].as_array().unwrap().iter().map(|p| p["time"].as_f64().unwrap()).collect();
    assert_eq!(times, [1.2e-10, 4.1e-10]);
    assert_eq!(answer["tick_ns"], 1e-12);
    near(&group["restricted_mean"]["mean"], 1.2e-10 + 2.0 / 3.0 * 2.8e-10);
    near(&group["restricted_mean"]["mean_ns"], 0.12 + 2.0 / 3.0 * 0.28);
    // Somebody's 0.1 + 0.2 is 0.3, and a tie with it.
    let dust = json("time,event\n0.30000000000000004,1\n0.3,1\n", &[]);
    assert_eq!(dust["groups"][0]["curve"][0]["events"], 2);
    assert_eq!(dust["groups"][0]["curve"][0]["time"], 0.3);
    let long = json("time,event\n9e9,1\n0.000000001,1\n", &[]);
    assert_eq!(
        (&long["tick_ns"], &long["groups"][0]["curve"][0]["time_ns"]),
        (&1.0.into(), &1.into())
    );
}

#[test]
fn the_schema_is_current_and_every_answer_has_its_keys() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/schema/estimate.json");
    let output = Command::new(env!("CARGO_BIN_EXE_dwell")).args(["estimate", "--schema"]).output();
    let now = String::from_utf8(output.unwrap().stdout).unwrap();
    if std::env::var_os("DWELL_BLESS").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(kept == now, "stale: cargo run -- estimate --schema > configs/schema/estimate.json");
    let schema: Value = serde_json::from_str(&now).unwrap();
    for key in json(aml(), &[]).as_object().unwrap().keys() {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    let polled = "lower,upper\n1,2\n2,3\n0,inf\n";
    for answer in [json(aml(), &[]), json(polled, &[]), json("time,cause\n1,a\n2,b\n3,\n", &[])] {
        has_what_is_required(&schema, &schema, &answer);
    }
}

/// What a schema calls required is there, at every depth.
fn has_what_is_required(root: &Value, schema: &Value, value: &Value) {
    if let Some(to) = schema["$ref"].as_str() {
        return has_what_is_required(
            root,
            &root["$defs"][to.trim_start_matches("#/$defs/")],
            value,
        );
    }
    if let (Some(either), false) = (schema["anyOf"].as_array(), value.is_null()) {
        return has_what_is_required(root, &either[0], value);
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(name).is_some(), "`{name}` is required, and this has none: {value}");
    }
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        value.get(name).inspect(|value| has_what_is_required(root, of, value));
    }
    for value in value.as_array().into_iter().flatten() {
        has_what_is_required(root, &schema["items"], value);
    }
}

#[test]
fn causes_that_compete_are_aalen_johansens() {
    let rows = "time,cause\n1,rule\n2,closed\n2.5,rule\n3,0\n4,rule\n5,closed\n6,rule\n7,\n8,closed\n9,rule\n";
    let answer = json(rows, &[]);
    let last = |i: usize| {
        let steps = answer["groups"][0]["incidence"][i]["steps"].as_array().unwrap();
        steps.last().unwrap()["incidence"].as_f64().unwrap()
    };
    assert!((last(0) - 0.6083333333).abs() < 1e-9 && (last(1) - 0.3916666667).abs() < 1e-9);
}

#[test]
fn a_cause_beside_an_event_never_makes_a_censored_row_an_event() {
    let rows = "time,event,cause\n1,1,phishing\n2,0,phishing\n3,0,stolen key\n";
    refused(rows, &[], "line 1: both `event` and `cause`: name one of --event, --cause; or both");
    let events = |args: &[&str]| json(rows, args)["groups"][0]["events"].as_u64();
    assert_eq!(events(&["--event", "event"]), Some(1));
    assert_eq!(events(&["--event", "event", "--cause", "cause"]), Some(1));
    assert_eq!(events(&["--event-value", "0"]), Some(2));
    assert_eq!(events(&["--all-events"]), Some(3));
    let by_cause = text(rows, &["--cause", "cause"]);
    assert!(by_cause.contains("columns: cause `cause`, time `time`\n"), "{by_cause}");
    assert!(by_cause.contains("3 (3)") && by_cause.contains("column of events is not used"));
    assert!(text(rows, &["--event", "event"]).contains("columns: event `event`, time `time`\n"));
    let uncaused = "time,event,cause\n1,1,\n2,0,phishing\n";
    let both = ["--event", "event", "--cause", "cause"];
    refused(uncaused, &both, "line 2, column 3 (`cause`): the event came, and no cause is named");
    assert!(text("time,cause\n1,a\n", &[]).starts_with("stdin: 1 row\n"));
}

#[test]
fn vectr_rows_without_a_detection_are_never_dropped_in_silence() {
    let rows = "attackStart,attackStop,detectionTime,outcome\n\
                1700000000,1700000300,1700000060,Alerted\n\
                1700000000000,1700000300000,,None\n\
                2023-11-14T22:13:20Z,,0,TBD\n";
    refused(rows, &[], "line 3, column 3 (`detectionTime`): no detection time; say until when");
    refused(rows, &["--followed-until", "1700003600"], "line 4, column 4 (`outcome`): not judged");
    let both = ["--followed-until", "1700003600", "--undetected", "leave-out"];
    let answer = json(rows, &both);
    assert_eq!((&answer["groups"][0]["n"], &answer["groups"][0]["events"]), (&2.into(), &1.into()));
    assert_eq!(answer["left_out"]["not judged (TBD)"], 1);
    assert_eq!(answer["groups"][0]["curve"][0]["time_ns"], 60_000_000_000u64);
    let out = text(rows, &["--undetected", "leave-out"]);
    assert!(
        out.contains("1 left out: no detection time") && out.contains("faster than it is"),
        "{out}"
    );
    refused(rows, &["--followed-until", "1600000000"], "it began after --followed-until");
}

#[test]
fn attire_steps_are_undetected_until_somebody_adds_when_they_were() {
    let log = r#"{"attire-version": "1.1", "execution-data": {"execution-id": "x"}, "procedures": [
      {"procedure-name": "Dump", "mitre-technique-id": "T1003", "steps": [
        {"order": 1, "time-start": "2026-01-02T03:04:05.000Z", "time-stop": "2026-01-02T03:04:09.000Z"}]},
      {"procedure-name": "Move", "mitre-technique-id": "T1021", "steps": [
        {"order": 1, "time-start": "2026-01-02T03:05:05.000Z", "time-stop": "2026-01-02T03:05:06.000Z",
         "detection-time": "2026-01-02T03:06:05Z"}]}]}"#;
    refused(log, &[], "no detection time; say until when it was looked for");
    let args = ["--followed-until", "2026-01-03T00:00:00Z", "--group", "procedure-name"];
    let answer = json(log, &args);
    assert_eq!(answer["input"], "attire");
    assert_eq!(
        (&answer["groups"][0]["group"], &answer["groups"][0]["events"]),
        (&"Dump".into(), &0.into())
    );
    assert_eq!(answer["groups"][1]["curve"][0]["time_ns"], 60_000_000_000u64);
    let ran = json(log, &["--start", "time-start", "--stop", "time-stop"]);
    assert_eq!(ran["groups"][0]["events"], 2, "asked for, an execution's own length");
}

#[test]
fn what_is_wrong_is_named_with_line_and_column() {
    for (input, args, words) in [
        ("", &[][..], "the input is empty"),
        (" \n\n", &[], "the input is empty"),
        ("time,event\n", &[], "there is a header and no row"),
        ("[]", &[], "there is no row"),
        ("{}", &[], "the objects have no keys"),
        ("{\"procedures\": []}", &[], "the log holds no step"),
        ("time,event\n1,1\n-2,0\n", &[], "line 3, column 1 (`time`): `-2` is negative"),
        ("time,event\n1,1\nNaN,0\n", &[], "line 3, column 1 (`time`): `NaN` is no duration"),
        ("time,event\n1,1\n1e400,0\n", &[], "line 3, column 1 (`time`): `1e400` is no duration"),
        ("time,event\n1e12,1\n", &[], "longer than 292 years"),
        ("time,event\nsoon,1\n", &[], "`soon` is no number"),
        ("time;event\n1,5;1\n", &[], "`1,5` is no number; write a decimal point"),
        ("time,event\n\"1,500.5\",1\n", &[], "`1,500.5` is no number; write a decimal point"),
        ("time,event\n00:05:00,1\n", &[], "`00:05:00` is no number; write durations as numbers"),
        ("time,event\nPT5M,1\n", &[], "say what they count with --unit"),
        ("time,event\n1,1\n", &["--group", "grp"], "which is not there. The columns are"),
        ("time,event\n,1\n", &[], "line 2, column 1 (`time`): a duration is missing"),
        ("time,event\n1,\n", &[], "line 2, column 2 (`event`): whether the event came is missing"),
        ("time,event\n1,2\n", &[], "say what stands for an event with --event-value"),
        ("time,event\n1,1\n2\n", &[], "line 3: 1 cell, the header has 2"),
        (
            "time,event\n\"1,1\n2,0\n",
            &[],
            "line 2: 1 cell, the header has 2; a quote opens in it and is not closed",
        ),
        ("time,event\n1,1\n2,1,1\n", &[], "line 3: 3 cells, the header has 2"),
        ("time,time\n1,1\n", &[], "line 1, column 2: a second column `time`"),
        ("time,event,group\n1,1,\n", &[], "line 2, column 3 (`group`): the group is missing"),
        ("time,seen\n1,1\n", &[], "name it with --event, or say --all-events"),
        ("tme,event\n1,1\n", &["--time", "time"], "did you mean `tme`?"),
        (
            "lower,upper\n3,2\n",
            &[],
            "line 2, column 2 (`upper`): the interval ends before it begins",
        ),
        ("lower,upper\n-1,2\n", &[], "`-1` is negative"),
        ("{\"time\": 1, \"event\": 1}\n{\"time\": 1 \"event\": 1}\n", &[], "line 2, column 12"),
        ("[{\"time\": 1, \"event\": 1}", &[], "the array does not end"),
        ("[{\"time\": 1, \"event\": 1},]", &[], "column 26: an object `{...}` is expected here"),
        (
            "[{\"time\": 1, \"event\": 1}, {\"time\": \"x\", \"event\": 1}]",
            &[],
            "object 2 (line 1), key `time`: `x` is no number",
        ),
        (
            "{\"time\": 1, \"event\": 0, \"time\": 2}",
            &[],
            "line 1, column 30: the key `time` stands twice",
        ),
        (
            "{\"procedures\": [{\"steps\": [{\"time-start\": \"x\"}]}]}",
            &[],
            "step 1 (line 1), key `time-start`: `x` is no instant",
        ),
        ("[1, 2]", &[], "line 1, column 2: an object `{...}` is expected here"),
        ("{\"time\": 1", &[], "the object of line 1 does not end"),
        (
            "start,detected_at\n5,3\n",
            &[],
            "line 2, column 2 (`detected_at`): it was detected before",
        ),
        ("start,detected_at\n2026-01-01 10:00:00,3\n", &[], "is no instant"),
        ("time,event\n1,1\n", &["--tau=-1"], "--tau"),
        ("time,event\n1,1\n", &["--tau", "0"], "--tau: the mean up to 0 is 0"),
        (
            "time,status\n1,dead\n2,alive\n",
            &["--event-value", "Dead"],
            "no row has `Dead` as its event, so that nothing would have happened; --event-value must \
             be one of what the column holds: `alive`, `dead`",
        ),
        ("time\n1\n", &["--all-events", "--event-value", "1"], "cannot be used with"),
        ("lower,upper\n1,2\n", &["--event-value", "1"], "--event-value is for a column of events"),
        ("time,lower,upper\n1,1,2\n", &[], "both durations and intervals"),
        (
            "time,status,event\n1,1,0\n",
            &[],
            "`status`, `event` could each be it; name one with --event",
        ),
        ("time,event\n1,1\n", &["--confidence", "1"], "--confidence"),
    ] {
        refused(input, args, words);
    }
    refused(b"time,event\n1,\xff\n", &[], "line 2, column 2: not UTF-8");
    refused(b"\xff\xfet\0", &[], "UTF-16");
    refused(b"time,ev\xff\n1,1\n", &[], "line 1, column 2: not UTF-8");
    let later = format!(
        "{}{{\"time\":1,\"event\":1,\"group\":\"b\"}}\n",
        "{\"time\":1,\"event\":1}\n".repeat(1000)
    );
    refused(
        later,
        &[],
        "object 1001 (line 1001): `group` occurs here and in none of the first 1000 rows",
    );
}

#[test]
fn little_data_is_no_number_and_no_panic() {
    for input in
        ["time,event\n5,0\n", "time,event\n5,0\n6,0\n", "time,event\n0,1\n", "time,event\n0,0\n"]
    {
        let answer = json(input, &["--tau", "3"]);
        assert_eq!(answer["groups"][0]["quantiles"][1]["shown"], false);
        text(input, &["--tau", "3"]);
    }
    let censored = format!("time,event,group\n{}", "5,0,a\n6,0,b\n".repeat(70));
    let answer = json(&censored, &[]);
    assert_eq!(answer["comparisons"], serde_json::json!([]));
    assert!(text(&censored, &[]).contains("not reached"));
    text("lower,upper\n5,\n", &[]);
    // No certainty out of one row, nor out of none that was seen.
    for (rows, why) in [
        ("time,event\n3,1\n", "needs 4 more"),
        ("lower,upper\n3,4\n", "needs 4 more"),
        ("time,event\n5,0\n6,0\n7,0\n8,0\n9,0\n", "not without a detection"),
        ("lower,upper\n5,\n6,\n7,\n8,\n9,\n", "not without a detection"),
    ] {
        let shown = text(rows, &["--tau", "5"]);
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(why) && !shown.contains("(5 s to 5 s)"), "{shown}");
        assert!(!shown.contains("(3 s to 3 s)"), "{shown}");
        let group = json(rows, &["--tau", "5"])["groups"][0].clone();
        let mean = [&group["restricted_mean"], &group["turnbull"]["restricted_mean"]];
        assert!(mean.iter().any(|mean| mean["shown"] == false), "{group}");
    }
    let alike = text(format!("time,event\n{}", "5,1\n".repeat(9)), &[]);
    assert!(alike.contains("limits undefined") && !alike.contains("not reached to"), "{alike}");
    text("time,cause\n5,\n", &[]);
}

#[test]
fn foreign_names_are_inert() {
    let rows = "time,event,group\n1,1,\u{1b}[2Jevil\u{202e}\n2,1,b\n";
    for args in [&[][..], &["--json"]] {
        let out = text(rows, args);
        assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
    }
}

/// Feeds a pattern for as long as it is taken, at most so many bytes; says how many were taken.
fn flood(head: &str, pattern: &str, args: &[&str]) -> (Output, u64) {
    const MOST: u64 = 10_000_000_000;
    let mut child = Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["estimate", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let block = pattern.repeat(65_536 / pattern.len());
    let mut taken = 0;
    pipe.write_all(head.as_bytes()).unwrap();
    while taken < MOST && pipe.write_all(block.as_bytes()).is_ok() {
        taken += block.len() as u64;
    }
    drop(pipe);
    (child.wait_with_output().unwrap(), taken)
}

#[test]
fn ten_gigabytes_are_refused_at_the_limit_and_not_read_to_their_end() {
    for (head, pattern, words) in [
        ("time,event\n", "12.5,1\n", "line 200002: more than 200000 rows"),
        ("time,event\n\"", "12.5,1\n", "line 2: this row is longer than 16 MiB"),
        ("", "x", "line 1: this row is longer than 16 MiB"),
        ("{\"time\":1,\"a\":\"", "x", "line 1: this row is longer than 16 MiB"),
        ("", "{\"time\":1,\"event\":1}\n", "object 200001 (line 200001): more than 200000 rows"),
    ] {
        let (output, taken) = flood(head, pattern, &["--max-rows", "200000"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(taken < 64 << 20, "{taken} bytes were taken");
    }
}
