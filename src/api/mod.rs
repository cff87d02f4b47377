//! The management API: everything that people and programs may ask of the gateway besides models.
//!
//! ```text
//!   table     one row per operation, as `route` says; router, checks and the OpenAPI document are made from it
//!   serve     rules ─▶ row ─▶ right ─▶ rate ─▶ query ─▶ body ─▶ handler ─▶ answer
//!   auth      who may
//!   resources what there is: providers, combos, keys, settings, usage, events, prices, tags, backups, the system itself
//! ```
//!
//! It sees requests by the dozen, not by the thousand: JSON is a tree here, answers are built whole, and nothing is shared
//! with the path of chat requests but the snapshot that it publishes and the queues that it reads.

pub mod auth;
mod idempotency;
mod limits;
mod merge;
pub mod openapi;
mod page;
mod problem;
mod reply;
mod request;
mod resources;
pub mod route;
mod router;
pub mod schema;
mod serve;
mod table;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

pub use problem::Problem;
use proxy::Client;
pub use reply::{Cut, Payload, Pieces, Reply};
pub use request::Request;
pub use router::routes;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    again::Again,
    live::{ChangeError, Live},
    mitm::Manager,
    runtime::Stop,
    store::{
        Change, StoreError,
        audit::{self, AuditRow},
    },
    usage::live::now_ms,
};

/// The API of one lane: the shared part and the lane's own upstream connections.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    ways: auth::Ways,
}

/// What all lanes share. Cheap to clone.
#[derive(Clone)]
pub struct Management(Arc<Shared>);

struct Shared {
    live: Live,
    auth: auth::Auth,
    stop: Stop,
    again: Again,
    /// Turns true when running exchanges are to end.
    draining: watch::Receiver<bool>,
    limits: limits::Limits,
    repeats: idempotency::Repeats,
    catalogues: resources::providers::Catalogues,
    availability: resources::providers::Availability,
    started: Instant,
    started_ms: i64,
    /// Where we listen.
    addr: OnceLock<SocketAddr>,
    /// Interception, once it can be started.
    mitm: OnceLock<Manager>,
}

impl Management {
    /// Builds the shared part; makes the administrator's token in the data folder. `stop` is raised by those who end the
    /// program over the API, where `again` says how it is started; `draining` turns true when streams are to end.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub async fn open(live: Live, stop: Stop, again: Again, draining: watch::Receiver<bool>) -> io::Result<Self> {
        let snapshot = live.snapshot();
        let auth = auth::Auth::open(&snapshot.settings.data_dir, live.store(), now_ms()).await?;
        Ok(Self(Arc::new(Shared {
            live,
            auth,
            stop,
            again,
            draining,
            limits: limits::Limits::default(),
            repeats: idempotency::Repeats::default(),
            catalogues: resources::providers::Catalogues::default(),
            availability: resources::providers::Availability::default(),
            started: Instant::now(),
            started_ms: now_ms(),
            addr: OnceLock::new(),
            mitm: OnceLock::new(),
        })))
    }

    /// Puts in force what a database says that could not be opened at the start and has arrived since.
    pub async fn store_arrived(&self) {
        let Shared { live, auth, .. } = &*self.0;
        if let Err(reason) = live.rebuild("store", "arrived").await {
            tracing::error!(%reason, "the database's configuration is not in force");
        }
        if let Err(error) = auth.again(&live.snapshot().settings.data_dir, live.store(), now_ms()).await {
            tracing::error!(%error, "logins and tokens of this data folder are not known");
        }
    }

    /// Takes interception in, once there is something that it can stand on.
    pub fn intercepts_with(&self, manager: Manager) {
        // There is one per program.
        let _ = self.0.mitm.set(manager);
    }

    /// Says where we listen, once that is known.
    pub fn listens_at(&self, addr: SocketAddr) {
        // The first lane's address is everybody's.
        let _ = self.0.addr.set(addr);
    }
}

impl Api {
    /// The API of a lane whose upstream connections are those of `ways`.
    pub fn new(management: &Management, ways: auth::Ways) -> Self {
        Self { shared: Arc::clone(&management.0), ways }
    }

    /// The configuration.
    pub fn live(&self) -> &Live {
        &self.shared.live
    }

    /// Interception; `None` while the program is about to start.
    fn mitm(&self) -> Option<&Manager> {
        self.shared.mitm.get()
    }

    /// Who may call.
    pub fn auth(&self) -> &auth::Auth {
        &self.shared.auth
    }

    /// The lane's upstream connections.
    pub fn client(&self) -> &Client {
        &self.ways.any
    }

    /// The same, and those to the open internet alone.
    fn ways(&self) -> &auth::Ways {
        &self.ways
    }

    /// Changes the configuration and writes down who did it, in one transaction. `row.target` names what is changed as
    /// `kind/id`; `change` may complete it.
    async fn change<T: Send + 'static>(
        &self,
        kind: &'static str,
        id: &str,
        mut row: AuditRow,
        change: impl FnOnce(&mut Change<'_>, &mut AuditRow) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ChangeError> {
        self.live()
            .change(kind, id.to_owned(), move |transaction| {
                let done = change(transaction, &mut row)?;
                audit::append(transaction, &mut row)?;
                Ok(done)
            })
            .await
    }

    /// Writes down who did something that is no configuration.
    async fn note(&self, mut row: AuditRow) -> Result<(), Problem> {
        self.live().store().write(move |change| audit::append(change, &mut row)).await.map_err(Problem::from)
    }
}

/// `value` as the member of an object, or `null`.
fn or_null<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}
