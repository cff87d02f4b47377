//! The front of interception: takes connections of clients that believe to speak to somebody else, and decides nothing.
//!
//! ```text
//!   accept ─▶ Greeting: hello, unconsumed ─▶ Gate ─┬─ Terminate ─▶ TLS handshake ─▶ h1 or h2 server ─▶ Handler
//!               │                                  ├─ Tunnel ────▶ dial ─▶ the same bytes, both ways
//!               │                                  ├─ Refuse ────▶ alert unrecognized_name
//!               └─ not TLS, garbage, too slow      └─ Close
//! ```
//!
//! Whose traffic is looked into is asked of the [`Gate`]; what is answered, of the [`Handler`](crate::Handler). Certificates
//! come with the verdict, and none is made here. Everything up to the end of the handshake is bounded in bytes and in time,
//! and so is the number of those who are that far: the oldest makes room, so that those who dawdle hold up nobody.
//!
//! Two ways lead here ([`Entry`]): a name that the hosts file leads to us, and a proxy that the client was told of, which
//! takes CONNECT, SOCKS5 and plain requests on one port.

mod alpn;
mod counters;
mod explicit;
mod gate;
mod greeting;
mod lobby;
pub(crate) mod opening;
mod serve;
mod socks;
mod terminate;

pub use counters::{FrontLoad, Hellos};
pub use gate::{Admission, Asked, Gate, HandshakeFailure, Identity, TlsInfo, Verdict};
pub use serve::{Entry, Front, FrontConfig, listen};
