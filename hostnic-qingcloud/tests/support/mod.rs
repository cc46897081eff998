//! HTTP to a simulator without a socket, so that a test's time can be paused: a paused clock does not wait for sockets.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::id::InstanceId;
use hostnic_qingcloud::simulator::Simulator;
use hostnic_qingcloud::transport::{HttpRequest, HttpResponse, TransportError};
use hostnic_qingcloud::{Config, InstanceSource, QingCloud, QingCloudProvider, Transport};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, DATE, HOST, HeaderName};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// One connection for each request.
#[derive(Debug)]
pub(crate) struct InMemory {
    simulator: Arc<Simulator>,
}

impl InMemory {
    pub(crate) fn to(simulator: Arc<Simulator>) -> Self {
        Self { simulator }
    }
}

#[async_trait]
impl Transport for InMemory {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let stream = self.simulator.connect().await.map_err(|error| TransportError::NotSent(error.into()))?;
        exchange(stream, &request).await.map_err(|error| TransportError::Lost(error.into()))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: &HttpRequest,
) -> hyper::Result<HttpResponse> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender, or with the runtime.
    tokio::spawn(connection);
    let target = format!("{}?{}", request.endpoint.path(), request.parameters);
    let asked = Request::get(target).header(HOST, "simulator").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(asked).await?;
    let header = |name: HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let mut response = HttpResponse {
        status: answer.status().as_u16(),
        content_type: header(CONTENT_TYPE).map(str::to_owned),
        date: header(DATE).and_then(|date| httpdate::parse_http_date(date).ok()),
        ..HttpResponse::default()
    };
    response.body = answer.into_body().collect().await?.to_bytes().to_vec();
    Ok(response)
}

/// The provider of an instance, over this transport.
pub(crate) async fn provider(
    transport: Arc<dyn Transport>,
    config: Config,
    instance: InstanceId,
) -> QingCloudProvider {
    let cloud = QingCloud::from_config(config).instance(InstanceSource::Given(instance));
    cloud.transport(transport).connect().await.unwrap()
}
