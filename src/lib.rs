//! Flow Router: the product behind the binaries. It decides; `proxy` moves bytes and `codecs` gives them meaning.
//!
//! Floors, from the ground up; a module uses floors below its own: store · settings, runtime · args, health,
//! telemetry · vendor · route · gateway · live · boot · app (`tests/layers.rs` holds them to it).

pub mod api;
pub mod app;
pub mod args;
pub mod boot;
pub mod database;
pub mod front;
pub mod gateway;
pub mod health;
pub mod live;
pub mod recover;
pub mod route;
pub mod runtime;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod usage;
pub mod vendor;
