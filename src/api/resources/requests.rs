//! The log of requests: lists, single requests, exports.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{
    export,
    time::{FROM, Period, TO, TZ, period, zone},
};
use crate::{
    api::{
        Api, Problem, Reply, Request,
        page::{CURSOR_PARAM, LIMIT_PARAM, Page, Q_PARAM, document, list_of, no_cursor},
        route::{Content, Param, ROUTE, Route, USAGE},
        schema::{COUNT, COUNT_OR_NULL, NUMBER_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TIME, line, needed},
    },
    store::{
        Connection,
        usage::{self, Cursor, Endpoint, Filter, Logged, Names, Wanted},
    },
    usage::live::shown,
};

pub(super) const ENTRY: Object = Object {
    name: "UsageEntry",
    members: &[
        needed("id", COUNT, "of the row"),
        needed("requestId", TEXT, "of the request; its attempts share it"),
        needed("startedAt", TIME, ""),
        needed("session", TEXT_OR_NULL, ""),
        needed("key", TEXT_OR_NULL, ""),
        needed("client", TEXT_OR_NULL, "its program, by family"),
        needed("clientIp", TEXT_OR_NULL, ""),
        needed("provider", TEXT_OR_NULL, ""),
        needed("modelRequested", TEXT, ""),
        needed("model", TEXT_OR_NULL, ""),
        needed("alias", TEXT_OR_NULL, ""),
        needed("dialect", TEXT, ""),
        needed("dialectUpstream", TEXT_OR_NULL, "the provider's"),
        needed("endpoint", TEXT, "chat, generate or count_tokens"),
        needed("stream", Schema::Bool, ""),
        needed("attempt", COUNT, ""),
        needed("attempts", COUNT, ""),
        needed("status", COUNT, "0 if there was none"),
        needed("outcome", TEXT, ""),
        needed("error", TEXT_OR_NULL, ""),
        needed("promptTokens", COUNT, ""),
        needed("completionTokens", COUNT, ""),
        needed("cacheReadTokens", COUNT, ""),
        needed("cacheWriteTokens", COUNT, ""),
        needed("reasoningTokens", COUNT, ""),
        needed("estimated", Schema::Bool, ""),
        needed("costUsd", NUMBER_OR_NULL, "null where no price is known"),
        needed("ttftMs", COUNT_OR_NULL, ""),
        needed("latencyMs", COUNT, ""),
        needed("addedUs", COUNT_OR_NULL, "our own share of the time to the first content, in microseconds"),
        needed("bytesIn", COUNT, ""),
        needed("bytesOut", COUNT, ""),
    ],
};
const LOG: Schema = list_of!("UsageLog", Schema::Object(&ENTRY));
const DETAILS: Object = Object {
    name: "RequestDetails",
    members: &[
        needed("request", Schema::Object(&ENTRY), "its last attempt"),
        needed("attempts", Schema::List(&Schema::Object(&ENTRY), usize::MAX), "all of them, the first one first"),
    ],
};

/// Filters of the log.
macro_rules! filters {
    ($($more:expr),* $(,)?) => {
        &[
            FROM,
            TO,
            TZ,
            Param { name: "provider", schema: line(128), help: "* stands for any text, as in all below" },
            Param { name: "model", schema: line(256), help: "requested or used" },
            Param { name: "key", schema: line(128), help: "name of the caller's key" },
            Param { name: "client", schema: line(128), help: "the client's family" },
            Param { name: "session", schema: line(256), help: "the client's session, exactly" },
            Param { name: "status", schema: line(32), help: "ok, error, an outcome such as timeout, or an HTTP status" },
            Param {
                name: "endpoint",
                schema: Schema::Word(&["chat", "generate", "count_tokens"]),
                help: "what was asked",
            },
            Param { name: "minLatencyMs", schema: Schema::Integer(0, 4_294_967_295), help: "lasted at least so long" },
            Param { name: "finals", schema: super::FLAG, help: "only the last attempt of each request" },
            Q_PARAM,
            $($more),*
        ]
    };
}

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/usage/history",
        aliases: &["/api/usage/request-logs", "/api/console-log"],
        capability: USAGE,
        operation: "listUsage",
        summary: "The log of requests, newest first: a row per attempt",
        tag: "usage",
        query: filters![LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(LOG))],
        errors: &[504],
        handler: |api, request| Box::pin(history(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/request-details",
        capability: USAGE,
        operation: "getRequestDetails",
        summary: "One request with all its attempts",
        tag: "usage",
        query: &[Param { name: "id", schema: line(128), help: "a row's number, or the request's id; needed" }],
        replies: &[(200, Content::Json(Schema::Object(&DETAILS)))],
        errors: &[404, 504],
        handler: |api, request| Box::pin(details(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/requests/{id}",
        capability: USAGE,
        operation: "getRequest",
        summary: "One request with all its attempts",
        tag: "usage",
        replies: &[(200, Content::Json(Schema::Object(&DETAILS)))],
        errors: &[504],
        handler: |api, request| Box::pin(details(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/usage/export",
        capability: USAGE,
        operation: "exportUsage",
        summary: "The log of requests as a file, newest first",
        tag: "usage",
        query: filters![Param { name: "format", schema: Schema::Word(&["csv", "jsonl"]), help: "csv unless said" }],
        replies: &[(200, Content::Other(&[export::CSV, export::JSONL]))],
        errors: &[504],
        handler: |api, request| Box::pin(export(api, request)),
        ..ROUTE
    },
];

/// Which rows of the log are wanted.
fn filter(request: &Request) -> Result<Filter, Problem> {
    let zone = zone(request)?;
    let Period { from_ms, to_ms } = period(request, &zone)?;
    let text = |name: &str| request.query(name).map(str::to_owned);
    let status = match request.query("status") {
        None => None,
        Some(text) => Some(Wanted::from_str(text).map_err(|()| {
            Problem::query("status", format!("`{text}` is no status: use ok, error, an outcome or an HTTP status"))
        })?),
    };
    Ok(Filter {
        from_ms,
        to_ms,
        provider: text("provider"),
        model: text("model"),
        key: text("key"),
        client: text("client"),
        session: text("session"),
        wanted: status,
        endpoint: request.query("endpoint").and_then(Endpoint::named),
        min_duration_ms: request.number("minLatencyMs").and_then(|ms| u32::try_from(ms).ok()),
        text: text("q"),
        finals: request.flag("finals"),
    })
}

/// A row of the log with its number.
pub(super) fn entry(logged: &Logged) -> Value {
    let mut document = shown(&logged.row);
    document["id"] = logged.id.into();
    document
}

async fn history(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let (filter, page) = (filter(request)?, Page::of(request)?);
    let after: Option<Cursor> = page.after.as_deref().map(|text| text.parse().map_err(|()| no_cursor())).transpose()?;
    let limit = page.limit;
    let read = move |conn: &Connection| Ok(usage::list(conn, &mut Names::default(), &filter, after, limit)?);
    let found = api.live().store().read(read).await?;
    let next = found.next.map(|next| next.to_string());
    Ok(Reply::json(document(found.rows.iter().map(entry).collect(), None, next.as_deref())))
}

async fn details(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let id = match request.param("id") {
        "" => request.query("id").ok_or_else(|| Problem::query("id", "the parameter `id` is missing"))?,
        id => id,
    };
    let wanted = id.to_owned();
    let read = move |conn: &Connection| Ok(usage::request(conn, &mut Names::default(), &wanted)?);
    let rows = api.live().store().read(read).await?;
    let last = rows.last().ok_or_else(|| Problem::not_found(format!("request {id} in the log")))?;
    let attempts: Vec<_> = rows.iter().map(entry).collect();
    Ok(Reply::json(json!({"request": entry(last), "attempts": attempts})))
}

async fn export(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let filter = filter(request)?;
    export::reply(api, filter, request.query("format") == Some("jsonl")).await
}
