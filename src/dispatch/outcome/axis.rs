//! One axis for stamps of several boots: boot time plus the wall offset of the boot's first stamp.
//!
//! Differences within a boot are exact whatever the wall clock does; those across a reboot rest on it.

use std::collections::HashMap;

use dwell_injectors::stamp::{BootId, Stamp};

use super::AxisNs;

/// Lays stamps of several boots on one axis.
#[derive(Debug, Default)]
pub(super) struct Axis {
    offsets: HashMap<BootId, i64>,
}

impl Axis {
    pub(super) fn place(&mut self, stamp: &Stamp) -> AxisNs {
        let boot_ns = i64::try_from(stamp.boot_ns).unwrap_or(i64::MAX);
        let offset = *self
            .offsets
            .entry(stamp.boot)
            .or_insert_with(|| stamp.wall_ns.saturating_sub(boot_ns));
        offset.saturating_add(boot_ns)
    }

    /// Where a stamp lies; a boot never seen before falls back to the wall clock.
    pub(super) fn of(&self, stamp: &Stamp) -> AxisNs {
        match self.offsets.get(&stamp.boot) {
            Some(offset) => offset.saturating_add_unsigned(stamp.boot_ns),
            None => stamp.wall_ns,
        }
    }

    /// A wall reading of the stamp's machine moved onto the axis, for claimed times.
    pub(super) fn wall_to_axis(&self, wall_ns: i64, near: &Stamp) -> AxisNs {
        self.of(near).saturating_add(wall_ns.saturating_sub(near.wall_ns))
    }
}

/// When the ledger knew each row: a row is dated by its fact, which may lie well before its commit (a
/// hand-over that timed out, a span of blindness that has no end yet). So it is known no earlier than
/// any row that was committed before it in the same boot, and what is appended later is never seen at
/// an earlier cut.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_boot: HashMap<BootId, AxisNs>,
    latest: Option<AxisNs>,
}

impl Known {
    pub(super) fn row(&mut self, stamp: Option<&Stamp>, at: AxisNs) -> AxisNs {
        let Some(stamp) = stamp else { return self.latest.unwrap_or(at) };
        let latest = self.by_boot.entry(stamp.boot).or_insert(at);
        *latest = (*latest).max(at);
        self.latest = Some(*latest);
        *latest
    }
}
