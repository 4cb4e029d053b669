//! When injecting is authorised: from an instant to an instant, both included.
//!
//! Checking it once at the start would let a long run inject after the permission has ended. It is
//! therefore asked for each canary's instants ahead of time, and once more as each event leaves, because
//! what waits for a slow target leaves later than it was planned.

use crate::config::checked::Authorisation;

/// The span, wall nanoseconds. Without an authorisation there is no end: then every target is of this
/// machine, or the configuration is refused.
#[derive(Clone, Copy, Debug)]
pub struct Authorised {
    from_ns: i64,
    until_ns: i64,
}

impl Authorised {
    /// Of what was allowed, if anything had to be.
    pub fn new(given: Option<&Authorisation>) -> Authorised {
        let nanos =
            |at: jiff::Timestamp, beyond| i64::try_from(at.as_nanosecond()).unwrap_or(beyond);
        match given {
            Some(given) => Authorised {
                from_ns: nanos(given.valid_from, i64::MIN),
                until_ns: nanos(given.valid_until, i64::MAX),
            },
            None => Authorised { from_ns: i64::MIN, until_ns: i64::MAX },
        }
    }

    /// True when all of it, from the first event to the last, is allowed.
    pub fn covers(&self, first_ns: i64, last_ns: i64) -> bool {
        first_ns >= self.from_ns && last_ns <= self.until_ns
    }

    /// True when nothing is allowed any more at that instant, nor later.
    pub fn is_over(&self, at_ns: i64) -> bool {
        at_ns > self.until_ns
    }

    /// The last instant, where there is one.
    pub fn ends(&self) -> Option<jiff::Timestamp> {
        let until = jiff::Timestamp::from_nanosecond(i128::from(self.until_ns)).ok();
        until.filter(|_| self.until_ns != i64::MAX)
    }
}
