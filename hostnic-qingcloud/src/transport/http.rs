//! The transport on reqwest.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use super::{HttpRequest, HttpResponse, LONGEST_BODY, Transport, TransportError};
use crate::sign::Method;

/// What a [`HttpTransport`] is made of.
#[derive(Debug, Clone)]
pub struct TransportSetup {
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Certificate authorities (PEM) to trust besides the system's. Without the feature `tls` it has no
    /// effect.
    pub ca_file: Option<PathBuf>,
}

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportSetupError {
    /// The file of certificate authorities is of no use.
    #[error("ca_file {} is of no use: it must hold certificates in PEM form", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client refuses its settings.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// HTTP/1.1 by reqwest, with connections kept for further requests. Proxies of the environment are not used.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// Makes one. Reads the certificate authorities, but connects nowhere yet.
    ///
    /// # Errors
    /// [`TransportSetupError`].
    pub fn new(setup: &TransportSetup) -> Result<Self, TransportSetupError> {
        let builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(setup.connect_timeout)
            // Shorter than servers usually keep one, as a request on a connection that just went is lost.
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_keepalive(Duration::from_secs(15));
        #[cfg(feature = "tls")]
        let builder = builder.tls_backend_preconfigured(super::tls::config(setup.ca_file.as_deref())?);
        let client = builder.build().map_err(|error| TransportSetupError::Client(error.into()))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let outgoing = match request.method {
            Method::Get => self.client.get(request.url()),
            Method::Post => self
                .client
                .post(request.url())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(request.parameters),
        };
        let mut incoming = outgoing.send().await.map_err(|error| {
            let connected = !error.is_connect();
            // The URL holds the signature, and perhaps a token.
            let error = Box::new(error.without_url());
            if connected { TransportError::Lost(error) } else { TransportError::NotSent(error) }
        })?;
        let headers = incoming.headers();
        let mut response = HttpResponse {
            status: incoming.status().as_u16(),
            content_type: text(headers, &CONTENT_TYPE).map(str::to_owned),
            date: text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok()),
            retry_after: text(headers, &RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now())),
            body: Vec::new(),
        };
        let lost = |error: reqwest::Error| TransportError::Lost(Box::new(error.without_url()));
        while let Some(chunk) = incoming.chunk().await.map_err(lost)? {
            if response.body.len().saturating_add(chunk.len()) > LONGEST_BODY {
                return Err(TransportError::Lost("the answer is longer than any can be".into()));
            }
            response.body.extend_from_slice(&chunk);
        }
        Ok(response)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Either a number of seconds or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
