//! What every command works with: the router, where output goes, where things are on this machine.

use std::path::PathBuf;

use proxy::Method;
use serde_json::json;

use super::{args::Global, failure::Failure, http::Router, out::Out, place};

/// The address where nothing else is said.
const ADDRESS: &str = "http://127.0.0.1:2402";

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    /// The router.
    pub(crate) router: Router,
    /// Where output goes.
    pub(crate) out: Out,
    /// The data folder of a router on this machine.
    pub(crate) data_dir: PathBuf,
    /// The key that the user gave, if any: other than the token for administrators, it may be handed on.
    pub(crate) key: Option<String>,
}

impl Context {
    /// Reads the command line and the environment.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let address = global.url.clone().or_else(|| place::variable("FLOW_ROUTER_URL"));
        let key = global.key.clone().filter(|key| !key.is_empty()).or_else(|| place::variable("FLOW_ROUTER_KEY"));
        let data_dir = place::data_dir(global.data_dir.clone());
        let token = || place::token(&data_dir);
        let router = Router::new(address.as_deref().unwrap_or(ADDRESS), key.clone(), token, global.timeout)?;
        Ok(Self { router, out: Out::new(global.json, global.quiet, global.no_color), data_dir, key })
    }

    /// Removes what is at a path of the API, and says so by its name.
    pub(crate) async fn remove(&self, path: &str, name: &str) -> Result<(), Failure> {
        self.router.send(Method::DELETE, path, None).await.map_err(|failure| failure.about(name))?;
        self.out.done(&format!("removed {name}"), &json!({"removed": name}))
    }
}
