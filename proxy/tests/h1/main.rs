//! HTTP/1 against hostile peers, and beside independent readers.
#![allow(clippy::unwrap_used)]

mod corpus;
mod oracle;
mod readers;
mod relay;
mod requests;
mod responses;
