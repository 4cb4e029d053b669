//! Times in order, which every estimator here begins with.
//!
//! Events and censorings are kept apart: each half is then a plain list of integers, which sorts
//! several times faster than records do, and nothing has to be said about ties. A censoring at the
//! time of an event is still at risk at it, so a walk takes the event first.

use super::survival::Observation;

/// Below this many the library's sort is quicker than counting digits.
const SHORT: usize = 4_096;
/// Bits of one digit: 2048 counters stay in the first-level cache.
const DIGIT: u32 = 11;

/// Observations of one group, in order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Ordered {
    events: Vec<u64>,
    censored: Vec<u64>,
}

impl Ordered {
    /// Orders them: O(n).
    pub(super) fn of(observations: &[Observation]) -> Ordered {
        let count = observations.iter().filter(|o| o.event).count();
        let mut events = Vec::with_capacity(count);
        let mut censored = Vec::with_capacity(observations.len() - count);
        for o in observations {
            if o.event { &mut events } else { &mut censored }.push(o.time_ns);
        }
        sort(&mut events);
        sort(&mut censored);
        Ordered { events, censored }
    }

    /// Number of observations.
    pub(super) fn len(&self) -> usize {
        self.events.len() + self.censored.len()
    }

    /// Number of events.
    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    /// A walk over them.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk { events: &self.events, censored: &self.censored }
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

/// Sorts integers by their digits, lowest first; digits that all share cost nothing but a look.
pub(super) fn sort(values: &mut Vec<u64>) {
    if values.len() < SHORT {
        values.sort_unstable();
        return;
    }
    let differing = values.iter().fold(0, |all, v| all | (v ^ values[0]));
    let mut other = vec![0u64; values.len()];
    for shift in (0..u64::BITS).step_by(DIGIT as usize) {
        let mask = (1u64 << DIGIT) - 1;
        if (differing >> shift) & mask == 0 {
            continue;
        }
        let mut starts = [0usize; 1 << DIGIT];
        for value in values.iter() {
            starts[((value >> shift) & mask) as usize] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += std::mem::replace(start, sum);
        }
        for value in values.iter() {
            let start = &mut starts[((value >> shift) & mask) as usize];
            other[*start] = *value;
            *start += 1;
        }
        std::mem::swap(values, &mut other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorting_by_digits_is_sorting(
            seed in proptest::collection::vec(any::<u64>(), 1..50), shift in 0u32..64, len in 0usize..9000
        ) {
            let mut values: Vec<u64> = (0..len)
                .map(|i| seed[i % seed.len()].wrapping_mul(i as u64 * 2 + 1) >> shift)
                .collect();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            sort(&mut values);
            prop_assert_eq!(values, sorted);
        }
    }

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
}
