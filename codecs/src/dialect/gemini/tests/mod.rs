#![allow(clippy::unwrap_used)]

mod replies;
mod requests;
mod streams;
