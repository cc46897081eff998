//! Requests as plain values: built, then signed, without any I/O.

use std::fmt::{self, Display};
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};

use crate::action::Action;
use crate::config::Endpoint;
use crate::sign::{Digest, Method, canonical, with_signature};
use crate::transport::HttpRequest;

/// An action and its parameters, without those that all requests share.
#[derive(Debug, Clone)]
pub struct Request {
    action: Action,
    parameters: Vec<(String, String)>,
}

impl Request {
    /// The action without parameters.
    pub fn new(action: Action) -> Self {
        Self { action, parameters: Vec::new() }
    }

    /// The action.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.parameters.push((name.into(), value.to_string()));
        self
    }

    /// Adds a parameter where there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a list: `name.1`, `name.2` and so on.
    #[must_use]
    pub fn with_list(self, name: &str, values: impl IntoIterator<Item = impl Display>) -> Self {
        (1..).zip(values).fold(self, |request, (n, value)| request.with(format!("{name}.{n}"), value))
    }

    /// Adds a list of objects: `name.1.field`, `name.2.field` and so on.
    #[must_use]
    pub fn with_objects<F: AsRef<str>, V: Display>(
        self,
        name: &str,
        objects: impl IntoIterator<Item = impl IntoIterator<Item = (F, V)>>,
    ) -> Self {
        (1..).zip(objects).fold(self, |request, (n, fields)| {
            fields.into_iter().fold(request, |request, (field, value)| {
                request.with(format!("{name}.{n}.{}", field.as_ref()), value)
            })
        })
    }

    /// The value of a parameter, for tests and transports of tests.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The request as it is sent at `at`. The signature is good for some 60 seconds around that.
    pub fn sign(&self, signer: &Signer<'_>, at: SystemTime) -> HttpRequest {
        let Signer { key, endpoint, zone, method, digest } = signer;
        let stamp = humantime::format_rfc3339_seconds(at).to_string();
        let shared = [
            ("access_key_id", key.id.as_str()),
            ("action", self.action.name()),
            ("signature_method", digest.parameter()),
            ("signature_version", "1"),
            ("time_stamp", &stamp),
            ("version", "1"),
            ("zone", zone),
        ];
        let token = key.token.as_ref().map(|token| ("token", token.expose_secret()));
        let own = self.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let canonical = canonical(own.chain(shared).chain(token));
        let endpoint = match &key.token {
            Some(_) => &of_roles(endpoint),
            None => *endpoint,
        };
        let parameters = with_signature(*method, endpoint.path(), &canonical, *digest, &key.secret);
        HttpRequest { method: *method, endpoint: endpoint.clone(), parameters }
    }
}

/// Requests with a role's token have a path of their own; the slash at its end is a matter of taste, as for
/// `/iaas`.
fn of_roles(endpoint: &Endpoint) -> Endpoint {
    endpoint.with_path(if endpoint.path().ends_with('/') { "/iam/" } else { "/iam" })
}

/// An access key, with a token where it is that of a role. Its `Debug` shows neither secret nor token.
#[derive(Debug, Clone)]
pub struct Key {
    /// The parameter `access_key_id`.
    pub id: String,
    /// What the HMAC is made with.
    pub secret: SecretString,
    /// The parameter `token` of requests with a role's key.
    pub token: Option<SecretString>,
}

/// All that turns a [`Request`] into one that can be sent.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// Who asks.
    pub key: &'a Key,
    /// Whom.
    pub endpoint: &'a Endpoint,
    /// The zone that it is about.
    pub zone: &'a str,
    /// Whether in the query or in the body.
    pub method: Method,
    /// The hash of the signature.
    pub digest: Digest,
}

impl Display for Request {
    /// The action and how many parameters it has; not their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} parameters", self.action, self.parameters.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(token: Option<&str>) -> Key {
        Key {
            id: "QYACCESSKEYIDEXAMPLE".to_owned(),
            secret: "SECRETACCESSKEY".into(),
            token: token.map(Into::into),
        }
    }

    fn signed(request: &Request, path: &str, key: &Key) -> HttpRequest {
        let endpoint = Endpoint::default().with_path(path);
        let signer =
            Signer { key, endpoint: &endpoint, zone: "pek3a", method: Method::Get, digest: Digest::Sha256 };
        // 2013-08-27T14:30:10Z
        request.sign(&signer, SystemTime::UNIX_EPOCH + Duration::from_secs(1_377_613_810))
    }

    #[test]
    fn a_request_is_sent_as_in_the_vector_with_odd_characters() {
        let request = Request::new(Action::CreateNics)
            .with("vxnet", "vxnet-abc1234")
            .with("count", 2)
            .with("nic_name", "a b+c~d*e/f=g&h:\u{4e2d}")
            .with_list("private_ips", ["172.22.0.10", "172.22.0.11"]);
        let sent = signed(&request, "/iaas/", &key(None)).url();
        let expected = "https://api.qingcloud.com:443/iaas/?access_key_id=QYACCESSKEYIDEXAMPLE&action=CreateNics\
             &count=2&nic_name=a%20b%2Bc~d%2Ae%2Ff%3Dg%26h%3A%E4%B8%AD&private_ips.1=172.22.0.10\
             &private_ips.2=172.22.0.11&signature_method=HmacSHA256&signature_version=1\
             &time_stamp=2013-08-27T14%3A30%3A10Z&version=1&vxnet=vxnet-abc1234&zone=pek3a\
             &signature=ucBlMnqFZS%2FUWoVUMOsUp%2FZfEpgw2AhE%2BLa7fsIi6ew%3D";
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_token_is_signed_and_changes_the_path_as_the_vendor_does() {
        let request = Request::new(Action::DescribeNics);
        for (path, expected) in [("/iaas", "/iam?"), ("/iaas/", "/iam/?")] {
            let url = signed(&request, path, &key(Some("J.W.T"))).url();
            assert!(url.contains(expected) && url.contains("&token=J.W.T&"), "{url}");
        }
        let (one, other) = (key(Some("J.W.T")), key(Some("J.W.U")));
        let signature = |key| signed(&request, "/iaas", key).url().rsplit_once('=').unwrap().1.to_owned();
        assert_ne!(signature(&one), signature(&other));
    }

    #[test]
    fn lists_and_objects_are_numbered_from_one() {
        let request = Request::new(Action::AttachTags)
            .with_list("nics", ["a", "b"])
            .with_objects("resource_tag_pairs", [[("tag_id", "tag-1"), ("resource_type", "nic")]]);
        assert_eq!(request.parameter("nics.2"), Some("b"));
        assert_eq!(request.parameter("resource_tag_pairs.1.resource_type"), Some("nic"));
        assert_eq!(request.parameter("nics.0"), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = key(Some("J.W.T"));
        let request = signed(&Request::new(Action::DescribeNics), "/iaas", &key);
        let shown = format!("{key:?} {request:?}");
        for secret in ["SECRETACCESSKEY", "J.W.T", "signature="] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
