//! A message (a line, a Kafka record, a webhook's body) to its records.

use serde_json::Value;

use super::{Dialect, Format};

/// Deepest nesting that is read. Deeper JSON is refused before it is parsed.
pub const MAX_DEPTH: usize = 64;

/// The records of one message.
#[derive(Clone, PartialEq, Debug)]
pub enum Parts {
    /// JSON records.
    Json(Vec<Value>),
    /// Lines of text, as byte ranges of the message.
    Text(Vec<std::ops::Range<usize>>),
}

/// Why a message has no records.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// Not JSON, or cut off.
    #[error("not JSON: {reason}")]
    NotJson {
        /// Where and why.
        reason: String,
    },
    /// Nested too deep.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// No records where the dialect expects them.
    #[error("no list of records at {pointer:?}")]
    NoRecords {
        /// The dialect's pointer.
        pointer: String,
    },
}

impl Dialect {
    /// Splits a message into its records. JSON messages may hold one value, an array, or several
    /// values one after another.
    pub fn parts(&self, message: &[u8]) -> Result<Parts, PartsError> {
        match self.format {
            Format::Text => Ok(Parts::Text(text_lines(message))),
            Format::Json => {
                let mut records = Vec::new();
                for value in json_values(message)? {
                    self.split(value, &mut records)?;
                }
                Ok(Parts::Json(records))
            }
        }
    }

    fn split(&self, value: Value, records: &mut Vec<Value>) -> Result<(), PartsError> {
        let found = match &self.spec.records {
            None => value,
            Some(pointer) => take(value, pointer)
                .ok_or_else(|| PartsError::NoRecords { pointer: pointer.clone() })?,
        };
        match found {
            Value::Array(elements) => records.extend(elements),
            _ if self.spec.records.is_some() => {
                let pointer = self.spec.records.clone().unwrap_or_default();
                return Err(PartsError::NoRecords { pointer });
            }
            single => records.push(single),
        }
        Ok(())
    }
}

/// Moves the value at `pointer` out of `value`.
pub(super) fn take(mut value: Value, pointer: &str) -> Option<Value> {
    value.pointer_mut(pointer).map(Value::take)
}

/// All JSON values of a message, depth checked first.
pub(crate) fn json_values(message: &[u8]) -> Result<Vec<Value>, PartsError> {
    if depth(message) > MAX_DEPTH {
        return Err(PartsError::TooDeep);
    }
    // Editors and some senders put a byte order mark in front.
    let message = message.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(message);
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(message).into_iter::<Value>() {
        values.push(value.map_err(|e| PartsError::NotJson { reason: e.to_string() })?);
    }
    if values.is_empty() {
        return Err(PartsError::NotJson { reason: "empty".to_owned() });
    }
    Ok(values)
}

/// Deepest nesting of brackets outside strings: linear, no recursion, no allocation.
fn depth(message: &[u8]) -> usize {
    let (mut depth, mut deepest, mut string, mut escaped) = (0_usize, 0, false, false);
    for &byte in message {
        if string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn text_lines(message: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut lines = Vec::new();
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', message).chain([message.len()]) {
        let trimmed = if end > begin && message[end - 1] == b'\r' { end - 1 } else { end };
        if trimmed > begin {
            lines.push(begin..trimmed);
        }
        begin = end + 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialects;

    fn count(dialect: &str, message: &[u8]) -> Result<usize, PartsError> {
        let dialect = Dialects::embedded().unwrap().get(dialect).unwrap();
        Ok(match dialect.parts(message)? {
            Parts::Json(records) => records.len(),
            Parts::Text(lines) => lines.len(),
        })
    }

    #[test]
    fn one_value_an_array_or_several() {
        assert_eq!(count("json", br#"{"a":1}"#), Ok(1));
        assert_eq!(count("json", br#"[{"a":1},{"a":2}]"#), Ok(2));
        assert_eq!(count("json", b"{\"a\":1}\n{\"a\":2}\n"), Ok(2));
        assert_eq!(count("json", b"\xEF\xBB\xBF{}"), Ok(1));
        assert_eq!(count("alertmanager", br#"{"alerts":[{},{},{}]}"#), Ok(3));
        assert_eq!(count("crowdsec", br#"[{"scenario":"x"}]"#), Ok(1));
        assert_eq!(count("lines", b"a\r\nb\n\nc"), Ok(3));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(count("json", b"<html>"), Err(PartsError::NotJson { .. })));
        assert!(matches!(count("json", br#"{"a":"#), Err(PartsError::NotJson { .. })));
        assert!(matches!(count("json", b""), Err(PartsError::NotJson { .. })));
        assert!(matches!(count("alertmanager", b"{}"), Err(PartsError::NoRecords { .. })));
        assert!(matches!(
            count("alertmanager", br#"{"alerts":{}}"#),
            Err(PartsError::NoRecords { .. })
        ));
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        assert_eq!(count("json", &deep), Err(PartsError::TooDeep));
        assert_eq!(count("json", format!("\"{}\"", "[".repeat(100)).as_bytes()), Ok(1));
    }
}
