//! One request to the identity provider: bounded in time and size, without redirects, and never to where nobody is to be
//! asked, whatever its name leads to.

use std::time::Duration;

use bytes::Bytes;
use proxy::{Client, Kind, Method, Origin, Outbound, StatusCode};
use url::{Position, Url};

use super::Failure;

/// Time for one request, from the first packet to the last.
const TIME: Duration = Duration::from_secs(10);

/// Most bytes of an answer.
const BYTES_MAX: usize = 256 * 1024;

/// The ways out to a provider. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ways {
    /// Everywhere but to clouds' metadata: for what the administrator typed.
    pub any: Client,
    /// To the open internet: for what a provider there names besides its own host.
    pub outside: Client,
}

/// Fetches a document.
pub(super) async fn get(client: &Client, url: &Url) -> Result<Bytes, Failure> {
    let mut request = outbound(url, Method::GET)?;
    request.headers.append("accept", "application/json");
    send(client, request, url).await
}

/// Sends a form.
pub(super) async fn post(
    client: &Client,
    url: &Url,
    form: String,
    authorization: Option<String>,
) -> Result<Bytes, Failure> {
    let mut request = outbound(url, Method::POST)?;
    request.headers.append("content-type", "application/x-www-form-urlencoded");
    request.headers.append("accept", "application/json");
    if let Some(authorization) = authorization {
        request.headers.append("authorization", authorization);
    }
    request.body = vec![Bytes::from(form)];
    send(client, request, url).await
}

fn outbound(url: &Url, method: Method) -> Result<Outbound, Failure> {
    let origin = Origin::parse(&url[..Position::BeforePath]);
    let origin = origin.map_err(|_| Failure::Unusable("an address of the provider cannot be used".to_owned()))?;
    Ok(Outbound::new(origin, method, url[Position::BeforePath..Position::AfterQuery].to_owned()))
}

async fn send(client: &Client, request: Outbound, url: &Url) -> Result<Bytes, Failure> {
    let place = &url[..Position::AfterPath];
    let unreachable = |why: String| Failure::Unreachable(format!("{place}: {why}"));
    let answer = tokio::time::timeout(TIME, async {
        let mut response = client.send(request).await.map_err(|error| match error.kind {
            Kind::Refused(_) => Failure::Forbidden(format!("{place}: {error}")),
            _ => unreachable(error.to_string()),
        })?;
        let body = response.body.collect(BYTES_MAX).await.map_err(|error| match error.kind {
            Kind::TooLarge { .. } => unreachable(format!("the answer has more than {BYTES_MAX} bytes")),
            _ => unreachable(error.to_string()),
        })?;
        Ok((response.head.status, body))
    });
    let (status, body) = match answer.await {
        Ok(answer) => answer?,
        Err(_) => return Err(unreachable(format!("no answer within {} s", TIME.as_secs()))),
    };
    match status {
        StatusCode::OK => Ok(body),
        // The provider's own word (RFC 6749 §5.2), which names no secret.
        status => {
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let word: String = said["error"].as_str().unwrap_or_default().chars().take(100).collect();
            Err(Failure::Refused(format!("{place}: {status} {word}")))
        }
    }
}
