//! A vendor, a tool, a hosts file, and the router between them.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::support::{Router, router, within};

/// A host of Kiro, which most tests intercept.
pub(crate) const KIRO: &str = "q.us-east-1.amazonaws.com";
/// A host of Cursor.
pub(crate) const CURSOR: &str = "api2.cursor.sh";
/// Bytes that must come back: no line end at the end, CRLF and LF, bytes that are no UTF-8.
pub(crate) const HOSTS: &[u8] = b"127.0.0.1\tlocalhost\r\n# Zo\xeb\n10.0.0.7 nas  # mine";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The vendor's own certificate authority, with a leaf for both hosts.
struct Vendors {
    root: String,
    leaf: String,
    key: String,
    config: Arc<ServerConfig>,
}

fn vendors() -> &'static Vendors {
    static MADE: OnceLock<Vendors> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // Another name than the leaf's, or the leaf looks as if it had signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, "Vendors");
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = [KIRO, CURSOR, "other.example"].map(str::to_owned).to_vec();
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let key_text = key.serialize_pem();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Vendors { root, leaf: leaf.pem(), key: key_text, config: Arc::new(config) }
    })
}

/// A vendor behind TLS that notes what it is asked, byte by byte, and answers always the same.
pub(crate) struct Vendor {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

pub(crate) const VENDOR_SAYS: &str =
    "HTTP/1.1 200 OK\r\nX-Vendor: Yes\r\nx-order: 1\r\nContent-Length: 6\r\nX-Order: 2\r\n\r\nvendor";

impl Vendor {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = asked.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(vendors().config.clone());
            while let Ok((io, _)) = listener.accept().await {
                let (acceptor, record) = (acceptor.clone(), record.clone());
                tokio::spawn(async move {
                    let Ok(mut io) = acceptor.accept(io).await else { return };
                    while let Some(request) = message(&mut io).await {
                        record.lock().unwrap().push(request);
                        io.write_all(VENDOR_SAYS.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { addr, asked }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A message with a content length, or none, as text.
async fn message(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= head + 4 + length.unwrap_or(0) {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let mut piece = [0; 4096];
        match io.read(&mut piece).await {
            Ok(0) | Err(_) => return (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

/// A configuration that reaches the vendor.
pub(crate) fn config(vendor: SocketAddr, dir: &Path, lines: &str) -> String {
    let ca = dir.join("vendor.pem");
    fs::write(&ca, &vendors().root).unwrap();
    format!(
        "ca_file = \"{}\"\nmitm_tools = \"kiro\"\nmitm_upstream_port = {}\n\
         mitm_addresses = \"{KIRO}=127.0.0.1, {CURSOR}=127.0.0.1, other.example=127.0.0.1\"\n{lines}\n",
        ca.display(),
        vendor.port()
    )
}

/// A certificate authority of the router, made once for all tests: it costs seconds of CPU.
fn authority() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = flow_router::settings::Settings::default();
        settings.mitm.days = 30;
        let folder = dir.path().join("mitm");
        flow_router::mitm::authority::ready(&folder, &settings.mitm, std::time::SystemTime::now()).unwrap();
        dir
    })
    .path()
}

/// A folder with a hosts file, a data folder and an authority in it.
pub(crate) fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hosts"), HOSTS).unwrap();
    fs::set_permissions(dir.path().join("hosts"), fs::Permissions::from_mode(0o640)).unwrap();
    let mitm = dir.path().join("data/mitm");
    fs::create_dir_all(&mitm).unwrap();
    for folder in [dir.path().join("data"), mitm.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    for entry in fs::read_dir(authority().join("mitm")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), mitm.join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// Runs `flow-router mitm …` in a place.
pub(crate) fn mitm(dir: &Path, args: &[&str]) -> Output {
    let mut command = router::command(dir);
    let config = dir.join("test.toml");
    if config.exists() {
        command.arg("--config").arg(config);
    }
    command.arg("mitm").args(args).output().unwrap()
}

/// Likewise, off the runtime's thread.
async fn mitm_aside(dir: &Path, args: &[&str]) -> Output {
    let (dir, args) = (dir.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(move || mitm(&dir, &args.iter().map(String::as_str).collect::<Vec<_>>()));
    output.await.unwrap()
}

/// Likewise, without failing.
pub(crate) async fn ok(dir: &Path, args: &[&str]) -> String {
    let output = mitm_aside(dir, args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Likewise, failing: exit code and what it said.
pub(crate) async fn refused(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = mitm_aside(dir, args).await;
    assert!(!output.status.success());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The status as a document.
pub(crate) async fn status(dir: &Path) -> Value {
    serde_json::from_str(&ok(dir, &["status", "--json"]).await).unwrap()
}

/// Where interception listens.
pub(crate) fn listens(status: &Value) -> SocketAddr {
    status["listen"][0].as_str().unwrap().parse().unwrap()
}

/// What must be as it was: bytes, mode, owner, and nothing beside the file.
pub(crate) fn facts(dir: &Path) -> (Vec<u8>, u32, u32, Vec<String>) {
    let path = dir.join("hosts");
    let metadata = fs::metadata(&path).unwrap();
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut beside: Vec<String> = names.filter(|name| name.starts_with("hosts")).collect();
    beside.sort();
    (fs::read(&path).unwrap(), metadata.mode() & 0o7777, metadata.uid(), beside)
}

/// The router with interception running.
pub(crate) async fn running(dir: TempDir, config: &str) -> (Router, SocketAddr) {
    let router = Router::start_in(dir, config, &[]);
    ok(router.dir.path(), &["start"]).await;
    let at = listens(&status(router.dir.path()).await);
    (router, at)
}

/// The PEM that clients are to trust.
pub(crate) fn root(dir: &Path) -> PathBuf {
    dir.join("data/mitm/rootCA.pem")
}

fn trusting(pem: &[u8], alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Shakes hands over a connection, trusting a PEM text alone.
pub(crate) async fn shake(io: TcpStream, name: &str, pem: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a handshake", trusting(pem, &[b"http/1.1"]).connect(name, io)).await
}

/// Asks over TLS, as a tool that trusts our root: the whole answer.
pub(crate) async fn ask(at: SocketAddr, name: &str, pem: &Path, request: &str) -> std::io::Result<String> {
    let pem = fs::read(pem).unwrap();
    let io = TcpStream::connect(at).await?;
    let mut io = shake(io, name, &pem).await?;
    io.write_all(request.as_bytes()).await?;
    Ok(within("an answer", message(&mut io)).await.unwrap_or_default())
}

/// Asks in plain words.
pub(crate) async fn ask_plainly(at: SocketAddr, request: &str) -> String {
    let mut io = TcpStream::connect(at).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    within("an answer", message(&mut io)).await.unwrap_or_default()
}

/// Writes what another program needs to be the vendor.
pub(crate) fn lend_vendor(dir: &Path) {
    fs::write(dir.join("vendor-leaf.pem"), &vendors().leaf).unwrap();
    fs::write(dir.join("vendor-key.pem"), &vendors().key).unwrap();
}

/// The PEM of the vendors' authority.
pub(crate) fn vendor_root() -> &'static [u8] {
    vendors().root.as_bytes()
}
