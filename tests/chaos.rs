//! Faults: what upstreams and clients can do wrong, and what the other side, the books and the process are left with.
//!
//! Every case runs against the real program and asserts four things: what the client sees (a true status, or its
//! dialect's error event, never half an answer that looks whole), the row that is kept, the gauges of connections and
//! streams, and that no descriptor and no memory stays behind. `docs/faults.md` states the outcomes for operators.
//!
//! Limits in time are made short by configuration; no test sleeps. Numbers of the process come from `/proc`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "chaos/clients.rs"]
mod clients;
#[path = "chaos/content.rs"]
mod content;
#[path = "chaos/crowd.rs"]
mod crowd;
#[path = "chaos/cuts.rs"]
mod cuts;
#[path = "chaos/http2.rs"]
mod http2;
#[path = "chaos/reach.rs"]
mod reach;
#[path = "chaos/soak.rs"]
mod soak;
mod support;
#[path = "chaos/view.rs"]
mod view;
#[path = "chaos/world.rs"]
mod world;
