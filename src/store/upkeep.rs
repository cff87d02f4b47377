//! What must be done now and then: old rows go, free space is given back, a backup is made every night. On the writer's
//! thread, in passes so small that no write waits for long; only the backup has a thread of its own.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rusqlite::Connection;
use tokio::sync::watch;

use super::{Options, StoreError, audit, backup, now_ms, sessions, usage, usage::Limits, wal_of};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(600);
/// Pause between two passes of a round.
const PASS: Duration = Duration::from_millis(50);
/// How long the audit log is kept, in milliseconds.
const AUDIT_MS: i64 = 90 * 86_400_000;
/// Pages that one pass gives back: 8 MiB.
const VACUUM_PAGES: i64 = 2_000;
/// Free pages are given back from this share of the file on: one in five.
const FREE_SHARE: i64 = 5;
/// Hour of the nightly backup, in local time.
const BACKUP_HOUR: i8 = 3;

/// When the next pass is, and what it works with.
#[derive(Debug)]
pub(super) struct Upkeep {
    due: Instant,
    options: Options,
    /// `None` until it is known: nothing is removed by rules that nobody gave.
    limits: watch::Receiver<Option<Limits>>,
    /// Whether a backup is being made.
    backing_up: Arc<AtomicBool>,
}

impl Upkeep {
    /// The first pass is due as soon as the limits are known.
    pub(super) fn new(options: Options, limits: watch::Receiver<Option<Limits>>) -> Self {
        Self { due: Instant::now(), options, limits, backing_up: Arc::default() }
    }

    /// When the next pass is due; `None` while the limits are not known.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limits.borrow().is_some().then_some(self.due)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Waits until somebody says how long usage is kept. `None`: nobody can any more.
    pub(super) async fn told(&mut self) -> Option<()> {
        self.limits.changed().await.ok()
    }

    pub(super) fn postpone(&mut self) {
        self.due = Instant::now() + EVERY;
    }

    /// One pass.
    pub(super) fn pass(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let Some(limits) = self.limits.borrow().clone() else { return Ok(()) };
        let now = now_ms();
        let more = [
            sessions::expire(conn, now)?,
            audit::expire(conn, now - AUDIT_MS)?,
            usage::retain(conn, &limits, now)?,
            give_back(conn)?,
        ];
        if more.contains(&true) {
            self.due = Instant::now() + PASS;
        } else {
            self.postpone();
            self.back_up(conn, &limits.zone, now)?;
        }
        Ok(())
    }

    /// Makes the nightly backup, if it is due, on a thread of its own.
    fn back_up(&self, conn: &Connection, zone: &TimeZone, now: i64) -> Result<(), StoreError> {
        let born: Option<String> = super::schema::noted(conn, "created_at_ms")?;
        let born = born.and_then(|text| text.parse().ok()).unwrap_or(0);
        let last = backup::list(&self.options)?.into_iter().find(|backup| backup.label == "auto");
        let last = last.map_or(born, |backup| backup.created_at_ms);
        if !is_due(now, zone, last, changed_ms(&self.options)) || self.backing_up.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (options, running) = (self.options.clone(), Arc::clone(&self.backing_up));
        let made = thread::Builder::new().name("store-backup".to_owned()).spawn(move || {
            match backup::create(&options, "auto", None) {
                Ok(backup) => tracing::info!(name = backup.name, "the nightly backup is made"),
                Err(error) => tracing::warn!(%error, "the nightly backup failed; it is tried again later"),
            }
            running.store(false, Ordering::Relaxed);
        });
        made.map(drop).map_err(StoreError::from)
    }
}

/// Whether the night's backup is missing: the last one is from before, and something changed since.
fn is_due(now: i64, zone: &TimeZone, last: i64, changed: i64) -> bool {
    let slot = || -> Option<Zoned> {
        let now = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone());
        let today = now.date().at(BACKUP_HOUR, 0, 0, 0).to_zoned(zone.clone()).ok()?;
        if today <= now { Some(today) } else { today.checked_sub(1.day()).ok() }
    };
    slot().is_some_and(|slot| last < slot.timestamp().as_millisecond()) && changed > last
}

/// When the database's files were last written, in Unix milliseconds.
fn changed_ms(options: &Options) -> i64 {
    let database = options.database();
    let written = |path| -> Option<i64> {
        let at: SystemTime = fs::metadata(path).ok()?.modified().ok()?;
        i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    written(wal_of(&database)).max(written(database)).unwrap_or(0)
}

/// Gives free pages back to the system. Returns whether there is more.
fn give_back(conn: &Connection) -> Result<bool, StoreError> {
    let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let is_much = |free: i64, all: i64| free > VACUUM_PAGES && free.saturating_mul(FREE_SHARE) > all;
    if !is_much(number("freelist_count")?, number("page_count")?) {
        return Ok(false);
    }
    conn.pragma(None, "incremental_vacuum", VACUUM_PAGES, |_| Ok(()))?;
    Ok(is_much(number("freelist_count")?, number("page_count")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_due_before_the_limits_are_known() {
        let (keep, told) = watch::channel(None);
        let mut upkeep = Upkeep::new(Options::new(""), told);
        assert_eq!((upkeep.due(), upkeep.is_due()), (None, false));
        // A pass that comes all the same does nothing: there are no tables here.
        upkeep.pass(&Connection::open_in_memory().unwrap()).unwrap();
        keep.send_replace(Some(Limits::default()));
        assert!(upkeep.is_due());
        upkeep.postpone();
        assert!(!upkeep.is_due() && upkeep.due().is_some());
    }

    #[test]
    fn the_nightly_backup_is_made_once_and_only_after_changes() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap_or(TimeZone::fixed(jiff::tz::offset(9)));
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        // Three o'clock in Tokyo is six in the evening of the day before in UTC.
        let (before, night, after) =
            (at("2026-01-01T17:59:59Z"), at("2026-01-01T18:00:00Z"), at("2026-01-02T10:00:00Z"));
        let old = at("2025-12-31T20:00:00Z");
        assert!(!is_due(before, &zone, old, before));
        assert!(is_due(night, &zone, old, before));
        assert!(is_due(after, &zone, old, before));
        assert!(!is_due(after, &zone, old, old), "nothing changed");
        assert!(!is_due(after, &zone, night, after), "it is made already");
    }
}
