//! Which certificates are trusted.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::http::TransportSetupError;

/// TLS 1.2 and 1.3 with ring, trusting the system's authorities and those of `ca_file`.
///
/// The provider is given here and not installed for the process, as the process is not ours alone.
pub(super) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, TransportSetupError> {
    let mut roots = RootCertStore::empty();
    // A system without any is fine for a private cloud; a public one then fails at the first connection, with
    // a reason.
    let system = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(system.certs);
    if unusable > 0 || !system.errors.is_empty() {
        tracing::debug!(unusable, errors = ?system.errors, "some of the system's certificate authorities are left out");
    }
    if let Some(path) = ca_file {
        add(&mut roots, path)
            .map_err(|source| TransportSetupError::CaFile { path: path.to_owned(), source })?;
    }
    let setup = |error: rustls::Error| TransportSetupError::Client(error.into());
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.len() == before { Err("there is no certificate in it".into()) } else { Ok(()) }
}
