//! Opens listening sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel completes before we accept them. The kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;

/// Opens a listener on `addr`. Must be called inside a runtime.
///
/// `reuse_port` lets several listeners of this program share one port; it is ignored where the system does not balance
/// between them.
pub fn listen(addr: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT. On Windows the option means something else: another
    // program could take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(reuse_port)?;
    #[cfg(not(target_os = "linux"))]
    let _ = reuse_port;
    if addr.is_ipv6() {
        // `[::]` must mean the same thing on every system; v4 gets its own listener.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it on Linux; elsewhere the accept loop sets it again.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_port_is_shared_only_on_request() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let alone = listen(any, false).unwrap();
        assert!(listen(alone.local_addr().unwrap(), false).is_err());
        #[cfg(target_os = "linux")]
        {
            let first = listen(any, true).unwrap();
            assert!(listen(first.local_addr().unwrap(), true).is_ok());
        }
    }
}
