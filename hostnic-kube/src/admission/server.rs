//! The HTTPS server that API servers ask.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::ErrorKind;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::Answerer;

/// Where reviews are asked for.
pub(super) const RESOURCES: &str = "/validate/resources";
pub(super) const CONFIG_MAPS: &str = "/validate/configmaps";

/// An object may be half of this, and a review has the old and the new one.
const BODY: usize = 3 * 1024 * 1024;
/// How many connections there may be. An API server needs one or two.
const CONNECTIONS: usize = 64;
/// How long a connection may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may say nothing. API servers end theirs after 90 s, which must come first: a review that is sent while
/// the connection is ended here would have no answer.
const SILENCE: Duration = Duration::from_secs(120);
/// How long an answer may take; less than API servers wait.
const RESOURCES_TIME: Duration = Duration::from_millis(2800);
const CONFIG_MAPS_TIME: Duration = Duration::from_millis(1800);
/// How long answers that are under way may take when it ends.
const END: Duration = Duration::from_secs(3);
/// A pause when no connection can be taken, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, with what `tls` says at the moment at which a connection is made; while it says nothing, connections wait for
/// it. What is being answered then is answered.
///
/// Dropping the future ends everything at once.
pub(super) async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    answerer: Arc<Answerer>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // Never closed.
            let place = Arc::clone(&room).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken for the webhooks; trying again");
                    sleep(PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = stop.cancelled() => break,
        };
        let (tls, answerer, stop) = (tls.clone(), Arc::clone(&answerer), stop.clone());
        connections.spawn(async move {
            connection(stream, tls, answerer, stop).await;
            drop(place);
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(END, all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    mut tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    answerer: Arc<Answerer>,
    stop: CancellationToken,
) {
    let greeted = async {
        let config = tls.wait_for(Option::is_some).await.ok()?.clone()?;
        TlsAcceptor::from(config)
            .accept(stream)
            .await
            .map_err(|error| tracing::debug!(%error, "no handshake"))
            .ok()
    };
    let stream = tokio::select! {
        greeted = timeout(HANDSHAKE, greeted) => match greeted {
            Ok(Some(stream)) => stream,
            Ok(None) | Err(_) => return,
        },
        () = stop.cancelled() => return,
    };
    let service = service_fn(move |request| {
        let answerer = Arc::clone(&answerer);
        async move { Ok::<_, Infallible>(respond(&answerer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the webhooks ended");
    }
}

async fn respond(answerer: &Answerer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let time = match path.as_str() {
        RESOURCES => RESOURCES_TIME,
        CONFIG_MAPS => CONFIG_MAPS_TIME,
        _ => return plain(StatusCode::NOT_FOUND, format!("there is nothing at {path}")),
    };
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted".to_owned());
    }
    let answered = timeout(time, async {
        let body = match Limited::new(request.into_body(), BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, format!("a review has at most {BODY} bytes"));
            }
            Err(error) => {
                return plain(StatusCode::BAD_REQUEST, format!("the review cannot be read: {error}"));
            }
        };
        let answer = if path == RESOURCES {
            answerer.resources(&body).await
        } else {
            answerer.config_maps(&body).await
        };
        match answer {
            Ok(answer) => json(answer.to_string()),
            // The failure policy decides.
            Err(error) => {
                // Anybody in the cluster may send what is no review.
                if error.kind() == ErrorKind::Invalid {
                    tracing::debug!(error = %error.chain(), "not a review");
                } else {
                    tracing::warn!(error = %error.chain(), "a review has no answer");
                }
                plain(StatusCode::INTERNAL_SERVER_ERROR, error.chain().to_string())
            }
        }
    });
    let late = |_| {
        plain(StatusCode::GATEWAY_TIMEOUT, format!("there was no answer within {} s", time.as_secs_f32()))
    };
    answered.await.unwrap_or_else(late)
}

fn json(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
