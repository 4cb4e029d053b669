//! Waiting for an instant: sleep, then a short spin.
//!
//! An asynchronous timer is late by a millisecond and a sleeping thread by tens of microseconds, so
//! the last stretch is spun. The spin costs at most [`SPIN_NS`] of one core per event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dwell_injectors::stamp::{Clock, Stamp};

/// How much of the wait is spun, nanoseconds.
const SPIN_NS: i64 = 200_000;
/// Longest sleep before the stop flag is asked again.
const NAP: Duration = Duration::from_millis(50);

/// Waits until `due` or until `stop` is set; returns false when stopped.
pub(super) fn wait_until(clock: &dyn Clock, due: &Stamp, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Acquire) {
            return false;
        }
        let left = due.since(&clock.now()).ns;
        if left <= 0 {
            return true;
        }
        if left > SPIN_NS {
            let sleep = Duration::from_nanos((left - SPIN_NS).unsigned_abs());
            std::thread::sleep(sleep.min(NAP));
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::stamp::SystemClock;

    #[test]
    fn never_early_and_stoppable() {
        let clock = SystemClock::new();
        let due = clock.now().plus_ns(3_000_000);
        assert!(wait_until(&clock, &due, &AtomicBool::new(false)));
        assert!(clock.now().since(&due).ns >= 0);
        let far = clock.now().plus_ns(3_600_000_000_000);
        assert!(!wait_until(&clock, &far, &AtomicBool::new(true)));
    }
}
