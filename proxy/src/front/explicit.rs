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

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    counters::count,
    gate::{Admission, Asked, Gate},
    greeting::{Patience, Strange},
    opening::{Opening, Said, Wish},
    serve::{Inner, Next, Through},
};
use crate::{
    Call, Fresh, Handler, Kind, Limits, Origin, StatusCode, h1::server::Conn, net::accepted::Accepted, refusal,
    server::Shared, verbatim::Passage,
};

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
        Said::Tunnel(target, wish) => (target, wish),
        Said::Plain => {
            count(&front.counters.plain);
            return Entered::Done(Next::Plain(io, std::mem::take(read)));
        }
        Said::Nonsense(last) => {
            count(&front.counters.rejected);
            return Entered::Done(Next::Farewell(io, last));
        }
        // `hear` has dealt with these.
        Said::More | Said::Answer(_) => return Entered::Done(Next::Gone),
    };
    asked.target = Some(target.clone());
    let admission = timeout(front.config.hello, front.gate.admit(asked, &target)).await;
    match admission.unwrap_or(Admission::Refuse) {
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

/// Reads until it is clear what a client wants.
async fn hear(io: &mut TcpStream, read: &mut BytesMut, limits: &Limits, patience: Patience) -> Result<Said, Strange> {
    let mut opening = Opening::new();
    loop {
        if !patience.read(io, read).await? {
            return Err(Strange::Gone);
        }
        loop {
            match opening.look(read, limits) {
                Said::More => break,
                Said::Answer(answer) => io.write_all(answer).await.map_err(|_| Strange::Gone)?,
                said => return Ok(said),
            }
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
            let why = "this is a proxy: the target must be a whole http URL";
            let (head, text) = refusal::told(StatusCode::BAD_REQUEST, why);
            let _ = call.respond(head, text).await;
            return;
        };
        let asked = Asked { peer: call.peer(), local: call.local(), target: Some(target.clone()) };
        if self.front.gate.admit(&asked, &target).await == Admission::Refuse {
            count(&self.front.counters.refused);
            let (head, text) = refusal::told(StatusCode::FORBIDDEN, "this host is not passed on to");
            let _ = call.respond(head, text).await;
            return;
        }
        let head = call.take_head();
        if let Err(error) = self.front.relay.pass(call, Passage::new(target, head)).await {
            tracing::debug!(%error, "plain request was not relayed");
        }
    }
}
