//! A small reverse proxy made of our server and our client, between a raw client and a raw upstream: what the one says
//! and the other hears, byte for byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use proxy::{
    Call, Client, ClientConfig, Fresh, Handler, Limits, Origin, Outbound, ResponseHead, Server, StatusCode, Timeouts,
    listen,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A step that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Server, handler, client and upstream.
pub(crate) struct Relay {
    addr: SocketAddr,
    upstream: Arc<Mutex<Vec<Vec<u8>>>>,
    faults: Arc<Mutex<Vec<String>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin::parse(&format!("http://{}", peer.local_addr().unwrap())).unwrap();
        let upstream: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let faults: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = Client::new(ClientConfig::default()).unwrap();
        let handler = Arc::new(Forward { client, origin, faults: faults.clone() });
        let server = Server::new(Limits::default(), Timeouts::default());
        let serving = tokio::spawn(async move {
            server.serve(listener, handler, std::future::pending(), Duration::ZERO).await;
        });
        let record = upstream.clone();
        let answering = tokio::spawn(async move {
            loop {
                let (io, _) = peer.accept().await.unwrap();
                let at = record.lock().unwrap().len();
                record.lock().unwrap().push(Vec::new());
                tokio::spawn(answer(io, record.clone(), at));
            }
        });
        Self { addr, upstream, faults, tasks: [serving, answering] }
    }

    /// Says `input`, perhaps ends its side, and hears everything up to the server's end.
    pub(crate) async fn talk(&self, input: &[u8], half_close: bool) -> String {
        let mut io = TcpStream::connect(self.addr).await.unwrap();
        let (mut reader, mut writer) = io.split();
        let mut heard = Vec::new();
        let say = async {
            // A server that has refused does not take the rest.
            let _ = writer.write_all(input).await;
            if half_close {
                let _ = writer.shutdown().await;
            }
        };
        let hear = async {
            // A reset behind the answer is the server's right; what came before it counts.
            let _ = reader.read_to_end(&mut heard).await;
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(say, hear) }).await.expect("the server does not close");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Everything that the upstream was told, connection by connection.
    pub(crate) fn told(&self) -> Vec<Vec<u8>> {
        self.upstream.lock().unwrap().clone()
    }

    /// What was wrong with bodies.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Passes everything on, also what it should not: the client half has to be safe by itself.
struct Forward {
    client: Client,
    origin: Origin,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Handler for Forward {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        let head = call.take_head();
        if head.path() == b"/unread" {
            drop(call.respond(ResponseHead::new(StatusCode::OK), Bytes::from("unread")).await);
            return;
        }
        if head.path() == b"/split" {
            let split = ResponseHead::new(StatusCode::OK).with("x-a", "1\r\nset-cookie: evil=1\r\n\r\nevil");
            drop(call.respond(split, Bytes::from("whole")).await);
            return;
        }
        let body = match call.body(1 << 20).await {
            Ok(body) => body,
            Err(error) => {
                self.faults.lock().unwrap().push(format!("{:?}", error.kind));
                return;
            }
        };
        let method = head.method.clone();
        let request = Outbound {
            headers: head.headers,
            body: vec![body],
            ..Outbound::new(self.origin.clone(), method, head.target)
        };
        let mut response = self.client.send(request).await.unwrap();
        let body = response.body.collect(1 << 20).await.unwrap();
        drop(call.respond(ResponseHead::new(response.head.status), body).await);
    }
}

/// An upstream that believes the first `content-length` that it finds, and nothing else.
async fn answer(mut io: TcpStream, record: Arc<Mutex<Vec<Vec<u8>>>>, at: usize) {
    let mut buf = Vec::new();
    loop {
        while let Some(head) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buf[..head]).to_ascii_lowercase();
            let length = text
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            if buf.len() < head + 4 + length {
                break;
            }
            buf.drain(..head + 4 + length);
            let answer = match text.starts_with("head ") {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            io.write_all(answer.as_bytes()).await.unwrap();
        }
        let from = buf.len();
        if !matches!(io.read_buf(&mut buf).await, Ok(n) if n > 0) {
            return;
        }
        record.lock().unwrap()[at].extend_from_slice(&buf[from..]);
    }
}

/// `METHOD target body` of the requests in what an upstream was told, as hyper reads them.
pub(crate) fn requests_in(told: &[Vec<u8>]) -> Vec<String> {
    let mut requests = Vec::new();
    for bytes in told {
        let (heard, fault) = crate::oracle::served(bytes);
        assert_eq!(fault, None, "an upstream cannot read {:?}", String::from_utf8_lossy(bytes));
        for one in heard {
            let framings = |name: &str| one.fields.iter().filter(|(field, _)| field == name).count();
            assert!(framings("content-length") <= 1 && framings("transfer-encoding") == 0, "{:?}", one.fields);
            assert_eq!(framings("host"), 1, "{:?}", one.fields);
            for gone in ["connection", "upgrade", "http2-settings", "te", "keep-alive", "expect", "trailer"] {
                assert_eq!(framings(gone), 0, "{gone} is passed on: {:?}", one.fields);
            }
            let body = String::from_utf8_lossy(&one.body);
            requests.push(format!("{} {} {body}", one.method, one.start).trim_end().to_owned());
        }
    }
    requests
}

/// The statuses of answers whose bodies say no `HTTP/1.1`.
pub(crate) fn statuses(answers: &str) -> Vec<u16> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

/// A request with a host.
pub(crate) fn request(line: &str, fields: &[&str], body: &str) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

/// A POST with a chunked body that is written by hand.
pub(crate) fn chunked(body: &str) -> String {
    request("POST /c", &["Transfer-Encoding: chunked"], body)
}
