//! Whole answers and errors.

use crate::{
    dialect::{Context, Emit},
    hub::{ApiError, ErrorKind, Event, Reply},
    json::Raw,
};

/// Reads a whole answer.
pub fn decode(_body: Raw<'_>, _context: &Context, emit: Emit<'_>) {
    emit(Event::End);
}

/// Writes a whole answer.
pub fn encode(_reply: &Reply, _context: &Context, _out: &mut Vec<u8>) {}

/// Reads an error.
pub fn decode_error(status: u16, _body: &[u8]) -> ApiError {
    ApiError::new(ErrorKind::of_status(status), "")
}

/// Writes an error.
pub fn encode_error(_error: &ApiError, _request_id: &str, _out: &mut Vec<u8>) -> u16 {
    500
}
