//! Proxies on the way out, and addresses that do not answer.

use proxy::{Client, ClientConfig, Egress, Error, Kind, Origin, Retry};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    join,
    net::TcpListener,
};

use crate::support::{Authority, closed, fetch, get, listen, post, read_request, serve};

const NAME: &str = "upstream.invalid";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn through(variable: &'static str, proxy: &str) -> Egress {
    Egress::from_vars(|name| (name == variable).then(|| proxy.to_owned())).unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn https_goes_through_connect_and_the_name_is_left_to_the_proxy() {
    let authority = Authority::new();
    let acceptor = authority.server(NAME, &["http/1.1"], |_| {});
    let (listener, _) = listen().await;
    let egress = through("HTTPS_PROXY", &format!("http://us%65r:p%40ss@127.0.0.1:{}", port(&listener)));
    let pins = Vec::new();
    let client = Client::new(ClientConfig { egress, pins, ..authority.trusted(NAME) }).unwrap();
    let origin = Origin::parse(&format!("https://{NAME}")).unwrap();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let connect = serve(&mut tcp, "HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n").await;
        assert_eq!(
            connect,
            format!(
                "CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"
            )
        );
        let mut peer = acceptor.accept(tcp).await.unwrap();
        for _ in 0..2 {
            let request = serve(&mut peer, OK).await;
            assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n") && !request.contains("uthorization"));
        }
    };
    let requests = async {
        for reused in [false, true] {
            let (response, body) = fetch(&client, post(&origin, "x")).await.unwrap();
            assert_eq!((body.as_ref(), response.timing.reused), (b"ok".as_ref(), reused));
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn http_goes_in_absolute_form() {
    let (listener, _) = listen().await;
    let egress = through("HTTP_PROXY", &format!("http://u:p@127.0.0.1:{}", port(&listener)));
    let client = Client::new(ClientConfig { egress, ..ClientConfig::default() }).unwrap();
    let origin = Origin::parse(&format!("http://{NAME}:81")).unwrap();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            assert_eq!(
                serve(&mut tcp, OK).await,
                format!("GET http://{NAME}:81/ HTTP/1.1\r\nproxy-authorization: Basic dTpw\r\nhost: {NAME}:81\r\n\r\n")
            );
        }
    };
    let requests = async {
        for _ in 0..2 {
            assert_eq!(fetch(&client, get(&origin)).await.unwrap().1, "ok");
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn tls_can_run_inside_tls() {
    let authority = Authority::new();
    let outer = authority.server("proxy.test", &["http/1.1"], |_| {});
    let inner = authority.server(NAME, &["http/1.1"], |_| {});
    let (listener, _) = listen().await;
    let egress = through("ALL_PROXY", &format!("https://proxy.test:{}", port(&listener)));
    let client = Client::new(ClientConfig { egress, ..authority.trusted("proxy.test") }).unwrap();
    let origin = Origin::parse(&format!("https://{NAME}")).unwrap();
    let server = async {
        let mut tls = outer.accept(listener.accept().await.unwrap().0).await.unwrap();
        serve(&mut tls, "HTTP/1.1 200 OK\r\n\r\n").await;
        let mut peer = inner.accept(tls).await.unwrap();
        serve(&mut peer, OK).await;
    };
    let ((), response) = join!(server, fetch(&client, post(&origin, vec![b'x'; 100_000])));
    assert_eq!(response.unwrap().1, "ok");
}

#[tokio::test]
async fn a_refused_tunnel_says_why() {
    let (listener, _) = listen().await;
    let egress = through("ALL_PROXY", &format!("127.0.0.1:{}", port(&listener)));
    let client = Client::new(ClientConfig { egress, ..ClientConfig::default() }).unwrap();
    let origin = Origin::parse(&format!("https://{NAME}")).unwrap();
    for (answer, expected) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_owned(), "credentials required or wrong (407)"),
        ("HTTP/1.1 503 x\r\nContent-Length: 3\r\n\r\nwhy".to_owned(), "answered 503"),
        ("HTTP/1.1 200 OK\r\n\r\nsurplus".to_owned(), "bytes behind the head of its answer"),
        ("SSH-2.0-x\r\n\r\n".to_owned(), "no http answer"),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(17_000)), "head of its answer is too large"),
        (String::new(), "closed during its handshake"),
    ] {
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            serve(&mut tcp, &answer).await;
            if !answer.is_empty() {
                closed(&mut tcp).await;
            }
        };
        let ((), error) = join!(server, async { client.send(get(&origin)).await.unwrap_err() });
        assert_eq!(error, Error::upstream(Kind::Egress(expected.to_owned()), Retry::Safe));
    }
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

/// The SOCKS5 side of a tunnel without credentials up to its success.
async fn socks(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8], reply: &[u8]) {
    expect(stream, &[5, 1, 0]).await;
    stream.write_all(&[5, 0]).await.unwrap();
    expect(stream, request).await;
    stream.write_all(reply).await.unwrap();
}

#[tokio::test]
async fn socks_tunnels_carry_http_and_https() {
    let authority = Authority::new();
    let acceptor = authority.server(NAME, &["http/1.1"], |_| {});
    let (listener, _) = listen().await;
    let egress = through("ALL_PROXY", &format!("socks5h://127.0.0.1:{}", port(&listener)));
    let client = Client::new(ClientConfig { egress, pins: Vec::new(), ..authority.trusted(NAME) }).unwrap();
    let name = |port: u8| [&[5, 1, 0, 3, 16], NAME.as_bytes(), &[0, port]].concat();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // The reply and the first byte of the tunnel may arrive together; here the bound address is a name.
        socks(&mut tcp, &name(80), &[5, 0, 0, 3, 2, b'a', b'b', 0, 1]).await;
        let request = serve(&mut tcp, OK).await;
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = name(0);
        request.truncate(request.len() - 2);
        request.extend_from_slice(&443_u16.to_be_bytes());
        socks(&mut tcp, &request, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        serve(&mut acceptor.accept(tcp).await.unwrap(), OK).await;
        let (mut tcp, _) = listener.accept().await.unwrap();
        socks(
            &mut tcp,
            &[5, 1, 0, 1, 192, 0, 2, 1, 0, 80],
            &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .await;
        serve(&mut tcp, OK).await;
    };
    let requests = async {
        for origin in [format!("http://{NAME}"), format!("https://{NAME}"), "http://192.0.2.1".to_owned()] {
            assert_eq!(fetch(&client, get(&Origin::parse(&origin).unwrap())).await.unwrap().1, "ok");
        }
    };
    join!(server, requests);
}

#[tokio::test]
async fn socks_credentials_and_refusals() {
    let (listener, _) = listen().await;
    let egress = through("ALL_PROXY", &format!("socks5://me:secret@127.0.0.1:{}", port(&listener)));
    let client = Client::new(ClientConfig { egress, ..ClientConfig::default() }).unwrap();
    let origin = Origin::parse("http://192.0.2.1:80").unwrap();
    let login = b"\x01\x02me\x06secret";
    for (method, verdict, reply, expected) in [
        (2, 0, Some(5), "connection refused"),
        (2, 0, Some(2), "not allowed by its rules"),
        (2, 1, None, "credentials wrong"),
        (0xff, 0, None, "credentials required"),
    ] {
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            expect(&mut tcp, &[5, 2, 0, 2]).await;
            tcp.write_all(&[5, method]).await.unwrap();
            if method == 2 {
                expect(&mut tcp, login).await;
                tcp.write_all(&[1, verdict]).await.unwrap();
            }
            if let Some(reply) = reply {
                expect(&mut tcp, &[5, 1, 0, 1, 192, 0, 2, 1, 0, 80]).await;
                tcp.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            }
            closed(&mut tcp).await;
        };
        let ((), error) = join!(server, async { client.send(get(&origin)).await.unwrap_err() });
        assert_eq!(error, Error::upstream(Kind::Egress(expected.to_owned()), Retry::Safe));
    }
}

#[tokio::test]
async fn an_address_that_refuses_is_stepped_over() {
    let (listener, _) = listen().await;
    let addresses = ["::1", "127.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    let pins = vec![("many.test".to_owned(), addresses.to_vec())];
    let client = Client::new(ClientConfig { pins, ..ClientConfig::default() }).unwrap();
    let origin = Origin::parse(&format!("http://many.test:{}", port(&listener))).unwrap();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let request = read_request(&mut tcp).await;
        assert!(request.contains(&format!("\r\nhost: many.test:{}\r\n", port(&listener))));
        tcp.write_all(OK.as_bytes()).await.unwrap();
    };
    let ((), response) = join!(server, fetch(&client, get(&origin)));
    assert_eq!(response.unwrap().1, "ok");
}

#[tokio::test]
async fn an_unknown_name_is_safe_to_retry() {
    let pins = vec![("gone.test".to_owned(), Vec::new())];
    let client = Client::new(ClientConfig { pins, ..ClientConfig::default() }).unwrap();
    let error = client.send(get(&Origin::parse("https://gone.test").unwrap())).await.unwrap_err();
    assert_eq!(error, Error::upstream(Kind::Resolve("gone.test".to_owned()), Retry::Safe));
}
