//! The store's rows in the terms of `settings`.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value as Json;

use crate::{
    settings::{
        Alias, Described, Fault, KeyHash, Scopes, Source, Stored, StoredProvider, Strategy, TABLE,
        fields::{PROVIDER_KEYS, Value},
        presets,
    },
    store::{
        ConfigRows,
        combos::{ComboEntry, ComboRow},
        keys::KeyRow,
        models::ModelRow,
        providers::ProviderRow,
        settings::SettingRow,
    },
};

/// How deep a combo may lead to other combos.
const DEPTH_MAX: usize = 3;

/// Everything that the store says about the configuration.
pub(super) fn stored(rows: &ConfigRows) -> Stored {
    let mut stored = Stored::default();
    for row in &rows.settings {
        setting(row, &mut stored);
    }
    for row in rows.providers.iter().filter(|row| row.is_active) {
        provider(row, &rows.models, &mut stored);
    }
    for row in rows.combos.iter().filter(|row| row.is_active) {
        match combo(row, rows) {
            Ok(alias) => stored.aliases.push(alias),
            Err(message) => stored.notes.push(Fault { place: format!("combos/{}", row.name), message }),
        }
    }
    for row in &rows.aliases {
        let place = format!("aliases/{}", row.alias);
        let inner = rows.combos.iter().find(|combo| combo.is_active && combo.name.eq_ignore_ascii_case(&row.model));
        let alias = match (inner, &row.provider_id) {
            // The combo by another name.
            (Some(inner), None) => combo(inner, rows),
            (_, id) => pinned(&row.model, id.as_deref(), rows)
                .map(|model| Alias::new(&row.alias, vec![model], String::new(), Source::Store)),
        };
        match alias {
            Ok(alias) => stored.aliases.push(Alias { name: row.alias.clone(), place, ..alias }),
            Err(message) => stored.notes.push(Fault { place, message }),
        }
    }
    for row in &rows.keys {
        match key(row) {
            Ok(key) => stored.keys.push(key),
            Err(message) => {
                stored.notes.push(Fault { place: format!("keys/{}", row.name), message });
                // What cannot be understood must not allow more than was meant.
                let revoked = KeyHash::new(&row.id, &row.name, row.hash, Source::Store);
                stored.keys.push(KeyHash { is_active: false, ..revoked });
            }
        }
    }
    stored
}

fn setting(row: &SettingRow, stored: &mut Stored) {
    // Keys with a dot are other parts' own notes, such as the digest of a password.
    if row.key.contains('.') {
        return;
    }
    let secret = TABLE.iter().any(|known| known.name == row.key && known.secret);
    let value = match (&row.secret, &row.value) {
        (Some(secret), _) => Some(Value::Text(secret.expose().to_owned())),
        (None, Json::Null) if secret => {
            let message = "its secret cannot be opened with the vault's key: set it again".to_owned();
            stored.notes.push(Fault { place: format!("settings/{}", row.key), message });
            None
        }
        (None, Json::Null) => None,
        (None, value) => Some(plain(value)),
    };
    stored.settings.extend(value.map(|value| (row.key.clone(), value)));
}

/// A provider, with those of the described models that are its own.
pub(super) fn provider(row: &ProviderRow, models: &[ModelRow], stored: &mut Stored) {
    if row.secret_lost {
        let message = "its credential cannot be opened with the vault's key: set it again".to_owned();
        stored.notes.push(Fault { place: format!("providers/{}", row.name), message });
        return;
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let own: Vec<&ModelRow> = models.iter().filter(|model| model.provider_id == row.id).collect();
    let preset = presets::preset(&row.provider);
    let mut names: Vec<&str> = row.models.iter().map(String::as_str).collect();
    if names.is_empty() && !own.is_empty() {
        // Besides those that the preset has, not in their place.
        names.extend(preset.into_iter().flat_map(|preset| preset.models));
    }
    for model in &own {
        if !names.contains(&model.model.as_str()) {
            names.push(&model.model);
        }
    }
    let mut fields = vec![("priority".to_owned(), Value::Number(row.priority.to_string()))];
    let mut add = |name: &str, value: Option<Value>| fields.extend(value.map(|value| (name.to_owned(), value)));
    // Vendors without a preset are described by their fields alone.
    add("preset", preset.map(|preset| text(preset.id)));
    add("dialect", row.format.as_deref().filter(|format| !format.is_empty()).map(text));
    add("base_url", row.base_url.as_deref().filter(|url| !url.is_empty()).map(text));
    add("api_key", row.api_key.as_ref().map(|key| text(key.expose())));
    add("models", (!names.is_empty()).then(|| Value::List(names.iter().map(|model| text(model)).collect())));
    let headers = row.headers.iter().map(|(name, value)| (name.clone(), text(value.expose())));
    add("headers", (!row.headers.is_empty()).then(|| Value::Table(headers.collect())));
    for (name, value) in &row.data {
        let name = snake(name);
        // Callers may keep notes of their own there, and columns win over what is mirrored.
        let known = PROVIDER_KEYS.iter().any(|field| field.name == name);
        if known && !value.is_null() && fields.iter().all(|(other, _)| *other != name) {
            fields.push((name, plain(value)));
        }
    }
    stored.providers.push(StoredProvider {
        id: row.id.clone(),
        name: row.name.clone(),
        keyless: row.auth_type == "none",
        fields,
        described: own.into_iter().map(described).collect(),
    });
}

fn described(row: &ModelRow) -> Arc<Described> {
    Arc::new(Described {
        model: row.model.clone(),
        display_name: row.display_name.clone(),
        context_window: row.context_window.map(u64::from),
        max_output: row.max_output.map(u64::from),
        caps: row.caps,
    })
}

fn combo(row: &ComboRow, rows: &ConfigRows) -> Result<Alias, String> {
    let strategy = match row.strategy.as_str() {
        "priority" => Strategy::Priority,
        "round_robin" => Strategy::RoundRobin,
        "random" => Strategy::Random,
        "cost_optimal" => Strategy::CostOptimal,
        other => return Err(format!("`{other}` is no strategy: use priority, round_robin, random or cost_optimal")),
    };
    let (mut models, mut weights) = (Vec::new(), Vec::new());
    let mut way = HashSet::from([row.name.to_lowercase()]);
    for entry in row.entries.iter().filter(|entry| entry.enabled) {
        let before = models.len();
        expand(entry, rows, &mut way, &mut models)?;
        weights.resize(weights.len() + models.len() - before, entry.weight);
    }
    if models.is_empty() {
        return Err("a combo needs at least one model".to_owned());
    }
    let alias = Alias::new(&row.name, models, format!("combos/{}", row.name), Source::Store);
    Ok(Alias { strategy, weights, ..alias })
}

/// Adds the models of one entry; another combo stands for its own, in their order.
fn expand(
    entry: &ComboEntry,
    rows: &ConfigRows,
    way: &mut HashSet<String>,
    models: &mut Vec<String>,
) -> Result<(), String> {
    let name = entry.model.to_lowercase();
    let inner = rows.combos.iter().find(|combo| combo.is_active && combo.name.to_lowercase() == name);
    let (Some(inner), None) = (inner, &entry.provider_id) else {
        models.push(pinned(&entry.model, entry.provider_id.as_deref(), rows)?);
        return Ok(());
    };
    if way.len() > DEPTH_MAX || !way.insert(name.clone()) {
        return Err(format!("`{}` leads back to itself, or deeper than {DEPTH_MAX} combos", entry.model));
    }
    for entry in inner.entries.iter().filter(|entry| entry.enabled) {
        expand(entry, rows, way, models)?;
    }
    way.remove(&name);
    Ok(())
}

/// A model at one provider, if one is named by its id.
fn pinned(model: &str, provider_id: Option<&str>, rows: &ConfigRows) -> Result<String, String> {
    let Some(id) = provider_id else { return Ok(model.to_owned()) };
    match rows.providers.iter().find(|provider| provider.id == id) {
        Some(provider) => Ok(format!("{}/{model}", provider.name)),
        None => Err(format!("there is no provider {id}")),
    }
}

fn key(row: &KeyRow) -> Result<KeyHash, String> {
    let new = KeyHash::new(&row.id, &row.name, row.hash, Source::Store);
    let scopes = match row.scopes.is_empty() {
        true => new.scopes,
        false => Scopes::parse(row.scopes.iter().map(String::as_str))?,
    };
    Ok(KeyHash {
        scopes,
        allowed_providers: row.allowed_providers.clone(),
        allowed_models: row.allowed_models.clone(),
        allowed_cidrs: row.allowed_cidrs.iter().map(|net| net.parse()).collect::<Result<_, _>>()?,
        expires_at_ms: row.expires_at_ms,
        is_active: row.is_active,
        ..new
    })
}

/// A JSON value in the form that files have too.
fn plain(value: &Json) -> Value {
    match value {
        Json::Null => Value::Other("null"),
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Number(number.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(plain).collect()),
        Json::Object(members) => {
            Value::Table(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
    }
}

/// `stallTimeout` as `stall_timeout`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
