//! Syslog as a target, over UDP, TCP, TLS or a local datagram socket.
//!
//! No form of syslog acknowledges anything, so every receipt is [`Strength::Queued`] without
//! `accepted_at`. What can be known is used: before a frame leaves, a look at the connection finds
//! a peer that hung up; until the first byte left, a broken connection is replaced (a bounded
//! number of times) and a failure is a certain rejection; after that it is unknown.
//!
//! The wire formats are in [`crate::syslog_frame`], the connections in [`crate::net`].

use std::fmt;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{CheckNote, Event, Injector, Sample, Target};
use crate::net::{Peer, SendError, Stream, resolve, time_left};
use crate::receipt::{InjectError, Receipt, Strength};
use crate::registry::{BuildError, is_loopback_host, no_host_port, split_host_port};
use crate::secret::SecretRef;
use crate::stamp::Clock;
use crate::syslog_frame::Framer;

/// How often a connection is made anew for one event.
const ATTEMPTS: u32 = 3;
/// Pause after the first failed attempt; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for a server's belated refusal in a check.
const REFUSAL_WAIT: Duration = Duration::from_millis(300);
/// Largest payload of a UDP datagram over IPv4.
const DATAGRAM_MOST: usize = 65_507;
/// Largest packet that RFC 3164 allows.
const RFC3164_MOST: usize = 1024;

/// Settings of `type = "syslog"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Where the frames go.
    pub to: SyslogTarget,
    /// Wire format. Default `rfc5424`.
    #[serde(default)]
    pub format: SyslogFormat,
    /// Time zone of the stamps in `rfc3164` frames, which name none: IANA name, default `UTC`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Host name for events whose recipe is no syslog line. Default: none (`-`).
    #[serde(default)]
    pub host: Option<String>,
    /// Program name for events whose recipe is no syslog line. Default `app`.
    #[serde(default = "default_app")]
    pub app: String,
    /// Facility for events whose recipe is no syslog line, 0 to 23. Default 1 (user).
    #[serde(default = "default_facility")]
    pub facility: u8,
    /// Severity for events whose recipe is no syslog line, 0 to 7. Default 6 (info).
    #[serde(default = "default_severity")]
    pub severity: u8,
}

/// Where syslog frames go, tagged by `type`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SyslogTarget {
    /// One frame a datagram. Nobody says whether it arrived.
    Udp {
        /// `host:port`; 514 is customary.
        address: String,
    },
    /// A plain stream.
    Tcp {
        /// `host:port`; 514 or 601 are customary.
        address: String,
        /// How frames are told apart. Default `octet-counting`.
        #[serde(default)]
        framing: Framing,
    },
    /// A stream over TLS, always with octet counting (RFC 5425).
    Tls {
        /// `host:port`; 6514 is customary.
        address: String,
        /// File with the accepted certificate authorities, PEM. Default: those of the system.
        #[serde(default)]
        ca_file: Option<PathBuf>,
        /// Name that the certificate must carry. Default: the host of `address`.
        #[serde(default)]
        server_name: Option<String>,
        /// File with the client's certificate chain, PEM, where the server asks for one.
        #[serde(default)]
        client_certificate: Option<PathBuf>,
        /// The client's private key, PEM.
        #[serde(default)]
        client_key: Option<SecretRef>,
    },
    /// A local datagram socket, as programs on the host use.
    Unix {
        /// The socket's path, usually `/dev/log`.
        path: PathBuf,
    },
}

/// Wire format of a syslog frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// `<86>1 2026-11-24T09:05:01.123456Z host app pid - - message`.
    #[default]
    Rfc5424,
    /// `<86>Nov 24 09:05:01 host app[pid]: message`; no year and no zone.
    Rfc3164,
}

/// How frames in a stream are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// The length in bytes before each frame; any character may follow.
    #[default]
    OctetCounting,
    /// A line feed after each frame; line breaks inside are written as `#012`.
    LineFeed,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_app() -> String {
    "app".to_owned()
}

fn default_facility() -> u8 {
    1
}

fn default_severity() -> u8 {
    6
}

impl SyslogSettings {
    pub(crate) fn target(&self) -> Target {
        let network = |scheme: &str, address: &str| Target {
            transport: "syslog",
            place: format!("{scheme}://{address}"),
            local: split_host_port(address).is_some_and(|(host, _)| is_loopback_host(host)),
        };
        match &self.to {
            SyslogTarget::Udp { address } => network("udp", address),
            SyslogTarget::Tcp { address, .. } => network("tcp", address),
            SyslogTarget::Tls { address, .. } => network("tls", address),
            SyslogTarget::Unix { path } => Target {
                transport: "syslog",
                place: format!("unix:{}", path.display()),
                local: true,
            },
        }
    }

    pub(crate) fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        if self.facility > 23 {
            return Err(BuildError::setting("facility", "must lie between 0 and 23"));
        }
        if self.severity > 7 {
            return Err(BuildError::setting("severity", "must lie between 0 and 7"));
        }
        let zone = jiff::tz::TimeZone::get(&self.time_zone).map_err(|_| {
            BuildError::setting("time_zone", format!("{:?} is no known time zone", self.time_zone))
        })?;
        let (wire, framing) = self.wire()?;
        let framer = Framer::new(self, zone, matches!(wire, Wire::Unix { .. }), framing);
        Ok(Box::new(SyslogInjector { target: self.target(), framer, wire, clock, link: None }))
    }

    fn wire(&self) -> Result<(Wire, Option<Framing>), BuildError> {
        let split = |address: &str| {
            split_host_port(address)
                .map(|(host, port)| (host.to_owned(), port))
                .ok_or_else(|| BuildError::setting("address", no_host_port(address)))
        };
        match &self.to {
            SyslogTarget::Udp { address } => {
                let (host, port) = split(address)?;
                Ok((Wire::Udp { host, port }, None))
            }
            SyslogTarget::Tcp { address, framing } => {
                let (host, port) = split(address)?;
                Ok((Wire::Stream { host, port, tls: None }, Some(*framing)))
            }
            SyslogTarget::Tls { address, ca_file, server_name, client_certificate, client_key } => {
                let (host, port) = split(address)?;
                let name = crate::tls::server_name(server_name.as_deref().unwrap_or(&host))?;
                let config = crate::tls::client(
                    ca_file.as_deref(),
                    client_certificate.as_deref(),
                    client_key.as_ref(),
                )?;
                let tls = Some((config, name));
                Ok((Wire::Stream { host, port, tls }, Some(Framing::OctetCounting)))
            }
            SyslogTarget::Unix { path } => Ok((Wire::Unix { path: path.clone() }, None)),
        }
    }
}

type Tls = (Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>);

/// How to connect.
enum Wire {
    Udp { host: String, port: u16 },
    Stream { host: String, port: u16, tls: Option<Tls> },
    Unix { path: PathBuf },
}

/// A connection.
enum Link {
    Udp(UdpSocket),
    Stream(Stream),
    Unix(UnixDatagram),
}

struct SyslogInjector {
    target: Target,
    framer: Framer,
    wire: Wire,
    clock: Arc<dyn Clock>,
    link: Option<Link>,
}

impl fmt::Debug for SyslogInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogInjector").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Wire {
    fn connect(&self, deadline: Instant) -> std::io::Result<Link> {
        match self {
            Wire::Udp { host, port } => {
                let addresses = resolve(host, *port, deadline)?;
                let any = if addresses.iter().all(|address| address.is_ipv6()) {
                    "[::]:0"
                } else {
                    "0.0.0.0:0"
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(&addresses[..])?;
                Ok(Link::Udp(socket))
            }
            Wire::Stream { host, port, tls } => {
                let tls = tls.as_ref().map(|(config, name)| (config, name));
                Stream::open(host, *port, tls, deadline).map(Link::Stream)
            }
            Wire::Unix { path } => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Link::Unix(socket))
            }
        }
    }
}

impl Link {
    /// True when a look shows that a frame would go nowhere.
    fn is_dead(&mut self) -> bool {
        match self {
            // An error left over from an earlier datagram says nothing about the next one.
            Link::Udp(socket) => socket.take_error().is_err(),
            Link::Stream(stream) => stream.peer() != Peer::Open,
            Link::Unix(_) => false,
        }
    }

    fn send(&mut self, frame: &[u8], deadline: Instant) -> Result<(), SendError> {
        let nothing = |error| SendError { sent: 0, error };
        match self {
            Link::Stream(stream) => stream.send(frame, deadline),
            Link::Udp(socket) => {
                let left = time_left(deadline).map_err(nothing)?;
                socket.set_write_timeout(Some(left)).map_err(nothing)?;
                socket.send(frame).map_err(nothing)?;
                // On this machine, and on it alone, a closed port answers at once.
                match socket.take_error() {
                    Ok(Some(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                        Err(nothing(error))
                    }
                    _ => Ok(()),
                }
            }
            Link::Unix(socket) => {
                let left = time_left(deadline).map_err(nothing)?;
                socket.set_write_timeout(Some(left)).map_err(nothing)?;
                socket.send(frame).map(|_| ()).map_err(nothing)
            }
        }
    }
}

impl SyslogInjector {
    /// A connection that looks alive: the old one, or a new one within a bounded number of tries.
    fn link(&mut self, deadline: Instant) -> Result<&mut Link, InjectError> {
        let alive = self.link.take().and_then(|mut link| (!link.is_dead()).then_some(link));
        let link = match alive {
            Some(link) => link,
            None => self.connect(deadline)?,
        };
        Ok(self.link.insert(link))
    }

    fn connect(&self, deadline: Instant) -> Result<Link, InjectError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.wire.connect(deadline) {
                Ok(link) => return Ok(link),
                Err(error) => {
                    let over = Instant::now() + pause >= deadline;
                    if attempt == ATTEMPTS || over || error.kind() == ErrorKind::Other {
                        return Err(self.refused(&error));
                    }
                    std::thread::sleep(pause);
                    pause *= 2;
                }
            }
        }
        Err(InjectError::ours("no attempt was made"))
    }

    fn refused(&self, error: &std::io::Error) -> InjectError {
        let reason = self.explain(error);
        match error.kind() {
            ErrorKind::PermissionDenied => InjectError::ours(reason),
            _ => InjectError::rejected(reason),
        }
    }

    fn explain(&self, error: &std::io::Error) -> String {
        let place = &self.target.place;
        match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!("nothing listens at {place}; start the receiver or correct the address")
            }
            ErrorKind::NotFound => format!("{place} does not exist: {error}"),
            ErrorKind::PermissionDenied => format!("no permission to write to {place}"),
            _ => format!("cannot reach {place}: {error}"),
        }
    }

    /// What a failed send means, and whether another connection may be tried.
    fn failed(&mut self, failure: &SendError, length: usize) -> (InjectError, bool) {
        let place = &self.target.place;
        self.link = None;
        if failure.sent > 0 {
            let reason = format!(
                "the connection to {place} broke after {} bytes had left: {}; a part of the frame or all of it may have arrived",
                failure.sent, failure.error
            );
            return (InjectError::unknown(reason), false);
        }
        if failure.error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) {
            let reason =
                format!("{length} bytes do not fit in a datagram to {place}; use TCP or TLS");
            return (InjectError::ours(reason), false);
        }
        let retry = matches!(
            failure.error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
        ) || (matches!(self.wire, Wire::Unix { .. })
            && failure.error.kind() == ErrorKind::ConnectionRefused);
        (self.refused(&failure.error), retry)
    }

    fn notes(&self, samples: &[Sample]) -> Vec<CheckNote> {
        let mut notes = Vec::new();
        let mut note = |refuse, text: String| notes.push(CheckNote { refuse, text });
        if matches!(self.wire, Wire::Udp { .. }) {
            note(
                false,
                "UDP never says whether a frame arrived; loss cannot be told from a miss"
                    .to_owned(),
            );
        }
        let length = |sample: &Sample| self.framer.frame(&sample.event).len();
        let lengths = samples.iter().map(|sample| (length(sample), sample.recipe.as_str()));
        let (length, recipe) = lengths.max().unwrap_or_default();
        if matches!(self.wire, Wire::Udp { .. }) && length > DATAGRAM_MOST {
            note(
                true,
                format!(
                    "an event of {recipe} is {length} bytes long and does not fit in a datagram; use TCP or TLS"
                ),
            );
        } else if self.framer.is_rfc3164() && length > RFC3164_MOST {
            note(
                false,
                format!(
                    "an event of {recipe} is {length} bytes long, more than the {RFC3164_MOST} that RFC 3164 allows; receivers may cut it"
                ),
            );
        }
        let mut plain: Vec<&str> = samples
            .iter()
            .filter(|sample| sample.event.syslog.is_none())
            .map(|sample| sample.recipe.as_str())
            .collect();
        plain.dedup();
        for recipe in plain {
            note(
                false,
                format!(
                    "{recipe} is no syslog line; its whole text is sent as the message, with facility and program name of the injector's settings"
                ),
            );
        }
        notes
    }
}

impl Injector for SyslogInjector {
    fn target(&self) -> Target {
        self.target.clone()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let deadline = Instant::now() + timeout;
        let frame = self.framer.frame(event);
        let mut attempt = 1;
        loop {
            self.link(deadline)?;
            let submitted_at = self.clock.now();
            let Some(link) = self.link.as_mut() else {
                return Err(InjectError::ours("there is no connection"));
            };
            match link.send(&frame, deadline) {
                Ok(()) => {
                    if let Link::Stream(stream) = link
                        && stream.peer() == Peer::Reset
                    {
                        self.link = None;
                        return Err(InjectError::unknown(format!(
                            "{} broke the connection while the frame was under way",
                            self.target.place
                        )));
                    }
                    let place = Some(self.target.place.clone());
                    let strength = Strength::Queued;
                    return Ok(Receipt { submitted_at, accepted_at: None, strength, place });
                }
                Err(failure) => {
                    let (error, retry) = self.failed(&failure, frame.len());
                    if !retry || attempt == ATTEMPTS {
                        return Err(error);
                    }
                    attempt += 1;
                }
            }
        }
    }

    fn check(
        &mut self,
        samples: &[Sample],
        timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        let deadline = Instant::now() + timeout;
        let tls = matches!(self.wire, Wire::Stream { tls: Some(_), .. });
        if let Link::Stream(stream) = self.link(deadline)? {
            let wait = if tls { REFUSAL_WAIT.min(timeout / 2) } else { Duration::ZERO };
            if stream.linger(wait) != Peer::Open {
                self.link = None;
                return Err(InjectError::rejected(format!(
                    "{} hung up right after the connection was made; does it want a client certificate?",
                    self.target.place
                )));
            }
        }
        Ok(self.notes(samples))
    }

    fn close(&mut self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout.min(Duration::from_millis(500));
        if let Some(Link::Stream(stream)) = self.link.take() {
            stream.finish(deadline);
        }
        0
    }
}
