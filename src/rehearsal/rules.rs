//! A set of Sigma rules, loaded with what could not be used, and evaluated event by event.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dwell_injectors::recipe::LogSource;
use rsigma_eval::correlation::compile_correlation;
use rsigma_eval::{
    CompiledCorrelation, CompiledRule, CorrelationAction, CorrelationConfig, CorrelationEngine,
    JsonEvent, compile_rule,
};
use rsigma_parser::{CorrelationRule, SigmaCollection, SigmaRule, parse_sigma_yaml};
use serde::Serialize;
use serde_json::Value;

use super::refuse::{Called, RefusedRule, unparsed, without_verdict};
use super::sources::{OtherRule, about, in_words};
use super::view::{FieldMap, under_both_names};

/// Largest rule file, bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// Most rule files.
const MAX_FILES: usize = 50_000;
/// Deepest folder below the one given.
const MAX_DEPTH: usize = 12;

/// Why no rule set could be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A path cannot be read.
    #[error("rules {path}: {reason}; check the path and its permissions")]
    Unreadable {
        /// The path.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The rules refer to each other in a circle.
    #[error("rules: {reason}")]
    Together {
        /// What the engine said.
        reason: String,
    },
}

/// A rule that fired.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RuleMatch {
    /// The rule's id, where it has one.
    pub id: Option<String>,
    /// The rule's title.
    pub title: String,
    /// `informational` to `critical`.
    pub level: Option<String>,
    /// Tags as written.
    pub tags: Vec<String>,
    /// True for a correlation: its alert holds the group-by fields and nothing else of the events.
    pub correlation: bool,
    /// Group-by fields with their values; empty for a single-event rule.
    pub group_by: Vec<(String, String)>,
    /// The aggregate that met the condition, for a correlation.
    pub count: Option<f64>,
}

/// A rule that fired, and the time of the event that made it fire.
#[derive(Clone, PartialEq, Debug)]
pub struct Fired {
    /// The rule.
    pub rule: RuleMatch,
    /// The event's own time, nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

/// An event with its own time.
#[derive(Clone, PartialEq, Debug)]
pub struct Timed {
    /// The event's fields.
    pub event: Value,
    /// Its own time, nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

/// Loaded rules and the state of their correlations.
pub struct RuleSet {
    engine: CorrelationEngine,
    collection: SigmaCollection,
    /// The collection's single-event rules, compiled, in its order: explanations need them.
    compiled: Vec<CompiledRule>,
    /// Ids and titles of rules that only feed a correlation.
    feeders: BTreeSet<String>,
    field_map: FieldMap,
    refused: Vec<RefusedRule>,
}

impl std::fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleSet")
            .field("rules", &self.len())
            .field("refused", &self.refused.len())
            .finish_non_exhaustive()
    }
}

impl RuleSet {
    /// Loads files and folders (`.yml`, `.yaml`, followed downwards).
    pub fn load(paths: &[PathBuf]) -> Result<RuleSet, RuleError> {
        let mut files = Vec::new();
        for path in paths {
            walk(path, 0, &mut files)?;
        }
        files.sort();
        files.dedup();
        let mut texts = Vec::with_capacity(files.len());
        let mut refused = Vec::new();
        for file in files {
            let name = file.display().to_string();
            match read(&file) {
                Ok(text) => texts.push((name, text)),
                Err(reason) => refused.push(RefusedRule::new(&name, Called::default(), &reason)),
            }
        }
        RuleSet::build(&texts, refused)
    }

    /// Makes a rule set of texts, each with a name for messages.
    pub fn from_texts(texts: &[(String, String)]) -> Result<RuleSet, RuleError> {
        RuleSet::build(texts, Vec::new())
    }

    fn build(
        texts: &[(String, String)],
        mut refused: Vec<RefusedRule>,
    ) -> Result<RuleSet, RuleError> {
        let called = |title: &str, id: &Option<String>| Called::new(title, id.as_deref());
        let mut usable = SigmaCollection::new();
        let mut compiled = Vec::new();
        let mut correlations = Vec::new();
        for (file, text) in texts {
            let parsed = match parse_sigma_yaml(text) {
                Ok(parsed) => parsed,
                Err(error) => {
                    refused.extend(unparsed(file, text, &[error.to_string()]));
                    continue;
                }
            };
            refused.extend(unparsed(file, text, &parsed.errors));
            for rule in parsed.rules {
                let verdict = match without_verdict(&rule) {
                    Some(reason) => Err(reason),
                    None => compile_rule(&rule).map_err(|error| error.to_string()),
                };
                match verdict {
                    Ok(rule_compiled) => {
                        usable.rules.push(rule);
                        compiled.push(rule_compiled);
                    }
                    Err(reason) => {
                        refused.push(RefusedRule::new(file, called(&rule.title, &rule.id), &reason))
                    }
                }
            }
            usable.filters.extend(parsed.filters);
            correlations.extend(parsed.correlations.into_iter().map(|rule| (file.clone(), rule)));
        }
        let known = names(&usable, &correlations);
        for (file, rule) in correlations {
            let missing = rule.rules.iter().find(|name| !known.contains(*name));
            let problem = match (missing, compile_correlation(&rule)) {
                (Some(name), _) => Some(format!("refers to `{name}`, which is not here")),
                (None, Err(error)) => Some(error.to_string()),
                (None, Ok(_)) => None,
            };
            match problem {
                Some(reason) => {
                    refused.push(RefusedRule::new(&file, called(&rule.title, &rule.id), &reason))
                }
                None => usable.correlations.push(rule),
            }
        }
        let feeders = feeders(&usable);
        let engine = engine(&usable)?;
        let field_map = FieldMap::new();
        Ok(RuleSet { engine, collection: usable, compiled, feeders, field_map, refused })
    }

    /// The same rules, looking for fields under these names too.
    pub fn with_field_map(mut self, map: FieldMap) -> RuleSet {
        self.field_map = map;
        self
    }

    /// The rules about these logs, and which of all, rules first, those are.
    pub(super) fn about(&self, sources: &[LogSource]) -> Result<(RuleSet, Vec<bool>), RuleError> {
        let (rules, correlations) = about(&self.collection, sources);
        let mut collection = SigmaCollection::new();
        let kept = self.collection.rules.iter().zip(&rules).filter(|(_, about)| **about);
        collection.rules = kept.map(|(rule, _)| rule.clone()).collect();
        let kept = self.collection.correlations.iter().zip(&correlations);
        let kept = kept.filter(|(_, about)| **about);
        collection.correlations = kept.map(|(rule, _)| rule.clone()).collect();
        collection.filters.clone_from(&self.collection.filters);
        let compiled = self.compiled.iter().zip(&rules).filter(|(_, about)| **about);
        let set = RuleSet {
            engine: engine(&collection)?,
            collection,
            compiled: compiled.map(|(rule, _)| rule.clone()).collect(),
            feeders: self.feeders.clone(),
            field_map: self.field_map.clone(),
            refused: Vec::new(),
        };
        Ok((set, [rules, correlations].concat()))
    }

    /// Rules and correlations that are not among those marked, in the same order.
    pub(super) fn others(&self, marked: &[bool]) -> Vec<OtherRule> {
        let rules = self.collection.rules.iter().map(|rule| OtherRule {
            id: rule.id.clone(),
            title: rule.title.clone(),
            log_source: in_words(&rule.logsource),
        });
        let correlations = self.collection.correlations.iter().map(|rule| OtherRule {
            id: rule.id.clone(),
            title: rule.title.clone(),
            log_source: format!("that of {}", rule.rules.join(", ")),
        });
        let all = rules.chain(correlations).zip(marked);
        all.filter(|(_, marked)| !**marked).map(|(rule, _)| rule).collect()
    }

    /// True when a rule has this id, or a title that holds the text; also one that is refused.
    pub fn holds_called(&self, wanted: &str) -> bool {
        let rules = self.collection.rules.iter().map(|rule| (&rule.title, &rule.id));
        let correlations = self.collection.correlations.iter().map(|rule| (&rule.title, &rule.id));
        let usable =
            rules.chain(correlations).any(|(title, id)| is_called(title, id.as_deref(), wanted));
        usable || self.refused.iter().any(|rule| rule.is_called(wanted))
    }

    /// Number of rules that can be evaluated, correlations included.
    pub fn len(&self) -> usize {
        self.collection.rules.len() + self.collection.correlations.len()
    }

    /// True when no rule can be evaluated.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when it holds a correlation: then verdicts depend on earlier events.
    pub fn correlates(&self) -> bool {
        !self.collection.correlations.is_empty()
    }

    /// Rules that cannot be evaluated.
    pub fn refused(&self) -> &[RefusedRule] {
        &self.refused
    }

    /// Shows the rules one event, in the order of time; `time_ns` is the event's own time.
    /// Rules that only feed a correlation do not appear among the matches.
    pub fn evaluate(&mut self, event: &Value, time_ns: i64) -> Vec<RuleMatch> {
        let mut found = self.evaluate_all(event, time_ns);
        found.retain(|found| found.correlation || !self.feeds(found));
        found
    }

    /// Shows the rules a sequence of events. Rules that only feed a correlation are among the matches.
    pub fn evaluate_sequence(&mut self, events: &[Timed]) -> Vec<Fired> {
        let mut fired = Vec::new();
        for timed in events {
            let found = self.evaluate_all(&timed.event, timed.time_ns).into_iter();
            fired.extend(found.map(|rule| Fired { rule, time_ns: timed.time_ns }));
        }
        fired
    }

    /// The same as [`RuleSet::evaluate`] with the rules that only feed a correlation.
    fn evaluate_all(&mut self, event: &Value, time_ns: i64) -> Vec<RuleMatch> {
        let view = under_both_names(event, &self.field_map);
        let seconds = time_ns.div_euclid(1_000_000_000);
        let results = self.engine.process_event_at(&JsonEvent::borrow(&view), seconds);
        results
            .into_iter()
            .map(|result| {
                let correlation = result.as_correlation();
                RuleMatch {
                    correlation: correlation.is_some(),
                    group_by: correlation.map(|c| c.group_key.clone()).unwrap_or_default(),
                    count: correlation.map(|c| c.aggregated_value),
                    id: result.header.rule_id.clone(),
                    title: result.header.rule_title.clone(),
                    level: result.header.level.map(|level| level.as_str().to_owned()),
                    tags: result.header.tags.clone(),
                }
            })
            .collect()
    }

    /// Whether what fired raises no alert of its own.
    pub(super) fn feeds(&self, found: &RuleMatch) -> bool {
        match &found.id {
            Some(id) => self.feeders.contains(id),
            None => self.feeders.contains(&found.title),
        }
    }

    /// Forgets what the correlations have seen.
    pub fn reset(&mut self) -> Result<(), RuleError> {
        self.engine = engine(&self.collection)?;
        Ok(())
    }

    /// The single-event rules, compiled, each with whether it only feeds a correlation.
    pub(super) fn compiled(&self) -> impl Iterator<Item = (&CompiledRule, &SigmaRule, bool)> {
        self.compiled.iter().zip(&self.collection.rules).map(|(compiled, rule)| {
            let key = rule.id.as_ref().unwrap_or(&rule.title);
            (compiled, rule, self.feeders.contains(key))
        })
    }

    /// The correlation of that id or name.
    pub(super) fn correlation_named(&self, name: &str) -> Option<&CorrelationRule> {
        self.collection
            .correlations
            .iter()
            .find(|rule| rule.id.as_deref() == Some(name) || rule.name.as_deref() == Some(name))
    }

    /// The correlations, compiled.
    pub(super) fn correlations(&self) -> impl Iterator<Item = CompiledCorrelation> {
        self.collection.correlations.iter().filter_map(|rule| compile_correlation(rule).ok())
    }

    /// Under which names fields are looked for.
    pub(super) fn field_names(&self) -> &FieldMap {
        &self.field_map
    }
}

/// Whether a person who writes `wanted` means this rule.
pub fn is_called(title: &str, id: Option<&str>, wanted: &str) -> bool {
    id == Some(wanted) || title.to_lowercase().contains(&wanted.to_lowercase())
}

/// Everything that a correlation may refer to.
fn names(
    usable: &SigmaCollection,
    correlations: &[(String, rsigma_parser::CorrelationRule)],
) -> BTreeSet<String> {
    let rules = usable.rules.iter().map(|rule| (&rule.id, &rule.name));
    let correlations = correlations.iter().map(|(_, rule)| (&rule.id, &rule.name));
    rules.chain(correlations).flat_map(|(id, name)| [id.clone(), name.clone()]).flatten().collect()
}

fn feeders(collection: &SigmaCollection) -> BTreeSet<String> {
    let referred: BTreeSet<&String> = collection
        .correlations
        .iter()
        .filter(|rule| !rule.generate)
        .flat_map(|rule| &rule.rules)
        .collect();
    collection
        .rules
        .iter()
        .filter(|rule| [&rule.id, &rule.name].into_iter().flatten().any(|n| referred.contains(n)))
        .map(|rule| rule.id.clone().unwrap_or_else(|| rule.title.clone()))
        .collect()
}

fn engine(collection: &SigmaCollection) -> Result<CorrelationEngine, RuleError> {
    let mut engine = CorrelationEngine::new(CorrelationConfig {
        // One alert a burst, as products with a threshold rule do, not one more per further event.
        action_on_match: CorrelationAction::Reset,
        max_group_entries: Some(10_000),
        ..CorrelationConfig::default()
    });
    engine
        .add_collection(collection)
        .map_err(|error| RuleError::Together { reason: error.to_string() })?;
    Ok(engine)
}

fn walk(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), RuleError> {
    let unreadable =
        |reason: String| RuleError::Unreadable { path: path.display().to_string(), reason };
    let meta = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if meta.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH || files.len() > MAX_FILES {
        return Err(unreadable(format!(
            "more than {MAX_FILES} files or {MAX_DEPTH} levels of folders"
        )));
    }
    for entry in fs::read_dir(path).map_err(|error| unreadable(error.to_string()))? {
        let entry = entry.map_err(|error| unreadable(error.to_string()))?.path();
        let rule = entry.extension().is_some_and(|e| e == "yml" || e == "yaml");
        if entry.is_dir() || rule {
            walk(&entry, depth + 1, files)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, String> {
    let length = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!("{length} bytes, more than {MAX_FILE}"));
    }
    fs::read_to_string(file).map_err(|error| error.to_string())
}
