//! What the front of interception costs beside a bare relay, in one run over loopback.
//!
//! `tunnel`: megabytes through CONNECT, one way, and the CPU of the whole process for them, beside a relay that does nothing
//! but tokio's `copy_bidirectional`; the two ends are the same in both, so that a ratio of their CPU flatters nobody who
//! relays. `first` and `kept`: a whole TLS 1.3 handshake with a request, and a request on a connection that is there,
//! answered by the front itself and passed on to a true server behind TLS.
//!
//! No criterion: CPU is what is asked for, and pairs, in turn. Lines of `name value unit`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxy::{
    Call, ClientConfig, Fresh, Handler, Hello, Origin, Relay, ResponseHead, Roots, StatusCode,
    front::{Admission, Asked, Entry, Front, FrontConfig, Gate, Identity, Verdict, listen},
    verbatim::Passage,
};
use rustls::{
    ClientConfig as TlsConfig, RootCertStore, ServerConfig, client::Resumption, crypto::aws_lc_rs,
    pki_types::PrivateKeyDer, pki_types::ServerName,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "bench.test";
/// Bytes of one run through a tunnel, and how many runs of each kind, in turn.
const BYTES: u64 = 2 * 1024 * 1024 * 1024;
const RUNS: usize = 5;
const HANDSHAKES: usize = 300;
const REQUESTS: usize = 3_000;

struct Always {
    identity: Identity,
    upstream: Origin,
}

impl Gate for Always {
    async fn admit(&self, _: &Asked, _: &Origin) -> Admission {
        Admission::Tunnel
    }

    async fn judge(&self, _: &Asked, _: &Hello) -> Verdict {
        Verdict::Terminate { identity: self.identity.clone(), upstream: self.upstream.clone() }
    }
}

struct Answers(Arc<Relay>);

impl Handler for Answers {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        if call.head().path() == b"/ours" {
            call.respond(ResponseHead::new(StatusCode::OK), Bytes::from_static(b"ours")).await.unwrap();
            return;
        }
        let origin = call.tls().unwrap().upstream.clone();
        let head = call.take_head();
        self.0.pass(call, Passage::new(origin, head)).await.unwrap();
    }
}

fn certified() -> (ServerConfig, proxy::CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (config, leaf)
}

/// CPU of this process, user and system, all threads.
fn cpu() -> Duration {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Duration::ZERO };
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A server that takes everything.
async fn sink() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut block = vec![0; 256 * 1024];
                let mut sum = 0;
                loop {
                    match io.read(&mut block).await.unwrap() {
                        0 => break,
                        n => sum += n as u64,
                    }
                }
                io.write_all(&sum.to_be_bytes()).await.unwrap();
            });
        }
    });
    address
}

async fn bare_relay(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.unwrap();
            });
        }
    });
    address
}

/// Megabytes per second, and CPU milliseconds per gigabyte.
async fn pour(mut io: TcpStream) -> (f64, f64) {
    let block = vec![7; 256 * 1024];
    let (began, before) = (Instant::now(), cpu());
    for _ in 0..BYTES / block.len() as u64 {
        io.write_all(&block).await.unwrap();
    }
    io.shutdown().await.unwrap();
    let mut sum = [0; 8];
    io.read_exact(&mut sum).await.unwrap();
    assert_eq!(u64::from_be_bytes(sum), BYTES);
    let gigabytes = BYTES as f64 / 1e9;
    let (spent, wall) = ((cpu() - before).as_secs_f64(), began.elapsed().as_secs_f64());
    (gigabytes * 1e3 / wall, spent * 1e3 / gigabytes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn tunnels(proxy: SocketAddr) {
    let to = sink().await;
    let relay = bare_relay(to).await;
    let mut rates = [Vec::new(), Vec::new()];
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        for (kind, rates) in rates.iter_mut().enumerate() {
            let io = if kind == 0 {
                TcpStream::connect(relay).await.unwrap()
            } else {
                let mut io = TcpStream::connect(proxy).await.unwrap();
                io.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
                io.read_exact(&mut [0; 39]).await.unwrap();
                io
            };
            let (rate, cost) = pour(io).await;
            rates.push(rate);
            costs[kind].push(cost);
        }
    }
    let [bare_rate, rate] = rates.map(median);
    let [bare_cost, cost] = costs.map(median);
    println!("tunnel_bare_rate {bare_rate:.0} MB/s");
    println!("tunnel_rate {rate:.0} MB/s");
    println!("tunnel_rate_ratio {:.2} of bare", rate / bare_rate);
    println!("tunnel_bare_cpu {bare_cost:.0} ms/GB");
    println!("tunnel_cpu {cost:.0} ms/GB");
    println!("tunnel_cpu_ratio {:.2} of bare", cost / bare_cost);
}

async fn ask(io: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin), path: &str) {
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await.unwrap();
    io.flush().await.unwrap();
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"ours") {
        assert!(io.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
}

async fn requests(front: SocketAddr, trusted: proxy::CertificateDer<'static>) {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let mut config = TlsConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let shake = || async {
        let io = TcpStream::connect(front).await.unwrap();
        io.set_nodelay(true).unwrap();
        connector.connect(ServerName::try_from(NAME).unwrap(), io).await.unwrap()
    };
    ask(&mut shake().await, "/theirs").await;
    let (mut times, before) = (Vec::new(), cpu());
    for _ in 0..HANDSHAKES {
        let began = Instant::now();
        ask(&mut shake().await, "/ours").await;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    println!("first_request {:.0} us", median(times));
    println!("first_request_cpu {:.0} us", (cpu() - before).as_secs_f64() * 1e6 / HANDSHAKES as f64);
    for path in ["/ours", "/theirs"] {
        let mut io = shake().await;
        let (mut times, before) = (Vec::new(), cpu());
        for _ in 0..REQUESTS {
            let began = Instant::now();
            ask(&mut io, path).await;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        println!("kept{} {:.1} us", path.replace('/', "_"), median(times));
        println!("kept{}_cpu {:.1} us", path.replace('/', "_"), (cpu() - before).as_secs_f64() * 1e6 / REQUESTS as f64);
    }
}

/// A true server behind TLS.
async fn theirs(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut io = acceptor.accept(io).await.unwrap();
                let mut asked = Vec::new();
                while io.read_buf(&mut asked).await.is_ok_and(|n| n > 0) {
                    if asked.ends_with(b"\r\n\r\n") {
                        asked.clear();
                        io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nours").await.unwrap();
                        io.flush().await.unwrap();
                    }
                }
            });
        }
    });
    address
}

fn main() {
    // `cargo test --benches` builds it, and runs nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let (ours, our_root) = certified();
        let (true_server, their_root) = certified();
        let upstream = theirs(true_server).await;
        let relay = Relay::new(ClientConfig {
            roots: Roots::BundledPlus(vec![their_root]),
            pins: vec![(NAME.to_owned(), vec![Ipv4Addr::LOCALHOST.into()])],
            ..ClientConfig::default()
        })
        .unwrap();
        let upstream = Origin::https(NAME, upstream.port()).unwrap();
        let gate = Arc::new(Always { identity: Identity::new(ours), upstream });
        let front = Front::new(FrontConfig::default(), gate, Arc::new(Answers(Arc::clone(&relay))), relay);
        let mut addresses = Vec::new();
        for entry in [Entry::Redirected, Entry::Proxy] {
            let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            addresses.push(listener.local_addr().unwrap());
            let front = front.clone();
            tokio::spawn(async move { front.serve(listener, entry, std::future::pending(), Duration::ZERO).await });
        }
        requests(addresses[0], our_root).await;
        tunnels(addresses[1]).await;
    });
}
