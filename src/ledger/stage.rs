//! The stages of a canary's way, one word each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where on its way from the injector to a person a canary was seen; ordered.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Left the injector.
    Sent,
    /// Accepted by the first hop.
    Delivered,
    /// Searchable where the rules look.
    Ingested,
    /// An alert exists.
    Detected,
    /// Somebody was told.
    Notified,
    /// A human took it.
    Acknowledged,
    /// The case was closed.
    Closed,
}

impl Stage {
    /// The stage's name as configurations and reports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Sent => "sent",
            Stage::Delivered => "delivered",
            Stage::Ingested => "ingested",
            Stage::Detected => "detected",
            Stage::Notified => "notified",
            Stage::Acknowledged => "acknowledged",
            Stage::Closed => "closed",
        }
    }
}
