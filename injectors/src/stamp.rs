//! Stamps and clocks: the only place that asks the operating system what time it is.
//!
//! A [`Stamp`] holds two readings taken together and the identity of the boot they belong to:
//!
//! - `wall_ns`: `CLOCK_REALTIME`, nanoseconds since the Unix epoch. It may step.
//! - `boot_ns`: `CLOCK_BOOTTIME`, nanoseconds since boot. It never steps and counts suspend,
//!   which `std::time::Instant` does not on Linux.
//!
//! Invariants:
//!
//! - A duration between two stamps of the same boot comes from `boot_ns` alone.
//! - Across a reboot only the wall clock is left; such a duration is flagged, never silent.
//! - Nothing outside this module reads a clock, so that a test can script both.
//!
//! Not promised: that two machines agree. Every time to detect is taken on one machine's clock.

use std::fmt;
use std::sync::Mutex;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Identifies one boot of one machine: the first eight bytes of the kernel's random boot id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(BootId).map_err(serde::de::Error::custom)
    }
}

/// One instant, read on both clocks. Serialised as the array `[wall_ns, boot_ns, "boot id"]`,
/// because a ledger holds millions of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stamp {
    /// `CLOCK_REALTIME`, nanoseconds since the Unix epoch.
    pub wall_ns: i64,
    /// `CLOCK_BOOTTIME`, nanoseconds since boot.
    pub boot_ns: u64,
    /// The boot that `boot_ns` counts from.
    pub boot: BootId,
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.wall_ns, self.boot_ns, self.boot).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (wall_ns, boot_ns, boot) = Deserialize::deserialize(deserializer)?;
        Ok(Stamp { wall_ns, boot_ns, boot })
    }
}

/// The time between two stamps, and how it was obtained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed {
    /// Nanoseconds; negative when the later stamp lies before the earlier one.
    pub ns: i64,
    /// True when the stamps belong to different boots, so only the wall clock could be used.
    pub across_reboot: bool,
}

impl Stamp {
    /// Time from `earlier` to `self`: boot time within one boot, wall time (flagged) across boots.
    pub fn since(&self, earlier: &Stamp) -> Elapsed {
        if self.boot == earlier.boot {
            let ns = i128::from(self.boot_ns) - i128::from(earlier.boot_ns);
            Elapsed { ns: clamp_ns(ns), across_reboot: false }
        } else {
            let ns = i128::from(self.wall_ns) - i128::from(earlier.wall_ns);
            Elapsed { ns: clamp_ns(ns), across_reboot: true }
        }
    }

    /// The stamp `ns` nanoseconds later (earlier when negative) on both clocks.
    pub fn plus_ns(&self, ns: i64) -> Stamp {
        Stamp {
            wall_ns: self.wall_ns.saturating_add(ns),
            boot_ns: self.boot_ns.saturating_add_signed(ns),
            boot: self.boot,
        }
    }

    /// The wall reading as a timestamp, for people and for event times.
    pub fn timestamp(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.wall_ns))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

fn clamp_ns(ns: i128) -> i64 {
    ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Where stamps come from. Everything that needs the time takes one of these.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Reads both clocks, back to back.
    fn now(&self) -> Stamp;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    boot: BootId,
}

impl SystemClock {
    /// Reads the kernel's boot id once. Where there is none (no procfs) the boot id is 0, which
    /// makes every restart look like the same boot only for processes that also lack procfs.
    pub fn new() -> SystemClock {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        SystemClock { boot: BootId(u64::from_str_radix(&hex, 16).unwrap_or(0)) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        let boot = clock_gettime(ClockId::Boottime);
        let wall = clock_gettime(ClockId::Realtime);
        Stamp {
            wall_ns: wall.tv_sec.saturating_mul(1_000_000_000).saturating_add(wall.tv_nsec),
            boot_ns: (boot.tv_sec.unsigned_abs()) * 1_000_000_000 + boot.tv_nsec.unsigned_abs(),
            boot: self.boot,
        }
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Stamp>,
}

impl ManualClock {
    /// Starts at the given stamp.
    pub fn new(start: Stamp) -> ManualClock {
        ManualClock { now: Mutex::new(start) }
    }

    /// Moves both clocks forward.
    pub fn advance_ns(&self, ns: i64) {
        let mut now = self.lock();
        *now = now.plus_ns(ns);
    }

    /// Steps the wall clock alone, as an operator or a time daemon does.
    pub fn step_wall_ns(&self, ns: i64) {
        let mut now = self.lock();
        now.wall_ns = now.wall_ns.saturating_add(ns);
    }

    /// Begins another boot: boot time restarts at zero under a new boot id.
    pub fn reboot(&self, boot: BootId) {
        let mut now = self.lock();
        now.boot = boot;
        now.boot_ns = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stamp> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Stamp {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Stamp {
        Stamp { wall_ns: 1_795_000_000_000_000_000, boot_ns: 5_000_000_000, boot: BootId(7) }
    }

    #[test]
    fn same_boot_ignores_wall_steps() {
        let clock = ManualClock::new(start());
        let before = clock.now();
        clock.advance_ns(2_000_000);
        clock.step_wall_ns(-3_600_000_000_000);
        assert_eq!(clock.now().since(&before), Elapsed { ns: 2_000_000, across_reboot: false });
    }

    #[test]
    fn across_a_reboot_the_wall_clock_is_used_and_flagged() {
        let clock = ManualClock::new(start());
        let before = clock.now();
        clock.advance_ns(1_000);
        clock.reboot(BootId(8));
        assert_eq!(clock.now().since(&before), Elapsed { ns: 1_000, across_reboot: true });
    }

    #[test]
    fn a_stamp_survives_json() {
        let text = serde_json::to_string(&start()).unwrap();
        assert_eq!(text, r#"[1795000000000000000,5000000000,"0000000000000007"]"#);
        assert_eq!(serde_json::from_str::<Stamp>(&text).unwrap(), start());
    }

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(clock.now().since(&first).ns >= 0);
    }
}
