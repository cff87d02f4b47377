//! Asking the program that runs with a data folder, from another process of the same user: over its management API, with
//! the token that lies in that folder.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use proxy::{Client, ClientConfig, Method, Origin, Outbound, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{api::auth::token, files, settings::Settings};

/// Longest answer that is read, bytes.
const ANSWER_MAX: usize = 1024 * 1024;

/// What the program answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// The document; `null` if there is none.
    pub body: Value,
}

impl Answer {
    /// Why it refused, in its own words.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("it gave no reason")
    }
}

/// Where the program says at which address it is.
fn place(data_dir: &Path) -> PathBuf {
    token::path(data_dir).with_file_name("address")
}

/// Says where this program listens, for those who ask it later. Whoever cannot read it tries what the settings say.
pub fn announce(data_dir: &Path, addr: SocketAddr) {
    let (place, addr) = (place(data_dir), addr.to_string());
    // Mostly it is where it was: that is not worth the wait for the disk.
    if fs::read(&place).is_ok_and(|told| told == addr.as_bytes()) {
        return;
    }
    if let Err(error) = files::replace(&place, addr.as_bytes()) {
        tracing::warn!(%error, "other programs are not told where this one listens");
    }
}

/// Asks the program that runs with the data folder of `settings`.
///
/// # Errors
/// It cannot be reached, or does not answer within `patience`.
pub async fn ask(
    settings: &Settings,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    patience: Duration,
) -> io::Result<Answer> {
    let token = Zeroizing::new(fs::read_to_string(token::path(&settings.data_dir))?);
    let told = fs::read_to_string(place(&settings.data_dir)).ok().and_then(|text| text.trim().parse().ok());
    let addr = reachable(told.unwrap_or(settings.addr));
    let origin = Origin::parse(&format!("http://{addr}")).map_err(io::Error::other)?;
    let mut request = Outbound::new(origin, method, path);
    request.headers.append("authorization", format!("Bearer {}", token.trim()));
    if let Some(body) = body {
        request.headers.append("content-type", "application/json");
        request.body = vec![Bytes::from(body.to_string())];
    }
    let client = Client::new(ClientConfig::default()).map_err(io::Error::other)?;
    let asked = tokio::time::timeout(patience, async {
        let mut response = client.send(request).await?;
        let mut body = Vec::new();
        // An answer of the API is small; what is longer is none.
        while let Some(chunk) = response.body.chunk().await?.filter(|_| body.len() < ANSWER_MAX) {
            body.extend_from_slice(&chunk);
        }
        Ok::<_, proxy::Error>((response.head.status, body))
    });
    let (status, body) = asked
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("the program at {addr} does not answer")))?
        .map_err(|error| io::Error::other(format!("the program at {addr} cannot be asked: {error}")))?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// An address under which this machine reaches what listens on `addr`.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        // `::` takes IPv4 as well.
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    SocketAddr::new(ip, addr.port())
}
