//! The way of one connection through the front, and the front that owns them all.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    counters::{Counters, FrontLoad, count},
    explicit,
    gate::{Asked, Gate, HandshakeFailure, TlsInfo, Verdict},
    greeting::{self, Patience, Strange, alert, bid_farewell},
    lobby::Lobby,
    opening::Wish,
    terminate,
};
use crate::{
    Handler, Hello, Limits, NotTls, Origin, OwnAddresses, Protocol, Relay, Server, Timeouts,
    h1::server::Conn,
    net::{
        accepted::{Accepted, Rewind, Terminated},
        dial::tune,
        listen::listen as open,
        tunnel::{self, Ahead, Means},
    },
    server::{Shared, Stage},
};

/// Alert `unrecognized_name` (RFC 6066 §3).
const UNRECOGNIZED_NAME: u8 = 112;
/// Alert `internal_error` (RFC 8446 §6.2): the true server cannot be reached.
const INTERNAL_ERROR: u8 = 80;
/// What is said to a client that speaks HTTP where TLS is due.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 48\r\n\
    connection: close\r\n\r\n400 Bad Request: only TLS is spoken on this port";

/// Opens the listener of a front, on a loopback address and no other: who can reach it is taken for the user of this
/// machine. Must be called inside a runtime.
///
/// # Errors
/// `InvalidInput` for another address; otherwise those of the system.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let refused = |address: SocketAddr| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{address} is no loopback address: interception stays on this machine"),
        )
    };
    if !address.ip().to_canonical().is_loopback() {
        return Err(refused(address));
    }
    let listener = open(address, false)?;
    // What counts is where it listens, not where it was meant to.
    let bound = listener.local_addr()?;
    if bound.ip().to_canonical().is_loopback() { Ok(listener) } else { Err(refused(bound)) }
}

/// How clients come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// They believe to speak to the true server: a name leads here.
    Redirected,
    /// They know that we are a proxy.
    Proxy,
}

/// Bounds of a front.
#[derive(Debug, Clone)]
pub struct FrontConfig {
    /// Bounds in size. A request that is only relayed is held nowhere, so that its body has no bound here.
    pub limits: Limits,
    /// Bounds in time of what is served behind the handshake.
    pub timeouts: Timeouts,
    /// A connection's first byte, from its accept.
    pub first_byte: Duration,
    /// The whole hello, from the accept, however it trickles; also what a client of the explicit proxy says before it, and
    /// the gate's thinking.
    pub hello: Duration,
    /// The TLS handshake behind the hello.
    pub handshake: Duration,
    /// How long a handshake waits for the true server to say which protocol it speaks.
    pub mirror: Duration,
    /// Connections whose handshake is not over. One more, and the oldest of them is closed.
    pub handshakes: usize,
    /// Silence in both directions of a tunnel.
    pub tunnel_idle: Duration,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            limits: Limits { connections: 1024, body_bytes: usize::MAX >> 1, ..Limits::default() },
            timeouts: Timeouts::default(),
            first_byte: Duration::from_secs(5),
            hello: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            mirror: Duration::from_secs(3),
            handshakes: 256,
            tunnel_idle: Duration::from_secs(600),
        }
    }
}

/// Takes intercepted connections. Clones are the same front.
pub struct Front<G, H> {
    inner: Arc<Inner<G, H>>,
}

impl<G, H> Clone for Front<G, H> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<G, H> std::fmt::Debug for Front<G, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// What all connections of a front share.
pub(super) struct Inner<G, H> {
    pub(super) config: FrontConfig,
    pub(super) gate: Arc<G>,
    pub(super) handler: Arc<H>,
    pub(super) relay: Arc<Relay>,
    pub(super) counters: Counters,
    lobby: Arc<Lobby>,
}

impl<G: Gate, H: Handler> Front<G, H> {
    /// A front whose gate decides, whose handler answers what was decrypted, and whose tunnels and plain requests leave by
    /// `relay`.
    pub fn new(config: FrontConfig, gate: Arc<G>, handler: Arc<H>, relay: Arc<Relay>) -> Self {
        let lobby = Lobby::new(config.handshakes);
        Self { inner: Arc::new(Inner { config, gate, handler, relay, counters: Counters::default(), lobby }) }
    }

    /// What it carries and has carried.
    pub fn load(&self) -> FrontLoad {
        self.inner.counters.load(self.inner.lobby.len())
    }

    /// Serves `listener` as [`Server::serve`] does. While it does so, its address is one that is never dialled.
    pub async fn serve(
        &self,
        listener: TcpListener,
        entry: Entry,
        drain: impl Future<Output = ()> + Send,
        grace: Duration,
    ) {
        let own = self.inner.relay.own().clone();
        let address = listener.local_addr().ok();
        let _known = address.map(|address| {
            own.add(address);
            Forget(own, address)
        });
        let server = Server::new(self.inner.config.limits.clone(), self.inner.config.timeouts.clone());
        let serve = |socket, peer, shared| visit(Arc::clone(&self.inner), socket, peer, shared, entry);
        server.accept(listener, serve, drain, grace).await;
    }
}

/// Takes an address off the list when its listener is gone.
struct Forget(OwnAddresses, SocketAddr);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

/// What a connection has become once its beginning is over.
pub(super) enum Next {
    /// It is served: what it says inside of TLS.
    Serve(Box<Terminated>),
    /// It is served as a proxy's client: plain requests, the first of which has begun.
    Plain(TcpStream, BytesMut),
    /// It goes on untouched.
    Tunnel(Through),
    /// It is over, but for the last words.
    Farewell(TcpStream, Vec<u8>),
    /// It is over.
    Gone,
}

/// A connection on its way through.
pub(super) struct Through {
    pub(super) io: TcpStream,
    /// Bytes of the client that were looked at.
    pub(super) read: BytesMut,
    pub(super) to: Origin,
    /// How the client learns whether the other end was reached.
    pub(super) wish: Wish,
}

/// One connection, from its accept to its end.
async fn visit<G: Gate, H: Handler>(
    front: Arc<Inner<G, H>>,
    io: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    entry: Entry,
) {
    // A client that vanished is noticed. It works without, where the system does not let us.
    let _ = tune(&io);
    let mut place = front.lobby.enter();
    let next = tokio::select! {
        biased;
        next = Box::pin(begin(&front, io, peer, entry)) => next,
        () = place.shown_out() => {
            count(&front.counters.evicted);
            Next::Gone
        }
    };
    drop(place);
    match next {
        Next::Gone => {}
        Next::Farewell(io, last) => bid_farewell(io, &last).await,
        Next::Serve(tls) => Box::pin(serve(&front, tls, peer, shared)).await,
        Next::Plain(io, read) => Box::pin(explicit::plain(front, io, read, peer, shared)).await,
        Next::Tunnel(through) => Box::pin(go_through(&front, through, &shared)).await,
    }
}

/// Up to the end of the handshake.
async fn begin<G: Gate, H: Handler>(front: &Inner<G, H>, mut io: TcpStream, peer: SocketAddr, entry: Entry) -> Next {
    let mut patience = Patience::new(front.config.first_byte, front.config.hello);
    let mut read = BytesMut::new();
    let mut asked = Asked { peer, local: io.local_addr().ok(), target: None };
    let mut wish = Wish::Nothing;
    if entry == Entry::Proxy {
        match explicit::enter(front, io, &mut read, &mut asked, patience).await {
            explicit::Entered::Look(socket, made) => {
                (io, wish) = (socket, made);
                patience = Patience::new(front.config.first_byte, front.config.hello);
            }
            explicit::Entered::Done(next) => return next,
        }
    }
    let hello = match greeting::hello(&mut io, &mut read, patience).await {
        Ok(hello) => hello,
        Err(strange) => return part(front, io, read, strange, asked, wish),
    };
    let verdict = match named_otherwise(&hello, &asked) {
        // The outer name of an encrypted hello, or a client that is not to be trusted: neither is looked into.
        Some(target) => Verdict::Tunnel(target),
        None => match timeout(front.config.hello, front.gate.judge(&asked, &hello)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Close,
        },
    };
    match verdict {
        Verdict::Close => {
            count(&front.counters.closed);
            Next::Gone
        }
        Verdict::Refuse => {
            count(&front.counters.refused);
            Next::Farewell(io, alert(UNRECOGNIZED_NAME).to_vec())
        }
        Verdict::Tunnel(to) => {
            count(&front.counters.tunnelled);
            Next::Tunnel(Through { io, read, to, wish })
        }
        Verdict::Terminate { identity, upstream } => {
            count(&front.counters.terminated);
            let alpn = match terminate::mirror(&hello, &upstream, &front.relay, front.config.mirror).await {
                Ok(alpn) => alpn,
                Err(failure) => {
                    count(&front.counters.handshake_failed);
                    front.gate.shaken(&asked, &hello, Err(&failure));
                    return Next::Farewell(io, terminate::no_protocol().to_vec());
                }
            };
            let info = Arc::new(TlsInfo { server_name: hello.server_name.clone(), alpn, upstream });
            let shake = terminate::shake(io, read, &hello, &identity, Arc::clone(&info));
            let shaken = timeout(front.config.handshake, shake).await;
            match shaken.unwrap_or(Err(HandshakeFailure::Timeout)) {
                Ok(tls) => {
                    front.gate.shaken(&asked, &hello, Ok(&info));
                    Next::Serve(tls)
                }
                Err(failure) => {
                    tracing::debug!(%peer, ?failure, "tls handshake failed");
                    count(&front.counters.handshake_failed);
                    front.gate.shaken(&asked, &hello, Err(&failure));
                    Next::Gone
                }
            }
        }
    }
}

/// The target of a proxy's client whose hello names somebody else.
fn named_otherwise(hello: &Hello, asked: &Asked) -> Option<Origin> {
    let target = asked.target.as_ref()?;
    let name = hello.server_name.as_deref()?;
    (target.ip().is_none() && name != target.host()).then(|| target.clone())
}

/// Ends a connection that did not begin with a hello; a proxy's client may speak what it wants.
fn part<G, H>(front: &Inner<G, H>, io: TcpStream, read: BytesMut, strange: Strange, asked: Asked, wish: Wish) -> Next {
    let counters = &front.counters;
    if let (Strange::NotTls(_), Some(to)) = (strange, asked.target) {
        count(&counters.tunnelled);
        return Next::Tunnel(Through { io, read, to, wish });
    }
    let (counter, last): (&AtomicU64, Vec<u8>) = match strange {
        Strange::Gone => return Next::Gone,
        Strange::Late => (&counters.late, Vec::new()),
        Strange::NotTls(NotTls::PlainHttp) => (&counters.not_tls, PLAIN_HTTP.to_vec()),
        Strange::NotTls(_) => (&counters.not_tls, Vec::new()),
        Strange::Reject(why) => (&counters.rejected, alert(why.alert()).to_vec()),
    };
    count(counter);
    tracing::debug!(peer = %asked.peer, ?strange, "no hello");
    if last.is_empty() { Next::Gone } else { Next::Farewell(io, last) }
}

/// Serves what was decrypted, in the protocol that was agreed on.
async fn serve<G: Gate, H: Handler>(front: &Inner<G, H>, tls: Box<Terminated>, peer: SocketAddr, shared: Arc<Shared>) {
    let alpn = tls.info.alpn;
    let io = Accepted::Tls(tls);
    if alpn == Some(Protocol::Http2) {
        let io = Rewind::new(BytesMut::new(), io);
        crate::h2::server::serve(io, peer, shared, Arc::clone(&front.handler)).await;
    } else {
        Box::new(Conn::new(io, peer, shared)).serve(&*front.handler).await;
    }
}

/// Dials, says so, and carries bytes.
async fn go_through<G, H>(front: &Inner<G, H>, through: Through, shared: &Shared) {
    let Through { mut io, read, to, wish } = through;
    let mut upstream = match front.relay.reach(&to).await {
        Ok(upstream) => upstream,
        Err(error) => {
            count(&front.counters.unreachable);
            tracing::debug!(%to, %error, "tunnel has no other end");
            let hello = read.first() == Some(&22);
            let last = wish.refused(&error.kind);
            let last = if last.is_empty() && hello { alert(INTERNAL_ERROR).to_vec() } else { last };
            return bid_farewell(io, &last).await;
        }
    };
    let means = Means { pipes: front.relay.pipes(), moved: &front.counters.moved, idle: front.config.tunnel_idle };
    let ahead = Ahead { up: read.freeze(), down: wish.granted().into() };
    let closing = shared.ear(Stage::Closing);
    if let Err(error) = tunnel::run(&mut io, &mut upstream, ahead, closing, means).await {
        tracing::debug!(%to, %error, "tunnel broke");
    }
}
