//! Escaping by format: what a real writer of that format does with hostile characters.

use minijinja::value::Value;
use minijinja::{AutoEscape, Error, ErrorKind, Output, State};

/// The environment's formatter.
pub(super) fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let mode = match state.auto_escape() {
        AutoEscape::Custom(mode) => mode.to_string(),
        _ => "line".to_owned(),
    };
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "a value is undefined"));
    }
    let text = match mode.as_str() {
        "json" => serde_json::to_string(value)
            .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?,
        "access-log" => access_log(&value.to_string()),
        "audit" => line(&value.to_string(), |c| c == '"' || c == '\''),
        _ => line(&value.to_string(), |_| false),
    };
    out.write_str(&text).map_err(Error::from)
}

/// As syslog daemons do: the bytes of a control or direction character as `#ooo`.
fn line(text: &str, more: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction(c) || more(c) {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("#{byte:03o}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// As nginx does: `"`, `\`, control characters and all bytes beyond ASCII as `\xHH`.
fn access_log(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => out.push_str(&format!("\\x{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// Characters that reorder or split what a person sees.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
