//! What the playbook tests share: the real program, a scripted upstream, a scripted client, and what each dialect says.
//!
//! Nothing here sleeps to wait: steps wait for bytes, ends of connections and events, each with a deadline that only a
//! failing test meets.

// Every test file is a program of its own and uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod client;
pub(crate) mod h2;
pub(crate) mod ides;
pub(crate) mod leaving;
pub(crate) mod peers;
pub(crate) mod router;
pub(crate) mod speech;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::{future::Future, time::Duration};

#[allow(unused_imports)]
pub(crate) use client::{Answer, Client};
#[allow(unused_imports)]
pub(crate) use router::Router;
#[allow(unused_imports)]
pub(crate) use upstream::{Conn, Upstream};

/// A step that takes longer than this has failed. Far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits a step of a script.
#[track_caller]
pub(crate) fn within<F: Future>(what: &str, step: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, step).await {
            Ok(done) => done,
            Err(_) => panic!("{place}: {what} took longer than {PATIENCE:?}"),
        }
    }
}
