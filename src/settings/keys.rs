//! Keys of callers: what is known of one besides its digest, and what it allows.
//!
//! The key itself is nowhere: it is 32 random bytes, so that its SHA-256 can be looked up like any other name.

use std::{net::IpAddr, sync::Arc};

use super::{Cidr, Source, provider::matches};

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// To ask models.
    Inference = 0,
    /// To list models.
    ModelsRead,
    /// To read usage and cost.
    UsageRead,
    /// To manage everything.
    Admin,
    /// To read memories.
    BrainRead,
    /// To write memories.
    BrainWrite,
    /// To export the configuration.
    SyncRead,
    /// To read metrics.
    MetricsRead,
}

/// All scopes with their names in files and in the API.
pub const SCOPES: [(&str, Scope); 8] = [
    ("inference", Scope::Inference),
    ("models:read", Scope::ModelsRead),
    ("usage:read", Scope::UsageRead),
    ("admin", Scope::Admin),
    ("brain:read", Scope::BrainRead),
    ("brain:write", Scope::BrainWrite),
    ("sync:read", Scope::SyncRead),
    ("metrics:read", Scope::MetricsRead),
];

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// What a key has that says nothing about it.
    pub const INFERENCE: Scopes = Scopes(1 << Scope::Inference as u8);

    /// Understands names; `Err` names the first that is none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scopes = Self::default();
        for name in names {
            let Some((_, scope)) = SCOPES.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = SCOPES.iter().map(|(known, _)| *known).collect();
                return Err(format!("`{name}` is not a scope: use {}", known.join(", ")));
            };
            scopes.0 |= 1 << *scope as u8;
        }
        Ok(scopes)
    }

    /// Whether `scope` is among them, or `admin`, which implies all others.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | 1 << Scope::Admin as u8) != 0
    }

    /// The names, in the order of [`SCOPES`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SCOPES.iter().filter(move |(_, scope)| self.0 & (1 << *scope as u8) != 0).map(|(name, _)| *name)
    }
}

/// A caller's key, as a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHash {
    /// Id: the row's in the store, `file:NAME` in a file.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What it may be used for.
    pub scopes: Scopes,
    /// Names, ids or presets of the providers that it may use; empty = all.
    pub allowed_providers: Vec<String>,
    /// Models that it may use, by name or `prefix*`; empty = all.
    pub allowed_models: Vec<String>,
    /// Where it may come from; empty = anywhere.
    pub allowed_cidrs: Vec<Cidr>,
    /// When it stops being good, in milliseconds since the epoch.
    pub expires_at_ms: Option<i64>,
    /// Whether it has not been revoked.
    pub is_active: bool,
    /// Where it is defined.
    pub source: Source,
}

impl KeyHash {
    /// A key without restrictions, for asking models.
    pub fn new(id: &str, name: &str, sha256: [u8; 32], source: Source) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            sha256,
            scopes: Scopes::INFERENCE,
            allowed_providers: Vec::new(),
            allowed_models: Vec::new(),
            allowed_cidrs: Vec::new(),
            expires_at_ms: None,
            is_active: true,
            source,
        }
    }

    /// Whether it has run out at `now_ms`.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// Whether it may come from `address`.
    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.allowed_cidrs.is_empty() || self.allowed_cidrs.iter().any(|net| net.contains(address))
    }

    /// Whether it restricts models or providers at all.
    pub fn is_restricted(&self) -> bool {
        !self.allowed_models.is_empty() || !self.allowed_providers.is_empty()
    }

    /// Whether one of `names` (a provider's id, name and preset) is allowed.
    pub fn may_use_provider<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let allowed = &self.allowed_providers;
        let mut names = names.into_iter();
        allowed.is_empty()
            || names.any(|name| allowed.iter().any(|item| item == "*" || item.eq_ignore_ascii_case(name)))
    }

    /// Whether one of `names` (as asked for, and as the provider calls it) is allowed.
    pub fn may_use_model<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let allowed = &self.allowed_models;
        let mut names = names.into_iter();
        allowed.is_empty() || names.any(|name| allowed.iter().any(|pattern| matches(pattern, name).is_some()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_are_names_and_admin_is_all() {
        let scopes = Scopes::parse(["usage:read", "inference"]).unwrap();
        assert!(scopes.allow(Scope::Inference) && scopes.allow(Scope::UsageRead) && !scopes.allow(Scope::Admin));
        assert_eq!(scopes.names().collect::<Vec<_>>(), ["inference", "usage:read"]);
        assert!(SCOPES.iter().all(|(_, scope)| Scopes::parse(["admin"]).unwrap().allow(*scope)));
        assert!(Scopes::parse(["all"]).unwrap_err().contains("models:read"));
    }

    #[test]
    fn a_key_allows_what_it_lists() {
        let mut key = KeyHash::new("k", "k", [0; 32], Source::Store);
        assert!(key.may_use_model(["x"]) && key.may_use_provider(["p"]) && key.may_come_from([1, 2, 3, 4].into()));
        assert!(!key.is_expired(i64::MAX));
        key.allowed_models = vec!["claude-*".into(), "gpt-5".into()];
        key.allowed_providers = vec!["Work".into()];
        key.allowed_cidrs = vec!["127.0.0.0/8".parse().unwrap()];
        key.expires_at_ms = Some(10);
        assert!(key.may_use_model(["fast", "claude-x"]) && !key.may_use_model(["gpt-5-mini"]));
        assert!(key.may_use_provider(["id", "work"]) && !key.may_use_provider(["id", "home"]));
        assert!(key.may_come_from([127, 0, 0, 9].into()) && !key.may_come_from([10, 0, 0, 1].into()));
        assert!(key.is_expired(10) && !key.is_expired(9));
    }
}
