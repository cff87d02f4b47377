//! Flow Router: the product behind the binaries. It decides; `proxy` moves bytes and `codecs` gives them meaning.
//!
//! The modules stand on floors, and each uses those below its own: ARCHITECTURE.md draws them, and `tests/layers.rs` holds
//! the modules to them.

pub mod again;
pub mod api;
pub mod app;
pub mod args;
pub mod boot;
pub mod database;
mod files;
pub mod front;
pub mod gateway;
pub mod health;
pub mod intercept;
pub mod live;
pub mod mitm;
mod peer_user;
pub mod recover;
pub mod route;
pub mod running;
pub mod runtime;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod usage;
pub mod vendor;
