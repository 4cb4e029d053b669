//! Sightings that are none of ours, told apart and counted, before they are rows.
//!
//! The store says whether it knows the canary and whether this watcher recorded this sighting before.
//! A repeat is a duplicate within its canary's time (up to the last horizon of its route), and replayed
//! after it. A record that is what was sent, at a place of alerts, is an echo: it proves no detection,
//! and it is refused here because only the store remembers what every run sent. However many strays a
//! batch holds, it gets one row for each watcher and class.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::store::Store;
use super::{LedgerError, RoutePlan, SightingRow, Stage, Stray, StrayClass};
use crate::matching::is_echo;

/// How much of a stray is kept as its example.
const EXCERPT: usize = 512;

/// Tells strays apart.
#[derive(Default)]
pub(super) struct Classes {
    /// The last horizon of each route, of the runs that were asked about.
    horizons: HashMap<u32, Vec<Option<u64>>>,
}

impl Classes {
    /// The class of a sighting; `None` for one of ours that is new. `record` is what it was read from.
    pub fn classify(
        &mut self,
        store: &dyn Store,
        sighting: &SightingRow,
        record: Option<&[u8]>,
    ) -> Result<Option<StrayClass>, LedgerError> {
        if !store.knows(sighting.canary)? {
            return Ok(Some(StrayClass::Unknown));
        }
        // An echo is never recorded as a sighting: a repeat needs no bodies.
        if store.has_sighting(&sighting.watcher, &sighting.native_id, sighting.canary)? {
            // The same alert again says something only about who sent it so late.
            let late = self.is_over(store, sighting)?;
            return Ok(Some(if late { StrayClass::Replayed } else { StrayClass::Duplicate }));
        }
        let record = record.filter(|_| sighting.stage >= Stage::Detected);
        let Some(record) = record else { return Ok(None) };
        let echo = is_echo(record, &store.bodies(sighting.canary)?);
        Ok(echo.then_some(StrayClass::Echoed))
    }

    /// True when the last horizon of the sighting's canary had passed when it came, at the earliest.
    fn is_over(&mut self, store: &dyn Store, sighting: &SightingRow) -> Result<bool, LedgerError> {
        let Some(intent) = store.planned(sighting.canary)? else { return Ok(false) };
        if let Entry::Vacant(run) = self.horizons.entry(intent.run) {
            let routes = store.run_row(intent.run)?.map(|run| run.routes).unwrap_or_default();
            let last = |route: &RoutePlan| route.expectations.iter().map(|e| e.horizon_ns).max();
            run.insert(routes.iter().map(last).collect());
        }
        let of_run = self.horizons.get(&intent.run);
        let horizon = of_run.and_then(|routes| *routes.get(intent.route as usize)?);
        let came = sighting.not_before.as_ref().unwrap_or(&sighting.observed);
        let age = came.since(&intent.intended).ns;
        Ok(horizon.is_some_and(|horizon| age > 0 && age.unsigned_abs() > horizon))
    }
}

/// Counts a stray in the one row that its batch, watcher and class get.
pub(super) fn count(strays: &mut Vec<Stray>, class: StrayClass, sighting: SightingRow) {
    let same = strays.iter_mut().find(|s| s.class == class && s.watcher == sighting.watcher);
    if let Some(stray) = same {
        stray.count += 1;
        stray.at = sighting.observed;
        return;
    }
    let excerpt = sighting.excerpt.chars().take(EXCERPT).collect();
    strays.push(Stray {
        watcher: sighting.watcher,
        class,
        at: sighting.observed,
        count: 1,
        excerpt,
    });
}
