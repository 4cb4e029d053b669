//! Log sources: a rule is about one, a recipe writes one.
//!
//! A rule names parts of its log source (product, service, category) and means every log that has them. A
//! recipe names its log in the ways that rules do. A rule that names none is about any log, and a recipe
//! that names none is shown to every rule; lint asks for it.

use std::collections::BTreeSet;

use dwell_injectors::recipe::LogSource;
use rsigma_parser::{LogSource as Wanted, SigmaCollection};
use serde::Serialize;

/// A rule about a log that no recipe of a rehearsal writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OtherRule {
    /// The rule's id, where it has one.
    pub id: Option<String>,
    /// The rule's title.
    pub title: String,
    /// Its log source in words; several for a correlation over several.
    pub log_source: String,
}

/// Whether a recipe that writes these logs is what a rule is about.
pub(super) fn is_about(wanted: &Wanted, sources: &[LogSource]) -> bool {
    let part = |wanted: &Option<String>, written: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| {
            written.as_ref().is_some_and(|written| wanted.eq_ignore_ascii_case(written))
        })
    };
    sources.is_empty()
        || sources.iter().any(|source| {
            part(&wanted.product, &source.product)
                && part(&wanted.service, &source.service)
                && part(&wanted.category, &source.category)
        })
}

/// Which rules, then which correlations, are about these logs. A correlation is when all that it refers
/// to are.
pub(super) fn about(collection: &SigmaCollection, sources: &[LogSource]) -> (Vec<bool>, Vec<bool>) {
    let rules: Vec<bool> =
        collection.rules.iter().map(|rule| is_about(&rule.logsource, sources)).collect();
    let mut known: BTreeSet<&String> = BTreeSet::new();
    for (rule, _) in collection.rules.iter().zip(&rules).filter(|(_, about)| **about) {
        known.extend([&rule.id, &rule.name].into_iter().flatten());
    }
    let mut correlations = vec![false; collection.correlations.len()];
    // One refers to another: each round finds at least one more, or it is the last.
    loop {
        let before = known.len();
        for (rule, about) in collection.correlations.iter().zip(&mut correlations) {
            *about = rule.rules.iter().all(|name| known.contains(name));
            if *about {
                known.extend([&rule.id, &rule.name].into_iter().flatten());
            }
        }
        if known.len() == before {
            return (rules, correlations);
        }
    }
}

/// A rule's log source as people say it.
pub(super) fn in_words(wanted: &Wanted) -> String {
    let parts = [
        ("product", &wanted.product),
        ("service", &wanted.service),
        ("category", &wanted.category),
    ];
    let parts = parts.iter().filter_map(|(name, part)| Some(format!("{name} {}", part.as_ref()?)));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_about_every_log_that_has_the_parts_that_it_names() {
        let source = |product: &str, service: &str| LogSource {
            product: Some(product.to_owned()),
            service: Some(service.to_owned()),
            category: None,
        };
        let ssh = [source("linux", "sshd"), source("linux", "auth")];
        let wanted =
            |product: Option<&str>, service: Option<&str>, category: Option<&str>| Wanted {
                product: product.map(str::to_owned),
                service: service.map(str::to_owned),
                category: category.map(str::to_owned),
                definition: None,
                custom: Default::default(),
            };
        assert!(is_about(&wanted(None, None, None), &ssh));
        assert!(is_about(&wanted(Some("Linux"), None, None), &ssh));
        assert!(is_about(&wanted(Some("linux"), Some("auth"), None), &ssh));
        assert!(!is_about(&wanted(Some("linux"), Some("auditd"), None), &ssh));
        assert!(!is_about(&wanted(Some("windows"), None, None), &ssh));
        assert!(!is_about(&wanted(Some("linux"), None, Some("process_creation")), &ssh));
        assert!(is_about(&wanted(Some("windows"), None, None), &[]), "nobody said what it writes");
    }
}
