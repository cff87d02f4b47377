//! The program itself: health, version, end, log, audit log, and this API's own description.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use proxy::Method;
use serde_json::{Map, Value, json};
use tracing::Level;

use crate::{
    api::{
        Api, Cut, Payload, Pieces, Problem, Reply, Request,
        auth::{Capability, mode_name},
        openapi, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, list_of},
        reply::event,
        route::{Content, Param, ROUTE, Route},
        schema::{COUNT, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, line, needed, optional},
    },
    gateway,
    runtime::After,
    settings::Scope,
    store::{State, audit},
    telemetry::ring::{self, Line},
    usage::live::{now_ms, rfc3339},
};

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

const HEALTH: Object = Object {
    name: "Health",
    members: &[
        needed("service", TEXT, ""),
        needed("status", Schema::Word(&["ok", "degraded", "draining"]), ""),
        needed("version", TEXT, ""),
        needed("uptime", COUNT, "seconds since the start"),
        optional("providers", COUNT, "providers in force; only for administrators, like what follows"),
        optional("cooling", COUNT, "how many of them, or of their models, are cooling down"),
        optional("store", TEXT, "`ok`, or what is wrong with the store"),
        optional("backlog", COUNT, "usage rows that wait to be written"),
        optional("dropped", COUNT, "usage rows that were given up"),
        optional("writerLagMs", COUNT, "how long the oldest of them has waited"),
        optional("listeners", COUNT, "who watches the feed of events"),
        optional("readOnly", Schema::Bool, "whether the configuration is the file's alone"),
        optional("notes", Schema::List(&Schema::Object(&NOTE), usize::MAX), "what the store says and is not in force"),
    ],
};
pub(super) const NOTE: Object =
    Object { name: "Note", members: &[needed("place", TEXT, ""), needed("message", TEXT, "")] };
const VERSION: Object = Object {
    name: "Version",
    members: &[
        needed("version", TEXT, "the Ollama version that clients of that API ask for"),
        needed("routerVersion", TEXT, "the version of this program"),
        needed("gitSha", TEXT_OR_NULL, "the commit that it was built from, where the build knew it"),
        needed("os", TEXT, ""),
        needed("arch", TEXT, ""),
        needed("startedAt", TIME, ""),
        needed("uptimeSec", COUNT, ""),
    ],
};
const STOPPING: Object = Object {
    name: "Stopping",
    members: &[needed("shuttingDown", Schema::Bool, ""), needed("drainSeconds", Schema::Number(0.0), "")],
};
const RESTARTING: Object = Object {
    name: "Restarting",
    members: &[needed("restarting", Schema::Bool, ""), needed("drainSeconds", Schema::Number(0.0), "")],
};
const INIT: Object = Object {
    name: "Init",
    members: &[
        needed("version", TEXT, "the version of this program"),
        needed("os", TEXT, ""),
        needed("arch", TEXT, ""),
        needed("startedAt", TIME, ""),
        needed("now", TIME, ""),
        needed("timezone", TEXT, ""),
        needed("locale", TEXT, "language and region of the dashboard"),
        needed("theme", TEXT, "its colours"),
        needed("baseUrl", TEXT, "where clients are to be pointed"),
        needed("providerCount", COUNT, ""),
        needed("demo", Schema::Bool, "whether only the embedded demo answers"),
        needed("readOnly", Schema::Bool, ""),
        needed(
            "auth",
            Schema::Object(&Object {
                name: "InitAuth",
                members: &[
                    needed("authMode", TEXT, ""),
                    needed("requireLogin", Schema::Bool, ""),
                    needed("principal", TEXT, ""),
                    needed("actor", TEXT, ""),
                ],
            }),
            "",
        ),
        needed("features", TEXTS, "tags of this API"),
    ],
};
const LOG_LINE: Object = Object {
    name: "LogLine",
    members: &[
        needed("id", COUNT, ""),
        needed("ts", TIME, ""),
        needed("level", Schema::Word(LEVELS), ""),
        needed("target", TEXT, "the part of the program"),
        needed("message", TEXT, ""),
        needed("fields", Schema::Map(&TEXT), ""),
    ],
};
const LOG_LINES: Schema = list_of!("LogLines", Schema::Object(&LOG_LINE));
const AUDIT: Object = Object {
    name: "AuditEntry",
    members: &[
        needed("id", COUNT, ""),
        needed("ts", TIME, ""),
        needed("actor", TEXT, "who"),
        needed("ip", TEXT_OR_NULL, "from where"),
        needed("action", TEXT, "what, such as provider.create"),
        needed("target", TEXT_OR_NULL, "to what: kind and id"),
        needed("detail", Schema::Any, "more, without secrets"),
    ],
};
const AUDIT_LIST: Schema = list_of!("AuditList", Schema::Object(&AUDIT));

const LEVEL: Param =
    Param { name: "level", schema: Schema::Word(LEVELS), help: "only lines of this level, and worse ones" };
const TARGET: Param = Param { name: "target", schema: line(128), help: "only this part of the program: a prefix" };

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/health",
        capability: Capability::Public,
        operation: "getHealth",
        summary: "Whether the gateway is well; details for administrators",
        tag: "system",
        replies: &[(200, Content::Json(Schema::Object(&HEALTH)))],
        handler: |api, request| Box::pin(health(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/version",
        capability: Capability::Public,
        operation: "getVersion",
        summary: "Which program this is; Ollama's clients ask here too",
        tag: "system",
        replies: &[(200, Content::Json(Schema::Object(&VERSION)))],
        handler: |api, request| Box::pin(version(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/version/update",
        operation: "updateProgram",
        summary: "Says how to update: the program does not replace itself",
        tag: "system",
        replies: &[],
        errors: &[501],
        handler: |_, _| Box::pin(update()),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/shutdown",
        aliases: &["/api/version/shutdown"],
        operation: "shutDown",
        summary: "Ends the program: running exchanges get the time of the setting drain",
        tag: "system",
        replies: &[(202, Content::Json(Schema::Object(&STOPPING)))],
        changes: true,
        handler: |api, request| Box::pin(shutdown(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/restart",
        operation: "restart",
        summary: "Ends the program in order and starts it again, in the same process; not on Windows",
        tag: "system",
        replies: &[(202, Content::Json(Schema::Object(&RESTARTING)))],
        errors: &[501],
        changes: true,
        handler: |api, request| Box::pin(restart(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/init",
        operation: "getInit",
        summary: "What a dashboard needs to begin",
        tag: "system",
        replies: &[(200, Content::Json(Schema::Object(&INIT)))],
        handler: |api, request| Box::pin(init(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/openapi.json",
        operation: "getOpenApi",
        summary: "This API as an OpenAPI document",
        tag: "system",
        handler: |_, _| Box::pin(async { Ok(Reply::json(openapi::document().clone())) }),
        ..ROUTE
    },
    Route {
        path: "/api/logs",
        operation: "listLogs",
        summary: "The last lines of the program's log, newest first",
        tag: "system",
        query: &[LEVEL, TARGET, page::Q_PARAM, LIMIT_PARAM],
        replies: &[(200, Content::Json(LOG_LINES))],
        handler: |_, request| Box::pin(logs(request)),
        ..ROUTE
    },
    Route {
        path: "/api/logs/stream",
        operation: "streamLogs",
        summary: "The program's log as it is written, as server-sent events",
        tag: "system",
        query: &[LEVEL, TARGET, page::Q_PARAM],
        replies: &[(200, Content::Events)],
        handler: |_, request| Box::pin(log_stream(request)),
        ..ROUTE
    },
    Route {
        path: "/api/audit",
        operation: "listAudit",
        summary: "Who changed what, newest first",
        tag: "system",
        query: &[LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(AUDIT_LIST))],
        errors: &[504],
        handler: |api, request| Box::pin(audit_log(api, request)),
        ..ROUTE
    },
];

async fn health(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let store = api.live().store().status();
    let state = match &store.state {
        _ if api.live().shared().is_draining() => "draining",
        State::Ok => "ok",
        State::Degraded(_) => "degraded",
    };
    let mut document = json!({
        "service": "flow_router",
        "status": state,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": api.shared.started.elapsed().as_secs(),
    });
    if request.principal.allows(Scope::Admin) {
        let shared = api.live().shared();
        document["providers"] = request.snapshot.settings.providers.len().into();
        document["cooling"] = shared.health.cooling(std::time::Instant::now()).into();
        document["store"] = match &store.state {
            State::Ok => "ok".into(),
            State::Degraded(reason) => reason.as_str().into(),
        };
        document["backlog"] = store.backlog_rows.into();
        document["dropped"] = store.dropped_rows.into();
        document["writerLagMs"] = u64::try_from(store.lag.as_millis()).unwrap_or(u64::MAX).into();
        document["listeners"] = shared.feed.listeners().into();
        document["readOnly"] = api.live().read_only().into();
        document["notes"] = notes(api);
    }
    Ok(Reply::json(document))
}

/// What the store says and is not in force.
pub(super) fn notes(api: &Api) -> Value {
    let notes = api.live().notes().into_iter();
    notes.map(|note| json!({"place": note.place, "message": note.message})).collect()
}

async fn version(api: &Api, _: &Request) -> Result<Reply, Problem> {
    Ok(Reply::json(json!({
        "version": gateway::OLLAMA_VERSION,
        "routerVersion": env!("CARGO_PKG_VERSION"),
        "gitSha": option_env!("FLOW_ROUTER_GIT_SHA"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "startedAt": rfc3339(api.shared.started_ms),
        "uptimeSec": api.shared.started.elapsed().as_secs(),
    })))
}

async fn update() -> Result<Reply, Problem> {
    let hint = "install the new release in the place of this program and restart it; the database is migrated then";
    Err(Problem::new(501, "not_available_here", "the program does not update itself").details(json!({ "hint": hint })))
}

async fn shutdown(api: &Api, request: &Request) -> Result<Reply, Problem> {
    end(api, request, "system.shutdown", After::Nothing).await;
    Ok(Reply::json(json!({"shuttingDown": true, "drainSeconds": drain_seconds(request)})).status(202))
}

/// Restarts only what would start: a gateway that is down because of a slip in its file helps nobody.
async fn restart(api: &Api, request: &Request) -> Result<Reply, Problem> {
    if let Some(reason) = api.shared.again.obstacle() {
        let hint = "end it with POST /api/shutdown, and have a service manager start it again";
        let message = format!("the program cannot start itself again: {reason}");
        return Err(Problem::new(501, "not_available_here", message).details(json!({ "hint": hint })));
    }
    let faults = api.live().obstacles();
    if let Some(first) = faults.first() {
        let message = format!("the program would not start again, so it goes on: {first}");
        let list: Vec<_> = faults.iter().map(|fault| json!({"place": fault.place, "message": fault.message})).collect();
        return Err(Problem::new(409, "would_not_start", message).details(json!({ "faults": list })));
    }
    end(api, request, "system.restart", After::Again).await;
    Ok(Reply::json(json!({"restarting": true, "drainSeconds": drain_seconds(request)})).status(202))
}

/// Asks the program to end.
async fn end(api: &Api, request: &Request, action: &str, after: After) {
    // Ending must be possible with a store that fails, too.
    if let Err(problem) = api.note(request.audit(action, "", None)).await {
        tracing::warn!(reason = problem.message, "the audit log does not tell of this end");
    }
    api.shared.stop.raise(after);
}

/// How long running exchanges may take.
fn drain_seconds(request: &Request) -> f64 {
    request.snapshot.settings.drain.as_secs_f64()
}

async fn init(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let settings = &request.snapshot.settings;
    let mut features: Vec<&str> = super::super::routes().map(|route| route.tag).collect();
    features.sort_unstable();
    features.dedup();
    Ok(Reply::json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "startedAt": rfc3339(api.shared.started_ms),
        "now": rfc3339(now_ms()),
        "timezone": super::time::zone_name(&request.snapshot),
        "locale": settings.locale,
        "theme": settings.theme,
        "baseUrl": base_url(api, request),
        "providerCount": settings.providers.len(),
        "demo": request.snapshot.catalog.demo_only(),
        "readOnly": settings.read_only,
        "auth": {
            "authMode": mode_name(settings.auth_mode),
            "requireLogin": settings.require_login,
            "principal": request.principal.kind(),
            "actor": request.principal.actor(),
        },
        "features": features,
    })))
}

/// Where clients are to be pointed: the public address if there is one, else where we listen.
pub(super) fn base_url(api: &Api, request: &Request) -> String {
    let public = &request.snapshot.settings.public_url;
    if !public.is_empty() {
        return public.clone();
    }
    let addr = api.shared.addr.get().copied().unwrap_or(request.snapshot.settings.addr);
    let here = match addr.ip().is_unspecified() {
        true => std::net::SocketAddr::from(([127, 0, 0, 1], addr.port())),
        false => addr,
    };
    format!("http://{here}")
}

/// Which lines are wanted.
struct Wanted {
    level: Level,
    target: String,
    q: Option<String>,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let level = request.query("level").and_then(|level| level.parse().ok()).unwrap_or(Level::TRACE);
        let target = request.query("target").unwrap_or_default().to_owned();
        Self { level, target, q: request.query("q").map(str::to_owned) }
    }

    fn takes(&self, line: &Line) -> bool {
        let fields = line.fields.iter().map(|(_, value)| value.as_str());
        let texts: Vec<&str> = std::iter::once(line.message.as_str()).chain(fields).collect();
        // Of levels the greater one says more.
        line.level <= self.level && line.target.starts_with(&self.target) && page::holds(self.q.as_deref(), &texts)
    }
}

/// A line as the API shows it.
pub(super) fn shown_line(line: &Line) -> Value {
    let fields: Map<String, Value> =
        line.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "id": line.id,
        "ts": rfc3339(line.ts_ms),
        "level": line.level.as_str().to_ascii_lowercase(),
        "target": line.target,
        "message": line.message,
        "fields": fields,
    })
}

async fn logs(request: &Request) -> Result<Reply, Problem> {
    let (wanted, page) = (Wanted::of(request), Page::of(request)?);
    let lines = ring::ring().behind(0);
    let data =
        lines.iter().rev().filter(|line| wanted.takes(line)).take(page.limit).map(|line| shown_line(line)).collect();
    Ok(Reply::json(page::document(data, None, None)))
}

async fn log_stream(request: &Request) -> Result<Reply, Problem> {
    let after = request.head.headers.text("last-event-id").and_then(|id| id.parse().ok());
    let after = after.unwrap_or_else(|| ring::ring().last());
    let lines = LogLines { wanted: Wanted::of(request), after, waiting: VecDeque::new() };
    Ok(Reply::of(Payload::Events(Box::new(lines))))
}

/// Lines of the log as events.
struct LogLines {
    wanted: Wanted,
    after: u64,
    waiting: VecDeque<Arc<Line>>,
}

impl Pieces for LogLines {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            loop {
                while let Some(line) = self.waiting.pop_front() {
                    if self.wanted.takes(&line) {
                        return Ok(Some(event(line.id, "log", &shown_line(&line))));
                    }
                }
                let lines = ring::ring().wait(self.after).await;
                self.after = lines.last().map_or(self.after, |line| line.id);
                self.waiting = lines.into();
            }
        })
    }
}

async fn audit_log(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let before = page.after.as_deref().map(|place| place.parse().map_err(|_| page::no_cursor())).transpose()?;
    let limit = u32::try_from(page.limit).unwrap_or(1);
    let mut rows = api.live().store().read(move |conn| audit::page(conn, before, limit + 1)).await?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let entry = |row: &audit::AuditRow| {
        json!({
            "id": row.id,
            "ts": rfc3339(row.ts_ms),
            "actor": row.actor,
            "ip": row.ip,
            "action": row.action,
            "target": row.target,
            "detail": or_null(row.detail.clone()),
        })
    };
    Ok(Reply::json(page::document(rows.iter().map(entry).collect(), None, next.as_deref())))
}
