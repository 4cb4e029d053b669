//! A stream of JSON objects, one at a time, read more strictly than a parser does by default: a key that
//! stands twice in an object, or a comma with nothing behind it, is a mistake of whoever wrote it, and
//! the parser's choice between two values would be a guess.

use std::fmt;
use std::io::{self, BufRead, Read};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::source::{LONGEST_ROW, too_long, unreadable, user};
use crate::exit::Failure;
use crate::report::escape::terminal as safe;

/// The line on which an object begins, and the object.
pub(super) type Placed = (u64, Map<String, Value>);

/// What came last within an array.
#[derive(Clone, Copy)]
enum Last {
    Bracket,
    Object,
    Comma,
}

/// Splits a stream of JSON into its objects: those of one array, or one after the other.
pub(super) struct Values<'a> {
    bytes: io::Bytes<Box<dyn BufRead + 'a>>,
    line: u64,
    column: u64,
    /// Within an array: what came last.
    array: Option<Last>,
    begun: bool,
    ended: bool,
}

impl<'a> Values<'a> {
    pub(super) fn new(input: Box<dyn BufRead + 'a>, line: u64) -> Values<'a> {
        Values { bytes: input.bytes(), line, column: 0, array: None, begun: false, ended: false }
    }

    fn byte(&mut self) -> Result<Option<u8>, Failure> {
        let byte = self.bytes.next().transpose().map_err(|e| unreadable(&e))?;
        if byte == Some(b'\n') {
            (self.line, self.column) = (self.line + 1, 0);
        } else {
            self.column += 1;
        }
        Ok(byte)
    }

    fn wrong(&self, what: &str) -> Failure {
        user(format!("line {}, column {}: {what}", self.line, self.column))
    }

    pub(super) fn next(&mut self) -> Result<Option<Placed>, Failure> {
        while !self.ended {
            match (self.byte()?, self.array) {
                (Some(b' ' | b'\t' | b'\r' | b'\n'), _) => {}
                (Some(b'['), None) if !self.begun => {
                    (self.array, self.begun) = (Some(Last::Bracket), true);
                }
                (Some(b','), Some(Last::Object)) => self.array = Some(Last::Comma),
                (Some(b'{'), None | Some(Last::Bracket | Last::Comma)) => {
                    self.begun = true;
                    self.array = self.array.map(|_| Last::Object);
                    return self.object().map(Some);
                }
                (Some(b']'), Some(Last::Bracket | Last::Object)) => {
                    while let Some(byte) = self.byte()? {
                        if !byte.is_ascii_whitespace() {
                            return Err(self.wrong("nothing may follow the array"));
                        }
                    }
                    self.ended = true;
                }
                (None, Some(_)) => return Err(self.wrong("the array does not end; is it whole?")),
                (None, None) => self.ended = true,
                _ => return Err(self.wrong("an object `{...}` is expected here")),
            }
        }
        Ok(None)
    }

    /// The object whose brace was just read.
    fn object(&mut self) -> Result<(u64, Map<String, Value>), Failure> {
        let (line, column) = (self.line, self.column);
        let mut text = vec![b'{'];
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        while depth > 0 {
            let Some(byte) = self.byte()? else {
                return Err(self.wrong(&format!("the object of line {line} does not end")));
            };
            text.push(byte);
            if text.len() > LONGEST_ROW {
                return Err(too_long(line));
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth -= 1,
                _ => {}
            }
        }
        let object = serde_json::from_slice(&text).and_then(|Unique(object)| match object {
            Value::Object(object) => Ok(object),
            _ => Err(serde_json::Error::custom("no object")),
        });
        let object = object.map_err(|e| {
            let at = line + e.line() as u64 - 1;
            let column = if e.line() == 1 { column - 1 } else { 0 } + e.column() as u64;
            // The library's own place counts from the object.
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            user(format!("line {at}, column {column}: {}", safe(what)))
        })?;
        Ok((line, object))
    }
}

/// Any value; no object in it has a key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(Any).map(Unique)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands twice")));
            }
            let Unique(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
