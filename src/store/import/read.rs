//! What the Go program's file says, in the terms of this store. Texts that are missing are empty, numbers are zero: a row
//! that is half there is taken over as far as it goes.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rusqlite::{Connection, Row};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::store::{
    Secret, StoreError,
    combos::{AliasRow, ComboEntry, ComboRow},
    digest,
    keys::KeyRow,
    pricing::PriceRow,
    providers::ProviderRow,
    tags::TagRow,
    usage,
};

/// Beginning of the Go program's sealed texts.
const SEALED: &str = "enc:v1:";
/// Longest name, in bytes.
const NAME_MAX: usize = 64;
/// Where the prices come from that the Go program wrote itself; ours are newer.
const ITS_PRICES: [&str; 2] = ["vendor-public", "free-tier"];
/// Tables whose rows have no place here yet, and what they are for people.
const LEFT: &[(&str, &str)] = &[
    ("modelsCustom", "models of one's own"),
    ("modelsDisabled", "switched-off models"),
    ("proxyPools", "proxy pools"),
    ("providerNodes", "provider nodes"),
    ("kv", "other notes (accounts, tools, media)"),
];

/// Everything read from the old file.
#[derive(Default)]
pub(super) struct Legacy {
    /// With their old ids.
    pub(super) providers: Vec<ProviderRow>,
    pub(super) keys: Vec<KeyRow>,
    pub(super) combos: Vec<ComboRow>,
    pub(super) aliases: Vec<AliasRow>,
    pub(super) tags: Vec<TagRow>,
    pub(super) prices: Vec<PriceRow>,
    pub(super) settings: Vec<(&'static str, Value)>,
    pub(super) sums: Vec<usage::DaySum>,
    pub(super) notes: Vec<String>,
}

/// The key of the Go program's sealed texts, if it is there.
pub(super) struct LegacyKey(Option<LessSafeKey>);

impl LegacyKey {
    /// In the data folder, which is the folder above the database's, or beside the database.
    pub(super) fn beside(database: &Path) -> Self {
        let folders = database.ancestors().skip(1).take(2);
        let mut files = folders.filter_map(|folder| fs::read(folder.join("secret.key")).map(Zeroizing::new).ok());
        let key = files.find_map(|bytes| UnboundKey::new(&AES_256_GCM, bytes.get(..32)?).ok());
        Self(key.map(LessSafeKey::new))
    }

    /// Opens a sealed text; others are as they are.
    fn open(&self, text: &str) -> Option<Secret> {
        let Some(sealed) = text.strip_prefix(SEALED) else { return Some(Secret::new(text)) };
        let mut bytes = Zeroizing::new(STANDARD_NO_PAD.decode(sealed).ok()?);
        let (nonce, _) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let clear = self.0.as_ref()?.open_in_place(nonce, Aad::empty(), &mut bytes[NONCE_LEN..]).ok()?;
        Some(Secret::new(std::str::from_utf8(clear).ok()?))
    }
}

/// Names that are free: without regard to case, and without what a prefix of a model cannot have.
#[derive(Default)]
struct Taken(HashSet<String>);

impl Taken {
    fn free(&mut self, name: &str, otherwise: &str) -> String {
        let plain: String =
            name.chars().map(|c| if matches!(c, '/' | ',') || c.is_control() { '-' } else { c }).collect();
        let plain = plain[..plain.floor_char_boundary(NAME_MAX - 6)].trim();
        let plain = if plain.is_empty() || plain == "demo" { otherwise } else { plain };
        let mut name = plain.to_owned();
        let mut number = 2;
        while !self.0.insert(name.to_lowercase()) {
            name = format!("{plain} {number}");
            number += 1;
        }
        name
    }
}

/// Reads it all.
pub(super) fn read(old: &Connection, key: &LegacyKey) -> Result<Legacy, StoreError> {
    let mut legacy = Legacy::default();
    let mut names = Taken::default();
    each(
        old,
        "providerConnections",
        "id, provider, authType, name, email, priority, isActive, data, createdAt",
        |row, notes| {
            let row = provider(row, key, &mut names, notes)?;
            legacy.providers.push(row);
            Ok(())
        },
        &mut legacy.notes,
    )?;
    let provider_names: HashMap<String, String> =
        legacy.providers.iter().map(|row| (row.id.clone(), row.name.clone())).collect();

    let mut names = Taken::default();
    let columns = "id, name, keyHash, keyPrefix, allowedProviders, dailyCapUsd, monthlyCapUsd, isActive, lastUsedAt";
    each(
        old,
        "apiKeys",
        columns,
        |row, notes| {
            let name = names.free(&text(row, 1)?, "key");
            let Some(hash) = digest::parse(&text(row, 2)?) else {
                notes.push(format!("the key {name} has no usable digest and is left out"));
                return Ok(());
            };
            legacy.keys.push(KeyRow {
                id: text(row, 0)?,
                name,
                hash,
                prefix: text(row, 3)?.trim_end_matches('.').to_owned(),
                allowed_providers: listed(&text(row, 4)?),
                daily_cap: nano(number(row, 5)?),
                monthly_cap: nano(number(row, 6)?),
                is_active: number(row, 7)? != 0.0,
                last_used_ms: time(&text(row, 8)?),
                ..KeyRow::default()
            });
            Ok(())
        },
        &mut legacy.notes,
    )?;
    let key_names: HashMap<String, String> = legacy.keys.iter().map(|row| (row.id.clone(), row.name.clone())).collect();

    let mut names = Taken::default();
    each(
        old,
        "combos",
        "id, name, models, strategy",
        |row, _| {
            let models: Vec<String> = serde_json::from_str(&text(row, 2)?).unwrap_or_default();
            let entry = |model| ComboEntry { model, provider_id: None, weight: 1, enabled: true };
            let strategy = text(row, 3)?;
            let known = ["priority", "round_robin", "random", "cost_optimal"].contains(&&*strategy);
            legacy.combos.push(ComboRow {
                id: text(row, 0)?,
                name: names.free(&text(row, 1)?, "combo"),
                strategy: if known { strategy } else { "priority".to_owned() },
                entries: models.into_iter().map(entry).collect(),
                ..ComboRow::default()
            });
            Ok(())
        },
        &mut legacy.notes,
    )?;
    each(
        old,
        "modelAlias",
        "alias, providerId, model",
        |row, notes| {
            let (alias, id) = (text(row, 0)?, text(row, 1)?);
            let provider_id = provider_names.contains_key(&id).then(|| id.clone());
            if provider_id.is_none() && !id.is_empty() {
                notes.push(format!("the alias {alias} led to a provider that is gone; it leads to any now"));
            }
            legacy.aliases.push(AliasRow {
                alias,
                provider_id,
                model: text(row, 2)?,
                created_at_ms: 0,
                updated_at_ms: 0,
            });
            Ok(())
        },
        &mut legacy.notes,
    )?;
    each(
        old,
        "tags",
        "name, color, kind",
        |row, _| {
            let tag = TagRow { name: text(row, 0)?, color: text(row, 1)?, kind: text(row, 2)?, ..TagRow::default() };
            legacy.tags.push(tag);
            Ok(())
        },
        &mut legacy.notes,
    )?;
    let columns =
        "provider, model, inputUsdPer1M, outputUsdPer1M, cacheReadUsdPer1M, cacheWriteUsdPer1M, source, currency";
    each(
        old,
        "pricing",
        columns,
        |row, notes| {
            let (provider, model, source) = (text(row, 0)?, text(row, 1)?, text(row, 6)?);
            if ITS_PRICES.iter().any(|its| source.starts_with(its)) {
                return Ok(());
            }
            if !matches!(&*text(row, 7)?, "" | "USD") {
                notes.push(format!("the price of {provider} {model} is not in dollars and is left out"));
                return Ok(());
            }
            let pico = |column| number(row, column).map(|dollars| whole(dollars * 1e6));
            legacy.prices.push(PriceRow {
                provider,
                model,
                input: pico(2)?,
                output: pico(3)?,
                // Zero stands for "none given" there.
                cache_read: Some(pico(4)?).filter(|price| *price > 0),
                cache_write: Some(pico(5)?).filter(|price| *price > 0),
                source: "import".to_owned(),
                ..PriceRow::default()
            });
            Ok(())
        },
        &mut legacy.notes,
    )?;
    each(
        old,
        "usageDaily",
        "day, provider, model, apiKeyId, requestCount, promptTokens, completionTokens, costUsd",
        |row, notes| {
            let day = text(row, 0)?;
            // Noon, so that it is the same day in most time zones.
            let noon = day.parse::<Date>().ok().and_then(|day| day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).ok());
            let Some(noon) = noon else {
                notes.push(format!("usage of the day `{day}` is left out"));
                return Ok(());
            };
            let named = |id: String, names: &HashMap<String, String>| names.get(&id).cloned().unwrap_or(id);
            let count = |column| number(row, column).map(whole);
            legacy.sums.push(usage::DaySum {
                start: noon.timestamp().as_second(),
                provider: named(text(row, 1)?, &provider_names),
                model: text(row, 2)?,
                key: named(text(row, 3)?, &key_names),
                requests: count(4)?,
                tokens_in: count(5)?,
                tokens_out: count(6)?,
                cost: whole(number(row, 7)? * 1e9),
            });
            Ok(())
        },
        &mut legacy.notes,
    )?;
    each(
        old,
        "settings",
        "data",
        |row, notes| {
            let data: Map<String, Value> = serde_json::from_str(&text(row, 0)?).unwrap_or_default();
            let flag = |name: &str| data.get(name).and_then(Value::as_bool).unwrap_or(false);
            if flag("requireApiKey") && !legacy.keys.is_empty() {
                legacy.settings.push(("require_key", Value::Bool(true)));
            }
            if let Some(model) = data.get("defaultModel").and_then(Value::as_str).filter(|model| !model.is_empty()) {
                legacy.settings.push(("default_model", model.into()));
            }
            if flag("requireLogin") {
                notes.push("the login is off: its password cannot be taken over, set a new one".to_owned());
            }
            Ok(())
        },
        &mut legacy.notes,
    )?;
    for (table, what) in LEFT {
        let mut rows = 0;
        let count = |_: &Row<'_>, _: &mut Vec<String>| {
            rows += 1;
            Ok(())
        };
        each(old, table, "1", count, &mut legacy.notes)?;
        if rows > 0 {
            legacy.notes.push(format!("{what} are left out ({rows})"));
        }
    }
    Ok(legacy)
}

/// Calls `take` for each row of a table that may be missing, in an order that is the same each time.
fn each(
    old: &Connection,
    table: &str,
    columns: &str,
    mut take: impl FnMut(&Row<'_>, &mut Vec<String>) -> Result<(), StoreError>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    if !old.query_row(there, [table], |row| row.get(0))? {
        return Ok(());
    }
    let mut select = old.prepare(&format!("SELECT {columns} FROM {table} ORDER BY rowid"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(row, notes)?;
    }
    Ok(())
}

fn provider(
    row: &Row<'_>,
    key: &LegacyKey,
    names: &mut Taken,
    notes: &mut Vec<String>,
) -> Result<ProviderRow, StoreError> {
    let vendor = text(row, 1)?;
    let name = names.free(&text(row, 3)?, if vendor.is_empty() { "provider" } else { &vendor });
    let mut data: Map<String, Value> = serde_json::from_str(&text(row, 7)?).unwrap_or_default();
    let mut words = |key: &str| -> Vec<String> {
        let list = data.remove(key);
        let list = list.as_ref().and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (models, tags) = (words("models"), words("tags"));
    let mut word = |key: &str| match data.remove(key) {
        Some(Value::String(word)) if !word.is_empty() => Some(word),
        _ => None,
    };
    let (api_key, format, base_url) = (word("apiKey"), word("format"), word("baseUrl"));
    let api_key = api_key.and_then(|sealed| {
        let opened = key.open(&sealed);
        if opened.is_none() {
            notes.push(format!("the credential of {name} cannot be opened: set it again"));
        }
        opened
    });
    let headers = match data.remove("headers") {
        Some(Value::Object(headers)) => headers,
        _ => Map::new(),
    };
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, key.open(value.as_str()?)?))).collect();
    // Whatever else may be a secret is not kept in clear.
    data.retain(|name, value| {
        let name = name.to_lowercase();
        let telling = ["token", "secret", "password", "cookie", "key", "auth", "refresh"];
        let plain = name == "tokensource" || !telling.iter().any(|word| name.contains(word));
        plain && !value.is_object() && !value.is_array()
    });
    let dialect = match format.as_deref() {
        Some("openai") => Some("openai_chat"),
        Some("openai-responses" | "responses") => Some("openai_responses"),
        Some("anthropic" | "claude") => Some("anthropic"),
        Some("gemini") => Some("gemini"),
        Some("ollama") => Some("ollama"),
        Some(other) => {
            notes.push(format!("{name}: the format {other} is not known here, set its dialect"));
            None
        }
        None => None,
    };
    let auth_type = text(row, 2)?;
    let known = ["api_key", "subscription", "oauth", "cookie", "none"].contains(&&*auth_type);
    let auth_type = if known { auth_type } else { "api_key".to_owned() };
    let offered = matches!(&*auth_type, "api_key" | "none");
    let was_active = number(row, 6)? != 0.0;
    if was_active && !offered {
        notes.push(format!("{name} is switched off: {auth_type} accounts are not offered yet"));
    }
    let base_url = base_url.map(|url| {
        let url = url.trim_end_matches('/');
        // There the dialect's path begins behind the version.
        let bare = matches!(dialect, Some("anthropic")).then(|| url.strip_suffix("/v1")).flatten();
        bare.unwrap_or(url).to_owned()
    });
    Ok(ProviderRow {
        id: text(row, 0)?,
        provider: if vendor.is_empty() { "custom".to_owned() } else { vendor },
        name,
        auth_type,
        format: dialect.map(str::to_owned),
        base_url,
        email: Some(text(row, 4)?).filter(|email| !email.is_empty()),
        priority: whole(number(row, 5)?),
        is_active: was_active && offered,
        models,
        headers,
        api_key,
        data,
        tags,
        ..ProviderRow::default()
    })
}

/// A text, or nothing for anything else.
fn text(row: &Row<'_>, column: usize) -> Result<String, StoreError> {
    Ok(row.get_ref(column)?.as_str_or_null().ok().flatten().unwrap_or_default().to_owned())
}

/// A number, or zero for anything else.
fn number(row: &Row<'_>, column: usize) -> Result<f64, StoreError> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => number as f64,
        ValueRef::Real(number) => number,
        _ => 0.0,
    })
}

/// The nearest whole number; what is out of range, or no number, ends at the range.
fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// Dollars as a cap in nano-dollars; zero is none.
fn nano(dollars: f64) -> Option<i64> {
    (dollars > 0.0).then(|| whole(dollars * 1e9))
}

fn time(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// `*`, a list in JSON, or words between commas; empty = all.
fn listed(text: &str) -> Vec<String> {
    let words: Vec<String> =
        serde_json::from_str(text).unwrap_or_else(|_| text.split(',').map(|word| word.trim().to_owned()).collect());
    if words.iter().any(|word| word == "*") {
        Vec::new()
    } else {
        words.into_iter().filter(|word| !word.is_empty()).collect()
    }
}
