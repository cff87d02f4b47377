//! Interception: how it is, start and stop, who trusts our root. What changes the machine may only be asked for from it.

use bytes::Bytes;
use proxy::Method;

use crate::{
    api::{
        Api, Payload, Problem, Reply, Request, or_null,
        route::{Content, ROUTE, Route},
        schema::{COUNT, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, TIME_OR_NULL, needed},
    },
    mitm::{Failure, Manager, NEEDS_PRIVILEGE, doctor::Report, system},
};

/// Media type of a certificate.
const PEM: &str = "application/x-pem-file";

const FAILURE: Object = Object {
    name: "MitmFailure",
    members: &[
        needed("code", TEXT, ""),
        needed("message", TEXT, ""),
        needed("commands", TEXTS, "what to run; any one of them is enough"),
    ],
};
const REFUSAL: Object =
    Object { name: "MitmRefusal", members: &[needed("at", TIME, ""), needed("alert", TEXT, "in TLS' words")] };
const HOST: Object = Object {
    name: "MitmHost",
    members: &[
        needed("name", TEXT, ""),
        needed("tool", TEXT, ""),
        needed("switch", Schema::Word(&["intercept", "observe", "off"]), ""),
        needed("leftAlone", Schema::Bool, "whether it is tunnelled, because its clients refuse our certificate"),
        needed("lastHandshake", TIME_OR_NULL, ""),
        needed("protocol", TEXT_OR_NULL, "what was agreed on then"),
        needed("lastRefusal", Schema::Nullable(&Schema::Object(&REFUSAL)), ""),
        needed("lastChat", TIME_OR_NULL, "the last chat that a model of ours answered"),
        needed("chats", COUNT, ""),
        needed("passed", COUNT, "calls that went on to the vendor"),
        needed("fellBack", COUNT, "chats that went to the vendor because nobody else answered"),
        needed("schemaUnknown", Schema::Bool, "whether its chats cannot be read: the tool may have changed"),
    ],
};
const AUTHORITY: Object = Object {
    name: "MitmAuthority",
    members: &[needed("subject", TEXT, ""), needed("sha256", TEXT, ""), needed("notAfter", TIME_OR_NULL, "")],
};
const STATUS: Object = Object {
    name: "MitmStatus",
    members: &[
        needed("state", Schema::Word(&["off", "starting", "running", "stopping", "failed", "stuck"]), ""),
        needed("since", TIME_OR_NULL, ""),
        needed("mode", TEXT, "`hosts`, `proxy` or `reverse:HOST`"),
        needed("listen", TEXTS, ""),
        needed("pid", COUNT, ""),
        needed("administrator", Schema::Bool, "whether the program has the administrator's rights"),
        needed("tools", Schema::Map(&TEXT), "the switch of each tool"),
        needed("hosts", Schema::List(&Schema::Object(&HOST), usize::MAX), "hosts that are switched on, or were used"),
        needed("hostsFile", TEXT, ""),
        needed("hostsWritten", Schema::Bool, "whether our block is in it"),
        needed("authority", Schema::Nullable(&Schema::Object(&AUTHORITY)), "what it answers with"),
        needed("failure", Schema::Nullable(&Schema::Object(&FAILURE)), "why it does not run"),
    ],
};
const CHECK: Object = Object {
    name: "MitmCheck",
    members: &[
        needed("id", TEXT, ""),
        needed("state", Schema::Word(&["ok", "note", "bad"]), ""),
        needed("message", TEXT, ""),
        needed("commands", TEXTS, ""),
    ],
};
const TRUST: Object = Object {
    name: "MitmTrust",
    members: &[
        needed("id", TEXT, ""),
        needed("title", TEXT, ""),
        needed("readBy", TEXT, ""),
        needed("state", Schema::Word(&["trusted", "not_trusted", "unknown"]), ""),
        needed("why", TEXT_OR_NULL, "why it is not known"),
        needed("add", TEXTS, "commands that make it trust our root"),
        needed("remove", TEXTS, "commands that undo that"),
        needed("note", TEXT_OR_NULL, ""),
    ],
};
const RETIRED: Object =
    Object { name: "MitmRetired", members: &[needed("subject", TEXT, ""), needed("remove", TEXTS, "")] };
const DOCTOR: Object = Object {
    name: "MitmDoctor",
    members: &[
        needed("ok", Schema::Bool, ""),
        needed("checks", Schema::List(&Schema::Object(&CHECK), usize::MAX), ""),
        needed("trust", Schema::List(&Schema::Object(&TRUST), usize::MAX), "stores and runtimes"),
        needed("retired", Schema::List(&Schema::Object(&RETIRED), usize::MAX), "old roots that are trusted still"),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/mitm/status",
        operation: "getMitmStatus",
        summary: "Whether traffic is intercepted, and what was seen of it",
        tag: "mitm",
        replies: &[(200, Content::Json(Schema::Object(&STATUS)))],
        handler: |api, _| Box::pin(status(api)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/mitm/start",
        operation: "startMitm",
        summary: "Starts interception; where it runs, the hosts file follows the settings. From this machine only",
        tag: "mitm",
        changes: true,
        replies: &[(200, Content::Json(Schema::Object(&STATUS)))],
        errors: &[502],
        handler: |api, request| Box::pin(start(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/mitm/stop",
        operation: "stopMitm",
        summary: "Ends interception and puts the machine back. From this machine only",
        tag: "mitm",
        changes: true,
        replies: &[(200, Content::Json(Schema::Object(&STATUS)))],
        errors: &[502],
        handler: |api, request| Box::pin(stop(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/mitm/doctor",
        operation: "getMitmDoctor",
        summary: "What keeps interception from working, who trusts the root, and the command against it",
        tag: "mitm",
        replies: &[(200, Content::Json(Schema::Object(&DOCTOR)))],
        handler: |_, request| Box::pin(doctor(request)),
        ..ROUTE
    },
    Route {
        path: "/api/mitm/root-ca",
        operation: "getMitmRoot",
        summary: "The certificate to trust, as PEM; no key",
        tag: "mitm",
        replies: &[(200, Content::Other(&[PEM]))],
        errors: &[404],
        handler: |_, request| Box::pin(root(request)),
        ..ROUTE
    },
];

fn manager(api: &Api) -> Result<Manager, Problem> {
    api.mitm().cloned().ok_or_else(|| Problem::new(503, "starting", "the program is about to start").retry_after(1))
}

async fn away<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(look).await.map_err(|_| Problem::internal())
}

async fn status(api: &Api) -> Result<Reply, Problem> {
    let manager = manager(api)?;
    Ok(Reply::json(away(move || manager.status()).await?))
}

async fn start(api: &Api, request: &Request) -> Result<Reply, Problem> {
    from_here(request)?;
    note(api, request, "mitm.start").await;
    manager(api)?.start().await.map_err(problem)?;
    status(api).await
}

async fn stop(api: &Api, request: &Request) -> Result<Reply, Problem> {
    from_here(request)?;
    note(api, request, "mitm.stop").await;
    manager(api)?.stop().await.map_err(problem)?;
    status(api).await
}

/// The machine must be able to be put back with a store that fails, too.
async fn note(api: &Api, request: &Request, action: &str) {
    if let Err(problem) = api.note(request.audit(action, "", None)).await {
        tracing::warn!(action, reason = problem.message, "the audit log does not tell of this");
    }
}

/// Names of this machine's resolver are its user's matter.
fn from_here(request: &Request) -> Result<(), Problem> {
    if request.caller().is_direct() {
        return Ok(());
    }
    Err(Problem::new(403, "not_local", "interception is started and stopped on its own machine only"))
}

async fn doctor(request: &Request) -> Result<Reply, Problem> {
    let settings = request.snapshot.settings.clone();
    let report = away(move || Report::new(&settings, std::time::SystemTime::now())).await?;
    Ok(Reply::json(report.json()))
}

async fn root(request: &Request) -> Result<Reply, Problem> {
    let folder = system::folder(&request.snapshot.settings.data_dir);
    let pem = away(move || std::fs::read(certs::Folder::new(folder).root_path())).await?;
    let pem = pem.map_err(|_| Problem::not_found("certificate authority yet: the first start makes it"))?;
    Ok(Reply::of(Payload::Bytes(PEM, Bytes::from(pem))))
}

fn problem(failure: Failure) -> Problem {
    let status = match failure.code {
        NEEDS_PRIVILEGE => 403,
        "already_running" | "port_in_use" | "hosts_conflict" | "hosts_busy" => 409,
        "no_tools" => 422,
        "self_test" | "upstream_unresolved" => 502,
        _ => 500,
    };
    let commands = or_null((!failure.commands.is_empty()).then_some(failure.commands));
    Problem::new(status, failure.code, failure.message).details(serde_json::json!({ "commands": commands }))
}
