//! A scheduled rule: every period it looks back over what was ingested and fires at most once for
//! the same document, or for the same group of a correlation within its lookback.

use std::collections::{BTreeMap, HashMap};

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::set;
use serde_json::{Map, Value};

use super::index::{Document, Index};
use super::random::{Delay, Draws};
use super::settings::{DetectorError, RuleSettings, RulesFrom, Settings};
use crate::rehearsal::{FieldMap, RuleMatch, RuleSet};

/// Something that fired.
#[derive(Clone, Debug)]
pub struct Firing {
    /// What the rule set reported.
    pub found: RuleMatch,
    /// Fields of the alert: the document's, or the group's alone.
    pub fields: Value,
    /// The document that completed it.
    pub document: String,
    /// That document's own time.
    pub time_ns: i64,
}

/// A rule at work.
#[derive(Debug)]
pub struct Scheduled {
    /// Its settings.
    pub settings: RuleSettings,
    /// When it is due next, boot nanoseconds.
    pub due_boot_ns: u64,
    /// Draws of its notify delay.
    pub draws: Draws,
    set: RuleSet,
    correlates: bool,
    sources: Option<Vec<usize>>,
    /// Document position to when it was looked at.
    seen: BTreeMap<u64, u64>,
    /// Rule and group to when it last fired.
    fired: HashMap<String, u64>,
}

impl Scheduled {
    /// Loads the Sigma rules and sets the first instant.
    pub fn new(
        settings: &RuleSettings,
        all: &Settings,
        catalogue: &Catalogue,
        fields: &FieldMap,
        started_boot_ns: u64,
    ) -> Result<Scheduled, DetectorError> {
        let at = format!("rule {}", settings.name);
        let wrong = |reason: String| DetectorError::Settings(format!("{at}: {reason}"));
        let set = match &settings.rules {
            RulesFrom::Recipe { id } => {
                let entry = catalogue.get(id).ok_or_else(|| {
                    let near = catalogue.suggest(id).map(|n| format!("; did you mean {n:?}?"));
                    wrong(format!("recipe {id:?} is unknown{}", near.unwrap_or_default()))
                })?;
                RuleSet::from_texts(&entry.sigma)
            }
            RulesFrom::Files { paths } => RuleSet::load(paths),
        };
        let set = set.map_err(|e| wrong(e.to_string()))?.with_field_map(fields.clone());
        for refused in set.refused() {
            tracing::warn!(rule = %settings.name, file = %refused.file, reason = %refused.reason, "A Sigma rule cannot be evaluated.");
        }
        if set.is_empty() {
            return Err(wrong("holds no Sigma rule that can be evaluated".into()));
        }
        let mut draws = Draws::new(all.seed, &format!("rule {}", settings.name));
        let drawn = (draws.unit() * settings.every.ns() as f64) as u64;
        let phase = settings.phase.map_or(drawn, |phase| phase.ns());
        let place = |name: &String| all.sources.iter().position(|s| s.name == *name);
        let sources = (!settings.sources.is_empty())
            .then(|| settings.sources.iter().filter_map(place).collect());
        let correlates = set.correlates();
        Ok(Scheduled {
            settings: settings.clone(),
            due_boot_ns: started_boot_ns.saturating_add(phase),
            draws,
            set,
            correlates,
            sources,
            seen: BTreeMap::new(),
            fired: HashMap::new(),
        })
    }

    /// Number of Sigma rules.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// A notify delay.
    pub fn notify_ns(&mut self) -> u64 {
        let delay: Delay = self.settings.notify;
        self.draws.delay(&delay)
    }

    /// Plans the next instant: evaluations that were missed are skipped, the phase stays.
    pub fn reschedule(&mut self, now_boot_ns: u64) {
        let every = self.settings.every.ns().max(1);
        let behind = now_boot_ns.saturating_sub(self.due_boot_ns) / every;
        self.due_boot_ns = self.due_boot_ns.saturating_add((behind + 1).saturating_mul(every));
    }

    /// Looks back from now.
    pub fn evaluate(
        &mut self,
        index: &Index,
        now_boot_ns: u64,
    ) -> Result<Vec<Firing>, DetectorError> {
        let from = now_boot_ns.saturating_sub(self.settings.lookback.ns());
        self.seen.retain(|_, at| *at >= from);
        let mine = |d: &&Document| self.sources.as_ref().is_none_or(|s| s.contains(&d.source));
        let mut window: Vec<&Document> = index.since(from).filter(mine).collect();
        let fresh = window.iter().any(|d| !self.seen.contains_key(&d.position));
        if !fresh || self.settings.silent {
            return Ok(Vec::new());
        }
        if self.correlates {
            // A correlation search starts from nothing each time and sees the whole window.
            let broken = |e: crate::rehearsal::RuleError| DetectorError::Environment(e.to_string());
            self.set.reset().map_err(broken)?;
        } else {
            window.retain(|d| !self.seen.contains_key(&d.position));
        }
        window.sort_by_key(|d| (d.time_ns, d.position));
        let mut firings = Vec::new();
        for document in window {
            let fresh = self.seen.insert(document.position, document.since_boot_ns).is_none();
            for found in self.set.evaluate(&document.document, document.time_ns) {
                if found.correlation {
                    if self.first_of_group(&found, now_boot_ns, from) {
                        firings.push(firing(found, document));
                    }
                } else if fresh {
                    firings.push(firing(found, document));
                }
            }
        }
        Ok(firings)
    }

    fn first_of_group(&mut self, found: &RuleMatch, now_boot_ns: u64, from: u64) -> bool {
        self.fired.retain(|_, at| *at >= from);
        let key = format!("{:?}\0{}\0{:?}", found.id, found.title, found.group_by);
        self.fired.insert(key, now_boot_ns).is_none()
    }
}

fn firing(found: RuleMatch, document: &Document) -> Firing {
    let fields = if found.correlation {
        let mut fields = Value::Object(Map::new());
        for (field, value) in &found.group_by {
            set(&mut fields, field, Value::from(value.as_str()));
        }
        fields
    } else {
        document.document.clone()
    };
    Firing { found, fields, document: document.id.clone(), time_ns: document.time_ns }
}
