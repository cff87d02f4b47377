//! A provider as the API shows it: without its secrets, with how it is.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::{
    api::{
        Api, or_null,
        resources::{hidden, time::ahead},
    },
    settings::{self, Provider, Settings},
    store::providers::ProviderRow,
    usage::live::rfc3339,
};

/// Stands for a value that is not shown; written back it means "as it is".
pub(super) const DOTS: &str = "•••";

/// A provider with what is known of it besides its row.
pub(super) struct Shown<'a> {
    api: &'a Api,
    settings: &'a Settings,
    notes: Vec<settings::Fault>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(api: &'a Api, settings: &'a Settings) -> Self {
        Self { api, settings, notes: api.live().notes() }
    }

    /// One of the store's.
    pub(super) fn row(&self, row: &ProviderRow) -> Value {
        let in_force = self.settings.providers.iter().any(|provider| *provider.id == *row.id);
        let place = format!("providers/{}", row.name);
        let own = |note: &&settings::Fault| {
            note.place.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut notes: Vec<&str> = self.notes.iter().filter(own).map(|note| note.message.as_str()).collect();
        if row.secret_lost && notes.is_empty() {
            notes.push("its credential cannot be opened with the vault's key: set it again");
        }
        let mut data = row.data.clone();
        // Where older clients look for them.
        for (name, value) in [
            ("baseUrl", or_null(row.base_url.clone())),
            ("format", or_null(row.format.clone())),
            ("models", row.models.clone().into()),
            ("tags", row.tags.clone().into()),
        ] {
            data.entry(name).or_insert(value);
        }
        let headers: Map<String, Value> = row.headers.keys().map(|name| (name.clone(), DOTS.into())).collect();
        json!({
            "id": row.id,
            "provider": row.provider,
            "name": row.name,
            "authType": row.auth_type,
            "format": row.format,
            "baseUrl": row.base_url,
            "email": row.email,
            "priority": row.priority,
            "isActive": row.is_active,
            "models": row.models,
            "tags": row.tags,
            "headers": headers,
            "apiKeySet": row.api_key.is_some(),
            "apiKeyHint": or_null(row.api_key.as_ref().and_then(hidden)),
            "data": data,
            "state": self.state(&row.name, row.is_active, in_force),
            "source": "store",
            "readOnly": self.settings.read_only,
            "inForce": in_force,
            "notes": notes,
            "createdAt": rfc3339(row.created_at_ms),
            "updatedAt": rfc3339(row.updated_at_ms),
        })
    }

    /// One of the file's or the environment's.
    pub(super) fn fixed(&self, provider: &Provider) -> Value {
        let headers: Map<String, Value> =
            provider.headers.iter().map(|(name, _)| (name.clone(), DOTS.into())).collect();
        json!({
            "id": &*provider.id,
            "provider": provider.preset.unwrap_or("custom"),
            "name": provider.name,
            "authType": if provider.api_key.is_some() || provider.client_auth { "api_key" } else { "none" },
            "format": provider.dialect.name(),
            "baseUrl": provider.base_url,
            "email": null,
            "priority": provider.priority,
            "isActive": true,
            "models": provider.models,
            "tags": [],
            "headers": headers,
            "apiKeySet": provider.api_key.is_some(),
            "apiKeyHint": or_null(provider.api_key.as_ref().and_then(hidden)),
            "data": {},
            "state": self.state(&provider.name, true, true),
            "source": provider.source.name(),
            "readOnly": true,
            "inForce": true,
            "notes": [],
            "createdAt": null,
            "updatedAt": null,
        })
    }

    fn state(&self, name: &str, is_active: bool, in_force: bool) -> Value {
        let now = Instant::now();
        let until = self.api.live().shared().health.provider_until(name, now).filter(|_| in_force);
        let status = match (is_active, in_force, until) {
            (false, ..) => "inactive",
            (_, false, _) => "not_in_force",
            (.., Some(_)) => "cooling",
            (.., None) => "ok",
        };
        json!({"status": status, "cooldownUntil": until.map(|until| ahead(until, now))})
    }
}
