//! Hears what is said: logs of everybody, requests on the wire, and the simulator's admin API.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hostnic_qingcloud::Transport;
use hostnic_qingcloud::simulator::Simulator;
use hostnic_qingcloud::transport::{
    HttpRequest, HttpResponse, HttpTransport, TransportError, TransportSetup,
};
use percent_encoding::percent_decode_str;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every log of this process at its lowest level, in both forms that the daemon writes.
pub(crate) struct Logs {
    text: Log,
    json: Log,
}

impl Logs {
    pub(crate) fn begin() -> Self {
        let logs = Self { text: Log::default(), json: Log::default() };
        let (text, json) = (logs.text.clone(), logs.json.clone());
        let as_text = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || text.clone());
        let as_json = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || json.clone());
        tracing_subscriber::registry().with(as_text).with(as_json.json().flatten_event(true)).init();
        logs
    }

    pub(crate) fn end(&self) -> [(String, String); 2] {
        let heard = |log: &Log| String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        [("log as text".to_owned(), heard(&self.text)), ("log as JSON".to_owned(), heard(&self.json))]
    }
}

/// The usual transport, whose signatures are remembered.
pub(crate) struct Tapped {
    inner: HttpTransport,
    signatures: Arc<Mutex<Vec<String>>>,
}

impl Tapped {
    pub(crate) fn new(signatures: &Arc<Mutex<Vec<String>>>) -> Self {
        let setup = TransportSetup { connect_timeout: std::time::Duration::from_secs(5), ca_file: None };
        Self { inner: HttpTransport::new(&setup).unwrap(), signatures: Arc::clone(signatures) }
    }
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Transport for Tapped {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if let Some((_, signature)) = request.parameters.rsplit_once("signature=") {
            let signature = percent_decode_str(signature).decode_utf8().unwrap().into_owned();
            self.signatures.lock().unwrap().push(signature);
        }
        self.inner.send(request).await
    }
}

/// What the admin API answers.
pub(crate) fn get(simulator: &Simulator, path: &str) -> String {
    let address = simulator.admin_url().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
