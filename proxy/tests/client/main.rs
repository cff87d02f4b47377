//! The client, and the front of interception, against scripted peers on loopback.
#![allow(clippy::unwrap_used)]

mod egress;
#[path = "../front/mod.rs"]
mod front;
mod grpc;
mod h1;
mod h2;
mod pool;
mod support;
mod tls;
mod vectors;
