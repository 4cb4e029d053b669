//! Rehearsal: Sigma rules on rendered or indexed events, explained.
//!
//! Three users: `dwell rehearse` asks whether rules would fire on what recipes render; `explain`
//! asks why a rule did not fire on the document that a SIEM indexed; the reference detector runs a
//! [`RuleSet`] over what it reads.
//!
//! Invariants:
//!
//! - the time of an event is the event's own, never the wall clock;
//! - a rule that cannot be evaluated is counted with its reason, never dropped in silence;
//! - a rule is shown only events of the log that it is about; rules about other logs are counted apart;
//! - an explanation's verdict is the engine's verdict: both come from the same compiled rule.
//!
//! Not promised: that a product converts a rule as this engine reads it. A rehearsal shows whether
//! the rule's logic and the event's fields agree, not whether the product runs it.

mod correlation;
mod explain;
mod gaps;
mod lint;
mod refuse;
mod rehearse;
mod rules;
mod sources;
mod view;

pub use correlation::{CorrelationStory, explain_correlation};
pub use explain::{FieldReason, RuleStory, explain_document, explain_text};
pub use gaps::{FieldGap, Gap, field_gap, missing_fields};
pub use lint::lint_rules;
pub use refuse::RefusedRule;
pub use rehearse::{Rehearsal, RehearseError, RehearsedRecipe, parsed_events, rehearse};
pub use rules::{Fired, RuleError, RuleMatch, RuleSet, Timed, is_called};
pub use sources::OtherRule;
pub use view::{FieldMap, field_map, merge};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(names: &[&str]) -> Vec<(String, String)> {
        let catalogue = dwell_injectors::catalogue::Catalogue::embedded().unwrap();
        names.iter().flat_map(|id| catalogue.get(id).unwrap().sigma.clone()).collect()
    }

    fn login(outcome: &str, user: &str) -> serde_json::Value {
        json!({
            "event": {"category": ["authentication"], "outcome": outcome},
            "process": {"name": "sshd"}, "user": {"name": user}, "source": {"ip": "203.0.113.7"},
        })
    }

    fn brute_force(failures: i64, gap_s: i64) -> Vec<Timed> {
        let at = |n: i64| 1_793_761_509_000_000_000 + n * gap_s * 1_000_000_000;
        let mut events: Vec<Timed> = (0..failures)
            .map(|n| Timed { event: login("failure", "j.example"), time_ns: at(n) })
            .collect();
        events.push(Timed { event: login("success", "j.example"), time_ns: at(failures) });
        events
    }

    fn fired(set: &mut RuleSet, events: &[Timed]) -> Vec<RuleMatch> {
        events.iter().flat_map(|timed| set.evaluate(&timed.event, timed.time_ns)).collect()
    }

    #[test]
    fn a_chain_of_correlations_fires_and_its_alert_holds_the_group_only() {
        let mut set =
            RuleSet::from_texts(&texts(&["fake-login/sshd-brute-force-success"])).unwrap();
        assert_eq!(set.refused(), []);
        let found = fired(&mut set, &brute_force(6, 1));
        let titles: Vec<&str> = found.iter().map(|m| m.title.as_str()).collect();
        assert_eq!(
            titles,
            ["Repeated SSH Password Failures", "SSH Brute Force Followed by Success"]
        );
        let group = [("user.name", "j.example"), ("source.ip", "203.0.113.7")];
        let group = group.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(found[1].group_by, group);
    }

    #[test]
    fn a_correlation_that_does_not_fire_says_why() {
        let mut set =
            RuleSet::from_texts(&texts(&["fake-login/sshd-brute-force-success"])).unwrap();
        let told = |set: &mut RuleSet, events: &[Timed]| {
            let fired = set.evaluate_sequence(events);
            set.reset().unwrap();
            let stories = explain_correlation(set, events, &fired);
            let story = stories.into_iter().find(|s| s.title.starts_with("Repeated")).unwrap();
            assert!(!story.matched);
            story.reasons.join("\n")
        };
        let few = told(&mut set, &brute_force(4, 1));
        assert!(few.contains("count: 4 within 120 s"), "{few}");
        let slow = told(&mut set, &brute_force(6, 60));
        assert!(slow.contains("window: the group has 6 over 300 s"), "{slow}");
        let mut nameless = brute_force(6, 1);
        for timed in &mut nameless {
            timed.event["user"] = json!({});
        }
        nameless.truncate(3);
        let nameless = told(&mut set, &nameless);
        assert!(nameless.contains("group-by `user.name` is absent from 3 of 3"), "{nameless}");
    }

    #[test]
    fn a_correlation_of_correlations_is_fed_by_what_those_reported() {
        let mut texts = texts(&["fake-login/sshd-brute-force-success"]);
        texts[0].1 = texts[0].1.replace("timespan: 5m", "timespan: 1s");
        let mut set = RuleSet::from_texts(&texts).unwrap();
        let told = |set: &mut RuleSet, events: &[Timed]| {
            let fired = set.evaluate_sequence(events);
            let stories = explain_correlation(set, events, &fired);
            set.reset().unwrap();
            let story = stories.into_iter().find(|s| s.title.starts_with("SSH Brute")).unwrap();
            assert!(!story.matched);
            story.reasons
        };
        let mut events = brute_force(6, 1);
        events[6].time_ns += 1_000_000_000;
        let slow = told(&mut set, &events).join("\n");
        assert!(slow.contains("window: the group has 2 over 2 s, the rule looks at 1 s"), "{slow}");
        assert!(!slow.contains("matches 0 of"), "{slow}");
        assert!(!slow.contains("order:"), "{slow}");
        let few = told(&mut set, &brute_force(3, 1)).join("\n");
        assert!(few.contains("correlation `ssh_password_failures` does not fire"), "{few}");
        assert!(!few.contains("order:"), "{few}");
    }

    #[test]
    fn a_placeholder_has_no_verdict() {
        let rule = "title: Admins\nlogsource: {product: linux}\ndetection:\n  s: {event.outcome: failure}\n  \
                    f: {user.name|expand: '%Admins%'}\n  condition: s and not f\n";
        let set = RuleSet::from_texts(&[("a.yml".to_owned(), rule.to_owned())]).unwrap();
        assert!(set.is_empty());
        assert_eq!(set.refused()[0].title.as_deref(), Some("Admins"));
        assert!(set.refused()[0].reason.contains("`%Admins%`"), "{:?}", set.refused());
    }

    #[test]
    fn a_rule_that_does_not_match_is_explained_field_by_field() {
        let rules = &texts(&["fake-login/sshd-failed-password"])[0].1;
        let mut document = login("failure", "j.example");
        let told = explain_text(rules, &FieldMap::new(), &document).unwrap();
        assert!(told[0].matched && told[0].reasons.is_empty());
        document["event"]["outcome"] = json!("");
        document["process"] = json!({});
        let told = explain_text(rules, &FieldMap::new(), &document).unwrap();
        let reasons: Vec<&str> = told[0].reasons.iter().map(|r| r.text.as_str()).collect();
        assert!(!told[0].matched);
        assert!(reasons.iter().any(|r| r.contains("`event.outcome` is empty")), "{reasons:?}");
        assert!(reasons.iter().any(|r| r.contains("`process.name` is not there")), "{reasons:?}");
    }

    #[test]
    fn rules_that_cannot_be_evaluated_are_counted() {
        let bad = [
            ("a.yml", "title: [unclosed"),
            ("b.yml", "title: No Detection\nlogsource: {product: linux}\n"),
            (
                "c.yml",
                "title: Lonely\ncorrelation:\n  type: event_count\n  rules: [nobody]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}\n",
            ),
        ];
        let texts: Vec<(String, String)> =
            bad.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        let set = RuleSet::from_texts(&texts).unwrap();
        assert!(set.is_empty());
        let files: Vec<&str> = set.refused().iter().map(|r| r.file.as_str()).collect();
        assert_eq!(files, ["a.yml", "b.yml", "c.yml"], "{:?}", set.refused());
    }
}
