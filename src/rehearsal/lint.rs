//! Lint of a recipe's own rules: they fire, on a real attacker's event as on ours, and what they
//! raise can be tied to the canary.

use std::collections::BTreeMap;

use dwell_injectors::catalogue::Entry;
use dwell_injectors::lint::{Finding, GoldenToken};
use dwell_injectors::recipe::{FactKind, Recipe};
use dwell_injectors::render::TokenText;
use dwell_injectors::token::{Carrier, TokenId};

use super::correlation::explain_correlation;
use super::explain::{RuleStory, explain_document};
use super::rehearse::parsed_events;
use super::rules::{RuleMatch, RuleSet};

/// The family whose rules are watchlists: their identities are fixed, by design.
const WATCHLISTS: &str = "decoy-credential";

/// What no rule may look for: our own reserved values, by which real attackers never come.
const RESERVED: &[&str] = &[
    "192.0.2.",
    "198.51.100.",
    "203.0.113.",
    "198.18.",
    "2001:db8",
    "example",
    ".invalid",
    ".test",
];

/// A name such as an attacker's event would hold in the token's place.
struct PlainName;

impl TokenText for PlainName {
    fn id(&self) -> TokenId {
        GoldenToken.id()
    }

    fn text(&self, carrier: Carrier) -> String {
        match carrier {
            Carrier::Text => "mmuster",
            Carrier::Upper => "QPWOEIRUTYLAKSJD",
            Carrier::Uuid => "3e9d5a70-9c1c-4a52-8f57-2d4b6f0a9c11",
            Carrier::Ipv6 => "fd12:3456:789a:1::7",
        }
        .into()
    }
}

/// Everything that speaks against the rules of a recipe.
pub fn lint_rules(entry: &Entry) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |field: &str, problem: String, help: &str| {
        findings.push(Finding {
            file: entry.file.clone(),
            field: field.to_owned(),
            problem,
            help: help.to_owned(),
        });
    };
    // Said by the lint of the recipe itself; without a rule there is nothing that could have fired.
    if entry.sigma.is_empty() {
        return findings;
    }
    let recipe = &entry.recipe;
    let mut rules = match RuleSet::from_texts(&entry.sigma) {
        Ok(rules) => rules.with_field_map(recipe.field_map.clone()),
        Err(error) => {
            add("sigma", error.to_string(), "correct the rules");
            return findings;
        }
    };
    for refused in rules.refused() {
        let title = refused.title.as_deref().unwrap_or("a rule");
        let problem = format!("{}: {title} cannot be evaluated: {}", refused.file, refused.reason);
        add("sigma", problem, "correct the rule");
    }
    match rules.about(&recipe.logsource) {
        Ok((_, about)) => {
            for other in rules.others(&about) {
                let problem =
                    format!("{}: the recipe does not write {}", other.title, other.log_source);
                add("logsource", problem, "correct it, or the `logsource` of the rule");
            }
        }
        Err(error) => add("sigma", error.to_string(), "correct the rules"),
    }
    for (what, problem) in unattributable(&mut rules, recipe) {
        add(what, problem, "see `dwell rehearse --recipe`, then correct rule or recipe");
    }
    if recipe.family != WATCHLISTS {
        for (file, text) in &entry.sigma {
            let lower = text.to_lowercase();
            for word in RESERVED.iter().filter(|word| lower.contains(**word)) {
                let problem = format!("{file} looks for the reserved `{word}`");
                add("sigma", problem, "a rule has to find attackers, who do not use our values");
            }
        }
    }
    findings
}

/// Runs the rules on the canary and on its plain twin.
fn unattributable(rules: &mut RuleSet, recipe: &Recipe) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let ours = match fired(rules, recipe, &GoldenToken, &BTreeMap::new()) {
        Ok((ours, mut reasons)) => {
            if ours.is_empty() {
                problems.push(("sigma", format!("no rule fires: {}", reasons.join("; "))));
            } else {
                problems.extend(reasons.drain(..).map(|reason| ("sigma", reason)));
            }
            ours
        }
        Err(error) => return vec![("event", error)],
    };
    let token = GoldenToken.text(recipe.token.carrier).to_lowercase();
    for found in ours.iter().filter(|found| found.correlation) {
        if !found.group_by.iter().any(|(_, value)| value.to_lowercase().contains(&token)) {
            problems.push((
                "group_by",
                format!("the alert of `{}` does not show the token", found.title),
            ));
        }
    }
    match fired(rules, recipe, &PlainName, &plain_facts(recipe)) {
        Ok((plain, _)) => {
            for found in &ours {
                if !plain.iter().any(|other| other.id == found.id && other.title == found.title) {
                    let problem =
                        format!("`{}` fires on our values only, not on plain ones", found.title);
                    problems.push(("sigma", problem));
                }
            }
        }
        Err(error) => problems.push(("event", error)),
    }
    problems
}

/// The alerts, and why rules that should alert did not.
fn fired(
    rules: &mut RuleSet,
    recipe: &Recipe,
    token: &dyn TokenText,
    facts: &BTreeMap<String, String>,
) -> Result<(Vec<RuleMatch>, Vec<String>), String> {
    rules.reset().map_err(|error| error.to_string())?;
    let (rendered, events) =
        parsed_events(recipe, token, facts).map_err(|error| error.to_string())?;
    let all = rules.evaluate_sequence(&events);
    let mut reasons = Vec::new();
    let stories = explain_correlation(rules, &events, &all);
    let mut found: Vec<RuleMatch> = all.into_iter().map(|fired| fired.rule).collect();
    found.retain(|found| found.correlation || !rules.feeds(found));
    let alerts = |story: &RuleStory| {
        found.iter().any(|found| found.id == story.id && found.title == story.title)
    };
    for story in stories {
        if !story.matched {
            reasons.push(format!("`{}`: {}", story.title, story.reasons.join(", ")));
        }
    }
    if let Some(timed) = events.get(rendered.completing) {
        for story in explain_document(rules, &timed.event) {
            if !story.feeds_correlation && !alerts(&story) {
                let why: Vec<&str> = story.reasons.iter().map(|r| r.text.as_str()).collect();
                reasons.push(format!("`{}`: {}", story.title, why.join(", ")));
            }
        }
    }
    Ok((found, reasons))
}

/// Facts as a real network has them. Watchlisted identities stay: they are what the rule is about.
fn plain_facts(recipe: &Recipe) -> BTreeMap<String, String> {
    let watchlist = recipe.family == WATCHLISTS;
    recipe
        .needs
        .iter()
        .filter_map(|(name, need)| {
            let plain = match need.kind {
                FactKind::Address => "10.20.30.40",
                FactKind::Host => "srv7.corp.lan",
                FactKind::Domain => "corp.lan",
                FactKind::Account if !watchlist => "svc-print",
                FactKind::KeyId if !watchlist => "998877665544",
                _ => return None,
            };
            Some((name.clone(), plain.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dwell_injectors::catalogue::Catalogue;

    use super::*;

    #[test]
    fn every_embedded_recipe_fires_its_rules_with_and_without_our_values() {
        let catalogue = Catalogue::embedded().unwrap();
        let findings: Vec<String> =
            catalogue.iter().flat_map(lint_rules).map(|finding| finding.to_string()).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    fn broken(change: impl Fn(&str) -> String) -> Vec<String> {
        let catalogue = Catalogue::embedded().unwrap();
        let mut entry = catalogue.get("fake-login/sshd-brute-force-success").unwrap().clone();
        for (_, text) in &mut entry.sigma {
            *text = change(text);
        }
        entry.recipe = Arc::new((*entry.recipe).clone());
        lint_rules(&entry).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_namesake_that_fires_hides_no_silent_rule() {
        let rule = |id: u32, outcome: &str| {
            format!(
                "---\ntitle: Logins\nid: 0a1b2c3d-1111-4222-8333-44445555666{id}\nlogsource: {{product: \
                 linux}}\ndetection:\n  s: {{event.outcome: {outcome}}}\n  condition: s\n"
            )
        };
        let both = |outcomes: [&str; 2]| {
            let rules = rule(1, outcomes[0]) + &rule(2, outcomes[1]);
            broken(|text| format!("{text}\n{rules}"))
        };
        assert_eq!(both(["success", "success"]), [""; 0]);
        let silent = both(["success", "unknown"]);
        assert!(silent.iter().any(|f| f.contains("`Logins`: s: `event.outcome`")), "{silent:?}");
    }

    #[test]
    fn rules_that_select_the_token_or_lose_it_are_refused() {
        let prefix = GoldenToken.text(Carrier::Text)[..4].to_owned();
        let on_token = broken(|text| {
            text.replace(
                "event.outcome: failure",
                &format!("event.outcome: failure\n        user.name|startswith: {prefix}"),
            )
        });
        assert!(on_token.iter().any(|f| f.contains("fires on our values only")), "{on_token:?}");
        let on_range = broken(|text| {
            text.replace(
                "event.outcome: failure",
                "event.outcome: failure\n        source.ip: 203.0.113.7",
            )
        });
        assert!(on_range.iter().any(|f| f.contains("reserved `203.0.113.`")), "{on_range:?}");
        let lost = broken(|text| text.replace("        - user.name\n", ""));
        assert!(lost.iter().any(|f| f.contains("does not show the token")), "{lost:?}");
        let silent = broken(|text| text.replace("gte: 6", "gte: 60"));
        assert!(silent.iter().any(|f| f.contains("count: 6 within 120 s")), "{silent:?}");
    }
}
