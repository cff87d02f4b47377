#![allow(clippy::unwrap_used)]

mod requests;
mod streams;
