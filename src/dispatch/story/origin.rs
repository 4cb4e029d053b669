//! Where a canary came from: its run and route, what was sent, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use dwell_injectors::catalogue::Entry;
use dwell_injectors::injector::Event;
use dwell_injectors::render::Rendered;
use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;

use crate::ledger::{
    Intent, LedgerError, Reader, ReceiptRow, RoutePlan, Row, RunStarted, SightingRow,
};

/// Told wherever fields are compared by a recipe that is not the one of the run.
pub const RECIPE_CHANGED: &str = "the recipe has changed since this run";

/// What the ledger holds of one canary. Point look-ups only: nothing here reads the whole ledger.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its intent.
    pub intent: Intent,
    /// The run that it belongs to.
    pub run: RunStarted,
    /// Its route as that run planned it.
    pub plan: RoutePlan,
    /// Its receipts, by event.
    pub receipts: Vec<ReceiptRow>,
    /// Its sightings, in commit order.
    pub sightings: Vec<SightingRow>,
    /// Why it never left, if it did not.
    pub withdrawn: Option<String>,
    /// When somebody asked about it, and what was answered.
    pub verified: Vec<(Stamp, String)>,
    /// The bodies of its events as rendered, by index; one that was not kept is not here.
    pub bodies: BTreeMap<u32, String>,
}

impl Origin {
    /// Reads it, from those of its rows that are wanted; `None` when this ledger does not hold the canary.
    pub fn find(
        reader: &Reader,
        canary: TokenId,
        wanted: impl Fn(&Row) -> bool,
    ) -> Result<Option<Origin>, LedgerError> {
        let mut intent = None;
        let mut receipts: Vec<ReceiptRow> = Vec::new();
        let mut sightings = Vec::new();
        let mut withdrawn = None;
        let mut verified = Vec::new();
        for (_, row) in reader.rows_of(canary)?.into_iter().filter(|(_, row)| wanted(row)) {
            match row {
                Row::Intent(row) => intent = Some(row),
                Row::Receipt(row) => receipts.push(row),
                Row::Sighting(row) => sightings.push(row),
                Row::Withdrawn(row) => withdrawn = Some(row.reason),
                Row::Verify(row) => verified.push((row.at, row.answer)),
                _ => {}
            }
        }
        let Some(intent) = intent else { return Ok(None) };
        receipts.sort_by_key(|receipt| receipt.event);
        let run = reader.runs()?.into_iter().find(|run| run.run == intent.run);
        let Some(run) = run else { return Ok(None) };
        let Some(plan) = run.routes.get(intent.route as usize).cloned() else { return Ok(None) };
        let mut bodies = BTreeMap::new();
        for event in 0..intent.digests.len() as u32 {
            if let Some(body) = reader.body(canary, event)? {
                bodies.insert(event, body);
            }
        }
        let found = Origin { intent, run, plan, receipts, sightings, withdrawn, verified, bodies };
        Ok(Some(found))
    }

    /// Submission of its first event; the planned instant while no receipt is there.
    pub fn submitted(&self) -> Stamp {
        self.receipts.first().map_or(self.intent.intended, |receipt| receipt.submitted_at)
    }

    /// When the last of its expectations stops waiting, nanoseconds after submission.
    pub fn horizon_ns(&self) -> i64 {
        let last = self.plan.expectations.iter().map(|e| e.horizon_ns).max().unwrap_or(0);
        i64::try_from(last).unwrap_or(i64::MAX)
    }

    /// The route's facts, from the configuration that the run recorded.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let facts = self.route().and_then(|route| route.get("facts").cloned());
        facts.and_then(|facts| serde_json::from_value(facts).ok()).unwrap_or_default()
    }

    /// True when the recipe is not the one that the run used.
    pub fn recipe_changed(&self, entry: &Entry) -> bool {
        self.run.recipes.get(&entry.recipe.id).is_some_and(|digest| *digest != entry.digest)
    }

    /// The program tag that a syslog transport gave to events that are no syslog line themselves.
    pub fn syslog_app(&self) -> Option<String> {
        let name = self.route()?.get("injector")?.as_str()?;
        let injector = self.run.config.get("injectors")?.get(name)?;
        let is_syslog = injector.get("type")?.as_str()? == "syslog";
        is_syslog.then(|| injector.get("app")?.as_str().map(str::to_owned)).flatten()
    }

    /// The route in the configuration that the run recorded.
    fn route(&self) -> Option<&serde_json::Value> {
        let routes = self.run.config.get("routes")?.as_array()?;
        routes.iter().find(|route| {
            route.get("name").and_then(|name| name.as_str()) == Some(self.plan.name.as_str())
        })
    }

    /// What was sent, as far as the ledger kept it, for comparisons with documents.
    pub fn rendered(&self) -> Rendered {
        let start = self.intent.intended;
        let events = self.bodies.iter().map(|(index, body)| {
            let receipt = self.receipts.iter().find(|receipt| receipt.event == *index);
            let at = receipt.map_or(start, |receipt| receipt.submitted_at);
            let offset = u64::try_from(at.since(&start).ns).unwrap_or(0);
            Event {
                index: *index,
                offset: Duration::from_nanos(offset),
                body: body.clone(),
                completing: *index == self.intent.completing,
                syslog: None,
                key: None,
                time_ns: at.wall_ns,
            }
        });
        let events: Vec<Event> = events.collect();
        let completing = events.iter().position(|event| event.completing).unwrap_or(0);
        Rendered { events, completing, token: String::new() }
    }
}
