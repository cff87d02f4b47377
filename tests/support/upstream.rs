//! The scripted upstream: a listener whose connections each run a script, and a record of what it was asked.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use codecs::dialect::Dialect;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{
    speech,
    wire::{self, Head, Reader},
    within,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.head.first.split(' ').nth(1).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that plays a script on every connection.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Upstream {
    /// Starts to listen; `script` is run for every connection.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Conn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (record, count) = (asked.clone(), connections.clone());
        let listening = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(Conn { io, reader: Reader::new(), record: record.clone() }));
            }
        });
        Self { addr, asked, connections, listening }
    }

    /// Answers every request alike, as often as asked.
    pub(crate) async fn always(status: u16, fields: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let body: Arc<[u8]> = body.into().into();
        Self::start(move |mut conn| {
            let (fields, body) = (fields.clone(), body.clone());
            async move {
                let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                while conn.asked().await.is_some() {
                    conn.answer(status, &fields, &body).await;
                }
            }
        })
        .await
    }

    /// Streams every answer alike: `pieces` as chunks, then the end of the body.
    pub(crate) async fn streams(content_type: &'static str, pieces: Vec<Vec<u8>>) -> Self {
        let pieces = Arc::new(pieces);
        Self::start(move |mut conn| {
            let pieces = pieces.clone();
            async move {
                while conn.asked().await.is_some() {
                    conn.stream(content_type).await;
                    for piece in pieces.iter() {
                        conn.chunk(piece).await;
                    }
                    conn.end().await;
                }
            }
        })
        .await
    }

    /// Begins one answer as a stream of `dialect`, tells the first one when its first content is out, and goes on when the
    /// second one is told.
    pub(crate) async fn halting(dialect: Dialect) -> (Self, [Arc<Notify>; 2]) {
        let [begun, go] = [Arc::new(Notify::new()), Arc::new(Notify::new())];
        let (tell, gate) = (begun.clone(), go.clone());
        let upstream = Self::start(move |mut conn| {
            let (tell, gate) = (tell.clone(), gate.clone());
            async move {
                conn.asked().await.unwrap();
                let spoken = speech::stream(dialect);
                conn.stream(dialect.stream_content_type()).await;
                conn.chunk(spoken.prologue.concat() + &spoken.content[0]).await;
                tell.notify_one();
                gate.notified().await;
                conn.chunk(spoken.content[1].clone() + &spoken.end.concat()).await;
                conn.end().await;
            }
        });
        (upstream.await, [begun, go])
    }

    /// `http://…` without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn asked_once(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "requests: {asked:?}");
        asked[0].clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A connection in a script.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) io: TcpStream,
    reader: Reader,
    record: Arc<Mutex<Vec<Asked>>>,
}

impl Conn {
    /// Reads and records the next request; `None` when the gateway closed.
    pub(crate) async fn asked(&mut self) -> Option<Asked> {
        let head = self.reader.head(&mut self.io).await?;
        if self.reader.rest == wire::Rest::Close {
            // A request without a length has no body.
            self.reader.rest = wire::Rest::Nothing;
        }
        let (body, complete) = self.reader.body(&mut self.io).await;
        if !complete {
            return None;
        }
        let asked = Asked { head, body };
        self.record.lock().unwrap().push(asked.clone());
        Some(asked)
    }

    /// Drops the record of what was asked so far, on all connections.
    pub(crate) fn forget(&self) {
        self.record.lock().unwrap().clear();
    }

    /// Writes bytes as they are; false when the gateway has gone.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.io.write_all(bytes.as_ref()).await.is_ok()
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self, status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut bytes = head(status, fields);
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        self.write(bytes).await;
    }

    /// The head of a chunked 200.
    pub(crate) async fn stream(&mut self, content_type: &str) {
        let mut bytes = head(200, &[("content-type", content_type)]);
        bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        self.write(bytes).await;
    }

    /// One chunk.
    pub(crate) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(wire::chunk(bytes.as_ref())).await
    }

    /// The end of a chunked body.
    pub(crate) async fn end(&mut self) {
        self.write(b"0\r\n\r\n").await;
    }

    /// Waits until the gateway has closed this connection.
    pub(crate) async fn closed(&mut self) {
        within("the gateway's close", self.reader.closed(&mut self.io)).await;
    }

    /// Closes with an RST.
    pub(crate) fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }
}

fn head(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.into_bytes()
}
