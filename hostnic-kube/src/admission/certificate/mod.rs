//! The certificate of the webhooks, made and renewed here: each is signed by an authority of its own, whose key is forgotten at
//! once, so that nobody can make another.

mod decide;
mod store;

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};

pub(super) use decide::{Role, Step, step};
pub(super) use store::Store;

/// How wrong the API server's clock may be.
const SKEW: Duration = Duration::from_secs(3600);

/// A server's certificate, and the authority by which it is known.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// In PEM, the authority's behind it.
    pub(super) chain: String,
    pub(super) key: SecretString,
    /// The authority's, in PEM.
    pub(super) authority: String,
    pub(super) made: Timestamp,
    pub(super) ends: Timestamp,
}

/// What the replicas of the controller share.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    /// For which names and addresses.
    pub(super) names: Vec<String>,
    /// That they serve with.
    pub(super) present: Pair,
    /// That they will serve with, once everybody trusts it.
    pub(super) next: Option<Pair>,
    /// The authority before this one, in PEM: a replica may serve with its certificate still.
    pub(super) former: Option<String>,
}

impl Certificates {
    /// All authorities that are to be trusted, in PEM.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| &next.authority);
        let all = [Some(&self.present.authority), next, self.former.as_ref()];
        all.into_iter().flatten().map(|pem| pem.trim_end().to_owned() + "\n").collect()
    }

    /// The first of all, for a life from now on.
    pub(super) fn make(names: Vec<String>, now: Timestamp, life: Duration) -> Result<Self> {
        Ok(Self { present: Pair::make(&names, now, life)?, names, next: None, former: None })
    }

    /// With a next one beside it.
    pub(super) fn prepare(&self, now: Timestamp, life: Duration) -> Result<Self> {
        let next = Some(Pair::make(&self.names, now, life)?);
        Ok(Self { next, ..self.clone() })
    }

    /// With the next one in its place; as it is where there is none.
    pub(super) fn promote(&self) -> Self {
        match self.next.clone() {
            Some(next) => {
                let former = Some(self.present.authority.clone());
                Self { names: self.names.clone(), present: next, next: None, former }
            }
            None => self.clone(),
        }
    }
}

impl Pair {
    fn make(names: &[String], now: Timestamp, life: Duration) -> Result<Self> {
        let ends = now.checked_add(life).map_err(|error| wrong(error, "its life is too long"))?;
        let made = |error| wrong(error, "a certificate cannot be made");
        let dated = |params: &mut CertificateParams, what: &str| {
            // Two authorities of one name could not be told apart by whoever trusts both.
            params.distinguished_name.push(DnType::CommonName, format!("hostnic admission {what} of {now}"));
            params.not_before = std::time::SystemTime::from(now.checked_sub(SKEW).unwrap_or(now)).into();
            params.not_after = std::time::SystemTime::from(ends).into();
        };
        let mut authority = CertificateParams::default();
        dated(&mut authority, "authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer_key = KeyPair::generate().map_err(made)?;
        let authority_pem = authority.self_signed(&issuer_key).map_err(made)?.pem();
        let issuer = Issuer::new(authority, issuer_key);

        let mut server = CertificateParams::new(names).map_err(made)?;
        dated(&mut server, "server");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(made)?;
        let certificate = server.signed_by(&key, &issuer).map_err(made)?;
        Ok(Self {
            chain: certificate.pem() + &authority_pem,
            key: key.serialize_pem().into(),
            authority: authority_pem,
            made: now,
            ends,
        })
    }

    /// How a server is to speak TLS with it.
    ///
    /// # Errors
    /// `Invalid` where certificate and key do not belong together or are none.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>> {
        let unread = |error: rustls::pki_types::pem::Error| wrong(error, "it is no PEM");
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(self.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(unread)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes()).map_err(unread)?;
        let refused = |error: rustls::Error| wrong(error, "it cannot be served with");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn wrong(error: impl std::error::Error + Send + Sync + 'static, detail: &str) -> Error {
    Error::new(ErrorKind::Invalid, "use", "the webhooks' certificate").detail(detail).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

    fn made() -> Certificates {
        Certificates::make(vec!["a.kube-system.svc".into(), "127.0.0.1".into()], Timestamp::now(), LIFE)
            .unwrap()
    }

    #[test]
    fn a_certificate_can_be_served_with_and_its_key_is_never_told() {
        let certificates = made();
        certificates.present.server().unwrap();
        let told = format!("{certificates:?}");
        assert!(
            !told.contains("PRIVATE") && !told.contains(certificates.present.key.expose_secret()),
            "{told}"
        );
        let other = Pair { key: made().present.key, ..certificates.present };
        assert!(other.server().is_err(), "a key of another one");
    }

    #[test]
    fn whoever_serves_with_any_of_them_is_trusted() {
        let first = made();
        let counted =
            |certificates: &Certificates| certificates.bundle().matches("BEGIN CERTIFICATE").count();
        let prepared = first.prepare(Timestamp::now(), LIFE).unwrap();
        assert_eq!((counted(&first), counted(&prepared)), (1, 2));
        let promoted = prepared.promote();
        assert_eq!(promoted.present.chain, prepared.next.as_ref().unwrap().chain);
        assert!(promoted.bundle().contains(first.present.authority.trim_end()) && counted(&promoted) == 2);
        assert_eq!(counted(&promoted.prepare(Timestamp::now(), LIFE).unwrap().promote()), 2);
    }
}
