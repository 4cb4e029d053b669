//! Numbers in words: durations and shares as people write them, with no more digits than they carry.

/// A duration with its unit: `12.3 s`, `4 min 5 s`, `3.2 days`.
pub fn duration(ns: u64) -> String {
    in_unit(ns, |value, _| value)
}

/// An upper limit, rounded up: one that is rounded down is none.
pub fn duration_up(ns: u64) -> String {
    // A limit of few digits but for the last bits stays it.
    in_unit(ns, |value, places| {
        let digits = 10f64.powi(places as i32);
        (value * digits - 1e-6).ceil() / digits
    })
}

/// In the unit that suits it, with three digits; what stands behind them goes as asked.
fn in_unit(ns: u64, rounded: fn(f64, usize) -> f64) -> String {
    let s = ns as f64 / 1e9;
    let three = |value: f64| three(rounded(value, places(value)));
    if ns < 1_000 {
        format!("{ns} ns")
    } else if s < 1e-3 {
        format!("{:.0} µs", rounded(s * 1e6, 0))
    } else if s < 1.0 {
        format!("{} ms", three(s * 1e3))
    } else if s < 60.0 {
        format!("{} s", three(s))
    } else if s < 3_600.0 {
        format!("{} min", three(s / 60.0))
    } else if s < 86_400.0 {
        format!("{} h", three(s / 3_600.0))
    } else {
        format!("{} days", three(s / 86_400.0))
    }
}

/// `1 batch`, `12 batches`.
pub fn batches(n: u64) -> String {
    format!("{n} {}", if n == 1 { "batch" } else { "batches" })
}

/// Places behind the point that make three digits.
fn places(value: f64) -> usize {
    if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    }
}

/// Three digits, and no zeros behind the point.
fn three(value: f64) -> String {
    let places = places(value);
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A share in per cent; never rounded up to 100 or down to 0.
pub fn percent(share: f64) -> String {
    let rounded = (share * 1_000.0).round() / 10.0;
    if share < 1.0 && rounded >= 100.0 {
        ">99.9 %".to_owned()
    } else if share > 0.0 && rounded <= 0.0 {
        "<0.1 %".to_owned()
    } else {
        format!("{rounded} %")
    }
}

/// An upper limit in per cent: rounded up to a tenth, because a limit that is rounded down is none.
pub fn percent_up(share: f64) -> String {
    // A limit that is a tenth but for the last bits stays it.
    let tenths = (share * 1_000.0 - 1e-9).ceil().clamp(0.0, 1_000.0);
    format!("{} %", tenths / 10.0)
}

/// Hours of the day, in order, as spans: `00 to 05, 09`; `none`.
pub fn hours(hours: &[u8]) -> String {
    let mut spans: Vec<(u8, u8)> = Vec::new();
    for hour in hours {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *hour => *last = *hour,
            _ => spans.push((*hour, *hour)),
        }
    }
    if spans.is_empty() {
        return "none".to_owned();
    }
    let span = |(first, last): &(u8, u8)| match first == last {
        true => format!("{first:02}"),
        false => format!("{first:02} to {last:02}"),
    };
    spans.iter().map(span).collect::<Vec<_>>().join(", ")
}

/// What a class of strays says about a campaign, where its name does not.
pub fn stray_note(class: &str) -> Option<&'static str> {
    (class == "echoed").then_some(
        "echoed: what was sent itself, where only alerts belong. It proves no detection; look at what \
         the watcher reads, or watch this place at `ingested`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (ns, text) in [
            (0, "0 ns"),
            (42_000, "42 µs"),
            (1_500_000, "1.5 ms"),
            (999_000_000, "999 ms"),
            (12_340_000_000, "12.3 s"),
            (90_000_000_000, "1.5 min"),
            (7_200_000_000_000, "2 h"),
            (400 * 86_400_000_000_000, "400 days"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn a_limit_is_never_rounded_down() {
        for (ns, text) in [
            (0, "0 ns"),
            (42_001, "43 µs"),
            (12_340_000_000, "12.4 s"),
            (12_300_000_000, "12.3 s"),
            (65_410_000_000, "1.1 min"),
            (90_000_000_000, "1.5 min"),
            (7_200_000_000_001, "2 h"),
            (7_201_000_000_000, "2.01 h"),
            (399 * 86_400_000_000_000 + 1_000_000_000, "400 days"),
        ] {
            assert_eq!(duration_up(ns), text);
        }
    }

    #[test]
    fn hours_are_told_as_spans() {
        assert_eq!(hours(&[]), "none");
        assert_eq!(hours(&[0, 1, 2, 9, 22, 23]), "00 to 02, 09, 22 to 23");
    }

    #[test]
    fn a_share_is_never_rounded_to_certainty() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.9999), ">99.9 %");
        assert_eq!(percent(0.0001), "<0.1 %");
        assert_eq!(percent(0.953), "95.3 %");
        assert_eq!(percent_up(0.0495076), "5 %");
        assert_eq!(percent_up(0.0991), "10 %");
        assert_eq!(percent_up(0.0981), "9.9 %");
        assert_eq!(percent_up(1.0), "100 %");
    }
}
