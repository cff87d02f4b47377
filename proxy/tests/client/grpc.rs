//! Calls as gRPC makes them, through both halves: a client in HTTP/2 with prior knowledge, our server, our client, and an
//! upstream in HTTP/2. What stands behind a body passes in both directions, in pieces and without a body.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use proxy::{Call, Client, Fresh, Handler, Limits, Origin, Outbound, Server, Timeouts};
use tokio::{net::TcpStream, sync::oneshot};

use crate::{
    h2::{After, Server as Upstream, read_all},
    support::listen,
};

/// Passes calls on.
struct Relay {
    client: Client,
    origin: Origin,
}

impl Handler for Relay {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        let head = call.take_head();
        let body = call.body(1 << 20).await.unwrap();
        let mut request = Outbound::new(self.origin.clone(), head.method, head.target);
        request.headers = head.headers;
        request.trailers = call.trailers().await.unwrap();
        request.body = if body.is_empty() { Vec::new() } else { vec![body] };
        let mut answer = self.client.send(request).await.unwrap();
        let mut call = call.commit(answer.head, Bytes::new()).await.unwrap();
        while let Some(piece) = answer.body.chunk().await.unwrap() {
            call.send(piece).await.unwrap();
        }
        call.finish(answer.body.trailers()).await.unwrap();
    }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(pair).collect()
}

/// Some behind a body, some that must be known before it.
const SENT: &[(&str, &str)] =
    &[("grpc-status", "0"), ("grpc-message", "ok"), ("x-bin", "AAE="), ("content-length", "1"), ("set-cookie", "a=b")];
const PASSED: &[(&str, &str)] = &[("grpc-status", "0"), ("grpc-message", "ok"), ("x-bin", "AAE=")];

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let upstream = Upstream::start(
        Builder::new(),
        |_| {},
        |_, request, mut respond| async move {
            assert_eq!(
                (&request.headers()["te"], &request.headers()["content-type"]),
                (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
            );
            if request.uri().path() == "/only" {
                // An answer of nothing but trailers is, on the wire, a head that ends the stream.
                let mut head = Response::new(());
                *head.headers_mut() = fields(&[("grpc-status", "12"), ("content-type", "application/grpc")]);
                respond.send_response(head, true).unwrap();
                return After::GoOn;
            }
            let mut body = request.into_body();
            let mut all = Vec::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                all.extend_from_slice(&data);
            }
            assert_eq!(body.trailers().await.unwrap(), Some(fields(PASSED)));
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            for piece in all.chunks(2) {
                stream.send_data(Bytes::copy_from_slice(piece), false).unwrap();
            }
            stream.send_trailers(fields(SENT)).unwrap();
            After::GoOn
        },
    )
    .await;
    let (listener, _) = listen().await;
    let address = listener.local_addr().unwrap();
    let relay = Relay { client: upstream.client.clone(), origin: upstream.origin.clone() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(Server::new(Limits::default(), Timeouts::default()).serve(
        listener,
        Arc::new(relay),
        async {
            let _ = stopped.await;
        },
        Duration::from_secs(5),
    ));
    let io = TcpStream::connect(address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    for (path, message) in [("/echo", &b"message"[..]), ("/echo", b""), ("/only", b"message"), ("/echo", b"again")] {
        let request = Request::post(format!("http://localhost{path}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        poll_fn(|cx| send.poll_ready(cx)).await.unwrap();
        let (response, mut stream) = send.send_request(request, false).unwrap();
        if !message.is_empty() {
            stream.send_data(Bytes::copy_from_slice(message), false).unwrap();
        }
        stream.send_trailers(fields(SENT)).unwrap();
        let response = response.await.unwrap();
        if path == "/only" {
            assert_eq!(response.headers()["grpc-status"], "12");
            assert!(read_all(response.into_body()).await.is_empty());
            continue;
        }
        let mut body = response.into_body();
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            all.extend_from_slice(&data.unwrap());
        }
        assert_eq!((&all[..], body.trailers().await.unwrap()), (message, Some(fields(PASSED))), "{path}");
    }
    drop(send);
    stop.send(()).unwrap();
    server.await.unwrap();
}
