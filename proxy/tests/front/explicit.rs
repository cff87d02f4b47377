//! The explicit proxy: CONNECT, SOCKS5 and plain requests on one port, under the same gate.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::support::read_request;

async fn proxy() -> Scene {
    Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Look).await
}

async fn until_closed(io: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = io.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// One message, to the proxy and back.
async fn say(scene: &Scene, text: &str) -> String {
    let mut io = scene.tcp().await;
    io.write_all(text.as_bytes()).await.unwrap();
    until_closed(&mut io).await
}

#[tokio::test]
async fn connect_is_looked_into() {
    let scene = proxy().await;
    // The port is the scheme's own, which Java then leaves out of the host.
    let bare = format!("CONNECT {KNOWN}:443 HTTP/1.1\r\nHost: {KNOWN}\r\n\r\n");
    let mut io = scene.tcp().await;
    io.write_all(bare.as_bytes()).await.unwrap();
    io.read_exact(&mut [0; 39]).await.unwrap();
    drop(io);
    let mut io = scene.tcp().await;
    let port = scene.upstream.local_addr().unwrap().port();
    io.write_all(
        format!("CONNECT {KNOWN}:{port} HTTP/1.1\r\nHost: {KNOWN}:{port}\r\nProxy-Connection: x\r\n\r\n").as_bytes(),
    )
    .await
    .unwrap();
    io.read_exact(&mut [0; 39]).await.unwrap();
    let mut tls = shake(&scene.ours, io, KNOWN, &["http/1.1"]).await.unwrap();
    tls.write_all(b"GET /ours HTTP/1.1\r\nHost: known.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ours Some(Http1)"));
    scene.end().await;
}

#[tokio::test]
async fn socks_is_looked_into() {
    let scene = proxy().await;
    let mut io = scene.tcp().await;
    // Byte by byte: a greeting with two methods, then a name.
    for byte in [&[5, 2, 2, 0][..], &[5, 1, 0, 3, 10], KNOWN.as_bytes(), &[1, 187]].concat() {
        io.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 12];
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let tls = shake(&scene.ours, io, KNOWN, &["http/1.1"]).await.unwrap();
    drop(tls);
    assert_eq!(scene.front.load().hellos.terminated, 1);
    scene.end().await;
}

#[tokio::test]
async fn another_name_than_the_target_is_not_looked_into() {
    let scene = proxy().await;
    let mut io = scene.tcp().await;
    let port = scene.upstream.local_addr().unwrap().port();
    io.write_all(format!("CONNECT {TUNNEL}:{port} HTTP/1.1\r\nHost: {TUNNEL}:{port}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    io.read_exact(&mut [0; 39]).await.unwrap();
    let (client, _server) = tokio::join!(shake(&scene.theirs, io, KNOWN, &[]), scene.accept(KNOWN, &[]));
    client.unwrap();
    assert_eq!(scene.front.load().hellos.tunnelled, 1);
    scene.end().await;
}

#[tokio::test]
async fn what_is_no_tls_goes_to_its_target() {
    let scene = proxy().await;
    let mut io = scene.tcp().await;
    let port = scene.upstream.local_addr().unwrap().port();
    // The first words come with the request.
    let words = format!("CONNECT {KNOWN}:{port} HTTP/1.1\r\nHost: {KNOWN}:{port}\r\n\r\nSSH-2.0-x\r\n");
    io.write_all(words.as_bytes()).await.unwrap();
    let (mut server, _) = scene.upstream.accept().await.unwrap();
    let mut got = [0; 11];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"SSH-2.0-x\r\n");
    drop(server);
    io.read_exact(&mut [0; 39]).await.unwrap();
    assert_eq!(until_closed(&mut io).await, "");
    scene.end().await;
}

#[tokio::test]
async fn what_may_not_or_cannot_be_reached_is_told_so() {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Tunnel).await;
    let refused = say(&scene, "CONNECT refused.test:443 HTTP/1.1\r\nHost: refused.test:443\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
    let own = scene.address;
    let looped = say(&scene, &format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n")).await;
    assert!(looped.starts_with("HTTP/1.1 508 Loop Detected\r\n") && looped.contains("leads back"), "{looped}");
    let looped = say(&scene, &format!("GET http://{own}/ HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n")).await;
    assert!(looped.starts_with("HTTP/1.1 508 Loop Detected\r\n"), "{looped}");
    let (free, _) = anywhere().await;
    let nobody = free.local_addr().unwrap();
    drop(free);
    let gone = say(&scene, &format!("CONNECT {nobody} HTTP/1.1\r\nHost: {nobody}\r\n\r\n")).await;
    assert!(gone.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{gone}");
    let mut io = scene.tcp().await;
    io.write_all(&[&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &own.port().to_be_bytes()].concat()).await.unwrap();
    let mut all = Vec::new();
    let _ = io.read_to_end(&mut all).await;
    assert_eq!(all, [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0], "not allowed by the rules");
    scene.end().await;
}

#[tokio::test]
async fn nonsense_is_answered_in_its_own_language() {
    let scene = proxy().await;
    for (sent, status) in [
        ("CONNECT nowhere HTTP/1.1\r\nHost: nowhere\r\n\r\n", "400"),
        ("CONNECT a:b HTTP/1.1\r\nHost: a:b\r\n\r\n", "400"),
        ("CONNECT u@a:1 HTTP/1.1\r\nHost: u@a:1\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/3.0\r\n\r\n", "505"),
        // For a server, and here is none: nothing behind this port is reached by naming it.
        ("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "400"),
        ("GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "400"),
        ("GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\nConnection: close\r\n\r\n", "403"),
    ] {
        let answer = say(&scene, sent).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:?}: {answer:?}");
    }
    let mut io = scene.tcp().await;
    io.write_all(&[5, 1, 2]).await.unwrap();
    let mut all = Vec::new();
    let _ = io.read_to_end(&mut all).await;
    assert_eq!(all, [5, 255], "a login is not asked for, and none is taken");
    scene.end().await;
}

#[tokio::test]
async fn plain_requests_are_passed_on_as_they_are() {
    let scene = proxy().await;
    let (listener, origin) = anywhere().await;
    let authority = origin.to_string().replace("http://", "");
    let mut io = scene.tcp().await;
    for n in 0..2 {
        io.write_all(
            format!(
                "POST http://{authority}/a?b={n} HTTP/1.1\r\nhOsT: {authority}\r\nProxy-Connection: keep-alive\r\n\
                 X-Odd: 1\r\nProxy-Authorization: Basic eA==\r\nContent-LENGTH: 2\r\nx-odd: 2\r\n\r\nhi"
            )
            .as_bytes(),
        )
        .await
        .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(
            read_request(&mut server).await,
            format!(
                "POST /a?b={n} HTTP/1.1\r\nhOsT: {authority}\r\nX-Odd: 1\r\nContent-LENGTH: 2\r\nx-odd: 2\r\n\r\nhi"
            )
        );
        let answer = "HTTP/1.1 204 No Content\r\nX-One: 1\r\nAlt-Svc: h3\r\nx-ONE: 2\r\nConnection: close\r\n\r\n";
        server.write_all(answer.as_bytes()).await.unwrap();
        let mut got = vec![0; "HTTP/1.1 204 No Content\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n".len()];
        io.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), "HTTP/1.1 204 No Content\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n");
    }
    assert_eq!(scene.front.load().hellos.plain, 1);
    drop(io);
    scene.end().await;
}
