//! An authority in a temporary folder, and a TLS server that shows its leaves.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::SystemTime,
};

use certs::{Authority, Cache, Folder, Host, LeafKey, Names, Profile, Resolver};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A name that the authority is made for.
pub(crate) const INSIDE: &str = "api.inside.example";
/// One that it is not.
pub(crate) const OUTSIDE: &str = "bank.outside.example";

pub(crate) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

/// An authority for `inside.example`.
pub(crate) struct Made {
    pub(crate) folder: Folder,
    pub(crate) authority: Arc<Authority>,
    pub(crate) place: tempfile::TempDir,
}

impl Made {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("mitm"));
        let profile = Profile::new(Names::new([host("inside.example")]));
        let authority = Arc::new(folder.create(&profile, SystemTime::now()).unwrap());
        Self { folder, authority, place }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.root_path()
    }

    /// A configuration that answers through our resolver.
    pub(crate) fn config(&self, key: LeafKey, alpn: &[&[u8]]) -> ServerConfig {
        let cache = Arc::new(Cache::new(self.authority.clone(), key));
        certs::server_config(Arc::new(Resolver::new(cache, |_| true)), alpn).unwrap()
    }

    /// A leaf for a name outside of the constraint, signed with the issuing key behind our back: what a thief could make.
    /// As PEM with its key.
    pub(crate) fn stolen(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = std::fs::read_to_string(self.folder.path().join("issuingCA.key")).unwrap();
        let key = rcgen::KeyPair::from_pem(&key).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_der(self.authority.issuing(), key).unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        params.not_before = (now - std::time::Duration::from_secs(60 * 60)).into();
        params.not_after = (now + std::time::Duration::from_secs(24 * 60 * 60)).into();
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&leaf_key, &issuer).unwrap(), leaf_key)
    }

    /// A configuration that shows a stolen leaf for `name`.
    pub(crate) fn stolen_config(&self, name: &str) -> ServerConfig {
        let (leaf, key) = self.stolen(name);
        let chain = vec![leaf.der().clone(), self.authority.issuing().clone()];
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// An HTTPS server on a free port that answers each request with the name that was asked for. Its thread ends with the
/// test's process.
pub(crate) fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            thread::spawn(move || answer(stream.unwrap(), config));
        }
    });
    port
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) {
    let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
    let mut line = String::new();
    // A client that refuses our certificate ends here.
    while tls.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line.ends_with("\r\n\r\n") {
            let name = tls.get_ref().conn.server_name().unwrap_or("nobody").to_owned();
            let body = format!("hello from {name}\n");
            let length = body.len();
            let tls = tls.get_mut();
            let _ = write!(
                tls,
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            tls.conn.send_close_notify();
            let _ = tls.flush();
            return;
        }
    }
}
