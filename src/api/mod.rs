//! The management API.

pub mod auth;
