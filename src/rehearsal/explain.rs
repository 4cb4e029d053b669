//! Why a single-event rule does not match a document: field by field, in words.

use rsigma_eval::{
    ConditionTrace, DetectionTrace, ItemTrace, JsonEvent, MatchReason, explain_rule,
};
use serde::Serialize;
use serde_json::Value;

use super::rules::{RuleError, RuleSet};
use super::view::{FieldMap, under_both_names};

/// One field that kept a rule from matching.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FieldReason {
    /// The selection of the rule.
    pub selection: String,
    /// The field; `None` for keywords.
    pub field: Option<String>,
    /// What the rule looks for.
    pub expected: Option<String>,
    /// What the document holds; foreign text.
    pub actual: Option<String>,
    /// In words; may quote foreign text.
    pub text: String,
}

/// What became of one rule on one document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleStory {
    /// The rule's title.
    pub title: String,
    /// The rule's id.
    pub id: Option<String>,
    /// Whether it matches.
    pub matched: bool,
    /// True when the rule alone raises no alert: it feeds a correlation.
    pub feeds_correlation: bool,
    /// Why not; empty when it matches.
    pub reasons: Vec<FieldReason>,
}

/// Explains every single-event rule of a rule text (YAML) on one document, as a SIEM indexed it.
pub fn explain_text(
    rules: &str,
    map: &FieldMap,
    document: &Value,
) -> Result<Vec<RuleStory>, RuleError> {
    let texts = [("rule".to_owned(), rules.to_owned())];
    let set = RuleSet::from_texts(&texts)?.with_field_map(map.clone());
    Ok(explain_document(&set, document))
}

/// Explains every single-event rule of a set on one document.
pub fn explain_document(set: &RuleSet, document: &Value) -> Vec<RuleStory> {
    let view = under_both_names(document, set.field_names());
    let event = JsonEvent::borrow(&view);
    set.compiled()
        .map(|(rule, _, feeds_correlation)| {
            let told = explain_rule(rule, &event);
            let mut reasons = Vec::new();
            if !told.matched {
                for condition in &told.conditions {
                    why_not(condition, &mut reasons);
                }
            }
            RuleStory {
                title: told.rule_title,
                id: told.rule_id,
                matched: told.matched,
                feeds_correlation,
                reasons,
            }
        })
        .collect()
}

/// Collects what made a condition false.
fn why_not(condition: &ConditionTrace, reasons: &mut Vec<FieldReason>) {
    if condition.matched() {
        return;
    }
    match condition {
        ConditionTrace::Selection { name, detection, .. } => leaves(name, detection, reasons),
        ConditionTrace::And { children, .. } | ConditionTrace::Or { children, .. } => {
            children.iter().for_each(|child| why_not(child, reasons));
        }
        ConditionTrace::Not { child, .. } => why_excluded(child, reasons),
        ConditionTrace::Quantified { branches, need, got, quantifier, .. } => {
            for branch in branches.iter().filter(|branch| !branch.matched) {
                leaves(&branch.name, &branch.detection, reasons);
            }
            if branches.is_empty() {
                reasons.push(FieldReason {
                    selection: quantifier.clone(),
                    field: None,
                    expected: Some(need.to_string()),
                    actual: Some(got.to_string()),
                    text: format!("`{quantifier} of` needs {need} selections, {got} matched"),
                });
            }
        }
    }
}

/// Names what matched inside a `not`.
fn why_excluded(condition: &ConditionTrace, reasons: &mut Vec<FieldReason>) {
    let mut push = |selection: &str| {
        reasons.push(FieldReason {
            selection: selection.to_owned(),
            field: None,
            expected: None,
            actual: None,
            text: format!("`{selection}` matches, and the rule excludes it"),
        });
    };
    match condition {
        ConditionTrace::Selection { name, .. } => push(name),
        ConditionTrace::Quantified { branches, .. } => {
            branches.iter().filter(|branch| branch.matched).for_each(|branch| push(&branch.name));
        }
        ConditionTrace::And { children, .. } | ConditionTrace::Or { children, .. } => {
            for child in children.iter().filter(|child| child.matched()) {
                why_excluded(child, reasons);
            }
        }
        ConditionTrace::Not { child, .. } => why_not(child, reasons),
    }
}

fn leaves(selection: &str, detection: &DetectionTrace, reasons: &mut Vec<FieldReason>) {
    if detection.matched() {
        return;
    }
    match detection {
        DetectionTrace::AllOf { items, .. } => {
            let failed = items.iter().filter(|item| !item.matched);
            reasons.extend(failed.map(|item| reason(selection, item)));
        }
        DetectionTrace::AnyOf { branches, .. } | DetectionTrace::And { branches, .. } => {
            branches.iter().for_each(|branch| leaves(selection, branch, reasons));
        }
        DetectionTrace::Keywords { item, .. } => reasons.push(reason(selection, item)),
        DetectionTrace::ArrayMatch { field, quantifier, member_count, matched_count, .. } => {
            reasons.push(FieldReason {
                selection: selection.to_owned(),
                field: Some(field.clone()),
                expected: Some(quantifier.clone()),
                actual: Some(format!("{matched_count} of {member_count}")),
                text: format!(
                    "{selection}: {matched_count} of {member_count} members of `{field}` match, \
                     the rule wants {quantifier}"
                ),
            });
        }
        DetectionTrace::Conditional { condition, .. } => why_not(condition, reasons),
        DetectionTrace::Other { kind, .. } => reasons.push(FieldReason {
            selection: selection.to_owned(),
            field: None,
            expected: None,
            actual: None,
            text: format!("{selection}: {kind}"),
        }),
    }
}

fn reason(selection: &str, item: &ItemTrace) -> FieldReason {
    let field = item.field.as_deref().unwrap_or("any field");
    let actual = item.actual.as_ref().map(plain);
    let wanted = item.pattern.clone().unwrap_or_else(|| format!("{:?}", item.matcher));
    let held = actual.as_deref().unwrap_or_default();
    let text = match item.reason {
        MatchReason::FieldAbsent => format!("`{field}` is not there, the rule wants {wanted}"),
        MatchReason::CaseMismatch => {
            format!("`{field}` is {held:?}, which differs from {wanted} in letter case only")
        }
        MatchReason::Existence => {
            format!("`{field}` should exist or should not, and it is the other way")
        }
        MatchReason::NoKeywordMatch => format!("no field holds the keywords {wanted}"),
        MatchReason::ValueMismatch if held.is_empty() => {
            format!("`{field}` is empty, the rule wants {wanted}")
        }
        MatchReason::ValueMismatch | MatchReason::Matched => {
            format!("`{field}` is {held:?}, the rule wants {wanted}")
        }
    };
    FieldReason {
        selection: selection.to_owned(),
        field: item.field.clone(),
        expected: item.pattern.clone(),
        actual,
        text: format!("{selection}: {text}"),
    }
}

/// A value as people write it, cut.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
