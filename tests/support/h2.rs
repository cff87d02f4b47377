//! The scripted HTTP/2 client: prior knowledge, spoken by the `h2` crate and none of our code.

use std::{future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, response};
use tokio::{net::TcpStream, task::JoinHandle};

use super::{client::Answer, wire::Head, within};

/// One connection, for any number of streams.
#[derive(Debug)]
pub(crate) struct H2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    addr: SocketAddr,
}

/// One stream: a request that was sent whole.
#[derive(Debug)]
pub(crate) struct Stream {
    response: ResponseFuture,
    request: SendStream<Bytes>,
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) head: response::Parts,
    body: RecvStream,
    request: SendStream<Bytes>,
}

impl H2 {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let io = within("connecting", TcpStream::connect(addr)).await.unwrap();
        io.set_nodelay(true).unwrap();
        // Streams that nobody reads yet must not use up the window of the one that is read.
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(16 << 20);
        let (send, connection) = within("the handshake", builder.handshake(io)).await.unwrap();
        Self { send, driver: tokio::spawn(connection), addr }
    }

    /// Sends a request.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Stream {
        self.try_ask(method, target, fields, body).await.unwrap()
    }

    /// Sends a request; an error says that the connection takes no more of them.
    pub(crate) async fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Stream, h2::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{target}", self.addr));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        within("room for a stream", poll_fn(|cx| self.send.poll_ready(cx))).await?;
        let (response, mut stream) = self.send.send_request(request.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            // What the windows do not take yet waits in the crate.
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        Ok(Stream { response, request: stream })
    }

    /// A request and its whole answer.
    pub(crate) async fn once(&mut self, method: &str, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(method, target, &[], body.as_ref()).await.answer().await
    }

    /// Closes the connection under its streams, without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Waits until the gateway has closed the connection.
    pub(crate) async fn closed(mut self) {
        // An error of the connection is an end as well.
        drop(within("the connection's end", &mut self.driver).await);
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        // The socket belongs to this task.
        self.driver.abort();
    }
}

impl Stream {
    /// Waits for the head of the answer.
    pub(crate) async fn head(self) -> Coming {
        let (head, body) = within("the answer's head", self.response).await.unwrap().into_parts();
        Coming { head, body, request: self.request }
    }

    /// Waits for the whole answer.
    pub(crate) async fn answer(self) -> Answer {
        let mut coming = self.head().await;
        let fields = coming.head.headers.iter();
        let fields = fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let (body, complete) = coming.rest().await;
        Answer { status: coming.head.status.as_u16(), head: Head { first: String::new(), fields }, body, complete }
    }

    /// RST_STREAM.
    pub(crate) fn reset(mut self) {
        self.request.send_reset(Reason::CANCEL);
    }
}

impl Coming {
    /// The next piece of the body, `None` at its end, however it ended.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = within("a piece of the answer", self.body.data()).await?;
        if let Ok(data) = &data {
            self.body.flow_control().release_capacity(data.len()).unwrap();
        }
        Some(data)
    }

    /// Pieces until `text` has been seen in them.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let piece = self.piece().await.unwrap_or_else(|| panic!("`{text}` did not come; there was: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&piece.unwrap()));
        }
        seen
    }

    /// The rest of the body, and whether it was complete.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(_) => return (body, false),
            }
        }
        (body, true)
    }

    /// RST_STREAM.
    pub(crate) fn reset(mut self) {
        self.request.send_reset(Reason::CANCEL);
    }
}
