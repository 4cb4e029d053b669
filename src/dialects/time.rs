//! Times as products write them, traps included.
//!
//! Understood: RFC 3339 with any number of fraction digits (7 from one vendor, more than 9 are cut),
//! offsets without a colon (`+0000`), a blank instead of the `T`; numbers and numeric strings since
//! the epoch in seconds, milliseconds, microseconds or nanoseconds, told apart by their size.
//! Not understood, on purpose: times without an offset. Their zone would be a guess.

use serde_json::Value;

/// Nanoseconds since the Unix epoch, or `None` where the value names no instant within an `i64`.
pub fn parse_time(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => epoch(&number.to_string()),
        Value::String(text) => {
            let text = text.trim();
            epoch(text).or_else(|| written(text))
        }
        _ => None,
    }
}

/// A decimal number since the epoch; the unit follows from its size.
fn epoch(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    // 10^11 seconds is the year 5138, 10^11 milliseconds the year 1973: no overlap in use.
    let unit: i128 = match whole {
        0..100_000_000 => return None,
        100_000_000..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    // Decimal text keeps the nanoseconds that a floating point number would lose.
    let mut scaled = 0_i128;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        scaled += i128::from(digit - b'0') * place;
    }
    i64::try_from(whole * unit + scaled).ok()
}

fn written(text: &str) -> Option<i64> {
    if text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let mut text = text.to_owned();
    // Offsets without a colon: "+0000".
    let bytes = text.as_bytes();
    let sign = text.len().checked_sub(5)?;
    if matches!(bytes[sign], b'+' | b'-') && bytes[sign + 1..].iter().all(u8::is_ascii_digit) {
        text.insert(sign + 3, ':');
    }
    // More than nine fraction digits are below a nanosecond.
    if let Some(dot) = text.find('.') {
        let digits = text[dot + 1..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 9 {
            text.replace_range(dot + 10..dot + 1 + digits, "");
        }
    }
    let instant: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(instant.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_forms_in_use() {
        let second = 1_795_511_101_000_000_000_i64;
        for (value, want) in [
            (json!("2026-11-24T09:05:01Z"), Some(second)),
            (json!("2026-11-24T09:05:01.532140+0000"), Some(second + 532_140_000)),
            (json!("2026-11-24T10:05:01.5+0100"), Some(second + 500_000_000)),
            (json!("2026-11-24 09:05:01+00:00"), Some(second)),
            (json!("2026-11-24T09:05:01.1234567Z"), Some(second + 123_456_700)),
            (json!("2026-11-24T09:05:01.123456789123Z"), Some(second + 123_456_789)),
            (json!(1_795_511_101), Some(second)),
            (json!(1_795_511_101_250_i64), Some(second + 250_000_000)),
            (json!(1_795_511_101_250_001_i64), Some(second + 250_001_000)),
            (json!(1_795_511_101_250_001_002_i64), Some(second + 250_001_002)),
            (json!("1795511101.123456789"), Some(second + 123_456_789)),
            (json!("2026-11-24T09:05:01"), None),
            (json!("0001-01-01T00:00:00Z"), None),
            (json!("yesterday"), None),
            (json!("١٢٣"), None),
            (json!(""), None),
            (json!(12), None),
            (json!(-5), None),
            (json!(null), None),
            (json!("99999999999999999999999999999999999999999999"), None),
        ] {
            assert_eq!(parse_time(&value), want, "{value}");
        }
    }
}
