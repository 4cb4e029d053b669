//! The names under which rules look for fields.
//!
//! Sigma has a vocabulary of its own (`EventID`, `TargetUserName`), products have theirs
//! (`winlog.event_data.TargetUserName`). A conversion pipeline renames the rule's fields; here the
//! event gets the rule's names in addition to its own, which gives the same verdicts.

use std::collections::BTreeMap;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::parse::get;
use serde_json::Value;

/// A rule's field name to the event's own names, tried in order.
pub type FieldMap = BTreeMap<String, Vec<String>>;

/// The field maps of all recipes of a catalogue, joined.
pub fn field_map(catalogue: &Catalogue) -> FieldMap {
    let mut joined = FieldMap::new();
    for entry in catalogue.iter() {
        merge(&mut joined, &entry.recipe.field_map);
    }
    joined
}

/// Adds one field map to another.
pub fn merge(into: &mut FieldMap, from: &FieldMap) {
    for (name, targets) in from {
        let known = into.entry(name.clone()).or_default();
        for target in targets {
            if !known.contains(target) {
                known.push(target.clone());
            }
        }
    }
}

/// The event under both vocabularies: a name that the event lacks gets the first target's value.
pub(super) fn under_both_names(event: &Value, map: &FieldMap) -> Value {
    let mut view = event.clone();
    let Value::Object(object) = &mut view else { return view };
    windows_names(event, object);
    for (name, targets) in map {
        if get(event, name).is_none()
            && let Some(value) = targets.iter().find_map(|target| get(event, target))
        {
            object.insert(name.clone(), value.clone());
        }
    }
    view
}

/// What every conversion to ECS does with Windows events: the event's data under bare names.
fn windows_names(event: &Value, object: &mut serde_json::Map<String, Value>) {
    let Some(winlog) = event.get("winlog") else { return };
    for (name, field) in [
        ("EventID", "event_id"),
        ("Channel", "channel"),
        ("Provider_Name", "provider_name"),
        ("ComputerName", "computer_name"),
        ("Computer", "computer_name"),
    ] {
        if let Some(value) = get(winlog, field) {
            object.entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(Value::Object(data)) = get(winlog, "event_data") {
        for (name, value) in data {
            object.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}
