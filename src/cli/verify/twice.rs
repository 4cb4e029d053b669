//! Keys that stand twice in one object. Most readers keep the last, some the first: such a document says
//! different things to different readers, and so it is never what was sent.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The first key that stands twice in an object of a JSON text; `None` where none does, or where the text
/// is no JSON.
pub(super) fn twice(text: &str) -> Option<String> {
    serde_json::from_str::<Keys>(text).ok()?.0
}

/// What is said about it.
pub(super) fn in_words(key: &str) -> String {
    format!("`{key}` stands twice in one object: it is not what was sent to every reader")
}

struct Keys(Option<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let (mut seen, mut found) = (HashSet::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            let below: Keys = map.next_value()?;
            if seen.contains(&key) {
                found.get_or_insert(key);
            } else {
                found = found.or(below.0);
                seen.insert(key);
            }
        }
        Ok(Keys(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Keys, A::Error> {
        let mut found = None;
        while let Some(Keys(below)) = seq.next_element()? {
            found = found.or(below);
        }
        Ok(Keys(found))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
        Ok(Keys(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
        Ok(Keys(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
        Ok(Keys(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
        Ok(Keys(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
        Ok(Keys(None))
    }

    fn visit_unit<E>(self) -> Result<Keys, E> {
        Ok(Keys(None))
    }
}

#[cfg(test)]
mod tests {
    use super::twice;

    #[test]
    fn a_key_is_found_twice_at_any_depth_and_however_it_is_spelt() {
        for (text, key) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"b":{"a":1,"c":2,"a":3}}"#, "a"),
            (r#"[{"b":[1,{"a":null,"a":{}}]}]"#, "a"),
            (r#"{"user":1,"us\u0065r":2}"#, "user"),
        ] {
            assert_eq!(twice(text).as_deref(), Some(key), "{text}");
        }
        for text in [r#"{"a":{"a":1},"b":{"a":1}}"#, "[1,2]", "no json", "{\"a\":1", "1e400"] {
            assert_eq!(twice(text), None, "{text}");
        }
    }
}
