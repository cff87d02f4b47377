//! What fuzzers and property tests call: the sniffer against itself, cut otherwise, and against rustls.

use rustls::server::Acceptor;

use super::client_hello::{HELLO_BYTES_MAX, NotTls, Sniff, Sniffer};

/// Sniffs `bytes` and panics where a promise is broken:
/// the verdict does not depend on cuts, comes in time, stays when more follows, and is what rustls thinks too.
pub fn client_hello(bytes: &[u8]) -> Sniff {
    let verdict = Sniffer::new().look(bytes);

    let mut sniffer = Sniffer::new();
    let mut decided = None;
    for end in 0..=bytes.len() {
        let now = sniffer.look(&bytes[..end]);
        match &decided {
            None if now == Sniff::NeedMore => {}
            None => decided = Some((end, now)),
            Some((_, earlier)) => assert_eq!(&now, earlier, "changed at {end}"),
        }
    }
    let (decided_at, cut) = decided.unwrap_or((bytes.len(), Sniff::NeedMore));
    assert_eq!(cut, verdict, "cut into bytes");
    assert!(decided_at <= HELLO_BYTES_MAX, "decided only at {decided_at}");
    assert!(verdict != Sniff::NeedMore || bytes.len() < HELLO_BYTES_MAX);

    let theirs = rustls_thinks(bytes);
    match &verdict {
        Sniff::Hello(hello) => {
            assert_eq!(hello.length, decided_at, "its last byte is where it is one");
            if let Some((name, alpn)) = theirs {
                assert_eq!(hello.server_name.as_deref(), name.as_deref());
                assert_eq!(hello.alpn, alpn);
            }
        }
        Sniff::NotTls(what) => {
            assert!(theirs.is_none() || *what != NotTls::Other || bytes.get(1) != Some(&3), "rustls takes it");
        }
        Sniff::NeedMore | Sniff::Reject(_) => {}
    }
    verdict
}

/// Name and protocols.
type Asked = (Option<Box<str>>, Vec<Box<[u8]>>);

/// What a hello that rustls accepts asks for. GREASE is left out, as ours does.
fn rustls_thinks(mut bytes: &[u8]) -> Option<Asked> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let grease = |id: &[u8]| matches!(id, [high, low] if high == low && high & 0x0f == 0x0a);
            let alpn = hello.alpn().into_iter().flatten().filter(|id| !grease(id)).map(Box::from).collect();
            return Some((hello.server_name().map(Box::from), alpn));
        }
    }
    None
}
