//! The way to the simulator inside one process.

use std::sync::Arc;

use async_trait::async_trait;

use super::backend::Backend;
use super::http::{Reply, Request, Responder};
use crate::sign::Method;
use crate::transport::{HttpRequest, HttpResponse, Transport, TransportError};

/// Hands requests to the simulator itself. What breaks a connection breaks the answer.
#[derive(Debug)]
pub(super) struct InProcess {
    pub(super) backend: Arc<Backend>,
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let path = request.endpoint.path().to_owned();
        let (method, query, body) = match request.method {
            Method::Get => ("GET", request.parameters, String::new()),
            Method::Post => ("POST", String::new(), request.parameters),
        };
        let request = Request { method: method.to_owned(), path, query, body };
        match self.backend.respond(request).await {
            Reply::Whole { status, content_type, body } => Ok(HttpResponse {
                status,
                content_type: Some(content_type.to_owned()),
                date: Some(self.backend.clock.now()),
                retry_after: None,
                body,
            }),
            Reply::Cut(_) => Err(TransportError::Lost("the simulator cuts this answer".into())),
            // There is no listener to take away here.
            Reply::Reset | Reply::Leave(_) => {
                Err(TransportError::Lost("the simulator breaks this connection".into()))
            }
        }
    }
}
