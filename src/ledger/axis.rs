//! One axis for stamps of several boots: boot time plus the wall offset of the boot's first stamp.
//!
//! Differences within a boot are exact whatever the wall clock does; those across a reboot rest on it.

use std::collections::BTreeMap;

use dwell_injectors::stamp::{BootId, Stamp};
use serde::{Deserialize, Serialize};

/// Nanoseconds on the common axis (wall time of the boot's first stamp plus boot time).
pub type AxisNs = i64;

/// Lays stamps of several boots on one axis.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Axis {
    offsets: BTreeMap<BootId, i64>,
}

impl Axis {
    /// Where a stamp lies; the first of a boot says where that boot lies.
    pub fn place(&mut self, stamp: &Stamp) -> AxisNs {
        let boot_ns = i64::try_from(stamp.boot_ns).unwrap_or(i64::MAX);
        let offset = *self
            .offsets
            .entry(stamp.boot)
            .or_insert_with(|| stamp.wall_ns.saturating_sub(boot_ns));
        offset.saturating_add(boot_ns)
    }

    /// Where a stamp lies; a boot never seen before falls back to the wall clock.
    pub fn of(&self, stamp: &Stamp) -> AxisNs {
        match self.offsets.get(&stamp.boot) {
            Some(offset) => offset.saturating_add_unsigned(stamp.boot_ns),
            None => stamp.wall_ns,
        }
    }

    /// A wall reading of the stamp's machine moved onto the axis, for claimed times.
    pub fn wall_to_axis(&self, wall_ns: i64, near: &Stamp) -> AxisNs {
        self.of(near).saturating_add(wall_ns.saturating_sub(near.wall_ns))
    }
}
