//! HTTP/1.1 in its smallest form: each connection has one request, a few seconds, and a place among few.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::pages::Reply;

/// What answers requests, by method and path. Looks at memory only.
pub(crate) trait Answers: Send + Sync + 'static {
    fn reply(&self, method: &Method, path: &str) -> Reply;
}

/// Connections at a time; more wait to be accepted. Those who scrape and probe a node are few.
const CONNECTIONS: usize = 64;

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection lasts in all, the reading of the answer included.
const CONNECTION: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// How long to wait before the next try where no connection can be accepted: descriptors may run out for a while.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<impl Answers>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, place) = accept(&listener, &places) => {
                connections.spawn(connection(stream, place, pages.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection to the manage address could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, place: Option<OwnedSemaphorePermit>, pages: Arc<impl Answers>) {
    let service = service_fn(|request: Request<Incoming>| {
        // The body is never read: no page takes one.
        let reply = pages.reply(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response(reply)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the manage address ended badly"),
        Err(_) => tracing::debug!("a connection to the manage address took too long"),
    }
    drop(place);
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
