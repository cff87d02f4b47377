//! Asks ourselves, as a client would that trusts our root and nothing else: before names lead here, it is proven that we
//! answer under them.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use certs::Root;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, crypto::aws_lc_rs, pki_types::ServerName};

use super::{Failure, policy::OWN_NAME};

/// A step of one handshake may take so long. The gate asks no true server for clients that offer no protocol.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes.
const ANSWER_MAX: u64 = 4096;

/// Shakes hands at `addr` under each of `names`, and asks under our own name whether it is the process that calls itself
/// `instance`. Blocks.
///
/// # Errors
/// `self_test`, with the name and what was wrong.
pub(super) fn ask(addr: SocketAddr, names: &[&str], root: &Root, instance: &str) -> Result<(), Failure> {
    let config = config(root)?;
    for name in names {
        reach(addr).and_then(|socket| shake(socket, name, &config)).map_err(|error| failed(addr, name, &error))?;
    }
    let answer =
        reach(addr).and_then(|socket| shake(socket, OWN_NAME, &config)).and_then(|(mut connection, mut socket)| {
            let mut stream = Stream::new(&mut connection, &mut socket);
            write!(stream, "GET / HTTP/1.1\r\nhost: {OWN_NAME}\r\nconnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
            Ok(answer)
        });
    let answer = answer.map_err(|error| failed(addr, OWN_NAME, &error))?;
    if answer.windows(instance.len()).any(|part| part == instance.as_bytes()) {
        Ok(())
    } else {
        Err(Failure::new("self_test", format!("another program answers at {addr}")))
    }
}

/// The same through the proxy at `addr`, which is asked to connect to each of `names`. Blocks.
///
/// # Errors
/// `self_test`, with the name and what was wrong.
pub(super) fn ask_proxy(addr: SocketAddr, names: &[&str], root: &Root) -> Result<(), Failure> {
    let config = config(root)?;
    for name in names {
        let asked = reach(addr).and_then(|mut socket| {
            write!(socket, "CONNECT {name}:443 HTTP/1.1\r\nhost: {name}:443\r\n\r\n")?;
            let mut answer = Vec::new();
            // Byte by byte: what follows the head is not ours to take.
            while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER_MAX as usize {
                let mut byte = [0];
                socket.read_exact(&mut byte)?;
                answer.push(byte[0]);
            }
            match answer.get(9..12) {
                Some(b"200") => shake(socket, name, &config),
                status => {
                    Err(io::Error::other(format!("the proxy said {}", String::from_utf8_lossy(status.unwrap_or(b"?")))))
                }
            }
        });
        asked.map_err(|error| failed(addr, name, &error))?;
    }
    Ok(())
}

fn config(root: &Root) -> Result<Arc<ClientConfig>, Failure> {
    let wrong = |error: rustls::Error| Failure::new("self_test", error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).map_err(wrong)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder.with_safe_default_protocol_versions().map_err(wrong)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn reach(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&addr, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn shake(mut socket: TcpStream, name: &str, config: &Arc<ClientConfig>) -> io::Result<(ClientConnection, TcpStream)> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(config.clone(), server).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok((connection, socket))
}

fn failed(addr: SocketAddr, name: &str, error: &io::Error) -> Failure {
    Failure::new("self_test", format!("asking ourselves at {addr} as {name}: {error}"))
}
