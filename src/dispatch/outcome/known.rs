//! When the ledger knew each row.
//!
//! A row is dated by its fact, which may lie well before its commit (a hand-over that timed out, a span of
//! blindness that has no end yet). So it is known no earlier than any row that was committed before it in
//! the same boot, and what is appended later is never seen at an earlier cut.

use std::collections::HashMap;

use dwell_injectors::stamp::{BootId, Stamp};

use super::AxisNs;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_boot: HashMap<BootId, AxisNs>,
    latest: Option<AxisNs>,
}

impl Known {
    /// When the next row became known; one without an instant, as soon as it was written.
    pub(super) fn row(&mut self, stamp: Option<&Stamp>, at: AxisNs) -> AxisNs {
        let Some(stamp) = stamp else { return self.latest.unwrap_or(at) };
        let latest = self.by_boot.entry(stamp.boot).or_insert(at);
        *latest = (*latest).max(at);
        self.latest = Some(*latest);
        *latest
    }
}
