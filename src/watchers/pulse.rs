//! Notices when the process did not run.
//!
//! A watcher that is told (by a notification, a fetch, a request) takes what it is told for new: a
//! moment ago it was waiting and knew of nothing. That holds only while somebody waits. A process that
//! was stopped, a machine that slept, a host that gave no time to it: afterwards everything that came
//! meanwhile looks new. So one thread wakes every two milliseconds and compares `CLOCK_BOOTTIME`, which
//! counts suspend; a gap is a stall, and what is told after it is as old as the stall's beginning.
//! Watchers that ask at their own times need none of it: the thread sleeps until one that is told heeds it.
//!
//! Invariants:
//!
//! - [`Pulse::since`] is never later than [`LAG`] before the instant that it is asked about, nor later
//!   than the beginning of a stall that lies within [`LAG`] before it. Stalls that near are one.
//! - A stall that nobody has noticed yet, because the asking thread woke first, counts like any other.
//!
//! Not promised: that a thread of ours ran whenever this one did. A stall shorter than [`STALL`] is not
//! noticed; that and what a notification takes together are the [`super::RESOLUTION`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use dwell_injectors::stamp::{Clock, Stamp};

use super::intake::ns;

/// Distance of two beats.
const BEAT: Duration = Duration::from_millis(2);
/// A longer distance of two beats is a stall.
const STALL: Duration = Duration::from_millis(4);
/// How long what is told may have been on its way, at most, while the process ran: the resolution less
/// a millisecond for reading it.
pub(super) const LAG: Duration = Duration::from_millis(4);

/// Beats from the first [`Pulse::heed`] on, while anybody holds it. See the module's text.
#[derive(Debug)]
pub struct Pulse {
    clock: Arc<dyn Clock>,
    heed: Sender<()>,
    beats: Mutex<Beats>,
}

#[derive(Debug)]
struct Beats {
    last: Stamp,
    /// Begin and end of the latest stall.
    stall: Option<(Stamp, Stamp)>,
}

impl Pulse {
    /// Starts the thread, which waits to be heeded. It ends with the last holder.
    pub fn start(clock: Arc<dyn Clock>) -> std::io::Result<Arc<Pulse>> {
        let (heed, heeded) = bounded(1);
        let pulse = Arc::new(Pulse::new(clock, heed));
        let held = Arc::downgrade(&pulse);
        std::thread::Builder::new().name("pulse".to_owned()).spawn(move || {
            // Fails when nobody holds the pulse any more; then the loop does not begin.
            let _ = heeded.recv();
            while let Some(pulse) = held.upgrade() {
                pulse.beat();
                drop(pulse);
                std::thread::sleep(BEAT);
            }
        })?;
        Ok(pulse)
    }

    fn new(clock: Arc<dyn Clock>, heed: Sender<()>) -> Pulse {
        let beats = Beats { last: clock.now(), stall: None };
        Pulse { clock, heed, beats: Mutex::new(beats) }
    }

    /// Lets it beat. Before the first beat, [`Pulse::since`] knows nothing later than the start.
    pub fn heed(&self) {
        // A full channel says so already.
        let _ = self.heed.try_send(());
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        let mut beats = self.lock();
        let now = self.clock.now();
        if now.since(&beats.last).ns > ns(STALL) {
            beats.stall = Some((beats.stalled_from(), now));
        }
        beats.last = now;
    }

    /// The instant before which what arrives at `told`, which is now or was just now, cannot have been
    /// waiting for us.
    pub fn since(&self, told: &Stamp) -> Stamp {
        let beats = self.lock();
        let ordinary = told.plus_ns(-ns(LAG));
        let begin = match beats.stall {
            _ if told.since(&beats.last).ns > ns(STALL) => Some(beats.stalled_from()),
            Some((begin, end)) if end.since(&ordinary).ns >= 0 => Some(begin),
            _ => None,
        };
        match begin.map(|begin| begin.plus_ns(-ns(LAG))) {
            Some(before) if ordinary.since(&before).ns > 0 => before,
            _ => ordinary,
        }
    }

    /// The same for what arrives now.
    pub(super) fn now(&self) -> Stamp {
        self.since(&self.clock.now())
    }
}

impl Beats {
    /// Where a stall that followed the last beat began: where the one before it did, if that was
    /// just over.
    fn stalled_from(&self) -> Stamp {
        match self.stall {
            Some((begin, end)) if self.last.since(&end).ns <= ns(LAG) => begin,
            _ => self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::stamp::{BootId, ManualClock, SystemClock};

    const MS: i64 = 1_000_000;

    /// A pulse that beats by hand.
    fn pulse() -> (Arc<ManualClock>, Pulse) {
        let start = Stamp { wall_ns: 1_795_000_000_000 * MS, boot_ns: 5_000, boot: BootId(1) };
        let clock = Arc::new(ManualClock::new(start.plus_ns(10_000 * MS)));
        (clock.clone(), Pulse::new(clock, bounded(1).0))
    }

    fn beats(clock: &ManualClock, pulse: &Pulse, every_ms: &[i64]) {
        for ms in every_ms {
            clock.advance_ns(ms * MS);
            pulse.beat();
        }
    }

    /// How long before now what arrives now may have come, milliseconds.
    fn back(clock: &ManualClock, pulse: &Pulse) -> i64 {
        clock.now().since(&pulse.now()).ns / MS
    }

    #[test]
    fn while_it_beats_what_arrives_is_as_old_as_its_way() {
        let (clock, pulse) = pulse();
        beats(&clock, &pulse, &[2, 2, 3, 2]);
        assert_eq!(back(&clock, &pulse), 4);
        clock.advance_ns(2 * MS);
        assert_eq!(back(&clock, &pulse), 4);
    }

    #[test]
    fn after_a_stop_what_arrives_is_as_old_as_the_stop() {
        let (clock, pulse) = pulse();
        beats(&clock, &pulse, &[2, 2]);
        clock.advance_ns(8_000 * MS);
        // The asking thread woke before the beating one.
        assert_eq!(back(&clock, &pulse), 8_004);
        pulse.beat();
        assert_eq!(back(&clock, &pulse), 8_004);
        beats(&clock, &pulse, &[2]);
        assert_eq!(back(&clock, &pulse), 8_006, "it may have waited since before the stop");
        beats(&clock, &pulse, &[2, 2]);
        assert_eq!(back(&clock, &pulse), 4, "that is over");
    }

    #[test]
    fn stalls_with_hardly_a_beat_between_them_are_one() {
        let (clock, pulse) = pulse();
        beats(&clock, &pulse, &[2, 30, 2, 40]);
        assert_eq!(back(&clock, &pulse), 30 + 2 + 40 + 4);
        beats(&clock, &pulse, &[2, 2, 2, 2, 50]);
        assert_eq!(back(&clock, &pulse), 54);
    }

    fn until(condition: impl Fn() -> bool) {
        let begin = std::time::Instant::now();
        while !condition() {
            assert!(begin.elapsed() < Duration::from_secs(10));
            std::thread::sleep(BEAT);
        }
    }

    #[test]
    fn it_beats_when_it_is_heeded_and_ends_with_its_last_holder() {
        for heeded in [true, false] {
            let clock = Arc::new(SystemClock::new());
            let pulse = Pulse::start(clock.clone()).unwrap();
            let started = clock.now();
            if heeded {
                pulse.heed();
                until(|| pulse.now().since(&started).ns > 0);
            } else {
                std::thread::sleep(BEAT * 10);
                assert!(pulse.now().since(&started).ns < 0, "nobody needs it to beat");
            }
            let held = Arc::downgrade(&pulse);
            drop(pulse);
            until(|| held.strong_count() == 0);
        }
    }
}
