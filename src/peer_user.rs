//! Whose program is at the other end of a loopback connection, and the list that says so.
//!
//! Linux lists the TCP sockets of a machine with their owners in `/proc/net/tcp` and `/proc/net/tcp6`. Elsewhere nobody
//! is known to be us, and `strict_loopback` then asks everybody for a login. The list is read for each request that
//! would be let in without one, which only management sees, and for connections that are to be intercepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether the socket that is connected from `peer` to `local` belongs to our own user, or to root.
pub(crate) fn is_ours(peer: SocketAddr, local: Option<SocketAddr>) -> bool {
    let (Some(owner), Some(us)) = (owner_of(peer, local), our_user()) else { return false };
    // Root can do what it likes anyway.
    owner == us || owner == 0
}

/// Whether it belongs to another user for certain. Nobody is a stranger to root, nor where owners are not known.
pub(crate) fn is_foreign(peer: SocketAddr, local: Option<SocketAddr>) -> bool {
    let Some(us) = our_user().filter(|us| *us != 0) else { return false };
    owner_of(peer, local).is_some_and(|owner| owner != us && owner != 0)
}

fn owner_of(peer: SocketAddr, local: Option<SocketAddr>) -> Option<u32> {
    let local = local?;
    lists().find_map(|list| owner(&list, peer, local))
}

/// The user that this process acts as, where users have numbers.
#[cfg(unix)]
pub(crate) fn our_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// The user that this process acts as, where users have numbers.
#[cfg(not(unix))]
pub(crate) fn our_user() -> Option<u32> {
    None
}

/// The owner of the socket whose own end is `own` and whose other end is `other`, in a list as Linux writes it.
fn owner(list: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
    let plain = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    let wanted = (plain(own), plain(other));
    sockets(list).find(|socket| (plain(socket.own), plain(socket.other)) == wanted).map(|socket| socket.user)
}

/// A socket of such a list.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Its own end.
    pub(crate) own: SocketAddr,
    other: SocketAddr,
    /// Whether it waits for connections.
    pub(crate) listens: bool,
    user: u32,
    /// Its number in the system, by which files of processes name it.
    pub(crate) inode: u64,
}

/// The system's lists of TCP sockets, each read when it is asked for; none where it has no such lists.
pub(crate) fn lists() -> impl Iterator<Item = String> {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| std::fs::read_to_string(path).ok())
}

/// The sockets of a list as Linux writes it. Lines that are not understood are left out.
pub(crate) fn sockets(list: &str) -> impl Iterator<Item = Socket> {
    /// State of a socket that waits for connections.
    const LISTEN: &str = "0A";
    list.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (own, other) = (address(fields.next()?)?, address(fields.next()?)?);
        let listens = fields.next()? == LISTEN;
        // Queues, timer and retransmissions stand between; then a timeout.
        let user = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Socket { own, other, listens, user, inode })
    })
}

/// An address as four or sixteen bytes in words of the machine's order, in hexadecimal digits, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0u8; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As a little-endian machine writes it.
    const LIST: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0962 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:0962 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0 20 4 30 10 -1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_owner_is_that_of_the_clients_end() {
        let (peer, local) = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:2402".parse().unwrap());
        assert_eq!(owner(LIST, peer, local), Some(1001));
        assert_eq!(owner(LIST, local, peer), None);
        assert_eq!(owner("", peer, local), None);
        let told: Vec<_> = sockets(LIST).map(|socket| (socket.own.port(), socket.listens, socket.inode)).collect();
        assert_eq!(told, [(2402, true, 1), (50_000, false, 2)]);
        let mapped = LIST.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(owner(&mapped, peer, local), Some(1001));
        assert_eq!(address("00000000000000000000000001000000:0050"), Some("[::1]:80".parse().unwrap()));
        for wrong in ["", "0100007F", "0100007:0050", "0100007F:", "zz00007F:0050"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_we_make_is_our_users() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(our_user(), Some(file.as_file().metadata().unwrap().uid()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_connection_is_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert!(is_ours(peer, server.local_addr().ok()));
        assert!(!is_ours(peer, None) && !is_foreign(peer, server.local_addr().ok()) && !is_foreign(peer, None));
        drop(client);
        let stranger = "127.0.0.1:1".parse().unwrap();
        assert!(!is_ours(stranger, server.local_addr().ok()));
    }
}
