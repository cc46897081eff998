//! Signature version 1 of QingCloud's API, as pure functions.
//!
//! The signature is a HMAC over the method, the path exactly as it is sent (`/iaas` and `/iaas/` differ) and
//! all parameters in the order of their names. Host and port are not signed.
//!
//! ```
//! use hostnic_qingcloud::sign::{Digest, Method, canonical, sign, text_to_sign};
//!
//! let parameters = [("zone", "pek3a"), ("action", "DescribeNics")];
//! let query = canonical(parameters);
//! assert_eq!(query, "action=DescribeNics&zone=pek3a");
//! let signature = sign(Digest::Sha256, &"secret".into(), &text_to_sign(Method::Get, "/iaas", &query));
//! assert_eq!(signature, "u++di2PjOo2ID+LBgj/yaHE14fSe54kzGEFR8D5cDVE=");
//! ```

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::Sha256;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// With the parameters in the query; what the API documents.
    #[default]
    Get,
    /// With the parameters as a form in the body.
    Post,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
        })
    }
}

/// The hash inside the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digest {
    /// `HmacSHA256`.
    #[default]
    Sha256,
    /// `HmacSHA1`, which the API still takes.
    Sha1,
}

impl Digest {
    /// The value of the parameter `signature_method`.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Sha256 => "HmacSHA256",
            Self::Sha1 => "HmacSHA1",
        }
    }

    /// The digest that a `signature_method` names; `None` for one that the API does not have.
    pub fn from_parameter(value: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha1].into_iter().find(|digest| digest.parameter() == value)
    }
}

/// What RFC 3986 leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes as the API wants it: upper-case hexadecimal, a space as `%20`, never as `+`.
pub fn encode(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ENCODED)
}

/// The parameters, encoded, in the byte order of their names: `limit=100&nics.1=…&nics.10=…&nics.2=…`.
///
/// The parameter `signature` must not be among them. Equal names keep their order.
pub fn canonical<N, V>(parameters: impl IntoIterator<Item = (N, V)>) -> String
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let mut parameters: Vec<_> = parameters.into_iter().collect();
    parameters.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    let pairs = parameters.iter().map(|(n, v)| format!("{}={}", encode(n.as_ref()), encode(v.as_ref())));
    pairs.collect::<Vec<_>>().join("&")
}

/// What is signed: method, path and [`canonical`] parameters, on a line each.
pub fn text_to_sign(method: Method, path: &str, canonical: &str) -> String {
    format!("{method}\n{path}\n{canonical}")
}

/// The signature in base 64. On the wire it is percent-encoded and comes last: [`with_signature`].
pub fn sign(digest: Digest, secret: &SecretString, text: &str) -> String {
    match digest {
        Digest::Sha256 => BASE64.encode(&keyed::<Hmac<Sha256>>(secret, text).finalize().into_bytes()),
        Digest::Sha1 => BASE64.encode(&keyed::<Hmac<Sha1>>(secret, text).finalize().into_bytes()),
    }
}

/// Whether `signature` is that of `text`. Takes the same time wherever they differ.
pub fn verify(digest: Digest, secret: &SecretString, text: &str, signature: &str) -> bool {
    // A server that has read a `+` as a space must undo that.
    let Ok(signature) = BASE64.decode(signature.replace(' ', "+").as_bytes()) else { return false };
    match digest {
        Digest::Sha256 => keyed::<Hmac<Sha256>>(secret, text).verify_slice(&signature).is_ok(),
        Digest::Sha1 => keyed::<Hmac<Sha1>>(secret, text).verify_slice(&signature).is_ok(),
    }
}

/// The query or form as it is sent: the [`canonical`] parameters, and their signature last.
pub fn with_signature(
    method: Method,
    path: &str,
    canonical: &str,
    digest: Digest,
    secret: &SecretString,
) -> String {
    let signature = sign(digest, secret, &text_to_sign(method, path, canonical));
    format!("{canonical}&signature={}", encode(&signature))
}

fn keyed<M: Mac + KeyInit>(secret: &SecretString, text: &str) -> M {
    #[expect(clippy::expect_used, reason = "HMAC is defined for keys of every length")]
    let mac = <M as KeyInit>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length");
    mac.chain_update(text)
}
