//! Peers that do what a script says.

use std::net::SocketAddr;

use bytes::Bytes;
use proxy::{Client, ClientConfig, Error, Method, Origin, Outbound, Response};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A listener on a free port and the origin that names it.
pub(crate) async fn listen() -> (TcpListener, Origin) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, origin)
}

pub(crate) fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

pub(crate) fn get(origin: &Origin) -> Outbound {
    Outbound::new(origin.clone(), Method::GET, "/")
}

pub(crate) fn post(origin: &Origin, body: impl Into<Bytes>) -> Outbound {
    Outbound { body: vec![body.into()], ..Outbound::new(origin.clone(), Method::POST, "/v1/messages") }
}

/// Head and counted body of one request.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        let read = stream.read_buf(&mut request).await.unwrap();
        assert!(read > 0, "the client left in the middle of a request");
    }
}

/// Reads one request and answers it.
pub(crate) async fn serve(stream: &mut TcpStream, answer: &str) -> String {
    let request = read_request(stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    request
}

/// Waits until the client has closed; data before that is thrown away.
pub(crate) async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buf = vec![0; 64 * 1024];
    while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
}

/// Sends and reads everything.
pub(crate) async fn fetch(client: &Client, request: Outbound) -> Result<(Response, Bytes), Error> {
    let mut response = client.send(request).await?;
    let body = response.body.collect(usize::MAX).await?;
    Ok((response, body))
}
