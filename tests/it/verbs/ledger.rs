//! A folder with a configuration, a key and a ledger whose canaries were rendered by the recipes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use dwell::ledger::{
    Batch, EventResult, Grade, Intent, Ledger, Opening, ReceiptRow, Row, SightingRow, Stage,
    Withdrawn,
};
use dwell_injectors::catalogue::{Catalogue, Entry};
use dwell_injectors::receipt::Strength;
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::{RenderInput, render};
use dwell_injectors::stamp::{Clock, Stamp, SystemClock};
use dwell_injectors::token::{Carrier, Epoch, KeyRing, TokenId};
use serde_json::{Value, json};

pub const SSHD: &str = "fake-login/sshd-failed-password";
pub const OWN: &str = "own/recipe";

pub fn dwell(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dwell")).current_dir(folder).args(args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// See the module's text.
pub struct Lab {
    folder: tempfile::TempDir,
    pub keys: KeyRing,
}

impl Lab {
    /// A configuration and a key, no ledger yet.
    pub fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(dwell(folder.path(), &["init"]).status.code(), Some(0));
        let keys = KeyRing::load(&folder.path().join("dwell.key")).unwrap();
        Lab { folder, keys }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn dwell(&self, args: &[&str]) -> Output {
        dwell(self.path(), args)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.dwell(&[&["--json"], args].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn token(&self, serial: u32, carrier: Carrier) -> String {
        self.keys.mint(Epoch(1), serial).unwrap().text(carrier)
    }

    pub fn open(&self) -> Ledger {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let opening = Opening { verb: "run".to_owned() };
        let path = self.path().join("dwell.db");
        Ledger::open(&path, &self.keys.chain_key(), opening, clock).unwrap()
    }

    pub fn write(&self, batch: Batch) {
        let ledger = self.open();
        ledger.append(batch).wait().unwrap();
        ledger.close(Duration::from_secs(10)).unwrap();
    }

    /// A run with one route per recipe, and a canary of each: serial = route. Returns what was sent.
    pub fn run(&self, recipes: &[&str], ago_s: i64) -> Vec<Vec<String>> {
        let at = SystemClock::new().now().plus_ns(-ago_s * 1_000_000_000);
        let catalogue = self.catalogue();
        let entries: Vec<&Entry> = recipes.iter().map(|id| catalogue.get(id).unwrap()).collect();
        let mut batch = Batch { rows: vec![run_row(&entries, at)], ..Batch::default() };
        let mut sent = Vec::new();
        for (route, entry) in (0u32..).zip(entries) {
            sent.push(self.canary(&mut batch, route, &entry.recipe, at));
        }
        self.write(batch);
        sent
    }

    /// The recipe of an embedded one, as `own/recipe` in the lab's folder; also anew.
    pub fn own_recipe(&self, of: &str, change: impl Fn(&str) -> String) {
        let embedded = Catalogue::embedded().unwrap();
        let text = embedded.get(of).unwrap().source.replacen(of, OWN, 1);
        self.file("recipes/recipe.toml", change(&text).as_bytes());
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue::load(&[self.path().join("recipes")]).unwrap()
    }

    fn canary(&self, batch: &mut Batch, route: u32, recipe: &Recipe, at: Stamp) -> Vec<String> {
        let token = self.keys.mint(Epoch(1), route).unwrap();
        let facts = BTreeMap::new();
        let input =
            RenderInput { token: &token, facts: &facts, time_ns: at.wall_ns, seed: 1, key: None };
        let rendered = render(recipe, &input).unwrap();
        batch.rows.push(Row::Intent(Intent {
            canary: canary(route),
            run: 1,
            route,
            slot: 0,
            intended: at,
            digests: vec!["00".repeat(16); rendered.events.len()],
            completing: rendered.completing as u32,
        }));
        for event in &rendered.events {
            batch.bodies.push((canary(route), event.index, event.body.clone()));
            let submitted = at.plus_ns(i64::try_from(event.offset.as_nanos()).unwrap());
            batch.rows.push(Row::Receipt(ReceiptRow {
                canary: canary(route),
                event: event.index,
                submitted_at: submitted,
                late_ns: 1000,
                result: EventResult::Accepted {
                    at: Some(submitted.plus_ns(50_000)),
                    strength: Strength::Written,
                    place: Some(format!("auth.log:{}", event.index)),
                },
            }));
        }
        rendered.events.into_iter().map(|event| event.body).collect()
    }

    /// A canary that was planned and never left.
    pub fn withdrawn(&self, route: u32) {
        let at = SystemClock::new().now();
        let row = Row::Withdrawn(Withdrawn {
            at,
            run: 1,
            route,
            slot_from: 0,
            slots: 1,
            canary: Some(canary(route)),
            reason: "crash".to_owned(),
        });
        self.write(Batch { rows: vec![row], ..Batch::default() });
    }

    /// Every watcher has proved that it can see, and has looked from the beginning until now.
    pub fn looked(&self) {
        let now = SystemClock::new().now();
        let mut rows = Vec::new();
        for watcher in ["index", "alerts"] {
            let proven =
                json!({"k": "proven", "watcher": watcher, "at": now, "config_digest": "d"});
            let look = |from: i64, to: i64| {
                let [from, to] = [from, to].map(|s| now.plus_ns(s * 1_000_000_000));
                json!({"k": "look", "w": watcher, "f": from, "t": to, "c": true, "u": true, "p": "", "n": 1})
            };
            let all = [proven, look(-150, -5), look(-5, 0)];
            rows.extend(all.map(|row| serde_json::from_value::<Row>(row).unwrap()));
        }
        self.write(Batch { rows, ..Batch::default() });
    }

    /// A sighting with a document.
    pub fn sighted(&self, route: u32, stage: Stage, native_id: &str, excerpt: &str) {
        let observed = SystemClock::new().now();
        let sighting = SightingRow {
            canary: canary(route),
            watcher: if stage == Stage::Ingested { "index" } else { "alerts" }.to_owned(),
            stage,
            observed,
            not_before: None,
            native_id: native_id.to_owned(),
            rule: None,
            rule_names: Vec::new(),
            event_time_ns: Some(observed.wall_ns),
            created_time_ns: None,
            grade: Grade::Exact,
            retrospective: false,
            excerpt: excerpt.to_owned(),
        };
        self.write(Batch { sightings: vec![sighting], ..Batch::default() });
    }
}

pub fn canary(serial: u32) -> TokenId {
    TokenId { epoch: Epoch(1), serial }
}

fn run_row(entries: &[&Entry], at: Stamp) -> Row {
    let digests: BTreeMap<&str, &str> =
        entries.iter().map(|entry| (entry.recipe.id.as_str(), entry.digest.as_str())).collect();
    let routes: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let recipe = &entry.recipe.id;
            json!({"name": format!("route of {recipe}"), "recipe": recipe, "attack": [],
                "enters_at": "host-log", "owner": "SOC", "supplier": false,
                "target": "auth.log", "proof": "written", "planned": 1,
                "expectations": [{"name": "detected", "stage": "detected",
                    "watchers": ["alerts"], "rules": [], "deadline_ns": 30_000_000_000_u64,
                    "horizon_ns": 200_000_000_000_u64, "share": 1.0, "confidence": null,
                    "min_n": 1}]})
        })
        .collect();
    serde_json::from_value(json!({
        "k": "run", "at": at, "run": 1, "campaign": "first", "seed": 1, "arrivals": "stratified",
        "starts": at, "window_ns": 1, "quiet_hours": [], "config_digest": "d", "config": {},
        "recipes": digests, "dialects": {}, "routes": routes,
        "authorisation": {"approved_by": "Head of Security", "contact": "+41 00 000 00 00"},
        "watchers": [
            {"name": "index", "stage": "ingested", "kind": "poll", "dialect": "opensearch",
             "push": false, "resolution_ns": 1, "max_offset_ns": null, "source": "an index"},
            {"name": "alerts", "stage": "detected", "kind": "file", "dialect": "json",
             "push": false, "resolution_ns": 1, "max_offset_ns": null, "source": "a file"}],
    }))
    .unwrap()
}
