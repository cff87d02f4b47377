//! A request, admitted and understood.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use proxy::RequestHead;
use serde_json::{Map, Value, json};
use zeroize::Zeroize;

use super::{
    Api, Problem,
    auth::{Caller, Principal, Visit},
    route::Route,
};
use crate::{gateway::Snapshot, store::audit::AuditRow};

/// What a handler is given.
#[derive(Debug)]
pub struct Request {
    /// Our id of it, or the client's.
    pub id: String,
    /// The row of the table that it is for.
    pub route: &'static Route,
    /// Its head.
    pub head: RequestHead,
    /// The client's address on the connection.
    pub peer: SocketAddr,
    /// Our address on the connection, if it is known.
    pub local: Option<SocketAddr>,
    /// Segments of the path that stand for something, decoded.
    pub(super) params: Vec<(&'static str, String)>,
    /// Query parameters, decoded and checked.
    pub(super) query: Vec<(&'static str, String)>,
    /// The body, checked; `null` if there is none.
    pub body: Value,
    /// The body as it came, where the handler reads it itself; else empty.
    pub bytes: Bytes,
    /// Who asks.
    pub principal: Principal,
    /// The configuration of its first moment.
    pub snapshot: Arc<Snapshot>,
    /// When it came, in Unix milliseconds.
    pub now_ms: i64,
}

impl Request {
    /// The segment of the path in the place of `{name}`.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A query parameter. One that is empty is not there.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// A query parameter that is true or false.
    pub fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(is_true)
    }

    /// A query parameter that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.query(name).and_then(|value| value.parse().ok())
    }

    /// The members of the body; none if it is no object.
    pub fn members(&self) -> &Map<String, Value> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        self.body.as_object().unwrap_or(&NONE)
    }

    /// The names of the members, for the audit log: what a patch changes.
    pub(super) fn changed(&self) -> Value {
        json!({ "changed": self.members().keys().collect::<Vec<_>>() })
    }

    /// A member of the body that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    /// The version that the caller wants to change (`If-Match`), in the milliseconds that our ETags are; `None` if any.
    ///
    /// # Errors
    /// 412 if it names a version that is none of ours.
    pub fn if_match(&self) -> Result<Option<i64>, Problem> {
        let mismatch = || Problem::new(412, "etag_mismatch", "it has another version: read it again");
        let Some(text) = self.head.headers.text("if-match") else {
            return if self.head.headers.contains("if-match") { Err(mismatch()) } else { Ok(None) };
        };
        if text.trim() == "*" {
            return Ok(None);
        }
        let tag = text.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        tag.and_then(|tag| tag.parse().ok()).map(Some).ok_or_else(mismatch)
    }

    /// With both ends of the connection.
    pub fn caller(&self) -> Caller<'_> {
        Caller { head: &self.head, peer: self.peer, local: self.local }
    }

    /// In the form in which logins want it.
    pub fn visit<'r>(&'r self, api: &'r Api) -> Visit<'r> {
        Visit {
            caller: self.caller(),
            snapshot: &self.snapshot,
            live: api.live(),
            principal: &self.principal,
            now_ms: self.now_ms,
        }
    }

    /// An entry of the audit log: who did `action` (`provider.create`) to `target`. `detail` must hold no secrets.
    pub fn audit(&self, action: &str, target: impl Into<String>, detail: Option<Value>) -> AuditRow {
        let target = target.into();
        AuditRow {
            id: 0,
            ts_ms: self.now_ms,
            actor: self.principal.actor(),
            ip: Some(self.caller().address(&self.snapshot.settings).to_string()),
            action: action.to_owned(),
            target: (!target.is_empty()).then_some(target),
            detail,
        }
    }
}

/// Whether the text of a query parameter means yes.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text, "true" | "1")
}

impl Drop for Request {
    /// Bodies carry credentials and passwords.
    fn drop(&mut self) {
        forget(&mut self.body);
    }
}

/// Wipes the texts of a value.
pub(super) fn forget(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::Object(members) => members.values_mut().for_each(forget),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
