//! Ledgers made through the library's own writer: canaries with given submission times, times to
//! detect and censorings, under a fixed key. Whatever reads a ledger can be tested on them without a
//! pipeline and without waiting.
//!
//! A synthetic run looks every ten minutes without a break, from its first canary to its end, by a
//! watcher that is proven. So a canary without a sighting is `missed` once its deadline has passed,
//! and is censored at its horizon or at the last look.

#![allow(dead_code, reason = "a set of tools: not each is used at each time")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwell::ledger::{
    Batch, ClaimRow, Ended, EventResult, ExpectationPlan, Grade, Intent, Ledger, Look, Opening,
    Proven, ReceiptRow, RoutePlan, Row, RunStarted, SightingRow, Stage, WatcherPlan,
};
use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Clock, ManualClock, Stamp};
use dwell_injectors::token::{Epoch, TokenId};

/// 2026-01-01T00:00:00Z in seconds.
pub const NEW_YEAR_S: i64 = 1_767_225_600;
/// The chain's key of every synthetic ledger.
pub const KEY: [u8; 32] = [7; 32];

/// One canary: seconds since the new year at which it left, and seconds until it was seen.
pub type Canary = (f64, Option<f64>);

/// One route of a synthetic run.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub canaries: Vec<Canary>,
    pub deadline_s: u64,
    pub horizon_s: u64,
    pub enters_at: String,
    pub rules: Vec<String>,
    pub share: f64,
    pub confidence: Option<f64>,
    pub rule_period_s: Option<u64>,
    /// Expects the stage before too, which every sighting satisfies.
    pub ingested: bool,
}

impl Route {
    /// Deadline five minutes, horizon fifty.
    pub fn new(name: &str, canaries: Vec<Canary>) -> Route {
        Route {
            name: name.to_owned(),
            canaries,
            deadline_s: 300,
            horizon_s: 3_000,
            enters_at: "host-log".to_owned(),
            rules: Vec::new(),
            share: 0.9,
            confidence: None,
            rule_period_s: None,
            ingested: false,
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    pub campaign: String,
    pub routes: Vec<Route>,
    pub arrivals: String,
    /// Digest of every recipe of this run.
    pub recipe_digest: String,
    pub config_digest: String,
    /// The rule that every sighting names.
    pub rule: String,
    /// Seconds after the last submission for which it was watched.
    pub watched_s: f64,
    /// Poll period of the watcher, seconds; zero follows a file.
    pub poll_s: u64,
}

impl Run {
    pub fn new(campaign: &str, routes: Vec<Route>) -> Run {
        Run {
            campaign: campaign.to_owned(),
            routes,
            arrivals: "stratified".to_owned(),
            recipe_digest: "beef".to_owned(),
            config_digest: "c0ffee".to_owned(),
            rule: "5710".to_owned(),
            watched_s: 4_000.0,
            poll_s: 0,
        }
    }
}

/// The stamp of that many seconds after the new year.
pub fn at(seconds: f64) -> Stamp {
    let ns = (seconds * 1e9).round() as i64;
    let wall_ns = NEW_YEAR_S * 1_000_000_000 + ns;
    Stamp { wall_ns, boot_ns: (1_000_000_000_000_000 + ns) as u64, boot: BootId(1) }
}

/// Opens or makes the ledger at that path with a clock that stands still.
pub fn open(key: &[u8; 32], path: &Path) -> Ledger {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at(-100.0)));
    Ledger::open(path, key, Opening { verb: "run".to_owned() }, clock).unwrap()
}

/// Writes runs into one ledger, in order, numbered from 1; further rows go before them.
pub fn write(path: &Path, before: Vec<Row>, runs: &[Run]) {
    write_with(&KEY, path, before, runs);
}

/// The same under another chain key, for a ledger that a configuration's own key must open.
pub fn write_with(key: &[u8; 32], path: &Path, before: Vec<Row>, runs: &[Run]) {
    let ledger = open(key, path);
    let mut batch = Batch { rows: before, ..Batch::default() };
    let mut serial = 0;
    for (number, run) in (1u32..).zip(runs) {
        fill(&mut batch, number, run, &mut serial);
        ledger.append(std::mem::take(&mut batch)).wait().unwrap();
    }
    ledger.append(batch).wait().unwrap();
    ledger.close(Duration::from_secs(20)).unwrap();
}

/// "p95 within the default deadline, with 95 % confidence", fixed before anything else.
pub fn claim(campaign: &str, route: &str, n: u64, misses: u64) -> Row {
    Row::Claim(ClaimRow {
        at: at(-90.0),
        campaign: campaign.into(),
        route: route.into(),
        expectation: "detected".into(),
        n,
        misses,
        quantile: 0.95,
        within_ns: 300_000_000_000,
        confidence: 0.95,
    })
}

fn fill(batch: &mut Batch, number: u32, run: &Run, serial: &mut u32) {
    let times = || run.routes.iter().flat_map(|r| r.canaries.iter().map(|c| c.0));
    let (first, last) = (times().fold(f64::MAX, f64::min), times().fold(0.0, f64::max));
    let begin = first - 60.0;
    batch.rows.push(started(number, run, begin));
    batch.rows.push(Row::Proven(Proven {
        watcher: "alerts".into(),
        at: at(begin),
        config_digest: run.config_digest.clone(),
    }));
    for (index, route) in (0u32..).zip(&run.routes) {
        for (slot, (sent, seen)) in (0u32..).zip(&route.canaries) {
            *serial += 1;
            let canary = TokenId { epoch: Epoch(1), serial: *serial };
            batch.rows.extend(handed(canary, number, index, slot, *sent));
            let until = seen.map(|seconds| sent + seconds);
            batch.rows.extend(until.map(|t| sighting(canary, run, *sent, t)));
        }
    }
    let end = last + run.watched_s;
    let mut from = begin;
    while from < end {
        let to = (from + 600.0).min(end);
        batch.rows.push(Row::Look(Look {
            watcher: "alerts".into(),
            from: at(from),
            to: at(to),
            complete: true,
            unbroken: true,
            position: "p".into(),
            records: 1,
        }));
        from = to;
    }
    batch.rows.push(Row::Ended(Ended { at: at(end), run: number, reason: "horizon".into() }));
}

fn handed(canary: TokenId, run: u32, route: u32, slot: u32, sent: f64) -> [Row; 2] {
    let intent = Intent {
        canary,
        run,
        route,
        slot,
        intended: at(sent),
        digests: vec!["00".repeat(16)],
        completing: 0,
    };
    let receipt = ReceiptRow {
        canary,
        event: 0,
        submitted_at: at(sent),
        late_ns: 1_000,
        result: EventResult::Accepted {
            at: Some(at(sent)),
            strength: Strength::Written,
            place: None,
        },
    };
    [Row::Intent(intent), Row::Receipt(receipt)]
}

/// A sighting row as such: synthetic ids never repeat, so the writer has nothing to classify.
fn sighting(canary: TokenId, run: &Run, sent: f64, seen: f64) -> Row {
    let poll = run.poll_s as f64;
    Row::Sighting(SightingRow {
        canary,
        watcher: "alerts".into(),
        stage: Stage::Detected,
        observed: at(seen),
        not_before: (run.poll_s > 0).then(|| at((seen - poll).max(sent))),
        native_id: canary.to_string(),
        rule: Some(run.rule.clone()),
        rule_names: Vec::new(),
        event_time_ns: None,
        created_time_ns: None,
        grade: Grade::Exact,
        retrospective: false,
        excerpt: String::new(),
    })
}

fn started(number: u32, run: &Run, begin: f64) -> Row {
    let recipe = "fake-login/sshd-failed-password";
    let route = |r: &Route| RoutePlan {
        name: r.name.clone(),
        recipe: recipe.into(),
        attack: vec!["T1110".into()],
        enters_at: r.enters_at.clone(),
        owner: "SOC".into(),
        supplier: false,
        target: "auth.log".into(),
        proof: Strength::Written,
        planned: r.canaries.len() as u32,
        expectations: [Stage::Ingested, Stage::Detected]
            .into_iter()
            .filter(|stage| r.ingested || *stage == Stage::Detected)
            .map(|stage| ExpectationPlan {
                name: stage.name().into(),
                stage,
                watchers: vec!["alerts".into()],
                rules: r.rules.clone(),
                deadline_ns: r.deadline_s * 1_000_000_000,
                horizon_ns: r.horizon_s * 1_000_000_000,
                rule_period_ns: r.rule_period_s.map(|s| s * 1_000_000_000),
                share: r.share,
                confidence: r.confidence,
                min_n: 1,
            })
            .collect(),
    };
    Row::Run(Box::new(RunStarted {
        calibration: None,
        at: at(begin),
        run: number,
        campaign: run.campaign.clone(),
        seed: 42,
        arrivals: run.arrivals.clone(),
        starts: at(begin),
        window_ns: 1,
        quiet_hours: Vec::new(),
        config_digest: run.config_digest.clone(),
        config: serde_json::json!({}),
        recipes: BTreeMap::from([(recipe.into(), run.recipe_digest.clone())]),
        dialects: BTreeMap::from([("json".into(), "cafe".into())]),
        authorisation: None,
        routes: run.routes.iter().map(route).collect(),
        watchers: vec![WatcherPlan {
            name: "alerts".into(),
            stage: Stage::Detected,
            kind: if run.poll_s > 0 { "poll" } else { "file" }.into(),
            dialect: "json".into(),
            push: false,
            resolution_ns: run.poll_s * 1_000_000_000,
            patience_ns: None,
            max_offset_ns: None,
            dates_stage: false,
            source: "alerts.json".into(),
        }],
    }))
}

/// The same canaries as polls at whole multiples of that many seconds see them: at the first one after.
pub fn polled(canaries: Vec<Canary>, every_s: f64) -> Vec<Canary> {
    let shown = |sent: f64, seen: f64| ((sent + seen) / every_s).ceil() * every_s - sent;
    canaries.into_iter().map(|(sent, seen)| (sent, seen.map(|t| shown(sent, t)))).collect()
}

/// `n` canaries, one every 97 s, each seen five seconds after the next run of a rule that runs by the
/// wall clock.
pub fn scheduled(n: u32, period_s: f64) -> Vec<Canary> {
    (0..n)
        .map(|i| {
            let sent = f64::from(i) * 97.0;
            (sent, Some(((sent / period_s).floor() + 1.0) * period_s - sent + 5.0))
        })
        .collect()
}

/// Numbers between 0 and 1 that are the same for the same seed: splitmix64, good enough for data.
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An exponential time with that mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

/// `n` canaries at equal distance, exponential times with that mean; each is missed with that
/// probability.
pub fn exponential(
    draw: &mut Draw,
    n: u32,
    (from_s, every_s): (f64, f64),
    mean_s: f64,
    missed: f64,
) -> Vec<Canary> {
    (0..n)
        .map(|i| {
            let lost = draw.uniform() < missed;
            let seen = draw.exponential(mean_s);
            (from_s + f64::from(i) * every_s, (!lost).then_some(seen))
        })
        .collect()
}

#[test]
fn a_synthetic_ledger_verifies_and_reports_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    let canaries = vec![(0.0, Some(2.0)), (100.0, Some(400.0)), (200.0, None)];
    write(&path, Vec::new(), &[Run::new("c", vec![Route::new("r", canaries)])]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dwell"))
        .args(["report", "--json", "--ledger"])
        .arg(&path)
        .output()
        .unwrap();
    let model: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let outcomes = &model["routes"][0]["expectations"][0]["outcomes"];
    assert_eq!(*outcomes, serde_json::json!({"detected": 1, "late": 1, "missed": 1}));
}
