//! Server-side TLS: rustls with aws-lc-rs, 1.2 and 1.3, no client certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why a TLS server cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or holds nothing of use.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and the next step.
        reason: String,
    },
    /// Certificate and key do not go together, or rustls refuses them.
    #[error("certificate and key are refused: {0}")]
    Refused(rustls::Error),
}

/// Reads certificate chain and key. The key must be readable by its owner only.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file =
        |path: &Path, reason: String| TlsError::File { path: path.display().to_string(), reason };
    let pem = std::fs::read(certificate).map_err(|e| file(certificate, e.to_string()))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|e| file(certificate, format!("no PEM certificate: {e}")))?;
    if chain.is_empty() {
        return Err(file(certificate, "holds no PEM certificate".to_owned()));
    }
    let secret = dwell_injectors::secret::read_private(key)
        .map_err(|e| TlsError::File { path: key.display().to_string(), reason: e.to_string() })?;
    let private = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|_| file(key, "holds no PEM private key".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(TlsError::Refused)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
