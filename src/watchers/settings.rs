//! What a configuration says about a watcher. Data only: nothing here opens anything.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dwell_injectors::kafka_settings::{KafkaSecurity, further_properties};
use dwell_injectors::registry::{BuildError, no_host_port, split_host_port};
use dwell_injectors::secret::SecretRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::checked::HttpAuth;
use crate::dialects::Dialects;

/// How a watcher looks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WatcherSettings {
    /// Reads a file as it grows, through rotation.
    File {
        /// The file. It need not exist yet; its folder must.
        path: PathBuf,
        /// How its records are read.
        dialect: String,
    },
    /// Reads a Kafka topic, without a consumer group.
    Kafka {
        /// Addresses of the first brokers to ask: `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
        /// How its records are read.
        dialect: String,
        /// Encryption and authentication. Default: none of either.
        #[serde(default)]
        security: KafkaSecurity,
        /// Further librdkafka properties; none that holds a secret.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        properties: BTreeMap<String, String>,
    },
    /// Listens for alerts that a product posts.
    Webhook {
        /// Address and port to listen on.
        listen: SocketAddr,
        /// Path that the product posts to; with `auth.type = "secret-path"` the secret follows it.
        #[serde(default = "default_path")]
        path: String,
        /// How bodies are read.
        dialect: String,
        /// How senders prove themselves.
        auth: WebhookAuth,
        /// Certificate and key. Required beyond loopback unless `behind_proxy`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<TlsFiles>,
        /// True when a proxy in front ends TLS.
        #[serde(default)]
        behind_proxy: bool,
        /// `Host` header values that are answered; empty answers any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hosts: Vec<String>,
    },
    /// Asks an HTTP API again and again.
    Poll {
        /// Scheme, host, port and base path. No credentials.
        url: String,
        /// What is asked and how answers are read. It needs a `[poll]` part.
        dialect: String,
        /// Time from the start of one look to the start of the next.
        #[serde(default = "default_every")]
        every: Period,
        /// How far each look reaches back before the last one: at least the product's own delay.
        #[serde(default = "default_overlap")]
        overlap: Period,
        /// How long one request may take.
        #[serde(default = "default_timeout")]
        timeout: Period,
        /// Values for the dialect's template: `index`, `filter`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        vars: BTreeMap<String, String>,
        /// Credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<HttpAuth>,
        /// PEM file with the authorities to trust instead of the system's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<PathBuf>,
    },
}

/// How senders of a webhook prove themselves. Two secrets may be valid at once, for rotation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WebhookAuth {
    /// `Authorization: Bearer <secret>`.
    Bearer {
        /// One or two tokens.
        secrets: Vec<SecretRef>,
    },
    /// `X-Hub-Signature-256: sha256=<hex>` over the raw body.
    Hmac {
        /// One or two keys.
        secrets: Vec<SecretRef>,
        /// Header that holds the signature.
        #[serde(default = "default_signature")]
        header: String,
    },
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp` (within 300 s) and `webhook-signature`.
    StandardWebhooks {
        /// One or two keys, `whsec_` and base64.
        secrets: Vec<SecretRef>,
    },
    /// The path ends with a secret: for products that send no headers of their own.
    SecretPath {
        /// One or two secrets of at least 16 letters, digits, `-` or `_`.
        secrets: Vec<SecretRef>,
    },
    /// Anybody may post. Only on loopback: a forged alert still needs a token of ours.
    None {},
}

/// Certificate and key of a TLS server, PEM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Private key, mode 0600.
    pub key: PathBuf,
}

/// A positive span of time, written like `10s`, `5m` or `1h 30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Period(pub Duration);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let wrong = |why: String| {
            D::Error::custom(format!("{text:?} is no span of time ({why}); write it like \"10s\""))
        };
        let parsed: jiff::SignedDuration =
            text.parse().map_err(|e: jiff::Error| wrong(e.to_string()))?;
        let span = Duration::try_from(parsed).map_err(|_| wrong("negative".to_owned()))?;
        if span.is_zero() {
            return Err(wrong("zero".to_owned()));
        }
        Ok(Period(span))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A positive span of time, like \"10s\", \"5m\" or \"1h 30m\"."
        })
    }
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_signature() -> String {
    "x-hub-signature-256".to_owned()
}

fn default_every() -> Period {
    Period(Duration::from_secs(10))
}

fn default_overlap() -> Period {
    Period(Duration::from_secs(600))
}

fn default_timeout() -> Period {
    Period(Duration::from_secs(30))
}

/// Why settings are refused: the field, what is wrong, and the next step.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SettingsError {
    /// The field, as the configuration spells it.
    pub field: &'static str,
    /// What is wrong, and the next step.
    pub reason: String,
}

impl SettingsError {
    pub(super) fn new(field: &'static str, reason: impl Into<String>) -> SettingsError {
        SettingsError { field, reason: reason.into() }
    }
}

impl WatcherSettings {
    /// The registry's name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            WatcherSettings::File { .. } => "file",
            WatcherSettings::Kafka { .. } => "kafka",
            WatcherSettings::Webhook { .. } => "webhook",
            WatcherSettings::Poll { .. } => "poll",
        }
    }

    /// The dialect's name.
    pub fn dialect(&self) -> &str {
        match self {
            WatcherSettings::File { dialect, .. }
            | WatcherSettings::Kafka { dialect, .. }
            | WatcherSettings::Webhook { dialect, .. }
            | WatcherSettings::Poll { dialect, .. } => dialect,
        }
    }

    /// Looks for what can never work, without any I/O.
    pub fn check(&self, dialects: &Dialects) -> Result<(), SettingsError> {
        let dialect = dialects
            .get(self.dialect())
            .map_err(|e| SettingsError::new("dialect", e.to_string()))?;
        match self {
            WatcherSettings::File { path, .. } => check_path(path),
            WatcherSettings::Kafka { brokers, topic, properties, .. } => {
                check_topic(brokers, topic)?;
                check_properties(properties)
            }
            WatcherSettings::Webhook { listen, path, auth, tls, behind_proxy, .. } => {
                if !path.starts_with('/') {
                    return Err(SettingsError::new("path", "it starts with a slash, like \"/\""));
                }
                check_exposure(listen, auth, tls.is_some() || *behind_proxy)
            }
            WatcherSettings::Poll { url, every, timeout, vars, .. } => {
                let Some(request) = &dialect.request else {
                    let reason = format!(
                        "{:?} cannot be asked: it has no [poll] part; choose one that has",
                        dialect.name
                    );
                    return Err(SettingsError::new("dialect", reason));
                };
                check_url(url)?;
                if every.0 < Duration::from_millis(100) || timeout.0 > Duration::from_secs(600) {
                    return Err(SettingsError::new(
                        "every",
                        "every is at least \"100ms\" and timeout at most \"10m\"",
                    ));
                }
                check_vars(request, vars)
            }
        }
    }
}

fn check_path(path: &std::path::Path) -> Result<(), SettingsError> {
    if path.file_name().is_none() {
        let reason = format!("{:?} names no file", path.display().to_string());
        return Err(SettingsError::new("path", reason));
    }
    Ok(())
}

fn check_topic(brokers: &[String], topic: &str) -> Result<(), SettingsError> {
    if brokers.is_empty() {
        return Err(SettingsError::new("brokers", "name at least one broker, like \"host:9092\""));
    }
    if let Some(broker) = brokers.iter().find(|b| split_host_port(b).is_none()) {
        return Err(SettingsError::new("brokers", no_host_port(broker)));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(legal) || topic == "." {
        let reason = "a topic has 1 to 249 letters, digits, '.', '_' or '-'";
        return Err(SettingsError::new("topic", reason));
    }
    Ok(())
}

fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), SettingsError> {
    further_properties(properties).map(drop).map_err(|error| match error {
        BuildError::Setting { field, problem } => SettingsError::new(field, problem),
        other => SettingsError::new("properties", other.to_string()),
    })
}

fn check_exposure(
    listen: &SocketAddr,
    auth: &WebhookAuth,
    private: bool,
) -> Result<(), SettingsError> {
    let loopback = listen.ip().is_loopback();
    let secrets = match auth {
        WebhookAuth::Bearer { secrets }
        | WebhookAuth::Hmac { secrets, .. }
        | WebhookAuth::StandardWebhooks { secrets }
        | WebhookAuth::SecretPath { secrets } => Some(secrets.len()),
        WebhookAuth::None {} => None,
    };
    match secrets {
        Some(1 | 2) => {}
        Some(n) => {
            let reason = format!("{n} secrets; name one, or two while rotating");
            return Err(SettingsError::new("auth.secrets", reason));
        }
        None if loopback => {}
        None => {
            let reason = "\"none\" is for loopback only; choose bearer, hmac or secret-path";
            return Err(SettingsError::new("auth.type", reason));
        }
    }
    if !loopback && !private {
        let reason = "an address beyond loopback needs `tls`, or `behind_proxy = true`";
        return Err(SettingsError::new("listen", reason));
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), SettingsError> {
    let wrong = |reason: String| SettingsError::new("url", reason);
    let parsed = url::Url::parse(url).map_err(|e| wrong(format!("{e}; write it whole")))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(wrong("write it like \"https://host:9200\"".to_owned()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("it holds credentials; move them to `auth`".to_owned()));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("query and fragment belong to the dialect".to_owned()));
    }
    Ok(())
}

fn check_vars(
    request: &crate::dialects::Request,
    vars: &BTreeMap<String, String>,
) -> Result<(), SettingsError> {
    if let Some(name) = vars.keys().find(|name| !request.vars.contains_key(*name)) {
        let known: Vec<_> = request.vars.keys().map(String::as_str).collect();
        let reason = format!("{name:?} is unknown to the dialect; known: {}", known.join(", "));
        return Err(SettingsError::new("vars", reason));
    }
    let missing = request.needed.iter().find(|name| {
        vars.get(*name).or_else(|| request.vars.get(*name)).is_none_or(String::is_empty)
    });
    if let Some(name) = missing {
        return Err(SettingsError::new("vars", format!("set vars.{name}")));
    }
    request.check_path(vars).map_err(|reason| SettingsError::new("vars", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let settings: WatcherSettings = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.check(&Dialects::embedded().unwrap()).map_err(|e| e.to_string())
    }

    fn refused(text: &str, part: &str) {
        let error = check(text).unwrap_err();
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }

    #[test]
    fn sound_settings() {
        for text in [
            "type='file'\npath='/var/a.json'\ndialect='wazuh4'",
            "type='kafka'\nbrokers=['127.0.0.1:9092']\ntopic='alerts'\ndialect='json'",
            "type='webhook'\nlisten='127.0.0.1:8088'\ndialect='json'\nauth={type='none'}",
            "type='webhook'\nlisten='0.0.0.0:8088'\ndialect='splunk'\nbehind_proxy=true\nauth={type='secret-path',secrets=[{env='X'}]}",
            "type='poll'\nurl='http://127.0.0.1:9200'\ndialect='opensearch'\nevery='500ms'\nvars={index='logs-*'}",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_can_never_work_is_refused() {
        refused("type='file'\npath='a'\ndialect='wazuh'", "did you mean");
        refused("type='file'\npath='a'\ndialect='json'\nx=1", "unknown field");
        refused("type='file'\npath='..'\ndialect='json'", "names no file");
        refused(
            "type='kafka'\nbrokers=['h']\ntopic='t'\ndialect='json'",
            "is not of the form host:port",
        );
        refused("type='kafka'\nbrokers=['h:1']\ntopic='a b'\ndialect='json'", "topic");
        let hook = "type='webhook'\ndialect='json'\n";
        refused(&format!("{hook}listen='0.0.0.0:1'\nauth={{type='none'}}"), "loopback only");
        refused(
            &format!("{hook}listen='0.0.0.0:1'\nauth={{type='bearer',secrets=[{{env='X'}}]}}"),
            "tls",
        );
        refused(&format!("{hook}listen='127.0.0.1:1'\nauth={{type='bearer',secrets=[]}}"), "one");
        refused(&format!("{hook}listen='127.0.0.1:1'\nauth={{type='bearer',secrets=['x']}}"), "");
        let poll = "type='poll'\ndialect='opensearch'\n";
        refused(&format!("{poll}url='http://u:p@h/'"), "credentials");
        refused(&format!("{poll}url='ftp://h/'"), "https://");
        refused(&format!("{poll}url='http://h/'"), "vars.index");
        refused(&format!("{poll}url='http://h/'\nvars={{indx='a'}}"), "unknown to the dialect");
        refused(&format!("{poll}url='http://h/'\nevery='-5s'"), "negative");
        refused(&format!("{poll}url='http://h/'\nevery='soon'"), "no span of time");
        refused("type='poll'\ndialect='wazuh4'\nurl='http://h/'", "[poll]");
    }

    #[test]
    fn settings_survive_json() {
        let text = "type='poll'\nurl='http://h/'\ndialect='opensearch'\nevery='1m 30s'";
        let settings: WatcherSettings = toml::from_str(text).unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert!(json.contains("1m 30s"), "{json}");
        assert_eq!(serde_json::from_str::<WatcherSettings>(&json).unwrap(), settings);
    }
}
