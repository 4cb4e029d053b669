//! The configuration as it is recorded: what it means, with defaults, secrets as references only.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Span;
use super::checked::{Authorisation, Campaign, Expectation, Route};
use super::parts::Known;

/// The resolved configuration and its SHA-256, hex. Keys are sorted, so equal meanings have equal
/// digests.
pub(super) fn resolve(
    campaign: &Campaign,
    authorisation: Option<&Authorisation>,
    known: &Known,
    routes: &[Route],
    written: &toml::Table,
) -> (Value, String) {
    let injectors: serde_json::Map<String, Value> = known
        .injectors
        .iter()
        .map(|(name, injector)| (name.clone(), json!(injector.written)))
        .collect();
    let watchers: serde_json::Map<String, Value> = known
        .watchers
        .iter()
        .map(|(name, watcher)| {
            let entry = json!({
                "stage": watcher.entry.stage,
                "max_offset": watcher.entry.max_offset.map(Span),
                "settings": watcher.written,
            });
            (name.clone(), entry)
        })
        .collect();
    // Folders and files of dwell's own say where, not what; they stay as written.
    let value = json!({
        "campaign": campaign_json(campaign, written),
        "authorisation": authorisation,
        "identities": known.identities,
        "injectors": injectors,
        "watchers": watchers,
        "routes": routes.iter().map(route_json).collect::<Vec<_>>(),
    });
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(value.to_string().as_bytes()));
    (value, digest)
}

fn campaign_json(campaign: &Campaign, written: &toml::Table) -> Value {
    let kill_switch = written
        .get("campaign")
        .and_then(|c| c.get("kill_switch"))
        .and_then(toml::Value::as_str)
        .unwrap_or("STOP");
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let quiet = campaign.quiet_hours.iter();
    json!({
        "name": campaign.name,
        "seed": campaign.seed,
        "window": Span(campaign.window),
        "arrivals": campaign.arrivals,
        "quiet_hours": quiet
            .map(|q| format!("{}-{}", clock(q.from_minute), clock(q.to_minute)))
            .collect::<Vec<_>>(),
        "time_zone": campaign.time_zone,
        "intent_lead": Span(campaign.intent_lead),
        "kill_switch": kill_switch,
        "deliver_timeout": Span(campaign.deliver_timeout),
    })
}

fn route_json(route: &Route) -> Value {
    json!({
        "name": route.name,
        "recipe": route.recipe,
        "injector": route.injector,
        "enters_at": route.enters_at,
        "owner": route.owner,
        "supplier": route.supplier,
        "count": route.count,
        "min_gap": Span(route.min_gap),
        "cap_per_hour": route.cap_per_hour,
        "cap_per_day": route.cap_per_day,
        "proof": route.proof,
        "response": route.response,
        "response_exempted": route.response_exempted,
        "facts": route.facts,
        "key": route.key,
        "expect": route.expectations.iter().map(expectation_json).collect::<Vec<_>>(),
    })
}

fn expectation_json(expectation: &Expectation) -> Value {
    let mut value = json!({
        "name": expectation.name,
        "stage": expectation.stage,
        "watchers": expectation.watchers,
        "rules": expectation.rules,
        "deadline": Span(expectation.deadline),
        "horizon": Span(expectation.horizon),
        "objective": {
            "share": expectation.objective.share,
            "confidence": expectation.objective.confidence,
            "min_n": expectation.objective.min_n,
        },
    });
    // Named only where it is set: a configuration without it keeps the digest that it had.
    if let (Some(period), Some(fields)) = (expectation.rule_period, value.as_object_mut()) {
        fields.insert("rule_period".to_owned(), json!(Span(period)));
    }
    value
}
