//! Why a correlation does not fire on a sequence of events: what fed it, how many, in which groups
//! and within which span. A correlation of correlations is fed by what those reported, at their times.

use std::collections::BTreeMap;

use rsigma_eval::{CompiledCorrelation, Event as _, EventValue, JsonEvent, evaluate_rule};
use rsigma_parser::{ConditionOperator, CorrelationRule, CorrelationType};
use serde::Serialize;
use serde_json::Value;

use super::explain::explain_document;
use super::rules::{Fired, RuleSet, Timed};
use super::view::under_both_names;

/// What became of one correlation on a sequence of events.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CorrelationStory {
    /// The correlation's title.
    pub title: String,
    /// The correlation's id.
    pub id: Option<String>,
    /// `event_count`, `value_count`, `temporal`, ...
    pub kind: String,
    /// Its group-by fields.
    pub group_by: Vec<String>,
    /// Its window, seconds.
    pub window_s: u64,
    /// What its condition asks for, in words.
    pub wants: String,
    /// Whether it fires.
    pub matched: bool,
    /// Why not, line by line; empty when it fires.
    pub reasons: Vec<String>,
}

/// One event, or one report of another correlation, that fed a correlation.
struct Fed<'a> {
    rule: &'a str,
    second: i64,
    group: Vec<Option<String>>,
    value: Option<String>,
}

/// Explains every correlation of a set on a sequence of events in the order of time. `fired` is what
/// [`RuleSet::evaluate_sequence`] reported of them.
pub fn explain_correlation(
    set: &RuleSet,
    events: &[Timed],
    fired: &[Fired],
) -> Vec<CorrelationStory> {
    set.correlations()
        .map(|rule| {
            let matched = fired.iter().any(|one| is_of(one, rule.id.as_deref(), &rule.title));
            let reasons = if matched { Vec::new() } else { reasons(set, &rule, events, fired) };
            CorrelationStory {
                kind: rule.correlation_type.as_str().to_owned(),
                group_by: rule.group_by.iter().map(|field| field.name().to_owned()).collect(),
                window_s: rule.timespan_secs,
                wants: wants(&rule),
                title: rule.title,
                id: rule.id,
                matched,
                reasons,
            }
        })
        .collect()
}

fn is_of(fired: &Fired, id: Option<&str>, title: &str) -> bool {
    fired.rule.correlation && fired.rule.id.as_deref() == id && fired.rule.title == title
}

fn reasons(
    set: &RuleSet,
    rule: &CompiledCorrelation,
    events: &[Timed],
    fired: &[Fired],
) -> Vec<String> {
    let views: Vec<Value> =
        events.iter().map(|timed| under_both_names(&timed.event, set.field_names())).collect();
    let mut fed = Vec::new();
    let mut lines = Vec::new();
    for wanted in &rule.rule_refs {
        let before = fed.len();
        if let Some(other) = set.correlation_named(wanted) {
            feed_reports(rule, wanted, other, fired, &mut fed);
            if fed.len() == before {
                lines.push(format!("correlation `{wanted}` does not fire"));
            }
            continue;
        }
        feed(set, rule, wanted, events, &views, &mut fed);
        let n = fed.len() - before;
        if n < events.len() {
            lines.push(format!("rule `{wanted}` matches {n} of {} events", events.len()));
        }
        if n == 0
            && let Some(first) = events.first()
        {
            lines.extend(why_unfed(set, wanted, &first.event));
        }
    }
    lines.extend(absent_groups(rule, &fed));
    lines.extend(best_group(rule, &fed));
    lines
}

fn feed<'a>(
    set: &RuleSet,
    correlation: &CompiledCorrelation,
    wanted: &'a str,
    events: &[Timed],
    views: &[Value],
    fed: &mut Vec<Fed<'a>>,
) {
    for (compiled, rule, _) in set.compiled() {
        let names = [rule.id.as_deref(), rule.name.as_deref()];
        if !names.contains(&Some(wanted)) {
            continue;
        }
        let names: Vec<&str> = names.into_iter().flatten().collect();
        for (timed, view) in events.iter().zip(views) {
            let event = JsonEvent::borrow(view);
            if evaluate_rule(compiled, &event).is_none() {
                continue;
            }
            let text = |field: &str| event.get_field(field).as_ref().and_then(as_text);
            let values = correlation.condition.field.as_ref().map(|fields| {
                fields.iter().map(|field| text(field).unwrap_or_default()).collect::<Vec<_>>()
            });
            fed.push(Fed {
                rule: wanted,
                second: timed.time_ns.div_euclid(1_000_000_000),
                group: correlation.group_by.iter().map(|g| text(g.resolve(&names))).collect(),
                value: values.map(|values| values.join("/")),
            });
        }
    }
}

/// What another correlation reported: it holds the group-by fields and nothing else of the events.
fn feed_reports<'a>(
    correlation: &CompiledCorrelation,
    wanted: &'a str,
    other: &CorrelationRule,
    fired: &[Fired],
    fed: &mut Vec<Fed<'a>>,
) {
    let names: Vec<&str> =
        [&other.id, &other.name].into_iter().flatten().map(String::as_str).collect();
    for one in fired.iter().filter(|one| is_of(one, other.id.as_deref(), &other.title)) {
        let text = |field: &str| {
            let held = one.rule.group_by.iter().find(|(name, _)| name == field);
            held.map(|(_, value)| value.clone())
        };
        let values = correlation.condition.field.as_ref().map(|fields| {
            fields.iter().map(|field| text(field).unwrap_or_default()).collect::<Vec<_>>()
        });
        fed.push(Fed {
            rule: wanted,
            second: one.time_ns.div_euclid(1_000_000_000),
            group: correlation.group_by.iter().map(|g| text(g.resolve(&names))).collect(),
            value: values.map(|values| values.join("/")),
        });
    }
}

fn why_unfed(set: &RuleSet, wanted: &str, event: &Value) -> Vec<String> {
    let title = set
        .compiled()
        .find(|(_, rule, _)| {
            rule.id.as_deref() == Some(wanted) || rule.name.as_deref() == Some(wanted)
        })
        .map(|(rule, ..)| rule.title.as_str());
    explain_document(set, event)
        .into_iter()
        .filter(|story| Some(story.title.as_str()) == title)
        .flat_map(|story| story.reasons)
        .map(|reason| format!("first event: {}", reason.text))
        .collect()
}

fn absent_groups(rule: &CompiledCorrelation, fed: &[Fed<'_>]) -> Vec<String> {
    rule.group_by
        .iter()
        .enumerate()
        .filter_map(|(index, field)| {
            let absent = fed.iter().filter(|f| f.group.get(index).is_some_and(Option::is_none));
            let n = absent.count();
            (n > 0).then(|| {
                format!("group-by `{}` is absent from {n} of {} events", field.name(), fed.len())
            })
        })
        .collect()
}

/// Tells how near the best group came: its aggregate over all events and within one window.
fn best_group(rule: &CompiledCorrelation, fed: &[Fed<'_>]) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<&Fed<'_>>> = BTreeMap::new();
    for one in fed {
        groups.entry(group_name(rule, one)).or_default().push(one);
    }
    let best = groups.iter().max_by_key(|(_, fed)| aggregate(rule, fed));
    let Some((name, fed)) = best else { return Vec::new() };
    let whole = aggregate(rule, fed);
    let window = i64::try_from(rule.timespan_secs).unwrap_or(i64::MAX);
    let within = fed
        .iter()
        .map(|first| {
            let span: Vec<&Fed<'_>> = fed
                .iter()
                .copied()
                .filter(|f| f.second >= first.second && f.second - first.second <= window)
                .collect();
            aggregate(rule, &span)
        })
        .max()
        .unwrap_or_default();
    let mut lines = vec![format!(
        "count: {within} within {window} s in group {name}, the rule wants {}",
        wants(rule)
    )];
    if within < whole {
        let seconds = fed.iter().map(|f| f.second);
        let span = seconds.clone().max().unwrap_or(0) - seconds.min().unwrap_or(0);
        lines.push(format!(
            "window: the group has {whole} over {span} s, the rule looks at {window} s"
        ));
    }
    if groups.len() > 1 {
        lines.push(format!("group-by spreads the events over {} groups", groups.len()));
    }
    // Where one of them is missing altogether, order is not what is wrong.
    let ordered = rule.correlation_type == CorrelationType::TemporalOrdered;
    if ordered && whole == rule.rule_refs.len() && !in_order(rule, fed) {
        lines.push(format!("order: the rule wants {}", rule.rule_refs.join(", then ")));
    }
    lines
}

fn group_name(rule: &CompiledCorrelation, fed: &Fed<'_>) -> String {
    if rule.group_by.is_empty() {
        return "of all events".into();
    }
    let parts = rule.group_by.iter().zip(&fed.group).map(|(field, value)| {
        format!("{}={}", field.name(), value.as_deref().unwrap_or("(absent)"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// What the correlation counts: events, distinct values, or distinct rules.
fn aggregate(rule: &CompiledCorrelation, fed: &[&Fed<'_>]) -> usize {
    let distinct = |values: Vec<&str>| {
        let mut values = values;
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    match rule.correlation_type {
        CorrelationType::ValueCount => {
            distinct(fed.iter().filter_map(|f| f.value.as_deref()).collect())
        }
        CorrelationType::Temporal | CorrelationType::TemporalOrdered => {
            distinct(fed.iter().map(|f| f.rule).collect())
        }
        _ => fed.len(),
    }
}

fn in_order(rule: &CompiledCorrelation, fed: &[&Fed<'_>]) -> bool {
    let mut after = i64::MIN;
    rule.rule_refs.iter().all(|wanted| {
        let next =
            fed.iter().filter(|f| f.rule == wanted && f.second >= after).map(|f| f.second).min();
        after = next.unwrap_or(i64::MAX);
        next.is_some()
    })
}

fn wants(rule: &CompiledCorrelation) -> String {
    if matches!(rule.correlation_type, CorrelationType::Temporal | CorrelationType::TemporalOrdered)
    {
        let joint =
            if rule.correlation_type == CorrelationType::Temporal { " and " } else { ", then " };
        return rule.rule_refs.join(joint);
    }
    let sign = |operator: &ConditionOperator| match operator {
        ConditionOperator::Lt => "<",
        ConditionOperator::Lte => "<=",
        ConditionOperator::Gt => ">",
        ConditionOperator::Gte => ">=",
        ConditionOperator::Eq => "=",
        ConditionOperator::Neq => "!=",
    };
    let mut text: Vec<String> =
        rule.condition.predicates.iter().map(|(op, n)| format!("{} {n}", sign(op))).collect();
    if let Some(fields) = &rule.condition.field {
        text.push(format!("distinct {}", fields.join("/")));
    }
    text.join(" ")
}

fn as_text(value: &EventValue<'_>) -> Option<String> {
    match value {
        EventValue::Str(text) => Some(text.to_string()),
        EventValue::Int(n) => Some(n.to_string()),
        EventValue::Float(n) => Some(n.to_string()),
        EventValue::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}
