//! Whether a record is the event itself, as it was sent, and no alert about it.
//!
//! An alert says something about an event. A record that holds nothing but the event is a copy of our
//! own output, however it came to a place of alerts: a file that was renamed, an alias of the index, a
//! topic that is copied. It proves that somebody can read what we wrote, and no detection.
//!
//! Only the whole record counts: products quote the event inside their alerts, and put a rule's name in
//! front of it.

use dwell_injectors::line::one_line;
use dwell_injectors::recipe::MAX_BODY;
use serde_json::Value;

/// A longer record is no event of ours: a body, what escapes in it, and what a search puts around it.
pub const MAX_ECHO: usize = 2 * MAX_BODY;

/// True when the record is one of these bodies: its line, the same JSON, or the document of a search hit.
pub fn is_echo(record: &[u8], bodies: &[String]) -> bool {
    if record.len() > MAX_ECHO {
        return false;
    }
    let line = record.trim_ascii_end();
    if bodies.iter().any(|body| line == one_line(body).trim_ascii_end().as_bytes()) {
        return true;
    }
    let Some(found) = object(record) else { return false };
    let hit = found.get("_source").filter(|_| found.get("_index").is_some());
    let mut sent = bodies.iter().filter_map(|body| object(body.as_bytes()));
    sent.any(|sent| found == sent || hit == Some(&sent))
}

fn object(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_echo(record: &[u8], body: &str) -> bool {
        super::is_echo(record, &["another event of the burst".to_owned(), body.to_owned()])
    }

    #[test]
    fn a_copy_is_an_echo_and_what_quotes_it_is_none() {
        let line = "sshd[7]: Failed password for jn43n2l7phwtrkcm";
        for copy in [line.to_owned(), format!("{line}\n"), format!("{line}\r\n")] {
            assert!(is_echo(copy.as_bytes(), line), "{copy}");
        }
        assert!(is_echo(b"a#012b", "a\nb"), "as the transport writes it");
        for alert in [
            format!("rule 5710: {line}"),
            format!("{line} (rule 5710)"),
            format!("{{\"rule\":5710,\"full_log\":\"{line}\"}}"),
            String::new(),
        ] {
            assert!(!is_echo(alert.as_bytes(), line), "{alert}");
        }
    }

    #[test]
    fn a_document_is_compared_as_json() {
        let sent = "{\n \"user\": \"a\",\n \"n\": 1\n}";
        for copy in [
            "{\"user\":\"a\",\"n\":1}",
            "{\"n\":1,\"user\":\"a\"}",
            "{\"_index\":\"logs\",\"_id\":\"x\",\"_source\":{\"user\":\"a\",\"n\":1}}",
        ] {
            assert!(is_echo(copy.as_bytes(), sent), "{copy}");
        }
        for alert in [
            "{\"user\":\"a\",\"n\":1,\"rule\":7}",
            "{\"user\":\"a\"}",
            "{\"rule\":7,\"_source\":{\"user\":\"a\",\"n\":1}}",
            "{\"_index\":\"alerts\",\"_source\":{\"event\":{\"user\":\"a\",\"n\":1}}}",
            "[{\"user\":\"a\",\"n\":1}]",
        ] {
            assert!(!is_echo(alert.as_bytes(), sent), "{alert}");
        }
        let long = format!("{}{sent}", " ".repeat(MAX_ECHO));
        assert!(!is_echo(long.as_bytes(), sent), "bounded");
    }
}
