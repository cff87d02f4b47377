//! The scripted client: writes what a test says, byte for byte, and shows what came back.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    wire::{Head, Reader},
    within,
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    io: TcpStream,
    reader: Reader,
    addr: SocketAddr,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// False if the connection broke in the middle.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let io = within("connecting", TcpStream::connect(addr)).await.unwrap();
        io.set_nodelay(true).unwrap();
        Self { io, reader: Reader::new(), addr }
    }

    /// Writes bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("writing", self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Writes a request. `fields` come after `Host`; the length is added.
    pub(crate) async fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes).await;
    }

    /// The status line and fields of the next answer.
    pub(crate) async fn head(&mut self) -> (u16, Head) {
        let head = within("the answer's head", self.reader.head(&mut self.io)).await.expect("closed without an answer");
        let status = head.first.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head)
    }

    /// One piece of the answer's body: one chunk. `None` at its end, however it ended.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        within("a piece of the answer", self.reader.piece(&mut self.io)).await.ok().flatten()
    }

    /// Pieces until `text` has been seen in them.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let piece = self.piece().await.unwrap_or_else(|| panic!("`{text}` did not come; there was: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&piece));
        }
        seen
    }

    /// The rest of the answer's body, and whether it was complete.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        within("the answer's body", self.reader.body(&mut self.io)).await
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let (body, complete) = self.rest().await;
        Answer { status, head, body, complete }
    }

    /// The bare socket.
    pub(crate) fn into_io(self) -> TcpStream {
        self.io
    }

    /// Whether the gateway closes this connection now, having nothing more to say.
    pub(crate) async fn closed(&mut self) -> bool {
        within("the close", self.reader.head(&mut self.io)).await.is_none()
    }

    /// A request on a connection of its own, and its answer.
    pub(crate) async fn once(
        addr: SocketAddr,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut client = Self::connect(addr).await;
        client.request(method, target, fields, body.as_ref()).await;
        client.answer().await
    }

    /// A GET.
    pub(crate) async fn get(addr: SocketAddr, target: &str) -> Answer {
        Self::once(addr, "GET", target, &[], "").await
    }

    /// The gateway's metrics, once `line` is among them: an exchange is booked a moment after its last byte.
    pub(crate) async fn metrics(addr: SocketAddr, line: &str) -> String {
        let since = std::time::Instant::now();
        loop {
            let text = Self::get(addr, "/metrics").await.text();
            if text.contains(line) {
                return text;
            }
            assert!(since.elapsed() < super::PATIENCE, "`{line}` is not in\n{text}");
        }
    }

    /// A POST of JSON.
    pub(crate) async fn post(addr: SocketAddr, target: &str, body: impl AsRef<[u8]>) -> Answer {
        Self::once(addr, "POST", target, &[("Content-Type", "application/json")], body).await
    }
}
