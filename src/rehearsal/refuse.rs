//! Rules that cannot be evaluated: which they are, what they are called, and why, in one line.

use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaRule, SigmaValue, parse_sigma_yaml};
use serde::Serialize;

use super::rules::is_called;

/// A rule that cannot be evaluated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefusedRule {
    /// File that holds it.
    pub file: String,
    /// Its title, where it could be read.
    pub title: Option<String>,
    /// Its id, where it has one that could be read.
    pub id: Option<String>,
    /// Why, in one line.
    pub reason: String,
}

/// What a rule is called, as far as it could be read.
#[derive(Clone, Default)]
pub(super) struct Called {
    pub(super) title: Option<String>,
    pub(super) id: Option<String>,
}

impl Called {
    pub(super) fn new(title: &str, id: Option<&str>) -> Called {
        Called { title: Some(title.to_owned()), id: id.map(str::to_owned) }
    }
}

impl RefusedRule {
    /// `reason` may be of several lines.
    pub(super) fn new(file: &str, called: Called, reason: &str) -> RefusedRule {
        let Called { title, id } = called;
        RefusedRule { file: file.to_owned(), title, id, reason: one_line(reason) }
    }

    /// Whether a person who writes `wanted` means this rule.
    pub fn is_called(&self, wanted: &str) -> bool {
        is_called(self.title.as_deref().unwrap_or_default(), self.id.as_deref(), wanted)
    }
}

/// What a parser draws over several lines, without the lines that only point.
fn one_line(text: &str) -> String {
    let drawn = |line: &str| line.chars().all(|c| matches!(c, '|' | '^' | '-' | ' '));
    let lines = text.lines().map(str::trim).filter(|line| !drawn(line));
    lines.collect::<Vec<_>>().join(" ").replace(" = expected", ", expected")
}

/// The documents of a file that its parser refused, with what they are called.
pub(super) fn unparsed(file: &str, text: &str, errors: &[String]) -> Vec<RefusedRule> {
    let called = broken(text);
    // A document may lean on another (`action: global`): then nobody knows whose error it is.
    let known = called.len() == errors.len();
    let called = |index: usize| called.get(index).filter(|_| known).cloned().unwrap_or_default();
    errors
        .iter()
        .enumerate()
        .map(|(index, error)| RefusedRule::new(file, called(index), error))
        .collect()
}

/// What the documents are called that are refused when they stand alone, one for each error.
fn broken(text: &str) -> Vec<Called> {
    let mut documents: Vec<String> = vec![String::new()];
    for line in text.lines() {
        match line.trim_end() {
            "---" => documents.push(String::new()),
            _ => {
                if let Some(document) = documents.last_mut() {
                    document.push_str(line);
                    document.push('\n');
                }
            }
        }
    }
    let errors = |document: &String| match parse_sigma_yaml(document) {
        Ok(parsed) => parsed.errors.len(),
        Err(_) => 1,
    };
    documents
        .iter()
        .filter(|document| !document.trim().is_empty())
        .flat_map(|document| std::iter::repeat_n(called(document), errors(document)))
        .collect()
}

fn called(document: &str) -> Called {
    let named = |key: &str| {
        let line = document.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|text| !text.is_empty())
    };
    Called { title: named("title:"), id: named("id:") }
}

/// Why a rule that parses has no verdict here: a placeholder stands for values that the pipeline of a
/// SIEM puts in its place.
pub(super) fn without_verdict(rule: &SigmaRule) -> Option<String> {
    let name = rule.detection.named.values().find_map(placeholder)?;
    Some(format!(
        "the placeholder {name} stands for values that only the SIEM's pipeline knows; write them into \
         a copy of the rule"
    ))
}

fn placeholder(detection: &Detection) -> Option<String> {
    match detection {
        Detection::AllOf(items) => items.iter().find_map(unresolved),
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().find_map(placeholder),
        Detection::ArrayMatch { body, .. } => placeholder(body),
        Detection::Conditional { named, .. } => named.values().find_map(placeholder),
        Detection::Keywords(_) => None,
    }
}

fn unresolved(item: &DetectionItem) -> Option<String> {
    if !item.field.has_modifier(Modifier::Expand) {
        return None;
    }
    item.values.iter().find_map(|value| match value {
        SigmaValue::String(text) => {
            let name = text.original.split('%').nth(1)?;
            let whole = text.original.matches('%').count() > 1 && !name.is_empty();
            whole.then(|| format!("`%{name}%`"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_becomes_one_line() {
        let drawn = "Condition parse error at 1:11:  --> 1:11\n  |\n1 | a | count() > 5\n  |   ^---\n  |\n  = expected EOI";
        let line = "Condition parse error at 1:11:  --> 1:11 1 | a | count() > 5, expected EOI";
        assert_eq!(one_line(drawn), line);
    }

    #[test]
    fn a_refused_document_has_its_title_and_its_id() {
        let text = "title: Sound\nlogsource: {product: linux}\ndetection:\n  s: {a: b}\n  condition: s\n\
                    ---\ntitle: 'Old Count'\nid: 0a1b2c3d-1111-4222-8333-444455556666\nlogsource: {product: linux}\ndetection:\n  s: {a: b}\n  \
                    condition: s | count() > 5\n";
        let errors = parse_sigma_yaml(text).unwrap().errors;
        let refused = unparsed("a.yml", text, &errors);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].title.as_deref(), Some("Old Count"));
        assert!(refused[0].is_called("0a1b2c3d-1111-4222-8333-444455556666"), "{refused:?}");
        assert!(!refused[0].reason.contains('\n'), "{}", refused[0].reason);
    }
}
