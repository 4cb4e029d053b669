//! Settings of the Kafka transport, and the properties that they stand for. Compiled with or
//! without librdkafka, so that a configuration reads the same everywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{Injector, Target};
use crate::registry::{BuildError, is_loopback_host, split_host_port};
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
    /// Delivers although `check` found records of another framing, or a compacted topic.
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
    ScramSha256,
    /// SCRAM-SHA-512.
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

    pub(crate) fn build(&self, _clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        Err(BuildError::NotCompiled { feature: "kafka" })
    }
}
