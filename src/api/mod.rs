//! The management API.

pub mod auth;
mod problem;
mod reply;
mod request;
pub mod schema;
pub mod table;

use std::sync::Arc;

pub use problem::Problem;
use proxy::Client;
pub use reply::{Cut, Payload, Pieces, Reply};
pub use request::Request;

use crate::live::Live;

/// The API of one lane: the shared part and the lane's own upstream connections.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    client: Client,
}

/// What all lanes share.
struct Shared {
    live: Live,
    auth: auth::Auth,
}

impl Api {
    /// The configuration.
    pub fn live(&self) -> &Live {
        &self.shared.live
    }

    /// Who may call.
    pub fn auth(&self) -> &auth::Auth {
        &self.shared.auth
    }

    /// The lane's upstream connections.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
