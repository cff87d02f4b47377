//! Who may call the management API.

pub mod jwt;
pub mod limiter;
pub mod password;
#[cfg(test)]
pub(in crate::api) mod testing;
