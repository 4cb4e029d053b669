//! One event, one line: what a line-based transport does with characters that would end the line.
//!
//! Valid JSON holds raw line breaks only between its values, where a space means the same; they
//! become spaces. In any other text, LF, CR and NUL are written the way rsyslog writes them, as `#`
//! and three octal digits (`#012`), because that is what a collector would have found in the file
//! of a real daemon. Every other character, however odd, goes out as it is.

use std::borrow::Cow;

/// Returns the body as exactly one line, without its trailing line break. The body is borrowed
/// when nothing needs to change.
pub fn one_line(body: &str) -> Cow<'_, str> {
    if !body.bytes().any(breaks_line) {
        return Cow::Borrowed(body);
    }
    if is_json(body) {
        return Cow::Owned(body.replace(['\n', '\r'], " "));
    }
    let mut out = String::with_capacity(body.len() + 8);
    for c in body.chars() {
        match c {
            '\n' => out.push_str("#012"),
            '\r' => out.push_str("#015"),
            '\0' => out.push_str("#000"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The line with its one trailing line break: what a single write hands over.
pub fn with_newline(body: &str) -> Vec<u8> {
    let line = one_line(body);
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// True when the text is one JSON object or array: what a record of a JSON log is.
pub fn is_json(body: &str) -> bool {
    let first = body.trim_start().as_bytes().first();
    matches!(first, Some(b'{' | b'['))
        && serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok()
}

fn breaks_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_text_is_untouched() {
        let odd = "a \u{202e} \u{1f600} \u{2028} \" \\ \t \x1b[31m";
        assert!(matches!(one_line(odd), Cow::Borrowed(text) if text == odd));
    }

    #[test]
    fn line_breaks_are_written_as_rsyslog_does() {
        assert_eq!(one_line("a\nb\rc\0d"), "a#012b#015c#000d");
    }

    #[test]
    fn json_stays_the_same_json() {
        let pretty = "{\r\n  \"a\": \"x\\ny\",\n  \"b\": [1,\n2]\n}";
        let line = one_line(pretty);
        assert!(!line.contains(['\n', '\r']));
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(pretty));
    }

    proptest! {
        #[test]
        fn any_body_is_exactly_one_line(body in any::<String>()) {
            let bytes = with_newline(&body);
            prop_assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
            prop_assert_eq!(bytes.last(), Some(&b'\n'));
            prop_assert!(!bytes.contains(&0) && !bytes.contains(&b'\r'));
        }
    }
}
