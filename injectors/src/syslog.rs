//! Syslog as a target. Settings first; the wire formats follow.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{Injector, Target};
use crate::registry::{BuildError, is_loopback_host, split_host_port};
use crate::secret::SecretRef;
use crate::stamp::Clock;

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

    pub(crate) fn build(&self, _clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        Err(BuildError::NotCompiled { feature: "syslog" })
    }
}
