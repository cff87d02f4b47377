//! The explicit proxy: what a client says before its true conversation begins. One port, told apart by the first byte.
//!
//! ```text
//!   0x05 ─▶ SOCKS5 ────┐                ┌─ Look ───▶ granted at once, hello awaited
//!   CONNECT host:port ─┴─▶ Gate::admit ─┼─ Tunnel ─▶ dialled, then granted or refused
//!   GET http://host/ …  ─▶ relayed      └─ Refuse ─▶ 403
//! ```
//!
//! Requests in origin form are for a server, and here is none: they are refused, so that nothing behind this port can be
//! reached by naming it. There is no login: the port is bound to this machine.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    counters::count,
    gate::{Admission, Asked, Gate},
    greeting::{Patience, Strange},
    serve::{Inner, Next, Through, status},
    socks,
};
use crate::{
    Call, Fresh, Handler, Kind, Origin, ResponseHead, StatusCode,
    h1::{head::HeadReader, server::Conn},
    net::accepted::Accepted,
    refusal,
    server::Shared,
    verbatim::Passage,
};

/// The answer to CONNECT when the way is free.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// How a request begins that wants a tunnel.
const CONNECT: &[u8] = b"CONNECT ";

/// In which words a client waits to hear that its tunnel is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// It does not wait: it knows of no proxy, or was told already.
    Nothing,
    Connect,
    Socks,
}

impl Wish {
    /// The tunnel is there.
    pub(super) fn granted(self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Connect => ESTABLISHED.to_vec(),
            Self::Socks => socks::Reply::Succeeded.bytes().to_vec(),
        }
    }

    /// There will be none.
    pub(super) fn refused(self, kind: &Kind) -> Vec<u8> {
        let status = status(kind);
        match self {
            Self::Nothing => Vec::new(),
            Self::Connect => http_answer(status, &kind.to_string()),
            Self::Socks => {
                let reply = match status {
                    403 | 508 => socks::Reply::NotAllowed,
                    504 => socks::Reply::HostUnreachable,
                    _ if matches!(kind, Kind::Resolve(_)) => socks::Reply::HostUnreachable,
                    _ => socks::Reply::Failure,
                };
                reply.bytes().to_vec()
            }
        }
    }
}

/// A whole answer to a client that is then left.
fn http_answer(status: u16, told: &str) -> Vec<u8> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = format!("{} {reason}: {told}\n", status.as_str());
    let length = text.len();
    let code = status.as_str();
    format!("HTTP/1.1 {code} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
        .into_bytes()
}

/// What a proxy's client has come to.
pub(super) enum Entered {
    /// Its hello is awaited.
    Look(TcpStream, Wish),
    /// It is clear what becomes of it.
    Done(Next),
}

/// Hears what a client of the proxy wants. Its target is put into `asked`.
pub(super) async fn enter<G: Gate, H: Handler>(
    front: &Inner<G, H>,
    mut io: TcpStream,
    read: &mut BytesMut,
    asked: &mut Asked,
    patience: Patience,
) -> Entered {
    let heard = match hear(&mut io, read, &front.config.limits, patience).await {
        Ok(heard) => heard,
        Err(Strange::Late) => {
            count(&front.counters.late);
            return Entered::Done(Next::Gone);
        }
        Err(_) => return Entered::Done(Next::Gone),
    };
    let (target, wish) = match heard {
        Heard::Tunnel(target, wish) => (target, wish),
        Heard::Plain => {
            count(&front.counters.plain);
            return Entered::Done(Next::Plain(io, std::mem::take(read)));
        }
        Heard::Nonsense(last) => {
            count(&front.counters.rejected);
            return Entered::Done(Next::Farewell(io, last));
        }
    };
    asked.target = Some(target.clone());
    match front.gate.admit(asked, &target).await {
        Admission::Refuse => {
            count(&front.counters.refused);
            Entered::Done(Next::Farewell(io, wish.refused(&Kind::Refused(target.host().to_owned()))))
        }
        Admission::Tunnel => {
            count(&front.counters.tunnelled);
            Entered::Done(Next::Tunnel(Through { io, read: std::mem::take(read), to: target, wish }))
        }
        Admission::Look => match io.write_all(&wish.granted()).await {
            Ok(()) => Entered::Look(io, Wish::Nothing),
            Err(_) => Entered::Done(Next::Gone),
        },
    }
}

/// What a client of the proxy has said.
enum Heard {
    Tunnel(Origin, Wish),
    /// A request whose method is not CONNECT; nothing was taken off.
    Plain,
    /// To be answered with this, and left.
    Nonsense(Vec<u8>),
}

async fn hear(
    io: &mut TcpStream,
    read: &mut BytesMut,
    limits: &crate::Limits,
    patience: Patience,
) -> Result<Heard, Strange> {
    let mut heads = HeadReader::default();
    let mut greeted = false;
    loop {
        let seen = read.len().min(CONNECT.len());
        if greeted {
            match socks::request(read) {
                Some(Ok(target)) => return Ok(Heard::Tunnel(target, Wish::Socks)),
                Some(Err(reply)) => return Ok(Heard::Nonsense(reply.bytes().to_vec())),
                None => {}
            }
        } else if read.first() == Some(&socks::VERSION) {
            match socks::greeting(read) {
                Some(true) => {
                    io.write_all(&socks::WELCOME).await.map_err(|_| Strange::Gone)?;
                    greeted = true;
                    continue;
                }
                Some(false) => return Ok(Heard::Nonsense(socks::NO_METHOD.to_vec())),
                None => {}
            }
        } else if read[..seen] != CONNECT[..seen] {
            return Ok(Heard::Plain);
        } else if seen == CONNECT.len() {
            match heads.request(read, limits) {
                Ok(Some(request)) => {
                    let target = std::str::from_utf8(&request.head.authority).ok();
                    let target = target.and_then(|host| Origin::parse(&format!("https://{host}")).ok());
                    return Ok(match target {
                        Some(target) => Heard::Tunnel(target, Wish::Connect),
                        None => Heard::Nonsense(http_answer(400, "the target is not a host and port")),
                    });
                }
                Ok(None) => {}
                Err(kind) => {
                    let (head, _) = refusal::answer(&kind).unwrap_or_else(refusal::cut_off);
                    return Ok(Heard::Nonsense(http_answer(head.status.as_u16(), &kind.to_string())));
                }
            }
        }
        if !patience.read(io, read).await? {
            return Err(Strange::Gone);
        }
    }
}

/// Serves plain requests, each relayed to the server that it names.
pub(super) async fn plain<G: Gate, H: Handler>(
    front: Arc<Inner<G, H>>,
    io: TcpStream,
    read: BytesMut,
    peer: SocketAddr,
    shared: Arc<Shared>,
) {
    let forwarder = Forwarder { front };
    Box::new(Conn::resume(Accepted::Tcp(io), read, peer, shared)).serve(&forwarder).await;
}

/// Relays what names its server.
struct Forwarder<G, H> {
    front: Arc<Inner<G, H>>,
}

impl<G: Gate, H: Handler> Handler for Forwarder<G, H> {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        let authority = std::str::from_utf8(&call.head().authority).ok().filter(|_| call.is_absolute());
        let target = authority.and_then(|host| Origin::parse(&format!("http://{host}")).ok());
        let Some(target) = target else {
            let told = "400 Bad Request: this is a proxy: the target must be a whole http URL\n";
            let head = ResponseHead::new(StatusCode::BAD_REQUEST).with("content-type", "text/plain");
            let _ = call.respond(head, Bytes::from_static(told.as_bytes())).await;
            return;
        };
        let asked = Asked { peer: call.peer(), local: call.local(), target: Some(target.clone()) };
        if self.front.gate.admit(&asked, &target).await == Admission::Refuse {
            count(&self.front.counters.refused);
            let head = ResponseHead::new(StatusCode::FORBIDDEN).with("content-type", "text/plain");
            let _ = call.respond(head, Bytes::from_static(b"403 Forbidden: this host is not passed on to\n")).await;
            return;
        }
        let head = call.take_head();
        if let Err(error) = self.front.relay.pass(call, Passage::new(target, head)).await {
            tracing::debug!(%error, "plain request was not relayed");
        }
    }
}
