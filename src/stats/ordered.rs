//! Times in order, which every estimator here begins with.
//!
//! Events and censorings are kept apart: each part is then a plain list of integers, which sorts
//! several times faster than records do (and faster than by digits: measured on a million), and
//! nothing has to be said about ties. A censoring at the time of an event is still at risk at it, so
//! a walk takes the event first.
//!
//! A long part is halved about its median, and both halves are sorted at once: sorting is most of what a
//! curve of a million costs, and halves that lie apart need no merging. The order is the same.

use super::survival::Observation;

/// Below this, starting a thread costs more than it saves.
const LONG: usize = 100_000;

/// Observations of one group, in order of time.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    /// Those of events, then those of censorings, each part ascending.
    times: Vec<u64>,
    events: usize,
}

impl Ordered {
    /// Orders them: O(n log n).
    pub(super) fn of(observations: &[Observation]) -> Ordered {
        let mut times = vec![0; observations.len()];
        // Filled from both ends, without a branch that depends on the data.
        let (mut events, mut censored) = (0, observations.len());
        for o in observations {
            censored -= usize::from(!o.event);
            times[if o.event { events } else { censored }] = o.time_ns;
            events += usize::from(o.event);
        }
        let (came, went) = times.split_at_mut(events);
        sort(came);
        sort(went);
        Ordered { times, events }
    }

    /// Number of observations.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Number of events.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// A walk over them.
    pub(super) fn walk(&self) -> Walk<'_> {
        let (events, censored) = self.times.split_at(self.events);
        Walk { events, censored }
    }
}

fn sort(times: &mut [u64]) {
    let alone = || std::thread::available_parallelism().map_or(1, usize::from) < 2;
    if times.len() < LONG || alone() {
        return times.sort_unstable();
    }
    let (earlier, _, later) = times.select_nth_unstable(times.len() / 2);
    let helped = std::thread::scope(|scope| {
        let helper = std::thread::Builder::new().spawn_scoped(scope, || earlier.sort_unstable());
        later.sort_unstable();
        helper.is_ok()
    });
    if !helped {
        // No thread to be had.
        earlier.sort_unstable();
    }
}

/// What is left of a group during a walk through time.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    events: &'a [u64],
    censored: &'a [u64],
}

impl Walk<'_> {
    /// The next time at which an event happens.
    pub(super) fn next_event(&self) -> Option<u64> {
        self.events.first().copied()
    }

    /// Goes to that time, which must not lie before the last one: how many are at risk just before
    /// it, and how many events happen at it.
    pub(super) fn take(&mut self, time_ns: u64) -> (u64, u64) {
        let gone = self.censored.iter().take_while(|c| **c < time_ns).count();
        self.censored = self.censored.get(gone..).unwrap_or(&[]);
        let at_risk = self.events.len() + self.censored.len();
        let events = self.events.iter().take_while(|e| **e == time_ns).count();
        self.events = self.events.get(events..).unwrap_or(&[]);
        (at_risk as u64, events as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_censoring_at_an_events_time_is_at_risk_at_it() {
        let rows = [(5, true), (5, false), (3, false), (7, true), (5, true)];
        let rows = rows.map(|(time_ns, event)| Observation { time_ns, event });
        let ordered = Ordered::of(&rows);
        let mut walk = ordered.walk();
        assert_eq!((walk.next_event(), walk.take(5)), (Some(5), (4, 2)));
        assert_eq!((walk.next_event(), walk.take(7)), (Some(7), (1, 1)));
        assert_eq!(walk.next_event(), None);
    }

    #[test]
    fn a_long_part_is_in_the_same_order() {
        // Few different times: the median stands many times, on both sides of the cut.
        for different in [3, 1_009, u64::MAX] {
            let mut state = 1u64;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state % different
            };
            let mut times: Vec<u64> = (0..LONG + 1).map(|_| next()).collect();
            let mut expected = times.clone();
            expected.sort_unstable();
            sort(&mut times);
            assert_eq!(times, expected, "{different}");
        }
    }
}
