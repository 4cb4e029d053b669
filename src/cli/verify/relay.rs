//! Is a text what was sent? Byte for byte, or behind the headers that relays put in front of a line.
//!
//! A header is a priority, a time, a host and at most the program tag that was sent, and nothing
//! else: whoever may write a line of his own can put one of ours at its end.

use std::sync::LazyLock;

use regex::Regex;

/// Relays on the way that each put their header in front, at most.
const MAX_HEADERS: usize = 4;

/// A text that was sent, and the parts of its syslog header where it has one.
pub(super) struct Text {
    /// The whole event.
    pub(super) body: String,
    /// The program tag under which it went out.
    pub(super) tag: Option<String>,
    /// What a syslog transport frames anew.
    pub(super) line: Option<Line>,
}

/// The parts of a syslog line.
pub(super) struct Line {
    pub(super) host: String,
    pub(super) pid: String,
    pub(super) message: String,
}

/// One header of a relay.
struct Header<'a> {
    host: Option<&'a str>,
    tag: Option<&'a str>,
    pid: Option<&'a str>,
}

static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let time = concat!(
        r"(?:[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?",
        r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))",
    );
    let host = r"[A-Za-z0-9._:-]{1,255}";
    Regex::new(&format!(
        concat!(
            // RFC 5424, without structured data.
            r"^(?:<\d{{1,3}}>1 {time} (?P<host5>{host}) (?P<tag5>\S{{1,48}}) (?P<pid5>\S{{1,128}})",
            r" \S{{1,32}} - ",
            // RFC 3164, and what daemons write into files.
            r"|(?:<\d{{1,3}}>)?{time} (?P<host>{host})",
            r" (?:(?P<tag>[^\s:\[\]]{{1,48}})(?:\[(?P<pid>[^\s\[\]]{{1,128}})\])?: ?)?",
            // A priority alone in front of a line that has its own header.
            r"|<\d{{1,3}}>)",
        ),
        time = time,
        host = host,
    ))
    .ok()
});

/// True when a text is what was sent, at most behind headers.
pub(super) fn is_sent(text: &str, sent: &Text) -> bool {
    let text = text.trim_end_matches(['\r', '\n']);
    let whole = text.strip_suffix(sent.body.as_str()).and_then(headers);
    if whole.is_some_and(|headers| headers.iter().all(|header| header.says(sent))) {
        return true;
    }
    // A syslog transport frames the message with a header of its own.
    let Some(line) = &sent.line else { return false };
    let framed = text.strip_suffix(line.message.as_str()).and_then(headers);
    framed.is_some_and(|headers| {
        headers.iter().all(|header| header.says(sent))
            && headers.last().is_some_and(|header| header.is_of(line))
    })
}

/// The headers that a text consists of; `None` when it holds anything else.
fn headers(mut text: &str) -> Option<Vec<Header<'_>>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let header = HEADER.as_ref().filter(|_| found.len() < MAX_HEADERS)?.captures(text)?;
        let part = |names: [&str; 2]| {
            let text = names.iter().find_map(|name| header.name(name))?.as_str();
            Some(text).filter(|text| *text != "-")
        };
        found.push(Header {
            host: part(["host", "host5"]),
            tag: part(["tag", "tag5"]),
            pid: part(["pid", "pid5"]),
        });
        text = &text[header.get(0)?.end()..];
    }
    Some(found)
}

impl Header<'_> {
    /// No tag, or the one that was sent.
    fn says(&self, sent: &Text) -> bool {
        self.tag.is_none_or(|tag| sent.tag.as_deref() == Some(tag))
    }

    /// The header of the message itself, not one of a relay in front of a whole line.
    fn is_of(&self, line: &Line) -> bool {
        let pid = self.pid.is_none_or(|pid| pid == line.pid);
        self.tag.is_some() && pid && self.host.is_some_and(|host| same_host(host, &line.host))
    }
}

/// Daemons cut the domain off, or add it.
fn same_host(a: &str, b: &str) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    a.eq_ignore_ascii_case(b) || (a.contains('.') != b.contains('.') && first(a) == first(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Nov 24 10:00:00 web01.example.net sshd[7]: ";
    const MESSAGE: &str = "Failed password for x from 203.0.113.7 port 5 ssh2";

    fn sent() -> Text {
        let line = Line {
            host: "web01.example.net".to_owned(),
            pid: "7".to_owned(),
            message: MESSAGE.to_owned(),
        };
        let tag = Some("sshd".to_owned());
        Text { body: format!("{HEAD}{MESSAGE}"), tag, line: Some(line) }
    }

    #[test]
    fn relays_may_add_their_headers_and_nothing_else() {
        let sent = sent();
        let body = &sent.body;
        for header in [
            "",
            "<86>",
            "Nov 24 10:00:01 relay ",
            "<86>Nov  4 10:00:01 10.0.0.1 ",
            "2026-11-24T10:00:01.123456+00:00 relay sshd: ",
            "<86>1 2026-11-24T10:00:01Z relay sshd - - - ",
            "<13>Nov 24 10:00:02 hub Nov 24 10:00:01 relay ",
        ] {
            assert!(is_sent(&format!("{header}{body}"), &sent), "{header}");
            assert!(is_sent(&format!("{header}{body}\r\n"), &sent), "{header}");
        }
        for header in [
            "x",
            "sudo: ",
            "> ",
            "Nov 24 19:50:00 db01 sudo: mallory : USER=root ; COMMAND=/bin/sh # ",
            "Nov 24 19:50:00 db01 sudo: ",
            "Nov 24 19:50:00 db01 sudo[9]: ",
            "<86>1 2026-11-24T10:00:01Z relay sudo 9 - - ",
            "<86>1 2026-11-24T10:00:01Z relay sshd - - [x cmd=\"rm\"] ",
            "USER=root Nov 24 10:00:01 relay ",
        ] {
            assert!(!is_sent(&format!("{header}{body}"), &sent), "{header}");
        }
        assert!(!is_sent(&format!("{body} and more"), &sent));
        let many = "Nov 24 10:00:01 relay ".repeat(MAX_HEADERS + 1);
        assert!(!is_sent(&format!("{many}{body}"), &sent));
    }

    #[test]
    fn a_message_that_was_framed_anew_has_the_host_the_tag_and_the_process_that_were_sent() {
        let sent = sent();
        for header in [
            "<86>1 2026-11-24T10:00:00.123456Z web01.example.net sshd 7 - - ",
            "<86>Nov 24 10:00:00 web01.example.net sshd[7]: ",
            "2026-11-24T10:00:00.123456+00:00 web01 sshd[7]: ",
            "<13>Nov 24 10:00:02 relay Nov 24 10:00:00 web01 sshd[7]: ",
            "Nov 24 10:00:00 web01 sshd: ",
        ] {
            assert!(is_sent(&format!("{header}{MESSAGE}"), &sent), "{header}");
        }
        for header in [
            "",
            "<86>",
            "Nov 24 10:00:00 web01 ",
            "Nov 24 10:00:00 db01 sshd[7]: ",
            "Nov 24 10:00:00 web01.example.org sshd[7]: ",
            "Nov 24 10:00:00 web01 sshd[8]: ",
            "Nov 24 10:00:00 web01 su[7]: ",
        ] {
            assert!(!is_sent(&format!("{header}{MESSAGE}"), &sent), "{header}");
        }
    }
}
