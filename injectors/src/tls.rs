//! TLS for clients: one provider (aws-lc-rs), the system's authorities or a file's, and no switch
//! that accepts any certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;

use crate::registry::BuildError;
use crate::secret::SecretRef;

/// Reads the certificates of a PEM file; at least one.
pub fn certificates(
    field: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let fault = |what: String| BuildError::setting(field, format!("{}: {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| fault(format!("cannot read it: {error}")))?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(format!("is no valid PEM: {error}")))?;
    if found.is_empty() {
        return Err(fault("holds no certificate; give a PEM file".to_owned()));
    }
    Ok(found)
}

/// The accepted authorities: those of the file, or those of the system.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, BuildError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates("ca_file", path)? {
            store.add(certificate).map_err(|error| {
                BuildError::setting("ca_file", format!("{}: {error}", path.display()))
            })?;
        }
        return Ok(store);
    }
    // A system holds some that no longer parse; the rest is what counts.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(BuildError::setting(
            "ca_file",
            "this system has no certificate authorities; name a file with the right ones",
        ));
    }
    Ok(store)
}

/// A client's configuration, with a certificate of its own where one is given.
pub fn client(
    ca_file: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&SecretRef>,
) -> Result<Arc<ClientConfig>, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::setting("type", format!("tls: {error}")))?
        .with_root_certificates(roots(ca_file)?);
    let config = match (certificate, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(path), Some(key)) => {
            let chain = certificates("client_certificate", path)?;
            let pem = key
                .resolve()
                .map_err(|source| BuildError::Secret { field: "client_key", source })?;
            let key = PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes())
                .map_err(|_| BuildError::setting("client_key", "is no private key in PEM"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| BuildError::setting("client_certificate", error.to_string()))?
        }
        _ => {
            return Err(BuildError::setting(
                "client_certificate",
                "needs `client_key`, and the other way round",
            ));
        }
    };
    Ok(Arc::new(config))
}

/// The name that a server's certificate must carry.
pub fn server_name(name: &str) -> Result<ServerName<'static>, BuildError> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        BuildError::setting("server_name", format!("{name:?} is no host name or address"))
    })
}
