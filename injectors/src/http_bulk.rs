//! The `_bulk` interface of Elasticsearch and OpenSearch as a target. Settings first.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{Injector, Target};
use crate::registry::{BuildError, is_loopback_host};
use crate::secret::SecretRef;
use crate::stamp::Clock;

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

    pub(crate) fn build(&self, _clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        Err(BuildError::NotCompiled { feature: "http-bulk" })
    }
}
