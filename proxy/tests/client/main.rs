//! The client against scripted peers on loopback.
#![allow(clippy::unwrap_used)]

mod h1;
mod pool;
mod support;
mod vectors;
