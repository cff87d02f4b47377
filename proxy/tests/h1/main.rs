//! HTTP/1 against hostile peers, and beside independent readers.
#![allow(clippy::unwrap_used)]

mod corpus;
mod h11;
mod oracle;
mod relay;
mod requests;
mod responses;
