//! Requests: decode and encode.

use crate::{
    dialect::{Encoded, Target},
    hub::{ApiError, Request},
    json::Raw,
};

/// Reads a request.
pub fn decode<'a>(_body: Raw<'a>) -> Result<Request<'a>, ApiError> {
    Err(ApiError::unsupported("placeholder"))
}

/// Writes a request.
pub fn encode(_request: &Request<'_>, _target: &Target) -> Result<Encoded, ApiError> {
    Err(ApiError::unsupported("placeholder"))
}
