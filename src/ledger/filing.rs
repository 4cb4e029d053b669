//! How rows are filed: under their kind, and with their canary.

use dwell_injectors::token::TokenId;

use super::Row;

impl Row {
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
