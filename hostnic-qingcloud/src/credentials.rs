//! The keys that requests are signed with: given once, or handed out for a while to an instance with a role.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hostnic_core::ErrorKind;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{Credentials, Endpoint};
use crate::request::Key;
use crate::sign::Method;
use crate::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use crate::wire;

/// How long before its end a role's key is renewed.
const MARGIN: Duration = Duration::from_secs(120);

/// How long the metadata service, which is on the same host, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The metadata service has no credentials for this instance.
    #[error("this instance has no role; give it one, or write an access key into the configuration")]
    NoRole,
    /// The metadata service cannot be asked.
    #[error("the metadata service cannot be asked for the credentials of the instance's role")]
    Unreachable(#[source] TransportError),
    /// The metadata service does not answer.
    #[error("the metadata service did not answer within {PATIENCE:?}")]
    Late,
    /// The metadata service answers with something else. What, is not shown: it may be half a secret.
    #[error("the metadata service's answer (HTTP status {0}) has no credentials in it")]
    Garbled(u16),
}

impl CredentialsError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRole => ErrorKind::Unauthorised,
            Self::Unreachable(_) | Self::Late | Self::Garbled(_) => ErrorKind::Transient,
        }
    }
}

/// Where keys come from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// Always the same.
    Fixed(Key),
    /// The role's, renewed in time.
    Role(Role),
}

impl KeySource {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Key { access_key_id, secret } => {
                Self::Fixed(Key { id: access_key_id.clone(), secret: secret.clone(), token: None })
            }
            Credentials::InstanceRole(proxy) => {
                Self::Role(Role { proxy: proxy.clone(), last: Mutex::default() })
            }
        }
    }

    /// The key to use at `now`.
    pub(crate) async fn key(
        &self,
        transport: &dyn Transport,
        now: SystemTime,
    ) -> Result<Key, CredentialsError> {
        match self {
            Self::Fixed(key) => Ok(key.clone()),
            Self::Role(role) => role.key(transport, now).await,
        }
    }

    /// Forgets a key that the API does not take any more. Whether another can be had.
    pub(crate) fn forget(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Role(role) => {
                role.last.lock().unwrap_or_else(PoisonError::into_inner).take();
                true
            }
        }
    }
}

/// The role of an instance. Calls that find its key too old at the same time each ask for another, which does
/// no harm; nobody holds a lock meanwhile.
#[derive(Debug)]
pub(crate) struct Role {
    proxy: Endpoint,
    last: Mutex<Option<Lent>>,
}

/// A key with an end.
#[derive(Debug, Clone)]
struct Lent {
    key: Key,
    expires: SystemTime,
}

impl Role {
    async fn key(&self, transport: &dyn Transport, now: SystemTime) -> Result<Key, CredentialsError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(lent) = &last
            && now + MARGIN < lent.expires
        {
            return Ok(lent.key.clone());
        }
        match (self.ask(transport).await, last) {
            (Ok(lent), _) => {
                let key = lent.key.clone();
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(lent);
                Ok(key)
            }
            (Err(error), Some(lent)) if now < lent.expires => {
                tracing::warn!(%error, "the key of the instance's role is not renewed; the old one is good for a while");
                Ok(lent.key)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn ask(&self, transport: &dyn Transport) -> Result<Lent, CredentialsError> {
        let request =
            HttpRequest { method: Method::Get, endpoint: self.proxy.clone(), parameters: String::new() };
        let response = tokio::time::timeout(PATIENCE, transport.send(request))
            .await
            .map_err(|_| CredentialsError::Late)?
            .map_err(CredentialsError::Unreachable)?;
        match response.status {
            200 => read(&response).ok_or(CredentialsError::Garbled(200)),
            404 => Err(CredentialsError::NoRole),
            status => Err(CredentialsError::Garbled(status)),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Answer {
    #[serde(deserialize_with = "wire::text")]
    access_key: String,
    #[serde(deserialize_with = "wire::text")]
    secret_key: String,
    #[serde(deserialize_with = "wire::text")]
    id_token: String,
    #[serde(deserialize_with = "wire::number")]
    expiration: Option<i64>,
}

/// Reads the answer: an object, or as the documentation shows a text that holds the object.
fn read(response: &HttpResponse) -> Option<Lent> {
    let mut value: Value = serde_json::from_slice(&response.body).ok()?;
    if let Value::String(inner) = &value {
        value = serde_json::from_str(inner).ok()?;
    }
    let answer: Answer = serde_json::from_value(value).ok()?;
    if [&answer.access_key, &answer.secret_key, &answer.id_token].iter().any(|part| part.is_empty()) {
        return None;
    }
    let expires = Duration::from_secs(answer.expiration.and_then(|at| u64::try_from(at).ok())?);
    Some(Lent {
        key: Key {
            id: answer.access_key,
            secret: SecretString::from(answer.secret_key),
            token: Some(SecretString::from(answer.id_token)),
        },
        expires: SystemTime::UNIX_EPOCH.checked_add(expires)?,
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn lent(body: &str) -> Option<Lent> {
        read(&HttpResponse { status: 200, body: body.as_bytes().to_vec(), ..HttpResponse::default() })
    }

    #[test]
    fn both_forms_of_the_answer_are_read() {
        let object =
            r#"{"jti":"x","id_token":"J.W.T","access_key":"A","secret_key":"S","expiration":1700000000}"#;
        let in_text = serde_json::to_string(object).unwrap();
        let number_as_text = object.replace("1700000000", "\"1700000000\"");
        for body in [object, in_text.as_str(), number_as_text.as_str()] {
            let lent = lent(body).unwrap();
            assert_eq!((lent.key.id.as_str(), lent.key.secret.expose_secret()), ("A", "S"));
            assert_eq!(lent.key.token.unwrap().expose_secret(), "J.W.T");
            assert_eq!(lent.expires, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        }
    }

    #[test]
    fn half_an_answer_is_none() {
        for body in [
            "",
            "{}",
            "\"\"",
            "<html>",
            r#"{"access_key":"A","secret_key":"S","expiration":1}"#,
            r#"{"id_token":"J","access_key":"A","secret_key":"S"}"#,
            r#"{"id_token":"J","access_key":"A","secret_key":"S","expiration":-1}"#,
        ] {
            assert!(lent(body).is_none(), "{body}");
        }
    }
}
