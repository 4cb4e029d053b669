//! The `_bulk` interface of Elasticsearch and OpenSearch as a target: one document a request.
//!
//! Invariants:
//!
//! - A 200 alone proves nothing: the answer's one item is read, and only 200, 201, or a 409 for an
//!   id of our own making is a receipt ([`Strength::RemoteAccepted`]).
//! - A document that was redirected to a failure store is not in the stream: that is a rejection.
//! - What fails before the request could leave is `Rejected`; a broken or unreadable answer is
//!   `Unknown`; an answer that says no is `Rejected`.
//! - Redirects are not followed, proxies of the environment not used: credentials and documents go
//!   to the configured address alone. Answers are read up to a limit.
//!
//! `refresh` is never asked for: it would change how fast the document becomes searchable, which
//! is part of what is measured.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::bulk_answer;
use crate::injector::{CheckNote, Event, Injector, Sample, Target};
use crate::line::{is_json, one_line};
use crate::receipt::{InjectError, Receipt, Strength};
use crate::registry::{BuildError, is_loopback_host};
use crate::secret::SecretRef;
use crate::stamp::Clock;

/// Longest answer that is read.
const ANSWER_MOST: usize = 256 * 1024;

/// Settings of `type = "http-bulk"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpBulkSettings {
    /// Base address, `https://host:9200`, without user name, index or `_bulk`.
    pub url: String,
    /// Index, alias or data stream.
    pub index: String,
    /// Bulk action. Default `create`, the only one that data streams take.
    #[serde(default)]
    pub action: BulkAction,
    /// Ingest pipeline to run. Default: the index's own.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// Where the document's id comes from. Default `none`: the server makes one, as for real
    /// documents.
    #[serde(default)]
    pub document_id: DocumentId,
    /// Wraps an event that is no JSON as `{"@timestamp": ..., "message": ...}`. Default false:
    /// such an event is rejected.
    #[serde(default)]
    pub wrap_text: bool,
    /// Credentials. Default: none.
    #[serde(default)]
    pub auth: Option<BulkAuth>,
    /// File with the accepted certificate authorities, PEM. Default: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Bulk action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BulkAction {
    /// Only new documents.
    #[default]
    Create,
    /// New documents, or replacements where an id is given.
    Index,
}

/// Where a document's id comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentId {
    /// The server makes one.
    #[default]
    None,
    /// SHA-256 of the document, so that the same event cannot be there twice.
    BodyDigest,
}

/// Credentials for the bulk interface, tagged by `type`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BulkAuth {
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// `Authorization: Basic ...`.
    Basic {
        /// User name; not a secret.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// `Authorization: ApiKey <key>`.
    ApiKey {
        /// The key, base64 as the server gave it.
        key: SecretRef,
    },
}

impl HttpBulkSettings {
    pub(crate) fn target(&self) -> Target {
        let Ok(mut url) = url::Url::parse(&self.url) else {
            return Target {
                transport: "http-bulk",
                place: "(no valid url)".to_owned(),
                local: false,
            };
        };
        // A user name or password has no place in a target; `build` refuses it.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let local = url.host_str().is_some_and(is_loopback_host);
        let place = format!("{}/{}", url.as_str().trim_end_matches('/'), self.index);
        Target { transport: "http-bulk", place, local }
    }

    pub(crate) fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        let endpoint = self.endpoint()?;
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BuildError::setting("type", format!("no runtime: {error}")))?;
        Ok(Box::new(BulkInjector { settings: self.clone(), endpoint, client, runtime, clock }))
    }

    fn endpoint(&self) -> Result<url::Url, BuildError> {
        let fault = |what: &str| BuildError::setting("url", what);
        let mut url = url::Url::parse(&self.url)
            .map_err(|error| BuildError::setting("url", error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(fault("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fault("holds credentials; move them to `auth`, as references to secrets"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fault("must have neither query nor fragment"));
        }
        if url.scheme() == "http" && self.auth.is_some() && !self.target().local {
            return Err(fault("would send credentials unencrypted; use https"));
        }
        let forbidden = |c: char| {
            c.is_control() || c.is_whitespace() || "/\\?#*<>|,\"".contains(c) || c.is_uppercase()
        };
        if self.index.is_empty()
            || self.index.contains(forbidden)
            || self.index.starts_with(['-', '_', '+'])
        {
            return Err(BuildError::setting(
                "index",
                "must be the plain name of one index, alias or data stream, in lower case",
            ));
        }
        url.path_segments_mut()
            .map_err(|()| fault("cannot be extended by a path"))?
            .pop_if_empty()
            .extend([self.index.as_str(), "_bulk"]);
        if let Some(pipeline) = &self.pipeline {
            url.query_pairs_mut().append_pair("pipeline", pipeline);
        }
        Ok(url)
    }

    fn client(&self) -> Result<reqwest::Client, BuildError> {
        let mut headers = HeaderMap::new();
        if let Some(auth) = &self.auth {
            headers.insert(AUTHORIZATION, auth.header()?);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| BuildError::setting("url", format!("tls: {error}")))?
            .with_root_certificates(crate::tls::roots(self.ca_file.as_deref())?)
            .with_no_client_auth();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(15))
            .build()
            .map_err(|error| BuildError::setting("url", error.to_string()))
    }
}

impl BulkAuth {
    fn header(&self) -> Result<HeaderValue, BuildError> {
        let (field, reference) = match self {
            BulkAuth::Bearer { token } => ("token", token),
            BulkAuth::Basic { password, .. } => ("password", password),
            BulkAuth::ApiKey { key } => ("key", key),
        };
        let secret = reference.resolve().map_err(|source| BuildError::Secret { field, source })?;
        let text = match self {
            BulkAuth::Bearer { .. } => format!("Bearer {}", secret.expose_secret()),
            BulkAuth::ApiKey { .. } => format!("ApiKey {}", secret.expose_secret()),
            BulkAuth::Basic { user, .. } => {
                if user.contains(':') {
                    return Err(BuildError::setting("user", "must not contain a colon"));
                }
                let pair = format!("{user}:{}", secret.expose_secret());
                format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
            }
        };
        let text = SecretString::from(text);
        let mut value = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| BuildError::setting(field, "holds a character that no header may hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

struct BulkInjector {
    settings: HttpBulkSettings,
    endpoint: url::Url,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for BulkInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkInjector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The status, the wait that the server asks for, and the text of an answer.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: Vec<u8>,
    cut: bool,
}

impl BulkInjector {
    fn document(&self, event: &Event) -> Result<String, InjectError> {
        let body = event.body.as_str();
        if body.trim_start().starts_with('{') && is_json(body) {
            return Ok(one_line(body).into_owned());
        }
        if !self.settings.wrap_text {
            return Err(InjectError::ours(
                "the event is no JSON object; use a recipe with a JSON format, or set `wrap_text = true`",
            ));
        }
        let time = jiff::Timestamp::from_nanosecond(i128::from(event.time_ns)).unwrap_or_default();
        let time = time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        Ok(serde_json::json!({ "@timestamp": time, "message": body }).to_string())
    }

    fn request_body(&self, document: &str) -> String {
        let action = match self.settings.action {
            BulkAction::Create => "create",
            BulkAction::Index => "index",
        };
        let head = match self.settings.document_id {
            DocumentId::None => serde_json::json!({ action: {} }),
            DocumentId::BodyDigest => {
                use sha2::Digest as _;
                let digest = sha2::Sha256::digest(document.as_bytes());
                serde_json::json!({ action: { "_id": data_encoding::HEXLOWER.encode(&digest) } })
            }
        };
        format!("{head}\n{document}\n")
    }

    /// Sends a request and reads its answer, within the deadline.
    fn call(
        &self,
        request: reqwest::RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, InjectError> {
        let place = self.settings.target().place;
        let work = async {
            let mut response = request
                .timeout(timeout)
                .send()
                .await
                .map_err(|error| failed_request(&place, &error))?;
            let status = response.status().as_u16();
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = header.map(|text| text.chars().take(40).collect());
            let (mut body, mut cut) = (Vec::new(), false);
            while let Some(chunk) = response.chunk().await.map_err(|error| {
                InjectError::unknown(format!("the answer of {place} broke off: {}", cause(&error)))
            })? {
                let room = ANSWER_MOST - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    cut = true;
                    break;
                }
            }
            Ok(Answer { status, retry_after, body, cut })
        };
        self.runtime.block_on(async {
            tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
                Err(InjectError::unknown(format!("{place} did not answer in time")))
            })
        })
    }
}

/// What a request without an answer means: certain only where no connection was made.
fn failed_request(place: &str, error: &reqwest::Error) -> InjectError {
    let cause = cause(error);
    if error.is_builder() {
        return InjectError::ours(format!("cannot ask {place}: {cause}"));
    }
    if error.is_connect() {
        return InjectError::rejected(format!("cannot reach {place}: {cause}"));
    }
    if error.is_timeout() {
        return InjectError::unknown(format!("{place} did not answer in time"));
    }
    InjectError::unknown(format!("the request to {place} broke: {cause}"))
}

/// The innermost cause, which is the one that helps.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

impl Injector for BulkInjector {
    fn target(&self) -> Target {
        self.settings.target()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let begun = Instant::now();
        let document = self.document(event)?;
        let request = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(self.request_body(&document));
        let submitted_at = self.clock.now();
        let answer = self.call(request, timeout.saturating_sub(begun.elapsed()))?;
        let accepted_at = Some(self.clock.now());
        let own_id = self.settings.document_id == DocumentId::BodyDigest;
        let place = bulk_answer::judge(
            answer.status,
            answer.retry_after.as_deref(),
            (!answer.cut).then_some(&answer.body),
            own_id,
        )?;
        let place = Some(place.unwrap_or_else(|| self.settings.index.clone()));
        Ok(Receipt { submitted_at, accepted_at, strength: Strength::RemoteAccepted, place })
    }

    /// Asks the server for the index or data stream by `HEAD`; nothing is written.
    fn check(
        &mut self,
        samples: &[Sample],
        timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        for sample in samples {
            self.document(&sample.event)?;
        }
        let mut url = self.endpoint.clone();
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop();
        }
        let answer = self.call(self.client.head(url), timeout).map_err(|error| {
            // Nothing was sent that could be in doubt.
            InjectError::rejected(error.to_string())
        })?;
        let place = self.settings.target().place;
        let note = |refuse, text| Ok(vec![CheckNote { refuse, text }]);
        match answer.status {
            200 => Ok(Vec::new()),
            404 => note(
                false,
                format!(
                    "{place} does not exist yet; the first event creates it if a template or the server's settings allow that"
                ),
            ),
            401 => Err(InjectError::rejected(format!(
                "{place} refuses the credentials (401); look at `auth`"
            ))),
            403 => note(
                false,
                format!(
                    "{place} may not be looked at with these credentials (403); whether they may write shows at the first event"
                ),
            ),
            status => Err(InjectError::rejected(format!(
                "{place} answers {status}; is the address that of the search server?"
            ))),
        }
    }

    fn close(&mut self, _timeout: Duration) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(extra: &str) -> HttpBulkSettings {
        let text = format!("url = \"http://127.0.0.1:9\"\nindex = \"logs-a\"\n{extra}");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_endpoint_holds_index_and_pipeline() {
        let mut with = settings("pipeline = \"a b\"");
        with.url = "https://siem.example.com:9200/prefix/".to_owned();
        let url = with.endpoint().unwrap();
        assert_eq!(url.as_str(), "https://siem.example.com:9200/prefix/logs-a/_bulk?pipeline=a+b");
    }

    #[test]
    fn addresses_that_leak_or_cannot_work_are_refused() {
        for url in ["ftp://a", "http://u:p@127.0.0.1", "http://a/?x=1", "http://a/#x", "nonsense"] {
            let mut bad = settings("");
            bad.url = url.to_owned();
            assert!(bad.endpoint().is_err(), "{url}");
        }
        let mut clear = settings("auth = { type = \"bearer\", token = { env = \"X\" } }");
        assert!(clear.endpoint().is_ok(), "loopback");
        clear.url = "http://siem.example.com".to_owned();
        assert!(clear.endpoint().is_err(), "credentials in clear");
        for index in ["", "a/b", "Upper", "a*", "_all", "a,b", "a b"] {
            let mut bad = settings("");
            bad.index = index.to_owned();
            assert!(bad.endpoint().is_err(), "{index:?}");
        }
    }

    #[test]
    fn a_target_never_shows_credentials() {
        let mut bad = settings("");
        bad.url = "https://user:hunter2@siem.example.com".to_owned();
        assert_eq!(bad.target().place, "https://siem.example.com/logs-a");
    }
}
