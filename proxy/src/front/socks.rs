//! SOCKS5 as a server reads and answers it (RFC 1928): no authentication, CONNECT only. Pure.
//!
//! ```text
//!   Greeting: 5 n methods… ──▶ Request: 5 command 0 address port ──▶ tunnel
//! ```

use bytes::{Buf, BytesMut};

use crate::Origin;

/// First byte of everything.
pub(super) const VERSION: u8 = 5;
/// The method without authentication, and the answer that takes it.
const NO_AUTHENTICATION: u8 = 0;
pub(super) const WELCOME: [u8; 2] = [VERSION, NO_AUTHENTICATION];
/// The answer to a client that offers none that we take.
pub(super) const NO_METHOD: [u8; 2] = [VERSION, 0xff];

const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// What a client is told of its request (RFC 1928 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Succeeded = 0,
    Failure = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

impl Reply {
    /// With an address that means nothing: ours is nobody's business.
    pub(super) fn bytes(self) -> [u8; 10] {
        [VERSION, self as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
    }
}

/// Takes the greeting off `read`; `None`: read on. Whether the client lets us do without authentication.
pub(super) fn greeting(read: &mut BytesMut) -> Option<bool> {
    let &[_, methods, ..] = &read[..] else { return None };
    let length = 2 + usize::from(methods);
    let offered = read.get(2..length)?.contains(&NO_AUTHENTICATION);
    read.advance(length);
    Some(offered)
}

/// Takes the request off `read`; `None`: read on.
///
/// # Errors
/// What the client is to be told instead.
pub(super) fn request(read: &mut BytesMut) -> Option<Result<Origin, Reply>> {
    let &[version, command, _, kind, ..] = &read[..] else { return None };
    if version != VERSION {
        return Some(Err(Reply::Failure));
    }
    if command != CONNECT {
        return Some(Err(Reply::CommandNotSupported));
    }
    let (start, length) = match kind {
        IPV4 => (4, 4),
        IPV6 => (4, 16),
        DOMAIN => (5, usize::from(*read.get(4)?)),
        _ => return Some(Err(Reply::AddressNotSupported)),
    };
    let address = read.get(start..start + length)?;
    let port = u16::from_be_bytes([*read.get(start + length)?, *read.get(start + length + 1)?]);
    let host = match kind {
        IPV4 => <[u8; 4]>::try_from(address).ok().map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
        IPV6 => <[u8; 16]>::try_from(address).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        _ => std::str::from_utf8(address).ok().filter(|name| !name.contains(':')).map(str::to_owned),
    };
    let origin = host.and_then(|host| Origin::https(&host, port).ok()).ok_or(Reply::Failure);
    read.advance(start + length + 2);
    Some(origin)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every prefix asks for more; the whole is taken off, and what follows stays.
    fn read(bytes: &[u8]) -> Result<String, Reply> {
        for end in 0..bytes.len() {
            let early = request(&mut BytesMut::from(&bytes[..end]));
            assert!(matches!(early, None | Some(Err(_))), "{end}");
        }
        let mut buffer = BytesMut::from(bytes);
        buffer.extend_from_slice(b"rest");
        let origin = request(&mut buffer).unwrap()?;
        assert_eq!(&buffer[..], b"rest");
        Ok(origin.to_string())
    }

    #[test]
    fn a_greeting_is_taken_whole() {
        assert_eq!(greeting(&mut BytesMut::from(&[5u8, 2, 2][..])), None);
        let mut buffer = BytesMut::from(&[5u8, 2, 2, 0, 5][..]);
        assert_eq!((greeting(&mut buffer), &buffer[..]), (Some(true), &[5u8][..]));
        assert_eq!(greeting(&mut BytesMut::from(&[5u8, 1, 2][..])), Some(false));
        assert_eq!(greeting(&mut BytesMut::from(&[5u8, 0][..])), Some(false));
    }

    #[test]
    fn targets_are_names_and_addresses() {
        assert_eq!(read(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb").unwrap(), "https://127.0.0.1");
        assert_eq!(read(b"\x05\x01\x00\x03\x06A.test\x20\xfb").unwrap(), "https://a.test:8443");
        let v6 = [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat();
        assert_eq!(read(&v6).unwrap(), "https://[::1]:80");
    }

    #[test]
    fn what_is_no_target_is_told_so() {
        assert_eq!(request(&mut BytesMut::from(&b"\x05\x02\x00\x01"[..])), Some(Err(Reply::CommandNotSupported)));
        assert_eq!(request(&mut BytesMut::from(&b"\x05\x01\x00\x09"[..])), Some(Err(Reply::AddressNotSupported)));
        assert_eq!(request(&mut BytesMut::from(&b"\x04\x01\x00\x01"[..])), Some(Err(Reply::Failure)));
        assert_eq!(read(b"\x05\x01\x00\x03\x00\x01\xbb"), Err(Reply::Failure), "no name");
        assert_eq!(read(b"\x05\x01\x00\x03\x03a/b\x01\xbb"), Err(Reply::Failure), "no host's name");
        assert_eq!(read(b"\x05\x01\x00\x03\x03a:1\x01\xbb"), Err(Reply::Failure), "a port in it");
        assert_eq!(read(b"\x05\x01\x00\x03\x01a\x00\x00"), Err(Reply::Failure), "port 0");
    }
}
