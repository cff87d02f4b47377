//! The database: its size and version, its backups, and how to go back to one.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use proxy::Method;
use serde_json::{Value, json};
use tokio::{fs::File, io::AsyncReadExt};

use crate::{
    api::{
        Api, Cut, Payload, Pieces, Problem, Reply, Request, or_null,
        page::{self, CURSOR_PARAM, LIMIT_PARAM, Page, list_of},
        route::{Body, Content, ROUTE, Route},
        schema::{
            COUNT, Form, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME, TIME_OR_NULL, Text, name, needed, optional,
        },
    },
    store::{State, backup::Backup, load_config, migrations},
    usage::live::rfc3339,
};

/// Bytes of one piece of a download.
const PIECE: usize = 64 * 1024;
/// Media type of a database.
const SQLITE: &str = "application/vnd.sqlite3";

const DATABASE: Object = Object {
    name: "Database",
    members: &[
        needed("dbPath", TEXT, ""),
        needed("state", TEXT, "`ok`, or what is wrong"),
        needed("sizeBytes", COUNT, ""),
        needed("walBytes", COUNT, ""),
        needed("schemaVersion", COUNT, ""),
        needed("counts", Schema::Map(&COUNT), "entries by kind"),
        needed("backlog", COUNT, "usage rows that wait to be written"),
        needed("written", COUNT, "usage rows written since the start"),
        needed("dropped", COUNT, "usage rows given up since the start"),
        needed("writerLagMs", COUNT, ""),
    ],
};
const MIGRATIONS: Schema = list_of!(
    "MigrationList",
    Schema::Object(&Object {
        name: "Migration",
        members: &[
            needed("id", COUNT, ""),
            needed("name", TEXT, ""),
            needed("applied", Schema::Bool, ""),
            needed("appliedAt", TIME_OR_NULL, ""),
            needed("appVersion", TEXT_OR_NULL, ""),
        ],
    })
);
const BACKUP: Object = Object {
    name: "Backup",
    members: &[
        needed("name", TEXT, ""),
        needed("label", TEXT, "why it was made"),
        needed("createdAt", TIME, ""),
        needed("appVersion", TEXT, ""),
        needed("schemaVersion", COUNT, ""),
        needed("sizeBytes", COUNT, ""),
        needed("sha256", TEXT, ""),
    ],
};
const BACKUPS: Schema = list_of!("BackupList", Schema::Object(&BACKUP));
const CREATE: Object = Object {
    name: "BackupCreate",
    members: &[
        optional(
            "label",
            Schema::Text(Text { min: 1, max: 32, form: Form::Label }),
            "a-z, 0-9 and -; manual unless said",
        ),
        optional("keepN", Schema::Integer(1, 1_000), "how many of that label are kept, this one included"),
    ],
};
const VERIFIED: Object = Object {
    name: "BackupVerified",
    members: &[
        needed("name", TEXT, ""),
        needed("ok", Schema::Bool, ""),
        needed("faults", TEXTS, "what is wrong with it"),
    ],
};
const RESTORE: Object =
    Object { name: "BackupRestore", members: &[needed("confirm", name(128), "the backup's name once more")] };
const RESTORED: Object = Object {
    name: "BackupRestored",
    members: &[
        needed("restored", Schema::Object(&BACKUP), ""),
        needed("before", Schema::Nullable(&Schema::Object(&BACKUP)), "a snapshot of what was there before"),
        needed("migrated", COUNT, "steps that the restored database needed"),
        needed("secretsLost", COUNT, "secrets that no key of ours opens: set them again"),
    ],
};

pub(in crate::api) const ROUTES: &[Route] = &[
    Route {
        path: "/api/settings/database",
        operation: "getDatabase",
        summary: "How the database is",
        tag: "database",
        replies: &[(200, Content::Json(Schema::Object(&DATABASE)))],
        errors: &[504],
        handler: |api, request| Box::pin(database(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/settings/migrations",
        operation: "listMigrations",
        summary: "Steps of the database's tables",
        tag: "database",
        replies: &[(200, Content::Json(MIGRATIONS))],
        errors: &[504],
        handler: |api, request| Box::pin(list_migrations(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/settings/backups",
        aliases: &["/api/backups"],
        operation: "listBackups",
        summary: "All backups, newest first",
        tag: "database",
        query: &[LIMIT_PARAM, CURSOR_PARAM],
        replies: &[(200, Content::Json(BACKUPS))],
        handler: |api, request| Box::pin(list(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/settings/backups",
        aliases: &["/api/backups"],
        operation: "createBackup",
        summary: "Makes a backup while the program runs",
        tag: "database",
        body: Body::Optional(&CREATE),
        replies: &[(201, Content::Json(Schema::Object(&BACKUP)))],
        changes: true,
        handler: |api, request| Box::pin(create(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::DELETE,
        path: "/api/settings/backups/{name}",
        aliases: &["/api/backups/{name}"],
        operation: "deleteBackup",
        summary: "Removes a backup",
        tag: "database",
        replies: &[(204, Content::Empty)],
        changes: true,
        handler: |api, request| Box::pin(delete(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/settings/backups/{name}/verify",
        aliases: &["/api/backups/{name}/verify"],
        operation: "verifyBackup",
        summary: "Reads a backup wholly and says what is wrong with it",
        tag: "database",
        replies: &[(200, Content::Json(Schema::Object(&VERIFIED)))],
        errors: &[422],
        handler: |api, request| Box::pin(verify(api, request)),
        ..ROUTE
    },
    Route {
        method: Method::POST,
        path: "/api/settings/backups/{name}/restore",
        aliases: &["/api/backups/{name}/restore"],
        operation: "restoreBackup",
        summary: "Puts a backup in the place of the database; running requests go on",
        tag: "database",
        body: Body::Json(&RESTORE),
        replies: &[(200, Content::Json(Schema::Object(&RESTORED)))],
        changes: true,
        handler: |api, request| Box::pin(restore(api, request)),
        ..ROUTE
    },
    Route {
        path: "/api/settings/backups/{name}/download",
        aliases: &["/api/backups/{name}/download"],
        operation: "downloadBackup",
        summary: "The database's file of a backup; secrets in it are sealed, and the key is not in it",
        tag: "database",
        replies: &[(200, Content::Other(&[SQLITE]))],
        handler: |api, request| Box::pin(download(api, request)),
        ..ROUTE
    },
];

async fn database(api: &Api, _: &Request) -> Result<Reply, Problem> {
    let store = api.live().store();
    let own = store.clone();
    let read = store.read(move |conn| Ok((load_config(conn, own.vault())?, migrations(conn)?))).await;
    let (counts, version) = match read {
        Ok((rows, steps)) => (
            json!({
                "providers": rows.providers.len(),
                "combos": rows.combos.len(),
                "aliases": rows.aliases.len(),
                "keys": rows.keys.len(),
                "settings": rows.settings.len(),
                "prices": rows.prices.len(),
            }),
            steps.iter().filter(|step| step.applied_at_ms.is_some()).map(|step| step.id).max().unwrap_or(0),
        ),
        // The rest is what one wants to know then.
        Err(_) => (json!({}), 0),
    };
    let status = store.status();
    Ok(Reply::json(json!({
        "dbPath": store.dir().join("db").join("data.sqlite").display().to_string(),
        "state": match status.state {
            State::Ok => "ok".to_owned(),
            State::Degraded(reason) => reason,
        },
        "sizeBytes": status.database_bytes,
        "walBytes": status.wal_bytes,
        "schemaVersion": version,
        "counts": counts,
        "backlog": status.backlog_rows,
        "written": status.written_rows,
        "dropped": status.dropped_rows,
        "writerLagMs": u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
    })))
}

async fn list_migrations(api: &Api, _: &Request) -> Result<Reply, Problem> {
    let steps = api.live().store().read(migrations).await?;
    let entry = |step: &crate::store::MigrationRow| {
        json!({
            "id": step.id,
            "name": step.name,
            "applied": step.applied_at_ms.is_some(),
            "appliedAt": or_null(step.applied_at_ms.map(rfc3339)),
            "appVersion": step.app_version,
        })
    };
    let total = steps.len();
    Ok(Reply::json(page::document(steps.iter().map(entry).collect(), Some(total), None)))
}

fn shown(backup: &Backup) -> Value {
    json!({
        "name": backup.name,
        "label": backup.label,
        "createdAt": rfc3339(backup.created_at_ms),
        "appVersion": backup.app_version,
        "schemaVersion": backup.schema_version,
        "sizeBytes": backup.size_bytes,
        "sha256": backup.sha256,
    })
}

async fn list(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let page = Page::of(request)?;
    let backups = api.live().store().backups().list().await?;
    // The newest first, in an order that ascends.
    let key = |backup: &Backup| format!("{:020} {}", i64::MAX - backup.created_at_ms, backup.name);
    Ok(Reply::json(page.cut(backups.iter().map(|backup| (key(backup), shown(backup))).collect())))
}

async fn create(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let label = request.text("label").unwrap_or("manual");
    let keep = request.body.get("keepN").and_then(super::integer).and_then(|keep| usize::try_from(keep).ok());
    let backup = api.live().store().backups().create(label, keep).await?;
    api.note(request.audit("backup.create", format!("backup/{}", backup.name), None)).await?;
    Ok(Reply::created(format!("/api/settings/backups/{}", backup.name), shown(&backup)))
}

async fn delete(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("name");
    api.live().store().backups().delete(name).await?;
    api.note(request.audit("backup.delete", format!("backup/{name}"), None)).await?;
    Ok(Reply::empty())
}

async fn verify(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("name");
    let faults = api.live().store().backups().verify(name).await?;
    Ok(Reply::json(json!({"name": name, "ok": faults.is_empty(), "faults": faults})))
}

async fn restore(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("name");
    if request.text("confirm") != Some(name) {
        return Err(Problem::invalid("confirm", "`confirm` must be the name of the backup"));
    }
    if api.live().read_only() {
        return Err(crate::live::ChangeError::ReadOnly.into());
    }
    let done = api.live().store().backups().restore(name).await?;
    // The database is another one from here on, whatever else fails.
    if let Err(reason) = api.live().rebuild("backup", name).await {
        tracing::error!(%reason, "the restored configuration is not in force");
        return Err(reason.into());
    }
    if let Err(problem) = api.note(request.audit("backup.restore", format!("backup/{name}"), None)).await {
        tracing::warn!(reason = problem.message, "the audit log does not tell of this restore");
    }
    let reply = Reply::json(json!({
        "restored": shown(&done.backup),
        "before": or_null(done.before.as_ref().map(shown)),
        "migrated": done.migrated,
        "secretsLost": done.secrets.lost,
    }));
    Ok(api.auth().settled(reply, &request.visit(api)).await)
}

async fn download(api: &Api, request: &Request) -> Result<Reply, Problem> {
    let name = request.param("name");
    let path = api.live().store().backups().file(name).await?;
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "a backup cannot be read");
        Problem::internal()
    };
    let file = File::open(&path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let reply = Reply::of(Payload::Stream(SQLITE, Box::new(Reading(file))));
    // A name that was found has letters, digits and hyphens only.
    let reply = reply.with("content-disposition", format!("attachment; filename=\"{name}.sqlite\""));
    Ok(reply.with("content-length", length.to_string()))
}

/// A file, piece by piece.
struct Reading(File);

impl Pieces for Reading {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, Cut>> + Send + '_>> {
        Box::pin(async move {
            let mut piece = BytesMut::with_capacity(PIECE);
            match self.0.read_buf(&mut piece).await {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some(piece.freeze())),
                Err(error) => {
                    tracing::error!(%error, "a backup cannot be read on");
                    Err(Cut)
                }
            }
        })
    }
}
