//! A database that cannot be opened when the program starts: it is tried again until it can be, on the thread that will
//! write to it. Usage waits in its queue meanwhile; whoever wants to read or write is told why not.
//!
//! ```text
//!   tried ──fails──▶ wait 0.5 s … 15 s ──▶ tried ─ … ─▶ opened: the thread writes, readers read
//!                     └──▶ the store is closed, or trying again would do harm: what waits is given up, and counted
//! ```
//!
//! What it does not do: put the database's configuration in force. Who waits for that calls
//! [`Store::arrived`](super::Store::arrived).

use std::time::Duration;

use rusqlite::Connection;
use tokio::time::sleep;

use super::{
    OpenError, Options, StoreError, Vault, connect, schema, vault,
    writer::{Command, Parts},
};
use crate::files;

/// Pauses between two tries, the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Opens the database and the vault of a data folder, makes them if they are missing, and migrates.
pub(super) fn open(options: &Options) -> Result<(Connection, Vault), OpenError> {
    let path = options.database();
    files::private_dir(&options.folder()).map_err(OpenError::unusable(&path))?;
    let mut conn = connect::writer(&path, options.busy)?;
    schema::bring_up(&mut conn, options, schema::MIGRATIONS)?;
    let sealed = vault::holds_secrets(&conn).map_err(OpenError::unusable(&path))?;
    let vault = Vault::load(options, !sealed)?;
    Ok((conn, vault))
}

/// Tries again, after `error`, until it opens; `vault` has the keys then. `told` hears of every new reason. `None`: it
/// never will, because the store ends or because of what the last reason is.
pub(super) async fn again(
    options: &Options,
    vault: &Vault,
    parts: &mut Parts,
    mut error: OpenError,
    told: impl Fn(&str),
) -> Option<Connection> {
    let mut pause = PAUSE.0;
    while error.may_pass() {
        tokio::select! {
            biased;
            _ = parts.closing.changed() => return None,
            command = parts.commands.recv() => match command {
                Some(command) => refuse(command, &error),
                // Nobody holds the store any more.
                None => return None,
            },
            () = sleep(pause) => {
                if !parts.rows.is_empty() {
                    parts.gauges.waits();
                }
                match open(options) {
                    Ok((conn, found)) => {
                        vault.adopt(&found);
                        tracing::info!("the database is there now");
                        return Some(conn);
                    }
                    Err(new) => {
                        if new != error {
                            tracing::error!(error = %new, "the database still cannot be opened; it is tried again");
                            told(&new.to_string());
                        }
                        error = new;
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
            }
        }
    }
    None
}

/// Answers a command that came before it was known that there is no database.
fn refuse(command: Command, error: &OpenError) {
    let reason = StoreError::Degraded(error.to_string());
    match command {
        Command::Change(job) => job.answer(Err(reason)),
        Command::Alone(work) => work(Err(reason)),
    }
}
