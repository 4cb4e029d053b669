//! One HTTP request within limits, and what its failure means.
//!
//! Redirects are not followed, no encoding is undone, credentials go to the configured origin only,
//! and no more than a set number of bytes is read. Every failure says whose it is: *ours* where the
//! configuration has to change, otherwise the target was unavailable.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use secrecy::ExposeSecret;
use url::Url;

use crate::config::checked::HttpAuth;
use crate::dialects::{Ask, Method, Request, json_values};
use crate::watchers::SettingsError;

/// Most bytes of one answer.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// Most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 1 << 20;
/// Most characters of a refusal that are quoted.
const MAX_COMPLAINT: usize = 240;
/// Longest wait that a target may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a page could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::watchers) struct Trouble {
    /// In words; may hold foreign text.
    pub reason: String,
    /// True when the configuration has to change.
    pub ours: bool,
    /// How long the target asked to be left alone.
    pub wait: Option<Duration>,
}

impl Trouble {
    pub fn ours(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), ours: true, wait: None }
    }

    pub fn target(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), ours: false, wait: None }
    }
}

/// Asks one origin.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    base: Url,
    auth: Option<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

impl Fetcher {
    pub fn new(
        url: &str,
        auth: Option<&HttpAuth>,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Fetcher, SettingsError> {
        let base = Url::parse(url).map_err(|e| SettingsError::new("url", e.to_string()))?;
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .no_proxy()
            .referer(false);
        if let Some(path) = ca_file {
            let wrong = |reason: String| SettingsError::new("ca_file", reason);
            let pem = std::fs::read(path)
                .map_err(|e| wrong(format!("cannot read {}: {e}", path.display())))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| wrong(format!("{} holds no PEM certificate: {e}", path.display())))?;
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(|e| SettingsError::new("url", e.to_string()))?;
        let auth = auth.map(credentials).transpose()?;
        Ok(Fetcher { client, base, auth, timeout })
    }

    /// Where it asks, without credentials.
    pub fn place(&self) -> &Url {
        &self.base
    }

    /// Fetches one page; the bytes of a 200.
    pub async fn page(&self, request: &Request, ask: &Ask) -> Result<Vec<u8>, Trouble> {
        let url = self.url(ask)?;
        let mut call = match request.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
        };
        call = call.header("accept", "application/json").header("accept-encoding", "identity");
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        if let Some(body) = &ask.body {
            call = call.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some((name, value)) = &self.auth {
            call = call.header(name, value.clone());
        }
        // The client's own limit covers the whole answer; this one covers the client.
        let limit = self.timeout + Duration::from_secs(1);
        match tokio::time::timeout(limit, self.answer(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::target("the target did not answer in time")),
        }
    }

    async fn answer(&self, call: reqwest::RequestBuilder) -> Result<Vec<u8>, Trouble> {
        let response = call.send().await.map_err(|e| unreachable(&e))?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        if let Some(encoding) = header(CONTENT_ENCODING).filter(|e| *e != "identity") {
            let reason = format!("the answer is encoded as {encoding:?}, which was not asked for");
            return Err(Trouble::target(reason));
        }
        if header(CONTENT_TYPE).is_some_and(|t| t.to_ascii_lowercase().starts_with("text/html")) {
            let reason = "the answer is a web page instead of JSON, as a login page would be; \
                          check `url` and `auth`";
            return Err(Trouble::ours(reason));
        }
        body(response).await
    }

    fn url(&self, ask: &Ask) -> Result<Url, Trouble> {
        if let Some(link) = &ask.link {
            let url = self
                .base
                .join(link)
                .map_err(|e| Trouble::target(format!("the next page's URL is malformed: {e}")))?;
            if url.origin() != self.base.origin() {
                let reason = "the next page's URL names another origin; it was not followed";
                return Err(Trouble::target(reason));
            }
            return Ok(url);
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), ask.path));
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        Ok(url)
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, Trouble> {
    let declared = response.content_length().unwrap_or(0);
    let over = || {
        let reason = format!("the answer is larger than {} MiB", MAX_ANSWER >> 20);
        Trouble::ours(format!("{reason}; narrow the query or make the dialect's `size` smaller"))
    };
    if declared > MAX_ANSWER as u64 {
        return Err(over());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            return Err(over());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// No whole answer came.
fn unreachable(error: &reqwest::Error) -> Trouble {
    let kind = if error.is_timeout() {
        "the target did not answer in time"
    } else if error.is_connect() {
        "the target cannot be reached"
    } else {
        "the answer broke off"
    };
    let mut cause = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    Trouble::target(format!("{kind}: {cause}"))
}

/// An answer came, and it is no page.
async fn refused(response: Response) -> Trouble {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    let wait = wait.and_then(retry_after).map(|w| w.min(MAX_RETRY_AFTER));
    let (ours, hint) = match status.as_u16() {
        401 | 403 => (true, "; check `auth`"),
        300..=399 => (true, ", a redirect, which is not followed; correct `url`"),
        408 | 425 | 429 => (false, ""),
        404 => (true, "; check `url` and `vars`"),
        400..=499 => (true, "; check `dialect` and `vars`"),
        _ => (false, ""),
    };
    let said = complaint(&head(response).await).map(|said| format!(" and says {said:?}"));
    let said = said.unwrap_or_default();
    Trouble { reason: format!("the target answered {status}{said}{hint}"), ours, wait }
}

/// The start of an answer's body; what does not come is left out.
async fn head(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL - bytes.len())]);
        if bytes.len() == MAX_REFUSAL {
            break;
        }
    }
    bytes
}

/// What a refusal says in words, cut. Foreign text.
fn complaint(body: &[u8]) -> Option<String> {
    let parts = json_values(body).ok()?;
    let places =
        ["/error/root_cause/0/reason", "/error/reason", "/error/message", "/error", "/message"];
    let said = places.iter().filter_map(|at| parts.first()?.pointer(at)?.as_str()).next()?;
    let cut: String = said.chars().take(MAX_COMPLAINT).collect();
    let more = if cut.len() < said.len() { " ..." } else { "" };
    Some(format!("{cut}{more}")).filter(|text| !text.is_empty())
}

/// Seconds, or an HTTP date. Absurd values are cut by the caller.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    // A date says nothing without a clock that agrees: the longest wait is the safe reading.
    jiff::fmt::rfc2822::parse(value).ok().map(|_| MAX_RETRY_AFTER)
}

fn credentials(auth: &HttpAuth) -> Result<(HeaderName, HeaderValue), SettingsError> {
    use base64::Engine as _;
    let wrong = |reason: String| SettingsError::new("auth", reason);
    let resolve = |secret: &dwell_injectors::secret::SecretRef| {
        secret.resolve().map_err(|e| wrong(e.to_string()))
    };
    let (name, value) = match auth {
        HttpAuth::Bearer { token } => {
            ("authorization", format!("Bearer {}", resolve(token)?.expose_secret()))
        }
        HttpAuth::Basic { user, password } => {
            let pair = format!("{user}:{}", resolve(password)?.expose_secret());
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            ("authorization", format!("Basic {pair}"))
        }
        HttpAuth::Header { name, value } => {
            (name.as_str(), resolve(value)?.expose_secret().to_owned())
        }
    };
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| wrong("the header's name is malformed".to_owned()))?;
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| wrong("the secret holds characters that no header may hold".to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_and_never_absurd() {
        assert_eq!(retry_after("0"), Some(Duration::ZERO));
        assert_eq!(retry_after("60"), Some(Duration::from_secs(60)));
        assert!(retry_after("99999999999999999999").unwrap() > MAX_RETRY_AFTER);
        assert_eq!(retry_after("Tue, 24 Nov 2026 12:00:00 GMT"), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn a_refusal_is_quoted_and_cut() {
        let said = |body: &str| complaint(body.as_bytes());
        let search =
            r#"{"error":{"root_cause":[{"reason":"window"}],"reason":"all shards failed"}}"#;
        assert_eq!(said(search).as_deref(), Some("window"));
        assert_eq!(said(r#"{"error":{"reason":"no"}}"#).as_deref(), Some("no"));
        assert_eq!(said(r#"{"error":"limit","status":429}"#).as_deref(), Some("limit"));
        for silent in ["", "<html>", "{}", r#"{"error":{}}"#, r#"{"error":""}"#, "[]"] {
            assert_eq!(said(silent), None, "{silent}");
        }
        let long = said(&format!(r#"{{"message":"{}"}}"#, "é".repeat(5000))).unwrap();
        assert_eq!(long.chars().count(), MAX_COMPLAINT + 4);
    }

    #[test]
    fn only_the_configured_origin_is_asked() {
        let fetcher =
            Fetcher::new("http://127.0.0.1:9200/es", None, None, Duration::from_secs(1)).unwrap();
        let url = |link: &str| {
            let ask =
                Ask { path: String::new(), query: vec![], body: None, link: Some(link.into()) };
            fetcher.url(&ask)
        };
        assert_eq!(url("/es/next?x=1").unwrap().as_str(), "http://127.0.0.1:9200/es/next?x=1");
        for foreign in
            ["http://169.254.169.254/", "//other/", "file:///etc/passwd", "http://127.0.0.1:9201/"]
        {
            assert!(url(foreign).is_err(), "{foreign}");
        }
        let ask = Ask {
            path: "/logs-*/_search".into(),
            query: vec![("a".into(), "b c&d".into())],
            body: None,
            link: None,
        };
        assert_eq!(
            fetcher.url(&ask).unwrap().as_str(),
            "http://127.0.0.1:9200/es/logs-*/_search?a=b+c%26d"
        );
    }
}
