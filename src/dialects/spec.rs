//! The TOML shape of a dialect, and its check.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Dialect, Format, Request, request::RawRequest};
use crate::ledger::Stage;

/// A file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    title: String,
    stage: Stage,
    #[serde(default)]
    format: RawFormat,
    #[serde(default)]
    records: Option<String>,
    #[serde(default)]
    required: Vec<Vec<String>>,
    #[serde(default)]
    token_proves: bool,
    #[serde(default)]
    only: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    fields: RawFields,
    #[serde(default)]
    poll: Option<RawRequest>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawFormat {
    #[default]
    Json,
    Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFields {
    #[serde(default)]
    id: Vec<Vec<String>>,
    #[serde(default)]
    rule: Vec<String>,
    #[serde(default)]
    event_time: Vec<String>,
    #[serde(default)]
    created_time: Vec<String>,
    #[serde(default)]
    dates_stage: bool,
    #[serde(default)]
    body: Option<String>,
}

/// Where the parts of a record are. All strings are JSON pointers (RFC 6901).
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// Where a message holds its records.
    pub records: Option<String>,
    /// Each entry needs one pointer that is there.
    pub required: Vec<Vec<String>>,
    /// A record with a token of ours needs nothing else to prove the watcher.
    pub token_proves: bool,
    /// Values that a record must have to be sighted.
    pub only: Vec<(String, serde_json::Value)>,
    /// Alternatives; all pointers of one are joined with `:`.
    pub id: Vec<Vec<String>>,
    /// The first that is there names the rule; all that are there may be expected.
    pub rule: Vec<String>,
    pub event_time: Vec<String>,
    pub created_time: Vec<String>,
    /// True where `created_time` is when the record reached the dialect's stage, not a time of the event
    /// that it is about.
    pub dates_stage: bool,
    /// The part that an excerpt is taken from.
    pub body: Option<String>,
}

impl Raw {
    pub(super) fn check(self, name: &str, digest: String) -> Result<Dialect, String> {
        let fields = self.fields;
        let spec = Fields {
            records: self.records,
            required: self.required,
            token_proves: self.token_proves,
            only: self.only.into_iter().collect(),
            id: fields.id,
            rule: fields.rule,
            event_time: fields.event_time,
            created_time: fields.created_time,
            dates_stage: fields.dates_stage,
            body: fields.body,
        };
        spec.pointers().try_for_each(pointer)?;
        if spec.dates_stage && spec.created_time.is_empty() {
            return Err(
                "`dates_stage` says that `created_time` dates a record, and no `created_time` is \
                        named; name its pointer, or take `dates_stage` out"
                    .to_owned(),
            );
        }
        let request = self.poll.map(Request::check).transpose()?;
        let format = match self.format {
            RawFormat::Json => Format::Json,
            RawFormat::Text => Format::Text,
        };
        if format == Format::Text && spec.pointers().next().is_some() {
            return Err("format \"text\" has no fields; drop them or use \"json\"".to_owned());
        }
        if let Some(empty) = spec.required.iter().position(Vec::is_empty) {
            return Err(format!(
                "`required` entry {} names no pointer, so no record could have what it asks for; name one, \
                 like [\"/rule/id\"], or take it out",
                empty + 1
            ));
        }
        if format == Format::Json && spec.required.is_empty() {
            return Err(
                "it requires nothing, so any JSON would count as a record of the product; \
                        list in `required` what each of its records has, like [[\"/rule/id\"]]"
                    .to_owned(),
            );
        }
        Ok(Dialect {
            name: name.to_owned(),
            title: self.title,
            stage: self.stage,
            format,
            digest,
            spec,
            request,
        })
    }
}

impl Fields {
    fn pointers(&self) -> impl Iterator<Item = &str> {
        let groups = self.required.iter().chain(&self.id).flatten();
        let lists = self.rule.iter().chain(&self.event_time).chain(&self.created_time);
        let single = self.records.iter().chain(&self.body);
        let only = self.only.iter().map(|(pointer, _)| pointer);
        groups.chain(lists).chain(single).chain(only).map(String::as_str)
    }
}

/// Refuses what is no JSON pointer.
pub(super) fn pointer(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(());
    }
    Err(format!("{text:?} is no JSON pointer; it starts with a slash, like \"/rule/id\""))
}
