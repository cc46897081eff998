//! Two services on one connection, told apart by the path of a request.
//!
//! Tonic's own router is axum, which two services do not need.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::tcp::Calls;
use super::v1::control_server::{Control, ControlServer, SERVICE_NAME};
use super::v1::node_server::{Node, NodeServer};

/// What plugins ask, and what a person commands.
pub(super) struct Both<N, C> {
    node: NodeServer<N>,
    control: ControlServer<C>,
}

impl<N, C> Both<N, C> {
    pub(super) fn new(node: N, control: C) -> Self {
        Self { node: NodeServer::new(node), control: ControlServer::new(control) }
    }
}

impl<N, C> Clone for Both<N, C> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), control: self.control.clone() }
    }
}

impl<N: Node, C: Control> Service<http::Request<Body>> for Both<N, C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are ready at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Of those who come by TCP.
        let running = request.extensions().get::<Calls>().map(Calls::begin);
        let service = request.uri().path().split('/').nth(1);
        let answer =
            if service == Some(SERVICE_NAME) { self.control.call(request) } else { self.node.call(request) };
        match running {
            None => answer,
            Some(running) => Box::pin(async move {
                let answer = answer.await;
                drop(running);
                answer
            }),
        }
    }
}
