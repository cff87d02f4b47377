//! The first bytes: cut anywhere, too slow, too many, or no TLS at all; and which protocol is agreed on.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use proxy::front::{Entry, FrontConfig, listen};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    task::yield_now,
};

use super::*;

/// Sends its first `at` bytes alone, and goes on when everybody else had their turn.
struct Cut {
    io: TcpStream,
    at: usize,
    turns: usize,
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.at > 0 {
            let first = &buf[..self.at.min(buf.len())];
            let written = Pin::new(&mut self.io).poll_write(cx, first);
            if let Poll::Ready(Ok(n)) = written {
                self.at -= n;
                self.turns = 3;
            }
            return written;
        }
        if self.turns > 0 {
            self.turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

async fn ask(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    io.write_all(b"GET /ours HTTP/1.1\r\nHost: known.test\r\nConnection: close\r\n\r\n").await.unwrap();
    io.flush().await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_hello_may_be_cut_at_every_byte() {
    let scene = Scene::new().await;
    // The length of a hello differs a little: past its end nothing is cut.
    for at in 1..=300 {
        let io = Cut { io: scene.tcp().await, at, turns: 0 };
        let mut tls = shake(&scene.ours, io, KNOWN, &["http/1.1"]).await.unwrap();
        assert!(ask(&mut tls).await.ends_with("ours Some(Http1)"), "cut at {at}");
    }
    assert_eq!(scene.front.load().hellos.terminated, 300);
    scene.end().await;
}

#[tokio::test]
async fn the_protocol_is_the_true_servers_where_the_client_leaves_it() {
    for (offered, spoken, agreed) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], "h2"),
        (&["http/1.1", "h2"], &["h2"], "h2"),
        (&["h2", "http/1.1"], &["http/1.1"], "http/1.1"),
        (&["h2", "http/1.1"], &[], "http/1.1"),
        (&["h2"], &["http/1.1"], "h2"),
        (&["http/1.1"], &["h2"], "http/1.1"),
        (&[], &["h2"], ""),
    ] {
        let scene = Scene::new().await;
        let asked = offered.len() == 2;
        let (tls, upstream) = tokio::join!(scene.client(offered), async {
            if asked { Some(scene.accept(KNOWN, spoken).await) } else { None }
        });
        let alpn = tls.get_ref().1.alpn_protocol().unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(alpn), agreed, "{offered:?} {spoken:?}");
        // What the server speaks is asked once.
        if asked {
            let again = scene.client(offered).await;
            assert_eq!(again.get_ref().1.alpn_protocol().unwrap_or_default(), agreed.as_bytes());
        }
        drop((tls, upstream));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_does_not_keep_the_client_out() {
    let config = FrontConfig { mirror: Duration::from_millis(50), ..FrontConfig::default() };
    let scene = Scene::with(config, Entry::Redirected, Admission::Look).await;
    let tls = scene.client(&["http/1.1", "h2"]).await;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    drop(tls);
    scene.end().await;
}

#[tokio::test]
async fn foreign_protocols_and_names_are_told_so() {
    let scene = Scene::new().await;
    let foreign = shake(&scene.ours, scene.tcp().await, KNOWN, &["acme-tls/1"]).await.unwrap_err();
    assert!(foreign.to_string().contains("NoApplicationProtocol"), "{foreign}");
    let refused = shake(&scene.ours, scene.tcp().await, REFUSED, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    let closed = shake(&scene.ours, scene.tcp().await, "closed.test", &[]).await.unwrap_err();
    assert!(matches!(closed.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{closed}");
    // Who does not trust us says so, and the gate hears it.
    let distrust = shake(&scene.theirs, scene.tcp().await, KNOWN, &[]).await.unwrap_err();
    assert!(distrust.to_string().contains("UnknownIssuer"), "{distrust}");
    while scene.front.load().hellos.handshake_failed < 2 {
        yield_now().await;
    }
    let heard = scene.gate.shaken.lock().unwrap().clone();
    assert_eq!(heard, ["\"known.test\" Err(NoProtocol)", "\"known.test\" Err(Alert(48))"]);
    let hellos = scene.front.load().hellos;
    assert_eq!((hellos.terminated, hellos.refused, hellos.closed), (2, 1, 1));
    scene.end().await;
}

/// What a connection that says `bytes` and no more is told.
async fn said(scene: &Scene, bytes: &[u8]) -> Vec<u8> {
    let mut io = scene.tcp().await;
    io.write_all(bytes).await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer as well.
    let _ = io.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn what_is_no_tls_is_told_little_and_left() {
    let scene = Scene::new().await;
    let answer = said(&scene, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.contains(&format!("content-length: {}", body.len()))
    );
    for garbage in
        [&b"SSH-2.0-x\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x01\x02", b"\x80\x2e\x01\x03\x01"]
    {
        assert_eq!(said(&scene, garbage).await, b"", "{garbage:?}");
    }
    // Another handshake message, and a hello that is cut off.
    assert_eq!(said(&scene, b"\x16\x03\x01\x00\x04\x02\x00\x00\x00").await, [21, 3, 3, 0, 2, 2, 10]);
    assert_eq!(said(&scene, b"\x16\x03\x01\x00\x40\x01\x00").await, [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(said(&scene, b"").await, b"");
    let hellos = scene.front.load().hellos;
    assert_eq!((hellos.not_tls, hellos.rejected, hellos.late), (5, 2, 0));
    scene.end().await;
}

#[tokio::test]
async fn who_is_slow_is_left() {
    let config = FrontConfig {
        first_byte: Duration::from_millis(40),
        hello: Duration::from_millis(120),
        handshake: Duration::from_millis(120),
        ..FrontConfig::default()
    };
    let scene = Scene::with(config, Entry::Redirected, Admission::Look).await;
    let mut silent = scene.tcp().await;
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
    // A byte now and then does not help.
    let mut loris = scene.tcp().await;
    loris.write_all(b"\x16\x03\x01").await.unwrap();
    let mut byte = [0; 8];
    let mut ticks = tokio::time::interval(Duration::from_millis(15));
    let mut rest = [1, 0, 1, 0, 0, 0xfc, 3, 3].into_iter().chain(std::iter::repeat(0));
    loop {
        tokio::select! {
            read = loris.read(&mut byte) => {
                assert_eq!(read.unwrap_or(0), 0);
                break;
            }
            _ = ticks.tick() => {
                let _ = loris.write_all(&[rest.next().unwrap()]).await;
            }
        }
    }
    // Nor does a whole hello that nothing follows.
    let mut hello = Vec::with_capacity(4096);
    let (mut ear, mouth) = tokio::io::duplex(4096);
    let shaking = tokio::spawn({
        let root = scene.ours.root.clone();
        async move {
            let mut roots = RootCertStore::empty();
            roots.add(root).unwrap();
            let config = TlsConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from(KNOWN).unwrap();
            let _ = TlsConnector::from(Arc::new(config)).connect(name, mouth).await;
        }
    });
    ear.read_buf(&mut hello).await.unwrap();
    shaking.abort();
    let mut stuck = scene.tcp().await;
    stuck.write_all(&hello).await.unwrap();
    let mut all = Vec::new();
    let _ = stuck.read_to_end(&mut all).await;
    assert!(!all.is_empty(), "our half of the handshake came");
    let load = scene.front.load();
    assert_eq!((load.hellos.late, load.hellos.handshake_failed), (2, 1));
    assert!(scene.gate.shaken.lock().unwrap()[0].contains("Timeout"));
    scene.end().await;
}

#[tokio::test]
async fn those_who_dawdle_hold_up_nobody() {
    let config = FrontConfig { handshakes: 4, ..FrontConfig::default() };
    let scene = Scene::with(config, Entry::Redirected, Admission::Look).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut io = scene.tcp().await;
        io.write_all(b"\x16\x03").await.unwrap();
        slow.push(io);
    }
    let mut tls = scene.client(&["http/1.1"]).await;
    assert!(ask(&mut tls).await.ends_with("ours Some(Http1)"));
    assert_eq!(slow[0].read(&mut [0; 8]).await.unwrap_or(0), 0, "the first one was shown out");
    let load = scene.front.load();
    assert!(load.hellos.evicted >= 16 && load.handshakes <= 4, "{load:?}");
    drop(slow);
    scene.end().await;
}

#[tokio::test]
async fn only_this_machine_is_listened_to() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = listen(address.parse::<SocketAddr>().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{address}");
    }
    assert!(listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap().ip().is_loopback());
}

#[tokio::test]
async fn a_preface_that_was_not_agreed_on_is_a_bad_request() {
    let scene = Scene::new().await;
    let mut tls = scene.client(&["http/1.1"]).await;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 505") || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    scene.end().await;
}
