//! Interception: what it changes on the system. So far the hosts file only; nothing calls it yet.

pub mod hosts;
