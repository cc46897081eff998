//! The transport on reqwest against a server on loopback that answers byte by byte as it is told.

#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hostnic_core::cloud::NicFilter;
use hostnic_core::{Effect, ErrorKind, NicProvider};
use hostnic_qingcloud::sign::Method;
use hostnic_qingcloud::transport::{
    HttpRequest, HttpResponse, HttpTransport, TransportError, TransportSetup, TransportSetupError,
};
use hostnic_qingcloud::{Config, Endpoint, InstanceSource, Protocol, QingCloud, Transport};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Length: 15\r\n\r\n{\"ret_code\": 0}";

/// Answers every request with the same bytes. Ends with the test.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(answer: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut each = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                each.spawn(async move {
                    // A client that hangs up is no concern of the server's.
                    let _ = match tls {
                        None => serve(stream, answer).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, answer).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, connections, _task: task }
    }

    fn endpoint(&self, protocol: Protocol) -> Endpoint {
        Endpoint::new(protocol, "127.0.0.1", self.address.port(), "/iaas/").unwrap()
    }
}

/// An answer that is cut short ends the connection.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> io::Result<()> {
    let mut seen = Vec::new();
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
        if seen.windows(4).any(|end| end == b"\r\n\r\n") {
            seen.clear();
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            if answer != GOOD {
                return stream.shutdown().await;
            }
        }
    }
}

fn transport(ca_file: Option<PathBuf>) -> HttpTransport {
    HttpTransport::new(&TransportSetup { connect_timeout: Duration::from_secs(5), ca_file }).unwrap()
}

async fn get(endpoint: Endpoint, ca_file: Option<PathBuf>) -> Result<HttpResponse, TransportError> {
    let request = HttpRequest { method: Method::Get, endpoint, parameters: "a=b".to_owned() };
    transport(ca_file).send(request).await
}

#[tokio::test]
async fn an_answer_comes_with_the_servers_time_and_the_connection_is_used_again() {
    let server = Server::start(GOOD, None).await;
    let transport = transport(None);
    for method in [Method::Get, Method::Get, Method::Post] {
        let endpoint = server.endpoint(Protocol::Http);
        let request = HttpRequest { method, endpoint, parameters: "action=X".to_owned() };
        let answer = transport.send(request).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"{\"ret_code\": 0}".as_slice()));
        assert_eq!(answer.date, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_not_sent_is_told_from_what_is_lost() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Endpoint::new(Protocol::Http, "127.0.0.1", free.port(), "/iaas").unwrap();
    assert!(matches!(get(nobody, None).await, Err(TransportError::NotSent(_))));
    for cut in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"ret_code\""] {
        let server = Server::start(cut, None).await;
        let lost = get(server.endpoint(Protocol::Http), None).await;
        assert!(matches!(lost, Err(TransportError::Lost(_))), "{cut:?}: {lost:?}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{cut:?} is not asked for again");
    }
}

#[tokio::test]
async fn other_answers_are_passed_on_as_they_are_and_redirects_are_not_followed() {
    let server = Server::start(
        "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        None,
    );
    let server = server.await;
    let answer = get(server.endpoint(Protocol::Http), None).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (302, Some(Duration::from_secs(7))));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

fn acceptor(key: &CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_configured_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let key = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&ca_file, key.cert.pem()).unwrap();
    let server = Server::start(GOOD, Some(acceptor(&key))).await;

    let answer = get(server.endpoint(Protocol::Https), Some(ca_file)).await.unwrap();
    assert_eq!(answer.status, 200);
    let stranger = get(server.endpoint(Protocol::Https), None).await;
    assert!(matches!(stranger, Err(TransportError::NotSent(_))), "{stranger:?}");
}

#[test]
fn a_file_of_authorities_that_is_of_no_use_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for path in [empty, folder.path().join("missing.pem")] {
        let setup = TransportSetup { connect_timeout: Duration::from_secs(1), ca_file: Some(path.clone()) };
        let error = HttpTransport::new(&setup).unwrap_err();
        assert!(matches!(error, TransportSetupError::CaFile { .. }));
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Switches on every log of this process, those of the HTTP client included.
fn log_everything() -> Log {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    log
}

/// Asks for NICs and deletes one, in vain, and returns what the errors show.
async fn complaints(config: Config) -> String {
    let instance = InstanceSource::Given("i-1".parse().unwrap());
    let provider = QingCloud::from_config(config).instance(instance).connect().await.unwrap();
    let reading = provider.list_nics(&NicFilter::default()).await.unwrap_err();
    let writing = provider.delete_nics(&["52:54:00:00:00:01".parse().unwrap()]).await.unwrap_err();
    assert_eq!((reading.effect(), writing.effect()), (Effect::None, Effect::Unknown));
    assert_eq!(writing.kind(), ErrorKind::Transient);
    format!("{} {reading:?} {} {writing:?} {provider:?}", reading.chain(), writing.chain())
}

#[tokio::test]
async fn no_log_and_no_error_shows_secret_or_signature() {
    let log = log_everything();
    let html =
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
    let mut shown = String::new();
    for answer in [html, "", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"ret_code\""] {
        let server = Server::start(answer, None).await;
        let mut config = Config::with_key("KEY", "TOP-SECRET", "pek3a");
        config.endpoint = server.endpoint(Protocol::Http);
        shown += &complaints(config).await;
    }
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("reqwest"), "the HTTP client logs nothing: {logged}");
    for secret in ["TOP-SECRET", "signature="] {
        let place = shown.lines().chain(logged.lines()).find(|line| line.contains(secret));
        assert!(place.is_none(), "{secret}: {place:?}");
    }
}

#[tokio::test]
async fn the_instance_is_found_in_a_file_and_in_the_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instance-id");
    std::fs::write(&path, "i-abcd1234\n").unwrap();
    let connect = |source| {
        let config = Config::with_key("KEY", "S", "pek3a");
        QingCloud::from_config(config).instance(source).connect()
    };
    let found = connect(InstanceSource::File(path)).await.unwrap();
    assert_eq!(found.instance_id().as_str(), "i-abcd1234");
    let server = Server::start("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ni-abcd1234\n", None).await;
    let source = InstanceSource::Metadata(server.endpoint(Protocol::Http));
    assert_eq!(connect(source).await.unwrap().instance_id().as_str(), "i-abcd1234");
    let missing = InstanceSource::File(Path::new("/nonexistent/instance-id").to_owned());
    assert!(connect(missing).await.is_err());
}
