//! Quiet hours: spans of the day in which nothing is injected. The report says which hours were
//! therefore never sampled.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::checked::QuietHours;

/// The time zone is not known on this machine.
#[derive(Debug, thiserror::Error)]
#[error("unknown time zone {name:?}; use an IANA name such as \"Europe/Berlin\" or \"UTC\"")]
pub struct QuietZoneError {
    /// The name as configured.
    pub name: String,
}

/// Quiet hours in their time zone.
#[derive(Clone, Debug)]
pub struct QuietPlan {
    hours: Vec<QuietHours>,
    zone: TimeZone,
    zone_name: String,
}

impl QuietPlan {
    /// Looks the time zone up.
    pub fn new(hours: &[QuietHours], zone_name: &str) -> Result<QuietPlan, QuietZoneError> {
        let zone =
            TimeZone::get(zone_name).map_err(|_| QuietZoneError { name: zone_name.to_owned() })?;
        Ok(QuietPlan { hours: hours.to_vec(), zone, zone_name: zone_name.to_owned() })
    }

    /// True when nothing may be injected at that instant.
    pub fn is_quiet(&self, wall_ns: i64) -> bool {
        let Ok(at) = Timestamp::from_nanosecond(i128::from(wall_ns)) else { return true };
        let local = self.zone.to_datetime(at);
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.hours.iter().any(|h| {
            if h.from_minute <= h.to_minute {
                (h.from_minute..h.to_minute).contains(&minute)
            } else {
                minute >= h.from_minute || minute < h.to_minute
            }
        })
    }

    /// The quiet hours in words, for the ledger.
    pub fn in_words(&self) -> Vec<String> {
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        self.hours
            .iter()
            .map(|h| format!("{}-{} {}", clock(h.from_minute), clock(h.to_minute), self.zone_name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_nanosecond() as i64
    }

    #[test]
    fn spans_may_cross_midnight_and_follow_the_zone() {
        let night = QuietHours { from_minute: 22 * 60, to_minute: 6 * 60 };
        let plan = QuietPlan::new(&[night], "Europe/Berlin").unwrap();
        // 21:30 UTC is 22:30 in Berlin in winter.
        assert!(plan.is_quiet(at("2026-11-24T21:30:00Z")));
        assert!(!plan.is_quiet(at("2026-11-24T20:30:00Z")));
        assert!(plan.is_quiet(at("2026-11-24T04:59:00Z")));
        assert!(!plan.is_quiet(at("2026-11-24T05:00:00Z")));
        assert_eq!(plan.in_words(), ["22:00-06:00 Europe/Berlin"]);
    }

    #[test]
    fn an_unknown_zone_is_an_error() {
        assert!(QuietPlan::new(&[], "Mars/Olympus").is_err());
    }
}
