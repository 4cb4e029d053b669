//! How rows are filed: under their kind, with their canary, by their instant.

use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;

use super::{EventResult, Row};

impl Row {
    /// A row from its stored text. That its kind is known spares looking for the tag: a parser that
    /// must find it puts every other field aside first.
    pub(super) fn parse(kind: &str, body: &str) -> serde_json::Result<Row> {
        use serde_json::from_str;
        Ok(match kind {
            "intent" => Row::Intent(from_str(body)?),
            "receipt" => Row::Receipt(from_str(body)?),
            "sighting" => Row::Sighting(from_str(body)?),
            "withdrawn" => Row::Withdrawn(from_str(body)?),
            "look" => Row::Look(from_str(body)?),
            "stray" => Row::Stray(from_str(body)?),
            "verify" => Row::Verify(from_str(body)?),
            // No ledger holds many of the others.
            _ => from_str(body)?,
        })
    }

    /// The name under which a row is filed: its `k`.
    pub fn kind(&self) -> &'static str {
        match self {
            Row::Opened(_) => "opened",
            Row::Run(_) => "run",
            Row::Intent(_) => "intent",
            Row::Receipt(_) => "receipt",
            Row::Withdrawn(_) => "withdrawn",
            Row::Sighting(_) => "sighting",
            Row::Look(_) => "look",
            Row::Blind(_) => "blind",
            Row::Proven(_) => "proven",
            Row::Stray(_) => "stray",
            Row::Control(_) => "control",
            Row::Clock(_) => "clock",
            Row::Verify(_) => "verify",
            Row::Ended(_) => "ended",
            Row::Claim(_) => "claim",
            Row::Made(_) => "made",
        }
    }

    /// The canary whose story the row belongs to.
    pub fn canary(&self) -> Option<TokenId> {
        match self {
            Row::Intent(r) => Some(r.canary),
            Row::Receipt(r) => Some(r.canary),
            Row::Sighting(r) => Some(r.canary),
            Row::Withdrawn(r) => r.canary,
            Row::Verify(r) => r.canary,
            _ => None,
        }
    }

    /// The instant at which its fact became known. An intent is committed ahead of its instant: it is
    /// known as soon as it is written.
    pub fn stamp(&self) -> Option<&Stamp> {
        Some(match self {
            Row::Opened(r) => &r.at,
            Row::Run(r) => &r.at,
            Row::Intent(_) => return None,
            Row::Receipt(r) => match &r.result {
                EventResult::Accepted { at: Some(at), .. } => at,
                _ => &r.submitted_at,
            },
            Row::Withdrawn(r) => &r.at,
            Row::Sighting(r) => &r.observed,
            Row::Look(r) => &r.to,
            Row::Blind(r) => r.to.as_ref().unwrap_or(&r.from),
            Row::Proven(r) => &r.at,
            Row::Stray(r) => &r.at,
            Row::Control(r) => &r.at,
            Row::Clock(r) => &r.at,
            Row::Verify(r) => &r.at,
            Row::Ended(r) => &r.at,
            Row::Claim(r) => &r.at,
            Row::Made(r) => &r.at,
        })
    }

    /// True for a row that bears on the outcome of every canary: what was planned, and who could see.
    /// The file's index of them (`schema`) names the same kinds.
    pub fn bears_on_all(&self) -> bool {
        matches!(
            self,
            Row::Run(_)
                | Row::Look(_)
                | Row::Blind(_)
                | Row::Proven(_)
                | Row::Stray(_)
                | Row::Clock(_)
        )
    }
}
