//! The TLS handshake of a connection that ends here: with the true server's protocol, and with the name that was judged.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use super::{
    alpn::{Offered, offered},
    gate::{HandshakeFailure, Identity, TlsInfo},
    greeting::alert,
};
use crate::{
    Hello, Origin, Protocol, Relay,
    net::accepted::{Accepted, Rewind, Terminated},
};

/// Alert `no_application_protocol` (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What is agreed on with a client: what the true server speaks to us, where the client leaves the choice. A server that
/// does not say in time decides nothing: the client may get its answer from elsewhere.
///
/// # Errors
/// The client offers nothing that we speak.
pub(super) async fn mirror(
    hello: &Hello,
    upstream: &Origin,
    relay: &Relay,
    patience: Duration,
) -> Result<Option<Protocol>, HandshakeFailure> {
    match offered(&hello.alpn) {
        Offered::One(protocol) => Ok(protocol),
        Offered::Foreign => Err(HandshakeFailure::NoProtocol),
        Offered::Both => {
            let told = tokio::time::timeout(patience, relay.protocol(upstream)).await;
            Ok(Some(told.ok().and_then(Result::ok).unwrap_or(Protocol::Http2)))
        }
    }
}

/// Shakes hands. `read` holds the hello and what came with it.
///
/// # Errors
/// With what to tell the gate; the client was told already as far as TLS allows it.
pub(super) async fn shake(
    io: TcpStream,
    read: BytesMut,
    hello: &Hello,
    identity: &Identity,
    info: Arc<TlsInfo>,
) -> Result<Box<Terminated>, HandshakeFailure> {
    let config = identity.speaking(info.alpn);
    let began = LazyConfigAcceptor::new(Acceptor::default(), Rewind::new(read, Accepted::Tcp(io)));
    let start = began.await.map_err(|error| describe(&error))?;
    if start.client_hello().server_name() != hello.server_name.as_deref() {
        return Err(HandshakeFailure::NameDisagrees);
    }
    let io = start.into_stream(config).await.map_err(|error| describe(&error))?;
    Ok(Box::new(Terminated { io, info }))
}

/// The last words to a client with which no protocol was agreed on.
pub(super) fn no_protocol() -> [u8; 7] {
    alert(NO_APPLICATION_PROTOCOL)
}

fn describe(error: &io::Error) -> HandshakeFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(description)) => HandshakeFailure::Alert(u8::from(*description)),
        Some(other) => HandshakeFailure::Other(other.to_string()),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                HandshakeFailure::Closed
            }
            kind => HandshakeFailure::Other(kind.to_string()),
        },
    }
}
