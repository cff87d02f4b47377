//! What a client of the explicit proxy wants, read from its first bytes. Pure: bytes in, what is to be done out.
//!
//! ```text
//!   First ─┬─ 0x05 ─▶ SocksGreeting ──taken──▶ SocksRequest ─▶ Tunnel
//!          ├─ "CONNECT " ─▶ Connect ─▶ Tunnel
//!          └─ anything else ─▶ Plain, with nothing taken off
//! ```
//!
//! What was understood is taken off; what follows belongs to the tunnel. The outcome does not depend on how the bytes were
//! cut into reads.

use bytes::BytesMut;

use super::socks;
use crate::{
    Kind, Limits, Origin, StatusCode,
    h1::head::{self, HeadReader},
    refusal,
};

/// The answer to CONNECT when the way is free.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// How a request begins that wants a tunnel.
const CONNECT: &[u8] = b"CONNECT ";

/// In which words a client waits to hear that its tunnel is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It does not wait: it knows of no proxy, or was told already.
    Nothing,
    /// A request of HTTP/1.
    Connect,
    /// A request of SOCKS5.
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
        match self {
            Self::Nothing => Vec::new(),
            Self::Connect => http_answer(refusal::unreached(kind), &kind.to_string()),
            Self::Socks => {
                let reply = match kind {
                    Kind::Loop(_) | Kind::Refused(_) => socks::Reply::NotAllowed,
                    Kind::Timeout(_) | Kind::Resolve(_) => socks::Reply::HostUnreachable,
                    _ => socks::Reply::Failure,
                };
                reply.bytes().to_vec()
            }
        }
    }
}

/// A whole answer to a client that is then left.
fn http_answer(status: StatusCode, why: &str) -> Vec<u8> {
    let (head, text) = refusal::told(status, why);
    let mut out = BytesMut::new();
    head::write_status(&mut out, head.status);
    head::write_fields(&mut out, &head.headers);
    head::write_length(&mut out, text.len() as u64);
    out.extend_from_slice(b"connection: close\r\n\r\n");
    out.extend_from_slice(&text);
    out.into()
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Read on.
    More,
    /// Say this, and look again.
    Answer(&'static [u8]),
    /// It wants to go there.
    Tunnel(Origin, Wish),
    /// A request that wants no tunnel; nothing was taken off.
    Plain,
    /// Say this, and leave.
    Nonsense(Vec<u8>),
}

#[derive(Debug)]
enum State {
    First,
    SocksGreeting,
    SocksRequest,
    Connect(HeadReader),
}

/// Reads the first bytes of a client.
#[derive(Debug)]
pub(crate) struct Opening(State);

impl Opening {
    pub(crate) fn new() -> Self {
        Self(State::First)
    }

    /// Looks at all bytes that were read and not taken off. After anything but [`Said::More`] and [`Said::Answer`] it is
    /// over.
    pub(crate) fn look(&mut self, read: &mut BytesMut, limits: &Limits) -> Said {
        loop {
            match &mut self.0 {
                State::First => {
                    let seen = read.len().min(CONNECT.len());
                    if read.first() == Some(&socks::VERSION) {
                        self.0 = State::SocksGreeting;
                    } else if read[..seen] != CONNECT[..seen] {
                        return Said::Plain;
                    } else if seen < CONNECT.len() {
                        return Said::More;
                    } else {
                        self.0 = State::Connect(HeadReader::default());
                    }
                }
                State::SocksGreeting => {
                    return match socks::greeting(read) {
                        None => Said::More,
                        Some(false) => Said::Nonsense(socks::NO_METHOD.to_vec()),
                        Some(true) => {
                            self.0 = State::SocksRequest;
                            Said::Answer(&socks::WELCOME)
                        }
                    };
                }
                State::SocksRequest => {
                    return match socks::request(read) {
                        None => Said::More,
                        Some(Ok(target)) => Said::Tunnel(target, Wish::Socks),
                        Some(Err(reply)) => Said::Nonsense(reply.bytes().to_vec()),
                    };
                }
                State::Connect(heads) => {
                    let request = match heads.request(read, limits) {
                        Ok(None) => return Said::More,
                        Ok(Some(request)) => request,
                        Err(kind) => {
                            let (head, _) = refusal::answer(&kind).unwrap_or_else(refusal::cut_off);
                            return Said::Nonsense(http_answer(head.status, &kind.to_string()));
                        }
                    };
                    let host = std::str::from_utf8(&request.head.authority).ok();
                    return match host.and_then(|host| Origin::parse(&format!("https://{host}")).ok()) {
                        Some(target) => Said::Tunnel(target, Wish::Connect),
                        None => {
                            Said::Nonsense(http_answer(StatusCode::BAD_REQUEST, "the target is not a host and port"))
                        }
                    };
                }
            }
        }
    }
}

/// What fuzzers call: the opening against itself, cut otherwise.
pub(crate) mod probe {
    use super::*;

    /// What a client of these bytes is told, where it goes, and how much is left; `None`: more is awaited.
    fn run(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<&'static [u8]>, Option<Said>, BytesMut) {
        let (mut opening, mut read) = (Opening::new(), BytesMut::new());
        let (limits, mut answers, mut over) = (Limits::default(), Vec::new(), None);
        for piece in pieces {
            read.extend_from_slice(piece.as_ref());
            while over.is_none() {
                match opening.look(&mut read, &limits) {
                    Said::More => break,
                    Said::Answer(answer) => answers.push(answer),
                    said => over = Some(said),
                }
            }
        }
        (answers, over, read)
    }

    /// Reads `bytes` whole and byte by byte; panics if that makes a difference, or if something is lost.
    pub fn opening(bytes: &[u8]) {
        let whole = run(std::iter::once(bytes));
        let cut = run(bytes.iter().map(std::slice::from_ref));
        assert_eq!((&whole.0, &whole.1), (&cut.0, &cut.1));
        match &whole.1 {
            Some(Said::Tunnel(..)) => assert_eq!(whole.2, cut.2, "what follows belongs to the tunnel"),
            Some(Said::Plain) => assert_eq!((&whole.2[..], &cut.2[..]), (bytes, bytes), "nothing is taken off"),
            _ => {}
        }
        assert!(whole.0.len() <= 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_corpus_is_read_the_same_however_it_is_cut() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/opening");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            probe::opening(&std::fs::read(entry.unwrap().path()).unwrap());
            seen += 1;
        }
        assert!(seen >= 8);
    }

    proptest::proptest! {
        #[test]
        fn nothing_depends_on_cuts(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), kind in 0..5_usize) {
            let starts: [&[u8]; 5] =
                [b"", b"\x05\x01\x00\x05\x01\x00\x03\x06a.test", b"\x05", b"CONNECT ", b"CONNECT a.test:443 HTTP/1.1\r\n"];
            probe::opening(&[starts[kind], &tail].concat());
        }
    }
}
