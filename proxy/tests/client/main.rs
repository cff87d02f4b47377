//! The client against scripted peers on loopback.
#![allow(clippy::unwrap_used)]

mod egress;
mod grpc;
mod h1;
mod h2;
mod pool;
mod support;
mod tls;
mod vectors;
