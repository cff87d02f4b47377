//! What the whole program promises of its store: a database that cannot be written costs no request, what was
//! acknowledged outlives `kill -9`, no secret is anywhere in the clear, and keeping records is cheap.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "proofs/cost.rs"]
mod cost;
#[path = "proofs/crash.rs"]
mod crash;
#[path = "proofs/outage.rs"]
mod outage;
#[path = "proofs/secrets.rs"]
mod secrets;
mod support;

use serde_json::Value;
use support::{Answer, Client, Router};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Asks the management API with a document, or with none.
async fn manage(router: &Router, method: &str, path: &str, fields: &[(&str, &str)], document: &Value) -> Answer {
    let fields = [JSON, fields].concat();
    let body = if document.is_null() { String::new() } else { document.to_string() };
    Client::once(router.addr, method, path, &fields, body).await
}

/// The value of a metric without labels.
fn metric(exposition: &str, name: &str) -> f64 {
    let line = exposition.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{exposition}")).parse().unwrap()
}
