//! Interception end to end: a client that trusts our authority, the front, and a true server with another one.

mod beginnings;
mod explicit;
mod http1;
mod http2;
mod peers;
mod tunnels;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use proxy::{
    Call, ClientConfig, Fresh, Handler, Headers, Hello, Origin, Relay, ResponseHead, Roots, StatusCode,
    front::{Admission, Asked, Entry, Front, FrontConfig, Gate, HandshakeFailure, Identity, TlsInfo, Verdict, listen},
    verbatim::{Passage, Tap},
};
use rustls::{ClientConfig as TlsConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Authority, https, listen as anywhere};

/// The name that is intercepted.
const KNOWN: &str = "known.test";
/// One that is not looked into.
const TUNNEL: &str = "tunnel.test";
/// One that nobody gets to.
const REFUSED: &str = "refused.test";

/// Decides by name.
struct Names {
    identity: Identity,
    upstream: Origin,
    /// How handshakes ended.
    shaken: Mutex<Vec<String>>,
    admission: Admission,
}

impl Gate for Names {
    async fn admit(&self, _asked: &Asked, target: &Origin) -> Admission {
        if target.host() == REFUSED { Admission::Refuse } else { self.admission }
    }

    async fn judge(&self, asked: &Asked, hello: &Hello) -> Verdict {
        assert!(asked.peer.ip().is_loopback() && asked.local.is_some());
        match hello.server_name.as_deref() {
            Some(KNOWN) => Verdict::Terminate { identity: self.identity.clone(), upstream: self.upstream.clone() },
            Some(TUNNEL) => Verdict::Tunnel(Origin::https(TUNNEL, self.upstream.port()).unwrap()),
            Some(REFUSED) => Verdict::Refuse,
            _ => Verdict::Close,
        }
    }

    fn shaken(&self, _asked: &Asked, hello: &Hello, outcome: Result<&TlsInfo, &HandshakeFailure>) {
        let outcome = outcome.map(|info| info.alpn);
        self.shaken.lock().unwrap().push(format!("{:?} {outcome:?}", hello.server_name.as_deref().unwrap_or_default()));
    }
}

/// Answers `/ours` and passes on everything else.
struct Ours {
    relay: Arc<Relay>,
    /// What became of what was passed on.
    passed: Mutex<Vec<String>>,
    /// What was noted of it.
    noted: Mutex<Vec<String>>,
}

/// Writes down what passes.
#[derive(Default)]
struct Notes(String);

impl Tap for Notes {
    fn asked(&mut self, piece: &Bytes) {
        self.0 += &format!("asked {};", piece.len());
    }

    fn head(&mut self, head: &ResponseHead) {
        self.0 += &format!("head {} {};", head.status.as_str(), head.headers.len());
    }

    fn answered(&mut self, piece: &Bytes) {
        self.0 += &format!("answered {};", piece.len());
    }

    fn ended(&mut self, trailers: Option<&Headers>) {
        self.0 += &format!("ended {:?};", trailers.map(Headers::len));
    }
}

impl Handler for Ours {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        let tls = call.tls().unwrap().clone();
        assert_eq!(tls.server_name.as_deref(), Some(KNOWN));
        if call.head().path() == b"/ours" {
            let told = format!("ours {:?}", tls.alpn);
            call.respond(ResponseHead::new(StatusCode::OK), Bytes::from(told)).await.unwrap();
            return;
        }
        let mut passage = Passage::new(tls.upstream, call.take_head());
        if passage.head.path() == b"/peeked" {
            passage.read.extend(call.chunk().await.unwrap());
        }
        if passage.head.path() == b"/read" {
            passage.read.push(call.body(1 << 20).await.unwrap());
        }
        let mut notes = Notes::default();
        let outcome = self.relay.pass_watched(call, passage, &mut notes).await;
        self.noted.lock().unwrap().push(notes.0);
        let outcome = outcome.map(|passed| passed.status.as_u16()).map_err(|error| error.to_string());
        self.passed.lock().unwrap().push(format!("{outcome:?}"));
    }
}

/// A front, with a true server to be played by the test.
struct Scene {
    /// What clients of the front trust.
    ours: Authority,
    /// Whom the true server is certified by.
    theirs: Authority,
    /// The true server.
    upstream: TcpListener,
    front: Front<Names, Ours>,
    gate: Arc<Names>,
    handler: Arc<Ours>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        Self::with(FrontConfig::default(), Entry::Redirected, Admission::Look).await
    }

    async fn with(config: FrontConfig, entry: Entry, admission: Admission) -> Self {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (upstream, _) = anywhere().await;
        let loopback = vec![Ipv4Addr::LOCALHOST.into()];
        let relay = Relay::new(ClientConfig {
            roots: Roots::BundledPlus(vec![theirs.root.clone()]),
            pins: [KNOWN, TUNNEL].map(|name| (name.to_owned(), loopback.clone())).to_vec(),
            ..ClientConfig::default()
        })
        .unwrap();
        let gate = Arc::new(Names {
            identity: Identity::new(ours.config(KNOWN, &[], |_| {})),
            upstream: https(KNOWN, &upstream),
            shaken: Mutex::default(),
            admission,
        });
        let handler = Arc::new(Ours { relay: Arc::clone(&relay), passed: Mutex::default(), noted: Mutex::default() });
        let front = Front::new(config, Arc::clone(&gate), Arc::clone(&handler), relay);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = front.clone();
        let server = tokio::spawn(async move {
            let drain = async {
                let _ = stopped.await;
            };
            serving.serve(listener, entry, drain, Duration::from_secs(5)).await;
        });
        Self { ours, theirs, upstream, front, gate, handler, address, stop: Some(stop), server }
    }

    /// The true server takes a connection and shakes hands.
    async fn accept(&self, name: &str, alpn: &[&str]) -> tokio_rustls::server::TlsStream<TcpStream> {
        let (tcp, _) = self.upstream.accept().await.unwrap();
        self.theirs.server(name, alpn, |_| {}).accept(tcp).await.unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// A client that trusts us.
    async fn client(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        shake(&self.ours, self.tcp().await, KNOWN, alpn).await.unwrap()
    }

    /// Nothing is left running.
    async fn end(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.server.await.unwrap();
        assert_eq!(self.front.load().handshakes, 0);
    }
}

/// A client's handshake.
async fn shake<Io: AsyncRead + AsyncWrite + Unpin>(
    trusted: &Authority,
    io: Io,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<Io>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.root.clone()).unwrap();
    let mut config = TlsConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), io).await
}
