//! Peers that do what a script says.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use proxy::{CertificateDer, Client, ClientConfig, Error, Method, Origin, Outbound, Response, Roots};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A listener on a free port and the origin that names it.
pub(crate) async fn listen() -> (TcpListener, Origin) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, origin)
}

pub(crate) fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

pub(crate) fn get(origin: &Origin) -> Outbound {
    Outbound::new(origin.clone(), Method::GET, "/")
}

pub(crate) fn post(origin: &Origin, body: impl Into<Bytes>) -> Outbound {
    Outbound { body: vec![body.into()], ..Outbound::new(origin.clone(), Method::POST, "/v1/messages") }
}

/// Head and counted body of one request.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        let read = stream.read_buf(&mut request).await.unwrap();
        assert!(read > 0, "the client left in the middle of a request");
    }
}

/// Reads one request and answers it.
pub(crate) async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> String {
    let request = read_request(stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    request
}

/// Waits until the client has closed; data before that is thrown away.
pub(crate) async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buf = vec![0; 64 * 1024];
    while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
}

/// Sends and reads everything.
pub(crate) async fn fetch(client: &Client, request: Outbound) -> Result<(Response, Bytes), Error> {
    let mut response = client.send(request).await?;
    let body = response.body.collect(usize::MAX).await?;
    Ok((response, body))
}

/// A certificate authority of our own.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) root: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // Of its own name: a client takes another authority of the same name for a forgery.
        let name = format!("test authority {}", u64::from_be_bytes(key.public_key_raw()[8..16].try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: rcgen::Issuer::new(params, key), root }
    }

    /// A server that offers `alpn` and shows a certificate for `name`.
    pub(crate) fn server(&self, name: &str, alpn: &[&str], change: fn(&mut rcgen::CertificateParams)) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(name, alpn, change)))
    }

    /// What such a server is made of.
    pub(crate) fn config(&self, name: &str, alpn: &[&str], change: fn(&mut rcgen::CertificateParams)) -> ServerConfig {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A configuration that trusts this authority and knows where `name` is.
    pub(crate) fn trusted(&self, name: &str) -> ClientConfig {
        let loopback = vec![Ipv4Addr::LOCALHOST.into()];
        let roots = Roots::BundledPlus(vec![self.root.clone()]);
        ClientConfig { roots, pins: vec![(name.to_owned(), loopback)], ..ClientConfig::default() }
    }
}

/// The https origin of that listener under `name`.
pub(crate) fn https(name: &str, listener: &TcpListener) -> Origin {
    Origin::parse(&format!("https://{name}:{}", listener.local_addr().unwrap().port())).unwrap()
}
