//! The smallest client: signs, sends one request on a connection of its own, and reads what comes.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hostnic_qingcloud::sign::{Digest, Method, canonical, with_signature};
use hostnic_qingcloud::simulator::Simulator;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What was asked for, before it is signed.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access_key: &'static str,
    pub(crate) secret_key: &'static str,
    pub(crate) zone: &'static str,
    pub(crate) age: Duration,
    pub(crate) digest: Digest,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(simulator: &Simulator) -> Self {
        Self {
            address: simulator.address(),
            method: Method::Get,
            path: "/iaas",
            access_key: "AK",
            secret_key: "SK",
            zone: "sim1",
            age: Duration::ZERO,
            digest: Digest::Sha256,
        }
    }

    /// Sends what the arguments, written as `a=1&b=2`, say.
    pub(crate) async fn send(&self, action: &str, arguments: &str) -> std::io::Result<Answer> {
        let stamp = humantime::format_rfc3339_seconds(SystemTime::now() - self.age).to_string();
        let mut parameters = vec![
            ("action", action),
            ("zone", self.zone),
            ("time_stamp", &stamp),
            ("access_key_id", self.access_key),
            ("signature_method", self.digest.parameter()),
            ("signature_version", "1"),
        ];
        parameters.extend(arguments.split('&').filter_map(|pair| pair.split_once('=')));
        let text = canonical(parameters);
        let signed = with_signature(self.method, self.path, &text, self.digest, &self.secret_key.into());
        let request = match self.method {
            Method::Get => {
                format!("GET {}?{signed} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n", self.path)
            }
            Method::Post => format!(
                "POST {} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\
                 \r\nContent-Length: {}\r\n\r\n{signed}",
                self.path,
                signed.len()
            ),
        };
        exchange(self.address, &request).await
    }

    /// The body of a successful answer.
    pub(crate) async fn ok(&self, action: &str, arguments: &str) -> Value {
        let body = self.body(action, arguments).await;
        assert_eq!(body["ret_code"], 0, "{action} {arguments}: {body}");
        assert_eq!(body["action"], format!("{action}Response"));
        body
    }

    /// The code and the message of a refusal.
    pub(crate) async fn refused(&self, action: &str, arguments: &str) -> (u64, String) {
        let body = self.body(action, arguments).await;
        let code = body["ret_code"].as_u64().unwrap();
        assert_ne!(code, 0, "{action} {arguments}: {body}");
        (code, body["message"].as_str().unwrap().to_owned())
    }

    async fn body(&self, action: &str, arguments: &str) -> Value {
        let answer = self.send(action, arguments).await.unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
        serde_json::from_str(&answer.body).unwrap()
    }
}

/// Sends a request and reads until the connection ends.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    let text = String::from_utf8(text).unwrap();
    if text.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let length: usize = header("content-length").unwrap().parse().unwrap();
    if body.len() < length {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the body was cut"));
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, content_type: header("content-type").unwrap(), body: body.to_owned() })
}

/// A text field of an item.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path} in {value}"))
}
