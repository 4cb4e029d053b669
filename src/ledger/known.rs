//! When the ledger knew each row.
//!
//! A row is dated by its fact, which may lie well before its commit (a hand-over that timed out, a span of
//! blindness that has no end yet), and an intent has no instant of its own. So each row of a boot is known
//! later than the one that was committed before it, by a nanosecond if its fact is not. What is appended
//! later is never seen at an earlier cut, and a cut at the last row says which rows those were.

use std::collections::BTreeMap;

use dwell_injectors::stamp::{BootId, Stamp};
use serde::{Deserialize, Serialize};

use super::AxisNs;

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    by_boot: BTreeMap<BootId, AxisNs>,
    /// The boot of the last row.
    boot: Option<BootId>,
}

impl Known {
    /// When the next row became known; one without an instant, as soon as it was written.
    pub(super) fn row(&mut self, stamp: Option<&Stamp>, at: AxisNs) -> AxisNs {
        let Some(boot) = stamp.map(|stamp| stamp.boot).or(self.boot) else { return at };
        self.boot = Some(boot);
        let next = |latest: &AxisNs| at.max(latest.saturating_add(1));
        let known = self.by_boot.get(&boot).map_or(at, next);
        self.by_boot.insert(boot, known);
        known
    }

    /// When the last row became known.
    pub(super) fn last(&self) -> Option<AxisNs> {
        self.by_boot.values().max().copied()
    }
}
