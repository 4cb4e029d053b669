//! Syslog frames: RFC 5424, RFC 3164, and the local form that programs send to `/dev/log`.
//!
//! The header's parts come from the recipe where it is a syslog line, otherwise from the settings.
//! Parts are cut to the lengths that the standards allow, and characters that would end a part are
//! replaced by `_`, so the header always parses. The message goes out as it is.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::injector::{Event, SyslogHeader};
use crate::line::one_line;
use crate::syslog::{Framing, SyslogFormat, SyslogSettings};

/// How events become frames.
#[derive(Clone, Debug)]
pub struct Framer {
    format: SyslogFormat,
    zone: TimeZone,
    /// The local socket's form of RFC 3164 names no host.
    without_host: bool,
    framing: Option<Framing>,
    facility: u8,
    severity: u8,
    host: String,
    app: String,
}

impl Framer {
    /// `framing` is `None` for datagrams.
    pub fn new(
        settings: &SyslogSettings,
        zone: TimeZone,
        without_host: bool,
        framing: Option<Framing>,
    ) -> Framer {
        Framer {
            format: settings.format,
            zone,
            without_host,
            framing,
            facility: settings.facility,
            severity: settings.severity,
            host: settings.host.clone().unwrap_or_default(),
            app: settings.app.clone(),
        }
    }

    /// True for the older format, with its limit of 1024 bytes.
    pub fn is_rfc3164(&self) -> bool {
        self.format == SyslogFormat::Rfc3164
    }

    /// The bytes that one event puts on the wire.
    pub fn frame(&self, event: &Event) -> Vec<u8> {
        let header = self.header(event);
        let message = match self.framing {
            Some(Framing::LineFeed) => one_line(&header.message),
            _ => Cow::Borrowed(header.message.as_str()),
        };
        let mut text = match self.format {
            SyslogFormat::Rfc5424 => rfc5424(&header, event.time_ns),
            SyslogFormat::Rfc3164 => self.rfc3164(&header, event.time_ns),
        };
        text.push_str(&message);
        match self.framing {
            None => text.into_bytes(),
            Some(Framing::LineFeed) => {
                text.push('\n');
                text.into_bytes()
            }
            Some(Framing::OctetCounting) => {
                let mut frame = format!("{} ", text.len()).into_bytes();
                frame.extend_from_slice(text.as_bytes());
                frame
            }
        }
    }

    fn header(&self, event: &Event) -> Cow<'_, SyslogHeader> {
        match &event.syslog {
            Some(header) => Cow::Owned(header.clone()),
            None => Cow::Owned(SyslogHeader {
                facility: self.facility,
                severity: self.severity,
                host: self.host.clone(),
                app: self.app.clone(),
                pid: String::new(),
                message: event.body.clone(),
            }),
        }
    }

    fn rfc3164(&self, header: &SyslogHeader, time_ns: i64) -> String {
        let time = self.zone.to_datetime(timestamp(time_ns));
        let time = time.strftime("%b %e %H:%M:%S");
        let mut text = format!("<{}>{time} ", priority(header));
        if !self.without_host {
            let host = part(&header.host, 255, |_| true);
            let _ = write!(text, "{} ", if host == "-" { "localhost" } else { host.as_str() });
        }
        let tag = part(&header.app, 32, |c| !matches!(c, ':' | '[' | ']'));
        let pid = part(&header.pid, 16, |c| c != ']');
        if pid == "-" {
            let _ = write!(text, "{tag}: ");
        } else {
            let _ = write!(text, "{tag}[{pid}]: ");
        }
        text
    }
}

fn rfc5424(header: &SyslogHeader, time_ns: i64) -> String {
    let time = timestamp(time_ns).strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let host = part(&header.host, 255, |_| true);
    let app = part(&header.app, 48, |_| true);
    let pid = part(&header.pid, 128, |_| true);
    format!("<{}>1 {time} {host} {app} {pid} - - ", priority(header))
}

fn priority(header: &SyslogHeader) -> u16 {
    u16::from(header.facility.min(23)) * 8 + u16::from(header.severity.min(7))
}

fn timestamp(time_ns: i64) -> Timestamp {
    // Every i64 of nanoseconds lies between the years 1677 and 2262, which jiff can hold.
    Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default()
}

/// A header part: printable ASCII without spaces, at most `most` bytes, `-` when empty.
fn part(text: &str, most: usize, allowed: impl Fn(char) -> bool) -> String {
    let clean = |c: char| if c.is_ascii_graphic() && allowed(c) { c } else { '_' };
    let part: String = text.chars().take(most).map(clean).collect();
    if part.is_empty() { "-".to_owned() } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const TIME: i64 = 1_794_675_901_123_456_789; // 2026-11-14T17:05:01.123456789Z

    fn settings(format: SyslogFormat) -> SyslogSettings {
        let mut settings: SyslogSettings =
            toml::from_str("to = { type = \"unix\", path = \"/dev/log\" }").unwrap();
        settings.format = format;
        settings
    }

    fn event(message: &str) -> Event {
        Event {
            index: 0,
            offset: Duration::ZERO,
            body: format!("body {message}"),
            completing: true,
            syslog: Some(SyslogHeader {
                facility: 10,
                severity: 6,
                host: "web01".to_owned(),
                app: "sshd".to_owned(),
                pid: "1234".to_owned(),
                message: message.to_owned(),
            }),
            key: None,
            time_ns: TIME,
        }
    }

    fn frame(
        format: SyslogFormat,
        framing: Option<Framing>,
        without_host: bool,
        zone: &str,
        event: &Event,
    ) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let framer = Framer::new(&settings(format), zone, without_host, framing);
        String::from_utf8(framer.frame(event)).unwrap()
    }

    #[test]
    fn the_forms() {
        use Framing::{LineFeed, OctetCounting};
        use SyslogFormat::{Rfc3164, Rfc5424};
        let plain = event("Failed password\nfor x");
        let new = "<86>1 2026-11-14T17:05:01.123456Z web01 sshd 1234 - - ";
        assert_eq!(
            frame(Rfc5424, None, false, "UTC", &plain),
            format!("{new}Failed password\nfor x")
        );
        assert_eq!(
            frame(Rfc5424, Some(OctetCounting), false, "UTC", &plain),
            format!("{} {new}Failed password\nfor x", new.len() + 21)
        );
        assert_eq!(
            frame(Rfc5424, Some(LineFeed), false, "UTC", &plain),
            format!("{new}Failed password#012for x\n")
        );
        assert_eq!(
            frame(Rfc3164, None, false, "Asia/Tokyo", &plain),
            "<86>Nov 15 02:05:01 web01 sshd[1234]: Failed password\nfor x"
        );
        assert_eq!(
            frame(Rfc3164, None, true, "UTC", &plain),
            "<86>Nov 14 17:05:01 sshd[1234]: Failed password\nfor x"
        );
    }

    #[test]
    fn octets_are_bytes_not_characters() {
        let text = frame(
            SyslogFormat::Rfc5424,
            Some(Framing::OctetCounting),
            false,
            "UTC",
            &event("\u{1f600}\u{202e}"),
        );
        let (count, rest) = text.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), rest.len());
        assert!(rest.len() > rest.chars().count());
    }

    #[test]
    fn events_that_are_no_syslog_line_take_the_settings() {
        let mut plain = event("");
        plain.syslog = None;
        plain.body = "{\"a\":1}".to_owned();
        assert_eq!(
            frame(SyslogFormat::Rfc5424, None, false, "UTC", &plain),
            "<14>1 2026-11-14T17:05:01.123456Z - app - - - {\"a\":1}"
        );
        assert_eq!(
            frame(SyslogFormat::Rfc3164, None, false, "UTC", &plain),
            "<14>Nov 14 17:05:01 localhost app: {\"a\":1}"
        );
    }

    proptest! {
        #[test]
        fn hostile_headers_never_break_the_header(host in any::<String>(), app in any::<String>(), pid in any::<String>()) {
            let mut event = event("message");
            let header = event.syslog.as_mut().unwrap();
            (header.host, header.app, header.pid) = (host, app, pid);
            let text = frame(SyslogFormat::Rfc5424, None, false, "UTC", &event);
            prop_assert_eq!(text.split(' ').count(), 8);
            prop_assert!(text.ends_with(" - - message"));
            let text = frame(SyslogFormat::Rfc3164, Some(Framing::LineFeed), false, "UTC", &event);
            prop_assert!(text.ends_with(": message\n"));
            prop_assert_eq!(text.matches('\n').count(), 1);
        }
    }
}
