//! HTTP/1.1 inside TLS.

use std::time::Duration;

use bytes::Bytes;
use proxy::{Client, ClientConfig, Kind, Outbound, Phase, Retry};
use rcgen::{CertificateParams, date_time_ymd};
use rustls::HandshakeKind;
use tokio::{io::AsyncWriteExt, join};

use crate::support::{Authority, client, closed, fetch, get, https, listen, post, serve};

const NAME: &str = "upstream.test";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn as_is(_: &mut CertificateParams) {}

#[tokio::test]
async fn connections_are_reused_and_sessions_resumed() {
    let authority = Authority::new();
    let (listener, _) = listen().await;
    let origin = https(NAME, &listener);
    let client = Client::new(authority.trusted(NAME)).unwrap();
    // Whoever knows no ALPN speaks HTTP/1.1.
    for alpn in [&["http/1.1"][..], &[]] {
        let acceptor = authority.server(NAME, alpn, as_is);
        let server = async {
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut peer = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
                assert_eq!(peer.get_ref().1.server_name(), Some(NAME));
                kinds.push(peer.get_ref().1.handshake_kind().unwrap());
                let request = serve(&mut peer, OK).await;
                assert!(request.contains(&format!("\r\nhost: {NAME}:")), "{request}");
                serve(&mut peer, LAST).await;
                closed(&mut peer).await;
            }
            kinds
        };
        let requests = async {
            for n in 0..4 {
                let (response, body) = fetch(&client, post(&origin, "x")).await.unwrap();
                assert_eq!((body, response.timing.reused), (Bytes::from("ok"), n % 2 == 1));
            }
        };
        let (kinds, ()) = join!(server, requests);
        assert_ne!(kinds[0], HandshakeKind::Resumed);
        assert_eq!(kinds[1], HandshakeKind::Resumed);
    }
}

/// What a client says about one server.
async fn failure(config: ClientConfig, change: fn(&mut CertificateParams), authority: &Authority) -> String {
    let (listener, _) = listen().await;
    let acceptor = authority.server(NAME, &["http/1.1"], change);
    let client = Client::new(config).unwrap();
    let origin = https(NAME, &listener);
    let server = async {
        let handshake = acceptor.accept(listener.accept().await.unwrap().0).await;
        assert!(handshake.is_err());
    };
    let ((), error) = join!(server, async { client.send(get(&origin)).await.unwrap_err() });
    assert_eq!(error.retry, Retry::Safe);
    match error.kind {
        Kind::Tls(what) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn certificate_faults_are_named() {
    let authority = Authority::new();
    let trusted = || authority.trusted(NAME);
    let unknown = ClientConfig { roots: proxy::Roots::Bundled, ..trusted() };
    assert_eq!(failure(unknown, as_is, &authority).await, "unknown issuer");
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
    assert_eq!(failure(trusted(), expired, &authority).await, "certificate expired");
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
    assert_eq!(failure(trusted(), early, &authority).await, "certificate not yet valid");
    let other = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("other.test".try_into().unwrap())];
    };
    assert_eq!(failure(trusted(), other, &authority).await, "certificate is not for upstream.test");
}

#[tokio::test]
async fn a_peer_without_tls_is_named() {
    let authority = Authority::new();
    let (listener, _) = listen().await;
    let origin = https(NAME, &listener);
    let client = Client::new(authority.trusted(NAME)).unwrap();
    for (answer, expected) in [(OK, "peer does not speak tls"), ("", "closed during the handshake")] {
        let server = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(answer.as_bytes()).await.unwrap();
            if !answer.is_empty() {
                closed(&mut peer).await;
            }
        };
        let ((), error) = join!(server, async { client.send(get(&origin)).await.unwrap_err() });
        assert_eq!((error.kind, error.retry), (Kind::Tls(expected.to_owned()), Retry::Safe));
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_hits_the_connect_timeout() {
    let (listener, _) = listen().await;
    let origin = https("127.0.0.1", &listener);
    let request = Outbound { connect_timeout: Some(Duration::from_millis(30)), ..get(&origin) };
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        closed(&mut peer).await;
    };
    let ((), error) = join!(server, async { client().send(request).await.unwrap_err() });
    assert_eq!((error.kind, error.retry), (Kind::Timeout(Phase::Tls), Retry::Safe));
}

#[tokio::test]
async fn only_close_notify_ends_a_body_until_close() {
    let authority = Authority::new();
    let (listener, _) = listen().await;
    let origin = https(NAME, &listener);
    let client = Client::new(authority.trusted(NAME)).unwrap();
    let acceptor = authority.server(NAME, &["http/1.1"], as_is);
    for (framing, clean) in [("", true), ("", false), ("Content-Length: 9\r\n", true), ("Content-Length: 9\r\n", false)]
    {
        let server = async {
            let mut peer = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            serve(&mut peer, &format!("HTTP/1.1 200 OK\r\n{framing}\r\nabc")).await;
            if clean {
                peer.shutdown().await.unwrap();
            } else {
                peer.get_mut().0.shutdown().await.unwrap();
            }
            closed(&mut peer).await;
        };
        let request = async { fetch(&client, get(&origin)).await };
        match join!(server, request).1 {
            Ok((_, body)) => assert!(clean && framing.is_empty() && body == "abc"),
            Err(error) => {
                assert!(!clean || !framing.is_empty());
                assert_eq!((error.kind, error.retry), (Kind::Closed, Retry::Never));
            }
        }
    }
}

#[test]
fn an_extra_root_must_be_a_certificate() {
    let roots = proxy::Roots::BundledPlus(vec![b"no certificate".to_vec().into()]);
    let error = Client::new(ClientConfig { roots, ..ClientConfig::default() }).unwrap_err();
    assert!(matches!(&error.kind, Kind::Tls(what) if what.starts_with("extra root")), "{error}");
}
