//! Spans of time as people write them: `250ms`, `5m`, `1h30m`, `2d`, `3y`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Longest span, a hundred years of 365 days.
const MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Units, longest first, in nanoseconds.
const UNITS: [(&str, u64); 9] = [
    ("y", 31_536_000_000_000_000),
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A span of time, zero to a hundred years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let rest = text.trim();
        if rest.starts_with('-') {
            return Err(format!("{text:?} is negative; write it like \"5m\" or \"1h30m\""));
        }
        if rest.is_empty() {
            return Err("is empty; write it like \"5m\" or \"1h30m\"".to_owned());
        }
        let mut total: u64 = 0;
        let mut rest = rest;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let unit_end = rest[digits..]
                .find(|c: char| !c.is_ascii_alphabetic())
                .map_or(rest.len(), |at| digits + at);
            let (number, unit) = (&rest[..digits], &rest[digits..unit_end]);
            let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(unlike(text, unit));
            };
            if number.is_empty() {
                return Err(unlike(text, unit));
            }
            let value = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*size));
            total = value
                .and_then(|v| total.checked_add(v))
                .filter(|sum| Duration::from_nanos(*sum) <= MAX)
                .ok_or_else(|| format!("{text:?} is longer than 100 years; write less"))?;
            rest = rest[unit_end..].trim_start();
        }
        Ok(Span(Duration::from_nanos(total)))
    }
}

fn unlike(text: &str, unit: &str) -> String {
    let known = "the units are y, w, d, h, m, s, ms, us, ns";
    if unit.is_empty() {
        format!("{text:?} has a number without a unit; write it like \"5m\" or \"1h30m\"")
    } else {
        format!("{text:?} is no span of time; write it like \"5m\" or \"1h30m\" ({known})")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, size) in UNITS.iter().filter(|(name, _)| *name != "w") {
            if rest >= *size {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time in quotes, like \"5m\" or \"1h30m\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A span of time: 250ms, 5m, 1h30m, 2d, 3y.",
            "pattern": "^\\s*([0-9]+(y|w|d|h|m|s|ms|us|ns)\\s*)+$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        for (text, ns, printed) in [
            ("5m", 300_000_000_000, "5m"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("1h 30m", 5_400_000_000_000, "1h30m"),
            ("250ms", 250_000_000, "250ms"),
            ("2d", 172_800_000_000_000, "2d"),
            ("3y", 94_608_000_000_000_000, "3y"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_nanos(), ns, "{text}");
            assert_eq!(span.to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "5",
            "-5m",
            "m",
            "5 minutes",
            "1e9s",
            "5m3",
            "101y",
            "99999999999999999999s",
            "1.5h",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
