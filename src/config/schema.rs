//! The JSON schema for editors, made from the same types that read the file.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw;
use crate::watchers::WatcherSettings;
use dwell_injectors::registry::InjectorSettings;

/// The whole file, for the schema only: injectors and watchers get their common keys afterwards.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "dwell")]
#[allow(dead_code)]
struct Whole {
    ledger: Option<raw::Ledger>,
    key: Option<raw::Key>,
    campaign: raw::Campaign,
    authorisation: Option<raw::Authorisation>,
    recipes: Option<raw::Folders>,
    dialects: Option<raw::Folders>,
    identity: Option<Vec<raw::Identity>>,
    injector: Option<Vec<InjectorSettings>>,
    watcher: Option<Vec<WatcherSettings>>,
    route: Vec<raw::Route>,
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema as JSON.
pub fn schema() -> Value {
    let mut whole = of::<Whole>();
    let named = json!({ "name": { "type": "string", "description": "Its name." } });
    extend(&mut whole, "injector", &named, &["name"]);
    let common = of::<raw::WatcherCommon>();
    extend(&mut whole, "watcher", &common["properties"], &["name", "stage"]);
    whole
}

/// Adds keys to every variant of a list's elements.
fn extend(whole: &mut Value, part: &str, properties: &Value, required: &[&str]) {
    let variants = &mut whole["properties"][part]["items"]["oneOf"];
    for variant in variants.as_array_mut().into_iter().flatten() {
        for (name, schema) in properties.as_object().into_iter().flatten() {
            variant["properties"][name] = schema.clone();
        }
        if let Some(list) = variant["required"].as_array_mut() {
            list.extend(required.iter().map(|name| json!(name)));
        }
    }
}
