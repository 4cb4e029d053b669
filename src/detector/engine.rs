//! The engine: takes records in, makes them searchable when they are due, and evaluates rules when
//! those are. It reads the clock but never waits, so that a test can drive it through hours.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::stamp::{Clock, Stamp};
use jiff::tz::TimeZone;

use super::index::{Document, Index};
use super::outlet::{Alert, AlertBody, AlertRule};
use super::parser::{ParserSet, Reading};
use super::random::Draws;
use super::rule::{Firing, Scheduled};
use super::settings::{DetectorError, Outage, OutageOf, Settings};
use super::truth::{Truth, TruthRow, cut};
use crate::rehearsal::field_map;

/// Most records that wait to become searchable.
const MAX_WAITING: usize = 1_000_000;

/// A record as a source read it.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Index of the source.
    pub source: usize,
    /// The record without its line end.
    pub text: String,
    /// When it was read.
    pub read: Stamp,
}

/// What a step brought about.
#[derive(Debug, Default)]
pub struct Step {
    /// Alerts, each for one outlet.
    pub alerts: Vec<Alert>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Engine {
    clock: Arc<dyn Clock>,
    truth: Truth,
    started: Stamp,
    ahead_ns: i64,
    sources: Vec<Source>,
    parsers: ParserSet,
    index: Arc<RwLock<Index>>,
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    held: std::collections::HashMap<u64, Held>,
    rules: Vec<Scheduled>,
    outages: Vec<Outage>,
    records: u64,
    alerts: u64,
}

#[derive(Debug)]
struct Source {
    settings: super::settings::SourceSettings,
    zone: TimeZone,
    draws: Draws,
}

#[derive(Debug)]
struct Held {
    document: Document,
    text: String,
}

impl Engine {
    /// Loads rules and parsers; time begins now.
    pub fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        truth: Truth,
    ) -> Result<Engine, DetectorError> {
        let started = clock.now();
        let catalogue =
            Catalogue::embedded().map_err(|e| DetectorError::Environment(e.to_string()))?;
        let fields = field_map(&catalogue);
        let rules = settings
            .rules
            .iter()
            .map(|rule| Scheduled::new(rule, settings, &catalogue, &fields, started.boot_ns))
            .collect::<Result<_, _>>()?;
        let sources = settings
            .sources
            .iter()
            .map(|source| {
                Ok(Source {
                    zone: TimeZone::get(&source.time_zone)
                        .map_err(|e| DetectorError::Settings(e.to_string()))?,
                    draws: Draws::new(settings.seed, &format!("source {}", source.name)),
                    settings: source.clone(),
                })
            })
            .collect::<Result<_, DetectorError>>()?;
        Ok(Engine {
            clock,
            truth,
            started,
            ahead_ns: settings.clock_ahead_ms.saturating_mul(1_000_000),
            sources,
            parsers: ParserSet::new(&settings.parsers).map_err(DetectorError::Settings)?,
            index: Arc::new(RwLock::new(Index::new(settings.keep))),
            waiting: BinaryHeap::new(),
            held: std::collections::HashMap::new(),
            rules,
            outages: settings.outages.clone(),
            records: 0,
            alerts: 0,
        })
    }

    /// What can be found.
    pub fn index(&self) -> Arc<RwLock<Index>> {
        Arc::clone(&self.index)
    }

    /// Number of Sigma rules that can be evaluated.
    pub fn rules(&self) -> usize {
        self.rules.iter().map(Scheduled::len).sum()
    }

    /// Takes one record in: it is lost, or searchable after its delay.
    pub fn accept(&mut self, record: Intake) {
        let Some(source) = self.sources.get_mut(record.source) else { return };
        // All draws of a record are taken whatever becomes of it: its fate depends on its number
        // and on nothing that befell the records before it.
        let lost = source.draws.chance(source.settings.loss);
        let twice = source.draws.chance(source.settings.duplicates);
        let delay = source.draws.delay(&source.settings.delay);
        if lost || self.waiting.len() >= MAX_WAITING {
            self.truth.note(TruthRow::Lost {
                source: source.settings.name.clone(),
                stamp: record.read,
                text: cut(&record.text),
            });
            return;
        }
        let fields = self.parsers.read(
            &record.text,
            Reading {
                parsers: &source.settings.parsers,
                read_ns: record.read.wall_ns,
                zone: &source.zone,
                drop_fields: &source.settings.drop_fields,
            },
        );
        let due = record.read.boot_ns.saturating_add(delay);
        for _ in 0..1 + usize::from(twice) {
            let number = self.records;
            self.records += 1;
            let document = Document {
                id: format!("doc-{:x}-{number}", self.started.wall_ns),
                ingested_ns: 0,
                document: fields.document.clone(),
                position: 0,
                time_ns: fields.time_ns,
                source: record.source,
                since_boot_ns: 0,
            };
            self.waiting.push(Reverse((due, number)));
            self.held.insert(number, Held { document, text: record.text.clone() });
        }
    }

    /// Does everything that is due now.
    pub fn step(&mut self) -> Result<Step, DetectorError> {
        self.ingest();
        let mut step = Step::default();
        for number in 0..self.rules.len() {
            let now = self.clock.now();
            let rule = &mut self.rules[number];
            if rule.due_boot_ns > now.boot_ns {
                continue;
            }
            rule.reschedule(now.boot_ns);
            if within(&self.outages, OutageOf::Rules, now.since(&self.started).ns) {
                continue;
            }
            let firings = {
                let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
                rule.evaluate(&index, now.boot_ns)?
            };
            for firing in firings {
                self.raise(number, firing, &mut step);
            }
        }
        Ok(step)
    }

    fn ingest(&mut self) {
        while let Some(Reverse((due, number))) = self.waiting.peek().copied() {
            if due > self.clock.now().boot_ns {
                return;
            }
            self.waiting.pop();
            let Some(mut held) = self.held.remove(&number) else { continue };
            let source = held.document.source;
            let id = held.document.id.clone();
            let stamp = {
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                // Read while nobody can search: from the next instant on everybody finds it.
                let stamp = self.clock.now();
                held.document.ingested_ns = stamp.wall_ns.saturating_add(self.ahead_ns);
                held.document.since_boot_ns = stamp.boot_ns;
                index.insert(held.document);
                stamp
            };
            self.truth.note(TruthRow::Searchable {
                document: id,
                source: self.sources[source].settings.name.clone(),
                stamp,
                text: cut(&held.text),
            });
        }
    }

    fn raise(&mut self, rule: usize, firing: Firing, step: &mut Step) {
        let now = self.clock.now();
        let id = format!("alert-{:x}-{}", self.started.wall_ns, self.alerts);
        self.alerts += 1;
        let rule = &mut self.rules[rule];
        self.truth.note(TruthRow::Created {
            alert: id.clone(),
            rule: rule.settings.name.clone(),
            sigma: firing.found.id.clone(),
            title: firing.found.title.clone(),
            document: firing.document,
            stamp: now,
        });
        let event = now.plus_ns(firing.time_ns.saturating_sub(now.wall_ns));
        let body = AlertBody {
            id,
            time: rfc3339(&now.plus_ns(self.ahead_ns)),
            rule: AlertRule {
                id: firing.found.id,
                title: firing.found.title,
                level: firing.found.level,
            },
            event_time: rfc3339(&event),
            fields: firing.fields,
            emitted_ns: 0,
        };
        let due_boot_ns = now.boot_ns.saturating_add(rule.notify_ns());
        for outlet in &rule.settings.outlets {
            let alert = Alert { outlet: outlet.clone(), due_boot_ns, body: body.clone() };
            step.alerts.push(alert);
        }
    }

    /// Time until something is due; zero when it is overdue.
    pub fn until_due(&self) -> Duration {
        let record = self.waiting.peek().map(|Reverse((due, _))| *due);
        let rule = self.rules.iter().map(|rule| rule.due_boot_ns).min();
        let next = record.into_iter().chain(rule).min();
        let now = self.clock.now().boot_ns;
        next.map_or(Duration::from_secs(1), |due| Duration::from_nanos(due.saturating_sub(now)))
    }
}

/// True while an outage of this kind lasts, so many nanoseconds after the start.
pub(super) fn within(outages: &[Outage], of: OutageOf, after_ns: i64) -> bool {
    let after = after_ns.max(0).unsigned_abs();
    outages.iter().any(|o| o.of == of && (o.from.ns()..o.until.ns()).contains(&after))
}

/// RFC 3339 in UTC with nanoseconds.
fn rfc3339(stamp: &Stamp) -> String {
    stamp.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}
