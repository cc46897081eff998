//! Who may come in: access key, signature, time and zone.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};

use super::account::access_key::KeyStatus;
use super::config::RoleCredentials;
use super::query::Query;
use super::refusal::Refusal;
use super::timestamp;
use crate::sign::{Digest, Method, canonical, text_to_sign, verify};

/// How old a request may be, and how far in the future. The documentation tells the first; the second is assumed.
const WINDOW: Duration = Duration::from_secs(60);

/// What requests are checked against.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) zone: String,
    pub(super) secrets: BTreeMap<String, SecretString>,
    pub(super) role: Option<RoleCredentials>,
}

impl Gate {
    /// Lets the request in or says why not.
    pub(super) fn check(
        &self,
        (method, path): (Method, &str),
        query: &Query,
        keys: &BTreeMap<String, KeyStatus>,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        self.authenticate((method, path), query, keys)?;
        check_time(query, now)?;
        let zone = query.required("zone")?;
        if zone == self.zone {
            return Ok(());
        }
        Err(Refusal::wrong_value(format!("parameter [zone]: there is no zone [{zone}]")))
    }

    fn authenticate(
        &self,
        (method, path): (Method, &str),
        query: &Query,
        keys: &BTreeMap<String, KeyStatus>,
    ) -> Result<(), Refusal> {
        let key = query.required("access_key_id")?;
        let digest = query.required("signature_method")?;
        let digest = Digest::from_parameter(digest).ok_or_else(|| {
            Refusal::wrong_value(format!("parameter [signature_method]: [{digest}] is unknown"))
        })?;
        let by_role = path.starts_with("/iam");
        let version = query.required("signature_version")?;
        if version != "1" && !(by_role && version == "2") {
            return Err(Refusal::wrong_value(format!("parameter [signature_version] is [{version}]")));
        }
        let signature = query.required("signature")?;
        let secret = if by_role { self.role_secret(key, query) } else { self.secrets.get(key) };
        let unknown =
            || Refusal::unauthorised(format!("access key [{key}] is unknown, or its token is wrong"));
        let secret = secret.ok_or_else(unknown)?;
        if keys.get(key) == Some(&KeyStatus::Inactive) {
            return Err(Refusal::unauthorised(format!("access key [{key}] is not active")));
        }
        let signed = canonical(query.iter().filter(|(name, _)| *name != "signature"));
        if verify(digest, secret, &text_to_sign(method, path, &signed), signature) {
            return Ok(());
        }
        Err(Refusal::unauthorised("the signature does not match the request"))
    }

    /// The secret of a role's key, where its token comes with it.
    fn role_secret(&self, key: &str, query: &Query) -> Option<&SecretString> {
        let role = self.role.as_ref().filter(|role| role.access_key == key)?;
        (query.get("token") == Some(role.token.expose_secret())).then_some(&role.secret_key)
    }
}

/// `expires` is taken to replace the window: the request is good until then.
fn check_time(query: &Query, now: SystemTime) -> Result<(), Refusal> {
    let read = |name: &str, text: &str| {
        timestamp::read(text).ok_or_else(|| {
            Refusal::malformed(format!("parameter [{name}] must be as in 2013-08-27T14:30:10Z, not [{text}]"))
        })
    };
    let stamp = read("time_stamp", query.required("time_stamp")?)?;
    let expires = query.get("expires").filter(|text| !text.is_empty());
    let until = match expires {
        Some(text) => read("expires", text)?,
        None => stamp + WINDOW,
    };
    if now <= until && stamp <= now + WINDOW {
        return Ok(());
    }
    let here = timestamp::write(now);
    Err(Refusal::expired(format!("the request was signed at [{}], it is [{here}]", timestamp::write(stamp))))
}
