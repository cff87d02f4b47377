//! From an origin to a connected stream: happy eyeballs, the egress proxy's handshake, TLS, all under one deadline.
//!
//! Keeps no connection and sends no request byte, so every failure here is safe to retry.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Sleep, sleep, timeout_at},
};

use crate::{
    Error, Kind, Phase, Retry,
    net::{
        egress::{Egress, Proxy, ProxyKind},
        own::OwnAddresses,
        resolve::Resolver,
        stream::Stream,
    },
    pool::key::Origin,
    tls::connect::{Connector, Offer, Protocol},
};

/// Head start of one attempt before the next address is tried as well (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Head of a proxy's answer to CONNECT.
const CONNECT_HEAD_MAX: usize = 16 * 1024;
/// Fields of a proxy's answer to CONNECT.
const CONNECT_FIELDS_MAX: usize = 64;

/// A stream ready for its first request.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    pub(crate) protocol: Protocol,
    /// The HTTP proxy that wants plain requests in absolute form.
    pub(crate) forward: Option<Arc<Proxy>>,
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) resolver: Resolver,
    pub(crate) egress: Egress,
    pub(crate) tls: Connector,
    /// Never dialled.
    pub(crate) own: OwnAddresses,
    pub(crate) offer: Offer,
}

impl Dialer {
    /// Connects to `origin` by `deadline`.
    pub(crate) async fn dial(&self, origin: &Origin, deadline: Instant) -> Result<Dialed, Error> {
        let deadline = deadline.into();
        let late = |phase| move |_| Error::upstream(Kind::Timeout(phase), Retry::Safe);
        let (stream, forward) = timeout_at(deadline, self.reach(origin)).await.map_err(late(Phase::Connect))??;
        if !origin.is_https() {
            return Ok(Dialed { stream, protocol: Protocol::Http1, forward });
        }
        let handshake = self.tls.connect(stream, origin.host(), self.offer);
        let (stream, protocol) = timeout_at(deadline, handshake).await.map_err(late(Phase::Tls))??;
        Ok(Dialed { stream, protocol, forward: None })
    }

    /// A stream on which the origin itself is heard, or the proxy that forwards to it.
    pub(crate) async fn reach(&self, origin: &Origin) -> Result<(Stream, Option<Arc<Proxy>>), Error> {
        let Some(proxy) = self.egress.proxy_for(origin) else {
            return Ok((Stream::Tcp(self.tcp(origin).await?), None));
        };
        let mut stream = Stream::Tcp(self.tcp(&proxy.at).await?);
        if proxy.kind == ProxyKind::Https {
            stream = self.tls.connect(stream, proxy.at.host(), Offer::Http1).await?.0;
        }
        match proxy.kind {
            ProxyKind::Socks5 => socks5(&mut stream, proxy, origin).await?,
            ProxyKind::Http | ProxyKind::Https if origin.is_https() => connect(&mut stream, proxy, origin).await?,
            ProxyKind::Http | ProxyKind::Https => return Ok((stream, Some(Arc::clone(proxy)))),
        }
        Ok((stream, None))
    }

    async fn tcp(&self, origin: &Origin) -> Result<TcpStream, Error> {
        let ips = self.resolver.resolve(origin).await?;
        let mut addresses = interleave(&ips, origin.port());
        // Judged are the addresses that are dialled: a name cannot mean another one a moment later.
        addresses.retain(|address| !self.own.contains(*address));
        if addresses.is_empty() {
            return Err(Error::upstream(Kind::Loop(origin.host_port()), Retry::Never));
        }
        let failed = |error: io::Error| {
            Error::upstream(Kind::Connect(format!("{}: {}", origin.host_port(), error.kind())), Retry::Safe)
        };
        let (stream, address) = race(&addresses, TcpStream::connect).await.map_err(failed)?;
        tune(&stream).map_err(failed)?;
        self.resolver.prefer(origin.host(), address.ip());
        Ok(stream)
    }
}

/// Small messages leave at once; a peer that vanished is noticed.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Written bytes that nobody acknowledges: without it the kernel retries for a quarter of an hour.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    Ok(())
}

/// Alternates the families, starting with the first one (RFC 8305 §4), and keeps the order within each.
fn interleave(ips: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let first_is_v4 = ips.first().is_some_and(IpAddr::is_ipv4);
    let mut one = ips.iter().filter(|ip| ip.is_ipv4() == first_is_v4);
    let mut other = ips.iter().filter(|ip| ip.is_ipv4() != first_is_v4);
    let mut mixed = Vec::with_capacity(ips.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten().map(|ip| SocketAddr::new(*ip, port)));
    }
}

/// The first of `addresses` to connect. The next attempt starts when the last one failed or had its head start; the
/// losers are dropped, which closes them.
async fn race<T, F>(addresses: &[SocketAddr], mut connect: impl FnMut(SocketAddr) -> F) -> io::Result<(T, SocketAddr)>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.iter();
    let mut running: Vec<(Pin<Box<F>>, SocketAddr)> = Vec::with_capacity(1);
    let mut timer: Pin<&mut Sleep> = pin!(sleep(ATTEMPT_DELAY));
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut due = true;
    poll_fn(|cx| {
        loop {
            if due && let Some(address) = waiting.next() {
                running.push((Box::pin(connect(*address)), *address));
                timer.as_mut().reset(tokio::time::Instant::now() + ATTEMPT_DELAY);
            }
            due = false;
            let mut at = 0;
            while let Some((attempt, address)) = running.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok((stream, *address))),
                    Poll::Ready(Err(error)) => {
                        last = error;
                        due = true;
                        running.swap_remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            if waiting.len() == 0 {
                if running.is_empty() {
                    return Poll::Ready(Err(io::Error::from(last.kind())));
                }
                return Poll::Pending;
            }
            if !due {
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                due = true;
            }
        }
    })
    .await
}

fn refused(what: impl Into<String>) -> Error {
    Error::upstream(Kind::Egress(what.into()), Retry::Safe)
}

fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => refused("closed during its handshake"),
        kind => refused(format!("{kind} during its handshake")),
    }
}

/// Opens a tunnel with CONNECT (RFC 9110 §9.3.6).
async fn connect(stream: &mut Stream, proxy: &Proxy, origin: &Origin) -> Result<(), Error> {
    let target = origin.host_port();
    let auth = proxy.basic_auth().map(|auth| format!("Proxy-Authorization: {auth}\r\n")).unwrap_or_default();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{auth}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err(refused("closed during its handshake"));
        }
        let mut fields = [httparse::EMPTY_HEADER; CONNECT_FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(&answer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if answer.len() < CONNECT_HEAD_MAX => continue,
            Ok(httparse::Status::Partial) => return Err(refused("head of its answer is too large")),
            Err(_) => return Err(refused("no http answer")),
        };
        return match head.code {
            // In TLS the client speaks first: anything behind the head is not the origin's.
            Some(200..=299) if length == answer.len() => Ok(()),
            Some(200..=299) => Err(refused("bytes behind the head of its answer")),
            Some(407) => Err(refused("credentials required or wrong (407)")),
            Some(code) => Err(refused(format!("answered {code}"))),
            None => Err(refused("no http answer")),
        };
    }
}

/// Opens a tunnel with SOCKS5 (RFC 1928, RFC 1929). Names go to the proxy unresolved.
async fn socks5(stream: &mut Stream, proxy: &Proxy, origin: &Origin) -> Result<(), Error> {
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    let greeting: &[u8] = if proxy.user.is_some() { &[5, 2, NONE, PASSWORD] } else { &[5, 1, NONE] };
    stream.write_all(greeting).await.map_err(broken)?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).await.map_err(broken)?;
    match (choice, &proxy.user) {
        ([5, NONE], _) => {}
        ([5, PASSWORD], Some((name, password))) => {
            // `Proxy` holds at most 255 bytes of each.
            let length = |text: &[u8]| u8::try_from(text.len()).unwrap_or(u8::MAX);
            let mut login = vec![1, length(name)];
            login.extend_from_slice(name);
            login.push(length(password));
            login.extend_from_slice(password);
            stream.write_all(&login).await.map_err(broken)?;
            let mut verdict = [0; 2];
            stream.read_exact(&mut verdict).await.map_err(broken)?;
            if verdict[1] != 0 {
                return Err(refused("credentials wrong"));
            }
        }
        ([5, _], _) => return Err(refused("credentials required")),
        (_, _) => return Err(refused("no socks5 answer")),
    }
    let mut request = vec![5, 1, 0];
    match origin.ip() {
        Some(IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        None => {
            // `Origin` bounds a name to 253 bytes.
            request.extend_from_slice(&[3, u8::try_from(origin.host().len()).unwrap_or(u8::MAX)]);
            request.extend_from_slice(origin.host().as_bytes());
        }
    }
    request.extend_from_slice(&origin.port().to_be_bytes());
    stream.write_all(&request).await.map_err(broken)?;
    // Read exactly: what follows belongs to the origin.
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await.map_err(broken)?;
    if reply[0] != 5 {
        return Err(refused("no socks5 answer"));
    }
    if reply[1] != 0 {
        return Err(refused(match reply[1] {
            2 => "not allowed by its rules",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "connection timed out",
            _ => "tunnel refused",
        }));
    }
    let bound = match reply[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(broken)?),
        _ => return Err(refused("no socks5 answer")),
    };
    let mut rest = [0; 255 + 2];
    stream.read_exact(&mut rest[..bound + 2]).await.map_err(broken)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::RefCell;

    use super::*;

    const fn address(port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
    }

    static TWO: [SocketAddr; 2] = [address(1), address(2)];
    static THREE: [SocketAddr; 3] = [address(1), address(2), address(3)];

    #[test]
    fn families_alternate_from_the_first() {
        let ips: Vec<IpAddr> = ["::1", "::2", "::3", "1.1.1.1"].iter().map(|ip| ip.parse().unwrap()).collect();
        let mixed: Vec<String> = interleave(&ips, 9).iter().map(ToString::to_string).collect();
        assert_eq!(mixed, ["[::1]:9", "1.1.1.1:9", "[::2]:9", "[::3]:9"]);
    }

    #[tokio::test]
    async fn a_refusal_starts_the_next_attempt_at_once() {
        let started = Instant::now();
        let won = race(&THREE, |address| async move {
            if address.port() == 3 { Ok("stream") } else { Err(io::ErrorKind::ConnectionRefused.into()) }
        });
        assert_eq!(won.await.unwrap(), ("stream", THREE[2]));
        assert!(started.elapsed() < ATTEMPT_DELAY);
    }

    #[tokio::test]
    async fn a_silent_address_loses_its_head_start() {
        let started = Instant::now();
        let tried = RefCell::new(Vec::new());
        let won = race(&THREE, |address| {
            tried.borrow_mut().push(address.port());
            async move { if address.port() == 1 { std::future::pending().await } else { Ok(address.port()) } }
        });
        assert_eq!(won.await.unwrap().0, 2);
        assert!(started.elapsed() >= ATTEMPT_DELAY);
        assert_eq!(*tried.borrow(), [1, 2]);
    }

    #[tokio::test]
    async fn a_slow_first_attempt_can_still_win() {
        let won = race(&TWO, |address| async move {
            if address.port() == 2 {
                return std::future::pending().await;
            }
            sleep(ATTEMPT_DELAY + ATTEMPT_DELAY / 2).await;
            Ok(address.port())
        });
        assert_eq!(won.await.unwrap().0, 1);
    }

    #[tokio::test]
    async fn the_last_failure_is_told() {
        let lost = race::<(), _>(&TWO, |address| async move {
            let kind = if address.port() == 1 { io::ErrorKind::TimedOut } else { io::ErrorKind::ConnectionRefused };
            Err(kind.into())
        });
        assert_eq!(lost.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(race::<(), _>(&[], |_| async { Ok(()) }).await.is_err());
    }
}
