//! Whether the way out works: an address is asked directly or through a proxy.

use std::time::{Duration, Instant};

use proxy::{Client, ClientConfig, Egress, Method, Origin, Outbound};
use serde_json::json;
use tokio::time::timeout;
use url::{Position, Url};

use super::{integer, probe};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        route::{Body, Content, ROUTE, Route},
        schema::{COUNT, COUNT_OR_NULL, Object, Schema, TEXT_OR_NULL, name, needed, optional},
    },
    vendor,
};

const TEST: Object = Object {
    name: "ProxyTest",
    members: &[
        needed("url", name(2_048), "what is asked, with GET"),
        optional(
            "proxyUrl",
            name(2_048),
            "through which proxy: http://, socks5:// or socks5h://; as configured unless said",
        ),
        optional("timeoutMs", Schema::Integer(100, 60_000), "8000 unless said"),
    ],
};
const RESULT: Object = Object {
    name: "ProxyTestResult",
    members: &[
        needed("reachable", Schema::Bool, ""),
        needed("statusCode", COUNT_OR_NULL, ""),
        needed("latencyMs", COUNT, ""),
        needed("error", TEXT_OR_NULL, ""),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[Route {
    method: Method::POST,
    path: "/api/settings/proxy-test",
    operation: "testProxy",
    summary: "Asks an address, directly or through a proxy",
    tag: "settings",
    body: Body::Json(&TEST),
    replies: &[(200, Content::Json(Schema::Object(&RESULT)))],
    handler: |api, request| Box::pin(test(api, request)),
    ..ROUTE
}];

async fn test(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let text = request.text("url").unwrap_or_default();
    let wrong = |param: &str, message: &str| Problem::invalid(param, message);
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| wrong("url", "`url` must begin with http:// or https://"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("url", "`url` must not hold a user"));
    }
    let origin = Origin::parse(&url.origin().ascii_serialization());
    let origin = origin.map_err(|_| wrong("url", "`url` needs a host"))?;
    probe::allowed(api, text).map_err(|problem| problem.param("url"))?;
    let client = match request.text("proxyUrl") {
        None => api.client().clone(),
        Some(proxy) => {
            let known =
                ["http://", "https://", "socks5://", "socks5h://"].iter().any(|scheme| proxy.starts_with(scheme));
            let egress = Some(proxy)
                .filter(|_| known)
                .and_then(|proxy| Egress::from_vars(|name| (name == "ALL_PROXY").then(|| proxy.to_owned())).ok());
            let egress = egress.ok_or_else(|| wrong("proxyUrl", "`proxyUrl` must be http://… or socks5://…"))?;
            let config = ClientConfig { egress, refuse: vendor::is_forbidden, ..ClientConfig::default() };
            Client::new(config).map_err(|_| Problem::internal())?
        }
    };
    let limit = request.body.get("timeoutMs").and_then(integer).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(8_000);
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let mut outbound = Outbound::new(origin, Method::GET, target.to_owned());
    outbound.headers.append("user-agent", concat!("flow-router/", env!("CARGO_PKG_VERSION")));
    outbound.connect_timeout = Some(Duration::from_millis(limit));
    let began = Instant::now();
    let (status, error) = match timeout(Duration::from_millis(limit), client.send(outbound)).await {
        // The body is not read: the connection is closed.
        Ok(Ok(response)) => (Some(response.head.status.as_u16()), None),
        Ok(Err(error)) => (None, Some(error.kind.to_string())),
        Err(_) => (None, Some(format!("no answer within {limit} ms"))),
    };
    Ok(Reply::json(json!({
        "reachable": status.is_some(),
        "statusCode": status,
        "latencyMs": probe::ms(began),
        "error": error,
    })))
}
