//! What stands behind a listener: management requests go to the API, everything else to the gateway.

use bytes::Bytes;
use proxy::{Call, Fresh, Handler, Method, StatusCode};

use crate::{
    api::{Api, auth::Caller},
    gateway::Gateway,
};

/// The handler of one lane.
#[derive(Clone)]
pub struct Front {
    gateway: Gateway,
    api: Api,
}

impl Front {
    /// Puts both behind one listener.
    pub fn new(gateway: Gateway, api: Api) -> Self {
        Self { gateway, api }
    }

    fn is_management(&self, call: &Call<'_, Fresh>) -> bool {
        let head = call.head();
        // Most requests are answered by this comparison.
        head.target.starts_with(b"/api/") && self.api.wants(&Caller { head, peer: call.peer(), local: call.local() })
    }
}

impl Handler for Front {
    async fn handle<'a>(&'a self, call: Call<'a, Fresh>) {
        if self.is_management(&call) {
            // Boxed, so that the exchanges of the gateway need no room for it.
            Box::pin(self.api.serve(call)).await;
        } else {
            self.gateway.handle(call).await;
        }
    }

    fn refusal(&self, method: &Method, path: &str, status: StatusCode, told: &str) -> Option<(&'static str, Bytes)> {
        self.gateway.refusal(method, path, status, told)
    }
}
