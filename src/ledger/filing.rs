//! How rows are filed: under their kind, and with their canary.

use dwell_injectors::token::TokenId;

use super::Row;

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
}
