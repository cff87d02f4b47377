//! Upstreams that cannot be reached, or not be trusted.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use codecs::dialect::Dialect;
use flow_router::store::usage::Outcome;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    content::FAULT,
    support::{router::provider_at, speech, wire},
    view::View,
    world::{Ask, PAIRS, SHORT, World, good_bytes, stream_head},
};

/// Asks every pair, streamed and not, of an upstream that cannot be reached, and asserts status, row and words.
async fn out_of_reach(origin: impl Fn(usize) -> String, settings: &str, status: &[u16], outcome: Outcome, words: &str) {
    let (mut config, mut asks) = (settings.to_owned(), Vec::new());
    for (n, (client, dialect)) in PAIRS.into_iter().enumerate() {
        config += &provider_at(&format!("u{n}"), dialect, &origin(n));
        asks.extend([false, true].map(|stream| Ask::new(client, stream, format!("u{n}/u{n}{stream}"))));
    }
    let world = World::start(&config, &[]).await;
    let views = world.views(asks.len(), &asks).await;
    for (ask, view) in asks.iter().zip(&views) {
        let View::Refused { status: got, why } = view else { panic!("{ask:?} {view:?}") };
        assert!(status.contains(got) && why.contains(words), "{ask:?} {view:?}");
    }
    let rows = world.over().await;
    for (ask, view) in asks.iter().zip(&views) {
        rows.agree(ask, view);
        assert_eq!(rows.one(&ask.model).outcome, outcome, "{ask:?}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    // Bound once and closed.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    out_of_reach(|_| format!("http://{nobody}"), "", &FAULT, Outcome::UpstreamError, "cannot be reached").await;
}

/// A listener whose queue is full: the system drops what else wants to connect, as a blackhole would.
async fn blackhole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let first = TcpStream::connect(addr).await.unwrap();
    (listener, vec![first], addr)
}

#[tokio::test]
async fn a_connection_that_never_comes_about() {
    let (_listener, _queue, addr) = blackhole().await;
    let limit = format!("connect_timeout = \"{}ms\"\n", SHORT.as_millis());
    out_of_reach(|_| format!("http://{addr}"), &limit, &[504], Outcome::Timeout, "cannot be reached").await;
}

#[tokio::test]
async fn a_handshake_that_never_ends() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _silent = Listening(tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((io, _)) = listener.accept().await {
            held.push(io);
        }
    }));
    let limit = format!("connect_timeout = \"{}ms\"\n", SHORT.as_millis());
    out_of_reach(|_| format!("https://{addr}"), &limit, &[504], Outcome::Timeout, "cannot be reached").await;
}

/// A task that ends with its test.
pub(crate) struct Listening(pub(crate) JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A certificate authority that a router may be told to trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's side of TLS, with a certificate for 127.0.0.1 that `change` may spoil.
    pub(crate) fn acceptor(&self, change: fn(&mut CertificateParams), own: bool, alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an upstream");
        change(&mut params);
        let certificate = if own { params.self_signed(&key) } else { params.signed_by(&key, &self.issuer) };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.unwrap().der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What follows a handshake.
type Then = fn(TlsStream<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a TLS upstream does with a connection whose handshake came about, and with a bare one.
enum Manner {
    /// Speaks TLS, and this behind the request.
    Tls(TlsAcceptor, Then),
    /// Says this to the client hello, and waits for the end.
    Bare(&'static [u8]),
}

/// Starts one; `done` counts the handshakes that came about.
async fn tls_upstream(manner: Manner, done: &Arc<AtomicUsize>) -> (SocketAddr, Listening) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (manner, done) = (Arc::new(manner), done.clone());
    let task = tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let (manner, done) = (manner.clone(), done.clone());
            tokio::spawn(async move {
                match &*manner {
                    Manner::Tls(acceptor, then) => {
                        if let Ok(io) = acceptor.accept(io).await {
                            done.fetch_add(1, SeqCst);
                            then(io).await;
                        }
                    }
                    Manner::Bare(says) => {
                        let mut hello = vec![0; 4096];
                        assert!(io.read(&mut hello).await.unwrap() > 0);
                        // The client may have gone by now.
                        drop(io.write_all(says).await);
                        while matches!(io.read(&mut hello).await, Ok(n) if n > 0) {}
                    }
                }
            });
        }
    });
    (addr, Listening(task))
}

/// Reads the head of a request and what lies behind it in the same read.
async fn hear(io: &mut TlsStream<TcpStream>) -> bool {
    let mut heard = Vec::new();
    while !heard.windows(4).any(|window| window == b"\r\n\r\n") {
        if !matches!(io.read_buf(&mut heard).await, Ok(n) if n > 0) {
            return false;
        }
    }
    true
}

/// A router that trusts this authority, with providers at these addresses and short limits.
pub(crate) async fn trusting(authority: &Authority, providers: &[(&str, SocketAddr)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    let of = |(name, addr): &(&str, SocketAddr)| provider_at(name, Dialect::OpenAiChat, &format!("https://{addr}"));
    let ms = SHORT.as_millis();
    let limits = format!("stall_timeout = \"{ms}ms\"\nfirst_byte_timeout = \"{ms}ms\"\n");
    let config = limits + &providers.iter().map(of).collect::<String>();
    World::start(&config, &["--ca-file", file.to_str().unwrap()]).await
}

#[tokio::test]
async fn certificates_that_are_not_to_be_trusted() {
    let authority = Authority::new("an authority");
    let nothing: Then = |_| Box::pin(async {});
    let done = Arc::default();
    let expired: fn(&mut CertificateParams) = |params| params.not_after = date_time_ymd(2001, 1, 1);
    let early: fn(&mut CertificateParams) = |params| params.not_before = date_time_ymd(4000, 1, 1);
    let other: fn(&mut CertificateParams) =
        |params| params.subject_alt_names = vec![SanType::DnsName("other.test".try_into().unwrap())];
    let (mut running, mut providers) = (Vec::new(), Vec::new());
    for (name, manner, words) in [
        ("own", Manner::Tls(authority.acceptor(|_| {}, true, &[]), nothing), "unknown issuer"),
        ("stranger", Manner::Tls(Authority::new("a stranger").acceptor(|_| {}, false, &[]), nothing), "unknown issuer"),
        ("expired", Manner::Tls(authority.acceptor(expired, false, &[]), nothing), "expired"),
        ("early", Manner::Tls(authority.acceptor(early, false, &[]), nothing), "not yet valid"),
        ("other", Manner::Tls(authority.acceptor(other, false, &[]), nothing), "is not for 127.0.0.1"),
        // Alerts: handshake_failure, internal_error; an answer in the clear; noise; a close.
        ("refusal", Manner::Bare(b"\x15\x03\x03\x00\x02\x02\x28"), "tls"),
        ("failure", Manner::Bare(b"\x15\x03\x03\x00\x02\x02\x50"), "tls"),
        ("clear", Manner::Bare(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), "does not speak tls"),
        ("noise", Manner::Bare(&[0x16, 0x03, 0x03, 0xff, 0xff, 0, 1, 2, 3]), "tls"),
    ] {
        let (addr, listening) = tls_upstream(manner, &done).await;
        running.push(listening);
        providers.push((name, addr, words));
    }
    let places: Vec<_> = providers.iter().map(|(name, addr, _)| (*name, *addr)).collect();
    let world = trusting(&authority, &places).await;
    let mut asked = Vec::new();
    for (name, _, words) in &providers {
        for stream in [false, true] {
            let ask = Ask::new(Dialect::OpenAiChat, stream, format!("{name}/{name}{stream}"));
            let view = ask.view(world.addr()).await;
            let View::Refused { status, why } = &view else { panic!("{name} {view:?}") };
            assert!(FAULT.contains(status) && why.contains(words), "{name} {view:?}");
            asked.push((ask, view));
        }
    }
    assert_eq!(done.load(SeqCst), 0, "a stranger was trusted");
    let rows = world.over().await;
    asked.iter().for_each(|(ask, view)| rows.agree(ask, view));
}

#[tokio::test]
async fn a_tls_stream_that_is_cut() {
    let dialect = Dialect::OpenAiChat;
    /// The end that TLS knows, and what comes before it.
    async fn say(mut io: TlsStream<TcpStream>, bytes: Vec<u8>, notify: bool) {
        if !hear(&mut io).await {
            return;
        }
        io.write_all(&bytes).await.unwrap();
        io.flush().await.unwrap();
        // Else without a word: the socket is closed under the session.
        if notify {
            drop(io.shutdown().await);
        }
    }
    fn open_ended(whole: bool) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        let body = speech::reply(Dialect::OpenAiChat);
        let end = if whole { body.len() } else { body.len() - 1 };
        [head.as_bytes(), &body.as_bytes()[..end]].concat()
    }
    fn begun() -> Vec<u8> {
        let spoken = speech::stream(Dialect::OpenAiChat);
        let begun = spoken.prologue.concat() + &spoken.content[0];
        [stream_head(Dialect::OpenAiChat).as_bytes(), &wire::chunk(begun.as_bytes())].concat()
    }
    let authority = Authority::new("an authority");
    let done = Arc::default();
    let tls = |then: Then| Manner::Tls(authority.acceptor(|_| {}, false, &[]), then);
    let (mut running, mut providers) = (Vec::new(), Vec::new());
    for (name, manner) in [
        // Good ones first: the authority is trusted.
        ("good", tls(|io| Box::pin(say(io, good_bytes(Dialect::OpenAiChat, false), true)))),
        ("notified", tls(|io| Box::pin(say(io, open_ended(true), true)))),
        // A body without a length is whole only if its end was authenticated: anybody can send a FIN.
        ("cut", tls(|io| Box::pin(say(io, open_ended(true), false)))),
        ("half", tls(|io| Box::pin(say(io, open_ended(false), true)))),
        ("stream", tls(|io| Box::pin(say(io, begun(), false)))),
        ("ended", tls(|io| Box::pin(say(io, begun(), true)))),
    ] {
        let (addr, listening) = tls_upstream(manner, &done).await;
        running.push(listening);
        providers.push((name, addr));
    }
    let providers: Vec<_> =
        providers.into_iter().map(|(name, addr)| (if name == "good" { "fine" } else { name }, addr)).collect();
    let world = trusting(&authority, &providers).await;
    let mut asked = Vec::new();
    for (name, _) in &providers {
        let stream = ["stream", "ended"].contains(name);
        let ask = Ask::new(dialect, stream, format!("{name}/{name}"));
        let view = ask.view(world.addr()).await;
        match (*name, &view) {
            ("fine" | "notified", View::Whole) | ("stream" | "ended", View::Broken { .. }) => {}
            ("cut" | "half", View::Refused { status, .. }) => assert!(FAULT.contains(status), "{name} {view:?}"),
            _ => panic!("{name} {view:?}"),
        }
        asked.push((ask, view));
    }
    let rows = world.over().await;
    asked.iter().for_each(|(ask, view)| rows.agree(ask, view));
}

/// Where one provider is out of reach the next one answers, and within the limit for the first.
#[tokio::test]
async fn the_next_provider_answers_instead() {
    let dialect = Dialect::OpenAiChat;
    let (_listener, _queue, addr) = blackhole().await;
    let good =
        crate::support::Upstream::always(200, &[("content-type", "application/json")], speech::reply(dialect)).await;
    let limit = Duration::from_millis(200);
    let config = format!("connect_timeout = \"{}ms\"\n", limit.as_millis())
        + "[aliases]\nboth = [\"a/one\", \"b/two\"]\n"
        + &provider_at("a", dialect, &format!("http://{addr}"))
        + &crate::support::router::provider("b", dialect, &good);
    let world = World::start(&config, &[]).await;
    let ask = Ask::new(dialect, false, "both");
    assert_eq!(ask.view(world.addr()).await, View::Whole);
    let rows = world.over().await;
    let (first, second) = (rows.one("one"), rows.one("two"));
    assert_eq!((first.outcome, first.status, first.attempt, first.attempts), (Outcome::Timeout, 504, 1, 2));
    assert_eq!((second.outcome, second.status, second.attempt, second.attempts), (Outcome::Ok, 200, 2, 2));
    assert!(u128::from(first.duration_ms) >= limit.as_millis());
}
