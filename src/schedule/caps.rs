//! Caps: how many canaries a route may inject per hour and per day, counted over a sliding window.

use std::collections::VecDeque;

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

/// Which cap refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CapRefusal {
    /// The hourly one.
    Hour,
    /// The daily one.
    Day,
}

/// The caps of one route, with the instants that count against them.
#[derive(Clone, Debug)]
pub struct Caps {
    per_hour: u32,
    per_day: u32,
    recent: VecDeque<i64>,
}

impl Caps {
    /// Caps with the wall instants (ns) of canaries that earlier runs injected.
    pub fn new(per_hour: u32, per_day: u32, earlier: impl IntoIterator<Item = i64>) -> Caps {
        let mut recent: Vec<i64> = earlier.into_iter().collect();
        recent.sort_unstable();
        Caps { per_hour, per_day, recent: recent.into() }
    }

    /// Counts one canary at `wall_ns`, or says which cap forbids it.
    pub fn admit(&mut self, wall_ns: i64) -> Result<(), CapRefusal> {
        while self.recent.front().is_some_and(|at| wall_ns.saturating_sub(*at) >= DAY_NS) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.per_day as usize {
            return Err(CapRefusal::Day);
        }
        let hour = self.recent.iter().rev().take_while(|at| wall_ns.saturating_sub(**at) < HOUR_NS);
        if hour.count() >= self.per_hour as usize {
            return Err(CapRefusal::Hour);
        }
        self.recent.push_back(wall_ns);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_slides() {
        let mut caps = Caps::new(2, 100, []);
        assert!(caps.admit(0).is_ok());
        assert!(caps.admit(HOUR_NS / 2).is_ok());
        assert_eq!(caps.admit(HOUR_NS - 1), Err(CapRefusal::Hour));
        assert!(caps.admit(HOUR_NS).is_ok());
        assert_eq!(caps.admit(HOUR_NS + 1), Err(CapRefusal::Hour));
    }

    #[test]
    fn earlier_runs_count_against_the_day() {
        let mut caps = Caps::new(10, 3, [1, 2, 3]);
        assert_eq!(caps.admit(HOUR_NS * 2), Err(CapRefusal::Day));
        assert!(caps.admit(DAY_NS + 3).is_ok());
    }
}
