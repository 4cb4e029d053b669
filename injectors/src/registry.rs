//! Every transport by name: its settings, how it is built, and where it would write.
//!
//! Adding a transport takes a module, one variant of [`InjectorSettings`] with one line in each
//! `match` below (the compiler asks for them), and one row in the contract suite.
//!
//! Invariants:
//!
//! - [`InjectorSettings::target`] does no input or output: it is what a dry run prints.
//! - [`InjectorSettings::build`] reads secrets and certificates, but opens no connection and sends
//!   nothing; connections open at the first delivery or check.
//! - Whatever `build` returns is wrapped by [`crate::bounded`], so no transport can hold its caller
//!   past the timeout.
//! - Settings hold no secret, only references, so they may be printed and recorded.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::file::FileSettings;
use crate::http_bulk::HttpBulkSettings;
use crate::injector::{Injector, Target};
use crate::kafka_settings::KafkaSettings;
use crate::secret::SecretError;
use crate::stamp::Clock;
use crate::stdout::StdoutSettings;
use crate::syslog::SyslogSettings;

/// Settings of a transport, tagged by `type`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InjectorSettings {
    /// Appends lines to a file, as a program that logs would.
    File(FileSettings),
    /// Sends syslog frames over UDP, TCP, TLS or a local datagram socket.
    Syslog(SyslogSettings),
    /// Produces records to a Kafka topic.
    Kafka(KafkaSettings),
    /// Indexes documents through the `_bulk` interface of Elasticsearch or OpenSearch.
    HttpBulk(HttpBulkSettings),
    /// Writes lines to standard output.
    Stdout(StdoutSettings),
}

/// Why a transport cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A secret reference leads nowhere.
    #[error("{field}: {source}")]
    Secret {
        /// The setting that names the secret.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: SecretError,
    },
    /// A setting has a value that cannot work.
    #[error("{field}: {problem}")]
    Setting {
        /// The setting's name.
        field: &'static str,
        /// What is wrong, and the next step.
        problem: String,
    },
    /// This binary was built without the transport.
    #[error("this binary was built without {feature}; build it with `--features {feature}`")]
    NotCompiled {
        /// The cargo feature that is missing.
        feature: &'static str,
    },
}

impl BuildError {
    /// A setting with a value that cannot work.
    pub fn setting(field: &'static str, problem: impl Into<String>) -> BuildError {
        BuildError::Setting { field, problem: problem.into() }
    }
}

impl InjectorSettings {
    /// Builds the transport. Reads secrets and certificates; opens and sends nothing.
    pub fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        let settings = self.clone();
        let factory = move || settings.build_bare(Arc::clone(&clock));
        Ok(Box::new(Bounded::new(self.target(), factory)?))
    }

    /// Looks for settings that can never work. A secret that cannot be read here is no such thing.
    pub fn check(&self, clock: Arc<dyn Clock>) -> Result<(), BuildError> {
        match self.build_bare(clock) {
            Ok(_) | Err(BuildError::Secret { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where it would write. Reads nothing but the settings.
    pub fn target(&self) -> Target {
        match self {
            InjectorSettings::File(settings) => settings.target(),
            InjectorSettings::Syslog(settings) => settings.target(),
            InjectorSettings::Kafka(settings) => settings.target(),
            InjectorSettings::HttpBulk(settings) => settings.target(),
            InjectorSettings::Stdout(settings) => settings.target(),
        }
    }

    fn build_bare(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        match self {
            InjectorSettings::File(settings) => settings.build(clock),
            InjectorSettings::Syslog(settings) => settings.build(clock),
            InjectorSettings::Kafka(settings) => settings.build(clock),
            InjectorSettings::HttpBulk(settings) => settings.build(clock),
            InjectorSettings::Stdout(settings) => settings.build(clock),
        }
    }
}

/// True for a host that can only mean this machine: `localhost` and loopback addresses.
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
        })
}

/// Why an address is refused, for a person. What stands before an `@` may be a secret: it is not repeated.
pub fn no_host_port(address: &str) -> String {
    match address.contains('@') {
        true => "it holds an `@`; write host:port alone, and credentials as references".to_owned(),
        false => format!("{address:?} is not of the form host:port"),
    }
}

/// Splits `host:port` (or `[v6]:port`); `None` where either part is missing or wrong.
pub fn split_host_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '?' | '#' | ',');
    (!bare.is_empty() && bare.chars().all(plain)).then_some((bare, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<InjectorSettings, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn every_transport_reads_from_toml_and_names_its_target() {
        let rows = [
            ("type = \"file\"\npath = \"/var/log/a.log\"", "file /var/log/a.log", true),
            ("type = \"stdout\"", "stdout -", true),
            (
                "type = \"syslog\"\nto = { type = \"udp\", address = \"[::1]:514\" }",
                "syslog udp://[::1]:514",
                true,
            ),
            (
                "type = \"syslog\"\nto = { type = \"tls\", address = \"logs.example.com:6514\" }",
                "syslog tls://logs.example.com:6514",
                false,
            ),
            (
                "type = \"syslog\"\nto = { type = \"unix\", path = \"/dev/log\" }",
                "syslog unix:/dev/log",
                true,
            ),
            (
                "type = \"kafka\"\nbrokers = [\"127.0.0.1:9092\"]\ntopic = \"auth\"",
                "kafka 127.0.0.1:9092/auth",
                true,
            ),
            (
                "type = \"http-bulk\"\nurl = \"https://siem.example.com:9200\"\nindex = \"logs-auth-default\"",
                "http-bulk https://siem.example.com:9200/logs-auth-default",
                false,
            ),
        ];
        for (text, target, local) in rows {
            let settings = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(settings.target().to_string(), target);
            assert_eq!(settings.target().local, local, "{text}");
        }
    }

    #[test]
    fn unknown_settings_and_types_are_refused() {
        for text in [
            "type = \"file\"\npath = \"a\"\nfysnc = true",
            "type = \"stdout\"\ncolour = true",
            "type = \"carrier-pigeon\"",
            "path = \"a\"",
            "type = \"syslog\"\nto = { type = \"udp\", address = \"a:1\", tls = true }",
            "type = \"http-bulk\"\nurl = \"http://a\"\nindex = \"b\"\nauth = { type = \"bearer\", token = \"literal\" }",
        ] {
            assert!(parse(text).is_err(), "accepted: {text}");
        }
    }

    #[test]
    fn settings_survive_json_and_have_a_schema() {
        let settings = parse("type = \"file\"\npath = \"a.log\"\nsync = true").unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<InjectorSettings>(&text).unwrap(), settings);
        let schema = serde_json::to_string(&schemars::schema_for!(InjectorSettings)).unwrap();
        for name in ["file", "syslog", "kafka", "http-bulk", "stdout"] {
            assert!(schema.contains(&format!("\"const\":\"{name}\"")), "{name} not in {schema}");
        }
    }

    #[test]
    fn loopback_and_addresses() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "localhost.example.com", "0.0.0.0", "::", ""] {
            assert!(!is_loopback_host(host), "{host}");
        }
        assert_eq!(split_host_port("a.example:514"), Some(("a.example", 514)));
        assert_eq!(split_host_port("[::1]:514"), Some(("::1", 514)));
        for bad in
            ["a", "a:", ":514", "a:0", "a:65536", "::1:514", "[::1]", "u@h:1", "a b:1", "a/b:1"]
        {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }
}
