#![allow(clippy::unwrap_used)]

mod collapses;
mod replies;
mod requests;
mod streams;

use serde_json::Value;

use crate::json::Raw;

fn raw(text: &str) -> Raw<'_> {
    Raw::parse_str(text).unwrap()
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}
