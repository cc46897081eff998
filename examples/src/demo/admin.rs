//! Asks the simulator's admin API.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hostnic_core::cloud::Nic;
use hostnic_core::sim::DroppedFrames;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The connection failed.
    #[error("the simulator's admin API does not answer")]
    Connect(#[from] std::io::Error),
    /// The exchange failed.
    #[error("the simulator's admin API breaks off")]
    Exchange(#[from] hyper::Error),
    /// The request was refused.
    #[error("the simulator's admin API answers {path} with {status}")]
    Refused {
        /// What was asked for.
        path: &'static str,
        /// The answer.
        status: StatusCode,
    },
    /// The answer is not what is documented.
    #[error("the simulator's admin API answers in another form")]
    Form(#[from] serde_json::Error),
}

/// The admin API at an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admin(pub(super) SocketAddr);

/// How often each action was called.
pub(super) type Counts = BTreeMap<String, u64>;

impl Admin {
    /// All NICs of the cloud.
    pub(super) async fn nics(self) -> Result<Vec<Nic>, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            nics: Vec<Nic>,
        }
        self.get::<Answer>("/nics").await.map(|answer| answer.nics)
    }

    /// How often each action was called.
    pub(super) async fn counts(self) -> Result<Counts, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            counts: Counts,
        }
        self.get::<Answer>("/counts").await.map(|answer| answer.counts)
    }

    /// What the ports dropped because it broke a rule.
    pub(super) async fn dropped(self) -> Result<Vec<DroppedFrames>, AdminError> {
        #[derive(Deserialize)]
        struct Answer {
            dropped: Vec<DroppedFrames>,
        }
        self.get::<Answer>("/police").await.map(|answer| answer.dropped)
    }

    async fn get<T: DeserializeOwned>(self, path: &'static str) -> Result<T, AdminError> {
        let stream = TcpStream::connect(self.0).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let ask = async move {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = hyper::Uri::from_static(path);
            let host = hyper::header::HeaderValue::from_static("simulator");
            request.headers_mut().insert(hyper::header::HOST, host);
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        // The connection carries the exchange, has nothing to say itself, and ends with the sender.
        let (asked, _) = futures::join!(ask, connection);
        match asked? {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
            (status, _) => Err(AdminError::Refused { path, status }),
        }
    }
}
