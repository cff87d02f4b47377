//! `flow-router db` and `flow-router secrets`: work on the database from the command line.
//!
//! What only reads, and a backup, may be done while a gateway runs; the rest takes the data folder's lock first.

use std::fmt::Write as _;

use crate::{
    args::DbAction,
    boot,
    runtime::lane,
    store::{self, Options, Store, backup, import, offline},
};

/// Does what is asked. Returns what there is to say, or why it was not done.
pub fn run(action: &DbAction, mut options: Options) -> Result<String, String> {
    let reads = match action {
        DbAction::Check | DbAction::Backup { .. } | DbAction::Backups | DbAction::Verify { .. } => true,
        DbAction::Migrate { dry_run, .. } | DbAction::ImportLegacy { dry_run, .. } => *dry_run,
        _ => false,
    };
    let _lock = if reads { None } else { Some(boot::lock(&options.dir).map_err(said)?) };
    match action {
        DbAction::Migrate { dry_run: true, .. } => {
            let mut text = String::new();
            for step in offline::pending(&options).map_err(said)? {
                let _ = writeln!(text, "-- {}: {}\n{}", step.id, step.name, step.sql.trim_end());
            }
            Ok(if text.is_empty() { "nothing is pending".to_owned() } else { text.trim_end().to_owned() })
        }
        DbAction::Migrate { without_backup, .. } => {
            options.migrate_without_backup = *without_backup;
            let steps = offline::migrate(&options).map_err(said)?;
            Ok(format!("{steps} step{} applied", plural(steps)))
        }
        DbAction::Check => sound(store::check(&options).map_err(missing)?, "the database is sound"),
        DbAction::Backup { label } => {
            let backup = backup::create(&options, label, None).map_err(missing)?;
            Ok(format!("{} ({} bytes); it is nothing without a copy of secret.key", backup.name, backup.size_bytes))
        }
        DbAction::Backups => {
            let lines: Vec<_> = backup::list(&options).map_err(said)?.iter().map(line).collect();
            Ok(if lines.is_empty() { "there are no backups".to_owned() } else { lines.join("\n") })
        }
        DbAction::Verify { name } => sound(backup::verify(&options, name).map_err(no_backup)?, "the backup is sound"),
        DbAction::Restore { name } => {
            let restored = backup::restore_offline(&options, name).map_err(no_backup)?;
            offline::migrate(&options).map_err(said)?;
            offline::end_sessions(&options).map_err(said)?;
            let before = restored.before.map_or_else(
                || "there was nothing to keep, or it is damaged and lies in db/damaged-…".to_owned(),
                |before| format!("what was there is kept as {}", before.name),
            );
            Ok(format!("{name} is restored; {before}"))
        }
        DbAction::Vacuum => {
            let (before, after) = offline::vacuum(&options).map_err(missing)?;
            Ok(format!("{before} bytes before, {after} bytes now"))
        }
        DbAction::ImportLegacy { dry_run, from } => {
            let imported = import::legacy(&options, from.as_deref(), *dry_run).map_err(said)?;
            Ok(format!("{}{imported}", if *dry_run { "would take over: " } else { "taken over: " }))
        }
        DbAction::Rotate { forget_old } => {
            if !options.database().exists() {
                return Err(NO_DATABASE.to_owned());
            }
            let store = Store::open(&options).map_err(said)?;
            let resealed = lane(1).map_err(said)?.block_on(store.rotate(*forget_old));
            store.close(options.busy);
            let resealed = resealed.map_err(said)?;
            let lost = match resealed.lost {
                0 => String::new(),
                lost => format!("; {lost} cannot be opened with any key and stay as they are"),
            };
            let sealed = resealed.sealed;
            Ok(format!("{sealed} secret{} sealed with the new key{lost}", plural(sealed)))
        }
        DbAction::Unwrap => {
            offline::unwrap_keys(&options).map_err(said)?;
            Ok("the keys lie bare in secret.key: start without secret_store, or with another one".to_owned())
        }
        DbAction::Forget => {
            let count = offline::forget_secrets(&options).map_err(missing)?;
            Ok(format!("{count} secret{} given up; the backup before it is labelled pre-forget", plural(count)))
        }
    }
}

const NO_DATABASE: &str = "there is no database yet";

fn said(error: impl ToString) -> String {
    error.to_string()
}

fn missing(error: store::StoreError) -> String {
    if error == store::StoreError::NotFound { NO_DATABASE.to_owned() } else { error.to_string() }
}

fn no_backup(error: store::StoreError) -> String {
    let none = "there is no backup of that name: `flow-router db backups` lists them";
    if error == store::StoreError::NotFound { none.to_owned() } else { error.to_string() }
}

fn sound(faults: Vec<String>, good: &str) -> Result<String, String> {
    if faults.is_empty() { Ok(good.to_owned()) } else { Err(faults.join("\n")) }
}

fn line(backup: &backup::Backup) -> String {
    let backup::Backup { name, size_bytes, app_version, schema_version, .. } = backup;
    format!("{name}  {size_bytes} bytes  by {app_version}, tables {schema_version}")
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
