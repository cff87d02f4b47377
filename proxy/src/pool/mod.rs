//! Connections between exchanges.

pub(crate) mod key;
