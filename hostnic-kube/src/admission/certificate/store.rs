//! The Secret in which the replicas of the controller share the certificates.

use std::collections::BTreeMap;

use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use secrecy::ExposeSecret;

use super::{Certificates, Pair};
use crate::admission::{MANAGED_BY, MANAGER};
use crate::client::Asker;
use crate::error::api_error;

/// Its name.
pub(in crate::admission) const SECRET: &str = "hostnic-admission";
/// What stands before the keys of the next certificate.
const NEXT: &str = "next.";

/// Reads and writes it. Each request has a deadline; dropping a future may leave its request done or not.
pub(in crate::admission) struct Store {
    asker: Asker,
    namespace: String,
}

/// What was read.
pub(in crate::admission) struct Found {
    /// What counts; `None` where it cannot be used.
    pub(in crate::admission) certificates: Option<Certificates>,
    /// Where it stands, if it does.
    version: Option<ObjectMeta>,
}

impl Store {
    pub(in crate::admission) fn new(asker: Asker, namespace: String) -> Self {
        Self { asker, namespace }
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.asker.client.clone(), &self.namespace)
    }

    fn failed(&self, operation: &'static str, error: kube::Error) -> Error {
        api_error(operation, format_args!("Secret {}/{SECRET}", self.namespace), error)
    }

    /// What there is.
    ///
    /// # Errors
    /// Those of the API server, and `Invalid` for a Secret of this name that is somebody else's, which is left alone.
    pub(in crate::admission) async fn read(&self) -> Result<Found> {
        let read = self.asker.ask(self.api().get_opt(SECRET)).await;
        let Some(secret) = read.map_err(|error| self.failed("read", error))? else {
            return Ok(Found { certificates: None, version: None });
        };
        let is_ours = secret.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
        if is_ours.map(String::as_str) != Some(MANAGER) {
            return Err(Error::new(ErrorKind::Invalid, "use", format_args!("Secret {}/{SECRET}", self.namespace))
                .detail(format_args!("it has no label {MANAGED_BY}={MANAGER}, so somebody else made it: remove it, or give it that label")));
        }
        let certificates = secret.data.as_ref().and_then(parse);
        Ok(Found { certificates, version: Some(secret.metadata) })
    }

    /// Puts `new` in the place of what was read.
    ///
    /// # Errors
    /// `Conflict` when another replica was quicker: what it wrote is to be read. Those of the API server.
    pub(in crate::admission) async fn write(&self, found: &Found, new: &Certificates) -> Result<()> {
        let post = PostParams::default();
        let api = self.api();
        let written = match &found.version {
            None => {
                let labels = BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())]);
                let metadata = ObjectMeta {
                    name: Some(SECRET.to_owned()),
                    labels: Some(labels),
                    ..ObjectMeta::default()
                };
                self.asker.ask(api.create(&post, &secret(metadata, new))).await
            }
            // Its resource version goes with it, so that what somebody else wrote meanwhile stays.
            Some(version) => self.asker.ask(api.replace(SECRET, &post, &secret(version.clone(), new))).await,
        };
        written.map(drop).map_err(|error| self.failed("write", error))
    }
}

fn secret(metadata: ObjectMeta, certificates: &Certificates) -> Secret {
    let mut data = BTreeMap::new();
    let mut put = |key: String, value: &str| data.insert(key, ByteString(value.as_bytes().to_vec()));
    let mut pair = |before: &str, pair: &Pair| {
        put(format!("{before}tls.crt"), &pair.chain);
        put(format!("{before}tls.key"), pair.key.expose_secret());
        put(format!("{before}ca.crt"), &pair.authority);
        put(format!("{before}valid"), &format!("{}/{}", pair.made, pair.ends));
    };
    pair("", &certificates.present);
    if let Some(next) = &certificates.next {
        pair(NEXT, next);
    }
    put("names".to_owned(), &certificates.names.join(","));
    if let Some(former) = &certificates.former {
        put("former.ca.crt".to_owned(), former);
    }
    Secret { metadata, type_: Some("kubernetes.io/tls".to_owned()), data: Some(data), ..Secret::default() }
}

/// `None` for what cannot be served with: it is made anew.
fn parse(data: &BTreeMap<String, ByteString>) -> Option<Certificates> {
    let text = |key: String| data.get(&key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    let pair = |before: &str| {
        let valid = text(format!("{before}valid"))?;
        let (made, ends) = valid.split_once('/')?;
        let (made, ends): (Timestamp, Timestamp) = (made.parse().ok()?, ends.parse().ok()?);
        let pair = Pair {
            chain: text(format!("{before}tls.crt"))?,
            key: text(format!("{before}tls.key"))?.into(),
            authority: text(format!("{before}ca.crt"))?,
            made,
            ends,
        };
        pair.server().is_ok().then_some(pair)
    };
    Some(Certificates {
        names: text("names".to_owned())?.split(',').map(str::to_owned).collect(),
        present: pair("")?,
        next: pair(NEXT),
        former: text("former.ca.crt".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_broken_is_nothing() {
        let life = Duration::from_secs(900);
        let first =
            Certificates::make(vec!["a.svc".into(), "127.0.0.1".into()], Timestamp::now(), life).unwrap();
        let whole =
            first.prepare(Timestamp::now(), life).unwrap().promote().prepare(Timestamp::now(), life).unwrap();
        let data = secret(ObjectMeta::default(), &whole).data.unwrap();
        let read = parse(&data).unwrap();
        assert_eq!((&read.names, read.bundle()), (&whole.names, whole.bundle()));
        assert_eq!(read.present.key.expose_secret(), whole.present.key.expose_secret());
        assert_eq!(
            (read.present.made, read.next.unwrap().ends),
            (whole.present.made, whole.next.unwrap().ends)
        );
        for key in ["tls.crt", "tls.key", "ca.crt", "valid", "names"] {
            let mut broken = data.clone();
            broken.remove(key);
            assert!(parse(&broken).is_none(), "{key}");
        }
        let mut other = data.clone();
        other.insert("tls.key".to_owned(), data["next.tls.key"].clone());
        assert!(parse(&other).is_none(), "a key of another certificate");
    }
}
