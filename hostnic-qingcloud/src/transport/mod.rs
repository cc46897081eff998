//! How a request gets to the API and its answer back; to be replaced in tests.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "tls")]
mod tls;

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::config::Endpoint;
use crate::sign::Method;

#[cfg(feature = "http")]
pub use http::{HttpTransport, TransportSetup, TransportSetupError};

/// The longest answer that is read. A page of a hundred NICs has some 60 KiB.
pub const LONGEST_BODY: usize = 16 * 1024 * 1024;

/// A request, ready to be sent. Its `Debug` leaves out the parameters, some of which are secret.
#[derive(Clone)]
pub struct HttpRequest {
    /// Whether the parameters go in the query or in the body.
    pub method: Method,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The encoded parameters: the query of a GET, the form in the body of a POST.
    pub parameters: String,
}

impl HttpRequest {
    /// Its URL. It may hold a token that is secret: do not log it.
    pub fn url(&self) -> String {
        match self.method {
            Method::Get if !self.parameters.is_empty() => format!("{}?{}", self.endpoint, self.parameters),
            _ => self.endpoint.to_string(),
        }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("endpoint", &self.endpoint.to_string())
            .finish_non_exhaustive()
    }
}

/// An answer, whole. Its `Debug` leaves out the body, which may be credentials.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HttpResponse {
    /// The status, such as 200.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The server's time, from the header `Date`.
    pub date: Option<SystemTime>,
    /// How long to wait, from the header `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("date", &self.date)
            .field("retry_after", &self.retry_after)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There was no connection, so the server cannot have seen the request.
    #[error("no connection could be made")]
    NotSent(#[source] Box<dyn StdError + Send + Sync>),
    /// The request, or a part of it, was sent; what the server made of it is not known.
    #[error("the connection was lost before the whole answer was there")]
    Lost(#[source] Box<dyn StdError + Send + Sync>),
}

/// Sends requests. Shared by all calls, which may run at the same time.
///
/// An implementation neither repeats a request that may have been sent, nor follows redirects: a signature is
/// good for one path and a minute. Its errors must not show the URL. Deadlines are the caller's, who drops
/// the future.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`TransportError`] where there is none, or not all of it.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;
}
