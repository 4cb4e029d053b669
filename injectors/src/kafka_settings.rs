//! Settings of the Kafka transport, and the properties that they stand for. Compiled with or
//! without librdkafka, so that a configuration reads the same everywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::injector::{Injector, Target};
use crate::registry::{BuildError, is_loopback_host, no_host_port, split_host_port};
use crate::secret::SecretRef;
use crate::stamp::Clock;

/// Settings of `type = "kafka"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Brokers to ask first, each `host:port`.
    pub brokers: Vec<String>,
    /// The topic. It is never created.
    pub topic: String,
    /// Encryption and authentication. Default: none of either.
    #[serde(default)]
    pub security: KafkaSecurity,
    /// Partition for every record. Default: by key, or spread where there is none.
    #[serde(default)]
    pub partition: Option<i32>,
    /// Headers for every record, as the topic's other producers send them. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Delivers although `dwell check --connect`, or the start of a run, finds records of another
    /// framing or a compacted topic.
    #[serde(default)]
    pub force_encoding: bool,
    /// Further librdkafka properties. Properties that hold secrets or that the receipt's meaning
    /// rests on (`acks`, idempotence, timeouts) are refused here.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// Encryption and authentication of a Kafka connection, tagged by `type`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KafkaSecurity {
    /// Neither.
    Plaintext {},
    /// TLS, with a client certificate where the brokers ask for one.
    Tls {
        /// File with the accepted certificate authorities, PEM. Default: those of the system.
        #[serde(default)]
        ca_file: Option<PathBuf>,
        /// File with the client's certificate chain, PEM.
        #[serde(default)]
        client_certificate: Option<PathBuf>,
        /// The client's private key, PEM.
        #[serde(default)]
        client_key: Option<SecretRef>,
    },
    /// User name and password.
    Sasl {
        /// How the password is proved.
        mechanism: SaslMechanism,
        /// User name; not a secret.
        user: String,
        /// The password.
        password: SecretRef,
        /// Encrypts the connection. Default true; without it `plain` sends the password in clear.
        #[serde(default = "yes")]
        tls: bool,
        /// File with the accepted certificate authorities, PEM. Default: those of the system.
        #[serde(default)]
        ca_file: Option<PathBuf>,
    },
}

/// SASL mechanisms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// PLAIN.
    Plain,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Default for KafkaSecurity {
    fn default() -> Self {
        KafkaSecurity::Plaintext {}
    }
}

fn yes() -> bool {
    true
}

impl KafkaSettings {
    pub(crate) fn target(&self) -> Target {
        let local = !self.brokers.is_empty()
            && self.brokers.iter().all(|broker| {
                split_host_port(broker).is_some_and(|(host, _)| is_loopback_host(host))
            });
        let place = format!("{}/{}", self.brokers.join(","), self.topic);
        Target { transport: "kafka", place, local }
    }

    /// Builds the transport, where this binary holds librdkafka.
    #[cfg(feature = "kafka")]
    pub(crate) fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        self.validate()?;
        let connection = connection_properties(&self.brokers, &self.security, &self.properties)?;
        Ok(Box::new(crate::kafka::KafkaInjector::new(self.clone(), connection, clock)))
    }

    #[cfg(not(feature = "kafka"))]
    pub(crate) fn build(&self, _clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        Err(BuildError::NotCompiled { feature: "kafka" })
    }

    #[cfg_attr(not(feature = "kafka"), allow(dead_code))]
    fn validate(&self) -> Result<(), BuildError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let topic = &self.topic;
        if topic.is_empty()
            || topic.len() > 249
            || !topic.chars().all(legal)
            || topic == "."
            || topic == ".."
        {
            return Err(BuildError::setting(
                "topic",
                format!(
                    "{topic:?} is no legal topic name (letters, digits, `.`, `_`, `-`; at most 249)"
                ),
            ));
        }
        if self.partition.is_some_and(|partition| partition < 0) {
            return Err(BuildError::setting(
                "partition",
                "must not be negative; leave it out to spread",
            ));
        }
        if self
            .headers
            .iter()
            .any(|(name, value)| name.is_empty() || name.contains('\0') || value.contains('\0'))
        {
            return Err(BuildError::setting("headers", "must have names and hold no NUL"));
        }
        Ok(())
    }
}

/// Properties that the meaning of a receipt rests on, that hold secrets, that weaken TLS, or that
/// load code. The settings above cover what is legitimate of them.
const RESERVED: [&str; 34] = [
    "acks",
    "allow.auto.create.topics",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.ssl.certificate.verification",
    "group.id",
    "group.instance.id",
    "https.ca.pem",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "plugin.library.paths",
    "queue.buffering.max.ms",
    "request.required.acks",
    "retries",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.config",
    "sasl.username",
    "security.protocol",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.location",
    "ssl.keystore.location",
    "transactional.id",
];

/// Properties of a connection, secrets included; `Debug` shows their names alone.
#[derive(Clone, Default)]
pub struct KafkaProperties(BTreeMap<String, String>);

impl std::fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl KafkaProperties {
    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

/// What librdkafka needs to connect: brokers, security, and the user's further properties. For
/// producers and consumers alike.
pub fn connection_properties(
    brokers: &[String],
    security: &KafkaSecurity,
    further: &BTreeMap<String, String>,
) -> Result<KafkaProperties, BuildError> {
    if brokers.is_empty() {
        return Err(BuildError::setting("brokers", "is empty; name at least one host:port"));
    }
    for broker in brokers {
        if split_host_port(broker).is_none() {
            return Err(BuildError::setting("brokers", no_host_port(broker)));
        }
    }
    let mut properties = further_properties(further)?;
    properties.set("bootstrap.servers", brokers.join(","));
    properties.secure(security, brokers)?;
    Ok(properties)
}

/// The user's further properties, each one known to the library and with a value that it takes.
pub fn further_properties(
    further: &BTreeMap<String, String>,
) -> Result<KafkaProperties, BuildError> {
    let mut properties = KafkaProperties::default();
    for (name, value) in further {
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) {
            return Err(BuildError::setting(
                "properties",
                format!("{name} may not be set here; use the settings beside `properties`"),
            ));
        }
        if ["password", "secret", "key.pem", "jaas", "token"]
            .iter()
            .any(|word| lower.contains(word))
        {
            return Err(BuildError::setting(
                "properties",
                format!("{name} would be a literal secret; use `security` with a reference to it"),
            ));
        }
        if let Some(why) = refused(name, value) {
            return Err(BuildError::setting(
                "properties",
                format!("{name}: {why}; see librdkafka's list of properties"),
            ));
        }
        properties.set(name, value);
    }
    Ok(properties)
}

#[cfg(feature = "kafka")]
fn refused(name: &str, value: &str) -> Option<String> {
    crate::kafka::refuses(name, value)
}

#[cfg(not(feature = "kafka"))]
fn refused(_: &str, _: &str) -> Option<String> {
    None
}

impl KafkaProperties {
    fn secure(&mut self, security: &KafkaSecurity, brokers: &[String]) -> Result<(), BuildError> {
        match security {
            KafkaSecurity::Plaintext {} => self.set("security.protocol", "plaintext"),
            KafkaSecurity::Tls { ca_file, client_certificate, client_key } => {
                self.set("security.protocol", "ssl");
                self.authorities(ca_file.as_deref())?;
                match (client_certificate, client_key) {
                    (None, None) => {}
                    (Some(certificate), Some(key)) => {
                        crate::tls::certificates("client_certificate", certificate)?;
                        self.set("ssl.certificate.location", certificate.display().to_string());
                        self.set("ssl.key.pem", secret("client_key", key)?);
                    }
                    _ => {
                        return Err(BuildError::setting(
                            "client_certificate",
                            "needs `client_key`, and the other way round",
                        ));
                    }
                }
            }
            KafkaSecurity::Sasl { mechanism, user, password, tls, ca_file } => {
                let local = brokers.iter().all(|broker| {
                    split_host_port(broker).is_some_and(|(host, _)| is_loopback_host(host))
                });
                if !tls && !local && *mechanism == SaslMechanism::Plain {
                    return Err(BuildError::setting(
                        "tls",
                        "the mechanism `plain` would send the password unencrypted; leave TLS on",
                    ));
                }
                self.set("security.protocol", if *tls { "sasl_ssl" } else { "sasl_plaintext" });
                if *tls {
                    self.authorities(ca_file.as_deref())?;
                }
                self.set("sasl.mechanism", mechanism.name());
                self.set("sasl.username", user);
                self.set("sasl.password", secret("password", password)?);
            }
        }
        Ok(())
    }

    fn authorities(&mut self, ca_file: Option<&std::path::Path>) -> Result<(), BuildError> {
        match ca_file {
            Some(path) => {
                crate::tls::certificates("ca_file", path)?;
                self.set("ssl.ca.location", path.display().to_string());
            }
            // The OpenSSL that is built in does not know where this system keeps its own.
            None => self.set("ssl.ca.location", "probe"),
        }
        Ok(())
    }
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

fn secret(field: &'static str, reference: &SecretRef) -> Result<String, BuildError> {
    let value = reference.resolve().map_err(|source| BuildError::Secret { field, source })?;
    Ok(value.expose_secret().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn further(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), "value".to_owned())])
    }

    fn properties(name: &str) -> Result<KafkaProperties, BuildError> {
        connection_properties(
            &["127.0.0.1:9092".to_owned()],
            &KafkaSecurity::default(),
            &further(name),
        )
    }

    #[test]
    fn literal_secrets_and_reserved_properties_are_refused() {
        for name in [
            "sasl.password",
            "SASL.Password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.jaas.config",
            "acks",
            "enable.idempotence",
            "message.timeout.ms",
            "plugin.library.paths",
            "enable.ssl.certificate.verification",
        ] {
            assert!(properties(name).is_err(), "{name}");
        }
        assert!(properties("client.id").is_ok());
    }

    #[test]
    fn a_secret_never_shows_in_debug() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let security = KafkaSecurity::Sasl {
            mechanism: SaslMechanism::ScramSha512,
            user: "dave".to_owned(),
            password: SecretRef::File(path),
            tls: false,
            ca_file: None,
        };
        let found =
            connection_properties(&["127.0.0.1:9092".to_owned()], &security, &BTreeMap::new())
                .unwrap();
        assert!(found.iter().any(|(name, value)| name == "sasl.password" && value == "hunter2"));
        assert!(!format!("{found:?} {security:?}").contains("hunter2"));
    }

    #[test]
    fn a_clear_password_over_a_network_is_refused() {
        let security = KafkaSecurity::Sasl {
            mechanism: SaslMechanism::Plain,
            user: "dave".to_owned(),
            password: SecretRef::Env("PATH".to_owned()),
            tls: false,
            ca_file: None,
        };
        let none = BTreeMap::new();
        assert!(
            connection_properties(&["b.example.com:9092".to_owned()], &security, &none).is_err()
        );
        assert!(connection_properties(&["127.0.0.1:9092".to_owned()], &security, &none).is_ok());
    }
}
