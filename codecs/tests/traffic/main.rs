//! Answers as vendors send them, translated: what it costs, and what must not change them.
#![allow(clippy::unwrap_used)]

mod allocations;
mod padding;
#[path = "../../../benches/traffic.rs"]
mod traffic;
