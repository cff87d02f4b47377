//! The merge: every source over the weaker ones, then the rules that hold for the whole.
//!
//! What people wrote into flags, environment and files must be right, or the program does not start. What the store says
//! was right when it was written; if it no longer is (another version, another file beside it), it is left out and noted,
//! so that the way to repair it stays open. A *change* of the store that adds a note is refused, which is the caller's
//! business (`live`).

use std::sync::Arc;

use super::{
    Alias, Described, Effective, Fault, KeyHash, Provider, Settings, Source, Sources, env,
    fields::{self, Env, Value},
    file, login, provider, table,
    told::Told,
    value,
};

/// What the store says, opened and in plain terms.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Settings by row name.
    pub settings: Vec<(String, Value)>,
    /// Providers in use.
    pub providers: Vec<StoredProvider>,
    /// Aliases and combos in use.
    pub aliases: Vec<Alias>,
    /// Keys, revoked ones too.
    pub keys: Vec<KeyHash>,
    /// Rows that could not be understood.
    pub notes: Vec<Fault>,
    /// Why the store could not be read, if it could not.
    pub unavailable: Option<String>,
}

/// One provider as the store has it.
#[derive(Debug, Clone)]
pub struct StoredProvider {
    /// The row's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it needs no credential.
    pub keyless: bool,
    /// Its fields, by the names of [`fields::PROVIDER_KEYS`].
    pub fields: Vec<(String, Value)>,
    /// What is said of its models.
    pub described: Vec<Arc<Described>>,
}

/// Everything merged.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The settings in force.
    pub settings: Settings,
    /// The table's rows with their sources, in the table's order.
    pub rows: Vec<Effective>,
    /// What the store says and is not in force: wrong, or beside a file that says it too.
    pub notes: Vec<Fault>,
}

/// Merges flags, environment and files, and reports every fault at once.
pub fn load(sources: &Sources) -> Result<Settings, Vec<Fault>> {
    merge(sources, &Stored::default()).map(|merged| merged.settings)
}

/// What flags, environment and files say, without the store and without the rules for the whole: enough to know where the
/// store is.
pub fn draft(sources: &Sources) -> Result<Settings, Vec<Fault>> {
    let (settings, _, faults, _) = layers(sources, &Stored::default());
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

/// Which of flags, environment and files says what the row `name` is; [`Source::Default`] if none does.
pub fn draft_source(sources: &Sources, name: &str) -> Source {
    layers(sources, &Stored::default()).1.source(name)
}

/// Merges all sources, and reports every fault of those outside the store at once.
pub fn merge(sources: &Sources, stored: &Stored) -> Result<Merged, Vec<Fault>> {
    let (mut settings, told, mut faults, mut notes) = layers(sources, stored);
    if stored.unavailable.is_some() && told.source("require_login") == Source::Default {
        // Whether a login is asked for is what nobody can say now: management is for those who can read our token.
        settings.require_login = true;
    }
    let mut rules = Vec::new();
    provider::check_aliases(&settings, &mut rules);
    let alias_rules = rules.len();
    exposed(&mut settings, &mut rules);
    rules.extend(login::faults(&settings, &told));
    for (at, (source, fault)) in rules.into_iter().enumerate() {
        // Without its store a gateway serves what it can.
        let excused = source == Source::Store || stored.unavailable.is_some();
        match excused {
            true if at < alias_rules => {
                settings.aliases.retain(|alias| alias.place != fault.place);
                notes.push(fault);
            }
            true => notes.push(fault),
            false => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(Merged { settings, rows: told.rows(), notes }) } else { Err(faults) }
}

/// The sources laid over each other, without the rules for the whole.
pub(super) fn layers(sources: &Sources, stored: &Stored) -> (Settings, Told, Vec<Fault>, Vec<Fault>) {
    let (mut settings, mut told) = (Settings::default(), Told::new());
    let (mut faults, mut notes) = (Vec::new(), stored.notes.clone());
    for (name, value) in &stored.settings {
        let place = format!("settings/{name}");
        let done = match table::row(name).filter(|row| row.stored) {
            Some(row) => match value.scalar() {
                Ok(text) => told.tell(&mut settings, row, &text, Source::Store, place),
                Err(message) => Err(Fault { place, message }),
            },
            None => {
                let known = table::TABLE.iter().filter(|row| row.stored).map(|row| row.name);
                Err(Fault { place, message: value::unknown("key", name, known) })
            }
        };
        notes.extend(done.err());
    }
    if let Some((path, text)) = &sources.file {
        let file = path.display().to_string();
        file::apply(&mut settings, &mut told, (&file, text), &sources.env, &mut faults);
    }
    if let Some((path, text)) = &sources.keys {
        file::apply_keys(&mut settings, (&path.display().to_string(), text), &mut faults);
    }
    env::apply(&mut settings, &mut told, &sources.env, &mut faults);
    for (name, text) in &sources.flags {
        if let Some(row) = table::row(name) {
            let place = format!("--{}", row.flag());
            faults.extend(told.tell(&mut settings, row, text, Source::Flag, place).err());
        }
    }
    beside(&mut settings, stored, &Env(&sources.env), &mut notes);
    (settings, told, faults, notes)
}

/// Puts the store's providers, aliases and keys beside those of the files. Where both have a name, the files win.
fn beside(settings: &mut Settings, stored: &Stored, env: &Env<'_>, notes: &mut Vec<Fault>) {
    let shadowed = |what: &str, name: &str, by: Source| Fault {
        place: format!("{what}/{name}"),
        message: format!("not in force: the {} has one of that name", by.name()),
    };
    for row in &stored.providers {
        if let Some(other) = settings.providers.iter().find(|other| other.name.eq_ignore_ascii_case(&row.name)) {
            notes.push(shadowed("providers", &row.name, other.source));
            continue;
        }
        match understood(row, env) {
            Ok(provider) => settings.providers.push(provider),
            Err(faults) => notes.extend(faults),
        }
    }
    for alias in &stored.aliases {
        match settings.aliases.iter().find(|other| other.name.eq_ignore_ascii_case(&alias.name)) {
            Some(other) => notes.push(shadowed("aliases", &alias.name, other.source)),
            None => settings.aliases.push(alias.clone()),
        }
    }
    for key in &stored.keys {
        match settings.keys.iter().find(|other| other.name.eq_ignore_ascii_case(&key.name)) {
            // Both keys are good: a name is for people, and only digests are compared.
            Some(other) if other.source != Source::Store => {
                notes.push(Fault {
                    place: format!("keys/{}", key.name),
                    message: format!("the {} has a key of that name too", other.source.name()),
                });
                settings.keys.push(key.clone());
            }
            _ => settings.keys.push(key.clone()),
        }
    }
}

/// A provider of the store, as it is in force or would be.
fn understood(row: &StoredProvider, env: &Env<'_>) -> Result<Provider, Vec<Fault>> {
    let place = format!("providers/{}", row.name);
    let fields: Vec<_> = row.fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    match fields::provider(&row.name, Source::Store, &fields, row.keyless, env) {
        Ok(provider) => Ok(Provider { id: row.id.as_str().into(), described: row.described.clone(), ..provider }),
        Err(wrong) => {
            let fault = |wrong: fields::Wrong| Fault {
                place: wrong.field.map_or(place.clone(), |at| format!("{place}.{}", fields[at].0)),
                message: wrong.message,
            };
            Err(wrong.into_iter().map(fault).collect())
        }
    }
}

/// A provider of the store as it would be, were it in use; the environment may have its credential.
pub fn provider_of(row: &StoredProvider, sources: &Sources) -> Result<Provider, Vec<Fault>> {
    understood(row, &Env(&sources.env))
}

/// Beyond loopback everybody on the network could spend the user's money: a key must exist, and is asked for.
fn exposed(settings: &mut Settings, rules: &mut Vec<(Source, Fault)>) {
    let usable = settings.keys.iter().any(|key| key.is_active);
    let outside = !settings.addr.ip().is_loopback();
    let (place, message) = match (outside, usable) {
        (true, false) => {
            let message = format!(
                "{} can be reached from other machines and no key exists: make one with `flow-router key NAME` first",
                settings.addr
            );
            ("addr", message)
        }
        (false, false) if settings.require_key => {
            ("require_key", "there is no key yet: make one with `flow-router key NAME`".to_owned())
        }
        _ => {
            settings.require_key |= outside;
            return;
        }
    };
    settings.require_key = true;
    rules.push((Source::File, Fault { place: place.to_owned(), message }));
}
