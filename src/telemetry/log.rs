//! Log lines on standard error, as text or JSON, and the last of them in memory. The filter can be changed while the
//! program runs.

use std::{
    io::IsTerminal,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::Level;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, registry, reload, util::SubscriberInitExt,
};

use super::ring;
use crate::settings::{LogFormat, Settings};

/// The way to the filter of the log that is installed, and what it is.
static FILTER: OnceLock<(reload::Handle<Targets, Registry>, Mutex<String>)> = OnceLock::new();

/// Installs the process's log. Later calls do nothing.
pub fn init(settings: &Settings) {
    let (filter, handle) = reload::Layer::new(parsed(settings));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // A second call in one process (tests) keeps the first log.
    let kept = ring::Keep(ring::ring());
    if registry().with(filter).with(lines).with(kept).try_init().is_ok() {
        drop(FILTER.set((handle, Mutex::new(settings.log.clone()))));
    }
}

/// Puts the filter of `settings` in force, if it is another one.
pub fn filter(settings: &Settings) {
    let Some((handle, present)) = FILTER.get() else { return };
    let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
    if *present != settings.log && handle.reload(parsed(settings)).is_ok() {
        present.clone_from(&settings.log);
    }
}

fn parsed(settings: &Settings) -> Targets {
    settings.log.parse().unwrap_or_else(|_| Targets::new().with_default(Level::INFO))
}
