//! The configuration that is in force, and the only way to change it.
//!
//! ```text
//!   flags, environment, files ─┐
//!                              ├─▶ merge ─▶ Snapshot ─▶ published: the next request has it
//!   store ─────────────────────┘     ▲
//!                                    └── change: one transaction on the writer thread, kept only if the merge is valid
//! ```
//!
//! Changes are published in the order of their commits, because both happen on the store's writer thread. A reload takes
//! the same way. Where the store cannot be used, the files alone are in force, and requests are served.

mod rows;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::{
    gateway::{Shared, Snapshot},
    settings::{self, Effective, Fault, Life, Merged, Provider, Settings, Source, Sources, Stored},
    store::{
        self, Change, ConfigRows, Store, StoreError, load_config, pricing::PriceRow, providers::ProviderRow,
        usage::Limits,
    },
    telemetry,
    usage::{RateCard, live::What},
};

/// The place of what is wrong with prices.
const PRICING: &str = "pricing";

/// The configuration in force. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    store: Store,
    shared: Arc<Shared>,
    /// Beside the snapshot in `shared`: what made it.
    state: ArcSwap<State>,
    /// The rows as the program was started with them; those that wait for a start are compared with these.
    booted: Vec<Effective>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// What the snapshot in force was made from.
struct State {
    sources: Sources,
    kept: Kept,
    rows: Vec<Effective>,
    notes: Vec<Fault>,
}

/// What the store says.
#[derive(Clone, Default)]
struct Kept {
    stored: Stored,
    prices: Vec<PriceRow>,
}

impl Kept {
    fn of(rows: ConfigRows) -> Self {
        Self { stored: rows::stored(&rows), prices: rows.prices }
    }
}

/// A configuration that is valid and not yet in force.
struct Ready {
    state: State,
    snapshot: Snapshot,
}

/// Why a change was not made. Nothing of it is kept.
#[derive(Debug)]
pub enum ChangeError {
    /// The store could not, or would not.
    Store(StoreError),
    /// The configuration would not be valid.
    Invalid(Vec<Fault>),
    /// A stronger source says it already.
    Pinned {
        /// Name of the setting, provider, alias or key.
        key: String,
        /// Who says it.
        source: Source,
    },
    /// The setting `read_only` is on.
    ReadOnly,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Store(error) => error.fmt(f),
            ChangeError::Invalid(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                write!(f, "{}", faults.join("; "))
            }
            ChangeError::Pinned { key, source } => write!(f, "{key} is set by the {} and stays so", source.name()),
            ChangeError::ReadOnly => f.write_str("this gateway is configured by its file alone (read_only)"),
        }
    }
}

impl std::error::Error for ChangeError {}

impl Live {
    /// Merges the sources with what the store has, and builds what the lanes share. Faults are those of flags,
    /// environment and files; what is wrong in the store is left out and noted ([`Live::notes`]).
    pub async fn open(sources: Sources, store: Store) -> Result<Self, Vec<Fault>> {
        let kept = match load(&store).await {
            Ok(kept) => kept,
            Err(reason) => {
                error!(%reason, "the store cannot be used: requests are served from flags, environment and files alone");
                let stored = Stored { unavailable: Some(reason.to_string()), ..Stored::default() };
                Kept { stored, ..Kept::default() }
            }
        };
        let Ready { state, snapshot } = ready(sources, kept, None)?;
        state.notes.iter().for_each(|note| warn!(place = note.place, "{}", note.message));
        let now_s = store::now_ms().unsigned_abs() / 1_000;
        let shared = Arc::new(Shared::new(snapshot, store.usage(), now_s));
        shared.metrics.records.watch(store.clone());
        let inner = Inner {
            shared,
            store,
            booted: state.rows.clone(),
            state: ArcSwap::from_pointee(state),
            reloading: tokio::sync::Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Tells the store how long usage is kept; its upkeep begins with that. Not a part of [`Live::open`], so that neither
    /// the first round nor the search for the system's time zone is in the way of the first request.
    pub fn keep(&self) {
        self.0.store.keep(limits(&self.snapshot().settings));
    }

    /// What the lanes share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The present configuration.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.shared.snapshot()
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Changes what the store says. `change` runs in a transaction of its own; the whole configuration is merged anew
    /// inside of it, and the change is kept only if nothing is wrong that was not wrong before. `kind` and `id` name the
    /// entry for those who listen. When this returns, the change is on the disk and the next request has it.
    pub async fn change<T: Send + 'static>(
        &self,
        kind: &'static str,
        id: String,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        if self.read_only() {
            return Err(ChangeError::ReadOnly);
        }
        // What the store cannot say comes back beside its error.
        let refused = Arc::new(Mutex::new(None));
        let (live, why) = (self.clone(), refused.clone());
        let done = self.0.store.write(move |transaction| {
            let result = change(transaction)?;
            match live.prepared(transaction) {
                Ok(ready) => {
                    transaction.after_commit(move || live.publish(ready, kind, &id));
                    Ok(result)
                }
                Err(ChangeError::Store(error)) => Err(error),
                Err(error) => {
                    *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(StoreError::Invalid { field: kind.to_owned(), message: String::new() })
                }
            }
        });
        done.await.map_err(|error| {
            let why = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
            let why = why.unwrap_or(ChangeError::Store(error));
            if matches!(why, ChangeError::Invalid(_)) {
                self.0.shared.metrics.configuration("refused");
            }
            why
        })
    }

    /// The configuration as it would be after the running transaction, if it may be so.
    fn prepared(&self, transaction: &Change<'_>) -> Result<Ready, ChangeError> {
        let before = self.0.state.load();
        let kept = Kept::of(load_config(transaction, self.0.store.vault()).map_err(ChangeError::Store)?);
        for (name, value) in &kept.stored.settings {
            let same = before.kept.stored.settings.iter().any(|(other, old)| other == name && old == value);
            let pin = before.rows.iter().find(|entry| entry.row.name == name && entry.source.is_pinned());
            if let (false, Some(entry)) = (same, pin) {
                return Err(ChangeError::Pinned { key: name.clone(), source: entry.source });
            }
        }
        let ready =
            ready(before.sources.clone(), kept, Some((&before, &self.snapshot()))).map_err(ChangeError::Invalid)?;
        let new: Vec<_> = ready.state.notes.iter().filter(|note| !before.notes.contains(note)).cloned().collect();
        if new.is_empty() { Ok(ready) } else { Err(ChangeError::Invalid(new)) }
    }

    /// Reads the files again, and the store. If something is wrong with the files the present configuration stays.
    pub async fn reload(&self) -> Result<(), Vec<Fault>> {
        let _one = self.0.reloading.lock().await;
        let sources = self.0.state.load().sources.again()?;
        match self.merge_again(Some(sources.clone()), "settings", "reload").await {
            Ok(done) => done,
            Err(reason) => {
                // Nobody else can change anything now: the store's part stays as it was last seen.
                warn!(%reason, "the store cannot be read: its part of the configuration stays as it was");
                let before = self.0.state.load_full();
                let ready = ready(sources, before.kept.clone(), Some((&before, &self.snapshot())))?;
                self.publish(ready, "settings", "reload");
                Ok(())
            }
        }
    }

    /// What a start would refuse now: of the files as they are on the disk, with the store as it is in force.
    pub fn obstacles(&self) -> Vec<Fault> {
        let state = self.0.state.load();
        let merged = state.sources.again().and_then(|sources| settings::merge(&sources, &state.kept.stored));
        merged.err().unwrap_or_default()
    }

    /// Merges the store anew, as it is now, with what the other sources said last: after a restore. `kind` and `id` say
    /// why, for those who listen.
    pub async fn rebuild(&self, kind: &'static str, id: &str) -> Result<(), ChangeError> {
        let done = self.merge_again(None, kind, id).await.map_err(ChangeError::Store)?;
        done.map_err(ChangeError::Invalid)
    }

    /// Merges the store as it is now with `sources`, or with those in force, and publishes that unless it has faults. On
    /// the writer thread, so that no change comes between reading and publishing.
    async fn merge_again(
        &self,
        sources: Option<Sources>,
        kind: &'static str,
        id: &str,
    ) -> Result<Result<(), Vec<Fault>>, StoreError> {
        let (live, id) = (self.clone(), id.to_owned());
        let done = self.0.store.write(move |transaction| {
            let kept = Kept::of(load_config(transaction, live.0.store.vault())?);
            let before = live.0.state.load_full();
            let sources = sources.unwrap_or_else(|| before.sources.clone());
            let merged = ready(sources, kept, Some((&before, &live.snapshot())));
            Ok(merged.map(|ready| transaction.after_commit(move || live.publish(ready, kind, &id))))
        });
        done.await
    }

    /// Puts a configuration in force.
    fn publish(&self, ready: Ready, kind: &'static str, id: &str) {
        let Ready { state, snapshot } = ready;
        let before = self.0.state.load();
        let new = state.notes.iter().filter(|note| !before.notes.contains(note));
        new.for_each(|note| warn!(place = note.place, "{}", note.message));
        telemetry::log::filter(&snapshot.settings);
        self.0.shared.publish(Arc::new(snapshot));
        self.0.state.store(Arc::new(state));
        self.keep();
        self.0.shared.metrics.configuration("applied");
        self.0.shared.feed.publish(|| What::ConfigChanged { kind, id: id.to_owned() });
        info!(kind, id, "the configuration has changed");
    }

    /// The rows of the table as they are in force, with their sources, in the table's order. Values of secret rows are in
    /// the clear.
    pub fn effective(&self) -> Vec<Effective> {
        self.0.state.load().rows.clone()
    }

    /// Who says what the row `name` is.
    pub fn source(&self, name: &str) -> Source {
        let state = self.0.state.load();
        state.rows.iter().find(|entry| entry.row.name == name).map_or(Source::Default, |entry| entry.source)
    }

    /// Names of the rows that say something else than at the start and wait for the next one.
    pub fn pending(&self) -> Vec<&'static str> {
        let state = self.0.state.load();
        let rows = state.rows.iter().zip(&self.0.booted);
        let waits = rows.filter(|(now, then)| now.row.life == Life::Boot && now.value != then.value);
        waits.map(|(now, _)| now.row.name).collect()
    }

    /// What the store says and is not in force: wrong, or beside a stronger source that says it too.
    pub fn notes(&self) -> Vec<Fault> {
        self.0.state.load().notes.clone()
    }

    /// A provider of the store as it would be, were it in use: also for one that is inactive, or not kept at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn provider(&self, row: &ProviderRow) -> Result<Provider, Vec<Fault>> {
        let mut stored = Stored::default();
        rows::provider(row, &[], &mut stored);
        match stored.providers.first() {
            Some(provider) => settings::provider_of(provider, &self.0.state.load().sources),
            None => Err(stored.notes),
        }
    }

    /// Why the store's part was not read, if it was not.
    pub fn unavailable(&self) -> Option<String> {
        self.0.state.load().kept.stored.unavailable.clone()
    }

    /// Whether the management API may change nothing.
    pub fn read_only(&self) -> bool {
        self.snapshot().settings.read_only
    }
}

/// The configuration that a start would have, without making or opening anything for good: for `flow-router check`. A
/// store that cannot be read is a note.
pub fn look(sources: &Sources, options: &store::Options) -> Result<Merged, Vec<Fault>> {
    let stored = match store::peek(options) {
        Ok(rows) => rows.map_or_else(Stored::default, |rows| rows::stored(&rows)),
        Err(reason) => {
            let place = options.database().display().to_string();
            let message = format!("not looked at: {reason}");
            Stored { unavailable: Some(message.clone()), notes: vec![Fault { place, message }], ..Stored::default() }
        }
    };
    settings::merge(sources, &stored)
}

/// How long usage is kept.
fn limits(settings: &Settings) -> Limits {
    let retention = &settings.retention;
    Limits {
        log_days: retention.days,
        log_rows: u32::try_from(retention.rows).unwrap_or(u32::MAX),
        bucket_days: retention.usage_days,
        zone: settings.zone(),
        ..Limits::default()
    }
}

/// What the store has, read once.
async fn load(store: &Store) -> Result<Kept, StoreError> {
    let own = store.clone();
    store.read(move |connection| load_config(connection, own.vault()).map(Kept::of)).await
}

/// Merges and builds. What has not changed is taken from `before`.
fn ready(sources: Sources, kept: Kept, before: Option<(&State, &Snapshot)>) -> Result<Ready, Vec<Fault>> {
    let Merged { settings, rows, mut notes } = settings::merge(&sources, &kept.stored)?;
    let prices = match before {
        // A list may have thousands of them, and nearly every change is about something else.
        Some((state, snapshot)) if state.kept.prices == kept.prices => {
            notes.extend(state.notes.iter().filter(|note| note.place == PRICING).cloned());
            snapshot.prices.clone()
        }
        _ => {
            let (prices, faults) = RateCard::of(&kept.prices);
            notes.extend(faults.into_iter().map(|message| Fault { place: PRICING.to_owned(), message }));
            Arc::new(prices)
        }
    };
    let snapshot = Snapshot::new(settings, prices, before.map(|(_, snapshot)| snapshot));
    Ok(Ready { snapshot, state: State { sources, kept, rows, notes } })
}
