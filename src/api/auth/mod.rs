//! Who may call the management API.
//!
//! ```text
//!   caller     this machine, or somebody that only looks like it
//!   rules      host and origin: what keeps web pages out
//!   principal  who it is, what that allows; the decision
//!   token      the secret in run/admin.token
//!   session    who has logged in            cookie     how browsers carry it
//!   limiter    guesses are counted          password   how passwords are kept
//!   oidc       logging in at an identity provider; jwt verifies what that says
//!   login      all of that together, written down
//!   routes     rows of the API's table, and pages, what they answer
//! ```
//!
//! The decision is made for every request before anything else, from memory alone. It does not look at bodies, and
//! nothing here knows what a route does: routes say what they ask for ([`Capability`]).

mod caller;
mod cookie;
mod jwt;
mod limiter;
mod login;
mod oidc;
mod pages;
mod password;
mod principal;
mod routes;
mod rules;
mod session;
#[cfg(test)]
pub(in crate::api) mod testing;
pub mod token;

pub use caller::Caller;
pub use limiter::Locked;
pub use login::{LoggedIn, Refused, Visit};
pub use oidc::Ways;
pub use pages::{Login, LoginRules};
pub use password::{Unfit, hash_password};
pub use principal::{Capability, Denied, Principal, mode_name, scope_name};
pub use routes::ROUTES;
pub use rules::Breach;

/// All that is known of callers.
#[derive(Debug)]
pub struct Auth {
    token: token::AdminToken,
    sessions: session::Sessions,
    limiter: limiter::Limiter,
    hasher: password::Hasher,
    provider: oidc::Provider,
}
