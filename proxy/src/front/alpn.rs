//! Which protocol is agreed on with a client. Pure: what it offers and what the true server speaks, against our answer.
//!
//! The answer is the true server's wherever the client lets it be: a client that gets HTTP/2 from its server makes two-way
//! streams, and one that does not takes other roads. Between the two legs nothing then has to be converted.

use crate::Protocol;

/// What a client's offer leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// One protocol is possible: that, or none where none was offered.
    One(Option<Protocol>),
    /// Either.
    Both,
    /// Nothing that we speak.
    Foreign,
}

/// Reads a client's list.
pub(super) fn offered(alpn: &[Box<[u8]>]) -> Offered {
    let has = |id: &[u8]| alpn.iter().any(|offer| **offer == *id);
    match (alpn.is_empty(), has(b"h2"), has(b"http/1.1")) {
        (true, ..) => Offered::One(None),
        (_, true, true) => Offered::Both,
        (_, true, false) => Offered::One(Some(Protocol::Http2)),
        (_, false, true) => Offered::One(Some(Protocol::Http1)),
        (_, false, false) => Offered::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_whatever_their_order() {
        let read = |ids: &[&[u8]]| offered(&ids.iter().map(|id| Box::from(*id)).collect::<Vec<_>>());
        assert_eq!(read(&[]), Offered::One(None));
        assert_eq!(read(&[b"http/1.1", b"h2"]), Offered::Both);
        assert_eq!(read(&[b"h2", b"http/1.1", b"h3"]), Offered::Both);
        assert_eq!(read(&[b"h2"]), Offered::One(Some(Protocol::Http2)));
        assert_eq!(read(&[b"http/1.0", b"http/1.1"]), Offered::One(Some(Protocol::Http1)));
        assert_eq!(read(&[b"acme-tls/1"]), Offered::Foreign);
        assert_eq!(read(&[b"H2"]), Offered::Foreign);
    }
}
