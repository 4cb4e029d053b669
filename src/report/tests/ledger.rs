//! A ledger of rows made by hand: what happened to each canary, in one word.

use std::collections::BTreeMap;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::{BootId, Stamp};
use dwell_injectors::token::{Epoch, TokenId};

use crate::dispatch::outcome::Fold;
use crate::ledger::*;
use crate::report::{Beside, ReportModel};

const S: i64 = 1_000_000_000;
/// Deadline of every expectation here, seconds.
pub const DEADLINE: u64 = 10;

/// What became of one canary; times in seconds since submission.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// Seen then.
    Seen(f64),
    /// Seen then by a poll that last looked at the first instant.
    Polled(f64, f64),
    /// Seen then, though its receipt proves nothing.
    UnprovenSeen(f64),
    /// Alerted by another rule at the first instant, and by the named one at the second, if at all.
    Other(f64, Option<f64>),
    /// Not seen.
    Silent,
    /// Rejected.
    Rejected,
    /// Rejected at hand-over, by a fault of ours.
    RejectedByUs,
    /// Nobody knows whether it was delivered, and nobody saw it.
    Unknown,
    /// Withdrawn after its intent was written.
    Withdrawn,
}

/// One route with its own watcher.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub kind: &'static str,
    pub fates: Vec<Fate>,
    pub share: f64,
    pub confidence: Option<f64>,
    pub min_n: u32,
    /// Reason of a span of blindness from second 3 to 5.
    pub blind: Option<String>,
    pub rule: String,
    pub rejection: String,
    /// Seconds from one submission to the next.
    pub every: f64,
    /// How often the rule runs; by default so often that no two canaries are one batch.
    pub rule_period_ns: Option<u64>,
    /// Canaries are bursts of two events a second apart; the second completes.
    pub burst: bool,
}

impl Route {
    pub fn new(name: &str, fates: &[Fate]) -> Route {
        Route {
            name: name.to_owned(),
            kind: "file",
            fates: fates.to_vec(),
            share: 1.0,
            confidence: None,
            min_n: 1,
            blind: None,
            rule: "5710".to_owned(),
            rejection: "413 too large".to_owned(),
            every: 1e-6,
            rule_period_ns: Some(1),
            burst: false,
        }
    }

    fn watcher(&self) -> String {
        format!("watch {}", self.name)
    }

    fn plan(&self) -> RoutePlan {
        RoutePlan {
            name: self.name.clone(),
            recipe: "fake-login/sshd-failed-password".into(),
            attack: vec!["T1110".into()],
            enters_at: "host-log".into(),
            owner: "SOC".into(),
            supplier: false,
            target: "auth.log".into(),
            proof: Strength::Written,
            planned: self.fates.len() as u32,
            expectations: vec![ExpectationPlan {
                name: "detected".into(),
                stage: Stage::Detected,
                watchers: vec![self.watcher()],
                rules: vec![self.rule.clone()],
                deadline_ns: DEADLINE * S as u64,
                horizon_ns: 100 * S as u64,
                rule_period_ns: self.rule_period_ns,
                share: self.share,
                confidence: self.confidence,
                min_n: self.min_n,
            }],
        }
    }
}

pub fn at(seconds: f64) -> Stamp {
    let ns = (seconds * 1e9).round() as i64;
    Stamp { wall_ns: 1_795_000_000 * S + ns, boot_ns: (1_000 * S + ns) as u64, boot: BootId(1) }
}

fn run(routes: &[Route], campaign: &str) -> Row {
    let watcher = |route: &Route| WatcherPlan {
        name: route.watcher(),
        stage: Stage::Detected,
        kind: route.kind.into(),
        dialect: "wazuh4".into(),
        push: false,
        resolution_ns: 0,
        patience_ns: None,
        max_offset_ns: None,
        dates_stage: false,
        source: "alerts.json".into(),
    };
    Row::Run(Box::new(RunStarted {
        at: at(-10.0),
        run: 1,
        campaign: campaign.into(),
        seed: 42,
        arrivals: "stratified".into(),
        starts: at(-10.0),
        window_ns: 1,
        quiet_hours: vec!["22:00-06:00".into()],
        config_digest: "c0ffee".into(),
        config: serde_json::json!({}),
        recipes: BTreeMap::from([("fake-login/sshd-failed-password".into(), "beef".into())]),
        dialects: BTreeMap::from([("wazuh4".into(), "cafe".into())]),
        authorisation: None,
        calibration: None,
        routes: routes.iter().map(Route::plan).collect(),
        watchers: routes.iter().map(watcher).collect(),
    }))
}

fn look(watcher: &str, second: f64) -> Row {
    Row::Look(Look {
        watcher: watcher.into(),
        from: at(second),
        to: at(second + 0.01),
        complete: true,
        unbroken: true,
        position: "p".into(),
        records: 1,
    })
}

fn canary_rows(route: &Route, index: u32, canary: TokenId, slot: u32, fate: Fate) -> Vec<Row> {
    let at = |seconds: f64| self::at(f64::from(slot) * route.every + seconds);
    let mut rows = vec![Row::Intent(Intent {
        canary,
        run: 1,
        route: index,
        slot,
        intended: at(0.0),
        digests: vec!["x".into(); 1 + usize::from(route.burst)],
        completing: u32::from(route.burst),
    })];
    let result = match fate {
        Fate::RejectedByUs => EventResult::Rejected {
            reason: route.rejection.clone(),
            cause: Some(dwell_injectors::receipt::Cause::Ours),
        },
        Fate::Rejected => EventResult::Rejected { reason: route.rejection.clone(), cause: None },
        Fate::Unknown | Fate::UnprovenSeen(_) => EventResult::Unknown { reason: "timeout".into() },
        _ => {
            EventResult::Accepted { at: Some(at(0.001)), strength: Strength::Written, place: None }
        }
    };
    if fate == Fate::Withdrawn {
        rows.push(Row::Withdrawn(Withdrawn {
            at: at(1.0),
            run: 1,
            route: index,
            slot_from: slot,
            slots: 1,
            canary: Some(canary),
            reason: "kill switch".into(),
        }));
        return rows;
    }
    rows.extend((0..=u32::from(route.burst)).map(|event| {
        Row::Receipt(ReceiptRow {
            canary,
            event,
            submitted_at: at(f64::from(event)),
            late_ns: 250_000,
            result: result.clone(),
        })
    }));
    let named = Some(route.rule.clone());
    let seen: Vec<(f64, Option<Stamp>, Option<String>)> = match fate {
        Fate::Seen(seconds) | Fate::UnprovenSeen(seconds) => vec![(seconds, None, named)],
        Fate::Polled(before, seconds) => vec![(seconds, Some(at(before)), named)],
        Fate::Other(other, then) => [(other, None, Some("another".to_owned()))]
            .into_iter()
            .chain(then.map(|seconds| (seconds, None, named)))
            .collect(),
        _ => Vec::new(),
    };
    rows.extend(seen.into_iter().map(|(observed, not_before, rule)| {
        Row::Sighting(SightingRow {
            canary,
            watcher: route.watcher(),
            stage: Stage::Detected,
            observed: at(observed),
            not_before,
            native_id: format!("{canary} {observed}"),
            rule,
            rule_names: vec![],
            event_time_ns: None,
            created_time_ns: None,
            grade: Grade::Exact,
            retrospective: false,
            excerpt: format!("excerpt {}", route.rule),
        })
    }));
    rows
}

/// All rows of a campaign that was watched for a minute.
pub fn rows(routes: &[Route], campaign: &str) -> Vec<Row> {
    let mut rows = vec![run(routes, campaign)];
    let mut serial = 0;
    for (index, route) in routes.iter().enumerate() {
        let watcher = route.watcher();
        rows.push(Row::Proven(Proven {
            watcher: watcher.clone(),
            at: at(-5.0),
            config_digest: "c0ffee".into(),
        }));
        for (slot, fate) in route.fates.iter().enumerate() {
            serial += 1;
            let canary = TokenId { epoch: Epoch(1), serial };
            rows.extend(canary_rows(route, index as u32, canary, slot as u32, *fate));
        }
        let until = 60 + (route.every * route.fates.len() as f64) as i32;
        rows.extend((-9..=until).map(|second| look(&watcher, f64::from(second))));
        rows.extend(route.blind.iter().map(|reason| {
            Row::Blind(Blind {
                watcher: watcher.clone(),
                from: at(3.0),
                to: Some(at(5.0)),
                reason: reason.clone(),
                ours: false,
                recovered: false,
            })
        }));
        rows.push(Row::Stray(Stray {
            watcher,
            class: StrayClass::Forged,
            at: at(30.0),
            count: 2,
            excerpt: route.rule.clone(),
        }));
    }
    rows
}

/// A claim for the expectation of a route.
pub fn claim(campaign: &str, route: &str, n: u64, misses: u64) -> Row {
    Row::Claim(ClaimRow {
        at: at(-20.0),
        campaign: campaign.into(),
        route: route.into(),
        expectation: "detected".into(),
        n,
        misses,
        quantile: 0.95,
        within_ns: DEADLINE * S as u64,
        confidence: 0.95,
    })
}

/// The model at the last row.
pub fn model(routes: &[Route], campaign: &str) -> ReportModel {
    model_of(&rows(routes, campaign))
}

/// The same canaries as a side of a comparison.
pub fn side(routes: &[Route]) -> crate::report::compare::Side {
    let mut fold = Fold::new(None);
    rows(routes, "c").iter().for_each(|row| fold.apply(row));
    crate::report::compare::Side {
        label: "c".to_owned(),
        assessment: fold.assess(None).unwrap(),
        note: None,
    }
}

/// The model of these rows.
pub fn model_of(rows: &[Row]) -> ReportModel {
    let mut fold = Fold::new(None);
    rows.iter().for_each(|row| fold.apply(row));
    let assessment = fold.assess(None).unwrap();
    let heads = vec!["writer 1 row 99 deadbeef".to_owned()];
    ReportModel::with_rows(&assessment, &Beside { heads, keys: None })
}

/// The model of one route.
pub fn one(route: Route) -> ReportModel {
    model(&[route], "quickstart")
}

/// Every outcome that there is.
pub fn every_outcome() -> Vec<Route> {
    let mut ssh: Vec<Fate> = (1..=8).map(|n| Fate::Seen(f64::from(n) * 0.7)).collect();
    ssh.extend([
        Fate::Seen(25.0),
        Fate::Silent,
        Fate::Silent,
        Fate::Rejected,
        Fate::Unknown,
        Fate::Withdrawn,
    ]);
    let polled = [
        Fate::Polled(2.0, 4.0),
        Fate::Polled(4.0, 6.0),
        Fate::Polled(9.0, 11.0),
        Fate::Polled(19.0, 21.0),
    ];
    vec![
        Route { share: 0.9, min_n: 5, ..Route::new("ssh-failed", &ssh) },
        Route { kind: "poll", share: 0.5, ..Route::new("cloud-key", &polled) },
        Route {
            blind: Some("503 Service Unavailable".into()),
            ..Route::new("web-shell", &[Fate::Seen(1.0), Fate::Silent])
        },
    ]
}
