//! What is said of a failure, before an answer and within one.

use crate::{
    hub::{ApiError, ErrorKind},
    json::{Writer, write::Sink},
};

/// What an error says besides its name.
pub(super) fn members<S: Sink>(error: &ApiError, w: &mut Writer<'_, S>) {
    w.key("message").string(&error.message);
    if error.kind == ErrorKind::TooLarge {
        w.key("reason").string("CONTENT_LENGTH_EXCEEDS_THRESHOLD");
    }
}

/// The name of an error, and the HTTP status that it stands for. What is wrong between this gateway and a provider is
/// nothing of the client's account, which 401, 402 and 403 would be about.
pub(in crate::dialect) fn exception(kind: ErrorKind) -> (&'static str, u16) {
    match kind {
        ErrorKind::Invalid | ErrorKind::UnsupportedContent | ErrorKind::TooLarge => ("ValidationException", 400),
        ErrorKind::RateLimit => ("ThrottlingException", 429),
        ErrorKind::Overloaded | ErrorKind::Timeout => ("ServiceUnavailableException", 503),
        _ => ("InternalServerException", 500),
    }
}
